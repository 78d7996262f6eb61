//! Writing that holds nobody up, and that nobody holds up.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes written before others get the core: the metrics of ten thousand routes are thirty megabytes, and a system call
/// takes as many of them as the kernel has room for.
const PIECE: usize = 32 * 1024;

/// A client's connection. Large pages are written in pieces with a pause between them; a client that takes nothing for too
/// long is given up, for there is room for few.
pub(super) struct Paced<S> {
    io: S,
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) const fn new(io: S, patience: Duration) -> Paced<S> {
        Paced { io, patience, stalled: None }
    }

    /// Judges how a write went.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            if matches!(written, Poll::Ready(Ok(count)) if count >= PIECE / 2) {
                std::thread::yield_now();
            }
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, room)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        let written = Pin::new(&mut this.io).poll_write(cx, piece);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > PIECE {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| &**slice));
        }
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(10);
        let began = std::time::Instant::now();
        let error = Paced::new(ours, PATIENCE).write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn a_slow_client_gets_all_of_a_large_page() {
        let (ours, mut theirs) = duplex(PIECE);
        let page: Vec<u8> = (0..=255).cycle().take(10 * PIECE + 3).collect();
        let mut paced = Paced::new(ours, PATIENCE);
        let write = async {
            paced.write_all(&page).await.unwrap();
            paced.shutdown().await.unwrap();
        };
        let read = async {
            let (mut all, mut some) = (Vec::new(), vec![0; PIECE]);
            loop {
                // All of it takes longer than the patience, a piece does not.
                sleep(PATIENCE / 5).await;
                match theirs.read(&mut some).await.unwrap() {
                    0 => return all,
                    count => all.extend_from_slice(&some[..count]),
                }
            }
        };
        let (_, all) = tokio::join!(write, read);
        assert!(all == page);
    }

    #[tokio::test]
    async fn slices_are_written_in_order_whatever_their_size() {
        let (ours, mut theirs) = duplex(8 * PIECE);
        let mut paced = Paced::new(ours, PATIENCE);
        let large = vec![b'x'; 2 * PIECE];
        let mut sent = Vec::new();
        for _ in 0..3 {
            let head = [b'h'; 5];
            let slices = [IoSlice::new(&[]), IoSlice::new(&head), IoSlice::new(&large)];
            let count = paced.write_vectored(&slices).await.unwrap();
            assert!(count > 0 && count <= PIECE);
            sent.extend_from_slice(&[&head[..], &large].concat()[..count]);
        }
        let mut all = vec![0; sent.len()];
        theirs.read_exact(&mut all).await.unwrap();
        assert!(all == sent);
    }
}
