use super::*;
use crate::balance::SlowStart;
use crate::breaker::BreakerSpec;
use crate::forward::Upstreams;
use crate::spec::{Address, EndpointSpec, Scope, UpstreamSpec};
use crate::state::{State, Watch};
use std::sync::Arc;
use torana_core::body::Body;
use torana_core::reply::Reply;
use torana_net::refusals as refuse;

/// An upstream of so many endpoints that nobody connects to.
fn spec(endpoints: u16) -> UpstreamSpec {
    let endpoint = |port| EndpointSpec {
        name: format!("http://127.0.0.1:{port}").into(),
        address: Address::Socket(([127, 0, 0, 1], port).into()),
        authority: "127.0.0.1".into(),
        secure: false,
        prior_knowledge: false,
        weight: 1,
        drain: false,
    };
    UpstreamSpec::new("a", (1..=endpoints).map(endpoint).collect())
}

fn upstreams(spec: UpstreamSpec) -> Upstreams {
    let state = State::new(&spec, None, &Watch::default(), timer::coarse_now());
    Upstreams::default().succeed(&[Arc::new(spec)], &[state])
}

fn tries(upstream: &Upstream) -> Tries<'_> {
    Tries::start(upstream, Method::Get, Deadline::NONE, None, None)
}

/// How many of 1000 requests go to each endpoint.
fn shares(upstream: &Upstream, endpoints: usize) -> Vec<usize> {
    let mut shares = vec![0; endpoints];
    for _ in 0..1000 {
        shares[tries(upstream).next().unwrap().index] += 1;
    }
    shares
}

fn failure(refusal: &'static torana_core::refusal::Refusal) -> Failure {
    let unprocessed = refusal.retry == torana_core::refusal::Retry::Always;
    Failure { rejection: Rejection::new(refusal), body: Some(Body::Empty), stale: false, unprocessed }
}

#[test]
fn an_endpoint_that_comes_back_starts_slowly() {
    let mut spec = spec(2);
    spec.balance.slow_start = Some(SlowStart::new(Duration::from_secs(3600)));
    let upstreams = upstreams(spec);
    let upstream = upstreams.iter().next().unwrap();
    assert_eq!(shares(upstream, 2), [500, 500], "when all are new, none is spared");
    let now = timer::coarse_now();
    upstream.state().health().drain(0, true, now);
    upstreams.tend(now);
    assert_eq!(shares(upstream, 2), [0, 1000]);
    upstream.state().health().drain(0, false, now);
    upstreams.tend(now);
    let slow = shares(upstream, 2);
    assert!((50..150).contains(&slow[0]), "a tenth of its weight to begin with: {slow:?}");
}

#[test]
fn what_could_not_be_sent_goes_to_every_endpoint_once() {
    let upstreams = upstreams(spec(3));
    let mut tries = tries(upstreams.iter().next().unwrap());
    let mut replay = Replay::new(Body::Empty, 0);
    let mut seen = Vec::new();
    let rejection = loop {
        let call = tries.next().unwrap();
        seen.push(call.index);
        match tries.failed(call, failure(&refuse::UPSTREAM_CONNECT), &mut replay) {
            Ok(wait) => assert!(wait.is_zero()),
            Err(rejection) => break rejection,
        }
    };
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(rejection.refusal.code, refuse::UPSTREAM_CONNECT.code);
}

#[test]
fn without_a_policy_nothing_that_was_sent_is_sent_again() {
    let upstreams = upstreams(spec(3));
    let mut tries = tries(upstreams.iter().next().unwrap());
    let call = tries.next().unwrap();
    let rejection = tries.failed(call, failure(&refuse::UPSTREAM_RESET), &mut Replay::new(Body::Empty, 0));
    assert_eq!(rejection.unwrap_err().refusal.code, refuse::UPSTREAM_RESET.code);
}

