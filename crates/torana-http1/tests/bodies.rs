//! Bodies: length, chunked with extensions and trailers, until close.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use torana_http1::{BodyDecoder, BodyError as B, Framing, HeadLimits, Step};
use wire::{Refused, chunked, read_request, read_request_in};

fn body(text: &str) -> Result<Vec<u8>, B> {
    match read_request(&chunked(text)) {
        Ok(reading) => Ok(reading.body),
        Err(Refused::Body(error)) => Err(error),
        Err(Refused::Incomplete) => Err(B::Truncated),
        Err(other) => panic!("{text:?} gave {other:?}"),
    }
}

type Pairs = Vec<(String, String)>;

fn trailers(text: &str) -> Result<Pairs, Refused> {
    let reading = read_request(&chunked(&format!("1\r\na\r\n0\r\n{text}\r\n")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(reading.trailers.iter().map(|(name, value)| (text(name), text(value))).collect())
}

#[test]
fn data_is_pointed_at_not_copied() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let bytes = b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\nNEXT";
    assert_eq!(decoder.decode(bytes), Ok(Step::Data { skip: 3, len: 5 }));
    assert_eq!(decoder.decode(&bytes[8..]), Ok(Step::Data { skip: 9, len: 3 }));
    assert_eq!(decoder.decode(&bytes[20..]), Ok(Step::End { consumed: 7 }));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(b"NEXT"), Ok(Step::End { consumed: 0 }));
    assert_eq!(&bytes[27..], b"NEXT");
}

#[test]
fn a_length_is_over_with_its_last_byte() {
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    assert_eq!(decoder.remaining_hint(), Some(5));
    assert_eq!(decoder.decode(b""), Ok(Step::NeedMore { consumed: 0 }));
    assert_eq!(decoder.decode(b"abc"), Ok(Step::Data { skip: 0, len: 3 }));
    assert!(!decoder.is_done());
    assert_eq!(decoder.decode(b"deNEXT"), Ok(Step::Data { skip: 0, len: 2 }));
    assert!(decoder.is_done());
    assert_eq!(decoder.remaining_hint(), Some(0));
    for framing in [Framing::None, Framing::Length(0)] {
        assert!(BodyDecoder::new(framing).is_done());
    }
}

#[test]
fn a_body_until_close_takes_everything() {
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    assert_eq!(decoder.decode(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Step::Data { skip: 0, len: 19 }));
    assert!(!decoder.is_done());
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert!(decoder.is_done());
}

#[test]
fn a_body_cut_short_is_an_error() {
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    decoder.decode(b"abc").unwrap();
    assert_eq!(decoder.end_of_input(), Err(B::Truncated));
    assert_eq!(decoder.decode(b"de"), Err(B::Truncated), "and stays one");
    for text in [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r",
        "5\r\nhello\r\n",
        "0",
        "0\r\n",
        "0\r\n\r",
        "0\r\nA: b\r\n",
    ] {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut rest = text.as_bytes();
        while let Ok(Step::Data { skip, len }) = decoder.decode(rest) {
            rest = &rest[skip + len..];
        }
        assert_eq!(decoder.end_of_input(), Err(B::Truncated), "{text:?}");
    }
}

