//! What the codec writes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use torana_core::head::{Fields, Method, Version};
use torana_http1::{Behind, BodyEncoder, EncodeError, Framing, Persist, Sent, behind, request, response};
use wire::{fields, status};

fn request_text(method: &str, framing: Framing, persist: Persist, list: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    let fields = fields(list);
    let outgoing = request::Outgoing { method, target: &[b"/a", b"?b"], fields: &fields, framing, persist };
    request::write_head(&mut out, &outgoing).unwrap();
    String::from_utf8(out).unwrap()
}

struct Reply {
    code: u16,
    method: Method,
    peer: Version,
    framing: Framing,
    persist: Persist,
}

const REPLY: Reply = Reply {
    code: 200,
    method: Method::Get,
    peer: Version::Http11,
    framing: Framing::Length(2),
    persist: Persist::KeepAlive,
};

fn reply(reply: Reply, list: &[(&str, &str)]) -> (String, Sent) {
    let mut out = Vec::new();
    let fields = fields(list);
    let Reply { code, method, peer, framing, persist } = reply;
    let outgoing =
        response::Outgoing { status: status(code), request_method: method, peer, fields: &fields, framing, persist };
    let sent = response::write_head(&mut out, &outgoing).unwrap();
    (String::from_utf8(out).unwrap(), sent)
}

