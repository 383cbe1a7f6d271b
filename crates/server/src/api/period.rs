//! A time as operators say it: RFC 3339, or how long ago (`7d`).

use super::error::Refusal;
use super::input::BadInput;
use super::route::{Argument, Part};
use crate::app::App;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use portcullis_oauth::time::Timestamp;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// From when on the record is looked at.
pub(super) struct Since(pub(super) Timestamp);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Period {
    /// Not before this: RFC 3339, or how long ago, such as `7d` or `12h`. Default: `7d`.
    since: Option<String>,
}

impl FromRequestParts<Arc<App>> for Since {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Query(period) = Query::<Period>::try_from_uri(&parts.uri)
            .map_err(|error| BadInput::Malformed(error.body_text()))?;
        Ok(Self(moment(period.since.as_deref().unwrap_or("7d"), app.clock.now())?))
    }
}

impl Argument for Since {
    fn part(schemas: &mut SchemaGenerator) -> Option<Part> {
        Some(Part::Query(Period::json_schema(schemas)))
    }
}

/// RFC 3339, or a number with `s`, `m`, `h` or `d`: so long before now.
pub(super) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, BadInput> {
    let unit = |text: &str| match text {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let ago = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, last)| {
        let number: u64 = number.parse().ok()?;
        Some(now - Duration::from_secs(number.checked_mul(unit(last)?)?))
    });
    let written =
        || text.parse().ok().map(|moment: jiff::Timestamp| Timestamp::from_seconds(moment.as_second()));
    ago.or_else(written).ok_or_else(|| {
        BadInput::Malformed(format!(
            "{text:?} is no time such as 2026-11-20T12:00:00Z, and no age such as 7d"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_an_age() {
        let now = Timestamp::from_seconds(1_000_000);
        let of = |text: &str| moment(text, now).ok().map(Timestamp::seconds);
        assert_eq!(of("7d"), Some(1_000_000 - 7 * 86_400));
        assert_eq!(of("90s"), Some(999_910));
        assert_eq!(of("1970-01-01T00:01:00Z"), Some(60));
        for bad in ["", "7", "d", "-7d", "7w", "yesterday", "99999999999999999999d", "日"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
