//! What a breaker tells: transitions as they happen, and how it stands.

use super::phase::Phase;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Why a breaker changed its phase.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// So many failures in a row.
    Failures,
    /// Too large a share of the window failed.
    FailureRatio,
    /// Too large a share of the window was slow.
    SlowRatio,
    /// The time of the opening was over.
    OpenElapsed,
    /// A probe failed or was slow.
    ProbeFailed,
    /// The probes were sent and nothing came back.
    ProbesSilent,
    /// All probes succeeded.
    ProbesSucceeded,
    /// The recovery went through.
    Recovered,
    /// An operator opened or closed it.
    Forced,
    /// An operator let it judge for itself again.
    Released,
    /// A reload changed its settings; it goes on where it was.
    Reloaded,
}

impl Why {
    /// Its name, as logs and metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Failures => "failures",
            Why::FailureRatio => "failure_ratio",
            Why::SlowRatio => "slow_ratio",
            Why::OpenElapsed => "open_elapsed",
            Why::ProbeFailed => "probe_failed",
            Why::ProbesSilent => "probes_silent",
            Why::ProbesSucceeded => "probes_succeeded",
            Why::Recovered => "recovered",
            Why::Forced => "forced",
            Why::Released => "released",
            Why::Reloaded => "reloaded",
        }
    }
}

/// What a breaker had counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests in the window. The three window counts are only kept by a
    /// breaker with a trigger that needs them.
    pub total: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, slow.
    pub slow: u64,
    /// Failures since the last success.
    pub in_a_row: u32,
}

/// One change of phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// Counts the transitions of one breaker, so that a reader can tell their
    /// order and whether it missed one.
    pub serial: u64,
    /// When.
    pub at: Instant,
    /// The phase that ended.
    pub from: Phase,
    /// The phase that began.
    pub to: Phase,
    /// Why.
    pub why: Why,
    /// What had been counted in the phase that ended.
    pub counts: Counts,
    /// For an opening, how long it lasts.
    pub open_for: Option<Duration>,
}

/// How a breaker stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// What it does with requests.
    pub phase: Phase,
    /// For how long it has.
    pub since: Duration,
    /// How long an open breaker stays so; zero when the next request will be
    /// a probe.
    pub opens_for: Option<Duration>,
    /// What it has counted in this phase.
    pub counts: Counts,
    /// Probes on their way.
    pub probes_out: u16,
    /// Probes that succeeded.
    pub probes_good: u16,
    /// How often it opened.
    pub openings: u64,
    /// Its last transitions, oldest first.
    pub history: Vec<Transition>,
}

/// Transitions kept for the admin interface.
const KEPT: usize = 16;

/// The last transitions.
#[derive(Clone, Debug)]
pub(super) struct History(VecDeque<Transition>);

impl History {
    pub(super) fn new() -> History {
        History(VecDeque::with_capacity(KEPT))
    }

    pub(super) fn push(&mut self, transition: Transition) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(transition);
    }

    pub(super) fn to_vec(&self) -> Vec<Transition> {
        self.0.iter().copied().collect()
    }
}
