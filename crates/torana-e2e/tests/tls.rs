//! TLS on listeners and towards upstreams.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use torana_e2e::client::{get, post};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::Origin;
use torana_e2e::tls::{Authority, Signed, connect, shown_certificate};
use torana_e2e::wait_for;

fn listener(tls: &str) -> String {
    format!(
        "listeners: [ {{ address: \"127.0.0.1:{{port:main}}\", tls: {{ {tls} }} }} ]\n\
         routes: [ {{ name: ping, match: {{ path: /ping }}, respond: {{ body: pong }} }}, {{ name: a, match: {{ path: /a }}, upstream: a }} ]\n"
    )
}

const ONE: &str = "certificates: [ { cert: one.pem, key: one.key } ]";

fn start(authority: &Authority, tls: &str, origin: &Origin) -> Gateway {
    let dir = Dir::new();
    authority.write(&dir, "one", &["gateway.example", "one.example"]);
    authority.write(&dir, "two", &["two.example", "*.wild.example"]);
    dir.write("ca.pem", authority.pem());
    Setup::new(&listener(tls)).origin("a", origin).dir(dir).start()
}

#[test]
fn requests_over_tls_are_https() {
    let (authority, origin) = (Authority::new(), Origin::saying("a"));
    let gateway = start(&authority, ONE, &origin);
    let mut client = connect(&authority.client(None, &["http/1.1"]), gateway.port("main"), "gateway.example");
    for _ in 0..2 {
        assert_eq!(client.ask(get("/a", "")).text(), "a");
    }
    let seen = origin.take_seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].head.get("x-forwarded-proto"), Some("https"));
    let line = gateway.log_line("the request", |line| line["path"] == "/a");
    assert_eq!(line["tls"], "TLSv1.3");
}

#[test]
fn the_name_asked_for_picks_the_certificate() {
    let authority = Authority::new();
    let both = "certificates: [ { cert: one.pem, key: one.key }, { cert: two.pem, key: two.key } ]";
    let gateway = start(&authority, both, &Origin::saying("a"));
    let (config, port) = (authority.client(None, &[]), gateway.port("main"));
    let one = shown_certificate(&config, port, "one.example");
    let two = shown_certificate(&config, port, "two.example");
    assert_ne!(one, two);
    assert_eq!(shown_certificate(&config, port, "a.wild.example"), two);
    // CVE-2026-53622: wildcard and mixed-case names must not miss.
    assert_eq!(shown_certificate(&config, port, "A.WILD.Example"), two);
}

#[test]
fn alpn_decides_between_http_1_and_2() {
    let (authority, origin) = (Authority::new(), Origin::saying("a"));
    let gateway = start(&authority, ONE, &origin);
    let port = gateway.port("main");
    block_on(async {
        let client = Http2::connect_tls(authority.client(None, &["h2", "http/1.1"]), port, "gateway.example").await;
        let reply = client.ask(http2::get("https", "/a"), b"").await.unwrap();
        assert_eq!((reply.status(), reply.text().as_str()), (200, "a"));
    });
    assert_eq!(origin.only().head.get("x-forwarded-proto"), Some("https"));
    let mut client = connect(&authority.client(None, &["http/1.1"]), port, "gateway.example");
    assert_eq!(client.ask(get("/ping", "")).status(), 200);
    let mut client = connect(&authority.client(None, &[]), port, "gateway.example");
    assert_eq!(client.ask(get("/ping", "")).status(), 200);
}

#[test]
fn a_client_certificate_is_required_where_the_listener_says_so() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = start(&authority, &format!("{ONE}, client_auth: {{ ca: ca.pem }}"), &Origin::saying("a"));
    let port = gateway.port("main");
    let signed = authority.sign(&["client.example"]);
    let mut client = connect(&authority.client(Some(&signed), &[]), port, "gateway.example");
    assert_eq!(client.ask(get("/ping", "")).status(), 200);
    for identity in [None, Some(&stranger.sign(&["client.example"]))] {
        let mut client = connect(&authority.client(identity, &[]), port, "gateway.example");
        // With TLS 1.3 the client learns of it when it reads.
        let _ = client.try_send(get("/ping", ""));
        assert!(client.reply_to("GET").is_none(), "served without a certificate of ours");
    }
}

