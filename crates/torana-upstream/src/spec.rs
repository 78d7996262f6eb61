//! Upstreams as compiled: immutable, shared by all workers.

pub mod discover;
pub mod health;

use crate::balance::{Algorithm, BalanceSpec, StickySpec};
use crate::breaker::BreakerSpec;
use crate::ceiling::CeilingSpec;
use crate::hedge::HedgeSpec;
use crate::retry::{Backoff, RetrySpec, Trigger, Triggers};
use discover::SourceSpec;
use health::HealthSpec;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use torana_core::names::HeaderName;
use torana_core::target::Target;
use torana_net::tls::client::ClientTls;

/// What happens to failed requests of an upstream of so many endpoints that
/// says nothing about retries: one that could not be sent goes to another
/// endpoint. No request is sent twice by that, so no budget is needed.
#[must_use]
pub fn elsewhere(endpoints: usize) -> RetrySpec {
    RetrySpec {
        attempts: u32::try_from(endpoints.saturating_sub(1)).unwrap_or(u32::MAX).min(10),
        on: Triggers::NONE.with(Trigger::Connect),
        backoff: Backoff { base: Duration::ZERO, max: Duration::ZERO },
        budget: None,
        ..RetrySpec::DEFAULT
    }
}

/// An upstream as compiled.
///
/// Two specs that compare equal describe the same upstream: a worker keeps
/// pools and counters of an upstream whose spec did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Where it can be reached: what is written, then what its sources have
    /// found. Empty only while no source has answered.
    pub endpoints: Vec<EndpointSpec>,
    /// The endpoints that are written.
    pub fixed: Vec<EndpointSpec>,
    /// Where others are looked up.
    pub sources: Vec<SourceSpec>,
    /// From the first attempt to the head of the reply, whatever is tried in
    /// between; zero: none.
    pub timeout: Duration,
    /// The request header that says how much time an attempt has.
    pub deadline_header: Option<HeaderName>,
    /// For connecting, TLS included.
    pub connect_timeout: Duration,
    /// How long a pooled connection may stay unused.
    pub idle_timeout: Duration,
    /// Most unused connections kept per worker and endpoint.
    pub max_idle: usize,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// TLS towards endpoints of scheme `https`. `ClientTls` compares by the
    /// configuration it was built from.
    pub tls: Option<Arc<ClientTls>>,
    /// How an endpoint is chosen.
    pub balance: BalanceSpec,
    /// What a consistent hash is taken of.
    pub hash_on: Option<HashOn>,
    /// Whether a cookie binds clients to endpoints.
    pub sticky: Option<StickySpec>,
    /// How the health of endpoints is watched.
    pub health: HealthSpec,
    /// When the upstream, or an endpoint, is left alone.
    pub breaker: Option<(BreakerSpec, Scope)>,
    /// How many requests it gets at once.
    pub ceiling: Option<CeilingSpec>,
    /// When a request is sent again.
    pub retry: RetrySpec,
    /// When a request is sent to two endpoints at the same time.
    pub hedge: Option<HedgeSpec>,
    /// Most bytes of a request body kept for that; 0: none.
    pub replay_bytes: usize,
    /// Who answers when the upstream cannot, in this order.
    pub fallback: Vec<Fallback>,
}

impl UpstreamSpec {
    /// An upstream with these endpoints and the defaults of the configuration.
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<EndpointSpec>) -> UpstreamSpec {
        UpstreamSpec {
            name: name.into(),
            retry: elsewhere(endpoints.len()),
            fixed: endpoints.clone(),
            sources: Vec::new(),
            endpoints,
            timeout: Duration::from_secs(60),
            deadline_header: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            max_idle: 256,
            protocol: Protocol::Auto,
            tls: None,
            balance: BalanceSpec { algorithm: Algorithm::RoundRobin, slow_start: None },
            hash_on: None,
            sticky: None,
            health: HealthSpec::default(),
            breaker: None,
            ceiling: None,
            hedge: None,
            replay_bytes: 0,
            fallback: Vec::new(),
        }
    }
}

impl UpstreamSpec {
    /// Whether it matters how many requests an endpoint has under way.
    pub(crate) const fn wants_load(&self) -> bool {
        match self.balance.algorithm {
            Algorithm::RoundRobin | Algorithm::Random | Algorithm::ConsistentHash { bound: None } => false,
            Algorithm::LeastRequest | Algorithm::PeakEwma { .. } | Algorithm::ConsistentHash { .. } => true,
        }
    }

    /// Whether it matters how long answers take.
    pub(crate) fn wants_latency(&self) -> bool {
        let slow = self.breaker.as_ref().is_some_and(|(breaker, _)| breaker.slow.is_some());
        slow || matches!(self.balance.algorithm, Algorithm::PeakEwma { .. })
    }
}

/// What a consistent hash is taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The value of this header.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(Arc<str>),
    /// The client's address.
    Client,
    /// The path.
    Path,
}

/// What a breaker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All endpoints together.
    Upstream,
    /// Each endpoint on its own.
    Endpoint,
}

/// Who answers in the place of an upstream that cannot.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// The upstream of this name. By name, since positions change from plan to
    /// plan; a plan that names one it does not have is not made.
    Upstream(Arc<str>),
    /// A target that has its answer at hand.
    Answer(FixedAnswer),
}

/// A target that answers by itself. Two are equal if they were written alike.
#[derive(Clone)]
pub struct FixedAnswer {
    /// What answers.
    pub target: Arc<dyn Target>,
    /// What it was made of.
    pub written: Arc<str>,
}

impl PartialEq for FixedAnswer {
    fn eq(&self, other: &FixedAnswer) -> bool {
        self.written == other.written
    }
}

impl fmt::Debug for FixedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target.describe())
    }
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// How it is called in logs: the URL as written, without credentials.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// `Host` for requests that do not preserve the caller's: host, and port
    /// unless it is the scheme's default.
    pub authority: Arc<str>,
    /// Whether TLS is spoken.
    pub secure: bool,
    /// HTTP/2 with prior knowledge on a connection in the clear (`h2c`).
    pub prior_knowledge: bool,
    /// Its share of the requests, at least 1.
    pub weight: u32,
    /// Whether it takes no new requests, though it is there.
    pub drain: bool,
}

impl EndpointSpec {
    /// Whether connections to the one can be used for the other.
    pub(crate) fn is_same_place(&self, other: &EndpointSpec) -> bool {
        // All but share and drain, which connections do not depend on.
        let EndpointSpec { name, address, authority, secure, prior_knowledge, weight: _, drain: _ } = self;
        (name, address, authority, secure, prior_knowledge)
            == (&other.name, &other.address, &other.authority, &other.secure, &other.prior_knowledge)
    }
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Socket(SocketAddr),
    /// A name to resolve, and a port.
    Name(Arc<str>, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Which protocol is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/2 where TLS negotiates it, HTTP/1.1 otherwise.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}
