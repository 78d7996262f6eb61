//! When a breaker opens, for how long, and how it closes again.

use std::time::Duration;
use torana_core::units::Percent;

/// A breaker as compiled. Triggers that are absent are off; any that is met
/// opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSpec {
    /// Opens after so many failures in a row.
    pub failures: Option<u32>,
    /// Opens when at least this share of the window failed.
    pub failure_ratio: Option<Percent>,
    /// Opens when at least this share of the window was slow.
    pub slow: Option<SlowSpec>,
    /// How far back the shares look, a tenth of it more or less; at least
    /// 100 ms.
    pub window: Duration,
    /// Below so many requests in the window no share is looked at: the first
    /// failure is not "100 %". At most 30 000.
    pub min_requests: u32,
    /// How long the first opening lasts.
    pub open_for: Duration,
    /// Openings that follow each other last twice as long each, up to this.
    pub open_for_max: Duration,
    /// How many requests are let through to judge whether the upstream is
    /// back; all of them must succeed. At least 1.
    pub probes: u16,
    /// How long the share of admitted requests grows after that; zero: all
    /// come back at once.
    pub recovery: Duration,
}

/// When a request is slow, and how many may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowSpec {
    /// A reply head that took longer than this was slow, whatever it said.
    pub over: Duration,
    /// Opens when at least this share of the window was slow.
    pub ratio: Percent,
}

impl BreakerSpec {
    /// What is not written: no trigger, a window of 10 s with at least 20
    /// requests (Hystrix and Cosmo), open for 30 s (S3's 30000; Envoy's
    /// ejection) up to 5 minutes (APISIX, Envoy), 3 probes, 10 s of recovery
    /// (Traefik).
    pub const DEFAULT: BreakerSpec = BreakerSpec {
        failures: None,
        failure_ratio: None,
        slow: None,
        window: Duration::from_secs(10),
        min_requests: 20,
        open_for: Duration::from_secs(30),
        open_for_max: Duration::from_secs(300),
        probes: 3,
        recovery: Duration::from_secs(10),
    };

    /// Whether anything can open it. One that nothing can open is a mistake
    /// that the configuration should name.
    #[must_use]
    pub const fn has_trigger(&self) -> bool {
        self.failures.is_some() || self.failure_ratio.is_some() || self.slow.is_some()
    }

    /// Whether it needs to remember a window.
    pub(super) const fn needs_window(&self) -> bool {
        self.failure_ratio.is_some() || self.slow.is_some()
    }

    /// How long the opening lasts that follows `streak` others.
    pub(super) fn open_for(&self, streak: u32) -> Duration {
        let longest = self.open_for_max.max(self.open_for);
        self.open_for.saturating_mul(1u32.checked_shl(streak).unwrap_or(u32::MAX)).min(longest)
    }
}

impl Default for BreakerSpec {
    fn default() -> Self {
        BreakerSpec::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_double_up_to_the_cap() {
        let spec = BreakerSpec::DEFAULT;
        let seconds: Vec<u64> = (0..6).map(|streak| spec.open_for(streak).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 120, 240, 300, 300]);
        assert_eq!(spec.open_for(40), Duration::from_secs(300));
        let long = BreakerSpec { open_for: Duration::from_secs(600), ..BreakerSpec::DEFAULT };
        assert_eq!(long.open_for(3), Duration::from_secs(600), "a cap below the first opening does not shorten it");
    }
}
