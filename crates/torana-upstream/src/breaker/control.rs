//! What operators and reloads do with a breaker.

use super::Breaker;
use super::event::{Snapshot, Transition, Why};
use super::phase::Phase;
use super::spec::BreakerSpec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Breaker {
    /// The breaker of the next plan: this one if nothing changed, otherwise a
    /// new one that does not forget. What was open stays open for its time,
    /// what was half-open or recovering is probed anew, what an operator
    /// forced stays forced. To be called once per reload and not by every
    /// worker, or each had a breaker of its own.
    #[must_use]
    pub fn succeed(self: &Arc<Self>, spec: &BreakerSpec, now: Instant) -> Arc<Breaker> {
        let mut next = Breaker::new(&self.name, spec, now);
        if next.spec == self.spec {
            return self.clone();
        }
        next.observer.clone_from(&self.observer);
        // One birth, one count of generations: times and serials go on.
        next.born = self.born;
        let now = next.micros(now);
        let ledger = self.lock();
        let word = self.gate.0.word.load();
        let (from, to) = match word.phase() {
            phase @ (Phase::HalfOpen | Phase::Recovering) => (phase, Phase::Open),
            phase => (phase, phase),
        };
        let until = if from == Phase::Open { self.gate.0.until.load(Ordering::Relaxed) } else { now };
        let since = if from == to { self.gate.0.since.load(Ordering::Relaxed) } else { now };
        next.gate.0.until.store(until, Ordering::Relaxed);
        next.begin(word.next(to), since);
        {
            let mut copy = next.lock();
            *copy = ledger.clone();
            if from != to {
                copy.history.push(Transition {
                    serial: word.next(to).generation(),
                    at: self.born + Duration::from_micros(now),
                    from,
                    to,
                    why: Why::Reloaded,
                    counts: self.counts(word, now),
                    open_for: Some(Duration::ZERO),
                });
            }
        }
        drop(ledger);
        Arc::new(next)
    }

    /// Opens it until [`Breaker::release`].
    pub fn force_open(&self, now: Instant) {
        self.force(Phase::ForcedOpen, Why::Forced, now);
    }

    /// Closes it, whatever happens, until [`Breaker::release`].
    pub fn force_closed(&self, now: Instant) {
        self.force(Phase::ForcedClosed, Why::Forced, now);
    }

    /// Ends what an operator forced: from open the next requests are probes,
    /// from closed it counts anew. A breaker that is not forced stays as it is.
    pub fn release(&self, now: Instant) {
        match self.gate.0.word.load().phase() {
            Phase::ForcedOpen => self.force(Phase::HalfOpen, Why::Released, now),
            Phase::ForcedClosed => self.force(Phase::Closed, Why::Released, now),
            _ => {}
        }
    }

    fn force(&self, to: Phase, why: Why, now: Instant) {
        loop {
            let word = self.gate.0.word.load();
            if word.phase() == to || self.shift(word, to, why, self.micros(now)) {
                return;
            }
        }
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let now = self.micros(now);
        let ledger = self.lock();
        let word = self.gate.0.word.load();
        let places = self.places.get(word).unwrap_or(0);
        let until = self.gate.0.until.load(Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation, reason = "two halves of 16 bits")]
        let (good, out) = ((places >> 16) as u16, (places & 0xffff) as u16);
        Snapshot {
            phase: word.phase(),
            since: Duration::from_micros(now.saturating_sub(self.gate.0.since.load(Ordering::Relaxed))),
            opens_for: (word.phase() == Phase::Open).then(|| Duration::from_micros(until.saturating_sub(now))),
            counts: self.counts(word, now),
            probes_out: out,
            probes_good: good,
            openings: ledger.openings,
            history: ledger.history.to_vec(),
        }
    }
}
