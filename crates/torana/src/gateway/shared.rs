//! The running gateway as the control plane sees it.

use super::sockets::Sockets;
use super::worker::{Command, Common};
use crate::show;
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use torana_control::running::{Drain, Running};
use torana_plane::metrics::exposition;

/// What the admin interface, reloads and shutdown have in common.
pub(crate) struct Shared {
    pub(crate) common: Common,
    pub(crate) workers: Vec<UnboundedSender<Command>>,
    sockets: Mutex<Sockets>,
}

impl Shared {
    pub(crate) fn new(common: Common, workers: Vec<UnboundedSender<Command>>) -> Shared {
        Shared { common, workers, sockets: Mutex::default() }
    }

    pub(crate) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        // Sockets are taken over one by one; a panic in between loses none.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has ended needs no command.
            let _ = worker.send(command());
        }
    }
}

impl Running for Shared {
    fn config(&self) -> Value {
        self.common.cell.load().config.clone()
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

    fn metrics(&self) -> String {
        exposition::render(&self.common.metrics.snapshot())
    }

    fn open_connections(&self) -> u32 {
        self.common.connections.open()
    }
}

impl Drain for Shared {
    fn begin(&self, grace: Duration) {
        self.common.cell.drain();
        self.sockets().clear();
        self.send(|| Command::Drain { grace });
    }

    fn open_connections(&self) -> u32 {
        // A worker that has not closed its sockets may accept one more.
        self.common.connections.open().max(self.common.accepting.load(Ordering::Acquire))
    }
}
