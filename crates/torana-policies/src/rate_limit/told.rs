//! What clients are told.

use std::cell::Cell;
use std::fmt::Write;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName, NameSet};
use torana_core::refusal::Rejection;
use torana_core::store::quota::{Algorithm, Quota, Standing};

/// Which fields are written.
#[derive(Clone, Copy)]
pub(super) struct Which {
    pub(super) ietf: bool,
    pub(super) legacy: bool,
}

/// What of a limit is told with each reply.
pub(super) struct Left {
    /// How much there is.
    amount: u64,
    /// After how many seconds there is more.
    seconds: u64,
}

impl From<&Standing> for Left {
    /// When there is more: of a limit that refuses, when it no longer does; else
    /// when all of it is there again. So `Retry-After` is never before it.
    fn from(standing: &Standing) -> Left {
        let is_refusing = standing.retry > 0 && standing.retry != Standing::NEVER;
        let soonest = if is_refusing { standing.retry } else { standing.reset };
        Left { amount: standing.left, seconds: soonest.div_ceil(1_000_000) }
    }
}

/// What a set of limits tells clients: put together when it is compiled, but
/// for the numbers.
pub(super) struct Told {
    which: Which,
    /// The length of what `RateLimit-Policy` says.
    policy: usize,
    limits: Box<[Limit]>,
}

/// What is told of one limit.
struct Limit {
    /// What stands before its first number in `RateLimit`; of the first limit
    /// that is all of `RateLimit-Policy` and the beginning of `RateLimit`.
    listed: Box<[u8]>,
    /// Whether it is told when there is more.
    has_time: bool,
    /// `x-ratelimit-limit` and the beginning of `x-ratelimit-remaining`, behind
    /// the end of the line before if there is one.
    alone: Box<[u8]>,
    /// How many there are, in digits.
    amount: Box<[u8]>,
    /// What is told at most.
    most: u64,
    /// `x-ratelimit-limit-NAME` and `x-ratelimit-remaining-NAME`.
    names: Option<[HeaderName; 2]>,
}

