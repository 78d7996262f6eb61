//! The path a rule saw is not the path that was forwarded.

use crate::frames::{self, Answer, FINE};

use super::{Guarded, could_mean_admin, plain};
use torana_e2e::both::Wire;
use torana_e2e::client::get;
use torana_e2e::gateway::Setup;
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::{Origin, ok};

/// Envoy: dot segments were not removed before access rules (envoy#6435).
#[test]
fn cve_2019_9901_dot_segments() {
    let guarded = Guarded::new();
    // Escaped twice it is data, and stays so.
    let (_, seen) = guarded.ask("/public/%252e%252e/admin");
    assert_eq!(seen.as_deref(), Some("/public/%252e%252e/admin"));
    for target in [
        "/public/../admin",
        "/public/./../admin",
        "/public/%2e%2e/admin",
        "/public/.%2e/admin",
        "/public/%2E./admin",
        "/public/%252e%252e/admin",
        "/public/..;/admin",
        "/public/..;x=y/admin",
        "/public/..%3b/admin",
        "/public\\..\\admin",
        "/public/..\\admin",
        "/public/..%5cadmin",
        "/public/%c0%ae%c0%ae/admin",
        "/./admin",
        "/public/..%00/admin",
        "/../admin",
        "/public/../../admin",
    ] {
        guarded.does_not_pass(target);
    }
}

/// Istio: `//` and `%2F` were not merged. Also Coraza's CVE-2025-29914 and
/// OPA-Envoy's CVE-2026-26205: `//seg` was parsed as an authority.
#[test]
fn cve_2021_31920_slashes() {
    let guarded = Guarded::new();
    for target in [
        "//admin",
        "///admin//",
        "/public//../admin",
        "/%2fadmin",
        "/public/..%2fadmin",
        "/public%2f../admin",
        "/public/..%2Fadmin",
        "/admin%2fx",
        "//gateway.example/admin",
        "//admin/..//admin",
        "/\\admin",
    ] {
        guarded.does_not_pass(target);
    }
}

/// APISIX: the blocker read the raw request URI.
#[test]
fn cve_2021_43557_raw_uri() {
    let guarded = Guarded::new();
    for target in [
        "/%61dmin",
        "/%41dmin/../admin",
        "/adm%69n/",
        "http://gateway.example/admin",
        "http://gateway.example/x/../admin",
        "/admin?",
        "/admin/.",
        "/admin/x/..",
    ] {
        guarded.does_not_pass(target);
    }
}

/// Kong: normalisation differed between a protected route and its sibling.
#[test]
fn cve_2021_27306_siblings() {
    let origin = Origin::replying(|seen| ok(seen.target()));
    let config = "routes:
  - { name: open, match: { path: /api/open }, upstream: a }
  - { name: closed, match: { path: /api/closed }, respond: { status: 401 } }";
    let gateway = Setup::new(config).origin("a", &origin).start();
    for target in ["/api/open/../closed", "/api/open/%2e%2e/closed", "/api//closed", "/api/./closed", "/api/%63losed"] {
        let status = gateway.ask(get(target, "")).status();
        assert!(matches!(status, 400 | 401), "{target}: {status}");
    }
    assert!(origin.seen().is_empty());
}

/// Traefik, and oauth2-proxy's CVE-2026-41059: a fragment in the target.
#[test]
fn cve_2023_47106_fragments() {
    let guarded = Guarded::new();
    for target in ["/#/../admin", "/public#/admin", "/admin#", "/public?x#y", "#", "http://gateway.example#@evil/"] {
        let (reply, seen) = guarded.ask(target);
        assert_eq!((reply.status(), seen), (400, None), "{target}");
    }
}

/// Traefik, also CVE-2025-66490 and CVE-2025-32431: encoded `/ \ ? # ;` reached
/// the backend while the rule saw them decoded, or the other way round.
#[test]
fn cve_2025_47952_reserved_characters() {
    let guarded = Guarded::new();
    for escape in ["%2f", "%2F", "%5c", "%5C", "%00", "%0a", "%0d", "%7f"] {
        let (reply, seen) = guarded.ask(&format!("/public{escape}x"));
        assert_eq!((reply.status(), seen), (400, None), "{escape}");
    }
    // These are data: they stay escaped all the way.
    for escape in ["%3F", "%23", "%3B", "%25"] {
        let target = format!("/public/a{escape}b");
        let (reply, seen) = guarded.ask(&target);
        assert_eq!((reply.status(), seen.as_deref()), (200, Some(target.as_str())));
    }
    for target in ["/admin%3Fx", "/admin%23x", "/public/..%3F/admin", "/public%3f/../admin", "/admin;x", "/;/admin"] {
        guarded.does_not_pass(target);
    }
}

