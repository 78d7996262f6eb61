//! How requests fail, and which failures are worth a retry.

use std::str::FromStr;
use std::time::Duration;
use torana_core::refusal::{Origin, Retry};
use torana_net::client::h1::Failure;
use torana_net::refusals as refuse;

/// How a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// Nothing was done with it: no connection, no agreement on TLS, or the
    /// endpoint refused the stream unprocessed.
    Unsent,
    /// A connection that had waited in the pool was closed without a word.
    Stale,
    /// The connection broke, or what came back was no reply.
    Reset,
    /// No head of a reply in time.
    Timeout,
    /// A reply with this status.
    Status {
        /// The status.
        status: u16,
        /// What its `Retry-After` says, if it has one; see
        /// [`super::retry_after`].
        retry_after: Option<Duration>,
    },
    /// It would fail again in the same way, or the client or the gateway
    /// ended it.
    Final,
}

impl Failed {
    /// The class of a failure. `fresh`: the connection was asked to be new, so
    /// its end is no matter of having waited.
    #[must_use]
    pub fn of(failure: &Failure, fresh: bool) -> Failed {
        let refusal = failure.rejection.refusal;
        match (refusal.origin, refusal.retry) {
            (Origin::Upstream, Retry::Always) => Failed::Unsent,
            (Origin::Upstream, Retry::IfSafe) if failure.stale && !fresh => Failed::Stale,
            (Origin::Upstream, Retry::IfSafe) if refusal.code == refuse::UPSTREAM_TIMEOUT.code => Failed::Timeout,
            (Origin::Upstream, Retry::IfSafe) if failure.unprocessed => Failed::Unsent,
            (Origin::Upstream, Retry::IfSafe) => Failed::Reset,
            _ => Failed::Final,
        }
    }

    /// The trigger that lists it; none lists what is final.
    pub(super) const fn trigger(self) -> Option<Trigger> {
        match self {
            Failed::Unsent => Some(Trigger::Connect),
            Failed::Stale | Failed::Reset => Some(Trigger::Reset),
            Failed::Timeout => Some(Trigger::Timeout),
            Failed::Status { status, .. } => Some(Trigger::Status(status)),
            Failed::Final => None,
        }
    }
}

/// A kind of failure, as `on` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// `connect`: nothing was sent (Envoy's `connect-failure` and
    /// `refused-stream`).
    Connect,
    /// `reset`: the connection broke before a reply.
    Reset,
    /// `timeout`: no reply in time; with a deadline for the whole request,
    /// this is the per-try timeout.
    Timeout,
    /// `gateway_error`: 502, 503 and 504.
    GatewayError,
    /// `5xx`: any status from 500 on.
    ServerError,
    /// One status from 400 to 599.
    Status(u16),
}

impl FromStr for Trigger {
    type Err = UnknownTrigger;

    fn from_str(text: &str) -> Result<Trigger, UnknownTrigger> {
        Ok(match text {
            "connect" => Trigger::Connect,
            "reset" => Trigger::Reset,
            "timeout" => Trigger::Timeout,
            "gateway_error" => Trigger::GatewayError,
            "5xx" => Trigger::ServerError,
            _ if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) => return Err(UnknownTrigger),
            _ => match text.parse() {
                Ok(status @ 400..=599) => Trigger::Status(status),
                _ => return Err(UnknownTrigger),
            },
        })
    }
}

/// Not a trigger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected `connect`, `reset`, `timeout`, `gateway_error`, `5xx` or a status from 400 to 599")]
pub struct UnknownTrigger;

/// A set of triggers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Triggers {
    connect: bool,
    reset: bool,
    timeout: bool,
    /// A bit per status, from 400 on.
    statuses: [u64; 4],
}

impl Triggers {
    /// None.
    pub const NONE: Triggers = Triggers { connect: false, reset: false, timeout: false, statuses: [0; 4] };

    /// `connect`, `reset`, `timeout`, 502, 503 and 504.
    pub const DEFAULT: Triggers =
        Triggers::NONE.with(Trigger::Connect).with(Trigger::Reset).with(Trigger::Timeout).with(Trigger::GatewayError);

    /// These and one more. A status outside 400 to 599 adds nothing.
    #[must_use]
    pub const fn with(mut self, trigger: Trigger) -> Triggers {
        match trigger {
            Trigger::Connect => self.connect = true,
            Trigger::Reset => self.reset = true,
            Trigger::Timeout => self.timeout = true,
            Trigger::GatewayError => self.add(502, 504),
            Trigger::ServerError => self.add(500, 599),
            Trigger::Status(status) => self.add(status, status),
        }
        self
    }

