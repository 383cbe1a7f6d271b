//! Ceilings that hold more than was needed.

use super::used::Used;
use super::{Kind, Suggestion};
use portcullis_domain::policy::implied;
use portcullis_domain::registry::{Access, Server};
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::scope::{Scope, ScopeSet};

pub(super) fn narrower(snapshot: &Snapshot, used: &Used) -> Vec<Suggestion> {
    let mut all = Vec::new();
    for agent in snapshot.agents.iter().filter(|agent| !agent.disabled) {
        let of = |server: &str| used.by_client.get(&(agent.client_id.clone(), server.to_owned()));
        all.extend(access(snapshot, &format!("agent {}", agent.name), &agent.access, of));
    }
    for client in snapshot.clients.iter().filter(|client| !client.disabled) {
        let of = |server: &str| used.through.get(&(client.client_id.clone(), server.to_owned()));
        all.extend(access(snapshot, &format!("client {}", client.name), &client.access, of));
    }
    for role in &snapshot.roles {
        let of = |server: &str| used.by_role.get(&(role.name.to_string(), server.to_owned()));
        all.extend(access(snapshot, &format!("role {}", role.name), &role.access, of));
    }
    let is_registered = |client: &ClientId| snapshot.clients.iter().any(|known| known.client_id == *client);
    let mut strangers: std::collections::BTreeMap<&str, ScopeSet> = std::collections::BTreeMap::new();
    for ((client, server), scopes) in &used.through {
        if !is_registered(client) {
            let all = strangers.entry(server).or_default();
            *all = all.union(scopes);
        }
    }
    all.extend(access(snapshot, "self_registered", &snapshot.self_registered, |server| {
        strangers.get(server)
    }));
    all
}

/// The suggestion for one holder of access, if anything is too much.
fn access<'a>(
    snapshot: &Snapshot,
    about: &str,
    ceiling: &Access,
    used: impl Fn(&str) -> Option<&'a ScopeSet>,
) -> Option<Suggestion> {
    let mut reasons = Vec::new();
    let mut kept = Vec::new();
    for (name, scopes) in ceiling {
        // The built-in server is not in the record of calls.
        let Some(server) =
            snapshot.servers.iter().find(|server| server.name == *name && name.as_str() != "portcullis")
        else {
            kept.push((name, scopes.clone()));
            continue;
        };
        let needed = match used(name.as_str()) {
            None => ScopeSet::default(),
            Some(used) => enough(server, scopes, used),
        };
        let unused: ScopeSet = scopes.iter().filter(|scope| !needed.contains(scope)).collect();
        if used(name.as_str()).is_none() && !scopes.is_empty() {
            reasons.push(format!("never called {name}"));
        } else if !unused.is_empty() {
            reasons.push(format!("never needed {unused} on {name}"));
        }
        if !needed.is_empty() {
            kept.push((name, needed));
        }
    }
    if reasons.is_empty() {
        return None;
    }
    let entries: Vec<String> = kept
        .iter()
        .map(|(name, scopes)| {
            let scopes: Vec<String> = scopes.iter().map(|scope| format!("{:?}", scope.as_str())).collect();
            format!("{name} = [{}]", scopes.join(", "))
        })
        .collect();
    let access = if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) };
    Some(Suggestion {
        kind: Kind::UnusedScopes,
        about: about.to_owned(),
        reason: reasons.join("; "),
        toml: format!("access = {access}"),
    })
}

/// As few scopes of the ceiling as hold everything that was needed. Whoever connected keeps at least one.
pub(super) fn enough(server: &Server, ceiling: &ScopeSet, used: &ScopeSet) -> ScopeSet {
    let weight = |scope: &&Scope| implied(server, &ScopeSet::from_iter([*scope])).len();
    let mut kept: ScopeSet = ceiling.iter().filter(|scope| used.contains(scope)).collect();
    for scope in used.iter() {
        if implied(server, &kept).contains(scope) {
            continue;
        }
        let holds = |held: &&Scope| implied(server, &ScopeSet::from_iter([*held])).contains(scope);
        if let Some(held) = ceiling.iter().filter(holds).min_by_key(weight) {
            kept.insert(held.clone());
        }
    }
    if kept.is_empty()
        && let Some(least) = ceiling.iter().min_by_key(weight)
    {
        kept.insert(least.clone());
    }
    // What another kept one implies need not stand there.
    let all = kept.clone();
    all.iter().fold(kept, |kept, scope| {
        let others: ScopeSet = kept.iter().filter(|other| *other != scope).collect();
        if implied(server, &others).contains(scope) { others } else { kept }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::fleet::{Fleet, Surroundings};
    use portcullis_domain::id::ServerId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn server() -> Server {
        let text = r#"
[[server]]
name = "s"
upstream = { url = "http://127.0.0.1:9/mcp" }
[server.scopes]
"r" = "Read"
"w" = { says = "Write", implies = ["r"] }
"a" = { says = "Admin", implies = ["w"] }
"x" = "Other"
"#;
        let (issuer, commands) = ("https://as.test".parse().unwrap(), BTreeSet::new());
        let fleet = Fleet::parse(text, Surroundings { issuer: &issuer, commands: &commands }).unwrap();
        fleet.servers[0].clone().with_id(ServerId::from_bytes([1; 16]))
    }

    #[test]
    fn pc_26_a_ceiling_is_cut_to_what_was_needed() {
        let of = |ceiling: &str, used: &str| {
            enough(&server(), &ceiling.parse().unwrap(), &used.parse().unwrap()).to_string()
        };
        assert_eq!(of("a r w x", "r"), "r");
        assert_eq!(of("a w", "r"), "w", "the least that holds it");
        assert_eq!(of("a x", "r x"), "a x");
        assert_eq!(of("r w", "r w"), "w");
        assert_eq!(of("a w", ""), "w", "whoever connects needs something");
    }

    proptest! {
        #[test]
        fn pc_26_a_suggestion_is_never_wider_and_takes_nothing_that_was_used(
            ceiling in proptest::sample::subsequence(vec!["a", "r", "w", "x"], 0..=4),
            used in proptest::sample::subsequence(vec!["a", "r", "w", "x"], 0..=4),
        ) {
            let server = server();
            let (ceiling, used): (ScopeSet, ScopeSet) = (ceiling.join(" ").parse().unwrap(), used.join(" ").parse().unwrap());
            let kept = enough(&server, &ceiling, &used);
            prop_assert!(kept.is_subset(&ceiling));
            let could = used.intersection(&implied(&server, &ceiling));
            prop_assert!(could.is_subset(&implied(&server, &kept)));
        }
    }
}
