use super::*;
use crate::outcome::{Fault, Outcome};
use torana_core::clock::{Clock, ManualClock};
use torana_core::head::Status;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::units::Percent;

const GOOD: Outcome = Outcome::Replied(Status::OK);
const BAD: Outcome = Outcome::Replied(Status::SERVICE_UNAVAILABLE);
const QUICK: Duration = Duration::from_millis(5);

/// A breaker and its time.
struct Bench {
    breaker: Arc<Breaker>,
    clock: ManualClock,
}

impl Bench {
    fn new(spec: &BreakerSpec) -> Bench {
        let clock = ManualClock::default();
        Bench { breaker: Arc::new(Breaker::new(&"users".into(), spec, clock.now())), clock }
    }

    fn admit(&self) -> Result<Permit<&Breaker>, Rejected> {
        self.breaker.admit(self.clock.now())
    }

    /// One request that ends at once; false if it was not admitted.
    fn send(&self, outcome: Outcome) -> bool {
        self.send_slow(outcome, QUICK)
    }

    fn send_slow(&self, outcome: Outcome, latency: Duration) -> bool {
        let Ok(permit) = self.admit() else { return false };
        permit.report(outcome, latency, self.clock.now());
        true
    }

    fn send_many(&self, count: usize, outcome: Outcome) {
        for _ in 0..count {
            assert!(self.send(outcome));
        }
    }

    fn phase(&self) -> Phase {
        self.snapshot().phase
    }

    fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot(self.clock.now())
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn history(&self) -> Vec<(Phase, Phase, Why)> {
        self.snapshot().history.iter().map(|event| (event.from, event.to, event.why)).collect()
    }
}

fn consecutive() -> BreakerSpec {
    BreakerSpec { failures: Some(5), open_for: Duration::from_secs(60), ..BreakerSpec::DEFAULT }
}

fn ratio() -> BreakerSpec {
    BreakerSpec { failure_ratio: Some(Percent::new(50)), ..BreakerSpec::DEFAULT }
}

#[test]
fn the_fifth_failure_in_a_row_opens_and_not_the_fourth() {
    let bench = Bench::new(&consecutive());
    bench.send_many(4, BAD);
    bench.send_many(1, GOOD);
    bench.send_many(4, Outcome::Failed(Fault::Reset));
    assert_eq!((bench.phase(), bench.snapshot().counts.in_a_row), (Phase::Closed, 4));
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
    let event = bench.snapshot().history[0];
    assert_eq!((event.why, event.counts.in_a_row), (Why::Failures, 5));
    assert_eq!(event.open_for, Some(Duration::from_secs(60)));
}

#[test]
fn what_the_client_or_the_gateway_did_never_opens() {
    let everything = BreakerSpec { failures: Some(5), min_requests: 1, ..ratio() };
    let bench = Bench::new(&everything);
    for status in [400, 401, 404, 429, 499, 501] {
        bench.send_many(200, Outcome::Replied(Status::new(status).unwrap()));
    }
    bench.send_many(1000, Outcome::Local);
    for _ in 0..1000 {
        drop(bench.admit().unwrap());
    }
    assert_eq!(bench.phase(), Phase::Closed);
    assert_eq!(bench.snapshot().counts, Counts { total: 1200, ..Counts::default() });
}

