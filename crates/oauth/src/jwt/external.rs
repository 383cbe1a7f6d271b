//! JWTs of other issuers (RFC 7519 by the advice of RFC 8725): what their key signed, and what it must say to count here.

use super::{MAX_TOKEN_BYTES, TokenRefusal, decode};
use crate::jwk::{ExternalAlgorithm, ExternalKeySet};
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest `sub` that is taken.
const LONGEST_SUBJECT: usize = 255;

/// A text whose signature was good under a key of the set. It says nothing yet about issuer, audience or time.
#[derive(Debug)]
pub struct ExternalToken {
    /// With which algorithm.
    pub algorithm: ExternalAlgorithm,
    /// Which kind of token it says to be.
    pub kind: StatedKind,
    /// What was signed.
    pub claims: ExternalClaims,
}

/// What `typ` says (RFC 8725 s3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedKind {
    /// `at+jwt` (RFC 9068).
    AccessToken,
    /// `JWT`, or nothing: as many providers mark every token of theirs.
    Unsaid,
}

/// What of a token's claims is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalClaims {
    /// As it stands there.
    pub iss: String,
    /// Whom the token speaks for, in the issuer's words.
    pub sub: String,
    /// For whom it was made.
    pub aud: Vec<String>,
    /// End.
    pub exp: Timestamp,
    /// Start.
    pub nbf: Option<Timestamp>,
    /// When it was made.
    pub iat: Timestamp,
    /// Everything else.
    pub others: Map<String, Value>,
}

/// What a token of another issuer must be to count here and now.
#[derive(Clone, Copy, Debug)]
pub struct ExternalExpected<'a> {
    /// Exactly this text.
    pub issuer: &'a str,
    /// Exactly this, and nothing besides.
    pub audience: &'a str,
    /// The present.
    pub now: Timestamp,
    /// PC-03: at most 60 s, both ways.
    pub leeway: Duration,
    /// The longest life of any token.
    pub max_life: Duration,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
    zip: Option<Value>,
    enc: Option<Value>,
}

/// Which issuer and which key a JWT names, before anything of it is believed: only to find the keys that it must answer to.
pub struct UnverifiedNames {
    /// `iss`
    pub issuer: String,
    /// `kid`, if there is one.
    pub kid: Option<String>,
}

/// The names in a text of the form of a JWT; `None` for any other text.
pub fn unverified_names(token: &str) -> Option<UnverifiedNames> {
    #[derive(Deserialize)]
    struct Kid {
        kid: Option<String>,
    }
    #[derive(Deserialize)]
    struct Iss {
        iss: String,
    }
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (header, payload) = (parts.next()?, parts.next()?);
    parts.next().filter(|_| parts.next().is_none())?;
    Some(UnverifiedNames { issuer: decode::<Iss>(payload)?.iss, kid: decode::<Kid>(header)?.kid })
}

/// Checks that `token` is a JWS signed by the key of `keys` that its `kid` names, with an algorithm of that key.
pub fn open_external(token: &str, keys: &ExternalKeySet) -> Result<ExternalToken, TokenRefusal> {
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
    let kind = StatedKind::of(header.typ.as_deref()).ok_or(TokenRefusal::Type)?;
    let algorithm: ExternalAlgorithm = header.alg.parse().map_err(|_| TokenRefusal::Algorithm)?;
    let key = keys.find(&header.kid, algorithm).ok_or(TokenRefusal::UnknownKey)?;
    let key = key.map_err(|_| TokenRefusal::Algorithm)?;
    let good = jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm.jose());
    if !good.unwrap_or(false) {
        return Err(TokenRefusal::Signature);
    }
    let claims: Map<String, Value> = decode(payload).ok_or(TokenRefusal::Claims)?;
    Ok(ExternalToken { algorithm, kind, claims: ExternalClaims::read(claims)? })
}

impl StatedKind {
    fn of(typ: Option<&str>) -> Option<Self> {
        let Some(typ) = typ else { return Some(Self::Unsaid) };
        let lower = typ.to_ascii_lowercase();
        match lower.strip_prefix("application/").unwrap_or(&lower) {
            "at+jwt" => Some(Self::AccessToken),
            "jwt" => Some(Self::Unsaid),
            _ => None,
        }
    }
}

