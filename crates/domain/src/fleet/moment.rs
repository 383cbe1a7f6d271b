//! Moments in a fleet file: a date, or a date with time and offset (RFC 3339). The calendar is jiff's.

use super::raw::RawMoment;
use jiff::tz::{Offset, TimeZone};
use portcullis_oauth::time::Timestamp;

/// What may be written.
pub(super) const HINT: &str =
    "a date like 2027-01-31, at the beginning of which it ends in UTC, or a moment like 2027-01-31T18:00:00Z";

/// The moment; a date is its beginning in UTC. `None`: neither, or a time without an offset, which is a different moment
/// for everybody.
pub(super) fn read(raw: &RawMoment) -> Option<Timestamp> {
    let text = match raw {
        RawMoment::Date(date) => date.to_string(),
        RawMoment::Text(text) => text.clone(),
    };
    let moment = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment,
        // A date has no other reading; a time without offset must not become one.
        Err(_) if text.len() == "2027-01-31".len() => {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            date.to_zoned(TimeZone::fixed(Offset::UTC)).ok()?.timestamp()
        }
        Err(_) => return None,
    };
    Some(Timestamp::from_seconds(moment.as_second()))
}

/// As it stands in a file.
pub(super) fn written(moment: Timestamp) -> String {
    jiff::Timestamp::from_second(moment.seconds()).map(|moment| moment.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adm_a_moment_has_one_reading_or_none() {
        let read = |text: &str| read(&RawMoment::Text(text.to_owned())).map(Timestamp::seconds);
        assert_eq!(read("2027-01-31"), Some(1_801_353_600));
        assert_eq!(read("2027-01-31T00:00:00Z"), Some(1_801_353_600));
        assert_eq!(read("2027-01-31T02:00:00+02:00"), Some(1_801_353_600));
        for bad in
            ["2027-01-31T00:00:00", "2027-02-30", "2027-1-31", "31.01.2027", "tomorrow", "", "12:00:00"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        let end = Timestamp::from_seconds(1_801_353_600);
        assert_eq!(written(end), "2027-01-31T00:00:00Z");
    }
}
