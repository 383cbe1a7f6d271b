//! What a fleet file says that will not do what its author may expect; nothing of it is wrong enough to refuse.

use crate::app::App;
use portcullis_domain::fleet::Fleet;
use portcullis_domain::registry::Agent;
use portcullis_oauth::time::Timestamp;
use portcullis_store::Error;
use std::time::Duration;

/// An end is near from then on.
const NEAR: Duration = Duration::from_hours(14 * 24);

/// One sentence for each. To be asked before the fleet is applied.
pub async fn remarks(app: &App, fleet: &Fleet) -> Result<Vec<String>, Error> {
    let mut handle = app.store.read().await?;
    let mut reader = handle.reader();
    let mut remarks = Vec::new();
    for known in reader.registry().await?.agents {
        let Some(agent) = fleet.agents.iter().find(|agent| agent.name == known.name) else { continue };
        if known.deliver.is_some() && agent.deliver.is_some() && known.deliver != agent.deliver {
            remarks.push(format!(
                "agent {}: its secret was delivered already; another place in deliver has no effect",
                agent.name
            ));
        }
    }
    for known in reader.registry().await?.clients {
        let Some(client) = fleet.clients.iter().find(|client| client.name == known.name) else { continue };
        if known.deliver.is_some() && client.deliver.is_some() && known.deliver != client.deliver {
            remarks.push(format!(
                "client {}: its secret was delivered already; another place in deliver has no effect",
                client.name
            ));
        }
    }
    remarks.extend(fleet.agents.iter().filter_map(|agent| end_of(agent, app.clock.now())));
    for role in &fleet.roles {
        for user in &role.members.users {
            if reader.user_by_name(user).await?.is_none() {
                remarks.push(format!("role {}: there is no user {user:?} yet", role.name));
            }
        }
    }
    Ok(remarks)
}

/// That an agent's end is near, or over.
fn end_of(agent: &Agent<()>, now: Timestamp) -> Option<String> {
    let end = agent.expires_at.filter(|end| !agent.disabled && end.since(now) < NEAR)?;
    Some(if end.has_passed(now) {
        format!("agent {}: its time is over (expires); it gets no token", agent.name)
    } else {
        let days = end.since(now).as_secs() / (24 * 60 * 60);
        format!("agent {}: expires in {days} days; then it gets no token", agent.name)
    })
}
