//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The longest wait before the first retry; it doubles from one to the
    /// next.
    pub base: Duration,
    /// The longest wait before any.
    pub max: Duration,
}

impl Backoff {
    /// 25 ms, up to 250 ms, as Envoy has it.
    pub const DEFAULT: Backoff = Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) };

    /// The longest wait before the retry that follows `retries` others.
    #[must_use]
    pub fn ceiling(self, retries: u32) -> Duration {
        self.base.saturating_mul(1u32.checked_shl(retries).unwrap_or(u32::MAX)).min(self.max)
    }

    /// A wait: evenly from nothing to the ceiling, which is not reached.
    pub fn draw(self, retries: u32, random: &mut impl FnMut() -> u64) -> Duration {
        let nanos = u64::try_from(self.ceiling(retries).as_nanos()).unwrap_or(u64::MAX);
        #[allow(clippy::cast_possible_truncation, reason = "the upper half of the product of two u64 is one")]
        let drawn = ((u128::from(random()) * u128::from(nanos)) >> 64) as u64;
        Duration::from_nanos(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::trace::IdSource;

    #[test]
    fn ceilings_double_up_to_the_maximum() {
        let millis: Vec<u128> = (0..6).map(|retries| Backoff::DEFAULT.ceiling(retries).as_millis()).collect();
        assert_eq!(millis, [25, 50, 100, 200, 250, 250]);
        assert_eq!(Backoff::DEFAULT.ceiling(u32::MAX), Backoff::DEFAULT.max);
        let huge = Backoff { base: Duration::MAX, max: Duration::MAX };
        assert!(huge.draw(40, &mut || u64::MAX) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn draws_stay_below_the_ceiling() {
        assert_eq!(Backoff::DEFAULT.draw(0, &mut || 0), Duration::ZERO);
        assert_eq!(Backoff::DEFAULT.draw(0, &mut || u64::MAX), Duration::from_nanos(24_999_999));
        let none = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(none.draw(3, &mut || u64::MAX), Duration::ZERO);
    }

    /// Ten thousand clients fail in the same instant: their retries spread
    /// evenly over the whole interval instead of arriving together.
    #[test]
    fn a_herd_is_spread_out() {
        let mut source = IdSource::new(1);
        let mut random = || source.next();
        for retries in 0..5 {
            let ceiling = Backoff::DEFAULT.ceiling(retries).as_nanos();
            let mut slots = [0u32; 20];
            for _ in 0..10_000 {
                let drawn = Backoff::DEFAULT.draw(retries, &mut random).as_nanos();
                slots[usize::try_from(drawn * 20 / ceiling).unwrap()] += 1;
            }
            // 500 expected in each; five standard deviations are 109.
            assert!(slots.iter().all(|count| (391..=609).contains(count)), "{slots:?}");
        }
    }
}
