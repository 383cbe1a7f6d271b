//! The fleet file (PC-34): as written, then checked; every mistake is reported at once, with its line.

use crate::condition::Forbid;
use crate::document::{self, AND_MORE, Document, Lines, MOST_TOLD};
use crate::pins::KnownTool;
use crate::registry::{Access, Agent, Client, Name, Role, Server};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::resource::ResourceUri;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod check;
mod difference;
#[cfg(test)]
mod laws;
mod moment;
mod narrowed;
mod raw;
mod widening;
mod written;

pub use difference::{Changed, Changes, Difference, FieldChange};
pub use narrowed::Narrowed;
pub use widening::{new_places, owners_only};

/// A fleet file that was checked: every name, scope and pattern in it is good, and the parts fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// In the file's order.
    pub servers: Vec<Server<()>>,
    /// In the file's order.
    pub agents: Vec<Agent<()>>,
    /// In the file's order.
    pub clients: Vec<Client<()>>,
    /// In the file's order.
    pub roles: Vec<Role>,
    /// `[self_registered]`
    pub self_registered: Access,
    /// By name.
    pub forbids: Vec<Forbid>,
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

/// Tools that were ever seen, of the servers with these names and addresses. Of others nothing is known.
pub type SeenTools = BTreeMap<(Name, ResourceUri), Vec<KnownTool>>;

impl Fleet {
    /// Reads and checks a fleet file.
    ///
    /// # Errors
    /// Every mistake that can be seen, in the order of the lines.
    pub fn parse(text: &str, surroundings: Surroundings<'_>) -> Result<Self, Vec<Problem>> {
        Self::parse_knowing(text, surroundings, &SeenTools::new())
    }

    /// The same, where tools of the servers were seen: patterns and conditions must be about some of them.
    ///
    /// # Errors
    /// Every mistake that can be seen, in the order of the lines.
    pub fn parse_knowing(
        text: &str,
        surroundings: Surroundings<'_>,
        tools: &SeenTools,
    ) -> Result<Self, Vec<Problem>> {
        let (mut document, misshapen) = Document::read(text, &raw::RawFleet::schema());
        let problems: Vec<Problem> = misshapen.into_iter().map(Problem::of).collect();
        let raw: raw::RawFleet = match document.values() {
            Some(Ok(raw)) => raw,
            Some(Err(error)) if problems.is_empty() => {
                let line = error.span().map_or(1, |span| Lines::of(text).line_of(span.start));
                return Err(vec![Problem { line, says: error.message().to_owned() }]);
            }
            Some(Err(_)) | None => return Err(in_order(problems)),
        };
        let mut check = check::Check {
            lines: Lines::of(text),
            surroundings,
            tools,
            problems,
            delivered: BTreeMap::new(),
        };
        let fleet = check.fleet(raw);
        if check.problems.is_empty() { Ok(fleet) } else { Err(in_order(check.problems)) }
    }
}

/// The JSON Schema of the fleet file, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = raw::RawFleet::schema();
    texts_for_dates(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "A Portcullis fleet file".into());
    }
    schema
}

/// JSON has no dates: to an editor they are texts.
fn texts_for_dates(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Array(items) => {
            items.retain(|item| item != "datetime");
            items.iter_mut().for_each(texts_for_dates);
        }
        serde_json::Value::Object(members) => members.values_mut().for_each(texts_for_dates),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.line);
    if problems.len() >= MOST_TOLD {
        problems.truncate(MOST_TOLD);
        let line = problems.last().map_or(1, |last| last.line);
        problems.push(Problem { line, says: AND_MORE.to_owned() });
    }
    problems
}

impl Problem {
    /// What is wrong with a key or the type of its value.
    fn of(found: document::Problem) -> Self {
        let line = found.line.unwrap_or(1);
        let key = if found.key.is_empty() { String::new() } else { format!("{}: ", found.key) };
        let hint = if found.hint.is_empty() { String::new() } else { format!("; {}", found.hint) };
        Self { line, says: format!("{key}{}{hint}", found.says) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Name, OtherTransport};

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

    /// Lines and a word of each.
    fn told(text: &str, wanted: &[(usize, &str)]) {
        let problems = parse(text).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        let wanted_lines: Vec<usize> = wanted.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, wanted_lines, "{problems:?}");
        for (problem, (_, says)) in problems.iter().zip(wanted) {
            assert!(problem.says.contains(says), "{says:?} is not in {problem:?}");
        }
    }

