//! What a connection remembers of its last plain head.
//!
//! The same peer sends nearly always the same fields: an API client with every
//! request, a server with every reply of the same second. The lines of a
//! section that is equal to the last one, byte for byte, are not read again.

use crate::limits::{HeadLimits, MAX_PLAIN};
use std::fmt;
use torana_core::head::Fields;

/// Longest section that is remembered, for the sake of idle connections.
pub(crate) const MAX_REMEMBERED: usize = 2048;

/// Where sections keep changing, so many pass before one is copied: enough to
/// notice when they no longer do.
pub(crate) const SKIP: u8 = 15;

/// The fields of a section, as read from its lines.
#[derive(Default)]
pub(crate) struct Remembered {
    /// Its bytes are the lines without the empty one.
    fields: Fields,
    #[cfg(test)]
    recalls: usize,
}

impl fmt::Debug for Remembered {
    /// Nothing of it: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl Remembered {
    /// If `section` begins with this one, whole with its empty line, puts its
    /// fields into `into` and answers its length, just as reading the lines
    /// would.
    pub(crate) fn recall(&mut self, section: &[u8], limits: &HeadLimits, into: &mut Fields) -> Option<usize> {
        let lines = self.fields.bytes();
        // The limits may have changed since.
        if !section.strip_prefix(lines)?.starts_with(b"\r\n") || self.fields.len() > limits.fields.min(MAX_PLAIN) {
            return None;
        }
        let length = lines.len().checked_add(2)?;
        into.clone_from(&self.fields);
        #[cfg(test)]
        {
            self.recalls += 1;
        }
        Some(length)
    }

