//! Work that would hold up a worker: done on threads beside them.
//!
//! A worker serves thousands of connections on one thread, so nothing may keep
//! it for long. What computes for milliseconds on a stranger's input comes
//! here: for each [`Line`] two threads, started when its first work arrives, and
//! a queue with an end. When that is full, whoever brings more is told so at
//! once: waiting would only be slower.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use torana_core::outbound::{Ended, Full, Line, Work};

/// Threads of a line. More would take the processors away from workers.
const THREADS: usize = 2;
/// Work that may wait in one. What it holds in memory is bounded by the caps on
/// bodies.
const WAITING: usize = 64;
/// Programs nest as deeply as they are written, and builds for debugging have
/// large frames.
const STACK: usize = 16 << 20;

/// The lines of a gateway, which all its workers share.
#[derive(Default)]
pub(crate) struct Aside([Queue; Line::ALL.len()]);

/// One line.
#[derive(Default)]
struct Queue {
    /// `None`: no thread could be started.
    sender: OnceLock<Option<SyncSender<Work>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    waiting: AtomicU64,
    done: AtomicU64,
    dropped: AtomicU64,
    panicked: AtomicU64,
    full: AtomicU64,
}

/// What has become of the work of a line so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsideCounts {
    /// Waiting now.
    pub waiting: u64,
    /// By what became of it, as metrics call that.
    pub results: [(&'static str, u64); 4],
}

impl Aside {
    fn queue(&self, line: Line) -> &Queue {
        let Aside([bodies, passwords]) = self;
        match line {
            Line::Bodies => bodies,
            Line::Passwords => passwords,
        }
    }

    /// Takes `work` into `line`.
    pub(crate) fn take(&self, line: Line, work: Work) -> Result<(), Full> {
        let Queue { sender, counts } = self.queue(line);
        let sender = sender.get_or_init(|| start(line, counts)).as_ref();
        // Before it is there: a thread may have begun it in between.
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        let taken = sender.is_some_and(|sender| sender.try_send(work).is_ok());
        if !taken {
            counts.waiting.fetch_sub(1, Ordering::Relaxed);
            counts.full.fetch_add(1, Ordering::Relaxed);
        }
        if taken { Ok(()) } else { Err(Full) }
    }

    /// How it stands with each line.
    pub(crate) fn counts(&self) -> [(Line, AsideCounts); Line::ALL.len()] {
        Line::ALL.map(|line| {
            let counts = &self.queue(line).counts;
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let results = [
                ("done", of(&counts.done)),
                ("dropped", of(&counts.dropped)),
                ("panicked", of(&counts.panicked)),
                ("full", of(&counts.full)),
            ];
            (line, AsideCounts { waiting: of(&counts.waiting), results })
        })
    }
}

/// The threads end when the gateway does, with its side of the queue.
fn start(line: Line, counts: &Arc<Counts>) -> Option<SyncSender<Work>> {
    let (sender, receiver) = sync_channel::<Work>(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    let started = (0..THREADS).filter(|number| {
        let (receiver, counts) = (Arc::clone(&receiver), Arc::clone(counts));
        let name = format!("torana-{}{number}", line.name());
        let thread = std::thread::Builder::new().name(name).stack_size(STACK);
        thread.spawn(move || serve(&receiver, &counts)).is_ok()
    });
    (started.count() > 0).then_some(sender)
}

fn serve(receiver: &Mutex<Receiver<Work>>, counts: &Counts) {
    loop {
        // The lock is held while waiting, and not while working.
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        counts.waiting.fetch_sub(1, Ordering::Relaxed);
        let count = match work() {
            Ended::Done => &counts.done,
            Ended::Dropped => &counts.dropped,
            Ended::Panicked => &counts.panicked,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Work that ends when the test says so, on `gate`.
    fn held(gate: &Arc<Mutex<()>>, begun: &mpsc::Sender<()>) -> Work {
        let (gate, begun) = (Arc::clone(gate), begun.clone());
        Box::new(move || {
            begun.send(()).unwrap();
            drop(gate.lock());
            Ended::Done
        })
    }

    fn results(aside: &Aside, line: Line) -> [u64; 4] {
        let all = aside.counts();
        let (_, counts) = all.iter().find(|(known, _)| *known == line).unwrap();
        counts.results.map(|(_, count)| count)
    }

    #[test]
    fn a_full_line_says_so_and_holds_up_no_other() {
        let aside = Aside::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let (begun, begins) = mpsc::channel();
        for _ in 0..THREADS {
            aside.take(Line::Passwords, held(&gate, &begun)).unwrap();
        }
        // Now all threads are busy, and what comes waits.
        (0..THREADS).for_each(|_| begins.recv().unwrap());
        for _ in 0..WAITING {
            aside.take(Line::Passwords, Box::new(|| Ended::Dropped)).unwrap();
        }
        assert_eq!(aside.take(Line::Passwords, Box::new(|| Ended::Done)), Err(Full));
        assert_eq!(aside.counts()[1].1.waiting, WAITING as u64);
        let (told, tells) = mpsc::channel();
        let here = std::thread::current().id();
        let elsewhere = move || {
            told.send(std::thread::current().id()).unwrap();
            Ended::Panicked
        };
        aside.take(Line::Bodies, Box::new(elsewhere)).unwrap();
        assert_ne!(tells.recv().unwrap(), here);
        drop(closed);
        let expected = [[0, 0, 1, 0], [THREADS as u64, WAITING as u64, 0, 1]];
        while Line::ALL.map(|line| results(&aside, line)) != expected {
            std::thread::yield_now();
        }
        assert!(aside.counts().iter().all(|(_, counts)| counts.waiting == 0));
    }
}
