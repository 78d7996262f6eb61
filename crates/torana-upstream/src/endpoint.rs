//! One endpoint on one worker: its connections, and one attempt.

use crate::balance::Load;
use crate::spec::{Address, EndpointSpec, Protocol, UpstreamSpec};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use torana_core::body::Body;
use torana_core::deadline::Deadline;
use torana_core::exchange::Notes;
use torana_core::metric::Counter;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;
use torana_net::client::dial::{Dialled, Place, Security, dial};
use torana_net::client::h1::{self, Failure, Outgoing};
use torana_net::client::h2;
use torana_net::client::pool::{Pool, PoolMetrics};
use torana_net::refusals::UPSTREAM_CONNECT_TIMEOUT;
use torana_net::timer;
use torana_net::tls::client::Alpn;

/// Streams put on one HTTP/2 connection before another is opened, whatever the
/// other side allows: one connection is one lane of the kernel.
const STREAMS_PER_CONNECTION: usize = 100;

/// An endpoint on one worker.
#[derive(Debug)]
pub struct Endpoint {
    upstream: Arc<UpstreamSpec>,
    spec: EndpointSpec,
    name: Rc<str>,
    pool: Rc<Pool>,
    pool_metrics: Arc<PoolMetrics>,
    http2: RefCell<Vec<h2::Connection>>,
    /// Whether HTTP/2 was negotiated with this endpoint when that was last tried.
    speaks_http2: Cell<bool>,
    /// Held while an HTTP/2 connection is opened, so that a burst of requests
    /// opens one and not one each.
    opening: Mutex<()>,
    requests: Counter,
    failures: Counter,
    load: Rc<Load>,
    /// Whether it was out when last looked at.
    out: Cell<bool>,
    /// Whether it is no longer part of the upstream.
    gone: Cell<bool>,
}

/// A connection to send on.
enum Lane {
    Http1(Box<h1::Connection>),
    Http2(h2::Connection),
}

impl Endpoint {
    pub(crate) fn new(upstream: &Arc<UpstreamSpec>, spec: &EndpointSpec, load: Load) -> Rc<Endpoint> {
        let pool_metrics = Arc::<PoolMetrics>::default();
        Rc::new(Endpoint {
            upstream: upstream.clone(),
            spec: spec.clone(),
            name: Rc::from(&*spec.name),
            pool: Pool::new(upstream.max_idle, upstream.idle_timeout, pool_metrics.clone()),
            pool_metrics,
            http2: RefCell::default(),
            speaks_http2: Cell::new(false),
            opening: Mutex::new(()),
            requests: Counter::default(),
            failures: Counter::default(),
            load: Rc::new(load),
            out: Cell::new(false),
            gone: Cell::new(false),
        })
    }

    /// Whether this endpoint can go on under another spec of its upstream:
    /// nothing its connections depend on has changed.
    pub(crate) fn fits(&self, upstream: &UpstreamSpec, spec: &EndpointSpec) -> bool {
        self.spec.is_same_place(spec)
            && self.upstream.name == upstream.name
            && self.upstream.tls == upstream.tls
            && self.upstream.protocol == upstream.protocol
            && self.upstream.idle_timeout == upstream.idle_timeout
            && self.upstream.max_idle == upstream.max_idle
            && self.upstream.connect_timeout == upstream.connect_timeout
    }

    /// Its name, as logs call it.
    #[must_use]
    pub const fn name(&self) -> &Rc<str> {
        &self.name
    }

    /// What it has to do.
    pub(crate) const fn load(&self) -> &Rc<Load> {
        &self.load
    }

    /// Notes whether it is out; one that comes back starts slowly.
    pub(crate) fn set_out(&self, out: bool, now: Instant) {
        if self.out.replace(out) && !out {
            self.load.recover(now);
        }
    }

    /// Its spec.
    #[must_use]
    pub const fn spec(&self) -> &EndpointSpec {
        &self.spec
    }

    /// Connections waiting, connections opened, requests sent, requests failed.
    #[must_use]
    pub fn counts(&self) -> EndpointCounts {
        let streams: usize = self.http2.borrow().iter().map(h2::Connection::streams).sum();
        EndpointCounts {
            idle: self.pool_metrics.idle.value(),
            active: self.active_http1() + streams as u64,
            opened: self.pool_metrics.opened.value(),
            requests: self.requests.value(),
            failures: self.failures.value(),
        }
    }

    fn active_http1(&self) -> u64 {
        Rc::strong_count(&self.pool).saturating_sub(1) as u64
    }

    /// Closes connections that have waited too long or are gone.
    pub(crate) fn tend(&self, now: Instant) {
        self.pool.sweep(now);
        let idle_timeout = self.upstream.idle_timeout;
        self.http2.borrow_mut().retain(|connection| {
            connection.streams() > 0 || (connection.is_open() && connection.idle(now) < idle_timeout)
        });
    }

    /// Whether it is part of the upstream still.
    pub(crate) fn is_open(&self) -> bool {
        !self.gone.get()
    }

    /// Closes the connections that nobody uses. For one that is drained.
    pub(crate) fn rest(&self) {
        self.pool.clear();
        self.http2.borrow_mut().retain(|connection| connection.streams() > 0);
    }

    /// It is no longer part of the upstream: connections close when nobody uses
    /// them. Requests that chose it before end as they would have.
    pub(crate) fn retire(&self) {
        self.gone.set(true);
        self.pool.close();
        self.http2.borrow_mut().clear();
    }