    #[test]
    fn pc_53_limits_of_a_server_are_read_and_every_bad_one_is_named() {
        let notes = "[[server]]\nname = \"notes\"\nupstream = { url = \"http://127.0.0.1:9/mcp\" }\n[server.limits]\n";
        let good = "calls_per_minute = 600\ncalls_at_once = 20\nbody = 65536\nupstream_timeout = \"5m\"\n";
        let limits = parse(&format!("{notes}{good}")).unwrap().servers[0].limits;
        let numbers = [limits.calls_per_minute, limits.calls_at_once, limits.body, limits.upstream_timeout];
        assert_eq!(numbers.map(|number| number.unwrap().get()), [600, 20, 65536, 300]);
        let bad = "calls_per_minute = 0\ncalls_at_once = -1\nbody = 5\nupstream_timeout = \"soon\"\n";
        told(
            &format!("{notes}{bad}"),
            &[(5, "calls_per_minute"), (6, "calls_at_once"), (7, "body"), (8, "upstream_timeout")],
        );
        let direct = "[[server]]\nname = \"far\"\nmode = \"direct\"\nlimits = { body = 4096 }\n";
        told(direct, &[(4, "a direct server has none")]);
    }

    #[test]
    fn pc_63_of_very_many_mistakes_the_first_thousand_are_told() {
        let servers = |count: usize| "[[server]]\nname = \"x\"\nmode = \"direct\"\n".repeat(count);
        assert_eq!(parse(&servers(300)).unwrap_err().last().unwrap().says.matches("and more").count(), 0);
        let agents =
            |count: usize| "[[agent]]\nname = \"!\"\nowner = \"o\"\nintrospects = [\"no\"]\n".repeat(count);
        let lines = |count: usize| (0..count).map(|at| format!("key{at} = 1"));
        let unknown = |count: usize| lines(count).collect::<Vec<_>>().join("\n");
        for text in [servers(20_000), agents(20_000), unknown(20_000), "= x\n".repeat(20_000)] {
            let problems = parse(&text).unwrap_err();
            assert_eq!(problems.len(), MOST_TOLD + 1, "{:?}", problems.first());
            assert_eq!(problems.last().unwrap().says, AND_MORE);
        }
    }

    #[test]
    fn pc_63_of_very_many_names_some_are_compared_and_listed() {
        let names: Vec<String> = (0..5000).map(|at| format!("scope-number-{at}")).collect();
        let says = document::nearest("zzzzzzzzzzzzzzz", names.iter());
        assert!(says.ends_with(", and more") && says.len() < 1000, "{says}");
        let long = "x".repeat(1_000_000);
        assert!(document::nearest(&long, [&long].into_iter()).starts_with("there is: "));
    }

    #[test]
    fn pc_63_unknown_keys_wrong_types_and_wrong_values_are_told_together() {
        let bad = GOOD
            .replace("title =", "titel =")
            .replace("default_scopes = [\"notes:read\"]", "default_scopes = [\"notes:raed\"]")
            .replace("tools =", "tolls =")
            .replace("access = \"5m\"", "access = 5")
            .replace("implies", "implis")
            .replace("group =", "grup =");
        told(
            &bad,
            &[
                (4, "did you mean \"title\"?"),
                (6, "notes:raed"),
                (9, "did you mean \"implies\"?"),
                (11, "did you mean \"tools\"?"),
                (12, "needs tools"),
                (17, "must be a text in quotes"),
                (29, "members = {"),
                (30, "did you mean \"group\"?"),
            ],
        );
        let words = GOOD.replace("access = \"5m\"", "mode = \"gatway\"");
        told(&words, &[(17, "did you mean \"gateway\"?")]);
        told(&GOOD.replace("owner = \"platform\"\n", ""), &[(21, "owner is missing")]);
    }

