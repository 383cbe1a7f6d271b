//! `[[forbid]]`: that it names things that there are, and can ever forbid something.

use super::Check;
use crate::condition::{Forbid, When};
use crate::fleet::Fleet;
use crate::fleet::raw::{RawForbid, RawWhen};
use crate::policy::{glob, is_about, meet};
use crate::registry::Server;
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use toml::Spanned;

/// RFC 6749 s5.2: what may stand in an error description.
fn is_sayable(name: &str) -> bool {
    let sayable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    (1..=100).contains(&name.len()) && name.bytes().all(sayable) && name.trim() == name
}

/// What a forbid may name.
pub(super) struct Known<'a> {
    servers: BTreeMap<&'a str, &'a Server<()>>,
    server_names: BTreeSet<&'a str>,
    server_labels: BTreeSet<&'a str>,
    scopes: BTreeSet<&'a str>,
    agents: BTreeSet<&'a str>,
    agent_labels: BTreeSet<&'a str>,
    roles: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn of(fleet: &'a Fleet) -> Self {
        let labels = |all: &'a [String]| all.iter().map(String::as_str);
        Self {
            servers: fleet.servers.iter().map(|server| (server.name.as_str(), server)).collect(),
            server_names: fleet.servers.iter().map(|server| server.name.as_str()).collect(),
            server_labels: fleet.servers.iter().flat_map(|server| labels(&server.labels)).collect(),
            scopes: fleet.servers.iter().flat_map(|server| server.scopes.keys().map(Scope::as_str)).collect(),
            agents: fleet.agents.iter().map(|agent| agent.name.as_str()).collect(),
            agent_labels: fleet.agents.iter().flat_map(|agent| labels(&agent.labels)).collect(),
            roles: fleet.roles.iter().map(|role| role.name.as_str()).collect(),
        }
    }

    /// The servers that a forbid is about.
    fn about(&self, forbid: &Forbid) -> Vec<&'a Server<()>> {
        self.servers.values().copied().filter(|server| is_about(forbid, server)).collect()
    }
}

