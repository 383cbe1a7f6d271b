//! `[server.limits]` of a fleet file.

use super::Check;
use crate::fleet::raw::RawServerLimits;
use crate::registry::{Placement, ServerLimits};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use toml::Spanned;

/// More in a minute than one machine serves.
const MOST_CALLS: u32 = 100_000_000;

/// As `limits.body` allows.
const BODY: RangeInclusive<u32> = 1024..=256 * 1024 * 1024;

const SECONDS: RangeInclusive<u32> = 1..=3600;

impl Check<'_> {
    pub(super) fn limits(
        &mut self,
        raw: Option<Spanned<RawServerLimits>>,
        placement: Option<&Placement>,
    ) -> ServerLimits {
        let Some(raw) = raw else {
            return ServerLimits::default();
        };
        if placement == Some(&Placement::Direct) {
            let says = "limits are kept by the gateway: a direct server has none here";
            self.problem(raw.span().start, says);
        }
        let raw = raw.into_inner();
        ServerLimits {
            calls_per_minute: self.limit("calls_per_minute", raw.calls_per_minute, 1..=MOST_CALLS),
            calls_at_once: self.limit("calls_at_once", raw.calls_at_once, 1..=1_000_000),
            body: self.limit("body", raw.body, BODY),
            upstream_timeout: raw.upstream_timeout.and_then(|text| self.timeout(&text)),
        }
    }

    fn limit(
        &mut self,
        key: &str,
        written: Option<Spanned<i64>>,
        allowed: RangeInclusive<u32>,
    ) -> Option<NonZeroU32> {
        let written = written?;
        let number = u32::try_from(*written.get_ref()).ok().filter(|number| allowed.contains(number));
        if number.is_none() {
            let (from, to) = (allowed.start(), allowed.end());
            self.problem(written.span().start, format!("limits.{key} is a number from {from} to {to}"));
        }
        number.and_then(NonZeroU32::new)
    }

    fn timeout(&mut self, text: &Spanned<String>) -> Option<NonZeroU32> {
        let seconds = seconds(text.get_ref()).filter(|seconds| SECONDS.contains(seconds));
        if seconds.is_none() {
            self.problem(text.span().start, "limits.upstream_timeout is \"1s\" to \"60m\"");
        }
        seconds.and_then(NonZeroU32::new)
    }
}

fn seconds(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_suffix('s') {
        return digits.parse().ok();
    }
    text.strip_suffix('m')?.parse::<u32>().ok()?.checked_mul(60)
}
