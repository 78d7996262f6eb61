use crate::error::HeadError;
use crate::limits::HeadLimits;
use crate::remembered::{MAX_REMEMBERED, Remembered, SKIP};
use memchr::memchr_iter;
use std::rc::Rc;
use torana_core::head::Fields;

/// How far a head has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// More bytes are needed; nothing of the buffer was consumed.
    Partial,
    /// The head is complete.
    Complete {
        /// Bytes of the buffer that the head took, its empty line included.
        consumed: usize,
    },
}

/// Remembers between calls how much of a growing buffer is known not to hold
/// the end of a head, so that a client which sends byte by byte costs time
/// proportional to its bytes, not to their square.
///
/// One per connection and direction. It resets itself when a head is complete;
/// [`reset`](HeadScanner::reset) it when the buffer is emptied otherwise. From
/// one message to the next it keeps the fields of an earlier one, so that the
/// same lines need not be read again.
#[derive(Debug)]
pub struct HeadScanner {
    /// Bytes looked at.
    seen: usize,
    /// Where the current line starts.
    line: usize,
    /// Whether the first line is complete.
    first_line: bool,
    /// How many sections of fields that have to be read pass before one of
    /// them is remembered.
    skip: u8,
    pub(crate) remembered: Option<Rc<Remembered>>,
}

impl Default for HeadScanner {
    fn default() -> Self {
        HeadScanner::new()
    }
}

/// What the newly arrived bytes brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Nothing to look at yet.
    Nothing,
    /// The first line has become complete: worth a look, since a line that
    /// cannot be HTTP (such as HTTP/0.9) will never be followed by an end.
    FirstLine,
    /// The head ends before this offset.
    End(usize),
}

impl HeadScanner {
    /// A scanner at the start of a connection.
    #[must_use]
    pub const fn new() -> HeadScanner {
        HeadScanner { seen: 0, line: 0, first_line: false, skip: 1, remembered: None }
    }

    /// Forgets what was seen of a message.
    pub const fn reset(&mut self) {
        self.seen = 0;
        self.line = 0;
        self.first_line = false;
    }

    /// Whether the first line of the message has arrived in full.
    #[must_use]
    pub const fn has_first_line(&self) -> bool {
        self.first_line
    }

    /// The fields of `section`, if it is the remembered one, as
    /// [`Remembered::recall`] has it.
    pub(crate) fn recall(&mut self, section: &[u8], limits: &HeadLimits, into: &mut Fields) -> Option<usize> {
        let length = self.remembered.as_deref()?.recall(section, limits, into)?;
        // One that is different may be an exception; two are not.
        self.skip = 1;
        Some(length)
    }

    /// Takes note of a section that had to be read, and of its fields before
    /// anybody changes them. The first of a connection is not kept: there may
    /// be no second. Nor is a single one among those that are known, nor most of
    /// those where all are new.
    pub(crate) fn note(&mut self, length: usize, fields: &Fields) {
        if length > MAX_REMEMBERED {
            return;
        }
        if let Some(left) = self.skip.checked_sub(1) {
            self.skip = left;
            return;
        }
        self.skip = SKIP;
        // The old one goes first: its place may be the new one's.
        self.remembered = None;
        self.remembered = Remembered::keep(fields);
    }

    /// Looks at the bytes of `buf` not seen before for the end of the head.
    pub(crate) fn advance(&mut self, buf: &[u8]) -> Result<Progress, HeadError> {
        let from = self.seen;
        let fresh = buf.get(from..).unwrap_or_default();
        let had_first_line = self.first_line;
        for at in memchr_iter(b'\n', fresh) {
            let lf = from.saturating_add(at);
            let cr = lf.checked_sub(1).ok_or(HeadError::BareLf)?;
            if cr < self.line || buf.get(cr) != Some(&b'\r') {
                return Err(HeadError::BareLf);
            }
            let empty = cr == self.line;
            self.line = lf.saturating_add(1);
            self.seen = self.line;
            self.first_line = true;
            if empty {
                return Ok(Progress::End(self.line));
            }
        }
        self.seen = buf.len();
        Ok(if self.first_line && !had_first_line { Progress::FirstLine } else { Progress::Nothing })
    }
}

/// Runs `attempt`, which parses a whole head, only when that can succeed or
/// tell something new: on the first bytes, when the first line is complete,
/// and when the whole head is. In the common case, a head that arrives in one
/// piece, nothing is scanned twice.
///
/// `start` is the number of leading bytes that belong to no message.
pub(crate) fn drive(
    scanner: &mut HeadScanner,
    buf: &[u8],
    start: usize,
    limits: &HeadLimits,
    mut attempt: impl FnMut(&[u8], &mut HeadScanner) -> Result<Option<usize>, HeadError>,
) -> Result<Parsed, HeadError> {
    let whole = buf.get(start..).unwrap_or_default();
    let window = whole.get(..limits.head_bytes).unwrap_or(whole);
    let fresh = scanner.seen == 0;
    let progress = if fresh { Progress::FirstLine } else { scanner.advance(window)? };
    if progress != Progress::Nothing && !window.is_empty() {
        if let Some(length) = attempt(window, scanner)? {
            if !fresh && progress != Progress::End(length) {
                return Err(HeadError::Ambiguous);
            }
            scanner.reset();
            return Ok(Parsed::Complete { consumed: start.saturating_add(length) });
        }
        if matches!(progress, Progress::End(_)) {
            return Err(HeadError::Ambiguous);
        }
    }
    if fresh && matches!(scanner.advance(window)?, Progress::End(_)) {
        return Err(HeadError::Ambiguous);
    }
    if window.len() >= limits.head_bytes {
        return Err(HeadError::HeaderTooLarge);
    }
    Ok(Parsed::Partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_whatever_the_pieces() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for split in 1..head.len() {
            let mut scanner = HeadScanner::new();
            let first = scanner.advance(&head[..split]).unwrap();
            if split >= 27 {
                assert_eq!(first, Progress::End(27));
            } else {
                assert_eq!(scanner.advance(head).unwrap(), Progress::End(27), "{split}");
            }
        }
    }

    #[test]
    fn a_bare_line_feed_is_seen_at_once() {
        assert_eq!(HeadScanner::new().advance(b"GET / HTTP/1.1\n"), Err(HeadError::BareLf));
        assert_eq!(HeadScanner::new().advance(b"\n"), Err(HeadError::BareLf));
        assert_eq!(HeadScanner::new().advance(b"a\r\n\n"), Err(HeadError::BareLf));
    }

    /// A byte-at-a-time sender: every byte is looked at once, and the parser
    /// runs at most three times.
    #[test]
    fn a_slow_sender_is_not_quadratic() {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "x-filler: abcdefgh\r\n".repeat(400));
        let limits = HeadLimits::default();
        let mut scanner = HeadScanner::new();
        let mut attempts = 0;
        let mut done = false;
        for end in 1..=head.len() {
            let parsed = drive(&mut scanner, &head.as_bytes()[..end], 0, &limits, |window, _| {
                attempts += 1;
                Ok((window.len() == head.len()).then_some(head.len()))
            });
            done = parsed.unwrap() != Parsed::Partial;
        }
        assert!(done);
        assert_eq!(attempts, 3);
    }
}
