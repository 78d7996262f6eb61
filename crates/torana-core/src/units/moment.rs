//! Dates and times of day.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::{self, Deserialize, Deserializer};

use super::{found, text_scalar};
use crate::civil::{self, DAY, Date};
use crate::diagnostic::Misfit;

pub(super) const FORMAT: &str = "torana-moment";
pub(super) const EXPECTED: &str = "a date such as `2026-12-31`, or a time such as `2026-12-31T18:00:00Z`";

/// 9999-12-31.
const LAST_DAY: u64 = Date::LAST.days().unsigned_abs();

/// A moment as text (RFC 3339): a date, which begins at midnight UTC, or a date and a time of day
/// with a time zone, to the second.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

text_scalar!(Moment, "Moment", {
    "type": "string",
    "format": "torana-moment",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))?$",
    "description": "A date, which begins at midnight UTC, or a date and a time of day with its time zone.",
    "examples": ["2026-12-31", "2026-12-31T18:00:00Z", "2026-12-31T18:00:00+01:00"],
    "x-torana-expects": "a date such as `2026-12-31`, or a time such as `2026-12-31T18:00:00Z`"
});

impl Moment {
    /// Seconds since 1970, UTC.
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    #[must_use]
    pub fn system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0)
    }

    /// As messages have it (RFC 9110 §5.6.7).
    #[must_use]
    pub fn http_date(self) -> [u8; 29] {
        civil::http_date(self.0)
    }
}

impl FromStr for Moment {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit = |which: &str| Misfit::new(EXPECTED, found(text, which));
        if text.is_empty() {
            return Err(Misfit::new(EXPECTED, "nothing"));
        }
        let (date, rest) = text.split_at_checked(10).ok_or_else(|| misfit("which is no date"))?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2]).ok_or_else(|| misfit("which is no date"))?;
        if year < 1970 {
            return Err(misfit("which is before 1970"));
        }
        let days = days(year, month, day).ok_or_else(|| misfit("which is not in the calendar"))?;
        if rest.is_empty() {
            return Ok(Moment(days * DAY));
        }
        let (time, zone) = rest
            .strip_prefix('T')
            .and_then(|rest| rest.split_at_checked(8))
            .ok_or_else(|| misfit("whose end is no time of day"))?;
        let [hours, minutes, seconds] =
            numbers(time, ':', [2, 2, 2]).ok_or_else(|| misfit("whose end is no time of day"))?;
        if hours > 23 || minutes > 59 || seconds > 59 {
            return Err(misfit("whose time is on no clock"));
        }
        let local = days * DAY + hours * 3600 + minutes * 60 + seconds;
        let utc = match zone {
            "Z" => Some(local),
            "" => return Err(misfit("which has no time zone").hint(format!("write `{text}Z` for UTC"))),
            zone => {
                let (sign, offset) = zone.split_at_checked(1).ok_or_else(|| misfit("whose time zone is none"))?;
                let offset = numbers(offset, ':', [2, 2]).filter(|[hours, minutes]| *hours < 24 && *minutes < 60);
                let offset = offset.map(|[hours, minutes]| hours * 3600 + minutes * 60);
                match (sign, offset) {
                    (".", _) => return Err(misfit("which has a fraction").hint("seconds are the finest there is")),
                    ("+", Some(offset)) => local.checked_sub(offset),
                    ("-", Some(offset)) => local.checked_add(offset),
                    _ => return Err(misfit("whose time zone is none").hint("`Z` is UTC, `+01:00` an hour before it")),
                }
            }
        };
        let utc = utc.ok_or_else(|| misfit("which is before 1970"))?;
        // Where the time zone makes it another year.
        if utc / DAY > LAST_DAY {
            return Err(misfit("which is after 9999"));
        }
        Ok(Moment(utc))
    }
}

/// Days since 1970-01-01, of a date that is in the calendar and not before.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month, day) = (year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?);
    let date = Date { year, month, day };
    // A day that the month does not have is one of the next.
    let is_real = (1..=12).contains(&month) && day > 0 && Date::from_days(date.days()) == date;
    u64::try_from(date.days()).ok().filter(|_| is_real)
}

/// Numbers of so many digits with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Date::from_days(i64::try_from(self.0 / DAY).unwrap_or(i64::MAX)).fmt(f)?;
        match self.0 % DAY {
            0 => Ok(()),
            time => write!(f, "T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, String> {
        text.parse::<Moment>().map(Moment::unix).map_err(|misfit| misfit.found)
    }

    #[test]
    fn dates_and_times() {
        // Checked with `date -u -d … +%s`.
        assert_eq!(parse("1970-01-01"), Ok(0));
        assert_eq!(parse("2018-12-31T23:59:59Z"), Ok(1_546_300_799));
        assert_eq!(parse("2026-12-31"), Ok(1_798_675_200));
        assert_eq!(parse("2026-12-31T18:00:00+01:00"), parse("2026-12-31T17:00:00Z"));
        assert_eq!(parse("2026-12-31T18:00:00-05:30"), parse("2026-12-31T23:30:00Z"));
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, why) in [
            ("31.12.2026", "which is no date"),
            ("2026-12-3", "which is no date"),
            ("2026-1-31x", "which is no date"),
            ("2026-12-+1", "which is no date"),
            ("日本日本日本", "which is no date"),
            ("2026-02-29", "which is not in the calendar"),
            ("1969-12-31", "which is before 1970"),
            ("1970-01-01T00:00:00+01:00", "which is before 1970"),
            ("9999-12-31T23:59:59-00:01", "which is after 9999"),
            ("2026-12-31 18:00:00Z", "whose end is no time of day"),
            ("2026-12-31T18:00Z", "whose end is no time of day"),
            ("2026-12-31T24:00:00Z", "whose time is on no clock"),
            ("2026-12-31T18:00:60Z", "whose time is on no clock"),
            ("2026-12-31T18:00:00", "which has no time zone"),
            ("2026-12-31T18:00:00.5Z", "which has a fraction"),
            ("2026-12-31T18:00:00+1", "whose time zone is none"),
            ("2026-12-31T18:00:00+99:00", "whose time zone is none"),
            ("2026-12-31T18:00:00 CET", "whose time zone is none"),
        ] {
            assert_eq!(parse(text), Err(format!("`{text}`, {why}")));
        }
        assert_eq!(parse(""), Err("nothing".to_owned()));
        let hint = "2026-12-31T18:00:00".parse::<Moment>().unwrap_err().hint;
        assert_eq!(hint.as_deref(), Some("write `2026-12-31T18:00:00Z` for UTC"));
    }

    #[test]
    fn printing_and_parsing_agree() {
        for text in ["1970-01-01", "2026-12-31", "2026-12-31T18:00:01Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
    }
}
