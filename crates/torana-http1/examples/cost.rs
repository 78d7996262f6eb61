//! What the codec costs: `cargo run --release -p torana-http1 --example cost`
//! prints nanoseconds per message.
//!
//! For exact counts, run one case a fixed number of times under callgrind and
//! take the difference of two runs:
//! `valgrind --tool=callgrind cost request 1000` and `… request 2000`.

#![allow(clippy::print_stdout, reason = "this is its output")]

use std::hint::black_box;
use std::time::Instant;
use torana_core::head::{Head, Method, ReplyHead, Version};
use torana_http1::{
    BodyDecoder, BodyEncoder, Framing, HeadLimits, HeadScanner, Parsed, Persist, Step, request, response,
};

const REQUEST: &[u8] = b"GET /api/users/42?fields=name HTTP/1.1\r\nHost: gateway.example.org\r\n\
User-Agent: h2load nghttp2/1.52.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
Accept-Language: en-GB,en;q=0.8\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\n\
Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin/1.0\r\nDate: Sun, 22 Nov 2026 06:37:29 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nETag: \"0123456789abcdef\"\r\n\
Cache-Control: max-age=60\r\n\r\n";

const CHUNKED: &[u8] = b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";

struct State {
    head: Head,
    reply: ReplyHead,
    out: Vec<u8>,
}

impl State {
    fn new() -> State {
        let mut state = State { head: Head::default(), reply: ReplyHead::default(), out: Vec::with_capacity(4096) };
        state.read_request();
        state.read_reply();
        state
    }

    fn read_request(&mut self) {
        let parsed = request::parse(&mut HeadScanner::new(), black_box(REQUEST), &HeadLimits::DEFAULT, &mut self.head);
        assert_eq!(parsed, Ok(Parsed::Complete { consumed: REQUEST.len() }));
        assert_eq!(request::framing(&self.head), Ok(Framing::None));
        assert!(request::persistent(&self.head));
    }

    fn read_reply(&mut self) {
        let parsed = response::parse(&mut HeadScanner::new(), black_box(REPLY), &HeadLimits::DEFAULT, &mut self.reply);
        assert_eq!(parsed, Ok(Parsed::Complete { consumed: REPLY.len() }));
        let framing = response::framing(Method::Get, &self.reply);
        assert_eq!(framing, Ok(Framing::Length(1024)));
        assert!(response::persistent(&self.reply, Framing::Length(1024)));
    }

    fn write_request(&mut self) {
        self.out.clear();
        let outgoing = request::Outgoing {
            method: "GET",
            target: &[b"/users/42", b"?fields=name"],
            fields: &self.head.fields,
            framing: Framing::None,
            persist: Persist::KeepAlive,
        };
        black_box(request::write_head(&mut self.out, &outgoing)).ok();
    }

    fn write_reply(&mut self) {
        self.out.clear();
        let outgoing = response::Outgoing {
            status: self.reply.status,
            request_method: Method::Get,
            peer: Version::Http11,
            fields: &self.reply.fields,
            framing: Framing::Length(1024),
            persist: Persist::KeepAlive,
        };
        black_box(response::write_head(&mut self.out, &outgoing)).ok();
    }

    fn read_chunks(&mut self) {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut rest = black_box(CHUNKED);
        while let Ok(step) = decoder.decode(rest) {
            match step {
                Step::Data { skip, len } => rest = rest.get(skip + len..).unwrap_or_default(),
                Step::NeedMore { .. } | Step::End { .. } => break,
            }
        }
        assert!(decoder.is_done());
    }

    fn write_chunks(&mut self) {
        self.out.clear();
        let mut encoder = BodyEncoder::new(Framing::Chunked);
        encoder.write(&mut self.out, black_box(b"hello")).ok();
        encoder.write(&mut self.out, black_box(b"0123456789abcdef")).ok();
        encoder.finish(&mut self.out, None).ok();
    }
}

type Case = (&'static str, fn(&mut State));

const CASES: &[Case] = &[
    ("request", State::read_request),
    ("reply", State::read_reply),
    ("write_request", State::write_request),
    ("write_reply", State::write_reply),
    ("chunks", State::read_chunks),
    ("write_chunks", State::write_chunks),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    let times = arguments.next().and_then(|times| times.parse().ok());
    let mut state = State::new();
    for (name, case) in CASES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let times: u32 = times.unwrap_or(1_000_000);
        let start = Instant::now();
        for _ in 0..times {
            case(&mut state);
        }
        println!("{name:14} {:?}", start.elapsed() / times);
    }
}
