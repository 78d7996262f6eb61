//! What health promises in numbers, over time and under load: seeded, with a
//! clock that is moved by hand.

use super::active::{Hysteresis, Schedule, Verdict};
use super::panic::is_panic;
use super::passive::ejection_budget;
use super::spec::{ActiveSpec, Check, HealthSpec, PassiveSpec};
use super::standing::{Standing, Why};
use super::state::ProbeNote;
use super::tests::{Events, endpoint, endpoints, quiet};
use super::{Counts, UpstreamHealth};
use crate::outcome::{Fault, Outcome};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use torana_core::head::Status;
use torana_core::trace::IdSource;

const SECOND: Duration = Duration::from_secs(1);
const BAD: Outcome = Outcome::Failed(Fault::Connect);
const GOOD: Outcome = Outcome::Replied(Status::OK);

fn watched() -> HealthSpec {
    HealthSpec { active: Some(ActiveSpec::new(Check::Tcp)), ..HealthSpec::default() }
}

fn upstream(count: usize, spec: &HealthSpec, now: Instant) -> Arc<UpstreamHealth> {
    UpstreamHealth::new(&"u".into(), &endpoints(count), spec, None, &quiet(), now)
}

fn note(at: Instant, passed: bool) -> ProbeNote {
    ProbeNote { at, passed: Some(passed), words: "".into(), passes: 0, failures: 0 }
}

/// How often an endpoint goes in or out over probes that `passes` answers.
fn changes(healthy_threshold: u32, unhealthy_threshold: u32, mut passes: impl FnMut(u32) -> bool) -> usize {
    let spec = ActiveSpec { healthy_threshold, unhealthy_threshold, ..ActiveSpec::new(Check::Tcp) };
    let health = upstream(10, &HealthSpec { active: Some(spec.clone()), ..HealthSpec::default() }, Instant::now());
    let (mut hysteresis, mut changes, mut last) = (Hysteresis::resume(Verdict::Healthy), 0, true);
    for number in 0..1000 {
        let passed = passes(number);
        health.probed(0, &note(Instant::now(), passed), hysteresis.observe(passed, &spec));
        changes += usize::from(health.is_usable(0) != last);
        last = health.is_usable(0);
    }
    changes
}

#[test]
fn a_flapping_endpoint_does_not_flap_the_pool() {
    let alternating = |number: u32| number.is_multiple_of(2);
    assert_eq!(changes(1, 1, alternating), 999);
    assert_eq!(changes(2, 3, alternating), 0);
    // One probe in five is lost: what thresholds of one make of that, and ours.
    let lossy = || {
        let mut ids = IdSource::new(1);
        move |_| !ids.next().is_multiple_of(5)
    };
    let (naive, ours) = (changes(1, 1, lossy()), changes(2, 3, lossy()));
    assert!(naive > 300 && ours < 20, "{naive} and {ours}");
}

/// Runs one target's probes over virtual time: `works` says what a probe at a
/// moment sees; the result is when the verdict was which.
fn probe_through(seed: u64, until: Duration, works: impl Fn(Duration) -> bool) -> Vec<(Duration, Verdict)> {
    let (spec, start, mut ids) = (ActiveSpec::new(Check::Tcp), Instant::now(), IdSource::new(seed));
    let mut random = || ids.next();
    let (mut schedule, mut at) = Schedule::start(start, &spec, &mut random);
    let (mut hysteresis, mut seen) = (Hysteresis::default(), Vec::new());
    while at - start < until {
        let verdict = hysteresis.observe(works(at - start), &spec);
        if seen.last().is_none_or(|(_, last)| *last != verdict) {
            seen.push((at - start, verdict));
        }
        at = schedule.next(at, at, &hysteresis, &spec, &mut random);
    }
    seen
}