#[test]
fn an_optional_client_certificate_has_to_be_valid_if_it_is_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = format!("{ONE}, client_auth: {{ ca: ca.pem, mode: optional }}");
    let gateway = start(&authority, &tls, &Origin::saying("a"));
    let port = gateway.port("main");
    let mut client = connect(&authority.client(None, &[]), port, "gateway.example");
    assert_eq!(client.ask(get("/ping", "")).status(), 200);
    let wrong = stranger.sign(&["client.example"]);
    let mut client = connect(&authority.client(Some(&wrong), &[]), port, "gateway.example");
    let _ = client.try_send(get("/ping", ""));
    assert!(client.reply_to("GET").is_none());
}

#[test]
fn a_changed_certificate_is_taken_up_while_running() {
    let authority = Authority::new();
    let gateway = start(&authority, ONE, &Origin::saying("a"));
    let (config, port) = (authority.client(None, &[]), gateway.port("main"));
    let before = shown_certificate(&config, port, "one.example");
    let mut old = connect(&config, port, "one.example");
    assert_eq!(old.ask(get("/ping", "")).status(), 200);
    authority.write(gateway.dir(), "one", &["gateway.example", "one.example"]);
    wait_for("the new certificate to be shown", || {
        (shown_certificate(&config, port, "one.example") != before).then_some(())
    });
    // Who was there stays.
    assert_eq!(old.ask(get("/ping", "")).status(), 200);
}

#[test]
fn plain_text_on_a_tls_listener_is_not_answered_in_plain_text() {
    let authority = Authority::new();
    let gateway = start(&authority, ONE, &Origin::saying("a"));
    let mut client = gateway.connect();
    client.send(get("/ping", ""));
    let bytes = client.until_closed();
    assert!(!bytes.starts_with(b"HTTP/"), "{:?}", String::from_utf8_lossy(&bytes));
}

#[test]
fn an_endpoint_that_tls_cannot_be_agreed_on_with_is_passed_by() {
    let (authority, stranger) = (Arc::new(Authority::new()), Authority::new());
    let (good, bad) = (Origin::saying("good"), Origin::saying("bad"));
    let behind = [start(&authority, ONE, &good), start(&stranger, ONE, &bad)];
    let dir = Dir::new();
    dir.write("ca.pem", authority.pem());
    let urls = behind.each_ref().map(|gateway| format!("https://127.0.0.1:{}", gateway.port("main")));
    let config = format!(
        "upstreams: {{ a: {{ endpoints: [ '{}', '{}' ], health: {{ passive: false }}, \
         tls: {{ ca: ca.pem, server_name: gateway.example }} }} }}\nroutes: [ {{ name: a, upstream: a }} ]",
        urls[0], urls[1]
    );
    let front = Setup::new(&config).dir(dir).start();
    // Nothing was sent to it: that is no different from not being there.
    for request in [get("/a", ""), get("/a", ""), post("/a", "", "once"), post("/a", "", "once")] {
        let reply = front.ask(&request);
        assert_eq!((reply.status(), reply.text().as_str()), (200, "good"), "{request}");
    }
    assert_eq!(bad.seen().len(), 0);
}

