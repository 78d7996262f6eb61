//! What a connection remembers of its last plain head.
//!
//! The same peer sends nearly always the same fields: an API client with every
//! request, a server with every reply of the same second. The lines of a
//! section that is equal to the last one, byte for byte, are not read again.
//!
//! Connections often have equal sections: those to one server, or from clients
//! of one kind. Each thread keeps one of them for all, so that what they compare
//! with lies in the cache of the processor. Which sections others have sent
//! cannot be felt out through it: one is compared with those of others only if
//! all of it has the same hash, of a key that nobody knows.

use crate::limits::{HeadLimits, MAX_PLAIN};
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use torana_core::head::Fields;

/// Longest section that is remembered, for the sake of idle connections.
pub(crate) const MAX_REMEMBERED: usize = 2048;

/// Where sections keep changing, so many pass before one is copied: enough to
/// notice when they no longer do.
pub(crate) const SKIP: u8 = 15;

/// Most sections a thread keeps, beside those that only connections still hold:
/// 0.8 MB.
const KEPT: usize = 256;

thread_local! {
    static STORE: RefCell<Store> = RefCell::new(Store::new());
}

/// The sections of a thread, each in the place its hash says.
struct Store {
    hasher: RandomState,
    slots: Vec<Option<Rc<Remembered>>>,
}

/// The fields of a section, as read from its lines.
#[derive(Default)]
pub(crate) struct Remembered {
    hash: u64,
    /// Its bytes are the lines without the empty one.
    fields: Fields,
}

impl fmt::Debug for Remembered {
    /// Nothing of it: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl Remembered {
    /// The section with these fields, as this thread keeps it.
    pub(crate) fn keep(fields: &Fields) -> Option<Rc<Remembered>> {
        STORE.with_borrow_mut(|store| store.keep(fields))
    }

    /// If `section` begins with this one, whole with its empty line, puts its
    /// fields into `into` and answers its length, just as reading the lines
    /// would.
    pub(crate) fn recall(&self, section: &[u8], limits: &HeadLimits, into: &mut Fields) -> Option<usize> {
        let lines = self.fields.bytes();
        // The limits may have changed since.
        if !section.strip_prefix(lines)?.starts_with(b"\r\n") || self.fields.len() > limits.fields.min(MAX_PLAIN) {
            return None;
        }
        let length = lines.len().checked_add(2)?;
        into.clone_from(&self.fields);
        #[cfg(test)]
        tests::RECALLS.set(tests::recalls() + 1);
        Some(length)
    }
}

impl Store {
    fn new() -> Store {
        Store { hasher: RandomState::new(), slots: Vec::new() }
    }

    fn keep(&mut self, fields: &Fields) -> Option<Rc<Remembered>> {
        self.put(self.hasher.hash_one(fields.bytes()), fields)
    }

    fn put(&mut self, hash: u64, fields: &Fields) -> Option<Rc<Remembered>> {
        if self.slots.is_empty() {
            self.slots.resize(KEPT, None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let kept = self.slots.get_mut(hash as usize % KEPT)?.get_or_insert_default();
        // Equal lines have been read to equal fields.
        if kept.hash != hash || kept.fields.bytes() != fields.bytes() {
            if Rc::strong_count(kept) > 1 {
                // It stays with the connections that have it.
                *kept = Rc::default();
            }
            if let Some(unused) = Rc::get_mut(kept) {
                unused.hash = hash;
                unused.fields.clone_from(fields);
            }
        }
        Some(Rc::clone(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::HeadError;
    use crate::scan::{HeadScanner, Parsed};
    use crate::testing::{Dice, shown};
    use crate::{request, response};
    use std::cell::Cell;
    use torana_core::head::{Head, ReplyHead};
    use torana_core::names::KnownName;

    thread_local! {
        /// How often a section was known again in this test.
        pub(super) static RECALLS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn recalls() -> usize {
        RECALLS.get()
    }

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
        let (mut complete, mut refused) = (0, 0);
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
        }
        assert!(complete > 10_000 && refused > 3_000, "{complete} heads, {refused} refused");
        assert!(recalls() > 4_000, "only {} of {complete} heads were remembered", recalls());
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
        assert_eq!(recalls(), 1);
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
        assert_eq!(recalls(), 0);
        read(&mut scanner, SECTIONS[0]);
        assert_eq!(recalls(), 1);
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
        (0..3).for_each(|_| drop(stranger(&mut scanner)));
        assert_eq!(copied, [2, 18, 34, 50, 53]);
    }

    /// A connection that has come to know `section`.
    fn familiar(section: &str) -> HeadScanner {
        let mut scanner = HeadScanner::new();
        (0..2).for_each(|_| read(&mut scanner, section));
        scanner
    }

    fn kept_by(scanner: &HeadScanner) -> *const Remembered {
        scanner.remembered.as_ref().map_or(std::ptr::null(), Rc::as_ptr)
    }

    #[test]
    fn connections_with_equal_sections_share_one() {
        let [one, other, stranger] = [SECTIONS[0], SECTIONS[0], SECTIONS[1]].map(familiar);
        assert_eq!(kept_by(&one), kept_by(&other));
        assert_ne!(kept_by(&one), kept_by(&stranger));
        let elsewhere = std::thread::spawn(|| kept_by(&familiar(SECTIONS[0])).addr()).join().unwrap();
        assert_ne!(kept_by(&one).addr(), elsewhere, "threads share nothing");
    }

    #[test]
    fn a_section_stays_with_its_connection_whatever_others_bring() {
        let mut first = familiar(SECTIONS[0]);
        let mut seen = std::collections::HashSet::new();
        for number in 0..20 * KEPT {
            seen.insert(kept_by(&familiar(&format!("Host: a\r\nX-Trace: {number}\r\n\r\n"))));
        }
        // Its own place has got another by now, which is used again.
        assert!(seen.len() <= KEPT + 1, "{} sections", seen.len());
        assert!(!seen.contains(&kept_by(&first)));
        let before = recalls();
        read(&mut first, SECTIONS[0]);
        assert_eq!(recalls(), before + 1);
    }

    #[test]
    fn one_with_the_same_hash_is_still_another() {
        let mut store = Store::new();
        let mut keep = |section: &str| {
            let mut fields = Fields::default();
            fields.load(section.as_bytes());
            store.put(7, &fields).unwrap()
        };
        let (one, other) = (keep(SECTIONS[0]), keep(SECTIONS[1]));
        assert_eq!((one.fields.bytes(), other.fields.bytes()), (SECTIONS[0].as_bytes(), SECTIONS[1].as_bytes()));
        assert!(Rc::ptr_eq(&other, &keep(SECTIONS[1])));
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
        assert_eq!(recalls(), 1);
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
