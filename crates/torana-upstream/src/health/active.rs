//! What probes add up to, and when the next one is due. No I/O, no clock.
//!
//! **Hysteresis.** A verdict changes after `unhealthy_threshold` failures or
//! `healthy_threshold` passes *in a row* (Envoy's names; HAProxy's `fall` and
//! `rise`), so an endpoint that answers every other probe keeps the verdict it
//! has instead of dragging its traffic to and fro. The first probe of an
//! endpoint decides at once, either way: there is no verdict yet that would
//! deserve protection (HAProxy's `init-state up`, and the fast first check of
//! Envoy).
//!
//! | | ours | Envoy Gateway | HAProxy | Traefik |
//! |---|---|---|---|---|
//! | interval | 5s | 3s | 2s (`inter`) | 30s |
//! | timeout | 1s | 1s | as `inter` | 5s |
//! | failures to go out | 3 | 3 | 3 (`fall`) | 1 |
//! | passes to come back | 2 | 1 | 2 (`rise`) | 1 |
//! | while in doubt | 1s | as interval | as `inter` (`fastinter`) | as interval |
//!
//! **Schedule.** An endpoint's first probe comes within a second, so that there
//! soon is a verdict. The gap behind it is drawn from the whole interval, which
//! spreads any number of endpoints evenly over it, however they started; every
//! later gap is off by up to `jitter` percent, so that neither endpoints nor
//! several gateways fall into step.

use super::spec::ActiveSpec;
use std::time::{Duration, Instant};

/// What probes say about an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// A verdict that takes several probes to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hysteresis {
    verdict: Verdict,
    passes: u32,
    failures: u32,
}

impl Hysteresis {
    /// Goes on from a verdict that was found before.
    #[must_use]
    pub const fn resume(verdict: Verdict) -> Hysteresis {
        Hysteresis { verdict, passes: 0, failures: 0 }
    }

    /// Adds a probe's outcome and says what the verdict is now.
    pub fn observe(&mut self, passed: bool, spec: &ActiveSpec) -> Verdict {
        (self.passes, self.failures) =
            if passed { (self.passes.saturating_add(1), 0) } else { (0, self.failures.saturating_add(1)) };
        let first = self.verdict == Verdict::Unknown;
        if passed && (first || self.passes >= spec.healthy_threshold) {
            self.verdict = Verdict::Healthy;
        } else if !passed && (first || self.failures >= spec.unhealthy_threshold) {
            self.verdict = Verdict::Unhealthy;
        }
        self.verdict
    }

    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Probes passed in a row until now.
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Probes failed in a row until now.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last probe contradicted the verdict, or there is none.
    #[must_use]
    pub const fn in_doubt(&self) -> bool {
        match self.verdict {
            Verdict::Unknown => true,
            Verdict::Healthy => self.failures > 0,
            Verdict::Unhealthy => self.passes > 0,
        }
    }
}

/// The first probe of an endpoint comes within this time.
pub const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// No gap is shorter, whatever was configured: a probe is a connection.
const SHORTEST_GAP: Duration = Duration::from_millis(10);

/// No gap is longer before its jitter: behind it a schedule is a mistake.
const LONGEST_GAP: Duration = Duration::from_secs(24 * 3600);

/// When to probe. Randomness comes from the caller, 64 bits at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// It has found a place of its own in the interval.
    spread: bool,
}

impl Schedule {
    /// A new schedule, and when its first probe is due.
    pub fn start(now: Instant, spec: &ActiveSpec, random: &mut impl FnMut() -> u64) -> (Schedule, Instant) {
        let within = spec.interval.min(FIRST_WITHIN);
        (Schedule { spread: false }, now + within.mul_f64(fraction(random())))
    }

    /// When the next probe is due, after one that began at `began` and ended
    /// at `ended` with what `so_far` says.
    pub fn next(
        &mut self,
        began: Instant,
        ended: Instant,
        so_far: &Hysteresis,
        spec: &ActiveSpec,
        random: &mut impl FnMut() -> u64,
    ) -> Instant {
        let steady = match so_far.verdict() {
            Verdict::Unhealthy => spec.unhealthy_interval,
            Verdict::Unknown | Verdict::Healthy => spec.interval,
        }
        .min(LONGEST_GAP);
        let gap = if so_far.in_doubt() {
            jittered(spec.edge_interval.min(steady), spec.jitter, random)
        } else if self.spread {
            jittered(steady, spec.jitter, random)
        } else {
            self.spread = true;
            steady.mul_f64(fraction(random()))
        };
        (began + gap.max(SHORTEST_GAP)).max(ended)
    }
}

