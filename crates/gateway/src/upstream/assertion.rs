//! What an upstream gets instead of the caller's token: a signed assertion, made for it (PC-05).

use portcullis_domain::id::ServerId;
use portcullis_domain::principal::{Principal, Subject};
use portcullis_domain::registry::Server;
use portcullis_guard::assertion::{ASSERTION_LIFE, ASSERTION_TYPE, AssertionClaims};
use portcullis_guard::bounded::BoundedMap;
use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwt::{SigningFailed, SigningKey};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many assertions are kept for reuse.
const KEPT: usize = 10_000;

/// Makes assertions, and uses each again for half its life.
pub(crate) struct Assertions {
    issuer: Issuer,
    key: SigningKey,
    made: Mutex<BoundedMap<For, Made>>,
}

/// An assertion serves one principal, one server and one snapshot.
#[derive(PartialEq, Eq, Hash)]
struct For {
    subject: Subject,
    client: ClientId,
    scopes: ScopeSet,
    server: ServerId,
    snapshot: u64,
}

struct Made {
    text: Arc<str>,
    until: Timestamp,
}

impl Assertions {
    pub(crate) fn new(issuer: Issuer, key: SigningKey) -> Self {
        Self { issuer, key, made: Mutex::new(BoundedMap::new(KEPT)) }
    }

    /// An assertion for `server` that `principal` calls with the effective `scopes`, valid for at least half its life.
    /// `unique` names it if it is new
    pub(crate) fn assert(
        &self,
        principal: &Principal,
        server: &Server,
        (scopes, snapshot): (ScopeSet, u64),
        (now, unique): (Timestamp, impl FnOnce() -> String),
    ) -> Result<Arc<str>, SigningFailed> {
        let purpose = For {
            subject: principal.subject.clone(),
            client: principal.client_id.clone(),
            scopes,
            server: server.id,
            snapshot,
        };
        if let Some(kept) = self.made().get(&purpose).filter(|kept| now < kept.until) {
            return Ok(Arc::clone(&kept.text));
        }
        let claims = AssertionClaims {
            iss: self.issuer.clone(),
            aud: server.canonical_uri.as_str().to_owned(),
            sub: principal.subject.to_string(),
            client_id: principal.client_id.clone(),
            scope: purpose.scopes.clone(),
            iat: now,
            exp: now + ASSERTION_LIFE,
            jti: unique(),
        };
        let text: Arc<str> = self.key.sign(ASSERTION_TYPE, &claims)?.into();
        let until = now + ASSERTION_LIFE / 2;
        self.made().insert(purpose, Made { text: Arc::clone(&text), until });
        Ok(text)
    }

    /// Never held while signing.
    fn made(&self) -> MutexGuard<'_, BoundedMap<For, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
