//! What takes endpoints out and what brings them back.

use super::{BAD, Bench, GOOD, SECOND, active, endpoints};
use crate::health::active::Verdict;
use crate::health::event::Reason;
use crate::health::pool::Cause;
use crate::health::spec::{FailurePercentage, HealthSpec, PassiveSpec};
use crate::outcome::{Fault, Outcome};
use std::time::Duration;
use torana_core::head::Status;

#[test]
fn five_failures_in_a_row_eject() {
    let bench = Bench::new(3, &HealthSpec::default());
    bench.report(1, BAD, 4);
    bench.report(1, GOOD, 1);
    bench.report(1, BAD, 4);
    assert_eq!(bench.usable(), "111");
    bench.report(1, Outcome::Failed(Fault::Reset), 1);
    assert_eq!(bench.usable(), "101");
    assert_eq!(bench.events.words(), "5 failures in a row, the last: broken off; ejected for 30s");
    assert_eq!(bench.events.take(), ["e1: usable -> ejected (ConsecutiveFailures)"]);
}

#[test]
fn what_others_did_neither_counts_nor_forgives() {
    let bench = Bench::new(3, &HealthSpec::default());
    bench.report(0, Outcome::Local, 1000);
    bench.report(0, Outcome::Failed(Fault::Timeout).cut_short(), 1000);
    assert_eq!(bench.usable(), "111");
    bench.report(0, BAD, 4);
    bench.report(0, Outcome::Local, 1);
    bench.report(0, BAD, 1);
    assert_eq!(bench.usable(), "011");
}

#[test]
fn an_ejection_ends_by_itself_and_the_next_is_longer() {
    let mut bench = Bench::new(3, &HealthSpec::default());
    for seconds in [30, 60, 90] {
        bench.report(1, BAD, 5);
        bench.pass(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(bench.usable(), "101");
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.usable(), "111");
    }
    assert_eq!(bench.health.snapshot().endpoints[1].times_ejected, 3);
    assert_eq!(bench.events.take().len(), 6);
}

#[test]
fn a_snapshot_says_why_an_endpoint_is_out() {
    let mut bench = Bench::new(3, &active());
    bench.probe(2, Verdict::Unhealthy);
    bench.pass(SECOND);
    bench.report(1, BAD, 5);
    let seen = bench.health.snapshot();
    assert_eq!((seen.counts.total, seen.counts.usable, seen.counts.ejected, seen.counts.ejections), (3, 1, 1, 1));
    let [_, ejected, unhealthy] = &seen.endpoints[..] else { panic!("{seen:?}") };
    assert_eq!(ejected.ejected_until, Some(bench.now + 30 * SECOND));
    assert_eq!(ejected.last_fault, Some((Fault::Status(Status::SERVICE_UNAVAILABLE), bench.now)));
    assert_eq!(ejected.since, bench.now);
    assert_eq!(unhealthy.standing.to_string(), "unhealthy");
    assert_eq!(unhealthy.cause, Some((Reason::ProbesFailed, "3 failed in a row, the last: seen".into())));
    assert_eq!(unhealthy.probes.failed, 1);
    assert!(seen.panic && bench.usable() == "111");
}

#[test]
fn the_budget_holds_and_refusals_are_counted() {
    let bench = Bench::new(10, &HealthSpec::default());
    for index in 0..10 {
        bench.report(index, BAD, 5);
    }
    assert_eq!(bench.usable(), "0111111111");
    assert_eq!((bench.health.counts().ejected, bench.health.counts().ejections_refused), (1, 9));
    // A refused ejection is not asked for again with every failure.
    bench.report(1, BAD, 4);
    assert_eq!(bench.health.counts().ejections_refused, 9);
    bench.report(1, BAD, 1);
    assert_eq!(bench.health.counts().ejections_refused, 10);
}

#[test]
fn workers_that_come_late_find_the_failures_dealt_with() {
    let bench = Bench::new(20, &HealthSpec { passive: Some(PassiveSpec::default()), ..HealthSpec::default() });
    let (passive, endpoints) = (PassiveSpec::default(), bench.health.endpoints());
    for (index, counts) in [(0, (1, 0)), (1, (2, 0)), (2, (2, 1))] {
        // Two workers, each of which saw the threshold reached.
        for _ in 0..6 {
            endpoints[index].strike();
        }
        for _ in 0..2 {
            bench.health.pool.eject(&endpoints[index], Cause::InARow(Fault::Connect), &passive, bench.now);
        }
        assert_eq!((bench.health.counts().ejections, bench.health.counts().ejections_refused), counts);
    }
    assert_eq!(endpoints[0].snapshot().times_ejected, 1);
    // And one who saw too many failures on what has gone meanwhile.
    bench.health.pool.eject(&endpoints[0], Cause::Share(100, 99, Fault::Connect), &passive, bench.now);
    assert_eq!((bench.health.counts().ejections, bench.health.counts().ejections_refused), (2, 1));
}

#[test]
fn the_only_endpoint_is_not_ejected() {
    let bench = Bench::new(1, &HealthSpec::default());
    bench.report(0, BAD, 100);
    assert_eq!(bench.usable(), "1");
    assert!(bench.events.take().is_empty());
}

