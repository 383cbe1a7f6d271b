//! Sealing: authenticated encryption of what must be read back (PC-44), and of values that travel through a browser.
//!
//! AES-256-GCM under keys derived by HKDF from the key-encryption key, one per purpose, so that a value sealed for
//! one purpose is noise for every other.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use rand::CryptoRng;
use zeroize::Zeroizing;

/// The key-encryption key: 32 bytes that live outside the database.
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// A key for one purpose.
pub struct SealingKey(LessSafeKey);

/// The sealed bytes were altered, cut, or sealed for another purpose, record or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed value does not open")]
pub struct Unsealable;

impl MasterKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// From 32 bytes.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, to write the key file.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose.
    pub fn sealing_key(&self, purpose: &'static str) -> Result<SealingKey, Unsealable> {
        let key = derive(self.0.as_ref(), &[b"portcullis seal", purpose.as_bytes()])?;
        UnboundKey::new(&AES_256_GCM, key.as_ref())
            .map(|key| SealingKey(LessSafeKey::new(key)))
            .map_err(|_| Unsealable)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey(…)")
    }
}

impl SealingKey {
    /// Seals `plain`; `context` says whose value it is (table and row, say) and must be the same to open it.
    pub fn seal(&self, context: &str, plain: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, Unsealable> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| Unsealable)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`SealingKey::seal`] made.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut bytes)
            .map_err(|_| Unsealable)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// HKDF-SHA256 (RFC 5869): 32 bytes for the purpose that `info` names.
pub(crate) fn derive(secret: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, Unsealable> {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut bytes = Zeroizing::new([0; 32]);
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis").extract(secret);
    let material = pseudorandom.expand(info, Length).map_err(|_| Unsealable)?;
    material.fill(bytes.as_mut()).map_err(|_| Unsealable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn pc_44_only_the_same_key_purpose_and_context_open() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let master = MasterKey::generate(&mut rng);
        let key = master.sealing_key("flow").unwrap();
        let sealed = key.seal("row 1", b"secret", &mut rng).unwrap();
        assert_eq!(key.open("row 1", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open("row 2", &sealed).is_err());
        assert!(master.sealing_key("other").unwrap().open("row 1", &sealed).is_err());
        assert!(MasterKey::generate(&mut rng).sealing_key("flow").unwrap().open("row 1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open("row 1", &altered).is_err(), "{at}");
            assert!(key.open("row 1", &sealed[..at]).is_err(), "{at}");
        }
    }
}
