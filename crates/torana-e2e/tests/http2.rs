//! HTTP/2 on either side, and gRPC through it.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Answer, Client, block_on, request};
use torana_e2e::origin::{Origin, ok};
use torana_e2e::wait_for;

const ROUTE: &str = "routes: [ { name: a, upstream: a } ]";

fn with_http1(origin: &Origin) -> Gateway {
    Setup::new(ROUTE).origin("a", origin).start()
}

fn with_http2(origin: &http2::Origin) -> Gateway {
    Setup::new(ROUTE).endpoint("a", &origin.url()).start()
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn http2_to_http1() {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let reply = client.ask(request("POST", "http", "/x?y=1"), b"hello").await.unwrap();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
        assert!(reply.field("x-request-id").is_some());
        // No field about a connection exists in HTTP/2.
        assert!(reply.field("connection").is_none() && reply.field("transfer-encoding").is_none());
        let reply = client.ask(request("HEAD", "http", "/head"), b"").await.unwrap();
        assert_eq!((reply.status(), reply.data.len()), (200, 0));
    });
    let seen = origin.take_seen();
    assert_eq!(seen[0].head.line, "POST /x?y=1 HTTP/1.1");
    assert_eq!(seen[0].head.get("host"), Some("gateway.example"));
    assert_eq!(seen[0].head.get("x-forwarded-host"), Some("gateway.example"));
    assert_eq!(seen[0].body.data, b"hello");
    assert_eq!(seen[1].head.line, "HEAD /head HTTP/1.1");
}

#[test]
fn cookies_split_by_http2_are_joined_for_http1() {
    let origin = Origin::saying("ok");
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut request = http2::get("http", "/");
        request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
        request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
        assert_eq!(client.ask(request, b"").await.unwrap().status(), 200);
    });
    // RFC 9113 §8.2.3
    assert_eq!(origin.only().head.all("cookie"), ["a=1; b=2"]);
}

#[test]
fn http1_to_http2() {
    let origin = http2::Origin::start(|seen| Answer { data: seen.data.clone().into(), ..Answer::default() });
    let gateway = with_http2(&origin);
    let mut client = gateway.connect();
    let reply = client.ask(post("/x", "x-own: 1\r\nconnection: x-hop\r\nx-hop: 1\r\n", "hello"));
    assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
    assert_eq!(client.ask(get("/y", "")).status(), 200);
    let seen = origin.seen();
    assert_eq!((seen[0].head.method.as_str(), seen[0].head.uri.path()), ("POST", "/x"));
    assert_eq!(seen[0].head.uri.authority().unwrap(), "gateway.example");
    assert!(seen[0].head.headers.contains_key("x-own") && !seen[0].head.headers.contains_key("x-hop"));
    assert!(!seen[0].head.headers.contains_key("host"));
    assert_eq!(seen[0].data, b"hello");
}

#[test]
fn queries_that_http2_has_no_place_for_are_escaped() {
    let origin = http2::Origin::start(|_| Answer::default());
    let gateway = with_http2(&origin);
    assert_eq!(gateway.ask(get("/s?filter={\"a\":\"<b>\"}&c=`\\^|", "")).status(), 200);
    let uri = origin.seen()[0].head.uri.clone();
    assert_eq!(uri.query(), Some("filter={%22a%22:%22%3Cb%3E%22}&c=`\\^|"));
}

#[test]
fn http2_to_http2_with_trailers_as_grpc_wants_them() {
    let origin = http2::Origin::start(|seen| Answer {
        headers: map(&[("content-type", "application/grpc")]),
        data: seen.data.clone().into(),
        trailers: Some(map(&[("grpc-status", "0"), ("grpc-message", "fine")])),
        ..Answer::default()
    });
    let gateway = with_http2(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut call = request("POST", "http", "/shop.Orders/Get");
        call.headers_mut().extend(map(&[("content-type", "application/grpc"), ("te", "trailers")]));
        let reply = client.ask(call, b"\0\0\0\0\x02hi").await.unwrap();
        assert_eq!((reply.status(), reply.data.as_slice()), (200, &b"\0\0\0\0\x02hi"[..]));
        let trailers = reply.trailers.expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["grpc-message"], "fine");
    });
    // gRPC servers refuse calls without it.
    assert_eq!(origin.seen()[0].head.headers["te"], "trailers");
}

