//! A request head: whatever is accepted is plain HTTP/1.x, reads the same when
//! it arrives in pieces or on a connection that knows it already, and reads the
//! same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torana_core::head::{Fields, Head};
use torana_core::names::{is_token_byte, is_value_byte};
use torana_http1::{Framing, HeadLimits, HeadScanner, Parsed, Persist, request};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, fields: 32, uri_bytes: 512 };

fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
    let mut head = Head::default();
    match request::parse(&mut HeadScanner::new(), bytes, &LIMITS, &mut head) {
        Ok(Parsed::Complete { consumed }) => Some((head, consumed)),
        _ => None,
    }
}

fn parse_in_pieces(bytes: &[u8], step: usize) -> Option<(Head, usize)> {
    let mut head = Head::default();
    let mut scanner = HeadScanner::new();
    let mut end = step;
    loop {
        let arrived = &bytes[..end.min(bytes.len())];
        match request::parse(&mut scanner, arrived, &LIMITS, &mut head) {
            Ok(Parsed::Complete { consumed }) => return Some((head, consumed)),
            Ok(Parsed::Partial) if end < bytes.len() => end += step,
            _ => return None,
        }
    }
}

/// `bytes` read by a scanner that has read `before` twice must give what a fresh
/// one gives.
fn check_familiar(before: &[u8], bytes: &[u8]) {
    let (mut known, mut fresh) = (HeadScanner::new(), HeadScanner::new());
    // Not cleared in between, as on a connection.
    let (mut head, mut expected) = (Head::default(), Head::default());
    for _ in 0..2 {
        let _ = request::parse(&mut known, before, &LIMITS, &mut head);
        known.reset();
    }
    let result = request::parse(&mut known, bytes, &LIMITS, &mut head);
    assert_eq!(result, request::parse(&mut fresh, bytes, &LIMITS, &mut expected));
    assert_eq!((head.method_text(), head.raw_target()), (expected.method_text(), expected.raw_target()));
    assert_eq!((head.version, list(&head.fields)), (expected.version, list(&expected.fields)));
}

fn list(fields: &Fields) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.text, value)).collect()
}

/// No line of an accepted head ends in anything but CRLF, and no byte outside
/// the grammar is in it.
fn check(head: &Head, bytes: &[u8]) {
    assert!(bytes.len() <= LIMITS.head_bytes + 2);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r'),
            b'\r' => assert_eq!(bytes[at + 1], b'\n'),
            0 => panic!("NUL accepted"),
            _ => {}
        }
    }
    assert!(head.method_text().bytes().all(is_token_byte) && !head.method_text().is_empty());
    assert!(!head.raw_target().is_empty() && head.raw_target().iter().all(|byte| matches!(byte, 0x21..=0x7e)));
    for (name, value) in head.fields.iter() {
        assert!(!name.text.is_empty() && name.text.iter().copied().all(is_token_byte));
        assert!(value.iter().copied().all(is_value_byte));
        assert_eq!(value, value.trim_ascii());
    }
    // As many fields as lines between the start line and the empty line.
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let leading = usize::from(bytes.starts_with(b"\r\n"));
    assert_eq!(head.fields.len(), lines - 2 - leading);
}

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for step in [1, 7] {
        let pieces = parse_in_pieces(bytes, step);
        match (&whole, &pieces) {
            (Some((a, used_a)), Some((b, used_b))) => {
                assert_eq!(used_a, used_b);
                assert_eq!(list(&a.fields), list(&b.fields));
            }
            (None, None) => {}
            _ => panic!("pieces change the reading"),
        }
    }
    check_familiar(bytes, bytes);
    let Some((head, consumed)) = whole else { return };
    check_familiar(bytes, &bytes[..consumed - 1]);
    check_familiar(bytes, &bytes[consumed..]);
    check(&head, &bytes[..consumed]);
    let _ = request::persistent(&head);
    let Ok(framing) = request::framing(&head) else { return };
    let _ = request::expects_continue(&head, framing);

    let mut out = Vec::new();
    let persist = if request::may_leave_http(&head) { Persist::Upgrade } else { Persist::KeepAlive };
    let outgoing = request::Outgoing {
        method: head.method_text(),
        target: &[head.raw_target()],
        fields: &head.fields,
        framing,
        persist,
    };
    request::write_head(&mut out, &outgoing).expect("what was accepted can be written");
    let mut again = Head::default();
    let wide = HeadLimits { head_bytes: 16_384, fields: 64, uri_bytes: 1024 };
    let parsed = request::parse(&mut HeadScanner::new(), &out, &wide, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete { consumed: out.len() }));
    assert_eq!((head.method_text(), head.raw_target()), (again.method_text(), again.raw_target()));
    let framing_again = request::framing(&again).expect("our own framing is sound");
    assert!(framing == framing_again || (framing, framing_again) == (Framing::None, Framing::Length(0)));
});
