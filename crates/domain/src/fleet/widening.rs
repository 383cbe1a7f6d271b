//! What of a change only an owner of the deployment may ask for: everything that gives anybody more access to the admin API.
//!
//! An operator who may change the fleet could otherwise make himself, or an agent whose secret he knows, an owner of it all.
//! Whatever a person would have to think about counts as more.

use super::Fleet;
use crate::builtin::{self, admin_access};
use crate::condition::Forbid;
use crate::registry::{Access, Agent, Client, Issuers, Name, Proof, Role, Server};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One sentence for each; empty when somebody who is no owner may apply it.
pub fn owners_only(before: &Fleet, after: &Fleet) -> Vec<String> {
    let mut says = Vec::new();
    let agents = by_name(&before.agents, |agent| &agent.name);
    for agent in &after.agents {
        if agent_gains(agents.get(&agent.name).copied(), agent) {
            says.push(format!("agent {}: its access to portcullis, or how it is had", agent.name));
        }
    }
    for client in &after.clients {
        if client_gains(before.clients.iter().find(|known| known.name == client.name), client) {
            says.push(format!("client {}: its access to portcullis, or how it is had", client.name));
        }
    }
    for role in &after.roles {
        if role_gains(before.roles.iter().find(|known| known.name == role.name), role) {
            says.push(format!("role {}: who has access to portcullis by it", role.name));
        }
    }
    let servers = by_name(&before.servers, |server| &server.name);
    for server in &after.servers {
        if gains_owner(servers.get(&server.name).copied(), server) {
            says.push(format!("server {}: who owns it", server.name));
        }
    }
    if gains(Some(&before.self_registered), &after.self_registered) {
        says.push("self_registered: access to portcullis".to_owned());
    }
    says.extend(conditions(before, after));
    says
}

/// Files of this machine that would be written, and secrets of it that would be shown to somebody to whom they were not shown
/// before: nobody names them from elsewhere.
pub fn new_places(before: &Fleet, after: &Fleet) -> Vec<String> {
    let known = by_name(&before.agents, |agent| &agent.name);
    let agents = after.agents.iter().filter(|agent| {
        let known = known.get(&agent.name);
        agent.deliver.is_some() && known.is_none_or(|known| known.deliver != agent.deliver)
    });
    let clients = after.clients.iter().filter(|client| {
        let known = before.clients.iter().find(|known| known.name == client.name);
        client.deliver.is_some() && known.is_none_or(|known| known.deliver != client.deliver)
    });
    let agents = agents.map(|agent| format!("agent {}", agent.name));
    let clients = clients.map(|client| format!("client {}", client.name));
    let known = by_name(&before.servers, |server| &server.name);
    let issuers = after.servers.iter().filter(|server| {
        let known = known.get(&server.name).map(|known| &known.issuers);
        shows_a_secret(known, &server.issuers)
    });
    // The same secret for another address is shown to somebody else.
    let upstreams = after.servers.iter().filter(|server| {
        let known = known.get(&server.name).map(|known| &known.placement);
        !server.placement.places().is_empty() && known != Some(&server.placement)
    });
    let issuers = issuers.map(|server| format!("server {}: issuers", server.name));
    let upstreams = upstreams.map(|server| format!("server {}: upstream and credential", server.name));
    agents.chain(clients).chain(issuers).chain(upstreams).collect()
}

/// Whether a secret of this machine would be shown somewhere that it was not shown before.
fn shows_a_secret(before: Option<&Issuers>, after: &Issuers) -> bool {
    let is_new = |proof: &Proof| {
        let mut known = before.into_iter().flat_map(|before| &before.external);
        matches!(proof, Proof::Introspection { .. }) && !known.any(|trusted| trusted.proof == *proof)
    };
    after.external.iter().any(|trusted| is_new(&trusted.proof))
}

fn by_name<T>(things: &[T], name: impl Fn(&T) -> &Name) -> HashMap<&Name, &T> {
    things.iter().map(|thing| (name(thing), thing)).collect()
}

fn agent_gains(before: Option<&Agent<()>>, after: &Agent<()>) -> bool {
    if admin_access(&after.access).is_empty() {
        return false;
    }
    before.is_none_or(|before| {
        gains(Some(&before.access), &after.access)
            || before.disabled && !after.disabled
            || ends_later(before.expires_at, after.expires_at)
            || before.deliver != after.deliver
            // Conditions look at them.
            || before.labels != after.labels
    })
}

