use super::*;
use torana_core::units::Percent;

const PLENTY: Option<Duration> = Some(Duration::from_secs(10));

fn facts(failed: Failed) -> Facts {
    Facts { failed, retries: 0, replay: Replay::Safe, elsewhere: false, left: PLENTY }
}

const fn status(status: u16) -> Failed {
    Failed::Status { status, retry_after: None }
}

const fn busy(seconds: u64) -> Failed {
    Failed::Status { status: 503, retry_after: Some(Duration::from_secs(seconds)) }
}

/// Decides with the longest jitter and a full budget.
fn decide(spec: &RetrySpec, facts: &Facts) -> Verdict {
    let now = Instant::now();
    spec.decide(facts, &Budget::new(spec.budget, now), now, &mut || u64::MAX)
}

fn given_up(verdict: Verdict) -> Option<GiveUp> {
    if let Verdict::GiveUp(why) = verdict { Some(why) } else { None }
}

/// How long is waited, in milliseconds rounded up.
fn waited(verdict: Verdict) -> u128 {
    match verdict {
        Verdict::Again { after, .. } => after.as_micros().div_ceil(1000),
        Verdict::GiveUp(why) => panic!("{why:?}"),
    }
}

#[test]
fn only_what_is_listed_is_retried() {
    let spec = RetrySpec::DEFAULT;
    for failed in [Failed::Unsent, Failed::Reset, Failed::Timeout, status(502), status(503), status(504)] {
        assert_eq!(given_up(decide(&spec, &facts(failed))), None, "{failed:?}");
    }
    for failed in [Failed::Final, status(500), status(429), status(404), status(200), status(999)] {
        assert_eq!(given_up(decide(&spec, &facts(failed))), Some(GiveUp::Condition), "{failed:?}");
    }
    let only = RetrySpec { on: Triggers::NONE.with(Trigger::Status(429)), ..RetrySpec::DEFAULT };
    assert_eq!(given_up(decide(&only, &facts(status(429)))), None);
    for failed in [Failed::Unsent, Failed::Reset, Failed::Timeout, status(503)] {
        assert_eq!(given_up(decide(&only, &facts(failed))), Some(GiveUp::Condition), "{failed:?}");
    }
}

#[test]
fn two_attempts_are_two_retries() {
    let spec = RetrySpec::DEFAULT;
    let after = |retries| decide(&spec, &Facts { retries, ..facts(Failed::Reset) });
    assert_eq!([waited(after(0)), waited(after(1))], [25, 50]);
    assert_eq!(given_up(after(2)), Some(GiveUp::Attempts));
    let none = RetrySpec { attempts: 0, ..RetrySpec::DEFAULT };
    assert_eq!(given_up(decide(&none, &facts(Failed::Reset))), Some(GiveUp::Attempts));
}

#[test]
fn what_may_have_been_processed_is_only_repeated_if_that_does_no_harm() {
    let spec = RetrySpec::DEFAULT;
    let willing = RetrySpec { non_idempotent: true, ..RetrySpec::DEFAULT };
    for failed in [Failed::Reset, Failed::Timeout, Failed::Stale, status(503)] {
        let post = Facts { replay: Replay::of(Method::Post, true), ..facts(failed) };
        assert_eq!(given_up(decide(&spec, &post)), Some(GiveUp::NotIdempotent), "{failed:?}");
        assert_eq!(given_up(decide(&willing, &post)), None, "{failed:?}");
        for method in [Method::Get, Method::Head, Method::Put, Method::Delete, Method::Options] {
            let repeatable = Facts { replay: Replay::of(method, true), ..facts(failed) };
            assert_eq!(given_up(decide(&spec, &repeatable)), None, "{method} {failed:?}");
        }
        for method in [Method::Get, Method::Post] {
            let consumed = Facts { replay: Replay::of(method, false), ..facts(failed) };
            assert_eq!(given_up(decide(&willing, &consumed)), Some(GiveUp::BodySent), "{method} {failed:?}");
        }
    }
}

#[test]
fn what_was_not_sent_goes_elsewhere_whatever_the_method() {
    let now = Instant::now();
    let empty = BudgetSpec { share: Percent::new(0), min_per_second: 0 };
    let budget = Budget::new(Some(empty), now);
    let spec = RetrySpec::DEFAULT;
    for method in [Method::Get, Method::Post, Method::Patch, Method::Extension] {
        let unsent = Facts { replay: Replay::of(method, true), elsewhere: true, ..facts(Failed::Unsent) };
        let verdict = spec.decide(&unsent, &budget, now, &mut || u64::MAX);
        assert_eq!(verdict, Verdict::Again { after: Duration::ZERO, at: Where::Elsewhere });
        let second = Facts { retries: 1, ..unsent };
        assert_eq!(given_up(spec.decide(&second, &budget, now, &mut || 0)), Some(GiveUp::Budget), "free only once");
        let nowhere = Facts { elsewhere: false, ..unsent };
        assert_eq!(given_up(spec.decide(&nowhere, &budget, now, &mut || 0)), Some(GiveUp::Budget));
        let granted = decide(&spec, &nowhere);
        assert_eq!(waited(granted), 25, "the same endpoint is given a moment");
    }
}

