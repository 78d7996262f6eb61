//! Connects to endpoints.

use crate::io::{Io, Socket};
use crate::refusals as refuse;
use crate::tls::client::{Alpn, ClientTls};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;
use torana_core::refusal::{Refusal, Rejection};

/// Where to connect.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// An address.
    Socket(SocketAddr),
    /// A name to resolve, and a port.
    Name(&'a str, u16),
    /// A Unix socket.
    Unix(&'a Path),
}

/// How to secure the connection.
#[derive(Clone, Copy)]
pub struct Security<'a> {
    /// Trust and identity.
    pub tls: &'a ClientTls,
    /// The host the certificate must be for, unless the configuration names one.
    pub host: &'a str,
    /// The protocols offered.
    pub alpn: Alpn,
}

/// A connection, and whether HTTP/2 was negotiated on it.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub io: Io,
    /// TLS negotiated HTTP/2.
    pub http2: bool,
}

/// Connects within `timeout`, TLS included. Zero is no limit.
///
/// # Errors
/// A rejection that blames the endpoint, except for what the kernel or the
/// configuration made impossible on our side.
pub async fn dial(place: Place<'_>, security: Option<Security<'_>>, timeout: Duration) -> Result<Dialled, Rejection> {
    let connecting = connect(place, security);
    if timeout.is_zero() {
        return connecting.await;
    }
    match tokio::time::timeout(timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Rejection::new(&refuse::UPSTREAM_CONNECT_TIMEOUT)),
    }
}

async fn connect(place: Place<'_>, security: Option<Security<'_>>) -> Result<Dialled, Rejection> {
    let failed = |error: io::Error| Rejection::new(blame(&error)).because(error);
    let socket = match place {
        Place::Socket(address) => Socket::Tcp(tcp(address).await.map_err(failed)?),
        Place::Unix(path) => Socket::Unix(UnixStream::connect(path).await.map_err(failed)?),
        Place::Name(host, port) => Socket::Tcp(resolve_and_connect(host, port).await?),
    };
    let Some(security) = security else { return Ok(Dialled { io: Io::Plain(socket), http2: false }) };
    let broken = |error: &dyn std::fmt::Display| Rejection::new(&refuse::UPSTREAM_TLS).because(error);
    let name = security.tls.server_name(security.host).map_err(|error| broken(&error))?;
    let connector = TlsConnector::from(security.tls.config(security.alpn));
    let tls = connector.connect(name, socket).await.map_err(|error| broken(&error))?;
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    if security.alpn == Alpn::Http2 && !http2 {
        return Err(broken(&"the service does not speak HTTP/2"));
    }
    Ok(Dialled { io: Io::ClientTls(Box::new(tls)), http2 })
}

/// Whose doing it is that no connection could be made: a shortage of our own
/// must not be charged to the endpoint.
fn blame(error: &io::Error) -> &'static Refusal {
    let is_ours = |errno: Errno| {
        matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    };
    match Errno::from_io_error(error) {
        Some(errno) if is_ours(errno) => &refuse::NO_SOCKET,
        _ => &refuse::UPSTREAM_CONNECT,
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Tries the addresses of a name in the resolver's order (RFC 6724).
async fn resolve_and_connect(host: &str, port: u16) -> Result<TcpStream, Rejection> {
    let unresolved = |cause: &dyn std::fmt::Display| {
        Rejection::new(&refuse::UPSTREAM_UNRESOLVED).because(format_args!("`{host}`: {cause}"))
    };
    let addresses = lookup_host((host, port)).await.map_err(|error| unresolved(&error))?;
    let mut last = None;
    for address in addresses {
        match tcp(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        Some((address, error)) => Rejection::new(blame(&error)).because(format_args!("{address}: {error}")),
        None => unresolved(&"no addresses"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_our_own_is_no_fault_of_the_endpoint() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL] {
            assert_eq!(blame(&errno.into()).code, "limit.sockets", "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::NETUNREACH, Errno::CONNRESET] {
            assert_eq!(blame(&errno.into()).code, "upstream.connect_failed", "{errno}");
        }
    }
}
