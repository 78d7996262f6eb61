//! Slow start: an endpoint that has just become usable gets its share bit by
//! bit, so that caches fill and compilers warm up before the full load comes.

use super::Load;
use std::time::{Duration, Instant};

/// How an endpoint is brought to its full share.
///
/// Its weight is multiplied by `max(min_weight, (t / window)^(1 / aggression))`
/// where `t` is the time since it became usable: Envoy's `slow_start_config`.
/// HAProxy (`slowstart`) and nginx (`slow_start`) have the linear form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long until the full share; not zero.
    pub window: Duration,
    /// 1 is linear; more rises quickly at first, less rises late. Above zero.
    pub aggression: f64,
    /// The share to begin with, in (0, 1].
    pub min_weight: f64,
}

impl SlowStart {
    /// Linear over this window, from a tenth: what Envoy does unless told
    /// otherwise.
    #[must_use]
    pub const fn new(window: Duration) -> SlowStart {
        SlowStart { window, aggression: 1.0, min_weight: 0.1 }
    }

    /// The share of its weight that an endpoint gets, in parts of
    /// [`Share::FULL`]. One comparison unless the endpoint is new; a new one
    /// costs a power.
    #[inline]
    pub(super) fn share(&self, load: &Load, now: Instant) -> Share {
        match load.usable_since() {
            None => Share::FULL,
            Some(since) => self.rising(load, since, now),
        }
    }

    #[cold]
    fn rising(&self, load: &Load, since: Instant, now: Instant) -> Share {
        let age = now.saturating_duration_since(since);
        if age >= self.window {
            load.has_started();
            return Share::FULL;
        }
        let linear = age.as_secs_f64() / self.window.as_secs_f64();
        let risen =
            if self.aggression.to_bits() == 1.0_f64.to_bits() { linear } else { linear.powf(self.aggression.recip()) };
        Share::of(risen.max(self.min_weight))
    }
}

/// A part of a whole, in steps of 1/65,536; never nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u32);

impl Share {
    pub(super) const FULL: Share = Share(1 << 16);

    fn of(fraction: f64) -> Share {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 65,536")]
        let parts = (fraction * f64::from(Share::FULL.0)).clamp(1.0, f64::from(Share::FULL.0)) as u32;
        Share(parts)
    }

    /// This part of a weight, in 65,536ths.
    pub(super) fn of_weight(self, weight: u16) -> u64 {
        u64::from(weight) * u64::from(self.0)
    }

    /// Whether a coin with this chance of heads shows heads.
    pub(super) fn wins(self, random: &mut impl FnMut() -> u64) -> bool {
        self == Share::FULL || random() >> 48 < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(slow_start: SlowStart, age: Duration) -> f64 {
        let start = Instant::now();
        let load = Load::joining(start);
        f64::from(slow_start.share(&load, start + age).0) / 65_536.0
    }

    #[test]
    fn the_share_rises_as_envoy_s_does() {
        let linear = SlowStart::new(Duration::from_secs(60));
        let quick = SlowStart { aggression: 2.0, ..linear };
        let late = SlowStart { aggression: 0.5, ..linear };
        for seconds in 0..=60_u32 {
            let age = Duration::from_secs(seconds.into());
            let x = f64::from(seconds) / 60.0;
            for (config, expected) in [(linear, x), (quick, x.sqrt()), (late, x * x)] {
                let (is, expected) = (share(config, age), expected.max(0.1));
                assert!((is - expected).abs() < 2e-5, "{config:?} after {seconds} s: {is} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_warm_endpoint_is_not_slowed() {
        let slow_start = SlowStart::new(Duration::from_secs(10));
        let now = Instant::now();
        assert_eq!(slow_start.share(&Load::new(), now), Share::FULL);
        let load = Load::joining(now);
        assert_ne!(slow_start.share(&load, now), Share::FULL);
        assert_eq!(slow_start.share(&load, now + Duration::from_secs(10)), Share::FULL);
        assert_eq!(load.usable_since(), None, "forgotten once it is over");
        load.recover(now);
        assert_ne!(slow_start.share(&load, now), Share::FULL);
    }
}
