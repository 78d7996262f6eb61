//! Properties: splits, round trips, no panics.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use torana_core::head::{Fields, Method, ReplyHead, Status, Version};
use torana_http1::{BodyEncoder, Framing, HeadLimits, HeadScanner, Persist, request, response};
use wire::{Reading, list, read_reply, read_reply_in, read_request, read_request_in};

/// Pieces from which messages are put together, good and bad ones.
const PIECES: &[&str] = &[
    "GET ",
    "POST ",
    "CONNECT ",
    "HEAD ",
    "/",
    "/a?b",
    "*",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "200 OK\r\n",
    "204 \r\n",
    "304 x\r\n",
    "101 Up\r\n",
    "100 C\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length:",
    " 5",
    ",",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\n",
    "Expect: 100-continue\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "3;a=b\r\nabc\r\n",
    ";a=\"b\"",
    "x: y\r\n",
    " ",
    "\t",
    ":",
    "\0",
    "\u{e9}",
    "f",
    "FFFFFFFFFFFFFFFF",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    vec(select(PIECES), 1..14).prop_map(|pieces| pieces.concat().into_bytes())
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        soup(),
        vec(any::<u8>(), 0..80),
        soup()
            .prop_map(|tail| [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &tail[..]].concat()),
        soup().prop_map(|tail| [b"GET / HTTP/1.1\r\nHost: a\r\n", &tail[..]].concat()),
        soup().prop_map(|tail| [b"HTTP/1.1 200 OK\r\n", &tail[..]].concat()),
        soup().prop_map(|tail| [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &tail[..]].concat()),
    ]
}

fn token() -> impl Strategy<Value = String> {
    vec(select(b"abcdefgXYZ0129-_!#$%&'*+.^`|~".as_slice()), 1..12).prop_map(|bytes| String::from_utf8(bytes).unwrap())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![0x21u8..=0x7e, Just(b' '), Just(b'\t'), 0x80u8..=0xff], 0..30)
        .prop_map(|bytes| bytes.trim_ascii().to_vec())
}

fn field_list() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    vec((token().prop_map(|name| format!("x{name}")), value()), 0..8)
}

fn to_fields(list: &[(String, Vec<u8>)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.append_text(name.as_bytes(), value).unwrap();
    }
    fields
}

/// Writes `reading` again as we forward it.
fn write_request(reading: &Reading, chunks: &[usize]) -> Vec<u8> {
    let mut fields = Fields::default();
    for (name, value) in &reading.fields {
        fields.append_text(name, value).unwrap();
    }
    let mut out = Vec::new();
    let outgoing = request::Outgoing {
        method: &reading.method,
        target: &[&reading.target],
        fields: &fields,
        framing: reading.framing,
        persist: if reading.persistent { Persist::KeepAlive } else { Persist::Close },
    };
    let sent = request::write_head(&mut out, &outgoing).unwrap();
    write_body(&mut out, sent.framing, &reading.body, chunks, &reading.trailers);
    out
}

fn write_body(out: &mut Vec<u8>, framing: Framing, body: &[u8], chunks: &[usize], trailers: &[(Vec<u8>, Vec<u8>)]) {
    let mut encoder = BodyEncoder::new(framing);
    let mut rest = body;
    for &size in chunks {
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        encoder.write(out, piece).unwrap();
        rest = behind;
    }
    encoder.write(out, rest).unwrap();
    let mut fields = Fields::default();
    for (name, value) in trailers {
        fields.append_text(name, value).unwrap();
    }
    encoder.finish(out, Some(&fields)).unwrap();
}

