//! A worker without sockets, timers or a runtime.

use super::reply;
use crate::exchange::outbound::{Full, Line, Outbound, OutboundRequest, ReadReply, Work};
use crate::exchange::{Exchange, RouteId};
use crate::refusal::Rejection;
use crate::reply::Reply;
use crate::site::UpstreamId;
use crate::verdict::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Write;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

/// Remembers what it is asked to do.
#[derive(Default)]
pub struct TestWorker {
    /// How long was to be slept. No time passes.
    pub slept: RefCell<Vec<Duration>>,
    /// Whether sleep never ends.
    pub sleeps: Cell<bool>,
    /// Whether there is too much to do to do anything aside.
    pub is_full: Cell<bool>,
    /// Whether what is to be done aside waits, in `waiting`.
    pub waits: Cell<bool>,
    /// What is to be done aside.
    pub waiting: RefCell<Vec<Work>>,
    /// The requests sent, as text.
    pub sent: RefCell<Vec<String>>,
    replies: RefCell<VecDeque<Result<Reply, Rejection>>>,
    work: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    /// The requests that were asked again, as text.
    pub asked_again: RefCell<Vec<String>>,
}

impl TestWorker {
    /// A worker that has nothing to do.
    #[must_use]
    pub fn new() -> Rc<TestWorker> {
        Rc::default()
    }

    /// The next request gets this reply. Those without get none at all.
    pub fn will_reply(&self, text: &str) {
        self.replies.borrow_mut().push_back(Ok(reply(text)));
    }

    /// The next request fails.
    pub fn will_fail(&self, rejection: Rejection) {
        self.replies.borrow_mut().push_back(Err(rejection));
    }

    /// Goes on with the work that was spawned, once; tells how much of it is not
    /// done.
    pub fn work(&self) -> usize {
        // Taken out: work may spawn more.
        let mut work = self.work.take();
        work.retain_mut(|work| work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        self.work.borrow_mut().append(&mut work);
        self.work.borrow().len()
    }
}

impl Outbound for TestWorker {
    fn send(
        &self,
        upstream: UpstreamId,
        request: OutboundRequest,
    ) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        let mut text = format!("to {}: {} {}\n", upstream.0, request.method, request.path_and_query);
        let _ = writeln!(text, "host: {}", request.host.as_deref().unwrap_or("(endpoint)"));
        super::show_fields(&request.fields, &mut text);
        if !request.body.is_empty() {
            let _ = writeln!(text, "\n{}", String::from_utf8_lossy(request.body.data()));
        }
        self.sent.borrow_mut().push(text);
        match self.replies.borrow_mut().pop_front() {
            Some(result) => Box::pin(std::future::ready(result)),
            None => Box::pin(std::future::pending()),
        }
    }

    /// The reply is the next of those that requests get.
    fn ask_again(&self, again: Box<Exchange>, read: ReadReply) {
        let mut text = format!("{} {}\n", again.head.method_text(), again.forward_path());
        super::show_fields(&again.head.fields, &mut text);
        self.asked_again.borrow_mut().push(text);
        if let Some(Ok(reply)) = self.replies.borrow_mut().pop_front() {
            self.work.borrow_mut().push(Box::pin(async move { read(reply).await }));
        }
    }

    fn route_name(&self, _: RouteId) -> &str {
        "test"
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        self.slept.borrow_mut().push(time);
        if self.sleeps.get() { Box::pin(std::future::pending()) } else { Box::pin(std::future::ready(())) }
    }

    /// On the test's own thread, at once unless it `waits`.
    fn take_aside(&self, _: Line, work: Work) -> Result<(), Full> {
        if self.is_full.get() {
            return Err(Full);
        }
        if self.waits.get() {
            self.waiting.borrow_mut().push(work);
        } else {
            work();
        }
        Ok(())
    }

    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        self.work.borrow_mut().push(work);
    }
}
