//! What libinjection 3.9.2, the C library, says of generated inputs, and this port after it.
//!
//! A line of `reference.txt` is the fingerprint of SQL injection or `-`, `x` for XSS or `-`, and the input with everything
//! but letters and digits percent-encoded.

use libinjectionrs::{detect_sqli, detect_xss};

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or_default()).to_digit(16));
            let [Some(high), Some(low)] = pair else { panic!("{text}") };
            out.push(u8::try_from(high * 16 + low).unwrap_or_default());
        } else {
            out.push(byte);
        }
    }
    out
}

#[test]
fn the_port_says_what_the_library_says() {
    let (mut sqli, mut xss, mut neither) = (0, 0, 0);
    for line in include_str!("reference.txt").lines() {
        let [fingerprint, is_xss, input] = line.split(' ').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"));
        let input = decoded(input);
        let found = detect_sqli(&input);
        let said = if found.is_injection() { found.fingerprint.as_ref().map_or("", |found| found.as_str()) } else { "-" };
        assert_eq!(said, fingerprint, "{line}");
        assert_eq!(detect_xss(&input).is_injection(), is_xss == "x", "{line}");
        match (fingerprint, is_xss) {
            ("-", "-") => neither += 1,
            ("-", _) => xss += 1,
            _ => sqli += 1,
        }
    }
    assert_eq!((sqli, xss, neither), (1603, 1000, 1000));
}

#[test]
fn events_that_the_library_does_not_know() {
    for name in ["onbegin", "onauxclick", "onbeforetoggle", "oncontentvisibilityautostatechange", "onscrollend", "onformdata"] {
        let input = format!("\" {name}=alert(1) x=\"");
        assert!(detect_xss(input.as_bytes()).is_injection(), "{input}");
    }
    for innocent in ["\" once=1 x=\"", "\" onward=1 x=\"", "a onto=b"] {
        assert!(!detect_xss(innocent.as_bytes()).is_injection(), "{innocent}");
    }
}
