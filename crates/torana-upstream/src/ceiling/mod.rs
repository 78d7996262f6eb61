//! How many requests an upstream gets at once, all workers together.
//!
//! Envoy calls this a circuit breaker (`max_requests`, 1024 if not written),
//! HAProxy `maxconn` with `maxqueue` and `timeout queue`, Traefik
//! `inFlightReq`. What comes above the ceiling waits shortly, and is refused
//! when the queue of its worker is full or `queue_timeout` is over: an
//! upstream that is slow for everybody does not become one that everybody
//! waits for.
//!
//! **Exact.** Limit, places taken and requests waiting share one atomic word,
//! so no two workers can take the same place, and a changed limit holds for
//! the next request.
//!
//! **First come, first served**, over all workers: a place that becomes free
//! is handed to the first in the queue, wherever it waits, and its task is
//! woken at once. While somebody waits, nobody else gets in. (A queue per
//! worker would do without a lock, but a busy worker would then serve its own
//! for ever while others' time out.) How many may wait is counted per worker.
//!
//! **No lost wake-ups.** "Nobody waits" and "one place less is taken" are one
//! compare-and-swap, so a place can only be freed into an empty queue, and who
//! joins the queue has, in the same word, seen that no place is free. The
//! number that waits only changes under the lock that guards the queue, and so
//! does a place that is handed over: it never is free in between. A request
//! that goes away leaves the queue, and hands on a place that it was given and
//! did not see.
//!
//! **Cost.** Below the ceiling: one compare-and-swap to enter and one to leave,
//! no lock. At it: a lock for some dozen instructions each, no allocation once
//! the queue has been as long before, and a waker across threads for a place
//! that goes to another worker.

mod lane;
mod waiters;

#[cfg(test)]
mod tests;

pub use lane::{Lane, LaneCounts, Place};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use waiters::{Ticket, Waiters};

torana_core::refusals! {
    /// The upstream has as many requests as it may, and the queue is full.
    FULL = "ceiling.full" 503 Gateway Always "The service is busy.";
    /// The upstream had as many requests as it may for `queue_timeout`.
    TIMEOUT = "ceiling.timeout" 503 Gateway Always "The service is busy.";
}

/// A ceiling as compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingSpec {
    /// Most requests at once, over all workers; 1 to [`Ceiling::HIGHEST`].
    pub most: u32,
    /// Most requests that wait, per worker; zero: none does. At most
    /// [`Lane::LONGEST`].
    pub queue: u32,
    /// How long one waits at most; zero: until its deadline. Up to a
    /// [`torana_net::timer::TICK`] more.
    pub queue_timeout: Duration,
}

impl CeilingSpec {
    /// 1024 requests (Envoy); 100 wait per worker, 100 ms at most.
    pub const DEFAULT: CeilingSpec = CeilingSpec { most: 1024, queue: 100, queue_timeout: Duration::from_millis(100) };
}

impl Default for CeilingSpec {
    fn default() -> Self {
        CeilingSpec::DEFAULT
    }
}

/// The places of one upstream, shared by all workers.
#[derive(Debug)]
pub struct Ceiling {
    word: AtomicU64,
    waiters: Mutex<Waiters>,
}

/// Limit, places taken and requests waiting, 21 bits each.
#[derive(Clone, Copy)]
struct Word(u64);

const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
const ONE_WAITING: u64 = 1;
const ONE_TAKEN: u64 = 1 << BITS;

impl Word {
    const fn new(limit: u64) -> Word {
        Word(limit << (2 * BITS))
    }

    const fn limit(self) -> u64 {
        self.0 >> (2 * BITS)
    }

    const fn taken(self) -> u64 {
        self.0 >> BITS & MASK
    }

    const fn waiting(self) -> u64 {
        self.0 & MASK
    }

    const fn is_free(self) -> bool {
        self.waiting() == 0 && self.taken() < self.limit()
    }
}