#[test]
fn a_stale_connection_is_nobody_s_failure() {
    let now = Instant::now();
    let budget = Budget::new(Some(BudgetSpec { share: Percent::new(0), min_per_second: 0 }), now);
    let spec = RetrySpec { attempts: 0, on: Triggers::NONE, ..RetrySpec::DEFAULT };
    let verdict = spec.decide(&facts(Failed::Stale), &budget, now, &mut || u64::MAX);
    assert_eq!(verdict, Verdict::Again { after: Duration::ZERO, at: Where::SameFresh });
    assert_eq!(budget.counts(), BudgetCounts::default());
}

#[test]
fn nothing_is_sent_past_the_deadline() {
    let spec = RetrySpec::DEFAULT;
    let with = |left: u64, failed| decide(&spec, &Facts { left: Some(Duration::from_millis(left)), ..facts(failed) });
    assert_eq!(given_up(with(24, Failed::Reset)), Some(GiveUp::Deadline));
    assert_eq!(waited(with(25, Failed::Reset)), 25);
    for failed in [Failed::Stale, Failed::Unsent, Failed::Timeout, status(503)] {
        assert_eq!(given_up(with(0, failed)), Some(GiveUp::Deadline), "{failed:?}");
    }
    assert_eq!(waited(decide(&spec, &Facts { left: None, ..facts(Failed::Reset) })), 25);
}

#[test]
fn retry_after_is_waited_for_within_bounds() {
    let spec = RetrySpec { retry_after_max: Duration::from_secs(3), ..RetrySpec::DEFAULT };
    assert_eq!(waited(decide(&spec, &facts(busy(0)))), 25);
    assert_eq!(waited(decide(&spec, &facts(busy(3)))), 3025, "and the jitter on top");
    assert_eq!(given_up(decide(&spec, &facts(busy(4)))), Some(GiveUp::RetryAfter));
    assert_eq!(given_up(decide(&spec, &facts(busy(u64::MAX)))), Some(GiveUp::RetryAfter));
    let short = Facts { left: Some(Duration::from_secs(2)), ..facts(busy(3)) };
    assert_eq!(given_up(decide(&spec, &short)), Some(GiveUp::Deadline));
    let endless = RetrySpec { retry_after_max: Duration::MAX, ..RetrySpec::DEFAULT };
    assert_eq!(given_up(decide(&endless, &facts(busy(u64::MAX)))), Some(GiveUp::Deadline));
}

#[test]
fn only_a_retry_that_is_made_costs() {
    let now = Instant::now();
    let budget = Budget::new(Some(BudgetSpec::DEFAULT), now);
    let spec = RetrySpec::DEFAULT;
    for failed in [Failed::Final, status(500), busy(100)] {
        assert!(given_up(spec.decide(&facts(failed), &budget, now, &mut || 0)).is_some());
    }
    let late = Facts { left: Some(Duration::from_millis(1)), ..facts(Failed::Reset) };
    assert!(given_up(spec.decide(&late, &budget, now, &mut || u64::MAX)).is_some());
    assert_eq!(budget.counts(), BudgetCounts::default());
    assert!(given_up(spec.decide(&facts(Failed::Reset), &budget, now, &mut || 0)).is_none());
    assert_eq!(budget.counts().retries, 1);
}

#[test]
fn a_try_has_its_own_time_within_the_whole() {
    let now = Instant::now();
    let in_secs = |secs| Deadline::after(now, Duration::from_secs(secs));
    let spec = RetrySpec { per_try_timeout: Some(Duration::from_secs(2)), ..RetrySpec::DEFAULT };
    assert_eq!(spec.try_deadline(now, in_secs(10)), in_secs(2));
    assert_eq!(spec.try_deadline(now, in_secs(1)), in_secs(1));
    assert_eq!(spec.try_deadline(now, Deadline::NONE), in_secs(2));
    assert_eq!(RetrySpec::DEFAULT.try_deadline(now, in_secs(10)), in_secs(10));
}

#[test]
fn codes_are_unique() {
    let mut codes = GiveUp::ALL.map(GiveUp::code).to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), GiveUp::ALL.len());
}
