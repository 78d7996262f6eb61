//! The running gateway as the control plane sees it.

use super::consumers;
use super::sockets::Sockets;
use super::worker::{Command, Common};
use crate::show;
use crate::wire::{self, Built, Keeper};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::UnboundedSender;
use torana_config::Loaded;
use torana_control::revisions::{History, Listed, Revision};
use torana_control::running::{ConsumerAsk, ConsumerProblem, Done, Drain, NotDone, NotThere, Operation, Running};
use torana_core::pace::{in_steps, step};
use torana_plane::explain::{Question, explain_running};
use torana_plane::metrics::{Standings, exposition};
use torana_plane::plan::Plan;

/// What the admin interface, reloads and shutdown have in common.
pub(crate) struct Shared {
    pub(crate) common: Common,
    pub(crate) workers: Vec<UnboundedSender<Command>>,
    sockets: Mutex<Sockets>,
    history: Mutex<History<Arc<Loaded>>>,
    /// Who keeps keys that are made.
    pub(crate) keeper: Keeper,
}

impl Shared {
    pub(crate) fn new(common: Common, workers: Vec<UnboundedSender<Command>>, keeper: Keeper) -> Shared {
        Shared { common, workers, sockets: Mutex::default(), history: Mutex::default(), keeper }
    }

    pub(crate) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        // Sockets are taken over one by one; a panic in between loses none.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was in force, and what it takes to put it in force again.
    pub(crate) fn history(&self) -> MutexGuard<'_, History<Arc<Loaded>>> {
        // Changed at one place, which does not panic half way.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `plan`, made of what `built` has loaded, is in force.
    pub(crate) fn note(&self, plan: &Plan, built: &Built, cause: &'static str, from: Option<u64>, is_same: bool) {
        let revision = Revision {
            id: plan.revision,
            at: SystemTime::now(),
            cause,
            from,
            checksum: plan.checksum.to_string(),
            documents: built.documents(),
        };
        // Before anybody may wait for the list.
        step();
        let most = plan.admin.as_ref().map_or(1, |admin| usize::try_from(admin.revisions).unwrap_or(usize::MAX));
        self.history().note(revision, built.loaded.clone(), is_same, most);
    }

    pub(crate) fn send(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has ended needs no command.
            let _ = worker.send(command());
        }
    }
}

/// A request somebody asks about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default = "this_machine")]
    client: IpAddr,
}

fn this_machine() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

impl Running for Shared {
    fn config(&self) -> Value {
        // Made when somebody looks: of a large configuration that is a sizeable
        // part of what a reload costs.
        let loaded = self.history().newest();
        loaded.map_or(Value::Null, |loaded| torana_config::redacted(&loaded))
    }

    fn listeners(&self) -> Value {
        let plan = self.common.cell.load();
        let sockets = self.sockets();
        show::listeners(&plan, |id| sockets.local_address(id))
    }

    fn routes(&self) -> Value {
        show::routes(&self.common.cell.load())
    }

    fn upstreams(&self) -> Value {
        show::upstreams(&self.common.cell.load(), &self.common.metrics.snapshot())
    }

    fn drain(&self, upstream: &str, endpoint: &str, on: bool) -> Result<Value, NotThere> {
        let plan = self.common.cell.load();
        let states = &plan.states;
        let state = states.iter().find(|state| **state.health().name() == *upstream).ok_or(NotThere::Upstream)?;
        show::drain(state.health(), endpoint, on).ok_or(NotThere::Endpoint)
    }

    fn explain(&self, question: &Value) -> Result<Value, String> {
        let asked: Asked = serde_json::from_value(question.clone()).map_err(|error| error.to_string())?;
        let plan = self.common.cell.load();
        let question =
            Question { method: &asked.method, url: &asked.url, headers: &asked.headers, client_ip: asked.client };
        let explanation = explain_running(&plan, &question).map_err(|error| error.to_string())?;
        serde_json::to_value(&explanation).map_err(|error| error.to_string())
    }

    fn consumers(&self, asked: &ConsumerAsk) -> Result<Value, ConsumerProblem> {
        consumers::answer(asked, &self.common.cell.load().consumers, self.keeper.opened())
    }

    fn metrics(&self) -> String {
        in_steps(yield_now, || {
            let mut snapshot = self.common.metrics.snapshot();
            snapshot.standings = Standings::of(&self.common.cell.load());
            exposition::render(&snapshot)
        })
    }

    fn open_connections(&self) -> u32 {
        self.common.connections.open()
    }

    fn revisions(&self) -> Vec<Listed> {
        self.history().list()
    }

    fn operations(&self) -> Vec<Operation> {
        wire::operations()
    }

    fn operate(&self, path: &str, arguments: &Value) -> Result<Done, NotDone> {
        let plan = self.common.cell.load();
        let offers = plan.offers.iter().filter(|offer| wire::path_of(offer.policy, offer.operation) == path);
        let mut results = Vec::new();
        for offer in offers {
            let done = offer.operate.operate(arguments).map_err(NotDone::Arguments)?;
            results.push((done, offer.route.clone()));
        }
        if results.is_empty() {
            return Err(NotDone::Nobody);
        }
        Ok(Box::pin(async {
            let mut shown = Vec::new();
            for (done, route) in results {
                let mut done = done.get().await;
                done["route"] = route.as_deref().into();
                shown.push(done);
            }
            json!({ "results": shown })
        }))
    }

    fn admin_refused(&self, code: &'static str) {
        self.common.metrics.admin_refused(code);
    }
}

impl Drain for Shared {
    fn begin(&self, patience: Duration, grace: Duration) {
        self.common.cell.drain();
        self.sockets().clear();
        self.send(|| Command::Drain { patience, grace });
    }

    fn open_connections(&self) -> u32 {
        // A worker that has not closed its sockets may accept one more.
        self.common.connections.open().max(self.common.accepting.load(Ordering::Acquire))
    }
}
