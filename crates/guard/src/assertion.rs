//! Behind the Portcullis gateway, a server gets no access token but a signed assertion: who calls, through which client,
//! with which scopes, made for this server, for a minute (PC-05).
//!
//! Assertions have an issuer and a key set of their own, so no access token can be taken for one.

use portcullis_oauth::client::ClientId;
use portcullis_oauth::issuer::Issuer;
use portcullis_oauth::jwk::{InvalidKeySet, JwkSet, KeySet};
use portcullis_oauth::jwt::{self, TokenRefusal};
use portcullis_oauth::resource::ResourceUri;
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The `typ` of an assertion, as RFC 7519 s5.1 writes it.
pub const ASSERTION_TYPE: &str = "JWT";

/// The same, as it is compared: media types have no case.
const ASSERTION_TYPE_FOLDED: &str = "jwt";

/// How long an assertion lives.
pub const ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// The claims of an assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// `ISSUER/assertions`.
    pub iss: Issuer,
    /// The canonical URI of the server it is for.
    pub aud: String,
    /// For whom the call is made: a user, or the client itself.
    pub sub: String,
    /// Through which client.
    pub client_id: ClientId,
    /// What the caller may do here now.
    pub scope: ScopeSet,
    /// When it was made.
    pub iat: Timestamp,
    /// End.
    pub exp: Timestamp,
    /// Its own id.
    pub jti: String,
}

/// Who calls, by an assertion that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For whom: a user, or the client itself.
    pub subject: String,
    /// Through which client.
    pub client_id: ClientId,
    /// What the caller may do here.
    pub scopes: ScopeSet,
}

/// Verifies the assertions that are made for one server.
#[derive(Debug)]
pub struct AssertionVerifier {
    issuer: Issuer,
    audience: ResourceUri,
    keys: KeySet,
    leeway: Duration,
}

impl AssertionVerifier {
    /// For the server `audience`: assertions of `issuer` (`ISSUER/assertions`), signed by a key of `document`
    /// (`/oauth/assertion-jwks`). Clocks may differ by 30 s.
    pub fn new(issuer: Issuer, audience: ResourceUri, document: &JwkSet) -> Result<Self, InvalidKeySet> {
        jwt::install_crypto();
        Ok(Self { issuer, audience, keys: KeySet::new(document)?, leeway: Duration::from_secs(30) })
    }

    /// Who calls, if `assertion` was made for this server and is valid `now`.
    pub fn verify(&self, assertion: &str, now: Timestamp) -> Result<Caller, TokenRefusal> {
        let opened = jwt::open::<AssertionClaims>(assertion, ASSERTION_TYPE_FOLDED, &self.keys)?;
        let claims = opened.claims;
        if claims.iss != self.issuer {
            return Err(TokenRefusal::Issuer);
        }
        if claims.aud != self.audience.as_str() {
            return Err(TokenRefusal::Audience);
        }
        if (claims.exp + self.leeway).has_passed(now) {
            return Err(TokenRefusal::Expired);
        }
        if claims.iat > now + self.leeway {
            return Err(TokenRefusal::NotYetValid);
        }
        if claims.exp > claims.iat + ASSERTION_LIFE {
            return Err(TokenRefusal::Lifetime);
        }
        Ok(Caller { subject: claims.sub, client_id: claims.client_id, scopes: claims.scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_oauth::jwt::{ACCESS_TOKEN_TYPE, SigningKey};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn claims() -> AssertionClaims {
        AssertionClaims {
            iss: "https://as.test/assertions".parse().unwrap(),
            aud: "https://mcp.test/a".into(),
            sub: "usr_1".into(),
            client_id: "cli_1".parse().unwrap(),
            scope: "a:read".parse().unwrap(),
            iat: NOW,
            exp: NOW + ASSERTION_LIFE,
            jti: "x".into(),
        }
    }

    #[test]
    fn pc_05_only_a_fresh_assertion_for_this_server_counts() {
        jwt::install_crypto();
        let der = SigningKey::generate_pkcs8().unwrap();
        let key = SigningKey::from_pkcs8("a1".into(), &der).unwrap();
        let document = JwkSet { keys: vec![SigningKey::public_jwk("a1", &der).unwrap()] };
        let verifier = AssertionVerifier::new(
            "https://as.test/assertions".parse().unwrap(),
            "https://mcp.test/a".parse().unwrap(),
            &document,
        )
        .unwrap();
        let judge = |change: fn(&mut AssertionClaims), typ: &str| {
            let mut changed = claims();
            change(&mut changed);
            verifier.verify(&key.sign(typ, &changed).unwrap(), NOW)
        };
        let caller = judge(|_| {}, ASSERTION_TYPE).unwrap();
        assert_eq!((caller.subject.as_str(), caller.scopes.to_string().as_str()), ("usr_1", "a:read"));
        for (change, reason) in [
            (
                (|claims| claims.aud = "https://mcp.test/b".into()) as fn(&mut AssertionClaims),
                TokenRefusal::Audience,
            ),
            (|claims| claims.iss = "https://as.test".parse().unwrap(), TokenRefusal::Issuer),
            (
                |claims| {
                    claims.iat = NOW - Duration::from_secs(90);
                    claims.exp = NOW - Duration::from_secs(30);
                },
                TokenRefusal::Expired,
            ),
            (|claims| claims.exp = NOW + Duration::from_secs(3600), TokenRefusal::Lifetime),
            (
                |claims| {
                    claims.iat = NOW + Duration::from_secs(31);
                    claims.exp = NOW + Duration::from_secs(91);
                },
                TokenRefusal::NotYetValid,
            ),
        ] {
            assert_eq!(judge(change, ASSERTION_TYPE), Err(reason));
        }
        assert_eq!(
            judge(|_| {}, ACCESS_TOKEN_TYPE),
            Err(TokenRefusal::Type),
            "an access token is no assertion"
        );
    }
}
