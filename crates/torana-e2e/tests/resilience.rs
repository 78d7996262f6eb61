//! Upstreams that fail: health, breakers, retries, fallbacks, and how endpoints
//! are chosen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::wait_for;

/// A switch that an origin looks at.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Answers with its name, or 503 while `broken`.
fn service(name: &'static str, broken: &Flag) -> Origin {
    let broken = broken.clone();
    Origin::replying(move |_| if broken.is_set() { reply(503, &[], "broken") } else { ok(name) })
}

fn start(config: &str, origins: &[(&str, &Origin)]) -> Gateway {
    let config = format!("admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n{config}");
    let setup = origins
        .iter()
        .fold(Setup::new(&config), |setup, (name, origin)| setup.known(&format!("{{url:{name}}}"), &origin.url()));
    setup.start()
}

fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    (0..count).map(|_| gateway.ask(get("/", "")).status()).collect()
}

/// Workers publish what they have counted once a second.
fn wait_counted(gateway: &Gateway, series: &str) {
    wait_for(series, || gateway.metric(series).filter(|count| *count > 0.0));
}

#[test]
fn a_breaker_opens_keeps_requests_away_and_recovers() {
    let broken = Flag::default();
    let origin = service("well", &broken);
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], health: { passive: false }, \
         breaker: { failures: 3, open_for: 500ms, probes: 1, recovery: 0s } } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    broken.set(true);
    assert_eq!(statuses(&gateway, 3), [503; 3]);
    assert_eq!(origin.take_seen().len(), 3);
    let refused = gateway.ask(get("/", ""));
    assert_eq!((refused.status(), refused.code().as_str()), (503, "breaker.open"));
    assert!(refused.head.get("retry-after").is_some(), "a client is told when to come back");
    assert_eq!(origin.take_seen().len(), 0, "an open breaker asks nobody");
    assert_eq!(gateway.metric("gateway_breaker_open{breaker=\"a\"}"), Some(1.0));
    broken.set(false);
    wait_for("the breaker to close", || (gateway.ask(get("/", "")).status() == 200).then_some(()));
    gateway.wait_metric("gateway_breaker_open{breaker=\"a\"}", 0.0);
    assert_eq!(statuses(&gateway, 5), [200; 5]);
    assert!(gateway.said().contains("breaker a: open after closed (failures)"), "{}", gateway.said());
}

#[test]
fn a_probe_on_a_connection_that_was_closed_meanwhile_is_sent_on_another() {
    let origin = Origin::start(|conn| {
        // The first connection fails, and is closed when it is used again.
        while conn.request().is_some() {
            if conn.number == 0 && conn.reader.stream.tcp().is_some() {
                conn.send(reply(503, &[], "broken"));
                conn.request();
                return;
            }
            conn.send(ok("well"));
        }
    });
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], health: { passive: false }, \
         breaker: { failures: 1, open_for: 300ms, probes: 1, recovery: 0s } } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    assert_eq!(gateway.ask(get("/", "")).status(), 503);
    let probe = wait_for("the breaker to ask again", || {
        Some(gateway.ask(get("/", ""))).filter(|reply| reply.code() != "breaker.open")
    });
    assert_eq!((probe.status(), probe.text().as_str()), (200, "well"));
    assert_eq!(statuses(&gateway, 2), [200; 2]);
}

#[test]
fn what_clients_do_wrong_opens_no_breaker() {
    let origin = Origin::replying(|_| reply(404, &[], "not here"));
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], breaker: { failures: 2, open_for: 60s } } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    assert_eq!(statuses(&gateway, 20), [404; 20]);
}

