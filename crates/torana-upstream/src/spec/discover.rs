//! Where endpoints are looked up, as compiled.

use super::EndpointSpec;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where endpoints are looked up. Two that are equal ask the same, and the
/// later one goes on with what the earlier one found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// How it is called in logs and metrics: `dns:users.internal`.
    pub name: Arc<str>,
    /// What is asked.
    pub kind: Kind,
}

/// What is asked for endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DNS.
    Dns(DnsSpec),
    /// A file that lists them.
    File {
        /// Which.
        path: PathBuf,
        /// Whether endpoints in the clear are spoken HTTP/2 to.
        http2: bool,
    },
}

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSpec {
    /// The question.
    pub question: Question,
    /// `http`, `https` or `h2c`: how endpoints are called.
    pub scheme: &'static str,
    /// What they are like, but for name, address and, with SRV, weight.
    pub like: EndpointSpec,
    /// Who is asked; nobody in particular: whom the system asks.
    pub resolvers: Vec<SocketAddr>,
    /// An answer is not asked for again before this time.
    pub min_ttl: Duration,
    /// An answer is not kept longer than this.
    pub max_ttl: Duration,
}

/// A question to DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A and AAAA records of a name; all answer on this port.
    Addresses(Arc<str>, u16),
    /// SRV records of a name, then the addresses of their targets.
    Service(Arc<str>),
}
