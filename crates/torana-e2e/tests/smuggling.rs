//! Requests that two programs could read differently.
//!
//! Each goes in with a second request, the marker, behind it: whoever finds
//! the end of the first elsewhere than the gateway would see the marker. All
//! have to be refused, the connection closed, and the origin must see nothing.

use torana_e2e::client::get;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::Origin;

/// What a smuggler would like the origin to see.
const MARKER: &str = "GET /marker HTTP/1.1\r\nHost: gateway.example\r\n\r\n";

/// Name, and everything before the marker.
type Case = (&'static str, &'static str);

/// The end of the body can be told in two ways.
const FRAMING: &[Case] = &[
    ("CL.TE", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE.CL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n"),
    (
        "CL.TE with CL 0",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("GET with both", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths that differ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"),
    ("two lengths that agree", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n"),
    ("a signed length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
    ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x0\r\n\r\n"),
    ("a length with a blank inside", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0 5\r\n\r\n"),
    ("a length with a vertical tab", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \x0b0\r\n\r\n"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n"),
    ("a length beyond 2^64", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    ("a length just below 2^64", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n"),
    ("TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "TE in HTTP/1.0 kept alive",
        "POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

/// `Transfer-Encoding` that some take for chunked and some do not.
const ENCODING: &[Case] = &[
    ("xchunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("chunked, identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("identity, chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    ("gzip, chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked, chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (
        "twice",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "twice, one unknown",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    ),
    ("with a parameter", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("quoted", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("empty", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("a comma alone", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a tab before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("a tab behind the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the name", "POST / HTTP/1.1\r\nHost: x\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("folded", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a vertical tab", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a form feed", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"),
    ("a NUL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("behind a bare CR", "POST / HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("behind a bare LF", "POST / HTTP/1.1\r\nHost: x\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

/// The chunked coding, bent.
const CHUNKS: &[Case] = &[
    ("a size with 0x", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"),
    ("a signed size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n"),
    ("a size with a blank before", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 0\r\n\r\n"),
    ("a size with an underscore", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n"),
    ("an empty size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n"),
    ("a size beyond 2^64", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n"),
    (
        "a size that overflows to 0",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100000000000000000\r\n\r\n",
    ),
    (
        "a size line that ends in LF",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    ),
    (
        "a size line that ends in CR",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\ra\r\n0\r\n\r\n",
    ),
    (
        "a chunk longer than its size",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    ),
    ("a chunk that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n"),
    (
        "a chunk that ends in any two bytes",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
    ),
    (
        "an extension with LF (TERM.EXT)",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n",
    ),
    (
        "an extension with CR",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n0\r\n\r\n",
    ),
    (
        "an extension that is no token",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;\0\r\na\r\n0\r\n\r\n",
    ),
    ("a last chunk that ends in LF", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n"),
    (
        "a trailer that frames",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    ),
    (
        "a trailer with a blank before the colon",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : 5\r\n\r\n",
    ),
    (
        "a trailer with a bare LF",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 5\nY: 6\r\n\r\n",
    ),
];

/// Lines and fields, bent.
const LINES: &[Case] = &[
    ("a folded field", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"),
    ("a head that ends in LF LF", "GET / HTTP/1.1\nHost: x\n\n"),
    ("a field that ends in LF", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
    ("a field with a bare CR", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n"),
    ("a field with a NUL", "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
    ("a name with a NUL", "GET / HTTP/1.1\r\nHost: x\r\nX\0Y: a\r\n\r\n"),
    ("a name with a blank", "GET / HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n"),
    ("a line without colon", "GET / HTTP/1.1\r\nHost: x\r\nGarbage\r\n\r\n"),
    ("an empty name", "GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n"),
    ("a blank line with a blank", "GET / HTTP/1.1\r\nHost: x\r\n \r\n\r\n"),
    ("a blank before the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
    ("two blanks in the request line", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a blank behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    ("a blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a bare LF in the request line", "GET /a\nX: y HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("no version", "GET /\r\nHost: x\r\n\r\n"),
    ("a version in lower case", "GET / http/1.1\r\nHost: x\r\n\r\n"),
    ("a version of three digits", "GET / HTTP/1.10\r\nHost: x\r\n\r\n"),
    ("HTTP/2.0 in text", "GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    ("a blank before the method", " GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a method that is no token", "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("many empty lines first", "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
];

/// Who is meant can be told in two ways.
const HOSTS: &[Case] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    ("two equal Hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    ("two Hosts, one in another case", "GET / HTTP/1.1\r\nhost: x\r\nHOST: y\r\n\r\n"),
    ("a blank before Host's colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    ("a list of hosts", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n"),
    ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    ("a Host with userinfo", "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n"),
    ("absolute-form that disagrees", "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("absolute-form with userinfo", "GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("absolute-form without Host", "GET http://x/ HTTP/1.1\r\n\r\n"),
    ("absolute-form of another scheme", "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("authority-form without CONNECT", "GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("asterisk-form without OPTIONS", "GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a target without slash", "GET a HTTP/1.1\r\nHost: x\r\n\r\n"),
];

struct Bench {
    origin: Origin,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Bench {
        let origin = Origin::saying("ok");
        let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
        Bench { origin, gateway }
    }

    /// Refused with a 400-class status (501 for a coding nobody knows, 505 for
    /// a version nobody speaks), and nothing else happens.
    fn refuses(&self, (name, bytes): &Case, must_close: bool) {
        let mut client = self.gateway.connect();
        client.send(format!("{bytes}{MARKER}"));
        let reply = client.reply_to("GET").unwrap_or_else(|| panic!("{name}: closed without a reply"));
        let status = reply.status();
        assert!(matches!(status, 400..=431 | 501 | 505), "{name}: {status}");
        assert!(!reply.code().is_empty(), "{name}: no reason code in {}", reply.text());
        if must_close {
            assert_eq!(reply.head.get("connection"), Some("close"), "{name}");
            client.assert_closed();
        }
    }

    /// The marker did not arrive, nor anything else but a request of our own.
    fn nothing_came_through(&self) {
        assert_eq!(self.gateway.ask(get("/proof", "")).status(), 200);
        let seen: Vec<String> = self.origin.take_seen().iter().map(|seen| seen.target().to_owned()).collect();
        assert_eq!(seen, ["/proof"]);
    }

    fn all(&self, cases: &[Case]) {
        for case in cases {
            self.refuses(case, true);
            self.nothing_came_through();
        }
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    Bench::new().all(FRAMING);
}

#[test]
fn ambiguous_transfer_encoding_is_refused() {
    Bench::new().all(ENCODING);
}

#[test]
fn malformed_chunks_are_refused() {
    Bench::new().all(CHUNKS);
}

#[test]
fn malformed_lines_are_refused() {
    Bench::new().all(LINES);
}

#[test]
fn ambiguous_hosts_are_refused() {
    let bench = Bench::new();
    for case in HOSTS {
        // These are framed well: the next request may be served, and is the
        // client's own, so the marker is no proof here.
        bench.refuses(case, false);
        let seen = bench.origin.take_seen();
        assert!(seen.iter().all(|seen| seen.target() == "/marker"), "{}: {seen:?}", case.0);
    }
}

/// A smuggler splits where the reader does not expect it.
#[test]
fn every_case_is_refused_byte_by_byte_too() {
    let bench = Bench::new();
    for (name, bytes) in FRAMING.iter().chain(ENCODING) {
        let mut client = bench.gateway.connect();
        for byte in bytes.as_bytes() {
            if client.try_send([*byte]).is_err() {
                // It was refused before its end: good.
                break;
            }
        }
        let reply = client.reply_to("GET").unwrap_or_else(|| panic!("{name}: closed without a reply"));
        assert!(matches!(reply.status(), 400..=431 | 501 | 505), "{name}: {}", reply.status());
    }
    bench.nothing_came_through();
}

/// The codings that are fine, so that the table above proves something.
#[test]
fn what_has_one_reading_is_served() {
    let bench = Bench::new();
    let fine: &[Case] = &[
        ("a length with zeros before", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 003\r\n\r\nabc"),
        (
            "chunked in capitals",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "a size with zeros before",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n000\r\n\r\n",
        ),
        (
            "an extension",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b;c\"\r\nabc\r\n0;z\r\n\r\n",
        ),
        ("one empty line first", "\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
        ("blanks around a value", "POST / HTTP/1.1\r\nHost:  x \t\r\nContent-Length:  3 \r\n\r\nabc"),
    ];
    for (name, bytes) in fine {
        let mut client = bench.gateway.connect();
        let first = client.ask(format!("{bytes}{MARKER}"));
        assert_eq!(first.status(), 200, "{name}: {}", first.text());
        assert_eq!(client.reply().status(), 200, "{name}: the marker is a request of its own");
        let seen = bench.origin.take_seen();
        assert_eq!(seen.len(), 2, "{name}");
        assert_eq!(seen[0].body.data, b"abc", "{name}");
        assert_eq!(seen[1].target(), "/marker", "{name}");
        // What is forwarded is framed anew, in one way.
        let (length, coding) = (seen[0].head.get("content-length"), seen[0].head.get("transfer-encoding"));
        assert!(matches!((length, coding), (Some("3"), None) | (None, Some("chunked"))), "{name}");
    }
}