/// Traefik, also CVE-2026-48020, -65600 and -67309: a rewrite produced `..`
/// after the access rules had run.
#[test]
fn cve_2026_40912_rewrites() {
    let guarded = Guarded::new();
    for target in [
        "/strip/../admin",
        "/strip/%2e%2e/admin",
        "/strip//admin/../admin",
        "/strip..%2fadmin",
        "/strip..;/admin",
        "/under/../admin",
        "/under/%2e%2e/%2e%2e/admin",
        "/under/..%5c..%5cadmin",
        "/capture/..",
        "/capture/%2e%2e",
        "/capture/..%2fadmin",
        "/capture/%252e%252e",
    ] {
        guarded.does_not_pass(target);
    }
    // Stripping a prefix without a slash must not make a path without one.
    let (_, seen) = guarded.ask("/strip");
    assert_eq!(seen.as_deref(), Some("/"));
    // A stripped path is one, not an authority: `//admin` names no host.
    let (_, seen) = guarded.ask("/strip/x");
    assert_eq!(seen.as_deref(), Some("/x"));
    let (_, seen) = guarded.ask("/under/x");
    assert_eq!(seen.as_deref(), Some("/tenant/7/x"));
}

/// Caddy: an escape skipped the folding of cases, and hosts were compared with
/// their case, depending on how many there were.
#[test]
fn cve_2026_27587_case() {
    for count in [1, 200] {
        let hosts: Vec<String> = (0..count).map(|number| format!("h{number}.example")).collect();
        let config = format!(
            "routes:\n  - {{ name: hosts, match: {{ host: [ {} ] }}, respond: {{ status: 403 }} }}\n  - {{ name: any, respond: {{ body: any }} }}",
            hosts.join(", ")
        );
        let gateway = Setup::new(&config).start();
        for host in ["h0.example", "H0.EXAMPLE", "h0.Example.", "H0.example:80"] {
            let reply = gateway.ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            assert_eq!(reply.status(), 403, "{host} of {count}");
        }
        let reply = gateway.ask("GET / HTTP/1.1\r\nhost: %680.example\r\n\r\n");
        assert_eq!(reply.status(), 400);
    }
    // Paths are compared with their case, escaped or not: one reading.
    let guarded = Guarded::new();
    let (_, seen) = guarded.ask("/%41DMIN");
    assert_eq!(seen.as_deref(), Some("/ADMIN"));
}

/// gRPC-Go: `:path` without its slash.
#[test]
fn cve_2026_33186_http2_path_without_slash() {
    let (origin, gateway) = plain();
    let refused = |path: &str| {
        let mut client = frames::start(gateway.connect());
        let fields = FINE.map(|(name, value)| (name, if name == ":path" { path } else { value }));
        client.send(frames::headers(1, &fields, true));
        frames::answer(&mut client) != Answer::Ok
    };
    // A path that is fine is answered with HEADERS.
    assert!(!refused("/fine"));
    assert_eq!(origin.take_seen().len(), 1);
    for path in ["admin", "*", "", "http://gateway.example/admin", "//admin/../.."] {
        assert!(refused(path), "{path:?} was served");
        assert!(origin.take_seen().is_empty(), "{path:?} went through");
    }
    // The codec below cuts a fragment off before anybody sees it: not refused,
    // as in HTTP/1.1, but with one reading all the same.
    let _ = refused("/a#b");
    assert!(origin.take_seen().iter().all(|seen| seen.target() == "/a"));
}

