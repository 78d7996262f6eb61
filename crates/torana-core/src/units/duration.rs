//! Lengths of time.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{found, split_number, text_scalar};
use crate::diagnostic::{Misfit, quoted};

pub(super) const FORMAT: &str = "torana-duration";
pub(super) const EXPECTED: &str = "a duration such as `3s`, `250ms` or `1m30s`";

/// The longest duration accepted: a hundred years. Beyond it, adding to a clock could overflow.
const LONGEST_MS: u64 = 36_500 * 24 * 3_600_000;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A length of time as text: `3s`, `250ms`, `1m`, `2h`, `1d`, or several together, `1m30s`.
///
/// Whole numbers only, largest unit first, each unit once. A number without a unit is an error,
/// because gateways disagree about what it would mean: milliseconds in Kong, seconds in nginx,
/// nanoseconds in Traefik.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

text_scalar!(Duration, "Duration", {
    "type": "string",
    "format": "torana-duration",
    "pattern": r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "description": "A length of time: whole numbers with the units `d`, `h`, `m`, `s`, `ms`, largest first.",
    "examples": ["3s", "250ms", "1m30s"],
    "x-torana-expects": "a duration such as `3s`, `250ms` or `1m30s`"
});

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn std(self) -> std::time::Duration {
        self.0
    }

    /// Whether this is no time at all, which many settings take for "no limit".
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// What is said about a bare number.
pub(super) fn without_unit(number: &str) -> Misfit {
    let text = found(number, "which has no unit");
    let hint = if number == "0" { "write `0s`".to_owned() } else { format!("write `{number}s` or `{number}ms`") };
    Misfit::new(EXPECTED, text).hint(hint)
}

impl FromStr for Duration {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit = |which: &str| Misfit::new(EXPECTED, found(text, which));
        if text.is_empty() {
            return Err(Misfit::new(EXPECTED, "nothing"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(without_unit(text));
        }
        if text.contains('.') {
            return Err(misfit("which has a fraction").hint("use a smaller unit: `1s500ms` for one and a half seconds"));
        }
        let mut rest = text;
        let mut allowed = &UNITS[..];
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let Some((number, tail)) = split_number(rest) else {
                return Err(misfit("which does not start with a number"));
            };
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let Some(at) = allowed.iter().position(|(name, _)| *name == unit) else {
                return Err(match (unit, UNITS.iter().any(|(name, _)| *name == unit)) {
                    ("", _) => misfit("whose last number has no unit"),
                    (_, true) => {
                        misfit("whose units are not in order").hint("largest unit first, each unit once: `1m30s`")
                    }
                    (_, false) => misfit(&format!("whose unit {} is unknown", quoted(unit)))
                        .hint("the units are `d`, `h`, `m`, `s` and `ms`"),
                });
            };
            let part = number.checked_mul(allowed[at].1);
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST_MS)
                .ok_or_else(|| misfit("which is more than a hundred years"))?;
            allowed = &allowed[at + 1..];
            rest = tail;
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in UNITS {
            if left >= millis {
                write!(f, "{}{unit}", left / millis)?;
                left %= millis;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
                Err(E::custom(without_unit(&number.to_string())))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
                Err(E::custom(without_unit(&number.to_string())))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, String> {
        let parsed: Result<Duration, Misfit> = text.parse();
        parsed.map(|duration| u64::try_from(duration.std().as_millis()).unwrap()).map_err(|misfit| misfit.found)
    }

    #[test]
    fn units_alone_and_together() {
        assert_eq!(parse("250ms"), Ok(250));
        assert_eq!(parse("3s"), Ok(3000));
        assert_eq!(parse("1m30s"), Ok(90_000));
        assert_eq!(parse("1d2h3m4s5ms"), Ok(93_784_005));
        assert_eq!(parse("0s"), Ok(0));
        assert_eq!(parse("90m"), Ok(5_400_000));
    }

    #[test]
    fn what_is_refused_says_why() {
        assert_eq!(parse("3"), Err("`3`, which has no unit".to_owned()));
        assert_eq!(parse(""), Err("nothing".to_owned()));
        assert_eq!(parse("1.5s"), Err("`1.5s`, which has a fraction".to_owned()));
        assert_eq!(parse("-1s"), Err("`-1s`, which does not start with a number".to_owned()));
        assert_eq!(parse("3sec"), Err("`3sec`, whose unit `sec` is unknown".to_owned()));
        assert_eq!(parse("3 s"), Err("`3 s`, whose unit ` s` is unknown".to_owned()));
        assert_eq!(parse("30s1m"), Err("`30s1m`, whose units are not in order".to_owned()));
        assert_eq!(parse("1s1s"), Err("`1s1s`, whose units are not in order".to_owned()));
        assert_eq!(parse("1m30"), Err("`1m30`, whose last number has no unit".to_owned()));
        assert_eq!(parse("36501d"), Err("`36501d`, which is more than a hundred years".to_owned()));
        let huge = "18446744073709551615d";
        assert_eq!(parse(huge), Err(format!("`{huge}`, which is more than a hundred years")));
    }

    #[test]
    fn a_bare_number_gets_a_hint_with_units() {
        let misfit = "30".parse::<Duration>().unwrap_err();
        assert_eq!(misfit.hint.as_deref(), Some("write `30s` or `30ms`"));
        assert_eq!("0".parse::<Duration>().unwrap_err().hint.as_deref(), Some("write `0s`"));
    }

    #[test]
    fn printing_and_parsing_agree() {
        for millis in [0, 1, 999, 1000, 61_001, 86_400_000, 90_061_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
        assert_eq!(Duration::from_secs(90).to_string(), "1m30s");
    }
}
