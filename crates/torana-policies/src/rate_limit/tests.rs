use super::*;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use torana_core::identity::{Facts, Identity};
use torana_core::store::nowhere::Nowhere;
use torana_core::store::{Blobs, Journal, Soon, Store, StoreError};
use torana_core::testing::{self, TestNames, TestWorker, ready, show_diagnostics, written};

/// A policy and the time of its requests.
struct Bench {
    policy: Arc<dyn Policy>,
    start: Instant,
    worker: Rc<TestWorker>,
    tally: Arc<Tally>,
}

/// A request on its way: what was decided, and what its reply says.
struct Seen {
    exchange: Exchange,
    decision: Decision,
    reply: Reply,
}

impl Bench {
    fn new(config: &str) -> Bench {
        Bench::at(config, &site())
    }

    fn at(config: &str, site: &TestNames) -> Bench {
        let config = written(config);
        let policy = RateLimit::build(config.decode().unwrap(), &config, site)
            .unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
        // After the policy's own beginning, so that all is rounded alike.
        Bench { policy, start: Instant::now(), worker: TestWorker::new(), tally: site.tally() }
    }

    fn send(&self, at: f64, change: impl FnOnce(&mut Exchange)) -> Seen {
        let mut exchange = testing::exchange("GET /x HTTP/1.1\nHost: a");
        exchange.notes.started = self.start + Duration::from_secs_f64(at);
        exchange.outbound = Some(self.worker.clone());
        change(&mut exchange);
        let decision = ready(self.policy.on_request(&mut exchange));
        let mut reply = Reply::default();
        let _ = ready(self.policy.on_response(&mut exchange, &mut reply));
        Seen { exchange, decision, reply }
    }

    fn passes(&self, at: f64) -> bool {
        self.send(at, |_| {}).passed()
    }

    fn counts(&self) -> String {
        let mut text = String::new();
        testing::show_counts(&self.tally, &mut text);
        text
    }
}

impl Seen {
    fn passed(&self) -> bool {
        matches!(self.decision, Decision::Continue)
    }

    fn rejection(&self) -> &Rejection {
        match &self.decision {
            Decision::Reject(rejection) => rejection,
            other => panic!("it is {other:?}"),
        }
    }

    /// What the reply says under these names, a line each.
    fn says(&self, names: &[&str]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of = |name: &&str| {
            let name = torana_core::names::HeaderName::new(name).unwrap();
            self.reply.head.fields.values(&name).map(text).collect::<Vec<_>>().join(" + ")
        };
        names.iter().map(of).collect()
    }

    fn retry_after(&self) -> String {
        let fields = self.rejection().fields.as_ref().expect("it says when to try again");
        String::from_utf8_lossy(fields.get(torana_core::names::KnownName::RetryAfter).unwrap()).into_owned()
    }
}

fn site() -> TestNames {
    TestNames::new("r", "/x").counting(EVENTS)
}

fn plan(name: &str) -> impl FnOnce(&mut Exchange) {
    let (subject, plan) = ("alice".into(), Some(name.into()));
    move |exchange| {
        exchange.identity = Some(Facts { subject, plan, ..Facts::default() }.into());
    }
}

