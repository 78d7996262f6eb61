//! The corpora that libinjection was made with, judged by this port as the C library judges them.
//!
//! They come from the sources of Debian's `modsecurity` 3.0.9, which holds libinjection 3.9.2; `corpora/COPYING` is their
//! licence. A line is a value as it would stand in a query; `#` begins a comment. The library's own tests allow for 18
//! attacks of either kind that are not recognised and for 21 innocent values that are: so many it has itself.

use std::fs;
use std::io::Read;
use std::path::Path;

use libinjectionrs::{detect_sqli, detect_xss};

/// The values of all files whose name begins with `kind`.
fn values(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut values = Vec::new();
    for file in files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with(kind)) {
        let mut text = fs::read(&file).unwrap();
        if file.extension().is_some_and(|extension| extension == "gz") {
            let packed = std::mem::take(&mut text);
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).unwrap();
        }
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        values.extend(lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(decoded));
    }
    values
}

/// As the library's test program decodes it: an escape that is none, or the last of the line, stays as it is.
fn decoded(line: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut out, mut rest) = (Vec::new(), line);
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let escaped = match behind {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        if let Some(byte) = escaped {
            rest = &behind[2..];
            out.push(byte);
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
        }
    }
    out
}

fn missed(kind: &str, found: impl Fn(&[u8]) -> bool) -> (usize, usize) {
    let values = values(kind);
    (values.iter().filter(|value| !found(value)).count(), values.len())
}

#[test]
fn sql_injection_is_recognised_as_the_library_recognises_it() {
    assert_eq!(missed("sqli-", |value| detect_sqli(value).is_injection()), (18, 85_791));
}

#[test]
fn xss_is_recognised_as_the_library_recognises_it() {
    assert_eq!(missed("xss-", |value| detect_xss(value).is_injection()), (18, 81_206));
}

#[test]
fn innocent_values_are_taken_for_attacks_as_the_library_takes_them() {
    assert_eq!(missed("false_positives", |value| !detect_sqli(value).is_injection()), (21, 421));
}
