//! JSON Web Tokens, strictly (RFC 7519 by the advice of RFC 8725). The only module that names the JOSE library.
//!
//! The steps are apart, because the first is dear and may be remembered, and the others must be taken at each use:
//! [`open`] says that a key signed exactly this text; [`AccessClaims::check`] says that it is for us, now.

mod external;
mod sign;

pub use external::{
    ExternalClaims, ExternalExpected, ExternalToken, StatedKind, UnverifiedNames, open_external,
    unverified_names,
};
pub use sign::{InvalidSigningKey, SigningFailed, SigningKey};

use crate::client::ClientId;
use crate::issuer::Issuer;
use crate::jwk::{Algorithm, KeySet};
use crate::scope::ScopeSet;
use crate::strict_json;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// RFC 9068 s2.1: the `typ` of an access token.
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// Why a token was refused. For our records: callers all get the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum TokenRefusal {
    /// Header `alg` is not the one pinned to the key (RFC 8725 s3.1).
    #[error("the algorithm is not the key's")]
    Algorithm,
    /// Made for another server, or for several (RFC 9068 s4).
    #[error("made for another audience")]
    Audience,
    /// A claim is missing, has the wrong type, or stands twice.
    #[error("malformed claims")]
    Claims,
    /// `crit` names extensions; we know none (RFC 7515 s4.1.11).
    #[error("critical extensions are not understood")]
    Critical,
    /// `cnf` ties it to a key of its holder (RFC 7800, RFC 9449, RFC 8705), and nobody here asks for a proof of that key.
    #[error("tied to a key of its holder, which is not proved here")]
    Bound,
    /// `exp` is past the leeway.
    #[error("expired")]
    Expired,
    /// Not three base64url parts, or a part that is no strict JSON object.
    #[error("not a signed JWT")]
    Form,
    /// `iss` is another.
    #[error("another issuer")]
    Issuer,
    /// It claims to live longer than any token of ours.
    #[error("lives longer than allowed")]
    Lifetime,
    /// `nbf` or `iat` lies ahead of the leeway.
    #[error("not valid yet")]
    NotYetValid,
    /// The signature does not belong to the text.
    #[error("bad signature")]
    Signature,
    /// Over [`MAX_TOKEN_BYTES`].
    #[error("too long")]
    Size,
    /// Header `typ` is that of another kind of JWT (RFC 8725 s3.11).
    #[error("another kind of token")]
    Type,
    /// No key of this id.
    #[error("unknown key")]
    UnknownKey,
}

/// A text whose signature was good under the key `kid`. It says nothing yet about issuer, audience or time.
#[derive(Debug)]
pub struct Opened<C> {
    /// Which key signed it; whether that key still counts must be asked each time.
    pub kid: String,
    /// What was signed.
    pub claims: C,
}

/// Header members that are read. `jku`, `jwk`, `x5u`, `x5c` are not: nothing a token says about its own key counts.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
    b64: Option<serde_json::Value>,
    zip: Option<serde_json::Value>,
    enc: Option<serde_json::Value>,
}

/// Checks that `token` is a JWS of type `typ`, signed by the key of `keys` that its `kid` names, with that key's algorithm.
pub fn open<C: DeserializeOwned>(token: &str, typ: &str, keys: &KeySet) -> Result<Opened<C>, TokenRefusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenRefusal::Size);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenRefusal::Form)?;
    if payload.contains('.') {
        return Err(TokenRefusal::Form);
    }
    let header: Header = decode(header).ok_or(TokenRefusal::Form)?;
    if header.crit.is_some() || header.b64.is_some() || header.zip.is_some() || header.enc.is_some() {
        return Err(TokenRefusal::Critical);
    }
    if !header.typ.is_some_and(|stated| is_type(&stated, typ)) {
        return Err(TokenRefusal::Type);
    }
    let key = keys.find(&header.kid).ok_or(TokenRefusal::UnknownKey)?;
    let pinned = match key.algorithm {
        Algorithm::ES256 => "ES256",
    };
    if header.alg != pinned {
        return Err(TokenRefusal::Algorithm);
    }
    if !key.signed(message.as_bytes(), signature) {
        return Err(TokenRefusal::Signature);
    }
    Ok(Opened { kid: header.kid, claims: decode(payload).ok_or(TokenRefusal::Claims)? })
}

