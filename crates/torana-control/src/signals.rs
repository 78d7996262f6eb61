//! What a process is told from outside.

use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// SIGHUP: take up the configuration as it is on disk.
    Reload,
    /// SIGUSR1: open the access log anew, it was renamed.
    Reopen,
    /// SIGUSR2: let a new process take over.
    Upgrade,
    /// SIGTERM, SIGINT: stop. Holds the signal's number.
    Stop(i32),
}

/// The signals of this process, from now on handled here.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    user: Stream,
    second_user: Stream,
}

impl Signals {
    /// Starts to listen, inside a tokio runtime.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            second_user: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one. Dropping the future loses none.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::Stop(SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => Asked::Stop(SignalKind::interrupt().as_raw_value()),
            _ = self.hang_up.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Reopen,
            _ = self.second_user.recv() => Asked::Upgrade,
        }
    }
}
