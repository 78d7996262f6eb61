//! What targets choose between, and what comes of it.

use crate::explain::{Outcome, Question, explain};
use crate::testing::{Gateway, REGISTRIES, kinds, plan};
use torana_core::testing::raw_exchange;

const CONFIG: &str = r#"{
    "upstreams": { "users": { "endpoints": ["http://127.0.0.1:3001"] } },
    "routes": [
        { "name": "ways", "match": { "path": "/api/{version}/*" }, "rewrite": { "add_prefix": "/route", "host": "route.example" },
          "ways": { "to": "users", "rewrite": { "path": "/way/{version}/{rest}", "host": "way.example" } } },
        { "name": "moved", "match": { "path": "/moved/*" }, "policies": [ { "early": { "id": "a", "request": "move" } } ],
          "ways": { "to": "users", "rewrite": { "replace_prefix": "/way" } } },
        { "name": "own", "match": { "path": "/own/*" }, "rewrite": { "path": "/in/.{rest}" }, "respond": {} },
        { "name": "sent", "match": { "path": "/sent/*" }, "rewrite": { "path": "/in/.{rest}" }, "upstream": "users" }
    ]
}"#;

fn send(gateway: &Gateway, path: &str, way: &str) -> crate::testing::Seen {
    gateway.send(&format!("GET {path} HTTP/1.1\nHost: a\nX-Way: {way}"))
}

