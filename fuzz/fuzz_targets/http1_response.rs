//! A reply head and body: neither pieces nor what the connection remembers
//! change the reading, and what is accepted can be written again and reads the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torana_core::head::{Fields, Method, ReplyHead, Version};
use torana_core::names::{is_token_byte, is_value_byte};
use torana_http1::{Framing, HeadLimits, HeadScanner, Parsed, Persist, response};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, fields: 32, uri_bytes: 0 };

fn parse(bytes: &[u8], step: usize) -> Option<(ReplyHead, usize)> {
    let mut head = ReplyHead::default();
    let mut scanner = HeadScanner::new();
    let mut end = step.min(bytes.len());
    loop {
        match response::parse(&mut scanner, &bytes[..end], &LIMITS, &mut head) {
            Ok(Parsed::Complete { consumed }) => return Some((head, consumed)),
            Ok(Parsed::Partial) if end < bytes.len() => end = end.saturating_add(step).min(bytes.len()),
            _ => return None,
        }
    }
}

/// `bytes` read by a scanner that has read `before` twice must give what a fresh
/// one gives.
fn check_familiar(before: &[u8], bytes: &[u8]) {
    let (mut known, mut fresh) = (HeadScanner::new(), HeadScanner::new());
    // Not cleared in between, as on a connection.
    let (mut head, mut expected) = (ReplyHead::default(), ReplyHead::default());
    for _ in 0..2 {
        let _ = response::parse(&mut known, before, &LIMITS, &mut head);
        known.reset();
    }
    let result = response::parse(&mut known, bytes, &LIMITS, &mut head);
    assert_eq!(result, response::parse(&mut fresh, bytes, &LIMITS, &mut expected));
    assert_eq!((head.status, head.version), (expected.status, expected.version));
    assert_eq!(list(&head.fields), list(&expected.fields));
}

fn list(fields: &Fields) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.text, value)).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes, usize::MAX);
    let pieces = parse(bytes, 1);
    assert_eq!(whole.as_ref().map(|(_, used)| used), pieces.as_ref().map(|(_, used)| used));
    check_familiar(bytes, bytes);
    let Some((head, consumed)) = whole else { return };
    check_familiar(bytes, &bytes[..consumed - 1]);
    check_familiar(bytes, &bytes[consumed..]);
    for (at, &byte) in bytes[..consumed].iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r'),
            b'\r' => assert_eq!(bytes[at + 1], b'\n'),
            0 => panic!("NUL accepted"),
            _ => {}
        }
    }
    for (name, value) in head.fields.iter() {
        assert!(!name.text.is_empty() && name.text.iter().copied().all(is_token_byte));
        assert!(value.iter().copied().all(is_value_byte));
    }
    for request_method in [Method::Get, Method::Head, Method::Connect] {
        let Ok(framing) = response::framing(request_method, &head) else { continue };
        let persist = if response::persistent(&head, framing) { Persist::KeepAlive } else { Persist::Close };
        let mut out = Vec::new();
        let outgoing = response::Outgoing {
            status: head.status,
            request_method,
            peer: Version::Http11,
            fields: &head.fields,
            framing,
            persist,
        };
        let Ok(sent) = response::write_head(&mut out, &outgoing) else {
            panic!("what was accepted can be written: {} {framing:?}", head.status);
        };
        let mut again = ReplyHead::default();
        let wide = HeadLimits { head_bytes: 16_384, fields: 64, uri_bytes: 0 };
        let parsed = response::parse(&mut HeadScanner::new(), &out, &wide, &mut again);
        assert_eq!(parsed, Ok(Parsed::Complete { consumed: out.len() }));
        assert_eq!(again.status, head.status);
        let framing_again = response::framing(request_method, &again).expect("our own framing is sound");
        assert_eq!(framing_again, if sent.framing == Framing::None { Framing::None } else { sent.framing });
    }
});
