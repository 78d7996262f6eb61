//! Starts the gateway's threads, and ends them.
//!
//! | thread | does |
//! |---|---|
//! | `torana` (main) | waits for signals, then drains |
//! | `torana-w0`… | workers: everything about requests |
//! | `torana-admin` | the admin interface |
//! | `torana-reload` | loads and compiles new configurations |
//! | `torana-watch` | notices changed files |
//! | `torana-log` | writes the access log |
//! | `torana-health` | probes endpoints |
//! | `torana-discovery` | asks DNS and reads files for endpoints that come and go |
//! | `torana-keys` | notices when the file of keys that were made changes or is gone |
//! | `torana-events` | tells of endpoints and breakers that change |
//! | `torana-upgrade` | hands the sockets to a new process |

mod accepting;
mod admin;
mod consumers;
mod descriptors;
mod discovery;
mod events;
mod heritage;
mod reload;
mod shared;
mod sockets;
mod upgrade;
mod worker;

use crate::terminal::Terminal;
use crate::wire;
use crate::wire::{Input, Keeper};
use discovery::Endpoints;
use heritage::{Heritage, Role};
use reload::Reloader;
use serde_json::json;
use shared::Shared;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use torana_control::admin::{Admin, Parts};
use torana_control::log_writer::{self, LogControl, Output};
use torana_control::notice;
use torana_control::providers::file::Watcher;
use torana_control::running::Report;
use torana_control::service_manager;
use torana_control::shutdown::{Drained, Pace, drain};
use torana_control::signals::{Asked, Signals};
use torana_control::status::Status;
use torana_control::supervisor::{Cause, Reloads, Supervisor};
use torana_net::accept::ConnectionCount;
use torana_net::listen::{Listener, bind_private};
use torana_net::spread::Spread;
use torana_plane::log::{LogBatch, LogSink};
use torana_plane::metrics::Metrics;
use torana_plane::plan::{LogOutput, Plan};
use torana_plane::swap::PlanCell;
use upgrade::Upgrades;
use worker::{Command, Common, Worker};

pub(crate) use heritage::Predecessor;
pub(crate) use upgrade::Successor;

/// What to run.
pub(crate) struct Options {
    /// The configuration.
    pub(crate) input: Input,
    /// Whether changed files are taken up.
    pub(crate) watch: bool,
    /// How it came to be, and who comes after it; `None`: nobody's business.
    pub(crate) succession: Option<Succession>,
}

/// What is before and after a gateway that does not stand alone.
pub(crate) struct Succession {
    /// Whom it takes over from.
    pub(crate) predecessor: Option<Predecessor>,
    /// Who can take over.
    pub(crate) successor: Successor,
}

/// A gateway that serves.
pub(crate) struct Gateway {
    /// The main thread's: for signals and draining.
    runtime: Rc<Runtime>,
    signals: Signals,
    shared: Arc<Shared>,
    status: Arc<Status>,
    workers: Vec<Worker>,
    log: LogControl,
    log_thread: JoinHandle<()>,
    admin: Admin,
    /// Where the admin interface is, for people.
    admin_at: Option<String>,
    reloads: Reloads,
    reload_thread: JoinHandle<()>,
    upgrades: Upgrades,
    taken_over: UnboundedReceiver<()>,
    successor: Option<Successor>,
}

/// Why a gateway cannot start; the texts are complete.
pub(crate) enum StartError {
    /// The configuration has errors.
    Config(Box<wire::Built>),
    /// The system does not give what is needed.
    System(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::System(error)
    }
}

/// How long idle connections stay when the gateway stops.
const IDLE_PATIENCE: Duration = Duration::from_millis(250);

/// The same when another process serves already: nobody waits for this one.
const IDLE_PATIENCE_TAKEN_OVER: Duration = Duration::from_secs(2);

