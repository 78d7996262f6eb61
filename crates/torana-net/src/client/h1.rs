//! One HTTP/1.1 connection to an upstream.
//!
//! A connection is a box for life: it is the exchange's while it sends and
//! reads, *is* the reply's body while that streams, and goes back to its pool
//! from there, so a proxied request allocates nothing.

use crate::buffer::{self, Buffer, LARGE, Output};
use crate::client::interim::Interims;
use crate::client::pool::Pool;
use crate::io::Io;
use crate::recycle;
use crate::refusals as refuse;
use crate::timer::{self, Timer};
use crate::tunnel::UpstreamEnd;
use crate::write::{WriteError, Writer};
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::deadline::Deadline;
use torana_core::head::{Fields, Method, ReplyHead, Status};
use torana_core::interim::Interim;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_http1::{BodyDecoder, Framing, HeadLimits, HeadScanner, Parsed, Persist, Step, request, response};

/// Limits for heads of replies: services are trusted more than strangers.
const REPLY_LIMITS: HeadLimits = HeadLimits { head_bytes: 64 * 1024, fields: 200, uri_bytes: 0 };

/// A request as it goes to an upstream.
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// Its text.
    pub method_text: &'a str,
    /// The target, in pieces.
    pub target: &'a [&'a [u8]],
    /// The fields, `Host` among them.
    pub fields: &'a Fields,
    /// Whether to ask for the upgrade named in the fields.
    pub upgrade: bool,
    /// By when the reply's head must be there.
    pub deadline: Deadline,
    /// How long the reply's body may pause.
    pub body_idle: Duration,
    /// Who takes interim replies.
    pub interim: Option<&'a dyn Interim>,
}

/// A request that got no reply.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub rejection: Rejection,
    /// The request's body, if nothing of it was used.
    pub body: Option<Body>,
    /// The connection had served before: it may simply have been closed while
    /// it waited, so the request deserves a fresh one.
    pub stale: bool,
    /// Nothing was done with the request: it may be sent again whatever it was.
    pub unprocessed: bool,
}

impl Failure {
    /// One of a request of which nothing was sent.
    #[must_use]
    pub const fn unsent(rejection: Rejection, body: Body) -> Failure {
        Failure { rejection, body: Some(body), stale: false, unprocessed: true }
    }
}

/// One connection.
pub struct Connection {
    io: Io,
    input: Option<Buffer>,
    scanner: HeadScanner,
    timer: Timer,
    request: Body,
    /// Whether some of the request's body has been taken from it.
    body_used: bool,
    writer: Option<Writer>,
    decoder: BodyDecoder,
    /// Length of the data at the front of the input.
    ready: usize,
    length: Option<u64>,
    received: u64,
    persistent: bool,
    failed: bool,
    /// Interim replies to the request at hand.
    interims: Interims,
    body_idle: Duration,
    trailers: Option<Box<Fields>>,
    home: Option<Rc<Pool>>,
    served: u64,
    /// When it went back to the pool.
    pub(crate) idle_since: Instant,
}

impl Connection {
    /// A fresh connection over `io`.
    #[must_use]
    pub fn new(io: Io) -> Box<Connection> {
        Box::new(Connection {
            io,
            input: None,
            scanner: HeadScanner::new(),
            timer: Timer::new(),
            request: Body::Empty,
            body_used: false,
            writer: None,
            decoder: BodyDecoder::new(Framing::None),
            ready: 0,
            length: None,
            received: 0,
            persistent: true,
            failed: false,
            interims: Interims::default(),
            body_idle: Duration::ZERO,
            trailers: None,
            home: None,
            served: 0,
            idle_since: timer::coarse_now(),
        })
    }

    /// Where it goes when its reply has been read.
    pub(crate) fn set_home(&mut self, home: Rc<Pool>) {
        self.home = Some(home);
    }

    /// Whether nothing has arrived while it was idle: anything would either be
    /// the end, or a reply nobody asked for.
    pub(crate) fn is_clean(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if self.failed || self.input.is_some() {
            return false;
        }
        if self.io.is_silent() {
            return true;
        }
        // TLS may have had something to say to itself, such as a ticket.
        Buffer::take(0).poll_read(&mut self.io, &mut cx).is_pending()
    }

    /// Whether the kernel says so as well. What it has been told since this
    /// thread last asked for events, [`is_clean`](Self::is_clean) does not know;
    /// under load that is a while.
    pub(crate) fn is_surely_clean(&mut self) -> bool {
        self.is_clean() && self.io.has_nothing()
    }

