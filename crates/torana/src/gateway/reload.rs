//! Takes up a new configuration while the old one serves.

use super::admin::Change;
use super::discovery::Endpoints;
use super::heritage::Heritage;
use super::log_output;
use super::shared::Shared;
use crate::wire::{self, OnDisk};
use serde_json::json;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::yield_now;
use torana_config::Loaded;
use torana_config::report::Style;
use torana_control::admin::Place;
use torana_control::log_writer::LogControl;
use torana_control::running::{Reload, Report};
use torana_control::service_manager;
use torana_control::supervisor::Cause;
use torana_core::pace::{in_steps, step};
use torana_plane::plan::Plan;
use torana_upstream::state::Watch;

/// Loads, compiles, binds and swaps.
pub(crate) struct Reloader {
    pub(crate) source: OnDisk,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: LogControl,
    pub(crate) admin: Place,
    pub(crate) watch: Watch,
    pub(super) endpoints: Arc<Endpoints>,
    /// What was last read from disk, good or bad.
    pub(crate) disk: Arc<Loaded>,
    /// What that depends on.
    pub(crate) files: Vec<PathBuf>,
    /// Whether something older than that is in force because it was asked for.
    pub(crate) is_pinned: bool,
}

impl Reload for Reloader {
    fn reload(&mut self, cause: &'static str) -> Report {
        service_manager::reloading();
        let report = in_steps(yield_now, || {
            let before = self.shared.common.cell.load();
            let built = self.source.build(Some(&before), &self.watch, &self.shared.keeper);
            self.disk = built.loaded.clone();
            self.files.clone_from(&built.files);
            self.take_up(built, &before, cause, None)
        });
        // Refused or not: it serves, and there is nothing more to wait for.
        service_manager::ready();
        report
    }

    fn roll_back(&mut self, revision: u64) -> Option<Report> {
        let loaded = self.shared.history().source(revision)?;
        let before = self.shared.common.cell.load();
        Some(in_steps(yield_now, || {
            let built = wire::build_again(loaded, Some(&before), &self.watch, &self.shared.keeper);
            self.take_up(built, &before, Cause::Rollback.as_str(), Some(revision))
        }))
    }

    fn tidy(&mut self) -> bool {
        in_steps(yield_now, || self.shared.common.cell.free_retired() > 0)
    }
}

impl Reloader {
    /// Puts what was built in force, if nothing is wrong with it.
    fn take_up(&mut self, mut built: wire::Built, before: &Plan, cause: &'static str, from: Option<u64>) -> Report {
        let refused = match built.plan.take().map(|plan| self.put_in_force(plan, before)) {
            Some(Ok(())) => {
                step();
                self.is_pinned = !Arc::ptr_eq(&built.loaded, &self.disk);
                self.shared.common.metrics.pinned(self.is_pinned);
                let plan = self.shared.common.cell.load();
                self.shared.note(&plan, &built, cause, from, plan.says_the_same_as(before));
                return self.report(&built, true, before, from, None);
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.endpoints.stay();
        self.shared.common.metrics.reload_failed();
        self.report(&built, false, before, from, refused.as_ref())
    }

    /// Everything that can fail comes first, so that a plan is in force wholly
    /// or not at all.
    fn put_in_force(&self, plan: Plan, before: &Plan) -> io::Result<()> {
        let shared = &self.shared;
        let output = log_output(&plan);
        output.probe()?;
        let admin = Change::new(before.admin.as_ref(), plan.admin.as_ref())?;
        self.endpoints.prepare(&plan);
        let mut sockets = shared.sockets();
        // Under this lock, as letting go of the sockets is.
        if shared.common.cell.is_draining() {
            return Err(io::Error::other("the gateway is stopping"));
        }
        let prepared = sockets.prepare(&plan, shared.workers.len(), &mut Heritage::default())?;
        self.log.switch(output);
        // Listening comes after the swap: accepting asks the plan in force
        // about its listener.
        let plan = self.endpoints.put_in_force(plan);
        sockets.apply(&plan, prepared, &shared.workers);
        admin.make(&self.admin, &mut sockets);
        drop(sockets);
        shared.common.metrics.plan_in_force(&plan);
        Ok(())
    }

    /// `refused`: what the system did not give, though nothing is wrong with
    /// the configuration.
    fn report(
        &self,
        built: &wire::Built,
        accepted: bool,
        before: &Plan,
        from: Option<u64>,
        refused: Option<&io::Error>,
    ) -> Report {
        let plan = self.shared.common.cell.load();
        let mut text = built.rendered(Style::Plain);
        let mut diagnostics = built.to_json();
        if let Some(error) = refused {
            text.push_str(&format!("error: {error}\n"));
            let problem = json!({ "severity": "error", "code": "reload.system", "message": error.to_string() });
            diagnostics.as_array_mut().into_iter().for_each(|list| list.push(problem.clone()));
        }
        if accepted && plan.workers.is_some_and(|workers| workers as usize != self.shared.workers.len()) {
            text.push_str("warning: `workers` changes with the next start\n");
        }
        if accepted && plan.upgrade_socket != before.upgrade_socket {
            text.push_str("warning: `upgrade.socket` changes with the next start\n");
        }
        if accepted && plan.state_dir != before.state_dir {
            text.push_str("warning: `state_dir` changes with the next start\n");
        }
        Report {
            accepted,
            revision: plan.revision,
            checksum: plan.checksum.to_string(),
            changed: !plan.says_the_same_as(before),
            text,
            diagnostics,
            // After a rollback, a change of what is on disk counts too.
            files: self.files.iter().chain(&built.files).cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            from,
            pinned: self.is_pinned,
        }
    }
}
