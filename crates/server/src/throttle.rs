//! Guessing is slowed down (PC-53): one bucket per name, address or both, counted by the app's clock.

pub use portcullis_domain::rate::{Source, Wait};

use portcullis_domain::id::UserId;
use portcullis_domain::rate::Buckets;
use portcullis_oauth::time::Timestamp;
use std::time::Duration;

/// How often somebody may try.
#[derive(Debug)]
pub struct Throttle {
    connects: Buckets,
    registrations: Buckets,
    secrets: Buckets,
    secrets_from: Buckets,
    sign_ins: Buckets,
    sign_ins_from: Buckets,
}

impl Default for Throttle {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            connects: Buckets::new(30, millis(5_000)),
            registrations: Buckets::new(200, millis(5_000)),
            secrets: Buckets::new(20, millis(3_000)),
            secrets_from: Buckets::new(100, millis(500)),
            sign_ins: Buckets::new(8, millis(10_000)),
            sign_ins_from: Buckets::new(60, millis(2_000)),
        }
    }
}

impl Throttle {
    /// One more attempt to sign in. Paid before the password is looked at; [`Throttle::sign_in_succeeded`] gives it back.
    pub fn sign_in(&self, username: &str, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.sign_ins_from.spend(&from, 1, now)?;
        self.sign_ins.spend(&(username, from), 1, now)
    }

    /// The password was right: that attempt was no guess.
    pub fn sign_in_succeeded(&self, username: &str, from: Source) {
        self.sign_ins_from.give_back(&from, 1);
        self.sign_ins.give_back(&(username, from), 1);
    }

    /// A client secret was wrong. Only wrong ones pay, and a right one is always let in: secrets have 256 bits, so this
    /// bounds load, and nobody can lock out a client by sending nonsense in its name.
    pub fn wrong_secret(&self, client: &str, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.secrets_from.spend(&from, 1, now)?;
        self.secrets.spend(&(client, from), 1, now)
    }

    /// A person makes us ask a third party.
    pub fn connect(&self, user: UserId, now: Timestamp) -> Result<(), Wait> {
        self.connects.spend(&user, 1, now)
    }

    /// How many attempts had to wait, by kind.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 6] {
        [
            ("connect_by_user", self.connects.refused()),
            ("registration", self.registrations.refused()),
            ("secret_by_client", self.secrets.refused()),
            ("secret_by_address", self.secrets_from.refused()),
            ("sign_in_by_name", self.sign_ins.refused()),
            ("sign_in_by_address", self.sign_ins_from.refused()),
        ]
    }

    /// Somebody wants to register a client.
    pub fn registration(&self, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.registrations.spend(&from, 1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ui_12_eight_guesses_then_one_in_ten_seconds() {
        let throttle = Throttle::default();
        let here = source("192.0.2.1");
        for _ in 0..8 {
            throttle.sign_in("alice", here, NOW).unwrap();
        }
        assert_eq!(throttle.sign_in("alice", here, NOW), Err(Wait { seconds: 10 }));
        let later = NOW + Duration::from_secs(10);
        assert_eq!(throttle.sign_in("alice", here, later), Ok(()));
        assert!(throttle.sign_in("alice", here, later).is_err());
        assert_eq!(throttle.sign_in("bob", here, NOW), Ok(()), "by name");
        assert_eq!(
            throttle.sign_in("alice", source("192.0.2.2"), NOW),
            Ok(()),
            "the owner elsewhere is not locked out"
        );
    }

    #[test]
    fn ui_12_spraying_one_password_over_many_names_is_slowed_down_by_address() {
        let throttle = Throttle::default();
        let here = source("192.0.2.1");
        let tried = (0..500).filter(|n| throttle.sign_in(&format!("user{n}"), here, NOW).is_ok()).count();
        assert_eq!(tried, 60);
    }

    #[test]
    fn a_right_password_costs_nothing() {
        let throttle = Throttle::default();
        let here = source("192.0.2.1");
        for _ in 0..100 {
            throttle.sign_in("alice", here, NOW).unwrap();
            throttle.sign_in_succeeded("alice", here);
        }
    }
}
