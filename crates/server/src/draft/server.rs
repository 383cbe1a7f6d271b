//! From what a server says of itself to a `[[server]]` with scopes and rules (PC-36). Rules name every tool exactly: a tool
//! that comes later is refused until somebody adds it.

use super::judge::{Level, judge};
use super::text::{comment, list, plain, quoted, steers};
use portcullis_client::Description;
use portcullis_domain::fleet::{Fleet, Problem, Surroundings};
use portcullis_domain::policy::{glob, is_possible};
use portcullis_domain::registry::Upstream;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A longer name is nobody's name for a tool.
const LONGEST_NAME: usize = 200;
const LONGEST_URI: usize = 900;

/// A drafted server.
#[derive(Debug)]
pub struct Drafted {
    /// A `[[server]]` of a fleet file.
    pub text: String,
    /// Tools that a person should look at, each with the reason.
    pub unsure: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// What needs one level.
#[derive(Default)]
struct Group<'a> {
    tools: BTreeSet<&'a str>,
    prompts: BTreeSet<&'a str>,
    resources: BTreeSet<&'a str>,
}

/// Drafts a server under a name that is legal and free.
///
/// # Errors
/// A draft that is no fleet file would be a fault of ours; it is not given out.
pub fn draft(name: &str, upstream: &Upstream, said: &Description) -> Result<Drafted, Vec<Problem>> {
    let mut drafting = Drafting { name, groups: BTreeMap::new(), unsure: Vec::new(), left_out: Vec::new() };
    drafting.sort(said);
    let text = drafting.write(upstream, said);
    let commands: BTreeSet<String> = match upstream {
        Upstream::Command(command) => BTreeSet::from([command.clone()]),
        Upstream::Url(_) => BTreeSet::new(),
    };
    if let Ok(issuer) = "https://portcullis.invalid".parse() {
        Fleet::parse(&text, Surroundings { issuer: &issuer, commands: &commands })?;
    }
    Ok(Drafted { text, unsure: drafting.unsure, left_out: drafting.left_out })
}

struct Drafting<'a> {
    name: &'a str,
    groups: BTreeMap<Level, Group<'a>>,
    unsure: Vec<String>,
    left_out: Vec<String>,
}

impl<'a> Drafting<'a> {
    fn sort(&mut self, said: &'a Description) {
        let mut levels: BTreeMap<&str, Level> = BTreeMap::new();
        for tool in &said.tools {
            if let Some(why) = unfit(&tool.name, LONGEST_NAME) {
                self.left_out.push(format!("tool {}: {why}", plain(&tool.name, 60)));
                continue;
            }
            let judged = judge(tool);
            let level = levels.entry(&tool.name).or_insert(judged.level);
            // One that is named twice gets the stricter judgement.
            *level = judged.level.max(*level);
            if let Some(why) = judged.unsure {
                self.unsure.push(format!("{}: {why}", plain(&tool.name, 60)));
            }
        }
        for (tool, level) in levels {
            self.groups.entry(level).or_default().tools.insert(tool);
        }
        for prompt in self.fit("prompt", &said.prompts, |name| unfit(name, LONGEST_NAME)) {
            self.groups.entry(Level::Read).or_default().prompts.insert(prompt);
        }
        for uri in self.fit("resource", &said.resources, unfit_uri) {
            self.groups.entry(Level::Read).or_default().resources.insert(uri);
        }
    }

