//! Either side goes away at the worst moment.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;
use torana_e2e::client::{Client, get, post};
use torana_e2e::gateway::Setup;
use torana_e2e::origin::{Conn, Origin, Seen, ok};
use torana_e2e::wait_for;
use torana_e2e::wire::Ending;

const ROUTE: &str = "routes: [ { name: a, upstream: a } ]";

/// Sends the first part of a reply, and closes when the client has it.
fn half(head: &'static str, first: &'static str, reset: bool) -> Ending {
    let (seen, may_close) = mpsc::channel::<()>();
    let may_close = Mutex::new(may_close);
    let origin = Origin::start(move |conn| {
        conn.request();
        conn.send(head);
        conn.send(first);
        let _ = may_close.lock().unwrap().recv();
        if reset {
            conn.reader.stream.second().reset();
        }
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/", ""));
    let head = client.reader.head().unwrap().unwrap();
    assert_eq!(head.status(), 200);
    drop(seen);
    let body = client.reader.body(&head, true).unwrap();
    client.assert_closed();
    let line = gateway.log_line("the reply that broke off", |line| line["path"] == "/");
    assert_eq!(line["code"], "upstream.body_truncated");
    body.ending
}

#[test]
fn a_reply_with_a_length_that_breaks_off_is_never_complete() {
    let ending = half("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "half", false);
    assert_eq!(ending, Ending::Truncated);
}

#[test]
fn a_chunked_reply_that_breaks_off_is_never_complete() {
    for (first, reset) in [("4\r\nhalf\r\n", false), ("4\r\nhalf\r\n", true), ("9\r\nhalf", false)] {
        let ending = half("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", first, reset);
        assert_eq!(ending, Ending::Truncated, "{first:?}");
    }
}

#[test]
fn a_reply_that_breaks_off_at_once_is_502_or_truncated_but_never_silence() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        let origin = Origin::start(move |conn| {
            conn.request();
            conn.send(&bytes);
        });
        let gateway = Setup::new(ROUTE).origin("a", &origin).start();
        // Whether the end is noticed before the head went out is up to the
        // kernel, so it is tried more than once.
        for _ in 0..20 {
            let reply = gateway.ask(get("/", ""));
            match reply.status() {
                200 => assert_eq!(reply.body.ending, Ending::Truncated),
                502 => assert_eq!(reply.code(), "upstream.body_truncated"),
                other => panic!("{other}: {}", reply.text()),
            }
        }
    }
}

/// Answers the first request of a connection and closes when the second comes,
/// as a server does whose idle timeout has just passed.
fn once(conn: &mut Conn) {
    if conn.request().is_some() {
        conn.send(ok("once"));
        conn.request();
    }
}

#[test]
fn a_stale_connection_costs_an_idempotent_request_nothing() {
    let origin = Origin::start(once);
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    assert_eq!(gateway.ask(get("/2", "")).status(), 200);
    let seen: Vec<(String, usize)> =
        origin.seen().iter().map(|seen| (seen.target().to_owned(), seen.connection)).collect();
    assert_eq!(seen, [("/1".to_owned(), 0), ("/2".to_owned(), 0), ("/2".to_owned(), 1)]);
}

#[test]
fn a_stale_connection_never_repeats_a_post() {
    let origin = Origin::start(once);
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    let reply = gateway.ask(post("/2", "", "charge me"));
    assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.closed"));
    let posts = origin.seen().iter().filter(|seen| seen.target() == "/2").count();
    assert_eq!(posts, 1);
}

fn put(path: &str, body: &str) -> String {
    post(path, "", body).replacen("POST", "PUT", 1)
}

/// A PUT may be sent twice, but only as it was: what has been read of its body and is not kept is gone.
#[test]
fn a_body_that_went_with_a_stale_connection_is_not_replaced_by_less() {
    let origin = Origin::start(once);
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    let reply = gateway.ask(put("/2", "all of it"));
    assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.closed"));
    let puts: Vec<_> = origin.seen().iter().filter(|seen| seen.target() == "/2").map(|seen| seen.body.text()).collect();
    assert_eq!(puts, ["all of it"]);
}

#[test]
fn a_body_cut_short_by_a_stale_connection_is_not_sent_from_its_middle() {
    let origin = Origin::start(|conn| {
        if conn.number > 0 {
            while conn.request().is_some() {
                conn.send(ok("fresh"));
            }
        } else if conn.request().is_some() {
            conn.send(ok("once"));
            // Goes away with the body on its way.
            conn.head();
            conn.reader.stream.second().reset();
        }
    });
    let gateway = Setup::new(&format!("limits: {{ body_bytes: 64MiB }}\n{ROUTE}")).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    let body = "0123456789".repeat(1_000_000);
    let mut client = gateway.connect();
    // The gateway may have answered, and closed, before it has all of this.
    let _ = client.try_send(put("/2", &body));
    if let Some(reply) = client.reply_to("PUT") {
        assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.closed"));
    }
    let puts: Vec<_> =
        origin.seen().iter().filter(|seen| seen.target() == "/2").map(|seen| seen.body.data.len()).collect();
    assert!(puts.is_empty(), "of {} bytes: {puts:?}", body.len());
}

#[test]
fn a_request_whose_body_is_gone_is_not_repeated_without_it() {
    let put = "PUT /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nwhole";
    let bodies = |origin: &Origin| {
        let seen = origin.seen().into_iter().filter(|seen| seen.target() == "/2");
        seen.map(|seen| seen.body.text()).collect::<Vec<String>>()
    };
    let origin = Origin::start(once);
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    let reply = gateway.ask(put);
    assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.closed"));
    assert_eq!(bodies(&origin), ["whole"]);
    // Where it is kept, it goes out whole once more.
    let origin = Origin::start(once);
    let config = "upstreams: { a: { endpoints: [ '{url:a}' ], retry: { attempts: 1 } } }\n\
                  routes: [ { name: a, upstream: a } ]";
    let gateway = Setup::new(config).known("{url:a}", &origin.url()).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    assert_eq!(gateway.ask(put).status(), 200);
    assert_eq!(bodies(&origin), ["whole", "whole"]);
}

#[test]
fn a_connection_closed_while_idle_is_not_even_tried() {
    let (close, may_close) = mpsc::channel::<()>();
    let may_close = Mutex::new(may_close);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            conn.send(ok("ok"));
            if conn.number == 0 {
                let _ = may_close.lock().unwrap().recv();
                return;
            }
        }
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    assert_eq!(gateway.ask(get("/1", "")).status(), 200);
    close.send(()).unwrap();
    wait_for("the origin to close", || (origin.open() == 0).then_some(()));
    // On loopback, what was closed before this request was sent is known to
    // be closed when it arrives: even a POST is safe.
    assert_eq!(gateway.ask(post("/2", "", "x")).status(), 200);
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn a_client_that_leaves_while_it_waits_cancels_the_upstream() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/slow", ""));
    origin.wait_seen(1);
    drop(client);
    wait_for("the request to be cancelled", || (origin.open() == 0).then_some(()));
    let line = gateway.log_line("the client that left", |line| line["path"] == "/slow");
    assert_eq!((line["status"].as_u64(), line["code"].as_str()), (Some(499), Some("client.gone")));
}