/// How long the access log may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How long the process lives on after the second signal, at most: enough for workers to tell clients, and the log,
/// what they cut.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Gateway {
    /// Starts everything. Connections are accepted when this returns.
    ///
    /// # Errors
    /// The configuration is refused, or an address cannot be listened on.
    pub(crate) fn start(options: &Options, terminal: Terminal) -> Result<Gateway, StartError> {
        // First of all: until then a SIGHUP ends the process.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = runtime.block_on(async { Signals::listen() })?;
        // Before there are threads, as it demands.
        let mut heritage = match &options.succession {
            Some(succession) => Heritage::collect(succession.predecessor.as_ref())?,
            None => Heritage::default(),
        };
        descriptors::raise_limit();
        let since = SystemTime::now();
        let metrics = Metrics::new();
        let watch = events::watch(&metrics)?;
        let keeper = Keeper::default();
        let mut source = wire::OnDisk::new(options.input.clone());
        let mut built = source.build(None, &watch, &keeper);
        let Some(plan) = built.plan.take() else { return Err(StartError::Config(Box::new(built))) };
        terminal.error(&built.rendered(terminal.error_style()));
        let output = log_output(&plan);
        output.probe()?;
        let upgrade_socket = plan.upgrade_socket.clone().filter(|_| options.succession.is_some());
        let admin_opened = plan.admin.as_ref().map(|admin| admin::open(admin, &mut heritage)).transpose()?;
        let status = Status::new(report_of_start(&built, &plan));

        metrics.plan_in_force(&plan);
        let prober = events::prober()?;
        let count = worker_count(&plan);
        let cell = PlanCell::new(plan);
        // Before anybody connects: what can be known in time is known by the
        // first request.
        let endpoints = Endpoints::start(&cell, watch.clone(), prober)?;
        let (sink, batches) = LogSink::channel();
        let log = LogControl::new(output);
        let log_thread = log_thread(batches, &log, metrics.clone())?;
        let common = Common {
            cell,
            metrics,
            log: sink,
            connections: Arc::new(ConnectionCount::default()),
            accepting: Arc::default(),
        };
        let workers = workers(count, &common)?;
        let shared = shared_of(common, &workers, keeper)?;
        let admin_socket = listen(&shared, &mut heritage, admin_opened)?;
        let admin_at = admin_socket.as_ref().and_then(|(socket, _)| socket.shown());
        shared.note(&shared.common.cell.load(), &built, "start", None, false);

        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let parts =
            Parts { running: shared.clone(), status: status.clone(), reloads: reloads.clone(), version: version() };
        let admin = Admin::start(parts, admin_socket)?;
        let reloader = Reloader {
            source,
            shared: shared.clone(),
            log: log.clone(),
            admin: admin.place(),
            watch,
            endpoints,
            disk: built.loaded.clone(),
            files: built.files.clone(),
            is_pinned: false,
        };
        let watcher = options.watch.then(|| watcher(&reloads)).transpose()?;
        let reload_thread = supervisor.start(reloader, status.clone(), watcher, built.files, since)?;
        let (sender, taken_over) = unbounded_channel();
        let upgrades = Upgrades::new(shared.clone(), sender);
        if let Some(path) = upgrade_socket {
            listen_for_successors(&shared, &upgrades, path, &mut heritage)?;
        }
        // Last: from here on the gateway before accepts nothing.
        heritage.settle();
        Ok(Gateway {
            runtime: Rc::new(runtime),
            signals,
            shared,
            status,
            workers,
            log,
            log_thread,
            admin,
            admin_at,
            reloads,
            reload_thread,
            upgrades,
            taken_over,
            successor: options.succession.as_ref().map(|succession| succession.successor.clone()),
        })
    }

    /// What was started, for people.
    pub(crate) fn summary(&self) -> String {
        let plan = self.shared.common.cell.load();
        let sockets = self.shared.sockets();
        let mut text = String::new();
        for listener in &plan.listeners {
            let address = sockets.local_address(listener.id).unwrap_or_else(|| listener.address.to_string());
            let scheme = if listener.listening.tls.is_some() { "https" } else { "http" };
            let shown = if address.starts_with("unix:") { address } else { format!("{scheme}://{address}") };
            text.push_str(&format!("listening on {shown}\n"));
        }
        match &self.admin_at {
            Some(address) => text.push_str(&format!("admin at {address}\n")),
            None => text.push_str("no admin interface\n"),
        }
        let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        text.push_str(&format!(
            "{}, {}, {}; revision {} (checksum {})",
            count(plan.routes.len(), "route"),
            count(plan.upstreams.len(), "upstream"),
            count(self.workers.len(), "worker"),
            plan.revision,
            plan.checksum
        ));
        text
    }

    /// Serves until a signal, or `exit_after`, then drains.
    pub(crate) fn run(mut self, exit_after: Option<Duration>) -> ExitCode {
        let runtime = self.runtime.clone();
        let drained = runtime.block_on(async {
            let end = self.serve(exit_after).await;
            // Before it is said: whoever reads it may ask.
            self.status.drain();
            let pace = match end {
                End::Stop => {
                    service_manager::stopping();
                    notice::say("stopping: connections end after their current request; once more stops at once");
                    let pace = self.pace();
                    let stragglers = self.shared.sockets().stop_deferring();
                    Pace { readiness_delay: pace.readiness_delay.max(stragglers), ..pace }
                }
                End::TakenOver => {
                    // First, so that whoever reads what is said finds the other one.
                    self.admin.place().leave().await;
                    notice::say("another process serves now: connections end here after their current request");
                    // Whoever asks whether we are ready asks the other one.
                    Pace { readiness_delay: Duration::ZERO, idle_patience: IDLE_PATIENCE_TAKEN_OVER, ..self.pace() }
                }
            };
            tokio::select! {
                drained = drain(&*self.shared, &self.status, pace) => Some(drained),
                () = stop_signal(&mut self.signals) => None,
            }
        });
        match drained {
            Some(Drained::Clean) => {}
            Some(Drained::Cut(count)) => notice::warn(&format!("connections cut after the drain timeout: {count}")),
            None => {
                // For a thread that hangs: no signal would end the process any more.
                let _ = std::thread::Builder::new().name("at-once".to_owned()).spawn(|| {
                    std::thread::sleep(AT_ONCE);
                    notice::warn("stopped at once, although something has not ended");
                    std::process::exit(1);
                });
                self.stop();
                notice::warn("stopped at once");
                return ExitCode::FAILURE;
            }
        }
        self.stop();
        notice::say("stopped");
        ExitCode::SUCCESS
    }

    /// Does what signals ask for, until one asks for the end, another process
    /// has taken over, or it is time.
    async fn serve(&mut self, exit_after: Option<Duration>) -> End {
        let time = async {
            match exit_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let mut time = std::pin::pin!(time);
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Reload => self.reloads.request(Cause::Signal),
                    Asked::Reopen => self.log.reopen(),
                    Asked::Upgrade => match &self.successor {
                        Some(successor) => self.upgrades.start_successor(successor),
                        None => notice::warn("nothing can take over from a demo"),
                    },
                    Asked::Stop(_) => return End::Stop,
                },
                Some(()) = self.taken_over.recv() => return End::TakenOver,
                () = &mut time => return End::Stop,
            }
        }
    }

    fn pace(&self) -> Pace {
        let shutdown = self.shared.common.cell.load().shutdown;
        Pace {
            readiness_delay: shutdown.readiness_delay,
            idle_patience: IDLE_PATIENCE,
            drain_timeout: shutdown.drain_timeout,
        }
    }

    /// Ends every thread, whatever is open.
    fn stop(self) {
        self.reloads.stop();
        self.shared.send(|| Command::Stop);
        for worker in self.workers {
            // A panic was reported when it happened.
            let _ = worker.thread.join();
        }
        // The workers' log sinks are gone, so the writer ends when it has
        // written what there is, unless nobody reads it.
        let until = Instant::now() + LOG_PATIENCE;
        while !self.log_thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.admin.stop();
        // A reload under way is not waited for: it can change nothing any more.
        drop(self.reload_thread);
    }
}

