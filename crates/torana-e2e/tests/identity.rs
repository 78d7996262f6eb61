//! Who the caller is, from outside; and that nobody passes when nobody can tell.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use torana_e2e::client::{Reply, get};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::token::{Issuer, bearer, claims, key_set, seconds_from_now};

fn problem(reply: &Reply) -> Value {
    serde_json::from_str(&reply.text()).unwrap()
}

/// An issuer's server, which publishes what it is told to.
fn publisher(first: &str) -> (Origin, Arc<Mutex<Vec<u8>>>) {
    let says = Arc::new(Mutex::new(reply(200, &[], first)));
    let shared = says.clone();
    (Origin::replying(move |_| shared.lock().unwrap().clone()), says)
}

fn guarded(public: &Origin, idp: &Origin, jwt: &str) -> Gateway {
    let config = format!(
        "routes:\n  - {{ name: api, match: {{ path: /api/* }}, upstream: a, policies: [ jwt: {{ {jwt} }} ] }}\n  - {{ name: open, match: {{ path: /open/* }}, upstream: a }}"
    );
    Setup::new(&config).origin("a", public).origin("idp", idp).start()
}

const KEYS: &str = "jwks: { upstream: idp, path: /keys }, audience: api, identity_headers: true";

#[test]
fn callers_are_told_two_things_and_the_log_the_rest() {
    let issuer = Issuer::new("a");
    let (idp, _) = publisher(&key_set(&[&issuer]));
    let origin = Origin::saying("ok");
    let gateway = guarded(&origin, &idp, KEYS);
    let stranger = Issuer::new("a");
    let with = |name: &str, value: Value| {
        let mut all = claims("u");
        all[name] = value;
        issuer.token(&all)
    };
    for (path, fields, error, code) in [
        ("/api/1", String::new(), "No token provided", "jwt.missing"),
        ("/api/2", bearer("x"), "Invalid token", "jwt.malformed"),
        ("/api/3", bearer(&with("exp", json!(seconds_from_now(-60)))), "Invalid token", "jwt.expired"),
        ("/api/4", bearer(&with("aud", json!("other"))), "Invalid token", "jwt.audience"),
        ("/api/5", bearer(&stranger.token(&claims("u"))), "Invalid token", "jwt.signature"),
        ("/api/6", bearer(&with("nbf", json!(seconds_from_now(600)))), "Invalid token", "jwt.not_yet"),
    ] {
        let reply = gateway.ask(get(path, &fields));
        assert_eq!(reply.status(), 401, "{path}");
        let body = problem(&reply);
        assert_eq!(body["error"], error, "{path}");
        let told = if code == "jwt.missing" { "jwt.missing" } else { "jwt.invalid" };
        assert_eq!(body["code"], told, "{path}");
        let challenge = reply.head.get("www-authenticate").unwrap();
        assert_eq!(challenge.contains("invalid_token"), code != "jwt.missing", "{challenge}");
        let line = gateway.log_line(code, |line| line["path"] == path);
        assert_eq!(line["code"], code);
    }
    assert!(origin.seen().is_empty());
    let reply = gateway.ask(get("/api/7", &bearer(&issuer.token(&claims("u-7")))));
    assert_eq!(reply.status(), 200);
    let line = gateway.log_line("the caller", |line| line["path"] == "/api/7");
    assert_eq!(line["consumer"], "u-7");
    let seen = origin.only();
    assert_eq!(seen.head.get("x-user-id"), Some("u-7"));
    assert_eq!(seen.head.get("x-user-role"), Some("user"));
    assert_eq!(seen.head.get("x-user-email"), Some("u@shop.example"));
    assert_eq!(seen.head.get("authorization"), None, "services need no token");
}

#[test]
fn a_change_of_keys_costs_no_caller_anything() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (idp, says) = publisher(&key_set(&[&old]));
    let origin = Origin::saying("ok");
    let gateway = guarded(&origin, &idp, KEYS);
    let ask = |issuer: &Issuer| gateway.ask(get("/api/x", &bearer(&issuer.token(&claims("u"))))).status();
    for _ in 0..20 {
        assert_eq!(ask(&old), 200);
    }
    *says.lock().unwrap() = reply(200, &[], key_set(&[&old, &new]));
    for _ in 0..20 {
        assert_eq!(ask(&new), 200);
        assert_eq!(ask(&old), 200);
    }
    assert_eq!(idp.seen().len(), 2);
}