#[test]
fn a_breaker_survives_a_reload() {
    let broken = Flag::default();
    broken.set(true);
    let origin = service("well", &broken);
    let config = |timeout: &str| {
        format!(
            "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n\
             upstreams: {{ a: {{ endpoints: [ '{{url:a}}' ], timeout: {timeout}, \
             breaker: {{ failures: 2, open_for: 60s }} }} }}\nroutes: [ {{ name: a, upstream: a }} ]"
        )
    };
    let mut gateway = Setup::new(&config("3s")).known("{url:a}", &origin.url()).start();
    assert_eq!(statuses(&gateway, 2), [503; 2]);
    assert_eq!(gateway.ask(get("/", "")).code(), "breaker.open");
    broken.set(false);
    gateway.rewrite(&config("4s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    gateway.wait_metric("gateway_config_revision", 2.0);
    assert_eq!(gateway.ask(get("/", "")).code(), "breaker.open", "a reload closes no breaker");
}

#[test]
fn fallbacks_answer_in_order() {
    let (broken, other_broken) = (Flag::default(), Flag::default());
    let (first, second) = (service("first", &broken), service("second", &other_broken));
    let gateway = start(
        "upstreams:\n  a: { endpoints: [ '{url:a}' ], breaker: { failures: 1, open_for: 60s }, fallback: \
         [ { upstream: b }, { respond: { status: 503, json: { error: Service temporarily unavailable } } } ] }\n\
         \x20 b: { endpoints: [ '{url:b}' ], breaker: { failures: 1, open_for: 60s } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("a", &first), ("b", &second)],
    );
    assert_eq!(gateway.ask(get("/", "")).text(), "first");
    broken.set(true);
    // The service's own 503 is an answer and is passed on; it opens the breaker.
    assert_eq!(gateway.ask(get("/", "")).text(), "broken");
    assert_eq!(gateway.ask(get("/", "")).text(), "second");
    assert_eq!(gateway.ask(post("/", "", "a body")).text(), "second", "requests with bodies too");
    assert_eq!(second.take_seen().last().unwrap().body.data, b"a body");
    other_broken.set(true);
    assert_eq!(gateway.ask(get("/", "")).text(), "broken");
    let last = gateway.ask(get("/", ""));
    assert_eq!((last.status(), last.text().as_str()), (503, r#"{"error":"Service temporarily unavailable"}"#));
    let line = gateway.log_line("the fixed answer", |line| line["status"] == 503 && line["code"] == "breaker.open");
    assert_eq!(line["route"], "a");
}

#[test]
fn a_status_is_retried_elsewhere_with_its_body_and_only_if_that_is_safe() {
    let broken = Flag::default();
    broken.set(true);
    let (bad, good) = (service("bad", &broken), service("good", &Flag::default()));
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:bad}', '{url:good}' ], health: { passive: false }, \
         retry: { attempts: 1, on: [ connect, 503 ], backoff: 1ms } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("bad", &bad), ("good", &good)],
    );
    for _ in 0..6 {
        assert_eq!(gateway.ask(get("/", "")).text(), "good");
        let put = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(gateway.ask(put).text(), "good");
    }
    let puts: Vec<_> = bad.take_seen().into_iter().filter(|seen| seen.body.data == b"abc").collect();
    assert!(!puts.is_empty(), "the first endpoint was never asked");
    assert!(
        good.take_seen().iter().filter(|seen| seen.head.line.starts_with("PUT")).all(|seen| seen.body.data == b"abc")
    );
    let posts: Vec<u16> = (0..6).map(|_| gateway.ask(post("/", "", "x")).status()).collect();
    assert_eq!(posts.iter().filter(|status| **status == 503).count(), 3, "a POST is never sent twice: {posts:?}");
    wait_counted(&gateway, "gateway_upstream_retries_total{upstream=\"a\",result=\"sent\"}");
}

#[test]
fn a_long_body_is_sent_once() {
    let broken = Flag::default();
    broken.set(true);
    let origins = [service("one", &broken), service("two", &broken)];
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:one}', '{url:two}' ], \
         retry: { attempts: 3, on: [ 503 ], backoff: 1ms, body_bytes: 1KiB } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("one", &origins[0]), ("two", &origins[1])],
    );
    let put =
        |length: usize| format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length));
    assert_eq!(gateway.ask(put(1024)).status(), 503);
    let seen = || origins.iter().map(|origin| origin.take_seen().len()).sum::<usize>();
    assert_eq!(seen(), 4);
    assert_eq!(gateway.ask(put(1025)).status(), 503);
    assert_eq!(seen(), 1);
}

