//! The health of one endpoint.
//!
//! Shared by all workers, the prober and the admin interface, and kept over
//! reloads. What a request needs is in two words that are read with relaxed
//! loads: nothing else is read on the strength of them. Everything else stands
//! behind a lock that is taken when a probe ends, when the standing changes and
//! when somebody asks.

use super::active::Verdict;
use super::event::Reason;
use super::passive::{Ejections, Window};
use super::standing::{Standing, Why};
use crate::outcome::Fault;
use crate::spec::{Address, EndpointSpec};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why an endpoint is drained that nobody has drained by hand.
pub(super) const LISTED: &str = "as it is listed";

/// The health of one endpoint of one upstream.
#[derive(Debug)]
pub struct EndpointHealth {
    name: Arc<str>,
    address: Address,
    standing: AtomicU8,
    /// Failures in a row.
    strikes: AtomicU32,
    pub(super) window: Window,
    record: Mutex<Record>,
}

/// What is kept about an endpoint besides its standing.
#[derive(Debug)]
pub(super) struct Record {
    /// Whether it is part of the configuration in force, and so counted.
    pub(super) member: bool,
    pub(super) since: Instant,
    pub(super) cause: Option<(Reason, Box<str>)>,
    pub(super) probe: Option<ProbeNote>,
    pub(super) verdict: Verdict,
    pub(super) probes: ProbeCounts,
    pub(super) last_fault: Option<(Fault, Instant)>,
    pub(super) ejections: Ejections,
    /// Ejections ever.
    pub(super) times_ejected: u64,
}

/// The last probe of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeNote {
    /// When it ended.
    pub at: Instant,
    /// Whether it passed; `None`: it could not be made, for reasons on the
    /// gateway's side.
    pub passed: Option<bool>,
    /// What was seen, for people: `200 in 3 ms`.
    pub words: Box<str>,
    /// Probes passed in a row until then.
    pub passes: u32,
    /// Probes failed in a row until then.
    pub failures: u32,
}

/// Probes of an endpoint ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProbeCounts {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
}

/// Everything there is to say about an endpoint's health at one moment: the
/// answer to "why is this endpoint out?".
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// What speaks against it.
    pub standing: Standing,
    /// When that last changed.
    pub since: Instant,
    /// Why it last changed, and what was seen then. `None`: it never did.
    pub cause: Option<(Reason, Box<str>)>,
    /// The last probe.
    pub probe: Option<ProbeNote>,
    /// What its probes add up to.
    pub verdict: Verdict,
    /// Probes ever.
    pub probes: ProbeCounts,
    /// Failed requests in a row.
    pub consecutive_failures: u32,
    /// The last failure that led to an ejection or would have, had the budget
    /// allowed it.
    pub last_fault: Option<(Fault, Instant)>,
    /// When its ejection ends.
    pub ejected_until: Option<Instant>,
    /// Ejections ever.
    pub times_ejected: u64,
}

impl EndpointHealth {
    pub(super) fn new(spec: &EndpointSpec, standing: Standing, now: Instant) -> Arc<EndpointHealth> {
        // At once and not when the plan is in force: no request may slip through.
        let standing = if spec.drain { standing.with(Why::Configured) } else { standing };
        Arc::new(EndpointHealth {
            name: spec.name.clone(),
            address: spec.address.clone(),
            standing: AtomicU8::new(standing.bits()),
            strikes: AtomicU32::new(0),
            window: Window::default(),
            record: Mutex::new(Record {
                member: false,
                since: now,
                cause: spec.drain.then(|| (Reason::Drained, LISTED.into())),
                probe: None,
                verdict: Verdict::Unknown,
                probes: ProbeCounts::default(),
                last_fault: None,
                ejections: Ejections::default(),
                times_ejected: 0,
            }),
        })
    }

    /// Whether this is the health of the endpoint that `spec` describes. Its
    /// weight may have changed, and how it is spoken to; it is the same place.
    pub(super) fn is_of(&self, spec: &EndpointSpec) -> bool {
        self.name == spec.name && self.address == spec.address
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What speaks against it. One load.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Relaxed))
    }

    /// Changes the standing; only under the lock of the upstream.
    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.bits(), Ordering::Relaxed);
    }

    /// Failures in a row.
    pub(super) fn strikes(&self) -> u32 {
        self.strikes.load(Ordering::Relaxed)
    }

    /// Adds a failure and says how many there are in a row now.
    pub(super) fn strike(&self) -> u32 {
        self.strikes.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// A success. While nothing fails this is one load, and the line stays
    /// shared between the workers' caches.
    pub(super) fn forgive(&self) {
        if self.strikes() != 0 {
            self.strikes.store(0, Ordering::Relaxed);
        }
    }

    /// Forgets everything that was counted against it.
    pub(super) fn start_anew(&self) {
        self.strikes.store(0, Ordering::Relaxed);
        self.window.clear();
    }

    /// The record. Its lock may be taken under the upstream's, never the other
    /// way round.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        // Every writer leaves it whole at every step.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything about it. Not for the request path.
    #[must_use]
    pub fn snapshot(&self) -> EndpointSnapshot {
        let record = self.record();
        EndpointSnapshot {
            name: self.name.clone(),
            standing: self.standing(),
            since: record.since,
            cause: record.cause.clone(),
            probe: record.probe.clone(),
            verdict: record.verdict,
            probes: record.probes,
            consecutive_failures: self.strikes(),
            last_fault: record.last_fault,
            ejected_until: record.ejections.until(),
            times_ejected: record.times_ejected,
        }
    }
}
