//! An upstream that cannot be reached is not dialled by every caller anew: after some failures in a row callers are told so at
//! once, for a growing while, and then one of them at a time tries again.
//!
//! Only failing to connect counts: what an upstream answers, how long it takes to, and whose call it was never opens it.

use portcullis_oauth::time::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many failures in a row, and it rests.
const FAILURES: u32 = 5;

/// The first rest; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Whether there was a failure since the last connection: all that a call asks where everything is well.
    is_troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rests: Option<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    length: Duration,
    until: Timestamp,
    is_probed: bool,
}

/// The upstream rests, for so many seconds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resting(pub(crate) u64);

/// A call that may go. While the upstream rests, the one that finds out whether it is back.
#[derive(Debug)]
pub(crate) struct Try(Option<Arc<Breaker>>);

impl Breaker {
    /// Whether a call may try.
    pub(crate) fn admit(self: &Arc<Self>, now: Timestamp) -> Result<Try, Resting> {
        if !self.is_troubled.load(Ordering::Acquire) {
            return Ok(Try(None));
        }
        match &mut self.state().rests {
            None => Ok(Try(None)),
            Some(rest) if rest.is_over(now) && !rest.is_probed => {
                rest.is_probed = true;
                Ok(Try(Some(Arc::clone(self))))
            }
            Some(rest) => Err(Resting(rest.until.since(now).as_secs().clamp(1, LONGEST_REST.as_secs()))),
        }
    }

    /// A connection was made: whatever was, is over.
    pub(crate) fn connected(&self) {
        if self.is_troubled.load(Ordering::Acquire) {
            *self.state() = State::default();
            self.is_troubled.store(false, Ordering::Release);
        }
    }

    /// No connection could be made.
    pub(crate) fn failed(&self, now: Timestamp) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let length = match state.rests {
            None if state.failures >= FAILURES => Some(FIRST_REST),
            Some(rest) if rest.is_probed => Some((rest.length * 2).min(LONGEST_REST)),
            // Too few yet; or of those that were under way when it began to rest.
            None | Some(_) => None,
        };
        if let Some(length) = length {
            state.rests = Some(Rest { length, until: now + length, is_probed: false });
        }
        self.is_troubled.store(true, Ordering::Release);
    }

    /// Whether callers are turned away, or one of them tries.
    pub(crate) fn rests(&self) -> bool {
        self.is_troubled.load(Ordering::Acquire) && self.state().rests.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    /// Also when the clock was set back: then how long it was is not known.
    fn is_over(self, now: Timestamp) -> bool {
        self.until.has_passed(now) || self.until.since(now) > LONGEST_REST
    }
}

impl Drop for Try {
    /// A caller who went away found nothing out: another may.
    fn drop(&mut self) {
        if let Some(breaker) = &self.0
            && let Some(rest) = &mut breaker.state().rests
        {
            rest.is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn failed(times: u32, now: Timestamp) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        (0..times).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn dos_09_it_rests_after_failures_in_a_row_only() {
        let breaker = failed(FAILURES - 1, at(0));
        assert!(breaker.admit(at(0)).is_ok() && !breaker.rests());
        breaker.connected();
        breaker.failed(at(0));
        assert!(breaker.admit(at(0)).is_ok(), "one connection, and counting begins anew");
        (1..FAILURES).for_each(|_| breaker.failed(at(0)));
        assert_eq!(breaker.admit(at(0)).unwrap_err(), Resting(1));
        assert!(breaker.rests());
        breaker.connected();
        assert!(breaker.admit(at(0)).is_ok() && !breaker.rests());
    }

    #[test]
    fn dos_09_one_at_a_time_tries_again_and_each_failure_doubles_the_rest_up_to_a_bound() {
        let breaker = failed(FAILURES, at(0));
        let mut now = at(1);
        for rest in [2, 4, 8, 16, 30, 30] {
            let probe = breaker.admit(now).unwrap();
            assert!(breaker.admit(now).is_err(), "another one is on its way");
            breaker.failed(now);
            drop(probe);
            assert_eq!(breaker.admit(now).unwrap_err(), Resting(rest));
            assert!(breaker.admit(now + Duration::from_secs(rest - 1)).is_err());
            now = now + Duration::from_secs(rest);
        }
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn dos_09_who_goes_away_leaves_the_try_to_another_and_late_failures_cost_nothing_more() {
        let breaker = failed(FAILURES, at(0));
        drop(breaker.admit(at(1)).unwrap());
        (0..100).for_each(|_| breaker.failed(at(1)));
        let probe = breaker.admit(at(1)).unwrap();
        breaker.failed(at(1));
        drop(probe);
        assert_eq!(breaker.admit(at(1)).unwrap_err(), Resting(2));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_out() {
        let breaker = failed(FAILURES, at(100_000));
        assert!(breaker.admit(at(0)).is_ok());
    }
}
