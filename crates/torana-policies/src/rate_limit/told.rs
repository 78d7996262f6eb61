//! What clients are told.

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
    /// Writes how it stands. A reply may have limits of another policy: its
    /// `RateLimit` is a list, and of the other fields the outer policy's stay.
    pub(super) fn write(self, quotas: &[Quota], policy: &str, standings: &[Standing], fields: &mut Fields) {
        let mut text = String::with_capacity(48);
        // Names and numbers: whatever is said here can stand in a header.
        let mut add = |name: &[u8], value: &str| {
            let _ = fields.append_text(name, value.as_bytes());
        };
        if self.ietf {
            for (quota, standing) in quotas.iter().zip(standings) {
                let comma = if text.is_empty() { "" } else { ", " };
                let _ = write!(text, "{comma}\"{}\";r={}", quota.name, standing.left);
                if quota.algorithm != Algorithm::Concurrency {
                    let _ = write!(text, ";t={}", seconds(soonest(standing)));
                }
            }
            add(b"ratelimit-policy", policy);
            add(b"ratelimit", &text);
        }
        if self.legacy {
            self.legacy(quotas, standings, fields);
        }
    }

    fn legacy(self, quotas: &[Quota], standings: &[Standing], fields: &mut Fields) {
        let mut set = |name: &str, number: u64| {
            if let Some(name) = HeaderName::new(name) {
                let _ = fields.set(name, number.to_string().as_bytes());
            }
        };
        // The least left in proportion; products of 128 bits are exact.
        let share = |(quota, standing): &(&Quota, &Standing)| {
            u128::from(standing.left) * (1 << 64) / u128::from(quota.most().max(1))
        };
        let Some((quota, standing)) = quotas.iter().zip(standings).min_by_key(share) else { return };
        set("x-ratelimit-limit", quota.amount);
        set("x-ratelimit-remaining", standing.left);
        set("x-ratelimit-reset", seconds(soonest(standing)));
        if quotas.len() > 1 {
            for (quota, standing) in quotas.iter().zip(standings) {
                set(&format!("x-ratelimit-limit-{}", quota.name), quota.amount);
                set(&format!("x-ratelimit-remaining-{}", quota.name), standing.left);
            }
        }
    }
}

/// When there is more: of a limit that refuses, when it no longer does; else
/// when all of it is there again. So `Retry-After` is never before it.
fn soonest(standing: &Standing) -> u64 {
    if standing.retry > 0 && standing.retry != Standing::NEVER { standing.retry } else { standing.reset }
}

fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
