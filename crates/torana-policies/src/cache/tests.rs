//! What clients get, and what the target is asked.

use super::*;
use bytes::Bytes;
use serde_json::json;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::exchange::RouteId;
use torana_core::identity::Identity;
use torana_core::policy::entry;
use torana_core::testing::{TestNames, TestWorker, exchange, ready, reply, written};

/// A body that comes in pieces, and may break off.
struct Pieces {
    left: VecDeque<Bytes>,
    breaks: bool,
}

impl BodyStream for Pieces {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        Poll::Ready(match (self.left.is_empty(), self.breaks) {
            (true, true) => Err(BodyError::new(&ONLY_IF_CACHED)),
            (true, false) => Ok(Progress::End),
            (false, _) => Ok(Progress::Data),
        })
    }
    fn data(&self) -> &[u8] {
        self.left.front().map_or(&[], |piece| piece)
    }
    fn consume(&mut self, count: usize) {
        if let Some(piece) = self.left.front_mut() {
            *piece = piece.slice(count..);
            if piece.is_empty() {
                self.left.pop_front();
            }
        }
    }
    fn remaining(&self) -> Option<u64> {
        None
    }
}

fn in_pieces(body: &[u8], breaks: bool) -> Body {
    let left: VecDeque<Bytes> = body.chunks(3).map(Bytes::copy_from_slice).collect();
    Body::Stream(Box::new(Pieces { left, breaks }))
}

pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing in here waits"),
    }
}

/// A cache between tests and a target.
pub(super) struct Bench {
    pub(super) policy: Arc<dyn Policy>,
    pub(super) worker: Rc<TestWorker>,
    pub(super) names: TestNames,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Seen {
    /// `X-Cache`.
    pub(super) label: String,
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// The head that the target got.
    pub(super) asked: Option<String>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    /// Label and body, the two things that mostly matter.
    pub(super) fn short(&self) -> (&str, &str) {
        (&self.label, &self.body)
    }
}

pub(super) fn text_of(fields: &Fields) -> String {
    let line = |(name, value): (torana_core::head::FieldName<'_>, &[u8])| {
        let name = String::from_utf8_lossy(name.text).to_ascii_lowercase();
        format!("{name}: {}\n", String::from_utf8_lossy(value))
    };
    fields.iter().map(line).collect()
}

impl Bench {
    pub(super) fn new(config: &str) -> Bench {
        time::AHEAD.set(Duration::ZERO);
        Bench::at(config, TestNames::new("test", "/*"))
    }

    pub(super) fn at(config: &str, names: TestNames) -> Bench {
        let names = names.counting(EVENTS);
        let policy = (entry::<Cache>().build)(&written(config), &names).unwrap();
        Bench { policy, worker: TestWorker::new(), names }
    }

    pub(super) fn pass(&self, seconds: u64) {
        time::AHEAD.set(time::AHEAD.get() + Duration::from_secs(seconds));
    }

    pub(super) fn exchange(&self, request: &str) -> Exchange {
        let mut exchange = exchange(request);
        exchange.outbound = Some(self.worker.clone());
        exchange.route = Some(RouteId(0));
        exchange
    }

    /// Sends `request`, which the target answers with `answer` if it is asked.
    pub(super) fn send(&self, request: &str, answer: &str) -> Seen {
        self.send_as(request, None, answer)
    }

    /// The same for somebody who has proven who that is.
    pub(super) fn send_as(&self, request: &str, subject: Option<&str>, answer: &str) -> Seen {
        let mut exchange = self.exchange(request);
        exchange.identity = subject.map(|name| Identity::new(name, "test"));
        let asked = match ready(self.policy.on_request(&mut exchange)) {
            Decision::Continue => Some(text_of(&exchange.head.fields)),
            Decision::Answer(reply) => return self.finish(&mut exchange, *reply, None),
            Decision::Reject(rejection) => {
                let reply = Reply::new(rejection.refusal.status);
                return self.finish(&mut exchange, reply, None);
            }
        };
        let mut made = reply(answer);
        if let Body::Full(bytes) = std::mem::take(&mut made.body) {
            made.body = in_pieces(&bytes, false);
        }
        self.finish(&mut exchange, made, asked)
    }

