//! What retries promise, in numbers: seeded traffic against a clock held by
//! the test.

use super::*;
use torana_core::trace::IdSource;

/// What became of some traffic.
#[derive(Debug, Default)]
struct Tally {
    requests: u64,
    sends: u64,
    served: u64,
    /// Requests that failed at least once.
    hurt: u64,
    /// Of these, denied by the budget.
    denied: u64,
}

impl Tally {
    fn amplification(&self) -> f64 {
        float(self.sends) / float(self.requests)
    }
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// `per_second` requests a second for `seconds`, of which each send fails as
/// `fails` says, given the second and a random number.
fn run(spec: &RetrySpec, per_second: u64, seconds: u64, fails: impl Fn(u64, u64) -> Option<Failed>) -> Tally {
    let start = Instant::now();
    let budget = Budget::new(spec.budget, start);
    let mut source = IdSource::new(99);
    let mut tally = Tally::default();
    // Sends in the order of their time, as a worker sees them.
    let mut due: std::collections::BinaryHeap<std::cmp::Reverse<(Duration, u64, u32)>> = (0..per_second * seconds)
        .map(|index| std::cmp::Reverse((Duration::from_nanos(index * 1_000_000_000 / per_second), index, 0)))
        .collect();
    while let Some(std::cmp::Reverse((at, id, retries))) = due.pop() {
        let now = start + at;
        if retries == 0 {
            budget.deposit(now);
            tally.requests += 1;
        }
        tally.sends += 1;
        let Some(failed) = fails(at.as_secs(), source.next()) else {
            tally.served += 1;
            continue;
        };
        tally.hurt += u64::from(retries == 0);
        let left = Some(Duration::from_secs(5));
        let facts = Facts { failed, retries, replay: Replay::Safe, elsewhere: false, left };
        match spec.decide(&facts, &budget, now, &mut || source.next()) {
            // A send takes a millisecond to fail.
            Verdict::Again { after, .. } => {
                due.push(std::cmp::Reverse((at + after + Duration::from_millis(1), id, retries + 1)));
            }
            Verdict::GiveUp(why) => tally.denied += u64::from(why == GiveUp::Budget),
        }
    }
    let counts = budget.counts();
    assert_eq!((counts.requests, counts.retries + counts.requests), (tally.requests, tally.sends));
    tally
}

fn always(_: u64, _: u64) -> Option<Failed> {
    Some(Failed::Reset)
}

#[test]
fn a_total_outage_is_amplified_by_a_fifth_and_the_minimum() {
    let spec = RetrySpec { attempts: 10, ..RetrySpec::DEFAULT };
    let tally = run(&spec, 1000, 60, always);
    let minimum = 3.0 * 70.0 / float(tally.requests);
    assert!((1.19..=1.2 + minimum).contains(&tally.amplification()), "{} {tally:?}", tally.amplification());
    // Little traffic lives on the minimum: 3 a second, whatever it asks for.
    let little = run(&spec, 2, 60, always);
    let retries = little.sends - little.requests;
    assert!((180..=240).contains(&retries), "{little:?}");
    // And without a budget, the same outage is eleven times the load.
    let unlimited = run(&RetrySpec { budget: None, ..spec }, 100, 10, always);
    assert!((unlimited.amplification() - 11.0).abs() < 1e-9, "{unlimited:?}");
}

/// The promise holds at every moment, not only on the whole.
#[test]
fn at_no_moment_are_retries_more_than_their_share() {
    let start = Instant::now();
    let spec = BudgetSpec::DEFAULT;
    let budget = Budget::new(Some(spec), start);
    let mut source = IdSource::new(5);
    let (mut requests, mut retries) = (vec![0u64; 300], vec![0u64; 300]);
    for second in 0..300usize {
        // Bursts and silence.
        let arrivals = match source.next() % 4 {
            0 => 0,
            1 => source.next() % 2000,
            _ => source.next() % 100,
        };
        for index in 0..arrivals.max(1) {
            let now = start + Duration::from_secs(second as u64) + Duration::from_nanos(index);
            if arrivals > 0 {
                budget.deposit(now);
                requests[second] += 1;
            }
            for _ in 0..source.next() % 3 {
                retries[second] += u64::from(budget.withdraw(now));
            }
        }
    }
    // At every moment a retry is granted; what comes after the last of a
    // second is only more requests.
    let granted = retries.windows(10).zip(requests.windows(10)).filter(|(made, _)| made[9] > 0);
    let mut tight = 0;
    for (made, sent) in granted {
        let (made, earned) = (made.iter().sum::<u64>(), spec.share.of(sent.iter().sum()) + 30);
        assert!(made <= earned, "{made} retries, {earned} earned");
        tight += u32::from(made + 5 >= earned);
    }
    assert!(tight > 10, "the bound was hardly ever reached: {tight}");
    let (all_requests, all_retries) = (requests.iter().sum::<u64>(), retries.iter().sum::<u64>());
    assert!(all_retries <= spec.share.of(all_requests) + 3 * 310, "{all_retries} for {all_requests}");
}

#[test]
fn one_percent_of_failures_is_healed() {
    let tally = run(&RetrySpec::DEFAULT, 1000, 60, |_, random| (random % 100 == 0).then_some(Failed::Reset));
    assert!((500..=700).contains(&tally.hurt), "{tally:?}");
    assert_eq!((tally.served, tally.denied), (tally.requests, 0), "{tally:?}");
    assert!(tally.amplification() < 1.012, "{tally:?}");
}

/// Ten per cent of failures are within the budget: nearly all are healed, and
/// only by chance is one denied.
#[test]
fn ten_percent_of_failures_fit_into_the_budget() {
    let tally = run(&RetrySpec::DEFAULT, 1000, 60, |_, random| (random % 10 == 0).then_some(status(503)));
    assert_eq!(tally.denied, 0, "{tally:?}");
    // 0.1 % fail three times.
    assert!(tally.served * 1000 >= tally.requests * 998, "{tally:?}");
}

/// An outage of ten seconds: while it lasts the upstream gets 1.2 times the
/// load, and as soon as it is over, everything is served.
#[test]
fn retries_do_not_keep_an_upstream_down() {
    let down = |second| (20..30).contains(&second);
    let tally = run(&RetrySpec::DEFAULT, 1000, 60, |second, _| down(second).then_some(Failed::Reset));
    assert!((9_900..=10_000).contains(&tally.hurt), "{tally:?}");
    assert!(tally.sends - tally.requests <= 2_000 + 2_000 + 30, "ten seconds' earnings before and during: {tally:?}");
    assert!(tally.served >= tally.requests - 10_000, "{tally:?}");
}

/// A thousand requests fail in the same millisecond. Without jitter the first
/// retries would all arrive in the same one; with it, no millisecond gets more
/// than a few of them.
#[test]
fn what_failed_together_does_not_come_back_together() {
    let now = Instant::now();
    let spec = RetrySpec { budget: None, ..RetrySpec::DEFAULT };
    let budget = Budget::new(None, now);
    let mut source = IdSource::new(11);
    for (retries, span) in [(0, 25), (1, 50)] {
        let mut millis = vec![0u32; span];
        for _ in 0..1000 {
            let facts = Facts { failed: Failed::Reset, retries, replay: Replay::Safe, elsewhere: true, left: None };
            let Verdict::Again { after, .. } = spec.decide(&facts, &budget, now, &mut || source.next()) else {
                panic!("unlimited");
            };
            millis[usize::try_from(after.as_millis()).unwrap()] += 1;
        }
        let expected = 1000 / u32::try_from(span).unwrap();
        let most = millis.iter().max().copied().unwrap_or_default();
        assert!(most <= expected * 2 + 5 && millis.iter().all(|&count| count > 0), "{millis:?}");
    }
}

const fn status(status: u16) -> Failed {
    Failed::Status { status, retry_after: None }
}