/// How a ceiling stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CeilingCounts {
    /// Most requests at once.
    pub most: u64,
    /// Requests that have a place.
    pub taken: u64,
    /// Requests that wait for one.
    pub waiting: u64,
}

impl Ceiling {
    /// The highest there is.
    pub const HIGHEST: u32 = 1_000_000;

    /// A ceiling of `most` requests.
    #[must_use]
    pub fn new(most: u32) -> Ceiling {
        Ceiling { word: AtomicU64::new(Word::new(bounded(most)).0), waiters: Mutex::default() }
    }

    /// Moves the ceiling, for a reload. Raised, it lets in as many of those
    /// who wait; lowered, it sends nobody away, but lets nobody in until
    /// enough have left.
    pub fn resize(&self, most: u32) {
        let mut waiters = self.lock();
        self.update(|word| Some(Word(word.0 & !Word::new(MASK).0 | Word::new(bounded(most)).0)));
        let mut wakers = Vec::new();
        while self.update(Self::let_in).is_some() {
            wakers.extend(waiters.grant());
        }
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How it stands.
    #[must_use]
    pub fn counts(&self) -> CeilingCounts {
        let word = self.load();
        CeilingCounts { most: word.limit(), taken: word.taken(), waiting: word.waiting() }
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Changes the word; `None` when `change` declines.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut seen = self.load();
        loop {
            let wanted = change(seen)?;
            match self.word.compare_exchange_weak(seen.0, wanted.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(wanted),
                Err(other) => seen = Word(other),
            }
        }
    }

    /// The word after one who waits got a free place.
    fn let_in(word: Word) -> Option<Word> {
        let possible = word.waiting() > 0 && word.taken() < word.limit();
        possible.then(|| Word(word.0 - ONE_WAITING + ONE_TAKEN))
    }

    fn try_take(&self) -> bool {
        self.update(|word| word.is_free().then(|| Word(word.0 + ONE_TAKEN))).is_some()
    }

    /// Takes a place, or joins the queue.
    fn join(&self, waker: &Waker) -> Option<Ticket> {
        let mut waiters = self.lock();
        let joined = self.update(|word| {
            let step = if word.is_free() { ONE_TAKEN } else { ONE_WAITING };
            Some(Word(word.0 + step))
        });
        // Nobody else changes the number that waits, so if it is one more than
        // there are, that one is this.
        joined.filter(|word| word.waiting() > waiters.len()).map(|_| waiters.join(waker.clone()))
    }

    /// Whether the holder of `ticket` has been given a place; its waker is
    /// kept otherwise.
    fn poll(&self, ticket: Ticket, waker: &Waker) -> bool {
        let (granted, stale) = self.lock().see(ticket, waker);
        drop(stale);
        granted
    }

    /// The holder of `ticket` waits no longer.
    fn leave(&self, ticket: Ticket) {
        let (granted, stale) = {
            let mut waiters = self.lock();
            let left = waiters.leave(ticket);
            if !left.0 {
                self.update(|word| Some(Word(word.0 - ONE_WAITING)));
            }
            left
        };
        drop(stale);
        if granted {
            self.release();
        }
    }

    /// Frees a place, or hands it to the first who waits.
    fn release(&self) {
        let freed = self.update(|word| (word.waiting() == 0).then(|| Word(word.0 - ONE_TAKEN)));
        if freed.is_none() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
        let mut waiters = self.lock();
        // If all have left meanwhile, or the ceiling was lowered, the place
        // is just freed.
        let word = self.update(|word| {
            let goes_on = word.waiting() > 0 && word.taken() <= word.limit();
            let step = if goes_on { ONE_WAITING } else { ONE_TAKEN };
            Some(Word(word.0 - step))
        });
        let goes_on = word.is_some_and(|word| word.waiting() < waiters.len());
        let waker = if goes_on { waiters.grant() } else { None };
        drop(waiters);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // Nothing panics while it is held; if something did, the list is whole.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(most: u32) -> u64 {
    u64::from(most.clamp(1, Ceiling::HIGHEST))
}
