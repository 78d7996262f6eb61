//! One byte stream, whatever carries it.

use crate::DEADLINE;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// TCP, a Unix socket, or TLS over TCP.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS, as a client.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Every read and write ends within [`DEADLINE`], so no test hangs.
    pub(crate) fn with_deadline(self) -> Stream {
        self.set_read_timeout(DEADLINE);
        let write = Some(DEADLINE);
        match &self {
            Stream::Tcp(tcp) => tcp.set_nodelay(true).and_then(|()| tcp.set_write_timeout(write)),
            Stream::Unix(unix) => unix.set_write_timeout(write),
            Stream::Tls(tls) => tls.sock.set_write_timeout(write),
        }
        .expect("a socket takes a timeout");
        self
    }

    /// How long one read may wait.
    ///
    /// # Panics
    /// The socket is broken.
    pub fn set_read_timeout(&self, limit: Duration) {
        match self {
            Stream::Tcp(tcp) => tcp.set_read_timeout(Some(limit)),
            Stream::Unix(unix) => unix.set_read_timeout(Some(limit)),
            Stream::Tls(tls) => tls.sock.set_read_timeout(Some(limit)),
        }
        .expect("a socket takes a timeout");
    }

    /// The TCP socket below.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(&tls.sock),
            Stream::Unix(_) => None,
        }
    }

    /// A second handle for writing while another thread reads.
    ///
    /// # Panics
    /// For TLS, which has one owner.
    #[must_use]
    pub fn second(&self) -> Stream {
        match self {
            Stream::Tcp(tcp) => Stream::Tcp(tcp.try_clone().expect("a socket can be cloned")),
            Stream::Unix(unix) => Stream::Unix(unix.try_clone().expect("a socket can be cloned")),
            Stream::Tls(_) => panic!("a TLS session has one owner"),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        // The other side may be gone already.
        let _ = match self {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
            Stream::Tls(tls) => tls.sock.shutdown(Shutdown::Write),
        };
    }

    /// Closes with a TCP reset instead of an orderly end.
    pub fn reset(self) {
        if let Some(tcp) = self.tcp() {
            // Zero linger turns the close into a reset.
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.read(buffer),
            Stream::Unix(unix) => unix.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.write(bytes),
            Stream::Unix(unix) => unix.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.flush(),
            Stream::Unix(unix) => unix.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}
