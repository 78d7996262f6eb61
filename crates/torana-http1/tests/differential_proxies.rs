//! The codec against nginx and haproxy on generated and damaged messages:
//! whatever we accept, they read the same way or refuse.
//!
//! A request goes through the proxy to an origin that records what it is sent:
//! method, target, fields, body, and how many requests the bytes were. A reply
//! comes from a raw origin, and a client behind the proxy sees what was made
//! of it. Both proxies forward a message only when they have all of it.
//!
//! Every difference is named in `proxies/known.rs` with its reason; any other
//! fails the test and prints the message and its seed. The reverse does not
//! hold and is not wanted: what the proxies accept and we refuse (bare LF,
//! folded lines, repeated lengths …) is only counted.
//!
//! `HTTP1_SEEDS=20000` tries more messages, `HTTP1_FIRST_SEED=4711` others;
//! `--nocapture` shows the counts. The proxies come from their Debian packages:
//! `apt-get install nginx haproxy`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod generate;
mod proxies;
mod wire;

use generate::Dice;
use proxies::message::{Message, Pairs, Side};
use proxies::origin::{Recorder, Script};
use proxies::{Product, Proxy};
use std::collections::BTreeMap;
use std::ops::Range;
use torana_core::head::Method;
use wire::{End, Reading, Refused, read_connection, read_reply};