#[test]
fn an_outage_is_noticed_in_eight_seconds_and_its_end_in_seven() {
    let (broken, whole) = (100 * SECOND, 200 * SECOND);
    let (mut slowest_out, mut slowest_back) = (Duration::ZERO, Duration::ZERO);
    for seed in 0..500 {
        let seen = probe_through(seed, 300 * SECOND, |at| at < broken || at >= whole);
        let [(first, Verdict::Healthy), (out, Verdict::Unhealthy), (back, Verdict::Healthy)] = seen[..] else {
            panic!("{seen:?}")
        };
        assert!(first < SECOND);
        slowest_out = slowest_out.max(out - broken);
        slowest_back = slowest_back.max(back - whole);
    }
    // An interval and two looks in doubt, or one, each ten percent late.
    assert!(slowest_out <= Duration::from_millis(5500 + 2 * 1100), "{slowest_out:?}");
    assert!(slowest_back <= Duration::from_millis(5500 + 1100), "{slowest_back:?}");
}

/// When each of a thousand targets is probed within a minute.
fn minute_of_probes(seed: u64) -> Vec<Vec<Duration>> {
    let (spec, start, mut ids) = (ActiveSpec::new(Check::Tcp), Instant::now(), IdSource::new(seed));
    let mut random = || ids.next();
    let mut minute = Vec::new();
    for _ in 0..1000 {
        let (mut schedule, mut at) = Schedule::start(start, &spec, &mut random);
        let (mut hysteresis, mut probes) = (Hysteresis::default(), Vec::new());
        while at - start < 60 * SECOND {
            probes.push(at - start);
            hysteresis.observe(true, &spec);
            at = schedule.next(at, at, &hysteresis, &spec, &mut random);
        }
        minute.push(probes);
    }
    minute
}

/// The largest share of one tenth of a second of the interval from `from` on.
fn largest_share(minute: &[Vec<Duration>], from: u32) -> f64 {
    let mut buckets = [0_u32; 50];
    for at in minute.iter().flatten() {
        if let Some(bucket) =
            at.checked_sub(from * SECOND).and_then(|at| buckets.get_mut((at.as_millis() / 100) as usize))
        {
            *bucket += 1;
        }
    }
    f64::from(*buckets.iter().max().unwrap()) / f64::from(buckets.iter().sum::<u32>())
}

#[test]
fn a_thousand_targets_are_probed_evenly_over_the_interval() {
    let minute = minute_of_probes(3);
    // Everybody is asked within a second, and eleven to fourteen times in all.
    assert!(minute.iter().all(|probes| probes[0] < SECOND && (11..=14).contains(&probes.len())));
    // Fifty buckets hold 2 % each on average, from the second interval on.
    for from in [6, 20, 55] {
        let share = largest_share(&minute, from);
        assert!(share < 0.04, "{share} behind {from}s");
    }
}

#[test]
fn gateways_that_start_together_do_not_probe_in_step() {
    let (one, other) = (minute_of_probes(4), minute_of_probes(5));
    let mut near = 0;
    for (ours, theirs) in one.iter().zip(&other) {
        let ours: Vec<&Duration> = ours.iter().filter(|at| **at > 30 * SECOND).collect();
        near += usize::from(ours.iter().all(|at| theirs.iter().any(|other| at.abs_diff(*other) < SECOND / 2)));
    }
    // A probe is within half a second of one of the other's one time in five;
    // all of six only if two walk side by side.
    assert!(near < 50, "{near} of 1000");
}

#[test]
fn when_everything_fails_probes_the_load_is_spread_over_all() {
    let now = Instant::now();
    let health = upstream(10, &watched(), now);
    for index in 0..10 {
        health.probed(index, &note(now, false), Verdict::Unhealthy);
    }
    let usable: Vec<usize> = (0..10).filter(|&index| health.is_usable(index)).collect();
    let (mut ids, mut sent) = (IdSource::new(2), [0; 10]);
    for _ in 0..10_000 {
        sent[usable[usize::try_from(ids.next()).unwrap() % usable.len()]] += 1;
    }
    assert!(sent.iter().all(|count| (900..=1100).contains(count)), "{sent:?}");
}

