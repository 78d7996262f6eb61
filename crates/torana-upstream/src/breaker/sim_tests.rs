//! What a breaker promises, in numbers: seeded traffic against a clock held by
//! the test, and real threads where threads are the point.

use super::*;
use crate::outcome::{Fault, Outcome};
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use torana_core::head::Status;
use torana_core::trace::IdSource;
use torana_core::units::Percent;

const QUICK: Duration = Duration::from_millis(5);
const GOOD: Outcome = Outcome::Replied(Status::OK);

fn spec() -> BreakerSpec {
    BreakerSpec { failure_ratio: Some(Percent::new(50)), ..BreakerSpec::DEFAULT }
}

fn open(spec: &BreakerSpec, now: Instant) -> Breaker {
    let breaker = Breaker::new(&"users".into(), spec, now);
    while breaker.snapshot(now).phase == Phase::Closed {
        breaker.admit(now).unwrap().report(Outcome::Failed(Fault::Reset), QUICK, now);
    }
    breaker
}

/// True in `percent` of the calls.
fn chance(random: &mut IdSource, percent: u64) -> bool {
    random.next() % 100 < percent
}

#[test]
fn a_thousand_arrivals_on_eight_threads_meet_three_probes() {
    for round in 0..20 {
        let start = Instant::now();
        let breaker = open(&spec(), start);
        let later = start + Duration::from_secs(30);
        let (admitted, gate) = (AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    gate.wait();
                    for _ in 0..125 {
                        held.extend(breaker.admit(later).ok());
                    }
                    admitted.fetch_add(held.len(), Ordering::Relaxed);
                    // Until all have asked: nobody's place may be passed on.
                    gate.wait();
                });
            }
        });
        assert_eq!(admitted.into_inner(), 3, "round {round}");
        assert_eq!(breaker.snapshot(later).probes_out, 0, "all were given back");
    }
}

#[test]
fn never_more_probes_out_than_places_while_they_come_and_go() {
    let start = Instant::now();
    let breaker = open(&spec(), start);
    let later = start + Duration::from_secs(30);
    let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    if let Ok(permit) = breaker.admit(later) {
                        most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        out.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert_eq!(breaker.snapshot(later).phase, Phase::HalfOpen, "nothing was told, nothing decided");
}

#[test]
fn many_failing_threads_open_once() {
    let now = Instant::now();
    for _ in 0..20 {
        let breaker = Breaker::new(&"users".into(), &BreakerSpec { failures: Some(5), ..spec() }, now);
        let gate = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    gate.wait();
                    while let Ok(permit) = breaker.admit(now) {
                        permit.report(Outcome::Failed(Fault::Reset), QUICK, now);
                    }
                });
            }
        });
        let snapshot = breaker.snapshot(now);
        assert_eq!((snapshot.phase, snapshot.openings, snapshot.history.len()), (Phase::Open, 1, 1));
        assert!((5..=8).contains(&snapshot.history[0].counts.in_a_row), "{snapshot:?}");
    }
}

#[test]
fn recovery_admits_a_share_that_grows_in_a_line() {
    let start = Instant::now();
    let breaker = open(&spec(), start);
    let begun = start + Duration::from_secs(30);
    for _ in 0..3 {
        breaker.admit(begun).unwrap().report(GOOD, QUICK, begun);
    }
    assert_eq!(breaker.snapshot(begun).phase, Phase::Recovering);
    // A request a millisecond for ten seconds.
    let admitted: Vec<bool> = (0..10_000)
        .map(|millis| {
            let now = begun + Duration::from_millis(millis);
            breaker.admit(now).map(|permit| permit.report(GOOD, QUICK, now)).is_ok()
        })
        .collect();
    for (second, slice) in (0i64..).zip(admitted.chunks(1000)) {
        let count = i64::try_from(slice.iter().filter(|&&admitted| admitted).count()).unwrap();
        let expected = second * 100 + 50;
        assert!((count - expected).abs() <= 10, "second {second}: {count} of 1000, {expected} expected");
    }
    // In any hundred requests, too: no bursts.
    for (hundred, slice) in (0i64..).zip(admitted.chunks(100)) {
        let count = i64::try_from(slice.iter().filter(|&&admitted| admitted).count()).unwrap();
        assert!((count - hundred).abs() <= 4, "hundred {hundred}: {count}");
    }
    let over = begun + Duration::from_secs(10);
    assert!(breaker.admit(over).is_ok());
    assert_eq!(breaker.snapshot(over).phase, Phase::Closed);
}

#[test]
fn a_storm_after_recovery_meets_a_clean_slate() {
    let start = Instant::now();
    let breaker = open(&spec(), start);
    let mut random = IdSource::new(7);
    let recovered = start + Duration::from_secs(40);
    for millis in 30_000..40_000 {
        let now = start + Duration::from_millis(millis);
        if let Ok(permit) = breaker.admit(now) {
            permit.report(GOOD, QUICK, now);
        }
    }
    // 100 000 requests in ten seconds, 5 % of them fail: nothing of the past
    // weighs on them, and none is refused.
    for index in 0..100_000 {
        let now = recovered + Duration::from_micros(index * 100);
        let outcome = if chance(&mut random, 5) { Outcome::Failed(Fault::Reset) } else { GOOD };
        breaker.admit(now).expect("the recovered upstream takes all").report(outcome, QUICK, now);
    }
    let snapshot = breaker.snapshot(recovered + Duration::from_secs(10));
    assert_eq!((snapshot.phase, snapshot.openings), (Phase::Closed, 1));
}

