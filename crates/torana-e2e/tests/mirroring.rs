//! Copies of requests, and answers compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup, event_series};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::wait_for;

/// A route `a` to the upstream `main` with this mirror.
fn start(mirror: &str, shadow: &str, main: &Origin, copy_to: &str) -> Gateway {
    let config = format!(
        "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n\
         upstreams: {{ main: {{ endpoints: [ '{{url:main}}' ] }}, shadow: {{ endpoints: [ '{{url:shadow}}' ], {shadow} }} }}\n\
         routes: [ {{ name: a, match: {{ path: /api/* }}, upstream: main, rewrite: {{ strip_prefix: /api }}, \
         policies: [ {{ mirror: {{ upstream: shadow, {mirror} }} }} ] }} ]"
    );
    Setup::new(&config).known("{url:main}", &main.url()).known("{url:shadow}", copy_to).start()
}

fn event(name: &str) -> String {
    event_series("mirror", "a", name)
}

#[test]
fn the_copy_is_the_request_as_it_is_forwarded() {
    let (main, shadow) = (Origin::saying("main"), Origin::saying("shadow"));
    let gateway = start("methods: [ GET, POST ]", "", &main, &shadow.url());
    let forged = "X-Torana-Mirror: 1\r\nx-torana-mirror: 2\r\nx-a: b\r\n";
    assert_eq!(gateway.ask(get("/api/users?q=1", forged)).text(), "main");
    // Copies of two requests may overtake each other.
    shadow.wait_seen(1);
    assert_eq!(gateway.ask(post("/api/users", "", "a body")).text(), "main");
    shadow.wait_seen(2);
    let (copies, originals) = (shadow.take_seen(), main.take_seen());
    for (copy, original) in copies.iter().zip(&originals) {
        assert_eq!(copy.head.line, original.head.line, "method, path after the rewrite, query");
        assert_eq!(copy.body.data, original.body.data);
        for name in ["host", "x-a", "x-request-id", "x-forwarded-for", "content-length"] {
            assert_eq!(copy.head.get(name), original.head.get(name), "{name}");
        }
        assert_eq!((copy.head.get("x-torana-mirror"), original.head.get("x-torana-mirror")), (Some("1"), None));
    }
    assert_eq!(copies[1].body.data, b"a body");
    gateway.wait_metric(&event("answered"), 2.0);
}

#[test]
fn a_shadow_that_hangs_or_fails_is_not_noticed() {
    // It takes requests and says nothing.
    let silent = Origin::start(|conn| {
        while conn.request().is_some() {
            conn.until_closed();
        }
    });
    let main = Origin::saying("main");
    let gateway = start("max_active: 3, timeout: 60s", "timeout: 60s", &main, &silent.url());
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.ask(get("/api/x", "")).text(), "main");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    gateway.wait_metric(&event("sent"), 3.0);
    gateway.wait_metric(&event("shed"), 17.0);

    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", down.local_addr().unwrap());
    drop(down);
    let gateway = start("timeout: 5s", "breaker: { failures: 2, open_for: 60s }", &main, &url);
    for _ in 0..10 {
        assert_eq!(gateway.ask(get("/api/x", "")).text(), "main");
    }
    gateway.wait_metric(&event("failed"), 10.0);
    gateway.wait_metric("gateway_breaker_open{breaker=\"shadow\"}", 1.0);
    assert_eq!(gateway.ask(get("/api/x", "")).text(), "main", "the shadow's breaker is the shadow's");
}

#[test]
fn a_body_is_copied_while_it_streams_and_not_held_back() {
    let (main, shadow) = (Origin::saying("main"), Origin::saying("shadow"));
    let gateway = start("methods: [ POST ], body_bytes: 1KiB", "", &main, &shadow.url());
    let mut client = gateway.connect();
    client.send("POST /api/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    // The main upstream has the connection while the body is still on its way.
    wait_for("the request to reach its upstream", || (main.connections() > 0).then_some(()));
    assert_eq!(shadow.connections(), 0);
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(client.reply().text(), "main");
    shadow.wait_seen(1);
    assert_eq!(shadow.take_seen()[0].body.data, b"abcdef");
    // Too long for a copy, and no matter to the request.
    let long = "x".repeat(700);
    let chunks = format!("2bc\r\n{long}\r\n2bc\r\n{long}\r\n0\r\n\r\n");
    let reply = client.ask(format!("POST /api/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(reply.text(), "main");
    assert_eq!(main.take_seen().last().unwrap().body.data.len(), 1400);
    gateway.wait_metric(&event("too_long"), 1.0);
    assert_eq!(shadow.seen().len(), 0);
}

#[test]
fn answers_are_compared_and_differences_counted() {
    let differs = Arc::new(AtomicBool::new(false));
    let flag = differs.clone();
    let json = [("content-type", "application/json"), ("etag", "\"1\"")];
    let main = Origin::replying(move |_| reply(200, &json, r#"{"id":7,"at":"12:00"}"#));
    let shadow = Origin::replying(move |_| {
        if flag.load(Ordering::SeqCst) {
            reply(201, &[("content-type", "application/json"), ("etag", "\"2\"")], r#"{"id":8,"at":"12:01"}"#)
        } else {
            reply(200, &json, r#"{ "at": "12:01", "id": 7.0 }"#)
        }
    });
    let gateway = start("compare: { headers: [ etag ], json: { ignore: [ /at ] } }", "", &main, &shadow.url());
    for _ in 0..3 {
        assert_eq!(gateway.ask(get("/api/x", "")).text(), r#"{"id":7,"at":"12:00"}"#);
    }
    gateway.wait_metric(&event("same"), 3.0);
    differs.store(true, Ordering::SeqCst);
    assert_eq!(gateway.ask(get("/api/x", "")).status(), 200, "clients get the main answer");
    for different in ["status_differs", "headers_differ", "body_differs"] {
        gateway.wait_metric(&event(different), 1.0);
    }
    assert_eq!(gateway.metric(&event("same")), Some(3.0));
}

#[test]
fn what_was_counted_survives_a_reload() {
    let (main, shadow) = (Origin::saying("main"), Origin::replying(|_| ok("shadow")));
    let config = |timeout: &str| {
        format!(
            "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n\
             upstreams: {{ main: {{ endpoints: [ '{{url:main}}' ], timeout: {timeout} }}, \
             shadow: {{ endpoints: [ '{{url:shadow}}' ] }} }}\n\
             routes: [ {{ name: a, upstream: main, policies: [ {{ mirror: {{ upstream: shadow }} }} ] }} ]"
        )
    };
    let setup = Setup::new(&config("3s"));
    let mut gateway = setup.known("{url:main}", &main.url()).known("{url:shadow}", &shadow.url()).start();
    assert_eq!(gateway.ask(get("/", "")).text(), "main");
    gateway.wait_metric(&event("answered"), 1.0);
    gateway.rewrite(&config("4s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    gateway.wait_metric("gateway_config_revision", 2.0);
    assert_eq!(gateway.ask(get("/", "")).text(), "main");
    gateway.wait_metric(&event("answered"), 2.0);
}
