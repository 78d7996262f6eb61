//! Nothing is held back and nothing piles up.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};
use torana_e2e::client::{get, is_complete, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Conn, Origin, Seen, ok};
use torana_e2e::wait_for;

const ROUTE: &str = "routes: [ { name: a, upstream: a } ]";
/// Bodies of this size pass whole.
const LARGE: usize = 10 * 1024 * 1024;
/// More than all socket buffers on the way can take.
const ENDLESS: usize = 64 * 1024 * 1024;
/// What the gateway's memory may grow by while a body of any size passes.
const GROWTH: u64 = 8 * 1024 * 1024;

/// Bytes in which a lost, repeated or moved piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 251 + at * 7) % 256).unwrap()).collect()
}

fn post_head(length: usize) -> String {
    format!("POST /up HTTP/1.1\r\nhost: gateway.example\r\ncontent-length: {length}\r\n\r\n")
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let body = pattern(LARGE);
    let mut client = gateway.connect();
    let mut sender = client.reader.stream.second();
    let sent = body.clone();
    let sending = thread::spawn(move || {
        sender.write_all(post_head(sent.len()).as_bytes()).unwrap();
        sender.write_all(&sent).unwrap();
    });
    let reply = client.reply();
    sending.join().unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.body.data == body, "the body has changed on its way");
}

#[test]
fn events_arrive_one_by_one() {
    let (next, may_send) = mpsc::channel::<&str>();
    let may_send = Mutex::new(may_send);
    let origin = Origin::start(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        while let Ok(event) = may_send.lock().unwrap().recv() {
            conn.send(event);
        }
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/events", ""));
    // The head comes before any event exists.
    let head = client.reader.head().unwrap().unwrap();
    assert_eq!(head.get("content-type"), Some("text/event-stream"));
    for event in ["data: 1\n\n", "data: two\n\n", ": ping\n\n"] {
        next.send(event).unwrap();
        // The next is not sent before this one is here, so nothing can wait
        // for more to come.
        let mut got = Vec::new();
        client.reader.chunk(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), event);
    }
    drop(next);
    assert_eq!(client.reader.chunk(&mut Vec::new()).unwrap(), Some(0));
}

/// The minimum rate is the client's to keep, and only while it is waited for.
#[test]
fn a_stream_that_has_paused_is_not_held_against_a_client_that_blocks_for_a_moment() {
    const GRACE: Duration = Duration::from_secs(2);
    let paused = Arc::new(AtomicU64::new(0));
    let counter = Arc::new(AtomicU64::new(0));
    let (go, sent) = (paused.clone(), counter.clone());
    let origin = Origin::start(move |conn| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n"));
        wait_for("the pause to end", || (go.load(Ordering::SeqCst) == 1).then_some(()));
        let _ = pour(conn.reader.stream.second(), ENDLESS, &sent);
    });
    // At this rate no number of bytes buys any time worth mentioning.
    let config = format!("limits: {{ min_body_rate: 1GiB, body_rate_grace: 2s }}\n{ROUTE}");
    let gateway = Setup::new(&config).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/", ""));
    let head = client.reader.head().unwrap().unwrap();
    let begun = Instant::now();
    wait_for("more than the grace to pass", || (begun.elapsed() > GRACE).then_some(()));
    paused.store(1, Ordering::SeqCst);
    stalled(&counter);
    let body = client.reader.body(&head, true).unwrap();
    assert_eq!(body.data.len(), ENDLESS, "cut off");
}

/// Waits until a counter has stood still for a while: whoever moves it is
/// blocked. Its last value.
fn stalled(counter: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, Instant::now());
    wait_for("the flow to stop", || {
        let now = counter.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() > Duration::from_millis(300)).then_some(now)
    })
}

/// Writes `length` bytes, counting.
fn pour(mut sink: impl Write, length: usize, counter: &AtomicU64) -> io::Result<()> {
    let piece = pattern(64 * 1024);
    for _ in 0..length / piece.len() {
        sink.write_all(&piece)?;
        counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

fn grown(gateway: &Gateway, before: u64) {
    let (_, most) = gateway.memory();
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH, "memory has grown by {} KiB", grown / 1024);
}

#[test]
fn an_upload_waits_for_a_slow_upstream_and_does_not_pile_up() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |conn| {
        let Some(head) = conn.head() else { return };
        gate.lock().unwrap().recv().unwrap();
        let body = conn.reader.body(&head, false).unwrap();
        conn.send(ok(body.data.len().to_string()));
    });
    let config = format!("limits: {{ body_bytes: 100MiB }}\n{ROUTE}");
    let gateway = Setup::new(&config).origin("a", &origin).start();
    let before = gateway.memory().1;
    let mut client = gateway.connect();
    client.send(post_head(ENDLESS));
    let counter = Arc::new(AtomicU64::new(0));
    let (sender, sent) = (client.reader.stream.second(), counter.clone());
    let sending = thread::spawn(move || pour(sender, ENDLESS, &sent));
    let taken = stalled(&counter);
    assert!(taken < ENDLESS as u64, "the whole body was taken although nobody reads it");
    grown(&gateway, before);
    open.send(()).unwrap();
    let reply = client.reply();
    assert_eq!(reply.text(), ENDLESS.to_string());
    sending.join().unwrap().unwrap();
    grown(&gateway, before);
}

