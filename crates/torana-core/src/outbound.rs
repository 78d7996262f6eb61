//! How a policy or target calls out without owning a client.

use crate::body::Body;
use crate::deadline::Deadline;
use crate::head::{Fields, Method};
use crate::refusal::Rejection;
use crate::reply::Reply;
use crate::site::UpstreamId;
use crate::verdict::LocalBoxFuture;

/// A request of the gateway's own.
#[derive(Debug, Default)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// Path and query, canonical.
    pub path_and_query: String,
    /// Header fields; `Host` and framing are set by the sender.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// By when the reply's head must be there.
    pub deadline: Deadline,
}

/// Sends requests through an upstream's pools on the calling worker.
pub trait Outbound {
    /// Sends `request` to `upstream`.
    fn send(&self, upstream: UpstreamId, request: OutboundRequest)
    -> LocalBoxFuture<'static, Result<Reply, Rejection>>;
}
