//! What a path pattern captured.

/// Ranges of the canonical path, in the order of the pattern's parameters.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Captures {
    ranges: Vec<(u32, u32)>,
}

impl Captures {
    /// Forgets all captures.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Adds the next capture: bytes `start..end` of the path.
    pub fn push(&mut self, start: usize, end: usize) {
        self.ranges.push((u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX)));
    }

    /// Forgets all but the first `count` captures.
    pub fn truncate(&mut self, count: usize) {
        self.ranges.truncate(count);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The capture at `index` of `path`, still percent-encoded; empty if it
    /// does not exist.
    #[must_use]
    pub fn get<'p>(&self, path: &'p str, index: usize) -> &'p str {
        self.ranges.get(index).and_then(|&(start, end)| path.get(start as usize..end as usize)).unwrap_or_default()
    }
}
