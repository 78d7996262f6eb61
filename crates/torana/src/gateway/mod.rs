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
//! | `torana-events` | tells of endpoints and breakers that change |

mod accepting;
mod admin;
mod descriptors;
mod discovery;
mod events;
mod reload;
mod shared;
mod sockets;
mod worker;

use crate::terminal::Terminal;
use crate::wire;
use discovery::Endpoints;
use reload::Reloader;
use serde_json::json;
use shared::Shared;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use torana_control::admin::{Admin, Parts};
use torana_control::log_writer::{self, LogControl, Output};
use torana_control::notice;
use torana_control::providers::file::Watcher;
use torana_control::running::Report;
use torana_control::shutdown::{Drained, Pace, drain};
use torana_control::signals::{Asked, Signals};
use torana_control::status::Status;
use torana_control::supervisor::{Cause, Reloads, Supervisor};
use torana_net::accept::ConnectionCount;
use torana_plane::log::{LogBatch, LogSink};
use torana_plane::metrics::Metrics;
use torana_plane::plan::{LogOutput, Plan};
use torana_plane::swap::PlanCell;
use worker::{Command, Common, Worker};

/// What to run.
pub(crate) struct Options {
    /// The configuration.
    pub(crate) path: PathBuf,
    /// Whether changed files are taken up.
    pub(crate) watch: bool,
}

/// A gateway that serves.
pub(crate) struct Gateway {
    /// The main thread's: for signals and draining.
    runtime: Runtime,
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

/// How long the access log may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

impl Gateway {
    /// Starts everything. Connections are accepted when this returns.
    ///
    /// # Errors
    /// The configuration is refused, or an address cannot be listened on.
    pub(crate) fn start(options: &Options, terminal: Terminal) -> Result<Gateway, StartError> {
        // First of all: until then a SIGHUP ends the process.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = runtime.block_on(async { Signals::listen() })?;
        descriptors::raise_limit();
        let since = SystemTime::now();
        let metrics = Metrics::new();
        let watch = events::watch(&metrics)?;
        let mut built = wire::build(&options.path, None, &watch);
        let Some(plan) = built.plan.take() else { return Err(StartError::Config(Box::new(built))) };
        terminal.error(&built.rendered(terminal.error_style()));
        let count = worker_count(&plan);
        let output = log_output(&plan);
        output.probe()?;
        let admin_socket = plan.admin.as_ref().map(admin::open).transpose()?;
        let admin_at = admin_socket.as_ref().and_then(|(socket, _)| socket.shown());
        let report = report_of_start(&built, &plan);
        let files = report.files.clone();
        let status = Status::new(report);

        metrics.plan_in_force(&plan);
        let prober = events::prober()?;
        let cell = PlanCell::new(plan);
        // Before anybody connects: what can be known in time is known by the
        // first request.
        let endpoints = Endpoints::start(&cell, watch.clone(), prober)?;
        let (sink, batches) = LogSink::channel();
        let log = LogControl::new(output);
        let lost = metrics.clone();
        let log_thread = log_writer::start(batches, lines, log.clone(), move |count| lost.log_lines_lost(count))?;
        let common = Common {
            cell,
            metrics,
            log: sink,
            connections: Arc::new(ConnectionCount::default()),
            accepting: Arc::default(),
        };
        let workers = (0..count).map(|index| Worker::start(index, common.clone())).collect::<io::Result<Vec<_>>>()?;
        let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
        let shared = Arc::new(Shared::new(Common { log: LogSink::none(), ..common }, commands));
        listen(&shared)?;
        shared.note(&shared.common.cell.load(), &built, "start", None, false);

        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let parts =
            Parts { running: shared.clone(), status: status.clone(), reloads: reloads.clone(), version: version() };
        let admin = Admin::start(parts, admin_socket)?;
        let reloader = Reloader {
            path: options.path.clone(),
            shared: shared.clone(),
            log: log.clone(),
            admin: admin.place(),
            watch,
            endpoints,
            disk: built.loaded.clone(),
            files: files.clone(),
            is_pinned: false,
        };
        let watcher = options.watch.then(|| watcher(&reloads)).transpose()?;
        let reload_thread = supervisor.start(reloader, status.clone(), watcher, files, since)?;
        Ok(Gateway {
            runtime,
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
        let Gateway { runtime, signals, shared, status, log, reloads, .. } = &mut self;
        let drained = runtime.block_on(async {
            serve(signals, log, reloads, exit_after).await;
            let shutdown = shared.common.cell.load().shutdown;
            let pace = Pace { readiness_delay: shutdown.readiness_delay, drain_timeout: shutdown.drain_timeout };
            status.drain();
            notice::say("stopping: connections end after their current request; once more stops at once");
            tokio::select! {
                drained = drain(&**shared, status, pace) => Some(drained),
                () = stop_signal(signals) => None,
            }
        });
        match drained {
            Some(Drained::Clean) => {}
            Some(Drained::Cut(count)) => notice::warn(&format!("connections cut after the drain timeout: {count}")),
            None => {
                notice::warn("stopped at once");
                return ExitCode::FAILURE;
            }
        }
        self.stop();
        notice::say("stopped");
        ExitCode::SUCCESS
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

/// Does what signals ask for, until one asks for the end or it is time.
async fn serve(signals: &mut Signals, log: &LogControl, reloads: &Reloads, exit_after: Option<Duration>) {
    let end = async {
        match exit_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => reloads.request(Cause::Signal),
                Asked::Reopen => log.reopen(),
                Asked::Stop(_) => return,
            },
            () = &mut end => return,
        }
    }
}

async fn stop_signal(signals: &mut Signals) {
    while !matches!(signals.next().await, Asked::Stop(_)) {}
}

fn listen(shared: &Shared) -> io::Result<()> {
    let plan = shared.common.cell.load();
    let mut sockets = shared.sockets();
    let prepared = sockets.prepare(&plan, shared.workers.len())?;
    sockets.apply(&plan, prepared, &shared.workers);
    Ok(())
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
