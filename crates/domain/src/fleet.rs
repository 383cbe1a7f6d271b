//! The fleet file (`product.md` 4.4, PC-34): as written, then checked; every mistake is reported at once, with its line.

use crate::policy::{MAX_SCOPES, glob};
use crate::registry::{
    Access, Agent, Members, Name, Placement, Risk, Role, Rule, ScopeMeaning, Server, Upstream,
    UpstreamCredential,
};
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::{Scope, ScopeSet};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use toml::Spanned;

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
        let raw: RawFleet = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            vec![Problem {
                line,
                says: error.message().to_owned(),
            }]
        })?;
        let mut check = Check {
            text,
            surroundings,
            problems: Vec::new(),
        };
        let fleet = check.fleet(raw);
        check.problems.sort_by_key(|problem| problem.line);
        if check.problems.is_empty() {
            Ok(fleet)
        } else {
            Err(check.problems)
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

// === the file as written ===

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFleet {
    #[serde(default)]
    server: Vec<RawServer>,
    #[serde(default)]
    agent: Vec<RawAgent>,
    #[serde(default)]
    role: Vec<RawRole>,
    self_registered: Option<RawSelfRegistered>,
}

type RawAccess = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: Spanned<String>,
    title: Option<String>,
    canonical_uri: Option<Spanned<String>>,
    #[serde(default)]
    mode: RawMode,
    upstream: Option<Spanned<RawUpstream>>,
    #[serde(default)]
    credential: UpstreamCredential,
    access: Option<Spanned<String>>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    default_scopes: Vec<Spanned<String>>,
    #[serde(default)]
    scopes: BTreeMap<Spanned<String>, RawScope>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

impl RawServer {
    /// Its name and its scopes, as far as they can be read.
    fn declares(&self) -> Option<(Name, ScopeSet)> {
        let scopes = self
            .scopes
            .keys()
            .filter_map(|text| text.get_ref().parse::<Scope>().ok());
        Some((self.name.get_ref().parse().ok()?, scopes.collect()))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawMode {
    Direct,
    #[default]
    Gateway,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUpstream {
    url: Option<String>,
    command: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawScope {
    Says(String),
    Full(RawScopeTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScopeTable {
    says: String,
    #[serde(default)]
    implies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    tools: Vec<Spanned<String>>,
    #[serde(default)]
    prompts: Vec<Spanned<String>>,
    #[serde(default)]
    resources: Vec<Spanned<String>>,
    scopes: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    risk: Risk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    name: Spanned<String>,
    owner: String,
    credential: Option<RawCredential>,
    #[serde(default)]
    access: RawAccess,
    #[serde(default)]
    introspects: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCredential {
    secret: RawSecret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    deliver: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    name: Spanned<String>,
    members: Members,
    #[serde(default)]
    access: RawAccess,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSelfRegistered {
    #[serde(default)]
    access: RawAccess,
}

// === the checks ===

struct Check<'a> {
    text: &'a str,
    surroundings: Surroundings<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, at: usize, says: impl Into<String>) {
        self.problems.push(Problem {
            line: line_of(self.text, at),
            says: says.into(),
        });
    }

    /// Parses a text with a place; a failure becomes a problem.
    fn read<T>(&mut self, text: &Spanned<String>) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        match text.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let says = format!("{:?}: {error}", text.get_ref());
                self.problem(text.span().start, says);
                None
            }
        }
    }

    fn fleet(&mut self, raw: RawFleet) -> Fleet {
        // Taken from the raw text, so that one mistake in a server does not make everything that names it a mistake.
        let declared: BTreeMap<Name, ScopeSet> =
            raw.server.iter().filter_map(RawServer::declares).collect();
        let servers: Vec<Server<()>> = raw
            .server
            .into_iter()
            .filter_map(|server| self.server(server))
            .collect();
        let mut names = BTreeSet::new();
        let agents = raw
            .agent
            .into_iter()
            .filter_map(|agent| self.agent(agent, &declared, &mut names))
            .collect();
        let mut names = BTreeSet::new();
        let roles = raw
            .role
            .into_iter()
            .filter_map(|role| self.role(role, &declared, &mut names))
            .collect();
        let self_registered = raw
            .self_registered
            .map(|table| self.access(table.access, &declared))
            .unwrap_or_default();
        let fleet = Fleet {
            servers,
            agents,
            roles,
            self_registered,
        };
        self.unique_servers(&fleet.servers);
        fleet
    }

    fn unique_servers(&mut self, servers: &[Server<()>]) {
        let mut names = BTreeSet::new();
        let mut uris = BTreeMap::new();
        for server in servers {
            let at = self.text.find(&format!("\"{}\"", server.name)).unwrap_or(0);
            if !names.insert(&server.name) {
                self.problem(
                    at,
                    format!(
                        "two servers are named {:?}; give one another name",
                        server.name.as_str()
                    ),
                );
            }
            // PC-30: addresses that differ in case only are read alike by people and by some programs.
            if let Some(other) = uris.insert(
                server.canonical_uri.as_str().to_ascii_lowercase(),
                &server.name,
            ) {
                self.problem(
                    at,
                    format!(
                        "servers {:?} and {:?} have canonical URIs that can be confused",
                        other.as_str(),
                        server.name.as_str()
                    ),
                );
            }
        }
    }

    fn server(&mut self, raw: RawServer) -> Option<Server<()>> {
        let at = raw.name.span().start;
        let name: Option<Name> = self.read(&raw.name);
        let default_uri = |name: &Name| self.surroundings.issuer.join(&format!("/mcp/{name}"));
        let canonical_uri: Option<ResourceUri> = match (&raw.canonical_uri, &name) {
            (Some(uri), _) => self.read(uri),
            (None, Some(name)) => default_uri(name).parse().ok(),
            (None, None) => None,
        };
        let scopes = self.scopes(at, raw.scopes);
        let declared: ScopeSet = scopes.keys().collect();
        let rules = raw
            .rule
            .into_iter()
            .filter_map(|rule| self.rule(rule, &declared))
            .collect();
        let placement = self.placement(at, raw.mode, raw.upstream, raw.credential);
        let default_scopes = self.scope_set(raw.default_scopes, &declared);
        let access_seconds = raw.access.and_then(|text| self.access_life(&text));
        let name = name?;
        Some(Server {
            id: (),
            title: raw.title.unwrap_or_else(|| name.to_string()),
            canonical_uri: canonical_uri?,
            placement: placement?,
            access_seconds,
            labels: raw.labels,
            default_scopes,
            scopes,
            rules,
            name,
        })
    }

    fn placement(
        &mut self,
        at: usize,
        mode: RawMode,
        upstream: Option<Spanned<RawUpstream>>,
        credential: UpstreamCredential,
    ) -> Option<Placement> {
        match (mode, upstream) {
            (RawMode::Direct, None) => Some(Placement::Direct),
            (RawMode::Direct, Some(upstream)) => {
                self.problem(
                    upstream.span().start,
                    "a direct server has no upstream: callers reach it without the gateway",
                );
                None
            }
            (RawMode::Gateway, None) => {
                self.problem(at, "a server behind the gateway needs upstream = { url = \"…\" } or { command = \"…\" }");
                None
            }
            (RawMode::Gateway, Some(upstream)) => {
                let at = upstream.span().start;
                self.upstream(at, upstream.into_inner())
                    .map(|upstream| Placement::Gateway {
                        upstream,
                        credential,
                    })
            }
        }
    }

    fn upstream(&mut self, at: usize, raw: RawUpstream) -> Option<Upstream> {
        match (raw.url, raw.command) {
            (Some(url), None) if url.starts_with("http://") || url.starts_with("https://") => {
                Some(Upstream::Url(url))
            }
            (Some(_), None) => {
                self.problem(at, "upstream.url must be an http or https URL");
                None
            }
            (None, Some(command)) if self.surroundings.commands.contains(&command) => {
                Some(Upstream::Command(command))
            }
            (None, Some(command)) => {
                self.problem(at, format!("no program {command:?} on this machine: add [command.{command}] to portcullis.toml"));
                None
            }
            (Some(_), Some(_)) | (None, None) => {
                self.problem(at, "upstream needs either url or command");
                None
            }
        }
    }

    /// PC-12: "15m" or "900s"; 1 to 60 minutes.
    fn access_life(&mut self, text: &Spanned<String>) -> Option<u64> {
        let minutes = text
            .get_ref()
            .strip_suffix('m')
            .and_then(|digits| digits.parse::<u64>().ok());
        match minutes {
            Some(minutes) if (1..=60).contains(&minutes) => Some(minutes * 60),
            _ => {
                self.problem(
                    text.span().start,
                    "access is the life of access tokens, \"1m\" to \"60m\"",
                );
                None
            }
        }
    }

    fn scopes(
        &mut self,
        at: usize,
        raw: BTreeMap<Spanned<String>, RawScope>,
    ) -> BTreeMap<Scope, ScopeMeaning> {
        let names: ScopeSet = raw
            .keys()
            .filter_map(|name| name.get_ref().parse::<Scope>().ok())
            .collect();
        if raw.len() > MAX_SCOPES {
            self.problem(at, format!("a server declares at most {MAX_SCOPES} scopes"));
        }
        let mut scopes = BTreeMap::new();
        for (name, meaning) in raw {
            let (says, implies) = match meaning {
                RawScope::Says(says) => (says, ScopeSet::default()),
                RawScope::Full(table) => {
                    let place = |text| Spanned::new(name.span(), text);
                    let implies = table.implies.into_iter().map(place).collect();
                    (table.says, self.scope_set(implies, &names))
                }
            };
            if name.get_ref() == "offline_access" {
                self.problem(name.span().start, "offline_access is no scope of a server");
            }
            if let Some(scope) = self.read(&name) {
                scopes.insert(scope, ScopeMeaning { says, implies });
            }
        }
        scopes
    }

    fn rule(&mut self, raw: RawRule, declared: &ScopeSet) -> Option<Rule> {
        let at = raw.scopes.span().start;
        let scopes = self.scope_set(raw.scopes.into_inner(), declared);
        if scopes.is_empty() {
            self.problem(
                at,
                "a rule needs at least one scope: an empty list would let everybody in",
            );
        }
        if raw.tools.is_empty() && raw.prompts.is_empty() && raw.resources.is_empty() {
            self.problem(
                at,
                "a rule needs tools, prompts or resources that it is for",
            );
        }
        let [tools, prompts, resources] =
            [raw.tools, raw.prompts, raw.resources].map(|patterns| self.patterns(patterns));
        (!scopes.is_empty()).then_some(Rule {
            tools,
            prompts,
            resources,
            scopes,
            risk: raw.risk,
        })
    }

    fn patterns(&mut self, raw: Vec<Spanned<String>>) -> Vec<String> {
        for pattern in &raw {
            if pattern.get_ref().is_empty() || glob(pattern.get_ref()).is_err() {
                self.problem(
                    pattern.span().start,
                    "not a pattern: write a name, with * for any run of characters",
                );
            }
        }
        raw.into_iter().map(Spanned::into_inner).collect()
    }

    /// Scopes that must be among the declared ones.
    fn scope_set(&mut self, raw: Vec<Spanned<String>>, declared: &ScopeSet) -> ScopeSet {
        let mut scopes = ScopeSet::default();
        for text in raw {
            match self.read::<Scope>(&text) {
                Some(scope) if declared.contains(&scope) => scopes.insert(scope),
                Some(scope) => self.problem(
                    text.span().start,
                    format!("the server does not declare the scope {:?}", scope.as_str()),
                ),
                None => {}
            }
        }
        scopes
    }

    fn access(&mut self, raw: RawAccess, declared: &BTreeMap<Name, ScopeSet>) -> Access {
        let mut access = Access::new();
        for (server, scopes) in raw {
            match self
                .read::<Name>(&server)
                .and_then(|name| Some((declared.get(&name)?, name)))
            {
                Some((of_server, name)) => {
                    access.insert(name, self.scope_set(scopes, of_server));
                }
                None => self.problem(
                    server.span().start,
                    format!("there is no server {:?}", server.get_ref()),
                ),
            }
        }
        access
    }

    fn agent(
        &mut self,
        raw: RawAgent,
        declared: &BTreeMap<Name, ScopeSet>,
        names: &mut BTreeSet<Name>,
    ) -> Option<Agent<()>> {
        let name = self.new_name(&raw.name, names);
        let access = self.access(raw.access, declared);
        let mut introspects = Vec::new();
        for server in &raw.introspects {
            match self.read::<Name>(server) {
                Some(name) if declared.contains_key(&name) => introspects.push(name),
                _ => self.problem(
                    server.span().start,
                    format!("there is no server {:?}", server.get_ref()),
                ),
            }
        }
        let deliver = raw.credential.map(|credential| credential.secret.deliver);
        if let Some(place) = &deliver
            && place
                .get_ref()
                .strip_prefix("file:")
                .is_none_or(str::is_empty)
        {
            self.problem(
                place.span().start,
                "deliver says where the secret is written: \"file:PATH\"",
            );
        }
        Some(Agent {
            client_id: (),
            name: name?,
            owner: raw.owner,
            access,
            introspects,
            deliver: deliver.map(Spanned::into_inner),
        })
    }

    fn role(
        &mut self,
        raw: RawRole,
        declared: &BTreeMap<Name, ScopeSet>,
        names: &mut BTreeSet<Name>,
    ) -> Option<Role> {
        let name = self.new_name(&raw.name, names);
        if raw.members == Members::default() {
            self.problem(
                raw.name.span().start,
                "a role needs members = { group = \"…\" } or { users = [\"…\"] }",
            );
        }
        let access = self.access(raw.access, declared);
        Some(Role {
            name: name?,
            members: raw.members,
            access,
        })
    }

    fn new_name(&mut self, text: &Spanned<String>, taken: &mut BTreeSet<Name>) -> Option<Name> {
        let name: Name = self.read(text)?;
        if !taken.insert(name.clone()) {
            self.problem(
                text.span().start,
                format!("the name {:?} is taken", name.as_str()),
            );
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Fleet::parse(
            text,
            Surroundings {
                issuer: &issuer,
                commands: &commands,
            },
        )
    }

    #[test]
    fn pc_34_a_good_file_is_read_whole() {
        let fleet = parse(GOOD).unwrap();
        assert_eq!(
            fleet.servers[0].canonical_uri.as_str(),
            "https://mcp.example.com/mcp/notes"
        );
        assert_eq!(fleet.servers[1].access_seconds, Some(300));
        assert_eq!(
            fleet.agents[0].access["notes".parse::<Name>().as_ref().unwrap()].to_string(),
            "notes:read"
        );
        assert_eq!(
            parse("").unwrap(),
            Fleet::default(),
            "an empty file is an empty fleet"
        );
    }

    #[test]
    fn pc_63_every_mistake_is_reported_with_its_line() {
        let bad = GOOD
            .replace(
                "default_scopes = [\"notes:read\"]",
                "default_scopes = [\"notes:raed\"]",
            )
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
