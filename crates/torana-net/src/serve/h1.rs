//! Serves HTTP/1.x on one client connection.
//!
//! Per request: read the head, attach the body, ask the service, send the
//! reply, account. An idle connection holds neither a buffer nor an exchange,
//! nor room for the state of serving one.

use crate::buffer::Buffer;
use crate::drain;
use crate::io::Io;
use crate::recycle;
use crate::refusals as refuse;
use crate::serve::link::{BodyState, Link, RequestBody};
use crate::serve::send::{self, Sending, Served};
use crate::serve::shelf::Shelf;
use crate::service::{ListenerId, Service, Settings};
use crate::timer::{self, Timer};
use crate::tunnel;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use torana_core::body::Body;
use torana_core::deadline::Deadline;
use torana_core::exchange::{Connection, Exchange};
use torana_core::head::Status;
use torana_core::names::KnownName;
use torana_core::refusal::{Origin, Refusal, Rejection};
use torana_core::reply::Reply;
use torana_http1::{Behind, BodyDecoder, Framing, HeadLimits, Parsed, Persist, behind, request, response};

/// How long an ended connection is read on, so that the reply to a client
/// still sending is not destroyed by a reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
/// How much is read and thrown away meanwhile.
const LINGER_BYTES: usize = 512 * 1024;
/// The first bytes of HTTP/2 with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum Next {
    Request(Box<Exchange>),
    Refused(Box<Exchange>, &'static Refusal),
    Http2,
    Closed,
}

#[derive(PartialEq, Eq)]
pub(crate) enum After {
    NextRequest,
    Close,
}

/// What the client means to do with the connection after a request.
#[derive(Clone, Copy)]
struct Wish {
    /// Send another request.
    keep: bool,
    /// Leave HTTP, if the reply agrees.
    leave: bool,
}

/// What serves the requests of all connections of a worker.
pub(crate) type Turns<S> = Shelf<Turn<S>, (Box<Server<S>>, After)>;

/// One request and the connection it came on.
pub(crate) struct Turn<S> {
    /// Boxed: it is handed over and back with each request.
    server: Box<Server<S>>,
    settings: Rc<Settings>,
    exchange: Box<Exchange>,
    /// Why its head cannot be used.
    refusal: Option<&'static Refusal>,
}

pub(crate) struct Server<S> {
    link: Rc<Link>,
    connection: Rc<Connection>,
    service: Rc<S>,
    timer: Timer,
    /// Whether prior-knowledge HTTP/2 may still start here.
    fresh: bool,
    /// Whether no request has come yet.
    first: bool,
}

/// Serves a connection until it closes. Answers it if the client speaks HTTP/2.
pub(crate) async fn serve<S: Service>(
    mut server: Box<Server<S>>,
    listener: ListenerId,
    turns: &Turns<S>,
) -> Option<Box<Server<S>>> {
    loop {
        let settings = server.service.settings(listener);
        let (exchange, refusal) = match server.next(&settings).await {
            Next::Closed => break,
            Next::Http2 => return Some(server),
            Next::Refused(exchange, refusal) => (exchange, Some(refusal)),
            Next::Request(exchange) => (exchange, None),
        };
        let after;
        (server, after) = turns.run(Turn { server, settings, exchange, refusal }, Turn::run).await;
        if after == After::Close {
            break;
        }
        server.fresh = false;
        server.first = false;
    }
    server.close().await;
    None
}

impl<S: Service> Turn<S> {
    async fn run(self) -> (Box<Server<S>>, After) {
        let Turn { mut server, settings, exchange, refusal } = self;
        let after = match refusal {
            None => server.turn(exchange, &settings).await,
            Some(refusal) => server.refuse(exchange, refusal, &settings).await,
        };
        (server, after)
    }
}

impl<S: Service> Server<S> {
    /// What serves `io`, which may start with HTTP/2's preface only if `http2`. Boxed here: what a connection's task
    /// holds, and looks into with every request, stays small.
    pub(crate) fn new(io: Io, connection: Rc<Connection>, service: Rc<S>, http2: bool) -> Box<Server<S>> {
        let link = Rc::new(Link::new(io));
        Box::new(Server { link, connection, service, timer: Timer::new(), fresh: http2, first: true })
    }

