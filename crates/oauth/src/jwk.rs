//! Public keys (RFC 7517): a key set that can only hold public, asymmetric signing keys.

mod external;

pub use external::{ExternalAlgorithm, ExternalKeySet, InvalidAlgorithm, InvalidExternalKeySet};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Signature algorithms that are accepted anywhere. There is no symmetric one, and no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256; what we sign with.
    ES256,
}

/// A public key as it stands in a JWKS document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    /// Key type; `EC`.
    pub kty: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Pinned: a token that names another algorithm is refused.
    pub alg: Algorithm,
    /// Unique within the set.
    pub kid: String,
    /// Curve; `P-256`.
    pub crv: String,
    /// Base64url.
    pub x: String,
    /// Base64url.
    pub y: String,
}

/// A JWKS document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// Public keys only.
    pub keys: Vec<PublicJwk>,
}

/// Keys ready to verify with, looked up by `kid` (RFC 8725 s3.10: a map look-up and nothing else).
pub struct KeySet {
    keys: BTreeMap<String, VerifyingKey>,
}

/// A public key. Read once: reading checks that it is a point of the curve.
pub(crate) struct VerifyingKey {
    pub(crate) algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// A key set that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// Two keys with one `kid`.
    #[error("two keys share a kid")]
    DuplicateKeyId,
    /// Not an EC P-256 signing key.
    #[error("a key is not a P-256 signing key")]
    UnsupportedKey,
}

impl KeySet {
    /// Prepares the keys of a document.
    pub fn new(document: &JwkSet) -> Result<Self, InvalidKeySet> {
        let mut keys = BTreeMap::new();
        for key in &document.keys {
            if key.kty != "EC" || key.crv != "P-256" || key.usage != "sig" {
                return Err(InvalidKeySet::UnsupportedKey);
            }
            let verifying = VerifyingKey::of(key).ok_or(InvalidKeySet::UnsupportedKey)?;
            if keys.insert(key.kid.clone(), verifying).is_some() {
                return Err(InvalidKeySet::DuplicateKeyId);
            }
        }
        Ok(Self { keys })
    }

    /// Whether a key of this id is in the set now.
    pub fn holds(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }
}

impl VerifyingKey {
    fn of(jwk: &PublicJwk) -> Option<Self> {
        let Algorithm::ES256 = jwk.alg;
        let coordinate = |text: &str| <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        // SEC 1 s2.3.4: an uncompressed point.
        let point = [&[4][..], &coordinate(&jwk.x)?, &coordinate(&jwk.y)?].concat();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self { algorithm: jwk.alg, key })
    }

    /// Whether `signature` (RFC 7518 s3.4: both integers, as base64url) is of this text by this key.
    pub(crate) fn signed(&self, message: &[u8], signature: &str) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(signature);
        signature.is_ok_and(|signature| self.key.verify_sig(message, &signature).is_ok())
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.keys.keys()).finish()
    }
}
