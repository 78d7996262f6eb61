//! HTTP/2 connections to an upstream: one shared by many exchanges.

use crate::gather::gather;
use crate::io::Io;
use crate::message;
use crate::recycle;
use crate::refusals as refuse;
use crate::serve::h2::Pump;
use crate::timer::{self, Timer};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::deadline::Deadline;
use torana_core::head::Fields;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::reply::Reply;

use super::h1::{Failure, Outgoing};
use super::interim::Interims;

/// Window of a stream, and of the connection: enough for 100 MB/s over 10 ms.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A connection that carries many requests. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<State>,
}

struct State {
    /// Asks the other side for a sign of life.
    ping: RefCell<Option<PingPong>>,
    /// Whether it owes one.
    is_asked: Cell<bool>,
    /// Whether it is encrypted: `https`, not `http`.
    secure: bool,
    streams: Cell<usize>,
    /// Requests on it that have had a reply.
    replies: Cell<u64>,
    /// When it last had a stream.
    used: Cell<Instant>,
    gone: Cell<bool>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} streams)", self.state.streams.get())
    }
}

/// Speaks HTTP/2 on `io` and drives it in a task of its own.
///
/// # Errors
/// The other side does not speak HTTP/2.
pub async fn start(io: Io) -> Result<Connection, Rejection> {
    let secure = !matches!(io, Io::Plain(_));
    let (io, outbox) = gather(io, None);
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 * 1024)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| Rejection::new(&refuse::UPSTREAM_MALFORMED).because(error))?;
    let state = Rc::new(State {
        ping: connection.ping_pong().into(),
        is_asked: Cell::new(false),
        secure,
        streams: Cell::new(0),
        replies: Cell::new(0),
        used: Cell::new(timer::coarse_now()),
        gone: Cell::new(false),
    });
    let of_task = state.clone();
    tokio::task::spawn_local(async move {
        // What broke the connection reaches every stream on it as its own error.
        poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx).is_ready();
            match outbox.poll_send(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(()),
                _ if ended => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        of_task.gone.set(true);
    });
    Ok(Connection { sender: sender.into(), state })
}

impl State {
    /// Something did not come in time: perhaps nobody is there any more, which
    /// TCP finds out only after a quarter of an hour.
    fn ask(&self) {
        if let Some(ping) = self.ping.borrow_mut().as_mut()
            && !self.is_asked.get()
        {
            self.is_asked.set(ping.send_ping(Ping::opaque()).is_ok());
        }
    }

    /// Whether no sign of life is owed.
    fn is_there(&self, cx: &mut Context<'_>) -> bool {
        if self.is_asked.get()
            && let Some(ping) = self.ping.borrow_mut().as_mut()
        {
            self.is_asked.set(!matches!(ping.poll_pong(cx), Poll::Ready(Ok(_))));
        }
        !self.is_asked.get()
    }
}

impl Connection {
    /// Whether another request can be sent: not closed, not going away, not
    /// silent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // One that is going away serves the streams it has, which may take long.
        !self.state.gone.get()
            && !matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
            && self.state.is_there(&mut cx)
    }

    /// How many exchanges are on it.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.state.streams.get()
    }

    /// For how long it has had no stream, if it has none.
    #[must_use]
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state.used.get())
    }

    /// How many the other side allows at once.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.sender.borrow().current_max_send_streams()
    }

    /// Sends a request and waits for the head of its reply. `authority` is for
    /// a request without `Host`.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(self, outgoing: &Outgoing<'_>, authority: &str, body: Body) -> Result<Reply, Failure> {
        let request = match build(outgoing, self.state.secure, authority) {
            Ok(request) => request,
            Err(rejection) => return Err(Failure::unsent(rejection, body)),
        };
        let mut timer = Timer::new();
        timer.arm(outgoing.deadline);
        let mut sender = self.sender.into_inner();
        let ready = poll_fn(|cx| match sender.poll_ready(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if timer.poll_expired(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match ready {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let rejection = Rejection::new(&refuse::UPSTREAM_CLOSED).because(error);
                return Err(Failure { stale: true, ..Failure::unsent(rejection, body) });
            }
            None => {
                let rejection = Rejection::new(&refuse::UPSTREAM_TIMEOUT).because("no free stream");
                return Err(Failure::unsent(rejection, body));
            }
        }
        let end = body.is_empty();
        let (mut response, stream) = match sender.send_request(request, end) {
            Ok(sent) => sent,
            Err(error) => {
                let rejection = Rejection::new(&refuse::UPSTREAM_CLOSED).because(error);
                return Err(Failure { stale: true, ..Failure::unsent(rejection, body) });
            }
        };
        let permit = Permit::new(&self.state);
        let replies = self.state.replies.get();
        let mut pump = Pump::new(stream, body, end, false);
        let mut interims = Interims::default();
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = pump.poll(cx) {
                return Poll::Ready(Err(Rejection::from(error).into()));
            }
            match poll_head(cx, &mut response, outgoing, &mut interims) {
                Poll::Pending if timer.poll_expired(cx) => {
                    // Where others had replies meanwhile, it is there.
                    if self.state.replies.get() == replies {
                        self.state.ask();
                    }
                    Poll::Ready(Err(Rejection::new(&refuse::UPSTREAM_TIMEOUT).into()))
                }
                polled => polled,
            }
        })
        .await;
        match outcome {
            Ok(response) => {
                self.state.replies.set(self.state.replies.get() + 1);
                receive(response, pump, permit, outgoing.body_idle)
            }
            Err(Broken { rejection, unprocessed }) => {
                Err(Failure { rejection, body: pump.reclaim(), stale: unprocessed, unprocessed })
            }
        }
    }
}

