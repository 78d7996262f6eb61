//! Smuggling and poisoned pools.

use super::{closed_or_refused, plain};
use torana_e2e::both::Wire;
use torana_e2e::client::{get, post};
use torana_e2e::gateway::Setup;
use torana_e2e::origin::{Origin, Seen, ok, reply};
use torana_e2e::wait_for;
use torana_e2e::wire::Body;

/// Pingora, RUSTSEC-2025-0037: the body of a request that was answered without
/// asking the upstream stayed in the connection and was read as the next.
#[test]
fn cve_2025_4366_body_nobody_reads() {
    let origin = Origin::replying(|seen| ok(seen.target()));
    let config = "routes:
  - { name: ping, match: { path: /ping }, respond: { body: pong } }
  - { name: go, match: { path: /go }, redirect: { to: /there } }
  - { name: a, upstream: a }";
    let gateway = Setup::new(config).origin("a", &origin).start();
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for path in ["/ping", "/go", "/%00"] {
        let mut client = gateway.connect();
        client.send(post(path, "", hidden));
        let first = client.reply();
        assert_ne!(first.text(), "/smuggled");
        if first.head.get("connection") != Some("close") {
            assert_eq!(client.ask(get("/next", "")).text(), "/next", "{path}");
        }
        assert!(origin.take_seen().iter().all(|seen| seen.target() == "/next"), "{path}");
    }
    // The same where the body arrives after the reply.
    let mut client = gateway.connect();
    client.send(format!("POST /ping HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", hidden.len()));
    assert_eq!(client.reply().text(), "pong");
    let _ = client.try_send(hidden);
    client.assert_closed();
    assert!(origin.seen().is_empty());
}

/// Pingora, RUSTSEC-2026-0033: bytes behind an `Upgrade` request were forwarded
/// before the upstream had agreed with 101.
#[test]
fn cve_2026_2833_bytes_behind_an_upgrade() {
    // Declines the upgrade and records everything it gets until the end.
    let origin = Origin::start(|conn| {
        let Some(head) = conn.head() else { return };
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno");
        let data = conn.until_closed().unwrap_or_default();
        conn.record(Seen { connection: conn.number, head, body: Body { data, ..Body::default() } });
    });
    let config = "upstreams: { a: { endpoints: [ \"{url:a}\" ], max_idle: 0 } }\nroutes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).known("{url:a}", &origin.url()).start();
    let mut client = gateway.connect();
    let upgrade = get("/", "connection: upgrade\r\nupgrade: websocket\r\n");
    client.send(format!("{upgrade}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"));
    let reply = client.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "no"));
    // What came too early is neither forwarded nor read as a request.
    client.assert_closed();
    origin.wait_seen(1);
    let seen = origin.take_seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].body.data.is_empty(), "the origin got {:?}", seen[0].body.text());
}

/// What was sent early goes through once the upstream has agreed.
#[test]
fn cve_2026_2833_early_bytes_after_101() {
    let origin = Origin::start(|conn| {
        conn.head();
        // Whatever was forwarded before this would be waiting already.
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        let got = conn.reader.exactly(5).unwrap_or_default();
        conn.send(got);
    });
    let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(format!("{}early", get("/", "connection: upgrade\r\nupgrade: websocket\r\n")));
    let reply = client.reply();
    if reply.status() == 101 {
        assert_eq!(client.until_closed(), b"early");
    } else {
        assert!(matches!(reply.status(), 400..=499), "{}", reply.status());
    }
}

/// Pingora, RUSTSEC-2026-0034: a body of an HTTP/1.0 request that ends with the
/// connection, and several `Transfer-Encoding`s.
#[test]
fn cve_2026_2835_http10_and_encodings() {
    let (origin, gateway) = plain();
    for request in [
        "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(request);
        let status = client.reply().status();
        assert!(matches!(status, 400 | 501), "{request}: {status}");
        client.assert_closed();
    }
    assert!(origin.seen().is_empty());
    // Without a length an HTTP/1.0 request has no body; what follows is not
    // one either, since the connection closes.
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.0\r\nhost: x\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.reply().status(), 200);
    client.until_closed();
    let seen = origin.only();
    assert!(seen.body.data.is_empty());
}

