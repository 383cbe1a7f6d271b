//! What policy says now about somebody who was granted something earlier (PC-21): never more than then, often less.

use crate::app::Current;
use crate::issuer::error::GrantRefusal;
use portcullis_domain::builtin;
use portcullis_domain::policy::{Asker, ServerPolicy};
use portcullis_domain::registry::{Name, Server};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::time::Timestamp;
use portcullis_store::StoredUser;

/// Names of the roles that a person has today: those of the fleet file, and those that come with being an administrator or
/// an owner of a server.
pub(crate) fn roles_of(user: &StoredUser, current: &Current) -> Vec<String> {
    let roles = current.snapshot.roles.iter();
    let mut names: Vec<String> = roles
        .filter(|role| role.members.include(&user.username, &user.groups))
        .map(|role| role.name.to_string())
        .collect();
    if user.admin {
        names.push(builtin::OWNER.to_owned());
    }
    if servers_of(&user.username, current).next().is_some() {
        names.push(builtin::SERVER_OWNER.to_owned());
    }
    names
}

/// The servers that name a person as an owner.
pub(crate) fn servers_of<'c>(username: &str, current: &'c Current) -> impl Iterator<Item = &'c Name> {
    let servers = current.snapshot.servers.iter();
    servers
        .filter(move |server| server.owners.iter().any(|owner| owner == username))
        .map(|server| &server.name)
}

/// What is left of `granted`; `None` when it is nothing. An empty set never becomes the defaults here (style rule 14).
pub(crate) fn left_of(
    granted: &ScopeSet,
    asker: Asker<'_>,
    server: &ServerPolicy,
    now: Timestamp,
) -> Option<ScopeSet> {
    let declared = |scope: &&Scope| server.server().scopes.contains_key(*scope);
    let still: ScopeSet = granted.iter().filter(declared).collect();
    if still.is_empty() || still.iter().all(|scope| scope.as_str() == "offline_access") {
        return None;
    }
    server.issue(asker, Some(&still), now).ok()
}

/// Whether anything at all on this server is open to this caller (AUTHZ-17).
pub(crate) fn may_use(server: &ServerPolicy, asker: Asker<'_>, now: Timestamp) -> bool {
    let everything: ScopeSet = server.server().scopes.keys().collect();
    left_of(&everything, asker, server, now).is_some()
}

/// Why nothing is issued to a client whatever it asks for: the fleet says that it has ended. What has no end in the fleet
/// has none here.
pub(crate) fn ended(client: &ClientId, current: &Current, now: Timestamp) -> Option<GrantRefusal> {
    let snapshot = &current.snapshot;
    if let Some(agent) = snapshot.agents.iter().find(|agent| agent.client_id == *client) {
        return match (agent.disabled, agent.has_ended(now)) {
            (true, _) => Some(GrantRefusal::Disabled),
            (false, true) => Some(GrantRefusal::Expired),
            (false, false) => None,
        };
    }
    let client = snapshot.clients.iter().find(|known| known.client_id == *client)?;
    client.disabled.then_some(GrantRefusal::Disabled)
}

/// Whether the agent was given anything on this server (AS-RES-02).
pub(crate) fn agent_may_use(server: &Server, client: &ClientId, current: &Current) -> bool {
    let mut agents = current.snapshot.agents.iter();
    let agent = agents.find(|agent| agent.client_id == *client);
    let access = agent.and_then(|agent| agent.access.get(&server.name));
    access.is_some_and(|scopes| !scopes.is_empty())
}