#[test]
fn a_flood_of_made_up_keys_asks_the_issuer_once() {
    let issuer = Issuer::new("a");
    let (idp, _) = publisher(&key_set(&[&issuer]));
    let origin = Origin::saying("ok");
    let gateway = guarded(&origin, &idp, &format!("{KEYS}, cooldown: 1h"));
    let mut client = gateway.connect();
    for index in 0..300 {
        let token = issuer.token_as(&format!("made-up-{index}"), &claims("u"));
        assert_eq!(client.ask(get("/api/x", &bearer(&token))).status(), 401);
    }
    assert_eq!(client.ask(get("/api/x", &bearer(&issuer.token(&claims("u"))))).status(), 200);
    // The first, for want of any, and one for all that are unknown.
    assert_eq!(idp.seen().len(), 2);
}

#[test]
fn without_the_issuer_those_with_known_keys_pass_and_without_keys_nobody() {
    let (issuer, stranger) = (Issuer::new("a"), Issuer::new("b"));
    let (idp, says) = publisher(&key_set(&[&issuer]));
    let origin = Origin::saying("ok");
    let gateway = guarded(&origin, &idp, &format!("{KEYS}, cooldown: 0s"));
    let ask = |issuer: &Issuer| gateway.ask(get("/api/x", &bearer(&issuer.token(&claims("u"))))).status();
    assert_eq!(ask(&issuer), 200);
    for nonsense in
        [reply(500, &[], "down"), ok("not keys"), ok("{\"keys\":[]}"), b"HTTP/1.1 200 OK\r\n\r\n\0".to_vec()]
    {
        *says.lock().unwrap() = nonsense;
        assert_eq!(ask(&stranger), 401);
        assert_eq!(ask(&issuer), 200);
    }
    drop(idp);
    assert_eq!((ask(&issuer), ask(&stranger)), (200, 401));

    let _ = origin.take_seen();
    for nonsense in
        [reply(500, &[], "down"), ok("not keys"), ok("{\"keys\":[]}"), reply(302, &[("location", "/k")], "")]
    {
        let idp = Origin::replying(move |_| nonsense.clone());
        let gateway = guarded(&origin, &idp, &format!("{KEYS}, cooldown: 0s"));
        let refused = gateway.ask(get("/api/x", &bearer(&issuer.token(&claims("u")))));
        assert_eq!((refused.status(), refused.code().as_str()), (503, "jwt.keys_unavailable"));
        drop(idp);
        let refused = gateway.ask(get("/api/x", &bearer(&issuer.token(&claims("u")))));
        assert_eq!((refused.status(), refused.code().as_str()), (503, "jwt.keys_unavailable"));
    }
    assert!(origin.seen().is_empty());
}

