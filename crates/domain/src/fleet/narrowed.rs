//! Who may do less by another fleet: scopes and tools that are cut off.

use super::Fleet;
use crate::policy::{covers, implied};
use crate::registry::{Access, Name, Server};
use portcullis_oauth::scope::{Scope, ScopeSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Somebody who may do less on a server that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// `agent NAME`, `client NAME`, `role NAME` or `self-registered clients`.
    pub whose: String,
    /// On which server.
    pub server: Name,
    /// What is gone, implied scopes included.
    pub loses: Vec<Scope>,
    /// Patterns of rules whose tools were open to it and are no more.
    #[serde(default)]
    pub tools: Vec<String>,
}

/// Everybody, in the order of the fleet. An agent or a client that goes loses everything and is not here.
pub(super) fn narrowed(before: &Fleet, after: &Fleet) -> Vec<Narrowed> {
    let stays = Staying::between(before, after);
    let nothing = Access::new();
    let mut all = Vec::new();
    // What is disabled may nothing, whatever its access says.
    let agents: BTreeMap<&Name, &Access> = after
        .agents
        .iter()
        .map(|agent| (&agent.name, if agent.disabled { &nothing } else { &agent.access }))
        .collect();
    for agent in before.agents.iter().filter(|agent| !agent.disabled) {
        if let Some(access) = agents.get(&agent.name) {
            stays.compare(&agent.access, access, || format!("agent {}", agent.name), &mut all);
        }
    }
    let clients: BTreeMap<&Name, &Access> = after
        .clients
        .iter()
        .map(|client| (&client.name, if client.disabled { &nothing } else { &client.access }))
        .collect();
    for client in before.clients.iter().filter(|client| !client.disabled) {
        if let Some(access) = clients.get(&client.name) {
            stays.compare(&client.access, access, || format!("client {}", client.name), &mut all);
        }
    }
    let roles: BTreeMap<&Name, &Access> = after.roles.iter().map(|role| (&role.name, &role.access)).collect();
    for role in &before.roles {
        let access = roles.get(&role.name).copied().unwrap_or(&nothing);
        stays.compare(&role.access, access, || format!("role {}", role.name), &mut all);
    }
    let whose = || "self-registered clients".to_owned();
    stays.compare(&before.self_registered, &after.self_registered, whose, &mut all);
    all
}

/// Servers that are there before and after.
struct Staying<'a>(BTreeMap<&'a Name, (&'a Server<()>, &'a Server<()>)>);

impl<'a> Staying<'a> {
    fn between(before: &'a Fleet, after: &'a Fleet) -> Self {
        let new: BTreeMap<&Name, &Server<()>> =
            after.servers.iter().map(|server| (&server.name, server)).collect();
        let pairs = before.servers.iter().filter_map(|old| {
            let new = new.get(&old.name).filter(|new| new.canonical_uri == old.canonical_uri)?;
            Some((&old.name, (old, *new)))
        });
        Self(pairs.collect())
    }

    fn compare(&self, before: &Access, after: &Access, whose: impl Fn() -> String, all: &mut Vec<Narrowed>) {
        let nothing = ScopeSet::default();
        for (name, had) in before {
            let has = after.get(name).unwrap_or(&nothing);
            let is_other = |(old, new): &(&Server<()>, &Server<()>)| {
                had != has || old.scopes != new.scopes || old.rules != new.rules
            };
            let Some((old, new)) = self.0.get(name).copied().filter(is_other) else { continue };
            let (had, has) = (implied(old, had), implied(new, has));
            let loses: Vec<Scope> = had.difference(&has).iter().cloned().collect();
            let tools = closed_tools((old, &had), (new, &has));
            if !loses.is_empty() || !tools.is_empty() {
                all.push(Narrowed { whose: whose(), server: name.clone(), loses, tools });
            }
        }
    }
}

/// Patterns of the old rules whose tools these scopes opened, and no more do.
fn closed_tools(before: (&Server<()>, &ScopeSet), after: (&Server<()>, &ScopeSet)) -> Vec<String> {
    let mut closed: Vec<String> = Vec::new();
    for pattern in before.0.rules.iter().flat_map(|rule| &rule.tools) {
        if opens(before, pattern) && !opens(after, pattern) && !closed.contains(pattern) {
            closed.push(pattern.clone());
        }
    }
    closed
}

/// Whether these scopes open every tool that the pattern matches, as far as rules speak of all of them.
fn opens((server, scopes): (&Server<()>, &ScopeSet), pattern: &str) -> bool {
    let matching = server.rules.iter().filter(|rule| rule.tools.iter().any(|wide| covers(wide, pattern)));
    let needs = matching.map(|rule| rule.scopes.clone()).reduce(|all, more| all.union(&more));
    needs.is_some_and(|needs| needs.is_subset(scopes))
}