#[test]
fn a_replys_trailers_cross_versions_both_ways() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n";
    let origin = Origin::replying(move |_| chunked.into());
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let reply = client.ask(http2::get("http", "/"), b"").await.unwrap();
        assert_eq!(reply.trailers.expect("trailers")["x-sum"], "1");
    });
    let origin = http2::Origin::start(|_| Answer {
        data: Bytes::from_static(b"x"),
        trailers: Some(map(&[("x-sum", "1")])),
        ..Answer::default()
    });
    let reply = with_http2(&origin).ask(get("/", "te: trailers\r\nconnection: te\r\n"));
    assert_eq!(reply.body.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn trailers_behind_a_body_with_a_length_are_passed_on() {
    let origin = http2::Origin::start(|seen| Answer {
        headers: map(&[("content-type", "application/grpc"), ("content-length", "7")]),
        data: seen.data.clone().into(),
        trailers: Some(map(&[("grpc-status", "0")])),
        ..Answer::default()
    });
    let gateway = with_http2(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        // Whether the trailers are there with the last of the data is up to the kernel.
        for _ in 0..20 {
            let mut call = request("POST", "http", "/shop.Orders/Get");
            call.headers_mut().extend(map(&[("content-type", "application/grpc"), ("te", "trailers")]));
            let reply = client.ask(call, b"\0\0\0\0\x02hi").await.unwrap();
            assert_eq!((reply.status(), reply.data.len()), (200, 7));
            assert_eq!(reply.trailers.expect("trailers")["grpc-status"], "0");
        }
    });
}

#[test]
fn trailers_nobody_read_do_not_go_with_the_next_reply() {
    let with = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-sum: of-another\r\n\r\n";
    let without = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let origin = Origin::replying(move |seen| if seen.target() == "/part" { with.into() } else { without.into() });
    let gateway = Setup::new(
        "routes:
  - { name: whole, match: { path: /whole }, aggregate: { parts: { one: { upstream: a, path: /part } } } }
  - { name: a, upstream: a }",
    )
    .origin("a", &origin)
    .start();
    assert_eq!(gateway.ask(get("/whole", "")).status(), 200);
    let reply = gateway.ask(get("/", "te: trailers\r\nconnection: te\r\n"));
    assert_eq!((reply.status(), reply.text().as_str()), (200, "{}"));
    assert!(reply.body.trailers.is_empty(), "{:?}", reply.body.trailers);
    assert_eq!(origin.connections(), 1, "both came on one connection");
}

#[test]
fn a_204_with_a_length_is_none_in_http2() {
    // RFC 9110 §8.6: it must not have one, and HTTP/2 holds whoever says so to it.
    let origin = Origin::replying(|_| b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_vec());
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let reply = client.ask(http2::get("http", "/"), b"").await.unwrap();
        assert_eq!((reply.status(), reply.field("content-length")), (204, None));
    });
}

#[test]
fn a_client_that_waits_for_100_in_http2_is_invited() {
    let origin = Origin::replying(|seen| ok(&seen.body.data));
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut call = request("POST", "http", "/");
        call.headers_mut().extend(map(&[("expect", "100-continue")]));
        let mut requests = client.requests.clone().ready().await.unwrap();
        let (mut response, mut stream) = requests.send_request(call, false).unwrap();
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.expect("100 Continue").unwrap();
        assert_eq!(interim.status(), 100);
        stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let reply = http2::read(response.await.unwrap()).await.unwrap();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
        // RFC 9110 §10.1.1
        let mut call = request("POST", "http", "/");
        call.headers_mut().extend(map(&[("expect", "a-miracle")]));
        assert_eq!(client.ask(call, b"x").await.unwrap().status(), 417);
    });
}