    /// Waits for the next head.
    async fn next(&mut self, settings: &Settings) -> Next {
        let now = timer::coarse_now();
        // The first request of a connection has no right to idle: a client
        // connects because it has something to say. Nor has one whose first
        // bytes came with the request before it.
        let begun = self.first || self.link.waiting() > 0;
        let wait = if begun { settings.head_timeout } else { settings.idle_timeout };
        self.timer.arm(Deadline::after(now, wait));
        let mut exchange = None;
        poll_fn(|cx| self.poll_next(cx, settings, &mut exchange)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, settings: &Settings, slot: &mut Option<Box<Exchange>>) -> Poll<Next> {
        let mut began = None;
        let mut is_late = false;
        loop {
            if let Some(mut next) = self.parse(settings, slot) {
                if is_late && let Next::Request(exchange) = &mut next {
                    // How long the client took over its head is no time of ours.
                    exchange.notes.started = timer::now();
                }
                return Poll::Ready(next);
            }
            if let Some(started) = began.take() {
                // Only a head that did not come in one piece can be late.
                self.timer.arm(Deadline::after(started, settings.head_timeout));
            }
            if self.link.input.borrow().ended {
                return Poll::Ready(Next::Closed);
            }
            let partial = self.link.waiting() > 0;
            if self.timer.poll_expired(cx) {
                return Poll::Ready(match slot.take() {
                    Some(exchange) if partial => Next::Refused(exchange, &refuse::HEAD_TIMEOUT),
                    _ => Next::Closed,
                });
            }
            match self.link.poll_fill(cx) {
                Poll::Ready(Ok(true)) if !partial => {
                    let now = timer::now();
                    *slot = Some(recycle::exchange(&self.connection, now));
                    began = Some(now);
                }
                Poll::Ready(Ok(_)) => is_late = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Closed),
                // Looked at after reading: a request that has arrived is served.
                Poll::Pending if !partial && drain::active() && !self.first => return Poll::Ready(Next::Closed),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tries to read a head from what has arrived.
    fn parse(&mut self, settings: &Settings, slot: &mut Option<Box<Exchange>>) -> Option<Next> {
        let mut input = self.link.input.borrow_mut();
        let input = &mut *input;
        let buffer = input.buffer.as_mut()?;
        if self.fresh && buffer.data().starts_with(b"PRI") {
            if buffer.data().starts_with(PREFACE) {
                return Some(Next::Http2);
            }
            if PREFACE.starts_with(buffer.data()) {
                return None;
            }
        }
        // A pipelined request is read without waiting.
        let mut exchange = slot.take().unwrap_or_else(|| recycle::exchange(&self.connection, timer::now()));
        let limits = HeadLimits {
            head_bytes: settings.header_bytes,
            fields: settings.header_count,
            uri_bytes: settings.uri_bytes,
        };
        match request::parse(&mut input.scanner, buffer.data(), &limits, &mut exchange.head) {
            Ok(Parsed::Complete { consumed }) => {
                buffer.consume(consumed);
                if buffer.is_empty() {
                    input.buffer = None;
                }
                Some(Next::Request(exchange))
            }
            Ok(Parsed::Partial) => {
                *slot = Some(exchange);
                None
            }
            Err(error) => Some(Next::Refused(exchange, refuse::of_head(error))),
        }
    }

    /// Answers a request whose head cannot be used, and ends the connection:
    /// where the next message starts is not known.
    async fn refuse(&mut self, mut exchange: Box<Exchange>, refusal: &'static Refusal, settings: &Settings) -> After {
        // The client may still be sending what was refused.
        self.link.body.set(BodyState::Abandoned);
        let reply = self.service.reject(&mut exchange, Rejection::new(refusal));
        self.finish(exchange, reply, settings, Wish { keep: false, leave: false }).await;
        After::Close
    }

    /// One request with a readable head, from its body to its account.
    async fn turn(&mut self, mut exchange: Box<Exchange>, settings: &Settings) -> After {
        let framing = match request::framing(&exchange.head) {
            Ok(framing) => framing,
            Err(error) => return self.refuse(exchange, refuse::of_framing(error), settings).await,
        };
        let Ok(expects) = request::expects_continue(&exchange.head, framing) else {
            return self.refuse(exchange, &refuse::EXPECTATION, settings).await;
        };
        let started = exchange.notes.started;
        // Read before anything strips the fields these depend on.
        let wish = Wish { keep: request::persistent(&exchange.head), leave: request::may_leave_http(&exchange.head) };
        exchange.head.fields.remove_known(KnownName::Expect);
        self.link.body.set(BodyState::Done);
        self.link.interim.open();
        if response::interim_allowed(exchange.head.version) {
            exchange.interim = Some(self.link.clone());
        }
        exchange.body = match framing {
            Framing::None | Framing::Length(0) | Framing::UntilClose | Framing::Tunnel => Body::Empty,
            Framing::Length(_) | Framing::Chunked => {
                let length = if let Framing::Length(length) = framing { Some(length) } else { None };
                let decoder = BodyDecoder::new(framing);
                Body::Stream(Box::new(RequestBody::new(&self.link, decoder, length, expects, settings)))
            }
        };
        exchange.deadline = Deadline::after(started, settings.request_timeout);
        let served = {
            let mut serving = pin!(self.service.serve(&mut exchange));
            let link = &self.link;
            poll_fn(|cx| match serving.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(Served::Reply(reply)),
                Poll::Pending if drain::is_cut() => Poll::Ready(Served::Cut),
                Poll::Pending if matches!(link.poll_interim(cx), Poll::Ready(Err(_))) => Poll::Ready(Served::Gone),
                Poll::Pending => link.poll_gone(cx).map(|()| Served::Gone),
            })
            .await
        };
        let cut = || self.service.reject(&mut exchange, Rejection::new(&refuse::SHUTDOWN));
        let Some(reply) = served.reply(cut) else {
            abandon(&mut exchange);
            return self.accounted(exchange, After::Close);
        };
        self.finish(exchange, reply, settings, wish).await
    }

    /// Sends `reply`, accounts for the exchange, and says how to go on.
    async fn finish(
        &mut self,
        mut exchange: Box<Exchange>,
        mut reply: Reply,
        settings: &Settings,
        wish: Wish,
    ) -> After {
        self.link.interim.close();
        // A body nobody took: dropping it tells whether its end has arrived.
        exchange.body = Body::Empty;
        let clean = self.link.body.get() == BodyState::Done
            && !(wish.leave && reply.tunnel.is_none() && self.link.waiting() > 0);
        let persist = match wish.keep && clean && !drain::announced() && !settings.draining {
            true => Persist::KeepAlive,
            false => Persist::Close,
        };
        let mut sending = match Sending::start(&mut exchange, &mut reply, persist, settings) {
            Ok(sending) => sending,
            Err(rejection) => {
                reply = self.service.reject(&mut exchange, rejection);
                match Sending::start(&mut exchange, &mut reply, Persist::Close, settings) {
                    Ok(sending) => sending,
                    Err(_) => return self.accounted(exchange, After::Close),
                }
            }
        };
        if clean && self.link.waiting() == 0 {
            sending.nothing_unread();
        }
        self.timer.arm(exchange.end_by);
        let link = &self.link;
        let timer = &mut self.timer;
        let notes = &mut exchange.notes;
        let sent = poll_fn(|cx| sending.poll(cx, link, timer, &mut reply.body, notes)).await;
        if let Err(refusal) = sent
            && refusal.origin == Origin::Upstream
            && sending.is_unsent()
        {
            // The upstream's reply broke off before any of it went out: the
            // client can still be told. Boxed, because refusing ends here.
            drop(sending);
            return Box::pin(self.refuse(exchange, refusal, settings)).await;
        }
        let after = match sent {
            Ok(()) => behind(wish.leave, sending.framing(), sending.persist(), self.link.waiting()),
            Err(refusal) => {
                send::broken_off(&mut exchange.notes, refusal);
                Behind::Nothing
            }
        };
        drop(sending);
        recycle::keep_reply_head(reply.head);
        match after {
            Behind::Request if self.link.body.get() == BodyState::Done => {
                reply.body.finish();
                self.accounted(exchange, After::NextRequest)
            }
            Behind::Tunnel => {
                if let Some(upstream) = reply.tunnel.take() {
                    tunnel::run(&self.link, upstream, &mut exchange.notes).await;
                }
                self.accounted(exchange, After::Close)
            }
            Behind::Request | Behind::Nothing => {
                if sent.is_ok() {
                    reply.body.finish();
                }
                self.accounted(exchange, After::Close)
            }
        }
    }

    fn accounted(&self, mut exchange: Box<Exchange>, after: After) -> After {
        exchange.notes.request_bytes += self.link.received.take();
        self.service.account(&mut exchange, timer::now());
        recycle::keep_exchange(exchange);
        after
    }

    /// The connection of a client that speaks HTTP/2, and what it has said.
    pub(crate) fn into_http2(self) -> Option<(Io, Buffer, Rc<Connection>, Rc<S>)> {
        let early = self.link.input.borrow_mut().buffer.take().unwrap_or_else(|| Buffer::take(0));
        // No body was handed out, so there is no second owner.
        let link = Rc::try_unwrap(self.link).ok()?;
        Some((link.io.into_inner(), early, self.connection, self.service))
    }

    /// Closes our side, and reads on for a moment if the client may still be
    /// sending.
    async fn close(&mut self) {
        let link = &self.link;
        self.timer.arm(Deadline::after(timer::coarse_now(), LINGER));
        let timer = &self.timer;
        let mut left = LINGER_BYTES;
        let mut shut = false;
        let unread = link.body.get() != BodyState::Done || link.waiting() > 0;
        if !unread && matches!(*link.io.borrow(), Io::Plain(_)) {
            // Nothing of the client's is in flight that a reset could cross;
            // dropping the socket closes it in one call.
            return;
        }
        poll_fn(|cx| {
            if timer.poll_expired(cx) {
                return Poll::Ready(());
            }
            if !shut {
                match link.io.borrow_mut().poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !unread {
                return Poll::Ready(());
            }
            loop {
                let waiting = link.waiting();
                link.input.borrow_mut().buffer = None;
                left = left.saturating_sub(waiting);
                if left == 0 {
                    return Poll::Ready(());
                }
                match link.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// Notes that the client left before its reply.
fn abandon(exchange: &mut Exchange) {
    exchange.body = Body::Empty;
    exchange.notes.status = Status::CLIENT_CLOSED_REQUEST;
    exchange.notes.code = Some(refuse::CLIENT_GONE.code);
}
