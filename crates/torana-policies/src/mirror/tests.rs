use super::*;
use torana_core::policy::entry;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::testing::{TestNames, TestWorker, exchange, ready, reply, show_counts, show_diagnostics, written};

torana_core::refusals! {
    DOWN = "upstream.down" 502 Upstream Never "It is down.";
}

/// A mirror of a route, and a worker.
struct Bench {
    policy: Arc<dyn Policy>,
    names: TestNames,
    worker: Rc<TestWorker>,
}

impl Bench {
    fn new(config: &str) -> Bench {
        let names = TestNames::new("r", "/*").counting(EVENTS);
        let policy = (entry::<Mirror>().build)(&written(config), &names).unwrap_or_else(|problems| {
            panic!("{}", show_diagnostics(&problems));
        });
        let worker = TestWorker::new();
        worker.sleeps.set(true);
        Bench { policy, names, worker }
    }

    /// Forwards a request, and answers it with `main`; what the body of the reply
    /// is read to is for the caller.
    fn forward(&self, request: &str, main: &str) -> (Exchange, Reply) {
        let mut exchange = exchange(request);
        exchange.outbound = Some(Rc::clone(&self.worker) as _);
        self.policy.on_forward(&mut exchange);
        let mut reply = reply(main);
        ready(self.policy.on_response(&mut exchange, &mut reply));
        exchange.notes.status = reply.head.status;
        if !reply.body.is_empty() {
            reply.body = self.policy.wrap_response(&exchange, std::mem::take(&mut reply.body));
        }
        (exchange, reply)
    }

    fn counts(&self) -> String {
        let mut out = String::new();
        show_counts(&self.names.tally(), &mut out);
        out.trim_end().replace('\n', ", ").replace("1 × ", "")
    }
}

const GET: &str = "GET /a?b=1 HTTP/1.1\nHost: shop.example\nAuthorization: s";