#[test]
fn when_every_request_fails_nine_of_ten_endpoints_stay_in_and_take_turns() {
    let mut now = Instant::now();
    let health = upstream(10, &HealthSpec::default(), now);
    let mut sent = [0_u32; 10];
    // Ten minutes at fifty requests a second.
    for number in 0..10 * 60 * 50 {
        now += Duration::from_millis(20);
        health.tend(now);
        let index = (number..number + 10).map(|at| at % 10).find(|&index| health.is_usable(index)).unwrap();
        sent[index] += 1;
        health.report(index, BAD, now);
        assert!(health.counts().usable >= 9 && !health.panics());
    }
    let counts = health.counts();
    assert!((10..=20).contains(&counts.ejections), "{counts:?}");
    assert_eq!(sent.iter().sum::<u32>(), 30_000);
}

#[test]
fn an_endpoint_that_fails_for_good_gets_less_and_less_traffic() {
    let start = Instant::now();
    let health = upstream(10, &HealthSpec::default(), start);
    let (mut failed, mut now) = (0_u32, start);
    // An hour at a hundred requests a second for the upstream.
    for number in 0..60 * 60 * 100_u32 {
        now += Duration::from_millis(10);
        if number.is_multiple_of(10) {
            health.tend(now);
            if health.is_usable(0) {
                failed += 1;
                health.report(0, BAD, now);
            }
        }
    }
    let seen = &health.snapshot().endpoints[0];
    // 30s, 60s, … 270s, then 300s each: nine times until minute 22.5, then
    // seven and a half in what is left, and five requests for each.
    assert_eq!((seen.times_ejected, failed), (17, 17 * 5));
    // Ten base times of good behaviour, and the next one is short again.
    now += 20 * 30 * SECOND;
    health.tend(now);
    (0..5).for_each(|_| health.report(0, BAD, now));
    assert_eq!(health.snapshot().endpoints[0].ejected_until, Some(now + 30 * SECOND));
}

#[test]
fn workers_that_report_at_once_eject_once() {
    let (events, now) = (Arc::<Events>::default(), Instant::now());
    for round in 0..50 {
        let observer: Arc<dyn super::event::Observer> = events.clone();
        let health = UpstreamHealth::new(&"u".into(), &endpoints(20), &HealthSpec::default(), None, &observer, now);
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (health, barrier) = (&health, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0..100 {
                        health.report(0, BAD, now);
                        health.report(1 + (worker + number) % 19, GOOD, now);
                    }
                });
            }
        });
        assert_eq!(events.take(), ["e0: usable -> ejected (ConsecutiveFailures)"], "round {round}");
        let counts = health.counts();
        assert_eq!((counts.ejected, counts.ejections, counts.ejections_refused, counts.usable), (1, 1, 0, 19));
    }
}

#[test]
fn workers_that_fail_everywhere_at_once_keep_to_the_budget() {
    let start = Instant::now();
    let health = upstream(40, &HealthSpec::default(), start);
    let (barrier, clock) = (Barrier::new(4), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (health, barrier, clock) = (&health, &barrier, &clock);
            scope.spawn(move || {
                let mut ids = IdSource::new(worker);
                barrier.wait();
                for _ in 0..5_000 {
                    let now = start + Duration::from_millis(clock.fetch_add(20, Ordering::Relaxed));
                    health.report((ids.next() % 40) as usize, BAD, now);
                    health.tend(now);
                    assert!(health.counts().ejected <= 4);
                }
            });
        }
    });
    let counts = health.counts();
    assert_eq!(
        counts,
        Counts { ejections: counts.ejections, ejections_refused: counts.ejections_refused, ..recount(&health) }
    );
    assert!(counts.ejections > 4, "{counts:?}");
}

/// The counts as the standings have them.
fn recount(health: &UpstreamHealth) -> Counts {
    let standings: Vec<Standing> = health.endpoints().iter().map(|endpoint| endpoint.standing()).collect();
    let count =
        |holds: fn(&Standing) -> bool| u32::try_from(standings.iter().filter(|one| holds(one)).count()).unwrap();
    Counts {
        total: count(|_| true),
        candidates: count(|standing| standing.is_candidate()),
        usable: count(|standing| standing.is_usable()),
        ejected: count(|standing| standing.has(Why::Ejected)),
        ..Counts::default()
    }
}

