//! Laws of fleets, on random ones: what is written reads back the same, and differences are told exactly when there are any.

mod random;

use super::{Difference, Fleet, Surroundings};
use crate::registry::{Access, Agent, Server};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::scope::{Scope, ScopeSet};
use proptest::prelude::*;
use random::fleets;
use std::collections::BTreeSet;

fn issuer() -> Issuer {
    "https://mcp.example.com".parse().unwrap()
}

fn read(text: &str) -> Fleet {
    let commands = BTreeSet::from(["prog".to_owned()]);
    Fleet::parse(text, Surroundings { issuer: &issuer(), commands: &commands }).unwrap()
}

proptest! {
    #[test]
    fn pc_34_what_is_exported_reads_back_the_same(fleet in fleets()) {
        let text = fleet.to_toml(&issuer()).unwrap();
        prop_assert_eq!(read(&text), fleet, "{}", text);
    }

    #[test]
    fn pc_34_a_difference_is_told_exactly_when_there_is_one(before in fleets(), after in fleets()) {
        let difference = Difference::between(&before, &after, &issuer());
        prop_assert_eq!(difference.is_empty(), before == after);
        prop_assert!(Difference::between(&after, &after, &issuer()).is_empty());
        for changed in [&difference.servers, &difference.agents, &difference.clients, &difference.roles].into_iter().flat_map(|kind| &kind.changed) {
            prop_assert!(!changed.fields.is_empty(), "{}", changed.name);
        }
    }

    #[test]
    fn pc_34_whoever_loses_a_scope_is_named(before in fleets(), after in fleets()) {
        let difference = Difference::between(&before, &after, &issuer());
        for agent in &before.agents {
            let Some(now) = after.agents.iter().find(|other| other.name == agent.name) else { continue };
            for (at, server) in before.servers.iter().enumerate() {
                if server.canonical_uri != after.servers[at].canonical_uri { continue }
                let all = |servers: &[Server<()>], access: &Access| {
                    access.get(&server.name).map(|scopes| closure(&servers[at], scopes)).unwrap_or_default()
                };
                let nothing = Access::new();
                let effective = |agent: &Agent<()>| if agent.disabled { nothing.clone() } else { agent.access.clone() };
                let lost = all(&before.servers, &effective(agent)).difference(&all(&after.servers, &effective(now)));
                let whose = format!("agent {}", agent.name);
                let told = difference.narrowed.iter().find(|n| n.whose == whose && n.server == server.name);
                let told: ScopeSet = told.iter().flat_map(|narrowed| &narrowed.loses).collect();
                prop_assert_eq!(told, lost);
            }
        }
    }
}

/// A second, naive reading of what is implied.
fn closure(server: &Server<()>, start: &ScopeSet) -> ScopeSet {
    let mut all = start.clone();
    loop {
        let more = all
            .iter()
            .filter_map(|scope| server.scopes.get(scope))
            .fold(all.clone(), |sum, meaning| sum.union(&meaning.implies));
        if more == all {
            return all;
        }
        all = more;
    }
}

#[test]
fn pc_34_a_difference_speaks_of_the_file() {
    let text = |access: &str, rules: &str| {
        format!(
            "[[server]]\nname = \"s0\"\nupstream = {{ url = \"http://127.0.0.1:1\" }}\n[server.scopes]\nr = \"Read\"\n\
             w = {{ says = \"Write\", implies = [\"r\"] }}\n{rules}\n[[agent]]\nname = \"bot\"\nowner = \"me\"\naccess = {{ s0 = [{access}] }}\n"
        )
    };
    let rule =
        |tool: &str, scope: &str| format!("[[server.rule]]\ntools = [\"{tool}\"]\nscopes = [\"{scope}\"]\n");
    let before = read(&text("\"w\"", &(rule("list", "r") + &rule("create", "w"))));
    let after = read(&text("\"r\"", &(rule("new", "r") + &rule("list", "r") + &rule("create", "w"))));
    let difference = Difference::between(&before, &after, &issuer());
    let server = &difference.servers.changed[0].fields;
    assert_eq!(server.len(), 1, "an inserted rule is one change: {server:?}");
    assert_eq!(server[0].field, "rule 1");
    assert!(server[0].before.is_null());
    assert_eq!(server[0].after["tools"][0], "new");
    let agent = &difference.agents.changed[0].fields[0];
    assert_eq!((agent.field.as_str(), agent.before[0].as_str()), ("access.s0", Some("w")));
    assert_eq!(difference.narrowed.len(), 1);
    assert_eq!(
        difference.narrowed[0].loses,
        ["w".parse::<Scope>().unwrap()],
        "w implied r, which is still there"
    );
    assert!(difference.takes_away());
    assert!(Difference::between(&after, &before, &issuer()).takes_away(), "a rule goes");
    let mut wider = before.clone();
    wider.self_registered = before.agents[0].access.clone();
    assert!(!Difference::between(&before, &wider, &issuer()).takes_away(), "more is not less");
}