#[test]
fn a_grpc_reply_of_trailers_only_stays_one() {
    let origin = http2::Origin::start(|_| Answer {
        headers: map(&[("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "gone")]),
        ..Answer::default()
    });
    let gateway = with_http2(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut call = request("POST", "http", "/shop.Orders/Get");
        call.headers_mut().extend(map(&[("content-type", "application/grpc"), ("te", "trailers")]));
        let reply = client.ask(call, b"\0\0\0\0\0").await.unwrap();
        assert_eq!((reply.field("grpc-status"), reply.data.len()), (Some("5"), 0));
        assert!(reply.trailers.is_none());
    });
}

#[test]
fn refusals_speak_grpc_to_grpc_callers() {
    let gateway = Setup::new("routes: [ { name: a, match: { path: /a }, upstream: a } ]")
        .endpoint("a", &format!("h2c://127.0.0.1:{}", torana_e2e::ports::free()))
        .start();
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        for (path, status) in [("/none", "12"), ("/a", "14")] {
            let mut call = request("POST", "http", path);
            call.headers_mut().extend(map(&[("content-type", "application/grpc")]));
            let reply = client.ask(call, b"\0\0\0\0\0").await.unwrap();
            assert_eq!((reply.status(), reply.field("grpc-status")), (200, Some(status)), "{path}");
        }
    });
}

#[test]
fn an_upstream_stream_reset_in_its_body_is_no_clean_end() {
    let origin = http2::Origin::start(|_| Answer {
        data: Bytes::from_static(b"half"),
        reset: Some(Reason::INTERNAL_ERROR),
        ..Answer::default()
    });
    let gateway = with_http2(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        // Reset, or refused with 502 if nothing was passed on yet.
        match client.ask(http2::get("http", "/"), b"").await {
            Err(error) => assert!(error.is_reset(), "{error}"),
            Ok(reply) => assert_eq!(reply.status(), 502),
        }
    });
    let mut client = gateway.connect();
    client.send(get("/", ""));
    let reply = client.reply_to("GET").expect("a reply, whole or not");
    assert!(reply.status() == 502 || !torana_e2e::client::is_complete(&reply));
}

#[test]
fn large_bodies_pass_in_http2() {
    let origin = http2::Origin::start(|seen| Answer { data: seen.data.clone().into(), ..Answer::default() });
    let gateway = with_http2(&origin);
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let reply = client.ask(request("POST", "http", "/"), &body).await.unwrap();
        assert!(reply.data == body, "the body has changed on its way");
    });
}

#[test]
fn streams_of_one_connection_do_not_wait_for_each_other() {
    let origin = Origin::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.target() == "/slow" {
                conn.until_closed();
            } else {
                conn.send(ok("fast"));
            }
        }
    });
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut slow = client.requests.clone().ready().await.unwrap();
        let (waiting, _stream) = slow.send_request(http2::get("http", "/slow"), true).unwrap();
        let reply = client.ask(http2::get("http", "/fast"), b"").await.unwrap();
        assert_eq!(reply.text(), "fast");
        drop(waiting);
    });
}

#[test]
fn a_stream_that_is_reset_cancels_its_upstream_and_no_other() {
    let origin = Origin::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.target() == "/slow" {
                conn.until_closed();
            } else {
                conn.send(ok("fine"));
            }
        }
    });
    let gateway = with_http1(&origin);
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        let mut slow = client.requests.clone().ready().await.unwrap();
        let (waiting, mut stream) = slow.send_request(http2::get("http", "/slow"), true).unwrap();
        while origin.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        stream.send_reset(Reason::CANCEL);
        drop(waiting);
        while origin.open() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.ask(http2::get("http", "/fine"), b"").await.unwrap().status(), 200);
    });
    let line = gateway.log_line("the reset stream", |line| line["path"] == "/slow");
    assert_eq!(line["code"], "client.gone");
}

