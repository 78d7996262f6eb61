//! One request's life.
//!
//! An exchange has one owner at a time and is passed as `&mut`: there is no
//! shared request state. Workers keep exchanges and reuse them, so everything
//! in here that owns a buffer is cleared, not dropped.

pub mod outbound;

use crate::body::Body;
use crate::canonical::CanonicalTarget;
use crate::captures::Captures;
use crate::carried::Carried;
use crate::deadline::Deadline;
use crate::head::{Head, Status, Version};
use crate::identity::Identity;
use crate::interim::Interim;
use crate::names::KnownName;
use crate::rewrite::ForwardHost;
use crate::site::UpstreamId;
use crate::trace::TraceContext;
use outbound::Outbound;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A route of the running plan, by position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteId(pub u32);

/// What is known about the connection a request came on. Shared by its
/// requests and never changed after the handshake.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Address of the peer: the socket's, or what a trusted PROXY protocol
    /// header said. `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address that is listened on; `0.0.0.0` where that is all of them.
    pub local: Option<SocketAddr>,
    /// TLS facts; `None` in the clear.
    pub tls: Option<Tls>,
}

/// What the TLS handshake settled.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Server name the client asked for, lower case, without trailing dot.
    pub server_name: Option<Box<str>>,
    /// The client's verified certificate, DER, leaf first; empty without one.
    pub client_chain: Vec<Arc<[u8]>>,
}

impl Connection {
    /// Whether the client's side of the connection is encrypted.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer's address; unspecified (`0.0.0.0`) on a Unix socket.
    #[must_use]
    pub fn peer_ip(&self) -> IpAddr {
        self.peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical())
    }
}

/// A request being served, from its head to the last byte of its reply.
pub struct Exchange {
    /// The request head. Hop-by-hop and gateway-owned fields the client sent
    /// are gone by the time any policy sees it.
    pub head: Head,
    /// The one reading of the request's target. Matching, policies, the log
    /// and forwarding all read this value.
    target: CanonicalTarget,
    /// The request body.
    pub body: Body,
    /// The connection it came on.
    pub connection: Rc<Connection>,
    /// The caller's address: the peer, or what trusted proxies said.
    pub client_ip: IpAddr,
    /// The matched route; `None` until routed and for unrouted requests.
    pub route: Option<RouteId>,
    /// What the route's path pattern captured, as ranges of the path.
    pub captures: Captures,
    /// By when the head of the reply must be there.
    pub deadline: Deadline,
    /// By when the whole exchange, reply body included, must be over. Set by
    /// routes with a timeout of their own; streams without an end rely on its
    /// absence.
    pub end_by: Deadline,
    /// Who the caller proved to be.
    pub identity: Option<Identity>,
    /// The request id: a trusted caller's, or ours.
    pub request_id: String,
    /// The trace the exchange belongs to; `span` is the gateway's: random bits,
    /// fresh for each exchange.
    pub trace: TraceContext,
    /// Whether the client asked to switch protocols, and to what.
    pub upgrade: Upgrade,
    /// How the request is to be forwarded, where that differs from `target`.
    pub forward: Forward,
    /// Facts for the log and metrics.
    pub notes: Notes,
    /// Where interim replies of an upstream go; `None` if the client knows
    /// none (HTTP/1.0).
    pub interim: Option<Rc<dyn Interim>>,
    /// How policies and targets call out.
    pub outbound: Option<Rc<dyn Outbound>>,
    /// What policies carry from one hook to the next.
    pub carried: Carried,
    /// The plan this exchange is served by, pinned when it is admitted, so
    /// that a reload half way changes nothing for it. Only the plane knows
    /// what is inside.
    pub plan: Option<Rc<dyn Any>>,
    /// How many policies of the route's chain have run forwards; the way back
    /// begins with the last of them.
    pub policies_run: usize,
}

/// A client's wish to leave HTTP on this connection.
#[derive(Debug, Default, Clone)]
pub enum Upgrade {
    /// None.
    #[default]
    No,
    /// `Upgrade: <protocol>` on HTTP/1.1 (RFC 9110 §7.8).
    To(Box<[u8]>),
}

/// How the forwarded request differs from the one received.
#[derive(Debug, Default)]
pub struct Forward {
    /// The path sent instead of the matched one; canonical. Empty: the same.
    pub path: String,
    /// The query sent instead of the received one; empty: none.
    pub query: Option<Box<str>>,
    /// What `Host` the upstream sees.
    pub host: ForwardHost,
}

/// The head of a request as it goes upstream.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingHead<'a> {
    /// Method and fields.
    pub head: &'a Head,
    /// The path, canonical.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
}

/// What happened, for the access log and metrics.
#[derive(Debug, Clone)]
pub struct Notes {
    /// When the head had arrived.
    pub started: Instant,
    /// When the target was asked to answer.
    pub dispatched: Option<Instant>,
    /// When an upstream connection was ready.
    pub connected: Option<Instant>,
    /// When the upstream's response head had arrived.
    pub replied: Option<Instant>,
    /// The upstream it went to.
    pub upstream: Option<UpstreamId>,
    /// The endpoint it went to last.
    pub endpoint: Option<Rc<str>>,
    /// How many times it was sent.
    pub attempts: u8,
    /// Status of the reply.
    pub status: Status,
    /// Reason code of a reply the gateway made itself, or of a broken-off one.
    pub code: Option<&'static str>,
    /// What happened exactly, for the log.
    pub cause: Option<Box<str>>,
    /// Body bytes received from the client.
    pub request_bytes: u64,
    /// Body bytes sent to the client.
    pub response_bytes: u64,
}

