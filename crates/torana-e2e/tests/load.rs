//! Reloads and slow clients beside ordinary traffic.
//!
//! The slow clients come in a small number always, and in the number that the
//! promise is about with `cargo xtask ci --long`.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use torana_e2e::client::{Client, get};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::Origin;
use torana_e2e::stream::Stream;

const CLIENTS: usize = 4;

/// Sends `count` requests over kept connections; what went wrong.
fn traffic(gateway: &Gateway, count: usize, done: &Arc<AtomicUsize>) -> Vec<JoinHandle<Vec<String>>> {
    let port = gateway.port("main");
    let one = move |done: Arc<AtomicUsize>| {
        let mut failed = Vec::new();
        let mut client = Client::connect(port);
        for number in 0..count / CLIENTS {
            // Alternately answered here and upstream.
            let path = if number % 2 == 0 { "/ping" } else { "/a" };
            let sent = client.try_send(get(path, ""));
            let reply = sent.ok().and_then(|()| client.reply_to("GET"));
            match reply {
                Some(reply) if reply.status() == 200 && reply.text() == "ok" => {}
                Some(reply) => failed.push(format!("{}: {}", reply.status(), reply.text())),
                None => {
                    failed.push("closed without a reply".to_owned());
                    client = Client::connect(port);
                }
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
        failed
    };
    let started = (0..CLIENTS).map(|_| {
        let done = done.clone();
        thread::spawn(move || one(done))
    });
    started.collect()
}

/// Reloads 20 times, spread over the traffic; each changes the plan.
fn reload_under_load(requests: usize) {
    const RELOADS: usize = 20;
    let origin = Origin::saying("ok");
    let config = |number: usize| {
        format!(
            "workers: 2\nadmin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\naccess_log: false\n\
             routes:\n  - {{ name: ping, match: {{ path: /ping }}, respond: {{ body: ok }} }}\n  \
             - {{ name: a, match: {{ path: /a }}, upstream: a }}\n  \
             - {{ name: r{number}, match: {{ path: /revision/{number} }}, respond: {{ body: ok }} }}\n"
        )
    };
    let mut gateway = Setup::new(&config(0)).origin("a", &origin).argument("--no-watch").start();
    let done = Arc::new(AtomicUsize::new(0));
    let clients = traffic(&gateway, requests, &done);
    for number in 1..=RELOADS {
        // Between two reloads there has to be traffic.
        let share = number * (requests / CLIENTS * CLIENTS) / (RELOADS + 1);
        let end = Instant::now() + Duration::from_secs(600);
        while done.load(Ordering::SeqCst) < share && clients.iter().any(|client| !client.is_finished()) {
            assert!(Instant::now() < end, "the traffic has stopped");
            thread::sleep(Duration::from_millis(1));
        }
        gateway.rewrite(&config(number));
        assert_eq!(gateway.admin("POST", "/reload").status(), 200);
        let reply = gateway.ask(get(&format!("/revision/{number}"), ""));
        assert_eq!(reply.status(), 200, "the plan of reload {number} is in force when the reload is answered");
    }
    let failed: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(failed.is_empty(), "{} of {requests} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert_eq!(gateway.metric("gateway_config_reloads_total{result=\"success\"}"), Some(20.0));
}

#[test]
fn twenty_reloads_fail_none_of_a_hundred_thousand_requests() {
    reload_under_load(100_000);
}

/// How long requests take, in order of length.
fn durations(gateway: &Gateway, count: usize) -> Vec<Duration> {
    let mut client = gateway.connect();
    let mut took: Vec<Duration> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(client.ask(get("/ping", "")).status(), 200);
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

fn percentile_99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// Opens `count` connections that send a byte of a head now and then.
fn drip(gateway: &Gateway, count: usize, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let port = gateway.port("main");
    let stop = stop.clone();
    let start = b"GET /ping HTTP/1.1\r\nhost: gateway.example\r\nx-slow: ";
    let mut slow: Vec<Client> = (0..count)
        .map(|_| {
            let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
            let mut client = Client::over(Stream::Tcp(tcp));
            client.send(start);
            client
        })
        .collect();
    thread::spawn(move || {
        let mut alive = slow.len();
        while !stop.load(Ordering::SeqCst) {
            // Every connection about once a second.
            for part in slow.chunks_mut(count.div_ceil(100)) {
                alive -= part.iter_mut().filter_map(|client| client.try_send("x").err()).count();
                thread::sleep(Duration::from_millis(10));
            }
        }
        alive
    })
}

/// Slow clients cost memory, not the time of others.
fn slow_clients(count: usize, requests: usize) {
    let config = "limits: { connections_per_client: 10000, head_timeout: 10m }\naccess_log: false\n\
                  routes: [ { name: ping, match: { path: /ping }, respond: { body: pong } } ]";
    let gateway = Setup::new(config).start();
    durations(&gateway, requests / 4);
    // A busy neighbour on the machine disturbs one measurement or the other:
    // one undisturbed round out of five is proof.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let alone = percentile_99(&durations(&gateway, requests));
        let stop = Arc::new(AtomicBool::new(false));
        let dripping = drip(&gateway, count, &stop);
        let beside = percentile_99(&durations(&gateway, requests));
        stop.store(true, Ordering::SeqCst);
        assert!(dripping.join().unwrap() > 0, "no slow client was left to disturb anybody");
        if beside < alone * 2 {
            return;
        }
        rounds.push((alone, beside));
    }
    panic!("p99 alone and beside {count} slow clients: {rounds:?}");
}

#[test]
fn two_hundred_slow_clients_do_not_slow_others() {
    slow_clients(200, 2_000);
}

#[test]
#[ignore = "long: cargo xtask ci --long"]
fn two_thousand_slow_clients_do_not_slow_others() {
    slow_clients(2_000, 20_000);
}