/// Anything that can happen to an upstream.
#[derive(Clone, Debug)]
enum Step {
    Report { index: usize, good: bool, times: usize },
    Probe { index: usize, verdict: Verdict },
    Drain { index: usize, on: bool },
    Pass { seconds: u32 },
    Reload { names: BTreeSet<u8>, percent: u8, panic: u8, active: bool, passive: bool, require: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..24_usize;
    let verdict = prop_oneof![Just(Verdict::Unknown), Just(Verdict::Healthy), Just(Verdict::Unhealthy)];
    prop_oneof![
        8 => (index.clone(), any::<bool>(), 1..7_usize)
            .prop_map(|(index, good, times)| Step::Report { index, good, times }),
        4 => (index.clone(), verdict).prop_map(|(index, verdict)| Step::Probe { index, verdict }),
        1 => (index, any::<bool>()).prop_map(|(index, on)| Step::Drain { index, on }),
        3 => (0..90_u32).prop_map(|seconds| Step::Pass { seconds }),
        1 => (
            proptest::collection::btree_set(0..30_u8, 1..24),
            0..=100_u8,
            0..=100_u8,
            proptest::bool::weighted(0.8),
            proptest::bool::weighted(0.8),
            any::<bool>(),
        )
            .prop_map(|(names, percent, panic, active, passive, require)| {
                Step::Reload { names, percent, panic, active, passive, require }
            }),
    ]
}

fn spec_of(percent: u8, panic: u8, active: bool, passive: bool, require: bool) -> HealthSpec {
    HealthSpec {
        active: active.then(|| ActiveSpec { require, ..ActiveSpec::new(Check::Tcp) }),
        passive: passive.then(|| PassiveSpec { max_ejection_percent: percent, ..PassiveSpec::default() }),
        panic_threshold: panic,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens in whatever order: ejections stay within the budget,
    /// counts are those of the standings, panic is what the counts say, no
    /// ejection outlasts its time, and what is not watched for is held against
    /// nobody.
    #[test]
    fn the_budget_and_the_counts_hold_under_any_sequence(
        percent in 0..=100_u8,
        count in 1..24_usize,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut now = Instant::now();
        let mut spec = spec_of(percent, 50, true, true, false);
        let mut health = upstream(count, &spec, now);
        let mut before: Option<Arc<UpstreamHealth>> = None;
        for step in steps {
            match step {
                Step::Report { index, good, times } => (0..times).for_each(|_| {
                    let outcome = if good { GOOD } else { BAD };
                    health.report(index, outcome, now);
                    // A worker that has not taken up the new plan yet.
                    before.iter().for_each(|before| before.report(index, outcome, now));
                }),
                Step::Probe { index, verdict } => {
                    health.probed(index, &note(now, verdict == Verdict::Healthy), verdict);
                }
                Step::Drain { index, on } => health.drain(index, on, now),
                Step::Pass { seconds } => now += seconds * SECOND,
                Step::Reload { names, percent, panic, active, passive, require } => {
                    spec = spec_of(percent, panic, active, passive, require);
                    let endpoints: Vec<_> = names.iter().map(|name| endpoint(&format!("e{name}"))).collect();
                    let next = UpstreamHealth::new(&"u".into(), &endpoints, &spec, Some(&health), &quiet(), now);
                    next.adopt(now);
                    before = Some(std::mem::replace(&mut health, next));
                }
            }
            health.tend(now);
            let counts = health.counts();
            let budget = spec.passive.as_ref()
                .map_or(0, |passive| ejection_budget(passive.max_ejection_percent, counts.total));
            prop_assert!(counts.ejected <= budget, "{} of {}", counts.ejected, budget);
            prop_assert_eq!(
                Counts { ejections: 0, ejections_refused: 0, ..counts },
                recount(&health)
            );
            prop_assert_eq!(health.panics(), is_panic(spec.panic_threshold, counts.usable, counts.candidates));
            for seen in health.snapshot().endpoints {
                prop_assert_eq!(seen.standing.has(Why::Ejected), seen.ejected_until.is_some());
                prop_assert!(seen.ejected_until.is_none_or(|until| until > now && until <= now + 300 * SECOND));
                prop_assert!(spec.active.is_some() || !seen.standing.has(Why::Unhealthy));
            }
        }
    }
}