#[test]
fn a_share_of_failures_ejects_where_a_row_does_not() {
    let limit = FailurePercentage { threshold: 30, window: 10 * SECOND, min_volume: 20 };
    let passive = PassiveSpec { failure_percentage: Some(limit), ..PassiveSpec::default() };
    let mut bench = Bench::new(3, &HealthSpec { passive: Some(passive), ..HealthSpec::default() });
    // A third fails, but not twenty requests in a window.
    for _ in 0..6 {
        bench.report(0, GOOD, 2);
        bench.report(0, BAD, 1);
    }
    bench.pass(10 * SECOND);
    assert_eq!(bench.usable(), "111");
    for _ in 0..7 {
        bench.report(0, GOOD, 2);
        bench.report(0, BAD, 1);
    }
    assert_eq!(bench.usable(), "011");
    assert_eq!(bench.events.words(), "7 of 21 requests failed, the last: 503; ejected for 30s");
}

#[test]
fn what_is_out_is_not_judged() {
    let mut bench = Bench::new(4, &HealthSpec::default());
    bench.report(0, BAD, 4);
    bench.health.drain(0, true, bench.now);
    bench.report(0, BAD, 100);
    assert_eq!(bench.health.snapshot().endpoints[0].consecutive_failures, 4);
    bench.health.drain(0, false, bench.now);
    assert_eq!(bench.health.snapshot().endpoints[0].consecutive_failures, 0);
    bench.report(1, BAD, 5);
    bench.report(1, BAD, 100);
    bench.report(1, GOOD, 1);
    assert_eq!(bench.usable(), "1011");
    bench.pass(30 * SECOND);
    bench.report(1, BAD, 4);
    assert_eq!(bench.usable(), "1111");
}

#[test]
fn probes_and_ejection_speak_for_themselves() {
    let mut bench = Bench::new(4, &active());
    bench.report(0, BAD, 5);
    bench.probe(0, Verdict::Unhealthy);
    bench.pass(30 * SECOND);
    bench.probe(0, Verdict::Healthy);
    let told = bench.events.take();
    assert_eq!(
        told,
        [
            "e0: usable -> ejected (ConsecutiveFailures)",
            "e0: ejected -> unhealthy, ejected (ProbesFailed)",
            "e0: unhealthy, ejected -> unhealthy (EjectionOver)",
            "e0: unhealthy -> usable (ProbesPassed)",
        ]
    );
    // Ejected again: what probes say does not end it.
    bench.report(0, BAD, 5);
    bench.probe(0, Verdict::Healthy);
    assert_eq!(bench.usable(), "0111");
}

#[test]
fn too_few_usable_endpoints_set_health_aside() {
    let bench = Bench::new(4, &active());
    for index in 0..2 {
        bench.probe(index, Verdict::Unhealthy);
    }
    assert_eq!(bench.usable(), "0011");
    bench.probe(2, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "1111");
    bench.probe(0, Verdict::Healthy);
    assert_eq!(bench.usable(), "1001");
    let panics: Vec<String> = bench.events.take().into_iter().filter(|event| event.starts_with("panic")).collect();
    assert_eq!(panics, ["panic true: 1 of 4", "panic false: 2 of 4"]);
}

#[test]
fn panic_does_not_use_what_a_person_drained() {
    let bench = Bench::new(3, &active());
    bench.health.drain(0, true, bench.now);
    bench.probe(1, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "001");
    bench.probe(2, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "011");
    bench.health.drain(1, true, bench.now);
    bench.health.drain(2, true, bench.now);
    assert_eq!((bench.usable(), bench.health.panics()), ("000".to_owned(), false));
}

#[test]
fn the_version_tells_of_every_change_and_of_nothing_else() {
    let mut bench = Bench::new(4, &active());
    let mut last = bench.health.version();
    let mut changed = |bench: &Bench| std::mem::replace(&mut last, bench.health.version()) != bench.health.version();
    bench.report(0, BAD, 4);
    bench.report(1, GOOD, 9);
    bench.probe(2, Verdict::Healthy);
    bench.pass(SECOND);
    assert!(!changed(&bench));
    bench.report(0, BAD, 1);
    assert!(changed(&bench));
    bench.probe(1, Verdict::Unhealthy);
    assert!(changed(&bench));
    bench.health.drain(2, true, bench.now);
    assert!(changed(&bench));
    bench.pass(30 * SECOND);
    assert!(changed(&bench));
    bench.reload(&endpoints(4), &active());
    assert!(changed(&bench));
}

#[test]
fn switched_off_means_off() {
    let passive = PassiveSpec { consecutive_failures: 0, ..PassiveSpec::default() };
    let off = [None, Some(passive), Some(PassiveSpec { max_ejection_percent: 0, ..PassiveSpec::default() })];
    for passive in off {
        let bench = Bench::new(3, &HealthSpec { passive, ..HealthSpec::default() });
        bench.report(0, BAD, 100);
        assert_eq!(bench.usable(), "111");
    }
}

#[test]
fn positions_that_do_not_exist_are_out() {
    let bench = Bench::new(1, &HealthSpec::default());
    assert!(!bench.health.is_usable(1));
    bench.report(1, BAD, 100);
    bench.health.drain(1, true, bench.now);
    bench.probe(1, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "1");
}