fn client_gains(before: Option<&Client<()>>, after: &Client<()>) -> bool {
    if admin_access(&after.access).is_empty() {
        return false;
    }
    before.is_none_or(|before| {
        gains(Some(&before.access), &after.access)
            || before.disabled && !after.disabled
            || before.deliver != after.deliver
            || before.auth != after.auth
            // Where codes go is who gets the tokens.
            || after.redirect_uris.iter().any(|uri| !before.redirect_uris.contains(uri))
            || before.title != after.title
    })
}

fn role_gains(before: Option<&Role>, after: &Role) -> bool {
    if admin_access(&after.access).is_empty() {
        return false;
    }
    before.is_none_or(|before| {
        let is_new = |user: &String| !before.members.users.contains(user);
        gains(Some(&before.access), &after.access)
            || after.members.group.is_some() && after.members.group != before.members.group
            || after.members.users.iter().any(is_new)
    })
}

fn gains_owner(before: Option<&Server<()>>, after: &Server<()>) -> bool {
    let was_owner = |owner: &String| before.is_some_and(|before| before.owners.contains(owner));
    !after.owners.iter().all(was_owner)
}

/// Conditions on the admin API that become different: with less of them somebody has more, with more of them somebody could
/// shut the owners out.
fn conditions(before: &Fleet, after: &Fleet) -> Vec<String> {
    let mut says = Vec::new();
    let ours = |fleet: &'_ Fleet| -> BTreeMap<String, Forbid> {
        let ours = fleet.forbids.iter().filter(|forbid| may_concern_us(forbid));
        ours.map(|forbid| (forbid.name.clone(), forbid.clone())).collect()
    };
    let (held, holds) = (ours(before), ours(after));
    let names: BTreeSet<&String> = held.keys().chain(holds.keys()).collect();
    for name in names.into_iter().filter(|name| held.get(*name) != holds.get(*name)) {
        says.push(format!("forbid {name:?}: it holds for portcullis too"));
    }
    for forbid in held.values() {
        for name in &forbid.roles {
            let members = |fleet: &Fleet| {
                let role = fleet.roles.iter().find(|role: &&Role| role.name == *name);
                role.map(|role| role.members.clone())
            };
            if members(before) != members(after) {
                says.push(format!(
                    "role {name}: forbid {:?} holds its members back on portcullis",
                    forbid.name
                ));
            }
        }
    }
    says
}

/// Portcullis has no labels; what is said of labels is about other servers.
fn may_concern_us(forbid: &Forbid) -> bool {
    let names: &[Name] = &forbid.servers;
    forbid.labels.is_empty() && names.is_empty() || names.iter().any(builtin::is_reserved_server)
}

/// Whether there is something of the admin API in `after` that `before` does not hold.
fn gains(before: Option<&Access>, after: &Access) -> bool {
    let before = before.map(admin_access).unwrap_or_default();
    let held: ScopeSet = builtin::implied(&before);
    !admin_access(after).is_subset(&held)
}

