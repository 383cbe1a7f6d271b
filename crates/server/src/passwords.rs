//! Passwords of people: argon2id (PC-44), a few at a time, and the same work whether or not there is such a person.
//!
//! A password is compared byte for byte as it was sent in UTF-8: no normalisation (UI-17).

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use portcullis_oauth::token::Presented;
use rand::CryptoRng;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Longer passwords are nobody's: hashing a megabyte is work for an attacker to order (UI-17).
pub const MAX_BYTES: usize = 1024;

/// Checked when there is nobody to check, so that an unknown name costs what a known one costs (UI-11).
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$U1bMBpDoRLnIN5jh1QsuN1oyPG1s2aSoMO1PiPFNSVg";

/// Slow hashes, a few at a time (DOS-01).
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(4)), admitted: Arc::new(Semaphore::new(64)) }
    }
}

/// A password could be neither checked nor set; nothing is known about it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Too many are waiting already.
    #[error("too many passwords are being checked")]
    Busy,
    /// A stored hash cannot be read, or hashing failed.
    #[error("a password hash is unusable")]
    Unusable,
}

impl Passwords {
    /// Whether `presented` is the password behind `stored`. `None`: there is nobody; as much work, and never right.
    pub async fn verify(&self, presented: Presented, stored: Option<String>) -> Result<bool, PasswordFault> {
        self.run(move || {
            let somebody = stored.is_some();
            let hash = stored.as_deref().unwrap_or(NOBODYS);
            let fits = presented.reveal().len() <= MAX_BYTES;
            let bytes = if fits { presented.reveal().as_bytes() } else { b"" };
            match Argon2::default().verify_password(bytes, hash) {
                Ok(()) => Ok(somebody && fits),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(_) => Err(PasswordFault::Unusable),
            }
        })
        .await
    }

    /// The form to store.
    pub async fn hash(&self, password: Presented, rng: &mut impl CryptoRng) -> Result<String, PasswordFault> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        self.run(move || {
            Argon2::default()
                .hash_password_with_salt(password.reveal().as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|_| PasswordFault::Unusable)
        })
        .await
    }

    /// Off the threads that serve requests.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordFault> + Send + 'static,
    ) -> Result<T, PasswordFault> {
        let _admitted = self.admitted.try_acquire().map_err(|_| PasswordFault::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordFault::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _running = running;
            work()
        })
        .await
        .map_err(|_| PasswordFault::Unusable)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[tokio::test]
    async fn pc_44_only_the_password_fits() {
        let passwords = Passwords::default();
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let stored = passwords.hash(Presented::new("correct horse"), &mut rng).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        for (presented, fits) in
            [("correct horse", true), ("Correct horse", false), ("", false), ("correct horse\0", false)]
        {
            let verdict = passwords.verify(Presented::new(presented), Some(stored.clone())).await;
            assert_eq!(verdict, Ok(fits), "{presented:?}");
        }
    }

    #[tokio::test]
    async fn ui_11_17_nobody_and_endless_passwords_are_wrong_not_faults() {
        let passwords = Passwords::default();
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let empty = passwords.hash(Presented::new(""), &mut rng).await.unwrap();
        let endless = Presented::new("x".repeat(MAX_BYTES + 1));
        assert_eq!(passwords.verify(endless, Some(empty)).await, Ok(false));
        for guess in ["", "nobody", "password"] {
            assert_eq!(passwords.verify(Presented::new(guess), None).await, Ok(false));
        }
        let broken = passwords.verify(Presented::new("x"), Some("not a hash".into())).await;
        assert_eq!(broken, Err(PasswordFault::Unusable));
    }

    #[test]
    fn nobodys_hash_costs_what_ours_cost() {
        let default = argon2::Params::default();
        let costs = format!("$m={},t={},p={}$", default.m_cost(), default.t_cost(), default.p_cost());
        assert!(NOBODYS.contains(&costs));
    }
}
