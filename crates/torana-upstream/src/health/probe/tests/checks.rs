//! One probe: what passes, what fails, and that nothing takes for ever.

use super::super::check::{Probed, check};
use super::servers::{Authority, Manner, Server, says, serving};
use super::{active, run, target, upstream};
use crate::health::spec::{ActiveSpec, Check, GrpcCheck, HttpCheck, StatusRanges};
use crate::spec::{Protocol, UpstreamSpec};
use std::time::Duration;
use tokio::net::TcpListener;
use torana_core::head::Method;

async fn probe(upstream: &UpstreamSpec, asked: Check) -> Probed {
    check(&target(upstream, &active(asked))).await
}

async fn probe_server(server: &Server, asked: Check) -> Probed {
    probe(&upstream("u", &[server.address], None), asked).await
}

async fn passes(manner: Manner, asked: Check) -> bool {
    let server = Server::start(manner).await;
    probe_server(&server, asked).await.passed == Some(true)
}

/// What is said about a server that fails.
async fn complaint(manner: Manner, asked: Check) -> String {
    let server = Server::start(manner).await;
    let probed = probe_server(&server, asked).await;
    assert_eq!(probed.passed, Some(false), "{probed:?}");
    server.left_alone().await;
    probed.words.into()
}

fn get() -> Check {
    Check::Http(HttpCheck::get("/health"))
}

fn grpc(service: &str) -> Check {
    Check::Grpc(GrpcCheck { service: service.into(), host: None })
}

/// An address where nobody listens.
async fn nowhere() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn an_expected_status_passes() {
    run(async {
        let server = Server::start(says(204, "")).await;
        let probed = probe_server(&server, get()).await;
        assert_eq!(probed.passed, Some(true));
        assert!(probed.words.starts_with("204 in ") && probed.words.ends_with(" ms"), "{}", probed.words);
        server.left_alone().await;
    });
}

#[test]
fn a_probe_is_a_plain_request_that_says_who_asks() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let asked =
            HttpCheck { method: Method::Head, host: Some("users.example".into()), ..HttpCheck::get("/h?deep=1") };
        assert_eq!(probe_server(&server, Check::Http(asked)).await.passed, Some(true));
        probe_server(&server, get()).await;
        let authority = format!("localhost:{}", server.address.port());
        assert_eq!(
            server.seen(),
            [
                "HEAD /h?deep=1 HTTP/1.1\r\nuser-agent: torana-health\r\nhost: users.example\r\n\r\n".to_owned(),
                format!("GET /health HTTP/1.1\r\nuser-agent: torana-health\r\nhost: {authority}\r\n\r\n"),
            ]
        );
    });
}

#[test]
fn other_statuses_fail_and_redirects_are_not_followed() {
    run(async {
        assert_eq!(complaint(says(503, "no"), get()).await, "503, expected 200-399");
        assert!(passes(says(302, ""), get()).await);
        let strict = HttpCheck { expected: StatusRanges::new([(200, 200)]), ..HttpCheck::get("/") };
        assert_eq!(complaint(says(302, ""), Check::Http(strict)).await, "302, expected 200");
    });
}

#[test]
fn the_body_has_to_contain_the_text() {
    run(async {
        let asked = |text: &str| Check::Http(HttpCheck { body_contains: Some(text.into()), ..HttpCheck::get("/") });
        assert!(passes(says(200, "status: UP, db: UP"), asked("db: UP")).await);
        assert!(passes(says(200, "anything"), asked("")).await);
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n db:\r\n3\r\n UP\r\n0\r\n\r\n";
        assert!(passes(Manner::Says(chunked.to_vec()), asked("db: UP")).await);
        let missing = complaint(says(200, "status: DOWN"), asked("db: UP")).await;
        assert_eq!(missing, "200, but the body does not contain the text");
        // Looked for in the first 64 KiB, which end between these two.
        let far = |padding: usize| says(200, &format!("{}db: UP", ".".repeat(padding)));
        assert!(passes(far(64 * 1024 - 6), asked("db: UP")).await);
        assert!(!passes(far(64 * 1024 - 5), asked("db: UP")).await);
    });
}

