//! What a reload keeps, ends and leaves alone.

use super::{BAD, Bench, SECOND, active, endpoint, endpoints};
use crate::health::active::Verdict;
use crate::health::spec::{ActiveSpec, Check, HealthSpec};
use crate::spec::Address;

#[test]
fn required_probes_keep_new_endpoints_out_until_one_passes() {
    let required = ActiveSpec { require: true, ..ActiveSpec::new(Check::Tcp) };
    let spec = HealthSpec { active: Some(required), ..HealthSpec::default() };
    let mut bench = Bench::new(2, &spec);
    assert_eq!(bench.usable(), "00");
    bench.probe(0, Verdict::Healthy);
    bench.probe(1, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "10");
    // Only the endpoint that is new with a reload waits.
    bench.reload(&endpoints(3), &spec);
    assert_eq!(bench.usable(), "100");
    bench.reload(&endpoints(3), &active());
    assert_eq!(bench.usable(), "101");
}

#[test]
fn probes_that_are_configured_later_do_not_take_a_running_upstream_out() {
    let mut bench = Bench::new(2, &HealthSpec::default());
    let required = ActiveSpec { require: true, ..ActiveSpec::new(Check::Tcp) };
    bench.reload(&endpoints(2), &HealthSpec { active: Some(required), ..HealthSpec::default() });
    assert_eq!(bench.usable(), "11");
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut bench = Bench::new(4, &active());
    bench.report(0, BAD, 5);
    bench.probe(1, Verdict::Unhealthy);
    bench.health.drain(2, true, bench.now);
    // Other order, other weight, one gone, one new.
    let mut next = endpoints(6).split_off(1);
    next.reverse();
    next[0].weight = 7;
    next.push(endpoint("e0"));
    bench.reload(&next, &active());
    let standings: Vec<String> = (0..6).map(|index| bench.health.standing(index).to_string()).collect();
    assert_eq!(standings, ["usable", "usable", "usable", "drained", "unhealthy", "ejected"]);
    assert_eq!((bench.health.counts().total, bench.health.counts().ejected), (6, 1));
    bench.pass(30 * SECOND);
    assert!(bench.health.is_usable(5));
}

#[test]
fn another_place_under_the_same_name_is_another_endpoint() {
    let mut bench = Bench::new(2, &active());
    bench.probe(0, Verdict::Unhealthy);
    let mut moved = endpoints(2);
    moved[0].address = Address::Name("elsewhere".into(), 80);
    bench.reload(&moved, &active());
    assert_eq!(bench.usable(), "11");
}

#[test]
fn an_endpoint_listed_twice_is_two() {
    let twice = [endpoint("e0"), endpoint("e0")];
    let mut bench = Bench::new(0, &HealthSpec::default());
    bench.reload(&twice, &HealthSpec::default());
    bench.report(0, BAD, 5);
    bench.reload(&twice, &HealthSpec::default());
    assert_eq!(bench.usable(), "01");
}

#[test]
fn a_plan_that_is_thrown_away_leaves_no_trace() {
    let bench = Bench::new(4, &active());
    bench.report(0, BAD, 5);
    bench.probe(1, Verdict::Unhealthy);
    bench.events.take();
    let (counts, version) = (bench.health.counts(), bench.health.version());
    drop(bench.next(&endpoints(1), &HealthSpec { passive: None, ..HealthSpec::default() }));
    assert_eq!((bench.health.counts(), bench.health.version()), (counts, version));
    assert!(bench.events.take().is_empty());
}

#[test]
fn workers_at_the_old_plan_report_into_the_same_state() {
    let mut bench = Bench::new(3, &HealthSpec::default());
    let old = bench.health.clone();
    bench.reload(&endpoints(2), &HealthSpec::default());
    old.report(2, BAD, bench.now);
    for _ in 0..5 {
        old.report(0, BAD, bench.now);
        old.report(2, BAD, bench.now);
    }
    let counts = bench.health.counts();
    assert_eq!((bench.usable().as_str(), counts.ejected, counts.ejections), ("01", 1, 1));
    // The one that has left is nobody's to eject.
    assert_eq!(bench.events.take(), ["e0: usable -> ejected (ConsecutiveFailures)"]);
}

#[test]
fn what_is_not_watched_for_any_more_is_not_held_against_anyone() {
    let mut bench = Bench::new(4, &active());
    bench.report(0, BAD, 5);
    bench.probe(1, Verdict::Unhealthy);
    bench.health.drain(2, true, bench.now);
    bench.events.take();
    bench.reload(&endpoints(4), &HealthSpec { active: None, passive: None, panic_threshold: 50 });
    assert_eq!(bench.usable(), "1101");
    assert_eq!(
        bench.events.take(),
        ["e0: ejected -> usable (Configuration)", "e1: unhealthy -> usable (Configuration)", "panic false: 3 of 3",]
    );
    // A probe that was under way ends behind the reload.
    bench.probe(1, Verdict::Unhealthy);
    assert_eq!(bench.usable(), "1101");
}

#[test]
fn a_smaller_upstream_has_a_smaller_budget() {
    let mut bench = Bench::new(20, &HealthSpec::default());
    bench.report(1, BAD, 5);
    bench.pass(SECOND);
    bench.report(0, BAD, 5);
    assert_eq!(bench.health.counts().ejected, 2);
    bench.events.take();
    bench.reload(&endpoints(10), &HealthSpec::default());
    assert_eq!(bench.events.take(), ["e1: ejected -> usable (EjectionBudget)"]);
    assert_eq!((bench.health.counts().ejected, bench.usable().as_str()), (1, "0111111111"));
}

#[test]
fn panic_neither_begins_nor_ends_half_way_through_a_reload() {
    let mut bench = Bench::new(4, &active());
    for index in 0..4 {
        bench.probe(index, Verdict::Unhealthy);
    }
    bench.events.take();
    bench.reload(&endpoints(4), &HealthSpec::default());
    let told = bench.events.take();
    assert_eq!(told.len(), 5);
    assert_eq!(told[4], "panic false: 4 of 4");
}
