//! Takes up new configurations, one after the other.
//!
//! A reload is built off the path of requests, on the supervisor's own thread,
//! and takes effect at once or not at all. A configuration with errors leaves
//! the old one in force; its diagnostics go to standard error and stay at
//! `/diagnostics` until a good one comes.

use crate::notice;
use crate::providers::file::Watcher;
use crate::running::{Reload, Report};
use crate::status::Status;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
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
}

impl Cause {
    /// For logs and the admin interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::Admin => "admin",
            Cause::Files => "files",
        }
    }
}

enum Request {
    Reload { cause: Cause, reply: Option<oneshot::Sender<Report>> },
    Stop,
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

fn run(requests: &Receiver<Request>, mut reload: impl Reload, status: &Status, watcher: Option<&Watcher>) {
    while let Ok(Request::Reload { cause, reply }) = requests.recv() {
        let mut replies = Vec::from_iter(reply);
        // One reload answers everyone who asked before it began.
        let mut stop = false;
        while let Ok(request) = requests.try_recv() {
            match request {
                Request::Reload { reply, .. } => replies.extend(reply),
                Request::Stop => stop = true,
            }
        }
        let since = SystemTime::now();
        let began = Instant::now();
        let report = reload.reload();
        let took = began.elapsed();
        // Before it is said: whoever hears of it may ask for it.
        status.note(report.clone(), cause.as_str());
        announce(&report, cause, took);
        if let Some(watcher) = watcher {
            watcher.watch(report.files.clone(), since);
        }
        for reply in replies {
            // Whoever asked may be gone.
            let _ = reply.send(report.clone());
        }
        if stop {
            return;
        }
    }
}

fn announce(report: &Report, cause: Cause, took: Duration) {
    let cause = cause.as_str();
    if report.accepted {
        let (revision, checksum) = (report.revision, &report.checksum);
        let millis = took.as_secs_f64() * 1000.0;
        let warnings = if report.text.is_empty() { String::new() } else { format!("\n{}", report.text) };
        notice::say(&format!("revision {revision} in force (checksum {checksum}, {millis:.1} ms, {cause}){warnings}"));
    } else {
        let revision = report.revision;
        notice::warn(&format!(
            "new configuration refused ({cause}); revision {revision} stays in force\n{}",
            report.text
        ));
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
        fn reload(&mut self) -> Report {
            self.go.recv().unwrap();
            self.count += 1;
            let accepted = self.count.is_multiple_of(2);
            self.revision += u64::from(accepted);
            Report { accepted, revision: self.revision, ..Report::default() }
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
}
