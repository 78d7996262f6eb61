//! What HTTP/2 writes, gathered.
//!
//! The codec flushes behind every piece of data, and each stream with something to say has a piece: each would be a
//! system call, a TLS record and a packet of its own. Here they are gathered until the codec has nothing more to write, and
//! go out together. Nothing waits longer than for the end of the turn in which it was written.

use crate::buffer::{Buffer, Output, SMALL};
use crate::io::Io;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection as the codec sees it. What is flushed stays here until whoever drives the codec sends it.
pub(crate) struct Gathered(Rc<RefCell<Inner>>);

/// Sends what was gathered. For whoever drives the codec, whenever it has been polled.
pub(crate) struct Outbox(Rc<RefCell<Inner>>);

struct Inner {
    io: Io,
    /// What was read before the codec began.
    early: Option<Buffer>,
    /// What waits; an idle connection holds no room for it.
    out: Option<Output>,
    /// Whether TLS may hold something.
    is_unflushed: bool,
}

/// Gathers what is written to `io`, of which `early` has been read already.
pub(crate) fn gather(io: Io, early: Option<Buffer>) -> (Gathered, Outbox) {
    let inner = Rc::new(RefCell::new(Inner { io, early, out: None, is_unflushed: false }));
    (Gathered(inner.clone()), Outbox(inner))
}

impl Outbox {
    /// Ready when all of it has been sent.
    ///
    /// # Errors
    /// What the socket says. Then the connection is over: its codec does not know.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl Inner {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        if self.is_unflushed {
            ready!(self.io.poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(out) = &mut self.out {
            self.is_unflushed = true;
            ready!(self.io.poll_write_all(cx, out))?;
            self.out = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.out.as_ref().map_or(SMALL, Output::room) < length {
            ready!(self.poll_written(cx))?;
            if length > SMALL {
                // As large as what would be gathered.
                self.is_unflushed = true;
                return Pin::new(&mut self.io).poll_write_vectored(cx, slices);
            }
        }
        let out = self.out.get_or_insert_with(Output::take);
        slices.iter().for_each(|slice| out.bytes().extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(buffer) = &mut inner.early {
            let count = buffer.data().len().min(room.remaining());
            room.put_slice(buffer.data().get(..count).unwrap_or_default());
            buffer.consume(count);
            if buffer.is_empty() {
                inner.early = None;
            }
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut inner.io).poll_read(cx, room)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        inner.io.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Socket;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    fn pair() -> (Gathered, Outbox, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (gathered, outbox) = gather(Io::Plain(Socket::Unix(ours)), None);
        (gathered, outbox, theirs)
    }

    fn has_arrived(peer: &UnixStream) -> Vec<u8> {
        let mut room = vec![0; 1 << 20];
        let count = peer.try_read(&mut room).unwrap_or(0);
        room.truncate(count);
        room
    }

    #[tokio::test]
    async fn pieces_go_out_together_when_they_are_sent() {
        let (mut gathered, outbox, peer) = pair();
        peer.writable().await.unwrap();
        for piece in [&b"one "[..], b"two ", b"three"] {
            gathered.write_all(piece).await.unwrap();
            gathered.flush().await.unwrap();
        }
        assert_eq!(has_arrived(&peer), b"");
        poll_fn(|cx| outbox.poll_send(cx)).await.unwrap();
        peer.readable().await.unwrap();
        assert_eq!(has_arrived(&peer), b"one two three");
        assert!(gathered.0.borrow().out.is_none(), "idle connections hold no room");
    }

    #[tokio::test]
    async fn what_is_large_goes_out_at_once_and_in_order() {
        let (mut gathered, outbox, mut peer) = pair();
        let large = vec![b'x'; SMALL + 1];
        gathered.write_all(b"small").await.unwrap();
        gathered.write_all(&large).await.unwrap();
        gathered.write_all(b"last").await.unwrap();
        poll_fn(|cx| outbox.poll_send(cx)).await.unwrap();
        let mut all = vec![0; SMALL + 10];
        peer.read_exact(&mut all).await.unwrap();
        assert_eq!(all, [b"small", &large[..], b"last"].concat());
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_makes_the_codec_wait() {
        let (gathered, outbox, mut peer) = pair();
        let piece = [7; 1000];
        let mut written = 0;
        poll_fn(|cx| {
            // No more than the socket and one buffer take.
            while let Poll::Ready(count) = gathered.0.borrow_mut().poll_write(cx, &[IoSlice::new(&piece)]) {
                written += count.unwrap();
                assert!(written < 8 << 20);
            }
            Poll::Ready(())
        })
        .await;
        assert!(poll_fn(|cx| Poll::Ready(outbox.poll_send(cx))).await.is_pending());
        let mut all = vec![0; written];
        let (sent, read) = tokio::join!(poll_fn(|cx| outbox.poll_send(cx)), peer.read_exact(&mut all));
        assert!(sent.is_ok() && read.is_ok() && all.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn nothing_is_lost_at_the_end_and_an_error_is_told() {
        let (mut gathered, outbox, mut peer) = pair();
        gathered.write_all(b"bye").await.unwrap();
        gathered.shutdown().await.unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"bye");
        drop(peer);
        gathered.write_all(b"more").await.unwrap();
        assert!(poll_fn(|cx| outbox.poll_send(cx)).await.is_err());
    }
}
