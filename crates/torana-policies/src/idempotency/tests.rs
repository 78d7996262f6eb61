use super::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use torana_core::identity::Identity;
use torana_core::store::nowhere::Nowhere;
use torana_core::testing::{self, TestNames, ready, show_counts, show_diagnostics, written};

struct Bench {
    policy: Arc<dyn Policy>,
    tally: Arc<Tally>,
}

impl Bench {
    fn new(config: &str) -> Bench {
        let site = TestNames::new("r", "/").counting(EVENTS);
        Bench { policy: build(config, &site).unwrap(), tally: site.tally() }
    }

    /// What a request is answered, with the reply of an upstream that it may
    /// get to; `sent` says whether it did.
    fn send(&self, request: &str, upstream: &str) -> (bool, String) {
        self.send_as(request, upstream, None)
    }

    fn send_as(&self, request: &str, upstream: &str, who: Option<&str>) -> (bool, String) {
        let mut exchange = self.exchange(request, who);
        let (sent, reply) = match ready(self.policy.on_request(&mut exchange)) {
            Decision::Continue => (true, testing::reply(upstream)),
            Decision::Answer(reply) => (false, *reply),
            Decision::Reject(rejection) => {
                let refused = rejection.refusal;
                return (false, format!("{} {}", refused.status.code(), refused.code));
            }
        };
        (sent, self.answer(exchange, reply))
    }

    fn exchange(&self, request: &str, who: Option<&str>) -> Exchange {
        let mut exchange = testing::exchange(request);
        exchange.identity = who.map(|who| Identity::new(who, "test"));
        exchange
    }

    /// The way back of a reply, to its last byte.
    fn answer(&self, mut exchange: Exchange, mut reply: Reply) -> String {
        assert!(matches!(ready(self.policy.on_response(&mut exchange, &mut reply)), Decision::Continue));
        let body = std::mem::take(&mut reply.body);
        let body = if body.is_empty() { body } else { self.policy.wrap_response(&exchange, body) };
        let mut text = String::new();
        let status = reply.head.status.code();
        match pin!(body.collect_capped(1 << 20)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(body)) => text.push_str(&String::from_utf8_lossy(&body)),
            other => panic!("the body is {other:?}"),
        }
        let name = HeaderName::new("idempotency-replayed").unwrap();
        let replayed = if reply.head.fields.values(&name).next().is_some() { " again" } else { "" };
        self.policy.on_end(&exchange);
        format!("{status}{replayed} {text}")
    }

    fn counts(&self) -> String {
        let mut text = String::new();
        show_counts(&self.tally, &mut text);
        text
    }
}

fn build(config: &str, site: &TestNames) -> Result<Arc<dyn Policy>, String> {
    let config = written(config);
    let built = config.decode().and_then(|decoded| Idempotency::build(decoded, &config, site));
    built.map_err(|problems| show_diagnostics(&problems))
}

const PAY: &str = "POST /pay HTTP/1.1\nHost: a\nIdempotency-Key: k1\n\n{\"amount\":1}";

#[test]
fn a_request_that_is_sent_again_is_answered_again_and_not_done_again() {
    let bench = Bench::new("{}");
    assert_eq!(bench.send(PAY, "201\nLocation: /p/1\n\npaid"), (true, "201 paid".to_owned()));
    assert_eq!(bench.send(PAY, "500"), (false, "201 again paid".to_owned()));
    let other = PAY.replace("amount\":1", "amount\":2");
    assert_eq!(bench.send(&other, "500"), (false, "422 idempotency.mismatch".to_owned()));
    let elsewhere = PAY.replace("/pay", "/pay?really");
    assert_eq!(bench.send(&elsewhere, "500"), (false, "422 idempotency.mismatch".to_owned()));
    let key = PAY.replace("k1", "k2");
    assert_eq!(bench.send(&key, "204"), (true, "204 ".to_owned()));
    assert_eq!(bench.send(&key, "500"), (false, "204 again ".to_owned()));
    assert_eq!(bench.counts(), "2 × kept\n2 × replayed\n2 × mismatched\n");
}