impl Notes {
    /// Notes of an exchange that starts now.
    #[must_use]
    pub const fn new(started: Instant) -> Notes {
        Notes {
            started,
            dispatched: None,
            connected: None,
            replied: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            status: Status::OK,
            code: None,
            cause: None,
            request_bytes: 0,
            response_bytes: 0,
        }
    }
}

impl Exchange {
    /// An empty exchange on `connection`, to be filled by a codec.
    #[must_use]
    pub fn new(connection: Rc<Connection>, now: Instant) -> Exchange {
        let client_ip = connection.peer_ip();
        Exchange {
            head: Head::default(),
            target: CanonicalTarget::default(),
            body: Body::Empty,
            connection,
            client_ip,
            route: None,
            captures: Captures::default(),
            deadline: Deadline::NONE,
            end_by: Deadline::NONE,
            identity: None,
            request_id: String::new(),
            trace: TraceContext::default(),
            upgrade: Upgrade::No,
            forward: Forward::default(),
            notes: Notes::new(now),
            interim: None,
            outbound: None,
            carried: Carried::default(),
            plan: None,
            policies_run: 0,
        }
    }

    /// Makes the exchange as new for another request, keeping its buffers.
    pub fn reset(&mut self, connection: Rc<Connection>, now: Instant) {
        self.head.clear();
        self.target.clear();
        self.body = Body::Empty;
        self.client_ip = connection.peer_ip();
        self.connection = connection;
        self.route = None;
        self.captures.clear();
        self.deadline = Deadline::NONE;
        self.end_by = Deadline::NONE;
        self.identity = None;
        self.request_id.clear();
        self.trace = TraceContext::default();
        self.upgrade = Upgrade::No;
        self.forward.path.clear();
        self.forward.query = None;
        self.forward.host = ForwardHost::Preserve;
        self.notes = Notes::new(now);
        self.interim = None;
        self.outbound = None;
        self.carried.clear();
        self.plan = None;
        self.policies_run = 0;
    }

    /// A copy of an exchange under way, to be asked again what lies behind a
    /// policy ([`Outbound::ask_again`]): the request as it now stands, without
    /// its body, its wish to leave HTTP, and what policies carry. Nothing in it
    /// ends with the exchange it was made of.
    #[must_use]
    pub fn again(&self, now: Instant) -> Box<Exchange> {
        let mut again = Box::new(Exchange::new(Rc::clone(&self.connection), now));
        again.head = self.head.clone();
        again.target = self.target.clone();
        again.client_ip = self.client_ip;
        again.route = self.route;
        again.captures = self.captures.clone();
        again.identity.clone_from(&self.identity);
        again.request_id.clone_from(&self.request_id);
        again.trace = self.trace;
        again.forward.path.clone_from(&self.forward.path);
        again.forward.host = self.forward.host.clone();
        again.outbound.clone_from(&self.outbound);
        again.plan.clone_from(&self.plan);
        again.policies_run = self.policies_run;
        again
    }

    /// Reads the head's target into its one canonical form. The only writer of
    /// [`target`](Self::target).
    ///
    /// # Errors
    /// The target has no reading, or more than one.
    pub fn admit(&mut self) -> Result<(), crate::canonical::TargetError> {
        self.target.admit(&self.head, self.connection.is_secure())
    }

    /// The canonical target.
    #[must_use]
    pub const fn target(&self) -> &CanonicalTarget {
        &self.target
    }

    /// Writes `Host` as the upstream is to see it: the canonical host the
    /// client asked for, `endpoint`'s, or a configured one. A client that named
    /// none (HTTP/1.0) asks for the endpoint's.
    pub fn write_host(&mut self, endpoint: &str) {
        let host = match &self.forward.host {
            ForwardHost::Preserve if self.target.host().is_empty() => endpoint,
            ForwardHost::Preserve => self.target.authority(),
            ForwardHost::Endpoint => endpoint,
            ForwardHost::Fixed(host) => host,
        };
        let fields = &mut self.head.fields;
        // Mostly it stands there already.
        if !matches!(fields.get_single(KnownName::Host), Ok(Some(said)) if said == host.as_bytes()) {
            fields.set_own(KnownName::Host, host.as_bytes());
        }
    }

    /// What is sent upstream, apart from the notes that are taken meanwhile.
    pub fn outgoing(&mut self) -> (OutgoingHead<'_>, &mut Notes) {
        let path = if self.forward.path.is_empty() { self.target.path() } else { &self.forward.path };
        let query = match &self.forward.query {
            None => self.target.query(),
            Some(query) => Some(&**query).filter(|query| !query.is_empty()),
        };
        (OutgoingHead { head: &self.head, path, query }, &mut self.notes)
    }

    /// The query an upstream is asked with, without its `?`.
    #[must_use]
    pub fn forward_query(&self) -> Option<&str> {
        match &self.forward.query {
            None => self.target.query(),
            Some(query) => Some(&**query).filter(|query| !query.is_empty()),
        }
    }

    /// The path an upstream is asked for: the rewritten one, or the matched.
    #[must_use]
    pub fn forward_path(&self) -> &str {
        if self.forward.path.is_empty() { self.target.path() } else { &self.forward.path }
    }

    /// Version of the protocol the client speaks.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }
}