/// `gap`, longer or shorter by up to `percent`; its mean stays.
fn jittered(gap: Duration, percent: u8, random: &mut impl FnMut() -> u64) -> Duration {
    let off = f64::from(percent.min(100)) / 100.0 * (2.0 * fraction(random()) - 1.0);
    gap.mul_f64(1.0 + off)
}

/// Random bits as a number from 0 up to, not including, 1.
fn fraction(bits: u64) -> f64 {
    // The upper half is plenty for a jitter, and fits a double exactly.
    let [.., a, b, c, d] = bits.to_le_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::spec::Check;
    use torana_core::trace::IdSource;

    fn spec() -> ActiveSpec {
        ActiveSpec::new(Check::Tcp)
    }

    fn after(probes: &str) -> Hysteresis {
        let mut hysteresis = Hysteresis::default();
        for probe in probes.chars() {
            hysteresis.observe(probe == '+', &spec());
        }
        hysteresis
    }

    #[test]
    fn the_first_probe_decides_at_once() {
        assert_eq!(after("").verdict(), Verdict::Unknown);
        assert_eq!(after("+").verdict(), Verdict::Healthy);
        assert_eq!(after("-").verdict(), Verdict::Unhealthy);
    }

    #[test]
    fn three_failures_in_a_row_take_an_endpoint_out_and_two_passes_bring_it_back() {
        assert_eq!(after("+--").verdict(), Verdict::Healthy);
        assert_eq!(after("+--+--").verdict(), Verdict::Healthy);
        assert_eq!(after("+---").verdict(), Verdict::Unhealthy);
        assert_eq!(after("+---+").verdict(), Verdict::Unhealthy);
        assert_eq!(after("+---+-+").verdict(), Verdict::Unhealthy);
        assert_eq!(after("+---++").verdict(), Verdict::Healthy);
    }

    #[test]
    fn doubt_lasts_until_a_verdict_is_confirmed() {
        assert!(after("").in_doubt() && after("+-").in_doubt() && after("+---+").in_doubt());
        assert!(!after("+").in_doubt() && !after("+-+").in_doubt() && !after("+---").in_doubt());
    }

    #[test]
    fn thresholds_of_zero_act_like_one() {
        let spec = ActiveSpec { healthy_threshold: 0, unhealthy_threshold: 0, ..spec() };
        let mut hysteresis = Hysteresis::resume(Verdict::Healthy);
        assert_eq!(hysteresis.observe(false, &spec), Verdict::Unhealthy);
        assert_eq!(hysteresis.observe(true, &spec), Verdict::Healthy);
    }

    /// The shortest and longest gap behind a probe that took no time.
    fn gaps(probes: &str, spread: bool) -> (Duration, Duration) {
        let mut ids = IdSource::new(7);
        let mut random = || ids.next();
        let now = Instant::now();
        let gaps = (0..10_000).map(|_| {
            let mut schedule = Schedule { spread };
            schedule.next(now, now, &after(probes), &spec(), &mut random) - now
        });
        gaps.fold((Duration::MAX, Duration::ZERO), |(least, most), gap| (least.min(gap), most.max(gap)))
    }

    fn close(found: (Duration, Duration), wanted: (u64, u64)) -> bool {
        let near = |found: Duration, wanted| found.abs_diff(Duration::from_millis(wanted)) < Duration::from_millis(20);
        near(found.0, wanted.0) && near(found.1, wanted.1)
    }

    #[test]
    fn gaps_are_an_interval_give_or_take_the_jitter() {
        assert!(close(gaps("++", true), (4500, 5500)));
        assert!(close(gaps("---", true), (4500, 5500)));
    }

    #[test]
    fn doubt_is_looked_into_soon() {
        assert!(close(gaps("+-", true), (900, 1100)));
        assert!(close(gaps("---+", false), (900, 1100)));
    }

    #[test]
    fn the_second_gap_is_drawn_from_the_whole_interval() {
        assert!(close(gaps("+", false), (10, 5000)));
    }

    #[test]
    fn a_probe_that_overran_its_interval_is_followed_at_once_and_not_twice() {
        let mut random = || 0;
        let (mut schedule, began) = Schedule::start(Instant::now(), &spec(), &mut random);
        let ended = began + Duration::from_secs(60);
        assert_eq!(schedule.next(began, ended, &after("+"), &spec(), &mut random), ended);
    }

    #[test]
    fn an_interval_of_nothing_does_not_spin() {
        let spec = ActiveSpec { interval: Duration::ZERO, ..spec() };
        let mut random = || 0;
        let (mut schedule, began) = Schedule::start(Instant::now(), &spec, &mut random);
        assert_eq!(schedule.next(began, began, &after("+"), &spec, &mut random), began + SHORTEST_GAP);
    }
}
