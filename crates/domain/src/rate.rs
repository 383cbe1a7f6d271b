//! How often something may happen (PC-53): one bucket per key, in memory; time is an argument.
//!
//! Not `governor`, because its keyed limiter can neither be asked without paying nor give back. A right password costs
//! nothing here, so that nobody who knows it is slowed down by having signed in often.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use portcullis_oauth::time::Timestamp;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where a request came from, as far as limits go: the peer of the connection, or whom a trusted proxy names. Whoever has
/// one IPv6 address has 2^64 of them, so those are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source([u8; 8]);

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

/// Too often: try again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For `Retry-After`; at least one.
    pub seconds: u64,
}

/// Most keys that one kind of bucket remembers; what comes beyond them shares one bucket.
const MAX_KEYS: usize = 50_000;

/// Where those are counted for whom there is no room.
const SHARED: u64 = 0;

const SECOND: i64 = 1_000_000_000;

/// How many may come at once, and how soon after each other then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    burst: i64,
    period: i64,
}

impl Rate {
    /// `burst` at once, then one in each `period`.
    pub fn new(burst: u32, period: Duration) -> Self {
        Self { burst: burst.into(), period: i64::try_from(period.as_nanos()).unwrap_or(i64::MAX) }
    }

    /// So many in a minute; all of them at once, if need be.
    pub fn per_minute(most: NonZeroU32) -> Self {
        Self::new(most.get(), Duration::from_secs(60) / most.get())
    }
}

/// Generic cell rate algorithm: for each key, of which nothing but a hash is kept, the moment, in nanoseconds, at which its
/// bucket is full again.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    full_at: HashTable<(u64, i64)>,
    pruned_at: Timestamp,
    refused: u64,
}

impl Buckets {
    /// `burst` at once, then one in each `period`.
    pub fn new(burst: u32, period: Duration) -> Self {
        Self::of(Rate::new(burst, period))
    }

    /// So many in a minute; all of them at once, if need be.
    pub fn per_minute(most: NonZeroU32) -> Self {
        Self::of(Rate::per_minute(most))
    }

    fn of(rate: Rate) -> Self {
        let state = State { full_at: HashTable::new(), pruned_at: Timestamp::from_seconds(0), refused: 0 };
        Self { rate, hasher: RandomState::new(), state: Mutex::new(state) }
    }

    /// `count` times more, or not at all.
    ///
    /// # Errors
    /// How long to wait until it would be allowed; never, where `count` is more than the burst, but that is not said.
    pub fn spend(&self, key: &impl Hash, count: u32, now: Timestamp) -> Result<(), Wait> {
        self.spend_at(self.rate, key, count, now)
    }

    /// The same for a key that has a rate of its own.
    ///
    /// # Errors
    /// As [`Buckets::spend`].
    pub fn spend_at(&self, rate: Rate, key: &impl Hash, count: u32, now: Timestamp) -> Result<(), Wait> {
        let mut state = self.state();
        let key = state.slot(self.hasher.hash_one(key), now);
        match rate.after(&state, key, count, now) {
            Ok(full_at) => {
                state.set(key, full_at);
                Ok(())
            }
            Err(wait) => {
                state.refused += 1;
                Err(wait)
            }
        }
    }

    /// Whether it may happen once more. Nothing is spent.
    ///
    /// # Errors
    /// How long to wait until it would be allowed.
    pub fn room(&self, key: &impl Hash, now: Timestamp) -> Result<(), Wait> {
        let mut state = self.state();
        let key = state.slot(self.hasher.hash_one(key), now);
        self.rate.after(&state, key, 1, now).map(drop).inspect_err(|_| state.refused += 1)
    }

    /// That did not count. While there is no room, what was counted in the shared bucket is given back to that one.
    pub fn give_back(&self, key: &impl Hash, count: u32) {
        let mut state = self.state();
        let key = self.hasher.hash_one(key);
        // Where there is room, a bucket that is not there is full.
        let is_own = state.full_at.len() < MAX_KEYS || state.full_at(key).is_some();
        let slot = if is_own { key } else { SHARED };
        if let Some(full_at) = state.full_at(slot) {
            state.set(slot, full_at.saturating_sub(self.rate.period.saturating_mul(count.into())));
        }
    }

    /// How often it was refused.
    pub fn refused(&self) -> u64 {
        self.state().refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave a counter in a worse state than any other.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    /// When the bucket would be full again after `count` more.
    fn after(self, state: &State, key: u64, count: u32, now: Timestamp) -> Result<i64, Wait> {
        let now = nanos(now);
        let full_at = state.full_at(key).unwrap_or(now);
        let next = full_at.max(now).saturating_add(self.period.saturating_mul(count.into()));
        let latest = now.saturating_add(self.period.saturating_mul(self.burst));
        if next > latest {
            let excess = u64::try_from(next.saturating_sub(latest)).unwrap_or(0);
            return Err(Wait { seconds: excess.div_ceil(SECOND.unsigned_abs()) });
        }
        Ok(next)
    }
}

fn nanos(moment: Timestamp) -> i64 {
    moment.seconds().saturating_mul(SECOND)
}

impl State {
    fn full_at(&self, key: u64) -> Option<i64> {
        self.full_at.find(key, |(known, _)| *known == key).map(|(_, full_at)| *full_at)
    }

