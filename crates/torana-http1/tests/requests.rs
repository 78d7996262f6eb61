//! Request heads, their framing, and what they say about the connection.

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use torana_core::head::{Head, Method, Version};
use torana_core::names::KnownName;
use torana_http1::{Framing, FramingError as F, HeadError as E, HeadLimits, HeadScanner, Parsed, request};
use wire::{Refused, chunked, get, head, list, read_request, read_request_in};

fn refused(bytes: impl AsRef<[u8]>) -> E {
    let bytes = bytes.as_ref();
    match head(bytes) {
        Err(Refused::Head(error)) => error,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn framing_of(lines: &str) -> Result<Framing, F> {
    let (head, _) = head(&get(lines)).unwrap();
    request::framing(&head)
}

#[test]
fn a_plain_request_is_read() {
    let bytes =
        b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Thing:  two words \t\r\nempty:\r\nblank: \t \r\n\r\nnext";
    let (head, consumed) = head(bytes).unwrap();
    assert_eq!(consumed, bytes.len() - 4);
    assert_eq!((head.method, head.version), (Method::Get, Version::Http11));
    assert_eq!(head.raw_target(), b"/a?b=c");
    assert_eq!(head.fields.get(KnownName::Host), Some(&b"example.org"[..]));
    let expected: [(&[u8], &[u8]); 4] =
        [(b"host", b"example.org"), (b"x-thing", b"two words"), (b"empty", b""), (b"blank", b"")];
    let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(list(&head.fields), expected);
}

#[test]
fn a_request_without_fields_is_read() {
    let (head, consumed) = head(b"OPTIONS * HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.method, head.version, consumed), (Method::Options, Version::Http10, 22));
    assert!(head.fields.is_empty());
}

#[test]
fn methods_are_case_sensitive_tokens() {
    let (head, _) = head(b"get / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((head.method, head.method_text()), (Method::Extension, "get"));
    for bad in ["GE T", "G\0T", "G(T", "G\"T", "", " GET", "G\u{e9}T", "G:T", "[GET]", "GET\t"] {
        let error = refused(format!("{bad} / HTTP/1.1\r\n\r\n"));
        assert!(matches!(error, E::MethodInvalid | E::VersionInvalid | E::TargetInvalid), "{bad:?}: {error:?}");
    }
    assert_eq!(refused(format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(33))), E::MethodTooLong);
    assert_eq!(E::MethodTooLong.status().code(), 501);
}

#[test]
fn bytes_that_are_not_http_are_refused_at_once() {
    // A TLS ClientHello, and another protocol's greeting: no line end will ever come.
    assert_eq!(refused(b"\x16\x03\x01\x02\x00\x01\x00"), E::MethodInvalid);
    assert_eq!(refused(b"\0\0\0"), E::MethodInvalid);
    assert_eq!(refused(b"{\"a\":1}"), E::MethodInvalid);
}

#[test]
fn targets_hold_visible_ascii_only() {
    for bad in ["/a b", "/\t", "/\x01", "/\x7f", "/\u{e9}", "/\0", "/a\rb", "", " /"] {
        let error = refused(format!("GET {bad} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(matches!(error, E::TargetInvalid | E::VersionInvalid), "{bad:?}: {error:?}");
    }
    assert_eq!(refused(b"GET /\xff HTTP/1.1\r\n\r\n"), E::TargetInvalid);
    // Any of the four forms (RFC 9112 §3.2) is text to the codec.
    for target in ["/", "/a?b", "*", "http://a/b", "a:80", "//x", "/%2e%2e/", "/a\\b", "/a#b"] {
        let (head, _) = head(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head.raw_target(), target.as_bytes());
    }
}

#[test]
fn the_request_line_has_single_spaces() {
    for bad in [
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /  HTTP/1.1\r\n\r\n",
        "GET\t/ HTTP/1.1\r\n\r\n",
        "GET /\tHTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET\x0b/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\t\r\n\r\n",
    ] {
        refused(bad);
    }
}

#[test]
fn versions_other_than_1_0_and_1_1_are_refused() {
    for other in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0", "HTTP/9.9"] {
        assert_eq!(refused(format!("GET / {other}\r\n\r\n")), E::VersionUnsupported, "{other}");
    }
    assert_eq!(E::VersionUnsupported.status().code(), 505);
    for bad in [
        "http/1.1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP /1.1",
        "HTTP/1,1",
        "HTTPS/1.1",
        "ICY/1.1",
        "HTTP/1.",
        "HTTP/",
    ] {
        refused(format!("GET / {bad}\r\n\r\n"));
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), E::VersionUnsupported);
}

#[test]
fn http_0_9_is_refused_with_its_first_line() {
    assert_eq!(refused("GET /\r\n"), E::VersionInvalid);
    assert_eq!(refused("GET /\n"), E::VersionInvalid);
    // Byte by byte, too: nothing more will come.
    let refusal = read_request_in(b"GET /\r\n", &[1, 2, 3, 4, 5, 6]);
    assert!(matches!(refusal, Err(Refused::Head(_))), "{refusal:?}");
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let (head, consumed) = head(b"\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((head.method, consumed), (Method::Get, 20));
    assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), E::LeadingBlankLines);
    assert_eq!(refused("\nGET / HTTP/1.1\r\n\r\n"), E::BareLf);
    assert_eq!(refused("\r\n\nGET / HTTP/1.1\r\n\r\n"), E::LeadingBlankLines);
    assert_eq!(refused("\rGET / HTTP/1.1\r\n\r\n"), E::BareCr);
    for cut in 1..19 {
        let whole = b"\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(read_request_in(whole, &[cut]), read_request(whole), "{cut}");
    }
}

#[test]
fn bare_line_feeds_are_refused() {
    for bad in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nHost:\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \n\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a \nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(refused(bad), E::BareLf, "{bad:?}");
    }
}

#[test]
fn bare_carriage_returns_are_refused() {
    for bad in [
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\ra\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
    ] {
        assert_eq!(refused(bad), E::BareCr, "{bad:?}");
    }
    for bad in ["GET / HTTP/1.1\r\r\n\r\n", "GET / HTTP/1.1\rHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n"] {
        refused(bad);
    }
}

#[test]
fn folded_lines_are_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"), E::ObsFold);
    assert_eq!(refused("GET / HTTP/1.1\r\nA: b\r\n\tc: d\r\n\r\n"), E::ObsFold);
    assert_eq!(refused("GET / HTTP/1.1\r\nA:\r\n b\r\n\r\n"), E::ObsFold);
    assert_eq!(refused("GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n"), E::ObsFold);
    assert_eq!(E::ObsFold.code(), "http1.obs_fold");
}

