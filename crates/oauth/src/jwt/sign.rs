//! Signing with a private ES256 key.

use crate::jwk::{Algorithm, PublicJwk};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// A private ES256 key with its id. Signs; cannot be printed.
pub struct SigningKey {
    kid: String,
    /// Read once: reading checks the key, which takes longer than a signature.
    pair: EcdsaKeyPair,
}

/// The bytes are no P-256 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#8 P-256 private key")]
pub struct InvalidSigningKey;

/// RFC 7515 s4.1
#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: Algorithm,
    kid: &'a str,
}

impl SigningKey {
    /// From PKCS#8 DER.
    pub fn from_pkcs8(kid: String, der: &[u8]) -> Result<Self, InvalidSigningKey> {
        let pair = pair_of(der)?;
        public_point(&pair)?;
        Ok(Self { kid, pair })
    }

    /// A new private key as PKCS#8 DER, to be sealed by the caller.
    pub fn generate_pkcs8() -> Result<Vec<u8>, InvalidSigningKey> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(document.map_err(|_| InvalidSigningKey)?.as_ref().to_vec())
    }

    /// The public half of a private key, as published.
    pub fn public_jwk(kid: &str, der: &[u8]) -> Result<PublicJwk, InvalidSigningKey> {
        let point = public_point(&pair_of(der)?)?;
        Ok(PublicJwk {
            kty: "EC".to_owned(),
            usage: "sig".to_owned(),
            alg: Algorithm::ES256,
            kid: kid.to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(&point[1..33]),
            y: URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }

    /// Its id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs `claims` as a JWS of type `typ` (RFC 7515 s3.1).
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, SigningFailed> {
        let header = Header { typ, alg: Algorithm::ES256, kid: &self.kid };
        let header = serde_json::to_vec(&header).map_err(|_| SigningFailed)?;
        let claims = serde_json::to_vec(claims).map_err(|_| SigningFailed)?;
        let mut text = URL_SAFE_NO_PAD.encode(header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = self.signature(text.as_bytes())?;
        text.push('.');
        text.push_str(&signature);
        Ok(text)
    }

    /// RFC 7518 s3.4: both integers, 64 bytes, as base64url.
    pub(super) fn signature(&self, message: &[u8]) -> Result<String, SigningFailed> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| SigningFailed)?;
        Ok(URL_SAFE_NO_PAD.encode(signature))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({})", self.kid)
    }
}

/// The cryptographic library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signing failed")]
pub struct SigningFailed;

fn pair_of(der: &[u8]) -> Result<EcdsaKeyPair, InvalidSigningKey> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| InvalidSigningKey)
}

/// The uncompressed public point (65 bytes) of a private key.
fn public_point(pair: &EcdsaKeyPair) -> Result<[u8; 65], InvalidSigningKey> {
    pair.public_key().as_ref().try_into().map_err(|_| InvalidSigningKey)
}
