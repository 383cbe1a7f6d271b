//! The clock: the only place that asks the system for the time. Everything else takes `now` as an argument.

use portcullis_oauth::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the present moment comes from. Clones are the same clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Stands still until it is advanced; for tests.
    Fixed(Arc<AtomicI64>),
    /// The machine's.
    System,
}

impl Clock {
    /// A clock that stands still.
    pub fn fixed(at: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.seconds())))
    }

    /// The present moment. Read once per request, then handed down.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the system clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Fixed(seconds) => Timestamp::from_seconds(seconds.load(Ordering::SeqCst)),
            Self::System => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
                // A clock before 1970 is broken: at zero nothing is valid yet, so everything is refused.
                let seconds = elapsed.map_or(0, |elapsed| elapsed.as_secs());
                Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(0))
            }
        }
    }

    /// Moves a fixed clock; the machine's own cannot be moved and is left alone.
    pub fn advance(&self, by: Duration) {
        match self {
            Self::Fixed(seconds) => {
                let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
                seconds.fetch_add(by, Ordering::SeqCst);
            }
            Self::System => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_by_hand() {
        let clock = Clock::fixed(Timestamp::from_seconds(100));
        let same = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(same.now(), Timestamp::from_seconds(105));
        assert!(Clock::System.now() > Timestamp::from_seconds(1_700_000_000));
    }
}