    pub(super) fn finish(&self, exchange: &mut Exchange, mut reply: Reply, asked: Option<String>) -> Seen {
        if let Decision::Answer(other) = ready(self.policy.on_response(exchange, &mut reply)) {
            reply = *other;
        }
        let head = text_of(&reply.head.fields);
        let body = now(reply.body.collect_capped(1 << 20)).unwrap();
        let label = head.lines().find_map(|line| line.strip_prefix("x-cache: ")).unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        Seen { label, status: reply.head.status.code(), head, body, asked }
    }

    pub(super) fn count(&self, event: &Event) -> u64 {
        let tally = self.names.tally();
        tally.counts().find(|(known, _)| known.name == event.name).map_or(0, |(_, count)| count)
    }
}

const GET: &str = "GET /a HTTP/1.1\nHost: a";
const FRESH: &str = "200\nCache-Control: max-age=60\nETag: \"1\"\n\nfirst";

#[test]
fn a_fresh_copy_is_given_out_with_its_age() {
    let bench = Bench::new("{}");
    let first = bench.send(GET, FRESH);
    assert_eq!((first.short(), first.header("age")), (("MISS", "first"), None));
    assert_eq!(first.header("cache-status"), Some("torana; fwd=uri-miss; fwd-status=200; stored"));
    bench.pass(10);
    let again = bench.send(GET, "500");
    assert_eq!((again.short(), again.status, again.header("age")), (("HIT", "first"), 200, Some("10")));
    assert_eq!(again.header("cache-status"), Some("torana; hit; ttl=50"));
    assert_eq!(again.header("etag"), Some("\"1\""));
    assert_eq!((bench.count(&HIT), bench.count(&MISS), bench.count(&STORED)), (1, 1, 1));
}

#[test]
fn never_across_hosts_schemes_or_users() {
    let public = "200\nCache-Control: max-age=60\n\nof ";
    let bench = Bench::new("{}");
    let requests = [
        ("GET /a HTTP/1.1\nHost: a", None),
        ("GET /a HTTP/1.1\nHost: b", None),
        ("GET /a HTTP/1.1\nHost: a:8080", None),
        ("GET /a?x HTTP/1.1\nHost: a", None),
        ("GET /a HTTP/1.1\nHost: a\nAuthorization: Bearer 1", None),
        ("GET /a HTTP/1.1\nHost: a\nAuthorization: Bearer 2", None),
        ("GET /a HTTP/1.1\nHost: a\nCookie: session=1", None),
        ("GET /a HTTP/1.1\nHost: a\nCookie: session=2", None),
        ("GET /a HTTP/1.1\nHost: a\nX-API-Key: 1", None),
        ("GET /a HTTP/1.1\nHost: a", Some("alice")),
        ("GET /a HTTP/1.1\nHost: a", Some("bob")),
    ];
    for round in 0..2 {
        for (at, (request, subject)) in requests.iter().enumerate() {
            let seen = bench.send_as(request, *subject, &format!("{public}{round}{at}"));
            let is_anonymous = at < 4;
            let expected = if round == 1 && is_anonymous { format!("of 0{at}") } else { format!("of {round}{at}") };
            assert_eq!(seen.body, expected, "{request} {subject:?}");
        }
    }
}

#[test]
fn with_copies_for_everyone_each_caller_gets_its_own() {
    each_caller_gets_its_own(r#"{ "per_identity": true }"#);
}

#[test]
fn a_ttl_is_for_each_caller_unless_it_is_said_to_be_for_all() {
    each_caller_gets_its_own(r#"{ "ttl": "60s" }"#);
    let bench = Bench::new(r#"{ "ttl": "60s", "per_identity": false }"#);
    for _ in 0..2 {
        assert_eq!(bench.send_as(GET, Some("alice"), "200\n\nown").label, "MISS");
    }
}

fn each_caller_gets_its_own(config: &str) {
    let bench = Bench::new(config);
    for (subject, body) in [(Some("alice"), "a"), (Some("bob"), "b"), (None, "nobody")] {
        let seen = bench.send_as(GET, subject, &format!("200\nCache-Control: max-age=60\n\n{body}"));
        assert_eq!(seen.short(), ("MISS", body));
    }
    for (subject, body) in [(Some("alice"), "a"), (Some("bob"), "b"), (None, "nobody")] {
        assert_eq!(bench.send_as(GET, subject, "500").short(), ("HIT", body));
    }
    let private = "200\nCache-Control: private, max-age=60\n\nown";
    assert_eq!(bench.send_as("GET /p HTTP/1.1\nHost: a", Some("alice"), private).label, "MISS");
    assert_eq!(bench.send_as("GET /p HTTP/1.1\nHost: a", Some("alice"), private).label, "MISS");
}

#[test]
fn callers_without_a_name_share_nothing() {
    // Two tokens without `sub` are not known to be one caller's.
    for config in [r#"{ "per_identity": true }"#, r#"{ "ttl": "60s" }"#] {
        let bench = Bench::new(config);
        for body in ["hers", "his"] {
            let seen = bench.send_as(GET, Some(""), &format!("200\nCache-Control: max-age=60\n\n{body}"));
            assert_eq!(seen.short(), ("BYPASS", body), "{config}");
        }
    }
}

#[test]
fn who_brings_credentials_shares_what_says_that_it_is_for_all() {
    let with = |header: &str| format!("{GET}\n{header}");
    for (said, authorization, cookie) in [
        ("max-age=60", "MISS", "MISS"),
        ("max-age=60, must-revalidate", "HIT", "MISS"),
        ("max-age=60, proxy-revalidate", "MISS", "MISS"),
        ("max-age=60, public", "HIT", "HIT"),
        ("s-maxage=60", "HIT", "HIT"),
    ] {
        for (header, expected) in [("Authorization: x", authorization), ("Cookie: x", cookie)] {
            // Left by somebody with credentials, or given to somebody with them.
            for (first, second) in [(with(header), GET.to_owned()), (GET.to_owned(), with(header))] {
                let bench = Bench::new("{}");
                bench.send(&first, &format!("200\nCache-Control: {said}\n\nfirst"));
                assert_eq!(bench.send(&second, "200\n\nsecond").label, expected, "{said} {header}: {first}");
            }
        }
    }
    let bench = Bench::new(r#"{ "ignore_cookies": true }"#);
    bench.send(&with("Cookie: a"), FRESH);
    assert_eq!(bench.send(&with("Cookie: b"), "500").label, "HIT");
}

#[test]
fn a_stale_copy_is_asked_about_and_learns_from_the_answer() {
    let bench = Bench::new("{}");
    bench.send(
        GET,
        "200\nCache-Control: max-age=60\nETag: \"1\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nX-A: 1\n\nfirst",
    );
    bench.pass(61);
    let asked = bench.send(GET, "304\nCache-Control: max-age=30\nETag: \"1\"\nX-A: 2\nContent-Type: x/y");
    assert_eq!((asked.short(), asked.status), (("REVALIDATED", "first"), 200));
    let head = asked.asked.unwrap();
    assert!(head.contains("if-none-match: \"1\"\nif-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\n"), "{head}");
    bench.pass(29);
    let hit = bench.send(GET, "500");
    assert_eq!((hit.short(), hit.header("x-a"), hit.header("content-type")), (("HIT", "first"), Some("2"), None));
    bench.pass(2);
    let changed = bench.send(GET, "200\nCache-Control: max-age=60\n\nsecond");
    assert_eq!(changed.short(), ("MISS", "second"));
    assert_eq!(bench.send(GET, "500").short(), ("HIT", "second"));
}

#[test]
fn a_client_s_own_conditions_are_answered_from_the_copy() {
    let bench = Bench::new("{}");
    bench.send(GET, "200\nCache-Control: max-age=60\nETag: \"1\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/plain\n\n0123456789");
    let with = |header: &str| bench.send(&format!("{GET}\n{header}"), "500");
    for unchanged in [
        "If-None-Match: \"1\"",
        "If-None-Match: W/\"1\"",
        "If-None-Match: \"0\", \"1\"",
        "If-None-Match: *",
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
        "If-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT",
    ] {
        let seen = with(unchanged);
        assert_eq!((seen.status, seen.short()), (304, ("HIT", "")), "{unchanged}");
        assert_eq!((seen.header("etag"), seen.header("content-type")), (Some("\"1\""), None), "{unchanged}");
    }
    for changed in [
        "If-None-Match: \"2\"",
        "If-None-Match: \"2\"\nIf-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT",
        "If-Modified-Since: Sat, 05 Nov 1994 08:49:37 GMT",
        "If-Modified-Since: yesterday",
    ] {
        assert_eq!(with(changed).status, 200, "{changed}");
    }
    // Asked about with our validators, answered by the client's.
    bench.pass(61);
    let seen = bench.send(&format!("{GET}\nIf-None-Match: \"1\""), "304\nCache-Control: max-age=60");
    assert_eq!((seen.status, seen.label.as_str()), (304, "REVALIDATED"));
    let seen = bench.send(&format!("{GET}\nIf-Match: \"1\""), "412");
    assert_eq!((seen.status, seen.label.as_str()), (412, "BYPASS"));
}

#[test]
fn parts_are_cut_from_the_copy() {
    let bench = Bench::new("{}");
    bench.send(
        GET,
        "200\nCache-Control: max-age=60\nETag: \"1\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n\n0123456789",
    );
    let with = |header: &str| {
        let seen = bench.send(&format!("{GET}\n{header}"), "500");
        (seen.status, seen.body.clone(), seen.header("content-range").unwrap_or_default().to_owned())
    };
    let part = |status: u16, body: &str, range: &str| (status, body.to_owned(), range.to_owned());
    assert_eq!(with("Range: bytes=2-4"), part(206, "234", "bytes 2-4/10"));
    assert_eq!(with("Range: bytes=-3"), part(206, "789", "bytes 7-9/10"));
    assert_eq!(with("Range: bytes=7-"), part(206, "789", "bytes 7-9/10"));
    assert_eq!(with("Range: bytes=10-"), part(416, "", "bytes */10"));
    assert_eq!(with("Range: bytes=0-1,3-4"), part(200, "0123456789", ""));
    assert_eq!(with("Range: bytes=2-4\nIf-Range: \"1\"").0, 206);
    assert_eq!(with("Range: bytes=2-4\nIf-Range: \"2\"").0, 200);
    assert_eq!(with("Range: bytes=2-4\nIf-Range: W/\"1\"").0, 200);
    assert_eq!(with("Range: bytes=2-4\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT").0, 206);
    assert_eq!(with("Range: bytes=2-4\nIf-None-Match: \"1\"").0, 304);
    // A part is never kept as the whole, and a wish for one never narrows it.
    let part = "206\nCache-Control: max-age=60\nContent-Range: bytes 0-1/9\n\n01";
    let seen = bench.send("GET /b HTTP/1.1\nHost: a\nRange: bytes=0-1", part);
    assert!(seen.asked.unwrap().contains("range: bytes=0-1"));
    assert_eq!(bench.send("GET /b HTTP/1.1\nHost: a", FRESH).short(), ("MISS", "first"));
}

#[test]
fn head_is_answered_from_a_copy_and_leaves_none() {
    let bench = Bench::new("{}");
    let head = GET.replacen("GET", "HEAD", 1);
    assert_eq!(bench.send(&head, "200\nCache-Control: max-age=60\nContent-Length: 5").label, "MISS");
    assert_eq!(bench.send(GET, FRESH).label, "MISS");
    let seen = bench.send(&head, "500");
    assert_eq!((seen.short(), seen.header("content-length")), (("HIT", ""), Some("5")));
}

#[test]
fn what_sets_cookies_is_kept_only_without_them() {
    let sets = "200\nCache-Control: public, max-age=60\nSet-Cookie: session=1\n\nfirst";
    let bench = Bench::new("{}");
    assert_eq!(bench.send(GET, sets).label, "MISS");
    assert_eq!(bench.send(GET, sets).label, "MISS");
    let bench = Bench::new(r#"{ "strip_set_cookie": true }"#);
    assert_eq!(bench.send(GET, sets).header("set-cookie"), Some("session=1"), "its own are its own");
    let hit = bench.send(GET, "500");
    assert_eq!((hit.short(), hit.header("set-cookie")), (("HIT", "first"), None));
}

#[test]
fn variants_are_told_apart() {
    let bench = Bench::new("{}");
    let ask = |language: &str, answer: &str| {
        let answer = format!("200\nCache-Control: max-age=60\nVary: Accept-Language\n\n{answer}");
        let seen = bench.send(&format!("{GET}\nAccept-Language: {language}"), &answer);
        format!("{} {}", seen.label, seen.body)
    };
    assert_eq!(ask("de", "hallo"), "MISS hallo");
    assert_eq!(ask("en", "hello"), "MISS hello");
    assert_eq!(ask("de", "?"), "HIT hallo");
    assert_eq!(ask("EN", "?"), "HIT hello");
    assert_eq!(ask("fr, en", "salut"), "MISS salut");
    assert_eq!(bench.send(GET, FRESH).header("cache-status").unwrap().split("; ").nth(1), Some("fwd=vary-miss"));
}

#[test]
fn what_a_method_changes_is_asked_for_again() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        let bench = Bench::new("{}");
        bench.send(GET, FRESH);
        let send = |status: &str| bench.send(&format!("{method} /a HTTP/1.1\nHost: a\n\nnew"), status).label;
        assert_eq!(send("500"), "BYPASS");
        assert_eq!(bench.send(GET, "200").label, "HIT", "{method} failed");
        bench.pass(1);
        send("204");
        assert_eq!(bench.send(GET, FRESH).label, "MISS", "{method}");
        assert_eq!(bench.send(GET, FRESH).label, "HIT", "{method}");
        for location in ["/a", "http://a/a", "http://A:80/a"] {
            bench.pass(1);
            bench.send(&format!("{method} /b HTTP/1.1\nHost: a\n\nnew"), &format!("201\nLocation: {location}"));
            assert_eq!(bench.send(GET, FRESH).label, "MISS", "{method} {location}");
        }
        for location in ["http://b/a", "//b/a", "https://a.evil/a"] {
            bench.pass(1);
            bench.send(&format!("{method} /b HTTP/1.1\nHost: a\n\nnew"), &format!("201\nLocation: {location}"));
            assert_eq!(bench.send(GET, FRESH).label, "HIT", "{method} {location}");
        }
    }
}

#[test]
fn what_changes_on_the_way_is_not_kept() {
    let bench = Bench::new("{}");
    let mut slow = bench.exchange(GET);
    assert!(matches!(ready(bench.policy.on_request(&mut slow)), Decision::Continue));
    bench.pass(1);
    bench.send("PUT /a HTTP/1.1\nHost: a\n\nnew", "204");
    assert_eq!(bench.finish(&mut slow, reply(FRESH), None).short(), ("MISS", "first"));
    assert_eq!(bench.send(GET, "200\n\nsecond").short(), ("MISS", "second"));
}

#[test]
fn a_body_that_breaks_off_or_is_left_is_not_kept() {
    let bench = Bench::new("{}");
    for breaks in [true, false] {
        let mut one = bench.exchange(GET);
        assert!(matches!(ready(bench.policy.on_request(&mut one)), Decision::Continue));
        let mut made = reply(FRESH);
        made.body = in_pieces(b"first part of it", breaks);
        let _ = ready(bench.policy.on_response(&mut one, &mut made));
        let mut left = 3;
        while left > 0 && matches!(now(poll_fn(|cx| made.body.poll_data(cx))), Ok(Progress::Data)) {
            made.body.consume(made.body.data().len());
            left -= usize::from(!breaks);
        }
        drop(made);
        assert_eq!(bench.send(GET, "200\n\nother").short(), ("MISS", "other"), "{breaks}");
    }
}

#[test]
fn what_is_too_large_passes_and_nobody_waits_for_it() {
    let bench = Bench::new(r#"{ "max_object": "8B" }"#);
    let large = "200\nCache-Control: max-age=60\n\n0123456789";
    assert_eq!(bench.send(GET, large).short(), ("MISS", "0123456789"));
    assert_eq!(bench.send(GET, large).short(), ("MISS", "0123456789"));
    assert_eq!(bench.send(GET, FRESH).short(), ("MISS", "first"));
    assert_eq!(bench.send(GET, "500").short(), ("HIT", "first"), "there is one that fits by now");
}

#[test]
fn stale_copies_are_given_out_while_they_are_asked_about() {
    let bench = Bench::new("{}");
    let said = "200\nCache-Control: max-age=60, stale-while-revalidate=30\nETag: \"1\"\n\nfirst";
    bench.send(GET, said);
    bench.pass(61);
    bench.worker.will_reply("200\nCache-Control: max-age=60\n\nsecond");
    let stale = bench.send(&format!("{GET}\nRange: bytes=0-1\nX-Own: 1"), "500");
    assert_eq!((stale.label.as_str(), stale.body.as_str(), stale.asked), ("STALE", "fi", None));
    let asked = bench.worker.asked_again.take();
    assert_eq!(asked, ["GET /a\nhost: a\nx-own: 1\nif-none-match: \"1\"\n"]);
    // Nobody else asks while it is under way.
    assert_eq!(bench.send(GET, "500").short(), ("STALE", "first"));
    assert!(bench.worker.asked_again.take().is_empty());
    assert_eq!(bench.worker.work(), 0);
    assert_eq!(bench.send(GET, "500").short(), ("HIT", "second"));
    assert_eq!(bench.count(&REFRESHED), 1);
    // Too stale for that.
    let bench = Bench::new(r#"{ "stale_while_revalidate": "30s" }"#);
    bench.send(GET, "200\nCache-Control: max-age=60\n\nfirst");
    bench.pass(91);
    assert_eq!(bench.send(GET, "200\n\nsecond").short(), ("MISS", "second"));
}

#[test]
fn a_refresh_that_fails_changes_nothing_and_is_tried_again() {
    let bench = Bench::new(r#"{ "stale_while_revalidate": "60s" }"#);
    bench.send(GET, FRESH);
    bench.pass(61);
    for _ in 0..2 {
        bench.worker.will_reply("503");
        assert_eq!(bench.send(GET, "500").short(), ("STALE", "first"));
        bench.worker.work();
    }
    bench.worker.will_reply("304\nCache-Control: max-age=60");
    assert_eq!(bench.send(GET, "500").short(), ("STALE", "first"));
    bench.worker.work();
    assert_eq!(bench.send(GET, "500").short(), ("HIT", "first"));
    assert_eq!(bench.count(&REFRESHED), 3);
}

#[test]
fn a_stale_copy_stands_in_for_a_failure() {
    for (config, said) in [("{}", "max-age=60, stale-if-error=30"), (r#"{ "stale_if_error": "30s" }"#, "max-age=60")] {
        let bench = Bench::new(config);
        bench.send(GET, &format!("200\nCache-Control: {said}\n\nfirst"));
        bench.pass(61);
        for failure in ["500", "502", "503", "504"] {
            let seen = bench.send(GET, failure);
            assert_eq!((seen.short(), seen.status), (("STALE", "first"), 200), "{config} {failure}");
        }
        assert_eq!(bench.send(GET, "404").status, 404);
        bench.pass(30);
        assert_eq!(bench.send(GET, "503").status, 503);
    }
    for never in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
        let bench = Bench::new(r#"{ "stale_if_error": "1h", "stale_while_revalidate": "1h" }"#);
        bench.send(GET, &format!("200\nCache-Control: {never}\n\nfirst"));
        bench.pass(61);
        assert_eq!(bench.send(GET, "503").status, 503, "{never}");
    }
}

#[test]
fn a_time_of_our_own_heeds_what_may_not_be_kept() {
    let bench = Bench::new(r#"{ "ttl": "60s", "negative_ttl": "5s" }"#);
    for (path, said, label) in [
        ("/none", "X: 1", "HIT"),
        ("/short", "Cache-Control: max-age=1", "HIT"),
        ("/zero", "Cache-Control: max-age=0", "HIT"),
        ("/expired", "Expires: 0", "HIT"),
        ("/store", "Cache-Control: no-store", "MISS"),
        ("/private", "Cache-Control: private, max-age=9", "MISS"),
        ("/no-cache", "Cache-Control: no-cache", "MISS"),
        ("/cookie", "Set-Cookie: a=b", "MISS"),
        ("/vary", "Vary: *", "MISS"),
    ] {
        let request = format!("GET {path} HTTP/1.1\nHost: a");
        bench.send(&request, &format!("200\n{said}\n\nx"));
        bench.pass(3);
        assert_eq!(bench.send(&request, "200\nCache-Control: no-store\n\nx").label, label, "{path}");
    }
    let gone = "GET /gone HTTP/1.1\nHost: a";
    bench.send(gone, "404\n\nno");
    bench.pass(4);
    assert_eq!((bench.send(gone, "200").label.as_str(), bench.send(gone, "200").status), ("HIT", 404));
    bench.pass(2);
    assert_eq!(bench.send(gone, "404\n\nno").label, "MISS");
    let broken = "GET /broken HTTP/1.1\nHost: a";
    bench.send(broken, "500\n\nno");
    assert_eq!(bench.send(broken, "200\n\nyes").short(), ("MISS", "yes"));
}

#[test]
fn one_asks_for_all_and_failure_lets_all_go() {
    let bench = Bench::new("{}");
    bench.worker.sleeps.set(true);
    let mut first = bench.exchange(GET);
    assert!(matches!(ready(bench.policy.on_request(&mut first)), Decision::Continue));
    let mut others: Vec<Exchange> = (0..5).map(|_| bench.exchange(GET)).collect();
    let mut waiting: Vec<_> = others
        .iter_mut()
        .map(|exchange| match bench.policy.on_request(exchange) {
            Verdict::Wait(future) => future,
            Verdict::Now(decision) => panic!("nobody waits: {decision:?}"),
        })
        .collect();
    let poll = |future: &mut torana_core::verdict::LocalBoxFuture<'_, Decision>| {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    assert!(waiting.iter_mut().all(|future| poll(future).is_pending()));
    assert_eq!(bench.finish(&mut first, reply(FRESH), None).short(), ("MISS", "first"));
    for future in &mut waiting {
        let Poll::Ready(Decision::Answer(reply)) = poll(future) else { panic!("the copy is there") };
        assert!(text_of(&reply.head.fields).contains("cache-status: torana; hit; collapsed; ttl=60"));
    }
    drop(waiting);
    // One that is dropped half way lets the others go.
    let other = "GET /b HTTP/1.1\nHost: a";
    let mut first = bench.exchange(other);
    assert!(matches!(ready(bench.policy.on_request(&mut first)), Decision::Continue));
    let mut second = bench.exchange(other);
    let Verdict::Wait(mut future) = bench.policy.on_request(&mut second) else { panic!("it waits") };
    assert!(poll(&mut future).is_pending());
    drop(first);
    assert!(matches!(poll(&mut future), Poll::Ready(Decision::Continue)));
    drop(future);
    assert_eq!(bench.finish(&mut second, reply(FRESH), None).short(), ("MISS", "first"));
    assert_eq!(bench.count(&COLLAPSED), 6);
}

#[test]
fn nobody_waits_longer_than_allowed_or_for_what_is_not_kept() {
    let bench = Bench::new("{}");
    let mut first = bench.exchange(GET);
    assert!(matches!(ready(bench.policy.on_request(&mut first)), Decision::Continue));
    // The test's sleep is over at once.
    let mut second = bench.exchange(GET);
    assert!(matches!(ready(bench.policy.on_request(&mut second)), Decision::Continue));
    assert_eq!(bench.worker.slept.take(), [Duration::from_secs(5)]);
    assert_eq!(bench.finish(&mut first, reply("200\nCache-Control: private\n\nx"), None).label, "MISS");
    // It is known by now that nothing comes of it.
    let mut others = [bench.exchange(GET), bench.exchange(GET)];
    for other in &mut others {
        assert!(matches!(ready(bench.policy.on_request(other)), Decision::Continue));
    }
    assert!(bench.worker.slept.take().is_empty());
    // Those with credentials may get something else each.
    let own = "GET /own HTTP/1.1\nHost: a\nCookie: 1";
    let (mut one, mut two) = (bench.exchange(own), bench.exchange(own));
    assert!(matches!(ready(bench.policy.on_request(&mut one)), Decision::Continue));
    assert!(matches!(ready(bench.policy.on_request(&mut two)), Decision::Continue));
    assert!(bench.worker.slept.take().is_empty());
}

#[test]
fn requests_may_want_more_than_freshness() {
    let bench = Bench::new("{}");
    bench.send(GET, "200\nCache-Control: max-age=60\nETag: \"1\"\n\nfirst");
    bench.pass(20);
    let with = |said: &str| bench.send(&format!("{GET}\nCache-Control: {said}"), "304").label;
    for (said, label) in
        [("max-age=30", "HIT"), ("min-fresh=30", "HIT"), ("only-if-cached", "HIT"), ("max-age=10", "REVALIDATED")]
    {
        assert_eq!(with(said), label, "{said}");
    }
    bench.pass(20);
    assert_eq!(with("min-fresh=41"), "REVALIDATED");
    assert_eq!(with("no-cache"), "REVALIDATED");
    bench.pass(70);
    assert_eq!(with("max-stale=5"), "REVALIDATED");
    bench.pass(64);
    assert_eq!(with("max-stale=5"), "STALE");
    let none = bench.send("GET /none HTTP/1.1\nHost: a\nCache-Control: only-if-cached", "200");
    assert_eq!((none.status, none.asked), (504, None));
    bench.send("GET /c HTTP/1.1\nHost: a\nCache-Control: no-store", FRESH);
    assert_eq!(bench.send("GET /c HTTP/1.1\nHost: a", FRESH).label, "MISS");
    let deaf = Bench::new(r#"{ "heed_requests": false }"#);
    deaf.send(GET, FRESH);
    assert_eq!(deaf.send(&format!("{GET}\nCache-Control: no-cache, no-store"), "500").label, "HIT");
}

#[test]
fn copies_get_tags_when_told_and_the_first_one_early() {
    let bench = Bench::new(r#"{ "etag": true }"#);
    let first = bench.send(GET, "200\nCache-Control: max-age=60\n\nfirst");
    assert_eq!(first.header("etag"), None, "it was on its way");
    let tag = bench.send(GET, "500").header("etag").unwrap().to_owned();
    let seen = bench.send(&format!("{GET}\nIf-None-Match: {tag}"), "500");
    assert_eq!((seen.status, tag.len()), (304, 34));
}

#[test]
fn tags_for_purging_are_not_passed_on() {
    let bench = Bench::new("{}");
    let first = bench.send(GET, "200\nCache-Control: max-age=60\nCache-Tag: a, b\nSurrogate-Key: c d\n\nfirst");
    assert_eq!((first.header("cache-tag"), first.header("surrogate-key")), (None, None));
    assert_eq!(bench.send(GET, "500").header("cache-tag"), None);
}

#[test]
fn copies_are_purged_by_url_prefix_and_tag() {
    let bench = Bench::new(r#"{ "query": { "ignore": ["utm_*"] } }"#);
    let offered = bench.names.offered.take();
    let purge = |arguments: serde_json::Value| {
        bench.pass(1);
        offered[0].1.operate(&arguments).map(|done| now(done.get())["purged"].as_u64().unwrap())
    };
    let paths = ["/a", "/a?x=1", "/a/b", "/ab", "/c"];
    let fill = || {
        for (at, path) in paths.iter().enumerate() {
            let tags = format!("200\nCache-Control: max-age=600\nVary: Lang\nCache-Tag: all, t{at}\n\n{path}");
            for head in [format!("GET {path} HTTP/1.1\nHost: a"), format!("GET {path} HTTP/1.1\nHost: b\nLang: x")] {
                bench.send(&head, &tags);
            }
        }
    };
    fill();
    bench.send("GET /a HTTP/1.1\nHost: a\nLang: de", "200\nCache-Control: max-age=60\nVary: Lang\n\nde");
    assert_eq!(purge(json!({ "url": "http://A:80/a" })), Ok(2), "both variants");
    assert_eq!(purge(json!({ "url": "http://a/a?utm_source=y&x=1" })), Ok(1));
    assert_eq!(purge(json!({ "url": "http://c/a" })), Ok(0));
    fill();
    assert_eq!(purge(json!({ "prefix": "http://a/a/" })), Ok(1));
    assert_eq!(purge(json!({ "prefix": "http://a/a" })), Ok(3));
    assert_eq!(purge(json!({ "tag": "t4" })), Ok(2));
    assert_eq!(purge(json!({ "tag": "all" })), Ok(4));
    fill();
    assert_eq!(purge(json!({ "all": true })), Ok(10));
    for wrong in
        [json!({}), json!({ "url": "/a" }), json!({ "url": "http://a/", "tag": "x" }), json!({ "urls": 1 }), json!(7)]
    {
        assert!(purge(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_on_its_way_during_a_purge_is_not_kept() {
    let bench = Bench::new("{}");
    let mut slow = bench.exchange(GET);
    assert!(matches!(ready(bench.policy.on_request(&mut slow)), Decision::Continue));
    bench.pass(1);
    bench.names.offered.take()[0].1.operate(&json!({ "tag": "x" })).unwrap();
    assert_eq!(bench.finish(&mut slow, reply(FRESH), None).label, "MISS");
    assert_eq!(bench.send(GET, FRESH).label, "MISS");
}

#[test]
fn mistakes_are_told() {
    let build = |config: &str| (entry::<Cache>().build)(&written(config), &TestNames::new("test", "/*")).err();
    let code = |config: &str| build(config).unwrap().first().unwrap().code.clone();
    assert_eq!(code(r#"{ "memory": "1MiB", "max_object": "1MiB" }"#), "cache.max_object");
    assert_eq!(code(r#"{ "headers": "a b" }"#), "cache.header");
    assert!(build("{}").is_none());
}
