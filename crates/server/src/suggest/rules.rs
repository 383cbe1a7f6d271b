//! Rules that open more than was called, or different things alike.

use super::used::Used;
use super::{Kind, Suggestion};
use crate::draft::{is_harmful, is_harmless};
use portcullis_domain::policy::glob;
use portcullis_domain::registry::{Risk, Rule, Server};
use portcullis_domain::snapshot::Snapshot;
use std::fmt::Write as _;

pub(super) fn narrower(snapshot: &Snapshot, used: &Used) -> Vec<Suggestion> {
    let mut all = Vec::new();
    for server in snapshot.servers.iter().filter(|server| server.name.as_str() != "portcullis") {
        for (number, rule) in (1..).zip(&server.rules) {
            let about = format!("server {} rule {number}", server.name);
            all.extend(of_rule(server, rule, &about, used));
        }
    }
    all.extend(used.observed.iter().map(|((server, who, what), count)| Suggestion {
        kind: Kind::Observed,
        about: format!("server {server}"),
        reason: format!("{what} by {who} ({count} times) goes through only because the server is observed"),
        toml: String::new(),
    }));
    all
}

fn of_rule(server: &Server, rule: &Rule, about: &str, used: &Used) -> Vec<Suggestion> {
    let mut all = Vec::new();
    let suggestion =
        |kind, reason: String, toml: String| Suggestion { kind, about: about.to_owned(), reason, toml };
    let name = server.name.as_str();
    if !used.overflown.contains(name) {
        let called = |pattern: &String| -> Vec<String> {
            let Ok(pattern) = glob(pattern) else { return Vec::new() };
            let pattern = pattern.compile_matcher();
            used.has_called(name, "tool").filter(|tool| pattern.is_match(tool)).cloned().collect()
        };
        let (mut kept, mut idle, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in &rule.tools {
            match called(pattern) {
                tools if tools.is_empty() => idle.push(pattern.clone()),
                tools if pattern.contains('*') => {
                    wide.push(pattern.clone());
                    kept.extend(tools.into_iter().filter(|tool| !tool.contains(['*', '\\'])));
                }
                _ => kept.push(pattern.clone()),
            }
        }
        if !idle.is_empty() {
            let reason = format!("never called: {}", idle.join(", "));
            all.push(suggestion(Kind::UncalledTools, reason, written(rule, &kept)));
        } else if !wide.is_empty() {
            let reason = format!("{} opens more than the tools that were called", wide.join(", "));
            all.push(suggestion(Kind::WidePattern, reason, written(rule, &kept)));
        }
    }
    let exact = rule.tools.iter().filter(|tool| !tool.contains('*'));
    let (harmful, others): (Vec<String>, Vec<String>) = exact.cloned().partition(|tool| is_harmful(tool));
    if !harmful.is_empty() && others.iter().any(|tool| is_harmless(tool)) {
        let reason = format!("one scope opens {} and {}", others.join(", "), harmful.join(", "));
        all.push(suggestion(Kind::MixedRule, reason, split(server, rule, &harmful)));
    } else if !harmful.is_empty() && rule.risk == Risk::Usual {
        let reason = format!("{} can do harm", harmful.join(", "));
        all.push(suggestion(Kind::UnmarkedRisk, reason, "risk = \"high\"".to_owned()));
    }
    all
}

/// The rule with these tools; nothing where it would be about nothing.
fn written(rule: &Rule, tools: &[String]) -> String {
    let mut text = String::new();
    for (key, names) in [("tools", tools), ("prompts", &rule.prompts), ("resources", &rule.resources)] {
        if !names.is_empty() {
            let _infallible = writeln!(text, "{key} = {}", crate::draft::list_of(names));
        }
    }
    if text.is_empty() {
        return "# the whole rule can go".to_owned();
    }
    let scopes: Vec<String> = rule.scopes.iter().map(ToString::to_string).collect();
    let risk = if rule.risk == Risk::High { "\nrisk = \"high\"" } else { "" };
    format!("[[server.rule]]\n{text}scopes = {}{risk}", crate::draft::list_of(&scopes))
}

/// The harmful tools under a scope of their own, which nobody has until somebody gives it: so nobody gets more.
fn split(server: &Server, rule: &Rule, harmful: &[String]) -> String {
    let rest: Vec<String> = rule.tools.iter().filter(|tool| !harmful.contains(tool)).cloned().collect();
    let free = |name: &String| !server.scopes.keys().any(|scope| scope.as_str() == name);
    let named = |number: usize| match number {
        1 => format!("{}:admin", server.name),
        number => format!("{}:admin-{number}", server.name),
    };
    let scope = (1..1000).map(named).find(free).unwrap_or_default();
    // Both scopes are needed: whoever had the old one only can do less than before.
    let mut scopes: Vec<String> = rule.scopes.iter().map(ToString::to_string).collect();
    scopes.push(scope.clone());
    format!(
        "# under [server.scopes]:\n# {} = \"Do what cannot be undone\"\n{}\n[[server.rule]]\ntools = {}\nscopes = {}\nrisk = \"high\"",
        crate::draft::quoted(&scope),
        written(rule, &rest),
        crate::draft::list_of(harmful),
        crate::draft::list_of(&scopes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::fleet::{Fleet, Surroundings};
    use portcullis_domain::id::ServerId;
    use std::collections::BTreeSet;

    /// A server `s` with these rules; scopes `r` and `w`, which implies it.
    fn server(rules: &str) -> Server {
        let text = format!(
            "[[server]]\nname = \"s\"\nupstream = {{ url = \"http://127.0.0.1:9/mcp\" }}\n[server.scopes]\n\
             \"r\" = \"Read\"\n\"w\" = {{ says = \"Write\", implies = [\"r\"] }}\n{rules}"
        );
        let (issuer, commands) = ("https://as.test".parse().unwrap(), BTreeSet::new());
        let fleet = Fleet::parse(&text, Surroundings { issuer: &issuer, commands: &commands });
        fleet.unwrap().servers[0].clone().with_id(ServerId::from_bytes([1; 16]))
    }

    fn rule(body: &str) -> String {
        format!("[[server.rule]]\n{body}\n")
    }

    /// Tools that were called on it.
    fn called(tools: &[&str]) -> Used {
        let names = tools.iter().map(ToString::to_string).collect();
        Used { calls: 1, called: [(("s".to_owned(), "tool".to_owned()), names)].into(), ..Used::default() }
    }

    /// Kind, reason and text for the one rule of a server.
    fn of(body: &str, used: &Used) -> Vec<(Kind, String, String)> {
        let server = server(&rule(body));
        let all = of_rule(&server, &server.rules[0], "server s rule 1", used);
        all.into_iter().map(|found| (found.kind, found.reason, found.toml)).collect()
    }

    /// The rule with what was suggested in its place.
    fn with(toml: &str) -> Server {
        server(&format!("{toml}\n"))
    }

    #[test]
    fn pc_26_tools_that_nobody_called_can_go_and_the_others_stay() {
        let body = "tools = [\"list\", \"read_*\"]\nprompts = [\"p\"]\nscopes = [\"r\"]";
        assert_eq!(of(body, &called(&["list", "read_a"])).len(), 1, "a pattern is wide, and nothing idle");
        let [(kind, reason, toml)] = &of(body, &called(&["list"]))[..] else { panic!() };
        assert_eq!((*kind, reason.as_str()), (Kind::UncalledTools, "never called: read_*"));
        let narrowed = &with(toml).rules[0];
        assert_eq!(
            (&narrowed.tools[..], &narrowed.prompts[..]),
            (&["list".to_owned()][..], &["p".to_owned()][..])
        );
        let [(_, _, toml)] = &of("tools = [\"list\"]\nscopes = [\"r\"]", &called(&["x"]))[..] else {
            panic!()
        };
        assert_eq!(toml, "# the whole rule can go");
        assert!(
            of("tools = [\"list\"]\nscopes = [\"r\"]", &called(&["list"])).is_empty(),
            "as narrow as can be"
        );
    }

    #[test]
    fn pc_26_a_pattern_becomes_the_tools_that_were_called() {
        let body = "tools = [\"read_*\", \"list\"]\nscopes = [\"r\"]";
        let [(kind, reason, toml)] = &of(body, &called(&["read_a", "read_b", "list", "write"]))[..] else {
            panic!()
        };
        assert_eq!(
            (*kind, reason.as_str()),
            (Kind::WidePattern, "read_* opens more than the tools that were called")
        );
        assert_eq!(with(toml).rules[0].tools, ["read_a", "read_b", "list"]);
        // A name that would be a pattern itself is not written as one.
        let [(_, _, toml)] = &of("tools = [\"read_*\"]\nscopes = [\"r\"]", &called(&["read_*"]))[..] else {
            panic!()
        };
        assert!(!toml.contains('*'), "{toml}");
    }

    #[test]
    fn pc_26_where_names_are_not_complete_nothing_is_said_of_tools() {
        let mut used = called(&["list"]);
        used.overflown.insert("s".to_owned());
        assert!(of("tools = [\"read_*\", \"list\"]\nscopes = [\"r\"]", &used).is_empty());
    }

    #[test]
    fn pc_26_harmful_tools_get_a_scope_of_their_own_and_nobody_gets_more() {
        let body = "tools = [\"list_notes\", \"delete_note\"]\nscopes = [\"w\"]";
        let used = called(&["list_notes", "delete_note"]);
        let [(kind, _, toml)] = &of(body, &used)[..] else { panic!() };
        assert_eq!(*kind, Kind::MixedRule);
        let split = with(&format!("\"s:admin\" = \"Do what cannot be undone\"\n{toml}"));
        let needs = |tool: &str| {
            let rules = split.rules.iter().filter(|rule| rule.tools.iter().any(|name| name == tool));
            rules.map(|rule| rule.scopes.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(needs("list_notes"), ["w"]);
        assert_eq!(needs("delete_note"), ["s:admin w"], "both: who had the old one can do less than before");
        let harmful = split.rules.iter().find(|rule| rule.tools == ["delete_note"]).unwrap();
        assert_eq!(harmful.risk, Risk::High);
    }

    #[test]
    fn pc_26_a_harmful_tool_is_to_be_marked() {
        let used = called(&["delete_note"]);
        let [(kind, _, toml)] = &of("tools = [\"delete_note\"]\nscopes = [\"w\"]", &used)[..] else {
            panic!()
        };
        assert_eq!((*kind, toml.as_str()), (Kind::UnmarkedRisk, "risk = \"high\""));
        assert!(of("tools = [\"delete_note\"]\nscopes = [\"w\"]\nrisk = \"high\"", &used).is_empty());
        assert!(of("tools = [\"list_notes\"]\nscopes = [\"r\"]", &called(&["list_notes"])).is_empty());
    }
}
