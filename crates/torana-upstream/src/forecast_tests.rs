use super::*;
use crate::balance::{BalanceSpec, Sticky, StickySpec};
use crate::breaker::BreakerSpec;
use crate::forward::Upstreams;
use crate::spec::{Address, EndpointSpec, HashOn, Scope};
use crate::state::Watch;
use std::net::IpAddr;
use std::rc::Rc;
use torana_core::exchange::Connection;

/// An upstream of endpoints with these weights.
fn spec(weights: &[u32]) -> UpstreamSpec {
    let endpoint = |(port, weight): (u16, &u32)| EndpointSpec {
        name: format!("http://127.0.0.1:{port}").into(),
        address: Address::Socket(([127, 0, 0, 1], port).into()),
        authority: "127.0.0.1".into(),
        secure: false,
        prior_knowledge: false,
        weight: *weight,
        drain: false,
    };
    UpstreamSpec::new("a", (1..).zip(weights).map(endpoint).collect())
}

fn exchange(fields: &[(&str, &str)], client: u8) -> Exchange {
    let connection = Connection { listener: "main".into(), peer: None, local: None, tls: None };
    let mut exchange = Exchange::new(Rc::new(connection), Instant::now());
    exchange.client_ip = IpAddr::from([10, 0, 0, client]);
    for (name, value) in fields {
        exchange.head.fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
    }
    exchange
}

fn state(spec: &UpstreamSpec) -> Arc<State> {
    State::new(spec, None, &Watch::default(), Instant::now())
}

fn ask(spec: &UpstreamSpec, state: &State) -> Forecast {
    forecast(spec, state, &exchange(&[], 1), Instant::now())
}

fn shares(forecast: &Forecast) -> Vec<f64> {
    forecast.endpoints.iter().map(|endpoint| endpoint.share).collect()
}

#[test]
fn chance_and_turns_are_told_in_shares() {
    let spec = spec(&[3, 1, 4]);
    let state = state(&spec);
    let told = ask(&spec, &state);
    assert_eq!((told.algorithm, told.chosen, told.why), ("round_robin", None, Why::Turn));
    assert_eq!(shares(&told), [0.375, 0.125, 0.5]);
    state.health().drain(2, true, Instant::now());
    let told = ask(&spec, &state);
    assert_eq!(shares(&told), [0.75, 0.25, 0.0]);
    assert_eq!((told.endpoints[2].usable, told.endpoints[2].out.as_slice()), (false, &["drained"][..]));
    state.health().drain(0, true, Instant::now());
    let told = ask(&spec, &state);
    assert_eq!((told.chosen, told.why), (Some(1), Why::OnlyOne));
    state.health().drain(1, true, Instant::now());
    let told = ask(&spec, &state);
    assert_eq!((told.chosen, told.why), (None, Why::Refused("upstream.unavailable")));
    assert_eq!(shares(&told), [0.0; 3]);
}

#[test]
fn a_sticky_cookie_counts_while_its_endpoint_is_usable() {
    let mut spec = spec(&[1, 1, 1]);
    spec.sticky = Some(StickySpec::new("sid"));
    let state = state(&spec);
    let cookie = state.sticky().and_then(|sticky: &Sticky| sticky.set_cookie(2, None, false)).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let ask = || forecast(&spec, &state, &exchange(&[("cookie", cookie)], 1), Instant::now());
    assert_eq!((ask().chosen, ask().why), (Some(2), Why::Sticky));
    state.health().drain(2, true, Instant::now());
    assert_eq!((ask().chosen, ask().why), (None, Why::Turn));
}

#[test]
fn a_key_leads_where_workers_send_it() {
    let mut spec = spec(&[1; 5]);
    spec.balance = BalanceSpec { algorithm: Algorithm::ConsistentHash { bound: None }, slow_start: None };
    spec.hash_on = Some(HashOn::Client);
    let state = state(&spec);
    let upstreams = Upstreams::default().succeed(&[Arc::new(spec.clone())], std::slice::from_ref(&state));
    let upstream = upstreams.iter().next().unwrap();
    for client in 0..50 {
        let exchange = exchange(&[], client);
        let told = forecast(&spec, &state, &exchange, Instant::now());
        let mut tries = crate::attempt::Tries::new(upstream, &exchange, None);
        assert_eq!((told.chosen, told.why), (tries.next().ok().map(|call| call.index), Why::Key));
    }
}

#[test]
fn breakers_are_looked_at_and_left_alone() {
    for scope in [Scope::Upstream, Scope::Endpoint] {
        let mut spec = spec(&[1, 1]);
        spec.breaker = Some((BreakerSpec::default(), scope));
        let state = state(&spec);
        assert_eq!(ask(&spec, &state).endpoints[0].breaker, Some(Phase::Closed));
        state.breakers()[0].force_open(Instant::now());
        let before: Vec<_> = state.breakers().iter().map(|breaker| breaker.snapshot(Instant::now()).counts).collect();
        let told = ask(&spec, &state);
        match scope {
            Scope::Upstream => assert_eq!((told.chosen, told.why), (None, Why::Refused("breaker.open"))),
            // Its neighbour is well.
            Scope::Endpoint => assert_eq!((told.chosen, told.why), (Some(1), Why::OnlyOne)),
        }
        let after: Vec<_> = state.breakers().iter().map(|breaker| breaker.snapshot(Instant::now()).counts).collect();
        assert_eq!(before, after);
    }
}
