//! Limits that several gateways share through one Redis.

use std::collections::BTreeMap;
use std::thread;
use torana_e2e::client::get;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::redis::Redis;
use torana_e2e::wait_for;

/// A gateway whose limit is `limit`; the Redis has `timeout` to answer.
fn gateway(redis: &Redis, timeout: &str, limit: &str) -> Gateway {
    let config = format!(
        "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\nworkers: 2\n\
         stores: {{ shared: {{ redis: {{ url: \"{}\", timeout: {timeout} }} }} }}\n\
         routes: [ {{ name: r, policies: [ {{ rate_limit: {{ store: shared, {limit} }} }} ], respond: {{ body: ok }} }} ]\n",
        redis.url()
    );
    Setup::new(&config).start()
}

/// Statuses, and how often each was seen.
type Statuses = BTreeMap<u16, usize>;

/// `callers` at the same time, each sending `each` requests, to the gateways in
/// turn.
fn storm(gateways: &[Gateway], callers: usize, each: usize) -> Statuses {
    let caller = |number: usize| {
        let mut client = gateways[number % gateways.len()].connect();
        (0..each).map(|_| client.ask(get("/", "")).status()).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..callers).map(|number| scope.spawn(move || caller(number))).collect();
        let mut statuses = Statuses::new();
        for status in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *statuses.entry(status).or_default() += 1;
        }
        statuses
    })
}

#[test]
fn two_hundred_callers_at_three_gateways_get_exactly_the_limit() {
    for algorithm in ["sliding_window", "sliding_log", "fixed_window", "gcra"] {
        let redis = Redis::start();
        // A day: neither a boundary nor what comes back matters.
        let limit = format!("requests: 100, per: 1d, algorithm: {algorithm}");
        let gateways = [(); 3].map(|()| gateway(&redis, "10s", &limit));
        let statuses = storm(&gateways, 200, 2);
        assert_eq!(statuses, Statuses::from([(200, 100), (429, 300)]), "{algorithm}");
        let refused: f64 = gateways.iter().map(|gateway| gateway.events("rate_limit", "r", "limited")).sum();
        assert!((refused - 300.0).abs() < 0.5, "{refused}");
    }
}

#[test]
fn with_leases_three_gateways_stay_within_the_bound() {
    let redis = Redis::start();
    let limit = "requests: 100, per: 1d, algorithm: sliding_window, lease: 10";
    let gateways = [(); 3].map(|()| gateway(&redis, "10s", limit));
    let statuses = storm(&gateways, 200, 3);
    let passed = statuses[&200];
    // What is stated is the limit and a lease for each; taken at one time, it
    // is not even that. What is taken and not spent is missing.
    assert!((70..=100).contains(&passed), "{statuses:?}");
    assert_eq!(statuses.len(), 2, "{statuses:?}");
}

#[test]
fn a_redis_that_dies_leaves_each_gateway_its_share_and_no_errors() {
    let mut redis = Redis::start();
    let limit = "requests: 300, per: 1d, on_store_failure: { replicas: 3 }";
    let gateways = [(); 3].map(|()| gateway(&redis, "200ms", limit));
    let before = storm(&gateways, 6, 5);
    assert_eq!(before, Statuses::from([(200, 30)]));
    // It dies while requests are under way.
    let statuses = thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&gateways, 60, 20));
        redis.kill();
        storm.join().unwrap()
    });
    assert!(statuses.keys().all(|status| [200, 429].contains(status)), "{statuses:?}");
    let passed = statuses[&200];
    // At least the three shares of 100; at most what the Redis had left besides.
    assert!((300..=570).contains(&passed), "{statuses:?}");
    let events = |event: &str| gateways.iter().map(|gateway| gateway.events("rate_limit", "r", event)).sum::<f64>();
    assert!(events("store_failed") > 0.0 && events("shared_out") > 0.0);
    let refused = gateways[0].ask(get("/", ""));
    assert_eq!((refused.status(), refused.head.get("retry-after").is_some()), (429, true));
    assert!(refused.text().contains("\"error\":\"Too many requests.\""), "{}", refused.text());
    assert!(refused.text().contains("rate_limit.exceeded_share"), "{}", refused.text());

    // It is back, with nothing in it: the limit counts again, for all.
    redis.run();
    wait_for("the gateways to count in the Redis again", || {
        gateways.iter().all(|gateway| gateway.ask(get("/", "")).status() == 200).then_some(())
    });
}

#[test]
fn counters_in_memory_survive_a_reload() {
    let config = |body: &str| {
        format!(
            "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n\
             routes: [ {{ name: r, policies: [ {{ rate_limit: {{ requests: 2, per: 1d }} }} ], respond: {{ body: {body} }} }} ]\n"
        )
    };
    let mut gateway = Setup::new(&config("one")).start();
    assert_eq!(gateway.ask(get("/", "")).status(), 200);
    gateway.rewrite(&config("two"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    let second = gateway.ask(get("/", ""));
    assert_eq!((second.status(), &*second.text()), (200, "two"));
    assert_eq!(second.head.get("x-ratelimit-remaining"), Some("0"));
    assert_eq!(gateway.ask(get("/", "")).status(), 429);
}
