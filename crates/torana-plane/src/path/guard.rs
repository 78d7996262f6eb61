//! Keeps policies and targets from taking more than their own exchange down.

use crate::refusals::{PANIC, TIMEOUT};
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use torana_core::deadline::Deadline;
use torana_core::refusal::Rejection;
use torana_core::verdict::{Decision, LocalBoxFuture, Verdict};

/// Calls into a policy or target called `name`.
///
/// A panic may leave the exchange half changed; it is answered with
/// `internal.panic` and then dropped, so nobody relies on it.
pub(super) fn call<T>(name: &str, run: impl FnOnce() -> T) -> Result<T, Rejection> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| panicked(name, &*payload))
}

/// Awaits a policy's or target's future under `deadline`.
pub(super) async fn wait<T>(name: &str, deadline: Deadline, mut future: LocalBoxFuture<'_, T>) -> Result<T, Rejection> {
    let guarded = poll_fn(|context| match call(name, || future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(rejection) => Poll::Ready(Err(rejection)),
    });
    match deadline.instant() {
        None => guarded.await,
        Some(at) => match tokio::time::timeout_at(at.into(), guarded).await {
            Ok(result) => result,
            Err(_) => Err(Rejection::new(&TIMEOUT).because(format_args!("`{name}` did not decide in time"))),
        },
    }
}

/// The decision of a verdict if it is there at once.
pub(super) fn decide_at_once(name: &str, verdict: Verdict<'_>) -> Result<Option<Decision>, Rejection> {
    match verdict {
        Verdict::Now(decision) => Ok(Some(decision)),
        Verdict::Wait(mut future) => {
            match call(name, || future.as_mut().poll(&mut Context::from_waker(Waker::noop())))? {
                Poll::Ready(decision) => Ok(Some(decision)),
                Poll::Pending => Ok(None),
            }
        }
    }
}

#[cold]
fn panicked(name: &str, payload: &(dyn Any + Send)) -> Rejection {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Rejection::new(&PANIC).because(format_args!("`{name}` panicked: {text}"))
}