const ASKING: &str = "routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ forward_auth: { ask: { upstream: auth, path: /verify }, copy_headers: [ X-User-Id ], subject: X-User-Id } ] }
  - { name: open, match: { path: /open/* }, upstream: a }";

#[test]
fn a_service_decides_and_without_it_nobody_passes() {
    let auth = Origin::replying(|seen| match seen.head.get("authorization") {
        Some("yes") => reply(200, &[("x-user-id", "ada"), ("x-internal", "secret")], "welcome"),
        Some("silent") => reply(204, &[], ""),
        Some("login") => reply(302, &[("location", "https://login.example/"), ("x-internal", "secret")], "go there"),
        Some("broken") => reply(500, &[], "oops"),
        _ => reply(401, &[("www-authenticate", "Custom")], "who are you?"),
    });
    let origin = Origin::saying("ok");
    let gateway = Setup::new(ASKING).origin("a", &origin).origin("auth", &auth).start();
    let ask = |word: &str, fields: &str| gateway.ask(get("/api/x?q=1", &format!("authorization: {word}\r\n{fields}")));
    assert_eq!(ask("yes", "x-user-id: forged\r\nX-USER-ID: forged\r\n").status(), 200);
    assert_eq!(origin.only().head.all("x-user-id"), ["ada"]);
    let question = auth.take_seen().remove(0);
    assert_eq!(question.head.get("x-forwarded-uri"), Some("/api/x?q=1"));
    assert_eq!(question.head.get("x-forwarded-method"), Some("GET"));
    assert_eq!(question.head.get("x-user-id"), None);
    let line = gateway.log_line("the caller", |line| line["status"] == 200);
    assert_eq!(line["consumer"], "ada");

    assert_eq!(ask("silent", "x-user-id: forged\r\n").status(), 200);
    assert!(origin.only().head.all("x-user-id").is_empty());
    let login = ask("login", "");
    assert_eq!((login.status(), login.head.get("location")), (302, Some("https://login.example/")));
    assert_eq!((login.head.get("x-internal"), login.text().as_str()), (None, "go there"));
    let unknown = ask("no", "");
    assert_eq!((unknown.status(), unknown.head.get("www-authenticate")), (401, Some("Custom")));
    assert_eq!((ask("broken", "").status(), ask("broken", "").code().as_str()), (503, "forward_auth.unavailable"));
    drop(auth);
    for _ in 0..5 {
        // Its connections may live a little longer than it.
        let reply = ask("no", "");
        assert!(matches!(reply.status(), 401 | 503), "{}", reply.status());
    }
    assert!(origin.seen().is_empty());

    let nobody = Setup::new(ASKING).origin("a", &origin).endpoint("auth", "http://127.0.0.1:{port:nobody}").start();
    let reply = nobody.ask(get("/api/x", "authorization: yes\r\n"));
    assert_eq!((reply.status(), reply.code().as_str()), (503, "forward_auth.unavailable"));
    assert!(origin.seen().is_empty());
}

#[test]
fn one_of_several_ways_is_enough_and_rules_read_what_it_proved() {
    let (one, two) = (Issuer::new("1"), Issuer::new("2"));
    let config = "routes:
  - name: api
    match: { path: /api/* }
    upstream: a
    policies:
      - any_of:
          - jwt: { public_key: '${file:{dir}/one.pem}', from: { header: X-One } }
          - jwt: { public_key: '${file:{dir}/two.pem}', claims_to_headers: { sub: X-User-Id } }
      - authorize:
          rules:
            - { name: readers, methods: [ GET ], roles: user }
            - { name: admins, roles: admin }";
    let dir = torana_e2e::dir::Dir::new();
    dir.write("one.pem", one.pem());
    dir.write("two.pem", two.pem());
    let origin = Origin::saying("ok");
    let gateway = Setup::new(config).dir(dir).origin("a", &origin).start();
    let ask = |method: &str, fields: &str| {
        let reply = gateway.ask(get("/api/x", fields).replacen("GET", method, 1));
        (reply.status(), reply.code())
    };
    let (first, second) = (one.token(&claims("u")), two.token(&claims("u")));
    assert_eq!(ask("GET", &format!("x-one: {first}\r\n")).0, 200);
    assert_eq!(ask("GET", &bearer(&second)).0, 200);
    assert_eq!(ask("DELETE", &bearer(&second)), (403, "authorize.denied".into()));
    let mut admin = claims("root");
    admin["role"] = "admin".into();
    assert_eq!(ask("DELETE", &bearer(&two.token(&admin))).0, 200);
    assert_eq!(ask("GET", &bearer(&first)), (401, "jwt.invalid".into()));
    assert_eq!(ask("GET", ""), (401, "jwt.missing".into()));
    assert_eq!(ask("GET", &format!("x-one: {second}\r\n")), (401, "jwt.invalid".into()));
    assert_eq!(origin.seen().len(), 3);
}

#[test]
fn a_token_in_a_query_goes_neither_upstream_nor_into_copies_redirects_and_logs() {
    let issuer = Issuer::new("a");
    let dir = torana_e2e::dir::Dir::new();
    dir.write("key.pem", issuer.pem());
    let config =
        "policies: [ jwt: { public_key: '${file:{dir}/key.pem}', from: [ { query: ticket }, { cookie: ticket } ] } ]
routes:
  - { name: moved, match: { path: /moved }, redirect: { to: 'https://elsewhere.example/x' } }
  - { name: api, upstream: a, policies: [ mirror: { upstream: copy } ] }";
    let (origin, copy) = (Origin::saying("ok"), Origin::saying("ok"));
    let gateway = Setup::new(config).dir(dir).origin("a", &origin).origin("copy", &copy).start();
    let token = issuer.token(&claims("u"));
    assert_eq!(gateway.ask(get(&format!("/x?a=1&ticket={token}&b=2"), "")).status(), 200);
    assert_eq!(origin.only().target(), "/x?a=1&b=2");
    copy.wait_seen(1);
    assert_eq!(copy.only().target(), "/x?a=1&b=2");
    assert_eq!(gateway.ask(get("/x", &format!("cookie: a=1; ticket={token}\r\n"))).status(), 200);
    assert_eq!(origin.only().head.get("cookie"), Some("a=1"));
    let moved = gateway.ask(get(&format!("/moved?ticket={token}&b=2"), ""));
    assert_eq!(moved.status(), 308);
    assert!(!moved.head.get("location").unwrap().contains("ticket"), "{:?}", moved.head.get("location"));
    gateway.log_line("the last", |line| line["path"] == "/moved");
    assert!(!gateway.log_text().contains(&token), "{}", gateway.log_text());
}
