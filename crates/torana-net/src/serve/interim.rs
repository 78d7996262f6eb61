//! Interim replies on their way to a client.
//!
//! An upstream is never held up by a client that does not take them: they
//! wait here, within bounds, and what comes over the bounds is dropped. The
//! final reply does not depend on any of them.

use crate::buffer::Output;
use crate::io::Io;
use crate::message;
use bytes::Bytes;
use h2::server::SendResponse;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use torana_core::head::{Fields, Method, Status, Version};
use torana_core::interim::Interim;
use torana_http1::{Framing, Persist, response};

/// Most bytes that wait for one client. Enough for a dozen early hints of any
/// usual size; a client that leaves more lying does not read at all.
const MOST: usize = 64 * 1024;

/// What HTTP/1.1 still has to write before the final reply: whole messages,
/// `100 Continue` among them, of which the first may be written in part. All
/// of them pass here, so that no two can mix.
#[derive(Default)]
pub(crate) struct Unsent {
    /// Holds a buffer only while there is something to write.
    out: RefCell<Output>,
    /// Whether there is, or something written has not left TLS yet.
    owing: Cell<bool>,
    /// Whether a final reply is still to come.
    open: Cell<bool>,
}

impl Unsent {
    /// A request is being served: interim replies may be sent.
    pub(crate) fn open(&self) {
        self.open.set(true);
    }

    /// The final reply begins: what is here goes out before it, and nothing
    /// is added.
    pub(crate) fn close(&self) {
        self.open.set(false);
    }

    /// Adds an interim reply, unless too much waits.
    pub(crate) fn offer(&self, status: Status, fields: &Fields) {
        self.add(|out| {
            let head = response::Outgoing {
                status,
                request_method: Method::Get,
                peer: Version::Http11,
                fields,
                framing: Framing::None,
                persist: Persist::KeepAlive,
            };
            let before = out.bytes().len();
            if response::write_head(out.bytes(), &head).is_err() || out.data().len() > MOST {
                out.bytes().truncate(before);
            }
        });
    }

    /// Adds `100 Continue`, however much waits: the client may send nothing
    /// before it has come.
    pub(crate) fn invite(&self) {
        self.add(|out| out.bytes().extend_from_slice(response::CONTINUE));
    }

    fn add(&self, write: impl FnOnce(&mut Output)) {
        if !self.open.get() {
            return;
        }
        let mut out = self.out.borrow_mut();
        if out.is_empty() {
            *out = Output::take();
        }
        write(&mut out);
        if !out.is_empty() {
            self.owing.set(true);
        }
    }

    /// Whether there is something to send.
    pub(crate) fn is_owing(&self) -> bool {
        self.owing.get()
    }

    /// How many bytes there are to write.
    pub(crate) fn waiting(&self) -> usize {
        self.out.borrow().data().len()
    }

    /// Sends what waits. Ready when nothing does.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, io: &mut Io) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        ready!(io.poll_write_all(cx, &mut out))?;
        *out = Output::default();
        ready!(io.poll_flush(cx))?;
        self.owing.set(false);
        Poll::Ready(Ok(()))
    }
}

/// The interim replies to the request of one HTTP/2 stream, between the
/// service that offers them and the stream that sends them.
///
/// Once sent they wait in the codec, which does not say for how long: so the
/// bound holds for all of one request together.
#[derive(Default)]
pub(crate) struct Offered {
    replies: RefCell<Vec<http::Response<()>>>,
    /// Bytes of them and of those sent, as HTTP/2 counts a list of fields
    /// (RFC 9113 §6.5.2).
    bytes: Cell<usize>,
}

/// Kept per thread: what a busy worker has in flight.
const KEPT: usize = 256;

thread_local! {
    static KEPT_OFFERED: RefCell<Vec<Rc<Offered>>> = const { RefCell::new(Vec::new()) };
}

impl Offered {
    /// An empty one.
    pub(crate) fn take() -> Rc<Offered> {
        KEPT_OFFERED.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps it for another request, if nobody else has it.
    pub(crate) fn keep(mut self: Rc<Offered>) {
        let Some(offered) = Rc::get_mut(&mut self) else { return };
        offered.replies.get_mut().clear();
        offered.bytes.set(0);
        KEPT_OFFERED.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(self);
            }
        });
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.replies.borrow().is_empty()
    }

    /// Hands what there is to the codec.
    pub(crate) fn send(&self, respond: &mut SendResponse<Bytes>) {
        for reply in self.replies.borrow_mut().drain(..) {
            // What the codec does not take is dropped, too.
            let _ = respond.send_informational(reply);
        }
    }
}

impl Interim for Offered {
    fn offer(&self, status: Status, fields: &Fields) {
        const OVERHEAD: usize = 32;
        let size =
            fields.iter().map(|(name, value)| name.text.len() + value.len() + OVERHEAD).sum::<usize>() + OVERHEAD;
        let bytes = self.bytes.get() + size;
        let Ok(status) = http::StatusCode::from_u16(status.code()) else { return };
        if bytes > MOST {
            return;
        }
        self.bytes.set(bytes);
        let mut reply = http::Response::new(());
        *reply.status_mut() = status;
        message::write_fields(fields, reply.headers_mut(), true);
        self.replies.borrow_mut().push(reply);
    }
}

#[cfg(test)]
#[path = "interim_tests.rs"]
mod tests;
