//! Times of the week in a place: `07:00-19:00 Europe/Amsterdam`, `Mon-Fri 22:00-06:00 UTC`.

use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use portcullis_oauth::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const DAY: u16 = 24 * 60;
const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// From a minute of the day up to another, on some days of the week, by the clocks of a place. The end is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As written.
    text: String,
    /// From Monday on: whether one begins on this day.
    days: [bool; 7],
    /// Minutes from midnight.
    start: u16,
    /// Before `start`: on the next day.
    end: u16,
    zone: TimeZone,
}

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// Not a day or days.
    #[error("days are written as Mon-Fri or Sat,Sun")]
    Days,
    /// It would be nothing, or everything.
    #[error("begins when it ends: a whole day is 00:00-24:00")]
    Empty,
    /// Another number of parts.
    #[error("write it as \"07:00-19:00 Europe/Amsterdam\", with Mon-Fri before it for some days only")]
    Form,
    /// Not two times.
    #[error("times are written as 07:00-19:00, from 00:00 to 24:00")]
    Times,
    /// Not a name of the time zone database.
    #[error("there is no time zone {0:?}: use a name such as Europe/Amsterdam, or UTC")]
    Zone(String),
}

impl Window {
    /// Whether the moment is inside; `None` when it lies beyond all calendars.
    pub(super) fn contains(&self, moment: Timestamp) -> Option<bool> {
        let moment = jiff::Timestamp::from_second(moment.seconds()).ok()?;
        let local = self.zone.to_datetime(moment);
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).ok()?;
        let today = usize::try_from(local.weekday().to_monday_zero_offset()).ok()?;
        let begins_today = self.days.get(today)?;
        let began_yesterday = self.days.get((today + 6) % 7)?;
        Some(if self.start < self.end {
            *begins_today && (self.start..self.end).contains(&minute)
        } else {
            (*begins_today && minute >= self.start) || (*began_yesterday && minute < self.end)
        })
    }
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let parts: Vec<&str> = text.split(' ').collect();
        let (days, times, zone) = match *parts.as_slice() {
            [times, zone] => ([true; 7], times, zone),
            [days, times, zone] => (days_of(days).ok_or(InvalidWindow::Days)?, times, zone),
            _ => return Err(InvalidWindow::Form),
        };
        let (start, end) = times.split_once('-').ok_or(InvalidWindow::Times)?;
        let (start, end) = minute_of(start).zip(minute_of(end)).ok_or(InvalidWindow::Times)?;
        if start == DAY {
            return Err(InvalidWindow::Times);
        }
        if start == end {
            return Err(InvalidWindow::Empty);
        }
        // The bundled rules: the same on every machine, whatever it has installed.
        let known = TimeZoneDatabase::bundled().get(zone).ok().filter(|known| !known.is_unknown());
        let zone = known.ok_or_else(|| InvalidWindow::Zone(zone.to_owned()))?;
        Ok(Self { text: text.to_owned(), days, start, end, zone })
    }
}

fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|(known, _)| *known == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            *days.get_mut(at)? = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

/// `HH:MM`, up to `24:00`.
fn minute_of(text: &str) -> Option<u16> {
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())?
    };
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(window: &str, moment: &str) -> bool {
        let moment: jiff::Timestamp = moment.parse().unwrap();
        window.parse::<Window>().unwrap().contains(Timestamp::from_seconds(moment.as_second())).unwrap()
    }

    #[test]
    fn pc_24_the_end_is_outside_and_the_zone_counts() {
        let office = "07:00-19:00 Europe/Amsterdam";
        assert!(!inside(office, "2026-01-15T05:59:59Z") && inside(office, "2026-01-15T06:00:00Z"));
        assert!(inside(office, "2026-01-15T17:59:59Z") && !inside(office, "2026-01-15T18:00:00Z"));
    }

    #[test]
    fn pc_24_summer_time_moves_the_window_with_the_clocks() {
        let office = "07:00-19:00 Europe/Amsterdam";
        assert!(!inside(office, "2026-03-28T05:30:00Z"), "06:30, the day before the clocks change");
        assert!(inside(office, "2026-03-29T05:30:00Z"), "07:30, the day that they change");
        assert!(inside(office, "2026-10-24T05:30:00Z") && !inside(office, "2026-10-25T05:30:00Z"));
        let gap = "02:00-03:00 Europe/Amsterdam";
        assert!(
            !inside(gap, "2026-03-29T00:59:59Z") && !inside(gap, "2026-03-29T01:00:00Z"),
            "an hour that is not there"
        );
        for moment in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(inside(gap, moment), "an hour that is there twice: {moment}");
        }
        assert!(!inside(gap, "2026-10-25T02:00:00Z"));
    }

    #[test]
    fn pc_24_days_are_those_on_which_a_window_begins() {
        let nights = "Mon-Fri 22:00-06:00 UTC";
        assert!(inside(nights, "2026-11-20T23:00:00Z"), "Friday night");
        assert!(inside(nights, "2026-11-21T05:59:00Z"), "is not over on Saturday morning");
        assert!(!inside(nights, "2026-11-21T23:00:00Z") && !inside(nights, "2026-11-23T05:00:00Z"));
        let weekend = "Sat,Sun 00:00-24:00 UTC";
        assert!(inside(weekend, "2026-11-22T23:59:59Z") && !inside(weekend, "2026-11-23T00:00:00Z"));
        let around = "Sun-Mon 00:00-24:00 America/St_Johns";
        assert!(
            inside(around, "2026-11-22T03:30:00Z") && !inside(around, "2026-11-22T03:29:59Z"),
            "half an hour off"
        );
    }

    #[test]
    fn pc_24_what_is_mistyped_is_no_window() {
        let refused = |text: &str| text.parse::<Window>().unwrap_err();
        for text in
            ["", "07:00-19:00", "07:00-19:00  UTC", "Mon 07:00-19:00 Europe Amsterdam", " 07:00-19:00 UTC"]
        {
            assert!(
                matches!(refused(text), InvalidWindow::Form | InvalidWindow::Days | InvalidWindow::Times),
                "{text:?}"
            );
        }
        for times in
            ["7:00-19:00", "07:00", "07:60-19:00", "07:00-24:01", "24:00-07:00", "07.00-19.00", "+7:00-19:00"]
        {
            assert_eq!(refused(&format!("{times} UTC")), InvalidWindow::Times, "{times}");
        }
        assert_eq!(refused("07:00-07:00 UTC"), InvalidWindow::Empty);
        for days in ["mon", "Mon-", "Monday", "Mon,,Tue", ""] {
            assert_eq!(refused(&format!("{days} 07:00-19:00 UTC")), InvalidWindow::Days, "{days}");
        }
        for zone in [
            "Europe/Amsterdm",
            "CEST",
            "+01:00",
            "Etc/Unknown",
            "../etc/passwd",
            "/usr/share/zoneinfo/UTC",
            "",
        ] {
            assert_eq!(refused(&format!("07:00-19:00 {zone}")), InvalidWindow::Zone(zone.into()), "{zone}");
        }
    }
}
