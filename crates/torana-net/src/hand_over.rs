//! Passing listening sockets from one process to the next, over a Unix socket (`SCM_RIGHTS`, unix(7)).
//!
//! What is passed is the socket itself, not its address: with `SO_REUSEPORT` every socket has a queue of its own, and
//! connections in the queue of one that is closed are reset. So all of them are passed, and the old process only
//! lets go of its descriptors.
//!
//! The one that gives sends a frame per socket, its label and one descriptor, and an empty frame at the end. The one
//! that takes answers with a byte once it listens; if it goes away before, nothing has changed. Each looks whether the
//! other is the same user, or root: a stranger gets no sockets, and cannot slip us his.

use crate::inherit::adopt;
use crate::listen::Listener;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Says that the taker listens.
const TAKEN: u8 = b'+';

/// Most bytes of labels: thousands of sockets.
const MOST_BYTES: usize = 1 << 20;

/// Descriptors that may come with one message: a frame has one, but the kernel may join frames.
const DESCRIPTORS: usize = 8;

/// Whether the process at the other end is this user's, or root's.
///
/// # Errors
/// It is not, or the system does not tell.
pub fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let (theirs, ours) = (socket_peercred(stream)?.uid, rustix::process::geteuid());
    if theirs == ours || theirs.is_root() {
        return Ok(());
    }
    let text = format!("the other process belongs to user {}, not to user {}", theirs.as_raw(), ours.as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Gives sockets to whoever is at the other end, who has been looked at by [`check_peer`], and who takes each within
/// `patience`.
///
/// # Errors
/// They do not arrive.
pub fn give<'a>(
    stream: &UnixStream,
    sockets: impl IntoIterator<Item = (String, &'a Listener)>,
    patience: Duration,
) -> io::Result<()> {
    stream.set_write_timeout(Some(patience))?;
    for (label, socket) in sockets {
        let length = u16::try_from(label.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let frame = [&length.to_be_bytes()[..], label.as_bytes()].concat();
        let descriptors = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent =
            rustix::io::retry_on_intr(|| sendmsg(stream, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL))?;
        // The descriptor has gone with the first byte.
        (&mut &*stream).write_all(frame.get(sent..).unwrap_or_default())?;
    }
    (&mut &*stream).write_all(&[0, 0])
}

/// Waits until the taker says that it listens; false if it goes away instead, or
/// says nothing for `patience`: as long as one is waited for, there is no other.
pub fn is_taken(stream: &UnixStream, patience: Duration) -> bool {
    let mut answer = [0];
    let waits = stream.set_read_timeout(Some(patience));
    waits.and_then(|()| (&mut &*stream).read_exact(&mut answer)).is_ok() && answer == [TAKEN]
}

/// Takes the sockets that are given, each with its label.
///
/// # Errors
/// The other end goes away or gives what is no listening socket.
pub fn take(stream: &UnixStream) -> io::Result<Vec<(String, Listener)>> {
    let (mut bytes, mut sockets) = (Vec::new(), VecDeque::new());
    loop {
        if let Some(labels) = labels(&bytes)? {
            if labels.len() != sockets.len() {
                return Err(invalid());
            }
            return labels.into_iter().zip(sockets).map(|(label, socket)| Ok((label, adopt(socket)?))).collect();
        }
        if bytes.len() > MOST_BYTES {
            return Err(invalid());
        }
        receive(stream, &mut bytes, &mut sockets)?;
    }
}

/// Says that all of them are listened on.
///
/// # Errors
/// The giver is gone.
pub fn taken(stream: &UnixStream) -> io::Result<()> {
    (&mut &*stream).write_all(&[TAKEN])
}

fn receive(stream: &UnixStream, bytes: &mut Vec<u8>, sockets: &mut VecDeque<OwnedFd>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(buffer.get(..received.bytes).unwrap_or_default());
    Ok(())
}

/// The labels of all frames, once the last one is there.
fn labels(mut bytes: &[u8]) -> io::Result<Option<Vec<String>>> {
    let mut labels = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 {
            return Ok(Some(labels));
        }
        let Some((label, rest)) = rest.split_at_checked(length) else { break };
        labels.push(String::from_utf8(label.to_vec()).map_err(|_| invalid())?);
        bytes = rest;
    }
    Ok(None)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what the other process sends is no hand-over")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{ListenAddress, bind, bind_workers};
    use std::io::Read;
    use std::net::TcpStream;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);

    fn local() -> ListenAddress {
        ListenAddress::Socket(([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn connections_that_wait_go_with_the_socket() {
        let (old, new) = UnixStream::pair().unwrap();
        check_peer(&new).unwrap();
        let listeners = bind_workers(&local(), 20).unwrap();
        let ListenAddress::Socket(at) = listeners[0].local_addr().unwrap() else { panic!("not TCP") };
        // Established for the client, accepted by nobody.
        let mut waiting: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(at).unwrap()).collect();
        let giver = thread::spawn(move || {
            give(&old, listeners.iter().enumerate().map(|(index, socket)| (format!("worker {index}"), socket)), LONG)
                .unwrap();
            let is_taken = is_taken(&old, LONG);
            drop(listeners);
            is_taken
        });
        let taken_over = take(&new).unwrap();
        taken(&new).unwrap();
        assert!(giver.join().unwrap());
        let names: Vec<_> = taken_over.iter().map(|(label, _)| label.clone()).collect();
        assert_eq!(names, (0..20).map(|index| format!("worker {index}")).collect::<Vec<_>>());
        let mut accepted = 0;
        for (_, listener) in &taken_over {
            let Listener::Tcp(tcp) = listener else { panic!("not TCP") };
            while let Ok((mut socket, _)) = tcp.accept() {
                socket.write_all(b"x").unwrap();
                accepted += 1;
            }
        }
        assert_eq!(accepted, 40);
        for client in &mut waiting {
            client.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn whoever_goes_away_has_taken_nothing() {
        let (old, new) = UnixStream::pair().unwrap();
        let listener = bind(&local(), true).unwrap();
        give(&old, [("a".to_owned(), &listener)], LONG).unwrap();
        drop(take(&new).unwrap());
        drop(new);
        assert!(!is_taken(&old, LONG));
        assert!(
            TcpStream::connect(match listener.local_addr().unwrap() {
                ListenAddress::Socket(at) => at,
                ListenAddress::Unix(_) => panic!("not TCP"),
            })
            .is_ok()
        );
    }

    #[test]
    fn whoever_says_nothing_is_not_waited_for_for_ever() {
        let (old, new) = UnixStream::pair().unwrap();
        assert!(!is_taken(&old, Duration::from_millis(1)));
        drop(old);
        // It learns of that, and does not believe to have taken over.
        assert!(taken(&new).is_err());
    }

    #[test]
    fn whoever_takes_nothing_is_not_waited_for_for_ever() {
        let (old, _new) = UnixStream::pair().unwrap();
        let listener = bind(&local(), true).unwrap();
        // More than fits into any queue.
        let many = (0..100_000).map(|number| (format!("{number:01000}"), &listener));
        assert!(give(&old, many, Duration::from_millis(10)).is_err());
    }

    #[test]
    fn nonsense_is_no_hand_over() {
        for sent in [&b"\0\x01"[..], b"\0\x01a\0\0", b"\0\x01\xff\0\0", b""] {
            let (old, new) = UnixStream::pair().unwrap();
            (&mut &old).write_all(sent).unwrap();
            drop(old);
            assert!(take(&new).is_err(), "{sent:?}");
        }
    }
}
