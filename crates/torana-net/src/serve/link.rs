//! The client's connection, as shared by its serve loop and the body of the
//! request in progress. Both run in one task, so borrows never overlap.

use crate::buffer::{self, Buffer, LARGE, SMALL};
use crate::io::Io;
use crate::refusals as refuse;
use crate::serve::interim::Unsent;
use crate::service::Settings;
use crate::timer::{self, Timer};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use torana_core::body::{BodyError, BodyStream, Progress};
use torana_core::deadline::Deadline;
use torana_core::head::{Fields, Status};
use torana_core::interim::Interim;
use torana_http1::{BodyDecoder, HeadScanner, Step};

/// One client connection speaking HTTP/1.x.
pub(crate) struct Link {
    pub(crate) io: RefCell<Io>,
    pub(crate) input: RefCell<Input>,
    pub(crate) body: Cell<BodyState>,
    /// What goes out before the reply to the current request.
    pub(crate) interim: Unsent,
    /// Body bytes received of the current request.
    pub(crate) received: Cell<u64>,
}

/// What has been read and not yet used.
#[derive(Default)]
pub(crate) struct Input {
    /// Only there while it holds bytes.
    pub(crate) buffer: Option<Buffer>,
    pub(crate) scanner: HeadScanner,
    /// The client has closed its side.
    pub(crate) ended: bool,
}

/// Where the body of the current request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyState {
    /// Read to its end, or there is none: what follows is the next request.
    Done,
    /// Somebody holds it.
    Reading,
    /// Dropped before its end: the connection cannot be used again.
    Abandoned,
}

impl Link {
    pub(crate) fn new(io: Io) -> Link {
        Link {
            io: RefCell::new(io),
            input: RefCell::default(),
            body: Cell::new(BodyState::Done),
            interim: Unsent::default(),
            received: Cell::new(0),
        }
    }

    /// How many bytes wait behind the current request.
    pub(crate) fn waiting(&self) -> usize {
        self.input.borrow().buffer.as_ref().map_or(0, |buffer| buffer.data().len())
    }

    /// Reads once into the input. `Ok(false)` is the end of the stream. While
    /// nothing comes, no buffer is held.
    pub(crate) fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        let mut input = self.input.borrow_mut();
        let mut io = self.io.borrow_mut();
        let count = ready!(buffer::poll_fill(&mut input.buffer, SMALL, &mut io, cx))?;
        input.ended |= count == 0;
        Poll::Ready(Ok(count > 0))
    }

    /// Sends the interim replies that wait. Ready when none does.
    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.interim.is_owing() {
            return Poll::Ready(Ok(()));
        }
        self.interim.poll_send(cx, &mut self.io.borrow_mut())
    }

    /// Whether the client has gone away while its request is being served. A
    /// client that closes its sending side counts as gone, as with other
    /// proxies: it cannot be told from one that died.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body.get() != BodyState::Done {
            // Whoever reads the body will meet the end.
            return Poll::Pending;
        }
        {
            let input = self.input.borrow();
            if input.ended {
                return Poll::Ready(());
            }
            if input.buffer.is_some() {
                // A pipelined request waits; it is not read further before its
                // turn, and what is behind it cannot be seen.
                return Poll::Pending;
            }
        }
        match ready!(self.poll_fill(cx)) {
            Ok(true) => Poll::Pending,
            Ok(false) | Err(_) => Poll::Ready(()),
        }
    }
}

impl Interim for Link {
    fn offer(&self, status: Status, fields: &Fields) {
        self.interim.offer(status, fields);
    }
}

/// The body of the current request: bytes of the client's connection.
pub(crate) struct RequestBody {
    link: Rc<Link>,
    buffer: Option<Buffer>,
    decoder: BodyDecoder,
    /// Length of the data at the front of the buffer.
    ready: usize,
    received: u64,
    limit: u64,
    length: Option<u64>,
    pace: Pace,
    /// Whether the client waits for `100 Continue`.
    uninvited: bool,
    timer: Timer,
    state: BodyState,
    trailers: Option<Box<Fields>>,
}

impl RequestBody {
    pub(crate) fn new(
        link: &Rc<Link>,
        decoder: BodyDecoder,
        length: Option<u64>,
        expects_continue: bool,
        settings: &Settings,
    ) -> RequestBody {
        link.body.set(BodyState::Reading);
        let buffer = link.input.borrow_mut().buffer.take();
        RequestBody {
            link: link.clone(),
            // A client that did not wait needs no invitation.
            uninvited: expects_continue && buffer.is_none(),
            buffer,
            decoder,
            ready: 0,
            received: 0,
            limit: settings.body_bytes,
            length,
            pace: Pace::new(settings),
            timer: Timer::new(),
            state: BodyState::Reading,
            trailers: None,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.timer.poll_expired(cx) {
            return Poll::Ready(Err(BodyError::new(self.pace.verdict(timer::coarse_now()))));
        }
        let size = if self.decoder.remaining_hint().is_some_and(|left| left > SMALL as u64) { LARGE } else { SMALL };
        match buffer::poll_fill(&mut self.buffer, size, &mut self.link.io.borrow_mut(), cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(BodyError::new(&refuse::BODY_TRUNCATED))),
            Poll::Ready(Ok(count)) => {
                self.pace.moved(count, timer::coarse_now());
                // Nobody is waited for until somebody reads again.
                self.timer.disarm();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(BodyError::new(&refuse::CLIENT_GONE))),
            Poll::Pending => {
                self.timer.arm(self.pace.deadline(timer::coarse_now()));
                Poll::Pending
            }
        }
    }