#[test]
fn bodies_that_do_not_end_are_left() {
    run(async {
        assert!(passes(Manner::Endless, get()).await);
        let asked = HttpCheck { body_contains: Some("never".into()), ..HttpCheck::get("/") };
        complaint(Manner::Endless, Check::Http(asked)).await;
    });
}

#[test]
fn patience_ends_with_the_timeout() {
    run(async {
        for (manner, asked) in [
            (Manner::Silent, get()),
            (Manner::Dribbles, get()),
            (Manner::Silent, grpc("")),
            // More than sockets hold: what is left of the connection has to
            // go, though it cannot say goodbye.
            (Manner::Deaf, grpc(&"s".repeat(16 << 20))),
        ] {
            let server = Server::start(manner).await;
            let spec = ActiveSpec { timeout: Duration::from_millis(300), ..active(asked) };
            let probed = check(&target(&upstream("u", &[server.address], None), &spec)).await;
            assert_eq!((probed.passed, &*probed.words), (Some(false), "no answer within 300ms"));
            server.left_alone().await;
        }
    });
}

#[test]
fn connections_that_fail_are_told_by_their_code() {
    run(async {
        let nobody = upstream("u", &[nowhere().await], None);
        for asked in [get(), Check::Tcp, grpc("")] {
            let probed = probe(&nobody, asked).await;
            assert_eq!(probed.passed, Some(false));
            assert!(probed.words.starts_with("upstream.connect_failed: "), "{}", probed.words);
        }
        assert!(complaint(Manner::Closes, get()).await.starts_with("upstream.closed"));
        assert!(complaint(Manner::Says(b"SSH-2.0-x\r\n\r\n".to_vec()), get()).await.starts_with("upstream.malformed"));
    });
}

#[test]
fn a_probe_that_cannot_be_made_says_nothing_about_the_endpoint() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let asked = HttpCheck { host: Some("a\r\nb".into()), ..HttpCheck::get("/") };
        let probed = probe_server(&server, Check::Http(asked)).await;
        assert_eq!(probed.passed, None, "{probed:?}");
    });
}

#[test]
fn a_connection_is_enough_for_tcp() {
    run(async {
        let server = Server::start(Manner::Silent).await;
        let probed = probe_server(&server, Check::Tcp).await;
        assert!(probed.passed == Some(true) && probed.words.starts_with("connected in "), "{probed:?}");
        server.left_alone().await;
    });
}

#[test]
fn another_port_can_be_asked() {
    run(async {
        let server = Server::start(says(200, "")).await;
        let elsewhere = upstream("u", &[nowhere().await], None);
        let mut active = active(get());
        active.port = Some(server.address.port());
        assert_eq!(check(&target(&elsewhere, &active)).await.passed, Some(true));
    });
}

#[test]
fn grpc_services_are_asked_by_name() {
    run(async {
        let server = Server::start(serving(1)).await;
        let probed = probe_server(&server, grpc("users.v1")).await;
        assert!(probed.passed == Some(true) && probed.words.starts_with("SERVING in "), "{probed:?}");
        server.left_alone().await;
        let seen = server.seen().concat();
        let authority = format!("http://localhost:{}/grpc.health.v1.Health/Check", server.address.port());
        assert!(seen.starts_with(&format!("POST {authority} ")), "{seen}");
        for part in ["\"content-type\": \"application/grpc\"", "\"te\": \"trailers\"", "\"grpc-timeout\": \"5000m\""] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        assert!(seen.ends_with(&format!("{:?}", super::super::grpc::request("users.v1"))), "{seen}");
    });
}