/// RFC 9068 s4 allows the `application/` prefix; media types compare without case.
fn is_type(stated: &str, wanted: &str) -> bool {
    let lower = stated.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower) == wanted
}

/// One base64url part as a strict JSON object.
fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    if bytes.first() != Some(&b'{') {
        return None;
    }
    strict_json::check(&bytes, 16).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The claims of our access tokens (RFC 9068 s2.2). A wrong type is a failure, never "absent".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who signed it.
    pub iss: Issuer,
    /// The canonical URI of the one server it is for.
    pub aud: String,
    /// A user, or the client itself.
    pub sub: String,
    /// The OAuth client that holds it.
    pub client_id: ClientId,
    /// RFC 9068 s2.2.3
    pub scope: ScopeSet,
    /// End.
    pub exp: Timestamp,
    /// Start.
    pub nbf: Timestamp,
    /// When it was made.
    pub iat: Timestamp,
    /// Its own id.
    pub jti: String,
    /// The session it belongs to and dies with (PC-17).
    pub sid: String,
    /// Names of the user's roles when it was issued; what a role may do is looked up at each use (PC-21). Absent for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// RFC 7800 s3.1: the key that its holder must prove. No token of ours has one; of one that has, whoever holds the text is not
    /// who may use it. Whatever stands there counts as there, `null` too.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whatever_stands_there")]
    pub cnf: Option<serde_json::Value>,
}

fn whatever_stands_there<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

/// What a token must be to count here and now.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Exactly this issuer.
    pub issuer: &'a Issuer,
    /// Exactly this audience.
    pub audience: &'a str,
    /// The present.
    pub now: Timestamp,
    /// PC-03: at most 60 s, both ways.
    pub leeway: Duration,
    /// The longest life of any token of this issuer.
    pub max_life: Duration,
}

/// What of the claims has to be judged at each use.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Who signed it.
    pub iss: &'a Issuer,
    /// For which server.
    pub aud: &'a str,
    /// End.
    pub exp: Timestamp,
    /// Start.
    pub nbf: Timestamp,
    /// When it was made.
    pub iat: Timestamp,
}

impl AccessClaims {
    /// Whether the claims are by this issuer, for this audience, valid now, and of a token for whoever bears it.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), TokenRefusal> {
        self.are_of_a_bearer_token()?;
        let Self { iss, aud, exp, nbf, iat, .. } = self;
        Terms { iss, aud, exp: *exp, nbf: *nbf, iat: *iat }.check(expected)
    }

    /// AUD-14: whether having it is enough. A token with `cnf` is for whoever proves a key besides, and no key is asked for.
    pub fn are_of_a_bearer_token(&self) -> Result<(), TokenRefusal> {
        if self.cnf.is_some() { Err(TokenRefusal::Bound) } else { Ok(()) }
    }
}

impl Terms<'_> {
    /// Whether they are by this issuer, for this audience, and valid now. Expiry is `now >= exp + leeway`.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), TokenRefusal> {
        if *self.iss != *expected.issuer {
            return Err(TokenRefusal::Issuer);
        }
        if self.aud != expected.audience {
            return Err(TokenRefusal::Audience);
        }
        self.check_times(expected)
    }

    fn check_times(&self, expected: &Expected<'_>) -> Result<(), TokenRefusal> {
        if (self.exp + expected.leeway).has_passed(expected.now) {
            return Err(TokenRefusal::Expired);
        }
        let ahead = expected.now + expected.leeway;
        if self.nbf > ahead || self.iat > ahead {
            return Err(TokenRefusal::NotYetValid);
        }
        if self.exp > self.iat + expected.max_life {
            return Err(TokenRefusal::Lifetime);
        }
        Ok(())
    }
}

