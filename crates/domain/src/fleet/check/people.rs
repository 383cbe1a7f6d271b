//! Agents, clients and roles of a fleet file.

use super::Check;
use crate::builtin;
use crate::fleet::moment;
use crate::fleet::raw::{RawAgent, RawClient, RawCredential, RawRole};
use crate::registry::{Agent, Client, ClientAuth, Members, Name, Role};
use portcullis_oauth::redirect::RedirectUri;
use portcullis_oauth::scope::ScopeSet;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Most redirect URIs of one client.
const MAX_REDIRECTS: usize = 16;

impl Check<'_> {
    pub(super) fn agent(
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
                Some(name) if builtin::is_reserved_server(&name) => {
                    self.problem(server.span().start, "portcullis looks at its own tokens itself");
                }
                Some(name) if declared.contains_key(&name) => introspects.push(name),
                _ => {
                    let hint = self.hint(server.get_ref(), declared.keys().map(Name::as_str));
                    let says = format!("there is no server {:?}; {hint}", server.get_ref());
                    self.problem(server.span().start, says);
                }
            }
        }
        let whose = format!("agent {:?}", raw.name.get_ref());
        let deliver = raw.credential.and_then(|credential| self.deliver(credential, whose));
        let expires_at = raw.expires.and_then(|expires| {
            let moment = moment::read(expires.get_ref());
            if moment.is_none() {
                self.problem(expires.span().start, format!("expires is {}", moment::HINT));
            }
            moment
        });
        Some(Agent {
            client_id: (),
            name: name?,
            owner: raw.owner,
            labels: raw.labels,
            disabled: raw.disabled,
            expires_at,
            access,
            introspects,
            deliver,
        })
    }

    pub(super) fn client(
        &mut self,
        raw: RawClient,
        declared: &BTreeMap<Name, ScopeSet>,
        names: &mut BTreeSet<Name>,
    ) -> Option<Client<()>> {
        let at = raw.name.span().start;
        let name = self.new_name(&raw.name, names);
        if raw.title.as_ref().is_some_and(|title| title.trim().is_empty()) {
            self.problem(at, "an empty title: people read it before they agree; leave it out for the name");
        }
        let redirect_uris = self.redirect_uris(raw.redirect_uris);
        let auth = raw.auth;
        match (auth, &raw.credential) {
            (ClientAuth::None, None) | (ClientAuth::Secret, Some(_)) => {}
            (ClientAuth::None, Some(_)) => self.problem(
                at,
                "a client that shows no secret has no credential: leave it out, or write auth = \"secret\"",
            ),
            (ClientAuth::Secret, None) => self
                .problem(at, "auth = \"secret\" needs credential = { secret = { deliver = \"file:PATH\" } }"),
        }
        let whose = format!("client {:?}", raw.name.get_ref());
        let deliver = raw.credential.and_then(|credential| self.deliver(credential, whose));
        let access = self.access(raw.access, declared);
        let name = name?;
        Some(Client {
            client_id: (),
            title: raw.title.unwrap_or_else(|| name.to_string()),
            name,
            owner: raw.owner,
            redirect_uris,
            auth,
            deliver,
            disabled: raw.disabled,
            access,
        })
    }

    fn redirect_uris(&mut self, raw: Spanned<Vec<Spanned<String>>>) -> Vec<RedirectUri> {
        let at = raw.span().start;
        let raw = raw.into_inner();
        if raw.is_empty() || raw.len() > MAX_REDIRECTS {
            self.problem(at, format!("a client has 1 to {MAX_REDIRECTS} redirect_uris"));
        }
        let mut uris: Vec<RedirectUri> = Vec::new();
        for text in raw.iter().take(MAX_REDIRECTS) {
            self.no_placeholder(text.span().start, "the redirect URI", text.get_ref());
            let Some(uri) = self.read::<RedirectUri>(text) else { continue };
            if uris.contains(&uri) {
                self.problem(text.span().start, format!("{:?} stands here twice", uri.as_str()));
            } else {
                uris.push(uri);
            }
        }
        uris
    }

    /// Where a secret is written. Nobody else's is.
    fn deliver(&mut self, raw: RawCredential, whose: String) -> Option<String> {
        let place = raw.secret.deliver;
        let at = place.span().start;
        self.no_placeholder(at, "deliver", place.get_ref());
        let Some(path) = place.get_ref().strip_prefix("file:").filter(|path| !path.is_empty()) else {
            self.problem(at, "deliver says where the secret is written: \"file:PATH\"");
            return None;
        };
        // By its parts, so that `a//b` and `a/./b` are `a/b`.
        let path: PathBuf = Path::new(path).components().collect();
        if let Some(other) = self.delivered.insert(path, whose) {
            self.problem(at, format!("the secret of {other} is delivered to this file too; name another"));
        }
        Some(place.into_inner())
    }

    pub(super) fn role(
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
        if name.as_ref().is_some_and(builtin::is_reserved_role) {
            let says = "roles whose names begin with portcullis are there already; give yours another name";
            self.problem(raw.name.span().start, says);
        }
        let access = self.access(raw.access, declared);
        Some(Role { name: name?, members: raw.members, access })
    }
}
