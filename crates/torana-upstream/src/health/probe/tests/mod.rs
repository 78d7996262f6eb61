//! The prober against servers on real sockets.

mod checks;
mod rounds;
mod servers;

use super::target::{Subject, Target, of_upstreams};
use crate::health::UpstreamHealth;
use crate::health::spec::{ActiveSpec, Check, HealthSpec};
use crate::spec::{Address, EndpointSpec, UpstreamSpec};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use torana_net::tls::client::ClientTls;

/// Runs a test as the prober is run, and ends it if it hangs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, test);
}

/// An upstream of endpoints that are called `localhost`.
fn upstream(name: &str, addresses: &[SocketAddr], tls: Option<Arc<ClientTls>>) -> UpstreamSpec {
    let endpoint = |address: &SocketAddr| EndpointSpec {
        name: address.to_string().into(),
        address: Address::Socket(*address),
        authority: format!("localhost:{}", address.port()).into(),
        secure: tls.is_some(),
        prior_knowledge: false,
        weight: 1,
        drain: false,
    };
    let endpoints = addresses.iter().map(endpoint).collect();
    let second = Duration::from_secs(1);
    UpstreamSpec { timeout: second, connect_timeout: second, tls, ..UpstreamSpec::new(name, endpoints) }
}

/// Five seconds for a probe, so that a busy machine does not fail it.
fn active(check: Check) -> ActiveSpec {
    ActiveSpec { timeout: Duration::from_secs(5), ..ActiveSpec::new(check) }
}

fn watched(upstream: &UpstreamSpec, active: &ActiveSpec) -> Arc<UpstreamHealth> {
    let spec = HealthSpec { active: Some(active.clone()), ..HealthSpec::default() };
    let observer = crate::health::tests::quiet();
    UpstreamHealth::new(&upstream.name, &upstream.endpoints, &spec, None, &observer, Instant::now())
}

/// The one target of an upstream.
fn target(upstream: &UpstreamSpec, active: &ActiveSpec) -> Target {
    let mut targets = of_upstreams([(upstream, &watched(upstream, active))]);
    assert_eq!(targets.len(), 1);
    targets.remove(0).0
}

fn targets(pairs: &[(&UpstreamSpec, &Arc<UpstreamHealth>)]) -> Vec<(Target, Vec<Subject>)> {
    of_upstreams(pairs.iter().copied())
}
