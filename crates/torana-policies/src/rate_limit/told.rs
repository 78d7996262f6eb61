//! What clients are told.

use std::cell::RefCell;
use std::fmt::Write;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_core::refusal::Rejection;
use torana_core::store::quota::{Algorithm, Quota, Standing};

/// Which fields are written.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) ietf: bool,
    pub(super) legacy: bool,
}

/// `RateLimit-Policy` for quotas, as draft-ietf-httpapi-ratelimit-headers-10
/// §3 has it: a list of names with quota and window.
pub(super) fn policy(quotas: &[Quota]) -> String {
    let mut text = String::new();
    for quota in quotas {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}\"{}\";q={}", quota.name, quota.amount);
        let _ = match quota.algorithm {
            Algorithm::Concurrency => write!(text, ";qu=\"concurrent-requests\""),
            _ => write!(text, ";w={}", quota.window().as_secs().max(1)),
        };
    }
    text
}

/// Adds `Retry-After` (RFC 9110 §10.2.3).
pub(super) fn retry_after(rejection: Rejection, seconds: u64) -> Rejection {
    rejection.with_field(KnownName::RetryAfter, seconds.to_string().as_bytes())
}

impl Told {
    /// Whether anything is written at all.
    pub(super) const fn any(self) -> bool {
        self.ietf || self.legacy
    }

    /// Writes how it stands. A reply may have limits of another policy: its
    /// `RateLimit` is a list, and of the other fields the outer policy's stay.
    pub(super) fn write(self, quotas: &[Quota], policy: &str, standings: &[Standing], fields: &mut Fields) {
        if self.ietf {
            let mut text = TEXT.take();
            text.clear();
            for (quota, standing) in quotas.iter().zip(standings) {
                text.extend_from_slice(if text.is_empty() { b"\"" } else { b", \"" });
                text.extend_from_slice(quota.name.as_bytes());
                text.extend_from_slice(b"\";r=");
                text.extend_from_slice(itoa::Buffer::new().format(standing.left).as_bytes());
                if quota.algorithm != Algorithm::Concurrency {
                    text.extend_from_slice(b";t=");
                    text.extend_from_slice(itoa::Buffer::new().format(seconds(soonest(standing))).as_bytes());
                }
            }
            add(KnownName::RateLimitPolicy, policy.as_bytes(), fields);
            add(KnownName::RateLimit, &text, fields);
            TEXT.replace(text);
        }
        if self.legacy {
            self.legacy(quotas, standings, fields);
        }
    }

    fn legacy(self, quotas: &[Quota], standings: &[Standing], fields: &mut Fields) {
        let Some((quota, standing)) = least(quotas, standings) else { return };
        for (name, number) in [
            (KnownName::XRateLimitLimit, quota.amount),
            (KnownName::XRateLimitRemaining, standing.left),
            (KnownName::XRateLimitReset, seconds(soonest(standing))),
        ] {
            fields.set_own(name, itoa::Buffer::new().format(number).as_bytes());
        }
        let mut set = |name: &str, number: u64| {
            if let Some(name) = HeaderName::new(name) {
                let _ = fields.set(name, number.to_string().as_bytes());
            }
        };
        if quotas.len() > 1 {
            for (quota, standing) in quotas.iter().zip(standings) {
                set(&format!("x-ratelimit-limit-{}", quota.name), quota.amount);
                set(&format!("x-ratelimit-remaining-{}", quota.name), standing.left);
            }
        }
    }
}

thread_local! {
    /// Where `RateLimit` is put together.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Adds a field. Names of limits and numbers: whatever is said here can stand
/// in one.
fn add(name: KnownName, value: &[u8], fields: &mut Fields) {
    if fields.contains(name) {
        let _ = fields.append(name, value);
    } else {
        fields.set_own(name, value);
    }
}

/// The one with the least left, in proportion.
fn least<'a>(quotas: &'a [Quota], standings: &'a [Standing]) -> Option<(&'a Quota, &'a Standing)> {
    let mut pairs = quotas.iter().zip(standings);
    if pairs.len() == 1 {
        return pairs.next();
    }
    // Products of 128 bits are exact.
    pairs.min_by_key(|(quota, standing)| u128::from(standing.left) * (1 << 64) / u128::from(quota.most().max(1)))
}

/// When there is more: of a limit that refuses, when it no longer does; else
/// when all of it is there again. So `Retry-After` is never before it.
fn soonest(standing: &Standing) -> u64 {
    if standing.retry > 0 && standing.retry != Standing::NEVER { standing.retry } else { standing.reset }
}

fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
