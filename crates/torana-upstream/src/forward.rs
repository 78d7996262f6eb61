//! Sends exchanges to upstreams.

use crate::endpoint::{BODY_IDLE, Endpoint};
use crate::select::RoundRobin;
use crate::spec::UpstreamSpec;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use torana_core::body::Body;
use torana_core::deadline::Deadline;
use torana_core::exchange::{Exchange, Notes, Upgrade};
use torana_core::head::Method;
use torana_core::names::KnownName;
use torana_core::outbound::OutboundRequest;
use torana_core::refusal::{Rejection, Retry};
use torana_core::reply::Reply;
use torana_core::target::UpstreamId;
use torana_net::client::h1::Outgoing;
use torana_net::timer;

torana_core::refusals! {
    /// The plan has no upstream at this position: a fault of the gateway.
    NO_UPSTREAM = "internal.no_upstream" 500 Gateway Never "The gateway is misconfigured.";
}

/// The upstreams of one plan on one worker.
#[derive(Debug, Default)]
pub struct Upstreams {
    list: Vec<Rc<Upstream>>,
}

/// An upstream on one worker.
#[derive(Debug)]
pub struct Upstream {
    spec: Arc<UpstreamSpec>,
    endpoints: Vec<Rc<Endpoint>>,
    rotation: RoundRobin,
}

impl Upstreams {
    /// The upstreams of the next plan. What has not changed is shared with
    /// this one: whole upstreams, or endpoints with their pools.
    #[must_use]
    pub fn succeed(&self, specs: &[Arc<UpstreamSpec>]) -> Upstreams {
        let list = specs.iter().map(|spec| {
            let known = self.list.iter().find(|known| known.spec.name == spec.name);
            match known {
                Some(known) if Arc::ptr_eq(&known.spec, spec) || known.spec == *spec => Rc::clone(known),
                known => Upstream::new(spec, known.map(|known| &**known)),
            }
        });
        Upstreams { list: list.collect() }
    }

    /// All upstreams, by position.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.list.iter().map(|upstream| &**upstream)
    }

    /// Closes connections that have waited too long or are gone. To be called
    /// about once a second.
    pub fn tend(&self, now: Instant) {
        for endpoint in self.list.iter().flat_map(|upstream| &upstream.endpoints) {
            endpoint.tend(now);
        }
    }

    /// Sends the exchange as it stands and returns the reply, its body still
    /// to come. Keeps to `exchange.deadline`.
    ///
    /// # Errors
    /// No endpoint gave a reply.
    pub async fn forward(&self, id: UpstreamId, exchange: &mut Exchange) -> Result<Reply, Rejection> {
        let Some(upstream) = self.list.get(id.0 as usize) else {
            return Err(Rejection::new(&NO_UPSTREAM));
        };
        let mut body = std::mem::take(&mut exchange.body);
        let upgrade = match &exchange.upgrade {
            Upgrade::No => false,
            Upgrade::To(protocol) => {
                exchange.head.fields.set_own(KnownName::Upgrade, protocol);
                true
            }
        };
        let deadline = exchange.deadline.earlier(upstream.deadline());
        let mut attempts = Attempts::new(upstream, exchange.head.method);
        loop {
            let endpoint = attempts.endpoint.clone();
            exchange.write_host(&endpoint.spec().authority);
            let (outgoing, notes) = exchange.outgoing();
            notes.attempts = notes.attempts.saturating_add(1);
            notes.endpoint = Some(endpoint.name().clone());
            let query = outgoing.query.map_or(["", ""], |query| ["?", query]);
            let request = Outgoing {
                method: outgoing.head.method,
                method_text: outgoing.head.method_text(),
                target: &[outgoing.path.as_bytes(), query[0].as_bytes(), query[1].as_bytes()],
                fields: &outgoing.head.fields,
                upgrade,
                deadline,
                body_idle: BODY_IDLE,
            };
            match endpoint.attempt(request, body, attempts.fresh, notes).await {
                Ok(reply) => {
                    // Only the log asks, and it has asked before.
                    if notes.dispatched.is_some() {
                        notes.replied = Some(timer::now());
                    }
                    return Ok(reply);
                }
                Err(failure) => body = attempts.again(failure)?,
            }
        }
    }

    /// Sends a request of the gateway's own.
    pub fn send(
        &self,
        id: UpstreamId,
        mut request: OutboundRequest,
    ) -> impl Future<Output = Result<Reply, Rejection>> + use<> {
        let upstream = self.list.get(id.0 as usize).cloned();
        async move {
            let upstream = upstream.ok_or_else(|| Rejection::new(&NO_UPSTREAM))?;
            let mut body = std::mem::take(&mut request.body);
            let deadline = request.deadline.earlier(upstream.deadline());
            let mut attempts = Attempts::new(&upstream, request.method);
            let mut notes = Notes::new(timer::coarse_now());
            loop {
                let endpoint = attempts.endpoint.clone();
                request.fields.set_own(KnownName::Host, endpoint.spec().authority.as_bytes());
                let outgoing = Outgoing {
                    method: request.method,
                    method_text: request.method.as_str(),
                    target: &[request.path_and_query.as_bytes()],
                    fields: &request.fields,
                    upgrade: false,
                    deadline,
                    body_idle: BODY_IDLE,
                };
                match endpoint.attempt(outgoing, body, attempts.fresh, &mut notes).await {
                    Ok(reply) => return Ok(reply),
                    Err(failure) => body = attempts.again(failure)?,
                }
            }
        }
    }
}

