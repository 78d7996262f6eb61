//! What clients are told.

use std::cell::RefCell;
use std::fmt::Write;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName, NameSet};
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
        let mut lines = LINES.take();
        lines.clear();
        if self.ietf {
            lines.add(KnownName::RateLimitPolicy, |text| text.extend_from_slice(policy.as_bytes()));
            lines.add(KnownName::RateLimit, |text| list(quotas, standings, text));
        }
        if let Some((quota, standing)) = least(quotas, standings).filter(|_| self.legacy) {
            lines.add(KnownName::XRateLimitLimit, |text| number(quota.amount, text));
            lines.add(KnownName::XRateLimitRemaining, |text| number(standing.left, text));
            lines.add(KnownName::XRateLimitReset, |text| number(seconds(soonest(standing)), text));
        }
        lines.write(fields);
        LINES.replace(lines);
        if self.legacy && quotas.len() > 1 {
            each(quotas, standings, fields);
        }
    }
}

/// `"minute";r=99;t=60, …`
fn list(quotas: &[Quota], standings: &[Standing], text: &mut Vec<u8>) {
    for (index, (quota, standing)) in quotas.iter().zip(standings).enumerate() {
        text.extend_from_slice(if index == 0 { b"\"" } else { b", \"" });
        text.extend_from_slice(quota.name.as_bytes());
        text.extend_from_slice(b"\";r=");
        number(standing.left, text);
        if quota.algorithm != Algorithm::Concurrency {
            text.extend_from_slice(b";t=");
            number(seconds(soonest(standing)), text);
        }
    }
}

/// Fields for each of several limits.
fn each(quotas: &[Quota], standings: &[Standing], fields: &mut Fields) {
    let mut set = |name: &str, number: u64| {
        if let Some(name) = HeaderName::new(name) {
            let _ = fields.set(name, number.to_string().as_bytes());
        }
    };
    for (quota, standing) in quotas.iter().zip(standings) {
        set(&format!("x-ratelimit-limit-{}", quota.name), quota.amount);
        set(&format!("x-ratelimit-remaining-{}", quota.name), standing.left);
    }
}

fn number(number: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Fields that are put on a reply together. Names of limits and numbers: what
/// is said here can stand in a header.
#[derive(Default)]
struct Lines {
    /// As HTTP/1.1 has them.
    text: Vec<u8>,
    /// With the lengths of their values.
    names: Vec<(KnownName, usize)>,
}

thread_local! {
    static LINES: RefCell<Lines> = RefCell::default();
}

impl Lines {
    fn clear(&mut self) {
        self.text.clear();
        self.names.clear();
    }

    fn add(&mut self, name: KnownName, value: impl FnOnce(&mut Vec<u8>)) {
        self.text.extend_from_slice(name.as_str().as_bytes());
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        value(&mut self.text);
        self.names.push((name, self.text.len() - start));
        self.text.extend_from_slice(b"\r\n");
    }

    fn write(&self, fields: &mut Fields) {
        const LISTS: NameSet = NameSet::of(&[KnownName::RateLimit, KnownName::RateLimitPolicy]);
        if !fields.contains_any(LISTS) {
            fields.set_own_lines(&self.text, &self.names);
            return;
        }
        let mut start = 0;
        for &(name, length) in &self.names {
            start += name.as_str().len() + 2;
            let value = self.text.get(start..start + length).unwrap_or_default();
            if LISTS.contains(name) {
                let _ = fields.append(name, value);
            } else {
                fields.set_own(name, value);
            }
            start += length + 2;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn limits_of_another_policy_stay_in_the_lists_and_those_of_the_outer_one_stand_alone() {
        let mut fields = Fields::default();
        for (name, amount) in [("inner", 10), ("outer", 20)] {
            let minute = Duration::from_secs(60);
            let quotas = [Quota::new(name, Algorithm::Bucket, amount, minute, amount, Duration::ZERO).unwrap()];
            let standings = [Standing { left: amount - 1, reset: 6_000_000, ..Standing::default() }];
            let told = Told { ietf: true, legacy: true };
            told.write(&quotas, &policy(&quotas), &standings, &mut fields);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut shown: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}: {}", text(name.text), text(value))).collect();
        shown.sort();
        let expected = [
            "ratelimit-policy: \"inner\";q=10;w=60",
            "ratelimit-policy: \"outer\";q=20;w=60",
            "ratelimit: \"inner\";r=9;t=6",
            "ratelimit: \"outer\";r=19;t=6",
            "x-ratelimit-limit: 20",
            "x-ratelimit-remaining: 19",
            "x-ratelimit-reset: 6",
        ];
        assert_eq!(shown, expected);
    }
}
