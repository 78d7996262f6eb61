//! Limits that take many connections or streams to reach.

use crate::frames::{self, Answer, FINE};
use h2::Reason;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use torana_e2e::client::{Client, get};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::Origin;
use torana_e2e::tls::Authority;
use torana_e2e::wait_for;

const PING: &str = "routes: [ { name: ping, respond: { body: pong } } ]\n";
const ADMIN: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }\n";

fn with_limits(limits: &str) -> Gateway {
    Setup::new(&format!("limits: {{ {limits} }}\n{ADMIN}{PING}")).start()
}

/// Opens connections until `count` of them are served.
fn fill(gateway: &Gateway, count: usize) -> Vec<Client> {
    let serve = |mut client: Client| {
        assert_eq!(client.ask(get("/", "")).status(), 200);
        client
    };
    (0..count).map(|_| serve(gateway.connect())).collect()
}

#[test]
fn more_connections_than_allowed_are_closed_at_once_and_room_is_found_again() {
    let gateway = with_limits("connections: 3");
    let mut served = fill(&gateway, 3);
    let mut fourth = gateway.connect();
    let _ = fourth.try_send(get("/", ""));
    assert!(fourth.reply_to("GET").is_none(), "a fourth connection was served");
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.connections\"}", 1.0);
    drop(served.pop());
    wait_for("room for another", || {
        let mut client = gateway.connect();
        let _ = client.try_send(get("/", ""));
        client.reply_to("GET")
    });
}

#[test]
fn one_address_may_not_take_all_connections() {
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", proxy_protocol: {{ trusted: [ 127.0.0.1/32 ] }} }} ]\n\
         limits: {{ connections_per_client: 2 }}\n{ADMIN}{PING}"
    );
    let gateway = Setup::new(&config).start();
    let from = |address: &str| {
        let mut client = gateway.connect();
        let _ = client.try_send(format!("PROXY TCP4 {address} 10.0.0.1 1 80\r\n{}", get("/", "")));
        let reply = client.reply_to("GET");
        (client, reply.map(|reply| reply.status()))
    };
    let first = [from("10.1.1.1"), from("10.1.1.1")];
    assert!(first.iter().all(|(_, status)| *status == Some(200)));
    assert_eq!(from("10.1.1.1").1, None);
    assert_eq!(from("10.1.1.2").1, Some(200), "another address is not to blame");
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.connections_per_client\"}", 1.0);
}

#[test]
fn a_tls_handshake_has_to_come_to_its_end() {
    let (authority, dir) = (Authority::new(), Dir::new());
    authority.write(&dir, "one", &["gateway.example"]);
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }} }} ]\n\
         limits: {{ tls_handshake_timeout: 300ms }}\n{ADMIN}{PING}"
    );
    let gateway = Setup::new(&config).dir(dir).start();
    // The first bytes of a ClientHello, and nothing more (CVE-2026-32305:
    // a fragmented one must not fall back to anything either).
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = gateway.connect();
        client.send(start);
        client.assert_closed();
    }
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.tls_handshake_timeout\"}", 2.0);
}

/// On a TLS listener, too, a connection that says nothing has no more than
/// `head_timeout`.
#[test]
fn silence_behind_a_tls_handshake_is_ended_by_the_head_timeout() {
    let (authority, dir) = (Authority::new(), Dir::new());
    authority.write(&dir, "one", &["gateway.example"]);
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }} }} ]\n\
         limits: {{ head_timeout: 300ms, idle_timeout: 10m }}\n{PING}"
    );
    let gateway = Setup::new(&config).dir(dir).start();
    let mut client = torana_e2e::tls::connect(&authority.client(None, &[]), gateway.port("main"), "gateway.example");
    // Enough to shake hands, too little for a head.
    client.send("GET");
    client.until_closed();
    let mut client = torana_e2e::tls::connect(&authority.client(None, &[]), gateway.port("main"), "gateway.example");
    client.send("");
    client.until_closed();
}

#[test]
fn without_http2_silence_is_ended_by_the_head_timeout_too() {
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", http2: false }} ]\n\
         limits: {{ head_timeout: 300ms, idle_timeout: 10m }}\n{PING}"
    );
    Setup::new(&config).start().connect().assert_closed();
}