#[test]
fn whitespace_before_the_first_field_is_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), E::SpaceBeforeFields);
    assert_eq!(refused("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n"), E::SpaceBeforeFields);
    assert_eq!(refused("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"), E::SpaceBeforeFields);
}

#[test]
fn whitespace_before_the_colon_is_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), E::SpaceBeforeColon);
    assert_eq!(refused("POST / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n\r\n"), E::SpaceBeforeColon);
}

#[test]
fn field_names_are_tokens() {
    for bad in [
        "a b: c",
        "a\0: c",
        ": c",
        "a",
        "a(b): c",
        "\u{e9}: c",
        "a\x0b: c",
        "a/b: c",
        "\"a\": c",
        "a;b: c",
        "{a}: c",
        "a\x7f: c",
    ] {
        let error = refused(get(&format!("{bad}\r\n")));
        assert_eq!(error, E::FieldNameInvalid, "{bad:?}");
    }
    assert_eq!(refused(get(&format!("{}: x\r\n", "n".repeat(1025)))), E::FieldNameTooLong);
}

#[test]
fn field_values_hold_no_controls() {
    for bad in ["\0", "a\0b", "\x01", "a\x0bb", "a\x0cb", "\x7f", "a\x1bb", "\x08"] {
        assert_eq!(refused(get(&format!("X: {bad}\r\n"))), E::FieldValueInvalid, "{bad:?}");
    }
    // Opaque and harmless (RFC 9110 §5.5).
    let (head, _) = head(&get("X: a\tb \u{e9} \"c\r\n")).unwrap();
    assert_eq!(head.fields.iter().last().unwrap().1, "a\tb \u{e9} \"c".as_bytes());
}

