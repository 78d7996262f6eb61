//! Upstreams as compiled: immutable, shared by all workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use torana_net::tls::client::ClientTls;

/// An upstream as compiled.
///
/// Two specs that compare equal describe the same upstream: a worker keeps
/// pools and counters of an upstream whose spec did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Where it can be reached; never empty.
    pub endpoints: Vec<EndpointSpec>,
    /// From sending the request to the head of the reply; zero: none.
    pub timeout: Duration,
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
