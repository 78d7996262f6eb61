//! Shares of a whole.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{found, text_scalar};
use crate::diagnostic::Misfit;

pub(super) const FORMAT: &str = "torana-percent";
pub(super) const EXPECTED: &str = "a percentage such as `50%` or `0.5%`";

/// A share of a whole as text: `50%`, `0.5%`; from `0%` to `100%`, in steps of a hundredth.
///
/// A number without the sign is an error: `0.5` is a half to some and half a percent to others.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

text_scalar!(Percent, "Percent", {
    "type": "string",
    "format": "torana-percent",
    "pattern": r"^([0-9]{1,2}(\.[0-9]{1,2})?|100(\.00?)?)%$",
    "description": "A share of a whole, from `0%` to `100%`, with at most two decimals.",
    "examples": ["50%", "0.5%"],
    "x-torana-expects": "a percentage such as `50%` or `0.5%`"
});

impl Percent {
    /// The whole.
    pub const WHOLE: Self = Self(10_000);

    /// So many hundredths of a percent, at most 10 000.
    #[must_use]
    pub const fn of_hundredths(hundredths: u16) -> Self {
        if hundredths < 10_000 { Self(hundredths) } else { Self::WHOLE }
    }

    /// Whether `part` is at least this share of `whole`, in whole numbers, so
    /// that a threshold is met at the very request a person would count to.
    /// Nothing is no share of nothing.
    #[must_use]
    pub const fn is_met(self, part: u64, whole: u64) -> bool {
        whole > 0 && part.saturating_mul(10_000) >= whole.saturating_mul(self.0 as u64)
    }

    /// This share of `whole`, rounded down.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a share of a number is no larger than it")]
    pub const fn of(self, whole: u64) -> u64 {
        (whole as u128 * self.0 as u128 / 10_000) as u64
    }

    /// So many percent, at most 100.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self::of_hundredths(percent as u16 * 100)
    }

    /// In hundredths of a percent, 0 to 10 000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }
}

/// What is wrong with a number that stands without its sign.
pub(super) fn without_sign(number: &str) -> Misfit {
    Misfit::new(EXPECTED, format!("{number}, which has no `%`")).hint(format!("write `{number}%`"))
}

impl FromStr for Percent {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit = |which: &str| Misfit::new(EXPECTED, found(text, which));
        let Some(number) = text.strip_suffix('%') else {
            return Err(match text.parse::<f64>() {
                Ok(_) => without_sign(text),
                Err(_) => misfit("which does not end with `%`"),
            });
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(decimals) {
            return Err(misfit("which is not a number"));
        }
        if decimals.len() > 2 {
            return Err(misfit("which has more than two decimals"));
        }
        let tens = if decimals.len() == 1 { 10 } else { 1 };
        let hundredths = whole
            .parse::<u16>()
            .ok()
            .and_then(|whole| whole.checked_mul(100)?.checked_add(decimals.parse::<u16>().ok()? * tens));
        match hundredths {
            Some(hundredths) if hundredths <= 10_000 => Ok(Self(hundredths)),
            _ => Err(misfit("which is more than the whole")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", rest / 10),
            _ => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_broken_percentages() {
        let hundredths = |text: &str| text.parse::<Percent>().map(Percent::hundredths).ok();
        assert_eq!(hundredths("50%"), Some(5000));
        assert_eq!(hundredths("0%"), Some(0));
        assert_eq!(hundredths("0.5%"), Some(50));
        assert_eq!(hundredths("0.05%"), Some(5));
        assert_eq!(hundredths("12.34%"), Some(1234));
        assert_eq!(hundredths("100%"), Some(10_000));
        assert_eq!(hundredths("100.00%"), Some(10_000));
    }

    #[test]
    fn what_is_refused_says_why() {
        let found = |text: &str| text.parse::<Percent>().map_err(|misfit| (misfit.found, misfit.hint));
        assert_eq!(found("50").unwrap_err().1.as_deref(), Some("write `50%`"));
        assert_eq!(found("0.5").unwrap_err().0, "0.5, which has no `%`");
        assert_eq!(found("101%").unwrap_err().0, "`101%`, which is more than the whole");
        assert_eq!(found("100.01%").unwrap_err().0, "`100.01%`, which is more than the whole");
        assert_eq!(found("99999999%").unwrap_err().0, "`99999999%`, which is more than the whole");
        assert_eq!(found("1.234%").unwrap_err().0, "`1.234%`, which has more than two decimals");
        assert_eq!(found("-1%").unwrap_err().0, "`-1%`, which is not a number");
        assert_eq!(found("%").unwrap_err().0, "`%`, which is not a number");
        assert_eq!(found("half").unwrap_err().0, "`half`, which does not end with `%`");
    }

    #[test]
    fn a_threshold_is_met_at_the_request_one_counts_to() {
        let half = Percent::new(50);
        assert!(half.is_met(10, 20) && !half.is_met(10, 21) && half.is_met(11, 21));
        assert!(!half.is_met(0, 0));
        assert!(Percent::WHOLE.is_met(3, 3) && !Percent::WHOLE.is_met(2, 3));
        assert!(Percent::new(33).is_met(33, 100) && !Percent::new(33).is_met(1, 4));
    }

    #[test]
    fn a_share_of_anything_fits() {
        assert_eq!(Percent::new(20).of(14), 2);
        assert_eq!(Percent::WHOLE.of(u64::MAX), u64::MAX);
        assert_eq!(Percent::new(200), Percent::WHOLE);
    }

    #[test]
    fn printing_and_parsing_agree() {
        for hundredths in 0..=10_000 {
            let percent = Percent(hundredths);
            assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
        }
        assert_eq!(Percent::new(50).to_string(), "50%");
        assert_eq!(Percent(50).to_string(), "0.5%");
        assert_eq!(Percent(5).to_string(), "0.05%");
    }
}
