//! `[limits]`, `[audit]`: how much, and how long.

use super::{Check, raw};
use crate::config::Limits;
use portcullis_gateway::{AtOnce, CallRates};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most that the record of calls may hold, unless somebody says otherwise.
const SPOOL_BYTES: u64 = 1024 * 1024 * 1024;

/// More than one machine serves.
const MAX_RATE: u32 = 100_000_000;

/// In one process, or near the control room: a revocation is heard within a second, an outage noticed within this.
const MAX_STALENESS: Duration = Duration::from_secs(10);

impl Check<'_> {
    pub(super) fn max_staleness(&mut self, written: Option<&str>) -> Duration {
        let allowed = Duration::from_secs(2)..=Duration::from_hours(24);
        self.life("gateway.max_staleness", written, MAX_STALENESS, allowed)
    }

    pub(super) fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let defaults = Limits::default();
        let most_bytes = 256 * 1024 * 1024;
        let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
        let timeout = raw.upstream_timeout.as_deref();
        let idle = raw.program_idle.as_deref();
        Limits {
            body: self.bound("limits.body", raw.body, defaults.body, 1024..=most_bytes),
            connections: self.bound(
                "limits.connections",
                raw.connections,
                defaults.connections,
                16..=1_000_000,
            ),
            calls_at_once: self.calls_at_once(&raw.calls_at_once),
            calls_per_minute: self.calls_per_minute(&raw.calls_per_minute),
            bad_signatures_per_minute: self
                .rate("limits.bad_signatures_per_minute", raw.bad_signatures_per_minute)
                .unwrap_or(defaults.bad_signatures_per_minute),
            upstream_timeout: self.life(
                "limits.upstream_timeout",
                timeout,
                defaults.upstream_timeout,
                second..=hour,
            ),
            upstream_idle: self.life(
                "limits.upstream_idle",
                raw.upstream_idle.as_deref(),
                defaults.upstream_idle,
                10 * second..=24 * hour,
            ),
            answer: self.bound("limits.answer", raw.answer, defaults.answer, 1024..=most_bytes),
            memory: self.bound("limits.memory", raw.memory, defaults.memory, 1024..=1 << 40),
            programs: self.bound("limits.programs", raw.programs, defaults.programs, 1..=100_000),
            program_idle: self.life("limits.program_idle", idle, defaults.program_idle, second..=24 * hour),
        }
    }

    fn calls_at_once(&mut self, raw: &raw::CallsAtOnce) -> AtOnce {
        let defaults = AtOnce::default();
        AtOnce {
            principal: self
                .rate("limits.calls_at_once.principal", raw.principal)
                .map_or(defaults.principal, NonZeroU32::get),
            client: self.rate("limits.calls_at_once.client", raw.client).or(defaults.client),
            server: self.rate("limits.calls_at_once.server", raw.server).or(defaults.server),
            address: self.rate("limits.calls_at_once.address", raw.address).or(defaults.address),
            streams: self
                .rate("limits.calls_at_once.streams", raw.streams)
                .map_or(defaults.streams, NonZeroU32::get),
        }
    }

    fn calls_per_minute(&mut self, raw: &raw::CallsPerMinute) -> CallRates {
        let defaults = CallRates::default();
        CallRates {
            principal: self.rate("limits.calls_per_minute.principal", raw.principal).or(defaults.principal),
            client: self.rate("limits.calls_per_minute.client", raw.client).or(defaults.client),
            server: self.rate("limits.calls_per_minute.server", raw.server).or(defaults.server),
            address: self.rate("limits.calls_per_minute.address", raw.address).or(defaults.address),
        }
    }

    /// So many in a minute, or at once; `None` where nothing is written.
    fn rate(&mut self, key: &str, written: Option<u64>) -> Option<NonZeroU32> {
        let number = written?;
        let rate = u32::try_from(number).ok().and_then(NonZeroU32::new).filter(|rate| rate.get() <= MAX_RATE);
        if rate.is_none() {
            self.problem(key, format!("{number} is not between 1 and {MAX_RATE}"), "");
        }
        rate
    }

    /// `registry.survey`
    pub(super) fn survey(&mut self, written: Option<&str>) -> Option<Duration> {
        let (shortest, longest) = (Duration::from_secs(10), Duration::from_hours(24));
        let usual = Duration::from_mins(5);
        (written != Some("off")).then(|| self.life("registry.survey", written, usual, shortest..=longest))
    }

    fn bound(
        &mut self,
        key: &str,
        written: Option<u64>,
        default: usize,
        allowed: RangeInclusive<usize>,
    ) -> usize {
        let Some(number) = written else {
            return default;
        };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if !allowed.contains(&number) {
            let says = format!("{number} is not between {} and {}", allowed.start(), allowed.end());
            self.problem(key, says, "");
        }
        number
    }

    pub(super) fn spool_bytes(&mut self, written: Option<u64>) -> u64 {
        let bytes = written.unwrap_or(SPOOL_BYTES);
        let allowed = 1024 * 1024..=1 << 50;
        if !allowed.contains(&bytes) {
            let says = format!("{bytes} is not between {} and {}", allowed.start(), allowed.end());
            self.problem("audit.spool_bytes", says, "");
        }
        bytes
    }
}