#[test]
fn a_connection_that_talks_nonsense_is_not_taken_for_a_slow_one() {
    let (authority, dir) = (Authority::new(), Dir::new());
    authority.write(&dir, "one", &["gateway.example"]);
    let config = format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }} }} ]\n\
         limits: {{ head_timeout: 300ms, idle_timeout: 10m }}\n{ADMIN}{PING}"
    );
    let gateway = Setup::new(&config).dir(dir).start();
    let begin = |text: &str| {
        let config = authority.client(None, &["h2"]);
        let mut client = torana_e2e::tls::connect(&config, gateway.port("main"), "gateway.example");
        client.send(text);
        client.until_closed();
    };
    begin("GET / HTTP/1.1\r\nhost: gateway.example\r\n\r\n");
    begin("PRI * ");
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.head_timeout\"}", 1.0);
}

#[test]
fn the_time_that_a_client_takes_over_its_head_is_not_charged_to_the_request() {
    let gateway = with_limits("");
    let mut client = gateway.connect();
    client.send("GET /slow HTTP/1.1\r\nhost: gateway.example\r\n");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(client.ask("\r\n").status(), 200);
    let line = gateway.log_line("the slow head", |line| line["path"] == "/slow");
    assert!(line["duration_ms"].as_f64().unwrap() < 300.0, "{line}");
}

#[test]
fn an_http2_connection_is_idle_from_the_end_of_its_last_request_on() {
    let origin = Origin::start(|conn| {
        while conn.request().is_some() {
            std::thread::sleep(Duration::from_millis(500));
            conn.send(torana_e2e::origin::ok("slow"));
        }
    });
    let config = "limits: { idle_timeout: 700ms }\nroutes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
        let begun = Instant::now();
        client.connection.await.unwrap().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(600), "closed after {:?}", begun.elapsed());
    });
}

#[test]
fn bytes_of_one_request_are_not_counted_for_the_next() {
    let origin = Origin::saying("ok");
    let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
    let mut client = gateway.connect();
    assert_eq!(client.ask(torana_e2e::client::post("/first", "", "hello")).status(), 200);
    assert_eq!(client.ask("GET / HTTP/1.1\r\nbad name: x\r\n\r\n").status(), 400);
    let first = gateway.log_line("the first", |line| line["path"] == "/first");
    let second = gateway.log_line("the second", |line| line["status"] == 400);
    assert_eq!((&first["request_bytes"], &second["request_bytes"]), (&5.into(), &0.into()));
}

#[test]
fn a_slowloris_is_gone_however_regularly_it_drips() {
    let gateway = with_limits("head_timeout: 500ms, idle_timeout: 10m");
    let mut client = gateway.connect();
    let begun = Instant::now();
    // A byte whenever the last was taken for 10 ms, so never idle.
    client.reader.stream.set_read_timeout(Duration::from_millis(10));
    wait_for("the dripping client to be cut off", || {
        let _ = client.try_send("x");
        matches!(client.reader.fill(), Ok(false)).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(10));
    let answer = String::from_utf8_lossy(client.reader.waiting()).into_owned();
    assert!(answer.contains("limit.head_timeout") || answer.contains("http1.method_too_long"), "{answer}");
}

#[test]
fn a_client_that_does_not_take_its_reply_is_cut_off() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while conn.send(&chunk) {}
    });
    let config = "limits: { idle_timeout: 500ms }\nroutes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/endless", ""));
    // Not reading at all.
    wait_for("the upstream to be released", || (origin.seen().len() == 1 && origin.open() == 0).then_some(()));
    let line = gateway.log_line("the reply nobody took", |line| line["path"] == "/endless");
    assert!(matches!(line["code"].as_str(), Some("limit.idle_timeout" | "limit.min_body_rate")), "{line}");
}

#[test]
fn a_stream_beyond_the_limit_is_refused_and_those_before_it_go_on() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let config = "limits: { http2_streams: 2 }\nroutes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    // By hand, because a decent client waits for its turn.
    let mut client = frames::start(gateway.connect());
    for stream in [1, 3, 5] {
        client.send(frames::headers(stream, &FINE, true));
    }
    // REFUSED_STREAM: the client may send it again.
    assert_eq!(frames::answer(&mut client), Answer::Reset(5, 7));
    origin.wait_seen(2);
    assert_eq!((origin.connections(), origin.open()), (2, 2));
}