    /// Sends a request and waits for the head of its reply. The reply's body
    /// holds the connection.
    ///
    /// What need not be kept while it waits is done at once: every request in
    /// flight holds what the future does.
    ///
    /// # Errors
    /// [`Failure`]; the connection is gone then.
    pub fn send<'a>(
        mut self: Box<Self>,
        outgoing: &'a Outgoing<'_>,
        body: Body,
    ) -> impl Future<Output = Result<Reply, Failure>> + use<'a> {
        let begun = self.begin(outgoing, body);
        async move {
            if let Err(failure) = begun {
                return Err(*failure);
            }
            let mut head = None;
            match poll_fn(|cx| self.poll_head(cx, outgoing, &mut head)).await {
                Ok(head) => self.receive(head, outgoing),
                Err(rejection) => Err(self.failure(rejection)),
            }
        }
    }

    /// Makes a request ready to be sent.
    fn begin(&mut self, outgoing: &Outgoing<'_>, body: Body) -> Result<(), Box<Failure>> {
        self.served += 1;
        self.interims = Interims::default();
        // Nobody may have wanted those of the reply before.
        self.trailers = None;
        let framing = match (&body, body.remaining()) {
            (Body::Empty, _) => Framing::None,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::Chunked,
        };
        let mut out = Output::take();
        let head = request::Outgoing {
            method: outgoing.method_text,
            target: outgoing.target,
            fields: outgoing.fields,
            framing,
            persist: if outgoing.upgrade { Persist::Upgrade } else { Persist::KeepAlive },
        };
        if let Err(error) = request::write_head(out.bytes(), &head) {
            let rejection = Rejection::new(&refuse::UPSTREAM_UNWRITABLE).because(error);
            return Err(Box::new(Failure::unsent(rejection, body)));
        }
        self.writer = Some(Writer::new(out, framing, false));
        self.request = body;
        self.body_used = false;
        self.body_idle = outgoing.body_idle;
        self.timer.arm(outgoing.deadline);
        Ok(())
    }

    fn failure(mut self: Box<Self>, rejection: Rejection) -> Failure {
        self.end_writing();
        let closed = rejection.refusal.code == refuse::UPSTREAM_CLOSED.code;
        Failure {
            body: (!self.body_used).then(|| mem::take(&mut self.request)),
            stale: closed && self.served > 1 && self.input.is_none() && self.interims.is_empty(),
            unprocessed: false,
            rejection,
        }
    }

    /// No more of the request is written.
    fn end_writing(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.body_used = writer.body_bytes() > 0;
        }
    }

    /// Pushes out what is left of the request. Ready when there is nothing
    /// more to push, for whatever reason.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Ok(())) };
        loop {
            let waits = match writer.fill(cx, &mut self.request) {
                Ok(waits) => waits,
                Err(WriteError::Source(error)) => return Poll::Ready(Err(error)),
                Err(_) => return Poll::Ready(Err(BodyError::new(&refuse::UPSTREAM_UNWRITABLE))),
            };
            match ready!(writer.poll_out(cx, &mut self.io, &mut self.request)) {
                Ok(()) => {}
                Err(_) => {
                    // An upstream may answer and close before it has read the
                    // whole request; its answer still counts.
                    self.persistent = false;
                    self.end_writing();
                    return Poll::Ready(Ok(()));
                }
            }
            if writer.is_done() {
                self.end_writing();
                mem::take(&mut self.request).finish();
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Waits for the head. There is one in `slot` only when something of it has come: until then it is better used for
    /// other replies.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &Outgoing<'_>,
        slot: &mut Option<Box<ReplyHead>>,
    ) -> Poll<Result<Box<ReplyHead>, Rejection>> {
        if let Poll::Ready(Err(error)) = self.poll_push(cx) {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if let Some(input) = &mut self.input {
                let mut head = slot.take().unwrap_or_else(recycle::reply_head);
                match response::parse(&mut self.scanner, input.data(), &REPLY_LIMITS, &mut head) {
                    Ok(Parsed::Complete { consumed }) => {
                        input.consume(consumed);
                        if input.is_empty() {
                            self.input = None;
                        }
                        if !head.status.is_interim() {
                            return Poll::Ready(Ok(head));
                        }
                        self.interims.pass_on(&mut head, outgoing)?;
                        *slot = Some(head);
                        continue;
                    }
                    Ok(Parsed::Partial) => *slot = Some(head),
                    Err(error) => {
                        return Poll::Ready(Err(Rejection::new(&refuse::UPSTREAM_MALFORMED).because(error)));
                    }
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Rejection::new(&refuse::UPSTREAM_CLOSED))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Rejection::new(&refuse::UPSTREAM_CLOSED).because(error)));
                }
                Poll::Pending if self.timer.poll_expired(cx) => {
                    return Poll::Ready(Err(Rejection::new(&refuse::UPSTREAM_TIMEOUT)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once into the input; holds no buffer while nothing comes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        buffer::poll_fill(&mut self.input, LARGE, &mut self.io, cx)
    }

    /// Turns a read head into a reply.
    fn receive(mut self: Box<Self>, head: Box<ReplyHead>, outgoing: &Outgoing<'_>) -> Result<Reply, Failure> {
        let framing = match response::framing(outgoing.method, &head) {
            Ok(framing) => framing,
            Err(error) => {
                return Err(self.failure(Rejection::new(&refuse::UPSTREAM_MALFORMED).because(error)));
            }
        };
        self.persistent &= response::persistent(&head, framing);
        self.timer.disarm();
        let mut reply = Reply { head, body: Body::Empty, tunnel: None };
        match framing {
            Framing::Tunnel => {
                if !outgoing.upgrade || reply.head.status != Status::SWITCHING_PROTOCOLS {
                    let cause = "the service switched protocols although nobody asked";
                    return Err(self.failure(Rejection::new(&refuse::UPSTREAM_MALFORMED).because(cause)));
                }
                let early = self.input.take();
                reply.tunnel = Some(Box::new(UpstreamEnd { io: self.io, early, kept: Vec::new() }));
            }
            Framing::None | Framing::Length(0) if self.writer.is_none() => self.go_home(),
            Framing::None | Framing::Length(0) => {}
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                self.decoder = BodyDecoder::new(framing);
                self.length = if let Framing::Length(length) = framing { Some(length) } else { None };
                self.received = 0;
                reply.body = Body::Stream(self);
            }
        }
        Ok(reply)
    }

    /// Back to the pool, if it is in a proven clean state.
    fn go_home(mut self: Box<Self>) {
        let clean = self.persistent && !self.failed && self.writer.is_none() && self.input.is_none() && self.ready == 0;
        if let Some(home) = self.home.take().filter(|_| clean) {
            home.put(self);
        }
    }

    fn fail(&mut self, refusal: &'static Refusal) -> Poll<Result<Progress, BodyError>> {
        self.failed = true;
        Poll::Ready(Err(BodyError::new(refusal)))
    }
}

impl BodyStream for Connection {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        if self.ready > 0 {
            return Poll::Ready(Ok(Progress::Data));
        }
        if self.failed {
            return self.fail(&refuse::UPSTREAM_TRUNCATED);
        }
        // Both ways at once: some services answer while they still read.
        if self.writer.is_some()
            && let Poll::Ready(Err(error)) = self.poll_push(cx)
        {
            return self.fail(error.refusal);
        }
        loop {
            let step = match &self.input {
                Some(input) => self.decoder.decode(input.data()),
                None if self.decoder.is_done() => Ok(Step::End { consumed: 0 }),
                None => Ok(Step::NeedMore { consumed: 0 }),
            };
            let Ok(step) = step else { return self.fail(&refuse::UPSTREAM_MALFORMED) };
            let (Step::Data { skip: used, .. } | Step::NeedMore { consumed: used } | Step::End { consumed: used }) =
                step;
            if let Some(input) = &mut self.input {
                input.consume(used);
                if input.is_empty() {
                    self.input = None;
                }
            }
            match step {
                Step::Data { len, .. } => {
                    self.ready = len;
                    self.received += len as u64;
                    return Poll::Ready(Ok(Progress::Data));
                }
                Step::End { .. } => {
                    if self.trailers.is_none() {
                        self.trailers = self.decoder.take_trailers();
                    }
                    return Poll::Ready(Ok(Progress::End));
                }
                Step::NeedMore { .. } => {}
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    self.persistent = false;
                    if self.decoder.end_of_input().is_err() {
                        return self.fail(&refuse::UPSTREAM_TRUNCATED);
                    }
                }
                Poll::Ready(Ok(_)) => self.timer.disarm(),
                Poll::Ready(Err(_)) => return self.fail(&refuse::UPSTREAM_TRUNCATED),
                Poll::Pending => {
                    if self.timer.poll_expired(cx) {
                        return self.fail(&refuse::UPSTREAM_STALLED);
                    }
                    self.timer.arm(Deadline::after(timer::coarse_now(), self.body_idle));
                    let _ = self.timer.poll_expired(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.input.as_ref().and_then(|input| input.data().get(..self.ready)).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.ready);
        self.ready -= count;
        if let Some(input) = &mut self.input {
            input.consume(count);
            if input.is_empty() {
                self.input = None;
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.length.map(|length| length.saturating_sub(self.received) + self.ready as u64)
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    fn finish(self: Box<Self>) {
        if self.decoder.is_done() {
            self.go_home();
        }
    }
}