    fn fit(
        &mut self,
        what: &str,
        names: &'a [String],
        unfit: impl Fn(&str) -> Option<&'static str>,
    ) -> Vec<&'a str> {
        let mut fit = Vec::new();
        for name in names {
            match unfit(name) {
                Some(why) => self.left_out.push(format!("{what} {}: {why}", plain(name, 60))),
                None => fit.push(name.as_str()),
            }
        }
        fit
    }

    fn write(&self, upstream: &Upstream, said: &Description) -> String {
        let mut text = self.head(said);
        let title = said.title.as_deref().map(|title| plain(title, 80)).filter(|title| !title.is_empty());
        let title = title.unwrap_or_else(|| self.name.to_owned());
        let upstream = match upstream {
            Upstream::Command(command) => format!("command = {}", quoted(command)),
            Upstream::Url(url) => format!("url = {}", quoted(url)),
        };
        let _infallible =
            writeln!(text, "[[server]]\nname = {}\ntitle = {}", quoted(self.name), quoted(&title));
        let _infallible = writeln!(text, "upstream = {{ {upstream} }}");
        if self.groups.contains_key(&Level::Read) {
            let _infallible = writeln!(text, "default_scopes = {}", list([self.scope(Level::Read).as_str()]));
        }
        text += &self.scopes(&title);
        for (level, group) in &self.groups {
            text += &self.rule(*level, group);
        }
        for template in &said.templates {
            text += &comment(&format!(
                "resources of the form {} need a pattern of yours: nothing of them is callable",
                plain(template, 200)
            ));
        }
        text
    }

    fn head(&self, said: &Description) -> String {
        let version = said.version.as_deref().map(|version| plain(version, 40)).unwrap_or_default();
        let mut text = comment(&format!(
            "Drafted from what the server says of itself (version {version:?}, MCP {}). Read it before you apply it.",
            plain(&said.protocol, 20)
        ));
        text += &comment(
            "Tools are named one by one: one that the server adds later is refused until it stands here.",
        );
        if self.groups.is_empty() {
            text += &comment("It offers nothing that could be called: there is no rule.");
        }
        if !self.unsure.is_empty() {
            text += &comment("Not sure about:");
            self.unsure.iter().for_each(|line| text += &comment(&format!("  {line}")));
        }
        if !self.left_out.is_empty() {
            text += &comment("Left out, and not callable:");
            self.left_out.iter().for_each(|line| text += &comment(&format!("  {line}")));
        }
        for line in &said.incomplete {
            text += &comment(&format!("Not the whole list: {}", plain(line, 100)));
        }
        let outside: Vec<String> = said
            .tools
            .iter()
            .filter(|tool| tool.open_world == Some(true))
            .map(|tool| plain(&tool.name, 60))
            .collect();
        if !outside.is_empty() {
            text += &comment(&format!("Reach beyond this server, they say: {}", outside.join(", ")));
        }
        text
    }

    fn scopes(&self, title: &str) -> String {
        if self.groups.is_empty() {
            return String::new();
        }
        let mut text = "\n[server.scopes]\n".to_owned();
        for level in self.groups.keys() {
            let says = match level {
                Level::Read => format!("See what is in {title}, without changing it"),
                Level::Write => format!("Create and change things in {title}"),
                Level::Admin => format!("Delete things in {title}, and do what cannot be undone"),
            };
            let implied = self.groups.keys().filter(|other| *other < level).map(|other| self.scope(*other));
            let implied: Vec<String> = implied.collect();
            let meaning = if implied.is_empty() {
                quoted(&says)
            } else {
                let implied = list(implied.iter().map(String::as_str));
                format!("{{ says = {}, implies = {implied} }}", quoted(&says))
            };
            let _infallible = writeln!(text, "{} = {meaning}", quoted(&self.scope(*level)));
        }
        text
    }

    fn rule(&self, level: Level, group: &Group<'_>) -> String {
        let mut text = "\n[[server.rule]]\n".to_owned();
        for (key, names) in
            [("tools", &group.tools), ("prompts", &group.prompts), ("resources", &group.resources)]
        {
            if !names.is_empty() {
                let _infallible = writeln!(text, "{key} = {}", list(names.iter().copied()));
            }
        }
        let _infallible = writeln!(text, "scopes = {}", list([self.scope(level).as_str()]));
        if level == Level::Admin {
            text += "risk = \"high\"\n";
        }
        text
    }

    fn scope(&self, level: Level) -> String {
        let word = match level {
            Level::Read => "read",
            Level::Write => "write",
            Level::Admin => "admin",
        };
        format!("{}:{word}", self.name)
    }
}

/// Why a name cannot stand in a rule.
fn unfit(name: &str, longest: usize) -> Option<&'static str> {
    if name.is_empty() {
        Some("has no name")
    } else if name.chars().any(steers) {
        Some("its name holds control or invisible characters")
    } else if name.contains('*') {
        Some("its name holds a *, which means any text in a rule")
    } else if name.contains('\\') || !means_itself(name) {
        Some("its name holds characters that a rule cannot spell")
    } else if name.chars().count() > longest {
        Some("its name is too long")
    } else {
        None
    }
}