/// An upstream that fails from second 10 to second 100, a thousand requests a
/// second, a minute of settling: how many reach it in vain, and how soon it
/// serves again.
#[test]
fn an_outage_costs_few_requests_and_ends_soon() {
    let start = Instant::now();
    let breaker = Breaker::new(&"users".into(), &spec(), start);
    let mut random = IdSource::new(42);
    let (mut vain, mut refused_after, mut served_after) = (0, 0, 0);
    for millis in 0..240_000u64 {
        let now = start + Duration::from_millis(millis);
        let down = (10_000..100_000).contains(&millis);
        let bad = down || chance(&mut random, 1);
        match breaker.admit(now) {
            Ok(permit) => {
                vain += u32::from(down);
                served_after += u32::from(millis >= 100_000);
                permit.report(if bad { Outcome::Failed(Fault::Reset) } else { GOOD }, QUICK, now);
            }
            Err(_) => {
                assert!(millis >= 10_000, "refused before the outage");
                refused_after += u32::from(millis >= 100_000);
            }
        }
    }
    // Half of a ten-second window at 1000/s has to fail before a share of 50 %
    // is met, the window being up to a tenth shorter: 4.5 to 5 thousand. Then
    // one probe at 45 s, and none more before it is over.
    assert!((4_400..=5_010).contains(&vain), "{vain} requests were sent in vain");
    // It opens at about 15 s for 30 s, then at about 45 s for 60 s: probes at
    // about 105 s, recovered at about 115 s, half of the ramp refused.
    assert!((9_000..=10_700).contains(&refused_after), "{refused_after} were refused after the outage");
    assert!(served_after > 129_000, "{served_after}");
    let phases: Vec<_> = breaker.snapshot(start).history.iter().map(|event| (event.to, event.why)).collect();
    assert_eq!(
        phases,
        [
            (Phase::Open, Why::FailureRatio),
            (Phase::HalfOpen, Why::OpenElapsed),
            (Phase::Open, Why::ProbeFailed),
            (Phase::HalfOpen, Why::OpenElapsed),
            (Phase::Recovering, Why::ProbesSucceeded),
            (Phase::Closed, Why::Recovered),
        ]
    );
}

/// Failures below the threshold never open it, however long it goes on.
#[test]
fn a_steady_forty_percent_of_failures_stays_closed_at_fifty() {
    let start = Instant::now();
    let breaker = Breaker::new(&"users".into(), &BreakerSpec { min_requests: 500, ..spec() }, start);
    let mut random = IdSource::new(3);
    for millis in 0..300_000 {
        let now = start + Duration::from_millis(millis);
        let outcome = if chance(&mut random, 40) { Outcome::Failed(Fault::Reset) } else { GOOD };
        breaker.admit(now).expect("closed").report(outcome, QUICK, now);
    }
}

/// Results of all ages from all threads while the breaker goes round and
/// round: it never gets stuck, and at the end it closes.
#[test]
fn threads_with_late_results_do_not_wedge_it() {
    let start = Instant::now();
    let quick = BreakerSpec {
        failures: Some(3),
        open_for: Duration::from_millis(20),
        open_for_max: Duration::from_millis(20),
        recovery: Duration::from_millis(20),
        window: Duration::from_millis(100),
        ..spec()
    };
    let breaker = Arc::new(Breaker::new(&"users".into(), &quick, start));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                let mut random = IdSource::new(thread);
                let mut held = Vec::new();
                for step in 0..20_000u64 {
                    // Clocks of workers differ by some milliseconds.
                    let now = start + Duration::from_micros(step * 50 + random.next() % 5_000);
                    held.extend(breaker.admit_owned(now).ok());
                    while held.len() > 5 || (!held.is_empty() && chance(&mut random, 40)) {
                        let at = usize::try_from(random.next()).unwrap_or(0) % held.len();
                        let outcome = match random.next() % 10 {
                            0 => Outcome::Local,
                            1..4 => Outcome::Failed(Fault::Reset),
                            _ => GOOD,
                        };
                        held.swap_remove(at).report(outcome, QUICK, now);
                    }
                }
            });
        }
    });
    let mut now = start + Duration::from_secs(2);
    assert!(breaker.snapshot(now).openings > 10, "it went round: {:?}", breaker.snapshot(now));
    for _ in 0..100 {
        if let Ok(permit) = breaker.admit(now) {
            permit.report(GOOD, QUICK, now);
        }
        now += Duration::from_millis(5);
    }
    assert_eq!(breaker.snapshot(now).phase, Phase::Closed);
}
