//! Smuggling cases in the manner of http-desync-guardian, the smuggling
//! literature and the CVE tables of our own research: each has one verdict.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use torana_core::head::Method;
use torana_http1::{BodyError as B, FramingError as F, HeadError as E};
use wire::Refused::{self, Body, Framing, Head};
use wire::{read_reply, read_request};

fn verdict(text: &str) -> Result<usize, Refused> {
    read_request(text.as_bytes()).map(|reading| reading.consumed)
}

/// A POST to a path with these framing lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

#[test]
fn cl_te_and_te_cl_are_refused() {
    let smuggled = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\nX: y\r\nTransfer-Encoding: chunked\r\n",
        "content-length: 6\r\ntransfer-encoding: CHUNKED\r\n",
        "Content-Length: 6\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 6\r\nTransfer-Encoding:\r\n",
    ] {
        assert_eq!(verdict(&post(lines, smuggled)), Err(Framing(F::LengthAndEncoding)), "{lines:?}");
    }
}

/// Transfer-Encoding disguised so that one of two servers does not see it.
#[test]
fn te_te_disguises_are_refused() {
    for (lines, error) in [
        ("Transfer-Encoding: xchunked\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: chunked, identity\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: identity, chunked\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n", Framing(F::EncodingInvalid)),
        ("Transfer-Encoding: chunk\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: \"chunked\"\r\n", Framing(F::EncodingInvalid)),
        ("Transfer-Encoding: 'chunked'\r\n", Framing(F::EncodingUnknown)),
        ("Transfer-Encoding: chunked;\r\n", Framing(F::EncodingInvalid)),
        ("Transfer-Encoding: ch\u{fc}nked\r\n", Framing(F::EncodingInvalid)),
        ("Transfer-Encoding : chunked\r\n", Head(E::SpaceBeforeColon)),
        ("Transfer-Encoding\t:chunked\r\n", Head(E::SpaceBeforeColon)),
        ("Transfer-Encoding\x0b: chunked\r\n", Head(E::FieldNameInvalid)),
        ("Transfer-Encoding: \x0bchunked\r\n", Head(E::FieldValueInvalid)),
        ("Transfer-Encoding: chunked\x0c\r\n", Head(E::FieldValueInvalid)),
        ("Transfer-Encoding:\r\n chunked\r\n", Head(E::ObsFold)),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", Head(E::ObsFold)),
        ("X: y\nTransfer-Encoding: chunked\r\n", Head(E::BareLf)),
        ("X: y\rTransfer-Encoding: chunked\r\n", Head(E::BareCr)),
        ("X: y\0\r\nTransfer-Encoding: chunked\r\n", Head(E::FieldValueInvalid)),
        ("Transfer-Encoding: chunked\0\r\n", Head(E::FieldValueInvalid)),
        ("Transfer-Encoding: chunked\n\r\n", Head(E::BareLf)),
        ("\0Transfer-Encoding: chunked\r\n", Head(E::FieldNameInvalid)),
        ("Transfer Encoding: chunked\r\n", Head(E::FieldNameInvalid)),
    ] {
        assert_eq!(verdict(&post(lines, "0\r\n\r\n")), Err(error), "{lines:?}");
    }
}

/// A tab is a blank to the grammar, but nginx keeps it in the value: it reads a
/// reply whose length has one as ending with the connection.
#[test]
fn tabs_beside_framing_values_are_refused() {
    for line in ["Content-Length:\t5", "Content-Length: \t5", "Content-Length: 5\t", "content-length: 5 \t "] {
        assert_eq!(verdict(&post(&format!("{line}\r\n"), "hello")), Err(Head(E::Ambiguous)), "{line:?}");
        let reply = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nhello");
        assert_eq!(read_reply(Method::Get, reply.as_bytes()), Err(Head(E::Ambiguous)), "{line:?}");
    }
    for line in ["Transfer-Encoding:\tchunked", "Transfer-Encoding: chunked\t"] {
        assert_eq!(verdict(&post(&format!("{line}\r\n"), "0\r\n\r\n")), Err(Head(E::Ambiguous)), "{line:?}");
    }
    // Elsewhere they are blanks, and other blanks are blanks here too.
    let text = post("X:\ty\t\r\nContent-Length:  5 \r\n", "hello");
    assert_eq!(verdict(&text), Ok(text.len()));
}

/// Names that only resemble the framing fields are other fields, and say
/// nothing: CGI-style peers fold `_` into `-`, so admission drops them.
#[test]
fn lookalike_names_do_not_frame() {
    for lines in [
        "Transfer_Encoding: chunked\r\n",
        "Content_Length: 5\r\n",
        "X-Transfer-Encoding: chunked\r\n",
        "Content-Lengt\u{68}x: 5\r\n",
    ] {
        let text = post(lines, "");
        assert_eq!(verdict(&text), Ok(text.len()), "{lines:?}");
    }
}

