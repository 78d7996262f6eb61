//! What hedging promises, in numbers: seeded traffic against a clock held by the
//! test, with the budget and the estimate that requests use.

use super::*;
use crate::retry::{Budget, BudgetSpec};
use torana_core::trace::IdSource;

#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    hedges: u64,
    /// Time to the first reply of each request, in microseconds.
    took: Vec<u64>,
}

impl Tally {
    fn share(&self) -> f64 {
        float(self.hedges) / float(self.requests)
    }

    fn p99(&self) -> u64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// `per_second` requests a second for `seconds`; `latency` is that of one
/// attempt, in microseconds, given the second and a random number.
fn run(hedge: Option<After>, per_second: u64, seconds: u64, latency: impl Fn(u64, u64) -> u64) -> Tally {
    let start = Instant::now();
    let budget = Budget::new(Some(BudgetSpec::DEFAULT), start);
    let hedger = hedge.map(|after| Hedger::new(HedgeSpec { after, most: 1 }, start));
    let mut source = IdSource::new(7);
    let mut tally = Tally::default();
    // What happens, by its time: a request begins (0), it is time to hedge (1),
    // its first attempt ends or is cancelled (2).
    let mut due: std::collections::BinaryHeap<std::cmp::Reverse<(u64, u8, u64, u64)>> =
        (0..per_second * seconds).map(|id| std::cmp::Reverse((id * 1_000_000 / per_second, 0, id, 0))).collect();
    while let Some(std::cmp::Reverse((at, what, id, first))) = due.pop() {
        let now = start + Duration::from_micros(at);
        match what {
            0 => {
                budget.deposit(now);
                tally.requests += 1;
                let first = latency(at / 1_000_000, source.next());
                let delay = hedger.as_ref().and_then(|hedger| hedger.delay(now));
                match delay.map(|delay| u64::try_from(delay.as_micros()).unwrap()) {
                    Some(delay) if delay < first => due.push(std::cmp::Reverse((at + delay, 1, id, at + first))),
                    _ => due.push(std::cmp::Reverse((at + first, 2, id, at))),
                }
                tally.took.push(first);
            }
            1 => {
                // `first` is when the first attempt would end.
                let begun = id * 1_000_000 / per_second;
                let second = if budget.withdraw(now) {
                    tally.hedges += 1;
                    at + latency(at / 1_000_000, source.next())
                } else {
                    first
                };
                let ended = first.min(second);
                tally.took[usize::try_from(id).unwrap()] = ended - begun;
                due.push(std::cmp::Reverse((ended, 2, id, begun)));
            }
            _ => {
                if let Some(hedger) = &hedger {
                    hedger.observe(Duration::from_micros(at - first), now);
                }
            }
        }
    }
    let counts = budget.counts();
    assert_eq!((counts.requests, counts.retries), (tally.requests, tally.hedges));
    tally
}

/// 5 to 15 ms, and one of fifty takes a second.
fn usual(_: u64, random: u64) -> u64 {
    if random.is_multiple_of(50) { 1_000_000 } else { 5_000 + (random >> 32) % 10_000 }
}

const P95: After = After::Quantile(Percent::new(95));

#[test]
fn the_tail_is_cut_and_at_most_one_of_twenty_is_sent_twice() {
    let plain = run(None, 500, 60, usual);
    let hedged = run(Some(P95), 500, 60, usual);
    assert_eq!(plain.p99(), 1_000_000);
    assert!(hedged.p99() < 40_000, "{} µs", hedged.p99());
    // The slow ones, and those that a bucket of the estimate is too coarse for.
    assert!((0.019..=0.055).contains(&hedged.share()), "{}", hedged.share());
}

#[test]
fn when_all_are_slow_at_once_the_budget_holds() {
    // From one second to the next everything takes twenty times as long.
    let slow = |second, random| if second < 20 { usual(second, random) } else { 20 * usual(second, random) };
    let short = After::Time(Duration::from_millis(20));
    for after in [P95, short] {
        let tally = run(Some(after), 500, 60, slow);
        let minimum = 3.0 * 70.0 / float(tally.requests);
        assert!(tally.share() <= 0.2 + minimum, "{after:?}: {}", tally.share());
    }
    // A fixed time that is too short is all the budget, the whole time.
    let always = run(Some(After::Time(Duration::from_micros(1))), 500, 60, usual);
    assert!((0.199..=0.2 + 3.0 * 70.0 / float(always.requests)).contains(&always.share()), "{}", always.share());
}

#[test]
fn cutting_slow_answers_off_does_not_make_the_quantile_sink() {
    // Half of the answers are slow: with only those that came in time counted,
    // the 95th would become that of the quick ones.
    let half = |_, random: u64| if random.is_multiple_of(2) { 100_000 } else { 1_000 + (random >> 32) % 1_000 };
    let tally = run(Some(P95), 500, 60, half);
    assert!(tally.share() < 0.07, "{}", tally.share());
}

#[test]
fn too_little_traffic_for_a_quantile_is_not_hedged() {
    assert_eq!(run(Some(P95), 1, 60, usual).hedges, 0);
}