/// Why serving ended.
enum End {
    Stop,
    TakenOver,
}

async fn stop_signal(signals: &mut Signals) {
    while !matches!(signals.next().await, Asked::Stop(_)) {}
}

fn shared_of(common: Common, workers: &[Worker], keeper: Keeper) -> io::Result<Arc<Shared>> {
    consumers::watch(&keeper)?;
    let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
    Ok(Arc::new(Shared::new(Common { log: LogSink::none(), ..common }, commands, keeper)))
}

/// Listens everywhere; answers what the admin interface serves on.
fn listen(
    shared: &Shared,
    heritage: &mut Heritage,
    admin: Option<admin::Opened>,
) -> io::Result<Option<(torana_control::admin::Socket, torana_control::admin::Rules)>> {
    let plan = shared.common.cell.load();
    let mut sockets = shared.sockets();
    let prepared = sockets.prepare(&plan, shared.workers.len(), heritage)?;
    sockets.apply(&plan, prepared, &shared.workers);
    Ok(admin::serving(admin, &mut sockets))
}

fn listen_for_successors(
    shared: &Shared,
    upgrades: &Upgrades,
    path: PathBuf,
    heritage: &mut Heritage,
) -> io::Result<()> {
    let socket = match heritage.claim(Role::Upgrade(&path)).pop() {
        Some(Listener::Unix(unix)) => unix,
        _ => bind_private(&path)?,
    };
    shared.sockets().set_upgrade(path, Listener::Unix(socket.try_clone()?));
    upgrades.listen(socket)
}

