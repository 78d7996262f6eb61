//! What an attempt says about the upstream, in the words that health, the
//! breaker and the log share.
//!
//! The classes are what keeps strangers from switching an upstream off: an
//! answer is judged by its status, a failure by whose fault it was, and what
//! the client or the gateway did is not the upstream's to answer for
//! (envoyproxy/envoy#25487 tells of gateways that ejected hosts for their own
//! refusals).

use std::fmt;
use torana_core::head::Status;
use torana_core::refusal::{Origin, Refusal, Rejection};
use torana_net::client::h1::Failure;
use torana_net::refusals as refuse;

/// How an attempt ended. Its latency is told beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It replied. Which statuses are failures is for who judges to say.
    Replied(Status),
    /// It failed.
    Failed(Fault),
    /// It ended for reasons of the client or the gateway: the client went
    /// away, a limit was hit, or a deadline passed that was not the upstream's
    /// own. A stranger who asks for an answer in a millisecond must not be able
    /// to count against the upstream.
    Local,
}

/// How an endpoint failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It could not be connected to.
    Connect,
    /// TLS could not be agreed on.
    Tls,
    /// It did not answer, or stopped answering, in time.
    Timeout,
    /// It broke the connection or the stream.
    Reset,
    /// What it sent is not valid.
    Malformed,
    /// It replied with this status.
    Status(Status),
}

impl Outcome {
    /// What a failed attempt says about the endpoint it was made on. That a
    /// connection was closed while it waited in the pool is the course of
    /// things; the attempt on a new one will tell.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Outcome {
        if failure.stale { Outcome::Local } else { Outcome::of_rejection(&failure.rejection) }
    }

    /// What a rejection says about the endpoint it came of.
    #[must_use]
    pub fn of_rejection(rejection: &Rejection) -> Outcome {
        let refusal = rejection.refusal;
        if refusal.origin != Origin::Upstream {
            return Outcome::Local;
        }
        let is = |other: &Refusal| refusal.code == other.code;
        Outcome::Failed(if is(&refuse::UPSTREAM_TLS) {
            Fault::Tls
        } else if refusal.status == Status::GATEWAY_TIMEOUT {
            Fault::Timeout
        } else if is(&refuse::UPSTREAM_CONNECT) || is(&refuse::UPSTREAM_UNRESOLVED) {
            Fault::Connect
        } else if is(&refuse::UPSTREAM_MALFORMED) || is(&refuse::REPLY_INVALID) {
            Fault::Malformed
        } else {
            Fault::Reset
        })
    }

    /// The same for an attempt that had less time than the upstream's own
    /// `timeout`, because of the route's or because earlier attempts had used
    /// it up: that it was not enough is then not the endpoint's fault.
    #[must_use]
    pub const fn cut_short(self) -> Outcome {
        match self {
            Outcome::Failed(Fault::Timeout) => Outcome::Local,
            other => other,
        }
    }

    /// What it counts as for a breaker. Below 500 the upstream answered, and a
    /// 404 or 429 is an answer: it is good. Above, it failed, except for 501 and
    /// 505, which say of the request's method or version that they are unknown:
    /// a client could otherwise open a breaker by inventing methods.
    #[must_use]
    pub const fn judge(self) -> Judgement {
        match self {
            Outcome::Local => Judgement::Nothing,
            Outcome::Failed(_) => Judgement::Bad,
            Outcome::Replied(status) => match status.code() {
                501 | 505 => Judgement::Good,
                500.. => Judgement::Bad,
                _ => Judgement::Good,
            },
        }
    }
}

/// What an outcome counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// The upstream does its work.
    Good,
    /// It does not.
    Bad,
    /// It says nothing about the upstream.
    Nothing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Connect => f.write_str("no connection"),
            Fault::Tls => f.write_str("no TLS"),
            Fault::Timeout => f.write_str("too late"),
            Fault::Reset => f.write_str("broken off"),
            Fault::Malformed => f.write_str("malformed"),
            Fault::Status(status) => write!(f, "{status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_upstream_did_counts_against_it() {
        let judge = |code| Outcome::Replied(Status::new(code).unwrap()).judge();
        for code in [200, 204, 301, 304, 400, 401, 403, 404, 408, 429, 499, 501, 505] {
            assert_eq!(judge(code), Judgement::Good, "{code}");
        }
        for code in [500, 502, 503, 504, 507, 599] {
            assert_eq!(judge(code), Judgement::Bad, "{code}");
        }
    }

    #[test]
    fn every_refusal_of_the_network_is_charged_to_whom_it_blames() {
        for refusal in refuse::REFUSALS.iter().copied().chain(refuse::codec()) {
            let outcome = Outcome::of_rejection(&Rejection::new(refusal));
            let charged = matches!(outcome, Outcome::Failed(_));
            assert_eq!(charged, refusal.origin == Origin::Upstream, "{}", refusal.code);
        }
    }

    #[test]
    fn faults_are_told_apart() {
        let of = |refusal| Outcome::of_rejection(&Rejection::new(refusal));
        assert_eq!(of(&refuse::UPSTREAM_CONNECT), Outcome::Failed(Fault::Connect));
        assert_eq!(of(&refuse::UPSTREAM_CONNECT_TIMEOUT), Outcome::Failed(Fault::Timeout));
        assert_eq!(of(&refuse::UPSTREAM_TLS), Outcome::Failed(Fault::Tls));
        assert_eq!(of(&refuse::UPSTREAM_TIMEOUT), Outcome::Failed(Fault::Timeout));
        assert_eq!(of(&refuse::UPSTREAM_CLOSED), Outcome::Failed(Fault::Reset));
        assert_eq!(of(&refuse::UPSTREAM_RESET), Outcome::Failed(Fault::Reset));
        assert_eq!(of(&refuse::UPSTREAM_MALFORMED), Outcome::Failed(Fault::Malformed));
        assert_eq!(of(&refuse::CLIENT_GONE), Outcome::Local);
        assert_eq!(of(&refuse::REQUEST_TIMEOUT), Outcome::Local);
    }

    #[test]
    fn connections_that_went_stale_are_not_charged() {
        let failure = |stale| Failure {
            rejection: Rejection::new(&refuse::UPSTREAM_CLOSED),
            body: None,
            stale,
            unprocessed: false,
        };
        assert_eq!(Outcome::of_failure(&failure(false)), Outcome::Failed(Fault::Reset));
        assert_eq!(Outcome::of_failure(&failure(true)), Outcome::Local);
    }

    #[test]
    fn time_that_others_took_is_not_charged() {
        assert_eq!(Outcome::Failed(Fault::Timeout).cut_short(), Outcome::Local);
        assert_eq!(Outcome::Failed(Fault::Reset).cut_short(), Outcome::Failed(Fault::Reset));
    }

    #[test]
    fn a_breaker_judges_by_whose_fault_it_was() {
        assert_eq!(Outcome::Failed(Fault::Timeout).judge(), Judgement::Bad);
        assert_eq!(Outcome::Local.judge(), Judgement::Nothing);
    }
}