/// The same, where the client library lets us: an authority that disagrees.
#[test]
fn cve_2026_33186_http2_authority_that_disagrees() {
    let (origin, gateway) = plain();
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let mut request = http2::get("http", "/");
        request.headers_mut().insert("host", "other.example".parse().unwrap());
        if let Ok(reply) = client.ask(request, b"").await {
            assert_eq!(reply.status(), 400);
        }
    });
    assert!(origin.seen().is_empty());
}

/// heimdall: a rule matched the raw path, the backend the normalised one.
/// What is logged is what is forwarded is what was matched.
#[test]
fn cve_2026_42274_one_path() {
    let guarded = Guarded::new();
    for (number, target) in
        ["/a/./b", "/a//b", "/%61/b", "/x/../a/b", "/a/b/", "/a/%7eb", "/a/%e2%82%ac"].iter().enumerate()
    {
        let (reply, seen) = guarded.ask(&format!("{target}?n={number}"));
        let query = format!("n={number}");
        let line = guarded.gateway.log_line(target, |line| line["query"] == query.as_str());
        match seen {
            Some(seen) => assert_eq!(format!("{}?{query}", line["path"].as_str().unwrap()), seen, "{target}"),
            None => assert_eq!(reply.status(), 400, "{target}"),
        }
    }
}

/// oauth2-proxy, also CVE-2026-40575: rules were matched against path and query
/// together, and `X-Forwarded-Uri` was believed.
#[test]
fn cve_2025_54576_query_is_not_path() {
    let guarded = Guarded::new();
    for target in ["/admin?/public", "/admin?x=/public/", "/admin/?../public"] {
        assert_eq!(guarded.ask(target).0.status(), 403, "{target}");
    }
    let reply = guarded
        .gateway
        .ask(get("/admin", "x-forwarded-uri: /public\r\nx-original-url: /public\r\nx-rewrite-url: /public\r\n"));
    assert_eq!(reply.status(), 403);
    let (_, seen) = guarded.ask("/public?x=/admin");
    assert_eq!(seen.as_deref(), Some("/public?x=/admin"));
    assert!(!could_mean_admin("/public?x=/admin"));
}

/// Envoy, also CVE-2021-32777: of a repeated header the values were joined, or
/// only the last was looked at.
#[test]
fn cve_2026_26308_repeated_headers() {
    let origin = Origin::saying("forwarded");
    let config = "routes:
  - { name: vip, match: { path: /x, headers: { x-plan: vip } }, respond: { status: 403 } }
  - { name: all, match: { path: /x }, upstream: a }";
    let gateway = Setup::new(config).origin("a", &origin).start();
    for wire in Wire::BOTH {
        assert_eq!(wire.get(&gateway, "/x", "x-plan: vip\r\n").status, 403);
    }
    // Either value alone decides: hiding it before or behind another is no way
    // around a rule.
    for fields in
        ["x-plan: vip\r\nx-plan: basic\r\n", "x-plan: basic\r\nx-plan: vip\r\n", "X-Plan: basic\r\nx-PLAN: vip\r\n"]
    {
        for wire in Wire::BOTH {
            let status = wire.get(&gateway, "/x", fields).status;
            assert!(matches!(status, 400 | 403), "{fields} over {wire:?}: {status}");
        }
    }
}

/// Envoy AI Gateway, GHSA-4gph-2hhr-5mwg: JSON was rewritten on its way. Also
/// APISIX's CVE-2022-25757: duplicate keys, first or last.
#[test]
fn ghsa_4gph_2hhr_5mwg_json_passes_byte_for_byte() {
    let (origin, gateway) = plain();
    let body = "{\"Method\":1,\"method\" : 2,\"method\":3, \"x\":1e400,\"\\u0041\":\"\u{fffd}\"}";
    let reply = gateway.ask(torana_e2e::client::post("/", "content-type: application/json\r\n", body));
    assert_eq!(reply.text(), body);
    assert_eq!(origin.only().body.data, body.as_bytes());
}

/// APISIX: of a duplicate JSON key in a configuration, one part of the program
/// took the first and another the last.
#[test]
fn cve_2022_25757_duplicate_keys_in_the_configuration_are_an_error() {
    let config = "routes:\n  - { name: a, respond: { status: 200 }, respond: { status: 201 } }";
    let started = std::panic::catch_unwind(|| Setup::new(config).start());
    assert!(started.is_err(), "it has started");
}
