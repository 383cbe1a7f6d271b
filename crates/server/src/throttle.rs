//! Guessing is slowed down (PC-53): one bucket per key, in memory, counted by the app's clock.
//!
//! Not `governor`, because its keyed limiter can neither be asked without paying nor give back: here a right password
//! costs nothing, so that nobody who knows it is slowed down by having signed in often. And time is an argument.

use portcullis_oauth::time::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How often somebody may try.
#[derive(Debug)]
pub struct Throttle {
    registrations: Buckets,
    secrets: Buckets,
    secrets_from: Buckets,
    sign_ins: Buckets,
    sign_ins_from: Buckets,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            registrations: Buckets::new(200, 5_000),
            secrets: Buckets::new(20, 3_000),
            secrets_from: Buckets::new(100, 500),
            sign_ins: Buckets::new(8, 10_000),
            sign_ins_from: Buckets::new(60, 2_000),
        }
    }
}

/// Where a request came from, as far as limits go: the peer of the connection, or whom a trusted proxy names. Whoever has
/// one IPv6 address has 2^64 of them, so those are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source([u8; 8]);

/// Too many attempts: try again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For `Retry-After`.
    pub seconds: u64,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        let mut bytes = [0; 8];
        match address.to_canonical() {
            // 0000::/8 is never a unicast source, so the two kinds do not meet.
            IpAddr::V4(v4) => bytes[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => bytes.copy_from_slice(&v6.octets()[..8]),
        }
        Self(bytes)
    }
}

impl Throttle {
    /// One more attempt to sign in. Paid before the password is looked at; [`Throttle::sign_in_succeeded`] gives it back.
    pub fn sign_in(&self, username: &str, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.sign_ins_from.spend(&from, now)?;
        self.sign_ins.spend(&(username, from), now)
    }

    /// The password was right: that attempt was no guess.
    pub fn sign_in_succeeded(&self, username: &str, from: Source) {
        self.sign_ins_from.give_back(&from);
        self.sign_ins.give_back(&(username, from));
    }

    /// A client secret was wrong. Only wrong ones pay, and a right one is always let in: secrets have 256 bits, so this
    /// bounds load, and nobody can lock out a client by sending nonsense in its name.
    pub fn wrong_secret(&self, client: &str, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.secrets_from.spend(&from, now)?;
        self.secrets.spend(&(client, from), now)
    }

    /// How many attempts had to wait, by kind.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 5] {
        [
            ("registration", self.registrations.refused()),
            ("secret_by_client", self.secrets.refused()),
            ("secret_by_address", self.secrets_from.refused()),
            ("sign_in_by_name", self.sign_ins.refused()),
            ("sign_in_by_address", self.sign_ins_from.refused()),
        ]
    }

    /// Somebody wants to register a client.
    pub fn registration(&self, from: Source, now: Timestamp) -> Result<(), Wait> {
        self.registrations.spend(&from, now)
    }
}

/// Most keys that one kind of bucket remembers; what comes beyond them shares one bucket.
const MAX_KEYS: usize = 50_000;

/// Generic cell rate algorithm: for each key the moment, in milliseconds, at which its bucket is full again.
#[derive(Debug)]
struct Buckets {
    burst: i64,
    period: i64,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    full_at: HashMap<u64, i64>,
    pruned_at: Timestamp,
    refused: u64,
}

impl Buckets {
    /// `burst` attempts at once, then one for each `period` milliseconds.
    fn new(burst: i64, period: i64) -> Self {
        let state = State { full_at: HashMap::new(), pruned_at: Timestamp::from_seconds(0), refused: 0 };
        Self { burst, period, hasher: RandomState::new(), state: Mutex::new(state) }
    }

    fn spend(&self, key: &impl Hash, now: Timestamp) -> Result<(), Wait> {
        let millis = now.seconds().saturating_mul(1000);
        // A panic elsewhere cannot leave a counter in a worse state than any other.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = state.slot(self.hasher.hash_one(key), now);
        let full_at = state.full_at.get(&key).copied().unwrap_or(millis);
        let next = full_at.max(millis).saturating_add(self.period);
        let excess = next - millis - self.burst * self.period;
        if excess > 0 {
            state.refused += 1;
            return Err(Wait { seconds: u64::try_from(excess).unwrap_or(0).div_ceil(1000) });
        }
        state.full_at.insert(key, next);
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    fn give_back(&self, key: &impl Hash) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = state.full_at.get_mut(&self.hasher.hash_one(key)) {
            *full_at -= self.period;
        }
    }
}

impl State {
    /// The key under which to count: `key` itself, or the shared one when there is no room.
    fn slot(&mut self, key: u64, now: Timestamp) -> u64 {
        if self.full_at.len() < MAX_KEYS || self.full_at.contains_key(&key) {
            return key;
        }
        // At most once a second, so that a flood of new keys costs no more than that.
        if self.pruned_at != now {
            self.pruned_at = now;
            let millis = now.seconds().saturating_mul(1000);
            self.full_at.retain(|_, full_at| *full_at > millis);
        }
        if self.full_at.len() < MAX_KEYS { key } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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

    #[test]
    fn addresses_of_one_ipv6_network_count_together_and_v4_in_v6_is_v4() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn dos_02_memory_is_bounded_and_full_buckets_are_forgotten() {
        let buckets = Buckets::new(1, 1000);
        for key in 0..MAX_KEYS + 10 {
            let _ = buckets.spend(&key, NOW);
        }
        assert!(buckets.state.lock().unwrap().full_at.len() <= MAX_KEYS + 1);
        assert!(buckets.spend(&"one more", NOW).is_err(), "no room: strangers share a bucket");
        let later = NOW + Duration::from_secs(5);
        assert_eq!(buckets.spend(&"one more", later), Ok(()));
        assert!(buckets.state.lock().unwrap().full_at.len() < 10);
    }

    #[test]
    fn a_clock_that_runs_backwards_gives_nothing_away() {
        let buckets = Buckets::new(1, 1000);
        buckets.spend(&1, NOW).unwrap();
        assert!(buckets.spend(&1, Timestamp::from_seconds(NOW.seconds() - 100)).is_err());
    }
}
