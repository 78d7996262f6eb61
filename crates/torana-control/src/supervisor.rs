//! Takes up new configurations, one after the other.
//!
//! A reload is built off the path of requests, on the supervisor's own thread,
//! and takes effect at once or not at all. A configuration with errors leaves
//! the old one in force; its diagnostics go to standard error and stay at
//! `/diagnostics` until a good one comes.

use crate::notice;
use crate::priority::lower_priority;
use crate::providers::file::Watcher;
use crate::running::{Reload, Report};
use crate::status::Status;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// Why a configuration is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// The admin interface.
    Admin,
    /// A file changed.
    Files,
    /// An earlier configuration was asked for.
    Rollback,
}

impl Cause {
    /// For logs and the admin interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::Admin => "admin",
            Cause::Files => "files",
            Cause::Rollback => "rollback",
        }
    }
}

enum Request {
    Reload { cause: Cause, reply: Option<oneshot::Sender<Report>> },
    RollBack { revision: u64, reply: oneshot::Sender<Option<Report>> },
    Stop,
}

/// Why there was no attempt to go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRollback {
    /// The gateway is stopping.
    Stopping,
    /// The revision is not kept.
    NotKept,
}

/// Asks the supervisor for reloads.
#[derive(Clone)]
pub struct Reloads(Sender<Request>);

impl Reloads {
    /// Asks and goes on.
    pub fn request(&self, cause: Cause) {
        // Without a supervisor the gateway is stopping: nothing to reload.
        let _ = self.0.send(Request::Reload { cause, reply: None });
    }

    /// Asks and waits; `None` if the gateway is stopping.
    pub async fn reload(&self, cause: Cause) -> Option<Report> {
        let (reply, report) = oneshot::channel();
        self.0.send(Request::Reload { cause, reply: Some(reply) }).ok()?;
        report.await.ok()
    }

    /// Asks for an earlier configuration, and waits.
    ///
    /// # Errors
    /// There is nothing to go back to, or nobody to do it.
    pub async fn roll_back(&self, revision: u64) -> Result<Report, NoRollback> {
        let (reply, report) = oneshot::channel();
        self.0.send(Request::RollBack { revision, reply }).map_err(|_| NoRollback::Stopping)?;
        report.await.map_err(|_| NoRollback::Stopping)?.ok_or(NoRollback::NotKept)
    }

    /// Ends the supervisor after the reload at hand.
    pub fn stop(&self) {
        let _ = self.0.send(Request::Stop);
    }
}

/// A supervisor that has not started: it can be asked, and answers once it has.
pub struct Supervisor {
    reloads: Reloads,
    requests: Receiver<Request>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let (sender, requests) = channel();
        Supervisor { reloads: Reloads(sender), requests }
    }
}

impl Supervisor {
    /// Where to ask.
    #[must_use]
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// Starts the thread. `files` are what the configuration in force was made
    /// of at `since`; without a watcher, only signals and the admin interface
    /// cause reloads.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        self,
        reload: impl Reload,
        status: Arc<Status>,
        watcher: Option<Watcher>,
        files: Vec<PathBuf>,
        since: SystemTime,
    ) -> io::Result<JoinHandle<()>> {
        if let Some(watcher) = &watcher {
            watcher.watch(files, since);
        }
        let requests = self.requests;
        let run = move || run(&requests, reload, &status, watcher.as_ref());
        std::thread::Builder::new().name("torana-reload".to_owned()).spawn(run)
    }
}

fn run(requests: &Receiver<Request>, reload: impl Reload, status: &Status, watcher: Option<&Watcher>) {
    lower_priority();
    let mut at_work = AtWork { reload, status, watcher };
    let mut waiting = VecDeque::new();
    while let Some(request) = waiting.pop_front().or_else(|| next(requests, &mut at_work.reload)) {
        match request {
            Request::Stop => return,
            Request::Reload { cause, reply } => {
                let mut replies = Vec::from_iter(reply);
                waiting.extend(requests.try_iter());
                // One reload answers everyone who asked before it began; what
                // was asked for after a rollback comes after it.
                while let Some(request) = waiting.pop_front() {
                    match request {
                        Request::Reload { reply, .. } => replies.extend(reply),
                        other => {
                            waiting.push_front(other);
                            break;
                        }
                    }
                }
                let report = at_work.attempt(cause, |reload| Some(reload.reload(cause.as_str())));
                for (reply, report) in replies.into_iter().zip(report.into_iter().cycle()) {
                    // Whoever asked may be gone.
                    let _ = reply.send(report);
                }
            }
            Request::RollBack { revision, reply } => {
                let report = at_work.attempt(Cause::Rollback, |reload| reload.roll_back(revision));
                let _ = reply.send(report);
            }
        }
    }
}

/// How long to wait before looking again whether what was replaced is still in
/// use.
const TIDY_PAUSE: Duration = Duration::from_millis(500);

