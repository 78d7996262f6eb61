//! A connection's bytes, whatever carries them.

use crate::buffer::Buffer;
use crate::direct;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv};
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A socket in the clear.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TCP of which some bytes were read ahead: those behind a PROXY protocol
    /// header.
    ReadAhead(TcpStream, Option<Buffer>),
}

/// A connection, in the clear or in TLS. An enum, not a trait object: the
/// common case costs one predictable branch.
#[derive(Debug)]
pub enum Io {
    /// In the clear.
    Plain(Socket),
    /// TLS, we are the server.
    ServerTls(Box<server::TlsStream<Socket>>),
    /// TLS, we are the client.
    ClientTls(Box<client::TlsStream<Socket>>),
}

impl Io {
    /// Waits until a read might give something. TLS may hold bytes that the
    /// socket does not show, so there the answer is always yes.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(Socket::Tcp(tcp)) => tcp.poll_read_ready(cx),
            Io::Plain(Socket::Unix(unix)) => unix.poll_read_ready(cx),
            Io::Plain(Socket::ReadAhead(_, Some(_))) => Poll::Ready(Ok(())),
            Io::Plain(Socket::ReadAhead(tcp, None)) => tcp.poll_read_ready(cx),
            Io::ServerTls(_) | Io::ClientTls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the socket is known to have nothing to read, not even its end.
    /// Costs no system call and wakes nobody; TLS cannot tell.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let probe = match self {
            // The closure runs only if something has arrived. Answering for it
            // would clear the readiness that a later read needs.
            Io::Plain(Socket::Tcp(tcp)) => tcp.try_io(Interest::READABLE, || Ok(())),
            Io::Plain(Socket::Unix(unix)) => unix.try_io(Interest::READABLE, || Ok(())),
            Io::Plain(Socket::ReadAhead(..)) | Io::ServerTls(_) | Io::ClientTls(_) => return false,
        };
        probe.is_err()
    }

    /// Whether the socket has nothing to read, not even its end. Costs a system
    /// call; takes nothing and leaves all readiness as it is.
    #[must_use]
    pub fn has_nothing(&self) -> bool {
        let socket = match self {
            Io::Plain(socket) => socket,
            Io::ServerTls(tls) => tls.get_ref().0,
            Io::ClientTls(tls) => tls.get_ref().0,
        };
        let (mut byte, flags) = ([0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let seen = match socket {
            Socket::ReadAhead(_, Some(ahead)) if !ahead.is_empty() => return false,
            Socket::Tcp(tcp) | Socket::ReadAhead(tcp, _) => recv(tcp, &mut byte, flags),
            Socket::Unix(unix) => recv(unix, &mut byte, flags),
        };
        matches!(seen, Err(Errno::AGAIN))
    }

    /// Reads what a socket is known to have, without asking the runtime whether
    /// it has; `None` where that cannot be told.
    pub fn read_now(&self, room: &mut [u8]) -> Option<io::Result<usize>> {
        let Io::Plain(Socket::Tcp(tcp) | Socket::ReadAhead(tcp, None)) = self else { return None };
        match direct::receive(tcp, room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received),
        }
    }

    /// Reads into `room`; nothing read means the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_read_pinned(cx, room)
    }

    fn poll_read_pinned(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_read(cx, room),
            // A peer that closes TCP without TLS close_notify has ended the
            // stream; framing decides whether that was too early.
            Io::ServerTls(tls) => eof(Pin::new(tls.as_mut()).poll_read(cx, room)),
            Io::ClientTls(tls) => eof(Pin::new(tls.as_mut()).poll_read(cx, room)),
        }
    }

    /// Writes one slice.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_pinned(cx, bytes)
    }

    fn poll_write_pinned(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Io::ServerTls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            Io::ClientTls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    /// Writes one slice behind which the connection will be closed at once. TCP
    /// holds it until then, so that its end goes out in the same segment: a
    /// packet less for each end of the connection.
    pub fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Io::Plain(Socket::Tcp(tcp) | Socket::ReadAhead(tcp, _)) = self else {
            return self.poll_write(cx, bytes);
        };
        direct::poll_send(tcp, cx, bytes, SendFlags::MORE)
    }

    /// Writes two slices as one message.
    pub fn poll_write_both(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        let both = [IoSlice::new(first), IoSlice::new(second)];
        match self {
            Io::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, &both),
            Io::ServerTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, &both),
            Io::ClientTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, &both),
        }
    }

    /// Pushes out what TLS still holds; nothing to do in the clear.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::ServerTls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Io::ClientTls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Io::ServerTls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Io::ClientTls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }

    /// Writes all of `out`.
    ///
    /// # Errors
    /// What the socket says; a socket that takes nothing is an error too.
    pub fn poll_write_all(&mut self, cx: &mut Context<'_>, out: &mut crate::buffer::Output) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let count = ready!(self.poll_write(cx, out.data()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

fn eof(read: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    match read {
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        other => other,
    }
}

fn receive(tcp: &mut TcpStream, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    if room.initialized().len() < room.capacity() {
        // What is not initialised only the runtime can fill.
        return Pin::new(tcp).poll_read(cx, room);
    }
    direct::poll_receive(tcp, cx, room.initialize_unfilled()).map_ok(|count| room.advance(count))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => receive(tcp, cx, room),
            Socket::Unix(unix) => Pin::new(unix).poll_read(cx, room),
            Socket::ReadAhead(_, Some(ahead)) if !ahead.is_empty() => {
                let count = ahead.data().len().min(room.remaining());
                room.put_slice(ahead.data().get(..count).unwrap_or_default());
                ahead.consume(count);
                Poll::Ready(Ok(()))
            }
            Socket::ReadAhead(tcp, ahead) => {
                *ahead = None;
                receive(tcp, cx, room)
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) | Socket::ReadAhead(tcp, _) => direct::poll_send(tcp, cx, bytes, SendFlags::empty()),
            Socket::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) | Socket::ReadAhead(tcp, _) => direct::poll_send_all(tcp, cx, slices),
            Socket::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Socket::ReadAhead(tcp, _) => Pin::new(tcp).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_read_pinned(cx, room)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_pinned(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Io::ServerTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
            Io::ClientTls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Io::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Io::poll_shutdown(self.get_mut(), cx)
    }
}