/// What must survive forwarding: everything but the fields the codec owns.
fn essence(reading: &Reading) -> impl PartialEq + std::fmt::Debug + use<> {
    let owned = ["content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade"];
    let mut fields = reading.fields.clone();
    fields.retain(|(name, _)| !owned.iter().any(|owned| owned.as_bytes() == name));
    let framing = match reading.framing {
        Framing::Length(0) => Framing::None,
        framing => framing,
    };
    (reading.method.clone(), reading.target.clone(), fields, framing, reading.body.clone(), reading.trailers.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_split_gives_the_same_request(bytes in any_message()) {
        let whole = read_request(&bytes);
        let every: Vec<usize> = (1..bytes.len()).collect();
        let split = read_request_in(&bytes, &every);
        prop_assert_eq!(whole.clone().ok(), split.ok());
        for cut in 1..bytes.len() {
            prop_assert_eq!(whole.clone().ok(), read_request_in(&bytes, &[cut]).ok(), "cut at {}", cut);
        }
    }

    #[test]
    fn every_split_gives_the_same_reply(bytes in any_message(), method in select(&[Method::Get, Method::Head, Method::Connect][..])) {
        let whole = read_reply(method, &bytes);
        let every: Vec<usize> = (1..bytes.len()).collect();
        prop_assert_eq!(whole.clone().ok(), read_reply_in(method, &bytes, &every).ok());
        for cut in 1..bytes.len() {
            prop_assert_eq!(whole.clone().ok(), read_reply_in(method, &bytes, &[cut]).ok(), "cut at {}", cut);
        }
    }

    /// What is accepted has a canonical form that reads the same: nothing that
    /// is forwarded depends on how it was written.
    #[test]
    fn an_accepted_request_survives_forwarding(bytes in any_message(), chunks in vec(1usize..9, 0..4)) {
        if let Ok(reading) = read_request(&bytes) {
            let written = write_request(&reading, &chunks);
            let again = read_request(&written).unwrap();
            prop_assert_eq!(essence(&reading), essence(&again));
            prop_assert_eq!(reading.persistent, again.persistent);
            prop_assert_eq!(again.consumed, written.len());
        }
    }

    #[test]
    fn a_written_request_reads_as_it_was(
        method in token(),
        target in "[!-~]{1,40}",
        list_of_fields in field_list(),
        body in vec(any::<u8>(), 0..60),
        chunks in vec(1usize..20, 0..4),
        in_chunks in any::<bool>(),
        trailers in field_list(),
        close in any::<bool>(),
    ) {
        prop_assume!(method != "CONNECT");
        let fields = to_fields(&list_of_fields);
        let framing = if in_chunks { Framing::Chunked } else { Framing::Length(body.len() as u64) };
        let persist = if close { Persist::Close } else { Persist::KeepAlive };
        let mut out = Vec::new();
        let (a, b) = target.as_bytes().split_at(target.len() / 2);
        request::write_head(&mut out, &request::Outgoing { method: &method, target: &[a, b], fields: &fields, framing, persist }).unwrap();
        let trailers = list(&to_fields(&trailers));
        write_body(&mut out, framing, &body, &chunks, &trailers);
        let reading = read_request(&out).unwrap();
        prop_assert_eq!(&reading.method, &method);
        prop_assert_eq!(&reading.target, target.as_bytes());
        prop_assert_eq!(reading.framing, framing);
        prop_assert_eq!(&reading.body, &body);
        prop_assert_eq!(&reading.fields[..list_of_fields.len()], &list(&fields)[..]);
        prop_assert_eq!(reading.trailers, if in_chunks { trailers } else { Vec::new() });
        prop_assert_eq!(reading.persistent, !close);
        prop_assert_eq!(reading.consumed, out.len());
    }

    #[test]
    fn a_written_reply_reads_as_it_was(
        code in 200u16..600,
        method in select(&[Method::Get, Method::Head, Method::Post][..]),
        old in any::<bool>(),
        list_of_fields in field_list(),
        body in vec(any::<u8>(), 0..60),
        framing in select(&[Framing::None, Framing::Chunked, Framing::UntilClose, Framing::Length(0)][..]),
        chunks in vec(1usize..20, 0..4),
        close in any::<bool>(),
    ) {
        let fields = to_fields(&list_of_fields);
        let framing = if framing == Framing::Length(0) { Framing::Length(body.len() as u64) } else { framing };
        let body = if framing == Framing::None { Vec::new() } else { body };
        let mut out = Vec::new();
        let sent = response::write_head(&mut out, &response::Outgoing {
            status: Status::new(code).unwrap(),
            request_method: method,
            peer: if old { Version::Http10 } else { Version::Http11 },
            fields: &fields,
            framing,
            persist: if close { Persist::Close } else { Persist::KeepAlive },
        }).unwrap();
        let body = if sent.framing == Framing::None { Vec::new() } else { body };
        write_body(&mut out, sent.framing, &body, &chunks, &[]);
        let reading = read_reply(method, &out).unwrap();
        prop_assert_eq!(reading.status, code);
        prop_assert_eq!(&reading.body, &body);
        prop_assert_eq!(reading.framing, sent.framing);
        prop_assert_eq!(reading.persistent, sent.persist == Persist::KeepAlive);
        prop_assert_eq!(&reading.fields[..list_of_fields.len()], &list(&fields)[..]);
        prop_assert_eq!(reading.consumed, out.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), small in any::<bool>()) {
        let limits = if small { HeadLimits { head_bytes: 30, fields: 2, uri_bytes: 8 } } else { HeadLimits::default() };
        let mut head = torana_core::head::Head::default();
        let _ = request::parse(&mut HeadScanner::new(), &bytes, &limits, &mut head);
        let _ = response::parse(&mut HeadScanner::new(), &bytes, &limits, &mut ReplyHead::default());
        let _ = read_request(&[b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat());
    }
}
