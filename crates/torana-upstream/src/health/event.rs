//! What the log and the metrics are told.

use super::standing::Standing;
use std::sync::Arc;
use std::time::Instant;

/// Why an endpoint's standing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Probes failed as often in a row as it takes.
    ProbesFailed,
    /// Probes passed as often in a row as it takes.
    ProbesPassed,
    /// Requests failed as often in a row as it takes.
    ConsecutiveFailures,
    /// Too large a share of requests failed.
    FailurePercentage,
    /// Its ejection has lasted long enough.
    EjectionOver,
    /// Fewer endpoints may be ejected than before.
    EjectionBudget,
    /// A person took it out.
    Drained,
    /// A person put it back.
    Undrained,
    /// What had kept it out is no longer configured.
    Configuration,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 9] = [
        Reason::ProbesFailed,
        Reason::ProbesPassed,
        Reason::ConsecutiveFailures,
        Reason::FailurePercentage,
        Reason::EjectionOver,
        Reason::EjectionBudget,
        Reason::Drained,
        Reason::Undrained,
        Reason::Configuration,
    ];

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Reason::ProbesFailed => "health.probes_failed",
            Reason::ProbesPassed => "health.probes_passed",
            Reason::ConsecutiveFailures => "health.consecutive_failures",
            Reason::FailurePercentage => "health.failure_percentage",
            Reason::EjectionOver => "health.ejection_over",
            Reason::EjectionBudget => "health.ejection_budget",
            Reason::Drained => "health.drained",
            Reason::Undrained => "health.undrained",
            Reason::Configuration => "health.configuration",
        }
    }
}

/// Something that happened to the health of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An endpoint's standing changed.
    Endpoint {
        /// The upstream's name.
        upstream: Arc<str>,
        /// The endpoint's name.
        endpoint: Arc<str>,
        /// Its standing before.
        from: Standing,
        /// Its standing now.
        to: Standing,
        /// Why it changed.
        reason: Reason,
        /// What was seen, for people: `5 failures in a row, the last: 503`.
        words: Box<str>,
        /// When.
        at: Instant,
    },
    /// Health began to be set aside, or is heeded again.
    Panic {
        /// The upstream's name.
        upstream: Arc<str>,
        /// Whether it began.
        on: bool,
        /// Usable endpoints.
        usable: u32,
        /// Endpoints that would be usable if nothing were wrong with them.
        candidates: u32,
    },
}

/// Is told every [`Event`], on the thread that caused it and in the order in
/// which they took effect: the upstream's lock is held meanwhile. So it must
/// be quick, must not block, and must not call into the health of an upstream.
/// Counting, and putting a line into a bounded channel, is what it is for.
pub trait Observer: Send + Sync {
    /// Takes note of `event`.
    fn observe(&self, event: &Event);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn observe(&self, _: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_has_its_own_code() {
        let codes: std::collections::BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.starts_with("health.")));
    }
}
