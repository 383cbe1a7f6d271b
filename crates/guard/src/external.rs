//! From the text of another issuer's JWT to the caller (PC-06). As in [`crate::verifier`] only that a signature was good is
//! remembered, and the memory dies with its key set.

use crate::bounded::BoundedMap;
use aws_lc_rs::digest;
use portcullis_domain::principal::Principal;
use portcullis_domain::registry::{Proof, TokenType, TrustedIssuer};
use portcullis_oauth::jwk::ExternalKeySet;
use portcullis_oauth::jwt::{self, ExternalExpected, ExternalToken, StatedKind, TokenRefusal, open_external};
use std::sync::{Arc, Mutex, PoisonError};

/// Verifies the tokens of one issuer with one set of its keys.
pub struct ExternalVerifier {
    keys: ExternalKeySet,
    good_signatures: Mutex<BoundedMap<[u8; 32], Arc<ExternalToken>>>,
}

impl ExternalVerifier {
    /// With these keys; remembers at most `capacity` good signatures.
    pub fn new(keys: ExternalKeySet, capacity: usize) -> Self {
        jwt::install_crypto();
        Self { keys, good_signatures: Mutex::new(BoundedMap::new(capacity)) }
    }

    /// The keys.
    pub fn keys(&self) -> &ExternalKeySet {
        &self.keys
    }

    /// Who presents `token`, if it was signed by one of the keys as `trusted` wants it, and counts for `expected`, now.
    /// A signature that was not checked before is only checked if `may_check` allows it.
    ///
    /// # Errors
    /// What `may_check` said.
    pub fn verify_if<R>(
        &self,
        token: &str,
        (trusted, expected): (&TrustedIssuer, &ExternalExpected<'_>),
        may_check: impl FnOnce() -> Result<(), R>,
    ) -> Result<Result<Principal, TokenRefusal>, R> {
        if token.len() > jwt::MAX_TOKEN_BYTES {
            return Ok(Err(TokenRefusal::Size));
        }
        let hash = sha256(token);
        let known = self.remembered().get(&hash).map(Arc::clone);
        let opened = if let Some(known) = known {
            known
        } else {
            may_check()?;
            match open_external(token, &self.keys) {
                Ok(opened) => self.remember(hash, opened),
                Err(refusal) => return Ok(Err(refusal)),
            }
        };
        Ok(judge(&opened, trusted, expected)
            .and_then(|()| Principal::external(trusted, &opened.claims, token)))
    }

    fn remember(&self, hash: [u8; 32], opened: ExternalToken) -> Arc<ExternalToken> {
        let opened = Arc::new(opened);
        self.remembered().insert(hash, Arc::clone(&opened));
        opened
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BoundedMap<[u8; 32], Arc<ExternalToken>>> {
        self.good_signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ExternalVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ExternalVerifier").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// What is asked anew at each use.
fn judge(
    token: &ExternalToken,
    trusted: &TrustedIssuer,
    expected: &ExternalExpected<'_>,
) -> Result<(), TokenRefusal> {
    let (algorithms, token_type) = match &trusted.proof {
        Proof::Jwks { algorithms, token_type, .. } => (algorithms, *token_type),
        // It is not by its signature that such a token counts.
        Proof::Introspection { .. } => return Err(TokenRefusal::Issuer),
    };
    if !algorithms.contains(&token.algorithm) {
        return Err(TokenRefusal::Algorithm);
    }
    let is_access_token = match (token.kind, token_type) {
        (StatedKind::AccessToken, _) => true,
        (StatedKind::Unsaid, TokenType::AccessToken) => false,
        (StatedKind::Unsaid, TokenType::AnyJwt) => !token.claims.are_of_another_kind(),
    };
    if !is_access_token {
        return Err(TokenRefusal::Type);
    }
    token.claims.check(expected)
}

/// By which a token is remembered.
pub fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}