#[test]
fn lengths_with_two_readings_are_refused() {
    for (value, error) in [
        ("5, 5", F::LengthRepeated),
        ("5,6", F::LengthRepeated),
        ("5\r\nContent-Length: 5", F::LengthRepeated),
        ("5\r\nContent-Length: 0", F::LengthRepeated),
        ("5\r\nContent-Length:", F::LengthRepeated),
        ("+5", F::LengthInvalid),
        ("-5", F::LengthInvalid),
        ("0x5", F::LengthInvalid),
        ("5 0", F::LengthInvalid),
        ("5e0", F::LengthInvalid),
        ("5.", F::LengthInvalid),
        ("0b101", F::LengthInvalid),
        ("\u{665}", F::LengthInvalid),
        ("", F::LengthInvalid),
        ("9223372036854775808", F::LengthTooLarge),
        ("18446744073709551621", F::LengthTooLarge),
    ] {
        assert_eq!(verdict(&post(&format!("Content-Length: {value}\r\n"), "hello")), Err(Framing(error)), "{value:?}");
    }
}

#[test]
fn chunk_tricks_are_refused() {
    let chunked = |body: &str| verdict(&post("Transfer-Encoding: chunked\r\n", body));
    for (body, error) in [
        ("0x5\r\nhello\r\n0\r\n\r\n", B::ChunkSizeInvalid),
        ("5 \r\nhello\r\n0\r\n\r\n", B::ChunkSizeInvalid),
        ("\r\n5\r\nhello\r\n0\r\n\r\n", B::ChunkSizeInvalid),
        ("5\nhello\r\n0\r\n\r\n", B::ChunkLineInvalid),
        ("5\r\nhello\r\n\r\n0\r\n\r\n", B::ChunkSizeInvalid),
        ("5\r\nhellohello\r\n0\r\n\r\n", B::ChunkEndInvalid),
        ("5\r\nhello\n0\r\n\r\n", B::ChunkEndInvalid),
        // Overflow to 5 in 64 bits (the old chunk-size attack).
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", B::ChunkSizeTooLarge),
        ("ffffffffffffffff0\r\nhello\r\n0\r\n\r\n", B::ChunkSizeTooLarge),
        ("-5\r\nhello\r\n0\r\n\r\n", B::ChunkSizeInvalid),
        // "TERM.EXT", "EXT.TERM", "TERM.SPILL": funky chunks.
        ("2;\nxx\r\n22\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n", B::ChunkLineInvalid),
        ("2;a\rxx\r\n0\r\n\r\n", B::ChunkLineInvalid),
        ("5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n", B::ChunkEndInvalid),
        ("0\r\nContent-Length: 10\r\n\r\n", B::TrailerForbidden),
        ("0\r\nTransfer-Encoding : x\r\n\r\n", B::TrailersInvalid),
    ] {
        assert_eq!(chunked(body), Err(Body(error)), "{body:?}");
    }
}

#[test]
fn start_line_tricks_are_refused() {
    for text in [
        "GET /a HTTP/1.1 HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /a\tHTTP/1.1\r\n\r\n",
        "GET\u{a0}/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\x0b\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\x20\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "\0GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\n\r\n",
    ] {
        assert!(matches!(verdict(text), Err(Head(_))), "{text:?}: {:?}", verdict(text));
    }
}

/// RUSTSEC-2026-0034 (pingora): HTTP/1.0 with Transfer-Encoding.
#[test]
fn http_1_0_with_encoding_is_refused() {
    let text = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(verdict(text), Err(Framing(F::EncodingInHttp10)));
    let both = "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(verdict(both), Err(Framing(F::EncodingInHttp10)));
}

/// A length on a GET frames it like any other: nothing is left over.
#[test]
fn the_body_of_any_method_is_consumed() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "X"] {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /");
        assert_eq!(verdict(&text), Ok(text.len()), "{method}");
    }
}

/// Replies that shift the queue of a reused upstream connection.
#[test]
fn replies_cannot_split() {
    let reply = |text: &str| read_reply(Method::Get, text.as_bytes());
    assert_eq!(
        reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Err(Framing(F::LengthAndEncoding))
    );
    assert_eq!(
        reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello"),
        Err(Framing(F::LengthRepeated))
    );
    assert_eq!(reply("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello"), Err(Framing(F::InterimBody)));
    assert_eq!(reply("\r\nHTTP/1.1 200 OK\r\n\r\n"), Err(Head(E::LeadingBlankLines)));
    let bodiless = reply("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert!(!bodiless.persistent && bodiless.body.is_empty());
    let head = read_reply(Method::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!((head.body.len(), head.consumed), (0, 38));
}