/// What became of the messages of one seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Verdict {
    /// Messages that were read alike.
    alike: usize,
    /// What ended that.
    end: Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Ending {
    /// All bytes, or both refuse what follows.
    Agreed,
    /// The proxy reads a message that is refused here.
    RefusedHere,
    /// A difference named in `proxies/known.rs`.
    Known(&'static str),
}

/// A difference that nobody explained.
type Unexplained = &'static str;

/// Compares the requests of one connection with what the proxy forwarded;
/// `refuses` if it answered with an error of its own.
fn judge_requests(
    product: Product,
    bytes: &[u8],
    (ours, end): &(Vec<Reading>, End),
    seen: &[Message],
    refuses: bool,
) -> Result<Verdict, Unexplained> {
    for (request, forwarded) in ours.iter().zip(seen) {
        same_request(product, request, forwarded)?;
    }
    let alike = ours.len().min(seen.len());
    let verdict = |end| Ok(Verdict { alike, end });
    if let Some(request) = ours.get(alike) {
        let start: usize = ours[..alike].iter().map(|request| request.consumed).sum();
        let message = &bytes[start..start + request.consumed];
        let known = product.refuses().iter().find(|(_, applies)| applies(request, message));
        return match (refuses, known, alike.checked_sub(1).and_then(|last| ours.get(last))) {
            (true, Some((name, _)), _) => verdict(Ending::Known(name)),
            (true, None, _) => Err("the proxy refuses a request, and no known difference explains it"),
            (false, _, Some(last)) if product.closes_behind(last) => verdict(Ending::Known("closes behind")),
            (false, ..) => Err("the proxy has not read a request"),
        };
    }
    if seen.len() == alike {
        return verdict(Ending::Agreed);
    }
    match (end, ours.last()) {
        (End::Refused(Refused::Incomplete), _) => Err("the proxy has read a request that is incomplete here"),
        (End::Refused(_), _) => verdict(Ending::RefusedHere),
        // RFC 9110 §7.8: nobody's here, since the reply does not switch.
        (End::Leave, _) => verdict(Ending::Known("reads behind what may leave HTTP")),
        (End::Close, Some(last)) if product.reads_on_behind(last) => {
            // Where the messages end is the same all the same.
            let used: usize = ours.iter().map(|request| request.consumed).sum();
            let behind = read_connection(&bytes[used..]);
            judge_requests(product, &bytes[used..], &behind, &seen[alike..], refuses)?;
            verdict(Ending::Known("reads on behind"))
        }
        _ => Err("the proxy has read one request more"),
    }
}

fn same_request(product: Product, ours: &Reading, forwarded: &Message) -> Result<(), Unexplained> {
    let [method, target, _] = &forwarded.start;
    let checks = [
        (ours.method.as_bytes() == method, "another method"),
        (product.forwarded_target(ours) == *target, "another target"),
        (forwarded.whole && ours.body == forwarded.body, "another body"),
        (same_fields(product, &ours.fields, &forwarded.fields), "other fields"),
        (same_trailers(product, &ours.trailers, &forwarded.trailers), "other trailers"),
    ];
    checks.iter().find(|(same, _)| !same).map_or(Ok(()), |(_, difference)| Err(difference))
}

fn same_fields(product: Product, ours: &Pairs, forwarded: &Pairs) -> bool {
    let end_to_end = |fields: &Pairs| {
        let mut kept: Pairs = fields.iter().filter(|(name, _)| !product.rewrites(name)).cloned().collect();
        kept.sort();
        // RFC 9112 §3.2: haproxy joins a Host that is only repeated.
        kept.dedup_by(|one, other| one == other && one.0 == b"host");
        kept
    };
    end_to_end(ours) == end_to_end(forwarded)
}

/// Ours are without those that no trailer may be.
fn same_trailers(product: Product, ours: &Pairs, forwarded: &Pairs) -> bool {
    !product.forwards_trailers() || ours.iter().all(|trailer| forwarded.contains(trailer))
}

/// Compares a reply with what the client behind the proxy got.
fn judge_reply(
    product: Product,
    ours: &Result<Reading, Refused>,
    interim: bool,
    got: &[Message],
) -> Result<Verdict, Unexplained> {
    let known = |name| Ok(Verdict { alike: 0, end: Ending::Known(name) });
    if interim && !product.knows_interim_replies() {
        return known("interim replies");
    }
    let mut finals = got.iter().filter(|reply| reply.status() >= 200);
    let reply = finals.next();
    // 502 and nothing else is how a gateway says that it could not read a reply.
    let refuses = reply.is_none_or(|reply| !reply.whole || reply.status() == 502);
    match (ours, reply) {
        // RFC 9110 §15.2.2: nobody asked for it; whoever sees it closes.
        (Ok(ours), _) if ours.status == 101 => known("101 to no upgrade"),
        (Ok(ours), Some(reply)) => {
            let checks = [
                (finals.next().is_none(), "one reply more"),
                (ours.status == reply.status(), "another status"),
                (reply.whole && ours.body == reply.body, "another body"),
                (same_fields(product, &ours.fields, &reply.fields), "other fields"),
                (same_trailers(product, &ours.trailers, &reply.trailers), "other trailers"),
            ];
            match checks.iter().find(|(same, _)| !same) {
                Some((_, difference)) => Err(difference),
                None => Ok(Verdict { alike: 1, end: Ending::Agreed }),
            }
        }
        (Ok(_), None) => Err("the proxy passes nothing on"),
        (Err(_), _) if refuses => Ok(Verdict { alike: 0, end: Ending::Agreed }),
        (Err(Refused::Incomplete), _) if interim && product.hides_cuts_behind_interim_replies() => {
            known("cut behind interim replies")
        }
        (Err(Refused::Incomplete), _) => Err("the proxy ends a reply that is incomplete here"),
        (Err(_), _) => Ok(Verdict { alike: 0, end: Ending::RefusedHere }),
    }
}

/// The first final reply in `bytes`, and whether interim ones come before it.
fn read_final_reply(method: Method, mut bytes: &[u8]) -> (Result<Reading, Refused>, bool) {
    let mut interim = false;
    loop {
        match read_reply(method, bytes) {
            Ok(reply) if reply.status < 200 && reply.status != 101 => bytes = &bytes[reply.consumed..],
            other => return (other, interim),
        }
        interim = true;
    }
}

#[derive(Default)]
struct Tally {
    tried: u64,
    /// Seeds whose first message both sides accept.
    accepted: u64,
    alike: usize,
    endings: BTreeMap<Ending, u64>,
}

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        self.tried += 1;
        self.accepted += u64::from(verdict.alike > 0);
        self.alike += verdict.alike;
        *self.endings.entry(verdict.end).or_default() += 1;
    }

    /// Prints the counts, and fails if the messages were not worth comparing.
    #[expect(clippy::print_stdout, reason = "the counts tell what a run was worth")]
    fn close(&self, product: Product, what: &str, seeds: &Range<u64>) {
        let percent = |part: u64| 100 * part / self.tried.max(1);
        let refused = self.endings.get(&Ending::RefusedHere).copied().unwrap_or(0);
        println!(
            "{}, {what} of seeds {seeds:?}: {} read alike; both accept the first of {} %; refused only here {} %",
            product.name(),
            self.alike,
            percent(self.accepted),
            percent(refused),
        );
        for (ending, count) in &self.endings {
            if let Ending::Known(name) = ending {
                println!("    known difference, {name}: {count}");
            }
        }
        let rest = self.tried - self.accepted;
        assert!(generate::is_balanced(seeds, self.accepted, rest), "the generator is out of balance");
    }
}

