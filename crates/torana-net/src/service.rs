//! What the data plane asks of the layer above it.

use crate::tls::server::ServerTls;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::exchange::Exchange;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;

/// Answers requests on one worker. Implemented by `torana-plane`; everything
/// runs on the worker's thread, so nothing needs to be `Send`.
///
/// The connection code calls, for every exchange and in this order: `serve`
/// (or `reject` when no request could be read), sends the reply, `account`.
/// There is no exit that skips `account`.
pub trait Service: 'static {
    /// The settings in force now for connections of `listener`. Read once per
    /// request, so a reload reaches open connections.
    fn settings(&self, listener: ListenerId) -> Rc<Settings>;

    /// How connections of `listener` start; `None` when the listener is no
    /// longer part of the configuration.
    fn listening(&self, listener: ListenerId) -> Option<Arc<Listening>>;

    /// Answers an exchange whose head has been read and whose body is attached.
    /// Dropping the future cancels the exchange and what it started upstream.
    fn serve(&self, exchange: &mut Exchange) -> impl Future<Output = Reply>;

    /// Renders a refusal made before or instead of `serve`: a message that
    /// could not be read, a limit, a deadline.
    fn reject(&self, exchange: &mut Exchange, rejection: Rejection) -> Reply;

    /// The exchange is over: its reply was sent, or the client is gone.
    /// `exchange.notes` holds what happened.
    fn account(&self, exchange: &mut Exchange, ended: Instant);

    /// Counts something that happened to a connection, not to an exchange.
    fn observe(&self, event: ConnectionEvent);
}

/// How connections of a listener start. Read once per accepted connection, so
/// new certificates serve new connections.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Its name.
    pub name: Arc<str>,
    /// TLS, unless it listens in the clear.
    pub tls: Option<Arc<ServerTls>>,
    /// Whether HTTP/2 is offered: by ALPN in TLS, by prior knowledge in the clear.
    pub http2: bool,
    /// Whether clients are accepted when they speak, see [`defer`](crate::defer).
    pub defer_accept: bool,
    /// Peers whose connections start with a PROXY protocol header, and must.
    pub proxy_protocol: Vec<ipnet::IpNet>,
    /// For the TLS handshake, and for the PROXY protocol header.
    pub handshake_timeout: Duration,
    /// Most connections of the process.
    pub connections: u32,
    /// Most connections from one address.
    pub connections_per_client: u32,
}

/// A listener, by a number that it keeps over reloads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub u32);

/// Something worth counting on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionEvent {
    /// Accepted.
    Opened,
    /// Gone.
    Closed,
    /// Accepted here and given to a worker that has fewer.
    Moved,
    /// Refused or cut because of a limit; the reason code says which.
    Limited(&'static str),
    /// The TLS handshake failed.
    HandshakeFailed,
}

/// Limits of a listener. All are on by default; see the configuration
/// reference for the reasons behind the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Longest request head in bytes, request line included.
    pub header_bytes: usize,
    /// Most header fields.
    pub header_count: usize,
    /// Longest request target in bytes.
    pub uri_bytes: usize,
    /// Longest request body in bytes; routes may say otherwise.
    pub body_bytes: u64,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request, and either side
    /// may go without moving a byte of a body.
    pub idle_timeout: Duration,
    /// Fewest body bytes per second a client must send or accept, averaged
    /// over the body after `body_rate_grace`. Zero: no minimum.
    pub min_body_rate: u64,
    /// How long a body may take before its rate counts.
    pub body_rate_grace: Duration,
    /// From the head of a request to the head of its reply; zero: none.
    pub request_timeout: Duration,
    /// Concurrent streams per HTTP/2 connection.
    pub http2_streams: u32,
    /// Streams a client may reset per HTTP/2 connection and half minute.
    pub http2_resets: u32,
    /// The gateway is shutting down: finish what is there, close afterwards.
    pub draining: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            header_bytes: 32 * 1024,
            header_count: 100,
            uri_bytes: 8 * 1024,
            body_bytes: 10 * 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_body_rate: 240,
            body_rate_grace: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            http2_streams: 128,
            http2_resets: 200,
            draining: false,
        }
    }
}
