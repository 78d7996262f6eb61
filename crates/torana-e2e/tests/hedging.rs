//! A second endpoint is asked when the first is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use torana_e2e::client::{get, post};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok, reply};
use torana_e2e::wait_for;

const SLOW: Duration = Duration::from_millis(600);

/// Answers at once, but for every tenth request.
fn moody() -> Origin {
    let count = Arc::new(AtomicUsize::new(0));
    Origin::replying(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) % 10 == 5 {
            std::thread::sleep(SLOW);
        }
        ok("moody")
    })
}

fn start(upstream: &str, origins: [&Origin; 2]) -> Gateway {
    let config = format!(
        "admin: {{ address: \"127.0.0.1:{{port:admin}}\" }}\n\
         upstreams: {{ a: {{ endpoints: [ '{{url:0}}', '{{url:1}}' ], {upstream} }} }}\n\
         routes: [ {{ name: a, upstream: a }} ]"
    );
    Setup::new(&config).known("{url:0}", &origins[0].url()).known("{url:1}", &origins[1].url()).start()
}

/// The time of 100 requests, sorted.
fn times(gateway: &Gateway) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(gateway.ask(get("/", "")).status(), 200);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

#[test]
fn the_slowest_of_a_hundred_become_quick() {
    let (first, second) = (moody(), Origin::saying("steady"));
    let plain = times(&start("health: { passive: false }", [&first, &second]));
    assert!(plain[98] >= SLOW, "without hedging the 99th is slow: {:?}", plain[98]);

    let (first, second) = (moody(), Origin::saying("steady"));
    let gateway = start("breaker: { failures: 1, scope: endpoint }, hedge: { after: 50ms }", [&first, &second]);
    let hedged = times(&gateway);
    assert!(hedged[98] < SLOW, "with it, it is not: {:?}", hedged[98]);
    gateway.wait_metric("gateway_upstream_hedges_total{upstream=\"a\",result=\"won\"}", 5.0);
    gateway.wait_metric("gateway_upstream_hedges_total{upstream=\"a\",result=\"sent\"}", 5.0);
    let line = gateway.log_line("one that was sent twice", |line| line["attempts"] == 2);
    assert_eq!(line["endpoint"], second.url(), "the log names who answered");
    // Nobody is charged for an answer that was not waited for.
    let open = format!("gateway_breaker_open{{breaker=\"a {}\"}}", first.url());
    assert_eq!(gateway.metric(&open), Some(0.0), "{}", gateway.said());
    let failed = format!("gateway_upstream_failures_total{{upstream=\"a\",endpoint=\"{}\"}}", first.url());
    assert_eq!(gateway.metric(&failed), Some(0.0));
    // What lost is closed and not kept for the next.
    wait_for("the losing connections to be closed", || (first.open() <= 1).then_some(()));
}

/// Takes the request and says nothing until the gateway gives up.
fn silent() -> Origin {
    Origin::start(|conn| {
        while conn.request().is_some() {
            conn.until_closed();
        }
    })
}

#[test]
fn only_safe_requests_without_a_body_are_sent_twice() {
    let origins = [silent(), silent()];
    let gateway =
        start("timeout: 400ms, health: { passive: false }, hedge: { after: 50ms }", [&origins[0], &origins[1]]);
    let seen = || origins.iter().map(|origin| origin.take_seen().len()).sum::<usize>();
    assert_eq!(gateway.ask(get("/", "")).status(), 504);
    assert_eq!(seen(), 2);
    for other in [
        post("/", "", ""),
        post("/", "", "a body"),
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx".to_owned(),
        get("/", "connection: upgrade\r\nupgrade: websocket\r\n"),
    ] {
        assert_eq!(gateway.ask(&other).status(), 504);
        assert_eq!(seen(), 1, "{other}");
    }
}

#[test]
fn a_quick_failure_does_not_win_over_an_answer_that_is_under_way() {
    // Whoever is asked first is slow; whoever is asked second fails at once.
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = || {
        let asked = asked.clone();
        Origin::replying(move |_| {
            if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                std::thread::sleep(Duration::from_millis(300));
                ok("slow")
            } else {
                reply(503, &[], "broken")
            }
        })
    };
    let origins = [origin(), origin()];
    let upstream = "health: { passive: false }, hedge: { after: 50ms }, retry: { attempts: 0, on: [ 503 ] }";
    let gateway = start(upstream, [&origins[0], &origins[1]]);
    for _ in 0..3 {
        assert_eq!(gateway.ask(get("/", "")).text(), "slow");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

#[test]
fn a_reply_that_is_better_than_none_is_its_own_endpoint_s() {
    // Whoever is asked first breaks off in the end; whoever is asked second fails at once.
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = |name: &'static str| {
        let asked = asked.clone();
        Origin::start(move |conn| {
            while conn.request().is_some() {
                if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    std::thread::sleep(Duration::from_millis(300));
                    return;
                }
                conn.send(reply(503, &[], name));
            }
        })
    };
    let origins = [origin("0"), origin("1")];
    let upstream = "health: { passive: false }, hedge: { after: 50ms }, retry: { attempts: 0, on: [ 503 ] }";
    let gateway = start(upstream, [&origins[0], &origins[1]]);
    let told = gateway.ask(get("/", "")).text();
    let line = gateway.log_line("the request", |line| line["attempts"] == 2);
    assert_eq!(
        (line["status"].as_u64(), line["endpoint"].as_str()),
        (Some(503), Some(&*origins[usize::from(told == "1")].url()))
    );
}

#[test]
fn hedges_are_part_of_the_budget() {
    let slow = || {
        Origin::replying(|_| {
            std::thread::sleep(Duration::from_millis(20));
            ok("slow")
        })
    };
    let origins = [slow(), slow()];
    let gateway = start("hedge: { after: 2ms }, retry: { budget: 10% }", [&origins[0], &origins[1]]);
    let count = 150;
    for _ in 0..count {
        assert_eq!(gateway.ask(get("/", "")).status(), 200);
    }
    let sent: usize = origins.iter().map(|origin| origin.take_seen().len()).sum();
    // A tenth of 150, and three a second saved up for ten seconds, of which some may have passed.
    assert!(sent > count && sent <= count + 15 + 60, "{sent} requests for {count}");
}

#[test]
fn a_percentile_is_learned_before_anything_is_sent_twice() {
    let slow = Arc::new(AtomicUsize::new(0));
    let origin = || {
        let slow = slow.clone();
        Origin::replying(move |_| {
            if slow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                std::thread::sleep(SLOW);
            }
            ok("")
        })
    };
    let origins = [origin(), origin()];
    let gateway = start("hedge: {}", [&origins[0], &origins[1]]);
    let ask = || {
        let started = Instant::now();
        assert_eq!(gateway.ask(get("/", "")).status(), 200);
        started.elapsed()
    };
    slow.store(1, Ordering::SeqCst);
    assert!(ask() >= SLOW, "nothing is known yet");
    for _ in 0..200 {
        let _ = ask();
    }
    slow.store(1, Ordering::SeqCst);
    assert!(ask() < SLOW, "by now a slow answer stands out");
    wait_for("the hedge to be counted", || {
        gateway.metric("gateway_upstream_hedges_total{upstream=\"a\",result=\"won\"}").filter(|won| *won >= 1.0)
    });
}