fn watcher(reloads: &Reloads) -> io::Result<Watcher> {
    let reloads = reloads.clone();
    Watcher::start(move || reloads.request(Cause::Files))
}

fn report_of_start(built: &wire::Built, plan: &Plan) -> Report {
    Report {
        accepted: true,
        revision: plan.revision,
        checksum: plan.checksum.to_string(),
        changed: true,
        text: built.rendered(torana_config::report::Style::Plain),
        diagnostics: built.to_json(),
        files: built.files.clone(),
        ..Report::default()
    }
}

fn workers(count: usize, common: &Common) -> io::Result<Vec<Worker>> {
    let arrivals = Spread::among(count).into_iter().enumerate();
    arrivals.map(|(index, arrivals)| Worker::start(index, arrivals, common.clone())).collect()
}

/// As many as were asked for, or as there are cores this process may use.
fn worker_count(plan: &Plan) -> usize {
    plan.workers.map_or_else(
        || std::thread::available_parallelism().map_or(1, NonZero::get),
        |workers| usize::try_from(workers).unwrap_or(1),
    )
}

fn log_output(plan: &Plan) -> Output {
    match plan.access_log.as_ref().map(|log| &log.output) {
        None => Output::Off,
        Some(LogOutput::Stdout) => Output::Stdout,
        Some(LogOutput::Stderr) => Output::Stderr,
        Some(LogOutput::File(path)) => Output::File(path.clone()),
    }
}

fn log_thread(batches: Receiver<LogBatch>, log: &LogControl, metrics: Arc<Metrics>) -> io::Result<JoinHandle<()>> {
    log_writer::start(batches, lines, log.clone(), move |count| metrics.log_lines_lost(count))
}

fn lines(batch: &LogBatch) -> (&[u8], u64) {
    (&batch.text, batch.lines)
}

/// What runs, for `/version` and `torana version`.
pub(crate) fn version() -> serde_json::Value {
    json!({
        "name": "torana",
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}
