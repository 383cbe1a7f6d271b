//! Signing with a private ES256 key.

use crate::jwk::{Algorithm, PublicJwk};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde::Serialize;

/// A private ES256 key with its id. Signs; cannot be printed.
pub struct SigningKey {
    kid: String,
    key: EncodingKey,
}

/// The bytes are no P-256 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#8 P-256 private key")]
pub struct InvalidSigningKey;

impl SigningKey {
    /// From PKCS#8 DER.
    pub fn from_pkcs8(kid: String, der: &[u8]) -> Result<Self, InvalidSigningKey> {
        public_point(der)?;
        Ok(Self {
            kid,
            key: EncodingKey::from_ec_der(der),
        })
    }

    /// A new private key as PKCS#8 DER, to be sealed by the caller.
    pub fn generate_pkcs8() -> Result<Vec<u8>, InvalidSigningKey> {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let document = EcdsaKeyPair::generate_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::rand::SystemRandom::new(),
        )
        .map_err(|_| InvalidSigningKey)?;
        Ok(document.as_ref().to_vec())
    }

    /// The public half of a private key, as published.
    pub fn public_jwk(kid: &str, der: &[u8]) -> Result<PublicJwk, InvalidSigningKey> {
        let point = public_point(der)?;
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

    /// The signature over any text, to forge with.
    #[cfg(test)]
    pub(super) fn sign_text(&self, message: &[u8]) -> Result<String, SigningFailed> {
        jsonwebtoken::crypto::sign(message, &self.key, jsonwebtoken::Algorithm::ES256).map_err(|_| SigningFailed)
    }

    /// Signs `claims` as a JWS of type `typ`.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, SigningFailed> {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| SigningFailed)
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

/// The uncompressed public point (65 bytes) of a private key.
fn public_point(der: &[u8]) -> Result<Vec<u8>, InvalidSigningKey> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
        .map_err(|_| InvalidSigningKey)?;
    let point = pair.public_key().as_ref().to_vec();
    if point.len() == 65 {
        Ok(point)
    } else {
        Err(InvalidSigningKey)
    }
}

