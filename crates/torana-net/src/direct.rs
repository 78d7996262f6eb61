//! Reads and writes of TCP sockets, straight to the kernel.
//!
//! The C library makes each call of a program with threads a point at which
//! the thread may be cancelled: two locked instructions around every read and
//! write, for something nobody does here.
//!
//! A read or write that moves less than it might has moved all there was or
//! all there was room for. The runtime is told so, as it would tell itself:
//! the next attempt waits for the kernel's word instead of finding nothing.

use rustix::io::writev;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there, up to the length of `room`; none is the end.
/// `WouldBlock` if the socket is not known to have anything.
pub(crate) fn receive(tcp: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let most = room.len();
    moved(tcp, Interest::READABLE, most, || Ok(recv(tcp, room, RecvFlags::empty())?.1))
}

/// Reads as soon as there is something.
pub(crate) fn poll_receive(tcp: &TcpStream, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        match receive(tcp, room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return Poll::Ready(received),
        }
    }
}

/// Writes as soon as there is room. Does not raise SIGPIPE.
pub(crate) fn poll_send(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
    flags: SendFlags,
) -> Poll<io::Result<usize>> {
    poll_write(tcp, cx, bytes.len(), || Ok(send(tcp, bytes, flags | SendFlags::NOSIGNAL)?))
}

/// Most slices the kernel takes at a time (`IOV_MAX`); with more it takes none.
const MOST_SLICES: usize = 1024;

/// Writes several slices as one message, as far as they go.
pub(crate) fn poll_send_all(tcp: &TcpStream, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    let slices = slices.get(..MOST_SLICES).unwrap_or(slices);
    let most = slices.iter().map(|slice| slice.len()).sum();
    poll_write(tcp, cx, most, || Ok(writev(tcp, slices)?))
}

fn poll_write(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    most: usize,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match moved(tcp, Interest::WRITABLE, most, &mut write) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

fn moved(
    tcp: &TcpStream,
    direction: Interest,
    most: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut part = None;
    let tried = tcp.try_io(direction, || {
        let count = call()?;
        if count > 0 && count < most {
            part = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    part.map_or(tried, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (tcp, listener.accept().unwrap().0)
    }

    async fn read(tcp: &TcpStream, room: &mut [u8]) -> usize {
        std::future::poll_fn(|cx| poll_receive(tcp, cx, room)).await.unwrap()
    }

    #[tokio::test]
    async fn a_part_is_read_once_and_what_follows_is_not_missed() {
        let (tcp, mut peer) = pair().await;
        let mut room = [0; 8];
        peer.write_all(b"abc").unwrap();
        assert_eq!(read(&tcp, &mut room).await, 3);
        let nothing = receive(&tcp, &mut room).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        peer.write_all(b"0123456789").unwrap();
        assert_eq!(read(&tcp, &mut room).await, 8);
        assert_eq!(read(&tcp, &mut room).await, 2);
        drop(peer);
        assert_eq!(read(&tcp, &mut room).await, 0);
        assert_eq!(read(&tcp, &mut room).await, 0, "the end stays");
    }

    #[tokio::test]
    async fn a_full_socket_takes_a_part_and_the_rest_when_there_is_room() {
        let (tcp, mut peer) = pair().await;
        let bytes = vec![7; 64 << 20];
        let mut sent = 0;
        let reader = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        let mut parts = 0;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            let halves = rest.split_at(rest.len() / 2);
            let slices = [IoSlice::new(halves.0), IoSlice::new(halves.1)];
            sent += match parts % 2 {
                0 => std::future::poll_fn(|cx| poll_send(&tcp, cx, rest, SendFlags::empty())).await.unwrap(),
                _ => std::future::poll_fn(|cx| poll_send_all(&tcp, cx, &slices)).await.unwrap(),
            };
            parts += 1;
        }
        drop(tcp);
        assert!(parts > 1, "nothing was written in part");
        assert!(reader.join().unwrap() == bytes);
    }

    #[tokio::test]
    async fn more_slices_than_the_kernel_takes_are_written_in_part() {
        let (tcp, _peer) = pair().await;
        let slices = [IoSlice::new(b"a"); MOST_SLICES + 1];
        let sent = std::future::poll_fn(|cx| poll_send_all(&tcp, cx, &slices)).await;
        assert_eq!(sent.unwrap(), MOST_SLICES);
    }

    #[tokio::test]
    async fn errors_are_told() {
        let (tcp, peer) = pair().await;
        rustix::net::sockopt::set_socket_linger(&peer, Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let error = std::future::poll_fn(|cx| poll_receive(&tcp, cx, &mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let broken = std::future::poll_fn(|cx| poll_send(&tcp, cx, b"x", SendFlags::empty())).await;
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
