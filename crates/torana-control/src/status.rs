//! How the gateway is doing, as the admin interface and probes see it.

use crate::running::Report;
use crate::time::rfc3339;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// Shared by the supervisor, which writes it, and the admin interface.
#[derive(Debug)]
pub struct Status {
    started: Instant,
    started_at: SystemTime,
    draining: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    revision: u64,
    checksum: String,
    loaded_at: SystemTime,
    reloads: u64,
    refused: u64,
    pinned: bool,
    last: Attempt,
}

/// The last configuration looked at.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What came of it.
    pub report: Report,
    /// When.
    pub at: SystemTime,
    /// Why it was looked at: `start`, `signal`, `admin`, `files`,
    /// `rollback`.
    pub cause: &'static str,
}

impl Status {
    /// A gateway that has just started with the configuration of `report`.
    #[must_use]
    pub fn new(report: Report) -> Arc<Status> {
        let now = SystemTime::now();
        Arc::new(Status {
            started: Instant::now(),
            started_at: now,
            draining: AtomicBool::new(false),
            state: Mutex::new(State {
                revision: report.revision,
                checksum: report.checksum.clone(),
                loaded_at: now,
                reloads: 0,
                refused: 0,
                pinned: report.pinned,
                last: Attempt { report, at: now, cause: "start" },
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two assignments leaves nothing worse than a stale number.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an attempt to take up a configuration.
    pub(crate) fn note(&self, report: Report, cause: &'static str) {
        let now = SystemTime::now();
        let mut state = self.state();
        state.pinned = report.pinned;
        if report.accepted {
            state.reloads += 1;
            state.loaded_at = now;
            state.revision = report.revision;
            state.checksum.clone_from(&report.checksum);
        } else {
            state.refused += 1;
        }
        state.last = Attempt { report, at: now, cause };
    }

    /// From now on the gateway is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether load balancers should send requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// `ok`; `degraded` while an older configuration than the one on disk
    /// serves, because that was refused or rolled back; `draining`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if !self.is_ready() {
            return "draining";
        }
        let state = self.state();
        if state.last.report.accepted && !state.pinned { "ok" } else { "degraded" }
    }

    /// The last attempt.
    #[must_use]
    pub fn last(&self) -> Attempt {
        self.state().last.clone()
    }

    /// Revision and checksum in force.
    #[must_use]
    pub fn in_force(&self) -> (u64, String) {
        let state = self.state();
        (state.revision, state.checksum.clone())
    }

    /// For the admin interface.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let word = self.word();
        let state = self.state();
        json!({
            "status": word,
            "revision": state.revision,
            "checksum": state.checksum,
            "loaded_at": rfc3339(state.loaded_at),
            "started_at": rfc3339(self.started_at),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "reloads": state.reloads,
            "refused_reloads": state.refused,
            "pinned": state.pinned,
        })
    }
}

impl Attempt {
    /// For the admin interface.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "accepted": self.report.accepted,
            "at": rfc3339(self.at),
            "cause": self.cause,
            "diagnostics": self.report.diagnostics,
            "text": self.report.text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_configuration_degrades_and_the_next_good_one_heals() {
        let status = Status::new(Report { accepted: true, revision: 1, checksum: "a".into(), ..Report::default() });
        assert_eq!(status.word(), "ok");
        status.note(Report { revision: 1, checksum: "a".into(), text: "error".into(), ..Report::default() }, "files");
        assert_eq!((status.word(), status.in_force()), ("degraded", (1, "a".to_owned())));
        assert!(status.is_ready());
        status.note(Report { accepted: true, revision: 2, checksum: "b".into(), ..Report::default() }, "admin");
        assert_eq!((status.word(), status.in_force()), ("ok", (2, "b".to_owned())));
        let shown = status.to_json();
        assert_eq!((&shown["reloads"], &shown["refused_reloads"]), (&json!(1), &json!(1)));
        let pinned = Report { accepted: true, revision: 3, pinned: true, ..Report::default() };
        status.note(pinned, "rollback");
        assert_eq!((status.word(), &status.to_json()["pinned"]), ("degraded", &json!(true)));
        status.note(Report { accepted: true, revision: 4, ..Report::default() }, "files");
        assert_eq!(status.word(), "ok");
        status.drain();
        assert_eq!(status.word(), "draining");
    }
}
