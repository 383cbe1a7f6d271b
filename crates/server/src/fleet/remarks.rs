//! What a fleet file says that will not do what its author may expect; nothing of it is wrong enough to refuse.

use crate::app::App;
use portcullis_domain::fleet::Fleet;
use portcullis_domain::policy::covers;
use portcullis_domain::registry::{Agent, Server};
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
    for server in &fleet.servers {
        let servers = reader.registry().await?.servers;
        let known = servers.iter().find(|known| known.name == server.name && known.canonical_uri == server.canonical_uri);
        let Some(known) = known else { continue };
        let pinned = reader.pinned_tools(known.id).await?.into_iter().map(|tool| tool.name);
        let mut tools: Vec<String> = pinned.collect();
        tools.extend(reader.sighted_tools(known.id).await?.into_iter().map(|tool| tool.name));
        remarks.extend(matches_nothing(server, &tools));
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

/// ADM-14: patterns that match no tool of the server, as far as its tools are known. What they were meant for is refused.
fn matches_nothing(server: &Server<()>, tools: &[String]) -> Vec<String> {
    if tools.is_empty() {
        return Vec::new();
    }
    let rules = server.rules.iter().enumerate();
    let patterns = rules.flat_map(|(at, rule)| rule.tools.iter().map(move |pattern| (at + 1, pattern)));
    let idle = patterns.filter(|(_, pattern)| !tools.iter().any(|tool| covers(pattern, tool)));
    let says = |(rule, pattern): (usize, &String)| {
        format!("server {}: {pattern:?} of rule {rule} matches none of the tools that were seen", server.name)
    };
    idle.map(says).collect()
}
