//! HTTP/2 requests that would become two requests, or other ones, when they
//! are written as HTTP/1.1 ("HTTP/2: the sequel is always worse").

use crate::frames::{self, Answer, FINE};
use torana_e2e::client::get;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok};

const MARKER: &str = "GET /marker HTTP/1.1\r\nHost: x\r\n\r\n";

fn bench() -> (Origin, Gateway) {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = Setup::new("routes: [ { name: a, upstream: a } ]").origin("a", &origin).start();
    (origin, gateway)
}

/// The fields of a request that is fine, one of them changed or added.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = FINE.to_vec();
    match fields.iter_mut().find(|(field, _)| *field == name) {
        Some(field) => field.1 = value,
        None => fields.push((name, value)),
    }
    fields
}

fn nothing_came_through(origin: &Origin, gateway: &Gateway, what: &str) {
    assert_eq!(gateway.ask(get("/proof", "")).status(), 200);
    let seen: Vec<String> = origin.take_seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(seen, ["/proof"], "{what}");
}

#[test]
fn a_request_that_is_fine_passes() {
    let (origin, gateway) = bench();
    let mut client = frames::start(gateway.connect());
    client.send(frames::headers(1, &with("content-length", "3"), false));
    client.send(frames::data(1, "abc", true));
    assert_eq!(frames::answer(&mut client), Answer::Ok);
    assert_eq!(origin.only().body.data, b"abc");
}

#[test]
fn fields_that_would_split_or_frame_are_refused() {
    let (origin, gateway) = bench();
    let split = format!("x\r\n\r\n{MARKER}");
    let path = format!("/ HTTP/1.1\r\nHost: x\r\n\r\n{MARKER}");
    let host = format!("x\r\n\r\n{MARKER}");
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "keep-alive"),
        ("connection", "content-length"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "chunked"),
        ("x", split.as_str()),
        ("x", "a\rb"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x\r\ny", "a"),
        ("x: y\r\nz", "a"),
        ("x y", "a"),
        ("X-Upper", "a"),
        ("", "a"),
        (":path", path.as_str()),
        (":path", "/ HTTP/1.1"),
        (":path", "/a b"),
        (":method", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"),
        (":method", "GET /x"),
        (":authority", host.as_str()),
        (":authority", "a@x"),
        (":authority", "x/y"),
        (":scheme", "http://x/\r\n"),
        (":unknown", "x"),
        (":status", "200"),
        ("host", "other.example"),
        ("content-length", "abc"),
        ("content-length", "+0"),
        ("content-length", "-1"),
    ] {
        let mut client = frames::start(gateway.connect());
        client.send(frames::headers(1, &with(name, value), true));
        let got = frames::answer(&mut client);
        assert_ne!(got, Answer::Ok, "{name:?}: {value:?}");
        nothing_came_through(&origin, &gateway, name);
    }
}

#[test]
fn repeated_and_late_pseudo_fields_are_refused() {
    let (origin, gateway) = bench();
    for extra in [(":path", "/b"), (":method", "GET"), (":authority", "b.example"), (":scheme", "https")] {
        let mut twice = FINE.to_vec();
        twice.push(extra);
        let mut late = FINE.to_vec();
        late.insert(0, ("x", "a"));
        for fields in [twice, late] {
            let mut client = frames::start(gateway.connect());
            client.send(frames::headers(1, &fields, true));
            assert_ne!(frames::answer(&mut client), Answer::Ok, "{fields:?}");
            nothing_came_through(&origin, &gateway, extra.0);
        }
    }
}

/// H2.CL: the length that is announced is not the length of the data.
#[test]
fn a_length_that_is_not_the_datas_is_refused() {
    let (origin, gateway) = bench();
    let long = format!("abc{MARKER}");
    for (length, body) in [("3", long.as_str()), ("0", MARKER), ("100", "abc")] {
        let mut client = frames::start(gateway.connect());
        client.send(frames::headers(1, &with("content-length", length), false));
        client.send(frames::data(1, body, true));
        assert_ne!(frames::answer(&mut client), Answer::Ok, "{length}");
        nothing_came_through(&origin, &gateway, length);
    }
    // Two lengths, whatever the data.
    let mut fields = with("content-length", "3");
    fields.push(("content-length", "4"));
    let mut client = frames::start(gateway.connect());
    client.send(frames::headers(1, &fields, false));
    client.send(frames::data(1, "abc", true));
    assert_ne!(frames::answer(&mut client), Answer::Ok);
    nothing_came_through(&origin, &gateway, "two lengths");
}

/// Chunk syntax is data in HTTP/2, and stays data.
#[test]
fn a_body_that_looks_like_chunks_is_framed_anew() {
    let (origin, gateway) = bench();
    let body = format!("0\r\n\r\n{MARKER}");
    let mut client = frames::start(gateway.connect());
    client.send(frames::headers(1, &FINE, false));
    client.send(frames::data(1, &body, true));
    assert_eq!(frames::answer(&mut client), Answer::Ok);
    assert_eq!(origin.only().body.data, body.as_bytes());
}