/// The next request; meanwhile what attempts have left behind is freed.
fn next(requests: &Receiver<Request>, reload: &mut impl Reload) -> Option<Request> {
    while reload.tidy() {
        match requests.recv_timeout(TIDY_PAUSE) {
            Ok(request) => return Some(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    requests.recv().ok()
}

struct AtWork<'a, R> {
    reload: R,
    status: &'a Status,
    watcher: Option<&'a Watcher>,
}

impl<R: Reload> AtWork<'_, R> {
    /// Makes an attempt and lets everyone know of it; `None`: there was none.
    fn attempt(&mut self, cause: Cause, make: impl FnOnce(&mut R) -> Option<Report>) -> Option<Report> {
        let since = SystemTime::now();
        let began = Instant::now();
        let report = make(&mut self.reload)?;
        let took = began.elapsed();
        // Before it is said: whoever hears of it may ask for it.
        self.status.note(report.clone(), cause.as_str());
        announce(&report, cause, took);
        if let Some(watcher) = self.watcher {
            watcher.watch(report.files.clone(), since);
        }
        Some(report)
    }
}

fn announce(report: &Report, cause: Cause, took: Duration) {
    let cause = cause.as_str();
    let Report { revision, checksum, text, .. } = report;
    if report.accepted {
        let millis = took.as_secs_f64() * 1000.0;
        let warnings = if text.is_empty() { String::new() } else { format!("\n{text}") };
        let same = if report.changed { "" } else { ", nothing changed" };
        let again = report.from.map(|from| format!(", revision {from} again")).unwrap_or_default();
        notice::say(&format!(
            "revision {revision} in force{again} (checksum {checksum}, {millis:.1} ms, {cause}{same}){warnings}"
        ));
        if report.pinned {
            notice::warn("what is on disk is not in force: it is taken up when it changes, or with a reload");
        }
    } else {
        let what = match report.from {
            Some(from) => format!("revision {from} refused"),
            None => "new configuration refused".to_owned(),
        };
        notice::warn(&format!("{what} ({cause}); revision {revision} stays in force\n{text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts every second configuration.
    struct Alternating {
        revision: u64,
        count: u64,
        go: Receiver<()>,
    }

    impl Reload for Alternating {
        fn reload(&mut self, _: &'static str) -> Report {
            self.go.recv().unwrap();
            self.count += 1;
            let accepted = self.count.is_multiple_of(2);
            self.revision += u64::from(accepted);
            Report { accepted, revision: self.revision, ..Report::default() }
        }

        /// Keeps the first.
        fn roll_back(&mut self, revision: u64) -> Option<Report> {
            if revision > 1 {
                return None;
            }
            self.revision += 1;
            let from = Some(revision);
            Some(Report { accepted: true, pinned: true, revision: self.revision, from, ..Report::default() })
        }
    }

    #[test]
    fn reloads_are_answered_and_noted_and_merged() {
        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let status = Status::new(Report { accepted: true, revision: 1, ..Report::default() });
        let (go, wait) = channel();
        let reload = Alternating { revision: 1, count: 0, go: wait };
        let thread = supervisor.start(reload, status.clone(), None, Vec::new(), SystemTime::now()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            go.send(()).unwrap();
            assert!(!reloads.reload(Cause::Admin).await.unwrap().accepted);
            assert_eq!(status.word(), "degraded");
            // Asked for while one is under way: together they are one more.
            let first = reloads.reload(Cause::Admin);
            let second = reloads.reload(Cause::Files);
            go.send(()).unwrap();
            go.send(()).unwrap();
            let (first, second) = tokio::join!(first, second);
            assert!(first.unwrap().accepted);
            assert!(second.unwrap().revision >= 2);
        });
        reloads.stop();
        drop(go);
        thread.join().unwrap();
    }

    #[test]
    fn a_rollback_keeps_its_place_between_reloads() {
        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let status = Status::new(Report { accepted: true, revision: 1, ..Report::default() });
        let (go, wait) = channel();
        // Accepts the next.
        let reload = Alternating { revision: 1, count: 1, go: wait };
        let thread = supervisor.start(reload, status.clone(), None, Vec::new(), SystemTime::now()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let first = reloads.reload(Cause::Admin);
            let back = reloads.roll_back(1);
            let late = reloads.reload(Cause::Files);
            go.send(()).unwrap();
            go.send(()).unwrap();
            // In this order they are polled, and so asked for.
            let (first, back, late) = tokio::join!(first, back, late);
            assert_eq!(first.unwrap().revision, 2);
            let back = back.unwrap();
            assert_eq!((back.revision, back.from, back.pinned), (3, Some(1), true));
            assert!(!late.unwrap().accepted, "one of its own, after the rollback");
            assert_eq!(reloads.roll_back(7).await.unwrap_err(), NoRollback::NotKept);
            assert_eq!(status.last().cause, "files", "nothing was attempted");
        });
        reloads.stop();
        thread.join().unwrap();
        assert_eq!(runtime.block_on(reloads.roll_back(1)).unwrap_err(), NoRollback::Stopping);
    }
}
