//! The circuit breaker: stops sending to an upstream that fails, and comes
//! back to it with care.
//!
//! ```text
//!            trigger                 open_for over
//!   closed ───────────► open ───────────────────────► half-open
//!     ▲                  ▲ ▲                           │   │
//!     │ recovery over    │ └───── a probe failed ──────┘   │ all probes good
//!     └── recovering ────┘◄────────────────────────────────┘
//!                    trigger
//! ```
//!
//! **Triggers** ([`BreakerSpec`]), in any combination: failures in a row (S0's
//! "5 failures", KrakenD, Envoy's `consecutive_5xx`; at the fifth, not after
//! it), a share of a sliding window that failed (Hystrix, Resilience4j, Cosmo)
//! and a share that was slow (Resilience4j), both only from a minimum volume
//! on. They are looked at when a failure or a slow answer comes in: good news
//! never opens a breaker. What counts as what, [`crate::outcome`] says: answers below
//! 500, clients that go away and refusals of the gateway never open it.
//!
//! **Half-open** lets exactly `probes` requests decide: there are that many
//! places, a request takes one, a success keeps it and a request that ends
//! without telling anything (the client went away) gives it back. All
//! successes: recovery. One failure or slow answer: open again. Breakers that
//! let everybody through here turn a recovering service over again
//! (nodeshift/opossum#119, App-vNext/Polly#239). Probes of which nothing is
//! heard for [`PATIENCE`] count as failed, or they would block it for ever.
//!
//! **Recovery** admits a share that grows in a straight line from nothing to
//! all, as Traefik does; the triggers are armed. For upstreams with a request
//! a second or less, where no load needs to be held back, set it to zero.
//!
//! **Back-off**: an opening that follows another, because probes failed,
//! recovery failed or the breaker was closed for less time than it had been
//! open, lasts twice as long, up to `open_for_max` (APISIX and Envoy's
//! ejection back off the same way).
//!
//! **Shared**: one breaker serves all workers and outlives reloads
//! ([`Breaker::succeed`]). A permit remembers the phase it was given in, and a
//! result from another phase changes nothing, however late it comes.
//!
//! **Cost.** Closed: [`Breaker::admit`] is one load. A good result is two
//! loads, and with a window one division, two loads and one compare-and-swap;
//! a failure adds twenty loads for the window. No lock, no allocation. Changing
//! the phase, and taking a bucket of the window for a new tenth, hold a lock
//! for some dozen instructions. Times come from the callers, whose clocks may
//! differ by a [`torana_net::timer::TICK`]; nothing depends on their order.

mod control;
mod event;
mod permit;
mod phase;
mod spec;
mod window;

#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;

pub use event::{Counts, Snapshot, Transition, Why};
pub use permit::{Permit, Rejected};
pub use phase::Phase;
pub use spec::{BreakerSpec, SlowSpec};

use event::History;
use phase::{Stamped, Word, WordCell};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use window::Window;

torana_core::refusals! {
    /// The breaker of the upstream is open, or half-open with its probes out.
    OPEN = "breaker.open" 503 Gateway Always "The service is not available at the moment.";
    /// The upstream recovers and the share of requests that is sent again is used up.
    RECOVERING = "breaker.recovering" 503 Gateway Always "The service is not fully available yet.";
}

/// How long probes may stay away before they count as failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Called after each transition by the thread that made it, outside the lock.
/// Two transitions that follow each other closely on two threads may arrive
/// the other way round; [`Transition::serial`] tells.
pub type Observer = Arc<dyn Fn(&Breaker, &Transition) + Send + Sync>;

/// One breaker, shared by all workers.
pub struct Breaker {
    name: Arc<str>,
    spec: BreakerSpec,
    observer: Option<Observer>,
    born: Instant,
    /// Read by every request and written by transitions alone, so it must not
    /// share a cache line with what every request writes.
    gate: Apart<Gate>,
    in_a_row: Apart<Stamped>,
    window: Apart<Window>,
    /// Half-open: places whose request succeeded (upper 16 bits) and places
    /// whose request is out.
    places: Stamped,
    /// When the last place was taken.
    place_taken: AtomicU64,
    /// Recovering: requests that asked.
    asked: AtomicU64,
    ledger: Mutex<Ledger>,
}

/// The phase and its times, in microseconds since the breaker's birth.
#[derive(Debug)]
struct Gate {
    word: WordCell,
    since: AtomicU64,
    /// When an opening ends.
    until: AtomicU64,
}

/// What only transitions need.
#[derive(Clone, Debug)]
struct Ledger {
    /// Openings that followed each other, the last one included.
    streak: u32,
    /// How long the last one lasts.
    open_for: Duration,
    openings: u64,
    history: History,
}

/// Keeps what it holds on cache lines of its own; two, since processors fetch
/// them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

