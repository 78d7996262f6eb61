//! Messages for the differential tests: whole ones, ones put together from
//! good and doubtful parts, and damaged ones, each from a seed.
//!
//! `HTTP1_SEEDS=100000` sets how many seeds a test tries, `HTTP1_FIRST_SEED`
//! where it begins. A failure names its seed: `HTTP1_FIRST_SEED=4711
//! HTTP1_SEEDS=1` runs that one alone.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]

use std::ops::Range;

/// SplitMix64: the same rolls for the same seed, everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    /// One of `good`, or once in a while one of `doubtful`.
    fn mostly<'a>(&mut self, good: &[&'a str], doubtful: &[&'a str]) -> &'a str {
        if self.roll(16) == 0 { self.pick(doubtful) } else { self.pick(good) }
    }
}

/// The seeds of this run: `usual` many from 0, unless the environment says otherwise.
pub fn seeds(usual: u64) -> Range<u64> {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
    };
    let first = number("HTTP1_FIRST_SEED").unwrap_or(0);
    first..first + number("HTTP1_SEEDS").unwrap_or(usual)
}

/// Whether a run was worth its time: a quarter of the messages accepted, a
/// tenth refused. The few seeds of a run by hand need not be.
pub fn is_balanced(seeds: &Range<u64>, accepted: u64, refused: u64) -> bool {
    let tried = seeds.end - seeds.start;
    tried < 1000 || accepted * 4 >= tried && refused * 10 >= tried
}

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a?b=c HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    "PUT /t HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y;z\"\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    "HEAD /x HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Blank:  \t v \t\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    "DELETE /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
    "\r\nGET /blank HTTP/1.1\r\nHost: a\r\n\r\n",
];

const REPLIES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil the end",
    "HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno",
    "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 500 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

const SPECIAL: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\0",
    "0",
    "5",
    "f",
    "+",
    "-",
    "x",
    "\"",
    "\\",
    "=",
    "\u{e9}",
    "\x7f",
    "\x0b",
    "#",
    "/",
    "?",
    "HTTP/1.1",
    "chunked",
    "Content-Length: 5\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Content-Length : 1\r\n",
    "0\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
    "005",
    "0x5",
    "5, 5",
];

/// The bytes a client sends on one connection: one or two requests, damaged
/// in up to three places.
pub fn requests(dice: &mut Dice) -> Vec<u8> {
    several(dice, REQUESTS, compose_request)
}

/// The bytes a server answers with.
pub fn replies(dice: &mut Dice) -> Vec<u8> {
    several(dice, REPLIES, compose_reply)
}

fn several(dice: &mut Dice, corpus: &[&str], compose: impl Fn(&mut Dice) -> String) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=dice.roll(2) {
        let message = if dice.roll(2) == 0 { dice.pick(corpus).to_owned() } else { compose(dice) };
        bytes.extend_from_slice(message.as_bytes());
    }
    for _ in 0..dice.roll(4) {
        damage(dice, &mut bytes);
    }
    bytes
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.roll(bytes.len());
    match dice.roll(5) {
        0 => drop(bytes.splice(at..at, dice.pick(SPECIAL).bytes())),
        1 => drop(bytes.splice(at..=at, dice.pick(SPECIAL).bytes())),
        2 => drop(bytes.remove(at)),
        // A line in front of another line.
        3 => {
            let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n").map_or(0, |end| at + end + 2);
            bytes.splice(line..line, dice.pick(SPECIAL).bytes());
        }
        _ => {
            let part: Vec<u8> = bytes[at..].iter().copied().take(dice.roll(20)).collect();
            bytes.splice(at..at, part);
        }
    }
    if bytes.is_empty() {
        bytes.push(b'G');
    }
}

fn compose_request(dice: &mut Dice) -> String {
    let method =
        dice.mostly(&["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH"], &["get", "M-SEARCH", "TRACE", "CONNECT", "$"]);
    let target = dice.mostly(
        &["/", "/a/b?c=d", "/%41%2f", "//a", "/a;b=c,d", "/?", "http://a/b?c"],
        &["*", "/a#b", "a:80", "/../b", "/%zz", "/%00", "http://b", "/\"<>\\^`{|}", "?a", "/HTTP/1.1"],
    );
    let version = dice.mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], &["HTTP/1.2", "HTTP/2.0", "http/1.1"]);
    let mut lines = vec![dice.mostly(&["Host: a"], &["Host: b", "Host:", "Host: a b", "Host: a/b", "X: y"])];
    for _ in 0..dice.roll(3) {
        lines.push(dice.mostly(
            &[
                "Accept: */*",
                "Cookie: a=b; c",
                "X-Text: a, \"b\"",
                "X:\ty",
                "X_Y: z",
                "Connection: keep-alive",
                "TE: trailers",
            ],
            &[
                "Connection: close, x",
                "Connection: keep-alive, close",
                "Connection: xclose",
                "Connection: upgrade\r\nUpgrade: other",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
                "Connection: content-length, transfer-encoding",
                "Keep-Alive: timeout=5",
                "Trailer: x-sum",
                "Content-Encoding: gzip",
                "Host: a",
                "Expect: 100-continue",
                "Expect: x",
                "x!#$%&'*+-.^_`|~9: z",
                "X: \u{e9}\u{fc}",
                ": x",
                "X",
            ],
        ));
    }
    let body = framing(dice, &mut lines);
    format!("{method} {target} {version}\r\n{}\r\n{body}", written(dice, &lines))
}

