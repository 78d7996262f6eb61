//! Redirects on the wire: whatever a client sends, it is not led elsewhere than
//! the configuration says.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::{Gateway, PATIENCE, Scratch};

const CONFIG: &str = "
listeners: [ { address: 127.0.0.1:0 } ]
admin: false
access_log: false
trusted_proxies: [ 127.0.0.2 ]
routes:
  - { name: secure, redirect: { scheme: https } }
  - { name: moved, match: { path: /v1/* }, redirect: { to: '/v2/{rest}', scheme: https, port: 8443 } }
  - { name: named, match: { path: /named/* }, redirect: { host: new.example } }
  - { name: here, match: { path: /here }, redirect: { to: /here } }
";

/// Status and `Location` of the reply to these bytes.
fn ask(gateway: SocketAddr, request: &str) -> (String, Option<String>) {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let head = reply.split("\r\n\r\n").next().unwrap();
    let locations: Vec<&str> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
        .map(|(_, value)| value)
        .collect();
    assert!(locations.len() < 2, "a second place:\n{head}");
    (reply.get(9..12).unwrap_or_default().to_owned(), locations.first().map(|&location| location.to_owned()))
}

fn get(gateway: SocketAddr, target: &str, more: &str) -> (String, Option<String>) {
    ask(gateway, &format!("GET {target} HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: close\r\n{more}\r\n"))
}

#[test]
fn no_request_chooses_where_it_is_sent() {
    let scratch = Scratch::new();
    let mut process = Gateway::run(&scratch.write("torana.yaml", CONFIG));
    let gateway = process.address("listening on");

    let (status, location) = get(gateway, "/a?b=c", "");
    assert_eq!((status.as_str(), location.as_deref()), ("308", Some("https://shop.example/a?b=c")));
    let (_, location) = get(gateway, "/v1/x?y", "");
    assert_eq!(location.as_deref(), Some("https://shop.example:8443/v2/x?y"));
    let (_, location) = get(gateway, "/named/x", "");
    assert_eq!(location.as_deref(), Some("http://new.example:8080/named/x"));
    assert_eq!(get(gateway, "/here", ""), ("500".to_owned(), None), "a redirect to itself");

    for target in [
        "//evil.example",
        "///evil.example/",
        "/\\evil.example",
        "/%5cevil.example",
        "/%2fevil.example",
        "/.//evil.example",
        "/@evil.example",
        "/%09/evil.example",
        "/%0d%0aLocation:%20https://evil.example",
        "/v1//evil.example",
        "/v1/%5c%5cevil.example",
        "/v1/%0d%0aLocation:%20https://evil.example",
        "/?%0d%0aLocation:%20https://evil.example",
        "http://evil.example/",
        "https://shop.example:8080/",
        "/a\r\nLocation: https://evil.example",
    ] {
        let (status, location) = get(gateway, target, "");
        match location {
            Some(location) => {
                let path = location
                    .strip_prefix("https://shop.example/")
                    .or(location.strip_prefix("https://shop.example:8443/"));
                let path = path.unwrap_or_else(|| panic!("{target:?} leads to {location}"));
                assert!(!path.starts_with(['/', '\\']), "{target:?} leads to {location}");
            }
            None => assert!(status.starts_with('4'), "{target:?}: {status}"),
        }
    }

    // Of who asked: the host that was matched, and nothing that is said beside it.
    let forged = "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example;proto=https\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Port: 666\r\nX-Original-Host: evil.example\r\n";
    assert_eq!(get(gateway, "/a", forged).1.as_deref(), Some("https://shop.example/a"));
    for host in
        ["evil.example/@shop.example", "u@evil.example", "evil.example\\", "a, evil.example", "evil.example#", ""]
    {
        let (status, location) = ask(gateway, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!((status.as_str(), location), ("400", None), "{host}");
    }
    assert_eq!(ask(gateway, "GET /a HTTP/1.0\r\n\r\n"), ("400".to_owned(), None), "no host to stay on");
    assert_eq!(ask(gateway, "GET /named/a HTTP/1.0\r\n\r\n").1.as_deref(), Some("http://new.example/named/a"));
}

#[test]
fn a_client_whose_tls_a_trusted_proxy_ended_is_where_it_should_be() {
    let scratch = Scratch::new();
    let config = CONFIG.replace("127.0.0.2", "127.0.0.1");
    let mut process = Gateway::run(&scratch.write("torana.yaml", &config));
    let gateway = process.address("listening on");
    let from = |proto: &str, target: &str| {
        let forwarded = format!("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: {proto}\r\n");
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{forwarded}\r\n");
        ask(gateway, &request)
    };
    assert_eq!(from("http", "/a").1.as_deref(), Some("https://shop.example/a"));
    assert_eq!(from("https", "/a"), ("500".to_owned(), None));
    assert_eq!(from("https", "/named/a").1.as_deref(), Some("https://new.example/named/a"));
}
