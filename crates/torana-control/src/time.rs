//! Points in time as people and programs read them.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-03-01T12:00:00Z` (RFC 3339, UTC, whole seconds). The civil date is
/// Howard Hinnant's `civil_from_days`.
///
/// `torana_core::civil` has the same. But the control plane depends on no crate
/// of ours, so that everything it does with the gateway goes through the traits
/// of [`running`](crate::running), and one date is not worth the first arrow.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn every_day_of_two_hundred_years() {
        let mut day_of_epoch = 0;
        for year in 1970..2170_u32 {
            let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    let noon = UNIX_EPOCH + Duration::from_secs(day_of_epoch * 86_400 + 43_200);
                    assert_eq!(rfc3339(noon), format!("{year}-{month:02}-{day:02}T12:00:00Z"));
                    day_of_epoch += 1;
                }
            }
        }
    }
}
