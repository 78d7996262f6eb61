//! What is compressed, and what comes out.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use torana_core::body::{BodyStream, Progress};
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, ready, reply, written};

/// A body that comes in pieces; an empty one is a pause.
struct Pieces(VecDeque<Bytes>);

impl BodyStream for Pieces {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        match self.0.front() {
            None => Poll::Ready(Ok(Progress::End)),
            Some(piece) if piece.is_empty() => {
                self.0.pop_front();
                Poll::Pending
            }
            Some(_) => Poll::Ready(Ok(Progress::Data)),
        }
    }
    fn data(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }
    fn consume(&mut self, count: usize) {
        if let Some(piece) = self.0.front_mut() {
            *piece = piece.slice(count..);
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
    }
    fn remaining(&self) -> Option<u64> {
        None
    }
}

fn pieces(parts: &[&[u8]]) -> Body {
    Body::Stream(Box::new(Pieces(parts.iter().map(|part| Bytes::copy_from_slice(part)).collect())))
}

fn build(config: &str) -> Arc<dyn Policy> {
    let names = TestNames::new("test", "/*").counting(EVENTS);
    (entry::<Compress>().build)(&written(config), &names).unwrap()
}

fn passed(policy: &dyn Policy, request: &str, head: &str, body: Body) -> Reply {
    let mut exchange = exchange(request);
    let mut made = reply(head);
    made.body = body;
    let _ = ready(policy.on_request(&mut exchange));
    let _ = ready(policy.on_response(&mut exchange, &mut made));
    made
}

fn field(reply: &Reply, name: KnownName) -> String {
    String::from_utf8_lossy(&reply.head.fields.get_all(name).collect::<Vec<_>>().join(&b", "[..])).into_owned()
}

/// What there is to read now, and whether that was all.
fn read_now(body: &mut Body) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        let mut polled = pin!(poll_fn(|cx| body.poll_data(cx)));
        match polled.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Progress::Data)) => {
                all.extend_from_slice(body.data());
                body.consume(body.data().len());
            }
            Poll::Ready(Ok(Progress::End)) => return (all, true),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => return (all, false),
        }
    }
}

/// Decodes what came so far of a stream that may go on.
fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        other => panic!("{other}"),
    };
    let (mut all, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(count) = reader.read(&mut part) {
        if count == 0 {
            break;
        }
        all.extend_from_slice(&part[..count]);
    }
    all
}

const GET: &str = "GET / HTTP/1.1\nHost: a\nAccept-Encoding: gzip";
const HEAD: &str = "200\nContent-Type: text/plain; charset=utf-8\nETag: \"1\"";

fn long() -> Body {
    Body::from("all work and no play. ".repeat(100).into_bytes())
}

