//! The admin interface: health, metrics, what is running, reload.
//!
//! On a thread and a runtime of its own, so that a scrape never waits for
//! traffic nor traffic for a scrape. It has no login yet, so it listens on
//! loopback only (the configuration refuses anything else) and [`guard`]
//! refuses what a browser could be tricked into sending and what came through
//! a proxy, this gateway included.

mod answer;
mod guard;
mod pages;

use crate::notice;
use crate::running::Running;
use crate::status::Status;
use crate::supervisor::Reloads;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// A socket to serve on, listening already.
#[derive(Debug)]
pub enum Socket {
    /// TCP, non-blocking.
    Tcp(std::net::TcpListener),
    /// Unix, non-blocking.
    Unix(std::os::unix::net::UnixListener),
}

/// What the pages are made of.
pub struct Parts {
    /// The gateway.
    pub running: Arc<dyn Running>,
    /// How it is doing.
    pub status: Arc<Status>,
    /// Where reloads are asked for.
    pub reloads: Reloads,
    /// What `/version` says: name, version and whatever identifies the build.
    pub version: serde_json::Value,
}

/// The running admin interface. It serves until this is dropped.
pub struct Admin {
    sockets: mpsc::UnboundedSender<Option<Socket>>,
    thread: Option<JoinHandle<()>>,
}

/// Connections at the same time: probes and scrapes, and a few people.
const MOST_CONNECTIONS: usize = 64;

/// For a request's head, and for how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest head.
const HEAD_BYTES: usize = 16 * 1024;

impl Admin {
    /// Starts to serve on `socket`; without one, nowhere for now.
    ///
    /// # Errors
    /// No thread or no runtime can be started.
    pub fn start(parts: Parts, socket: Option<Socket>) -> io::Result<Admin> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sockets, wanted) = mpsc::unbounded_channel();
        let admin = Admin { sockets, thread: None };
        admin.serve_on(socket);
        let run = move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(Rc::new(parts), wanted));
        };
        let thread = std::thread::Builder::new().name("torana-admin".to_owned()).spawn(run)?;
        Ok(Admin { thread: Some(thread), ..admin })
    }

    /// Serves on another socket from now on, or nowhere. Open connections go on.
    pub fn serve_on(&self, socket: Option<Socket>) {
        // The thread ends only with this value.
        let _ = self.sockets.send(socket);
    }

    /// Stops serving and waits for the thread, which waits for nobody.
    pub fn stop(mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.sockets = closed;
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked with anything left to clean up.
            let _ = thread.join();
        }
    }
}

async fn run(parts: Rc<Parts>, mut wanted: mpsc::UnboundedReceiver<Option<Socket>>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut listener = None;
    loop {
        tokio::select! {
            socket = wanted.recv() => match socket {
                None => return,
                Some(None) => listener = None,
                Some(Some(socket)) => match Listener::new(socket) {
                    Ok(new) => listener = Some(new),
                    Err(error) => notice::warn(&format!("the admin interface cannot be served: {error}")),
                },
            },
            // Before accepting: a connection that has to wait does so in the
            // kernel's queue.
            (io, is_unix, permit) = accept(listener.as_ref(), &permits) => {
                let parts = parts.clone();
                connections.spawn_local(async move {
                    serve(io, is_unix, parts).await;
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Listener> {
        match socket {
            Socket::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(Listener::Tcp),
            Socket::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(Listener::Unix),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

type Accepted = (Box<dyn Stream>, bool, tokio::sync::OwnedSemaphorePermit);

/// The next connection, when there is room for one.
async fn accept(listener: Option<&Listener>, permits: &Arc<Semaphore>) -> Accepted {
    let Some(listener) = listener else { return std::future::pending().await };
    let Ok(permit) = permits.clone().acquire_owned().await else { return std::future::pending().await };
    loop {
        let accepted: io::Result<(Box<dyn Stream>, bool)> = match listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(io, _)| (Box::new(io) as Box<dyn Stream>, false)),
            Listener::Unix(unix) => unix.accept().await.map(|(io, _)| (Box::new(io) as Box<dyn Stream>, true)),
        };
        match accepted {
            Ok((io, is_unix)) => return (io, is_unix, permit),
            // Out of descriptors, mostly: trying at once would spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(io: Box<dyn Stream>, is_unix: bool, parts: Rc<Parts>) {
    let service = service_fn(move |request| {
        let parts = parts.clone();
        async move { Ok::<_, Infallible>(pages::answer(request, is_unix, &parts).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(64)
        .serve_connection(TokioIo::new(io), service);
    // What goes wrong on one connection is that client's to notice.
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
