//! What a policy or target may have done beyond its exchange, without owning a
//! client, a timer or a runtime.

use crate::body::Body;
use crate::deadline::Deadline;
use crate::head::{Fields, Method};
use crate::refusal::Rejection;
use crate::reply::Reply;
use crate::site::UpstreamId;
use crate::verdict::LocalBoxFuture;
use std::time::Duration;

/// A request of the gateway's own.
#[derive(Debug, Default)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// Path and query, canonical.
    pub path_and_query: String,
    /// `Host`; none: the endpoint's.
    pub host: Option<Box<str>>,
    /// Header fields; `Host` and framing are set by the sender.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// By when the reply's head must be there.
    pub deadline: Deadline,
}

/// Works on the calling worker: sends requests through the pools of its
/// upstreams, waits, and does things beside an exchange.
pub trait Outbound {
    /// Sends `request` to `upstream`.
    fn send(&self, upstream: UpstreamId, request: OutboundRequest)
    -> LocalBoxFuture<'static, Result<Reply, Rejection>>;

    /// Waits for so long, give or take a millisecond.
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()>;

    /// Does `work` that takes long, or waits for a disk, on a thread that is no
    /// worker; the future is over when the work is. It goes on if the future is
    /// dropped. How much of it there may be at a time is the caller's to limit.
    fn compute(&self, work: Box<dyn FnOnce() + Send>) -> LocalBoxFuture<'static, ()>;

    /// Does `work` beside the exchange, which does not wait for it. Work that is
    /// not done when the worker stops is dropped.
    fn spawn(&self, work: LocalBoxFuture<'static, ()>);
}
