//! Work that would hold up a worker: done on threads beside them.
//!
//! A worker serves thousands of connections on one thread, so nothing may keep
//! it for long. What computes for milliseconds on a stranger's input comes
//! here: two threads, started when the first work arrives, and a queue with an
//! end. When that is full, whoever brings more is told so at once: waiting
//! would only be slower.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// Threads. More would take the processors away from workers.
const THREADS: usize = 2;
/// Work that may wait. What it holds in memory is bounded by the caps on
/// bodies.
const WAITING: usize = 64;
/// Programs nest as deeply as they are written, and builds for debugging have
/// large frames.
const STACK: usize = 16 << 20;

type Work = Box<dyn FnOnce() + Send>;

/// The queue is full, or there are no threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much work is waiting")]
pub struct Full;

/// What comes of work; `None` if it panicked.
#[must_use]
pub struct Outcome<T>(Arc<Mutex<Slot<T>>>);

enum Slot<T> {
    Open(Option<Waker>),
    Done(Option<T>),
}

/// Does `work` on another thread. Dropping what is returned before the work has
/// begun cancels it.
///
/// # Errors
/// There is too much of it.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Outcome<T>, Full> {
    static QUEUE: OnceLock<Option<SyncSender<Work>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(start).as_ref().ok_or(Full)?;
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    let theirs = Arc::clone(&slot);
    let work = move || {
        // Nobody waits any more.
        if Arc::strong_count(&theirs) == 1 {
            return;
        }
        let done = Slot::Done(catch_unwind(AssertUnwindSafe(work)).ok());
        let before = std::mem::replace(&mut *theirs.lock().unwrap_or_else(PoisonError::into_inner), done);
        if let Slot::Open(Some(waker)) = before {
            waker.wake();
        }
    };
    queue.try_send(Box::new(work)).map_err(|_| Full)?;
    Ok(Outcome(slot))
}

fn start() -> Option<SyncSender<Work>> {
    let (sender, receiver) = sync_channel::<Work>(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    let started = (0..THREADS).filter(|number| {
        let receiver = Arc::clone(&receiver);
        let thread = std::thread::Builder::new().name(format!("torana-aside{number}")).stack_size(STACK);
        thread.spawn(move || serve(&receiver)).is_ok()
    });
    (started.count() > 0).then_some(sender)
}

fn serve(receiver: &Mutex<Receiver<Work>>) {
    loop {
        // The lock is held while waiting, and not while working.
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

impl<T> Future for Outcome<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Slot::Done(value) => Poll::Ready(value.take()),
            Slot::Open(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for what is done aside, where there is no worker: in tests.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_elsewhere_and_its_outcome_comes_back() {
        let here = std::thread::current().id();
        let there = block_on(run(|| std::thread::current().id()).unwrap());
        assert!(there.is_some_and(|there| there != here));
    }

    #[test]
    fn a_panic_takes_only_its_own_outcome() {
        for _ in 0..2 * THREADS {
            assert_eq!(block_on(run(|| -> u8 { panic!("on purpose") }).unwrap()), None);
        }
        assert_eq!(block_on(run(|| 7).unwrap()), Some(7));
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun_and_a_full_queue_says_so() {
        // Holds all threads; other tests run in other processes or wait.
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let busy: Vec<_> = (0..THREADS)
            .map(|_| {
                let gate = Arc::clone(&gate);
                run(move || drop(gate.lock())).unwrap()
            })
            .collect();
        let done = Arc::new(Mutex::new(0));
        let mut waiting = Vec::new();
        loop {
            let done = Arc::clone(&done);
            match run(move || *done.lock().unwrap() += 1) {
                Ok(outcome) => waiting.push(outcome),
                Err(Full) => break,
            }
        }
        let kept = waiting.split_off(waiting.len() - 1);
        drop(waiting);
        drop(held);
        busy.into_iter().chain(kept).for_each(|outcome| assert!(block_on(outcome).is_some()));
        assert_eq!(*done.lock().unwrap(), 1);
    }
}