#[test]
fn a_download_waits_for_a_slow_client_and_does_not_pile_up() {
    let counter = Arc::new(AtomicU64::new(0));
    let sent = counter.clone();
    let origin = Origin::start(move |conn| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n"));
        let _ = pour(conn.reader.stream.second(), ENDLESS, &sent);
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let before = gateway.memory().1;
    let mut client = gateway.connect();
    client.send(get("/down", ""));
    let taken = stalled(&counter);
    assert!(taken < ENDLESS as u64, "the whole body was taken although nobody reads it");
    grown(&gateway, before);
    let reply = client.reply();
    assert_eq!(reply.body.data.len(), ENDLESS);
    assert!(is_complete(&reply));
    grown(&gateway, before);
}

#[test]
fn a_client_that_expects_100_gets_it_only_when_its_body_is_wanted() {
    let origin = Origin::saying("ok");
    let config = "routes:\n  - { name: a, match: { path: /a }, upstream: a, body_bytes: 10B }";
    let gateway = Setup::new(config).origin("a", &origin).start();
    let ask = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut client = gateway.connect();
    client.send(ask("/a", 5));
    let interim = client.reader.head().unwrap().unwrap();
    assert_eq!(interim.raw, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    let reply = client.reply();
    assert_eq!((reply.status(), reply.interim.len()), (200, 0));
    let seen = origin.only();
    assert_eq!(seen.body.data, b"hello");
    // What this connection was asked for is not asked for on the next.
    assert_eq!(seen.head.get("expect"), None);
    for (path, length, status) in [("/a", 11, 413), ("/none", 5, 404)] {
        let reply = gateway.ask(ask(path, length));
        assert_eq!((reply.status(), reply.interim.len()), (status, 0), "{path}");
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn a_client_that_does_not_wait_for_100_is_served_all_the_same() {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let reply = gateway.ask(post("/", "expect: 100-continue\r\n", "hello"));
    assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
}

#[test]
fn an_early_reply_reaches_a_client_that_still_sends() {
    let origin = Origin::start(|conn| {
        if let Some(head) = conn.head() {
            conn.record(Seen { connection: conn.number, head, body: Default::default() });
            conn.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
            conn.until_closed();
        }
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(post_head(1000));
    client.send("only the start");
    let reply = client.reply();
    assert_eq!((reply.status(), reply.text().as_str()), (401, "no"));
    // The rest of the body must not be read as a request: neither connection
    // is used again.
    client.until_closed();
    wait_for("the upstream connection to close", || (origin.open() == 0).then_some(()));
}

/// Answers `Upgrade` with 101 and then sends back what comes, in upper case.
fn echo(conn: &mut Conn) {
    if conn.request().is_none() {
        return;
    }
    // With the head, as a server that speaks first may do.
    conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nwelcome");
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = conn.reader.stream.read(&mut buffer) {
        conn.send(buffer[..count].to_ascii_uppercase());
    }
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";

#[test]
fn an_upgrade_becomes_a_tunnel_both_ways() {
    let origin = Origin::start(echo);
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    let reply = client.ask(get("/socket", UPGRADE));
    assert_eq!(reply.status(), 101);
    assert_eq!(reply.head.get("upgrade"), Some("websocket"));
    assert!(reply.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(client.reader.exactly(7).unwrap(), b"welcome");
    for text in ["hello", "and again"] {
        client.send(text);
        assert_eq!(client.reader.exactly(text.len()).unwrap(), text.to_ascii_uppercase().as_bytes());
    }
    let seen = origin.only();
    assert_eq!(seen.head.get("upgrade"), Some("websocket"));
    assert_eq!(seen.head.get("sec-websocket-version"), Some("13"));
    drop(client);
    wait_for("the tunnel to end on the other side, too", || (origin.open() == 0).then_some(()));
    let line = gateway.log_line("the tunnel", |line| line["status"] == 101);
    assert_eq!(line["response_bytes"], 7 + 14, "{line}");
}

#[test]
fn a_tunnel_may_last_longer_than_a_request() {
    let origin = Origin::start(echo);
    let config =
        "limits: { request_timeout: 200ms, idle_timeout: 10m }\nroutes: [ { name: a, upstream: a, timeout: 300ms } ]";
    let gateway = Setup::new(config).origin("a", &origin).start();
    let mut client = gateway.connect();
    let begun = Instant::now();
    assert_eq!(client.ask(get("/socket", UPGRADE)).status(), 101);
    assert_eq!(client.reader.exactly(7).unwrap(), b"welcome");
    wait_for("longer than any request may take", || (begun.elapsed() > Duration::from_millis(600)).then_some(()));
    client.send("still there?");
    assert_eq!(client.reader.exactly(12).unwrap(), b"STILL THERE?");
}

#[test]
fn an_upstream_that_never_stops_announcing_is_given_up() {
    let origin = Origin::start(|conn| {
        conn.request();
        while conn.send("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100)) {}
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.malformed"));
    assert_eq!(reply.interim, [103; 32]);
    wait_for("the upstream to be released", || (origin.open() == 0).then_some(()));
}

#[test]
fn the_end_of_an_upgraded_upstream_reaches_the_client() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nbye");
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    assert_eq!(client.ask(get("/socket", UPGRADE)).status(), 101);
    assert_eq!(client.until_closed(), b"bye");
}

#[test]
fn an_upgrade_that_is_refused_leaves_both_connections_in_http() {
    let origin = Origin::saying("no sockets here");
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    for _ in 0..2 {
        let reply = client.ask(get("/socket", UPGRADE));
        assert_eq!((reply.status(), reply.text().as_str()), (200, "no sockets here"));
    }
    assert_eq!(origin.connections(), 1);
}
