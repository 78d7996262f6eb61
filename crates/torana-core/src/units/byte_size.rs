//! Amounts of bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{found, split_number, text_scalar};
use crate::diagnostic::{Misfit, quoted};

pub(super) const FORMAT: &str = "torana-byte-size";
pub(super) const EXPECTED: &str = "a size such as `64KiB`, `10MiB` or a whole number of bytes";

/// The units, largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// An amount of bytes: `64KiB`, `10MiB`, `1MB`, `240B`, or a plain whole number of bytes.
///
/// `KiB`, `MiB`, `GiB`, `TiB` count in 1024s; `KB`, `MB`, `GB`, `TB` in 1000s. No fractions.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

text_scalar!(ByteSize, "ByteSize", {
    "type": ["string", "integer"],
    "format": "torana-byte-size",
    "minimum": 0,
    "pattern": "^[0-9]+(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$",
    "description": "An amount of bytes: `KiB`, `MiB`, `GiB` count in 1024s, `KB`, `MB`, `GB` in 1000s; a plain number is bytes.",
    "examples": ["64KiB", "10MiB", 4096],
    "x-torana-expects": "a size such as `64KiB`, `10MiB` or a whole number of bytes"
});

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1 048 576 bytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, at most what this machine can address: for lengths of buffers.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Self, Misfit> {
        let misfit = |which: &str| Misfit::new(EXPECTED, found(text, which));
        if text.is_empty() {
            return Err(Misfit::new(EXPECTED, "nothing"));
        }
        if text.contains('.') {
            return Err(misfit("which has a fraction").hint("use a smaller unit: `1536KiB` for one and a half MiB"));
        }
        if !text.as_bytes()[0].is_ascii_digit() {
            return Err(misfit("which does not start with a number"));
        }
        let too_large = || misfit("which is too large");
        let (number, unit) = split_number(text).ok_or_else(too_large)?;
        let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => {
                let hint = match unit.trim().chars().next().map(|c| c.to_ascii_uppercase()) {
                    Some(first @ ('K' | 'M' | 'G' | 'T')) => {
                        format!("write `{number}{first}iB` (in 1024s) or `{number}{first}B` (in 1000s)")
                    }
                    _ => "the units are `B`, `KiB`, `MiB`, `GiB`, `TiB` and `KB`, `MB`, `GB`, `TB`".to_owned(),
                };
                return Err(misfit(&format!("whose unit {} is unknown", quoted(unit))).hint(hint));
            }
        };
        number.checked_mul(factor).map(Self).ok_or_else(too_large)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        match UNITS.iter().find(|(_, factor)| whole(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let negative = || E::custom(Misfit::new(EXPECTED, quoted(&bytes.to_string())));
                u64::try_from(bytes).map(ByteSize).map_err(|_| negative())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_decimal_and_plain() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes).ok();
        assert_eq!(bytes("64KiB"), Some(65_536));
        assert_eq!(bytes("1MB"), Some(1_000_000));
        assert_eq!(bytes("10MiB"), Some(10_485_760));
        assert_eq!(bytes("240B"), Some(240));
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("0"), Some(0));
    }

    #[test]
    fn what_is_refused_says_why() {
        let found = |text: &str| text.parse::<ByteSize>().map_err(|misfit| (misfit.found, misfit.hint));
        let (text, hint) = found("10M").unwrap_err();
        assert_eq!(text, "`10M`, whose unit `M` is unknown");
        assert_eq!(hint.as_deref(), Some("write `10MiB` (in 1024s) or `10MB` (in 1000s)"));
        assert_eq!(found("10kb").unwrap_err().1.as_deref(), Some("write `10KiB` (in 1024s) or `10KB` (in 1000s)"));
        assert_eq!(found("1.5MiB").unwrap_err().0, "`1.5MiB`, which has a fraction");
        assert_eq!(found("lots").unwrap_err().0, "`lots`, which does not start with a number");
        assert_eq!(found("-1").unwrap_err().0, "`-1`, which does not start with a number");
        assert_eq!(found("99999999999TiB").unwrap_err().0, "`99999999999TiB`, which is too large");
        assert_eq!(found("99999999999999999999").unwrap_err().0, "`99999999999999999999`, which is too large");
        assert_eq!(found("").unwrap_err().0, "nothing");
        assert_eq!(found("5ü").unwrap_err().0, "`5ü`, whose unit `ü` is unknown");
    }

    #[test]
    fn printing_and_parsing_agree() {
        for bytes in [0, 1, 240, 1000, 1024, 1_000_000, 10 << 20, (10 << 20) + 1, u64::MAX] {
            let size = ByteSize::new(bytes);
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        assert_eq!(ByteSize::mib(10).to_string(), "10MiB");
        assert_eq!(ByteSize::new(1_000_000).to_string(), "1MB");
    }
}