/// One gateway in front of another: the second is an upstream with TLS.
#[test]
fn an_upstream_with_tls_is_verified() {
    let (authority, stranger) = (Arc::new(Authority::new()), Authority::new());
    let tls = format!("{ONE}, client_auth: {{ ca: ca.pem, mode: required }}");
    let behind = start(&authority, &tls, &Origin::saying("a"));
    let url = format!("https://127.0.0.1:{}", behind.port("main"));
    let dir = Dir::new();
    dir.write("ca.pem", authority.pem());
    dir.write("other.pem", stranger.pem());
    authority.write(&dir, "me", &["front.example"]);
    let identity = "cert: me.pem, key: me.key";
    let config = format!(
        "upstreams:
  good: {{ endpoints: [ \"{url}\" ], tls: {{ ca: ca.pem, server_name: gateway.example, {identity} }} }}
  one: {{ endpoints: [ \"{url}\" ], protocol: http1, tls: {{ ca: ca.pem, server_name: gateway.example, {identity} }} }}
  name: {{ endpoints: [ \"{url}\" ], tls: {{ ca: ca.pem, server_name: other.example, {identity} }} }}
  issuer: {{ endpoints: [ \"{url}\" ], tls: {{ ca: other.pem, server_name: gateway.example, {identity} }} }}
  nobody: {{ endpoints: [ \"{url}\" ], tls: {{ ca: ca.pem, server_name: gateway.example }} }}
routes:
  - {{ name: good, match: {{ path: /good/* }}, upstream: good, rewrite: {{ strip_prefix: /good }} }}
  - {{ name: one, match: {{ path: /one/* }}, upstream: one, rewrite: {{ strip_prefix: /one }} }}
  - {{ name: name, match: {{ path: /name/* }}, upstream: name, rewrite: {{ strip_prefix: /name }} }}
  - {{ name: issuer, match: {{ path: /issuer/* }}, upstream: issuer, rewrite: {{ strip_prefix: /issuer }} }}
  - {{ name: nobody, match: {{ path: /nobody/* }}, upstream: nobody, rewrite: {{ strip_prefix: /nobody }} }}
"
    );
    let front = Setup::new(&config).dir(dir).start();
    for path in ["/good/ping", "/good/ping", "/one/ping"] {
        let reply = front.ask(get(path, ""));
        assert_eq!((reply.status(), reply.text().as_str()), (200, "pong"), "{path}");
    }
    for path in ["/name/ping", "/issuer/ping"] {
        let reply = front.ask(get(path, ""));
        assert_eq!((reply.status(), reply.code().as_str()), (502, "upstream.tls_failed"), "{path}");
    }
    assert_eq!(front.ask(get("/nobody/ping", "")).status(), 502);
}

/// Takes one connection and serves it: one request in HTTP/2, or any number in HTTP/1.1.
async fn serve_tls(listener: &TcpListener, signed: &Signed, http2: bool) {
    let cert = CertificateDer::from_pem_slice(signed.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let (tcp, _) = listener.accept().await.unwrap();
    let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
    if http2 {
        let mut connection = h2::server::handshake(tls).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_response(http::Response::new(()), true).unwrap();
        connection.graceful_shutdown();
        while let Some(Ok(_)) = connection.accept().await {}
        return;
    }
    let mut head = Vec::new();
    while let Ok(byte) = tls.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    }
}

#[test]
fn an_endpoint_that_speaks_http2_no_more_has_its_connections_used_again() {
    block_on(async {
        let authority = Authority::new();
        let signed = authority.sign(&["gateway.example"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = Dir::new();
        dir.write("ca.pem", authority.pem());
        let config = format!(
            "upstreams: {{ a: {{ endpoints: [ 'https://{}' ], tls: {{ ca: ca.pem, server_name: gateway.example }} }} }}\n\
             routes: [ {{ name: a, upstream: a }} ]",
            listener.local_addr().unwrap()
        );
        let front = Setup::new(&config).dir(dir).start();
        let connections = Rc::new(Cell::new(0));
        let accepted = connections.clone();
        tokio::task::spawn_local(async move {
            let (listener, signed) = (Rc::new(listener), Rc::new(signed));
            serve_tls(&listener, &signed, true).await;
            loop {
                accepted.set(accepted.get() + 1);
                serve_tls(&listener, &signed, false).await;
            }
        });
        let client = Http2::connect(front.port("main")).await;
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(client.ask(http2::get("http", "/"), b"").await.unwrap().status());
        }
        assert_eq!((statuses, connections.get()), (vec![200, 204, 204, 204, 204], 1));
    });
}