#[test]
fn the_budget_bounds_what_retries_add() {
    let broken = Flag::default();
    broken.set(true);
    let origin = service("a", &broken);
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], health: { passive: false }, \
         retry: { attempts: 3, on: [ 503 ], backoff: 0s, budget: 20% } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    assert_eq!(statuses(&gateway, 400), [503; 400]);
    let sent = origin.take_seen().len();
    // 20 % of 400, and three a second saved up for ten seconds.
    assert!(sent <= 400 + 80 + 30, "{sent} requests for 400");
    assert!(sent >= 400 + 80, "{sent} requests for 400");
    wait_counted(&gateway, "gateway_upstream_retries_total{upstream=\"a\",result=\"over_budget\"}");
}

#[test]
fn probes_put_an_endpoint_out_and_bring_it_back() {
    let ill = Flag::default();
    let probed = Arc::new(AtomicUsize::new(0));
    let (flag, count) = (ill.clone(), probed.clone());
    let first = Origin::replying(move |seen| match seen.target() {
        "/healthz" => {
            count.fetch_add(1, Ordering::SeqCst);
            if flag.is_set() { reply(500, &[], "") } else { ok("") }
        }
        _ => ok("first"),
    });
    let second = Origin::saying("second");
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:first}', '{url:second}' ], \
         health: { path: /healthz, interval: 100ms, panic_threshold: 0% } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("first", &first), ("second", &second)],
    );
    let usable = format!("gateway_endpoint_usable{{upstream=\"a\",endpoint=\"{}\"}}", first.url());
    wait_for("a probe", || (probed.load(Ordering::SeqCst) > 0).then_some(()));
    gateway.wait_metric(&usable, 1.0);
    ill.set(true);
    gateway.wait_metric(&usable, 0.0);
    for _ in 0..10 {
        assert_eq!(gateway.ask(get("/", "")).text(), "second");
    }
    let shown = gateway.admin("GET", "/upstreams").text();
    assert!(shown.contains("health.probes_failed"), "the admin interface says why: {shown}");
    ill.set(false);
    gateway.wait_metric(&usable, 1.0);
    wait_for("requests to come back", || (gateway.ask(get("/", "")).text() == "first").then_some(()));
}

#[test]
fn failing_requests_eject_an_endpoint_and_clients_cannot() {
    let broken = Flag::default();
    let (bad, good) = (service("bad", &broken), service("good", &Flag::default()));
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:bad}', '{url:good}' ], \
         health: { panic_threshold: 0%, passive: { failures: 3, eject_for: 60s } } } }\n\
         routes: [ { name: a, upstream: a, body_bytes: 10B } ]",
        &[("bad", &bad), ("good", &good)],
    );
    for _ in 0..20 {
        assert_eq!(gateway.ask(post("/", "", "more than ten bytes")).status(), 413);
    }
    assert!(statuses(&gateway, 4).iter().all(|status| *status == 200));
    let usable = format!("gateway_endpoint_usable{{upstream=\"a\",endpoint=\"{}\"}}", bad.url());
    assert_eq!(gateway.metric(&usable), Some(1.0), "what the gateway refuses is not the endpoint's fault");
    broken.set(true);
    let failed = statuses(&gateway, 20).iter().filter(|status| **status == 503).count();
    assert_eq!(failed, 3);
    assert_eq!(gateway.metric(&usable), Some(0.0));
}

#[test]
fn a_key_keeps_its_endpoint() {
    let origins = ["one", "two", "three"].map(Origin::saying);
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:0}', '{url:1}', '{url:2}' ], \
         balance: { consistent_hash: { header: x-user } } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("0", &origins[0]), ("1", &origins[1]), ("2", &origins[2])],
    );
    let ask = |user: usize| gateway.ask(get("/", &format!("x-user: user-{user}\r\n"))).text();
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for user in 0..60 {
        let first = ask(user);
        assert!((0..3).all(|_| ask(user) == first), "user-{user} moves");
        *users.entry(first).or_default() += 1;
    }
    assert_eq!(users.len(), 3, "all endpoints have users: {users:?}");
}

