//! Listening sockets that somebody else has opened: a service manager that starts us (socket activation,
//! sd_listen_fds(3)), or the process we take over from.
//!
//! Nobody who connects notices that a process went and another came: connections the kernel completed meanwhile
//! wait in the socket's queue, which belongs to the socket and not to a process.

use crate::listen::{ListenAddress, Listener};
use listenfd::ListenFd;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::SockRef;
use std::io;
use std::os::fd::OwnedFd;

/// A socket we were passed at the start.
#[derive(Debug)]
pub struct Passed {
    /// What the service manager calls it (`FileDescriptorName=`).
    pub name: Option<String>,
    /// The socket.
    pub listener: Listener,
}

/// Takes a listening socket over, with the options that sockets of our own have.
///
/// # Errors
/// It is not a stream socket that listens, or the system refuses to change it.
pub fn adopt(socket: OwnedFd) -> io::Result<Listener> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
    if socket_type(&socket)? != SocketType::STREAM || !socket_acceptconn(&socket)? {
        return Err(invalid("not a stream socket that listens"));
    }
    let listener = match sockopt::socket_domain(&socket)? {
        AddressFamily::INET | AddressFamily::INET6 => Listener::Tcp(socket.into()),
        AddressFamily::UNIX => Listener::Unix(socket.into()),
        _ => return Err(invalid("neither an Internet nor a Unix socket")),
    };
    let options = SockRef::from(&listener);
    options.set_nonblocking(true)?;
    options.set_cloexec(true)?;
    if matches!(listener, Listener::Tcp(_)) {
        options.set_tcp_nodelay(true)?;
    }
    Ok(listener)
}

/// The sockets a service manager has passed to this process, in its order. To be called once, before there are
/// other threads: the variables that tell of them are removed.
///
/// # Errors
/// One of them cannot be used; the text says which.
pub fn passed_by_service_manager() -> io::Result<Vec<Passed>> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if !is_for(&variable("LISTEN_PID"), std::process::id()) {
        return Ok(Vec::new());
    }
    let names = variable("LISTEN_FDNAMES");
    let mut sockets = ListenFd::from_env();
    let mut passed = Vec::new();
    for (index, name) in names_of(&names).chain(std::iter::repeat(None)).take(sockets.len()).enumerate() {
        let listener = take(&mut sockets, index).map_err(|error| {
            let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
            io::Error::new(error.kind(), format!("socket activation: descriptor {index}{name} is of no use: {error}"))
        })?;
        passed.push(Passed { name: name.map(str::to_owned), listener });
    }
    Ok(passed)
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Listener> {
    // A socket of the other family is left where it is.
    let tcp = sockets.take_tcp_listener(index);
    let taken = match tcp {
        Ok(tcp) => tcp.map(OwnedFd::from),
        Err(_) => sockets.take_unix_listener(index)?.map(OwnedFd::from),
    };
    adopt(taken.ok_or(io::ErrorKind::NotFound)?)
}

/// Whether the descriptors are meant for the process `id`, and not for the one that started it.
fn is_for(listen_pid: &str, id: u32) -> bool {
    listen_pid.parse() == Ok(id)
}

/// The names in `LISTEN_FDNAMES`, by position. What systemd calls sockets without a name says nothing.
fn names_of(names: &str) -> impl Iterator<Item = Option<&str>> {
    names.split(':').map(|name| Some(name).filter(|name| !matches!(*name, "" | "unknown" | "stored" | "connection")))
}

/// Whether the socket is where `address` says. Port 0 is nowhere in particular.
#[must_use]
pub fn is_at(listener: &Listener, address: &ListenAddress) -> bool {
    listener.local_addr().is_ok_and(|local| local == *address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind;
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    #[test]
    fn an_adopted_socket_is_like_our_own() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let at: SocketAddr = theirs.local_addr().unwrap();
        let listener = adopt(theirs.into()).unwrap();
        assert!(is_at(&listener, &ListenAddress::Socket(at)));
        let Listener::Tcp(tcp) = &listener else { panic!("not TCP") };
        assert_eq!(tcp.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = TcpStream::connect(at).unwrap();
        tcp.set_nonblocking(false).unwrap();
        assert!(tcp.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let Listener::Tcp(tcp) = bind(&ListenAddress::Socket(([127, 0, 0, 1], 0).into()), false).unwrap() else {
            panic!("not TCP")
        };
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert!(adopt(client.into()).is_err());
        assert!(adopt(UdpSocket::bind("127.0.0.1:0").unwrap().into()).is_err());
        assert!(adopt(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }

    #[test]
    fn descriptors_of_a_parent_are_not_ours() {
        assert!(is_for("12", 12));
        for other in ["", "13", "x", "-12"] {
            assert!(!is_for(other, 12), "{other}");
        }
        let names: Vec<_> = names_of("web::admin:unknown").collect();
        assert_eq!(names, [Some("web"), None, Some("admin"), None]);
    }
}
