//! Where the admin interface is served, and the rules there.

use super::guard::From;
use super::{Rules, Socket};
use crate::notice;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The rules of a site, looked at for every request; `None` once the interface
/// is served elsewhere. So a connection from outside does not come to be judged
/// by the rules of loopback.
pub(super) type SharedRules = Rc<RefCell<Option<Rules>>>;

/// A socket and the rules for whoever comes through it.
pub(super) struct Site {
    listener: Listener,
    rules: SharedRules,
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Site {
    /// `None`, with a word to the operator, if the system refuses the socket.
    pub(super) fn new(socket: Socket, rules: Rules) -> Option<Site> {
        let listener = match socket {
            Socket::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(Listener::Tcp),
            Socket::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Listener::Unix),
        };
        match listener {
            Ok(listener) => Some(Site { listener, rules: Rc::new(RefCell::new(Some(rules))) }),
            Err(error) => {
                notice::warn(&format!("the admin interface cannot be served: {error}"));
                None
            }
        }
    }

    pub(super) fn judge_by(&self, rules: Rules) {
        self.rules.replace(Some(rules));
    }

    /// Nothing more is answered on connections that came through here.
    pub(super) fn close(self) {
        self.rules.replace(None);
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection.
pub(super) struct Accepted {
    pub(super) io: Box<dyn Stream>,
    pub(super) from: From,
    pub(super) rules: SharedRules,
}

/// The next connection, when there is room for one.
pub(super) async fn accept(site: Option<&Site>, permits: &Arc<Semaphore>) -> (Accepted, OwnedSemaphorePermit) {
    let Some(site) = site else { return std::future::pending().await };
    let Ok(permit) = permits.clone().acquire_owned().await else { return std::future::pending().await };
    loop {
        let accepted: io::Result<(Box<dyn Stream>, From)> = match &site.listener {
            Listener::Tcp(tcp) => {
                tcp.accept().await.map(|(io, peer)| (Box::new(io) as Box<dyn Stream>, From::Network(peer.ip())))
            }
            Listener::Unix(unix) => unix.accept().await.map(|(io, _)| (Box::new(io) as Box<dyn Stream>, From::Unix)),
        };
        match accepted {
            Ok((io, from)) => return (Accepted { io, from, rules: site.rules.clone() }, permit),
            // Out of descriptors, mostly: trying at once would spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