impl ExternalClaims {
    /// Takes the claims apart. A wrong type is a failure, never "absent" (CVE-2026-25537).
    pub fn read(mut claims: Map<String, Value>) -> Result<Self, TokenRefusal> {
        let iss = text(claims.remove("iss"))?;
        let sub = text(claims.remove("sub"))?;
        let legal = (1..=LONGEST_SUBJECT).contains(&sub.len()) && !sub.chars().any(char::is_control);
        if !legal {
            return Err(TokenRefusal::Claims);
        }
        let aud = match claims.remove("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => {
                many.into_iter().map(|one| text(Some(one))).collect::<Result<_, _>>()?
            }
            _ => return Err(TokenRefusal::Claims),
        };
        let nbf = match claims.remove("nbf") {
            None => None,
            stated => Some(moment(stated)?),
        };
        let (exp, iat) = (moment(claims.remove("exp"))?, moment(claims.remove("iat"))?);
        Ok(Self { iss, sub, aud, exp, nbf, iat, others: claims })
    }

    /// Whether they are by this issuer, for this audience and nobody else, valid now, and of a token for whoever bears it.
    pub fn check(&self, expected: &ExternalExpected<'_>) -> Result<(), TokenRefusal> {
        // AUD-14: whoever only holds it is not who may use it, and no proof of its key is asked for.
        if self.others.contains_key("cnf") {
            return Err(TokenRefusal::Bound);
        }
        if self.iss != expected.issuer {
            return Err(TokenRefusal::Issuer);
        }
        // AUD-15: whoever else it was made for could use it here.
        if self.aud.len() != 1 || self.aud[0] != expected.audience {
            return Err(TokenRefusal::Audience);
        }
        if (self.exp + expected.leeway).has_passed(expected.now) {
            return Err(TokenRefusal::Expired);
        }
        let ahead = expected.now + expected.leeway;
        if self.nbf.is_some_and(|nbf| nbf > ahead) || self.iat > ahead {
            return Err(TokenRefusal::NotYetValid);
        }
        if self.exp > self.iat + expected.max_life {
            return Err(TokenRefusal::Lifetime);
        }
        Ok(())
    }

    /// Whether only ID tokens and logout tokens carry what this one does (OpenID Connect Core s2, Back-Channel Logout s2.4).
    pub fn are_of_another_kind(&self) -> bool {
        ["nonce", "at_hash", "c_hash", "s_hash", "events"].iter().any(|name| self.others.contains_key(*name))
    }
}

fn text(value: Option<Value>) -> Result<String, TokenRefusal> {
    match value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(TokenRefusal::Claims),
    }
}

fn moment(value: Option<Value>) -> Result<Timestamp, TokenRefusal> {
    let seconds = value.as_ref().and_then(Value::as_i64);
    seconds.map(Timestamp::from_seconds).ok_or(TokenRefusal::Claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn claims() -> Value {
        json!({
            "iss": "https://idp.test/", "sub": "auth0|1", "aud": "https://mcp.test/a",
            "iat": NOW.seconds(), "exp": NOW.seconds() + 300,
        })
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Result<(), TokenRefusal> {
        let mut claims = claims();
        change(&mut claims);
        let expected = ExternalExpected {
            issuer: "https://idp.test/",
            audience: "https://mcp.test/a",
            now: NOW,
            leeway: Duration::from_secs(30),
            max_life: Duration::from_hours(24),
        };
        ExternalClaims::read(claims.as_object().unwrap().clone())?.check(&expected)
    }

    #[test]
    fn aud_14_a_token_that_is_tied_to_a_key_is_none_for_its_bearer() {
        for cnf in [
            json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
            json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" }),
            json!({ "kid": "k" }),
            json!({}),
            json!("jkt"),
            Value::Null,
        ] {
            assert_eq!(judged(|c| c["cnf"] = cnf.clone()), Err(TokenRefusal::Bound), "{cnf}");
        }
    }

    #[test]
    fn jwt_10_12_16_19_what_claims_must_say() {
        assert_eq!(judged(|_| ()), Ok(()));
        assert_eq!(judged(|c| c["aud"] = json!(["https://mcp.test/a"])), Ok(()));
        let at = |seconds: i64| json!(NOW.seconds() + seconds);
        for (member, value, reason) in [
            ("iss", json!("https://idp.test"), TokenRefusal::Issuer),
            ("iss", json!(["https://idp.test/"]), TokenRefusal::Claims),
            ("sub", json!(""), TokenRefusal::Claims),
            ("sub", json!(1), TokenRefusal::Claims),
            ("sub", json!("a\nb"), TokenRefusal::Claims),
            ("aud", json!("https://mcp.test/a/"), TokenRefusal::Audience),
            ("aud", json!("https://MCP.test/a"), TokenRefusal::Audience),
            ("aud", json!([]), TokenRefusal::Audience),
            ("aud", json!(["https://mcp.test/a", "https://mcp.test/b"]), TokenRefusal::Audience),
            ("aud", json!([["https://mcp.test/a"]]), TokenRefusal::Claims),
            ("aud", json!({}), TokenRefusal::Claims),
            ("exp", at(-30), TokenRefusal::Expired),
            ("exp", json!("1"), TokenRefusal::Claims),
            ("exp", Value::Null, TokenRefusal::Claims),
            ("exp", json!(1.5), TokenRefusal::Claims),
            ("exp", at(24 * 3600 + 1), TokenRefusal::Lifetime),
            ("nbf", at(31), TokenRefusal::NotYetValid),
            ("nbf", Value::Null, TokenRefusal::Claims),
            ("nbf", json!("1"), TokenRefusal::Claims),
            ("iat", at(31), TokenRefusal::NotYetValid),
            ("iat", Value::Null, TokenRefusal::Claims),
        ] {
            assert_eq!(judged(|c| c[member] = value.clone()), Err(reason), "{member} {value}");
        }
        for missing in ["iss", "sub", "aud", "exp", "iat"] {
            let without = |c: &mut Value| drop(c.as_object_mut().unwrap().remove(missing));
            assert_eq!(judged(without), Err(TokenRefusal::Claims), "{missing}");
        }
    }
}