#[test]
fn a_copy_is_what_is_forwarded_and_says_so() {
    let bench = Bench::new(r#"{ "upstream": "orders" }"#);
    let mut exchange = exchange(GET);
    exchange.outbound = Some(Rc::clone(&bench.worker) as _);
    exchange.forward.path.push_str("/rewritten");
    bench.policy.on_forward(&mut exchange);
    bench.worker.will_reply("200");
    assert_eq!(bench.worker.work(), 0, "read and dropped");
    let expected = "to 1: GET /rewritten?b=1\nhost: shop.example\nauthorization: s\nx-torana-mirror: 1\n";
    assert_eq!(bench.worker.sent.take(), [expected]);
    assert_eq!(bench.counts(), "sent, answered");
    let owned: Vec<&str> = bench.policy.owned_headers().iter().map(HeaderName::as_str).collect();
    assert_eq!(owned, ["x-torana-mirror"], "nobody else can say so");
}

#[test]
fn only_safe_methods_unless_others_are_named() {
    for (config, request, copies) in [
        (r#"{ "upstream": "orders" }"#, "POST / HTTP/1.1\nHost: a\n\nx", 0),
        (r#"{ "upstream": "orders" }"#, "HEAD / HTTP/1.1\nHost: a", 1),
        (r#"{ "upstream": "orders", "methods": "POST" }"#, "POST / HTTP/1.1\nHost: a\n\nx", 1),
        (r#"{ "upstream": "orders", "methods": "POST" }"#, GET, 0),
        (r#"{ "upstream": "orders", "percent": "0%" }"#, GET, 0),
    ] {
        let bench = Bench::new(config);
        bench.forward(request, "200");
        bench.worker.work();
        assert_eq!(bench.worker.sent.take().len(), copies, "{config} {request}");
    }
}

#[test]
fn a_body_goes_along_up_to_the_cap_and_the_main_request_keeps_its_own() {
    let bench = Bench::new(r#"{ "upstream": "orders", "methods": "POST", "body_bytes": "4B" }"#);
    for (body, count) in [("abcd", "sent"), ("abcde", "sent, too_long")] {
        let (exchange, _) = bench.forward(&format!("POST / HTTP/1.1\nHost: a\n\n{body}"), "200");
        assert_eq!(exchange.body.data(), body.as_bytes());
        assert_eq!(bench.counts(), count);
    }
    bench.worker.will_reply("200");
    bench.worker.work();
    assert!(bench.worker.sent.take()[0].ends_with("\nabcd\n"));
}

#[test]
fn no_more_copies_than_the_cap_and_places_are_given_back() {
    let bench = Bench::new(r#"{ "upstream": "orders", "max_active": 2 }"#);
    for _ in 0..3 {
        bench.forward(GET, "200");
    }
    assert_eq!(bench.counts(), "2 × sent, shed");
    bench.worker.will_fail(Rejection::new(&DOWN));
    bench.worker.will_reply("500");
    assert_eq!(bench.worker.work(), 0);
    bench.forward(GET, "200");
    assert_eq!(bench.counts(), "3 × sent, shed, answered, failed");
}

#[test]
fn a_copy_that_is_not_answered_in_time_is_given_up() {
    let bench = Bench::new(r#"{ "upstream": "orders", "timeout": "2s" }"#);
    bench.worker.sleeps.set(false);
    bench.forward(GET, "200");
    assert_eq!(bench.worker.work(), 0);
    assert_eq!(*bench.worker.slept.borrow(), [std::time::Duration::from_secs(2)]);
    assert_eq!(bench.counts(), "sent, failed");
}

#[test]
fn requests_to_upgrade_are_not_copied() {
    let bench = Bench::new(r#"{ "upstream": "orders" }"#);
    let mut exchange = exchange(GET);
    exchange.outbound = Some(Rc::clone(&bench.worker) as _);
    exchange.upgrade = Upgrade::To(b"websocket"[..].into());
    bench.policy.on_forward(&mut exchange);
    assert_eq!(bench.counts(), "");
}

/// What is counted of these answers, besides that there were some.
fn compared(compare: &str, main: &str, copy: &str) -> String {
    let counts = [false, true].map(|copy_first| {
        let bench = Bench::new(&format!(r#"{{ "upstream": "orders", "compare": {compare} }}"#));
        bench.worker.will_reply(copy);
        if copy_first {
            let mut exchange = exchange(GET);
            exchange.outbound = Some(Rc::clone(&bench.worker) as _);
            bench.policy.on_forward(&mut exchange);
            bench.worker.work();
            let mut reply = reply(main);
            ready(bench.policy.on_response(&mut exchange, &mut reply));
            exchange.notes.status = reply.head.status;
            if !reply.body.is_empty() {
                drop(bench.policy.wrap_response(&exchange, reply.body));
            }
        } else {
            drop(bench.forward(GET, main));
            bench.worker.work();
        }
        bench.counts().replace("sent, answered, ", "")
    });
    assert_eq!(counts[0], counts[1], "whoever comes first");
    counts[0].clone()
}

#[test]
fn answers_are_compared_by_what_is_asked_for() {
    assert_eq!(compared("{}", "200\n\nmain", "200\n\ncopy"), "same");
    assert_eq!(compared("{}", "200", "404"), "status_differs");
    assert_eq!(compared(r#"{ "status": false }"#, "200", "404"), "same");
    let headers = r#"{ "headers": ["ETag", "vary"] }"#;
    assert_eq!(compared(headers, "200\nEtag: 1\ndate: x", "200\netag: 1\ndate: y"), "same");
    assert_eq!(compared(headers, "200\nvary: a\nvary: b", "500\nvary: a"), "status_differs, headers_differ");
}

#[test]
fn bodies_are_compared_by_meaning_where_they_have_one() {
    let json = r#"{ "json": { "ignore": ["/at"] }, "body_bytes": "40B" }"#;
    let of = |body: &str| format!("200\ncontent-type: application/json; charset=utf-8\n\n{body}");
    assert_eq!(compared(json, &of(r#"{"a":1,"at":1}"#), &of(r#"{ "at": 2, "a": 1.0 }"#)), "same");
    assert_eq!(compared(json, &of(r#"{"a":1}"#), &of(r#"{"a":2}"#)), "body_differs");
    assert_eq!(compared(json, "200\n\nplain", "200\n\nplain"), "same");
    assert_eq!(compared(json, "200\n\nplain", "200\n\nother"), "body_differs");
    assert_eq!(compared(json, "200\n\nplain", "200"), "body_differs");
    assert_eq!(compared(json, &of("{"), &of("[")), "body_differs");
    let long = "x".repeat(41);
    assert_eq!(compared(json, &format!("200\n\n{long}"), "200\n\nx"), "body_skipped");
    assert_eq!(compared(json, "200\n\nx", &format!("200\n\n{long}")), "body_skipped");
    assert_eq!(compared(json, "200\ncontent-encoding: gzip\n\na", "200\ncontent-encoding: gzip\n\nb"), "body_skipped");
}

#[test]
fn what_is_missing_is_not_compared() {
    let bench = Bench::new(r#"{ "upstream": "orders", "compare": {} }"#);
    bench.worker.will_fail(Rejection::new(&DOWN));
    drop(bench.forward(GET, "200"));
    bench.worker.work();
    assert_eq!(bench.counts(), "sent, failed, uncompared");
}

#[test]
fn mistakes_are_shown_all_at_once() {
    let build = |config: &str| {
        let names = TestNames::new("r", "/*").counting(EVENTS);
        show_diagnostics(&(entry::<Mirror>().build)(&written(config), &names).err().unwrap())
    };
    let shown = build(
        r#"{ "upstream": "order", "methods": ["GTE"], "timeout": "0s",
             "compare": { "headers": ["a b"], "json": { "ignore": ["meta"] }, "body_bytes": "2MiB" } }"#,
    );
    for part in [
        "did you mean `orders`?",
        "mirror.method",
        "config.zero_timeout",
        "mirror.header",
        "mirror.ignore",
        "mirror.body_bytes",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let refusals: &[&Refusal] = entry::<Mirror>().refusals;
    assert!(refusals.is_empty(), "a mirror refuses nothing");
}
