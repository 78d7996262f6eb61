//! Clients are accepted when they speak.
//!
//! A client connects and then sends. Accepted in between, it wakes the worker
//! twice; with `TCP_DEFER_ACCEPT` (tcp(7)) the kernel keeps it until its first
//! bytes are there. A new connection costs an eighth less then (measured, see
//! `bench/RESULTS.md`), and who connects and says nothing costs the gateway
//! nothing. In HTTP, TLS and the PROXY protocol the client always speaks first.

use crate::listen::Listener;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// How long a client may be silent before it is accepted all the same. The
/// kernel counts in whole seconds and takes the repetition of its own SYN for
/// the end of the first.
const SILENCE: i32 = 1;

/// How long after [`set`] said `false` a listener should still accept, before
/// it is closed: whoever has connected and is about to speak would be reset.
pub const STRAGGLERS: Duration = Duration::from_millis(100);

/// Sets whether `listener` accepts clients only when they speak. Means nothing
/// for Unix sockets. Who waits to be accepted when it is switched off still
/// waits for their first bytes, or for the second to be over.
///
/// # Errors
/// As setsockopt(2).
pub fn set(listener: &Listener, defers: bool) -> io::Result<()> {
    match listener {
        Listener::Tcp(socket) => set_option(socket.as_fd(), if defers { SILENCE } else { 0 }),
        Listener::Unix(_) => Ok(()),
    }
}

#[expect(unsafe_code, reason = "neither rustix nor socket2 has this option, and std's is unstable (rust#119639)")]
fn set_option(socket: BorrowedFd<'_>, seconds: libc::c_int) -> io::Result<()> {
    const LENGTH: libc::socklen_t = 4;
    const _: () = assert!(size_of::<libc::c_int>() == 4);
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `LENGTH` bytes of a number that
    // lives until the call is over; it keeps neither.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            LENGTH,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept_queue::has_waiting;
    use crate::listen::{ListenAddress, bind};
    use std::io::Write;
    use std::net::TcpStream;
    use std::thread::sleep;
    use std::time::Instant;

    fn listening() -> (Listener, ListenAddress) {
        let listener = bind(&ListenAddress::Socket(([127, 0, 0, 1], 0).into()), false).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn connect(address: &ListenAddress) -> TcpStream {
        let ListenAddress::Socket(address) = address else { panic!("not TCP") };
        TcpStream::connect(address).unwrap()
    }

    /// How long until a client can be accepted.
    fn waited(listener: &Listener) -> Duration {
        let start = Instant::now();
        while !has_waiting(listener).unwrap() {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody came");
            sleep(Duration::from_millis(5));
        }
        start.elapsed()
    }

    #[test]
    fn a_client_is_accepted_when_it_speaks() {
        let (listener, address) = listening();
        set(&listener, true).unwrap();
        let mut client = connect(&address);
        sleep(Duration::from_millis(100));
        assert!(!has_waiting(&listener).unwrap(), "accepted although it has said nothing");
        client.write_all(b"G").unwrap();
        assert!(waited(&listener) < Duration::from_millis(500));
    }

    #[test]
    fn a_silent_client_is_accepted_a_little_later() {
        let (listener, address) = listening();
        set(&listener, true).unwrap();
        let _client = connect(&address);
        let waited = waited(&listener);
        assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    }

    #[test]
    fn a_client_that_goes_is_accepted_so_that_health_checks_see_nothing_of_it() {
        let (listener, address) = listening();
        set(&listener, true).unwrap();
        drop(connect(&address));
        assert!(waited(&listener) < Duration::from_millis(500));
    }

    #[test]
    fn switched_off_it_accepts_at_once_and_those_who_waited_when_they_speak() {
        let (listener, address) = listening();
        set(&listener, true).unwrap();
        let mut before = connect(&address);
        set(&listener, false).unwrap();
        sleep(Duration::from_millis(50));
        assert!(!has_waiting(&listener).unwrap());
        before.write_all(b"G").unwrap();
        assert!(waited(&listener) < Duration::from_millis(500));
        let Listener::Tcp(socket) = &listener else { panic!("not TCP") };
        drop(socket.accept().unwrap());
        let _after = connect(&address);
        assert!(waited(&listener) < Duration::from_millis(500));
    }
}