#[test]
fn chunks_are_joined() {
    assert_eq!(body("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), Ok(b"abc0123456789".to_vec()));
    assert_eq!(body("0\r\n\r\n"), Ok(Vec::new()));
    assert_eq!(body("00000\r\n\r\n"), Ok(Vec::new()));
    // Data is opaque: it may look like framing.
    assert_eq!(body("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), Ok(b"\r\n0\r\n\r\n".to_vec()));
}

#[test]
fn malformed_chunk_sizes_are_refused() {
    for bad in ["", "0x5", "+5", "-1", " 5", "5 ", "5\t", "g", "5h", ";", "5,5", "\u{665}", "5.", "_5", "\0"] {
        assert_eq!(body(&format!("{bad}\r\nhello\r\n0\r\n\r\n")), Err(B::ChunkSizeInvalid), "{bad:?}");
    }
    for large in ["8000000000000000", "ffffffffffffffff", "10000000000000005", "00000000000000005"] {
        assert_eq!(body(&format!("{large}\r\nhello\r\n0\r\n\r\n")), Err(B::ChunkSizeTooLarge), "{large:?}");
    }
}

#[test]
fn bare_line_ends_in_chunked_framing_are_refused() {
    for (bad, error) in [
        ("5\nhello\r\n0\r\n\r\n", B::ChunkLineInvalid),
        ("5\rhello\r\n0\r\n\r\n", B::ChunkLineInvalid),
        ("5\r\nhello\n0\r\n\r\n", B::ChunkEndInvalid),
        ("5\r\nhello\r0\r\n\r\n", B::ChunkEndInvalid),
        ("5\r\nhello0\r\n\r\n", B::ChunkEndInvalid),
        ("5\r\nhelloX\r\n0\r\n\r\n", B::ChunkEndInvalid),
        ("4\r\nhello\r\n0\r\n\r\n", B::ChunkEndInvalid),
        ("0\n\r\n", B::ChunkLineInvalid),
        ("0\r\n\n", B::ChunkLineInvalid),
        ("0\r\n\rX", B::ChunkLineInvalid),
    ] {
        assert_eq!(body(bad), Err(error), "{bad:?}");
    }
}

/// The attack: one side ends the extension at the bare LF, the other reads on,
/// and the chunk's data becomes a request ("Funky chunks", 2025).
#[test]
fn a_line_feed_in_an_extension_is_refused() {
    for bad in [
        "5;\nhello",
        "5;a\nhello",
        "5;a=\nhello",
        "5;a=b\nhello",
        "5;a=\"b\nc\"\r\nhello",
        "5;a=\"b\r\nc\"\r\nhello",
        "5;a\rb\r\nhello",
        "5;\rhello",
        "5;a=\"\\\r\n\"\r\nhello",
    ] {
        assert_eq!(body(&format!("{bad}\r\n0\r\n\r\n")), Err(B::ChunkLineInvalid), "{bad:?}");
    }
}

#[test]
fn extensions_are_ignored() {
    assert_eq!(body("5;a;b=c;d=\"e;\\\" f\"\r\nhello\r\n0;last\r\n\r\n"), Ok(b"hello".to_vec()));
    for bad in ["5; a", "5;a =b", "5;a=\"b", "5;@", "5;a=\"\x01\"", "5;\0"] {
        let result = body(&format!("{bad}\r\nhello\r\n0\r\n\r\n"));
        assert!(matches!(result, Err(B::ChunkExtensionInvalid | B::ChunkLineInvalid)), "{bad:?}: {result:?}");
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    assert_eq!(body(&long), Err(B::ChunkExtensionTooLong));
}

#[test]
fn trailers_are_fields() {
    assert_eq!(trailers("").unwrap(), []);
    let two = trailers("grpc-status: 0\r\nX-Sum: abc \r\n").unwrap();
    assert_eq!(two, [("grpc-status".into(), "0".into()), ("x-sum".into(), "abc".into())]);
}

#[test]
fn trailers_are_read_as_strictly_as_heads() {
    for bad in [
        "a b: c\r\n",
        " a: b\r\n",
        "a: b\r\n c\r\n",
        "a : b\r\n",
        "a: b\nc: d\r\n",
        "a: b\rc: d\r\n",
        "a\r\n",
        ": b\r\n",
        "a: \0\r\n",
        "a: b\r\n\n",
    ] {
        let result = trailers(bad);
        assert_eq!(result, Err(Refused::Body(B::TrailersInvalid)), "{bad:?}");
    }
}

#[test]
fn trailers_that_name_framing_or_routing_are_refused() {
    for bad in ["Content-Length: 5", "transfer-encoding: chunked", "HOST: evil"] {
        assert_eq!(trailers(&format!("{bad}\r\n")), Err(Refused::Body(B::TrailerForbidden)), "{bad}");
    }
}

#[test]
fn trailers_that_must_come_before_the_content_are_dropped() {
    for name in [
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Set-Cookie",
        "Cookie",
        "Cache-Control",
        "Max-Forwards",
        "TE",
        "Trailer",
        "Connection",
        "Expect",
        "Range",
        "If-Match",
        "X-Forwarded-For",
        "Forwarded",
        "Upgrade",
        "X-Real-IP",
        "WWW-Authenticate",
        "Age",
        "Date",
        "Location",
        "Retry-After",
        "Vary",
        "Via",
    ] {
        assert_eq!(
            trailers(&format!("{name}: x\r\nx-kept: 1\r\n")).unwrap(),
            [("x-kept".into(), "1".into())],
            "{name}"
        );
    }
    assert_eq!(trailers("Date: x\r\n").unwrap(), []);
}

#[test]
fn trailers_have_limits() {
    let many = "a: b\r\n".repeat(65);
    assert_eq!(trailers(&many), Err(Refused::Body(B::TrailersTooLarge)));
    let long = format!("a: {}\r\n", "x".repeat(9_000));
    assert_eq!(trailers(&long), Err(Refused::Body(B::TrailersTooLarge)));
    // Without any line end, and in pieces.
    let mut decoder =
        BodyDecoder::with_limits(Framing::Chunked, HeadLimits { head_bytes: 100, fields: 4, uri_bytes: 0 });
    assert_eq!(decoder.decode(b"0\r\n"), Ok(Step::NeedMore { consumed: 3 }));
    for _ in 0..9 {
        assert_eq!(decoder.decode(b"xxxxxxxxxx"), Ok(Step::NeedMore { consumed: 10 }));
    }
    assert_eq!(decoder.decode(b"xxxxxxxxxx"), Err(B::TrailersTooLarge));
    assert_eq!(decoder.decode(b"\r\n\r\n"), Err(B::TrailersTooLarge), "an error stays");
}

#[test]
fn trailers_leave_the_next_request_alone() {
    let mut bytes = chunked("2\r\nab\r\n0\r\nx: y\r\n\r\n");
    let end = bytes.len();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    for cut in 1..bytes.len() {
        let reading = read_request_in(&bytes, &[cut]).unwrap();
        assert_eq!((reading.consumed, reading.trailers.len()), (end, 1), "{cut}");
    }
}

#[test]
fn a_large_chunk_arrives_in_large_pieces() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"10000\r\n"), Ok(Step::NeedMore { consumed: 7 }));
    assert_eq!(decoder.remaining_hint(), Some(65_536));
    let piece = vec![b'x'; 40_000];
    assert_eq!(decoder.decode(&piece), Ok(Step::Data { skip: 0, len: 40_000 }));
    assert_eq!(decoder.decode(&piece), Ok(Step::Data { skip: 0, len: 25_536 }));
    assert_eq!(decoder.remaining_hint(), None);
}
