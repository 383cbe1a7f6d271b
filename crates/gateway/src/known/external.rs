//! Tokens of other issuers (PC-06): which of them a server trusts, and what is known of a token before it is judged.
//!
//! Judging is one step and never waits; [`ready`] comes before it and may ask the issuer. A token is only ever held against
//! the one issuer that it names, among those that its server trusts: for any other nothing is fetched.

mod asked;
mod keys;

use crate::bounds::rates::TooOften;
use crate::known::disbelief::Disbelief;
use crate::reach::fetch::Fetcher;
use crate::settings::{Clock, IssuerTimes, Secrets};
use asked::Desk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashMap;
use keys::KeySource;
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::{Issuers, LONGEST_EXTERNAL_LIFE, Proof, Server, TrustedIssuer};
use portcullis_domain::secret::is_ours;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::{ExternalExpected, TokenRefusal, unverified_names};
use portcullis_oauth::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What every issuer is asked with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) times: IssuerTimes,
    pub(crate) clock: Clock,
    pub(crate) secrets: Secrets,
    /// How many tokens are remembered, of each issuer.
    pub(crate) capacity: usize,
}

/// What is known of one issuer; kept from one snapshot to the next, for as long as it is asked in the same way.
#[derive(Clone)]
enum Live {
    Asked(Arc<Desk>),
    Keys(Arc<KeySource>),
}

/// Whose tokens count at one server.
pub(crate) struct Trust {
    own: bool,
    external: Vec<(TrustedIssuer, Live)>,
}

/// Of a snapshot; servers at which only our own tokens count are not in it.
#[derive(Default)]
pub(crate) struct Trusts {
    live: HashMap<String, Live>,
    by_server: HashMap<portcullis_domain::id::ServerId, Trust>,
}

/// Whom a token is held against.
enum Named<'a> {
    Own,
    Other(&'a TrustedIssuer, &'a Live, Option<String>),
    Nobody,
}

impl Trusts {
    pub(crate) fn of(servers: &[Server], before: Option<&Self>, means: &Means) -> Self {
        let mut trusts = Self::default();
        for server in servers.iter().filter(|server| server.issuers != Issuers::default()) {
            let external = server.issuers.external.iter();
            let external = external.map(|trusted| (trusted.clone(), trusts.live(trusted, before, means)));
            let trust = Trust { own: server.issuers.own, external: external.collect() };
            trusts.by_server.insert(server.id, trust);
        }
        trusts
    }

    /// By everything that decides what its answers mean: an issuer with two addresses is two.
    fn live(&mut self, trusted: &TrustedIssuer, before: Option<&Self>, means: &Means) -> Live {
        let key = match &trusted.proof {
            Proof::Jwks { address, .. } => format!("jwks\n{}\n{address}", trusted.issuer),
            Proof::Introspection { address, client_id, secret } => {
                format!("asked\n{}\n{address}\n{client_id}\n{secret}", trusted.issuer)
            }
        };
        let known = self.live.get(&key).or_else(|| before.and_then(|before| before.live.get(&key)));
        let live = known.cloned().unwrap_or_else(|| match &trusted.proof {
            Proof::Jwks { address, .. } => {
                Live::Keys(KeySource::new(&trusted.issuer, address, means.clone()))
            }
            Proof::Introspection { .. } => Live::Asked(Desk::new(trusted, means.clone())),
        });
        self.live.insert(key, live.clone());
        live
    }

    /// `None` where only our own tokens count.
    pub(crate) fn at(&self, server: portcullis_domain::id::ServerId) -> Option<&Trust> {
        self.by_server.get(&server)
    }
}

/// Whether our own rules judge a token, or who somebody else says it is.
pub(crate) enum Believed {
    Own,
    Other(Principal),
}

/// What tokens of others are held against.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) own: &'a Issuer,
    /// The canonical URI of the server.
    pub(crate) audience: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) leeway: Duration,
}

