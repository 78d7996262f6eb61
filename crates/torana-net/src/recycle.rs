//! Exchanges and reply heads, kept per thread for the next request.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use torana_core::body::Body;
use torana_core::exchange::{Connection, Exchange};
use torana_core::head::ReplyHead;

/// Most kept of each: what a busy worker has in flight.
const KEPT: usize = 1024;

thread_local! {
    #[expect(clippy::vec_box, reason = "an exchange is large and moves between owners; the box is what is reused")]
    static EXCHANGES: RefCell<Vec<Box<Exchange>>> = const { RefCell::new(Vec::new()) };
    #[expect(clippy::vec_box, reason = "as with exchanges")]
    static REPLIES: RefCell<Vec<Box<ReplyHead>>> = const { RefCell::new(Vec::new()) };
}

/// An empty exchange for a request on `connection`.
pub(crate) fn exchange(connection: &Rc<Connection>, now: Instant) -> Box<Exchange> {
    match EXCHANGES.with_borrow_mut(Vec::pop) {
        Some(mut exchange) => {
            exchange.reset(connection.clone(), now);
            exchange
        }
        None => Box::new(Exchange::new(connection.clone(), now)),
    }
}

/// Keeps a finished exchange's buffers, and nothing else of it.
pub(crate) fn keep_exchange(mut exchange: Box<Exchange>) {
    exchange.body = Body::Empty;
    // Or the client's socket would stay open with it.
    exchange.interim = None;
    exchange.outbound = None;
    exchange.identity = None;
    exchange.carried.clear();
    EXCHANGES.with_borrow_mut(|kept| {
        if kept.len() < KEPT {
            kept.push(exchange);
        }
    });
}

/// An empty reply head.
#[must_use]
pub fn reply_head() -> Box<ReplyHead> {
    REPLIES.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a written reply head's buffers.
pub(crate) fn keep_reply_head(mut head: Box<ReplyHead>) {
    head.clear();
    REPLIES.with_borrow_mut(|kept| {
        if kept.len() < KEPT {
            kept.push(head);
        }
    });
}
