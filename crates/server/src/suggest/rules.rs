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