/// Or it would hold on to the service for as long as that says nothing: forever, with events that are rare.
#[test]
fn a_stream_that_is_reset_in_its_reply_cancels_its_upstream() {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            conn.until_closed();
        }
    });
    let config = format!("limits: {{ http2_resets: 3 }}\nadmin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n{ROUTE}");
    let gateway = Setup::new(&config).origin("a", &origin).start();
    block_on(async {
        let client = Client::connect(gateway.port("main")).await;
        for _ in 0..4 {
            let mut requests = client.requests.clone().ready().await.unwrap();
            let (response, mut stream) = requests.send_request(http2::get("http", "/events"), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "first");
            stream.send_reset(Reason::CANCEL);
            drop(body);
            while origin.open() > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let line = gateway.log_line("the reset stream", |line| line["path"] == "/events");
    assert_eq!(line["code"], "client.gone");
    gateway.wait_metric("gateway_connections_limited_total{code=\"limit.http2_resets\"}", 1.0);
}

/// An HTTP/2 server that says GOAWAY while it still serves a request; the next connections are well.
fn leaving() -> (String, mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let (leaves, left) = mpsc::channel();
    std::thread::spawn(move || {
        block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let leaves = leaves.clone();
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    let mut held = Vec::new();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        if request.uri().path() == "/slow" {
                            held.push((request, respond));
                            connection.graceful_shutdown();
                            leaves.send(()).unwrap();
                        } else {
                            respond.send_response(http::Response::new(()), true).unwrap();
                        }
                    }
                });
            }
        });
    });
    (url, left)
}

#[test]
fn an_upstream_connection_that_goes_away_gets_no_more_requests() {
    let (url, left) = leaving();
    let gateway = Setup::new(ROUTE).endpoint("a", &url).start();
    let mut busy = gateway.connect();
    busy.send(get("/slow", ""));
    left.recv().unwrap();
    // The request under way keeps it open.
    for _ in 0..20 {
        assert_eq!(gateway.ask(post("/", "", "x")).status(), 200);
        assert_eq!(gateway.ask(get("/", "")).status(), 200);
    }
    assert!(busy.is_open());
}

/// RFC 9113 §6.8: what GOAWAY does not name has not been looked at, so even a POST may go elsewhere.
#[test]
fn a_request_that_goaway_left_out_goes_elsewhere() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let leaving = format!("h2c://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            // SETTINGS; and as soon as there is a request, which is no part of what the client begins with: GOAWAY, 0.
            tcp.write_all(b"\0\0\0\x04\0\0\0\0\0").unwrap();
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            while !all.windows(9).any(|frame| frame.starts_with(&[1]) && frame[2..6] == [0, 0, 0, 1]) {
                match tcp.read(&mut part) {
                    Ok(count) if count > 0 => all.extend(&part[..count]),
                    _ => break,
                }
            }
            let _ = tcp.write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0");
            let _ = tcp.read_to_end(&mut all);
        }
    });
    let well = http2::Origin::start(|_| Answer::default());
    let config = format!("upstreams: {{ a: {{ endpoints: [ \"{leaving}\", \"{}\" ] }} }}\n{ROUTE}", well.url());
    let gateway = Setup::new(&config).start();
    for _ in 0..4 {
        assert_eq!(gateway.ask(post("/", "", "")).status(), 200);
    }
}

/// A machine that has lost its power says nothing, not even that it is gone.
#[test]
fn an_upstream_connection_that_has_gone_silent_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut is_first = true;
            while let Ok((tcp, _)) = listener.accept().await {
                let falls_silent = std::mem::take(&mut is_first);
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        if falls_silent && request.uri().path() == "/slow" {
                            // Keeps the socket and looks at it no more.
                            std::future::pending::<()>().await;
                        }
                        respond.send_response(http::Response::new(()), true).unwrap();
                    }
                });
            }
        });
    });
    let config = format!(
        "upstreams: {{ a: {{ endpoints: [ \"{url}\" ], timeout: 300ms, retry: {{ attempts: 0 }} }} }}\n{ROUTE}"
    );
    let gateway = Setup::new(&config).start();
    assert_eq!(gateway.ask(get("/", "")).status(), 200);
    let reply = gateway.ask(get("/slow", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (504, "upstream.timeout"));
    for _ in 0..3 {
        assert_eq!(gateway.ask(post("/", "", "x")).status(), 200);
    }
}

