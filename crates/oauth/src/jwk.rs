//! Public keys (RFC 7517): a key set that can only hold public, asymmetric signing keys.

mod external;

pub use external::{ExternalAlgorithm, ExternalKeySet, InvalidAlgorithm, InvalidExternalKeySet};

use jsonwebtoken::DecodingKey;
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
    keys: BTreeMap<String, (Algorithm, DecodingKey)>,
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
            let decoding =
                DecodingKey::from_ec_components(&key.x, &key.y).map_err(|_| InvalidKeySet::UnsupportedKey)?;
            if keys.insert(key.kid.clone(), (key.alg, decoding)).is_some() {
                return Err(InvalidKeySet::DuplicateKeyId);
            }
        }
        Ok(Self { keys })
    }

    /// Whether a key of this id is in the set now.
    pub fn holds(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&(Algorithm, DecodingKey)> {
        self.keys.get(kid)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.keys.keys()).finish()
    }
}
