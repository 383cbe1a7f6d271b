//! What a change of some agents makes of a snapshot and its policy is what the whole of the new one is.

use super::{scope, scopes};
use crate::condition::Forbid;
use crate::id::ServerId;
use crate::policy::Policy;
use crate::registry::{Access, Agent};
use crate::snapshot::{ChangedAgents, Snapshot, tests::snapshot};
use portcullis_oauth::time::Timestamp;
use proptest::prelude::*;

const AGENTS: usize = 4;

fn access() -> impl Strategy<Value = Access> {
    let server = prop::sample::select(vec!["notes", "ops", "gone"]);
    prop::collection::btree_map(server.prop_map(|name| name.parse().unwrap()), scopes(3), 0..=3)
}

fn agent(at: usize) -> impl Strategy<Value = Agent> {
    let end = prop::option::of((0..200_i64).prop_map(Timestamp::from_seconds));
    (access(), any::<bool>(), end, any::<bool>()).prop_map(move |(access, disabled, expires_at, renamed)| {
        Agent {
            client_id: format!("cli_{at}").parse().unwrap(),
            name: format!("{}-{at}", if renamed { "a" } else { "b" }).parse().unwrap(),
            owner: "o".into(),
            labels: vec![],
            disabled,
            expires_at,
            access,
            introspects: vec![],
            deliver: None,
        }
    })
}

/// Some of the agents that there can be, by name.
fn agents() -> impl Strategy<Value = Vec<Agent>> {
    let some: Vec<_> = (0..AGENTS).map(|at| prop::option::of(agent(at))).collect();
    some.prop_map(|some| {
        let mut agents: Vec<Agent> = some.into_iter().flatten().collect();
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        agents
    })
}

/// Two servers and these agents.
fn with(agents: Vec<Agent>, number: u64) -> Snapshot {
    let mut snapshot = snapshot();
    let meaning = snapshot.servers[0].scopes.values().next().unwrap().clone();
    snapshot.servers[0].scopes = (0..super::SCOPES).map(|at| (scope(at), meaning.clone())).collect();
    for meaning in snapshot.servers[0].scopes.values_mut() {
        meaning.implies = std::iter::once(scope(0)).collect();
    }
    snapshot.servers[0].rules.clear();
    snapshot.servers[0].default_scopes = portcullis_oauth::scope::ScopeSet::default();
    let mut other = snapshot.servers[0].clone();
    other.id = ServerId::from_bytes([2; 16]);
    other.name = "ops".parse().unwrap();
    other.canonical_uri = "https://as.test/mcp/ops".parse().unwrap();
    snapshot.servers.push(other);
    Snapshot { number, agents, ..snapshot }
}

fn difference(before: &[Agent], after: &[Agent]) -> ChangedAgents {
    let is_known = |agent: &&Agent| after.iter().any(|other| other.client_id == agent.client_id);
    ChangedAgents {
        put: after.iter().filter(|agent| !before.contains(agent)).cloned().collect(),
        removed: before
            .iter()
            .filter(|agent| !is_known(agent))
            .map(|agent| agent.client_id.clone())
            .collect(),
    }
}

proptest! {
    #[test]
    fn pc_62_some_changed_agents_give_what_everything_anew_gives(before in agents(), after in agents()) {
        let changed = difference(&before, &after);
        let (before, after) = (with(before, 1), with(after, 2));
        let incremental = Policy::compile(&before).unwrap().with_agents(&changed).unwrap();
        let whole = Policy::compile(&after).unwrap();
        for (ours, wanted) in incremental.servers.iter().zip(&whole.servers) {
            prop_assert_eq!(&ours.agents, &wanted.agents);
            prop_assert_eq!((&ours.clients, &ours.roles, ours.self_registered), (&wanted.clients, &wanted.roles, wanted.self_registered));
            prop_assert_eq!((&ours.server, &ours.closures), (&wanted.server, &wanted.closures));
        }
        prop_assert_eq!((&incremental.by_name, &incremental.by_uri), (&whole.by_name, &whole.by_uri));
        prop_assert_eq!(before.with_agents(&changed, 2), after);
    }
}

#[test]
fn pc_62_where_conditions_select_agents_only_everything_anew_can_tell() {
    let mut snapshot = snapshot();
    let forbid = |agents: &[&str], labels: &[&str]| Forbid {
        name: "x".into(),
        agents: agents.iter().map(|name| name.parse().unwrap()).collect(),
        agent_labels: labels.iter().map(ToString::to_string).collect(),
        ..Forbid::default()
    };
    for (forbid, can_tell) in
        [(forbid(&[], &[]), true), (forbid(&["ci-bot"], &[]), false), (forbid(&[], &["night"]), false)]
    {
        snapshot.forbids = vec![forbid];
        let policy = Policy::compile(&snapshot).unwrap();
        assert_eq!(policy.with_agents(&ChangedAgents::default()).is_some(), can_tell);
    }
}