    /// The body is complete: what follows belongs to the connection again.
    fn give_back(&mut self) {
        self.state = BodyState::Done;
        self.trailers = self.decoder.take_trailers();
        self.link.input.borrow_mut().buffer = self.buffer.take().filter(|buffer| !buffer.is_empty());
        self.link.body.set(BodyState::Done);
        self.timer.disarm();
    }

    fn fail(&mut self, error: BodyError) -> Poll<Result<Progress, BodyError>> {
        self.state = BodyState::Abandoned;
        self.link.body.set(BodyState::Abandoned);
        Poll::Ready(Err(error))
    }
}

impl BodyStream for RequestBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        loop {
            if self.ready > 0 {
                return Poll::Ready(Ok(Progress::Data));
            }
            match self.state {
                BodyState::Done => return Poll::Ready(Ok(Progress::End)),
                BodyState::Abandoned => return Poll::Ready(Err(BodyError::new(&refuse::BODY_TRUNCATED))),
                BodyState::Reading => {}
            }
            if self.uninvited {
                // The serve loop sends it as soon as this body has to wait.
                self.uninvited = false;
                self.link.interim.invite();
            }
            let step = match &self.buffer {
                Some(buffer) => self.decoder.decode(buffer.data()),
                None if self.decoder.is_done() => Ok(Step::End { consumed: 0 }),
                None => Ok(Step::NeedMore { consumed: 0 }),
            };
            let buffer = self.buffer.as_mut();
            match step {
                Ok(Step::Data { skip, len }) => {
                    if let Some(buffer) = buffer {
                        buffer.consume(skip);
                    }
                    self.ready = len;
                    self.received += len as u64;
                    self.link.received.set(self.received);
                    if self.received > self.limit {
                        return self.fail(BodyError::new(&refuse::BODY_TOO_LARGE));
                    }
                }
                Ok(Step::End { consumed }) => {
                    if let Some(buffer) = buffer {
                        buffer.consume(consumed);
                    }
                    self.give_back();
                }
                Ok(Step::NeedMore { consumed }) => {
                    if let Some(buffer) = buffer {
                        buffer.consume(consumed);
                    }
                    self.buffer = self.buffer.take().filter(|buffer| !buffer.is_empty());
                    if let Err(error) = ready!(self.poll_read(cx)) {
                        return self.fail(error);
                    }
                }
                Err(error) => return self.fail(BodyError::new(refuse::of_body(error))),
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.buffer.as_ref().and_then(|buffer| buffer.data().get(..self.ready)).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.ready);
        self.ready -= count;
        if let Some(buffer) = &mut self.buffer {
            buffer.consume(count);
        }
    }

    fn remaining(&self) -> Option<u64> {
        // What was received and not taken yet is still to come for the reader.
        self.length.map(|length| length.saturating_sub(self.received) + self.ready as u64)
    }

    fn limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A body whose rest has already arrived is read to its end here, so
        // that refusing a small request does not cost its connection.
        if self.state == BodyState::Reading {
            while let Some(buffer) = self.buffer.as_mut() {
                buffer.consume(self.ready);
                self.ready = 0;
                match self.decoder.decode(buffer.data()) {
                    Ok(Step::Data { skip, len }) => buffer.consume(skip + len),
                    Ok(Step::End { consumed }) => {
                        buffer.consume(consumed);
                        return self.give_back();
                    }
                    Ok(Step::NeedMore { .. }) | Err(_) => break,
                }
            }
            if self.decoder.is_done() {
                return self.give_back();
            }
            self.link.body.set(BodyState::Abandoned);
        }
    }
}

/// Holds a peer to a minimum rate and to an idle time. Only the time that the
/// peer is waited for counts: a service that pauses, or takes a body slowly,
/// is not its client's fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Since when the peer is waited for.
    since: Option<Instant>,
    /// How long it was waited for before.
    waited: Duration,
    bytes: u64,
    rate: u64,
    grace: Duration,
    idle: Duration,
}

impl Pace {
    pub(crate) const fn new(settings: &Settings) -> Pace {
        Pace {
            since: None,
            waited: Duration::ZERO,
            bytes: 0,
            rate: settings.min_body_rate,
            grace: settings.body_rate_grace,
            idle: settings.idle_timeout,
        }
    }

    /// `count` bytes have moved: the wait is over.
    pub(crate) fn moved(&mut self, count: usize, now: Instant) {
        self.bytes += count as u64;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The peer is waited for, from the first call on until something moves.
    /// By when that has to be.
    pub(crate) fn deadline(&mut self, now: Instant) -> Deadline {
        let since = *self.since.get_or_insert(now);
        let idle = Deadline::after(since, self.idle);
        match self.bytes.checked_div(self.rate) {
            None => idle,
            Some(seconds) => {
                // After the grace every byte buys time; a burst not more than
                // a day of it.
                let earned = self.grace + Duration::from_secs(seconds.min(86_400));
                // Zero would mean no limit.
                let left = earned.saturating_sub(self.waited).max(Duration::from_millis(1));
                idle.earlier(Deadline::after(since, left))
            }
        }
    }

    /// Which limit was broken when the deadline has passed.
    pub(crate) fn verdict(&self, now: Instant) -> &'static torana_core::refusal::Refusal {
        let idle = self.since.is_some_and(|since| now.saturating_duration_since(since) >= self.idle);
        if idle { &refuse::BODY_IDLE } else { &refuse::BODY_TOO_SLOW }
    }
}