    #[test]
    fn a_list_of_undeclared_scopes_is_not_an_empty_one() {
        let bad = GOOD.replace("scopes = [\"notes:read\"]\n\n", "scopes = [\"notes:raed\"]\n\n");
        told(&bad, &[(12, "does not declare")]);
    }

    #[test]
    fn pc_43_an_upstream_is_a_url_without_credentials_and_is_not_repeated() {
        let with = |url: &str| GOOD.replace("http://127.0.0.1:9000/mcp", url);
        parse(&with("https://notes.internal/mcp?key=1")).unwrap();
        for (url, says) in [
            ("http://user:open-sesame@127.0.0.1/mcp", "no user or password"),
            ("http://127.0.0.1/mcp#open-sesame", "no fragment"),
            ("http://", "absolute"),
            ("ftp://127.0.0.1/open-sesame", "http or https"),
        ] {
            told(&with(url), &[(5, says)]);
            assert!(!format!("{:?}", parse(&with(url))).contains("sesame"));
        }
    }

    #[test]
    fn what_people_read_before_they_agree_is_not_empty() {
        told(&GOOD.replace("\"Team notes\"", "\" \""), &[(3, "empty title")]);
        told(&GOOD.replace("\"Read notes\"", "\"\""), &[(8, "needs a sentence")]);
        told(&GOOD.replace("says = \"Change notes\"", "says = \"\""), &[(9, "needs a sentence")]);
    }

    /// What is told about one more entry, each with the line within it.
    fn with(entry: &str, wanted: &[(usize, &str)]) {
        let lines = GOOD.lines().count();
        let wanted: Vec<(usize, &str)> = wanted.iter().map(|(line, says)| (lines + line, *says)).collect();
        told(&format!("{GOOD}{entry}"), &wanted);
    }

    #[test]
    fn pc_63_patterns_without_effect_are_named_and_overlap_is_not() {
        let server = |rules: &str| {
            format!(
                "[[server]]\nname = \"x\"\nmode = \"direct\"\n[server.scopes]\nr = \"Read\"\nw = \"Write\"\n{rules}"
            )
        };
        let rule =
            |tools: &str, scopes: &str| format!("[[server.rule]]\ntools = [{tools}]\nscopes = [{scopes}]\n");
        parse(&server(&(rule("\"*\"", "\"r\"") + &rule("\"set_*\"", "\"w\"")))).unwrap();
        for (rules, line, says) in [
            (rule("\"a\", \"a\"", "\"r\""), 8, "stands in rule 1 too"),
            (rule("\"a\"", "\"r\"") + &rule("\"a\"", "\"w\""), 11, "write it once, with all its scopes"),
            (
                rule("\"list_*\"", "\"r\"") + &rule("\"list_all\"", "\"r\""),
                11,
                "\"list_all\" of rule 2 has no effect",
            ),
            (
                rule("\"list_all\"", "\"r\"") + &rule("\"*\"", "\"r\", \"w\""),
                11,
                "\"list_all\" of rule 1 has no effect",
            ),
        ] {
            told(&server(&rules), &[(line, says)]);
        }
        let risky = rule("\"*\"", "\"r\"") + &rule("\"drop\"", "\"r\"") + "risk = \"high\"\n";
        parse(&server(&risky)).unwrap();
    }

    #[test]
    fn pc_63_a_pattern_that_no_resource_can_match_is_named_with_what_is_wrong() {
        let with = |resources: &str| {
            format!(
                "[[server]]\nname = \"x\"\nmode = \"direct\"\nscopes = {{ r = \"Read\" }}\n[[server.rule]]\nresources = [{resources}]\nscopes = [\"r\"]\n"
            )
        };
        parse(&with("\"note://a/*\", \"*.md\", \"file:///srv/{+path}\", \"note://b/é (1)\"")).unwrap();
        for (resources, says) in [
            ("\"FILE:///srv/*\"", "\"FILE:///srv/*\" matches no resource, because this URI"),
            ("\"/srv/*\"", "begin it with its scheme in lower case"),
            ("\"file://localhost/srv/*\"", "file as file:///path"),
            ("\"file:///srv/../etc/*\"", "without segments . and .."),
            ("\"note://a/%70*\"", "escape nothing that can stand as it is"),
        ] {
            told(&with(resources), &[(6, says)]);
        }
    }