#[test]
fn what_comes_out_is_what_went_in() {
    for coding in ["gzip", "br", "zstd"] {
        let request = format!("GET / HTTP/1.1\nHost: a\nAccept-Encoding: {coding}");
        let mut made = passed(&*build("{}"), &request, HEAD, long());
        assert_eq!(field(&made, KnownName::ContentEncoding), coding);
        assert_eq!(
            (field(&made, KnownName::Vary), field(&made, KnownName::ETag)),
            ("accept-encoding".into(), "W/\"1\"".into())
        );
        assert_eq!(made.body.remaining(), None);
        let (bytes, is_whole) = read_now(&mut made.body);
        assert!(is_whole && bytes.len() < 300, "{coding}: {} bytes", bytes.len());
        assert_eq!(decoded(coding, &bytes), "all work and no play. ".repeat(100).as_bytes(), "{coding}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn in_whatever_pieces_it_comes(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..6),
        coding in prop_oneof![Just("gzip"), Just("br"), Just("zstd")],
    ) {
        let request = format!("GET / HTTP/1.1\nHost: a\nAccept-Encoding: {coding}");
        let all: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mut made = passed(&*build("{}"), &request, HEAD, pieces(&all));
        let mut bytes = Vec::new();
        loop {
            let (more, is_whole) = read_now(&mut made.body);
            bytes.extend_from_slice(&more);
            if is_whole {
                break;
            }
        }
        prop_assert_eq!(decoded(coding, &bytes), all.concat());
    }
}

#[test]
fn events_are_sent_when_they_happen() {
    for coding in ["gzip", "br", "zstd"] {
        let request = format!("GET / HTTP/1.1\nHost: a\nAccept-Encoding: {coding}");
        // A source that has paused is asked again when what there was is sent.
        let events: [&[u8]; 7] = [b"data: 1\n\n", b"", b"", b"data: 2\n\n", b"", b"", b"data: 3\n\n"];
        let mut made = passed(&*build("{}"), &request, "200\nContent-Type: text/event-stream", pieces(&events));
        let mut bytes = Vec::new();
        for (number, expected) in ["data: 1\n\n", "data: 1\n\ndata: 2\n\n"].iter().enumerate() {
            let (more, is_whole) = read_now(&mut made.body);
            bytes.extend_from_slice(&more);
            assert!(!is_whole);
            assert_eq!(decoded(coding, &bytes), expected.as_bytes(), "{coding} {number}");
        }
        let (more, is_whole) = read_now(&mut made.body);
        bytes.extend_from_slice(&more);
        assert!(is_whole);
        assert_eq!(decoded(coding, &bytes), b"data: 1\n\ndata: 2\n\ndata: 3\n\n", "{coding}");
    }
}

#[test]
fn megabytes_of_nothing_do_not_hold_others_up() {
    let zeros = vec![0; 1 << 20];
    let mut made = passed(&*build("{}"), GET, HEAD, pieces(&[&zeros]));
    let (mut polls, mut bytes) = (0, Vec::new());
    loop {
        let (more, is_whole) = read_now(&mut made.body);
        bytes.extend_from_slice(&more);
        polls += 1;
        if is_whole {
            break;
        }
    }
    assert!(polls > 4, "{polls}");
    assert_eq!(decoded("gzip", &bytes), zeros);
}

#[test]
fn what_must_not_be_compressed_is_not() {
    let policy =
        build(r#"{ "exclude_types": "text/csv", "exclude_headers": "X-Secret", "exclude_credentials": true }"#);
    for (request, head) in [
        (GET, "200"),
        (GET, "200\nContent-Type: image/png"),
        (GET, "200\nContent-Type: text/csv"),
        (GET, "200\nContent-Type: application/grpc"),
        (GET, "200\nContent-Type: nonsense"),
        (GET, "200\nContent-Type: text/plain\nContent-Encoding: br"),
        (GET, "200\nContent-Type: text/plain\nCache-Control: public, No-Transform"),
        (GET, "200\nContent-Type: text/plain\nX-Secret: 1"),
        (GET, "200\nContent-Type: text/plain\nContent-Digest: sha-256=:x:"),
        (GET, "206\nContent-Type: text/plain\nContent-Range: bytes 0-9/99"),
        (GET, "304\nContent-Type: text/plain"),
        ("GET / HTTP/1.1\nHost: a\nAccept-Encoding: gzip\nCache-Control: no-transform", HEAD),
        ("GET / HTTP/1.1\nHost: a\nAccept-Encoding: gzip\nCookie: a", HEAD),
        ("GET / HTTP/1.1\nHost: a\nAccept-Encoding: gzip\nAuthorization: a", HEAD),
    ] {
        let before = field(&reply(head), KnownName::ContentEncoding);
        let made = passed(&*policy, request, head, long());
        assert_eq!(field(&made, KnownName::ContentEncoding), before, "{request} {head}");
        assert_eq!((field(&made, KnownName::Vary), made.body.remaining()), (String::new(), Some(2200)), "{head}");
    }
}

#[test]
fn who_does_not_want_it_is_told_that_others_may() {
    let policy = build("{}");
    for request in ["GET / HTTP/1.1\nHost: a", "GET / HTTP/1.1\nHost: a\nAccept-Encoding: gzip;q=0"] {
        let made = passed(&*policy, request, HEAD, long());
        assert_eq!(field(&made, KnownName::ContentEncoding), "");
        assert_eq!(
            (field(&made, KnownName::Vary), field(&made, KnownName::ETag)),
            ("accept-encoding".into(), "\"1\"".into())
        );
    }
    let short = passed(&*policy, GET, HEAD, Body::from("short"));
    assert_eq!((field(&short, KnownName::ContentEncoding), short.body.remaining()), (String::new(), Some(5)));
    let unknown = passed(&*policy, GET, HEAD, pieces(&[b"short"]));
    assert_eq!(field(&unknown, KnownName::ContentEncoding), "gzip", "nobody knows how long it gets");
}

#[test]
fn the_head_alone_is_that_of_what_would_be_sent() {
    let policy = build("{}");
    let heads = |request: &str, length: u32| {
        let made = passed(&*policy, request, &format!("{HEAD}\nContent-Length: {length}"), Body::Empty);
        let names = [KnownName::ContentEncoding, KnownName::ContentLength, KnownName::ETag, KnownName::Vary];
        names.map(|name| field(&made, name)).join(" | ")
    };
    let asked = "HEAD / HTTP/1.1\nHost: a\nAccept-Encoding: gzip";
    assert_eq!(heads(asked, 2200), "gzip |  | W/\"1\" | accept-encoding");
    assert_eq!(heads(asked, 5), " | 5 | \"1\" | accept-encoding");
    assert_eq!(heads("HEAD / HTTP/1.1\nHost: a", 2200), " | 2200 | \"1\" | accept-encoding");
}

#[test]
fn types_may_have_wildcards() {
    let policy = build("{}");
    for (value, is_compressed) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/problem+json", true),
        ("application/vnd.api+JSON", true),
        ("image/svg+xml", true),
        ("text/event-stream", true),
        ("application/jsonx", false),
        ("application/octet-stream", false),
        ("video/mp4", false),
    ] {
        let made = passed(&*policy, GET, &format!("200\nContent-Type: {value}"), long());
        assert_eq!(field(&made, KnownName::ContentEncoding) == "gzip", is_compressed, "{value}");
    }
}

#[test]
fn mistakes_are_told() {
    let config = r#"{ "codings": "deflate", "types": "text", "exclude_headers": "a b" }"#;
    let problems = (entry::<Compress>().build)(&written(config), &TestNames::new("test", "/*")).err().unwrap();
    let codes: Vec<_> = problems.iter().map(|problem| problem.code.to_string()).collect();
    assert_eq!(codes, ["compress.coding", "compress.type", "compress.header"]);
}
