//! Identity and forwarding headers a client may not set.

use super::{plain, seen_by, seen_with};
use crate::frames::{self, Answer};
use torana_e2e::both::Wire;
use torana_e2e::client::get;
use torana_e2e::gateway::Setup;
use torana_e2e::origin::{Origin, reply};
use torana_e2e::wait_for;

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

/// HTTP/2 has no such field; one is refused, whatever it nominates, and nothing is forwarded without what it names.
#[test]
fn cve_2024_45410_http2_nominates_nothing() {
    let (origin, gateway) = plain();
    for nominated in ["x-forwarded-for", "X-Forwarded-Host, x-request-id", "host, close", "x_real_ip"] {
        for name in ["connection", "proxy-connection", "keep-alive"] {
            let mut client = frames::start(gateway.connect());
            let fields = [frames::FINE.as_slice(), &[(name, nominated), ("x-forwarded-for", "6.6.6.6")]].concat();
            client.send(frames::headers(1, &fields, true));
            assert_ne!(frames::answer(&mut client), Answer::Ok, "{name}: {nominated}");
        }
    }
    assert!(origin.seen().is_empty());
    let seen = seen_by(Wire::Http2, "x-forwarded-for: 6.6.6.6\r\nte: trailers\r\n");
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
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
        for wire in Wire::BOTH {
            let told = wire.get(&gateway, "/", &format!("{name}: 6.6.6.6\r\n"));
            assert_eq!(told.verdict(), (400, "header.owned_spelling".into()), "{name} over {wire:?}");
        }
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
    for wire in Wire::BOTH {
        let seen = seen_by(wire, &fields);
        let evil: Vec<&(String, String)> =
            seen.head.fields.iter().filter(|(_, value)| value.contains("evil")).collect();
        assert!(evil.is_empty(), "over {wire:?} the origin saw {evil:?}");
    }
}

/// Envoy: `x-envoy-*` was believed when it came from an "internal" range. Here
/// no address is trusted unless it is named, loopback included.
#[test]
fn cve_2024_45806_no_range_is_trusted_by_itself() {
    let (origin, gateway) = plain();
    let fields = "x-forwarded-for: 10.0.0.1\r\nx-request-id: mine\r\nx-envoy-internal: true\r\nx-envoy-external-address: 10.0.0.1\r\n";
    for (wire, path) in Wire::BOTH.into_iter().zip(["/1", "/2"]) {
        let told = wire.get(&gateway, path, fields);
        assert_ne!(told.get("x-request-id"), Some("mine"));
        assert_eq!(origin.only().head.get("x-forwarded-for"), Some("127.0.0.1"));
        let line = gateway.log_line(path, |line| line["path"] == path);
        assert_eq!(line["client_ip"], "127.0.0.1");
    }
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
        for wire in Wire::BOTH {
            assert_eq!(wire.get(&gateway, "/admin", &format!("{name}: /open\r\n")).status, 403, "{name}");
            assert_eq!(wire.get(&gateway, "/open", &format!("{name}: /admin\r\n")).status, 200, "{name}");
        }
    }
}

/// Caddy, also APISIX's CVE-2026-31908, -39998, -44087 and -49231: the client's
/// value of an owned header stays where the gateway has none of its own. Here
/// with repeated ones, and in trailers.
#[test]
fn cve_2026_30851_repeated_and_trailing_owned_headers() {
    for wire in Wire::BOTH {
        let seen = seen_by(
            wire,
            "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Request-Id: a\r\nx-request-id: b\r\n",
        );
        assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
        let ids = seen.head.all("x-request-id");
        assert!(ids.len() == 1 && ids[0] != "a" && ids[0] != "b", "{ids:?}");
        let (origin, gateway) = plain();
        let trailers = [("X-Forwarded-For", "6.6.6.6"), ("X-Request-Id", "evil"), ("X_Real_Ip", "6.6.6.6")];
        // Refused or left out, with a reply or without.
        let told = wire.attempt(gateway.port("main"), "POST", "/", "", "a", &trailers);
        assert!(told.is_none_or(|told| matches!(told.status, 200 | 400)));
        for seen in origin.take_seen() {
            assert!(seen.body.trailers.is_empty(), "the origin saw {:?}", seen.body.trailers);
        }
    }
}