impl Upstream {
    fn new(spec: &Arc<UpstreamSpec>, before: Option<&Upstream>) -> Rc<Upstream> {
        let endpoints = spec.endpoints.iter().map(|wanted| {
            let known = before.and_then(|before| before.endpoints.iter().find(|known| known.fits(spec, wanted)));
            known.cloned().unwrap_or_else(|| Endpoint::new(spec, wanted))
        });
        Rc::new(Upstream {
            endpoints: endpoints.collect(),
            rotation: RoundRobin::new(spec.endpoints.iter().map(|endpoint| endpoint.weight)),
            spec: spec.clone(),
        })
    }

    /// What it was made of.
    #[must_use]
    pub const fn spec(&self) -> &Arc<UpstreamSpec> {
        &self.spec
    }

    /// Its endpoints, as written.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(|endpoint| &**endpoint)
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(timer::coarse_now(), self.spec.timeout)
    }

    fn pick(&self) -> Rc<Endpoint> {
        // A spec without endpoints is refused when it is compiled.
        self.endpoints[self.rotation.next()].clone()
    }
}

/// How often and where one request has been sent.
struct Attempts<'a> {
    upstream: &'a Upstream,
    method: Method,
    endpoint: Rc<Endpoint>,
    /// The last connection was stale: ask for a new one.
    fresh: bool,
    left: usize,
}

impl<'a> Attempts<'a> {
    fn new(upstream: &'a Upstream, method: Method) -> Attempts<'a> {
        Attempts { upstream, method, endpoint: upstream.pick(), fresh: false, left: upstream.endpoints.len() }
    }

    /// Decides whether a failed request is sent once more, and with what body.
    ///
    /// * A connection that had waited in the pool and was closed without a
    ///   word: once more to the same endpoint, on a new connection, if the
    ///   method is idempotent (RFC 9110 §9.2.2).
    /// * Nothing was sent: to the next endpoint, whatever the method.
    fn again(&mut self, failure: torana_net::client::h1::Failure) -> Result<Body, Rejection> {
        let Some(body) = failure.body else { return Err(failure.rejection) };
        if failure.stale && !self.fresh && self.method.is_idempotent() {
            self.fresh = true;
            return Ok(body);
        }
        self.left = self.left.saturating_sub(1);
        if failure.rejection.refusal.retry == Retry::Always && self.left > 0 {
            self.fresh = false;
            self.endpoint = self.upstream.pick();
            return Ok(body);
        }
        Err(failure.rejection)
    }
}
