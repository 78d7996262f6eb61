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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
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

    /// Takes `work` that would hold up the worker into a line that other threads
    /// work off. Called by [`aside`], which brings back what comes of it.
    ///
    /// # Errors
    /// The line is full. Waiting would only be slower.
    fn take_aside(&self, line: Line, work: Work) -> Result<(), Full>;

    /// Does `work` beside the exchange, which does not wait for it. Work that is
    /// not done when the worker stops is dropped.
    fn spawn(&self, work: LocalBoxFuture<'static, ()>);
}

/// A line of work for threads that are no workers. Each has threads and an end of
/// its own: who sends passwords to guess holds up nobody's bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Bodies that are large or take long to shape.
    Bodies,
    /// Passwords, which are slow to verify on purpose.
    Passwords,
}

impl Line {
    /// All of them.
    pub const ALL: [Line; 2] = [Line::Bodies, Line::Passwords];

    /// As metrics and threads call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Line::Bodies => "bodies",
            Line::Passwords => "passwords",
        }
    }
}

/// Work in a line. It never panics.
pub type Work = Box<dyn FnOnce() -> Ended + Send>;

/// How work in a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Done,
    /// It was not begun: nobody waited for it any more.
    Dropped,
    /// It panicked.
    Panicked,
}

/// A line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why nothing came of work that was to be done aside. For the log; callers get
/// a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The line is full, or there is no worker that could bring it there.
    #[error("too much work is waiting")]
    Full,
    /// The work panicked.
    #[error("the work failed")]
    Panicked,
}

/// Does `work`, which would hold up the worker, on another thread. If the future
/// is dropped before the work has begun, it never is.
///
/// # Errors
/// There is too much of it, or it panicked.
pub async fn aside<T: Send + 'static>(
    worker: Option<&dyn Outbound>,
    line: Line,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    let theirs = Arc::clone(&slot);
    let work = move || {
        if Arc::strong_count(&theirs) == 1 {
            return Ended::Dropped;
        }
        let done = catch_unwind(AssertUnwindSafe(work)).ok();
        let ended = if done.is_some() { Ended::Done } else { Ended::Panicked };
        let before = std::mem::replace(&mut *lock(&theirs), Slot::Done(done));
        if let Slot::Open(Some(waker)) = before {
            waker.wake();
        }
        ended
    };
    worker.ok_or(Full).and_then(|worker| worker.take_aside(line, Box::new(work))).map_err(|Full| NotDone::Full)?;
    poll_fn(|context| match &mut *lock(&slot) {
        Slot::Done(value) => Poll::Ready(value.take().ok_or(NotDone::Panicked)),
        Slot::Open(waker) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
    })
    .await
}

/// What comes of work, and who waits for it.
enum Slot<T> {
    Open(Option<Waker>),
    Done(Option<T>),
}

/// Held for a moment, by whoever has something to say.
fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::task::Context;

    fn poll<T>(work: impl Future<Output = T>) -> Poll<T> {
        pin!(work).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_done_in_time_counts() {
        let worker = TestWorker::new();
        let second = Duration::from_secs(1);
        assert_eq!(poll(within(&*worker, second, std::future::ready(1))), Poll::Ready(Some(1)));
        assert_eq!(poll(within(&*worker, second, std::future::pending::<()>())), Poll::Ready(None));
        worker.sleeps.set(true);
        assert_eq!(poll(within(&*worker, second, std::future::pending::<()>())), Poll::Pending);
    }

    #[test]
    fn what_comes_of_work_comes_back_and_a_panic_takes_only_its_own() {
        let worker = TestWorker::new();
        let done = |work: fn() -> u8| poll(aside(Some(&*worker), Line::Bodies, work));
        assert_eq!(done(|| 7), Poll::Ready(Ok(7)));
        assert_eq!(done(|| panic!("on purpose")), Poll::Ready(Err(NotDone::Panicked)));
        assert_eq!(done(|| 7), Poll::Ready(Ok(7)));
        worker.is_full.set(true);
        assert_eq!(done(|| 7), Poll::Ready(Err(NotDone::Full)));
        assert_eq!(poll(aside(None, Line::Bodies, || 7)), Poll::Ready(Err(NotDone::Full)));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_begun() {
        let worker = TestWorker::new();
        worker.waits.set(true);
        let mut kept = Box::pin(aside(Some(&*worker), Line::Bodies, || 7));
        let mut gone = Box::pin(aside(Some(&*worker), Line::Bodies, || panic!("it is begun")));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(kept.as_mut().poll(&mut cx).is_pending() && gone.as_mut().poll(&mut cx).is_pending());
        drop(gone);
        let ended: Vec<Ended> = worker.waiting.take().into_iter().map(|work| work()).collect();
        assert_eq!(ended, [Ended::Done, Ended::Dropped]);
        assert_eq!(kept.as_mut().poll(&mut cx), Poll::Ready(Ok(7)));
    }
}
