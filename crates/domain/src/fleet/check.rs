//! The checks of a fleet file: names, scopes, patterns, and that the parts fit together.

mod addresses;
mod forbids;
mod issuers;
mod limits;
mod people;
mod rules;
mod seen;
mod server;
mod upstream;

use super::raw::{RawAccess, RawFleet, RawServer};
use super::{Fleet, Problem, SeenTools, Surroundings};
use crate::builtin;
use crate::document::{Lines, MOST_TOLD};
use crate::registry::{Access, Name, Server};
use addresses::Placed;
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use toml::Spanned;

/// Turns the raw file into a fleet and collects every mistake on the way.
pub(super) struct Check<'a> {
    pub(super) lines: Lines,
    pub(super) surroundings: Surroundings<'a>,
    pub(super) tools: &'a SeenTools,
    pub(super) problems: Vec<Problem>,
    /// Files of secrets, and whose.
    pub(super) delivered: BTreeMap<PathBuf, String>,
}

impl Check<'_> {
    fn problem(&mut self, at: usize, says: impl Into<String>) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(Problem { line: self.lines.line_of(at), says: says.into() });
        }
    }

    /// What may have been meant instead; nothing when it would not be told any more.
    fn hint<'k>(&self, name: &str, known: impl Iterator<Item = &'k str>) -> String {
        if self.problems.len() < MOST_TOLD {
            nearest(name, &known.collect::<Vec<_>>())
        } else {
            String::new()
        }
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
        let mut declared: BTreeMap<Name, ScopeSet> =
            raw.server.iter().filter_map(RawServer::declares).collect();
        // It is there without being declared, and may be named where servers are.
        declared.extend(builtin::SERVER.parse().map(|name| (name, builtin::scopes().into_keys().collect())));
        let mut names = BTreeSet::new();
        for server in &raw.server {
            self.new_name(&server.name, &mut names);
        }
        let issuer = self.surroundings.issuer;
        let placed: Vec<Placed> = raw.server.iter().filter_map(|server| Placed::of(server, issuer)).collect();
        self.addresses(&placed);
        let servers: Vec<Server<()>> =
            raw.server.into_iter().filter_map(|server| self.server(server)).collect();
        let mut names = BTreeSet::new();
        let agents =
            raw.agent.into_iter().filter_map(|agent| self.agent(agent, &declared, &mut names)).collect();
        let mut names = BTreeSet::new();
        let clients =
            raw.client.into_iter().filter_map(|client| self.client(client, &declared, &mut names)).collect();
        let mut names = BTreeSet::new();
        let roles = raw.role.into_iter().filter_map(|role| self.role(role, &declared, &mut names)).collect();
        let self_registered =
            raw.self_registered.map(|table| self.access(table.access, &declared)).unwrap_or_default();
        let fleet = Fleet { servers, agents, clients, roles, self_registered, forbids: Vec::new() };
        let forbids = self.forbids(raw.forbid, &forbids::Known::of(&fleet));
        Fleet { forbids, ..fleet }
    }

    /// DEF-03: what an example says in the place of something real.
    fn no_placeholder(&mut self, at: usize, what: &str, text: &str) {
        let lower = text.to_ascii_lowercase();
        let words = ["changeme", "change-me", "change_me", "replaceme", "replace-me", "replace_me", "${"];
        let bracketed = lower.find('<').is_some_and(|open| lower[open..].contains('>'));
        if bracketed || words.iter().any(|word| lower.contains(word)) {
            self.problem(at, format!("{what} is still the placeholder of an example; write the real one"));
        }
    }

    /// Scopes that must be among the declared ones.
    fn scope_set(&mut self, raw: Vec<Spanned<String>>, declared: &ScopeSet) -> ScopeSet {
        let mut scopes = ScopeSet::default();
        for text in raw {
            match self.read::<Scope>(&text) {
                Some(scope) if declared.contains(&scope) => scopes.insert(scope),
                Some(scope) => {
                    let hint = self.hint(scope.as_str(), declared.iter().map(Scope::as_str));
                    let says = format!("the server does not declare the scope {:?}; {hint}", scope.as_str());
                    self.problem(text.span().start, says);
                }
                None => {}
            }
        }
        scopes
    }

    fn access(&mut self, raw: RawAccess, declared: &BTreeMap<Name, ScopeSet>) -> Access {
        let mut access = Access::new();
        for (server, scopes) in raw {
            let known = self.read::<Name>(&server).and_then(|name| Some((declared.get(&name)?, name)));
            if let Some((of_server, name)) = known {
                access.insert(name, self.scope_set(scopes, of_server));
            } else {
                let hint = self.hint(server.get_ref(), declared.keys().map(Name::as_str));
                let says = format!("there is no server {:?}; {hint}", server.get_ref());
                self.problem(server.span().start, says);
            }
        }
        access
    }

    fn new_name(&mut self, text: &Spanned<String>, taken: &mut BTreeSet<Name>) -> Option<Name> {
        let name: Name = self.read(text)?;
        if !taken.insert(name.clone()) {
            let says = format!("the name {:?} is taken; give one of the two another", name.as_str());
            self.problem(text.span().start, says);
        }
        Some(name)
    }
}

fn nearest(name: &str, known: &[&str]) -> String {
    crate::document::nearest(name, known.iter())
}
