//! Key sets of other issuers, as they publish them (RFC 7517). What we cannot use in them is skipped; what two readers could
//! read differently makes the whole document unusable.

use crate::strict_json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most keys of a document.
const MOST_KEYS: usize = 100;

/// Longest `kid`.
const LONGEST_KID: usize = 256;

/// RSA moduli, in bytes. Larger ones only make signatures dear to check (DOS-03).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Signature algorithms that other issuers may use: asymmetric ones only (RFC 8725 s3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExternalAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
}

/// The text is no algorithm that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of RS256, PS256, ES256, ES384, EdDSA: asymmetric algorithms only")]
pub struct InvalidAlgorithm;

impl ExternalAlgorithm {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::ES256, Self::ES384, Self::EdDSA, Self::PS256, Self::RS256];

    /// As it stands in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::PS256 => "PS256",
            Self::RS256 => "RS256",
        }
    }

    fn family(self) -> Family {
        match self {
            Self::ES256 => Family::P256,
            Self::ES384 => Family::P384,
            Self::EdDSA => Family::Ed25519,
            Self::PS256 | Self::RS256 => Family::Rsa,
        }
    }

    pub(crate) fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

impl FromStr for ExternalAlgorithm {
    type Err = InvalidAlgorithm;
    fn from_str(text: &str) -> Result<Self, InvalidAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(InvalidAlgorithm)
    }
}

impl fmt::Display for ExternalAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ed25519,
    P256,
    P384,
    Rsa,
}

/// Public keys of another issuer, by `kid`.
pub struct ExternalKeySet {
    keys: BTreeMap<String, Key>,
}

struct Key {
    family: Family,
    /// What the document says that it is used with.
    algorithm: Option<ExternalAlgorithm>,
    /// Which key it is, for telling two apart.
    parts: [String; 2],
    decoding: DecodingKey,
}

/// A document that cannot be used; whatever was known before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExternalKeySet {
    /// Two different keys with one `kid`.
    #[error("two different keys share a kid")]
    DuplicateKeyId,
    /// Not a JWKS document, or one with a member twice.
    #[error("not a key set")]
    Malformed,
    /// None that could be used.
    #[error("no usable key in it")]
    NoKey,
    /// More keys than anybody needs.
    #[error("more than 100 keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Map<String, Value>>,
}

impl ExternalKeySet {
    /// Reads a JWKS document.
    pub fn parse(document: &[u8]) -> Result<Self, InvalidExternalKeySet> {
        strict_json::check(document, 16).map_err(|_| InvalidExternalKeySet::Malformed)?;
        let document: Document =
            serde_json::from_slice(document).map_err(|_| InvalidExternalKeySet::Malformed)?;
        if document.keys.len() > MOST_KEYS {
            return Err(InvalidExternalKeySet::TooMany);
        }
        let mut keys: BTreeMap<String, Key> = BTreeMap::new();
        for (kid, key) in document.keys.iter().filter_map(usable) {
            match keys.get_mut(&kid) {
                Some(other) if other.parts != key.parts => return Err(InvalidExternalKeySet::DuplicateKeyId),
                // One key for two algorithms: it is pinned to neither.
                Some(other) if other.algorithm != key.algorithm => other.algorithm = None,
                Some(_) => {}
                None => {
                    keys.insert(kid, key);
                }
            }
        }
        if keys.is_empty() { Err(InvalidExternalKeySet::NoKey) } else { Ok(Self { keys }) }
    }

    /// Whether a key of this id is in the set.
    pub fn holds(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Whether the other set has exactly the same keys.
    pub fn is_same(&self, other: &Self) -> bool {
        let like = |(kid, key): (&String, &Key), (other_kid, other): (&String, &Key)| {
            kid == other_kid && key.algorithm == other.algorithm && key.parts == other.parts
        };
        self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(one, other)| like(one, other))
    }

    /// The key of this id, and whether it may be used with this algorithm.
    pub(crate) fn find(
        &self,
        kid: &str,
        algorithm: ExternalAlgorithm,
    ) -> Option<Result<&DecodingKey, NotForThis>> {
        let key = self.keys.get(kid)?;
        let fits = key.family == algorithm.family() && key.algorithm.is_none_or(|only| only == algorithm);
        Some(if fits { Ok(&key.decoding) } else { Err(NotForThis) })
    }
}

/// The key is of another kind, or published for another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotForThis;

impl fmt::Debug for ExternalKeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.keys.keys()).finish()
    }
}

/// A key that is published for signatures, of a kind that we know. Its private half must not be published with it.
fn usable(jwk: &serde_json::Map<String, Value>) -> Option<(String, Key)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_private = ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|name| jwk.contains_key(*name));
    let for_signatures = jwk.get("use").is_none_or(|usage| usage == "sig")
        && jwk.get("key_ops").is_none_or(|operations| {
            operations.as_array().is_some_and(|operations| operations.iter().any(|one| one == "verify"))
        });
    if is_private || !for_signatures {
        return None;
    }
    let kid = text("kid").filter(|kid| (1..=LONGEST_KID).contains(&kid.len()))?;
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(stated) => Some(stated.as_str()?.parse::<ExternalAlgorithm>().ok()?),
    };
    let (family, parts, decoding) = material(&text)?;
    if algorithm.is_some_and(|algorithm| algorithm.family() != family) {
        return None;
    }
    Some((kid.to_owned(), Key { family, algorithm, parts, decoding }))
}