fn compare_requests(product: Product) {
    let (proxy, origin) = Proxy::start(product, Recorder::at);
    let seeds = generate::seeds(4_000);
    let mut tally = Tally::default();
    for seed in seeds.clone() {
        let bytes = generate::requests(&mut Dice::new(seed));
        let ours = read_connection(&bytes);
        let methods: Vec<&str> = ours.0.iter().map(|request| &request.method[..]).collect();
        let replies = proxy.exchange(&bytes, &methods, methods.len());
        let seen = origin.take();
        let refuses = replies.iter().any(|reply| reply.status() >= 400 && !Recorder::wrote(reply));
        let verdict = judge_requests(product, &bytes, &ours, &seen, refuses).unwrap_or_else(|difference| {
            let name = product.name();
            let shown = bytes.escape_ascii();
            panic!(
                "{name}, seed {seed}: {difference}\n{shown}\nours     {ours:?}\nforwards {seen:?}\nanswers  {replies:?}"
            )
        });
        tally.add(verdict);
    }
    tally.close(product, "requests", &seeds);
}

fn compare_replies(product: Product) {
    let (proxy, origin) = Proxy::start(product, Script::at);
    let seeds = generate::seeds(4_000);
    let mut tally = Tally::default();
    for seed in seeds.clone() {
        let mut dice = Dice::new(seed);
        let bytes = generate::replies(&mut dice);
        let (name, method) = [("GET", Method::Get), ("HEAD", Method::Head)][dice.roll(2)];
        origin.set(&bytes);
        let (ours, interim) = read_final_reply(method, &bytes);
        let request = format!("{name} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let got = proxy.exchange(request.as_bytes(), &[name], 1);
        let verdict = judge_reply(product, &ours, interim, &got).unwrap_or_else(|difference| {
            let proxy = product.name();
            let shown = bytes.escape_ascii();
            panic!("{proxy}, seed {seed}: {difference}\nto {name}: {shown}\nours      {ours:?}\npasses on {got:?}")
        });
        tally.add(verdict);
    }
    tally.close(product, "replies", &seeds);
}

#[test]
fn nginx_reads_accepted_requests_the_same_way() {
    compare_requests(Product::Nginx);
}

#[test]
fn haproxy_reads_accepted_requests_the_same_way() {
    compare_requests(Product::Haproxy);
}

#[test]
fn nginx_reads_accepted_replies_the_same_way() {
    compare_replies(Product::Nginx);
}

#[test]
fn haproxy_reads_accepted_replies_the_same_way() {
    compare_replies(Product::Haproxy);
}

/// Without a proxy: what a difference looks like, and that each is noticed.
#[test]
fn differences_are_noticed() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let ours = read_connection(bytes);
    let judge = |forwarded: &str, refuses| {
        let mut reader = forwarded.as_bytes();
        let seen: Vec<_> = std::iter::from_fn(|| Message::read(&mut reader, Side::Request)).collect();
        judge_requests(Product::Haproxy, bytes, &ours, &seen, refuses).map(|verdict| verdict.alike)
    };
    let first = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    let second = "GET /b HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(judge(&format!("{first}{second}"), false), Ok(2));
    for (from, to, difference) in [
        ("POST", "PUT", "another method"),
        ("/a", "/A", "another target"),
        ("hello", "hallo", "another body"),
        ("5\r\n\r\nhello", "4\r\n\r\nhell", "another body"),
        ("host", "x", "other fields"),
        ("host: a", "host: a\r\nhost: b", "other fields"),
    ] {
        assert_eq!(judge(&format!("{}{second}", first.replace(from, to)), false), Err(difference), "{to:?}");
    }
    assert_eq!(judge(first, false), Err("the proxy has not read a request"));
    assert_eq!(judge(first, true), Err("the proxy refuses a request, and no known difference explains it"));
    assert_eq!(judge(&format!("{first}{second}{second}"), false), Err("the proxy has read one request more"));

    let reply = |cut: usize, got: &str| {
        let bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..43 - cut];
        let mut reader = got.as_bytes();
        let got: Vec<_> = std::iter::from_fn(|| Message::read(&mut reader, Side::Reply { to: "GET" })).collect();
        judge_reply(Product::Haproxy, &read_reply(Method::Get, bytes), false, &got).map(|verdict| verdict.alike)
    };
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(reply(0, whole), Ok(1));
    assert_eq!(reply(0, &whole.replace("200", "201")), Err("another status"));
    assert_eq!(reply(0, &whole.replace('5', "9")), Err("another body"));
    assert_eq!(reply(0, &whole.repeat(2)), Err("one reply more"));
    assert_eq!(reply(0, ""), Err("the proxy passes nothing on"));
    assert_eq!(reply(1, whole), Err("the proxy ends a reply that is incomplete here"));
    assert_eq!(reply(1, &whole[..42]), Ok(0));
}
