use crate::testing::{Gateway, events};
use std::sync::Arc;
use torana_core::names::KnownName;
use torana_core::refusal::Rejection;
use torana_core::testing::{connection, raw_exchange};
use torana_net::service::{ListenerId, Service};

const CONFIG: &str = r#"{
    "upstreams": { "users": { "endpoints": ["http://127.0.0.1:3001"] }, "other": { "endpoints": ["http://127.0.0.1:3002"] } },
    "routes": [
        { "name": "users", "match": { "path": "/api/users/*", "methods": ["GET", "POST"] }, "upstream": "users",
          "rewrite": { "strip_prefix": "/api" }, "body_bytes": "8B" },
        { "name": "chain", "match": { "path": "/chain" }, "upstream": "users",
          "policies": [ { "late": { "id": "c" } }, { "early": { "id": "a" } }, { "middle": { "id": "b" } }, { "early": { "id": "a2" } } ] },
        { "name": "refused", "match": { "path": "/refused" }, "upstream": "users",
          "policies": [ { "early": { "id": "a" } }, { "middle": { "id": "b", "request": "refuse" } }, { "late": { "id": "c" } } ] },
        { "name": "answered", "match": { "path": "/answered" }, "upstream": "users",
          "policies": [ { "early": { "id": "a", "request": "wait" } }, { "middle": { "id": "b", "request": "answer" } } ] },
        { "name": "panics", "match": { "path": "/panics" }, "upstream": "users", "policies": [ { "early": { "id": "a" } }, { "middle": { "id": "b", "request": "panic" } } ] },
        { "name": "panics_later", "match": { "path": "/panics-later" }, "upstream": "users", "policies": [ { "middle": { "id": "b", "request": "panic_later" } } ] },
        { "name": "panics_back", "match": { "path": "/panics-back" }, "upstream": "users", "policies": [ { "middle": { "id": "b", "response": "panic" } } ] },
        { "name": "hangs", "match": { "path": "/hangs" }, "upstream": "users", "timeout": "1ms", "policies": [ { "middle": { "id": "b", "request": "hang" } } ] },
        { "name": "target_panics", "match": { "path": "/target" }, "redirect": { "to": "/x" } },
        { "name": "ping", "match": { "path": "/ping", "methods": ["GET"] }, "respond": { "body": "pong" } },
        { "name": "into", "match": { "path": "/in/{a}/{b}" }, "upstream": "other", "rewrite": { "path": "/deep/{a}{b}" } }
    ]
}"#;

