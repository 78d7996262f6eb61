//! Identity and forwarding headers a client may not set.

use super::{plain, seen_with};
use torana_e2e::client::get;
use torana_e2e::gateway::Setup;
use torana_e2e::origin::Origin;

/// Traefik, and CVE-2026-29054, its fix undone by lower case: `Connection`
/// nominated the gateway's own headers for removal.
#[test]
fn cve_2024_45410_nominated_gateway_headers() {
    for nominated in [
        "Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Request-Id, traceparent, Host, close",
        "connection: x-forwarded-for,x-forwarded-host,x-forwarded-proto,x-request-id,traceparent,host,close",
        "Connection: X-FORWARDED-FOR\r\nCONNECTION: x-forwarded-host , x-forwarded-proto\r\nconnection: X-request-ID, host, close",
    ] {
        let seen = seen_with(&format!("{nominated}\r\n"));
        assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"), "{nominated}");
        assert_eq!(seen.head.get("x-forwarded-host"), Some("gateway.example"), "{nominated}");
        assert_eq!(seen.head.get("x-forwarded-proto"), Some("http"), "{nominated}");
        assert_eq!(seen.head.get("host"), Some("gateway.example"), "{nominated}");
        assert!(seen.head.get("x-request-id").is_some(), "{nominated}");
        assert!(seen.head.get("traceparent").is_some(), "{nominated}");
    }
}

/// The same for framing: nominating it must not unframe the body.
#[test]
fn cve_2024_45410_nominated_framing() {
    let (origin, gateway) = plain();
    for framing in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let request =
            format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: content-length, transfer-encoding\r\n{framing}");
        assert_eq!(gateway.ask(request).text(), "hello");
        assert_eq!(origin.only().body.data, b"hello");
    }
}

/// Traefik, also CVE-2026-39858 and CVE-2026-54763, oauth2-proxy's
/// CVE-2025-64484 and Caddy's CVE-2026-52845: spellings with `_` that CGI
/// cannot tell from the gateway's own.
#[test]
fn cve_2026_33433_underscore_spellings() {
    let (origin, gateway) = plain();
    for name in [
        "X_Forwarded_For",
        "x_forwarded-for",
        "X-Forwarded_Host",
        "X_FORWARDED_PROTO",
        "X_Forwarded_Port",
        "X_Forwarded_Prefix",
        "x_real_ip",
        "X_Request_Id",
        "x-request_id",
    ] {
        let reply = gateway.ask(get("/", &format!("{name}: 6.6.6.6\r\n")));
        assert_eq!((reply.status(), reply.code().as_str()), (400, "header.owned_spelling"), "{name}");
    }
    assert!(origin.seen().is_empty());
}

/// Traefik, also CVE-2026-54764 and CVE-2024-52003: some forwarding headers
/// were rebuilt and some were not.
#[test]
fn cve_2026_35051_every_forwarding_header() {
    let names = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "X-Real-IP",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-By",
        "X-Forwarded-User",
        "X-Forwarded-Client-Cert",
    ];
    let fields: String =
        names.iter().map(|name| format!("{name}: evil\r\n{}: evil\r\n", name.to_lowercase())).collect();
    let seen = seen_with(&fields);
    let evil: Vec<&(String, String)> = seen.head.fields.iter().filter(|(_, value)| value.contains("evil")).collect();
    assert!(evil.is_empty(), "the origin saw {evil:?}");
}

/// Envoy: `x-envoy-*` was believed when it came from an "internal" range. Here
/// no address is trusted unless it is named, loopback included.
#[test]
fn cve_2024_45806_no_range_is_trusted_by_itself() {
    let (origin, gateway) = plain();
    let reply = gateway.ask(get("/x", "x-forwarded-for: 10.0.0.1\r\nx-request-id: mine\r\n"));
    assert_ne!(reply.head.get("x-request-id"), Some("mine"));
    assert_eq!(origin.only().head.get("x-forwarded-for"), Some("127.0.0.1"));
    let line = gateway.log_line("/x", |line| line["path"] == "/x");
    assert_eq!(line["client_ip"], "127.0.0.1");
}