#[test]
fn a_breaker_of_one_endpoint_leaves_the_others_alone() {
    let mut spec = spec(2);
    spec.health.passive = None;
    spec.breaker = Some((BreakerSpec { failures: Some(1), ..BreakerSpec::DEFAULT }, Scope::Endpoint));
    let upstreams = upstreams(spec);
    let upstream = upstreams.iter().next().unwrap();
    let mut tries_of_one = tries(upstream);
    let call = tries_of_one.next().unwrap();
    let bad = call.index;
    let reply = Reply::new(torana_core::head::Status::SERVICE_UNAVAILABLE);
    assert!(tries_of_one.replied(call, &reply, &mut Replay::new(Body::Empty, 0)).is_none());
    assert_eq!(shares(upstream, 2)[bad], 0);
    assert_eq!(shares(upstream, 2)[1 - bad], 1000);
}

#[test]
fn when_all_are_drained_the_refusal_says_so() {
    let upstreams = upstreams(spec(2));
    let upstream = upstreams.iter().next().unwrap();
    for index in 0..2 {
        upstream.state().health().drain(index, true, timer::coarse_now());
    }
    assert_eq!(tries(upstream).next().err().unwrap().refusal.code, "upstream.unavailable");
}

#[test]
fn a_later_attempt_is_not_charged_for_time_that_others_took() {
    let mut spec = spec(2);
    spec.retry = retry::RetrySpec::DEFAULT;
    let upstreams = upstreams(spec);
    let mut tries = tries(upstreams.iter().next().unwrap());
    let mut replay = Replay::new(Body::Empty, 0);
    let first = tries.next().unwrap();
    assert!(first.own_deadline, "it had all of the upstream's time");
    tries.failed(first, failure(&refuse::UPSTREAM_RESET), &mut replay).unwrap();
    assert!(!tries.next().unwrap().own_deadline);
}

#[test]
fn an_upstream_of_an_old_plan_knows_the_newest_and_holds_none_in_between() {
    let first = upstreams(spec(1));
    let next = |before: &Upstreams, endpoints| {
        let spec = spec(endpoints);
        let state = State::new(&spec, None, &Watch::default(), timer::coarse_now());
        before.succeed(&[Arc::new(spec)], &[state])
    };
    let only = |upstreams: &Upstreams| upstreams.iter().next().map(std::ptr::from_ref).unwrap();
    assert!(first.iter().all(|upstream| upstream.newest().is_none()));
    let second = next(&first, 2);
    let held = second.iter().next().unwrap().endpoints[1].clone();
    let third = next(&second, 3);
    for old in [&first, &second] {
        let newest = old.iter().next().unwrap().newest().unwrap();
        assert_eq!(std::rc::Rc::as_ptr(&newest), only(&third));
    }
    assert!(third.iter().next().unwrap().newest().is_none());
    assert!(std::rc::Rc::ptr_eq(&held, &third.iter().next().unwrap().endpoints[1]), "what stays is the same");
    let before = std::rc::Rc::strong_count(&held);
    drop(second);
    assert_eq!(std::rc::Rc::strong_count(&held), before - 1);
    let none = third.succeed(&[], &[]);
    drop(third);
    assert!(none.iter().next().is_none() && first.iter().all(|upstream| upstream.newest().is_none()));
}

#[test]
fn a_connection_that_took_its_own_time_is_charged_and_one_that_was_cut_short_is_not() {
    let charged = |left: Duration| {
        let mut spec = spec(2);
        spec.health.passive.as_mut().unwrap().consecutive_failures = 1;
        spec.health.panic_threshold = 0;
        let upstreams = upstreams(spec);
        let upstream = upstreams.iter().next().unwrap();
        // Less than the upstream's own time: what is left of the route's.
        let deadline = Deadline::from(timer::now() + left);
        let mut tries = Tries::start(upstream, Method::Get, deadline, None, None);
        let call = tries.next().unwrap();
        let index = call.index;
        let _ = tries.failed(call, failure(&refuse::UPSTREAM_CONNECT_TIMEOUT), &mut Replay::new(Body::Empty, 0));
        !upstream.state().health().is_usable(index)
    };
    assert!(charged(Duration::from_secs(30)), "the time to connect was over");
    assert!(!charged(Duration::ZERO), "the request's time was over");
}
