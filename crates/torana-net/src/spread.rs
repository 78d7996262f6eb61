//! Connections go where there are fewest.
//!
//! `SO_REUSEPORT` spreads connections by hash: evenly if they are many and short, badly if they are few and stay, as
//! those of HTTP/2 and WebSockets do. So a worker that has noticeably more of them than another gives the next one
//! away, right after accepting it: nothing has been read, and no state but the socket has to move.
//!
//! What is balanced anyway pays for this with a look at one counter per worker and connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How many more connections than another a worker has to have: moving one wakes a thread that may be asleep.
const MARGIN: u32 = 8;

/// How many connections each worker has.
type Loads = Arc<[AtomicU32]>;

/// Connections by worker, and the ways between workers.
#[derive(Debug)]
pub struct Spread<T> {
    loads: Loads,
    doors: Box<[UnboundedSender<T>]>,
}

/// Where one worker gets connections that others give away.
#[derive(Debug)]
pub struct Arrivals<T> {
    pub(crate) spread: Arc<Spread<T>>,
    pub(crate) worker: usize,
    receiver: UnboundedReceiver<T>,
}

impl<T> Spread<T> {
    /// For so many workers; each takes one of the arrivals.
    #[must_use]
    pub fn among(workers: usize) -> Vec<Arrivals<T>> {
        let (doors, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
        let loads = (0..workers).map(|_| AtomicU32::new(0)).collect();
        let spread = Arc::new(Spread { loads, doors: doors.into() });
        let arrivals = receivers.into_iter().enumerate();
        arrivals.map(|(worker, receiver)| Arrivals { spread: spread.clone(), worker, receiver }).collect()
    }

    /// The worker that should have the last connection counted for `own`.
    pub(crate) fn better_than(&self, own: usize) -> Option<usize> {
        let mine = self.loads.get(own)?.load(Ordering::Relaxed);
        if mine < MARGIN {
            return None;
        }
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).enumerate();
        let (index, least) = loads.min_by_key(|(_, load)| *load)?;
        // A quarter more, and never just a few.
        let more = mine.saturating_sub(least);
        (more >= MARGIN && more > least / 4).then_some(index)
    }

    /// Counts a connection for a worker.
    pub(crate) fn count(&self, worker: usize) -> Counted {
        if let Some(load) = self.loads.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        Counted { loads: self.loads.clone(), worker }
    }

    /// Gives a connection to another worker; back if that one has ended.
    pub(crate) fn give(&self, worker: usize, moved: T) -> Result<(), T> {
        match self.doors.get(worker) {
            Some(door) => door.send(moved).map_err(|refused| refused.0),
            None => Err(moved),
        }
    }
}

impl<T> Arrivals<T> {
    /// The next connection from another worker. Dropping the future loses none.
    pub async fn next(&mut self) -> T {
        match self.receiver.recv().await {
            Some(moved) => moved,
            // This has the senders itself, so there always are some.
            None => std::future::pending().await,
        }
    }
}

/// A connection of a worker, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    loads: Loads,
    worker: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.loads.get(self.worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_given_away_when_it_pays() {
        let arrivals = Spread::<()>::among(2);
        let spread = &arrivals[0].spread;
        let mut held = Vec::new();
        for (mine, theirs, better) in [
            (0, 0, None),
            (7, 0, None),
            (8, 0, Some(1)),
            (15, 8, None),
            (16, 8, Some(1)),
            // Chance spreads a hundred like this.
            (110, 90, None),
            (113, 90, Some(1)),
        ] {
            held.clear();
            held.extend((0..mine).map(|_| spread.count(0)));
            held.extend((0..theirs).map(|_| spread.count(1)));
            assert_eq!(spread.better_than(0), better, "{mine} and {theirs}");
            assert_eq!(spread.better_than(1), None);
        }
        held.clear();
        assert_eq!(spread.loads[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_worker_keeps_all() {
        let arrivals = Spread::<()>::among(1);
        let _held: Vec<_> = (0..100).map(|_| arrivals[0].spread.count(0)).collect();
        assert_eq!(arrivals[0].spread.better_than(0), None);
    }
}
