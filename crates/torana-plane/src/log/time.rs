//! Times as the log writes them.

use std::time::{Duration, SystemTime};
use torana_core::civil::Date;

/// Appends `time` as RFC 3339 in UTC with milliseconds:
/// `2026-11-22T06:48:23.042Z`. Times before 1970 are written as 1970.
pub(super) fn write_rfc3339(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let date = Date::from_days(i64::try_from(since.as_secs() / 86_400).unwrap_or(i64::MAX));
    let seconds = since.as_secs() % 86_400;
    digits(date.year.into(), 4, out);
    for (separator, value) in [
        (b'-', date.month.into()),
        (b'-', date.day.into()),
        (b'T', seconds / 3600),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        out.push(separator);
        digits(value, 2, out);
    }
    out.push(b'.');
    digits(u64::from(since.subsec_millis()), 3, out);
    out.push(b'Z');
}

/// Appends `duration` in milliseconds with three decimals: microseconds.
pub(super) fn write_millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    out.extend_from_slice(itoa::Buffer::new().format(micros / 1000).as_bytes());
    out.push(b'.');
    digits(micros % 1000, 3, out);
}

/// The last `count` decimal digits of `value`.
fn digits(value: u64, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b"0123456789"[(value / 10u64.pow(place) % 10) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, millis: u32) -> String {
        let mut out = Vec::new();
        write_rfc3339(SystemTime::UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        // Checked with `date -u -d @…`.
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_795_330_103, 42), "2026-11-22T06:48:23.042Z");
        assert_eq!(at(4_102_444_799, 999), "2099-12-31T23:59:59.999Z");
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        let mut out = Vec::new();
        write_millis(Duration::from_micros(1_234_005), &mut out);
        assert_eq!(out, b"1234.005");
    }
}
