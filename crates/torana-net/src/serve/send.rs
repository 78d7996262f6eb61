//! Sends one reply on an HTTP/1.x connection, under the limits.

use crate::buffer::Output;
use crate::date;
use crate::drain;
use crate::refusals as refuse;
use crate::serve::link::{Link, Pace};
use crate::service::Settings;
use crate::timer::{self, Timer};
use crate::write::{WriteError, Writer};
use std::task::{Context, Poll};
use torana_core::body::Body;
use torana_core::deadline::Deadline;
use torana_core::exchange::{Exchange, Notes};
use torana_core::head::{Method, Status};
use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_http1::{Framing, Persist, response};

/// A reply on its way to the client.
pub(crate) struct Sending {
    writer: Writer,
    persist: Persist,
    pace: Pace,
    end_by: Deadline,
}

impl Sending {
    /// Writes the head into the output.
    ///
    /// # Errors
    /// The reply cannot be expressed in HTTP/1.1.
    pub(crate) fn start(
        exchange: &mut Exchange,
        reply: &mut Reply,
        persist: Persist,
        settings: &Settings,
    ) -> Result<Sending, Rejection> {
        let head = &mut reply.head;
        exchange.notes.status = head.status;
        if !head.fields.contains(KnownName::Date) && head.status.code() >= 200 {
            head.fields.set_own(KnownName::Date, &date::value());
        }
        let bodiless = exchange.head.method == Method::Head || head.status == Status::NOT_MODIFIED;
        let framing = if reply.tunnel.is_some() {
            Framing::Tunnel
        } else if bodiless {
            response::announced_length(head)
                .or_else(|| reply.body.remaining().filter(|&length| length > 0))
                .map_or(Framing::None, Framing::Length)
        } else {
            reply.body.remaining().map_or(Framing::Chunked, Framing::Length)
        };
        let mut out = Output::take();
        let outgoing = response::Outgoing {
            status: head.status,
            request_method: exchange.head.method,
            peer: exchange.head.version,
            fields: &head.fields,
            framing,
            persist,
        };
        let sent = response::write_head(out.bytes(), &outgoing)
            .map_err(|error| Rejection::new(&refuse::REPLY_INVALID).because(error))?;
        if sent.framing == Framing::None {
            // Nothing of it will be sent.
            std::mem::take(&mut reply.body).finish();
        }
        Ok(Sending {
            writer: Writer::new(out, sent.framing, true),
            persist: sent.persist,
            pace: Pace::new(settings),
            end_by: exchange.end_by,
        })
    }

    pub(crate) const fn framing(&self) -> Framing {
        self.writer.framing()
    }

    pub(crate) const fn persist(&self) -> Persist {
        self.persist
    }

    /// Says that nothing of the client's waits to be read: if the reply ends the
    /// connection, it is closed right behind it.
    pub(crate) fn nothing_unread(&mut self) {
        if self.persist == Persist::Close && self.framing() != Framing::Tunnel {
            self.writer.set_closes();
        }
    }

    /// Whether the client has been sent nothing yet.
    pub(crate) const fn is_unsent(&self) -> bool {
        self.writer.written() == 0
    }

    /// Sends until the reply is out.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        timer: &mut Timer,
        body: &mut Body,
        notes: &mut Notes,
    ) -> Poll<Result<(), &'static Refusal>> {
        loop {
            let source_waits = self.writer.fill(cx, body).map_err(blame)?;
            // Interim replies go first, and whole: one may be written in part.
            if link.interim.is_owing() && self.poll_interim(cx, link)?.is_pending() {
                return self.poll_limits(cx, timer, true).map(Err);
            }
            let before = self.writer.written();
            let out = self.writer.poll_out(cx, &mut link.io.borrow_mut(), body);
            notes.response_bytes = self.writer.body_bytes();
            let moved = self.writer.written() - before;
            if moved > 0 {
                self.pace.moved(usize::try_from(moved).unwrap_or(usize::MAX), timer::coarse_now());
            }
            match out {
                Poll::Ready(result) => result.map_err(blame)?,
                // The client does not take what there is.
                Poll::Pending => return self.poll_limits(cx, timer, true).map(Err),
            }
            if self.writer.is_done() {
                return Poll::Ready(Ok(()));
            }
            if source_waits {
                if link.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(&refuse::CLIENT_GONE));
                }
                return self.poll_limits(cx, timer, false).map(Err);
            }
        }
    }

    /// Sends the interim replies that were not taken while the reply was
    /// waited for.
    fn poll_interim(&mut self, cx: &mut Context<'_>, link: &Link) -> Result<Poll<()>, &'static Refusal> {
        let before = link.interim.waiting();
        let sent = link.poll_interim(cx);
        let moved = before - link.interim.waiting();
        if moved > 0 {
            self.pace.moved(moved, timer::coarse_now());
        }
        match sent {
            Poll::Ready(Err(_)) => Err(&refuse::CLIENT_GONE),
            sent => Ok(sent.map(drop)),
        }
    }

    /// Waits under the limits: the route's own, and the client's pace while it
    /// is the client that is waited for.
    fn poll_limits(&mut self, cx: &mut Context<'_>, timer: &mut Timer, client: bool) -> Poll<&'static Refusal> {
        let now = timer::coarse_now();
        let deadline = if client { self.end_by.earlier(self.pace.deadline(now)) } else { self.end_by };
        if timer.poll_expired(cx) && deadline.passed(now) {
            return Poll::Ready(if self.end_by.passed(now) { &refuse::REPLY_TIMEOUT } else { self.pace.verdict(now) });
        }
        if drain::is_cut() {
            return Poll::Ready(&refuse::SHUTDOWN);
        }
        timer.arm(deadline);
        let _ = timer.poll_expired(cx);
        Poll::Pending
    }
}

const fn blame(error: WriteError) -> &'static Refusal {
    match error {
        WriteError::Source(error) => error.refusal,
        WriteError::Sink => &refuse::CLIENT_GONE,
        WriteError::Length => &refuse::REPLY_INVALID,
    }
}

/// What comes of asking the service.
pub(crate) enum Served {
    Reply(Reply),
    /// The client left before there was one.
    Gone,
    /// The gateway ends before there is one.
    Cut,
}

impl Served {
    /// The reply to send, if there is anybody to send it to.
    pub(crate) fn reply(self, cut: impl FnOnce() -> Reply) -> Option<Reply> {
        match self {
            Served::Reply(reply) => Some(reply),
            Served::Cut => Some(cut()),
            Served::Gone => None,
        }
    }
}

/// Notes that a reply was not sent to its end.
pub(crate) fn broken_off(notes: &mut Notes, refusal: &'static Refusal) {
    if notes.code.is_none() {
        notes.code = Some(refusal.code);
    }
    if refusal.code == refuse::CLIENT_GONE.code {
        notes.status = Status::CLIENT_CLOSED_REQUEST;
    }
}