/// Envoy: `x-envoy-original-path` from a client was used for access decisions.
#[test]
fn cve_2023_27487_original_path() {
    let config = "routes:
  - { name: admin, match: { path: /admin }, respond: { status: 403 } }
  - { name: open, match: { path: /open }, respond: { body: open } }";
    let gateway = Setup::new(config).start();
    for name in
        ["x-envoy-original-path", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-http-method-override"]
    {
        assert_eq!(gateway.ask(get("/admin", &format!("{name}: /open\r\n"))).status(), 403, "{name}");
        assert_eq!(gateway.ask(get("/open", &format!("{name}: /admin\r\n"))).status(), 200, "{name}");
    }
}

/// Caddy, also APISIX's CVE-2026-31908, -39998, -44087 and -49231: the client's
/// value of an owned header stays where the gateway has none of its own. Here
/// with repeated ones, and in trailers.
#[test]
fn cve_2026_30851_repeated_and_trailing_owned_headers() {
    let seen =
        seen_with("X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Request-Id: a\r\nx-request-id: b\r\n");
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    let ids = seen.head.all("x-request-id");
    assert!(ids.len() == 1 && ids[0] != "a" && ids[0] != "b", "{ids:?}");
    let (origin, gateway) = plain();
    let request = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: evil\r\nX_Real_Ip: 6.6.6.6\r\n\r\n";
    let reply = gateway.ask(request);
    assert!(matches!(reply.status(), 200 | 400));
    for seen in origin.take_seen() {
        assert!(seen.body.trailers.is_empty(), "the origin saw {:?}", seen.body.trailers);
    }
}

/// CVE-2016-5385, "httpoxy".
#[test]
fn cve_2016_5385_proxy_header() {
    let seen = seen_with("Proxy: http://evil.example\r\nproxy: http://evil.example\r\n");
    assert!(seen.head.all("proxy").is_empty());
}

/// Envoy, also Envoy Gateway's CVE-2025-25294: header values could write lines
/// of their own into a JSON log put together as text.
#[test]
fn cve_2024_45808_log_injection() {
    let gateway = Setup::new("routes: [ { name: a, match: { path: /a }, respond: { body: a } } ]").start();
    let nasty = "\",\"status\":200,\"x\":\"\u{1b}[31m";
    let target = "/a%22,%22status%22:999,%22x%22:%22?q=%22%0a{\"status\":999}";
    for request in [
        format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"),
        get("/a", "user-agent: \",\"status\":999,\"\r\nreferer: \\\",\\n\r\nx-request-id: \"}\r\n"),
        "GET /a HTTP/1.1\r\nhost: x\",\"status\":999,\"\r\n\r\n".to_owned(),
        format!("{nasty} / HTTP/1.1\r\nhost: x\r\n\r\n"),
        "GET /\u{ff}\u{fe}\" HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
    ] {
        let _ = gateway.ask(request);
    }
    assert_eq!(gateway.ask(get("/a?last", "")).status(), 200);
    gateway.log_line("the last request", |line| line["query"] == "last");
    // Each line parses (`log_lines` checks), and none claims what was injected.
    let lines = gateway.log_lines();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["status"] != 999 && line.get("x").is_none()));
    assert!(!gateway.log_text().contains('\u{1b}'), "a terminal would obey the log");
}

/// Traefik: `Authorization` in a log. Also Traefik's CVE-2026-41181: it must
/// not reach whoever makes error pages; here nobody does.
#[test]
fn cve_2022_23469_secrets_are_not_logged() {
    let (origin, gateway) = plain();
    let fields = "authorization: Bearer swordfish\r\ncookie: session=swordfish\r\nx-api-key: swordfish\r\n";
    assert_eq!(gateway.ask(get("/a?access_token=swordfish&api_key=swordfish&ok=1", fields)).status(), 200);
    assert_eq!(gateway.ask(get("/bad/%00?token=swordfish", fields)).status(), 400);
    gateway.log_line("the first", |line| line["status"] == 200);
    gateway.log_line("the second", |line| line["status"] == 400);
    assert!(!gateway.log_text().contains("swordfish"), "{}", gateway.log_text());
    assert!(!gateway.said().contains("swordfish"));
    // They reach the upstream untouched.
    assert_eq!(origin.only().head.get("authorization"), Some("Bearer swordfish"));
}

/// Caddy: what a client sent was expanded as a template, twice.
#[test]
fn cve_2026_30852_data_is_no_template() {
    let origin = Origin::saying("ok");
    let config = "routes:
  - { name: go, match: { path: /go/* }, redirect: { to: 'https://x.example/{rest}' } }
  - { name: file, match: { path: '/file/{name}' }, upstream: a, rewrite: { path: '/f/{name}' } }";
    let gateway = Setup::new(config).origin("a", &origin).env("E2E_SECRET", "swordfish").start();
    for text in ["$%7Benv:E2E_SECRET%7D", "%7Brest%7D", "%7Bname%7D", "$%7Bfile:%2Fetc%2Fpasswd%7D"] {
        let reply = gateway.ask(get(&format!("/go/{text}"), ""));
        let location = reply.head.get("location").unwrap_or_default().to_owned();
        assert!(!location.contains("swordfish") && !location.contains("root:"), "{location}");
        let _ = gateway.ask(get(&format!("/file/{text}"), ""));
    }
    for seen in origin.take_seen() {
        assert!(!seen.target().contains("swordfish") && !seen.target().contains("root:"), "{}", seen.target());
        assert!(seen.target().starts_with("/f/"), "{}", seen.target());
    }
}
