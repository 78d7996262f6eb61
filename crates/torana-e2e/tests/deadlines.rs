//! How much time there is, and who is told.

use std::net::TcpListener;
use std::time::{Duration, Instant};
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, Seen, ok, reply};

fn start(config: &str, origin: &Origin) -> Gateway {
    Setup::new(config).known("{url:a}", &origin.url()).start()
}

/// What the service was told under `name`, as a number.
fn told(seen: &Seen, name: &str) -> Option<u64> {
    let value = seen.head.get(name)?;
    Some(value.trim_end_matches('u').parse().unwrap_or_else(|_| panic!("{name}: {value}")))
}

#[test]
fn a_service_is_told_the_least_of_all_limits_and_less_at_each_attempt() {
    let origin = Origin::replying(|_| {
        std::thread::sleep(Duration::from_millis(30));
        reply(503, &[], "")
    });
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], deadline_header: X-Time-Left, timeout: 3s, \
         health: { passive: false }, retry: { attempts: 1, on: [ 503 ], backoff: 0s } } }\n\
         routes: [ { name: short, match: { path: /short }, upstream: a, timeout: 2s }, { name: a, upstream: a } ]",
        &origin,
    );
    let forged = "x-time-left: 99999999\r\nX-Time-Left: 1\r\n";
    for (path, most) in [("/short", 2000), ("/", 3000)] {
        assert_eq!(gateway.ask(get(path, forged)).status(), 503);
        let times: Vec<u64> = origin.take_seen().iter().map(|seen| told(seen, "x-time-left").unwrap()).collect();
        assert_eq!(times.len(), 2, "{times:?}");
        assert!(times[0] <= most && times[0] > most - 1000, "{times:?}");
        assert!(times[1] + 30 <= times[0], "the second has what the first has left: {times:?}");
    }
}

#[test]
fn without_a_header_nobody_is_told_and_the_clients_own_goes_through() {
    let origin = Origin::saying("a");
    let gateway =
        start("upstreams: { a: { endpoints: [ '{url:a}' ] } }\nroutes: [ { name: a, upstream: a } ]", &origin);
    let _ = gateway.ask(get("/", "x-time-left: 5\r\ngrpc-timeout: nonsense\r\n"));
    let seen = origin.only();
    assert_eq!(seen.head.get("x-time-left"), Some("5"));
    assert_eq!(seen.head.get("grpc-timeout"), Some("nonsense"), "not a gRPC call: a header like any other");
}

#[test]
fn a_grpc_call_ends_when_its_caller_said_and_the_service_knows() {
    let origin = Origin::start(|conn| {
        while conn.request().is_some() {
            // Silence: the deadline has to end it.
            conn.until_closed();
        }
    });
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], breaker: { failures: 1 } } }\nroutes: [ { name: a, upstream: a } ]",
        &origin,
    );
    let call =
        |timeout: &str| post("/p.S/M", &format!("content-type: application/grpc\r\ngrpc-timeout: {timeout}\r\n"), "x");
    let started = Instant::now();
    let reply = gateway.ask(call("300m"));
    assert_eq!((reply.status(), reply.head.get("grpc-status")), (200, Some("4")), "DEADLINE_EXCEEDED");
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < Duration::from_secs(10));
    let left = told(&origin.only(), "grpc-timeout").unwrap();
    assert!(left <= 300_000 && left > 0, "{left} µs");
    // A stranger's deadline opens no breaker.
    assert_eq!(gateway.ask(call("200m")).head.get("grpc-status"), Some("4"));
}

#[test]
fn what_a_grpc_caller_says_is_a_limit_only_if_it_is_one() {
    let origin = Origin::replying(|_| ok(""));
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ] } }\nroutes: [ { name: a, upstream: a, timeout: 2s } ]",
        &origin,
    );
    let call = |timeout: &str| post("/p.S/M", &format!("content-type: application/grpc\r\n{timeout}\r\n"), "x");
    let _ = gateway.ask(call("grpc-timeout: 1H"));
    assert!(told(&origin.take_seen()[0], "grpc-timeout").unwrap() <= 2_000_000, "the route's limit is shorter");
    for bad in ["grpc-timeout: soon", "grpc-timeout: 1S\r\ngrpc-timeout: 2S", "grpc-timeout: 123456789m"] {
        let _ = gateway.ask(call(bad));
        assert_eq!(origin.take_seen()[0].head.get("grpc-timeout"), None, "{bad}");
    }
}

#[test]
fn connecting_does_not_outlast_the_request() {
    // Takes connections and never answers the TLS handshake.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let gateway = Setup::new(
        "upstreams: { a: { endpoints: [ '{url:a}' ], connect_timeout: 60s } }\n\
         routes: [ { name: a, upstream: a, timeout: 300ms } ]",
    )
    .known("{url:a}", &url)
    .start();
    let started = Instant::now();
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (504, "upstream.connect_timeout"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn whoever_waits_for_a_connection_waits_no_longer_than_it_may_take() {
    // Its kernel takes connections; nobody there says a word of TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "upstreams: {{ a: {{ endpoints: [ 'https://127.0.0.1:{}' ], protocol: http2, connect_timeout: 500ms, \
         health: {{ passive: false }} }} }}\nroutes: [ {{ name: a, upstream: a }} ]",
        silent.local_addr().unwrap().port()
    );
    let gateway = Setup::new(&format!("workers: 1\n{config}")).start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let began = Instant::now();
                assert_eq!(gateway.ask(get("/", "")).code(), "upstream.connect_timeout");
                assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
            });
        }
    });
}