#[test]
fn pc_34_tools_that_are_cut_off_are_named() {
    let text = |rules: &str, agent: &str| {
        format!(
            "[[server]]\nname = \"s0\"\nupstream = {{ url = \"http://127.0.0.1:1\" }}\n[server.scopes]\nr = \"Read\"\n\
             w = \"Write\"\n{rules}\n[[agent]]\nname = \"bot\"\nowner = \"me\"\naccess = {{ s0 = [\"r\"] }}\n{agent}"
        )
    };
    let rule =
        |tool: &str, scope: &str| format!("[[server.rule]]\ntools = [\"{tool}\"]\nscopes = [\"{scope}\"]\n");
    let before = read(&text(&(rule("list_*", "r") + &rule("get", "r")), ""));
    let cut = |rules: &str, agent: &str| {
        let difference = Difference::between(&before, &read(&text(rules, agent)), &issuer());
        assert_eq!(difference.takes_away(), !difference.narrowed.is_empty());
        difference.narrowed.into_iter().flat_map(|narrowed| narrowed.tools).collect::<Vec<_>>()
    };
    assert_eq!(cut(&rule("list_*", "r"), ""), ["get"], "a rule that goes");
    assert_eq!(cut(&(rule("list_*", "r") + &rule("get", "w")), ""), ["get"], "a rule that asks for more");
    assert_eq!(
        cut(&(rule("list_*", "r") + &rule("get", "r") + &rule("*", "w")), ""),
        ["list_*", "get"],
        "one more rule that matches them"
    );
    assert_eq!(cut(&(rule("list_*", "r") + &rule("get", "r")), "disabled = true\n"), ["list_*", "get"]);
}

#[test]
fn pc_34_what_may_stop_somebody_is_said_to_take_away() {
    let text = |server: &str, agent: &str, client: &str| {
        format!(
            "[[server]]\nname = \"s0\"\nupstream = {{ url = \"http://127.0.0.1:1\" }}\n{server}\n\
             [[agent]]\nname = \"bot\"\nowner = \"me\"\n{agent}\n\
             [[client]]\nname = \"app\"\nowner = \"me\"\nauth = \"none\"\n{client}\n"
        )
    };
    let usual = [
        "title = \"T\"\nobserve = true\nowners = [\"a\"]",
        "expires = 2030-01-01",
        "redirect_uris = [\"https://a.example/x\", \"https://a.example/y\"]",
    ];
    let before = read(&text(usual[0], usual[1], usual[2]));
    let takes = |server: &str, agent: &str, client: &str| {
        let after = read(&text(server, agent, client));
        let difference = Difference::between(&before, &after, &issuer());
        assert!(!difference.is_empty());
        difference.takes_away()
    };
    let [server, agent, client] = usual;
    assert!(!takes(&server.replace("\"T\"", "\"U\""), agent, client), "words");
    assert!(takes(&server.replace("observe = true", ""), agent, client), "what was let through is refused");
    assert!(takes(&server.replace("[\"a\"]", "[\"b\"]"), agent, client), "an owner goes");
    assert!(takes(&(server.to_owned() + "\npinning = \"approved\""), agent, client), "a stricter pin");
    assert!(takes(server, "expires = 2029-01-01", client), "a nearer end");
    assert!(!takes(server, "", client), "no end any more");
    assert!(takes(server, &(agent.to_owned() + "\ndisabled = true"), client));
    assert!(takes(server, agent, "redirect_uris = [\"https://a.example/x\"]"), "a redirect URI goes");
    assert!(takes(server, agent, &(client.to_owned() + "\ndisabled = true")));
}