/// Envoy: data sent right behind CONNECT. Also Traefik's CVE-2026-71324: a
/// CONNECT that is proxied poisons the pool.
#[test]
fn cve_2025_64763_early_data_behind_connect() {
    let (origin, gateway) = plain();
    let mut client = gateway.connect();
    let port = origin.port();
    client.send(format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    ));
    let status = closed_or_refused(&mut client);
    assert!(matches!(status, None | Some(400..=499)), "{status:?}");
    client.until_closed();
    assert!(origin.seen().is_empty());
    assert_eq!(gateway.ask(get("/", "")).status(), 200);
    assert_eq!(origin.only().connection, 0);
}

/// hyper, CVE-2021-21299, CVE-2021-32714, CVE-2021-32715 and CVE-2020-35863:
/// lenient lengths and codings.
#[test]
fn cve_2021_32714_lenient_lengths() {
    let (origin, gateway) = plain();
    for framing in [
        "transfer-encoding: chunked\r\n\r\nF0000000000000003\r\nabc\r\n0\r\n\r\n",
        "content-length: +3\r\n\r\nabc",
        "content-length: 3\r\ntransfer-encoding: chunked, xyz\r\n\r\nabc",
        "transfer-encoding: chunked\r\ntransfer-encoding: xyz\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "transfer-encoding: xyz, chunked\r\ncontent-length: 3\r\n\r\nabc",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}"));
        let status = client.reply().status();
        assert!(matches!(status, 400 | 501), "{framing}: {status}");
        client.assert_closed();
    }
    assert!(origin.seen().is_empty());
}

/// Envoy: a reply of the gateway's own after the protocol was switched.
#[test]
fn cve_2025_30157_nothing_of_ours_in_a_tunnel() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        conn.reader.stream.second().reset();
    });
    let gateway = Setup::new("routes: [ { name: a, upstream: a, timeout: 300ms } ]").origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/", "connection: upgrade\r\nupgrade: websocket\r\n"));
    match client.reply_to("GET") {
        Some(reply) if reply.status() == 101 => {
            let rest = client.until_closed();
            assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        }
        // The reset came first.
        Some(reply) => assert_eq!(reply.status(), 502),
        None => {}
    }
}

/// APISIX: a body smuggled past forward-auth; the pool must stay clean after a
/// reply that came before the request was complete.
#[test]
fn cve_2024_32638_early_reply_and_the_pool() {
    let origin = Origin::start(|conn| {
        // Answers before the body, on a connection that says it stays.
        while let Some(head) = conn.head() {
            conn.record(Seen { connection: conn.number, head: head.clone(), body: Body::default() });
            conn.send(ok("early"));
            if head.get("content-length").is_none_or(|length| length == "0") {
                continue;
            }
            // Reads on as if the rest were a request, as a confused server does.
        }
    });
    let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
    let mut client = gateway.connect();
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    client.send(format!("POST /up HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", hidden.len()));
    assert_eq!(client.reply().text(), "early");
    let _ = client.try_send(hidden);
    client.until_closed();
    assert_eq!(gateway.ask(get("/next", "")).text(), "early");
    wait_for("the next request", || origin.seen().iter().any(|seen| seen.target() == "/next").then_some(()));
    let seen = origin.take_seen();
    assert!(seen.iter().all(|seen| seen.target() != "/smuggled"), "the body went on after the reply");
    let next = seen.iter().find(|seen| seen.target() == "/next").expect("it was waited for");
    assert_eq!(next.connection, 1, "the half-used connection was used again");
}

/// Pingora, RUSTSEC-2026-0035: a cache key without the host. Neither the pool nor the cache mixes up hosts.
#[test]
fn cve_2026_2836_hosts_are_not_mixed_up() {
    let origin = Origin::replying(|seen| {
        reply(200, &[("cache-control", "max-age=60")], seen.head.get("host").unwrap_or_default())
    });
    for policies in ["", ", policies: [ cache: {} ]"] {
        let config = format!("routes: [ {{ name: a, upstream: a{policies} }} ]");
        let gateway = Setup::new(&config).origin("a", &origin).start();
        let mut client = gateway.connect();
        for host in ["a.example", "b.example", "a.example", "a.example:81", "a.example"] {
            let reply = client.ask(format!("GET /same HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            assert_eq!(reply.text(), host);
        }
        for wire in Wire::BOTH {
            assert_eq!(wire.get(&gateway, "/same", "").text, "gateway.example");
        }
    }
}
