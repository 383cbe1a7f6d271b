//! One server of a fleet file: address, scopes.

use super::Check;
use crate::fleet::raw::{RawScope, RawServer};
use crate::policy::MAX_SCOPES;
use crate::registry::{Name, Placement, ScopeMeaning, Server, UpstreamCredential};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::{Scope, ScopeSet};
use std::collections::BTreeMap;
use toml::Spanned;

impl Check<'_> {
    pub(super) fn server(&mut self, raw: RawServer) -> Option<Server<()>> {
        let at = raw.name.span().start;
        // A bad name was told already.
        let name: Option<Name> = raw.name.get_ref().parse().ok();
        let default_uri = |name: &Name| self.surroundings.issuer.join(&format!("/mcp/{name}"));
        let canonical_uri: Option<ResourceUri> = match (&raw.canonical_uri, &name) {
            (Some(uri), _) => self.read(uri),
            (None, Some(name)) => default_uri(name).parse().ok(),
            (None, None) => None,
        };
        let scopes = self.scopes(at, raw.scopes);
        let declared: ScopeSet = scopes.keys().collect();
        if let Some((name, uri)) = name.as_ref().zip(canonical_uri.as_ref()) {
            self.idle_globs(&raw.rule, name, uri);
        }
        let rules = self.rules(raw.rule, &declared);
        let placement = self.placement(at, raw.mode, raw.upstream, raw.credential);
        if let (Some(name), Some(Placement::Gateway { credential: UpstreamCredential::PerUser(_), .. })) =
            (&name, &placement)
            && name.as_str() == "callback"
        {
            self.problem(at, "people could not connect to a server of this name: /connect/callback is taken");
        }
        let default_scopes = self.scope_set(raw.default_scopes, &declared);
        let limits = self.limits(raw.limits, placement.as_ref());
        let issuers = self.issuers(raw.issuers, &declared, placement.as_ref());
        if placement == Some(Placement::Direct) && !raw.other_transports.is_empty() {
            let says = "a direct server has no other_transports: callers reach it without the gateway";
            self.problem(at, says);
        }
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
            other_transports: raw.other_transports,
            issuers: issuers?,
            limits,
            default_scopes,
            scopes,
            rules,
            name,
        })
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
}