#[test]
fn a_plain_request_is_forwarded_with_what_the_gateway_knows() {
    let gateway = Gateway::new(CONFIG);
    let seen = gateway
        .send("GET /api/users/7?q=1&token=x HTTP/1.1\nHost: Shop.Example:8080\nAccept: */*\nConnection: keep-alive");
    assert_eq!(seen.status(), 200);
    let sent = seen.sent.as_deref().unwrap();
    assert!(sent.starts_with("users: GET /users/7?q=1&token=x\nhost: Shop.Example:8080\naccept: */*\n"), "{sent}");
    assert_eq!(seen.sent_headers("connection"), [""; 0]);
    assert_eq!(seen.sent_headers("x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(seen.sent_headers("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.sent_headers("x-forwarded-host"), ["shop.example:8080"]);
    assert_eq!(seen.sent_headers("x-forwarded-port"), ["8080"]);
    assert_eq!(seen.sent_headers("traceparent").len(), 1);
    let id = seen.header("x-request-id").unwrap();
    assert_eq!(seen.sent_headers("x-request-id"), [id.as_str()]);
    let log = &seen.log;
    for (name, value) in [
        ("method", "GET"),
        ("host", "shop.example"),
        ("path", "/api/users/7"),
        ("query", "q=1&token=***"),
        ("route", "users"),
        ("upstream", "users"),
        ("client_ip", "192.0.2.1"),
        ("version", "HTTP/1.1"),
        ("request_id", id.as_str()),
    ] {
        assert_eq!(log[name], value, "{name}");
    }
    assert_eq!((&log["status"], log["response_bytes"].as_u64()), (&200.into(), Some(5)));
    assert!(log["duration_ms"].is_f64() && log["policies_ms"].is_f64() && log["ts"].is_string());
    assert_eq!(log["trace_id"].as_str().map(str::len), Some(32));
}

#[test]
fn every_early_exit_is_rendered_logged_and_counted() {
    let gateway = Gateway::new(CONFIG);
    let many = (0..50).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
    let cases = [
        ("GET /nothing HTTP/1.1\nHost: a".to_owned(), 404, "route.not_found"),
        ("DELETE /ping HTTP/1.1\nHost: a".to_owned(), 405, "route.method_not_allowed"),
        ("TRACE /chain HTTP/1.1\nHost: a".to_owned(), 405, "route.method_not_allowed"),
        ("CONNECT a.example:443 HTTP/1.1\nHost: a.example:443".to_owned(), 405, "route.connect_unsupported"),
        ("GET /../x HTTP/1.1\nHost: a".to_owned(), 400, "target.above_root"),
        ("GET /x HTTP/1.1\nAccept: b".to_owned(), 400, "target.host_missing"),
        ("GET https://a/ HTTP/1.1\nHost: a".to_owned(), 421, "target.scheme_mismatch"),
        ("GET /ping HTTP/1.1\nHost: a\nX_Forwarded-For: b".to_owned(), 400, "header.owned_spelling"),
        (format!("GET /ping HTTP/1.1\nHost: a\nConnection: {many}"), 400, "header.connection_options"),
        ("POST /api/users/ HTTP/1.1\nHost: a\n\n123456789".to_owned(), 413, "limit.body_bytes"),
        ("GET /refused HTTP/1.1\nHost: a".to_owned(), 403, "probe.refused"),
        ("GET /panics HTTP/1.1\nHost: a".to_owned(), 500, "internal.panic"),
        ("GET /panics-later HTTP/1.1\nHost: a".to_owned(), 500, "internal.panic"),
        ("GET /panics-back HTTP/1.1\nHost: a".to_owned(), 500, "internal.panic"),
        ("GET /hangs HTTP/1.1\nHost: a".to_owned(), 504, "exchange.timeout"),
        ("GET /target HTTP/1.1\nHost: a".to_owned(), 500, "internal.panic"),
        ("GET /in/x./.y HTTP/1.1\nHost: a".to_owned(), 200, ""),
        ("GET /api/users HTTP/1.1\nHost: a".to_owned(), 502, "upstream.broken"),
    ];
    for (request, status, code) in &cases {
        *gateway.fake.reply.borrow_mut() = (*code != "upstream.broken").then(|| "200\n\nok".to_owned());
        let before = gateway.metrics.snapshot();
        let seen = gateway.send(request);
        assert_eq!((seen.status(), seen.code()), (*status, *code), "{request}");
        assert_eq!(seen.log["status"], *status, "{request}");
        let id = seen.header("x-request-id").unwrap_or_default();
        assert_eq!(seen.log["request_id"], id.as_str(), "{request}");
        let after = gateway.metrics.snapshot();
        let count = |snapshot: &crate::metrics::Snapshot| -> u64 {
            snapshot.routes.iter().flat_map(|route| &route.durations).map(|(_, _, histogram)| histogram.count()).sum()
        };
        assert_eq!(count(&after), count(&before) + 1, "{request}");
        if code.is_empty() {
            continue;
        }
        let refused = |s: &crate::metrics::Snapshot| s.refusals.get(code).copied().unwrap_or_default();
        assert_eq!(refused(&after), refused(&before) + 1, "{request}");
        let body = seen.body();
        assert_eq!(seen.header("content-type").as_deref(), Some("application/problem+json"), "{request}");
        assert_eq!((&body["status"], &body["code"]), (&(*status).into(), &(*code).into()), "{request}");
        assert_eq!((&body["request_id"], &body["error"]), (&id.as_str().into(), &body["detail"]), "{request}");
        assert_eq!(*status == 405, seen.header("allow").is_some(), "{request}");
    }
}

#[test]
fn causes_are_logged_and_never_sent() {
    let gateway = Gateway::new(CONFIG);
    *gateway.fake.reply.borrow_mut() = None;
    let seen = gateway.send("GET /api/users HTTP/1.1\nHost: a");
    assert_eq!(seen.log["cause"], "connection refused");
    assert!(!String::from_utf8_lossy(seen.reply.body.data()).contains("connection refused"));
    let seen = gateway.send("GET /panics HTTP/1.1\nHost: a");
    assert_eq!(seen.log["cause"], "`middle` panicked: probe b panics");
}

#[test]
fn the_chain_runs_by_stage_and_back() {
    let gateway = Gateway::new(CONFIG);
    let seen = gateway.send("POST /chain HTTP/1.1\nHost: a\n\nbody");
    let expected = "a request /chain, a2 request /chain, b request /chain, c request /chain, \
        a wraps request, a2 wraps request, b wraps request, c wraps request, \
        c response 200, b response 200, a2 response 200, a response 200, \
        c wraps response, b wraps response, a2 wraps response, a wraps response, \
        c end, b end, a2 end, a end";
    assert_eq!(seen.events.join(", "), expected);
}

#[test]
fn only_what_ran_forwards_runs_backwards() {
    let gateway = Gateway::new(CONFIG);
    let order = |path: &str| {
        let seen = gateway.send(&format!("GET {path} HTTP/1.1\nHost: a"));
        let hooks = seen.events.into_iter().filter(|event| !event.contains("wraps"));
        hooks.map(|event| event.replace(&format!(" {path}"), "")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(order("/refused"), "a request, b request, b response 403, a response 403, b end, a end");
    assert_eq!(order("/answered"), "a request, b request, b response 202, a response 202, b end, a end");
    assert_eq!(order("/panics"), "a request, b request, b response 500, a response 500, b end, a end");
    assert_eq!(order("/ping"), "");
}

#[test]
fn grpc_and_head_get_refusals_they_can_read() {
    let gateway = Gateway::new(CONFIG);
    let seen = gateway.send("POST /nothing HTTP/1.1\nHost: a\nContent-Type: application/grpc+proto");
    assert_eq!((seen.status(), seen.header("grpc-status").as_deref()), (200, Some("12")));
    assert_eq!(seen.header("grpc-message").as_deref(), Some("There is nothing at this address. (route.not_found)"));
    assert!(seen.reply.body.is_empty());
    assert_eq!(seen.code(), "route.not_found");
    let seen = gateway.send("HEAD /nothing HTTP/1.1\nHost: a");
    assert!(seen.reply.body.is_empty() && seen.header("content-length").unwrap().parse::<u32>().unwrap() > 100);
}

#[test]
fn what_is_about_the_server_is_answered_by_it() {
    let gateway = Gateway::new(CONFIG);
    let seen = gateway.send("OPTIONS * HTTP/1.1\nHost: a");
    assert_eq!((seen.status(), seen.sent.is_none()), (204, true));
    assert!(seen.header("allow").unwrap().contains("GET"));
}

#[test]
fn replies_are_cleaned() {
    let gateway = Gateway::new(CONFIG);
    *gateway.fake.reply.borrow_mut() = Some(
        "200\nConnection: close, X-Internal\nX-Internal: 1\nKeep-Alive: 5\nX-Request-Id: forged\nServer: s\n\nok"
            .into(),
    );
    let seen = gateway.send("GET /chain HTTP/1.1\nHost: a");
    let names: Vec<_> =
        seen.reply.head.fields.iter().map(|(n, _)| String::from_utf8_lossy(n.text).to_lowercase()).collect();
    assert_eq!(names, ["server", "x-request-id"]);
    assert_ne!(seen.header("x-request-id").as_deref(), Some("forged"));
}

#[test]
fn upgrades_are_noticed_unless_they_would_be_a_way_past_the_gateway() {
    let gateway = Gateway::new(CONFIG);
    let upgrade = |lines: &str| {
        let mut exchange = raw_exchange(&format!("GET /chain HTTP/1.1\nHost: a\n{lines}"));
        let reply = gateway.serve(&mut exchange);
        let upgrade = match &exchange.upgrade {
            torana_core::exchange::Upgrade::No => None,
            torana_core::exchange::Upgrade::To(protocol) => Some(String::from_utf8_lossy(protocol).into_owned()),
        };
        assert!(
            !exchange.head.fields.contains(KnownName::Upgrade) && !exchange.head.fields.contains(KnownName::Connection)
        );
        gateway.end(exchange, reply);
        upgrade
    };
    assert_eq!(upgrade("Connection: Upgrade\nUpgrade: websocket").as_deref(), Some("websocket"));
    assert_eq!(upgrade("Connection: keep-alive\nUpgrade: websocket"), None);
    assert_eq!(upgrade("Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x"), None);
    assert_eq!(upgrade("Connection: upgrade\nUpgrade: websocket, h2c"), None);
    assert_eq!(upgrade("Connection: upgrade\nUpgrade: TLS/1.0"), None);
}

#[test]
fn only_trusted_peers_continue_ids_and_traces() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = format!(
        "GET /chain HTTP/1.1\nHost: a\nX-Request-Id: theirs-1\ntraceparent: {TRACE}\ntracestate: x=1\nX-Forwarded-For: 203.0.113.9"
    );
    let stranger = Gateway::new(CONFIG).send(&request);
    assert_ne!(stranger.header("x-request-id").as_deref(), Some("theirs-1"));
    assert!(!stranger.sent_headers("traceparent")[0].contains("4bf92f35"));
    assert_eq!(stranger.sent_headers("tracestate"), [""; 0]);
    assert_eq!(stranger.log["client_ip"], "192.0.2.1");

    let config = CONFIG.replacen('{', r#"{ "trusted_proxies": ["192.0.2.0/24"], "#, 1);
    let gateway = Gateway::new(&config);
    let trusted = gateway.send(&request);
    assert_eq!(trusted.header("x-request-id").as_deref(), Some("theirs-1"));
    let parent = trusted.sent_headers("traceparent")[0];
    assert!(
        parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && parent.ends_with("-00") && parent != TRACE,
        "{parent}"
    );
    assert_eq!(trusted.sent_headers("tracestate"), ["x=1"]);
    assert_eq!(trusted.log["client_ip"], "203.0.113.9");
    assert_eq!(trusted.log["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for bad in ["a b", "a\"b", "<x>", &"x".repeat(200)] {
        let seen = gateway.send(&format!("GET /chain HTTP/1.1\nHost: a\nX-Request-Id: {bad}"));
        assert_eq!(seen.header("x-request-id").unwrap().len(), 32, "{bad}");
    }
}

#[test]
fn headers_that_a_policy_owns_are_removed_on_every_route() {
    let config = CONFIG.replace(
        r#"{ "late": { "id": "c" } }, { "early": { "id": "a" } }"#,
        r#"{ "late": { "id": "c", "owns": ["X-User-Id"] } }"#,
    );
    let gateway = Gateway::new(&config);
    let seen = gateway.send("GET /api/users HTTP/1.1\nHost: a\nX-USER-ID: root\nX-Other: 1");
    assert!(seen.sent_headers("x-user-id").is_empty() && seen.sent_headers("x-other") == ["1"]);
    assert_eq!(gateway.send("GET /api/users HTTP/1.1\nHost: a\nX_User_Id: root").code(), "header.owned_spelling");
}

#[test]
fn an_exchange_ends_under_the_plan_it_began_with() {
    let gateway = Gateway::new(CONFIG);
    let mut exchange = raw_exchange("GET /chain HTTP/1.1\nHost: a");
    let reply = gateway.serve(&mut exchange);
    gateway.fake.sent.take();
    let next =
        crate::testing::plan(r#"{ "routes": [ { "name": "only", "respond": {} } ] }"#, Some(&gateway.cell.load()))
            .unwrap();
    assert_eq!(next.revision, 2);
    let old = Arc::downgrade(&gateway.cell.load());
    gateway.cell.swap(next);
    let other = gateway.send("GET /chain HTTP/1.1\nHost: a");
    assert_eq!((&other.log["route"], other.sent.is_none()), (&"only".into(), true));
    assert_eq!(gateway.cell.free_retired(), 1, "the exchange still needs it");
    let seen = gateway.end(exchange, reply);
    assert_eq!(seen.log["route"], "chain");
    assert_eq!(seen.events.last().map(String::as_str), Some("a end"));
    assert_eq!(gateway.cell.free_retired(), 0);
    assert!(old.upgrade().is_none(), "nobody keeps the old plan");
}

#[test]
fn what_the_connection_refuses_takes_the_same_way_back() {
    let gateway = Gateway::new(CONFIG);
    let refusal = || Rejection::new(&torana_net::refusals::HEAD_TIMEOUT);
    let mut unread = torana_core::exchange::Exchange::new(connection(), std::time::Instant::now());
    let reply = gateway.plane.reject(&mut unread, refusal());
    let seen = gateway.end(unread, reply);
    assert_eq!((seen.status(), seen.code()), (408, "limit.head_timeout"));
    assert_eq!(seen.log["request_id"], seen.header("x-request-id").unwrap());
    let mut served = raw_exchange("GET /chain HTTP/1.1\nHost: a");
    drop(gateway.serve(&mut served));
    events();
    let reply = gateway.plane.reject(&mut served, refusal());
    let seen = gateway.end(served, reply);
    assert_eq!(seen.events[..4], ["c response 408", "b response 408", "a2 response 408", "a response 408"]);
}

#[test]
fn connections_learn_of_draining_and_of_removed_listeners() {
    let gateway = Gateway::new(CONFIG);
    let id = gateway.cell.load().listener_named("test").unwrap().id;
    assert!(!gateway.plane.settings(id).draining);
    assert!(gateway.plane.settings(ListenerId(99)).draining);
    gateway.cell.drain();
    assert!(gateway.plane.settings(id).draining);
}