fn compose_reply(dice: &mut Dice) -> String {
    let version = dice.mostly(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], &["HTTP/1.2", "HTTP/2.0", "http/1.1"]);
    let status = dice.mostly(
        &["200 OK", "200 OK", "404 Not Found", "503 ", "206", "301 Moved \u{e9}", "599 X", "204 No", "304 N", "205 R"],
        &["600 X", "99 X", "0200 OK", "200  OK", "101 X", "100 C", "2000 OK", " 200 OK", "200OK", "200\tOK"],
    );
    let mut lines = Vec::new();
    for _ in 0..dice.roll(3) {
        lines.push(dice.mostly(
            &["Server: x", "Set-Cookie: a=b; Path=/", "X-Text: a, \"b\"", "X:\ty", "X_Y: z", "Vary: a", "ETag: \"a\""],
            &["Connection: close", "Keep-Alive: timeout=5", "x!#$%&'*+-.^_`|~9: z", "X: \u{e9}\u{fc}", ": x", "X"],
        ));
    }
    let body = framing(dice, &mut lines);
    format!("{version} {status}\r\n{}\r\n{body}", written(dice, &lines))
}

/// Adds the lines that frame a body, or claim to, and answers the body.
fn framing(dice: &mut Dice, lines: &mut Vec<&'static str>) -> String {
    match dice.roll(8) {
        0..3 => String::new(),
        3..5 => {
            lines.push(dice.mostly(
                &["Content-Length: 5", "Content-Length: 05"],
                &["Content-Length: 3", "Content-Length: 6", "Content-Length: 000000000000000000000000005"],
            ));
            "hello".to_owned()
        }
        5..7 => {
            lines.push("Transfer-Encoding: chunked");
            chunks(dice)
        }
        // The smuggler's choices: each is a way to be read twice.
        _ => {
            lines.push(dice.pick(&[
                "Content-Length: 5\r\nContent-Length: 5",
                "Content-Length: 5, 5",
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                "Content-Length: +5",
                "Content-Length: 0x5",
                "Content-Length: 5 5",
                "Content-Length: 4294967301",
                "Content-Length: 9223372036854775807",
                "Content-Length: 18446744073709551621",
                "Content-Length:",
                "Content-Length : 5",
                "Content_Length: 5",
                "Content-Length: 0\r\nX:\r\n Content-Length: 5",
                "Transfer-Encoding: chunked, chunked",
                "Transfer-Encoding: identity, chunked",
                "Transfer-Encoding: chunked, identity",
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: xchunked",
                "Transfer-Encoding: \"chunked\"",
                "Transfer-Encoding: chunked;a=b",
                "Transfer-Encoding:\r\n chunked",
                "Transfer-Encoding:",
                "Transfer-Encoding : chunked",
                "Transfer_Encoding: chunked",
                "Transfer-Encoding: \x0bchunked",
                "X: y\nTransfer-Encoding: chunked",
                "X: y\rTransfer-Encoding: chunked",
            ]));
            if dice.roll(2) == 0 { "hello".to_owned() } else { chunks(dice) }
        }
    }
}

fn chunks(dice: &mut Dice) -> String {
    let mut body = String::new();
    for _ in 0..dice.roll(3) {
        body.push_str(dice.mostly(
            &[
                "5\r\nhello\r\n",
                "A\r\n0123456789\r\n",
                "01\r\n\n\r\n",
                "2;a\r\n\r\n\r\n",
                "5;a=\"\\\"\"\r\n0\r\n\r\n\r\n",
            ],
            &[
                "0000000000000005\r\nhello\r\n",
                "5;a=\"\t\u{e9}\"\r\nhello\r\n",
                "5 \r\nhello\r\n",
                "5\nhello\r\n",
                "5\r\nhello\n",
                "5\r\nhello\r\r\n",
                "5\r\nhello",
                " 5\r\nhello\r\n",
                "0x5\r\nhello\r\n",
                "5; a=b\r\nhello\r\n",
                "5;a=\"\r\n\"\r\nhello\r\n",
                "5;\nhello\r\n0\r\n\r\n",
                "10000000000000005\r\nhello\r\n",
                "-5\r\nhello\r\n",
            ],
        ));
    }
    let last = dice.mostly(
        &[
            "0\r\n\r\n",
            "0\r\n\r\n",
            "000\r\n\r\n",
            "0;a=b\r\n\r\n",
            "0\r\nX-Sum: 1\r\n\r\n",
            "0\r\nX: y\r\nDate: z\r\n\r\n",
        ],
        &[
            "0\r\n",
            "0\n\n",
            "0\r\n\n",
            "0 \r\n\r\n",
            "\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nHost: b\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
        ],
    );
    body + last
}

/// The lines with the freedoms a sender has: case of names, blanks around
/// values, order.
fn written(dice: &mut Dice, lines: &[&str]) -> String {
    let mut lines = lines.to_vec();
    if lines.len() > 1 && dice.roll(4) == 0 {
        let (from, to) = (dice.roll(lines.len()), dice.roll(lines.len()));
        lines.swap(from, to);
    }
    let mut text = String::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match (dice.roll(8), value) {
            (_, "") | (0..5, _) => text.push_str(line),
            (5, _) => text.push_str(&format!("{}: {value}", name.to_lowercase())),
            (6, _) => text.push_str(&format!("{}:{value}", name.to_uppercase())),
            _ => {
                text.push_str(&format!("{name}: {}{value}{}", dice.pick(&[" ", "\t", ""]), dice.pick(&[" ", "\t", ""])))
            }
        }
        text.push_str("\r\n");
    }
    text
}
