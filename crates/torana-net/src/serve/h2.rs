//! Serves HTTP/2 on one client connection, a task per stream.

use crate::buffer::Buffer;
use crate::client::h2::Incoming;
use crate::date;
use crate::drain;
use crate::gather::{Gathered, Outbox, gather};
use crate::io::Io;
use crate::message;
use crate::recycle;
use crate::refusals as refuse;
use crate::serve::crew::Crew;
use crate::serve::interim::Offered;
use crate::serve::link::Pace;
use crate::serve::send::{Served, broken_off};
use crate::service::{ConnectionEvent, ListenerId, Service, Settings};
use crate::timer::{self, Timer};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::deadline::Deadline;
use torana_core::exchange::{Connection, Exchange};
use torana_core::head::{Fields, Method, Status};
use torana_core::interim::Interim;
use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_http1::Framing;

/// Window of a stream, and of the connection: what one client may make us hold
/// is bounded by the second.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Most bytes of a stream handed to the connection before the client has taken some.
const SEND_BUFFER: usize = 256 * 1024;
/// Resets are counted over this time.
const RESET_WINDOW: Duration = Duration::from_secs(30);

/// What serves the streams of a listener's connections.
pub(crate) type Streams<S> = Rc<Crew<Stream<S>>>;

/// A stream to serve.
pub(crate) struct Stream<S> {
    shared: Rc<Shared<S>>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// What the streams of a connection share.
struct Shared<S> {
    connection: Rc<Connection>,
    service: Rc<S>,
    listener: ListenerId,
    streams: Cell<usize>,
    /// When the last of them ended.
    ended: Cell<Instant>,
    /// Streams the client has reset in this window.
    resets: Cell<u32>,
    window: Cell<Instant>,
}

/// Serves `io` until it closes.
pub(crate) async fn serve<S: Service>(
    io: Io,
    early: Option<Buffer>,
    connection: Rc<Connection>,
    listener: ListenerId,
    service: Rc<S>,
    streams: Streams<S>,
) {
    let settings = service.settings(listener);
    let mut timer = Timer::new();
    timer.arm(Deadline::after(timer::coarse_now(), settings.head_timeout));
    let (io, outbox) = gather(io, early);
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.http2_streams)
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        // Both answer floods of resets (CVE-2023-44487, CVE-2025-8671).
        .max_pending_accept_reset_streams(usize::try_from(settings.http2_resets).unwrap_or(20).min(100))
        .max_local_error_reset_streams(Some(1024))
        .handshake::<_, Bytes>(io);
    let mut handshake = pin!(handshake);
    let accepted = poll_fn(|cx| {
        let shaken = handshake.as_mut().poll(cx);
        match (shaken, outbox.poll_send(cx)) {
            (Poll::Ready(result), _) => Poll::Ready(result.ok()),
            (Poll::Pending, Poll::Ready(Err(_))) => Poll::Ready(None),
            (Poll::Pending, _) if timer.poll_expired(cx) => {
                service.observe(ConnectionEvent::Limited(refuse::HEAD_TIMEOUT.code));
                Poll::Ready(None)
            }
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await;
    let Some(mut http2) = accepted else { return };
    let shared = Rc::new(Shared {
        connection,
        service,
        listener,
        streams: Cell::new(0),
        ended: Cell::new(timer::coarse_now()),
        resets: Cell::new(0),
        window: Cell::new(timer::coarse_now()),
    });
    accept(&mut http2, &outbox, &shared, &mut timer, &streams).await;
}

/// Accepts streams until the connection is over.
async fn accept<S: Service>(
    http2: &mut h2::server::Connection<Gathered, Bytes>,
    outbox: &Outbox,
    shared: &Rc<Shared<S>>,
    timer: &mut Timer,
    streams: &Crew<Stream<S>>,
) {
    let mut going = false;
    loop {
        let settings = shared.service.settings(shared.listener);
        timer.arm(Deadline::after(timer::coarse_now(), settings.idle_timeout));
        let next = poll_fn(|cx| {
            if !going && (drain::active() || settings.draining) {
                going = true;
                http2.graceful_shutdown();
            }
            if shared.too_many_resets(&settings) {
                http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                shared.service.observe(ConnectionEvent::Limited(refuse::RESETS.code));
                return Poll::Ready(None);
            }
            match http2.poll_accept(cx) {
                // What it has written goes out when there is nothing more to read.
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending if matches!(outbox.poll_send(cx), Poll::Ready(Err(_))) => Poll::Ready(None),
                Poll::Pending => {
                    if timer.poll_expired(cx) {
                        let now = timer::coarse_now();
                        let mut next = Deadline::after(now, settings.idle_timeout);
                        let idle = Deadline::after(shared.ended.get(), settings.idle_timeout);
                        match shared.streams.get() {
                            0 if going => return Poll::Ready(None),
                            0 if idle.passed(now) => {
                                going = true;
                                http2.graceful_shutdown();
                            }
                            0 => next = idle,
                            _ => {}
                        }
                        timer.arm(next);
                        let _ = timer.poll_expired(cx);
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        match next {
            Some(Ok((request, respond))) => {
                shared.streams.set(shared.streams.get() + 1);
                streams.give(Stream { shared: shared.clone(), request, respond }, stream);
            }
            Some(Err(error)) => {
                // The codec counts resets of streams nobody has accepted yet.
                if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    shared.service.observe(ConnectionEvent::Limited(refuse::RESETS.code));
                }
                break;
            }
            None => break,
        }
    }
    // Frames already queued, such as GOAWAY, still want to go out.
    timer.arm(Deadline::after(timer::coarse_now(), Duration::from_secs(1)));
    poll_fn(|cx| {
        let closed = http2.poll_closed(cx);
        match (closed, outbox.poll_send(cx)) {
            (Poll::Ready(_), Poll::Ready(_)) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            _ if timer.poll_expired(cx) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}

impl<S> Shared<S> {
    fn count_reset(&self) {
        let now = timer::coarse_now();
        if now.saturating_duration_since(self.window.get()) > RESET_WINDOW {
            self.window.set(now);
            self.resets.set(0);
        }
        self.resets.set(self.resets.get() + 1);
    }

    fn too_many_resets(&self, settings: &Settings) -> bool {
        self.resets.get() > settings.http2_resets
    }
}

/// One request.
async fn stream<S: Service>(job: Stream<S>) {
    let Stream { shared, request, mut respond } = job;
    let service = &shared.service;
    let settings = service.settings(shared.listener);
    let now = timer::now();
    let mut exchange = recycle::exchange(&shared.connection, now);
    let (parts, incoming) = request.into_parts();
    let read = message::read_request(&parts, &mut exchange.head, &settings);
    exchange.deadline = Deadline::after(now, settings.request_timeout);
    let framing = if incoming.is_end_stream() { Framing::None } else { Framing::Chunked };
    let read = read.and_then(|()| {
        torana_http1::request::expects_continue(&exchange.head, framing).map_err(|_| &refuse::EXPECTATION)
    });
    exchange.head.fields.remove_known(KnownName::Expect);
    let mut received: Option<Rc<Cell<u64>>> = None;
    let interim = Offered::take();
    exchange.interim = Some(interim.clone());
    let reply = match read {
        Err(refusal) => Some(service.reject(&mut exchange, Rejection::new(refusal))),
        Ok(expects) => {
            if framing != Framing::None {
                let length = length(&parts.headers);
                let mut incoming = Incoming::new(incoming, length, &refuse::BODY_TRUNCATED);
                incoming.meter = Some(received.get_or_insert_default().clone());
                exchange.body = Body::Stream(Box::new(RequestBody {
                    incoming,
                    limit: settings.body_bytes,
                    pace: Pace::new(&settings),
                    timer: Timer::new(),
                    uninvited: expects.then(|| interim.clone()),
                }));
            }
            let served = {
                let mut serving = pin!(service.serve(&mut exchange));
                poll_fn(|cx| {
                    let served = serving.as_mut().poll(cx);
                    if !interim.is_empty() {
                        // A stream that is reset takes nothing more.
                        if respond.poll_reset(cx).is_ready() {
                            return Poll::Ready(Served::Gone);
                        }
                        interim.send(&mut respond);
                    }
                    match served {
                        Poll::Ready(reply) => Poll::Ready(Served::Reply(reply)),
                        Poll::Pending if drain::is_cut() => Poll::Ready(Served::Cut),
                        Poll::Pending => respond.poll_reset(cx).map(|_| Served::Gone),
                    }
                })
                .await
            };
            served.reply(|| service.reject(&mut exchange, Rejection::new(&refuse::SHUTDOWN)))
        }
    };
    match reply {
        Some(reply) => send(&mut exchange, reply, &mut respond, &settings, &shared).await,
        None => {
            shared.count_reset();
            exchange.body = Body::Empty;
            exchange.notes.status = Status::CLIENT_CLOSED_REQUEST;
            exchange.notes.code = Some(refuse::CLIENT_GONE.code);
        }
    }
    shared.streams.set(shared.streams.get().saturating_sub(1));
    shared.ended.set(timer::now());
    exchange.notes.request_bytes = received.map_or(0, |received| received.get());
    service.account(&mut exchange, shared.ended.get());
    recycle::keep_exchange(exchange);
    interim.keep();
}

/// `Content-Length`, checked against the data by the codec.
fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn send<S: Service>(
    exchange: &mut Exchange,
    mut reply: Reply,
    respond: &mut SendResponse<Bytes>,
    settings: &Settings,
    shared: &Shared<S>,
) {
    exchange.body = Body::Empty;
    exchange.notes.status = reply.head.status;
    if !reply.head.fields.contains(KnownName::Date) {
        reply.head.fields.set_own(KnownName::Date, &date::value());
    }
    let bodiless = exchange.head.method == Method::Head || reply.head.status.is_bodiless();
    if bodiless {
        std::mem::take(&mut reply.body).finish();
        if reply.head.status == Status::NO_CONTENT {
            // It announces nothing (RFC 9110 §8.6), and clients hold it to what it does.
            reply.head.fields.remove_known(KnownName::ContentLength);
        }
    } else if let Some(length) = reply.body.remaining() {
        reply.head.fields.set_own(KnownName::ContentLength, itoa_bytes(length).as_bytes());
    }
    let mut response = http::Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(reply.head.status.code()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    message::write_fields(&reply.head.fields, response.headers_mut(), true);
    recycle::keep_reply_head(reply.head);
    let end = reply.body.is_empty();
    let Ok(stream) = respond.send_response(response, end) else {
        broken_off(&mut exchange.notes, &refuse::CLIENT_GONE);
        return;
    };
    let mut pump = Pump::new(stream, reply.body, end, true);
    let mut timer = Timer::new();
    let mut pace = Pace::new(settings);
    let end_by = exchange.end_by;
    let sent = poll_fn(|cx| {
        let before = pump.moved;
        let polled = pump.poll(cx);
        if pump.moved != before {
            pace.moved(usize::try_from(pump.moved - before).unwrap_or(usize::MAX), timer::coarse_now());
        }
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.refusal)),
            // A client that wants no more of it would be noticed with the next of the data, if ever.
            Poll::Pending if pump.stream.poll_reset(cx).is_ready() => Poll::Ready(Err(&refuse::CLIENT_GONE)),
            Poll::Pending => poll_limits(cx, &mut timer, &mut pace, end_by, pump.waits_for_peer).map(Err),
        }
    })
    .await;
    exchange.notes.response_bytes = pump.moved;
    if let Err(refusal) = sent {
        if refusal.code == refuse::CLIENT_GONE.code {
            shared.count_reset();
        }
        broken_off(&mut exchange.notes, refusal);
        // Without this the client would take what it has for the whole reply.
        pump.stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

fn poll_limits(
    cx: &Context<'_>,
    timer: &mut Timer,
    pace: &mut Pace,
    end_by: Deadline,
    client: bool,
) -> Poll<&'static Refusal> {
    let now = timer::coarse_now();
    let deadline = if client { end_by.earlier(pace.deadline(now)) } else { end_by };
    if timer.poll_expired(cx) && deadline.passed(now) {
        return Poll::Ready(if end_by.passed(now) { &refuse::REPLY_TIMEOUT } else { pace.verdict(now) });
    }
    if drain::is_cut() {
        return Poll::Ready(&refuse::SHUTDOWN);
    }
    timer.arm(deadline);
    let _ = timer.poll_expired(cx);
    Poll::Pending
}

fn itoa_bytes(number: u64) -> String {
    number.to_string()
}

/// The body of a request on an HTTP/2 stream.
struct RequestBody {
    incoming: Incoming,
    limit: u64,
    pace: Pace,
    timer: Timer,
    /// Where to offer `100 Continue`, while the client waits for it.
    uninvited: Option<Rc<Offered>>,
}

impl BodyStream for RequestBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        let before = self.incoming.received;
        match self.incoming.poll_data(cx) {
            Poll::Pending => {
                if let Some(interim) = self.uninvited.take() {
                    // Sent as soon as the service waits for this body.
                    interim.offer(Status::CONTINUE, &Fields::default());
                }
                let now = timer::coarse_now();
                let deadline = self.pace.deadline(now);
                if self.timer.poll_expired(cx) && deadline.passed(now) {
                    return Poll::Ready(Err(BodyError::new(self.pace.verdict(now))));
                }
                self.timer.arm(deadline);
                let _ = self.timer.poll_expired(cx);
                Poll::Pending
            }
            ready => {
                let moved = self.incoming.received - before;
                self.pace.moved(usize::try_from(moved).unwrap_or(usize::MAX), timer::coarse_now());
                if self.incoming.received > self.limit {
                    return Poll::Ready(Err(BodyError::new(&refuse::BODY_TOO_LARGE)));
                }
                ready
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.incoming.data()
    }

    fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    fn take_data(&mut self) -> Bytes {
        self.incoming.take_data()
    }

    fn remaining(&self) -> Option<u64> {
        self.incoming.remaining()
    }

    fn limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.incoming.trailers()
    }
}

/// Moves a body into an HTTP/2 stream as the peer's window allows.
pub(crate) struct Pump<T> {
    pub(crate) stream: T,
    body: Body,
    done: bool,
    /// Bytes handed to the connection.
    pub(crate) moved: u64,
    /// Whether it is the peer that is waited for, not the source.
    pub(crate) waits_for_peer: bool,
    with_trailers: bool,
}

impl Pump<SendStream<Bytes>> {
    pub(crate) const fn new(stream: SendStream<Bytes>, body: Body, done: bool, with_trailers: bool) -> Self {
        Pump { stream, body, done, moved: 0, waits_for_peer: false, with_trailers }
    }

    /// The body, if nothing of it was used.
    pub(crate) fn reclaim(&mut self) -> Option<Body> {
        (self.moved == 0).then(|| std::mem::take(&mut self.body))
    }

    /// Whether the piece just taken was the last, so that the end can follow at
    /// once: known where the length is.
    fn is_last(&mut self, cx: &mut Context<'_>) -> bool {
        self.body.remaining() == Some(0) && matches!(self.body.poll_data(cx), Poll::Ready(Ok(Progress::End)))
    }

    /// The trailers, at the end of the body.
    fn trailers(&mut self) -> Option<http::HeaderMap> {
        let fields = self.body.trailers().filter(|_| self.with_trailers)?;
        let mut map = http::HeaderMap::new();
        message::write_fields(&fields, &mut map, false);
        Some(map)
    }

    /// Ready when the body has been handed over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let gone = || Poll::Ready(Err(BodyError::new(&refuse::CLIENT_GONE)));
        while !self.done {
            self.waits_for_peer = false;
            match ready!(self.body.poll_data(cx))? {
                Progress::End => {
                    let ended = match self.trailers() {
                        Some(trailers) => self.stream.send_trailers(trailers),
                        None => self.stream.send_data(Bytes::new(), true),
                    };
                    self.done = true;
                    std::mem::take(&mut self.body).finish();
                    if ended.is_err() && self.with_trailers {
                        return gone();
                    }
                }
                Progress::Data => {
                    let wanted = self.body.data().len();
                    self.stream.reserve_capacity(wanted);
                    if self.stream.capacity() == 0 {
                        self.waits_for_peer = true;
                        match ready!(self.stream.poll_capacity(cx)) {
                            Some(Ok(_)) => continue,
                            _ if self.with_trailers => return gone(),
                            // An upstream that stops taking the request may
                            // still answer it.
                            _ => {
                                self.done = true;
                                continue;
                            }
                        }
                    }
                    let room = self.stream.capacity();
                    let data = if room >= wanted {
                        self.body.take_data()
                    } else {
                        let part = Bytes::copy_from_slice(self.body.data().get(..room).unwrap_or_default());
                        self.body.consume(part.len());
                        part
                    };
                    self.moved += data.len() as u64;
                    let last = self.is_last(cx);
                    let trailers = if last { self.trailers() } else { None };
                    let mut sent = self.stream.send_data(data, last && trailers.is_none());
                    if let Some(trailers) = trailers {
                        sent = sent.and_then(|()| self.stream.send_trailers(trailers));
                    }
                    if sent.is_err() {
                        if self.with_trailers {
                            return gone();
                        }
                        self.done = true;
                    }
                    if last {
                        self.done = true;
                        std::mem::take(&mut self.body).finish();
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
