//! Reply heads, their framing, and what they say about the connection.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use torana_core::head::{Method, Version};
use torana_http1::{Framing, FramingError as F, HeadError as E, response};
use wire::{Refused, list, read_reply, reply_head};

fn refused(bytes: impl AsRef<[u8]>) -> E {
    let bytes = bytes.as_ref();
    match reply_head(bytes) {
        Err(Refused::Head(error)) => error,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn framing_of(method: Method, text: &str) -> Result<Framing, F> {
    response::framing(method, &reply_head(text.as_bytes()).unwrap().0)
}

#[test]
fn a_plain_reply_is_read() {
    let bytes = b"HTTP/1.1 200 Fine, thanks\r\nServer: x\r\nContent-Length: 2\r\n\r\nok";
    let (head, consumed) = reply_head(bytes).unwrap();
    assert_eq!((head.status.code(), head.version, consumed), (200, Version::Http11, bytes.len() - 2));
    assert_eq!(list(&head.fields)[0], (b"server".to_vec(), b"x".to_vec()));
    assert_eq!(read_reply(Method::Get, bytes).unwrap().body, b"ok");
}

#[test]
fn the_reason_phrase_is_optional_and_ignored() {
    for line in ["HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 200 OK", "HTTP/1.0 200 a\tb \u{e9}", "HTTP/1.1 200  OK"] {
        let (head, _) = reply_head(format!("{line}\r\nA: b\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((head.status.code(), head.fields.len()), (200, 1), "{line}");
    }
    assert_eq!(refused("HTTP/1.1 200 O\0K\r\n\r\n"), E::StatusLineInvalid);
    assert_eq!(refused("HTTP/1.1 200 O\rK\r\n\r\n"), E::BareCr);
    refused("HTTP/1.1 200 OK\r\r\n\r\n");
    refused("HTTP/1.1 200\r\r\n\r\n");
}

#[test]
fn status_codes_are_three_digits_from_100_to_599() {
    for bad in ["099", "000", "600", "999", "20", "2000", "2x0", "-20", "+200", " 200", "20 ", "2 0", "\u{ff12}00"] {
        assert_eq!(refused(format!("HTTP/1.1 {bad} OK\r\n\r\n")), E::StatusLineInvalid, "{bad:?}");
    }
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"] {
        assert_eq!(refused(format!("{version} 200 OK\r\n\r\n")), E::VersionUnsupported);
    }
    for bad in
        ["ICY 200 OK", "http/1.1 200 OK", "<html>", "HTTP/1.1\t200 OK", "HTTP/1.1  200 OK", " HTTP/1.1 200 OK", "\0"]
    {
        refused(format!("{bad}\r\n\r\n"));
    }
}

#[test]
fn no_empty_line_comes_before_a_reply() {
    assert_eq!(refused("\r\nHTTP/1.1 200 OK\r\n\r\n"), E::LeadingBlankLines);
    assert_eq!(refused("\n"), E::LeadingBlankLines);
}

#[test]
fn line_ends_and_folds_of_replies_are_strict() {
    assert_eq!(refused("HTTP/1.1 200 OK\nA: b\r\n\r\n"), E::BareLf);
    assert_eq!(refused("HTTP/1.1 200\nA: b\r\n\r\n"), E::BareLf);
    assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\n\r\n"), E::BareLf);
    assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\r\n\n"), E::BareLf);
    assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), E::ObsFold);
    assert_eq!(refused("HTTP/1.1 200 OK\r\n A: b\r\n\r\n"), E::SpaceBeforeFields);
    assert_eq!(refused("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), E::SpaceBeforeColon);
    assert_eq!(refused("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"), E::FieldValueInvalid);
}

#[test]
fn replies_without_body_end_with_their_head() {
    let full = "Content-Length: 5\r\n\r\n";
    assert_eq!(framing_of(Method::Head, &format!("HTTP/1.1 200 OK\r\n{full}")), Ok(Framing::None));
    assert_eq!(framing_of(Method::Head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok(Framing::None));
    assert_eq!(framing_of(Method::Head, "HTTP/1.1 200 OK\r\n\r\n"), Ok(Framing::None));
    assert_eq!(framing_of(Method::Get, &format!("HTTP/1.1 304 Not Modified\r\n{full}")), Ok(Framing::None));
    assert_eq!(framing_of(Method::Get, &format!("HTTP/1.1 204 No Content\r\n{full}")), Ok(Framing::None));
    assert_eq!(framing_of(Method::Get, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), Ok(Framing::None));
    let (head, _) = reply_head(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(response::announced_length(&head), Some(5));
}

#[test]
fn interim_replies_that_announce_content_are_refused() {
    for line in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        assert_eq!(framing_of(Method::Get, &format!("HTTP/1.1 100 Continue\r\n{line}\r\n\r\n")), Err(F::InterimBody));
        assert_eq!(framing_of(Method::Get, &format!("HTTP/1.1 101 Switching\r\n{line}\r\n\r\n")), Err(F::InterimBody));
    }
}

#[test]
fn a_204_that_announces_content_ends_its_connection() {
    let persistent = |text: &str| {
        let (head, _) = reply_head(text.as_bytes()).unwrap();
        response::persistent(&head, response::framing(Method::Get, &head).unwrap())
    };
    assert!(persistent("HTTP/1.1 204 No Content\r\n\r\n"));
    assert!(persistent("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn replies_are_framed_like_requests_or_by_the_connection() {
    assert_eq!(framing_of(Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Ok(Framing::Length(5)));
    assert_eq!(framing_of(Method::Get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok(Framing::Chunked));
    assert_eq!(framing_of(Method::Get, "HTTP/1.1 200 OK\r\n\r\n"), Ok(Framing::UntilClose));
    assert_eq!(framing_of(Method::Get, "HTTP/1.0 200 OK\r\n\r\n"), Ok(Framing::UntilClose));
    assert_eq!(framing_of(Method::Get, "HTTP/1.1 205 Reset Content\r\n\r\n"), Ok(Framing::UntilClose));
    let reading = read_reply(Method::Get, b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
    assert_eq!((&reading.body[..], reading.persistent), (&b"all of it"[..], false));
}

#[test]
fn faulty_framing_of_replies_is_refused() {
    let of = |lines: &str| framing_of(Method::Get, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
    assert_eq!(of("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Err(F::LengthAndEncoding));
    assert_eq!(of("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(F::LengthRepeated));
    assert_eq!(of("Content-Length: x\r\n"), Err(F::LengthInvalid));
    assert_eq!(of("Transfer-Encoding: gzip\r\n"), Err(F::EncodingUnknown), "not: until close");
    assert_eq!(of("Transfer-Encoding: chunked, chunked\r\n"), Err(F::EncodingInvalid));
    // HTTP/1.0 close-delimited with Transfer-Encoding: CVE-2026-2835.
    assert_eq!(
        framing_of(Method::Get, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(F::EncodingInHttp10)
    );
    // Checked even where there is no body.
    assert_eq!(framing_of(Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n"), Err(F::LengthInvalid));
}

#[test]
fn switching_and_connecting_begin_a_tunnel() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(framing_of(Method::Get, switched), Ok(Framing::Tunnel));
    assert!(response::switches(&reply_head(switched.as_bytes()).unwrap().0));
    assert!(!response::switches(&reply_head(b"HTTP/1.1 101 Switching\r\n\r\n").unwrap().0));
    assert_eq!(framing_of(Method::Connect, "HTTP/1.1 200 OK\r\n\r\n"), Ok(Framing::Tunnel));
    // RFC 9112 §6.3: what such a reply announces is ignored.
    assert_eq!(framing_of(Method::Connect, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Ok(Framing::Tunnel));
    assert_eq!(framing_of(Method::Connect, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n"), Ok(Framing::Length(5)));
}

#[test]
fn only_self_ending_replies_leave_the_connection_open() {
    let persistent = |text: &str| read_reply(Method::Get, text.as_bytes()).unwrap().persistent;
    assert!(persistent("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"));
    assert!(!persistent("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert!(persistent("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
    assert!(!persistent("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
}
