//! One worker: a thread with its own runtime, sockets, connections and pools.

use super::accepting::Accepting;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task;
use tokio::time::MissedTickBehavior;
use torana_control::notice;
use torana_net::accept::{self, ConnectionCount, Hall, Moved, accept};
use torana_net::accept_queue::AcceptQueue;
use torana_net::listen;
use torana_net::service::ListenerId;
use torana_net::spread::Arrivals;
use torana_net::{date, drain, timer};
use torana_plane::log::LogSink;
use torana_plane::metrics::Metrics;
use torana_plane::swap::PlanCell;
use torana_plane::worker::WorkerPlane;
use torana_upstream::forward::Upstreams;

/// What a worker is told.
pub(crate) enum Command {
    /// Accept connections on a socket, which has this number.
    Listen { socket: u64, id: ListenerId, listener: listen::Listener },
    /// Stop accepting on it.
    Unlisten { socket: u64 },
    /// Accept no more connections and end the open ones: idle ones after
    /// `patience`, tunnels after `grace`.
    Drain { patience: Duration, grace: Duration },
    /// End what is open, and then yourself.
    Stop,
}

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: LogSink,
    pub(crate) connections: Arc<ConnectionCount>,
    /// Workers that may still accept connections.
    pub(crate) accepting: Arc<AtomicU32>,
}

/// A worker's thread.
pub(crate) struct Worker {
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) thread: JoinHandle<()>,
}

/// How long exchanges that are cut may take for their last words, which sockets mostly take at once.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How often to look whether all have.
const LAST_LOOK: Duration = Duration::from_millis(2);

/// Housekeeping comes every so many ticks: about ten times a second.
const TICKS_PER_HOUSEKEEPING: u32 = 2;

impl Worker {
    /// Starts worker number `index`.
    ///
    /// # Errors
    /// No thread or no runtime can be started.
    pub(crate) fn start(index: usize, arrivals: Arrivals<Moved>, common: Common) -> io::Result<Worker> {
        let (sender, commands) = unbounded_channel();
        common.accepting.fetch_add(1, Ordering::Relaxed);
        let (started, result) = std::sync::mpsc::sync_channel(1);
        let run = move || {
            let _watch = Deadman;
            // The runtime is bound to the thread it is built on.
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(run(commands, arrivals, common));
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name(format!("torana-w{index}")).spawn(run)?;
        result.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended at once")))?;
        Ok(Worker { commands: sender, thread })
    }
}

/// Ends the process if its thread panics.
///
/// A panic in an exchange stays there. One that gets as far as the worker's own
/// loop leaves sockets on which connections pile up unanswered: whoever
/// restarts processes can help then, and nobody else.
struct Deadman;

impl Drop for Deadman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            notice::warn("a worker has failed; the gateway ends");
            std::process::exit(1);
        }
    }
}

async fn run(mut commands: UnboundedReceiver<Command>, mut arrivals: Arrivals<Moved>, common: Common) {
    let plane = WorkerPlane::new(&common.cell, &Upstreams::default(), &common.metrics, common.log.clone());
    let plane = Rc::new(plane);
    let hall = Hall::new(plane.clone(), common.connections.clone(), &arrivals);
    let mut sockets = Sockets { hall, common, accepting: HashMap::new() };
    let mut tick = tokio::time::interval(timer::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                timer::sweep(Instant::now());
                date::refresh(SystemTime::now());
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(TICKS_PER_HOUSEKEEPING) {
                    plane.housekeeping();
                }
            }
            moved = arrivals.next() => sockets.hall.arrive(moved),
            command = commands.recv() => match command {
                Some(Command::Listen { socket, id, listener }) => sockets.listen(socket, id, listener),
                Some(Command::Unlisten { socket }) => sockets.unlisten(socket).await,
                Some(Command::Drain { patience, grace }) => sockets.drain(patience, grace).await,
                Some(Command::Stop) | None => return sockets.cut().await,
            },
        }
    }
}

/// What the worker accepts connections on.
struct Sockets {
    hall: Rc<Hall<WorkerPlane<Upstreams>>>,
    common: Common,
    /// By number. One that was handed over by a process with more workers may
    /// be several.
    accepting: HashMap<u64, Vec<Accepting>>,
}

impl Sockets {
    fn listen(&mut self, socket: u64, id: ListenerId, listener: listen::Listener) {
        let result = listener.try_clone().and_then(|probe| {
            let listener = match listener {
                listen::Listener::Tcp(tcp) => accept::Listener::Tcp(AcceptQueue::new(tcp)?),
                listen::Listener::Unix(unix) => accept::Listener::Unix(tokio::net::UnixListener::from_std(unix)?),
            };
            let accepting = accept(listener, id, self.hall.clone());
            self.accepting.entry(socket).or_default().push(Accepting::start(probe, accepting));
            Ok(())
        });
        if let Err(error) = result {
            notice::warn(&format!("a worker cannot accept connections: {error}"));
        }
    }

    async fn unlisten(&mut self, socket: u64) {
        for accepting in self.accepting.remove(&socket).into_iter().flatten() {
            accepting.finish().await;
        }
    }

    /// Ends what is in progress, and gives it a moment to say so.
    async fn cut(&self) {
        drain::cut();
        let until = Instant::now() + LAST_WORDS;
        while self.common.connections.open() > 0 && Instant::now() < until {
            tokio::time::sleep(LAST_LOOK).await;
        }
    }

    async fn drain(&mut self, patience: Duration, grace: Duration) {
        for accepting in self.accepting.drain().flat_map(|(_, all)| all) {
            accepting.finish().await;
        }
        self.common.accepting.fetch_sub(1, Ordering::Release);
        drain::announce();
        task::spawn_local(async move {
            tokio::time::sleep(patience).await;
            drain::begin(grace.saturating_sub(patience));
        });
    }
}
