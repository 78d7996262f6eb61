//! Opening the sockets the gateway listens on.
//!
//! Every worker has a listening socket of its own on the same address (`SO_REUSEPORT`, socket(7)): the kernel
//! spreads connections over them and no two workers wait on one queue. A Unix socket can not be opened twice;
//! its workers share one queue through duplicated descriptors.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Connections the kernel completes before anyone accepts them. It takes the smaller of this and
/// `net.core.somaxconn`, 4096 since Linux 5.4.
const BACKLOG: i32 = 4096;

/// Permissions of a Unix socket: owner and group may connect (which takes write permission, unix(7)).
const SOCKET_MODE: u32 = 0o660;

/// Permissions of a Unix socket that is nobody else's business.
const PRIVATE_MODE: u32 = 0o600;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address and port; port 0 lets the kernel choose one. `[::]` accepts IPv4 as well (dual stack, whatever
    /// `net.ipv6.bindv6only` says): IPv4 peers then show as `::ffff:a.b.c.d`, so take addresses from
    /// [`IpAddr::to_canonical`]. Any other IPv6 address accepts IPv6 only.
    Socket(SocketAddr),
    /// Path of a Unix socket, at most 107 bytes.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Socket(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket, non-blocking and not yet registered with a runtime: an
/// [`AcceptQueue`](crate::accept_queue::AcceptQueue) takes it from here.
#[derive(Debug)]
pub enum Listener {
    /// TCP. Accepted connections inherit `TCP_NODELAY` (Linux), so nobody needs to set it on them.
    Tcp(std::net::TcpListener),
    /// A Unix socket. Its file stays when it is closed; the next [`bind`] replaces it.
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Where it listens, with the port the kernel chose.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<ListenAddress> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(ListenAddress::Socket),
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(ListenAddress::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned()))
            }
        }
    }

    /// The same socket under another descriptor: both take from one queue.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> io::Result<Listener> {
        match self {
            Listener::Tcp(listener) => listener.try_clone().map(Listener::Tcp),
            Listener::Unix(listener) => listener.try_clone().map(Listener::Unix),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Opens one listener on `address` for each of `workers`.
///
/// With port 0 the kernel chooses once and all get the same port. An address another process listens on is an
/// error even if that process would share it: two gateways started by mistake must not split the traffic.
///
/// # Errors
/// The address can not be listened on; the text says why and what to do. Nothing stays open.
pub fn bind_workers(address: &ListenAddress, workers: usize) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(workers);
    match address {
        ListenAddress::Socket(socket) => {
            if socket.port() != 0 {
                // The kernel lets sockets of one user share an address if all set SO_REUSEPORT. One that does
                // not is refused next to them: that tells whether anyone is there already.
                drop(open(*socket, false).map_err(|error| explain(&error, address))?);
            }
            let first = bind(address, true)?;
            let concrete = first.local_addr()?;
            listeners.push(first);
            while listeners.len() < workers {
                listeners.push(bind(&concrete, true)?);
            }
        }
        ListenAddress::Unix(_) => {
            let first = bind(address, false)?;
            while listeners.len() + 1 < workers {
                listeners.push(first.try_clone()?);
            }
            listeners.push(first);
        }
    }
    Ok(listeners)
}

/// Opens a listener. `reuse_port` lets other sockets of this user listen on the same address if they ask for it
/// too: the other workers, or a new process taking over from this one. It means nothing for Unix sockets.
///
/// # Errors
/// The address can not be listened on; the text says why and what to do.
pub fn bind(address: &ListenAddress, reuse_port: bool) -> io::Result<Listener> {
    let listener = match address {
        ListenAddress::Socket(socket) => bind_socket(*socket, reuse_port).map(Listener::Tcp),
        ListenAddress::Unix(path) => bind_unix(path, SOCKET_MODE).map(Listener::Unix),
    };
    listener.map_err(|error| explain(&error, address))
}

/// Opens a Unix socket to which nobody but this user, and root, may connect.
///
/// # Errors
/// It can not be listened on; the text says why and what to do.
pub fn bind_private(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    bind_unix(path, PRIVATE_MODE).map_err(|error| explain(&error, &ListenAddress::Unix(path.to_owned())))
}