fn ends_later(before: Option<Timestamp>, after: Option<Timestamp>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Surroundings;

    const FLEET: &str = r#"
[[server]]
name = "notes"
mode = "direct"
canonical_uri = "https://notes.example.com/mcp"
owners = ["erin"]
[server.scopes]
"notes:read" = "Read notes"

[[agent]]
name = "backup"
owner = "platform"
access = { portcullis = ["admin:read"], notes = ["notes:read"] }
expires = 2027-01-31

[[agent]]
name = "ci-bot"
owner = "platform"
access = { notes = ["notes:read"] }

[[client]]
name = "console"
owner = "platform"
redirect_uris = ["https://console.example.com/cb"]
auth = "none"
access = { portcullis = ["admin:write"] }

[[role]]
name = "auditors"
members = { users = ["frank"] }
access = { portcullis = ["audit:read"] }

[[role]]
name = "writers"
members = { group = "eng" }
access = { notes = ["notes:read"] }

[self_registered]
access = { notes = ["notes:read"] }
"#;

    fn fleet(text: &str) -> Fleet {
        let issuer = "https://as.example.com".parse().unwrap();
        let commands = BTreeSet::new();
        Fleet::parse(text, Surroundings { issuer: &issuer, commands: &commands }).unwrap()
    }

    fn told(from: &str, to: &str) -> Vec<String> {
        assert!(FLEET.contains(from), "{from}");
        owners_only(&fleet(FLEET), &fleet(&FLEET.replace(from, to)))
    }

    #[test]
    fn adm_03_whatever_gives_more_of_the_admin_api_is_for_owners() {
        let of_ci = r#"name = "ci-bot"
owner = "platform"
access = { notes = ["notes:read"] }"#;
        for (from, to) in [
            (of_ci, &*of_ci.replace("notes = [", "portcullis = [\"admin:read\"], notes = [")),
            (r#"portcullis = ["admin:read"]"#, r#"portcullis = ["admin:write"]"#),
            (r#"portcullis = ["admin:read"]"#, r#"portcullis = ["admin:read", "audit:read"]"#),
            ("expires = 2027-01-31", "expires = 2028-01-31"),
            ("expires = 2027-01-31", ""),
            ("expires = 2027-01-31", "labels = [\"night\"]\nexpires = 2027-01-31"),
            ("name = \"backup\"", "name = \"backup2\""),
            ("https://console.example.com/cb", "https://evil.example.com/cb"),
            (r#"cb"]"#, r#"cb", "https://evil.example.com/cb"]"#),
            (r#"users = ["frank"]"#, r#"users = ["frank", "mallory"]"#),
            (r#"users = ["frank"]"#, r#"group = "everybody", users = ["frank"]"#),
            (r#"["audit:read"]"#, r#"["audit:read", "admin:write"]"#),
            (
                r#"group = "eng" }
access = { "#,
                r#"group = "eng" }
access = { portcullis = ["admin:read"], "#,
            ),
            (r#"owners = ["erin"]"#, r#"owners = ["erin", "mallory"]"#),
            (r#"owners = ["erin"]"#, r#"owners = ["mallory"]"#),
            (
                r"[self_registered]
access = {",
                r#"[self_registered]
access = { portcullis = ["admin:read"],"#,
            ),
        ] {
            assert!(!told(from, to).is_empty(), "{from} -> {to}");
        }
    }

    #[test]
    fn adm_03_what_gives_nobody_more_of_it_is_for_every_operator() {
        for (from, to) in [
            ("", ""),
            ("Read notes", "Read all notes"),
            (r#"portcullis = ["admin:write"]"#, r#"portcullis = ["admin:read"]"#),
            (r#"portcullis = ["admin:read"], "#, ""),
            ("expires = 2027-01-31", "expires = 2026-12-31"),
            ("expires = 2027-01-31", "disabled = true\nexpires = 2027-01-31"),
            (r#"owners = ["erin"]"#, ""),
            (r#"group = "eng""#, r#"group = "all""#),
            (r#"portcullis = ["audit:read"]"#, "notes = []"),
        ] {
            assert_eq!(told(from, to), Vec::<String>::new(), "{from} -> {to}");
        }
        let emptied = owners_only(&fleet(FLEET), &Fleet::default());
        assert_eq!(emptied, Vec::<String>::new(), "taking away is no gain");
    }

    #[test]
    fn adm_03_conditions_that_could_shut_owners_out_are_for_owners() {
        let forbid = |rest: &str| format!("{FLEET}[[forbid]]\nname = \"x\"\n{rest}\n");
        let told = |from: &str, to: &str| owners_only(&fleet(from), &fleet(to));
        let everywhere = forbid("when = { outside = \"03:00-04:00 UTC\" }");
        let elsewhere = forbid("when = { outside = \"04:00-05:00 UTC\" }");
        let of_notes = forbid("servers = [\"notes\"]");
        for (from, to) in [
            (FLEET, &*everywhere),
            (&everywhere, FLEET),
            (&everywhere, &elsewhere),
            (&of_notes, &everywhere),
            (&everywhere, &of_notes),
            (FLEET, &forbid("roles = [\"auditors\"]")),
        ] {
            assert_eq!(told(from, to), ["forbid \"x\": it holds for portcullis too"], "{from} -> {to}");
        }
        for (from, to) in [(FLEET, &*of_notes), (&of_notes, FLEET), (&everywhere, &everywhere)] {
            assert_eq!(told(from, to), Vec::<String>::new(), "{from} -> {to}");
        }
    }

    #[test]
    fn adm_03_nobody_names_new_files_of_this_machine_from_elsewhere() {
        let deliver =
            "owner = \"platform\"\ncredential = { secret = { deliver = \"file:/etc/x\" } }\naccess = { notes";
        let with = FLEET.replace("owner = \"platform\"\naccess = { notes", deliver);
        assert_eq!(new_places(&fleet(FLEET), &fleet(&with)), ["agent ci-bot"]);
        assert_eq!(new_places(&fleet(&with), &fleet(&with)), Vec::<String>::new());
        assert_eq!(new_places(&fleet(&with), &fleet(&with.replace("/etc/x", "/etc/y"))), ["agent ci-bot"]);
    }
}
