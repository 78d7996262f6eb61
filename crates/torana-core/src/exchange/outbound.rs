//! What a policy or target may have done beyond its exchange, without owning a
//! client, a timer or a runtime.

use crate::body::Body;
use crate::deadline::Deadline;
use crate::exchange::{Exchange, RouteId};
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

/// Reads a reply that was [asked for again](Outbound::ask_again).
pub type ReadReply = Box<dyn FnOnce(Reply) -> LocalBoxFuture<'static, ()>>;

/// Works on the calling worker: sends requests through the pools of its
/// upstreams, waits, and does things beside an exchange.
pub trait Outbound {
    /// Sends `request` to `upstream`.
    fn send(&self, upstream: UpstreamId, request: OutboundRequest)
    -> LocalBoxFuture<'static, Result<Reply, Rejection>>;

    /// Asks what lies behind the calling policy once more, beside the exchange of
    /// which `again` is a copy ([`Exchange::again`]): the policies that run after
    /// it, and the target. `read` gets the reply as the policy would in
    /// `on_response`, and reads its body; nobody else does.
    fn ask_again(&self, again: Box<Exchange>, read: ReadReply);

    /// The name of a route of the plan that the exchange is served by: unlike a
    /// [`RouteId`], it means the same in every plan.
    fn route_name(&self, route: RouteId) -> &str;

    /// Waits for so long, give or take a millisecond.
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()>;

    /// Does `work` beside the exchange, which does not wait for it. Work that is
    /// not done when the worker stops is dropped.
    fn spawn(&self, work: LocalBoxFuture<'static, ()>);
}
