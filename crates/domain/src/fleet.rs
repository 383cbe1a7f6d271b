//! The fleet file (`product.md` 4.4, PC-34): as written, then checked; every mistake is reported at once, with its line.

use crate::registry::{Access, Agent, Role, Server};
use portcullis_oauth::issuer::Issuer;
use std::collections::BTreeSet;
use std::fmt;

mod check;
mod difference;
#[cfg(test)]
mod laws;
mod raw;
mod written;

pub use difference::{Changed, Changes, Difference, FieldChange, Narrowed};

/// A fleet file that was checked: every name, scope and pattern in it is good, and the parts fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// In the file's order.
    pub servers: Vec<Server<()>>,
    /// In the file's order.
    pub agents: Vec<Agent<()>>,
    /// In the file's order.
    pub roles: Vec<Role>,
    /// `[self_registered]`
    pub self_registered: Access,
}

/// One mistake in a fleet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub says: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.says)
    }
}

/// What the checks need to know of the deployment.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Default addresses of servers lie below it.
    pub issuer: &'a Issuer,
    /// Programs that this machine defines (`[command.NAME]`).
    pub commands: &'a BTreeSet<String>,
}

impl Fleet {
    /// Reads and checks a fleet file.
    ///
    /// # Errors
    /// Every mistake that can be seen, in the order of the lines.
    pub fn parse(text: &str, surroundings: Surroundings<'_>) -> Result<Self, Vec<Problem>> {
        let raw: raw::RawFleet = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            vec![Problem { line, says: error.message().to_owned() }]
        })?;
        let mut check = check::Check { text, surroundings, problems: Vec::new() };
        let fleet = check.fleet(raw);
        check.problems.sort_by_key(|problem| problem.line);
        if check.problems.is_empty() { Ok(fleet) } else { Err(check.problems) }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Name;

    const GOOD: &str = r#"
[[server]]
name = "notes"
title = "Team notes"
upstream = { url = "http://127.0.0.1:9000/mcp" }
default_scopes = ["notes:read"]
[server.scopes]
"notes:read" = "Read notes"
"notes:write" = { says = "Change notes", implies = ["notes:read"] }
[[server.rule]]
tools = ["list_notes", "read_*"]
scopes = ["notes:read"]

[[server]]
name = "ops"
upstream = { command = "ops-local" }
access = "5m"
[server.scopes]
"ops:read" = "See"

[[agent]]
name = "ci-bot"
owner = "platform"
credential = { secret = { deliver = "file:/run/secrets/ci-bot" } }
access = { notes = ["notes:read"] }
introspects = ["notes"]

[[role]]
name = "engineers"
members = { group = "eng" }
access = { notes = ["notes:read", "notes:write"], ops = [] }

[self_registered]
access = { notes = ["notes:read"] }
"#;

    fn parse(text: &str) -> Result<Fleet, Vec<Problem>> {
        let issuer = "https://mcp.example.com".parse().unwrap();
        let commands = BTreeSet::from(["ops-local".to_owned()]);
        Fleet::parse(text, Surroundings { issuer: &issuer, commands: &commands })
    }

    #[test]
    fn pc_34_a_good_file_is_read_whole() {
        let fleet = parse(GOOD).unwrap();
        assert_eq!(fleet.servers[0].canonical_uri.as_str(), "https://mcp.example.com/mcp/notes");
        assert_eq!(fleet.servers[1].access_seconds, Some(300));
        assert_eq!(
            fleet.agents[0].access["notes".parse::<Name>().as_ref().unwrap()].to_string(),
            "notes:read"
        );
        assert_eq!(parse("").unwrap(), Fleet::default(), "an empty file is an empty fleet");
    }

    #[test]
    fn pc_63_every_mistake_is_reported_with_its_line() {
        let bad = GOOD
            .replace("default_scopes = [\"notes:read\"]", "default_scopes = [\"notes:raed\"]")
            .replace("scopes = [\"notes:read\"]\n\n", "scopes = []\n\n")
            .replace("\"ops-local\"", "\"rm\"")
            .replace(
                "access = { notes = [\"notes:read\"] }\nintro",
                "access = { nots = [\"notes:read\"] }\nintro",
            )
            .replace("\"file:/run/secrets/ci-bot\"", "\"/run/x\"");
        let problems = parse(&bad).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [6, 12, 16, 24, 25], "{problems:?}");
    }

    #[test]
    fn pc_30_confusable_servers_and_unknown_keys_are_refused() {
        let twice = format!(
            "{GOOD}\n[[server]]\nname = \"n2\"\ncanonical_uri = \"https://MCP.example.com/mcp/NOTES\"\nmode = \"direct\"\n"
        );
        assert!(parse(&twice).unwrap_err()[0].says.contains("confused"));
        let problems = parse("[[server]]\nname = \"a\"\ntitel = \"x\"\n").unwrap_err();
        assert_eq!(problems[0].line, 3);
        assert!(problems[0].says.contains("titel"), "{problems:?}");
        assert!(parse("[[server]\n").is_err());
    }
}
