//! What an upstream gets instead of the caller's token: a signed assertion, made for it (PC-05).

use crate::known::caller::Caller;
use crate::reach::credential::shown;
use http::HeaderValue;
use portcullis_domain::id::ServerId;
use portcullis_domain::policy::{Effective, ServerPolicy};
use portcullis_domain::principal::Subject;
use portcullis_guard::assertion::{ASSERTION_LIFE, ASSERTION_TYPE, AssertionClaims};
use portcullis_guard::bounded::BoundedMap;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::SigningKey;
use portcullis_oauth::time::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many assertions are kept for reuse.
const KEPT: usize = 10_000;

/// Makes assertions, and uses each again for half its life.
pub(crate) struct Assertions {
    issuer: Issuer,
    key: SigningKey,
    made: Mutex<BoundedMap<For, Made>>,
}

/// An assertion serves one principal with what it may do on one server, for as long as policies are not compiled anew.
#[derive(PartialEq, Eq, Hash)]
struct For {
    subject: Subject,
    client: ClientId,
    effective: Effective,
    server: ServerId,
    edition: u64,
}

struct Made {
    header: HeaderValue,
    until: Timestamp,
}

impl Assertions {
    pub(crate) fn new(issuer: Issuer, key: SigningKey) -> Self {
        Self { issuer, key, made: Mutex::new(BoundedMap::new(KEPT)) }
    }

    /// An assertion for the caller's server, with what the caller may do there now by its policy; valid for at least half its
    /// life. `unique` names it if it is new. `None` when it cannot be signed.
    pub(crate) fn assert(
        &self,
        caller: &Caller,
        policy: &ServerPolicy,
        unique: impl FnOnce() -> String,
    ) -> Option<HeaderValue> {
        let (principal, server, now) = (&caller.principal, policy.server(), caller.now);
        let purpose = For {
            subject: principal.subject.clone(),
            client: principal.client_id.clone(),
            effective: policy.effective(principal, &caller.circumstances()),
            server: server.id,
            edition: caller.known.edition,
        };
        if let Some(kept) = self.made().get(&purpose).filter(|kept| now < kept.until) {
            return Some(kept.header.clone());
        }
        let claims = AssertionClaims {
            iss: self.issuer.clone(),
            aud: server.canonical_uri.as_str().to_owned(),
            sub: principal.subject.to_string(),
            client_id: principal.client_id.clone(),
            scope: policy.names_of(purpose.effective),
            iat: now,
            exp: now + ASSERTION_LIFE,
            jti: unique(),
        };
        let header = shown(&self.key.sign(ASSERTION_TYPE, &claims).ok()?)?;
        let until = now + ASSERTION_LIFE / 2;
        self.made().insert(purpose, Made { header: header.clone(), until });
        Some(header)
    }

    /// Never held while signing.
    fn made(&self) -> MutexGuard<'_, BoundedMap<For, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
