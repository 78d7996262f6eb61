//! A server that slows down under load, and a limiter before it, in simulated
//! time and with seeded chance.

use super::limiter::{Limiter, Rule};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};
use torana_core::units::Percent;

/// Numbers by a linear congruential generator (Knuth).
struct Chance(u64);

impl Chance {
    /// From 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap_or(0)) / f64::from(1_u32 << 31)
    }

    /// Time to the next of `rate` per second, as strangers come.
    fn gap(&mut self, rate: f64) -> f64 {
        -(1.0 - self.next()).ln() / rate
    }
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    /// By class: critical, others.
    let_in: [u32; 2],
    refused: [u32; 2],
    /// Sum of latencies, and of the last half only what is settled.
    settled: Vec<f64>,
    limit: u32,
}

/// `workers` work at a time on requests of 20 ms; the rest waits in a queue.
/// `rate` requests come per second, a tenth of them critical.
fn run(limiter: Option<&Limiter>, workers: usize, rate: f64, seconds: f64, seed: u64) -> Outcome {
    let start = Instant::now();
    let (mut chance, mut outcome, mut now) = (Chance(seed), Outcome::default(), 0.0);
    // When each worker is free, and when replies begin, in microseconds.
    let mut free: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(0)).collect();
    let mut ends: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    while now < seconds {
        now += chance.gap(rate);
        let at = micros(now);
        while let Some(Reverse((end, begun))) = ends.peek().copied()
            && end <= at
        {
            ends.pop();
            let latency = Duration::from_micros(end - begun);
            if end > micros(seconds / 2.0) {
                outcome.settled.push(latency.as_secs_f64());
            }
            if let Some(limiter) = limiter {
                limiter.sample(start + Duration::from_micros(end), latency);
                limiter.leave();
            }
        }
        let class = usize::from(chance.next() >= 0.1);
        let share = if class == 0 { Percent::WHOLE } else { Percent::new(90) };
        if limiter.is_some_and(|limiter| !limiter.enter(share)) {
            outcome.refused[class] += 1;
            continue;
        }
        outcome.let_in[class] += 1;
        let Some(Reverse(idle)) = free.pop() else { break };
        let end = idle.max(at) + micros(0.01 + chance.gap(100.0));
        free.push(Reverse(end));
        ends.push(Reverse((end, at)));
    }
    outcome.limit = limiter.map_or(0, Limiter::limit);
    outcome
}

fn mean(latencies: &[f64]) -> f64 {
    let count = u32::try_from(latencies.len().max(1)).unwrap_or(u32::MAX);
    latencies.iter().sum::<f64>() / f64::from(count)
}

/// Ten workers of 20 ms: 500 a second.
const CAPACITY: f64 = 500.0;

#[test]
fn at_twice_what_the_server_can_do_it_stays_busy_and_fast() {
    let without = run(None, 10, 2.0 * CAPACITY, 60.0, 1);
    assert!(mean(&without.settled) > 5.0, "without shedding the queue grows: {}", mean(&without.settled));
    for seed in 1..=5 {
        for rule in [Rule::Gradient, Rule::Aimd(Duration::from_millis(60))] {
            let limiter = Limiter::new(rule, 4, 1000, 50);
            let outcome = run(Some(&limiter), 10, 2.0 * CAPACITY, 60.0, seed);
            let served = f64::from(outcome.let_in[0] + outcome.let_in[1]) / 60.0;
            assert!(served > 0.9 * CAPACITY, "{rule:?}, seed {seed}: {served} per second");
            let latency = mean(&outcome.settled);
            assert!(latency < 0.2, "{rule:?}, seed {seed}: {latency} s, limit {}", outcome.limit);
            let share = |class: usize| {
                f64::from(outcome.refused[class]) / f64::from(outcome.refused[class] + outcome.let_in[class])
            };
            assert!(share(0) < 0.02 && share(1) > 0.4, "{rule:?}, seed {seed}: {} and {}", share(0), share(1));
        }
    }
}

#[test]
fn below_what_the_server_can_do_nothing_is_refused() {
    for seed in 1..=5 {
        let limiter = Limiter::new(Rule::Gradient, 4, 1000, 50);
        let outcome = run(Some(&limiter), 10, 0.6 * CAPACITY, 60.0, seed);
        assert_eq!(outcome.refused, [0, 0], "seed {seed}: limit {}", outcome.limit);
    }
}

#[test]
fn the_limit_follows_a_server_that_loses_half_of_its_workers() {
    let limiter = Limiter::new(Rule::Aimd(Duration::from_millis(60)), 4, 1000, 50);
    let before = run(Some(&limiter), 20, 2000.0, 60.0, 7).limit;
    let limiter_after = Limiter::new(Rule::Aimd(Duration::from_millis(60)), 4, 1000, before);
    let after = run(Some(&limiter_after), 10, 2000.0, 60.0, 8).limit;
    assert!(f64::from(after) < 0.7 * f64::from(before), "{before} before, {after} after");
}

#[test]
fn the_limit_never_leaves_its_bounds() {
    let limiter = Limiter::new(Rule::Gradient, 5, 20, 10);
    (0..1000).for_each(|_| limiter.timed_out());
    assert_eq!(limiter.limit(), 5);
    let start = Instant::now();
    (0..5).for_each(|_| assert!(limiter.enter(Percent::WHOLE)));
    assert!(!limiter.enter(Percent::WHOLE));
    for step in 0..100_000 {
        limiter.sample(start + Duration::from_millis(step), Duration::from_millis(1));
    }
    // Five under way are less than half of eleven: there it stops to grow.
    assert!((10..=20).contains(&limiter.limit()), "{}", limiter.limit());
}
