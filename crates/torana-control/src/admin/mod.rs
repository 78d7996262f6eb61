//! The admin interface: health, metrics, what is running, reload.
//!
//! On a thread and a runtime of its own, so that a scrape never waits for
//! traffic nor traffic for a scrape. [`guard`] refuses requests without the
//! token where there is one (there has to be one off loopback: the
//! configuration sees to it), what a browser could be tricked into sending,
//! and what came through a proxy, this gateway included.

mod answer;
mod guard;
mod openapi;
mod paced;
mod pages;
mod refusals;
mod routes;
mod site;

use crate::notice;
use crate::priority::lower_priority;
use crate::running::Running;
use crate::status::Status;
use crate::supervisor::Reloads;
use guard::From;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use paced::Paced;
use refusals::Refusals;
use site::{Accepted, SharedRules, Site, Stream, accept};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
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

/// Who may ask.
pub struct Rules {
    /// Whether only this machine can connect.
    pub is_local: bool,
    /// Whether this is the token; `None`: none is asked for. It should take as
    /// long for every wrong one.
    pub token: Option<TokenCheck>,
    /// Names the interface answers to, besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
}

/// Judges a token that was shown.
pub type TokenCheck = Box<dyn Fn(&[u8]) -> bool + Send>;

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
    Serve(Option<(Socket, Rules)>),
    /// Say when all before this is done.
    Tell(oneshot::Sender<()>),
    /// From now on these are the rules where it is served.
    Judge(Rules),
    Stop,
}

impl Place {
    /// Serves on another socket from now on, or nowhere. Open connections get
    /// the reply they wait for and no other.
    pub fn serve_on(&self, socket: Option<(Socket, Rules)>) {
        // A stopped interface needs no socket.
        let _ = self.0.send(Message::Serve(socket));
    }

    /// Serves nowhere from now on; over when nothing is accepted any more.
    pub async fn leave(&self) {
        self.serve_on(None);
        let (tell, done) = oneshot::channel();
        let _ = self.0.send(Message::Tell(tell));
        // An interface that has stopped accepts nothing either.
        let _ = done.await;
    }

    /// Goes on serving under other rules, on open connections too.
    pub fn judge_by(&self, rules: Rules) {
        let _ = self.0.send(Message::Judge(rules));
    }
}

/// The other end of a connection, and what is needed to answer it.
struct Client {
    from: From,
    rules: SharedRules,
    parts: Rc<Parts>,
    refusals: Rc<Refusals>,
}

/// Connections at the same time: probes and scrapes, and a few people.
const MOST_CONNECTIONS: usize = 64;

/// For a request's head, and for how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take nothing of what it asked for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest head.
const HEAD_BYTES: usize = 16 * 1024;

impl Admin {
    /// Starts to serve on `socket`; without one, nowhere for now.
    ///
    /// # Errors
    /// No thread or no runtime can be started.
    pub fn start(parts: Parts, socket: Option<(Socket, Rules)>) -> io::Result<Admin> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, messages) = mpsc::unbounded_channel();
        let place = Place(sender);
        place.serve_on(socket);
        let run = move || {
            // A scrape of ten thousand routes is work for many milliseconds.
            lower_priority();
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
    let refusals = Rc::new(Refusals::default());
    let mut connections = JoinSet::new();
    let mut site: Option<Site> = None;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                None | Some(Message::Stop) => return,
                Some(Message::Serve(socket)) => {
                    if let Some(old) = site.take() {
                        old.close();
                    }
                    site = socket.and_then(|(socket, rules)| Site::new(socket, rules));
                }
                Some(Message::Tell(tell)) => {
                    let _ = tell.send(());
                }
                Some(Message::Judge(rules)) => {
                    if let Some(site) = &site {
                        site.judge_by(rules);
                    }
                }
            },
            // Before accepting: a connection that has to wait does so in the
            // kernel's queue.
            (accepted, permit) = accept(site.as_ref(), &permits) => {
                let Accepted { io, from, rules } = accepted;
                let client = Client { from, rules, parts: parts.clone(), refusals: refusals.clone() };
                connections.spawn_local(async move {
                    serve(io, client, WRITE_TIMEOUT).await;
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(io: Box<dyn Stream>, client: Client, patience: Duration) {
    let client = Rc::new(client);
    let of_service = client.clone();
    let service = service_fn(move |request| {
        let client = of_service.clone();
        async move { Ok::<_, Infallible>(pages::answer(request, &client).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(64)
        .serve_connection(TokioIo::new(Paced::new(io, patience)), service);
    // What else goes wrong on one connection is that client's to notice.
    if let Err(error) = connection.await
        && is_given_up(&error)
    {
        client.parts.running.admin_refused(GIVEN_UP);
        if let Some(line) = client.refusals.line(GIVEN_UP, client.from, Instant::now()) {
            notice::warn(&line);
        }
    }
}

/// The code of clients that took nothing for too long.
const GIVEN_UP: &str = "admin.write_timeout";

fn is_given_up(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
