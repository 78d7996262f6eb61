//! Dates without a calendar library.

use std::time::{Duration, SystemTime};

/// Appends `time` as RFC 3339 in UTC with milliseconds:
/// `2026-11-22T06:48:23.042Z`. Times before 1970 are written as 1970.
pub(super) fn write_rfc3339(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = date(since.as_secs() / 86_400);
    let seconds = since.as_secs() % 86_400;
    digits(year, 4, out);
    for (separator, value) in
        [(b'-', month), (b'-', day), (b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)]
    {
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

/// The civil date of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`, for days since the epoch).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
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
