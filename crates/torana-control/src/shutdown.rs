//! Stops the gateway without losing requests.

use crate::running::Drain;
use crate::status::Status;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How the gateway stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// How long to go on as before, not ready, until load balancers have
    /// noticed.
    pub readiness_delay: Duration,
    /// How long idle connections stay then. A client may be sending its next
    /// request this very moment and would lose it; told `Connection: close`
    /// with that reply, it loses nothing.
    pub idle_patience: Duration,
    /// How long connections may take to end then.
    pub drain_timeout: Duration,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Every connection ended by itself.
    Clean,
    /// So many were cut.
    Cut(u32),
}

/// How often open connections are counted: once more would not make the
/// process end noticeably earlier.
const LOOK: Duration = Duration::from_millis(10);

/// Readiness off, wait, stop accepting, wait for connections to end.
pub async fn drain(gateway: &impl Drain, status: &Status, pace: Pace) -> Drained {
    status.drain();
    if !pace.readiness_delay.is_zero() {
        sleep(pace.readiness_delay).await;
    }
    gateway.begin(pace.idle_patience.min(pace.drain_timeout / 2), pace.drain_timeout);
    let gone = async {
        while gateway.open_connections() > 0 {
            sleep(LOOK).await;
        }
    };
    let until = Instant::now() + pace.drain_timeout;
    match timeout_at(until, gone).await {
        Ok(()) => Drained::Clean,
        Err(_) => Drained::Cut(gateway.open_connections()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::running::Report;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fake {
        open: AtomicU32,
        ends: bool,
    }

    impl Drain for Fake {
        fn begin(&self, _: Duration, _: Duration) {}
        fn open_connections(&self) -> u32 {
            let open = self.open.load(Ordering::Relaxed);
            if self.ends {
                self.open.store(open.saturating_sub(1), Ordering::Relaxed);
            }
            open
        }
    }

    fn run(fake: &Fake) -> Drained {
        let status = Status::new(Report::default());
        let pace = Pace {
            readiness_delay: Duration::from_millis(1),
            idle_patience: Duration::ZERO,
            drain_timeout: Duration::from_millis(60),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let drained = runtime.block_on(drain(fake, &status, pace));
        assert!(!status.is_ready());
        drained
    }

    #[test]
    fn waits_for_connections_but_not_for_ever() {
        assert_eq!(run(&Fake { open: AtomicU32::new(3), ends: true }), Drained::Clean);
        assert_eq!(run(&Fake { open: AtomicU32::new(2), ends: false }), Drained::Cut(2));
    }
}