    fn set(&mut self, key: u64, full_at: i64) {
        match self.full_at.entry(key, |(known, _)| *known == key, |(known, _)| *known) {
            Entry::Occupied(mut known) => known.get_mut().1 = full_at,
            Entry::Vacant(place) => drop(place.insert((key, full_at))),
        }
    }

    /// The key under which to count: `key` itself, or the shared one when there is no room.
    fn slot(&mut self, key: u64, now: Timestamp) -> u64 {
        if self.full_at.len() < MAX_KEYS || self.full_at(key).is_some() {
            return key;
        }
        // At most once a second, so that a flood of new keys costs no more than that.
        if self.pruned_at != now {
            self.pruned_at = now;
            let now = nanos(now);
            self.full_at.retain(|(_, full_at)| *full_at > now);
        }
        if self.full_at.len() < MAX_KEYS { key } else { SHARED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn pc_53_a_minutes_worth_at_once_then_evenly() {
        for most in [1_u32, 7, 60, 600, 1_000_000] {
            let buckets = Buckets::per_minute(NonZeroU32::new(most).unwrap());
            assert_eq!(buckets.spend(&"a", most, NOW), Ok(()), "{most}");
            let wait = buckets.spend(&"a", 1, NOW).unwrap_err();
            assert_eq!(wait.seconds, u64::from(60_u32.div_ceil(most)), "{most}");
            assert_eq!(buckets.spend(&"b", 1, NOW), Ok(()), "each key has its own");
            let later = NOW + Duration::from_secs(wait.seconds);
            assert_eq!(buckets.spend(&"a", 1, later), Ok(()), "what was said holds");
            assert_eq!(buckets.refused(), 1);
        }
    }

    #[test]
    fn pc_53_a_key_may_have_a_rate_of_its_own_and_another_later() {
        let buckets = Buckets::per_minute(NonZeroU32::new(1).unwrap());
        let per_minute = |most| Rate::per_minute(NonZeroU32::new(most).unwrap());
        assert_eq!(buckets.spend_at(per_minute(3), &"a", 3, NOW), Ok(()));
        assert_eq!(buckets.spend_at(per_minute(3), &"a", 1, NOW), Err(Wait { seconds: 20 }));
        assert_eq!(buckets.spend_at(per_minute(6), &"a", 1, NOW), Err(Wait { seconds: 10 }));
        assert_eq!(buckets.spend(&"b", 1, NOW), Ok(()));
    }

    #[test]
    fn pc_53_several_at_once_are_counted_or_refused_together() {
        let buckets = Buckets::new(10, SECOND);
        assert_eq!(buckets.spend(&1, 8, NOW), Ok(()));
        assert_eq!(buckets.spend(&1, 4, NOW), Err(Wait { seconds: 2 }));
        assert_eq!(buckets.spend(&1, 2, NOW), Ok(()), "a refusal costs nothing");
        assert!(buckets.spend(&2, 11, NOW).is_err(), "more than there ever is");
    }

    #[test]
    fn pc_53_asking_costs_nothing_and_what_is_given_back_is_there() {
        let buckets = Buckets::new(1, SECOND);
        for _ in 0..5 {
            assert_eq!(buckets.room(&1, NOW), Ok(()));
        }
        buckets.spend(&1, 1, NOW).unwrap();
        assert_eq!(buckets.room(&1, NOW), Err(Wait { seconds: 1 }));
        buckets.give_back(&1, 1);
        assert_eq!(buckets.room(&1, NOW), Ok(()));
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
        let buckets = Buckets::new(1, SECOND);
        for key in 0..MAX_KEYS + 10 {
            let _ = buckets.spend(&key, 1, NOW);
        }
        assert!(buckets.state().full_at.len() <= MAX_KEYS + 1);
        assert!(buckets.spend(&"one more", 1, NOW).is_err(), "no room: strangers share a bucket");
        let later = NOW + 5 * SECOND;
        assert_eq!(buckets.spend(&"one more", 1, later), Ok(()));
        assert!(buckets.state().full_at.len() < 10);
    }

    #[test]
    fn dos_02_what_was_counted_in_the_shared_bucket_is_given_back_to_it() {
        let buckets = Buckets::new(1, SECOND);
        for key in 0..MAX_KEYS {
            buckets.spend(&key, 1, NOW).unwrap();
        }
        assert_eq!(buckets.spend(&"a stranger", 1, NOW), Ok(()));
        assert!(buckets.room(&"another stranger", NOW).is_err(), "they share one");
        buckets.give_back(&"a stranger", 1);
        assert_eq!(buckets.room(&"another stranger", NOW), Ok(()));
        assert!(buckets.room(&0_usize, NOW).is_err(), "and nobody else's got fuller");
    }

    #[test]
    fn a_clock_that_runs_backwards_gives_nothing_away() {
        let buckets = Buckets::new(1, SECOND);
        buckets.spend(&1, 1, NOW).unwrap();
        assert!(buckets.spend(&1, 1, Timestamp::from_seconds(NOW.seconds() - 100)).is_err());
    }
}
