//! PKCE (RFC 7636), S256 only. `plain` cannot be expressed.

use crate::serde_as_text;
use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

/// An S256 code challenge: the unpadded base64url form of a SHA-256 (RFC 7636 s4.2), 43 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

/// The text is no S256 challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code challenge is the 43 characters of an unpadded base64url SHA-256")]
pub struct InvalidChallenge;

/// A code verifier: 43 to 128 unreserved characters (RFC 7636 s4.1). A secret; not printable.
pub struct Verifier(String);

/// The text is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code verifier is 43 to 128 characters of A-Z a-z 0-9 - . _ ~")]
pub struct InvalidVerifier;

impl Challenge {
    /// Whether `verifier` is the one behind this challenge; takes the same time either way.
    pub fn is_met_by(&self, verifier: &Verifier) -> bool {
        let hashed = digest::digest(&digest::SHA256, verifier.0.as_bytes());
        constant_time::verify_slices_are_equal(hashed.as_ref(), &self.0).is_ok()
    }
}

impl FromStr for Challenge {
    type Err = InvalidChallenge;
    fn from_str(text: &str) -> Result<Self, InvalidChallenge> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidChallenge)?;
        bytes.try_into().map(Self).map_err(|_| InvalidChallenge)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

serde_as_text!(Challenge);

impl Verifier {
    /// The challenge that belongs to this verifier.
    pub fn challenge(&self) -> Challenge {
        let hashed = digest::digest(&digest::SHA256, self.0.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hashed.as_ref());
        Challenge(bytes)
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;
    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if (43..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidVerifier)
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7636_appendix_b() {
        let verifier: Verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".parse().unwrap();
        assert_eq!(verifier.challenge().to_string(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let challenge: Challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse().unwrap();
        assert!(challenge.is_met_by(&verifier));
    }

    #[test]
    fn pkce_08_the_challenge_itself_is_no_verifier_for_it() {
        let challenge: Challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse().unwrap();
        assert!(!challenge.is_met_by(&challenge.to_string().parse().unwrap()));
    }

    #[test]
    fn as_code_07_lengths_and_characters() {
        for length in [0, 42, 129] {
            assert!("a".repeat(length).parse::<Verifier>().is_err(), "{length}");
        }
        assert!(format!("{}\0", "a".repeat(50)).parse::<Verifier>().is_err());
        for bad in
            ["", "short", &"a".repeat(42), &"a".repeat(44), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="]
        {
            assert!(bad.parse::<Challenge>().is_err(), "{bad}");
        }
    }
}
