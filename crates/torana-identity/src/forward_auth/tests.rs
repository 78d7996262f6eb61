use super::*;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use torana_core::policy::entry;
use torana_core::testing::{TestNames, TestWorker, exchange, reply, run, show_diagnostics, written};

torana_core::refusals! {
    /// Stands for a service that is gone.
    GONE = "test.gone" 502 Upstream IfSafe "Gone.";
}

fn build(config: &str) -> Result<Arc<dyn Policy>, String> {
    let site = TestNames::new("test", "/*").counting(EVENTS);
    (entry::<ForwardAuth>().build)(&written(config), &site).map_err(|problems| show_diagnostics(&problems))
}

const CONFIG: &str = r#"{ "ask": { "upstream": "users", "path": "/verify?a=1" }, "copy_headers": ["Remote-User", "Remote-Groups"],
    "subject": "Remote-User", "roles": "Remote-Groups" }"#;

const REQUEST: &str = "POST /a/b?x=1 HTTP/1.1\nHost: shop.example\nAuthorization: Bearer x\nCookie: a=1\nX-Forwarded-For: 192.0.2.1\n\
                       X-Secret: s\nRemote-User: forged\n\nbody";

/// What becomes of the request, and what the service was asked.
fn asked(config: &str, request: &str, answer: &str) -> (String, Exchange, String) {
    let policy = build(config).unwrap();
    let worker = TestWorker::new();
    match answer {
        "gone" => worker.will_fail(Rejection::new(&GONE)),
        answer => worker.will_reply(answer),
    }
    let mut asked = exchange(request);
    asked.outbound = Some(worker.clone());
    let shown = run(&*policy, &mut asked, reply("200\nX-From: upstream"));
    let sent = worker.sent.take().join("\n");
    (shown, asked, sent)
}

#[test]
fn the_service_gets_what_it_needs_and_no_more() {
    let (_, _, sent) = asked(CONFIG, REQUEST, "200");
    assert_eq!(
        sent,
        "to 0: GET /verify?a=1\nhost: (endpoint)\nauthorization: Bearer x\ncookie: a=1\nx-forwarded-for: 192.0.2.1\n\
         x-forwarded-method: POST\nx-forwarded-uri: /a/b?x=1\n"
    );
}

#[test]
fn a_yes_lets_the_request_go_on_as_the_service_says() {
    let answer = "204\nRemote-User: ada\nRemote-Groups: dev, ops\nRemote-Groups-Not: x\nX-Other: y\nSet-Cookie: a=b";
    let (shown, exchange, _) = asked(CONFIG, REQUEST, answer);
    assert_eq!(
        shown,
        "POST /a/b?x=1\nhost: shop.example\nauthorization: Bearer x\ncookie: a=1\nx-forwarded-for: 192.0.2.1\nx-secret: s\n\
         remote-user: ada\nremote-groups: dev, ops\n--\n200\nx-from: upstream\n"
    );
    assert_eq!(exchange.body.data(), b"body");
    let identity = exchange.identity.unwrap();
    assert_eq!((&*identity.subject, identity.proven_by), ("ada", "forward_auth"));
    assert_eq!(identity.roles.iter().collect::<Vec<_>>(), ["dev", "ops"]);
}

/// CVE-2026-30851 and CVE-2021-32777.
#[test]
fn what_the_answer_leaves_out_is_not_the_clients_to_say() {
    let (shown, exchange, _) = asked(CONFIG, REQUEST, "200\n\nfine");
    assert!(!shown.contains("forged") && shown.starts_with("POST"), "{shown}");
    assert!(exchange.identity.is_none());
    let (shown, exchange, _) = asked(CONFIG, REQUEST, "200\nRemote-User: a\nRemote-User: b");
    assert!(
        shown.contains("remote-user: a\nremote-user: b\n"),
        "all of them, or rules that look for one are cheated: {shown}"
    );
    assert!(exchange.identity.is_none());
}

#[test]
fn a_no_goes_to_the_client_without_what_is_not_meant_for_it() {
    let answer = "302\nLocation: https://login.example/\nSet-Cookie: s=1\nSet-Cookie: t=2\nRemote-User: ada\nX-Internal: y\n\
                  Connection: close\nServer: x\n\nsee there";
    let (shown, exchange, _) = asked(CONFIG, REQUEST, answer);
    assert_eq!(
        shown,
        "answered\n302\nlocation: https://login.example/\nset-cookie: s=1\nset-cookie: t=2\ncache-control: no-store\n\nsee there\n"
    );
    assert_eq!((exchange.notes.code, exchange.identity), (Some("forward_auth.denied"), None));
    let (shown, ..) = asked(CONFIG, REQUEST, "401\nWWW-Authenticate: Bearer realm=\"x\"\nCache-Control: private");
    assert_eq!(shown, "answered\n401\nwww-authenticate: Bearer realm=\"x\"\ncache-control: private\n");
}

#[test]
fn whatever_else_is_answered_the_request_does_not_go_on() {
    for (answer, expected) in [
        ("gone", "rejected forward_auth.unavailable 503"),
        ("500", "rejected forward_auth.unavailable 503"),
        ("502", "rejected forward_auth.unavailable 503"),
        ("503", "rejected forward_auth.unavailable 503"),
        ("304", "rejected forward_auth.unavailable 503"),
        ("300", "rejected forward_auth.unavailable 503"),
        ("101", "rejected forward_auth.unavailable 503"),
        ("600", "rejected forward_auth.unavailable 503"),
        ("404", "rejected forward_auth.denied 403"),
        ("400", "rejected forward_auth.denied 403"),
        ("429", "rejected forward_auth.denied 403"),
        ("403\n\nno", "answered"),
    ] {
        let (shown, exchange, _) = asked(CONFIG, REQUEST, answer);
        assert_eq!(shown.lines().next(), Some(expected), "{answer}");
        assert!(exchange.identity.is_none());
    }
    // CVE-2026-26998: an answer without end.
    let config = r#"{ "ask": "https://auth.example/", "max_answer": "4B" }"#;
    let (shown, ..) = asked(config, REQUEST, "403\n\nfive!");
    assert!(shown.starts_with("rejected forward_auth.unavailable 503"), "{shown}");
    let policy = build(CONFIG).unwrap();
    let mut alone = exchange(REQUEST);
    assert!(run(&*policy, &mut alone, reply("200")).starts_with("rejected forward_auth.unavailable 503"));
}

#[test]
fn while_it_waits_nothing_goes_on() {
    let policy = build(CONFIG).unwrap();
    let mut waiting = exchange(REQUEST);
    let worker = TestWorker::new();
    waiting.outbound = Some(Rc::<TestWorker>::clone(&worker));
    let Verdict::Wait(future) = policy.on_request(&mut waiting) else { panic!("it asks") };
    assert!(matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
}

#[test]
fn mistakes_are_named() {
    for (config, expected) in [
        ("{}", "ask"),
        (r#"{ "ask": { "upstream": "nobody", "path": "/" } }"#, "error config.unknown_upstream"),
        (r#"{ "ask": "https://a.example/", "copy_headers": "Authorization" }"#, "error forward_auth.header"),
        (r#"{ "ask": "https://a.example/", "copy_headers": "x-real-ip" }"#, "error forward_auth.header"),
        (r#"{ "ask": "https://a.example/", "request_headers": "Connection" }"#, "error forward_auth.header"),
        (r#"{ "ask": "https://a.example/", "timeout": "0s" }"#, "error forward_auth.timeout"),
    ] {
        let shown = build(config).err().unwrap();
        assert!(shown.contains(expected), "{config}: {shown}");
    }
}
