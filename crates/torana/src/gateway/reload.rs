//! Takes up a new configuration while the old one serves.

use super::shared::Shared;
use super::{admin_socket, log_output};
use crate::wire;
use serde_json::json;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use torana_config::model::ListenAddress;
use torana_config::report::Style;
use torana_control::admin::{Place, Socket};
use torana_control::log_writer::LogControl;
use torana_control::running::{Reload, Report};
use torana_plane::plan::Plan;

/// Loads, compiles, binds and swaps.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: LogControl,
    pub(crate) admin: Place,
}

impl Reload for Reloader {
    fn reload(&mut self) -> Report {
        let before = self.shared.common.cell.load();
        let mut built = wire::build(&self.path, Some(&before));
        let refused = match built.plan.take() {
            None => None,
            Some(plan) => match self.put_in_force(plan, &before) {
                Ok(()) => return self.report(&built, true, None),
                Err(error) => Some(error),
            },
        };
        self.shared.common.metrics.reload_failed();
        self.report(&built, false, refused.as_ref())
    }
}

impl Reloader {
    /// Everything that can fail comes first, so that a plan is in force wholly
    /// or not at all.
    fn put_in_force(&self, plan: Plan, before: &Plan) -> io::Result<()> {
        let shared = &self.shared;
        let output = log_output(&plan);
        output.probe()?;
        let admin = self.new_admin(plan.admin.as_ref(), before.admin.as_ref())?;
        let mut sockets = shared.sockets();
        let prepared = sockets.prepare(&plan, shared.workers.len())?;
        self.log.switch(output);
        // Listening comes after the swap: accepting asks the plan in force
        // about its listener.
        drop(shared.common.cell.swap(plan));
        let plan = shared.common.cell.load();
        sockets.apply(&plan, prepared, &shared.workers);
        drop(sockets);
        shared.common.metrics.plan_in_force(&plan);
        if let Some(admin) = admin {
            self.admin.serve_on(admin);
        }
        Ok(())
    }

    /// Where the admin interface moves to; `None`: it stays where it is.
    fn new_admin(
        &self,
        wanted: Option<&ListenAddress>,
        before: Option<&ListenAddress>,
    ) -> io::Result<Option<Option<Socket>>> {
        if wanted == before {
            return Ok(None);
        }
        wanted.map(admin_socket).transpose().map(Some)
    }

    /// `refused`: what the system did not give, though nothing is wrong with
    /// the configuration.
    fn report(&self, built: &wire::Built, accepted: bool, refused: Option<&io::Error>) -> Report {
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
        Report {
            accepted,
            revision: plan.revision,
            checksum: plan.checksum.to_string(),
            text,
            diagnostics,
            files: built.files.clone(),
        }
    }
}
