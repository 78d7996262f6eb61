//! Request bodies that can be sent more than once.
//!
//! While a request may still be sent again, what has been read of its body is
//! kept, up to a limit. A body that turns out longer is sent once: keeping is
//! what costs memory, and only upstreams with retries pay it.
//! (Gateways that keep bodies of any length, or of requests that they would
//! not repeat anyway, are spring-cloud-gateway#3741 and #988.)

use bytes::Bytes;
use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::head::Fields;

/// What is needed to send a request again.
pub(crate) struct Replay {
    body: Source,
    /// Somebody may have begun to process it.
    sent: bool,
}

enum Source {
    /// There is none, or all of it is here: every attempt gets a copy.
    Here(Bytes),
    /// It arrives while it is sent.
    Arriving(Rc<RefCell<Tape>>),
    /// It is sent once. Here until it has been given to an attempt.
    Once(Option<Body>),
}

/// A body that arrives, and what of it is kept.
struct Tape {
    source: Body,
    kept: Vec<Bytes>,
    /// Bytes in `kept`.
    length: usize,
    limit: usize,
    /// Longer than the limit, or failed: cannot be sent again.
    gone: bool,
    /// No other attempt will be made.
    last: bool,
}

impl Replay {
    /// For a body of which at most `limit` bytes may be kept; 0: it is sent once.
    pub(crate) fn new(body: Body, limit: usize) -> Replay {
        let body = match body {
            Body::Empty => Source::Here(Bytes::new()),
            Body::Full(bytes) => Source::Here(bytes),
            // One that is announced to be too long is not begun to be kept.
            body if limit == 0 || body.remaining().is_some_and(|length| length > limit as u64) => {
                Source::Once(Some(body))
            }
            source => {
                let tape = Tape { source, kept: Vec::new(), length: 0, limit, gone: false, last: false };
                Source::Arriving(Rc::new(RefCell::new(tape)))
            }
        };
        Replay { body, sent: false }
    }

    /// An attempt got so far that its request may have been processed.
    pub(crate) const fn set_sent(&mut self) {
        self.sent = true;
    }

    /// Whether somebody may have begun to process the request.
    pub(crate) const fn is_sent(&self) -> bool {
        self.sent
    }

    /// The body for one attempt; `None` if it is gone.
    pub(crate) fn play(&mut self) -> Option<Body> {
        match &mut self.body {
            Source::Here(bytes) if bytes.is_empty() => Some(Body::Empty),
            Source::Here(bytes) => Some(Body::Full(bytes.clone())),
            Source::Arriving(tape) if tape.borrow().gone => None,
            Source::Arriving(tape) => {
                Some(Body::Stream(Box::new(Playback { tape: tape.clone(), next: 0, data: Bytes::new() })))
            }
            Source::Once(body) => body.take(),
        }
    }

    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.body, Source::Here(bytes) if bytes.is_empty())
    }

    /// Takes back a body of which an attempt has used nothing.
    pub(crate) fn give_back(&mut self, body: Option<Body>) {
        if let Source::Once(slot) = &mut self.body {
            *slot = body;
        }
    }

    /// Whether the body can be sent again.
    pub(crate) fn is_there(&self) -> bool {
        match &self.body {
            Source::Here(_) => true,
            Source::Arriving(tape) => !tape.borrow().gone,
            Source::Once(body) => body.is_some(),
        }
    }

    /// There is a reply: nothing more needs to be kept.
    pub(crate) fn settle(&self) {
        if let Source::Arriving(tape) = &self.body {
            tape.borrow_mut().last = true;
        }
    }
}

impl Tape {
    /// The next piece of the source, kept if it may be needed again.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match ready!(self.source.poll_data(cx)) {
            Ok(Progress::End) => Poll::Ready(Ok(None)),
            Err(error) => {
                self.drop_kept();
                Poll::Ready(Err(error))
            }
            Ok(Progress::Data) => {
                let data = self.source.take_data();
                if self.length + data.len() > self.limit || self.last {
                    self.drop_kept();
                } else if !self.gone {
                    self.length += data.len();
                    self.kept.push(data.clone());
                }
                Poll::Ready(Ok(Some(data)))
            }
        }
    }

    fn drop_kept(&mut self) {
        self.gone = true;
        // The attempt under way has read all of it: nobody reads ahead.
        self.kept = Vec::new();
    }
}

/// A body from its beginning, for one attempt.
struct Playback {
    tape: Rc<RefCell<Tape>>,
    /// The kept piece to go on with.
    next: usize,
    data: Bytes,
}

impl BodyStream for Playback {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        if !self.data.is_empty() {
            return Poll::Ready(Ok(Progress::Data));
        }
        let mut tape = self.tape.borrow_mut();
        let piece = match tape.kept.get(self.next) {
            Some(piece) => Some(piece.clone()),
            None => ready!(tape.poll_next(cx))?,
        };
        self.next += 1;
        match piece {
            Some(piece) => {
                self.data = piece;
                Poll::Ready(Ok(Progress::Data))
            }
            None => Poll::Ready(Ok(Progress::End)),
        }
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, count: usize) {
        let _ = self.data.split_to(count.min(self.data.len()));
    }

    fn take_data(&mut self) -> Bytes {
        mem::take(&mut self.data)
    }

    fn remaining(&self) -> Option<u64> {
        let tape = self.tape.borrow();
        let kept: usize = tape.kept.iter().skip(self.next).map(Bytes::len).sum();
        Some(tape.source.remaining()? + (kept + self.data.len()) as u64)
    }

    fn limit(&mut self, bytes: u64) {
        self.tape.borrow_mut().source.limit(bytes);
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.tape.borrow_mut().source.trailers()
    }
}