fn bind_socket(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = open(address, reuse_port)?;
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket bound to `address` that does not listen yet.
fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let address = SockAddr::unix(path)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    // Before listen(2) nobody can connect, so the permissions of the umask are never in effect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Removes the socket a former process left at `path`. A socket somebody answers on, and anything that is not a
/// socket, a symbolic link included, stays and is an error.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let text = "a file that is not a socket is in the way; remove it or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match probe(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // A full queue, a permission, an answer: somebody may be there.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Connects without waiting: a listener with a full queue would keep a blocking socket forever.
fn probe(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// The error with what is wrong and what to do about it.
fn explain(error: &io::Error, address: &ListenAddress) -> io::Error {
    let reason = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, ListenAddress::Socket(socket)) => {
            format!(
                "the address is in use by another process: run `ss -ltnp 'sport = :{}'` to see which",
                socket.port()
            )
        }
        (io::ErrorKind::AddrInUse, ListenAddress::Unix(path)) => {
            format!("the socket is in use by another process: run `ss -lxp src {}` to see which", path.display())
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            "no interface of this machine has the address: run `ip -brief address` to see those there are".to_owned()
        }
        (io::ErrorKind::PermissionDenied, ListenAddress::Socket(socket)) if socket.port() < 1024 => format!(
            "ports below 1024 need a privilege: grant `setcap cap_net_bind_service=+ep` to the program or use {}",
            socket.port().saturating_add(8000)
        ),
        (io::ErrorKind::PermissionDenied, ListenAddress::Unix(_)) => {
            "permission denied: the directory must be writable for the user torana runs as".to_owned()
        }
        (io::ErrorKind::NotFound, ListenAddress::Unix(_)) => "the directory does not exist".to_owned(),
        (io::ErrorKind::InvalidInput, ListenAddress::Unix(_)) => {
            "the path is too long for a socket: 107 bytes at most".to_owned()
        }
        (io::ErrorKind::Unsupported, ListenAddress::Socket(socket)) if socket.is_ipv6() => {
            "IPv6 is switched off on this machine: listen on an IPv4 address".to_owned()
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("can not listen on {address}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpStream};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn local(port: u16) -> ListenAddress {
        ListenAddress::Socket(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn socket_addr(listener: &Listener) -> SocketAddr {
        match listener.local_addr().unwrap() {
            ListenAddress::Socket(address) => address,
            ListenAddress::Unix(_) => panic!("not TCP"),
        }
    }

    /// A directory of its own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("torana-listen-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        fn unix(&self, name: &str) -> ListenAddress {
            ListenAddress::Unix(self.0.join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn workers_share_the_port_the_kernel_chose() {
        let listeners = bind_workers(&local(0), 3).unwrap();
        let port = socket_addr(&listeners[0]).port();
        assert_ne!(port, 0);
        assert!(listeners.iter().all(|listener| socket_addr(listener).port() == port));
    }

    #[test]
    fn a_second_gateway_does_not_share_the_traffic_of_the_first() {
        let listeners = bind_workers(&local(0), 2).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let error = bind_workers(&address, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("ss -ltnp"), "{text}");
        // One that takes over on purpose may.
        assert!(bind(&address, true).is_ok());
        assert!(bind(&address, false).is_err());
    }

    #[test]
    fn a_closed_listener_with_open_connections_does_not_block_the_next() {
        let listeners = bind_workers(&local(0), 1).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let Listener::Tcp(tcp) = &listeners[0] else { panic!("not TCP") };
        tcp.set_nonblocking(false).unwrap();
        let client = TcpStream::connect(socket_addr(&listeners[0])).unwrap();
        let (served, _) = tcp.accept().unwrap();
        drop(served); // closes first: TIME_WAIT is on our side
        drop(client);
        drop(listeners);
        assert!(bind_workers(&address, 1).is_ok());
    }

    #[test]
    fn accepted_connections_inherit_nodelay() {
        let Listener::Tcp(tcp) = bind(&local(0), true).unwrap() else { panic!("not TCP") };
        let _client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(false).unwrap();
        assert!(tcp.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn unspecified_ipv6_accepts_ipv4() {
        let address = ListenAddress::Socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let Ok(listener) = bind(&address, true) else { return }; // a machine without IPv6
        let port = socket_addr(&listener).port();
        let Listener::Tcp(tcp) = listener else { panic!("not TCP") };
        tcp.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = tcp.accept().unwrap();
        assert!(peer.is_ipv6());
        assert_eq!(peer.ip().to_canonical(), IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn addresses_of_other_machines_are_explained() {
        let error = bind(&ListenAddress::Socket(SocketAddr::from(([192, 0, 2, 1], 0))), true).unwrap_err();
        assert!(error.to_string().contains("no interface"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let scratch = Scratch::new();
        let address = scratch.unix("a.sock");
        let ListenAddress::Unix(path) = &address else { panic!("not Unix") };
        let listeners = bind_workers(&address, 2).unwrap();
        assert_eq!(listeners.len(), 2);
        assert_eq!(listeners[1].local_addr().unwrap(), address);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o660);

        let error = bind(&address, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("a.sock"), "{error}");
        drop(listeners);
        assert!(path.exists());
        assert!(bind(&address, false).is_ok());
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let scratch = Scratch::new();
        let file = scratch.0.join("precious");
        std::fs::write(&file, "data").unwrap();
        let error = bind(&scratch.unix("precious"), false).unwrap_err();
        assert!(error.to_string().contains("not a socket"), "{error}");
        std::os::unix::fs::symlink(&file, scratch.0.join("link")).unwrap();
        assert!(bind(&scratch.unix("link"), false).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
    }

    #[test]
    fn impossible_paths_are_explained() {
        let scratch = Scratch::new();
        let long = bind(&scratch.unix(&"x".repeat(120)), false).unwrap_err();
        assert!(long.to_string().contains("107 bytes"), "{long}");
        let missing = bind(&scratch.unix("no/such/dir.sock"), false).unwrap_err();
        assert!(missing.to_string().contains("does not exist"), "{missing}");
    }
}
