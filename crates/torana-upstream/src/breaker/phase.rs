//! The phases of a breaker, and the words that carry one across threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a breaker does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Admits all and counts.
    Closed,
    /// Admits none until its time is over.
    Open,
    /// Admits a few, to judge by them.
    HalfOpen,
    /// Admits a growing share and counts.
    Recovering,
    /// Admits none until an operator says otherwise.
    ForcedOpen,
    /// Admits all, whatever happens, until an operator says otherwise.
    ForcedClosed,
}

impl Phase {
    /// Its name, as metrics and the admin interface have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Open => "open",
            Phase::HalfOpen => "half_open",
            Phase::Recovering => "recovering",
            Phase::ForcedOpen => "forced_open",
            Phase::ForcedClosed => "forced_closed",
        }
    }
}

/// A phase and how many came before it, in one atomic word. Two equal words
/// mean that nothing has changed in between, so a permit carries the word it
/// was given under, and a result counts only while the word is still that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(u64);

impl Word {
    pub(super) const FIRST: Word = Word::new(1, Phase::Closed);

    const fn new(generation: u64, phase: Phase) -> Word {
        Word(generation << 8 | phase as u64)
    }

    /// The word of `phase` that follows this one.
    pub(super) const fn next(self, phase: Phase) -> Word {
        Word::new(self.generation().wrapping_add(1), phase)
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> 8
    }

    pub(super) const fn phase(self) -> Phase {
        match self.0 & 0xff {
            0 => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            3 => Phase::Recovering,
            4 => Phase::ForcedOpen,
            _ => Phase::ForcedClosed,
        }
    }
}

/// The word in force.
#[derive(Debug)]
pub(super) struct WordCell(AtomicU64);

impl WordCell {
    pub(super) const fn new(word: Word) -> WordCell {
        WordCell(AtomicU64::new(word.0))
    }

    /// Everything that was stored before the word was set is visible.
    pub(super) fn load(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// Only under the breaker's lock.
    pub(super) fn set(&self, word: Word) {
        self.0.store(word.0, Ordering::Release);
    }
}

/// A small number that belongs to one generation: whoever comes from another
/// one cannot change it, however late.
#[derive(Debug)]
pub(super) struct Stamped(AtomicU64);

impl Stamped {
    const fn stamp(word: Word) -> u64 {
        word.generation() << 32
    }

    /// Zero, for `word`.
    pub(super) const fn fresh(word: Word) -> Stamped {
        Stamped(AtomicU64::new(Self::stamp(word)))
    }

    /// Starts again at zero for `word`; only under the breaker's lock.
    pub(super) fn reset(&self, word: Word) {
        self.0.store(Self::stamp(word), Ordering::Release);
    }

    /// Changes the value and returns the new one; `None` when it belongs to
    /// another generation or `change` declines.
    pub(super) fn change(&self, word: Word, mut change: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let value = Self::value(word, seen)?;
            let changed = change(value)?;
            let wanted = Self::stamp(word) | u64::from(changed);
            match self.0.compare_exchange_weak(seen, wanted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(changed),
                Err(other) => seen = other,
            }
        }
    }

    /// The value; `None` when it belongs to another generation.
    pub(super) fn get(&self, word: Word) -> Option<u32> {
        Self::value(word, self.0.load(Ordering::Acquire))
    }

    const fn value(word: Word, seen: u64) -> Option<u32> {
        #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let value = seen as u32;
        if seen & !0xffff_ffff == Self::stamp(word) { Some(value) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_every_phase() {
        let mut word = Word::FIRST;
        for phase in
            [Phase::Open, Phase::HalfOpen, Phase::Recovering, Phase::Closed, Phase::ForcedOpen, Phase::ForcedClosed]
        {
            let next = word.next(phase);
            assert_eq!((next.phase(), next.generation()), (phase, word.generation() + 1));
            assert_ne!(next, word);
            word = next;
        }
    }

    #[test]
    fn a_number_of_another_generation_cannot_be_changed() {
        let (old, new) = (Word::FIRST, Word::FIRST.next(Phase::Open));
        let number = Stamped::fresh(old);
        assert_eq!(number.change(old, |value| Some(value + 2)), Some(2));
        assert_eq!(number.change(new, |value| Some(value + 1)), None);
        number.reset(new);
        assert_eq!(number.change(old, |value| Some(value + 1)), None);
        assert_eq!((number.get(old), number.get(new)), (None, Some(0)));
        assert_eq!(number.change(new, |_| None), None);
    }
}
