//! Copies that several gateways share through one Redis.

use crate::caching::{events, label};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, reply};
use torana_e2e::redis::Redis;
use torana_e2e::wait_for;

/// A service that counts: its answer says how often it was asked.
fn counting() -> (Origin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::replying({
        let count = count.clone();
        move |seen| match seen.head.line.starts_with("GET") {
            true => {
                let number = count.fetch_add(1, Ordering::SeqCst).to_string();
                reply(200, &[("cache-control", "max-age=600"), ("cache-tag", "t1"), ("vary", "x-lang")], &number)
            }
            false => reply(204, &[], ""),
        }
    });
    (origin, count)
}

fn gateway(redis: &Redis, origin: &Origin, timeout: &str) -> Gateway {
    let config = format!(
        "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\nworkers: 2\n\
         stores: {{ shared: {{ redis: {{ url: \"{}\", timeout: {timeout} }} }} }}\n\
         upstreams: {{ a: {{ endpoints: [ '{{url:a}}' ] }} }}\n\
         routes: [ {{ name: a, upstream: a, policies: [ {{ cache: {{ store: shared }} }} ] }} ]\n",
        redis.url()
    );
    Setup::new(&config).known("{url:a}", &origin.url()).start()
}

/// What is in the store is put there beside the request.
fn wait_kept(gateway: &Gateway, count: f64) {
    wait_for("the copy to be in the store", || (events(gateway, "store_kept") >= count).then_some(()));
}

fn purge(gateway: &Gateway, arguments: &str) -> String {
    let reply = gateway.admin_with("POST", "/cache/purge", "", arguments);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.text()
}

#[test]
fn what_one_gateway_has_fetched_all_have() {
    let redis = Redis::start();
    let (origin, count) = counting();
    let gateways = [(); 3].map(|()| gateway(&redis, &origin, "10s"));
    assert_eq!(gateways[0].ask(get("/a", "")).text(), "0");
    wait_kept(&gateways[0], 1.0);
    for gateway in &gateways[1..] {
        let seen = gateway.ask(get("/a", ""));
        assert_eq!((label(&seen), seen.text().as_str()), ("HIT", "0"));
        assert_eq!(seen.head.get("cache-status").map(|status| status.contains("detail=store")), Some(true));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // One that starts later finds it, too; another host, variant or caller does not.
    let late = gateway(&redis, &origin, "10s");
    assert_eq!(label(&late.ask(get("/a", ""))), "HIT");
    for other in [
        "GET /a HTTP/1.1\r\nhost: other.example\r\n\r\n".to_owned(),
        get("/a", "x-lang: de\r\n"),
        get("/a", "authorization: Bearer 1\r\n"),
        get("/a", "cookie: session=1\r\n"),
    ] {
        assert_eq!(label(&late.ask(other)), "MISS");
    }
}

#[test]
fn a_purge_at_one_gateway_reaches_all() {
    let redis = Redis::start();
    let (origin, _) = counting();
    let gateways = [(); 3].map(|()| gateway(&redis, &origin, "10s"));
    for (round, arguments) in [
        r#"{ "url": "http://gateway.example/0/b" }"#,
        r#"{ "prefix": "http://gateway.example/1/" }"#,
        r#"{ "tag": "t1" }"#,
        r#"{ "all": true }"#,
    ]
    .into_iter()
    .enumerate()
    {
        let ask = |gateway: &Gateway| gateway.ask(get(&format!("/{round}/b"), "")).text();
        let kept = events(&gateways[0], "store_kept");
        let old = ask(&gateways[0]);
        wait_kept(&gateways[0], kept + 1.0);
        assert!(gateways.iter().all(|gateway| ask(gateway) == old), "{arguments}");
        let said = purge(&gateways[1], arguments);
        assert!(said.contains("\"purged\": true"), "{said}");
        let new = ask(&gateways[1]);
        assert_ne!(new, old, "{arguments}");
        wait_for("all to have heard of it", || gateways.iter().all(|gateway| ask(gateway) != old).then_some(()));
    }
}

#[test]
fn what_is_changed_at_one_gateway_is_new_at_all() {
    let redis = Redis::start();
    let (origin, _) = counting();
    let gateways = [(); 2].map(|()| gateway(&redis, &origin, "10s"));
    assert_eq!(gateways[0].ask(get("/a", "")).text(), "0");
    wait_kept(&gateways[0], 1.0);
    assert_eq!(gateways[1].ask(get("/a", "")).text(), "0");
    assert_eq!(gateways[0].ask(post("/a", "", "x")).status(), 204);
    assert_eq!(gateways[0].ask(get("/a", "")).text(), "1", "at once where it was changed");
    wait_for("the other to have heard of it", || (gateways[1].ask(get("/a", "")).text() == "1").then_some(()));
}

#[test]
fn a_redis_that_dies_leaves_each_gateway_its_memory_and_no_errors() {
    let mut redis = Redis::start();
    let (origin, count) = counting();
    let gateways = [(); 2].map(|()| gateway(&redis, &origin, "200ms"));
    assert_eq!(gateways[0].ask(get("/a", "")).text(), "0");
    wait_kept(&gateways[0], 1.0);
    assert_eq!(gateways[1].ask(get("/a", "")).text(), "0");

    // It dies while requests are under way.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|caller| {
                let (gateways, is_over) = (&gateways, &is_over);
                scope.spawn(move || {
                    let mut client = gateways[caller % 2].connect();
                    let mut asked = 0;
                    while asked < 50 || !is_over.load(Ordering::Relaxed) {
                        asked += 1;
                        assert_eq!(client.ask(get("/a", "")).text(), "0");
                        let other = client.ask(get(&format!("/{caller}/{asked}"), ""));
                        assert_eq!(other.status(), 200);
                        assert_eq!(client.ask(post(&format!("/{caller}/x"), "", "x")).status(), 204);
                    }
                })
            })
            .collect();
        redis.kill();
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(gateways.iter().all(|gateway| events(gateway, "store_failed") > 0.0));
    let line = gateways[0].log_line("a request without the store", |line| {
        line["cause"].as_str().is_some_and(|cause| cause.starts_with("cache: "))
    });
    assert!(line["status"] == 200 || line["status"] == 204, "{line}");
    let said = purge(&gateways[0], r#"{ "tag": "nothing" }"#);
    assert!(said.contains("\"purged\": false") && said.contains("\"error\""), "{said}");
    assert_eq!(gateways[0].ask(get("/a", "")).text(), "0", "out of its own memory");

    // It is back, with nothing in it: what one fetches, the other has again.
    redis.run();
    let mut number = 0;
    wait_for("the gateways to share again", || {
        number += 1;
        let path = format!("/again/{number}");
        assert_eq!(gateways[0].ask(get(&path, "")).status(), 200);
        let before = count.load(Ordering::SeqCst);
        assert_eq!(gateways[1].ask(get(&path, "")).status(), 200);
        (count.load(Ordering::SeqCst) == before).then_some(())
    });
}