fn unfit_uri(uri: &str) -> Option<&'static str> {
    let unclear = || is_possible(uri).is_err().then_some("its URI can be read in more than one way");
    unfit(uri, LONGEST_URI).or_else(unclear)
}

/// Whether a rule that says this name is about it.
fn means_itself(name: &str) -> bool {
    glob(name).is_ok_and(|pattern| pattern.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_client::DescribedTool;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Fleet {
        let issuer = "https://mcp.example.com".parse().unwrap();
        Fleet::parse(text, Surroundings { issuer: &issuer, commands: &BTreeSet::new() }).unwrap()
    }

    fn upstream() -> Upstream {
        Upstream::Url("http://127.0.0.1:9/mcp".to_owned())
    }

    fn tools(names: &[&str]) -> Vec<DescribedTool> {
        names
            .iter()
            .map(|name| DescribedTool { name: (*name).to_owned(), ..DescribedTool::default() })
            .collect()
    }

    #[test]
    fn pc_36_a_draft_groups_tools_and_names_each_exactly() {
        let said = Description {
            title: Some("Notes\n\u{1b}[2J".to_owned()),
            tools: tools(&["list_notes", "create_note", "delete_note"]),
            prompts: vec!["summary".to_owned()],
            templates: vec!["note://{id}".to_owned()],
            ..Description::default()
        };
        let drafted = draft("notes", &upstream(), &said).unwrap();
        let fleet = parsed(&drafted.text);
        let server = &fleet.servers[0];
        let scopes: Vec<String> = server.rules.iter().map(|rule| rule.scopes.to_string()).collect();
        assert_eq!(scopes, ["notes:read", "notes:write", "notes:admin"]);
        assert_eq!(server.rules[0].tools, ["list_notes"]);
        assert_eq!(server.rules[0].prompts, ["summary"]);
        assert_eq!(server.rules[2].risk, portcullis_domain::registry::Risk::High);
        assert_eq!(server.scopes[&"notes:write".parse().unwrap()].implies.to_string(), "notes:read");
        assert_eq!(server.default_scopes.to_string(), "notes:read");
        assert_eq!(server.title, "Notes [2J");
        assert!(drafted.unsure.is_empty());
    }

    #[test]
    fn pc_36_hostile_names_are_refused_and_stay_in_their_line() {
        let said = Description {
            tools: tools(&["*", "get_*", "a\nb", "x\u{202e}y", "list_\u{200b}x", "", "get_\"]]\n[[role]]"]),
            resources: vec!["file:///*".to_owned(), "file:///srv/../etc".to_owned(), "FILE:///a".to_owned()],
            ..Description::default()
        };
        let drafted = draft("x", &upstream(), &said).unwrap();
        assert_eq!(drafted.left_out.len(), 10);
        let fleet = parsed(&drafted.text);
        assert!(fleet.servers[0].rules.is_empty());
        assert!(fleet.roles.is_empty());
    }

    proptest! {
        #[test]
        fn pc_36_whatever_a_server_says_the_draft_is_a_fleet_file_without_patterns(
            title in any::<Option<String>>(), version in any::<Option<String>>(),
            names in proptest::collection::vec((any::<String>(), any::<Option<bool>>(), any::<Option<bool>>()), 0..20),
            prompts in proptest::collection::vec(any::<String>(), 0..5),
            resources in proptest::collection::vec(any::<String>(), 0..5),
            templates in proptest::collection::vec(any::<String>(), 0..5),
        ) {
            let tools = names.into_iter().map(|(name, read_only, destructive)| {
                DescribedTool { name, read_only, destructive, ..DescribedTool::default() }
            }).collect::<Vec<_>>();
            let said = Description { title, version, prompts, resources, templates, tools, ..Description::default() };
            let drafted = draft("any", &upstream(), &said).unwrap();
            let fleet = parsed(&drafted.text);
            prop_assert_eq!(fleet.servers.len(), 1);
            let server = &fleet.servers[0];
            for rule in &server.rules {
                for pattern in rule.tools.iter().chain(&rule.prompts).chain(&rule.resources) {
                    prop_assert!(!pattern.contains('*'));
                }
            }
            for tool in &said.tools {
                let rules = server.rules.iter().filter(|rule| rule.tools.contains(&tool.name)).count();
                prop_assert_eq!(rules, usize::from(unfit(&tool.name, LONGEST_NAME).is_none()));
            }
        }
    }
}
