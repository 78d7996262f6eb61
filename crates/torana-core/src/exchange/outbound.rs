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
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
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

    /// Does `work` that takes long, or waits for a disk, on a thread that is no
    /// worker; the future is over when the work is. It goes on if the future is
    /// dropped. How much of it there may be at a time is the caller's to limit.
    fn compute(&self, work: Box<dyn FnOnce() + Send>) -> LocalBoxFuture<'static, ()>;

    /// Does `work` beside the exchange, which does not wait for it. Work that is
    /// not done when the worker stops is dropped.
    fn spawn(&self, work: LocalBoxFuture<'static, ()>);
}

/// What comes of `work`, if it comes within `time`: a deadline for what has
/// none of its own, such as the body of a reply.
pub async fn within<T>(outbound: &dyn Outbound, time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut sleep = outbound.sleep(time);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestWorker;
    use std::task::{Context, Waker};

    #[test]
    fn what_is_done_in_time_counts() {
        fn poll<T>(work: impl Future<Output = T>) -> Poll<T> {
            pin!(work).poll(&mut Context::from_waker(Waker::noop()))
        }
        let worker = TestWorker::new();
        let second = Duration::from_secs(1);
        assert_eq!(poll(within(&*worker, second, std::future::ready(1))), Poll::Ready(Some(1)));
        assert_eq!(poll(within(&*worker, second, std::future::pending::<()>())), Poll::Ready(None));
        worker.sleeps.set(true);
        assert_eq!(poll(within(&*worker, second, std::future::pending::<()>())), Poll::Pending);
    }
}
