//! From the text of an access token to the caller (PC-01).
//!
//! A signature is dear to check, so that it was good is remembered, by the token's hash. Only that: issuer, audience and
//! times are compared at each use, and the memory dies with its key set, so a removed key counts for nothing at once.

use crate::bounded::BoundedMap;
use aws_lc_rs::digest;
use portcullis_domain::principal::Principal;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwk::{InvalidKeySet, JwkSet, KeySet};
use portcullis_oauth::jwt::{self, ACCESS_TOKEN_TYPE, AccessClaims, Expected, Terms, TokenRefusal};
use portcullis_oauth::time::Timestamp;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

/// Verifies access tokens with one set of public keys.
pub struct Verifier {
    document: JwkSet,
    keys: KeySet,
    good_signatures: Mutex<BoundedMap<[u8; 32], Arc<Signed>>>,
}

/// What was signed, as far as it is asked about again: very many are kept.
struct Signed {
    iss: Issuer,
    aud: Box<str>,
    nbf: Timestamp,
    principal: Arc<Principal>,
}

impl Verifier {
    /// With the keys of `document`; remembers at most `capacity` good signatures.
    pub fn new(document: &JwkSet, capacity: usize) -> Result<Self, InvalidKeySet> {
        jwt::install_crypto();
        Ok(Self {
            keys: KeySet::new(document)?,
            document: document.clone(),
            good_signatures: Mutex::new(BoundedMap::new(capacity)),
        })
    }

    /// Whether this verifier's keys are exactly those of `document`. If not, make a new one: a key that changed under
    /// the same id must not inherit what was verified with the old one.
    pub fn is_for(&self, document: &JwkSet) -> bool {
        self.document == *document
    }

    /// Who presents `token`, if it is an access token signed by one of the keys that counts for `expected`, now.
    pub fn verify(&self, token: &str, expected: &Expected<'_>) -> Result<Principal, TokenRefusal> {
        let Ok(verified) = self.verify_if(token, expected, || Ok::<_, Infallible>(()));
        verified.map(Arc::unwrap_or_clone)
    }

    /// The same, where a signature that was not checked before is only checked if `may_check` allows it. It is asked for
    /// such tokens only, at most once; when it refuses, nothing is known about the token.
    ///
    /// # Errors
    /// What `may_check` said.
    pub fn verify_if<R>(
        &self,
        token: &str,
        expected: &Expected<'_>,
        may_check: impl FnOnce() -> Result<(), R>,
    ) -> Result<Result<Arc<Principal>, TokenRefusal>, R> {
        let signed = self.signed(token, may_check)?;
        Ok(signed.and_then(|signed| {
            signed.terms().check(expected)?;
            Ok(Arc::clone(&signed.principal))
        }))
    }

    fn signed<R>(
        &self,
        token: &str,
        may_check: impl FnOnce() -> Result<(), R>,
    ) -> Result<Result<Arc<Signed>, TokenRefusal>, R> {
        if token.len() > jwt::MAX_TOKEN_BYTES {
            return Ok(Err(TokenRefusal::Size));
        }
        let hash = sha256(token.as_bytes());
        if let Some(signed) = self.remembered().get(&hash) {
            return Ok(Ok(Arc::clone(signed)));
        }
        may_check()?;
        Ok(self.open(token, hash))
    }

