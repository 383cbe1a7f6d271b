//! The checks of a fleet file: names, scopes, patterns, and that the parts fit together.

use super::raw::{
    RawAccess, RawAgent, RawFleet, RawMode, RawRole, RawRule, RawScope, RawServer, RawUpstream,
};
use super::{Fleet, Problem, Surroundings};
use crate::document::line_of;
use crate::policy::{MAX_SCOPES, glob};
use crate::registry::{
    Access, Agent, Members, Name, Placement, Role, Rule, ScopeMeaning, Server, Upstream, UpstreamCredential,
};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::{Scope, ScopeSet};
use portcullis_oauth::upstream::UpstreamUrl;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use toml::Spanned;

/// Turns the raw file into a fleet and collects every mistake on the way.
pub(super) struct Check<'a> {
    pub(super) text: &'a str,
    pub(super) surroundings: Surroundings<'a>,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, at: usize, says: impl Into<String>) {
        self.problems.push(Problem { line: line_of(self.text, at), says: says.into() });
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

    pub(super) fn fleet(&mut self, raw: RawFleet) -> Fleet {
        // Taken from the raw text, so that one mistake in a server does not make everything that names it a mistake.
        let declared: BTreeMap<Name, ScopeSet> = raw.server.iter().filter_map(RawServer::declares).collect();
        let servers: Vec<Server<()>> =
            raw.server.into_iter().filter_map(|server| self.server(server)).collect();
        let mut names = BTreeSet::new();
        let agents =
            raw.agent.into_iter().filter_map(|agent| self.agent(agent, &declared, &mut names)).collect();
        let mut names = BTreeSet::new();
        let roles = raw.role.into_iter().filter_map(|role| self.role(role, &declared, &mut names)).collect();
        let self_registered =
            raw.self_registered.map(|table| self.access(table.access, &declared)).unwrap_or_default();
        let fleet = Fleet { servers, agents, roles, self_registered };
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
                    format!("two servers are named {:?}; give one another name", server.name.as_str()),
                );
            }
            // PC-30: addresses that differ in case only are read alike by people and by some programs.
            if let Some(other) = uris.insert(server.canonical_uri.as_str().to_ascii_lowercase(), &server.name)
            {
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
        let rules = raw.rule.into_iter().filter_map(|rule| self.rule(rule, &declared)).collect();
        let placement = self.placement(at, raw.mode, raw.upstream, raw.credential);
        let default_scopes = self.scope_set(raw.default_scopes, &declared);
        if raw.title.as_ref().is_some_and(|title| title.trim().is_empty()) {
            self.problem(at, "an empty title: people read it before they agree; leave it out for the name");
        }
        let access_seconds = raw.access.and_then(|text| self.access_life(&text));
        let name = name?;
        Some(Server {
            id: (),
            title: raw.title.unwrap_or_else(|| name.to_string()),
            canonical_uri: canonical_uri?,
            placement: placement?,
            access_seconds,
            labels: raw.labels,
            owners: raw.owners,
            observe: raw.observe,
            pinning: raw.pinning,
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
                self.problem(
                    at,
                    "a server behind the gateway needs upstream = { url = \"…\" } or { command = \"…\" }",
                );
                None
            }
            (RawMode::Gateway, Some(upstream)) => {
                let at = upstream.span().start;
                self.upstream(at, upstream.into_inner())
                    .map(|upstream| Placement::Gateway { upstream, credential })
            }
        }
    }

    fn upstream(&mut self, at: usize, raw: RawUpstream) -> Option<Upstream> {
        match (raw.url, raw.command) {
            (Some(url), None) => match url.parse::<UpstreamUrl>() {
                Ok(_) => Some(Upstream::Url(url)),
                Err(error) => {
                    self.problem(at, format!("upstream.url {error}"));
                    None
                }
            },
            (None, Some(command)) if self.surroundings.commands.contains(&command) => {
                Some(Upstream::Command(command))
            }
            (None, Some(command)) => {
                self.problem(
                    at,
                    format!(
                        "no program {command:?} on this machine: add [command.{command}] to portcullis.toml"
                    ),
                );
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
        let minutes = text.get_ref().strip_suffix('m').and_then(|digits| digits.parse::<u64>().ok());
        match minutes {
            Some(minutes) if (1..=60).contains(&minutes) => Some(minutes * 60),
            _ => {
                self.problem(text.span().start, "access is the life of access tokens, \"1m\" to \"60m\"");
                None
            }
        }
    }

    fn scopes(
        &mut self,
        at: usize,
        raw: BTreeMap<Spanned<String>, RawScope>,
    ) -> BTreeMap<Scope, ScopeMeaning> {
        let names: ScopeSet = raw.keys().filter_map(|name| name.get_ref().parse::<Scope>().ok()).collect();
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
            if says.trim().is_empty() {
                let says = format!(
                    "the scope {:?} needs a sentence: people read it before they agree",
                    name.get_ref()
                );
                self.problem(name.span().start, says);
            }
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
        let listed = raw.scopes.into_inner();
        let none_listed = listed.is_empty();
        let scopes = self.scope_set(listed, declared);
        if none_listed {
            self.problem(at, "a rule needs at least one scope: an empty list would let everybody in");
        }
        if raw.tools.is_empty() && raw.prompts.is_empty() && raw.resources.is_empty() {
            self.problem(at, "a rule needs tools, prompts or resources that it is for");
        }
        let [tools, prompts, resources] =
            [raw.tools, raw.prompts, raw.resources].map(|patterns| self.patterns(patterns));
        (!scopes.is_empty()).then_some(Rule { tools, prompts, resources, scopes, risk: raw.risk })
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
            match self.read::<Name>(&server).and_then(|name| Some((declared.get(&name)?, name))) {
                Some((of_server, name)) => {
                    access.insert(name, self.scope_set(scopes, of_server));
                }
                None => {
                    self.problem(server.span().start, format!("there is no server {:?}", server.get_ref()));
                }
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
                _ => self.problem(server.span().start, format!("there is no server {:?}", server.get_ref())),
            }
        }
        let deliver = raw.credential.map(|credential| credential.secret.deliver);
        if let Some(place) = &deliver
            && place.get_ref().strip_prefix("file:").is_none_or(str::is_empty)
        {
            self.problem(place.span().start, "deliver says where the secret is written: \"file:PATH\"");
        }
        Some(Agent {
            client_id: (),
            name: name?,
            owner: raw.owner,
            labels: raw.labels,
            disabled: raw.disabled,
            expires_at: None,
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
        Some(Role { name: name?, members: raw.members, access })
    }

    fn new_name(&mut self, text: &Spanned<String>, taken: &mut BTreeSet<Name>) -> Option<Name> {
        let name: Name = self.read(text)?;
        if !taken.insert(name.clone()) {
            self.problem(text.span().start, format!("the name {:?} is taken", name.as_str()));
        }
        Some(name)
    }
}
