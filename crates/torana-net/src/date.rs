//! The `Date` field (RFC 9110 §5.6.7), rendered once a second per thread.

use std::cell::Cell;
use std::time::SystemTime;

thread_local! {
    static DATE: Cell<(u64, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// Brings the date up to now. Called by the worker's sweep.
pub fn refresh(wall: SystemTime) {
    let seconds = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with(|date| {
        if date.get().0 != seconds {
            date.set((seconds, render(seconds)));
        }
    });
}

/// The value of `Date`.
#[must_use]
pub fn value() -> [u8; 29] {
    DATE.with(|date| {
        if date.get().0 == 0 {
            refresh(SystemTime::now());
        }
        date.get().1
    })
}

/// IMF-fixdate of a Unix time. Civil date by Howard Hinnant's
/// `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn render(seconds: u64) -> [u8; 29] {
    const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let name = |table: &[u8], index: u64| -> [u8; 3] {
        let at = usize::try_from(index).unwrap_or(0) * 3;
        [table[at], table[at + 1], table[at + 2]]
    };
    text[0..3].copy_from_slice(&name(DAYS, days % 7));
    digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(&name(MONTHS, month - 1));
    digits(&mut text[12..16], year);
    digits(&mut text[17..19], time / 3_600);
    digits(&mut text[20..22], time / 60 % 60);
    digits(&mut text[23..25], time % 60);
    text
}

fn digits(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&render(seconds)).unwrap(), text);
        }
    }
}
