//! What a fleet file says that will not do what its author may expect; nothing of it is wrong enough to refuse.

use crate::app::App;
use portcullis_domain::fleet::Fleet;
use portcullis_store::Error;

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
    for role in &fleet.roles {
        for user in &role.members.users {
            if reader.user_by_name(user).await?.is_none() {
                remarks.push(format!("role {}: there is no user {user:?} yet", role.name));
            }
        }
    }
    Ok(remarks)
}
