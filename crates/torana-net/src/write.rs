//! Writes one message's head and body, towards a client or an upstream.
//!
//! Head and first data go out in one write. Data is never held back: when the
//! source has nothing more to give at once, what is there is written. Large
//! pieces are written from the source's own buffer, small ones are copied
//! behind the head, which is cheaper than another system call.

use crate::buffer::Output;
use crate::io::Io;
use std::task::{Context, Poll, ready};
use torana_core::body::{Body, BodyError, Progress};
use torana_http1::{BodyEncoder, Framing};

/// Data at least this long is written from where it is.
const DIRECT: usize = 4 * 1024;
/// Room for what stands around a chunk.
const FRAME: usize = 32;

/// A message on its way out.
pub(crate) struct Writer {
    out: Output,
    encoder: BodyEncoder,
    framing: Framing,
    ended: bool,
    /// Body bytes taken from the source so far.
    body_bytes: u64,
    /// Bytes the socket has taken so far.
    written: u64,
    with_trailers: bool,
    /// Whether the connection is closed as soon as the message is written.
    closes: bool,
}

/// Why a message cannot be written to its end.
pub(crate) enum WriteError {
    /// The body's source failed.
    Source(BodyError),
    /// The socket failed.
    Sink,
    /// The body is not as long as its head says.
    Length,
}

impl Writer {
    /// A writer whose output holds the head.
    pub(crate) const fn new(out: Output, framing: Framing, with_trailers: bool) -> Writer {
        let ended = matches!(framing, Framing::None | Framing::Tunnel);
        Writer {
            out,
            encoder: BodyEncoder::new(framing),
            framing,
            ended,
            body_bytes: 0,
            written: 0,
            with_trailers,
            closes: false,
        }
    }

    /// Says that the connection will be closed as soon as the message is
    /// written.
    pub(crate) const fn set_closes(&mut self) {
        self.closes = true;
    }

    pub(crate) const fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Whether head and body are written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.out.is_empty()
    }

    /// Moves data from the source into the output while there is room.
    /// Answers true when the source has nothing to give now.
    ///
    /// The socket is not borrowed here: a source may need it, for the body of
    /// a request whose reply is being written.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>, body: &mut Body) -> Result<bool, WriteError> {
        while !self.ended {
            match body.poll_data(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Err(error)) => return Err(WriteError::Source(error)),
                Poll::Ready(Ok(Progress::End)) => {
                    let trailers = body.trailers().filter(|_| self.with_trailers);
                    self.encoder.finish(self.out.bytes(), trailers.as_deref()).map_err(|_| WriteError::Length)?;
                    self.ended = true;
                }
                Poll::Ready(Ok(Progress::Data)) => {
                    let data = body.data();
                    let room = self.out.room().saturating_sub(FRAME);
                    if room == 0 || self.goes_direct(data) {
                        return Ok(false);
                    }
                    let count = data.len().min(room);
                    self.encoder
                        .write(self.out.bytes(), data.get(..count).unwrap_or_default())
                        .map_err(|_| WriteError::Length)?;
                    body.consume(count);
                    self.body_bytes += count as u64;
                }
            }
        }
        Ok(false)
    }

    /// Whether `data` is written from where it is.
    const fn goes_direct(&self, data: &[u8]) -> bool {
        data.len() >= DIRECT && !matches!(self.framing, Framing::Chunked)
    }

    /// Writes the output, together with what the source holds where that goes
    /// out as it stands.
    pub(crate) fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        body: &mut Body,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            let data = if self.ended { &[][..] } else { body.data() };
            let direct = self.goes_direct(data);
            let written = match (self.out.is_empty(), direct) {
                (true, false) => break,
                (true, true) => io.poll_write(cx, data),
                (false, false) if self.closes && self.ended => io.poll_write_last(cx, self.out.data()),
                (false, false) => io.poll_write(cx, self.out.data()),
                (false, true) => io.poll_write_both(cx, self.out.data(), data),
            };
            let count = match ready!(written) {
                Ok(count) if count > 0 => count,
                _ => return Poll::Ready(Err(WriteError::Sink)),
            };
            self.written += count as u64;
            let from_out = count.min(self.out.data().len());
            self.out.consume(from_out);
            let from_body = count - from_out;
            if from_body > 0 {
                // A frame of a body that is not chunked is only a check.
                self.encoder.frame(from_body).map_err(|_| WriteError::Length)?;
                body.consume(from_body);
                self.body_bytes += from_body as u64;
            }
        }
        io.poll_flush(cx).map_err(|_| WriteError::Sink)
    }
}