/// Caddy: of the headers that are copied from the answer of a service, the client's own stayed where the answer had
/// none. Also Caddy's CVE-2026-52845, the same with `_`, and APISIX's CVE-2026-31908.
#[test]
fn cve_2026_30851_copied_headers_that_the_answer_lacks() {
    let auth = Origin::replying(|seen| match seen.head.get("authorization") {
        Some("named") => reply(200, &[("remote-user", "ada"), ("remote-groups", "")], ""),
        _ => reply(200, &[], ""),
    });
    let config = "routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ forward_auth: { ask: { upstream: auth, path: / }, copy_headers: [ Remote-User, Remote-Groups, Remote-Email ] } ] }
  - { name: open, match: { path: /open/* }, upstream: a }
";
    let origin = Origin::saying("ok");
    let gateway = Setup::new(config).origin("a", &origin).origin("auth", &auth).start();
    let forged = "Remote-User: root\r\nremote-user: evil\r\nREMOTE-GROUPS: admin\r\nremote-email: evil@x\r\n";
    for wire in Wire::BOTH {
        for (path, fields, user) in [
            ("/api/x", String::new(), None),
            ("/api/x", "authorization: named\r\n".to_owned(), Some("ada")),
            ("/open/x", "authorization: named\r\n".to_owned(), None),
        ] {
            assert_eq!(wire.get(&gateway, path, &format!("{fields}{forged}")).status, 200);
            let seen = origin.only();
            assert_eq!(seen.head.get("remote-user"), user, "{path} over {wire:?}");
            for name in ["remote-groups", "remote-email"] {
                assert!(seen.head.all(name).iter().all(|value| value.is_empty()), "{name} over {wire:?}");
            }
        }
        for name in ["Remote_User", "remote_groups", "REMOTE_Email"] {
            for path in ["/api/x", "/open/x"] {
                let told = wire.get(&gateway, path, &format!("{name}: root\r\n"));
                assert_eq!(told.verdict(), (400, "header.owned_spelling".into()), "{name} {path} over {wire:?}");
            }
        }
        let told = wire.attempt(gateway.port("main"), "POST", "/api/x", "", "a", &[("Remote-User", "root")]);
        assert!(told.is_none_or(|told| matches!(told.status, 200 | 400)));
        for seen in origin.take_seen() {
            assert!(seen.body.trailers.is_empty() && seen.head.get("remote-user").is_none(), "{wire:?}");
        }
    }
}

/// Traefik: the service that makes pages for errors was sent the credentials. Here whoever stands in is a service like
/// the first, and none of those who are asked beside it gets what a policy has taken for itself.
#[test]
fn cve_2026_41181_credentials_and_those_who_stand_in() {
    let (down, spare, copy) =
        (Origin::start(|conn| drop(conn.request())), Origin::saying("spare"), Origin::saying("c"));
    let config = format!(
        "consumers: [ {{ name: shop, keys: [ {{ key: swordfish-0123456789 }} ] }} ]
upstreams:
  down: {{ endpoints: [ \"{}\" ], fallback: [ {{ upstream: spare }} ] }}
  spare: {{ endpoints: [ \"{}\" ] }}
  copy: {{ endpoints: [ \"{}\" ] }}
routes:
  - {{ name: header, match: {{ path: /header }}, upstream: down, policies: [ api_key: {{}}, mirror: {{ upstream: copy }} ] }}
  - {{ name: other, match: {{ path: /other }}, upstream: down, policies: [ api_key: {{ from: [ {{ cookie: key }}, {{ query: key }} ] }}, mirror: {{ upstream: copy }} ] }}
  - {{ name: parts, match: {{ path: /parts }}, policies: [ api_key: {{}} ], aggregate: {{ parts: {{ one: {{ upstream: spare, path: /one }} }}, response: '{{one: 1}}' }} }}
",
        down.url(),
        spare.url(),
        copy.url()
    );
    let gateway = Setup::new(&config).start();
    let mut asked = 0;
    for wire in Wire::BOTH {
        for (path, fields) in [
            ("/header", "x-api-key: swordfish-0123456789\r\n"),
            ("/header", "authorization: ApiKey swordfish-0123456789\r\n"),
            ("/other", "cookie: a=b; key=swordfish-0123456789; c=d\r\n"),
            ("/other?a=b&key=swordfish-0123456789&c=d", ""),
            ("/parts", "x-api-key: swordfish-0123456789\r\n"),
        ] {
            let told = wire.get(&gateway, path, fields);
            assert!(matches!(told.status, 200 | 502), "{path} over {wire:?}: {} {}", told.status, told.text);
            asked += usize::from(path != "/parts");
        }
    }
    wait_for("the copies", || (copy.seen().len() == asked).then_some(()));
    let all = [down.take_seen(), spare.take_seen(), copy.take_seen()];
    assert!(all.iter().all(|seen| !seen.is_empty()), "somebody was not asked");
    for seen in all.into_iter().flatten() {
        let raw = String::from_utf8_lossy(&seen.head.raw).into_owned();
        assert!(!raw.contains("swordfish"), "{raw}");
    }
}

/// CVE-2016-5385, "httpoxy".
#[test]
fn cve_2016_5385_proxy_header() {
    for wire in Wire::BOTH {
        let seen = seen_by(wire, "Proxy: http://evil.example\r\nproxy: http://evil.example\r\n");
        assert!(seen.head.all("proxy").is_empty(), "{wire:?}");
    }
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
    let fields = "user-agent: \",\"status\":999,\"\r\nreferer: \\\",\\n\u{9b}31m\r\nx-request-id: \"}\r\n";
    for path in ["/a", "/a%22,%22status%22:999", "/%1b%5b31m", "/a?q=%22%0a%1b"] {
        let _ = Wire::Http2.get(&gateway, path, fields);
    }
    assert_eq!(gateway.ask(get("/a?last", "")).status(), 200);
    gateway.log_line("the last request", |line| line["query"] == "last");
    // Each line parses (`log_lines` checks), and none claims what was injected.
    let lines = gateway.log_lines();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line["status"] != 999 && line.get("x").is_none()));
    assert!(!gateway.log_text().contains(['\u{1b}', '\u{9b}']), "a terminal would obey the log");
}

/// Traefik: `Authorization` in a log.
#[test]
fn cve_2022_23469_secrets_are_not_logged() {
    let (origin, gateway) = plain();
    let fields = "authorization: Bearer swordfish\r\ncookie: session=swordfish\r\nx-api-key: swordfish\r\n";
    for (index, wire) in Wire::BOTH.into_iter().enumerate() {
        assert_eq!(wire.get(&gateway, "/a?access_token=swordfish&api_key=swordfish&ok=1", fields).status, 200);
        assert_eq!(wire.get(&gateway, "/bad/%00?token=swordfish", fields).status, 400);
        wait_for("the log", || (gateway.log_lines().len() == 2 * (index + 1)).then_some(()));
        assert!(!gateway.log_text().contains("swordfish"), "{}", gateway.log_text());
        assert!(!gateway.said().contains("swordfish"));
        // They reach the upstream untouched.
        assert_eq!(origin.only().head.get("authorization"), Some("Bearer swordfish"));
    }
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
        for wire in Wire::BOTH {
            let told = wire.get(&gateway, &format!("/go/{text}"), "");
            let location = told.get("location").unwrap_or_default();
            assert!(!location.contains("swordfish") && !location.contains("root:"), "{location}");
            let _ = wire.get(&gateway, &format!("/file/{text}"), "");
        }
    }
    for seen in origin.take_seen() {
        assert!(!seen.target().contains("swordfish") && !seen.target().contains("root:"), "{}", seen.target());
        assert!(seen.target().starts_with("/f/"), "{}", seen.target());
    }
}