    fn open(&self, token: &str, hash: [u8; 32]) -> Result<Arc<Signed>, TokenRefusal> {
        let claims = jwt::open::<AccessClaims>(token, ACCESS_TOKEN_TYPE, &self.keys)?.claims;
        claims.are_of_a_bearer_token()?;
        let (iss, aud, nbf) = (claims.iss.clone(), claims.aud.as_str().into(), claims.nbf);
        // An id of another shape: signed by our key, but not as a token of ours.
        let principal = Principal::try_from(claims).map_err(|_| TokenRefusal::Claims)?;
        let signed = Arc::new(Signed { iss, aud, nbf, principal: Arc::new(principal) });
        self.remembered().insert(hash, Arc::clone(&signed));
        Ok(signed)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BoundedMap<[u8; 32], Arc<Signed>>> {
        // Nothing panics while holding the lock; were it so, the map would still be whole.
        self.good_signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signed {
    fn terms(&self) -> Terms<'_> {
        let Principal { issued_at, expires_at, .. } = *self.principal;
        Terms { iss: &self.iss, aud: &self.aud, exp: expires_at, nbf: self.nbf, iat: issued_at }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::id::{SessionId, TokenId};
    use portcullis_oauth::jwt::SigningKey;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    struct Fixture {
        key: SigningKey,
        document: JwkSet,
        claims: AccessClaims,
    }

    fn fixture() -> Fixture {
        jwt::install_crypto();
        let der = SigningKey::generate_pkcs8().unwrap();
        Fixture {
            key: SigningKey::from_pkcs8("k1".into(), &der).unwrap(),
            document: JwkSet { keys: vec![SigningKey::public_jwk("k1", &der).unwrap()] },
            claims: AccessClaims {
                iss: "https://as.test".parse().unwrap(),
                aud: "https://mcp.test/a".into(),
                sub: "cli_1".into(),
                client_id: "cli_1".parse().unwrap(),
                scope: "a:read".parse().unwrap(),
                exp: NOW + Duration::from_secs(900),
                nbf: NOW,
                iat: NOW,
                jti: TokenId::from_bytes([1; 16]).to_string(),
                sid: SessionId::from_bytes([2; 16]).to_string(),
                roles: None,
                cnf: None,
            },
        }
    }

    fn expected<'a>(issuer: &'a Issuer, audience: &'a str, now: Timestamp) -> Expected<'a> {
        Expected {
            issuer,
            audience,
            now,
            leeway: Duration::from_secs(30),
            max_life: Duration::from_secs(3600),
        }
    }

    #[test]
    fn pc_01_a_remembered_signature_is_judged_anew_at_each_use() {
        let Fixture { key, document, claims } = fixture();
        let verifier = Verifier::new(&document, 16).unwrap();
        let token = key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap();
        let issuer = claims.iss.clone();
        let here = "https://mcp.test/a";
        for _ in 0..2 {
            let principal = verifier.verify(&token, &expected(&issuer, here, NOW)).unwrap();
            assert_eq!(principal.subject.to_string(), "cli_1");
        }
        assert_eq!(
            verifier.verify(&token, &expected(&issuer, "https://mcp.test/b", NOW)),
            Err(TokenRefusal::Audience),
            "AUD-12"
        );
        let foreign = "https://evil.test".parse().unwrap();
        assert_eq!(verifier.verify(&token, &expected(&foreign, here, NOW)), Err(TokenRefusal::Issuer));
        let later = claims.exp + Duration::from_secs(30);
        assert_eq!(verifier.verify(&token, &expected(&issuer, here, later)), Err(TokenRefusal::Expired));
        assert!(verifier.verify(&token, &expected(&issuer, here, NOW)).is_ok(), "a refusal forgets nothing");
    }

    #[test]
    fn pc_53_only_a_signature_that_was_not_checked_before_is_asked_about() {
        let Fixture { key, document, claims } = fixture();
        let verifier = Verifier::new(&document, 16).unwrap();
        let token = key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap();
        let issuer = claims.iss.clone();
        let expected = expected(&issuer, "https://mcp.test/a", NOW);
        let refuse = || Err("not now");
        assert_eq!(verifier.verify_if(&token, &expected, refuse), Err("not now"));
        assert!(matches!(verifier.verify_if(&token, &expected, || Ok::<_, ()>(())), Ok(Ok(_))));
        assert!(matches!(verifier.verify_if(&token, &expected, refuse), Ok(Ok(_))), "seen before");
        assert_eq!(verifier.verify_if("a.b.c", &expected, refuse), Err("not now"));
        let long = "a".repeat(jwt::MAX_TOKEN_BYTES + 1);
        assert_eq!(verifier.verify_if(&long, &expected, refuse), Ok(Err(TokenRefusal::Size)));
    }

    #[test]
    fn key_03_another_key_under_the_same_id_inherits_nothing() {
        let first = fixture();
        let second = fixture();
        let verifier = Verifier::new(&first.document, 16).unwrap();
        assert!(verifier.is_for(&first.document));
        assert!(!verifier.is_for(&second.document));
        let token = first.key.sign(ACCESS_TOKEN_TYPE, &first.claims).unwrap();
        let judged = Verifier::new(&second.document, 16)
            .unwrap()
            .verify(&token, &expected(&first.claims.iss, "https://mcp.test/a", NOW));
        assert_eq!(judged, Err(TokenRefusal::Signature));
        let judged = Verifier::new(&JwkSet::default(), 16)
            .unwrap()
            .verify(&token, &expected(&first.claims.iss, "https://mcp.test/a", NOW));
        assert_eq!(judged, Err(TokenRefusal::UnknownKey));
    }

    #[test]
    fn jwt_03_a_changed_text_is_another_text() {
        let Fixture { key, document, claims } = fixture();
        let verifier = Verifier::new(&document, 16).unwrap();
        let token = key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap();
        let issuer = claims.iss.clone();
        let expected = expected(&issuer, "https://mcp.test/a", NOW);
        verifier.verify(&token, &expected).unwrap();
        let mut bytes = token.clone().into_bytes();
        for at in 0..bytes.len() {
            let before = bytes[at];
            bytes[at] = if before == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes.clone()).unwrap();
            assert!(verifier.verify(&changed, &expected).is_err(), "byte {at}");
            bytes[at] = before;
        }
    }

    #[test]
    fn jwt_21_a_subject_that_is_nobody_of_ours_is_refused() {
        let Fixture { key, document, claims } = fixture();
        let verifier = Verifier::new(&document, 16).unwrap();
        let issuer = claims.iss.clone();
        for change in [
            (|claims: &mut AccessClaims| claims.sub = "cli_2".into()) as fn(&mut AccessClaims),
            |claims| claims.roles = Some(vec![]),
            |claims| claims.sid = "x".into(),
            |claims| claims.jti = String::new(),
        ] {
            let mut changed = claims.clone();
            change(&mut changed);
            let token = key.sign(ACCESS_TOKEN_TYPE, &changed).unwrap();
            assert_eq!(
                verifier.verify(&token, &expected(&issuer, "https://mcp.test/a", NOW)),
                Err(TokenRefusal::Claims)
            );
        }
    }
}