#[test]
fn a_local_end_does_not_break_a_row_of_failures() {
    let bench = Bench::new(&consecutive());
    bench.send_many(4, BAD);
    bench.send_many(10, Outcome::Local);
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn shares_are_not_looked_at_below_the_minimum_volume() {
    let bench = Bench::new(&ratio());
    bench.send_many(19, BAD);
    assert_eq!(bench.phase(), Phase::Closed, "19 of 19 failed, but 20 are the minimum");
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn the_share_opens_exactly_at_its_threshold() {
    let bench = Bench::new(&ratio());
    bench.send_many(51, GOOD);
    bench.send_many(50, BAD);
    assert_eq!(bench.phase(), Phase::Closed, "50 of 101");
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open, "51 of 102");
    let event = bench.snapshot().history[0];
    assert_eq!(event.counts, Counts { total: 102, failed: 51, slow: 0, in_a_row: 0 });
    assert_eq!(event.why, Why::FailureRatio);
}

#[test]
fn what_left_the_window_is_forgotten() {
    let bench = Bench::new(&ratio());
    bench.send_many(19, BAD);
    bench.advance(10);
    bench.send_many(19, BAD);
    assert_eq!(bench.phase(), Phase::Closed, "never twenty within ten seconds");
    bench.advance(5);
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn good_news_never_opens() {
    let bench = Bench::new(&ratio());
    bench.send_many(19, BAD);
    bench.send_many(1, GOOD);
    assert_eq!(bench.phase(), Phase::Closed);
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
}

#[test]
fn slow_answers_open_and_a_latency_at_the_bound_is_not_slow() {
    let over = Duration::from_secs(3);
    let slow = Some(SlowSpec { over, ratio: Percent::new(50) });
    let bench = Bench::new(&BreakerSpec { slow, ..BreakerSpec::DEFAULT });
    for _ in 0..100 {
        assert!(bench.send_slow(GOOD, over));
    }
    for _ in 0..99 {
        assert!(bench.send_slow(GOOD, over + Duration::from_millis(1)));
    }
    assert_eq!(bench.phase(), Phase::Closed);
    assert!(bench.send_slow(Outcome::Replied(Status::NOT_FOUND), over * 2));
    assert_eq!(bench.phase(), Phase::Open);
    let event = bench.snapshot().history[0];
    assert_eq!((event.why, event.counts.slow, event.counts.total), (Why::SlowRatio, 100, 200));
}

#[test]
fn triggers_combine() {
    let slow = Some(SlowSpec { over: Duration::from_secs(3), ratio: Percent::new(50) });
    let all = BreakerSpec { slow, failures: Some(5), ..ratio() };
    let why = |fill: &dyn Fn(&Bench)| {
        let bench = Bench::new(&all);
        fill(&bench);
        bench.snapshot().history.last().map(|event| event.why)
    };
    assert_eq!(why(&|bench| bench.send_many(5, BAD)), Some(Why::Failures));
    let alternating = |bench: &Bench| {
        for _ in 0..10 {
            bench.send_many(1, GOOD);
            bench.send_many(1, BAD);
        }
    };
    assert_eq!(why(&alternating), Some(Why::FailureRatio));
    let slowly = |bench: &Bench| (0..20).for_each(|_| assert!(bench.send_slow(GOOD, Duration::from_secs(4))));
    assert_eq!(why(&slowly), Some(Why::SlowRatio));
}

#[test]
fn an_open_breaker_refuses_until_its_time_is_over() {
    let bench = Bench::new(&consecutive());
    bench.send_many(5, BAD);
    bench.clock.advance(Duration::from_millis(59_500));
    let rejected = bench.admit().unwrap_err();
    assert_eq!(rejected.refusal.code, "breaker.open");
    assert_eq!(rejected.retry_after, Some(Duration::from_millis(500)));
    let rejection = Rejection::from(rejected);
    assert_eq!(rejection.fields.unwrap().get(KnownName::RetryAfter), Some(&b"1"[..]));
    bench.clock.advance(Duration::from_millis(500));
    assert!(bench.admit().unwrap().is_probe());
}

#[test]
fn half_open_admits_exactly_the_probes() {
    let bench = Bench::new(&consecutive());
    bench.send_many(5, BAD);
    bench.advance(60);
    let probes: Vec<_> = (0..3).map(|_| bench.admit().unwrap()).collect();
    assert_eq!(bench.admit().unwrap_err().refusal.code, "breaker.open");
    let mut probes = probes.into_iter();
    probes.next().unwrap().report(GOOD, QUICK, bench.clock.now());
    assert!(bench.admit().is_err(), "a success keeps its place: three requests decide, not four");
    let snapshot = bench.snapshot();
    assert_eq!((snapshot.phase, snapshot.probes_good, snapshot.probes_out), (Phase::HalfOpen, 1, 2));
    drop(probes.next());
    let again = bench.admit().expect("who told nothing gave its place back");
    assert!(bench.admit().is_err());
    again.report(Outcome::Local, QUICK, bench.clock.now());
    assert_eq!(bench.phase(), Phase::HalfOpen, "nothing decided");
    bench.admit().unwrap().report(GOOD, QUICK, bench.clock.now());
    probes.next().unwrap().report(Outcome::Replied(Status::NOT_FOUND), QUICK, bench.clock.now());
    assert_eq!(bench.phase(), Phase::Recovering);
}

#[test]
fn one_bad_or_slow_probe_opens_again_for_twice_as_long() {
    let slow = Some(SlowSpec { over: Duration::from_secs(3), ratio: Percent::new(50) });
    let bench = Bench::new(&BreakerSpec { slow, ..consecutive() });
    bench.send_many(5, BAD);
    for (wait, latency, outcome) in [(60, QUICK, BAD), (120, Duration::from_secs(4), GOOD), (240, QUICK, BAD)] {
        bench.advance(wait - 1);
        assert!(bench.admit().is_err());
        bench.advance(1);
        let other = bench.admit().unwrap();
        assert!(bench.send_slow(outcome, latency));
        assert_eq!(bench.phase(), Phase::Open);
        other.report(GOOD, QUICK, bench.clock.now());
        assert_eq!(bench.phase(), Phase::Open, "a late probe changes nothing");
    }
    assert_eq!(bench.snapshot().opens_for, Some(Duration::from_secs(300)), "the cap");
    assert_eq!(bench.snapshot().openings, 4);
}

#[test]
fn silent_probes_do_not_block_for_ever() {
    let bench = Bench::new(&consecutive());
    bench.send_many(5, BAD);
    bench.advance(60);
    let stuck: Vec<_> = (0..3).map(|_| bench.admit().unwrap()).collect();
    bench.advance(59);
    assert!(bench.admit().is_err());
    assert_eq!(bench.phase(), Phase::HalfOpen);
    bench.advance(1);
    assert!(bench.admit().is_err());
    assert_eq!(bench.phase(), Phase::Open);
    assert_eq!(bench.history().last(), Some(&(Phase::HalfOpen, Phase::Open, Why::ProbesSilent)));
    bench.advance(120);
    let fresh: Vec<_> = (0..3).map(|_| bench.admit().unwrap()).collect();
    drop(stuck);
    assert!(bench.admit().is_err(), "what is given back late belonged to other places");
    drop(fresh);
}

#[test]
fn late_results_do_not_disturb_a_later_phase() {
    let bench = Bench::new(&BreakerSpec { recovery: Duration::ZERO, probes: 1, ..consecutive() });
    let before: Vec<_> = (0..50).map(|_| bench.admit().unwrap()).collect();
    let mut before = before.into_iter();
    bench.send_many(5, BAD);
    let mut late = |outcome| before.next().unwrap().report(outcome, QUICK, bench.clock.now());
    (0..10).for_each(|_| late(GOOD));
    assert_eq!(bench.phase(), Phase::Open);
    bench.advance(60);
    let probe = bench.admit().unwrap();
    (0..10).for_each(|_| late(GOOD));
    (0..10).for_each(|_| late(BAD));
    assert_eq!((bench.phase(), bench.snapshot().probes_out), (Phase::HalfOpen, 1));
    probe.report(GOOD, QUICK, bench.clock.now());
    assert_eq!(bench.phase(), Phase::Closed);
    (0..10).for_each(|_| late(BAD));
    assert_eq!((bench.phase(), bench.snapshot().counts.in_a_row), (Phase::Closed, 0));
    bench.send_many(4, BAD);
    (0..5).for_each(|_| late(GOOD));
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open, "nor does a late success break a row");
}

#[test]
fn recovery_counts_and_opens_again() {
    let bench = Bench::new(&consecutive());
    bench.send_many(5, BAD);
    bench.advance(60);
    bench.send_many(3, GOOD);
    bench.advance(9);
    let mut sent = 0;
    while bench.phase() == Phase::Recovering {
        sent += usize::from(bench.send(BAD));
    }
    assert_eq!(sent, 5);
    assert_eq!(bench.history().last(), Some(&(Phase::Recovering, Phase::Open, Why::Failures)));
    assert_eq!(bench.snapshot().opens_for, Some(Duration::from_secs(120)));
}

#[test]
fn a_relapse_backs_off_and_a_lasting_recovery_forgets() {
    let bench = Bench::new(&BreakerSpec { recovery: Duration::ZERO, ..consecutive() });
    let open_and_close = |wait: u64| {
        bench.send_many(5, BAD);
        assert_eq!(bench.snapshot().opens_for, Some(Duration::from_secs(wait)));
        bench.advance(wait);
        bench.send_many(3, GOOD);
        assert_eq!(bench.phase(), Phase::Closed);
    };
    open_and_close(60);
    bench.advance(59);
    open_and_close(120);
    bench.advance(119);
    open_and_close(240);
    bench.advance(240);
    open_and_close(60);
}

#[test]
fn operators_force_and_release() {
    let bench = Bench::new(&consecutive());
    bench.breaker.force_open(bench.clock.now());
    bench.advance(10_000);
    assert!(bench.admit().is_err());
    bench.breaker.force_open(bench.clock.now());
    assert_eq!(bench.snapshot().since, Duration::from_secs(10_000), "forcing twice is once");
    bench.breaker.release(bench.clock.now());
    assert!(bench.admit().unwrap().is_probe());
    bench.send_many(1, BAD);
    assert_eq!(bench.snapshot().opens_for, Some(Duration::from_secs(60)), "what was forced is no relapse");
    bench.breaker.force_closed(bench.clock.now());
    bench.send_many(1000, BAD);
    assert_eq!(bench.phase(), Phase::ForcedClosed);
    bench.breaker.release(bench.clock.now());
    bench.breaker.release(bench.clock.now());
    bench.send_many(4, BAD);
    assert_eq!(bench.phase(), Phase::Closed);
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
    assert_eq!(bench.snapshot().openings, 3);
}

#[test]
fn a_reload_forgets_nothing() {
    let bench = Bench::new(&consecutive());
    let same = bench.breaker.succeed(&consecutive(), bench.clock.now());
    assert!(Arc::ptr_eq(&same, &bench.breaker));
    let changed = BreakerSpec { failures: Some(2), ..consecutive() };
    bench.send_many(5, BAD);
    bench.advance(20);
    let next = bench.breaker.succeed(&changed, bench.clock.now());
    let snapshot = next.snapshot(bench.clock.now());
    assert_eq!((snapshot.phase, snapshot.opens_for), (Phase::Open, Some(Duration::from_secs(40))));
    assert_eq!((snapshot.openings, snapshot.since), (1, Duration::from_secs(20)));
    bench.advance(40);
    assert!(next.admit(bench.clock.now()).unwrap().is_probe());
    assert_eq!(next.snapshot(bench.clock.now()).phase, Phase::HalfOpen);
    let after = next.succeed(&consecutive(), bench.clock.now());
    let snapshot = after.snapshot(bench.clock.now());
    assert_eq!((snapshot.phase, snapshot.opens_for), (Phase::Open, Some(Duration::ZERO)), "probed anew");
    let serials: Vec<u64> = snapshot.history.iter().map(|event| event.serial).collect();
    assert!(serials.is_sorted_by(|a, b| a < b), "{serials:?}");
    assert_eq!(snapshot.history.last().unwrap().why, Why::Reloaded);
    after.admit(bench.clock.now()).unwrap().report(BAD, QUICK, bench.clock.now());
    assert_eq!(after.snapshot(bench.clock.now()).opens_for, Some(Duration::from_secs(120)), "the row of openings too");
}

#[test]
fn every_transition_is_told_once_with_its_reason() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let clock = ManualClock::default();
    let breaker = Breaker::new(&"users".into(), &consecutive(), clock.now()).observed_by({
        let told = told.clone();
        Arc::new(move |breaker, event| told.lock().unwrap().push((breaker.name().clone(), *event)))
    });
    let bench = Bench { breaker: Arc::new(breaker), clock };
    bench.send_many(5, BAD);
    bench.advance(60);
    bench.send_many(3, GOOD);
    bench.advance(10);
    bench.send_many(1, GOOD);
    let expected = [
        (Phase::Closed, Phase::Open, Why::Failures),
        (Phase::Open, Phase::HalfOpen, Why::OpenElapsed),
        (Phase::HalfOpen, Phase::Recovering, Why::ProbesSucceeded),
        (Phase::Recovering, Phase::Closed, Why::Recovered),
    ];
    assert_eq!(bench.history(), expected);
    let told = told.lock().unwrap();
    assert!(told.iter().all(|(name, _)| &**name == "users"));
    assert_eq!(told.iter().map(|(_, event)| *event).collect::<Vec<_>>(), bench.snapshot().history);
    assert_eq!(told[3].1.at - told[0].1.at, Duration::from_secs(70));
}

#[test]
fn settings_out_of_bounds_do_no_harm() {
    let odd = BreakerSpec {
        failures: Some(0),
        failure_ratio: Some(Percent::new(0)),
        slow: None,
        window: Duration::ZERO,
        min_requests: u32::MAX,
        open_for: Duration::MAX,
        open_for_max: Duration::ZERO,
        probes: 0,
        recovery: Duration::MAX,
    };
    let bench = Bench::new(&odd);
    bench.send_many(1, BAD);
    assert_eq!(bench.phase(), Phase::Open);
    bench.advance(1 << 32);
    assert!(bench.admit().is_err());
    bench.breaker.force_open(bench.clock.now());
    bench.breaker.release(bench.clock.now());
    bench.send_many(1, GOOD);
    assert_eq!(bench.phase(), Phase::Recovering);
    bench.advance(1000);
    assert!(bench.admit().is_err());
}