#[test]
fn a_way_rewrites_in_place_of_the_route() {
    let gateway = Gateway::new(CONFIG);
    let sent = |path: &str, way: &str| {
        let seen = send(&gateway, path, way);
        assert_eq!((seen.status(), &seen.log["upstream"]), (200, &"users".into()));
        seen.sent.unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!(sent("/api/v1/a/b?x=1", "0"), "users: GET /route/api/v1/a/b?x=1");
    assert_eq!(sent("/api/v1/a/b?x=1", "1"), "users: GET /way/v1/a/b?x=1");
    // What a policy set stays, whatever route and way say.
    assert_eq!(sent("/moved/a", "0"), "users: GET /moved");
    assert_eq!(sent("/moved/a", "1"), "users: GET /moved");
}

#[test]
fn a_way_s_host_is_its_own() {
    let gateway = Gateway::new(CONFIG);
    for (way, host) in [("0", "route.example"), ("1", "way.example")] {
        let mut exchange = raw_exchange(&format!("GET /api/v1/a HTTP/1.1\nHost: a\nX-Way: {way}"));
        drop(gateway.serve(&mut exchange));
        exchange.write_host("endpoint:80");
        assert_eq!(exchange.head.fields.get(torana_core::names::KnownName::Host), Some(host.as_bytes()));
    }
}

#[test]
fn replies_that_come_a_way_are_marked_refusals_too() {
    let gateway = Gateway::new(CONFIG);
    let marks = |seen: &crate::testing::Seen| (seen.status(), seen.header("sunset"), seen.header("vary"));
    let marked = |status| (status, Some("soon".to_owned()), Some("x-way".to_owned()));
    assert_eq!(marks(&send(&gateway, "/api/v1/a", "0")), (200, None, None));
    *gateway.fake.reply.borrow_mut() = Some("200\nSunset: never\nSUNSET: ever\n\nok".to_owned());
    let seen = send(&gateway, "/api/v1/a", "1");
    assert_eq!(marks(&seen), marked(200));
    let fields = seen.reply.head.fields.iter();
    assert_eq!(fields.filter(|(name, _)| name.text.eq_ignore_ascii_case(b"sunset")).count(), 1);
    *gateway.fake.reply.borrow_mut() = None;
    assert_eq!(marks(&send(&gateway, "/api/v1/a", "0")), (502, None, None));
    assert_eq!(marks(&send(&gateway, "/api/v1/a", "1")), marked(502));
}

#[test]
fn a_way_that_is_not_there_fails_its_own_exchange() {
    let gateway = Gateway::new(CONFIG);
    let seen = send(&gateway, "/api/v1/a", "7");
    assert_eq!((seen.status(), seen.code(), seen.sent.is_none()), (500, "internal.panic", true));
    assert_eq!(seen.log["cause"], "`ways` has no way 7");
}

#[test]
fn what_is_not_forwarded_is_not_rewritten() {
    let gateway = Gateway::new(CONFIG);
    // Both would come out as `/in/.`, which is no path to send.
    assert_eq!(gateway.send("GET /own HTTP/1.1\nHost: a").status(), 200);
    let seen = gateway.send("GET /sent HTTP/1.1\nHost: a");
    assert_eq!((seen.status(), seen.code(), seen.sent.is_none()), (400, "route.rewrite_refused", true));
}

#[test]
fn callers_may_read_the_detail_of_a_refusal() {
    let gateway = Gateway::new(CONFIG);
    let seen = send(&gateway, "/api/v1/a", "no");
    let (body, detail) = (seen.body(), "The probe says no. There are 0 and 1.");
    assert_eq!(
        (&body["detail"], &body["error"], &body["code"]),
        (&detail.into(), &detail.into(), &"probe.refused".into())
    );
    let grpc = gateway.send("POST /api/v1/a HTTP/1.1\nHost: a\nX-Way: no\nContent-Type: application/grpc");
    assert_eq!(grpc.header("grpc-message").as_deref(), Some("The probe says no. There are 0 and 1. (probe.refused)"));
}

#[test]
fn explanations_ask_the_target() {
    let plan = plan(CONFIG, None).unwrap();
    let ask = |way: &str, url: &str| {
        let headers = [("x-way".to_owned(), way.to_owned())];
        let question = Question { method: "GET", url, headers: &headers, client_ip: [127, 0, 0, 1].into() };
        explain(&plan, &question).unwrap()
    };
    let forwarded = |way| ask(way, "/api/v1/a").forwarded.map(|forwarded| forwarded.path);
    assert_eq!(forwarded("0").as_deref(), Some("/route/api/v1/a"));
    assert_eq!(forwarded("1").as_deref(), Some("/way/v1/a"));
    let refused = ask("no", "/api/v1/a");
    assert!(matches!(refused.outcome, Outcome::Refused { code: "probe.refused", .. }) && refused.forwarded.is_none());
    let served = ask("0", "/own/a");
    assert_eq!((served.outcome, served.forwarded.is_none()), (Outcome::Route { name: "own".into() }, true));
}

#[test]
fn targets_may_warn_and_ask_about_their_route() {
    let (policies, targets) = kinds();
    let kinds = torana_config::Kinds { policies: &policies, targets: &targets, stores: &[] };
    let mut config: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
    config["listeners"] = serde_json::json!([{ "address": "127.0.0.1:0" }]);
    let none = std::collections::BTreeMap::new();
    let loaded = torana_config::load_text("test.json".as_ref(), config.to_string(), &kinds, &none);
    let source = crate::compile::Source {
        config: loaded.config.as_ref().unwrap(),
        checksum: "abc",
        watch: &Default::default(),
        runtime: None,
    };
    let compiled = crate::compile::compile(source, REGISTRIES, None);
    let said: Vec<_> = compiled.diagnostics.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(said, ["/api/{version}/* of ways", "/moved/* of moved"]);
    assert!(compiled.plan.is_some());
}

#[test]
fn every_exchange_has_random_bits_of_its_own() {
    // Targets that choose at random draw from the span.
    let gateway = Gateway::new(CONFIG);
    let mut seen = std::collections::HashSet::new();
    let mut ones = 0;
    for trace in ["", "\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
        for _ in 0..500 {
            let mut exchange = raw_exchange(&format!("GET /own/a HTTP/1.1\nHost: a{trace}"));
            drop(gateway.serve(&mut exchange));
            ones += exchange.trace.span.leading_ones().min(1);
            assert!(seen.insert(exchange.trace.span), "a client's span is not ours");
        }
    }
    assert!((400..600).contains(&ones), "{ones} of 1000 in the upper half");
}

#[test]
fn policies_that_want_to_see_what_is_forwarded_as_it_is_and_only_then() {
    let gateway = Gateway::new(
        r#"{
        "upstreams": { "users": { "endpoints": ["http://127.0.0.1:3001"] } },
        "routes": [
            { "name": "sent", "match": { "path": "/sent/*" }, "rewrite": { "strip_prefix": "/sent" }, "upstream": "users",
              "policies": [ { "late": { "id": "z", "request": "watch" } } ] },
            { "name": "own", "match": { "path": "/own" }, "respond": {},
              "policies": [ { "late": { "id": "z", "request": "watch" } } ] },
            { "name": "blind", "match": { "path": "/blind" }, "upstream": "users", "policies": [ { "late": { "id": "z" } } ] }
        ] }"#,
    );
    let forwards = |path: &str| {
        let events = send(&gateway, path, "0").events;
        events.into_iter().filter(|event| event.contains("forwards")).collect::<Vec<_>>()
    };
    assert_eq!(forwards("/sent/a"), ["z forwards /a"], "after the rewrite");
    assert_eq!(forwards("/own"), [""; 0]);
    assert_eq!(forwards("/blind"), [""; 0], "who does not ask is not asked");
}