/// Chooses the cryptographic backend of the JOSE library for this process. Harmless when repeated; every entry point
/// (binary, library, test) calls it first, because without a choice the library panics at the first token.
pub fn install_crypto() {
    let _already_installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk::JwkSet;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    struct Fixture {
        key: SigningKey,
        keys: KeySet,
        claims: AccessClaims,
    }

    fn fixture() -> Fixture {
        install_crypto();
        let der = SigningKey::generate_pkcs8().unwrap();
        let document = JwkSet { keys: vec![SigningKey::public_jwk("k1", &der).unwrap()] };
        let claims = AccessClaims {
            iss: "https://as.test".parse().unwrap(),
            aud: "https://mcp.test/a".into(),
            sub: "usr_1".into(),
            client_id: "cli_1".parse().unwrap(),
            scope: "a:read".parse().unwrap(),
            exp: NOW + Duration::from_secs(900),
            nbf: NOW,
            iat: NOW,
            jti: "t1".into(),
            sid: "ses_1".into(),
            roles: None,
            cnf: None,
        };
        Fixture {
            key: SigningKey::from_pkcs8("k1".into(), &der).unwrap(),
            keys: KeySet::new(&document).unwrap(),
            claims,
        }
    }

    fn expected(issuer: &Issuer) -> Expected<'_> {
        Expected {
            issuer,
            audience: "https://mcp.test/a",
            now: NOW,
            leeway: Duration::from_secs(30),
            max_life: Duration::from_secs(3600),
        }
    }

    /// A token with any header and payload text, signed by the fixture's key.
    fn forge(fixture: &Fixture, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = fixture.key.signature(message.as_bytes()).unwrap();
        format!("{message}.{signature}")
    }

    fn refusal(fixture: &Fixture, token: &str) -> TokenRefusal {
        open::<AccessClaims>(token, ACCESS_TOKEN_TYPE, &fixture.keys).unwrap_err()
    }

    #[test]
    fn aud_14_a_token_that_is_tied_to_a_key_is_none_for_its_bearer() {
        let fixture = fixture();
        let good = serde_json::to_string(&fixture.claims).unwrap();
        assert!(!good.contains("cnf"), "none of ours says anything of it");
        let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"k1"}"#;
        for cnf in [r#"{"jkt":"x"}"#, r#"{"x5t#S256":"x"}"#, "{}", "null", r#""x""#] {
            let token = forge(&fixture, header, &format!("{{\"cnf\":{cnf},{}", &good[1..]));
            let opened: Opened<AccessClaims> = open(&token, ACCESS_TOKEN_TYPE, &fixture.keys).unwrap();
            let judged = opened.claims.check(&expected(&fixture.claims.iss));
            assert_eq!(judged, Err(TokenRefusal::Bound), "{cnf}");
        }
    }

    #[test]
    fn as_jwt_01_a_signed_token_opens() {
        let fixture = fixture();
        let token = fixture.key.sign(ACCESS_TOKEN_TYPE, &fixture.claims).unwrap();
        let opened: Opened<AccessClaims> = open(&token, ACCESS_TOKEN_TYPE, &fixture.keys).unwrap();
        assert_eq!((opened.kid.as_str(), &opened.claims), ("k1", &fixture.claims));
        opened.claims.check(&expected(&fixture.claims.iss)).unwrap();
    }

    #[test]
    fn jwt_01_14_15_headers() {
        let fixture = fixture();
        let payload = serde_json::to_string(&fixture.claims).unwrap();
        assert!(
            open::<AccessClaims>(
                &forge(&fixture, r#"{"alg":"ES256","kid":"k1","typ":"application/AT+jwt"}"#, &payload),
                ACCESS_TOKEN_TYPE,
                &fixture.keys
            )
            .is_ok()
        );
        for (header, reason) in [
            (r#"{"alg":"none","kid":"k1","typ":"at+jwt"}"#, TokenRefusal::Algorithm),
            (r#"{"alg":"HS256","kid":"k1","typ":"at+jwt"}"#, TokenRefusal::Algorithm),
            (r#"{"alg":"RS256","kid":"k1","typ":"at+jwt"}"#, TokenRefusal::Algorithm),
            (r#"{"alg":"ES256","kid":"k2","typ":"at+jwt"}"#, TokenRefusal::UnknownKey),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, TokenRefusal::Form),
            (r#"{"alg":"ES256","kid":5,"typ":"at+jwt"}"#, TokenRefusal::Form),
            (r#"{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}"#, TokenRefusal::Form),
            (r#"{"alg":"ES256","kid":"k1"}"#, TokenRefusal::Type),
            (r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#, TokenRefusal::Type),
            (r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":[]}"#, TokenRefusal::Critical),
            (r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["x"],"x":1}"#, TokenRefusal::Critical),
            (r#"{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}"#, TokenRefusal::Critical),
        ] {
            assert_eq!(refusal(&fixture, &forge(&fixture, header, &payload)), reason, "{header}");
        }
    }

    #[test]
    fn jwt_03_07_signatures() {
        let fixture = fixture();
        let token = fixture.key.sign(ACCESS_TOKEN_TYPE, &fixture.claims).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = message.split_once('.').unwrap();
        let zero = URL_SAFE_NO_PAD.encode([0; 64]);
        for bad in [
            format!("{message}."),
            message.to_owned(),
            format!("{message}.{}", &signature[..signature.len() - 4]),
            format!("{message}.{signature}.x"),
            format!("{message}.{zero}"),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{header}.{payload}.{signature}="),
            "x".repeat(MAX_TOKEN_BYTES + 1),
            String::new(),
        ] {
            assert!(open::<AccessClaims>(&bad, ACCESS_TOKEN_TYPE, &fixture.keys).is_err(), "{bad:.80}");
        }
    }

    #[test]
    fn jwt_10_13_16_def_06_claims_of_the_wrong_shape() {
        let fixture = fixture();
        let good = serde_json::to_string(&fixture.claims).unwrap();
        let header = r#"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#;
        let exp = format!("\"exp\":{}", fixture.claims.exp.seconds());
        assert!(good.contains(&exp));
        let mut bad: Vec<String> = [
            "\"exp\":\"1\"",
            "\"exp\":true",
            "\"exp\":[1]",
            "\"exp\":1e400",
            "\"exp\":1.5",
            "\"exp\":null",
            "\"x\":1",
        ]
        .iter()
        .map(|with| good.replace(&exp, with))
        .collect();
        let nbf = format!("\"nbf\":{}", fixture.claims.nbf.seconds());
        assert!(good.contains(&nbf));
        bad.extend(["\"nbf\":\"1\"", "\"nbf\":null", "\"nbf\":{}"].map(|with| good.replace(&nbf, with)));
        bad.extend(["[]", "null", "\"x\"", "{", "", "1"].map(String::from));
        bad.push(format!("{},\"aud\":\"https://mcp.test/b\"}}", good.trim_end_matches('}')));
        bad.push(format!("\u{feff}{good}"));
        bad.push(good.replace("\"aud\":\"https://mcp.test/a\"", "\"aud\":[\"https://mcp.test/a\"]"));
        for payload in bad {
            assert_eq!(
                refusal(&fixture, &forge(&fixture, header, &payload)),
                TokenRefusal::Claims,
                "{payload}"
            );
        }
    }

    #[test]
    fn jwt_10_11_18_19_times_and_pc_03_leeway() {
        let Fixture { claims, .. } = fixture();
        let check = |change: &dyn Fn(&mut AccessClaims)| {
            let mut changed = claims.clone();
            change(&mut changed);
            changed.check(&expected(&claims.iss))
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(check(&|c| c.exp = NOW - Duration::from_secs(5)), Ok(()));
        assert_eq!(check(&|c| c.exp = NOW - Duration::from_secs(30)), Err(TokenRefusal::Expired));
        assert_eq!(check(&|c| c.exp = Timestamp::from_seconds(0)), Err(TokenRefusal::Expired));
        assert_eq!(check(&|c| c.exp = Timestamp::from_seconds(-1)), Err(TokenRefusal::Expired));
        assert_eq!(check(&|c| c.nbf = NOW + Duration::from_secs(5)), Ok(()));
        assert_eq!(check(&|c| c.nbf = NOW + Duration::from_secs(31)), Err(TokenRefusal::NotYetValid));
        assert_eq!(check(&|c| c.iat = NOW + Duration::from_secs(31)), Err(TokenRefusal::NotYetValid));
        assert_eq!(check(&|c| c.exp = Timestamp::from_seconds(i64::MAX)), Err(TokenRefusal::Lifetime));
        assert_eq!(check(&|c| c.aud.push('/')), Err(TokenRefusal::Audience));
        assert_eq!(check(&|c| c.aud = "HTTPS://mcp.test/a".into()), Err(TokenRefusal::Audience));
        assert_eq!(check(&|c| c.iss = "https://evil.test".parse().unwrap()), Err(TokenRefusal::Issuer));
    }
}