#[test]
fn one_upstream_connection_carries_many_requests() {
    let origin = http2::Origin::start(|_| Answer { data: Bytes::from_static(b"x"), ..Answer::default() });
    let config = format!("admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n{ROUTE}");
    let gateway = Setup::new(&config).endpoint("a", &origin.url()).start();
    for _ in 0..5 {
        assert_eq!(gateway.ask(get("/", "")).status(), 200);
    }
    let series = format!("gateway_upstream_connections_opened_total{{upstream=\"a\",endpoint=\"{}\"}}", origin.url());
    wait_for("the pool to be sampled", || gateway.metric(&series).filter(|&opened| opened > 0.0));
    assert_eq!(gateway.metric(&series), Some(1.0));
}

/// Serves one connection; the first says that it goes away once it has a stream, and lets that go on.
async fn goes_away(tcp: tokio::net::TcpStream, is_first: bool) {
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    let mut held = Vec::new();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
        if is_first {
            held.push(stream);
            connection.graceful_shutdown();
        } else {
            stream.send_data(Bytes::from_static(b"another"), true).unwrap();
        }
    }
}

#[test]
fn a_connection_that_goes_away_gets_no_more_requests_while_its_streams_end() {
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Setup::new(ROUTE).endpoint("a", &format!("h2c://{}", listener.local_addr().unwrap())).start();
        tokio::task::spawn_local(async move {
            let mut is_first = true;
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::task::spawn_local(goes_away(tcp, is_first));
                is_first = false;
            }
        });
        let client = Client::connect(gateway.port("main")).await;
        let mut requests = client.requests.clone().ready().await.unwrap();
        let (held, _) = requests.send_request(http2::get("http", "/held"), true).unwrap();
        let held = held.await.unwrap();
        assert_eq!(held.status(), 200);
        for method in ["GET", "POST", "GET"] {
            let body: &[u8] = if method == "POST" { b"charge me" } else { b"" };
            let reply = client.ask(request(method, "http", "/next"), body).await.unwrap();
            assert_eq!((reply.status(), reply.text().as_str()), (200, "another"), "{method}");
        }
        drop(held);
    });
}

/// Serves one connection; the first answers one request and then nothing more, as when its host has lost power.
async fn falls_silent(tcp: tokio::net::TcpStream, is_first: bool) {
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"here"), true).unwrap();
        if is_first {
            // What was said goes out; what comes is not looked at.
            let _ =
                tokio::time::timeout(Duration::from_millis(200), std::future::poll_fn(|cx| connection.poll_closed(cx)))
                    .await;
            std::future::pending::<()>().await;
        }
    }
}

#[test]
fn a_connection_that_has_fallen_silent_gets_no_more_requests() {
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "upstreams: {{ a: {{ endpoints: [ 'h2c://{}' ], timeout: 1500ms }} }}\n{ROUTE}",
            listener.local_addr().unwrap()
        );
        let gateway = Setup::new(&config).start();
        tokio::task::spawn_local(async move {
            let mut is_first = true;
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::task::spawn_local(falls_silent(tcp, is_first));
                is_first = false;
            }
        });
        let client = Client::connect(gateway.port("main")).await;
        let ask = || client.ask(http2::get("http", "/"), b"");
        assert_eq!(ask().await.unwrap().text(), "here");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(ask().await.unwrap().status(), 504);
        assert_eq!(ask().await.unwrap().text(), "here");
    });
}

#[test]
fn an_unused_connection_is_closed_after_its_time() {
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "upstreams: {{ a: {{ endpoints: [ 'h2c://{}' ], idle_timeout: 500ms }} }}\n{ROUTE}",
            listener.local_addr().unwrap()
        );
        let gateway = Setup::new(&config).start();
        let client = Client::connect(gateway.port("main")).await;
        let serve = async {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            let mut requests = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let _ = respond.send_response(http::Response::new(()), true);
                requests += 1;
            }
            requests
        };
        let ask = async {
            for _ in 0..4 {
                // In use, if not all the time.
                assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let (requests, ()) = tokio::join!(serve, ask);
        assert_eq!(requests, 4, "the connection ended, and not before its time");
    });
}
