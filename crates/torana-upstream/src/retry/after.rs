//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

/// The wait that a `Retry-After` asks for: whole seconds, or a date that is
/// compared with `wall`. `None` for anything else, which is then as if it were
/// not there; a date in the past is no wait.
#[must_use]
pub fn retry_after(value: &[u8], wall: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Beyond u64 it is for ever in any case.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(date(text)?))?;
    Some(at.duration_since(wall).unwrap_or_default())
}

/// Seconds since the epoch of an HTTP date in any of its three forms (RFC 9110
/// §5.6.7). Years of two digits are from 1970 on. The name of the weekday is
/// not looked at.
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (day, month, year, time) = match text.split_once(", ") {
        // `Sun, 06 Nov 1994 08:49:37 GMT` or `Sunday, 06-Nov-94 08:49:37 GMT`
        Some((_weekday, rest)) => {
            let mut parts = rest.strip_suffix(" GMT")?.splitn(4, [' ', '-']);
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?)
        }
        // `Sun Nov  6 08:49:37 1994`
        None => {
            let mut parts = text.split_ascii_whitespace().skip(1);
            let (month, day, time, year) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() {
                return None;
            }
            (day, month, year, time)
        }
    };
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok())?;
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|known| *known == month)? as u64 + 1;
    let year = match (year.len(), number(year)?) {
        (4, year @ 1970..) => year,
        (2, year @ 70..) => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
    let mut time = time.split(':').map(|part| number(part).filter(|_| part.len() == 2));
    let hours = time.next()?.filter(|hours| *hours < 24)?;
    let minutes = time.next()?.filter(|minutes| *minutes < 60)?;
    // A leap second may be written.
    let seconds = time.next()?.filter(|seconds| *seconds <= 60)?;
    if time.next().is_some() {
        return None;
    }
    // Howard Hinnant's `days_from_civil`, for years after 1970.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, value: &str) -> Option<Duration> {
        retry_after(value.as_bytes(), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn seconds_and_dates() {
        let seconds = |value| Some(Duration::from_secs(value));
        assert_eq!(at(0, "120"), seconds(120));
        assert_eq!(at(0, " 0 "), seconds(0));
        assert_eq!(at(784_111_770, "Sun, 06 Nov 1994 08:49:37 GMT"), seconds(7));
        assert_eq!(at(784_111_770, "Sunday, 06-Nov-94 08:49:37 GMT"), seconds(7));
        assert_eq!(at(784_111_770, "Sun Nov  6 08:49:37 1994"), seconds(7));
        assert_eq!(at(1_700_000_000, "Tuesday, 14-Nov-23 22:13:21 GMT"), seconds(1));
        assert_eq!(at(784_111_999, "Sun, 06 Nov 1994 08:49:37 GMT"), seconds(0), "in the past");
        assert_eq!(at(951_827_600, "Tue, 29 Feb 2000 12:34:56 GMT"), seconds(96));
        assert_eq!(at(4_102_444_700, "Thu, 31 Dec 2099 23:59:59 GMT"), seconds(99));
        assert_eq!(at(0, "Thu, 01 Jan 1970 00:00:00 GMT"), seconds(0));
        assert_eq!(at(0, "99999999999999999999999"), seconds(u64::MAX));
    }

    #[test]
    fn what_is_neither_is_ignored() {
        for bad in [
            "",
            "soon",
            "-1",
            "+1",
            "1.5",
            "1, 2",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun Nov  6 08:49:37",
            "Sun, 06 Nov 194 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994  GMT",
            "Sun, 06 Nov 1994 é8:49:37 GMT",
        ] {
            assert_eq!(at(0, bad), None, "{bad}");
        }
        assert_eq!(retry_after(b"\xff", SystemTime::UNIX_EPOCH), None);
    }
}
