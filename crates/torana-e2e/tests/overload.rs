//! Bodies that are too long, requests that are too many, and requests that
//! come twice.

use torana_e2e::client::{get, post};
use torana_e2e::door::Door;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::redis::Redis;
use torana_e2e::wait_for;

fn gateway(policies: &str, origin: &Origin) -> Gateway {
    let config = format!(
        "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\nworkers: 2\n\
         routes: [ {{ name: r, upstream: o, policies: [ {policies} ] }} ]\n"
    );
    Setup::new(&config).origin("o", origin).start()
}

#[test]
fn a_long_body_is_refused_by_its_length_or_where_it_becomes_too_long() {
    let origin = Origin::saying("ok");
    let gateway = gateway("body_limit: { types: { application/json: 10B } }", &origin);
    let json = "content-type: application/json\r\n";
    assert_eq!(gateway.ask(post("/", json, "1234567890")).status(), 200);
    let refused = gateway.ask(post("/", json, "12345678901"));
    assert_eq!((refused.status(), &*refused.code()), (413, "body_limit.too_large"));
    let chunked = |data: &str| {
        let size = data.len();
        format!("POST / HTTP/1.1\r\nhost: a\r\n{json}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{data}\r\n0\r\n\r\n")
    };
    assert_eq!(gateway.ask(chunked("1234567890")).status(), 200);
    let cut = gateway.ask(chunked("12345678901"));
    assert_eq!((cut.status(), &*cut.code()), (413, "body_limit.too_large"));
    assert_eq!(gateway.ask(post("/", "content-type: text/plain\r\n", &"x".repeat(100))).status(), 200);
    let seen = origin.seen();
    assert!(seen.iter().all(|seen| seen.body.data.len() <= 10 || seen.body.data.len() == 100), "{seen:?}");
}

#[test]
fn what_finds_no_room_is_refused_at_once_and_room_comes_back() {
    let door = Door::default();
    let held = door.clone();
    let origin = Origin::replying(move |_| {
        held.pass();
        ok("done")
    });
    let policies = "load_shed: { min: 1, max: 2, initial: 2, share: 50%, \
                    classes: [ { share: 100%, headers: { x-priority: critical } } ] }";
    let gateway = gateway(policies, &origin);
    let critical = get("/", "x-priority: critical\r\n");
    let mut first = gateway.connect();
    first.send(get("/", ""));
    wait_for("the first to be under way", || (origin.seen().len() == 1).then_some(()));
    let refused = gateway.ask(get("/", ""));
    assert_eq!((refused.status(), refused.head.get("retry-after")), (503, Some("1")));
    assert_eq!(refused.code(), "load_shed.overloaded");
    let mut second = gateway.connect();
    second.send(&critical);
    wait_for("the second to be under way", || (origin.seen().len() == 2).then_some(()));
    assert_eq!(gateway.ask(&critical).status(), 503);
    door.open();
    assert_eq!((first.reply().status(), second.reply().status()), (200, 200));
    wait_for("room for another", || (gateway.ask(get("/", "")).status() == 200).then_some(()));
    assert!(gateway.events("load_shed", "r", "shed") >= 2.0);
}

#[test]
fn a_client_that_goes_away_leaves_its_room_to_others() {
    let door = Door::default();
    let held = door.clone();
    let origin = Origin::replying(move |_| {
        held.pass();
        ok("done")
    });
    let gateway = gateway("rate_limit: { requests: 1, algorithm: concurrency }", &origin);
    let mut first = gateway.connect();
    first.send(get("/", ""));
    wait_for("the first to be under way", || (origin.seen().len() == 1).then_some(()));
    assert_eq!(gateway.ask(get("/", "")).status(), 429);
    drop(first);
    door.open();
    wait_for("its place", || (gateway.ask(get("/", "")).status() == 200).then_some(()));
}

#[test]
fn gateways_that_share_a_store_do_a_payment_once() {
    let redis = Redis::start();
    let door = Door::default();
    let held = door.clone();
    let origin = Origin::replying(move |_| {
        held.pass();
        reply(201, &[("content-type", "text/plain"), ("location", "/p/1")], "paid")
    });
    let config = format!(
        "stores: {{ shared: {{ redis: {{ url: \"{}\", timeout: 10s }} }} }}\n\
         routes: [ {{ name: r, upstream: o, policies: [ {{ idempotency: {{ store: shared }} }} ] }} ]\n",
        redis.url()
    );
    let gateways = [(); 2].map(|()| Setup::new(&config).origin("o", &origin).start());
    let pay = |body: &str| post("/pay", "idempotency-key: k1\r\n", body);
    let mut first = gateways[0].connect();
    first.send(pay("1"));
    wait_for("the payment to be under way", || (origin.seen().len() == 1).then_some(()));
    let other = gateways[1].ask(pay("1"));
    assert_eq!((other.status(), &*other.code()), (409, "idempotency.in_flight"));
    door.open();
    let paid = first.reply();
    assert_eq!((paid.status(), &*paid.text()), (201, "paid"));
    for gateway in &gateways {
        let again = gateway.ask(pay("1"));
        assert_eq!((again.status(), &*again.text()), (201, "paid"));
        assert_eq!((again.head.get("location"), again.head.get("idempotency-replayed")), (Some("/p/1"), Some("true")));
        let other = gateway.ask(pay("2"));
        assert_eq!((other.status(), &*other.code()), (422, "idempotency.mismatch"));
    }
    assert_eq!(origin.seen().len(), 1, "it was done once");
    drop(redis);
    let refused = gateways[0].ask(pay("1"));
    assert_eq!((refused.status(), &*refused.code()), (503, "idempotency.no_store"));
    assert_eq!(gateways[0].ask(post("/pay", "", "3")).status(), 201, "without a key nothing is missing");
}