#[test]
fn the_hundred_and_first_request_of_a_minute_is_refused_and_told_when_to_come_back() {
    let bench = Bench::new(r#"{ "requests": 100, "per": "1m" }"#);
    let first = bench.send(0.0, |_| {});
    let names = ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    assert_eq!(first.says(&names), ["\"default\";q=100;w=60", "\"default\";r=99;t=1", "100", "99", "1"]);
    assert_eq!((1..100).filter(|_| bench.passes(0.0)).count(), 99);
    let seen = bench.send(0.0, |_| {});
    assert_eq!(seen.rejection().refusal, &EXCEEDED);
    assert_eq!((seen.rejection().refusal.status.code(), seen.retry_after()), (429, "1".to_owned()));
    assert_eq!(seen.says(&names), ["\"default\";q=100;w=60", "\"default\";r=0;t=1", "100", "0", "1"]);
    // One comes back each 600 ms.
    assert!(!bench.passes(0.599) && bench.passes(0.6) && !bench.passes(0.6));
    assert_eq!(bench.counts(), "3 × limited\n");
}

#[test]
fn a_minute_and_an_hour_are_both_enforced_and_both_told() {
    let bench = Bench::new(
        r#"{ "limits": [
            { "name": "minute", "requests": 5, "per": "1m", "algorithm": "fixed_window" },
            { "name": "hour", "requests": 12, "per": "1h", "algorithm": "sliding_window" } ] }"#,
    );
    // On a full hour, whatever the time is: windows begin with the clock.
    let wall =
        u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let hour = 3_600_000_000;
    let to_hour = Duration::from_micros(hour - wall % hour).as_secs_f64() + 0.5;
    let names = ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining-minute"];
    let first = bench.send(to_hour, |_| {});
    assert_eq!(
        first.says(&names)[..2],
        ["\"minute\";q=5;w=60, \"hour\";q=12;w=3600", "\"minute\";r=4;t=60, \"hour\";r=11;t=7200"]
    );
    // The minute has less left in proportion.
    assert_eq!(first.says(&names)[2..], ["5", "4"]);
    let passed = |minute: f64| (0..20).filter(|_| bench.passes(to_hour + minute * 60.0)).count();
    assert_eq!((passed(0.1), passed(1.0), passed(2.0), passed(3.0)), (4, 5, 2, 0), "12 in the hour");
    // What the hour refused is not charged to the minute.
    let seen = bench.send(to_hour + 182.0, |_| {});
    assert!(seen.says(&["ratelimit"])[0].starts_with("\"minute\";r=5;t="), "{:?}", seen.says(&["ratelimit"]));
    assert_eq!(seen.rejection().cause.as_deref(), Some("the limit `hour` is reached"));
    assert!(seen.retry_after().parse::<u32>().unwrap() > 3000);
}