#[test]
fn every_limit_has_its_status() {
    let limits = HeadLimits { head_bytes: 200, fields: 3, uri_bytes: 20 };
    let parse = |bytes: &[u8]| request::parse(&mut HeadScanner::new(), bytes, &limits, &mut Head::default());
    let long = |n| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(n)).into_bytes();
    assert_eq!(parse(&long(177)), Ok(Parsed::Complete { consumed: 200 }));
    assert_eq!(parse(&long(178)), Err(E::HeaderTooLarge));
    assert_eq!(parse(&long(5000)), Err(E::HeaderTooLarge));
    assert_eq!(E::HeaderTooLarge.status().code(), 431);
    let many = |n| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(n)).into_bytes();
    assert!(parse(&many(3)).is_ok());
    assert_eq!(parse(&many(4)), Err(E::TooManyFields));
    let uri = |n| format!("GET {} HTTP/1.1\r\n\r\n", "/".repeat(n)).into_bytes();
    assert!(parse(&uri(20)).is_ok());
    assert_eq!(parse(&uri(21)), Err(E::UriTooLong));
    assert_eq!(parse(&uri(1000)), Err(E::UriTooLong));
    // Known long before the line ends.
    assert_eq!(parse(format!("GET {}", "/".repeat(70)).as_bytes()), Err(E::UriTooLong));
    assert_eq!(E::UriTooLong.status().code(), 414);
    // What is allowed is allowed, however many there are.
    let huge = HeadLimits { head_bytes: 1 << 20, fields: usize::MAX, uri_bytes: usize::MAX };
    for (count, fields) in [(256, 256), (257, 257), (300, usize::MAX), (5000, 5000), (5001, 5000)] {
        let (limits, mut head) = (HeadLimits { fields, ..huge }, Head::default());
        let result = request::parse(&mut HeadScanner::new(), &many(count), &limits, &mut head);
        if count > fields {
            assert_eq!(result, Err(E::TooManyFields));
        } else {
            assert!(matches!(result, Ok(Parsed::Complete { .. })), "{count}: {result:?}");
            assert_eq!(head.fields.len(), count);
        }
    }
    let shortest = b"GET / HTTP/1.1\r\na:\r\n\r\n";
    assert!(request::parse(&mut HeadScanner::new(), shortest, &huge, &mut Head::default()).is_ok());
}

#[test]
fn a_refused_head_leaves_nothing_behind() {
    let mut head = Head::default();
    let limits = HeadLimits::default();
    let bytes = get("X: y\r\n");
    assert!(request::parse(&mut HeadScanner::new(), &bytes, &limits, &mut head).is_ok());
    assert!(
        request::parse(&mut HeadScanner::new(), b"PUT /x HTTP/1.1\r\nA: b\nC: d\r\n\r\n", &limits, &mut head).is_err()
    );
    assert!(head.fields.is_empty() && head.raw_target().is_empty());
    assert_eq!(request::parse(&mut HeadScanner::new(), b"PUT /x HT", &limits, &mut head), Ok(Parsed::Partial));
    assert!(head.raw_target().is_empty());
}

