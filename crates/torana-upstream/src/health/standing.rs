//! Whether an endpoint may be used, and what speaks against it.

use std::fmt;

/// What can keep an endpoint from being used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Why {
    /// A person has taken it out.
    Drained = 1,
    /// It is new and has to pass a probe first.
    Unchecked = 2,
    /// Probes say that it does not work.
    Unhealthy = 4,
    /// Requests failed on it.
    Ejected = 8,
    /// Whoever lists it has taken it out: `drain: true`.
    Configured = 16,
}

impl Why {
    /// All of them, in the order in which they are told.
    pub const ALL: [Why; 5] = [Why::Drained, Why::Configured, Why::Unchecked, Why::Unhealthy, Why::Ejected];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Drained => "drained",
            Why::Unchecked => "unchecked",
            Why::Unhealthy => "unhealthy",
            Why::Ejected => "ejected",
            Why::Configured => "drained_in_configuration",
        }
    }
}

/// Everything that speaks against using an endpoint; nothing means usable.
/// One byte, so that the request path reads it in one load.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing(u8);

/// What panic does not set aside: it was asked for, not guessed.
const ASKED_FOR: u8 = Why::Drained as u8 | Why::Configured as u8 | Why::Unchecked as u8;

impl Standing {
    /// Nothing speaks against it.
    pub const USABLE: Standing = Standing(0);

    pub(super) const fn from_bits(bits: u8) -> Standing {
        Standing(bits)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing speaks against it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        self.0 == 0
    }

    /// Whether it counts into the share that decides about panic, and is used
    /// in panic.
    #[must_use]
    pub const fn is_candidate(self) -> bool {
        self.0 & ASKED_FOR == 0
    }

    /// Whether a person has taken it out, in one way or the other.
    #[must_use]
    pub const fn is_drained(self) -> bool {
        self.has(Why::Drained) || self.has(Why::Configured)
    }

    /// Whether `why` is among what speaks against it.
    #[must_use]
    pub const fn has(self, why: Why) -> bool {
        self.0 & why as u8 != 0
    }

    /// With `why` added.
    #[must_use]
    pub const fn with(self, why: Why) -> Standing {
        Standing(self.0 | why as u8)
    }

    /// With `why` taken away.
    #[must_use]
    pub const fn without(self, why: Why) -> Standing {
        Standing(self.0 & !(why as u8))
    }

    /// What speaks against it.
    pub fn reasons(self) -> impl Iterator<Item = Why> {
        Why::ALL.into_iter().filter(move |&why| self.has(why))
    }
}

impl fmt::Display for Standing {
    /// `usable`, or what speaks against it: `unhealthy, ejected`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_usable() {
            return f.write_str("usable");
        }
        for (index, why) in self.reasons().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(why.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_and_go_on_their_own() {
        let both = Standing::USABLE.with(Why::Ejected).with(Why::Unhealthy);
        assert_eq!(both.to_string(), "unhealthy, ejected");
        assert_eq!(both.without(Why::Ejected).to_string(), "unhealthy");
        assert_eq!(both.without(Why::Ejected).without(Why::Unhealthy), Standing::USABLE);
        assert_eq!(Standing::USABLE.to_string(), "usable");
    }

    #[test]
    fn guesses_leave_a_candidate_and_wishes_do_not() {
        assert!(Standing::USABLE.with(Why::Ejected).with(Why::Unhealthy).is_candidate());
        assert!(!Standing::USABLE.with(Why::Drained).is_candidate());
        assert!(!Standing::USABLE.with(Why::Unhealthy).with(Why::Unchecked).is_candidate());
    }
}