#[test]
fn a_burst_of_fifty_and_then_a_hundred_a_minute_is_what_a_token_bucket_lets_through() {
    let bench = Bench::new(r#"{ "requests": 100, "per": "1m", "burst": 50, "algorithm": "token_bucket" }"#);
    assert_eq!((0..200).filter(|_| bench.passes(0.0)).count(), 50);
    // Ten a second for ten minutes: 1.67 of them pass.
    let passed = (1..=6000).filter(|step| bench.passes(f64::from(*step) / 10.0)).count();
    assert!((999..=1000).contains(&passed), "{passed}");
    // Nobody comes for half a minute: the burst is there again, no more.
    assert_eq!((0..200).filter(|_| bench.passes(640.0)).count(), 50);
}

#[test]
fn what_comes_too_early_is_held_back_until_its_turn_and_no_longer_than_allowed() {
    let bench = Bench::new(r#"{ "requests": 10, "per": "1s", "burst": 1, "delay": "250ms" }"#);
    let passed = (0..10).filter(|_| bench.passes(0.0)).count();
    assert_eq!(passed, 3, "one at once, and what waits for 100 and 200 ms");
    let millis: Vec<u128> = bench.worker.slept.borrow().iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [100, 200]);
    assert_eq!(bench.counts(), "7 × limited\n2 × delayed\n");
    assert!(!bench.passes(0.049) && bench.passes(0.05));
}

#[test]
fn callers_are_told_apart_by_who_they_are_or_else_by_address() {
    let bench = Bench::new(r#"{ "requests": 1, "per": "1h" }"#);
    let address = |address: &str| {
        let address = address.parse().unwrap();
        bench.send(0.0, |exchange| exchange.client_ip = address).passed()
    };
    assert_eq!([address("192.0.2.7"), address("192.0.2.7"), address("192.0.2.8")], [true, false, true]);
    // One customer has all of a /64.
    assert_eq!([address("2001:db8::1"), address("2001:db8::ffff:1"), address("2001:db8:0:1::1")], [true, false, true]);
    let subject = |subject: &str, from: [u8; 4]| {
        let identity = Identity::new(subject, "test");
        let seen = bench.send(0.0, |exchange| {
            exchange.client_ip = from.into();
            exchange.identity = Some(identity);
        });
        seen.passed()
    };
    assert_eq!([subject("alice", [1, 1, 1, 1]), subject("alice", [2, 2, 2, 2])], [true, false]);
    // The bytes of an address are no address.
    assert!(subject("\x07\x07\x07\x07", [3, 3, 3, 3]) && address("7.7.7.7"));
}

#[test]
fn keys_are_headers_cookies_paths_constants_and_expressions() {
    let differs = |key: &str, one: &str, other: &str| {
        let bench = Bench::new(&format!(r#"{{ "requests": 1, "per": "1h", "key": {key} }}"#));
        let passes = |text: &str| {
            let mut exchange = testing::exchange(text);
            exchange.notes.started = bench.start;
            matches!(ready(bench.policy.on_request(&mut exchange)), Decision::Continue)
        };
        assert!(passes(one) && !passes(one), "{key}");
        passes(other)
    };
    let get = |rest: &str| format!("GET {rest}");
    let (one, two) = (get("/a HTTP/1.1\nHost: a\nX-Key: 1"), get("/a HTTP/1.1\nHost: a\nX-Key: 2"));
    assert!(differs(r#"{ "header": "x-key" }"#, &one, &two));
    assert!(!differs(r#"{ "header": "x-other" }"#, &one, &two), "without it, the address");
    assert!(!differs("\"path\"", &one, &two) && differs("\"path\"", &one, &get("/b HTTP/1.1\nHost: a")));
    assert!(!differs(r#"{ "constant": "all" }"#, &one, &get("/b HTTP/1.1\nHost: b")));
    let cookie = |value: &str| get(&format!("/a HTTP/1.1\nHost: a\nCookie: x=0; s={value}"));
    assert!(differs(r#"{ "cookie": "s" }"#, &cookie("1"), &cookie("2")));
    let expr = r#"{ "expr": "host + headers['x-key']" }"#;
    assert!(differs(expr, &one, &two) && !differs(expr, &get("/a HTTP/1.1\nHost: a"), &get("/a HTTP/1.1\nHost: b")));
    assert!(differs(r#"["path", { "header": "x-key" }]"#, &one, &two));
    assert!(!differs(r#"["path", "client"]"#, &one, &two));
}

#[test]
fn a_plan_has_its_own_limits() {
    let bench = Bench::new(
        r#"{ "requests": 1, "per": "1h", "tiers": { "gold": { "name": "gold", "requests": 3, "per": "1h" } } }"#,
    );
    let passed = |name: &'static str| (0..9).filter(|_| bench.send(0.0, plan(name)).passed()).count();
    assert_eq!((passed("gold"), passed("silver")), (3, 1));
    assert_eq!(bench.send(0.0, plan("gold")).says(&["ratelimit-policy"]), ["\"gold\";q=3;w=3600"]);
}

#[test]
fn a_policy_that_only_watches_refuses_and_tells_nothing() {
    let bench = Bench::new(r#"{ "requests": 2, "per": "1h", "shadow": true, "delay": "1h" }"#);
    assert!((0..100_000).all(|_| bench.passes(0.0)));
    assert_eq!(bench.worker.slept.borrow().len(), 0);
    let seen = bench.send(0.0, |_| {});
    assert_eq!(seen.says(&["ratelimit", "x-ratelimit-limit"]), ["", ""]);
    // Two at once, and two that would have waited for up to an hour.
    assert_eq!(bench.counts(), "99997 × shadowed\n");
}

#[test]
fn requests_may_cost_more_or_nothing() {
    let bench = Bench::new(r#"{ "requests": 10, "per": "1h", "cost": 4 }"#);
    assert_eq!((0..9).filter(|_| bench.passes(0.0)).count(), 2);
    let bench = Bench::new(r#"{ "requests": 10, "per": "1h", "cost": { "expr": "method == 'GET' ? 0 : 5" } }"#);
    assert!((0..99).all(|_| bench.passes(0.0)));
    let post = |exchange: &mut Exchange| exchange.head.set_method(b"POST");
    assert_eq!((0..9).filter(|_| bench.send(0.0, post).passed()).count(), 2);
    let bench = Bench::new(r#"{ "requests": 10, "per": "1h", "cost": 11 }"#);
    let seen = bench.send(0.0, |_| {});
    assert!(seen.rejection().fields.is_none(), "it never fits, so there is no time to come back at");
}

#[test]
fn places_are_free_again_when_their_requests_end() {
    let bench = Bench::new(r#"{ "requests": 2, "algorithm": "concurrency" }"#);
    let (first, second) = (bench.send(0.0, |_| {}), bench.send(0.0, |_| {}));
    assert!(first.passed() && second.passed());
    assert_eq!(
        second.says(&["ratelimit-policy", "ratelimit"]),
        ["\"default\";q=2;qu=\"concurrent-requests\"", "\"default\";r=0"]
    );
    let refused = bench.send(0.0, |_| {});
    assert_eq!(refused.retry_after(), "1");
    bench.policy.on_end(&refused.exchange);
    assert!(!bench.passes(0.0), "who had no place has none to give back");
    bench.policy.on_end(&first.exchange);
    assert!(bench.passes(0.0) && !bench.passes(0.0));
}

#[test]
fn counters_survive_a_reload_that_does_not_change_the_limits() {
    let site = site();
    let config = r#"{ "requests": 3, "per": "1h" }"#;
    let before = Bench::at(config, &site);
    assert!(before.passes(0.0) && before.passes(0.0));
    // Something else has changed.
    let after = Bench::at(&config.replace("3,", r#"3, "headers": "none","#), &site);
    assert!(after.passes(0.0) && !after.passes(0.0));
    assert_eq!(after.send(0.0, |_| {}).says(&["ratelimit"]), [""]);
    let changed = Bench::at(&config.replace('3', "4"), &site);
    assert!((0..4).all(|_| changed.passes(0.0)));
}

/// A store in memory that can be taken away.
#[derive(Default)]
struct Fake {
    counters: Option<MemoryCounters>,
    asked: AtomicU64,
    /// Keys as they were asked for, to see what is shared.
    down: Mutex<bool>,
}

impl Fake {
    fn new() -> Arc<Fake> {
        Arc::new(Fake { counters: Some(MemoryCounters::new(1000)), ..Fake::default() })
    }

    fn site(self: &Arc<Fake>) -> TestNames {
        let mut site = site();
        site.stores.insert("shared".to_owned(), self.clone());
        site
    }
}

impl Store for Fake {
    fn counters(&self) -> &dyn Counters {
        self
    }

    fn blobs(&self) -> &dyn Blobs {
        &Nowhere
    }

    fn journal(&self) -> &dyn Journal {
        &Nowhere
    }
}

impl Counters for Fake {
    fn take(&self, take: &Take<'_>) -> Soon<Result<Taken, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match &self.counters {
            Some(counters) if !*self.down.lock().unwrap() => counters.take(take),
            _ => Nowhere.take(take),
        }
    }

    fn release(&self, take: &Take<'_>, ticket: u64) {
        self.counters.iter().for_each(|counters| counters.release(take, ticket));
    }
}

#[test]
fn gateways_that_share_a_store_share_the_limit() {
    let store = Fake::new();
    let config = r#"{ "requests": 100, "per": "1h", "store": "shared" }"#;
    let gateways: Vec<Bench> = (0..3).map(|_| Bench::at(config, &store.site())).collect();
    let passed = (0..300).filter(|step| gateways[step % 3].passes(0.0)).count();
    assert_eq!((passed, store.asked.load(Ordering::Relaxed)), (100, 300));
}

#[test]
fn leases_ask_far_less_and_pass_no_more_than_they_say() {
    let store = Fake::new();
    let config = r#"{ "requests": 100, "per": "1h", "store": "shared", "lease": 10 }"#;
    let gateways: Vec<Bench> = (0..3).map(|_| Bench::at(config, &store.site())).collect();
    let passed = (0..90).filter(|step| gateways[step % 3].passes(0.0)).count();
    assert_eq!((passed, store.asked.load(Ordering::Relaxed)), (90, 9));
    let passed = (0..300).filter(|step| gateways[step % 3].passes(0.0)).count();
    assert_eq!(passed, 10, "what is taken at one time is never too much");
    let seen = gateways[0].send(0.0, |_| {});
    assert_eq!(seen.rejection().refusal, &EXCEEDED);
    // Later, each gateway may spend one lease from before: no more in an hour
    // than the limit and three leases.
    let passed = (0..3000).filter(|step| gateways[step % 3].passes(3599.0)).count();
    assert!((90..=100).contains(&passed), "{passed}");
}

#[test]
fn while_the_store_is_down_each_gateway_lets_its_share_through_and_then_what_is_configured() {
    let store = Fake::new();
    let of = |rest: &str| {
        let config = format!(
            r#"{{ "requests": 90, "per": "1h", "store": "shared", "on_store_failure": {{ "replicas": 3{rest} }} }}"#
        );
        Bench::at(&config, &store.site())
    };
    let bench = of("");
    assert!(bench.passes(0.0));
    *store.down.lock().unwrap() = true;
    assert_eq!((0..100).filter(|_| bench.passes(1.0)).count(), 30);
    let seen = bench.send(1.0, |_| {});
    assert_eq!(seen.rejection().refusal, &EXCEEDED_SHARE);
    assert!(seen.exchange.notes.cause.as_deref().is_some_and(|cause| cause.contains("cannot be reached")));
    assert_eq!(bench.counts(), "71 × limited\n101 × store_failed\n101 × shared_out\n");
    // The store is back: what it counted before still counts.
    *store.down.lock().unwrap() = false;
    assert_eq!((0..100).filter(|_| bench.passes(1.0)).count(), 89);

    *store.down.lock().unwrap() = true;
    let (open, closed) = (of(r#", "for": "10s""#), of(r#", "for": "10s", "then": "closed""#));
    for bench in [&open, &closed] {
        assert_eq!((0..100).filter(|_| bench.passes(0.0)).count(), 30);
    }
    assert_eq!((0..100).filter(|_| open.passes(10.0)).count(), 100);
    let seen = closed.send(10.0, |_| {});
    assert_eq!((seen.rejection().refusal, seen.retry_after()), (&NOT_COUNTED, "1".to_owned()));
    let at_once = of(r#", "for": "0s", "then": "closed""#);
    assert!(!at_once.passes(0.0));
    assert!(REFUSALS.iter().all(|refusal| refusal.status.code() == 429), "never an error of its own");
}

#[test]
fn mistakes_are_said_where_they_are() {
    let said = |config: &str| {
        let config = written(config);
        let built = config.decode().and_then(|decoded| RateLimit::build(decoded, &config, &site()));
        show_diagnostics(&built.err().expect("it is refused"))
    };
    for (config, code) in [
        ("{}", "rate_limit.no_limit"),
        (r#"{ "requests": 5 }"#, "config.missing_key"),
        (r#"{ "per": "1m" }"#, "config.missing_key"),
        (r#"{ "requests": 0, "per": "1m" }"#, "rate_limit.limit"),
        (r#"{ "requests": 20000, "per": "1m", "algorithm": "sliding_log" }"#, "rate_limit.limit"),
        (r#"{ "requests": 5, "per": "1m", "limits": [ { "requests": 1, "per": "1s" } ] }"#, "rate_limit.two_limits"),
        (r#"{ "limits": [ { "requests": 1, "per": "1s" }, { "requests": 1, "per": "1m" } ] }"#, "rate_limit.name"),
        (r#"{ "limits": [ { "name": "a b", "requests": 1, "per": "1s" } ] }"#, "rate_limit.name"),
        (r#"{ "requests": 5, "per": "1m", "algorithm": "fixed_window", "burst": 2 }"#, "rate_limit.burst"),
        (r#"{ "requests": 5, "per": "1m", "algorithm": "fixed_window", "delay": "1s" }"#, "rate_limit.conflict"),
        (r#"{ "requests": 5, "per": "1m", "lease": 10 }"#, "rate_limit.conflict"),
        (r#"{ "requests": 5, "per": "1m", "store": "nowhere" }"#, "config.unknown_store"),
        (r#"{ "requests": 5, "per": "1m", "key": { "header": "a b" } }"#, "rate_limit.header"),
        (r#"{ "requests": 5, "per": "1m", "key": { "expr": "nothing.there" } }"#, "rate_limit.expr"),
        (r#"{ "requests": 5, "per": "1m", "cost": { "expr": "path" } }"#, "rate_limit.expr"),
        (r#"{ "requests": 5, "per": "1m", "keys": "client" }"#, "config.unknown_key"),
    ] {
        assert!(said(config).starts_with(&format!("error {code}")), "{config}: {}", said(config));
    }
}

#[test]
fn a_plan_of_the_configuration_has_its_limits_where_the_policy_says_none() {
    let build = |plan: &str, config: &str| {
        let site = TestNames::new("r", "/*").counting(EVENTS).with_plan("gold", plan);
        (torana_core::policy::entry::<RateLimit>().build)(&written(config), &site)
    };
    let passed = |policy: &dyn Policy| {
        let ask = |_: &usize| {
            let mut asked = testing::exchange("GET / HTTP/1.1\nHost: a");
            plan("gold")(&mut asked);
            let reply = testing::reply("200");
            !testing::run(policy, &mut asked, reply).starts_with("rejected")
        };
        (0..9).filter(ask).count()
    };
    let three = r#"{ "rate_limit": [ { "requests": 3, "per": "1h" } ], "other": 1 }"#;
    let own = r#"{ "requests": 1, "per": "1h" }"#;
    assert_eq!(build(three, own).ok().map(|policy| passed(&*policy)), Some(3));
    let tiers = r#"{ "requests": 1, "per": "1h", "tiers": { "gold": { "requests": 2, "per": "1h" } } }"#;
    assert_eq!(build(three, tiers).ok().map(|policy| passed(&*policy)), Some(2));
    assert_eq!(build("{}", own).ok().map(|policy| passed(&*policy)), Some(1));
    assert!(build(r#"{ "rate_limit": { "request": 3 } }"#, own).is_err());
}

#[test]
fn a_list_is_the_limits_of_the_policy() {
    let entry = torana_core::policy::entry::<RateLimit>();
    let shown = |config: &str| testing::transcript(&entry, config, "GET / HTTP/1.1\nHost: a", "200");
    let list =
        r#"[ { "name": "minute", "requests": 100, "per": "1m" }, { "name": "hour", "requests": 5000, "per": "1h" } ]"#;
    let said = shown(list);
    assert!(said.contains("\"minute\";q=100;w=60") && said.contains("\"hour\";q=5000;w=3600"), "{said}");
    let mistake = shown(r#"[ { "name": "minute", "request": 100, "per": "1m" } ]"#);
    assert!(mistake.contains("did you mean `requests`"), "{mistake}");
}

#[test]
fn a_consumer_is_counted_as_one_then_who_was_proved_and_else_the_address() {
    let bench = Bench::new(r#"{ "requests": 1, "per": "1h" }"#);
    let facts = |proven_by, issuer: Option<&str>, subject: &str, consumer: Option<&str>| Facts {
        subject: subject.into(),
        proven_by,
        issuer: issuer.map(Into::into),
        consumer: consumer.map(Into::into),
        ..Facts::default()
    };
    let passes =
        |facts: Option<Facts>| bench.send(0.0, |exchange| exchange.identity = facts.map(Identity::from)).passed();
    assert!(passes(Some(facts("api_key", None, "shop", Some("shop")))));
    assert!(!passes(Some(facts("basic_auth", None, "shop", Some("shop")))), "the same consumer");
    assert!(passes(Some(facts("jwt", Some("a"), "shop", None))), "not the consumer of that name");
    assert!(passes(Some(facts("jwt", Some("b"), "shop", None))), "another issuer's");
    assert!(!passes(Some(facts("jwt", Some("b"), "shop", None))));
    assert!(passes(None), "nobody is counted by the address");
    assert!(!passes(Some(facts("jwt", Some("b"), "", None))), "and so is who was proved without a name");
}

#[test]
fn keys_and_costs_know_the_caller_and_what_the_path_captured() {
    let config = r#"{ "requests": 10, "per": "1h", "key": { "expr": "identity.claims.tenant + captures.rest" },
        "cost": { "expr": "'bulk' in identity.roles ? 6 : 1" } }"#;
    let bench = Bench::at(config, &TestNames::new("r", "/*").counting(EVENTS));
    let left = |tenant: Option<&str>, role: &str, from: u8| {
        let mut claims = serde_json::Map::new();
        claims.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant.into())));
        let facts = Facts { subject: "a".into(), roles: [role].into_iter().collect(), claims, ..Facts::default() };
        let seen = bench.send(0.0, |exchange| {
            exchange.captures.push(1, 2);
            exchange.client_ip = [10, 0, 0, from].into();
            exchange.identity = Some(facts.into());
        });
        if seen.passed() { "passes" } else { "refused" }
    };
    assert_eq!([left(Some("acme"), "bulk", 1), left(Some("acme"), "bulk", 2)], ["passes", "refused"]);
    assert_eq!([left(Some("acme"), "user", 3), left(Some("beta"), "bulk", 1)], ["passes", "passes"]);
    // Without the claim it is the address.
    assert_eq!([left(None, "bulk", 1), left(None, "bulk", 1), left(None, "bulk", 2)], ["passes", "refused", "passes"]);
}