    /// Sends one request here. `fresh` asks for a connection that has not
    /// served before.
    pub(crate) async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        body: Body,
        fresh: bool,
        notes: &mut Notes,
    ) -> Result<Reply, Failure> {
        self.requests.add(1);
        let once = !outgoing.method.is_idempotent() || !body.is_empty();
        let result = match self.idle_lane(outgoing.upgrade, fresh, once) {
            Some(Lane::Http1(connection)) => connection.send(outgoing, body).await,
            // Boxed: connecting is rare and its state is large, as is that of HTTP/2.
            lane => Box::pin(self.attempt_by(lane, outgoing, body, notes)).await,
        };
        if result.is_err() {
            self.failures.add(1);
        }
        result
    }

    /// Sends one request by `lane`, or by a new one.
    async fn attempt_by(
        &self,
        lane: Option<Lane>,
        outgoing: &Outgoing<'_>,
        body: Body,
        notes: &mut Notes,
    ) -> Result<Reply, Failure> {
        let lane = match lane {
            Some(lane) => lane,
            None => match self.open_lane_by(outgoing.deadline, outgoing.upgrade).await {
                Ok(lane) => {
                    notes.connected = Some(timer::now());
                    lane
                }
                Err(rejection) => return Err(Failure::unsent(rejection, body)),
            },
        };
        match lane {
            Lane::Http1(connection) => connection.send(outgoing, body).await,
            Lane::Http2(connection) => connection.send(outgoing, &self.spec.authority, body).await,
        }
    }

    /// A connection that is there. A protocol switch needs HTTP/1.1; `once` is
    /// a request that cannot simply be sent again.
    fn idle_lane(&self, upgrade: bool, fresh: bool, once: bool) -> Option<Lane> {
        if !upgrade && let Some(connection) = self.idle_http2() {
            return Some(Lane::Http2(connection));
        }
        if fresh || (self.wants_http2() && !upgrade) {
            return None;
        }
        self.pool.take(once).map(Lane::Http1)
    }

    fn idle_http2(&self) -> Option<h2::Connection> {
        let mut connections = self.http2.borrow_mut();
        let mut all_open = true;
        let free = connections.iter().filter(|connection| {
            let is_open = connection.is_open();
            all_open &= is_open;
            is_open && connection.streams() < connection.max_streams().min(STREAMS_PER_CONNECTION)
        });
        let chosen = free.min_by_key(|connection| connection.streams()).cloned();
        if !all_open {
            // One that goes away is closed when it has no streams and nobody holds it.
            connections.retain(|connection| connection.is_open() || connection.streams() > 0);
        }
        chosen
    }

    fn wants_http2(&self) -> bool {
        self.spec.prior_knowledge || self.upstream.protocol == Protocol::Http2 || self.speaks_http2.get()
    }

    /// [`open_lane`](Self::open_lane) within the time to connect, and by
    /// `deadline`. Waiting for a connection that another request opens takes no
    /// longer than opening it: of many that wait, each would otherwise try in
    /// its turn.
    async fn open_lane_by(&self, deadline: Deadline, upgrade: bool) -> Result<Lane, Rejection> {
        let now = timer::now();
        let own = Deadline::after(now, self.upstream.connect_timeout);
        match deadline.earlier(own).left(now) {
            Some(left) => {
                let opened = tokio::time::timeout(left, self.open_lane(upgrade)).await;
                opened.unwrap_or_else(|_| Err(Rejection::new(&UPSTREAM_CONNECT_TIMEOUT)))
            }
            None => self.open_lane(upgrade).await,
        }
    }

    async fn open_lane(&self, upgrade: bool) -> Result<Lane, Rejection> {
        if upgrade || !self.wants_http2() {
            return self.dial(upgrade).await;
        }
        let _opening = self.opening.lock().await;
        match self.idle_http2() {
            Some(connection) => Ok(Lane::Http2(connection)),
            None => self.dial(false).await,
        }
    }

    async fn dial(&self, upgrade: bool) -> Result<Lane, Rejection> {
        let place = match &self.spec.address {
            Address::Socket(address) => Place::Socket(*address),
            Address::Name(name, port) => Place::Name(name, *port),
            Address::Unix(path) => Place::Unix(path),
        };
        let alpn = match self.upstream.protocol {
            _ if upgrade => Alpn::Http1,
            Protocol::Http1 => Alpn::Http1,
            Protocol::Http2 => Alpn::Http2,
            Protocol::Auto => Alpn::Auto,
        };
        let security = match &self.upstream.tls {
            Some(tls) if self.spec.secure => Some(Security { tls, host: host_of(&self.spec.authority), alpn }),
            _ => None,
        };
        // Whoever opens keeps to the time.
        let Dialled { io, http2 } = dial(place, security, Duration::ZERO).await?;
        let prior =
            !self.spec.secure && !upgrade && (self.spec.prior_knowledge || self.upstream.protocol == Protocol::Http2);
        if http2 || prior {
            let connection = h2::start(io).await?;
            self.pool_metrics.opened.add(1);
            self.speaks_http2.set(true);
            if !self.gone.get() {
                self.http2.borrow_mut().push(connection.clone());
            }
            return Ok(Lane::Http2(connection));
        }
        if !upgrade {
            // It may have spoken HTTP/2 before: a release that was taken back.
            self.speaks_http2.set(false);
        }
        Ok(Lane::Http1(self.pool.adopt(h1::Connection::new(io))))
    }
}

/// The host of an authority, without port and brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// What an endpoint has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EndpointCounts {
    /// Connections waiting to be used.
    pub idle: u64,
    /// Connections and streams in use.
    pub active: u64,
    /// Connections opened.
    pub opened: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed, connecting included.
    pub failures: u64,
}

/// How long the body of a reply may pause. Event streams pause, and say so
/// with comments or pings long before.
pub(crate) const BODY_IDLE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn hosts_of_authorities() {
        assert_eq!(host_of("users.example:8443"), "users.example");
        assert_eq!(host_of("[::1]:443"), "::1");
        assert_eq!(host_of("users"), "users");
    }
}
