//! Tells a service manager how we are doing: the protocol of sd_notify(3), a datagram of `NAME=value` lines to the
//! socket that `NOTIFY_SOCKET` names. Without that variable nobody wants to know, and nothing is sent.

use crate::notice;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The gateway serves, or has finished with a reload.
pub fn ready() {
    tell("READY=1");
}

/// The gateway serves in place of the process the service manager knows of.
pub fn ready_instead() {
    tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
}

/// The gateway looks at its configuration; [`ready`] follows.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // `Type=notify-reload` tells by the time which SIGHUP this answers.
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
}

/// The gateway stops.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
        && let Err(error) = send(&socket, state)
    {
        notice::warn(&format!("the service manager cannot be told: {error}"));
    }
}

fn send(socket: &OsString, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsStr::new(socket))?,
    };
    let datagram = UnixDatagram::unbound()?;
    // Whoever restarts us must not be able to stop us by not reading.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn sockets_with_and_without_a_path_are_told() {
        let id = std::process::id();
        let name = format!("torana-notify-{id}");
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(&format!("@{name}").into(), "READY=1").unwrap();
        assert_eq!(received(&manager), "READY=1");
        let path = std::env::temp_dir().join(name);
        let manager = UnixDatagram::bind(&path).unwrap();
        send(&path.clone().into(), "STOPPING=1").unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        assert!(send(&path.into(), "READY=1").is_err());
    }
}