#[test]
fn while_the_first_is_under_way_others_of_its_key_are_refused() {
    let bench = Bench::new("{}");
    let mut first = bench.exchange(PAY, None);
    assert!(matches!(ready(bench.policy.on_request(&mut first)), Decision::Continue));
    assert_eq!(first.body.data(), b"{\"amount\":1}", "the body goes on");
    assert_eq!(bench.send(PAY, "200"), (false, "409 idempotency.in_flight".to_owned()));
    assert_eq!(bench.answer(first, testing::reply("200\n\nok")), "200 ok");
    assert_eq!(bench.send(PAY, "200"), (false, "200 again ok".to_owned()));
}

#[test]
fn a_reply_that_was_not_seen_to_its_end_is_not_known_until_its_time_is_over() {
    let bench = Bench::new(r#"{ "in_flight_ttl": "1ms" }"#);
    let mut first = bench.exchange(PAY, None);
    assert!(matches!(ready(bench.policy.on_request(&mut first)), Decision::Continue));
    let mut reply = testing::reply("200\n\nok");
    let _ = ready(bench.policy.on_response(&mut first, &mut reply));
    drop(bench.policy.wrap_response(&first, reply.body));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !bench.send(PAY, "200\n\nsecond").0 {
        assert!(std::time::Instant::now() < end, "it is under way for ever");
    }
    assert_eq!(bench.send(PAY, "500"), (false, "200 again second".to_owned()));
}

#[test]
fn what_may_be_tried_again_is_not_kept() {
    for status in [500, 502, 503, 408, 409, 425, 429] {
        let bench = Bench::new("{}");
        let reply = format!("{status}\n\nno");
        assert_eq!(bench.send(PAY, &reply), (true, format!("{status} no")));
        assert_eq!(bench.send(PAY, "200\n\nyes"), (true, "200 yes".to_owned()), "{status}");
        assert_eq!(bench.counts(), "1 × kept\n1 × not_kept\n");
    }
    let bench = Bench::new(r#"{ "keep_errors": true }"#);
    assert!(bench.send(PAY, "500\n\nno").0);
    assert_eq!(bench.send(PAY, "200"), (false, "500 again no".to_owned()));
    // What the caller did wrong it does wrong again.
    let bench = Bench::new("{}");
    assert!(bench.send(PAY, "400\n\nno").0 && !bench.send(PAY, "200").0);
    // What the gateway says itself is no reply of the upstream.
    let bench = Bench::new(r#"{ "keep_errors": true }"#);
    let mut first = bench.exchange(PAY, None);
    let _ = ready(bench.policy.on_request(&mut first));
    first.notes.code = Some("upstream.unreachable");
    let _ = bench.answer(first, testing::reply("404\n\nno"));
    assert!(bench.send(PAY, "200").0);
}

#[test]
fn keys_are_their_callers_own() {
    let bench = Bench::new("{}");
    let alice = |reply: &str| bench.send_as(PAY, reply, Some("alice"));
    assert!(alice("200\n\nalice's").0);
    assert_eq!(bench.send_as(PAY, "200\n\nbob's", Some("bob")), (true, "200 bob's".to_owned()));
    assert_eq!(bench.send(PAY, "200\n\nnobody's"), (true, "200 nobody's".to_owned()));
    let token = PAY.replace("Host: a", "Host: a\nAuthorization: Bearer t");
    assert_eq!(bench.send(&token, "200\n\ntoken's"), (true, "200 token's".to_owned()));
    assert_eq!(alice("500"), (false, "200 again alice's".to_owned()));
    assert_eq!(bench.send(&token, "500"), (false, "200 again token's".to_owned()));
}

#[test]
fn only_configured_methods_with_good_keys_and_short_bodies() {
    let bench = Bench::new(r#"{ "request_bytes": "12B", "reply_bytes": "4B" }"#);
    let get = PAY.replace("POST", "GET");
    assert!(bench.send(&get, "200\n\n1").0 && bench.send(&get, "200\n\n2").0);
    let without = PAY.replace("Idempotency-Key: k1\n", "");
    assert!(bench.send(&without, "200").0 && bench.send(&without, "200").0);
    let long = PAY.replace(":1}", ":10}");
    assert_eq!(bench.send(&long, "200"), (false, "413 idempotency.too_large".to_owned()));
    for bad in ["k\t1", &"k".repeat(256), "k1\nIdempotency-Key: k2"] {
        assert_eq!(bench.send(&PAY.replace("k1", bad), "200"), (false, "400 idempotency.bad_key".to_owned()), "{bad}");
    }
    assert!(bench.send(PAY, "200\n\n12345").0, "a long reply passes");
    assert_eq!(bench.send(PAY, "200\n\n1234"), (true, "200 1234".to_owned()), "and is not kept");
    assert!(!bench.send(PAY, "200").0);
    let strict = Bench::new(r#"{ "required": true, "methods": "PUT" }"#);
    let put = without.replace("POST", "PUT");
    assert_eq!(strict.send(&put, "200"), (false, "400 idempotency.no_key".to_owned()));
    assert!(strict.send(&without, "200").0);
}

#[test]
fn without_its_store_it_refuses_or_lets_pass_as_configured() {
    let mut site = TestNames::new("r", "/").counting(EVENTS);
    site.stores.insert("shared".to_owned(), Arc::new(Nowhere));
    let bench = |config: &str| Bench { policy: build(config, &site).unwrap(), tally: site.tally() };
    let closed = bench(r#"{ "store": "shared" }"#);
    assert_eq!(closed.send(PAY, "200"), (false, "503 idempotency.no_store".to_owned()));
    let open = bench(r#"{ "store": "shared", "on_store_failure": "open" }"#);
    assert!(open.send(PAY, "200\n\nok").0 && open.send(PAY, "200\n\nok").0);
    assert_eq!(open.counts(), "3 × store_failed\n");
}

#[test]
fn mistakes_are_said() {
    let said = |config: &str| build(config, &TestNames::new("r", "/")).err().unwrap();
    assert!(said(r#"{ "methods": ["POTS"] }"#).starts_with("error idempotency.method"));
    assert!(said(r#"{ "ttl": "0s" }"#).starts_with("error config.zero_timeout"));
    assert!(said(r#"{ "store": "nowhere" }"#).starts_with("error config.unknown_store"));
}

#[test]
fn callers_of_one_name_by_the_word_of_two_issuers_are_two() {
    use torana_core::identity::Facts;
    let bench = Bench::new("{}");
    let send = |issuer: &str, consumer: Option<&str>| {
        let mut exchange = bench.exchange(PAY, None);
        let facts = Facts {
            subject: "7".into(),
            proven_by: "jwt",
            issuer: Some(issuer.into()),
            consumer: consumer.map(Into::into),
            ..Facts::default()
        };
        exchange.identity = Some(facts.into());
        match ready(bench.policy.on_request(&mut exchange)) {
            Decision::Continue => bench.answer(exchange, testing::reply(&format!("201\n\nfor {issuer}"))),
            Decision::Answer(reply) => bench.answer(exchange, *reply),
            Decision::Reject(rejection) => rejection.refusal.code.to_owned(),
        }
    };
    assert_eq!(send("a", None), "201 for a");
    assert_eq!(send("b", None), "201 for b");
    assert_eq!(send("a", None), "201 again for a");
    assert_eq!(send("a", Some("shop")), "201 for a", "a consumer is somebody else");
    assert_eq!(send("b", Some("shop")), "201 again for a", "whatever it is proved by");
}
