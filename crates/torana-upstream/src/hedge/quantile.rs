//! A quantile of recent latencies.

use std::time::{Duration, Instant};
use torana_core::units::Percent;

/// Buckets to a doubling: a bucket is at most an eighth wider than its lower end.
const STEPS: u64 = 8;
/// What takes longer counts as 134 s: 2²⁷ µs.
const OCTAVES: usize = 25;
const BUCKETS: usize = OCTAVES * 8 + 8;

/// How long a window collects; the one before counts as well.
const WINDOW: Duration = Duration::from_secs(30);

/// With fewer than this nothing is said: the 95th of a handful is their worst.
const ENOUGH: u64 = 100;

/// After so many latencies the estimate is made anew.
const REFRESH: u32 = 64;

/// Latencies of the last half to whole minute, in buckets that grow with them.
#[derive(Debug)]
pub(super) struct Latencies {
    quantile: Percent,
    current: Window,
    before: Window,
    since: Instant,
    estimate: Option<Duration>,
    /// Latencies since the last estimate.
    news: u32,
}

#[derive(Debug)]
struct Window {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
}

impl Window {
    fn new() -> Window {
        Window { buckets: Box::new([0; BUCKETS]), count: 0 }
    }

    fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }
}

impl Latencies {
    pub(super) fn new(quantile: Percent, now: Instant) -> Latencies {
        let (current, before) = (Window::new(), Window::new());
        Latencies { quantile, current, before, since: now, estimate: None, news: 0 }
    }

    pub(super) fn observe(&mut self, took: Duration, now: Instant) {
        self.turn(now);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.current.buckets.get_mut(bucket(micros)) {
            *bucket = bucket.saturating_add(1);
        }
        self.current.count += 1;
        self.news += 1;
        if self.news >= REFRESH {
            self.refresh();
        }
    }

    /// What the share of latencies takes at most; `None`: too few are known.
    pub(super) fn estimate(&mut self, now: Instant) -> Option<Duration> {
        self.turn(now);
        if self.estimate.is_none() && self.news > 0 {
            self.refresh();
        }
        self.estimate
    }

    /// Forgets what is older than two windows.
    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.before);
        self.current.clear();
        if passed >= 2 * WINDOW {
            self.before.clear();
        }
        self.since = now;
        self.refresh();
    }

    fn refresh(&mut self) {
        self.news = 0;
        let total = self.current.count + self.before.count;
        self.estimate = None;
        if total < ENOUGH {
            return;
        }
        let mut seen = 0;
        for (index, (now, before)) in self.current.buckets.iter().zip(self.before.buckets.iter()).enumerate() {
            seen += u64::from(*now) + u64::from(*before);
            if self.quantile.is_met(seen, total) {
                self.estimate = Some(Duration::from_micros(end(index)));
                return;
            }
        }
    }
}

/// The bucket of a latency.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let octave = u64::from(micros.ilog2()) - 3;
    let step = (micros >> octave) - STEPS;
    usize::try_from((octave + 1) * STEPS + step).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The upper end of a bucket, in microseconds.
const fn end(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index + 1;
    }
    let octave = index / STEPS - 1;
    (STEPS + index % STEPS + 1) << octave
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::trace::IdSource;

    #[test]
    fn every_latency_is_in_a_bucket_that_ends_soon_after_it() {
        let mut last = 0;
        for micros in (0..20_000).chain((0..27).map(|power| 1 << power)).chain([134_000_000]) {
            let end = end(bucket(micros));
            assert!(end > micros && end - micros <= micros / 8 + 1, "{micros}: {end}");
            last = last.max(bucket(micros));
        }
        assert!(last < BUCKETS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_estimate_is_the_quantile_to_an_eighth() {
        let now = Instant::now();
        let mut random = IdSource::new(3);
        let mut latencies = Latencies::new(Percent::new(95), now);
        let mut all = Vec::new();
        for _ in 0..20_000 {
            // Log-uniform between 1 ms and 1 s.
            let micros = 1000 << (random.next() % 10);
            let micros = micros + random.next() % micros;
            all.push(micros);
            latencies.observe(Duration::from_micros(micros), now);
        }
        all.sort_unstable();
        let exact = Duration::from_micros(all[all.len() * 95 / 100]);
        let estimate = latencies.estimate(now).unwrap();
        assert!(estimate >= exact.mul_f64(0.99) && estimate <= exact.mul_f64(1.14), "{estimate:?} for {exact:?}");
    }

    #[test]
    fn a_handful_says_nothing_and_the_past_is_forgotten() {
        let start = Instant::now();
        let mut latencies = Latencies::new(Percent::new(50), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..99 {
            latencies.observe(Duration::from_millis(10), at(0));
        }
        assert_eq!(latencies.estimate(at(0)), None);
        latencies.observe(Duration::from_millis(10), at(1));
        assert!(latencies.estimate(at(1)).is_some());
        assert!(latencies.estimate(at(31)).is_some(), "the window before counts");
        assert_eq!(latencies.estimate(at(62)), None);
    }
}