    /// Remembers `fields` instead.
    pub(crate) fn replace(&mut self, fields: &Fields) {
        self.fields.clone_from(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::HeadError;
    use crate::scan::{HeadScanner, Parsed};
    use crate::testing::{Dice, shown};
    use crate::{request, response};
    use torana_core::head::{Head, ReplyHead};
    use torana_core::names::KnownName;

    const SECTIONS: [&str; 5] = [
        "Host: a.example\r\nAccept: */*\r\nX-Long: 0123456789abcdef 0123456789\r\nCookie: a=b; c=d\r\n\r\n",
        "Host: a.example\r\nx: y\r\n\r\n",
        "Content-Length: 5\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x\r\n\r\n",
        "\r\n",
        // Not plain.
        "Host: a.example\r\nEmpty:\r\n\r\n",
    ];
    const BEHIND: [&str; 4] = ["", "hello", "GET / HTTP/1.1\r\nHost: b\r\n\r\n", "\r\n\r\n"];

    type Outcome = (Result<Parsed, HeadError>, String, Vec<(Vec<u8>, Vec<u8>)>);
    type Parse<H> = fn(&mut HeadScanner, &[u8], &HeadLimits, &mut H) -> Outcome;

    fn parse_request(scanner: &mut HeadScanner, bytes: &[u8], limits: &HeadLimits, head: &mut Head) -> Outcome {
        let parsed = request::parse(scanner, bytes, limits, head);
        let line = format!("{} {:?} {:?}", head.method_text(), head.raw_target(), head.version);
        let presence = (head.fields.contains(KnownName::Host), head.fields.may_have_unknown());
        let outcome = (parsed, format!("{line} {presence:?}"), shown(&head.fields));
        // As those do that forward it.
        head.fields.remove_known(KnownName::Host);
        head.fields.set_own(KnownName::Via, b"1.1 torana");
        outcome
    }

    fn parse_reply(scanner: &mut HeadScanner, bytes: &[u8], limits: &HeadLimits, head: &mut ReplyHead) -> Outcome {
        let parsed = response::parse(scanner, bytes, limits, head);
        let presence = (head.fields.contains(KnownName::Date), head.fields.may_have_unknown());
        let outcome = (parsed, format!("{:?} {:?} {presence:?}", head.status, head.version), shown(&head.fields));
        head.fields.remove_known(KnownName::Date);
        outcome
    }

    fn recalls(scanner: &HeadScanner) -> usize {
        scanner.remembered.as_ref().map_or(0, |remembered| remembered.recalls)
    }

    /// The section of the next message: most often the one there was before.
    fn next_section(dice: &mut Dice, section: &mut Vec<u8>) {
        let lines = || section.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2);
        let starts: Vec<usize> = std::iter::once(0).chain(lines()).filter(|at| *at < section.len()).collect();
        let line = starts[dice.roll(starts.len())];
        match dice.roll(48) {
            0 => {
                let at = dice.roll(section.len());
                section[at] = b"abc:, \r\n"[dice.roll(8)];
            }
            1 => dice.mutate(section),
            2 => drop(section.splice(line..line, *b"X-More: 1\r\n")),
            3 => {
                let end = starts.iter().find(|at| **at > line).copied().unwrap_or(line);
                section.drain(line..end);
            }
            // The shorter of them is the beginning of the longer.
            4 => section.truncate(line),
            5 => drop(section.splice(line..line, "X-Many: 1\r\n".repeat(60).into_bytes())),
            6 => drop(section.splice(line..line, [b"X-Long: ", &[b'a'; 1900][..], b"\r\n"].concat())),
            7 => *section = SECTIONS[dice.roll(SECTIONS.len())].as_bytes().to_vec(),
            _ => {}
        }
        if section.is_empty() || dice.roll(16) == 0 {
            *section = SECTIONS[0].as_bytes().to_vec();
        }
    }

    fn next_limits(dice: &mut Dice, section: &[u8]) -> HeadLimits {
        let mut limits = HeadLimits { head_bytes: 4096, fields: 80, uri_bytes: 64 };
        match dice.roll(12) {
            0 => limits.fields = dice.roll(8),
            1 => limits.head_bytes = 1 + dice.roll(section.len() + 40),
            2 => limits.uri_bytes = dice.roll(8),
            _ => {}
        }
        limits
    }

    /// Messages over one scanner, each compared with what a fresh one says.
    fn check<H: Default>(seed: u64, lines: &[&str], parse: Parse<H>) {
        let mut dice = Dice(seed);
        let (mut recalled, mut complete, mut refused) = (0, 0, 0);
        for _ in 0..400 {
            let (mut kept, mut head) = (HeadScanner::new(), H::default());
            let mut section = SECTIONS[0].as_bytes().to_vec();
            for _ in 0..50 {
                next_section(&mut dice, &mut section);
                let limits = next_limits(&mut dice, &section);
                let line = if dice.roll(20) == 0 { "\r\n\n" } else { lines[dice.roll(lines.len())] };
                let behind = BEHIND[dice.roll(BEHIND.len())];
                let message = [line.as_bytes(), &section[..], behind.as_bytes()].concat();
                let mut fresh = HeadScanner::new();
                let pieces =
                    if dice.roll(3) == 0 { vec![dice.roll(message.len()), message.len()] } else { vec![message.len()] };
                for end in pieces {
                    let expected = parse(&mut fresh, &message[..end], &limits, &mut H::default());
                    let seen = parse(&mut kept, &message[..end], &limits, &mut head);
                    assert_eq!(seen, expected, "{limits:?} {:?}", String::from_utf8_lossy(&message[..end]));
                    match seen.0 {
                        Ok(Parsed::Partial) => continue,
                        Ok(Parsed::Complete { .. }) => complete += 1,
                        Err(_) => refused += 1,
                    }
                    break;
                }
                kept.reset();
            }
            recalled += recalls(&kept);
        }
        assert!(complete > 10_000 && refused > 3_000, "{complete} heads, {refused} refused");
        assert!(recalled > 4_000, "only {recalled} of {complete} heads were remembered");
    }

    #[test]
    fn what_is_remembered_changes_no_request() {
        let lines =
            ["GET / HTTP/1.1\r\n", "POST /a/b?c=d HTTP/1.1\r\n", "GET /abc HTTP/1.0\r\n", "BREW / HTTP/1.1\r\n"];
        check(3, &lines, parse_request);
    }

    #[test]
    fn what_is_remembered_changes_no_reply() {
        let lines = ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 100 \r\n", "HTTP/1.0 200 OK\r\n"];
        check(4, &lines, parse_reply);
    }

    fn read(scanner: &mut HeadScanner, section: &str) {
        let message = format!("GET / HTTP/1.1\r\n{section}");
        let (parsed, ..) = parse_request(scanner, message.as_bytes(), &HeadLimits::DEFAULT, &mut Head::default());
        assert_eq!(parsed, Ok(Parsed::Complete { consumed: message.len() }));
    }

    #[test]
    fn a_remembered_head_is_partial_up_to_its_last_byte() {
        let mut scanner = HeadScanner::new();
        for section in SECTIONS {
            for _ in 0..=SKIP {
                read(&mut scanner, section);
            }
            let message = format!("GET / HTTP/1.1\r\n{section}");
            for end in 1..message.len() {
                let part = &message.as_bytes()[..end];
                let (parsed, ..) = parse_request(&mut scanner, part, &HeadLimits::DEFAULT, &mut Head::default());
                assert_eq!(parsed, Ok(Parsed::Partial), "{:?}", &message[..end]);
                scanner.reset();
            }
        }
    }

    #[test]
    fn fields_are_counted_again() {
        let mut scanner = HeadScanner::new();
        (0..3).for_each(|_| read(&mut scanner, SECTIONS[0]));
        assert_eq!(recalls(&scanner), 1);
        let message = format!("GET / HTTP/1.1\r\n{}", SECTIONS[0]);
        for (fields, expected) in
            [(3, Err(HeadError::TooManyFields)), (4, Ok(Parsed::Complete { consumed: message.len() }))]
        {
            let limits = HeadLimits { fields, ..HeadLimits::DEFAULT };
            let (parsed, ..) = parse_request(&mut scanner, message.as_bytes(), &limits, &mut Head::default());
            assert_eq!(parsed, expected);
            scanner.reset();
        }
    }

    #[test]
    fn one_message_leaves_nothing_behind() {
        let mut scanner = HeadScanner::new();
        read(&mut scanner, SECTIONS[0]);
        assert!(scanner.remembered.is_none());
        read(&mut scanner, SECTIONS[0]);
        assert!(scanner.remembered.is_some());
        assert_eq!(recalls(&scanner), 0);
        read(&mut scanner, SECTIONS[0]);
        assert_eq!(recalls(&scanner), 1);
        assert!(size_of::<HeadScanner>() <= 4 * size_of::<usize>());
    }

    #[test]
    fn what_keeps_changing_is_seldom_copied() {
        let mut scanner = HeadScanner::new();
        let mut number = 100;
        let mut copied = Vec::new();
        let mut stranger = |scanner: &mut HeadScanner| {
            number += 1;
            let section = format!("Host: a\r\nX-Trace: {number}\r\n\r\n");
            read(scanner, &section);
            let bytes = scanner.remembered.as_ref().map(|remembered| remembered.fields.bytes());
            if bytes.is_some_and(|bytes| section.as_bytes().starts_with(bytes)) {
                copied.push(number - 100);
            }
            section
        };
        (0..40).for_each(|_| drop(stranger(&mut scanner)));
        // The second, and every 16th behind it.
        (40..50).for_each(|_| drop(stranger(&mut scanner)));
        // Behind one that was known again, the second.
        let last = stranger(&mut scanner);
        (0..20).for_each(|_| read(&mut scanner, &last));
        let before = scanner.remembered.as_ref().map(|remembered| remembered.fields.bytes().as_ptr());
        (0..3).for_each(|_| drop(stranger(&mut scanner)));
        let after = scanner.remembered.as_ref().map(|remembered| remembered.fields.bytes().as_ptr());
        assert_eq!(copied, [2, 18, 34, 50, 53]);
        assert_eq!(before, after, "buffers are used again");
    }

    #[test]
    fn neither_long_sections_nor_odd_ones_are_remembered() {
        let mut scanner = HeadScanner::new();
        let length = "X: \r\n\r\n".len();
        let section = |bytes: usize| format!("X: {}\r\n\r\n", "a".repeat(bytes - length));
        (0..40).for_each(|_| read(&mut scanner, &section(MAX_REMEMBERED + 1)));
        (0..40).for_each(|_| read(&mut scanner, SECTIONS[4]));
        assert!(scanner.remembered.is_none());
        (0..3).for_each(|_| read(&mut scanner, &section(MAX_REMEMBERED)));
        assert_eq!(recalls(&scanner), 1);
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let mut scanner = HeadScanner::new();
        (0..3).for_each(|_| read(&mut scanner, "Authorization: secret\r\n\r\n"));
        let shown = format!("{scanner:?}");
        assert!(!shown.contains("secret") && !shown.to_lowercase().contains("authorization"), "{shown}");
        assert!(shown.contains("Remembered"), "{shown}");
    }
}
