//! Answers that are kept, and whom they are given to.

use super::*;
use torana_core::identity::{Facts, Identity};

const GET: &str = "GET /7 HTTP/1.1\nHost: a";

/// An aggregate of one part that keeps its answers.
fn keeping(cache: &str) -> Built {
    let config = format!(
        r#"{{ "parts": {{ "user": {{ "upstream": "users", "path": "/users/{{id}}", "cache": {cache},
            "headers": {{ "x-lang": "{{headers.x-lang}}" }} }} }}, "response": ".user" }}"#
    );
    build(&config, "/{id}")
}

/// Asks as `identity`, whose name the policies tell services.
fn ask_as(built: &Built, services: &Rc<Services>, text: &str, identity: Option<Identity>) -> String {
    let mut exchange = request(services, text);
    if let Some(identity) = &identity {
        exchange.head.fields.append_text(b"x-user-id", identity.subject.as_bytes()).unwrap();
    }
    exchange.identity = identity;
    show(poll(&mut built.begin(&mut exchange)).expect("nothing is held back"))
}

fn caller(subject: &str, consumer: Option<&str>) -> Option<Identity> {
    let consumer = consumer.map(Into::into);
    Some(Facts { subject: subject.into(), proven_by: "jwt", consumer, ..Facts::default() }.into())
}

#[test]
fn the_same_question_is_asked_once() {
    let services = Services::answering(&[
        ("/users/7", Says::Json(200, r#"{"id":7}"#)),
        ("/users/8", Says::Json(200, r#"{"id":8}"#)),
    ]);
    let built = keeping(r#"{ "ttl": "1h" }"#);
    for (text, asked) in [
        (GET, 1),
        (GET, 1),
        ("HEAD /7 HTTP/1.1\nHost: a", 1),
        // What is said of one request alone makes no other question of it.
        ("GET /7 HTTP/1.1\nHost: a\nX-Request-Id: 1\nX-Forwarded-For: 192.0.2.1", 1),
        ("GET /7 HTTP/1.1\nHost: a\nX-Unused: 1", 1),
        ("GET /7 HTTP/1.1\nHost: a\nX-Lang: de", 2),
        ("GET /7 HTTP/1.1\nHost: a\nX-Lang: en", 3),
        ("GET /7 HTTP/1.1\nHost: b", 4),
        ("GET /8 HTTP/1.1\nHost: a", 5),
        (GET, 5),
    ] {
        built.ask(&services, text);
        assert_eq!(services.lines().len(), asked, "{text}");
    }
    assert_eq!(built.ask(&services, GET), r#"200 {"id":7}"#);
    assert_eq!(built.counts(), "11 × complete\n5 × kept\n6 × cached\n");
}

#[test]
fn each_caller_has_answers_of_its_own() {
    let services = Services::answering(&[("/users/7", Says::Json(200, "1"))]);
    let built = keeping(r#"{ "ttl": "1h" }"#);
    for (identity, asked) in [
        (None, 1),
        (caller("alice", None), 2),
        (caller("bob", None), 3),
        (caller("alice", None), 3),
        (None, 3),
        (caller("bob", Some("alice")), 4),
        (caller("bob", Some("alice")), 4),
        // Two without a name are not known to be one.
        (caller("", None), 5),
        (caller("", None), 6),
    ] {
        let shown = format!("{identity:?}");
        ask_as(&built, &services, GET, identity);
        assert_eq!(services.lines().len(), asked, "{shown}");
    }
}

#[test]
fn what_is_for_everybody_is_asked_for_by_nobody() {
    let services = Services::answering(&[("/users/7", Says::Json(200, "1"))]);
    let built = keeping(r#"{ "ttl": "1h", "shared": true }"#);
    for identity in [caller("alice", None), caller("bob", None), caller("", None), None] {
        ask_as(&built, &services, GET, identity);
    }
    let sent = services.sent.borrow();
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].contains("x-user-id"), "{}", sent[0]);
    drop(sent);
    let own = keeping(r#"{ "ttl": "1h" }"#);
    ask_as(&own, &services, GET, caller("alice", None));
    assert!(services.sent.borrow()[1].contains("x-user-id: alice"));
}

#[test]
fn answers_say_whether_and_how_long() {
    let json = "content-type: application/json";
    for (cache, said, asked) in [
        ("{}", "", 2),
        ("{}", "cache-control: max-age=60", 1),
        ("{}", "cache-control: max-age=0, s-maxage=60", 1),
        ("{}", "cache-control: max-age=60\nage: 59", 1),
        ("{}", "cache-control: max-age=60\nage: 60", 2),
        ("{}", "cache-control: no-cache, max-age=60", 2),
        ("{}", "cache-control: max-age=60\nvary: accept, x-lang", 1),
        ("{}", "cache-control: max-age=60\nvary: x-forwarded-for", 2),
        ("{}", "cache-control: max-age=60\nvary: *", 2),
        (r#"{ "ttl": "1h" }"#, "cache-control: max-age=0, no-cache", 1),
        (r#"{ "ttl": "1h" }"#, "cache-control: no-store", 2),
        (r#"{ "ttl": "1h" }"#, "cache-control: private", 2),
        (r#"{ "ttl": "1h" }"#, "set-cookie: a=1", 2),
        (r#"{ "ttl": "1h" }"#, "vary: *", 2),
    ] {
        let text: &'static str = format!("200\n{json}\n{said}\n\n1").replace("\n\n\n", "\n\n").leak();
        let services = Services::answering(&[("/users/7", Says::Other(text))]);
        let built = keeping(cache);
        for _ in 0..2 {
            assert_eq!(built.ask(&services, GET), "200 1", "{cache} {said}");
        }
        assert_eq!(services.lines().len(), asked, "{cache} {said}");
    }
}

#[test]
fn what_failed_is_asked_for_again() {
    let services = Services::answering(&[("/users/7", Says::Json(500, "1"))]);
    let built = keeping(r#"{ "ttl": "1h" }"#);
    assert!(built.ask(&services, GET).contains("x-torana-partial"));
    for broken in [Says::Json(200, "{"), Says::Other("200\n\nhello"), Says::Json(404, "{}")] {
        services.now_says("/users/7", broken);
        assert!(built.ask(&services, GET).contains("x-torana-partial"));
    }
    services.now_says("/users/7", Says::Json(200, "2"));
    assert_eq!(built.ask(&services, GET), "200 2");
    services.now_says("/users/7", Says::Json(500, "1"));
    assert_eq!(built.ask(&services, GET), "200 2");
}

#[test]
fn what_cannot_be_kept_is_an_error() {
    let wrong = |part: &str| {
        wrong(
            &format!(
                r#"{{ "parts": {{ "a": {{ "upstream": "users", "path": "/", {part} }} }}, "allow_unsafe": true }}"#
            ),
            "/{id}",
        )
    };
    assert!(wrong(r#""method": "POST", "cache": {}"#).contains("error aggregate.cache: answers to POST"));
    assert!(wrong(r#""cache": { "ttl": "0s" }"#).contains("error aggregate.cache: `ttl` cannot be `0s`"));
    assert!(wrong(r#""cache": { "tttl": "1s" }"#).contains("did you mean `ttl`"));
}
