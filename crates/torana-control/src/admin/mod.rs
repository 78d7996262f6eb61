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

impl Socket {
    /// Where it listens, as people reach it: a URL, or `unix:` and a path.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Socket::Tcp(tcp) => tcp.local_addr().ok().map(|address| format!("http://{address}/")),
            Socket::Unix(unix) => unix.local_addr().ok()?.as_pathname().map(|path| format!("unix:{}", path.display())),
        }
    }
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

/// The running admin interface.
pub struct Admin {
    place: Place,
    thread: JoinHandle<()>,
}

/// Decides where the admin interface is served.
#[derive(Clone)]
pub struct Place(mpsc::UnboundedSender<Message>);

enum Message {
    /// Serve here, or nowhere.
    Serve(Option<Socket>),
    Stop,
}

impl Place {
    /// Serves on another socket from now on, or nowhere. Open connections go on.
    pub fn serve_on(&self, socket: Option<Socket>) {
        // A stopped interface needs no socket.
        let _ = self.0.send(Message::Serve(socket));
    }
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
        let (sender, messages) = mpsc::unbounded_channel();
        let place = Place(sender);
        place.serve_on(socket);
        let run = move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(Rc::new(parts), messages));
        };
        let thread = std::thread::Builder::new().name("torana-admin".to_owned()).spawn(run)?;
        Ok(Admin { place, thread })
    }

    /// Where to say where it is served.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Stops serving and waits for the thread, which waits for nobody.
    pub fn stop(self) {
        let _ = self.place.0.send(Message::Stop);
        // A panic has been reported already, and there is nothing to clean up.
        let _ = self.thread.join();
    }
}

async fn run(parts: Rc<Parts>, mut messages: mpsc::UnboundedReceiver<Message>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut listener = None;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                None | Some(Message::Stop) => return,
                Some(Message::Serve(None)) => listener = None,
                Some(Message::Serve(Some(socket))) => match Listener::new(socket) {
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