#[test]
fn requests_without_announcement_have_no_body() {
    assert_eq!(framing_of(""), Ok(Framing::None));
    let (head, _) = head(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(request::framing(&head), Ok(Framing::None));
}

#[test]
fn one_plain_length_frames_a_request() {
    assert_eq!(framing_of("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(framing_of("CONTENT-LENGTH:0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(framing_of("Content-Length:  5 \r\n"), Ok(Framing::Length(5)));
    let reading = read_request(b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET").unwrap();
    assert_eq!((&reading.body[..], reading.consumed), (&b"abc"[..], 40));
}

#[test]
fn malformed_lengths_are_refused() {
    for bad in ["+5", "-1", "0x5", "5 5", "5a", "", "\"5\"", "5.0", "\u{ff15}", "5;q=1"] {
        assert_eq!(framing_of(&format!("Content-Length: {bad}\r\n")), Err(F::LengthInvalid), "{bad:?}");
    }
    for large in ["9223372036854775808", "18446744073709551616", "99999999999999999999999999"] {
        assert_eq!(framing_of(&format!("Content-Length: {large}\r\n")), Err(F::LengthTooLarge), "{large}");
    }
}

#[test]
fn repeated_lengths_are_refused_even_if_equal() {
    assert_eq!(framing_of("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(F::LengthRepeated));
    assert_eq!(framing_of("Content-Length: 5\r\ncontent-length: 6\r\n"), Err(F::LengthRepeated));
    assert_eq!(framing_of("Content-Length: 5, 5\r\n"), Err(F::LengthRepeated));
    assert_eq!(framing_of("Content-Length: 5,6\r\n"), Err(F::LengthRepeated));
}

#[test]
fn length_together_with_encoding_is_refused() {
    assert_eq!(framing_of("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Err(F::LengthAndEncoding));
    assert_eq!(framing_of("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), Err(F::LengthAndEncoding));
    assert_eq!(framing_of("Transfer-Encoding: bogus\r\nContent-Length: 5\r\n"), Err(F::LengthAndEncoding));
}

#[test]
fn only_the_single_chunked_coding_is_accepted() {
    assert_eq!(framing_of("Transfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
    assert_eq!(framing_of("transfer-encoding:CHUNKED \r\n"), Ok(Framing::Chunked));
    for bad in [
        "chunked, chunked",
        "chunked;q=1",
        "",
        ",chunked",
        "chunked,",
        "\"chunked\"",
        "chunked chunked",
        ";",
        "chun\u{212a}ed",
    ] {
        assert_eq!(framing_of(&format!("Transfer-Encoding: {bad}\r\n")), Err(F::EncodingInvalid), "{bad:?}");
    }
    for unknown in
        ["gzip", "gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked, identity", "chunkedx", "cow"]
    {
        assert_eq!(framing_of(&format!("Transfer-Encoding: {unknown}\r\n")), Err(F::EncodingUnknown), "{unknown:?}");
    }
    assert_eq!(F::EncodingUnknown.status().code(), 501);
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(framing_of(twice), Err(F::EncodingInvalid));
    let hidden = "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n";
    assert_eq!(framing_of(hidden), Err(F::EncodingUnknown));
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    let (head, _) = head(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(request::framing(&head), Err(F::EncodingInHttp10));
}

#[test]
fn connect_announces_no_content() {
    for line in ["Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked"] {
        let (head, _) = head(format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{line}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(request::framing(&head), Err(F::ConnectBody), "{line}");
    }
}

#[test]
fn persistence_follows_version_and_connection() {
    let persistent = |text: &str| request::persistent(&head(text.as_bytes()).unwrap().0);
    assert!(persistent("GET / HTTP/1.1\r\n\r\n"));
    assert!(!persistent("GET / HTTP/1.0\r\n\r\n"));
    assert!(!persistent("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assert!(!persistent("GET / HTTP/1.1\r\nConnection: keep-alive, Close\r\n\r\n"));
    assert!(!persistent("GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"));
    assert!(persistent("GET / HTTP/1.1\r\nConnection: x-close, foo\r\n\r\n"));
    assert!(persistent("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(!persistent("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
    // Not a field of this protocol (RFC 9112 Appendix C.2.2).
    assert!(!persistent("GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n"));
    assert!(persistent("GET / HTTP/1.1\r\nProxy-Connection: close\r\n\r\n"));
}

#[test]
fn expectations_other_than_100_continue_are_unknown() {
    let expects = |text: &str| {
        let (head, _) = head(text.as_bytes()).unwrap();
        request::expects_continue(&head, request::framing(&head).unwrap())
    };
    assert_eq!(expects("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), Ok(false));
    assert_eq!(expects("PUT / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"), Ok(true));
    assert_eq!(expects("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"), Ok(true));
    assert_eq!(expects("PUT / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"), Ok(false));
    assert_eq!(expects("PUT / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n"), Ok(false));
    for other in ["", "200-ok", "100-continue, x", "100-continue;a"] {
        let text = format!("PUT / HTTP/1.1\r\nContent-Length: 5\r\nExpect: {other}\r\n\r\n");
        assert_eq!(expects(&text), Err(request::UnknownExpectation), "{other}");
    }
}

#[test]
fn requests_that_may_leave_http_are_known() {
    let may = |text: &str| request::may_leave_http(&head(text.as_bytes()).unwrap().0);
    assert!(may("CONNECT a:1 HTTP/1.1\r\n\r\n"));
    assert!(may("GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert!(!may("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), "Upgrade needs its connection option");
    assert!(!may("GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n"));
    // RFC 9110 §7.8: a server ignores Upgrade in an HTTP/1.0 request.
    assert!(!may("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
}

#[test]
fn pipelined_requests_come_apart_where_they_should() {
    let mut bytes = chunked("3\r\nabc\r\n0\r\n\r\n");
    let first = bytes.len();
    bytes.extend_from_slice(b"GET /second HTTP/1.1\r\n\r\n");
    let reading = read_request(&bytes).unwrap();
    assert_eq!((reading.consumed, &reading.body[..]), (first, &b"abc"[..]));
    assert_eq!(read_request(&bytes[first..]).unwrap().target, b"/second");
}