impl Trust {
    /// Whom `token` names. Nothing of it is believed yet.
    fn named(&self, own: &Issuer, token: &str) -> Named<'_> {
        let other = |trusted: &&(TrustedIssuer, Live), issuer: &str| trusted.0.issuer.as_str() == issuer;
        match unverified_names(token) {
            Some(names) if names.issuer == own.as_str() => {
                if self.own {
                    Named::Own
                } else {
                    Named::Nobody
                }
            }
            Some(names) => match self.external.iter().find(|trusted| other(trusted, &names.issuer)) {
                Some((trusted, live)) => Named::Other(trusted, live, names.kid),
                None => Named::Nobody,
            },
            // Nothing of ours, and no JWT that is only broken, is ever shown to somebody else.
            None if is_ours(token) || is_like_a_jwt(token) => Named::Nobody,
            None => {
                let mut asked = self.external.iter().filter(|(_, live)| matches!(live, Live::Asked(_)));
                asked.next().map_or(Named::Nobody, |(trusted, live)| Named::Other(trusted, live, None))
            }
        }
    }

    /// Sees to it that the token can be judged: keys are there, or the issuer was asked. Waits for a bounded time, and only
    /// for the issuer that the token names. `may_check` is asked before somebody is asked about a token that was never seen.
    pub(crate) async fn ready(
        &self,
        here: Here<'_>,
        token: &str,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<(), Disbelief> {
        match self.named(here.own, token) {
            Named::Own | Named::Nobody => Ok(()),
            Named::Other(_, Live::Keys(source), kid) => {
                if let Some(kid) = kid {
                    source.ready(&kid).await;
                }
                Ok(())
            }
            Named::Other(_, Live::Asked(desk), _) => desk.ready(token, may_check).await,
        }
    }

    /// Who presents the token, by what is known now.
    pub(crate) fn believe(
        &self,
        here: Here<'_>,
        token: &str,
        may_check: impl FnOnce() -> Result<(), TooOften>,
    ) -> Result<Believed, Disbelief> {
        let (trusted, live) = match self.named(here.own, token) {
            Named::Own => return Ok(Believed::Own),
            Named::Nobody => return Err(Disbelief::Token(TokenRefusal::Issuer)),
            Named::Other(trusted, live, _) => (trusted, live),
        };
        let expected = ExternalExpected {
            issuer: trusted.issuer.as_str(),
            audience: trusted.audience.as_deref().unwrap_or(here.audience),
            now: here.now,
            leeway: here.leeway,
            max_life: LONGEST_EXTERNAL_LIFE,
        };
        let principal = match live {
            Live::Keys(source) => {
                let verifier = source.verifier(here.now).ok_or(Disbelief::IssuerAway)?;
                let outcome = verifier.verify_if(token, (trusted, &expected), may_check);
                outcome.map_err(Disbelief::Unchecked)?.map_err(Disbelief::Token)?
            }
            Live::Asked(desk) => desk.judged(token, here.now, |claims| {
                claims.check(&expected)?;
                Principal::external(trusted, claims, token)
            })?,
        };
        Ok(Believed::Other(principal))
    }
}

/// A JWT, or what is left of one: a part that begins as an object of JSON does, or three parts or more of which the first is
/// such an object however it is written. Dots alone make none: opaque tokens of some products have one, those of others two.
fn is_like_a_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let is_object = |part: &str| {
        let begins = part.get(..4).and_then(|begins| URL_SAFE_NO_PAD.decode(begins).ok());
        begins.is_some_and(|begins| begins.trim_ascii_start().starts_with(b"{"))
    };
    let has_header = parts.clone().count() > 2 && parts.clone().next().is_some_and(is_object);
    has_header || parts.any(|part| part.starts_with("eyJ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leak_what_is_left_of_a_jwt_is_told_from_an_opaque_token() {
        let whole = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2FzLnRlc3QifQ.c2lnbmF0dXJl";
        let (first, rest) = whole.split_once('.').unwrap();
        let (head, _) = whole.rsplit_once('.').unwrap();
        let longer = format!("x{whole}");
        for broken in [
            whole,
            first,
            rest,
            head,
            &whole[1..],
            &whole[..30],
            &longer,
            "eyJ..c",
            "eyAi.b.c",
            "ewoi.b.c.d.e",
            "IHsi.b.c",
        ] {
            assert!(is_like_a_jwt(broken), "{broken}");
        }
        for opaque in [
            "opaque",
            "ory_at_abc.def",
            "abc-DEF_123",
            "",
            "v4.local.AAAA",
            "ya29.c.abc",
            "a.b.c",
            "a..c",
            "\u{e9}\u{e9}\u{e9}.b.c",
        ] {
            assert!(!is_like_a_jwt(opaque), "{opaque}");
        }
    }
}
