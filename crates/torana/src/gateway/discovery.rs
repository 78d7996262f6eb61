//! Endpoints that come and go: asks for them beside the requests, and puts
//! plans in force that have them.

use super::events;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use torana_control::notice;
use torana_control::providers::file::Watcher;
use torana_plane::compile::endpoints_of_file;
use torana_plane::plan::Plan;
use torana_plane::swap::PlanCell;
use torana_upstream::discover::{Discovery, Kind, MOST_ENDPOINTS, Notice, Source, Told, discovery};
use torana_upstream::health::probe::Prober;
use torana_upstream::state::Watch;

/// How long a start or a reload waits for sources that are new. Then it goes on
/// without: their endpoints come when they come.
const PATIENCE: Duration = Duration::from_secs(2);

/// The one place that puts plans in force: those that were configured, and
/// those with other endpoints. One after the other, so that none is lost.
pub(super) struct Endpoints {
    cell: Arc<PlanCell>,
    watch: Watch,
    prober: Prober,
    discovery: Discovery,
    /// Of files that list endpoints; started with the first of them.
    files: Mutex<Option<Watcher>>,
    turn: Mutex<()>,
}

impl Endpoints {
    /// Puts the plan in `cell` in force and starts the thread that asks for its
    /// endpoints. When this returns, those are there that could be had in time.
    ///
    /// # Errors
    /// No thread or no runtime can be started.
    pub(super) fn start(cell: &Arc<PlanCell>, watch: Watch, prober: Prober) -> io::Result<Arc<Endpoints>> {
        let (asking, discovering) = discovery(endpoints_of_file);
        let endpoints = Arc::new(Endpoints {
            cell: Arc::clone(cell),
            watch,
            prober,
            discovery: asking,
            files: Mutex::default(),
            turn: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let told = Arc::clone(&endpoints);
        let run = move || runtime.block_on(discovering.run(|notice| told.hear(notice)));
        thread::Builder::new().name("torana-discovery".into()).spawn(run)?;
        let plan = cell.load();
        events::adopt(&endpoints.prober, &plan);
        endpoints.follow(&plan);
        endpoints.prepare(&plan);
        endpoints.refresh();
        Ok(endpoints)
    }

    /// Asks what `plan` wants to know and nobody has asked yet.
    pub(super) fn prepare(&self, plan: &Plan) {
        self.discovery.prepare(plan.sources().cloned(), PATIENCE);
    }

    /// Puts `plan` in force, with the endpoints that are known by now.
    pub(super) fn put_in_force(&self, plan: Plan) -> Arc<Plan> {
        let turn = self.turn();
        let plan = plan.rediscovered(&self.watch, Instant::now()).unwrap_or(plan);
        let plan = self.swap(plan);
        drop(turn);
        self.follow(&plan);
        plan
    }

    /// The plan that was prepared is not going to be in force.
    pub(super) fn stay(&self) {
        self.follow(&self.cell.load());
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // There is nothing in it that a panic could have left half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, plan: Plan) -> Arc<Plan> {
        self.cell.swap(plan);
        let plan = self.cell.load();
        events::adopt(&self.prober, &plan);
        plan
    }

    /// Takes up what sources have found.
    fn refresh(&self) {
        let _turn = self.turn();
        if let Some(plan) = self.cell.load().rediscovered(&self.watch, Instant::now()) {
            self.swap(plan);
        }
    }

    /// Asks for the endpoints of `plan` and nothing else.
    fn follow(&self, plan: &Plan) {
        let since = SystemTime::now();
        self.discovery.follow(plan.sources().cloned());
        let file = |source: &Arc<Source>| match &source.spec().kind {
            Kind::File { path, .. } => Some(path.clone()),
            Kind::Dns(_) => None,
        };
        let files: Vec<PathBuf> = plan.sources().filter_map(file).collect();
        let mut watcher = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_none() && !files.is_empty() {
            let discovery = self.discovery.clone();
            match Watcher::start(move || discovery.look()) {
                Ok(started) => *watcher = Some(started),
                // They are read every few seconds all the same.
                Err(error) => notice::warn(&format!("cannot watch lists of endpoints: {error}")),
            }
        }
        if let Some(watcher) = &*watcher {
            watcher.watch(files, since);
        }
    }

    fn hear(&self, notice: Notice<'_>) {
        let Notice::Asked(source, told) = notice else { return self.refresh() };
        let snapshot = source.snapshot(Instant::now());
        let whose = format!("upstream {}: {}", source.upstream(), snapshot.name);
        let Told { changed, failing, back, left_out } = told;
        if failing {
            let error = snapshot.error.map(|(error, _)| error).unwrap_or_default();
            let known = match snapshot.endpoints {
                0 => "no endpoint is known of it".to_owned(),
                count => format!("endpoints stay as they were ({count})"),
            };
            notice::warn(&format!("{whose} fails: {error}; {known}"));
        }
        if back {
            notice::say(&format!("{whose} answers again"));
        }
        if left_out > 0 {
            notice::warn(&format!(
                "{whose}: entries left out: {left_out}; at most {MOST_ENDPOINTS} endpoints are taken of one answer, \
                 and none that cannot be one"
            ));
        }
        if changed {
            notice::say(&format!("{whose} has {} endpoints now", snapshot.endpoints));
            self.refresh();
        }
    }
}