#[test]
fn grpc_answers_other_than_serving_fail() {
    let http2 = |status, body: Option<&[u8]>, grpc_status| Manner::Http2 {
        status,
        body: body.map(<[u8]>::to_vec),
        grpc_status,
    };
    run(async {
        for (manner, words) in [
            (serving(2), "NOT_SERVING"),
            (serving(0), "UNKNOWN"),
            (serving(3), "SERVICE_UNKNOWN"),
            (http2(200, None, Some("5")), "the service `s` is not known there"),
            (http2(200, None, Some("12")), "the server does not have the health protocol"),
            (http2(200, Some(b""), Some("14")), "gRPC status 14"),
            (http2(200, Some(b"hello"), Some("0")), "an answer that is not of the health protocol"),
            (http2(200, Some(&[0; 5000]), Some("0")), "a reply without gRPC status"),
            (http2(200, Some(&[0, 0, 0, 0, 2, 8, 1]), None), "a reply without gRPC status"),
            (http2(200, None, Some("zero")), "a reply without gRPC status"),
            (http2(404, None, None), "HTTP 404"),
        ] {
            assert_eq!(complaint(manner, grpc("s")).await, words);
        }
        let words = complaint(says(200, ""), grpc("s")).await;
        assert!(words.starts_with("upstream."), "{words}");
    });
}

#[test]
fn http_is_spoken_as_requests_speak_it() {
    run(async {
        let server = Server::start(Manner::Http2 { status: 200, body: None, grpc_status: None }).await;
        let mut upstream = upstream("u", &[server.address], None);
        upstream.protocol = Protocol::Http2;
        assert_eq!(probe(&upstream, get()).await.passed, Some(true));
        upstream.protocol = Protocol::Auto;
        upstream.endpoints[0].prior_knowledge = true;
        assert_eq!(probe(&upstream, get()).await.passed, Some(true));
        assert_eq!(server.seen().len(), 2);
        server.left_alone().await;
    });
}

#[test]
fn tls_endpoints_are_asked_in_tls() {
    run(async {
        let authority = Authority::new();
        let server = Server::start_with(says(200, ""), Some(authority.server(false))).await;
        let trusting = upstream("u", &[server.address], Some(authority.client()));
        for asked in [get(), Check::Tcp] {
            let probed = probe(&trusting, asked).await;
            assert_eq!(probed.passed, Some(true), "{probed:?}");
        }
        assert_eq!(server.seen().len(), 1);
        let wary = upstream("u", &[server.address], Some(Authority::new().client()));
        for asked in [get(), Check::Tcp] {
            let probed = probe(&wary, asked).await;
            assert!(probed.passed == Some(false) && probed.words.starts_with("upstream.tls_failed: "), "{probed:?}");
        }
        // An endpoint in the clear stays there, whatever the upstream has for others.
        let plain = Server::start(says(200, "")).await;
        let mut mixed = upstream("u", &[plain.address], Some(authority.client()));
        mixed.endpoints[0].secure = false;
        assert_eq!(probe(&mixed, get()).await.passed, Some(true));
        // A server without HTTP/2 cannot be asked by gRPC.
        assert!(probe(&trusting, grpc("")).await.words.starts_with("upstream.tls_failed: "));
        server.left_alone().await;
    });
}

#[test]
fn tls_endpoints_negotiate_http2() {
    run(async {
        let authority = Authority::new();
        let server = Server::start_with(serving(1), Some(authority.server(true))).await;
        let upstream = upstream("u", &[server.address], Some(authority.client()));
        for asked in [get(), grpc("")] {
            let probed = probe(&upstream, asked).await;
            assert_eq!(probed.passed, Some(true), "{probed:?}");
        }
        assert!(server.seen().iter().all(|seen| seen.contains("https://localhost")));
        server.left_alone().await;
    });
}

#[test]
fn accounts_of_probes_are_short() {
    run(async {
        let probed = probe(&upstream("u", &[nowhere().await], None), get()).await;
        assert!(probed.words.len() < 200);
        let server = Server::start(Manner::Http2 { status: 200, body: None, grpc_status: Some("5") }).await;
        let words = probe_server(&server, grpc(&"ü".repeat(300))).await.words;
        assert!(words.len() <= 200 + '…'.len_utf8() && words.ends_with("ü…"), "{words}");
    });
}