fn material<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Option<(Family, [String; 2], DecodingKey)> {
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let owned = |one: &str, two: &str| [one.to_owned(), two.to_owned()];
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let length = modulus.len() - modulus.iter().take_while(|byte| **byte == 0).count();
            let odd_and_short = exponent.len() <= 4 && exponent.last().is_some_and(|last| last % 2 == 1);
            if !RSA_BYTES.contains(&length) || !odd_and_short || exponent == [1] {
                return None;
            }
            let (n, e) = (text("n")?, text("e")?);
            Some((Family::Rsa, owned(n, e), DecodingKey::from_rsa_components(n, e).ok()?))
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (family, length) = if curve == "P-256" { (Family::P256, 32) } else { (Family::P384, 48) };
            if bytes("x")?.len() != length || bytes("y")?.len() != length {
                return None;
            }
            let (x, y) = (text("x")?, text("y")?);
            Some((family, owned(x, y), DecodingKey::from_ec_components(x, y).ok()?))
        }
        ("OKP", Some("Ed25519")) if bytes("x")?.len() == 32 => {
            let x = text("x")?;
            Some((Family::Ed25519, owned(x, ""), DecodingKey::from_ed_components(x).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::{self, SigningKey};
    use serde_json::json;

    fn key(kid: &str) -> Value {
        jwt::install_crypto();
        let der = SigningKey::generate_pkcs8().unwrap();
        serde_json::to_value(SigningKey::public_jwk(kid, &der).unwrap()).unwrap()
    }

    fn parse(keys: &[Value]) -> Result<ExternalKeySet, InvalidExternalKeySet> {
        ExternalKeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn changed(key: &Value, member: &str, value: Value) -> Value {
        let mut key = key.clone();
        key[member] = value;
        key
    }

    #[test]
    fn key_05_unknown_keys_are_skipped_and_ambiguous_documents_refused() {
        let (one, other) = (key("a"), key("a"));
        assert!(parse(std::slice::from_ref(&one)).unwrap().holds("a"));
        assert!(parse(&[one.clone(), one.clone()]).is_ok());
        assert_eq!(parse(&[one.clone(), other]).unwrap_err(), InvalidExternalKeySet::DuplicateKeyId);
        let unknown = json!({ "kty": "oct", "kid": "b", "k": "c2VjcmV0" });
        let set = parse(&[one.clone(), unknown.clone(), json!({ "kty": "new", "kid": "c" })]).unwrap();
        assert!(set.holds("a") && !set.holds("b") && !set.holds("c"));
        assert_eq!(parse(&[unknown]).unwrap_err(), InvalidExternalKeySet::NoKey);
        for (member, value) in [
            ("use", json!("enc")),
            ("alg", json!("HS256")),
            ("alg", json!("RS256")),
            ("alg", json!(5)),
            ("kid", json!(5)),
            ("kid", json!("")),
            ("kty", json!("RSA")),
            ("crv", json!("P-384")),
            ("d", json!("AA")),
            ("key_ops", json!(["sign"])),
            ("x", json!("AA")),
        ] {
            assert!(parse(&[changed(&one, member, value.clone())]).is_err(), "{member} {value}");
        }
        for document in
            ["", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":["#]
        {
            assert!(ExternalKeySet::parse(document.as_bytes()).is_err(), "{document}");
        }
        assert_eq!(parse(&vec![one; 101]).unwrap_err(), InvalidExternalKeySet::TooMany);
    }

    #[test]
    fn dos_03_rsa_keys_are_neither_weak_nor_huge() {
        let rsa = |bytes: usize, exponent: &[u8]| {
            let modulus = URL_SAFE_NO_PAD.encode(vec![0xc1; bytes]);
            parse(&[json!({ "kty": "RSA", "kid": "r", "n": modulus, "e": URL_SAFE_NO_PAD.encode(exponent) })])
        };
        assert!(rsa(256, &[1, 0, 1]).is_ok() && rsa(512, &[3]).is_ok());
        for (bytes, exponent) in
            [(128, &[1, 0, 1][..]), (255, &[3]), (513, &[3]), (256, &[1]), (256, &[2]), (256, &[1; 9])]
        {
            assert!(rsa(bytes, exponent).is_err(), "{bytes} {exponent:?}");
        }
    }

    #[test]
    fn key_07_a_key_serves_only_what_it_is_published_for() {
        let set = parse(&[key("a")]).unwrap();
        assert!(set.find("a", ExternalAlgorithm::ES256).unwrap().is_ok());
        for other in [
            ExternalAlgorithm::RS256,
            ExternalAlgorithm::ES384,
            ExternalAlgorithm::EdDSA,
            ExternalAlgorithm::PS256,
        ] {
            assert!(set.find("a", other).unwrap().is_err(), "{other}");
        }
        assert!(set.find("b", ExternalAlgorithm::ES256).is_none());
    }
}