#[test]
fn a_request_is_written_as_1_1() {
    let text = request_text("GET", Framing::None, Persist::KeepAlive, &[("Host", "a"), ("X-A", "1")]);
    assert_eq!(text, "GET /a?b HTTP/1.1\r\nhost: a\r\nX-A: 1\r\n\r\n");
    let text = request_text("PUT", Framing::Length(7), Persist::Close, &[("Host", "a")]);
    assert_eq!(text, "PUT /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\nconnection: close\r\n\r\n");
    let text = request_text("DELETE", Framing::Chunked, Persist::KeepAlive, &[]);
    assert_eq!(text, "DELETE /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    // RFC 9110 §8.6: content was to be expected.
    assert!(request_text("POST", Framing::None, Persist::KeepAlive, &[]).contains("content-length: 0\r\n"));
}

const FORGED: &[(&str, &str)] = &[
    ("Content-Length", "99"),
    ("content-length", "98"),
    ("Transfer-Encoding", "chunked"),
    ("Connection", "x-secret, keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Upgrade", "h2c"),
    ("X-Kept", "1"),
];

#[test]
fn framing_fields_cannot_be_forged() {
    let text = request_text("PUT", Framing::Length(1), Persist::KeepAlive, FORGED);
    assert_eq!(text, "PUT /a?b HTTP/1.1\r\nX-Kept: 1\r\ncontent-length: 1\r\n\r\n");
    let (text, _) = reply(REPLY, FORGED);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nX-Kept: 1\r\ncontent-length: 2\r\n\r\n");
}

#[test]
fn an_upgrade_is_written_whole() {
    let text = request_text("GET", Framing::None, Persist::Upgrade, &[("Upgrade", "websocket"), ("Connection", "x")]);
    assert_eq!(text, "GET /a?b HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    let (text, sent) = reply(Reply { code: 101, framing: Framing::Tunnel, ..REPLY }, &[("Upgrade", "websocket")]);
    assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    assert_eq!(behind(true, sent.framing, sent.persist, 5), Behind::Tunnel);
}

#[test]
fn malformed_requests_are_not_written() {
    let fields = Fields::default();
    let write = |method: &str, target: &[u8], framing| {
        let mut out = b"kept".to_vec();
        let outgoing =
            request::Outgoing { method, target: &[target], fields: &fields, framing, persist: Persist::KeepAlive };
        let result = request::write_head(&mut out, &outgoing);
        assert!(result.is_ok() || out == b"kept");
        result.map(|sent| sent.framing)
    };
    for bad in ["", "/ HTTP/1.1\r\nX: y", "/a b", "/\n", "/\u{e9}", "/\0", "/\x7f"] {
        assert_eq!(write("GET", bad.as_bytes(), Framing::None), Err(EncodeError::Target), "{bad:?}");
    }
    for bad in ["", "GET /", "G\r\nX", "G\0"] {
        assert_eq!(write(bad, b"/", Framing::None), Err(EncodeError::Method), "{bad:?}");
    }
    assert_eq!(write("GET", b"/", Framing::UntilClose), Err(EncodeError::Framing));
    assert_eq!(write("GET", b"/", Framing::Tunnel), Err(EncodeError::Framing));
    assert_eq!(write("CONNECT", b"a:1", Framing::Length(5)), Err(EncodeError::Framing));
    assert_eq!(write("CONNECT", b"a:1", Framing::None), Ok(Framing::None));
}

#[test]
fn a_reply_says_where_it_ends() {
    assert_eq!(reply(REPLY, &[]).0, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    let (text, sent) = reply(Reply { framing: Framing::None, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "never by silence on an open connection");
    assert_eq!(sent.framing, Framing::Length(0));
    let (text, sent) = reply(Reply { framing: Framing::UntilClose, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    assert_eq!(sent.persist, Persist::Close);
    let (text, _) = reply(Reply { framing: Framing::Chunked, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    // Codes without a registered phrase keep the blank (RFC 9112 §4).
    assert!(reply(Reply { code: 299, ..REPLY }, &[]).0.starts_with("HTTP/1.1 299 \r\n"));
}

#[test]
fn http_1_0_peers_get_no_chunks() {
    let old = || Reply { peer: Version::Http10, framing: Framing::Chunked, ..REPLY };
    let (text, sent) = reply(old(), &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    assert_eq!(sent, Sent { framing: Framing::UntilClose, persist: Persist::Close });
    let (text, _) = reply(Reply { peer: Version::Http10, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n");
    let (text, _) = reply(Reply { method: Method::Head, ..old() }, &[]);
    assert!(!text.contains("transfer-encoding"), "{text}");
    assert!(!response::interim_allowed(Version::Http10));
}

#[test]
fn bodiless_replies_have_no_body_whatever_is_asked() {
    for (code, framing) in
        [(204, Framing::Length(5)), (204, Framing::Chunked), (103, Framing::Length(5)), (100, Framing::None)]
    {
        let (text, sent) = reply(Reply { code, framing, persist: Persist::KeepAlive, ..REPLY }, &[]);
        assert!(!text.contains("content-length") && !text.contains("transfer-encoding"), "{text}");
        assert_eq!(sent.framing, Framing::None);
    }
    let (text, sent) = reply(Reply { code: 304, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n");
    assert_eq!(sent.framing, Framing::None);
    let (text, sent) = reply(Reply { method: Method::Head, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    assert_eq!(sent.framing, Framing::None);
    let (text, _) = reply(Reply { method: Method::Head, framing: Framing::None, ..REPLY }, &[]);
    assert_eq!(text, "HTTP/1.1 200 OK\r\n\r\n", "no length is made up");
    // An interim reply says nothing about the connection.
    let (text, _) =
        reply(Reply { code: 103, framing: Framing::None, persist: Persist::Close, ..REPLY }, &[("Link", "x")]);
    assert_eq!(text, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
}

#[test]
fn a_refused_connect_ends_the_connection() {
    let connect = || Reply { method: Method::Connect, ..REPLY };
    let (text, sent) = reply(Reply { code: 403, ..connect() }, &[]);
    assert!(text.contains("connection: close"), "{text}");
    assert_eq!(behind(true, sent.framing, sent.persist, 0), Behind::Nothing);
    let (text, sent) = reply(Reply { framing: Framing::Tunnel, ..connect() }, &[]);
    assert_eq!((text.as_str(), sent.framing), ("HTTP/1.1 200 OK\r\n\r\n", Framing::Tunnel));
}

#[test]
fn tunnels_begin_only_where_http_allows() {
    let write = |code, method, framing| {
        let fields = Fields::default();
        let mut out = Vec::new();
        let outgoing = response::Outgoing {
            status: status(code),
            request_method: method,
            peer: Version::Http11,
            fields: &fields,
            framing,
            persist: Persist::KeepAlive,
        };
        let result = response::write_head(&mut out, &outgoing).map(|sent| sent.framing);
        assert!(result.is_ok() || out.is_empty());
        result
    };
    assert_eq!(write(200, Method::Get, Framing::Tunnel), Err(EncodeError::Framing));
    assert_eq!(write(101, Method::Get, Framing::Length(3)), Err(EncodeError::Framing));
    assert_eq!(write(200, Method::Connect, Framing::Length(3)), Err(EncodeError::Framing));
    assert_eq!(write(403, Method::Connect, Framing::Tunnel), Err(EncodeError::Framing));
}

#[test]
fn chunks_are_written_and_ended() {
    let mut out = Vec::new();
    let mut encoder = BodyEncoder::new(Framing::Chunked);
    encoder.write(&mut out, b"hello").unwrap();
    encoder.write(&mut out, b"").unwrap();
    encoder.write(&mut out, &[b'x'; 18]).unwrap();
    assert!(!encoder.is_done());
    let trailers =
        fields(&[("grpc-status", "0"), ("Content-Length", "5"), ("Host", "evil"), ("transfer-encoding", "x")]);
    encoder.finish(&mut out, Some(&trailers)).unwrap();
    encoder.finish(&mut out, None).unwrap();
    assert_eq!(out, b"5\r\nhello\r\n12\r\nxxxxxxxxxxxxxxxxxx\r\n0\r\ngrpc-status: 0\r\n\r\n");
    assert_eq!(encoder.frame(1), Err(EncodeError::Length));
    let frame = BodyEncoder::new(Framing::Chunked).frame(255).unwrap();
    assert_eq!((frame.head(), frame.tail), (&b"ff\r\n"[..], &b"\r\n"[..]));
}

#[test]
fn a_body_is_held_to_its_length() {
    let mut out = Vec::new();
    let mut encoder = BodyEncoder::new(Framing::Length(5));
    encoder.write(&mut out, b"abc").unwrap();
    assert_eq!(encoder.finish(&mut out, None), Err(EncodeError::Length), "too short");
    assert_eq!(encoder.write(&mut out, b"def"), Err(EncodeError::Length), "too long");
    encoder.write(&mut out, b"de").unwrap();
    assert!(encoder.is_done());
    encoder.finish(&mut out, Some(&fields(&[("x", "y")]))).unwrap();
    assert_eq!(out, b"abcde", "no place for trailers");
    assert_eq!(BodyEncoder::new(Framing::None).frame(1), Err(EncodeError::Length));
}