/// `RateLimit-Policy` for quotas, as draft-ietf-httpapi-ratelimit-headers-10
/// §3 has it: a list of names with quota and window.
fn policy(quotas: &[Quota]) -> String {
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

thread_local! {
    /// Where lines are put together. Names of limits and numbers: what is said
    /// here can stand in a header.
    static LINES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

const LISTS: NameSet = NameSet::of(&[KnownName::RateLimit, KnownName::RateLimitPolicy]);

impl Told {
    /// What is told about `quotas`.
    pub(super) fn new(which: Which, quotas: &[Quota]) -> Told {
        let policy = policy(quotas);
        let (name, list) = (KnownName::RateLimitPolicy.as_str(), KnownName::RateLimit.as_str());
        let mut before = format!("{name}: {policy}\r\n{list}: ");
        let end = if which.ietf { "\r\n" } else { "" };
        let limits = quotas.iter().map(|quota| {
            let listed = format!("{before}\"{}\";r=", quota.name).into_bytes().into();
            before = ", ".to_owned();
            let (limit, remaining) = (KnownName::XRateLimitLimit.as_str(), KnownName::XRateLimitRemaining.as_str());
            let own = |which: &str| HeaderName::new(&format!("{which}-{}", quota.name));
            Limit {
                listed,
                has_time: quota.algorithm != Algorithm::Concurrency,
                alone: format!("{end}{limit}: {}\r\n{remaining}: ", quota.amount).into_bytes().into(),
                amount: quota.amount.to_string().into_bytes().into(),
                most: quota.most().max(1),
                names: own(limit).zip(own(remaining)).filter(|_| quotas.len() > 1).map(<[HeaderName; 2]>::from),
            }
        });
        Told { which, limits: limits.collect(), policy: policy.len() }
    }

    /// Whether anything is written at all.
    pub(super) const fn any(&self) -> bool {
        self.which.ietf || self.which.legacy
    }

    /// Writes how it stands. A reply may have limits of another policy: its
    /// `RateLimit` is a list, and of the other fields the outer policy's stay.
    pub(super) fn write(&self, left: &[Left], fields: &mut Fields) {
        let Some((nearest, limit, Left { amount, seconds })) = self.nearest(left) else { return };
        let Which { ietf, legacy } = self.which;
        if !self.any() {
            return;
        }
        let (mut amount_text, mut seconds_text) = (itoa::Buffer::new(), itoa::Buffer::new());
        let amount = amount_text.format(*amount).as_bytes();
        let seconds = seconds_text.format(*seconds).as_bytes();
        let mut lines = LINES.take();
        lines.clear();
        if ietf {
            for (index, (limit, left)) in self.limits.iter().zip(left).enumerate() {
                lines.extend_from_slice(&limit.listed);
                if index == nearest {
                    lines.extend_from_slice(amount);
                } else {
                    number(left.amount, &mut lines);
                }
                if limit.has_time {
                    lines.extend_from_slice(b";t=");
                    if index == nearest {
                        lines.extend_from_slice(seconds);
                    } else {
                        number(left.seconds, &mut lines);
                    }
                }
            }
        }
        let list = lines.len();
        if legacy {
            lines.extend_from_slice(&limit.alone);
            lines.extend_from_slice(amount);
            lines.extend_from_slice(b"\r\nx-ratelimit-reset: ");
            lines.extend_from_slice(seconds);
        }
        lines.extend_from_slice(b"\r\n");
        let before = "ratelimit-policy: \r\nratelimit: ".len() + self.policy;
        let names = [
            (KnownName::RateLimitPolicy, self.policy),
            (KnownName::RateLimit, list.saturating_sub(before)),
            (KnownName::XRateLimitLimit, limit.amount.len()),
            (KnownName::XRateLimitRemaining, amount.len()),
            (KnownName::XRateLimitReset, seconds.len()),
        ];
        let names = match (ietf, legacy) {
            (true, true) => &names[..],
            (true, false) => &names[..2],
            (false, true) => &names[2..],
            (false, false) => &[],
        };
        put(&lines, names, fields);
        LINES.set(lines);
        if legacy {
            self.limits.iter().zip(left).for_each(|(limit, left)| limit.each(left, fields));
        }
    }

    /// The one with the least left, in proportion.
    fn nearest<'a>(&'a self, left: &'a [Left]) -> Option<(usize, &'a Limit, &'a Left)> {
        let pairs = self.limits.iter().zip(left).enumerate();
        let mut triples = pairs.map(|(index, (limit, left))| (index, limit, left));
        if self.limits.len() == 1 {
            return triples.next();
        }
        // Products of 128 bits are exact.
        triples.min_by_key(|(_, limit, left)| u128::from(left.amount) * (1 << 64) / u128::from(limit.most))
    }
}

impl Limit {
    /// Sets the fields of this one of several limits.
    fn each(&self, left: &Left, fields: &mut Fields) {
        let Some([limit, remaining]) = &self.names else { return };
        let mut amount = itoa::Buffer::new();
        let amount = amount.format(left.amount).as_bytes();
        for (name, value) in [(limit, &*self.amount), (remaining, amount)] {
            fields.remove(name);
            let _ = fields.append_under(name, value);
        }
    }
}

/// Puts `lines` on a reply: fields as HTTP/1.1 has them, with the lengths of
/// their values.
fn put(lines: &[u8], names: &[(KnownName, usize)], fields: &mut Fields) {
    if !fields.contains_any(LISTS) {
        fields.set_own_lines(lines, names);
        return;
    }
    let mut start = 0;
    for &(name, length) in names {
        start += name.as_str().len() + 2;
        let value = lines.get(start..start + length).unwrap_or_default();
        if LISTS.contains(name) {
            let _ = fields.append(name, value);
        } else {
            fields.set_own(name, value);
        }
        start += length + 2;
    }
}

fn number(number: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
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
            let left = [Left::from(&Standing { left: amount - 1, reset: 6_000_000, ..Standing::default() })];
            Told::new(Which { ietf: true, legacy: true }, &quotas).write(&left, &mut fields);
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

    #[test]
    fn what_is_put_together_beforehand_fits_what_is_written_later() {
        let quota = |name, algorithm, amount| {
            Quota::new(name, algorithm, amount, Duration::from_secs(60), amount, Duration::ZERO).unwrap()
        };
        let quotas = [quota("rate", Algorithm::Bucket, 1000), quota("at_once", Algorithm::Concurrency, 7)];
        let standing = |left| Left::from(&Standing { left, reset: 12_000_001, ..Standing::default() });
        for left in [[999, 7], [10, 6], [900, 0], [0, 0]] {
            let standings = left.map(standing);
            // The limit with less left in proportion, the first if they are alike.
            let nearest = usize::from(left[1] * 1000 < left[0] * 7);
            let lists = [
                "ratelimit-policy: \"rate\";q=1000;w=60, \"at_once\";q=7;qu=\"concurrent-requests\"\r\n".to_owned(),
                format!("ratelimit: \"rate\";r={};t=13, \"at_once\";r={}\r\n", left[0], left[1]),
            ];
            let alone = [
                format!("x-ratelimit-limit: {}\r\n", quotas[nearest].amount),
                format!("x-ratelimit-remaining: {}\r\nx-ratelimit-reset: 13\r\n", left[nearest]),
                format!("x-ratelimit-limit-rate: 1000\r\nx-ratelimit-remaining-rate: {}\r\n", left[0]),
                format!("x-ratelimit-limit-at_once: 7\r\nx-ratelimit-remaining-at_once: {}\r\n", left[1]),
            ];
            for (ietf, legacy) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut fields = Fields::default();
                let told = Told::new(Which { ietf, legacy }, &quotas);
                told.write(&standings, &mut fields);
                assert_eq!(told.any(), ietf || legacy);
                let mut seen = Vec::new();
                fields.write_lines(&mut seen, NameSet::EMPTY);
                let mut expected = String::new();
                expected.extend(lists.iter().filter(|_| ietf).map(String::as_str));
                expected.extend(alone.iter().filter(|_| legacy).map(String::as_str));
                assert_eq!(String::from_utf8(seen).unwrap(), expected);
                for (name, value) in fields.iter() {
                    let line = [name.text, b": ", value, b"\r\n"].concat();
                    assert!(expected.contains(std::str::from_utf8(&line).unwrap()));
                }
            }
        }
    }
}
