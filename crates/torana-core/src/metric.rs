//! Counters and histograms that cost a few instructions.
//!
//! Every value has one writing thread (its worker), so an increment is a plain
//! load and store; readers (the scrape) see whole values that may be a moment
//! old. Workers' values are summed when scraped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A sum with one writer.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning worker may call this: with two writers
    /// increments would be lost (never torn).
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes `count` off; for values used as gauges by one writer.
    pub fn sub(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency buckets, in microseconds: 0.5 ms to 60 s, about
/// three to a factor of ten below a second, where APIs live.
pub const LATENCY_BOUNDS_MICROS: [u64; 20] = [
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 20_000, 30_000, 50_000, 75_000, 100_000, 200_000, 300_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// A latency histogram with one writer. Buckets are not cumulative.
#[derive(Default, Debug)]
pub struct Histogram {
    buckets: [Counter; LATENCY_BOUNDS_MICROS.len() + 1],
    sum_micros: Counter,
}

impl Histogram {
    /// Records one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.sum_micros.add(micros);
    }

    /// The counts of the buckets (not cumulative; the last is above all
    /// bounds) and the sum in microseconds.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|index| self.buckets[index].value()),
            sum_micros: self.sum_micros.value(),
        }
    }
}

/// The values of a histogram at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Observations per bucket, not cumulative.
    pub buckets: [u64; LATENCY_BOUNDS_MICROS.len() + 1],
    /// Sum of all observations.
    pub sum_micros: u64,
}

impl HistogramSnapshot {
    /// Adds another worker's values.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.wrapping_add(theirs);
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(500));
        histogram.observe(Duration::from_micros(501));
        histogram.observe(Duration::from_secs(3600));
        let seen = histogram.snapshot();
        assert_eq!((seen.buckets[0], seen.buckets[1], seen.buckets[20]), (1, 1, 1));
        assert_eq!(seen.count(), 3);
        assert_eq!(seen.sum_micros, 1001 + 3_600_000_000);
    }
}
