//! A chunked body: pieces do not change the reading; what is accepted is
//! exactly the grammar, checked against a slow second reader; and what we
//! write is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torana_http1::{BodyDecoder, BodyEncoder, Framing, HeadLimits, Step};

const TRAILERS: HeadLimits = HeadLimits { head_bytes: 256, fields: 8, uri_bytes: 0 };

/// Data and length of the whole body, or nothing.
fn decode(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::with_limits(Framing::Chunked, TRAILERS);
    let (mut used, mut arrived, mut body) = (0, 0, Vec::new());
    loop {
        match decoder.decode(&bytes[used..arrived]) {
            Ok(Step::Data { skip, len }) => {
                assert!(len > 0);
                body.extend_from_slice(&bytes[used + skip..used + skip + len]);
                used += skip + len;
                assert!(used <= arrived);
            }
            Ok(Step::NeedMore { consumed }) => {
                assert_eq!(used + consumed, arrived);
                used = arrived;
                if arrived == bytes.len() {
                    return None;
                }
                arrived = arrived.saturating_add(step).min(bytes.len());
            }
            Ok(Step::End { consumed }) => return Some((body, used + consumed)),
            Err(error) => {
                assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error), "an error stays");
                return None;
            }
        }
    }
}

/// A second reader, as naive as can be: lines first, then sizes.
fn naive(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&bytes[..end])
            .map(str::to_owned)
            .unwrap_or_else(|_| bytes[..end].iter().map(|&byte| char::from(byte)).collect());
        let size = line.split(';').next()?;
        assert!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "size {size:?}");
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        assert_eq!(bytes.get(size..size + 2), Some(&b"\r\n"[..]));
        bytes = &bytes[size + 2..];
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, usize::MAX);
    assert_eq!(whole, decode(bytes, 1));
    assert_eq!(whole, decode(bytes, 3));
    let Some((body, used)) = whole else { return };
    assert_eq!(naive(&bytes[..used]), Some(body.clone()));

    let mut out = Vec::new();
    let mut encoder = BodyEncoder::new(Framing::Chunked);
    for piece in body.chunks(7) {
        encoder.write(&mut out, piece).expect("chunked takes any length");
    }
    encoder.finish(&mut out, None).expect("chunked ends anywhere");
    assert_eq!(decode(&out, usize::MAX), Some((body, out.len())));
});
