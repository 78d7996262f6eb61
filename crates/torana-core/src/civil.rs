//! Dates of the Gregorian calendar, without a calendar library.
//!
//! The arithmetic is Howard Hinnant's (`civil_from_days`, `days_from_civil`;
//! <https://howardhinnant.github.io/date_algorithms.html>): years begin in
//! March, so that the leap day is a year's last, and 400 of them, an era,
//! always have the same number of days.

use std::fmt;

/// Seconds of a day. Leap seconds are not counted (POSIX).
pub const DAY: u64 = 86_400;

/// Days of 400 years.
const ERA: i64 = 146_097;

/// From 0000-03-01, where the first era begins, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// A date of the years 0 to 9999: what the formats that dates are written in
/// have room for. Prints as `2026-11-22`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Date {
    /// 0000-01-01.
    pub const FIRST: Date = Date { year: 0, month: 1, day: 1 };
    /// 9999-12-31.
    pub const LAST: Date = Date { year: 9999, month: 12, day: 31 };

    /// The date so many days after 1970-01-01; [`FIRST`](Date::FIRST) or
    /// [`LAST`](Date::LAST) for days beyond them.
    #[must_use]
    pub const fn from_days(days: i64) -> Date {
        if days < Date::FIRST.days() {
            return Date::FIRST;
        }
        if days > Date::LAST.days() {
            return Date::LAST;
        }
        let shifted = days + EPOCH;
        let (era, day_of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March.
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
        #[allow(clippy::cast_possible_truncation, reason = "0 to 9999, 1 to 12 and 1 to 31")]
        Date { year: year as u16, month: month as u8, day: day as u8 }
    }

    /// Days from 1970-01-01 to this date. A day that the month does not have
    /// counts on into the next one.
    #[must_use]
    pub const fn days(self) -> i64 {
        let month = self.month as i64;
        let year = self.year as i64 - if month <= 2 { 1 } else { 0 };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + self.day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * ERA + day_of_era - EPOCH
    }
}

/// The moment so many seconds after 1970-01-01 as messages have it,
/// IMF-fixdate (RFC 9110 §5.6.7).
#[must_use]
pub fn http_date(seconds: u64) -> [u8; 29] {
    const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, time) = (seconds / DAY, seconds % DAY);
    let date = Date::from_days(i64::try_from(days).unwrap_or(i64::MAX));
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let name = |table: &[u8], index: u64| -> [u8; 3] {
        let at = usize::try_from(index).unwrap_or(0) * 3;
        [table[at], table[at + 1], table[at + 2]]
    };
    text[0..3].copy_from_slice(&name(DAYS, days % 7));
    digits(&mut text[5..7], date.day.into());
    text[8..11].copy_from_slice(&name(MONTHS, u64::from(date.month) - 1));
    digits(&mut text[12..16], date.year.into());
    digits(&mut text[17..19], time / 3_600);
    digits(&mut text[20..22], time / 60 % 60);
    digits(&mut text[23..25], time % 60);
    text
}

/// The moment a date in a message means, in seconds after 1970-01-01: the form
/// that is written today and the two that have to be understood (RFC 9110
/// §5.6.7). `None` for anything else, and for what lies before 1970.
#[must_use]
pub fn parse_http_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.trim_ascii().split([' ', ',']).filter(|part| !part.is_empty());
    let (weekday, second) = (parts.next()?, parts.next()?);
    if !weekday.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (day, month, year, time) = if let Some((day, rest)) = second.split_once('-') {
        // `Sunday, 06-Nov-94 08:49:37 GMT`
        let (month, year) = rest.split_once('-')?;
        (day, month, year, parts.next()?)
    } else if second.bytes().all(|byte| byte.is_ascii_digit()) {
        // `Sun, 06 Nov 1994 08:49:37 GMT`
        (second, parts.next()?, parts.next()?, parts.next()?)
    } else {
        // `Sun Nov  6 08:49:37 1994`
        let (day, time) = (parts.next()?, parts.next()?);
        let date = seconds_of(number(parts.next()?, 4)?, second, day, time);
        return if parts.next().is_none() { date } else { None };
    };
    let year = if year.len() == 2 { century(number(year, 2)?) } else { number(year, 4)? };
    let is_gmt = parts.next()?.eq_ignore_ascii_case("GMT");
    if is_gmt && parts.next().is_none() { seconds_of(year, month, day, time) } else { None }
}

/// The year of two digits. What looks more than fifty years ahead lies behind
/// (RFC 9110 §5.6.7); measured from the middle of what people now write.
const fn century(year: u16) -> u16 {
    if year < 77 { 2000 + year } else { 1900 + year }
}

fn seconds_of(year: u16, month: &str, day: &str, time: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))? + 1;
    let day = number(day, 2)?;
    let date = Date { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
    let mut time = time.split(':');
    let mut next = |below: u16| number(time.next()?, 2).filter(|value| *value < below);
    // A leap second is the second after (RFC 9110 §5.6.7 has it as 60).
    let (hours, minutes, seconds) = (next(24)?, next(60)?, next(61)?);
    if time.next().is_some() || Date::from_days(date.days()) != date {
        return None;
    }
    let days = u64::try_from(date.days()).ok()?;
    Some(days * DAY + u64::from(hours) * 3_600 + u64::from(minutes) * 60 + u64::from(seconds))
}

/// A number of at most so many digits.
fn number(text: &str, digits: usize) -> Option<u16> {
    let is_number = !text.is_empty() && text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calendar as it is taught.
    fn month_length(year: u16, month: u8) -> u8 {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    #[test]
    fn every_day_of_ten_thousand_years() {
        let mut days = -719_528;
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=month_length(year, month) {
                    let date = Date { year, month, day };
                    assert!(Date::from_days(days) == date && date.days() == days, "{date} is not day {days}");
                    days += 1;
                }
            }
        }
        assert_eq!(days - 1, Date::LAST.days());
    }

    #[test]
    fn known_days() {
        // `date -u -d 2026-11-22 +%s` / 86400, and so on.
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("1900-03-01", -25_508),
            ("2000-02-29", 11_016),
            ("2026-11-22", 20_779),
            ("2100-03-01", 47_541),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(Date::from_days(days).to_string(), text);
        }
    }

    #[test]
    fn known_dates_of_messages() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&http_date(seconds)).unwrap(), text);
        }
    }

    #[test]
    fn dates_of_messages_are_read_in_all_three_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "SUN, 06 NOV 1994 08:49:37 gmt",
        ] {
            assert_eq!(parse_http_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for seconds in (0..4_102_444_800).step_by(86_399 * 7) {
            assert_eq!(parse_http_date(&http_date(seconds)), Some(seconds));
        }
        assert_eq!(parse_http_date(b"Thu, 18 Aug 50 02:01:18 GMT"), parse_http_date(b"Thu, 18 Aug 2050 02:01:18 GMT"));
    }

    #[test]
    fn what_is_no_date_of_a_message_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
            "06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn days_out_of_range_are_the_nearest_in_it() {
        assert_eq!(Date::from_days(i64::MIN), Date::FIRST);
        assert_eq!(Date::from_days(Date::LAST.days() + 1), Date::LAST);
        assert_eq!(Date::from_days(i64::MAX), Date::LAST);
    }

    #[test]
    fn a_day_too_many_is_the_next_month_s() {
        assert_eq!(Date { year: 2026, month: 2, day: 30 }.days(), Date { year: 2026, month: 3, day: 2 }.days());
    }
}