#[test]
fn a_client_that_leaves_in_its_upload_cancels_the_upstream() {
    let origin = Origin::start(|conn| {
        if let Some(head) = conn.head() {
            let body = conn.reader.body(&head, false).unwrap();
            conn.record(Seen { connection: conn.number, head, body });
        }
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    for framing in ["content-length: 100\r\n\r\nonly this", "transfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n"] {
        let mut client = gateway.connect();
        client.send(format!("POST /up HTTP/1.1\r\nhost: x\r\n{framing}"));
        wait_for("the upload to reach the origin", || (origin.open() == 1).then_some(()));
        drop(client);
        origin.wait_seen(1);
        // What the upstream has got must not look like the whole.
        assert_eq!(origin.take_seen()[0].body.ending, Ending::Truncated, "{framing}");
        wait_for("the upload to end", || (origin.open() == 0).then_some(()));
    }
}

#[test]
fn a_client_that_leaves_in_its_download_cancels_the_upstream() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while conn.reader.stream.write_all(chunk.as_bytes()).is_ok() {}
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let mut client = gateway.connect();
    client.send(get("/endless", ""));
    assert_eq!(client.reader.head().unwrap().unwrap().status(), 200);
    drop(client);
    wait_for("the reply to be cancelled", || (origin.open() == 0).then_some(()));
    let line = gateway.log_line("the client that left", |line| line["path"] == "/endless");
    assert_eq!(line["code"], "client.gone");
}

#[test]
fn an_upstream_that_never_reads_the_upload_does_not_hang_the_client_that_leaves() {
    let origin = Origin::start(|conn| {
        conn.head();
        conn.reader.stream.second().reset();
    });
    let gateway = Setup::new(ROUTE).origin("a", &origin).start();
    let reply = gateway.ask(post("/", "", "x"));
    assert_eq!(reply.status(), 502);
    // The gateway is none the worse.
    let mut client: Client = gateway.connect();
    assert_eq!(client.ask(get("/", "")).status(), 502);
}