#[test]
fn a_cookie_keeps_its_endpoint_and_cannot_be_made_up() {
    let origins = ["one", "two"].map(Origin::saying);
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:0}', '{url:1}' ], sticky: { cookie: lane } } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("0", &origins[0]), ("1", &origins[1])],
    );
    let first = gateway.ask(get("/", ""));
    let cookie = first.head.get("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("lane=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    for _ in 0..6 {
        let again = gateway.ask(get("/", &format!("cookie: theme=dark; {pair}\r\n")));
        assert_eq!(again.text(), first.text());
        assert!(again.head.get("set-cookie").is_none(), "it has the cookie");
    }
    let forged = gateway.ask(get("/", "cookie: lane=AAAAAAAAAAAAAAAAAAAAAA\r\n"));
    assert_eq!(forged.status(), 200);
    assert!(forged.head.get("set-cookie").is_some(), "a cookie nobody issued is replaced");
}

#[test]
fn no_more_requests_at_a_time_than_the_ceiling_and_a_short_queue() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (inside.clone(), most.clone());
    let origin = Origin::replying(move |_| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(300));
        now.fetch_sub(1, Ordering::SeqCst);
        ok("done")
    });
    let gateway = start(
        "workers: 2\nupstreams: { a: { endpoints: [ '{url:a}' ], \
         concurrency: { requests: 2, queue: 1, queue_timeout: 5s } } }\nroutes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    let replies = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(|| gateway.ask(get("/", "")))).collect();
        asked.into_iter().map(|reply| reply.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(most.load(Ordering::SeqCst), 2, "never more than the ceiling");
    let served = replies.iter().filter(|reply| reply.status() == 200).count();
    // Two at once, and one more that waits on each of two workers.
    assert!((3..=4).contains(&served), "{served} were served");
    assert!(replies.iter().filter(|reply| reply.status() != 200).all(|reply| reply.code() == "ceiling.full"));
    assert_eq!(gateway.ask(get("/", "")).status(), 200, "places are given back");
}

#[test]
fn a_tunnel_has_its_place_until_it_is_closed() {
    let origin = Origin::start(|conn| {
        while let Some(seen) = conn.request() {
            if seen.target() == "/socket" {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
                conn.until_closed();
                return;
            }
            conn.send(ok("done"));
        }
    });
    let gateway = start(
        "upstreams: { a: { endpoints: [ '{url:a}' ], concurrency: { requests: 1, queue: 0 } } }\n\
         routes: [ { name: a, upstream: a } ]",
        &[("a", &origin)],
    );
    assert_eq!(statuses(&gateway, 2), [200; 2]);
    let mut socket = gateway.connect();
    assert_eq!(socket.ask(get("/socket", "connection: upgrade\r\nupgrade: websocket\r\n")).status(), 101);
    assert_eq!(gateway.ask(get("/", "")).code(), "ceiling.full");
    drop(socket);
    wait_for("the place to be given back", || (gateway.ask(get("/", "")).status() == 200).then_some(()));
}

#[test]
fn a_request_that_may_have_been_processed_is_no_ones_to_repeat() {
    // It takes the request and hangs up.
    let first = Origin::start(|conn| {
        conn.request();
    });
    let second = Origin::saying("second");
    let gateway = start(
        "upstreams:\n  a: { endpoints: [ '{url:a}' ], health: { passive: false }, \
         fallback: [ { upstream: b }, { respond: { status: 503, body: fixed } } ] }\n\
         \x20 b: { endpoints: [ '{url:b}' ] }\nroutes: [ { name: a, upstream: a } ]",
        &[("a", &first), ("b", &second)],
    );
    assert_eq!(gateway.ask(get("/", "")).text(), "second", "a GET does no harm");
    for body in ["", "a body"] {
        assert_eq!(gateway.ask(post("/", "", body)).text(), "fixed", "a POST is paid for once");
    }
    let methods: Vec<_> = second.take_seen().into_iter().map(|seen| seen.head.line).collect();
    assert!(methods.iter().all(|line| line.starts_with("GET")), "{methods:?}");
}
