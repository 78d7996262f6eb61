//! How health is watched, as compiled.

use std::sync::Arc;
use std::time::Duration;
use torana_core::head::{Method, Status};

/// How the health of an upstream's endpoints is watched.
///
/// The default is what an upstream gets that says nothing about health: no
/// probes, since nobody knows a path to probe, and ejection by what requests
/// meet, which needs no setting and is bounded by its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSpec {
    /// Probes beside the requests.
    pub active: Option<ActiveSpec>,
    /// Judging by what requests meet.
    pub passive: Option<PassiveSpec>,
    /// Below this share of usable endpoints, in percent, health is set aside
    /// and all are used; 0 turns that off. See [`is_panic`](crate::health::panic::is_panic).
    pub panic_threshold: u8,
}

impl Default for HealthSpec {
    fn default() -> Self {
        HealthSpec { active: None, passive: Some(PassiveSpec::default()), panic_threshold: 50 }
    }
}

/// Probes: what is asked, how often, and how many answers make a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSpec {
    /// What is asked.
    pub check: Check,
    /// From one probe to the next while nothing is in doubt.
    pub interval: Duration,
    /// The same while the endpoint is unhealthy.
    pub unhealthy_interval: Duration,
    /// The same while a verdict is about to change: from the first answer that
    /// contradicts it until the threshold is reached or the doubt is over.
    pub edge_interval: Duration,
    /// For one probe from connecting to the last byte needed; not zero.
    pub timeout: Duration,
    /// Probes in a row that must pass before an unhealthy endpoint is healthy.
    pub healthy_threshold: u32,
    /// Probes in a row that must fail before a healthy endpoint is unhealthy.
    pub unhealthy_threshold: u32,
    /// How far an interval may be off, in percent, either way.
    pub jitter: u8,
    /// Whether a new endpoint has to pass a probe before it is used. An
    /// endpoint that was in use before probes were configured stays in use.
    pub require: bool,
    /// Another port to probe than the one requests go to.
    pub port: Option<u16>,
}

impl ActiveSpec {
    /// The defaults around `check`.
    #[must_use]
    pub const fn new(check: Check) -> ActiveSpec {
        ActiveSpec {
            check,
            interval: Duration::from_secs(5),
            unhealthy_interval: Duration::from_secs(5),
            edge_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            jitter: 10,
            require: false,
            port: None,
        }
    }
}

/// What a probe asks. An endpoint of scheme `https` is asked in TLS, with the
/// upstream's trust, identity and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A request whose reply has an expected status.
    Http(HttpCheck),
    /// A connection, TLS included.
    Tcp,
    /// `grpc.health.v1.Health/Check` answers `SERVING`.
    Grpc(GrpcCheck),
}

/// An HTTP probe. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The method; a named one, not `CONNECT`.
    pub method: Method,
    /// Path and query.
    pub path: Arc<str>,
    /// `Host`; `None`: the endpoint's authority.
    pub host: Option<Arc<str>>,
    /// The statuses that pass.
    pub expected: StatusRanges,
    /// Text that must be in the first 64 KiB of the body.
    pub body_contains: Option<Arc<str>>,
}

impl HttpCheck {
    /// `GET path`, passed by 200 to 399.
    #[must_use]
    pub fn get(path: &str) -> HttpCheck {
        HttpCheck {
            method: Method::Get,
            path: path.into(),
            host: None,
            expected: StatusRanges::new([(200, 399)]),
            body_contains: None,
        }
    }
}

/// A gRPC health probe (the GRPC Health Checking Protocol).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GrpcCheck {
    /// The service asked about; empty: the server as a whole.
    pub service: Arc<str>,
    /// `:authority`; `None`: the endpoint's.
    pub host: Option<Arc<str>>,
}

/// Ejection of endpoints on which requests fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassiveSpec {
    /// Failures in a row, over all workers, that eject an endpoint; 0: never.
    pub consecutive_failures: u32,
    /// The statuses that count as failures, besides requests without a reply.
    pub failure_statuses: StatusRanges,
    /// Ejection by share of failures.
    pub failure_percentage: Option<FailurePercentage>,
    /// How long the first ejection lasts. The second in close succession lasts
    /// twice as long, and so on; each such time spent in use without another
    /// ejection takes one step back.
    pub base_ejection_time: Duration,
    /// No ejection lasts longer.
    pub max_ejection_time: Duration,
    /// Most endpoints ejected at once, in percent of the upstream's. At least
    /// one of two or more may be, unless this is 0.
    pub max_ejection_percent: u8,
}

impl Default for PassiveSpec {
    fn default() -> Self {
        PassiveSpec {
            consecutive_failures: 5,
            failure_statuses: StatusRanges::new([(502, 504)]),
            failure_percentage: None,
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
        }
    }
}

/// Ejects an endpoint when too many of its requests within a window fail.
/// Counting costs every request a write to a line that all workers share, so
/// it is off unless asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// From this share of failures on, in percent.
    pub threshold: u8,
    /// Counts start anew after this long; not zero.
    pub window: Duration,
    /// Fewer requests in a window decide nothing.
    pub min_volume: u32,
}

impl Default for FailurePercentage {
    fn default() -> Self {
        FailurePercentage { threshold: 50, window: Duration::from_secs(10), min_volume: 50 }
    }
}

/// A set of statuses, as inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRanges(Box<[(u16, u16)]>);

impl StatusRanges {
    /// The statuses in any of `ranges`.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> StatusRanges {
        StatusRanges(ranges.into_iter().collect())
    }

    /// Whether `status` is one of them.
    #[must_use]
    pub fn contains(&self, status: Status) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&status.code()))
    }
}

impl std::fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        let ranges = StatusRanges::new([(200, 299), (404, 404)]);
        let inside = |code| ranges.contains(Status::new(code).unwrap());
        assert!(inside(200) && inside(299) && inside(404));
        assert!(!inside(199) && !inside(300) && !inside(403) && !inside(405));
        assert_eq!(ranges.to_string(), "200-299, 404");
    }
}