fn build(outgoing: &Outgoing<'_>, secure: bool, authority: &str) -> Result<http::Request<()>, Rejection> {
    let unwritable = |cause: &dyn std::fmt::Display| Rejection::new(&refuse::UPSTREAM_UNWRITABLE).because(cause);
    let target = target(outgoing.target);
    // `:authority` says what `Host` would (RFC 9113 §8.3.1): the host that the
    // route chose, which need not be the endpoint's.
    let authority = outgoing.fields.get(KnownName::Host).unwrap_or(authority.as_bytes());
    // Scheme and host are the gateway's own words, the target is canonical.
    let uri = http::Uri::builder()
        .scheme(if secure { "https" } else { "http" })
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|error| unwritable(&error))?;
    let method = http::Method::from_bytes(outgoing.method_text.as_bytes()).map_err(|error| unwritable(&error))?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    message::write_fields(outgoing.fields, request.headers_mut(), false);
    Ok(request)
}

/// The target in one piece. A query is forwarded as it came, but HTTP/2's types
/// take no raw `"`, `<` and `>`, which RFC 3986 has no place for: those are
/// escaped, as browsers do.
fn target(parts: &[&[u8]]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for byte in parts.iter().copied().flatten() {
        match byte {
            b'"' => whole.extend_from_slice(b"%22"),
            b'<' => whole.extend_from_slice(b"%3C"),
            b'>' => whole.extend_from_slice(b"%3E"),
            other => whole.push(*other),
        }
    }
    whole
}

/// Waits for the final head; interim ones are passed on.
fn poll_head(
    cx: &mut Context<'_>,
    response: &mut ResponseFuture,
    outgoing: &Outgoing<'_>,
    interims: &mut Interims,
) -> Poll<Result<http::Response<RecvStream>, Broken>> {
    // Polling the response itself would throw interim ones away.
    while let Some(interim) = ready!(response.poll_informational(cx)) {
        let (parts, ()) = interim.map_err(|error| blame(&error))?.into_parts();
        let mut head = recycle::reply_head();
        message::read_reply(&parts, &mut head).map_err(Rejection::new)?;
        interims.pass_on(&mut head, outgoing)?;
        recycle::keep_reply_head(head);
    }
    Pin::new(response).poll(cx).map_err(|error| blame(&error))
}

fn receive(
    response: http::Response<RecvStream>,
    pump: Pump<h2::SendStream<Bytes>>,
    permit: Permit,
    idle: Duration,
) -> Result<Reply, Failure> {
    let (parts, stream) = response.into_parts();
    let mut reply = Reply { head: recycle::reply_head(), body: Body::Empty, tunnel: None };
    if let Err(refusal) = message::read_reply(&parts, &mut reply.head) {
        let rejection = Rejection::new(refusal);
        return Err(Failure { rejection, body: None, stale: false, unprocessed: false });
    }
    if !stream.is_end_stream() {
        let length = reply
            .head
            .fields
            .get(KnownName::ContentLength)
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let incoming = Incoming::new(stream, length, &refuse::UPSTREAM_TRUNCATED);
        reply.body = Body::Stream(Box::new(ReplyBody { incoming, pump, timer: Timer::new(), idle, permit }));
    }
    Ok(reply)
}