/// CVE-2023-44487, "rapid reset".
#[test]
fn a_client_that_resets_stream_after_stream_is_sent_away() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let config = format!("limits: {{ http2_resets: 20 }}\n{ADMIN}routes: [ {{ name: a, upstream: a }} ]");
    let gateway = Setup::new(&config).origin("a", &origin).start();
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let mut sent = 0;
        while sent < 10_000 {
            let Ok(mut requests) = client.requests.clone().ready().await else { break };
            let Ok((_waiting, mut stream)) = requests.send_request(http2::get("http", "/"), true) else { break };
            sent += 1;
            stream.send_reset(Reason::CANCEL);
            tokio::task::yield_now().await;
        }
        assert!(sent < 10_000, "nobody stopped {sent} resets");
        // The reason is lost if the end overtakes it: who resets goes on sending.
        let reason = client.connection.await.unwrap().err().and_then(|error| error.reason());
        assert!(matches!(reason, None | Some(Reason::ENHANCE_YOUR_CALM)), "{reason:?}");
    });
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.http2_resets\"}", 1.0);
    // Others are served.
    assert_eq!(gateway.admin("GET", "/livez").status(), 200);
}

#[test]
fn http2_heads_have_limits_too() {
    let gateway = with_limits("header_bytes: 2KiB, header_count: 10, uri_bytes: 512B");
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let long = format!("/{}", "x".repeat(600));
        assert_eq!(client.ask(http2::get("http", &long), b"").await.unwrap().status(), 414);
        let mut many = http2::get("http", "/");
        for number in 0..11 {
            many.headers_mut().append("x-many", number.into());
        }
        assert_eq!(client.ask(many, b"").await.unwrap().status(), 431);
        assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
    });
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let mut large = http2::get("http", "/");
        large.headers_mut().insert("x-large", "y".repeat(3000).parse().unwrap());
        // Refused with 431, or with the stream or connection broken off.
        if let Ok(reply) = client.ask(large, b"").await {
            assert_eq!(reply.status(), 431);
        }
    });
    assert!(gateway.answers("/"));
}

#[test]
fn an_http2_body_has_the_same_limit() {
    let origin = Origin::saying("ok");
    let config = "limits: { body_bytes: 10B }\nroutes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let reply = client.ask(http2::request("POST", "http", "/"), b"12345678901").await.unwrap();
        assert_eq!(reply.status(), 413);
        let reply = client.ask(http2::request("POST", "http", "/"), b"1234567890").await.unwrap();
        assert_eq!(reply.status(), 200);
    });
    assert_eq!(origin.only().body.data, b"1234567890");
}

#[test]
fn an_http2_connection_without_requests_is_closed() {
    let gateway = with_limits("idle_timeout: 300ms, head_timeout: 300ms");
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
        let _ = client.connection.await.unwrap();
    });
    // The preface alone is a slow head.
    let mut client =
        Client::over(torana_e2e::stream::Stream::Tcp(TcpStream::connect(("127.0.0.1", gateway.port("main"))).unwrap()));
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.until_closed();
}

/// How many connections each of two workers has, once there are so many.
fn by_worker(gateway: &Gateway, all: usize) -> [usize; 2] {
    wait_for("the connections to be counted", || {
        let of = |worker: usize| gateway.metric(&format!("gateway_worker_connections{{worker=\"{worker}\"}}"));
        let counts = [of(0)?, of(1)?];
        (counts[0] + counts[1] == all as f64)
            .then(|| counts.map(|count| (0..=all).find(|n| *n as f64 == count).unwrap()))
    })
}

#[test]
fn connections_that_stay_do_not_pile_up_on_one_worker() {
    let config = "admin: { address: \"127.0.0.1:{port:admin}\" }\nworkers: 2\naccess_log: false\n\
                  routes: [ { name: r, respond: { body: here } } ]";
    let gateway = Setup::new(config).start();
    let moved = || gateway.metric("gateway_connections_moved_total").unwrap_or_default();
    // Chance puts them on either worker; those of the second leave, so that they pile up on the first.
    let mut stay: Vec<Client> = Vec::new();
    for _ in 0..200 {
        if moved() > 0.0 {
            break;
        }
        let mut client = gateway.connect();
        assert_eq!(client.ask(get("/", "")).text(), "here");
        let [first, _] = by_worker(&gateway, stay.len() + 1);
        if first > stay.len() {
            stay.push(client);
        } else if moved() == 0.0 {
            drop(client);
            by_worker(&gateway, stay.len());
        } else {
            stay.push(client);
        }
    }
    assert!(moved() > 0.0, "{} connections stay on one worker", stay.len());
    let [first, second] = by_worker(&gateway, stay.len());
    assert!(first <= 8 && second == 1, "{first} and {second}");
    // One that has moved is like any other.
    for client in &mut stay {
        assert_eq!(client.ask(get("/", "")).text(), "here");
    }
}