impl Check<'_> {
    /// All of them. Names of things are looked up in what the rest of the file says.
    pub(super) fn forbids(&mut self, raw: Vec<RawForbid>, known: &Known<'_>) -> Vec<Forbid> {
        let mut names = BTreeSet::new();
        let forbids = raw.into_iter().filter_map(|raw| self.forbid(raw, known, &mut names));
        let mut forbids: Vec<Forbid> = forbids.collect();
        forbids.sort_by(|one, other| one.name.cmp(&other.name));
        forbids
    }

    fn forbid(&mut self, raw: RawForbid, known: &Known<'_>, names: &mut BTreeSet<String>) -> Option<Forbid> {
        let before = self.problems.len();
        let at = raw.name.span().start;
        self.name_of_forbid(&raw, names);
        self.empty_selectors(&raw);
        let patterns: Vec<Spanned<String>> = raw.tools.clone().unwrap_or_default();
        let arguments =
            raw.when.as_ref().map(|when| when.get_ref().places_of_arguments()).unwrap_or_default();
        let forbid = Forbid {
            servers: self.known_all(raw.servers, "server", &known.server_names),
            labels: self.known_all(raw.labels, "server with the label", &known.server_labels),
            scopes: self
                .known_all::<Scope>(raw.scopes, "scope", &known.scopes)
                .into_iter()
                .collect::<ScopeSet>(),
            tools: self.patterns(raw.tools.unwrap_or_default()),
            agents: self.known_all(raw.agents, "agent", &known.agents),
            agent_labels: self.known_all(raw.agent_labels, "agent with the label", &known.agent_labels),
            roles: self.known_all(raw.roles, "role", &known.roles),
            when: raw.when.map(|when| self.when(when)).unwrap_or_default(),
            name: raw.name.into_inner(),
        };
        if self.problems.len() > before {
            return None;
        }
        self.can_forbid(at, &forbid, &patterns, known);
        self.about_seen_tools(&forbid, &patterns, &arguments, known.about(&forbid));
        Some(forbid)
    }

    fn name_of_forbid(&mut self, raw: &RawForbid, names: &mut BTreeSet<String>) {
        let at = raw.name.span().start;
        if !is_sayable(raw.name.get_ref()) {
            self.problem(
                at,
                "the name stands in refusals: 1 to 100 characters of ASCII, without quotation marks and backslashes",
            );
        }
        if !names.insert(raw.name.get_ref().clone()) {
            self.problem(
                at,
                format!("two forbids are named {:?}: refusals say only the name", raw.name.get_ref()),
            );
        }
    }

    /// An empty list looks as if it selected nothing; left out, a key selects everything.
    fn empty_selectors(&mut self, raw: &RawForbid) {
        let lists = [
            ("servers", &raw.servers),
            ("labels", &raw.labels),
            ("scopes", &raw.scopes),
            ("tools", &raw.tools),
            ("agents", &raw.agents),
            ("agent_labels", &raw.agent_labels),
            ("roles", &raw.roles),
        ];
        let at = raw.name.span().start;
        for (key, _) in lists.iter().filter(|(_, list)| list.as_ref().is_some_and(Vec::is_empty)) {
            self.problem(at, format!("{key} is empty: leave it out to mean all of them"));
        }
        if lists.iter().all(|(_, list)| list.is_none()) && raw.when.is_none() {
            self.problem(at, "this forbids everything to everybody, always: say what, to whom, or when");
        }
    }

    /// Each of a list, if there is such a thing.
    fn known_all<T>(
        &mut self,
        raw: Option<Vec<Spanned<String>>>,
        kind: &str,
        known: &BTreeSet<&str>,
    ) -> Vec<T>
    where
        T: FromStr,
    {
        let mut all = Vec::new();
        for text in raw.unwrap_or_default() {
            match text.get_ref().parse() {
                Ok(value) if known.contains(text.get_ref().as_str()) => all.push(value),
                Ok(_) | Err(_) => {
                    let hint = self.hint(text.get_ref(), known.iter().copied());
                    self.problem(
                        text.span().start,
                        format!("there is no {kind} {:?}; {hint}", text.get_ref()),
                    );
                }
            }
        }
        all
    }

    fn when(&mut self, raw: Spanned<RawWhen>) -> When {
        let at = raw.span().start;
        let raw = raw.into_inner();
        if raw.is_empty() {
            self.problem(at, "when says nothing: leave it out to mean always");
        }
        let outside = self.arguments(raw.argument_outside);
        When {
            inside: raw.inside.and_then(|text| self.said(&text)),
            outside: raw.outside.and_then(|text| self.said(&text)),
            address_in: raw.address_in.iter().flatten().filter_map(|text| self.said(text)).collect(),
            address_not_in: raw.address_not_in.iter().flatten().filter_map(|text| self.said(text)).collect(),
            argument_in: self.arguments(raw.argument_in),
            argument_outside: outside,
        }
    }

    fn arguments<T>(&mut self, raw: Option<BTreeMap<String, Spanned<String>>>) -> BTreeMap<String, T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let all = raw.unwrap_or_default().into_iter();
        all.filter_map(|(name, text)| self.said(&text).map(|pattern| (name, pattern))).collect()
    }

    fn said<T>(&mut self, text: &Spanned<String>) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.read(text)
    }

    /// What could never forbid anything looks as if it did.
    fn can_forbid(&mut self, at: usize, forbid: &Forbid, patterns: &[Spanned<String>], known: &Known<'_>) {
        let by_machine = !forbid.agents.is_empty() || !forbid.agent_labels.is_empty();
        if by_machine && !forbid.roles.is_empty() {
            self.problem(at, "nobody is an agent and has a role: write two forbids");
        }
        if forbid.when.asks_for_arguments() && forbid.tools.is_empty() {
            self.problem(
                at,
                "a condition on arguments needs tools: a call without the argument is refused, whatever the tool is",
            );
        }
        let about = known.about(forbid);
        if about.is_empty() {
            self.problem(at, "no server is selected by servers, labels and scopes together");
            return;
        }
        let rules = || about.iter().flat_map(|server| &server.rules);
        for pattern in patterns.iter().filter(|pattern| glob(pattern.get_ref()).is_ok()) {
            if !rules().any(|rule| rule.tools.iter().any(|tool| meet(tool, pattern.get_ref()))) {
                let says = format!(
                    "no rule of these servers is about {:?}, so it is refused to everybody anyway; is it spelt right?",
                    pattern.get_ref()
                );
                self.problem(pattern.span().start, says);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::{Fleet, Problem, Surroundings};
    use std::collections::BTreeSet;

    const BEFORE: &str = r#"[[server]]
name = "notes"
labels = ["pii"]
upstream = { url = "http://127.0.0.1:1/mcp" }
[server.scopes]
r = "Read"
w = "Write"
[[server.rule]]
tools = ["list_*"]
scopes = ["r"]
[[agent]]
name = "bot"
owner = "me"
labels = ["nightly"]
access = { notes = ["r"] }
[[role]]
name = "staff"
members = { group = "g" }
"#;

    fn parse(forbid: &str) -> Result<Fleet, Vec<Problem>> {
        let issuer = "https://mcp.example.com".parse().unwrap();
        let text = format!("{BEFORE}[[forbid]]\n{forbid}\n");
        Fleet::parse(&text, Surroundings { issuer: &issuer, commands: &BTreeSet::new() })
    }

    /// The line within the entry, counted from 1, and a part of what is said.
    fn told(forbid: &str, line: usize, says: &str) {
        let problems = parse(forbid).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].line, BEFORE.lines().count() + 1 + line, "{problems:?}");
        assert!(problems[0].says.contains(says), "{says:?} is not in {problems:?}");
    }

    #[test]
    fn pc_24_a_forbid_is_read_whole() {
        let fleet = parse(
            "name = \"all of it\"\nservers = [\"notes\"]\nlabels = [\"pii\"]\nscopes = [\"r\"]\ntools = [\"list_a*\"]\n\
             agents = [\"bot\"]\nagent_labels = [\"nightly\"]\n[forbid.when]\ninside = \"Sat,Sun 00:00-24:00 UTC\"\n\
             outside = \"07:00-19:00 Europe/Amsterdam\"\naddress_in = [\"10.0.0.0/8\"]\naddress_not_in = [\"10.1.0.0/16\"]\n\
             argument_in = { a = \"x*\" }\nargument_outside = { path = \"/srv/**\" }",
        )
        .unwrap();
        let forbid = &fleet.forbids[0];
        assert_eq!(
            (forbid.name.as_str(), forbid.tools.as_slice()),
            ("all of it", ["list_a*".to_owned()].as_slice())
        );
        assert!(forbid.when.asks_for_address() && forbid.when.asks_for_arguments());
        let issuer = "https://mcp.example.com".parse().unwrap();
        let again = fleet.to_toml(&issuer).unwrap();
        let again = Fleet::parse(&again, Surroundings { issuer: &issuer, commands: &BTreeSet::new() });
        assert_eq!(again.unwrap(), fleet);
    }

    #[test]
    fn pc_63_each_mistake_of_a_forbid_is_named_with_its_line() {
        parse("name = \"x\"\nservers = [\"notes\"]").unwrap();
        told("name = \"x\"\nservers = [\"note\"]", 2, "there is no server \"note\"; did you mean \"notes\"?");
        told("name = \"x\"\nlabels = [\"pi\"]", 2, "did you mean \"pii\"?");
        told("name = \"x\"\nscopes = [\"x:y\"]", 2, "there is no scope");
        told("name = \"x\"\nagents = [\"bott\"]", 2, "did you mean \"bot\"?");
        told("name = \"x\"\nagent_labels = [\"daily\"]", 2, "no agent with the label");
        told("name = \"x\"\nroles = [\"stuff\"]", 2, "did you mean \"staff\"?");
        told("name = \"x\"\ntools = [\"delete_*\"]", 2, "no rule of these servers is about \"delete_*\"");
        told("name = \"x\"\ntools = [\"\"]", 2, "not a pattern");
        told("name = \"x\"\nservers = []", 1, "servers is empty");
        told("name = \"x\"", 1, "forbids everything to everybody");
        told("name = \"x\"\nwhen = {}", 2, "when says nothing");
        told("name = \"say \\\"no\\\"\"\nroles = [\"staff\"]", 1, "stands in refusals");
        told("name = \"x\"\nroles = [\"staff\"]\nagents = [\"bot\"]", 1, "nobody is an agent and has a role");
        told(
            "name = \"x\"\nroles = [\"staff\"]\n[[forbid]]\nname = \"x\"\nroles = [\"staff\"]",
            4,
            "two forbids are named",
        );
        told("name = \"x\"\nwhen = { outside = \"07:00-19:00 Europe/Amsterdm\" }", 2, "no time zone");
        told("name = \"x\"\nwhen = { outside = \"7-19 UTC\" }", 2, "times are written as");
        told("name = \"x\"\nwhen = { address_in = [\"10.0.0.1/8\"] }", 2, "did you mean 10.0.0.0/8?");
        told(
            "name = \"x\"\nwhen = { argument_in = { a = \"x\" } }",
            1,
            "a condition on arguments needs tools",
        );
        told(
            "name = \"x\"\ntools = [\"list_a\"]\nwhen = { argument_in = { a = \"/x/../y\" } }",
            3,
            "plain segments",
        );
        told(
            "name = \"x\"\nwhen = { at = \"noon\", inside = \"07:00-19:00 UTC\" }",
            2,
            "there is no such key",
        );
    }
}