/// Why a stream got no reply.
struct Broken {
    rejection: Rejection,
    /// The service says that it has done nothing with the request.
    unprocessed: bool,
}

impl From<Rejection> for Broken {
    fn from(rejection: Rejection) -> Broken {
        Broken { rejection, unprocessed: false }
    }
}

/// What an HTTP/2 error says about who is to blame and what may be repeated.
fn blame(error: &h2::Error) -> Broken {
    // RFC 9113 §6.8: of streams behind the last that GOAWAY names, nothing was
    // processed. No other stream ends by it.
    let above = error.is_remote() && error.is_go_away();
    let refusal = match error.reason() {
        _ if above => &refuse::UPSTREAM_CLOSED,
        // RFC 9113 §8.7: the request was not processed.
        Some(Reason::REFUSED_STREAM) => &refuse::UPSTREAM_CONNECT,
        Some(_) if error.is_remote() && error.is_reset() => &refuse::UPSTREAM_RESET,
        Some(Reason::PROTOCOL_ERROR) => &refuse::UPSTREAM_MALFORMED,
        _ => &refuse::UPSTREAM_CLOSED,
    };
    let unprocessed = above || error.reason() == Some(Reason::REFUSED_STREAM);
    Broken { rejection: Rejection::new(refusal).because(error), unprocessed }
}

/// Counts a stream while it lives.
struct Permit(Rc<State>);

impl Permit {
    fn new(state: &Rc<State>) -> Permit {
        state.streams.set(state.streams.get() + 1);
        Permit(state.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.used.set(timer::coarse_now());
    }
}

/// Bytes arriving on one HTTP/2 stream, with flow control driven by use.
pub(crate) struct Incoming {
    stream: RecvStream,
    data: Bytes,
    ended: bool,
    left: Option<u64>,
    pub(crate) received: u64,
    /// Where the sum is also kept, for whoever accounts for the exchange.
    pub(crate) meter: Option<Rc<Cell<u64>>>,
    trailers: Option<Box<Fields>>,
    truncated: &'static torana_core::refusal::Refusal,
}

impl Incoming {
    pub(crate) const fn new(
        stream: RecvStream,
        length: Option<u64>,
        truncated: &'static torana_core::refusal::Refusal,
    ) -> Incoming {
        Incoming {
            stream,
            data: Bytes::new(),
            ended: false,
            left: length,
            received: 0,
            meter: None,
            trailers: None,
            truncated,
        }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(Progress::Data));
            }
            if self.ended {
                return Poll::Ready(Ok(Progress::End));
            }
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(data))) => {
                    self.received += data.len() as u64;
                    if let Some(meter) = &self.meter {
                        meter.set(self.received);
                    }
                    self.data = data;
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BodyError::new(self.truncated))),
                Poll::Ready(None) => match self.stream.poll_trailers(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(trailers)) => {
                        self.trailers = trailers.as_ref().map(message::read_trailers);
                        self.ended = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::new(self.truncated))),
                },
            }
        }
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    fn used(&mut self, count: usize) {
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        // The window was opened for these bytes, so giving it back cannot fail
        // except on a stream that is gone, which the next poll reports.
        let _ = self.stream.flow_control().release_capacity(count);
    }

    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.data.len());
        let _ = self.data.split_to(count);
        self.used(count);
    }

    pub(crate) fn take_data(&mut self) -> Bytes {
        let data = std::mem::take(&mut self.data);
        self.used(data.len());
        data
    }

    pub(crate) const fn remaining(&self) -> Option<u64> {
        self.left
    }

    pub(crate) fn trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }
}

/// The body of a reply; sends the rest of the request on the way.
struct ReplyBody {
    incoming: Incoming,
    pump: Pump<h2::SendStream<Bytes>>,
    timer: Timer,
    idle: Duration,
    permit: Permit,
}

impl BodyStream for ReplyBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        if let Poll::Ready(Err(error)) = self.pump.poll(cx) {
            return Poll::Ready(Err(error));
        }
        match self.incoming.poll_data(cx) {
            Poll::Pending => {
                if self.timer.poll_expired(cx) {
                    self.permit.0.ask();
                    return Poll::Ready(Err(BodyError::new(&refuse::UPSTREAM_STALLED)));
                }
                self.timer.arm(Deadline::after(timer::coarse_now(), self.idle));
                let _ = self.timer.poll_expired(cx);
                Poll::Pending
            }
            ready => {
                self.timer.disarm();
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

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.incoming.trailers()
    }
}