    const fn add(&mut self, first: u16, last: u16) {
        let mut status = first;
        while status <= last && status < 600 {
            if let Some((word, bit)) = place(status) {
                self.statuses[word] |= bit;
            }
            status += 1;
        }
    }

    /// Whether it has the trigger; of one that is several, whether all.
    #[must_use]
    pub const fn has(&self, trigger: Trigger) -> bool {
        match trigger {
            Trigger::Connect => self.connect,
            Trigger::Reset => self.reset,
            Trigger::Timeout => self.timeout,
            Trigger::GatewayError => self.has_all(502, 504),
            Trigger::ServerError => self.has_all(500, 599),
            Trigger::Status(status) => self.has_all(status, status),
        }
    }

    const fn has_all(&self, first: u16, last: u16) -> bool {
        let mut status = first;
        while status <= last {
            match place(status) {
                Some((word, bit)) if self.statuses[word] & bit != 0 => status += 1,
                _ => return false,
            }
        }
        true
    }
}

impl FromIterator<Trigger> for Triggers {
    fn from_iter<I: IntoIterator<Item = Trigger>>(triggers: I) -> Triggers {
        triggers.into_iter().fold(Triggers::NONE, Triggers::with)
    }
}

/// Word and bit of a status.
const fn place(status: u16) -> Option<(usize, u64)> {
    match status {
        400..=599 => Some(((status - 400) as usize / 64, 1 << ((status - 400) % 64))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::refusal::{Refusal, Rejection};

    #[test]
    fn triggers_are_read_as_written() {
        let read: Result<Triggers, _> =
            ["connect", "reset", "timeout", "502", "503", "504"].map(str::parse).into_iter().collect();
        assert_eq!(read, Ok(Triggers::DEFAULT));
        assert_eq!("gateway_error".parse(), Ok(Trigger::GatewayError));
        for bad in ["", "5XX", "4xx", "200", "399", "600", "5020", "+503", "retriable-4xx", "connect "] {
            assert_eq!(bad.parse::<Trigger>(), Err(UnknownTrigger), "{bad}");
        }
    }

    #[test]
    fn every_status_has_a_bit_of_its_own() {
        for status in 0..1000 {
            let only = Triggers::NONE.with(Trigger::Status(status));
            let had: Vec<u16> = (0..1000).filter(|&other| only.has(Trigger::Status(other))).collect();
            let expected: &[u16] = if (400..600).contains(&status) { &[status] } else { &[] };
            assert_eq!(had, expected);
        }
        let all = Triggers::NONE.with(Trigger::ServerError);
        assert_eq!((0..1000).filter(|&status| all.has(Trigger::Status(status))).count(), 100);
        assert!(all.has(Trigger::GatewayError) && !Triggers::DEFAULT.has(Trigger::ServerError));
        assert!(!all.has(Trigger::Connect));
    }

    #[test]
    fn failures_are_classed_by_what_may_have_happened() {
        let class = |refusal: &'static Refusal, stale: bool, fresh: bool| {
            Failed::of(&Failure { rejection: Rejection::new(refusal), body: None, stale, unprocessed: false }, fresh)
        };
        for refusal in [
            &refuse::UPSTREAM_CONNECT,
            &refuse::UPSTREAM_CONNECT_TIMEOUT,
            &refuse::UPSTREAM_UNRESOLVED,
            &refuse::UPSTREAM_TLS,
        ] {
            assert_eq!(class(refusal, false, false), Failed::Unsent);
        }
        assert_eq!(class(&refuse::UPSTREAM_CLOSED, true, false), Failed::Stale);
        assert_eq!(class(&refuse::UPSTREAM_CLOSED, true, true), Failed::Reset);
        assert_eq!(class(&refuse::UPSTREAM_CLOSED, false, false), Failed::Reset);
        assert_eq!(class(&refuse::UPSTREAM_RESET, false, false), Failed::Reset);
        assert_eq!(class(&refuse::UPSTREAM_MALFORMED, false, false), Failed::Reset);
        assert_eq!(class(&refuse::UPSTREAM_TIMEOUT, false, false), Failed::Timeout);
        for refusal in [&refuse::UPSTREAM_UNWRITABLE, &refuse::CLIENT_GONE, &refuse::BODY_TRUNCATED, &refuse::BODY_IDLE]
        {
            assert_eq!(class(refusal, false, false), Failed::Final, "{}", refusal.code);
        }
    }
}