    #[test]
    fn pc_07_rules_name_methods_exactly_and_none_that_mcp_has_a_meaning_for() {
        let with = |methods: &str| {
            format!(
                "[[server]]\nname = \"x\"\nmode = \"direct\"\nscopes = {{ r = \"Read\" }}\n[[server.rule]]\nmethods = [{methods}]\nscopes = [\"r\"]\n"
            )
        };
        let fleet = parse(&with("\"com.example/a\"")).unwrap();
        assert_eq!(fleet.servers[0].rules[0].methods, ["com.example/a"]);
        for (methods, says) in [
            ("\"tools/call\"", "\"tools/call\": MCP gives this method a meaning"),
            ("\"Tasks/Result\"", "MCP gives this method a meaning"),
            ("\"com.example/*\"", "written as it is sent"),
            ("\"\"", "written as it is sent"),
            ("\"a/b\", \"a/b\"", "write it once"),
        ] {
            told(&with(methods), &[(6, says)]);
        }
    }

    #[test]
    fn pc_01_other_transports_are_words_and_for_servers_behind_the_gateway() {
        let behind = GOOD.replacen(
            "[server.scopes]",
            "other_transports = [\"websocket\", \"http_sse\"]\n[server.scopes]",
            1,
        );
        let fleet = parse(&behind).unwrap();
        let both = [OtherTransport::HttpSse, OtherTransport::Websocket];
        assert!(fleet.servers[0].other_transports.iter().eq(&both));
        assert!(parse(GOOD).unwrap().servers[0].other_transports.is_empty(), "off by default");
        assert!(parse(&behind.replace("http_sse", "sse")).is_err());
        let direct = "[[server]]\nname = \"x\"\nmode = \"direct\"\nother_transports = [\"http_sse\"]\n";
        told(direct, &[(2, "a direct server has no other_transports")]);
    }

    #[test]
    fn pc_30_addresses_that_are_ours_or_somebody_elses_are_refused() {
        let at =
            |uri: &str| format!("[[server]]\nname = \"x\"\ncanonical_uri = \"{uri}\"\nmode = \"direct\"\n");
        for good in [
            "https://mcp.example.com/mcp/x",
            "https://mcp.example.com/tools/x",
            "https://x.example.com/oauth",
            "https://mcp.example.com:8443/login",
        ] {
            parse(&format!("{GOOD}{}", at(good))).unwrap();
        }
        for (bad, says) in [
            ("https://mcp.example.com", "the address of this authority"),
            ("https://MCP.example.com:443/", "the address of this authority"),
            ("https://mcp.example.com./oauth/token", "answers itself"),
            ("https://mcp.example.com/LOGIN", "answers itself"),
            ("https://mcp.example.com/api/v1", "answers itself"),
            ("https://mcp.example.com/console", "answers itself"),
            ("https://mcp.example.com/mcp", "lies above the servers"),
            ("https://x.example.com/.well-known/y", "metadata"),
            ("https://mcp.example.com/mcp/notes", "confused"),
            ("https://mcp.example.com/mcp/Notes", "confused"),
            ("https://mcp.example.com/mcp/notes/deep", "one lies below the other"),
            ("https://mcp.example.com/mcp/notes/", "no slash at the end"),
            ("https://mcp.example.com/mcp/./notes", "dot segments"),
            ("https://mcp.example.com/mcp/%6eotes", "encoded"),
            ("https://mcp.example.com/mcp//x", "empty segments"),
            ("http://mcp.example.com/mcp/x", "https"),
        ] {
            with(&at(bad), &[(3, says)]);
        }
        with("[[server]]\nname = \"portcullis\"\nmode = \"direct\"\n", &[(2, "our own API")]);
        let here = at("http://localhost:9/a") + &at("http://127.0.0.1:9/a").replace("\"x\"", "\"y\"");
        with(&here, &[(7, "confused")]);
    }

