//! Rules of one server: scopes, patterns, and patterns without effect.

use super::Check;
use crate::fleet::raw::RawRule;
use crate::method::nameable;
use crate::policy::{covers, glob, is_possible};
use crate::registry::{Risk, Rule};
use portcullis_oauth::scope::ScopeSet;
use std::collections::HashMap;
use toml::Spanned;

/// The most comparisons of patterns of one server. Patterns without effect do no harm, and who has so many does not see it.
const MOST_COMPARED: usize = 100_000;

impl Check<'_> {
    /// The rules of one server.
    pub(super) fn rules(&mut self, raw: Vec<RawRule>, declared: &ScopeSet) -> Vec<Rule> {
        let mut seen = Seen::default();
        let mut rules = Vec::new();
        for (at, raw) in raw.into_iter().enumerate() {
            let places = Places::of(&raw);
            let Some(rule) = self.rule(raw, declared) else { continue };
            for (kind, patterns) in places.0 {
                for (place, pattern) in patterns {
                    let said =
                        Said { kind, number: at + 1, pattern, scopes: rule.scopes.clone(), risk: rule.risk };
                    if let Some(says) = seen.useless(&said) {
                        self.problem(place, says);
                    }
                    seen.push(said);
                }
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(&mut self, raw: RawRule, declared: &ScopeSet) -> Option<Rule> {
        let at = raw.scopes.span().start;
        let listed = raw.scopes.into_inner();
        let none_listed = listed.is_empty();
        let scopes = self.scope_set(listed, declared);
        if none_listed {
            self.problem(at, "a rule needs at least one scope: an empty list would let everybody in");
        }
        if raw.tools.is_empty()
            && raw.prompts.is_empty()
            && raw.resources.is_empty()
            && raw.methods.is_empty()
        {
            self.problem(at, "a rule needs tools, prompts, resources or methods that it is for");
        }
        self.resource_patterns(&raw.resources);
        let [tools, prompts, resources] =
            [raw.tools, raw.prompts, raw.resources].map(|patterns| self.patterns(patterns));
        let methods = self.methods(raw.methods);
        (!scopes.is_empty()).then_some(Rule { tools, prompts, resources, methods, scopes, risk: raw.risk })
    }

    /// Those that no URI can match: they would look like a choice.
    fn resource_patterns(&mut self, raw: &[Spanned<String>]) {
        for pattern in raw.iter().filter(|pattern| !pattern.get_ref().is_empty()) {
            if let Err(unclear) = is_possible(pattern.get_ref()) {
                self.problem(
                    pattern.span().start,
                    format!("{:?} matches no resource, because {unclear}", pattern.get_ref()),
                );
            }
        }
    }

    fn methods(&mut self, raw: Vec<Spanned<String>>) -> Vec<String> {
        for method in &raw {
            if let Err(why) = nameable(method.get_ref()) {
                self.problem(method.span().start, format!("{:?}: {why}", method.get_ref()));
            }
        }
        raw.into_iter().map(Spanned::into_inner).collect()
    }

    pub(super) fn patterns(&mut self, raw: Vec<Spanned<String>>) -> Vec<String> {
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
}

/// Every pattern of a rule and where it stands.
struct Places([(&'static str, Vec<(usize, String)>); 4]);

impl Places {
    fn of(raw: &RawRule) -> Self {
        let places = |patterns: &[Spanned<String>]| {
            patterns.iter().map(|pattern| (pattern.span().start, pattern.get_ref().clone())).collect()
        };
        Self([
            ("tools", places(&raw.tools)),
            ("prompts", places(&raw.prompts)),
            ("resources", places(&raw.resources)),
            ("methods", places(&raw.methods)),
        ])
    }
}

/// A pattern and what its rule says of it.
struct Said {
    kind: &'static str,
    number: usize,
    pattern: String,
    scopes: ScopeSet,
    risk: Risk,
}

#[derive(Default)]
struct Seen {
    said: Vec<Said>,
    /// Where in it the first of each kind and pattern stands.
    first: HashMap<(&'static str, String), usize>,
    compared: usize,
}

impl Seen {
    fn push(&mut self, said: Said) {
        let key = (said.kind, said.pattern.clone());
        self.first.entry(key).or_insert(self.said.len());
        self.said.push(said);
    }

    /// Every rule that matches counts, and all their scopes are needed together. So a pattern is a mistake where it says
    /// nothing that another does not say of all that it matches, and where it stands twice, which looks like a choice and
    /// is none.
    fn useless(&mut self, new: &Said) -> Option<String> {
        if let Some(first) = self.first.get(&(new.kind, new.pattern.clone())) {
            let old = self.said.get(*first)?;
            return Some(format!(
                "{:?} stands in rule {} too: every rule that matches counts, so write it once, with all its scopes",
                new.pattern, old.number
            ));
        }
        for old in self.said.iter().filter(|old| old.kind == new.kind) {
            if self.compared == MOST_COMPARED {
                break;
            }
            self.compared += 1;
            let (wide, narrow) = if covers(&old.pattern, &new.pattern) {
                (old, new)
            } else if covers(&new.pattern, &old.pattern) {
                (new, old)
            } else {
                continue;
            };
            let adds_risk = narrow.risk == Risk::High && wide.risk != Risk::High;
            if narrow.scopes.is_subset(&wide.scopes) && !adds_risk {
                return Some(format!(
                    "{:?} of rule {} has no effect: {:?} of rule {} matches the same and needs the same scopes or more",
                    narrow.pattern, narrow.number, wide.pattern, wide.number
                ));
            }
        }
        None
    }
}
