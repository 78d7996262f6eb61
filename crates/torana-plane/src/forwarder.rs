//! What the plane asks of `torana-upstream`.

use std::sync::Arc;
use std::time::Instant;
use torana_core::exchange::Exchange;
use torana_core::outbound::OutboundRequest;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_core::target::UpstreamId;
use torana_core::verdict::LocalBoxFuture;
use torana_upstream::forward::Upstreams;
use torana_upstream::spec::UpstreamSpec;
use torana_upstream::state::State;

/// Sends exchanges to the upstreams of one plan, on one worker.
///
/// A trait so that the plane can be tested without sockets.
pub trait Forwarder: Sized + 'static {
    /// The forwarder of the next plan, whose upstreams are `specs` by
    /// position. Pools and counters of upstreams whose spec did not change are
    /// shared with this one, which keeps serving the exchanges of its own
    /// plan: an [`UpstreamId`] is a position in one plan and means nothing in
    /// another.
    #[must_use]
    fn succeed(&self, specs: &[Arc<UpstreamSpec>], states: &[Arc<State>]) -> Self;

    /// Sends the exchange as it stands and returns the reply, its body still
    /// to come. Keeps to `exchange.deadline`.
    fn forward(&self, upstream: UpstreamId, exchange: &mut Exchange) -> impl Future<Output = Result<Reply, Rejection>>;

    /// Sends a request of the gateway's own.
    fn send(&self, upstream: UpstreamId, request: OutboundRequest)
    -> LocalBoxFuture<'static, Result<Reply, Rejection>>;

    /// Closes connections that have waited too long or are gone. Called about
    /// once a second.
    fn tend(&self, now: Instant) {
        let _ = now;
    }

    /// Reports the state of each endpoint's pool.
    fn sample(&self, each: &mut dyn FnMut(PoolSample));
}

impl Forwarder for Upstreams {
    fn succeed(&self, specs: &[Arc<UpstreamSpec>], states: &[Arc<State>]) -> Self {
        Upstreams::succeed(self, specs, states)
    }

    fn forward(&self, upstream: UpstreamId, exchange: &mut Exchange) -> impl Future<Output = Result<Reply, Rejection>> {
        Upstreams::forward(self, upstream, exchange)
    }

    fn send(
        &self,
        upstream: UpstreamId,
        request: OutboundRequest,
    ) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        Box::pin(Upstreams::send(self, upstream, request))
    }

    fn tend(&self, now: Instant) {
        Upstreams::tend(self, now);
    }

    fn sample(&self, each: &mut dyn FnMut(PoolSample)) {
        for upstream in self.iter() {
            // The upstream's, told with its first endpoint.
            let mut budget = upstream.budget().counts();
            let mut hedges = upstream.hedges();
            for endpoint in upstream.endpoints() {
                let counts = endpoint.counts();
                each(PoolSample {
                    upstream: upstream.spec().name.clone(),
                    endpoint: endpoint.spec().name.clone(),
                    idle: counts.idle,
                    active: counts.active,
                    opened: counts.opened,
                    requests: counts.requests,
                    failures: counts.failures,
                    retries: std::mem::take(&mut budget.retries),
                    retries_denied: std::mem::take(&mut budget.denied),
                    hedges: std::mem::take(&mut hedges.sent),
                    hedges_won: std::mem::take(&mut hedges.won),
                });
            }
        }
    }
}

/// An endpoint's pool on one worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSample {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// Connections waiting to be used.
    pub idle: u64,
    /// Connections in use.
    pub active: u64,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests sent so far.
    pub requests: u64,
    /// Requests that failed so far, connecting included.
    pub failures: u64,
    /// Requests of the upstream sent again within its budget so far; with its
    /// first endpoint.
    pub retries: u64,
    /// Those that the budget did not allow.
    pub retries_denied: u64,
    /// Of the retries, those made beside an attempt under way.
    pub hedges: u64,
    /// Of these, those that answered first.
    pub hedges_won: u64,
}