    #[test]
    fn pc_63_def_03_secrets_go_to_one_place_each_and_examples_are_not_real() {
        let agent = |name: &str, place: &str| {
            format!(
                "[[agent]]\nname = \"{name}\"\nowner = \"o\"\ncredential = {{ secret = {{ deliver = \"{place}\" }} }}\n"
            )
        };
        with(
            &agent("a", "file:/run/secrets//./ci-bot"),
            &[(4, "the secret of agent \"ci-bot\" is delivered to this file too")],
        );
        for placeholder in ["file:/run/CHANGEME", "file:<path>", "file:${SECRETS}/x", "file:/x/replace-me"] {
            with(&agent("a", placeholder), &[(4, "placeholder")]);
        }
        told(
            &GOOD.replace("http://127.0.0.1:9000/mcp", "https://change-me.internal/mcp"),
            &[(5, "placeholder")],
        );
    }

    #[test]
    fn an_end_is_a_date_or_a_moment() {
        let agent = |end: &str| format!("[[agent]]\nname = \"a\"\nowner = \"o\"\nexpires = {end}\n");
        let read = |end: &str| {
            let fleet = parse(&agent(end)).unwrap();
            fleet.agents[0].expires_at.map(portcullis_oauth::time::Timestamp::seconds)
        };
        for same in ["2027-01-31", "\"2027-01-31\"", "2027-01-31T00:00:00Z", "2027-01-31 02:00:00+02:00"] {
            assert_eq!(read(same), Some(1_801_353_600), "{same}");
        }
        for bad in ["2027-01-31T00:00:00", "10:00:00", "\"soon\""] {
            told(&agent(bad), &[(4, "expires is a date like")]);
        }
        told(&agent("20270131"), &[(4, "must be")]);
    }

    #[test]
    fn a_client_is_read_whole_and_its_mistakes_are_told_together() {
        let good = "[[client]]\nname = \"desk\"\nowner = \"o\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\nauth = \"none\"\naccess = { notes = [\"notes:read\"] }\n";
        let fleet = parse(&format!("{GOOD}{good}")).unwrap();
        assert_eq!((fleet.clients[0].title.as_str(), fleet.clients[0].deliver.as_deref()), ("desk", None));
        with(&good.replace("\"none\"", "\"secret\""), &[(2, "needs credential")]);
        with(
            &format!("{good}credential = {{ secret = {{ deliver = \"file:x\" }} }}\n"),
            &[(2, "has no credential")],
        );
        with(&good.replace("[\"http://127.0.0.1/cb\"]", "[]"), &[(4, "1 to 16")]);
        with(
            &good
                .replace(
                    "\"http://127.0.0.1/cb\"",
                    "\"http://a.example/cb\", \"https://a/x\", \"https://a/x\"",
                )
                .replace("notes = ", "note = ")
                .replace("\"none\"", "\"secrets\""),
            &[
                (4, "http://a.example/cb"),
                (4, "twice"),
                (5, "did you mean \"secret\"?"),
                (6, "did you mean \"notes\"?"),
            ],
        );
        with(&format!("{good}{good}"), &[(8, "is taken")]);
    }

    #[test]
    fn pc_30_confusable_servers_and_unknown_keys_are_refused() {
        let twice = format!(
            "{GOOD}\n[[server]]\nname = \"n2\"\ncanonical_uri = \"https://MCP.example.com/mcp/NOTES\"\nmode = \"direct\"\n"
        );
        assert!(parse(&twice).unwrap_err()[0].says.contains("confused"));
        let problems = parse("[[server]]\nname = \"a\"\ntitel = \"x\"\n").unwrap_err();
        assert_eq!(problems[1].line, 3);
        assert!(problems[1].says.contains("titel"), "{problems:?}");
        assert!(parse("[[server]\n").is_err());
    }
}
