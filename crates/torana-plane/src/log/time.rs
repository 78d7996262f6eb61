//! Times as the log writes them.

use crate::json::{Out, push_number};
use std::time::{Duration, SystemTime};
use torana_core::civil::{DAY, Date};

/// A second of the wall clock as the log writes it, kept for all lines of that
/// second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    /// Seconds since 1970, and `2026-11-22T06:48:23.`.
    written: Option<(u64, [u8; 20])>,
}

impl Stamp {
    /// Appends `time` as RFC 3339 in UTC with milliseconds:
    /// `2026-11-22T06:48:23.042Z`. Times before 1970 are written as 1970.
    #[inline(always)]
    pub(super) fn write<W: Out>(&mut self, time: SystemTime, out: W) -> W {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        let text = match self.written {
            Some((known, text)) if known == second => text,
            _ => self.written.insert((second, stamp(second))).1,
        };
        out.put(&text).put(&thousandths(since.subsec_millis().into())).put(b"Z")
    }
}

#[cold]
fn stamp(second: u64) -> [u8; 20] {
    let date = Date::from_days(i64::try_from(second / DAY).unwrap_or(i64::MAX));
    let time = second % DAY;
    let mut text = *b"0000-00-00T00:00:00.";
    for (place, value) in [
        (0, u64::from(date.year) / 100),
        (2, u64::from(date.year) % 100),
        (5, date.month.into()),
        (8, date.day.into()),
        (11, time / 3600),
        (14, time / 60 % 60),
        (17, time % 60),
    ] {
        text[place] = digit(value / 10);
        text[place + 1] = digit(value);
    }
    text
}

/// All of `duration` in nanoseconds: more than five hundred years are that.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

/// Appends microseconds as milliseconds with three decimals.
#[inline(always)]
pub(super) fn write_millis<W: Out>(micros: u64, out: W) -> W {
    push_number(micros / 1000, out).put(b".").put(&thousandths(micros % 1000))
}

/// Three digits.
const fn thousandths(value: u64) -> [u8; 3] {
    [digit(value / 100), digit(value / 10), digit(value)]
}

/// The last one.
const fn digit(value: u64) -> u8 {
    b"0123456789"[(value % 10) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, millis: u32) -> String {
        let (mut out, mut stamp) = (Vec::new(), Stamp::default());
        // The second time it is remembered.
        for _ in 0..2 {
            out.clear();
            stamp.write(SystemTime::UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000), &mut out);
        }
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
    fn another_second_is_written_anew() {
        let (mut out, mut stamp) = (Vec::new(), Stamp::default());
        for second in [0, 1, 0] {
            stamp.write(SystemTime::UNIX_EPOCH + Duration::from_secs(second), &mut out);
        }
        assert_eq!(out, b"1970-01-01T00:00:00.000Z1970-01-01T00:00:01.000Z1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        for (micros, text) in [(1_234_005, "1234.005"), (9_999, "9.999"), (0, "0.000"), (10_010, "10.010")] {
            let mut out = Vec::new();
            write_millis(nanos(Duration::from_micros(micros)) / 1000, &mut out);
            assert_eq!(out, text.as_bytes());
        }
        let powers = (0..20).map(|power| 10_u64.pow(power));
        for micros in
            powers.flat_map(|power| [power - 1, power, power.saturating_mul(9).saturating_add(7), u64::MAX - power])
        {
            let mut out = Vec::new();
            write_millis(micros, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{}.{:03}", micros / 1000, micros % 1000));
        }
    }
}
