//! Chance: one generator, seeded by the operating system, from which every taker gets one of its own.

use rand::rngs::{StdRng, SysRng};
use rand::{CryptoRng, Rng as _, SeedableRng as _};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Hands out cryptographically secure generators.
pub struct Entropy(Mutex<StdRng>);

/// The operating system gives no randomness; nothing can be issued then.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoEntropy(#[source] rand::rngs::SysError);

impl Entropy {
    /// Seeded by the operating system.
    pub fn from_system() -> Result<Self, NoEntropy> {
        let seeded = StdRng::try_from_rng(&mut SysRng).map_err(NoEntropy)?;
        Ok(Self(Mutex::new(seeded)))
    }

    /// The same values at each run: for tests only.
    pub fn insecure_seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// A text that nobody has had before: 128 bits, as hexadecimal digits.
    pub fn unique_text(&self) -> String {
        let mut random = [0; 16];
        self.rng().fill_bytes(&mut random);
        format!("{:032x}", u128::from_be_bytes(random))
    }

    /// A generator of its own for the caller.
    pub fn rng(&self) -> impl CryptoRng + Send + use<> {
        // A panic elsewhere cannot leave the generator in a worse state than any other.
        let mut parent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        StdRng::from_rng(&mut *parent)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entropy(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_taker_gets_another_generator() {
        let entropy = Entropy::from_system().unwrap();
        assert_ne!(entropy.rng().next_u64(), entropy.rng().next_u64());
        let [one, two] = [1, 1].map(Entropy::insecure_seeded);
        assert_eq!(one.rng().next_u64(), two.rng().next_u64());
    }
}