impl Breaker {
    /// A closed breaker. Values outside their bounds are brought inside.
    #[must_use]
    pub fn new(name: &Arc<str>, spec: &BreakerSpec, now: Instant) -> Breaker {
        let spec = BreakerSpec {
            probes: spec.probes.max(1),
            min_requests: spec.min_requests.clamp(1, 30_000),
            failures: spec.failures.map(|failures| failures.max(1)),
            ..spec.clone()
        };
        Breaker {
            name: name.clone(),
            observer: None,
            born: now,
            gate: Apart(Gate { word: WordCell::new(Word::FIRST), since: AtomicU64::new(0), until: AtomicU64::new(0) }),
            in_a_row: Apart(Stamped::fresh(Word::FIRST)),
            window: Apart(Window::new(spec.window)),
            places: Stamped::fresh(Word::FIRST),
            place_taken: AtomicU64::new(0),
            asked: AtomicU64::new(1),
            ledger: Mutex::new(Ledger { streak: 0, open_for: Duration::ZERO, openings: 0, history: History::new() }),
            spec,
        }
    }

    /// Has `observer` called at every transition.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Breaker {
        self.observer = Some(observer);
        self
    }

    /// The name of what it protects.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it was made of.
    #[must_use]
    pub const fn spec(&self) -> &BreakerSpec {
        &self.spec
    }

    /// Asks to send a request.
    ///
    /// # Errors
    /// [`OPEN`] or [`RECOVERING`].
    pub fn admit(&self, now: Instant) -> Result<Permit<&Breaker>, Rejected> {
        Ok(Permit::new(self, self.enter(now)?))
    }

    /// [`Breaker::admit`] for a permit that outlives the borrow, at the price
    /// of counting a reference that all workers share.
    ///
    /// # Errors
    /// [`OPEN`] or [`RECOVERING`].
    pub fn admit_owned(self: &Arc<Self>, now: Instant) -> Result<Permit<Arc<Breaker>>, Rejected> {
        Ok(Permit::new(self.clone(), self.enter(now)?))
    }

    fn enter(&self, now: Instant) -> Result<Word, Rejected> {
        let word = self.gate.0.word.load();
        match word.phase() {
            Phase::Closed | Phase::ForcedClosed => Ok(word),
            _ => self.enter_guarded(self.micros(now)),
        }
    }

    #[cold]
    fn enter_guarded(&self, now: u64) -> Result<Word, Rejected> {
        // Each turn either decides or finds another phase than before; three
        // is a whole way round, more means that it changes faster than that.
        for _ in 0..4 {
            let word = self.gate.0.word.load();
            match word.phase() {
                Phase::Closed | Phase::ForcedClosed => return Ok(word),
                Phase::ForcedOpen => break,
                Phase::Open => {
                    let until = self.gate.0.until.load(Ordering::Acquire);
                    if now < until {
                        let left = Duration::from_micros(until - now);
                        return Err(Rejected { refusal: &OPEN, retry_after: Some(left) });
                    }
                    self.shift(word, Phase::HalfOpen, Why::OpenElapsed, now);
                }
                Phase::HalfOpen => {
                    if self.take_place(word) {
                        self.place_taken.fetch_max(now, Ordering::Relaxed);
                        return Ok(word);
                    }
                    let silent = now.saturating_sub(self.place_taken.load(Ordering::Relaxed));
                    if silent >= micros(PATIENCE) {
                        self.shift(word, Phase::Open, Why::ProbesSilent, now);
                    } else if self.gate.0.word.load() == word {
                        break;
                    }
                }
                Phase::Recovering => {
                    let elapsed = now.saturating_sub(self.gate.0.since.load(Ordering::Acquire));
                    if elapsed >= micros(self.spec.recovery) {
                        self.shift(word, Phase::Closed, Why::Recovered, now);
                    } else if self.is_in_share(elapsed) {
                        return Ok(word);
                    } else {
                        return Err(Rejected { refusal: &RECOVERING, retry_after: None });
                    }
                }
            }
        }
        Err(Rejected { refusal: &OPEN, retry_after: None })
    }

    /// Whether the next request belongs to the share admitted `elapsed`
    /// microseconds into the recovery. Multiples of the golden ratio fill any
    /// interval evenly (Weyl; Knuth, TAOCP 6.4), so the share is right after
    /// a handful of requests, for each of them alone, without randomness.
    fn is_in_share(&self, elapsed: u64) -> bool {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let point = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN) >> 32;
        u128::from(point) * u128::from(micros(self.spec.recovery)) < u128::from(elapsed) << 32
    }

    fn take_place(&self, word: Word) -> bool {
        let probes = u32::from(self.spec.probes);
        self.places.change(word, |places| ((places >> 16) + (places & 0xffff) < probes).then_some(places + 1)).is_some()
    }

    /// Counts a result, if the phase is still that of the permit.
    fn record(&self, word: Word, good: bool, slow: bool, now: Instant) {
        // Ends late results soon. That they change nothing, should the phase
        // end right after this line, is for the stamps of all counts to see.
        if self.gate.0.word.load() != word {
            return;
        }
        match word.phase() {
            Phase::Closed | Phase::Recovering => self.count(word, good, slow, now),
            Phase::HalfOpen => self.probed(word, good && !slow, now),
            Phase::Open | Phase::ForcedOpen | Phase::ForcedClosed => {}
        }
    }

    fn count(&self, word: Word, good: bool, slow: bool, now: Instant) {
        let mut in_a_row = 0;
        if self.spec.failures.is_some() {
            if !good {
                in_a_row = self.in_a_row.0.change(word, |count| Some(count.saturating_add(1))).unwrap_or(0);
            } else if self.in_a_row.0.get(word) != Some(0) {
                self.in_a_row.0.change(word, |_| Some(0));
            }
        }
        let windowed = self.spec.needs_window();
        if !windowed && good {
            return;
        }
        let now = self.micros(now);
        if windowed {
            self.window.0.add(word, now, !good, slow);
        }
        if (!good || slow)
            && let Some(why) = self.trigger(word, in_a_row, now)
        {
            self.shift(word, Phase::Open, why, now);
        }
    }

    /// The trigger that is met, if one is.
    fn trigger(&self, word: Word, in_a_row: u32, now: u64) -> Option<Why> {
        if self.spec.failures.is_some_and(|failures| in_a_row >= failures) {
            return Some(Why::Failures);
        }
        if !self.spec.needs_window() {
            return None;
        }
        let tally = self.window.0.tally(word, now);
        if tally.total < u64::from(self.spec.min_requests) {
            return None;
        }
        if self.spec.failure_ratio.is_some_and(|ratio| ratio.is_met(tally.failed, tally.total)) {
            return Some(Why::FailureRatio);
        }
        let slow = self.spec.slow.as_ref().is_some_and(|slow| slow.ratio.is_met(tally.slow, tally.total));
        slow.then_some(Why::SlowRatio)
    }

    fn probed(&self, word: Word, good: bool, now: Instant) {
        if !good {
            self.shift(word, Phase::Open, Why::ProbeFailed, self.micros(now));
            return;
        }
        let places = self.places.change(word, |places| Some(places.saturating_sub(1) + (1 << 16)));
        if places.is_some_and(|places| places >> 16 >= u32::from(self.spec.probes)) {
            let next = if self.spec.recovery.is_zero() { Phase::Closed } else { Phase::Recovering };
            self.shift(word, next, Why::ProbesSucceeded, self.micros(now));
        }
    }

    /// Gives back a probe's place.
    fn forgo(&self, word: Word) {
        if word.phase() == Phase::HalfOpen {
            self.places.change(word, |places| Some(places.saturating_sub(1)));
        }
    }

    /// Goes from the phase of `from` to another, and tells; false if somebody
    /// else has gone first.
    fn shift(&self, from: Word, to: Phase, why: Why, now: u64) -> bool {
        let transition = {
            let mut ledger = self.lock();
            if self.gate.0.word.load() != from {
                return false;
            }
            let transition = self.turn(&mut ledger, from, to, why, now);
            ledger.history.push(transition);
            transition
        };
        if let Some(observer) = &self.observer {
            observer(self, &transition);
        }
        true
    }

    /// Enters the change into the ledger and begins the phase `to`.
    fn turn(&self, ledger: &mut Ledger, from: Word, to: Phase, why: Why, now: u64) -> Transition {
        let counts = self.counts(from, now);
        let word = from.next(to);
        let gate = &self.gate.0;
        let mut open_for = None;
        if to == Phase::Open {
            let stayed = Duration::from_micros(now.saturating_sub(gate.since.load(Ordering::Relaxed)));
            let relapse = from.phase() != Phase::Closed || stayed < ledger.open_for;
            ledger.streak = if relapse { ledger.streak.saturating_add(1) } else { 1 };
            ledger.open_for = self.spec.open_for(ledger.streak - 1);
            gate.until.store(now.saturating_add(micros(ledger.open_for)), Ordering::Relaxed);
            open_for = Some(ledger.open_for);
        }
        if matches!(to, Phase::Open | Phase::ForcedOpen) {
            ledger.openings += 1;
        }
        if matches!(to, Phase::ForcedOpen | Phase::ForcedClosed) {
            ledger.streak = 0;
            ledger.open_for = Duration::ZERO;
        }
        self.begin(word, now);
        let at = self.born + Duration::from_micros(now);
        Transition { serial: word.generation(), at, from: from.phase(), to, why, counts, open_for }
    }

    /// Begins the phase of `word`, which comes last: who sees it sees the rest.
    fn begin(&self, word: Word, now: u64) {
        self.in_a_row.0.reset(word);
        self.places.reset(word);
        self.place_taken.store(now, Ordering::Relaxed);
        self.gate.0.since.store(now, Ordering::Relaxed);
        self.gate.0.word.set(word);
    }

    fn counts(&self, word: Word, now: u64) -> Counts {
        let tally = self.window.0.tally(word, now);
        let in_a_row = self.in_a_row.0.get(word).unwrap_or(0);
        Counts { total: tally.total, failed: tally.failed, slow: tally.slow, in_a_row }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held; if something did, the ledger is
        // still whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.born))
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.gate.0.word.load();
        write!(f, "Breaker({}, {})", self.name, word.phase().as_str())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
