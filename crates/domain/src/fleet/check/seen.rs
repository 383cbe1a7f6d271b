//! What a fleet file says of tools, against the tools that were seen: what is about none of them was meant otherwise.
//!
//! Exact names are left alone: such a tool may come. Nothing is said where a server's tools were never seen.

use super::Check;
use crate::condition::Forbid;
use crate::document::nearest;
use crate::fleet::raw::RawRule;
use crate::pins::{KnownTool, unknown_arguments};
use crate::policy::covers;
use crate::registry::{Name, Server};
use portcullis_oauth::resource::ResourceUri;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

impl<'a> Check<'a> {
    /// Patterns of a server's rules that match none of its tools.
    pub(super) fn idle_globs(&mut self, rules: &[RawRule], name: &Name, uri: &ResourceUri) {
        let Some(seen) = self.seen(name, uri) else { return };
        for pattern in rules.iter().flat_map(|rule| &rule.tools) {
            self.matches_some(pattern, seen, &format!("server {name}"));
        }
    }

    /// A forbid with patterns for none of the tools, or conditions on arguments that none of them has. Only where the tools
    /// of all servers that it is about were seen.
    pub(super) fn about_seen_tools(
        &mut self,
        forbid: &Forbid,
        patterns: &[Spanned<String>],
        arguments: &BTreeMap<String, usize>,
        about: Vec<&Server<()>>,
    ) {
        let seen = about.into_iter().map(|server| self.seen(&server.name, &server.canonical_uri));
        let Some(seen) = seen.collect::<Option<Vec<_>>>() else { return };
        let seen: Vec<KnownTool> = seen.into_iter().flatten().cloned().collect();
        if seen.is_empty() {
            return;
        }
        for pattern in patterns {
            self.matches_some(pattern, &seen, "these servers");
        }
        let all: BTreeSet<&str> =
            seen.iter().flat_map(|tool| &tool.arguments).flatten().map(String::as_str).collect();
        for argument in unknown_arguments(forbid, &seen) {
            let hint = nearest(&argument, all.iter());
            let says = format!("none of the tools that were seen has an argument {argument:?}; {hint}");
            self.problem(arguments.get(&argument).copied().unwrap_or_default(), says);
        }
    }

    fn seen(&self, name: &Name, uri: &ResourceUri) -> Option<&'a [KnownTool]> {
        let seen = self.tools.get(&(name.clone(), uri.clone()))?;
        (!seen.is_empty()).then_some(seen)
    }

    fn matches_some(&mut self, pattern: &Spanned<String>, seen: &[KnownTool], of: &str) {
        let text = pattern.get_ref();
        if !text.contains('*') || seen.iter().any(|tool| covers(text, &tool.name)) {
            return;
        }
        let names: Vec<&str> = seen.iter().map(|tool| tool.name.as_str()).collect();
        let hint = nearest(text, names.iter());
        let says = format!("{text:?} matches none of the tools that were seen of {of}; {hint}");
        self.problem(pattern.span().start, says);
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::{Fleet, SeenTools, Surroundings};
    use crate::pins::KnownTool;
    use std::collections::BTreeSet;

    const GOOD: &str = r#"
[[server]]
name = "notes"
upstream = { url = "http://127.0.0.1:9000/mcp" }
scopes = { "notes:read" = "Read notes" }
[[server.rule]]
tools = ["read_*", "to_come"]
scopes = ["notes:read"]
[[forbid]]
name = "abroad"
servers = ["notes"]
tools = ["read_*"]
[forbid.when]
argument_in = { path = "/etc/*" }
"#;

    /// The mistakes with their lines, where one tool was seen.
    fn mistakes(text: &str, arguments: Option<&[&str]>) -> Vec<String> {
        let issuer = "https://mcp.example.com".parse().unwrap();
        let arguments = arguments.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let tool = KnownTool { name: "read_note".to_owned(), arguments };
        let of = ("notes".parse().unwrap(), "https://mcp.example.com/mcp/notes".parse().unwrap());
        let surroundings = Surroundings { issuer: &issuer, commands: &BTreeSet::new() };
        let fleet = Fleet::parse_knowing(text, surroundings, &SeenTools::from([(of, vec![tool])]));
        // Without a sight of the tools nothing of this is wrong.
        assert!(Fleet::parse(text, surroundings).is_ok());
        fleet.err().into_iter().flatten().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn pc_34_adm_14_a_glob_that_matches_nothing_is_a_mistake_and_a_name_is_not() {
        assert_eq!(mistakes(GOOD, Some(&["path"])), [""; 0]);
        let wrong = GOOD.replace("\"to_come\"", "\"raed_*\"");
        let says = "line 7: \"raed_*\" matches none of the tools that were seen of server notes; there is: read_note";
        assert_eq!(mistakes(&wrong, Some(&["path"])), [says]);
    }

    #[test]
    fn pc_63_a_condition_over_an_argument_that_no_tool_has_is_a_mistake() {
        let says =
            "line 14: none of the tools that were seen has an argument \"path\"; did you mean \"paths\"?";
        assert_eq!(mistakes(GOOD, Some(&["paths"])), [says]);
        // A schema that lets in others says nothing.
        assert_eq!(mistakes(GOOD, None), [""; 0]);
    }
}
