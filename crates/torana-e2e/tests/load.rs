//! Reloads, a new process, dying endpoints and slow clients beside ordinary
//! traffic.
//!
//! What takes long comes in a small number always, and in the number that the
//! promise is about with `cargo xtask ci --long`.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use torana_e2e::client::{Client, get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok};
use torana_e2e::stream::Stream;
use torana_e2e::wait_for;

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
                Some(reply) if reply.status() == 200 && reply.text() == "ok" => {
                    // As any client would, told that there is no next reply.
                    if reply.head.get("connection") == Some("close") {
                        client = Client::connect(port);
                    }
                }
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

/// Waits until so many requests are done.
fn wait_done(share: usize, done: &AtomicUsize, clients: &[JoinHandle<Vec<String>>]) {
    let end = Instant::now() + Duration::from_secs(1200);
    while done.load(Ordering::SeqCst) < share && clients.iter().any(|client| !client.is_finished()) {
        assert!(Instant::now() < end, "the traffic has stopped");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reloads so often, spread over the traffic; each changes the plan. In the
/// middle, if asked for, a new process takes over.
fn reload_under_load(requests: usize, reloads: usize, is_replaced: bool) {
    let bytes = ok("ok");
    // Remembers nothing: a million requests would be a gigabyte.
    let origin = Origin::start(move |conn| while conn.head().is_some() && conn.send(&bytes) {});
    let config = |number: usize| {
        format!(
            "workers: 2\nadmin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\naccess_log: false\n\
             upgrade: {{ socket: upgrade.sock }}\n\
             routes:\n  - {{ name: ping, match: {{ path: /ping }}, respond: {{ body: ok }} }}\n  \
             - {{ name: a, match: {{ path: /a }}, upstream: a }}\n  \
             - {{ name: r{number}, match: {{ path: /revision/{number} }}, respond: {{ body: ok }} }}\n"
        )
    };
    let mut gateway = Setup::new(&config(0)).origin("a", &origin).argument("--no-watch").start();
    let socket = gateway.dir().path().join("upgrade.sock").display().to_string();
    let done = Arc::new(AtomicUsize::new(0));
    let clients = traffic(&gateway, requests, &done);
    let (mut old, mut before) = (None, 0);
    for number in 1..=reloads {
        // Between two reloads there has to be traffic.
        wait_done(number * (requests / CLIENTS * CLIENTS) / (reloads + 1), &done, &clients);
        if is_replaced && number == reloads.div_ceil(2) {
            before = number - 1;
            assert_eq!(gateway.metric(RELOADED), Some(before as f64));
            old = Some(gateway.replace(&socket));
            // The rest of this one's reloads is the new one's.
            wait_for("the old one to let go", || {
                old.as_ref().is_none_or(|old| old.said().contains("another process serves now")).then_some(())
            });
        }
        gateway.rewrite(&config(number));
        wait_for("the admin interface of the one that serves", || {
            (gateway.admin("POST", "/reload").status() == 200).then_some(())
        });
        let reply = gateway.ask(get(&format!("/revision/{number}"), ""));
        assert_eq!(reply.status(), 200, "the plan of reload {number} is in force when the reload is answered");
    }
    let failed: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(failed.is_empty(), "{} of {requests} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert_eq!(done.load(Ordering::SeqCst), requests / CLIENTS * CLIENTS);
    assert_eq!(gateway.metric(RELOADED), Some((reloads - before) as f64));
    if let Some(mut old) = old {
        assert_eq!(old.wait_exit(), Some(0));
    }
}

const RELOADED: &str = "gateway_config_reloads_total{result=\"success\"}";

#[test]
fn twenty_reloads_fail_none_of_a_hundred_thousand_requests() {
    reload_under_load(100_000, 20, false);
}

#[test]
fn five_reloads_and_a_new_process_fail_none_of_twenty_thousand_requests() {
    reload_under_load(20_000, 5, true);
}

#[test]
#[ignore = "long: cargo xtask ci --long"]
fn fifty_reloads_and_a_new_process_fail_none_of_a_million_requests() {
    reload_under_load(1_000_000, 50, true);
}

/// What requests with `method` get until `stop`, on kept connections: how many
/// were answered well, and what the others got.
fn ask_on(gateway: &Gateway, method: &'static str, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Vec<String>)> {
    let (port, stop) = (gateway.port("main"), stop.clone());
    thread::spawn(move || {
        let (mut well, mut failed) = (0, Vec::new());
        let mut client = Client::connect(port);
        let request = if method == "GET" { get("/a", "") } else { post("/a", "", "x") };
        while !stop.load(Ordering::SeqCst) {
            let sent = client.try_send(&request);
            match sent.ok().and_then(|()| client.reply_to(method)) {
                Some(reply) if reply.status() == 200 => well += 1,
                Some(reply) => failed.push(format!("{} {}", reply.status(), reply.code())),
                None => {
                    failed.push("closed without a reply".to_owned());
                    client = Client::connect(port);
                }
            }
        }
        (well, failed)
    })
}

/// Two endpoints, of which one is killed as by the kernel; `GET` may be sent
/// again, `POST` may not.
#[test]
fn a_killed_endpoint_costs_at_most_what_it_was_working_on_and_no_get() {
    const EACH: usize = 4;
    let (busy, is_busy) = (Arc::new(AtomicUsize::new(0)), ok("ok"));
    let working = busy.clone();
    // Takes its time, so that there is something under way when the process dies.
    let slow = Origin::start(move |conn| {
        while let Some(head) = conn.head() {
            let _ = conn.reader.body(&head, false);
            working.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            if !conn.send(&is_busy) {
                return;
            }
        }
    });
    let service = "routes: [ { name: a, upstream: a } ]\naccess_log: false";
    let dying = Setup::new(service).origin("a", &slow).start();
    let staying = Setup::new(service).origin("a", &slow).start();
    let config = "access_log: false\nadmin: { address: \"127.0.0.1:{port:admin}\" }\nupstreams:\n  \
                  a: { endpoints: [ '{url:one}', '{url:two}' ], retry: { attempts: 2 } }\n\
                  routes: [ { name: a, upstream: a } ]";
    let url = |gateway: &Gateway| format!("http://127.0.0.1:{}", gateway.port("main"));
    let gateway = Setup::new(config).known("{url:one}", &url(&dying)).known("{url:two}", &url(&staying)).start();
    let stop = Arc::new(AtomicBool::new(false));
    let gets: Vec<_> = (0..EACH).map(|_| ask_on(&gateway, "GET", &stop)).collect();
    let posts: Vec<_> = (0..EACH).map(|_| ask_on(&gateway, "POST", &stop)).collect();
    let wait_busy = |more: usize| {
        let until = busy.load(Ordering::SeqCst) + more;
        wait_for("requests to reach the service", || (busy.load(Ordering::SeqCst) >= until).then_some(()));
    };
    wait_busy(400);
    dying.signal(rustix::process::Signal::KILL);
    wait_busy(1000);
    stop.store(true, Ordering::SeqCst);
    let sum = |clients: Vec<JoinHandle<(usize, Vec<String>)>>| {
        clients.into_iter().map(|client| client.join().unwrap()).fold((0, Vec::new()), |mut sum, (well, failed)| {
            sum.0 += well;
            sum.1.extend(failed);
            sum
        })
    };
    let (well, failed) = sum(gets);
    assert!(failed.is_empty(), "of {} GETs failed: {failed:?}", well + failed.len());
    assert!(well > 400, "{well} GETs");
    let (well, failed) = sum(posts);
    assert!(well > 400, "{well} POSTs");
    // What was sent on a connection that broke: there was at most one per
    // client, of both kinds. A process that is killed closes them one after the
    // other, so a client may lose its next request to one that is still open.
    assert!(failed.len() <= 2 * EACH, "of {} POSTs failed: {failed:?}", well + failed.len());
    assert!(failed.iter().all(|what| what.starts_with("502 upstream.")), "{failed:?}");
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
