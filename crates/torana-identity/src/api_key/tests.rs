//! Keys in every state and place, and what callers, upstreams and logs see.

use super::*;
use std::sync::Arc;
use torana_core::consumer::{ConsumerFacts, Consumers, Key, Nobody, Signer, User};
use torana_core::exchange::RouteId;
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, ready, reply, run, show_diagnostics, written};
use torana_core::verdict::Decision;

/// Consumers of a test, by key.
struct Book(Vec<(Key, Arc<Consumer>)>);

impl Consumers for Book {
    fn key(&self, wanted: &Digest) -> Result<Option<FoundKey>, Unavailable> {
        if *wanted == digest_of("lost-lost-lost-lost") {
            return Err(Unavailable);
        }
        let found = self.0.iter().find(|(key, _)| key.digest == *wanted);
        Ok(found.map(|(key, consumer)| FoundKey { key: Arc::new(key.clone()), consumer: consumer.clone() }))
    }

    fn user(&self, _: &str) -> Option<Arc<User>> {
        None
    }

    fn signer(&self, _: &str) -> Option<Arc<Signer>> {
        None
    }

    fn certificate(&self, _: &str) -> Option<Arc<Consumer>> {
        None
    }

    fn route_name(&self, route: u32) -> Option<&str> {
        ["orders", "users"].get(route as usize).copied()
    }
}

fn digest_of(key: &str) -> Digest {
    Digest(digest(&SHA256, key.as_bytes()).as_ref().try_into().unwrap())
}

fn book() -> Arc<dyn Consumers> {
    let consumer = |name: &str, facts: ConsumerFacts| {
        Arc::new(Consumer::new(ConsumerFacts { name: name.into(), active: name != "off", ..facts }))
    };
    let key =
        |text: &str| Key { id: "k1".into(), digest: digest_of(text), expires: None, active: true, revoked: false };
    let plain = || consumer("shop", ConsumerFacts { roles: ["buyer"].into_iter().collect(), ..Default::default() });
    let near = consumer("near", ConsumerFacts { ips: ["10.0.0.0/8".parse().unwrap()].into(), ..Default::default() });
    let narrow = consumer("narrow", ConsumerFacts { routes: ["orders"].into_iter().collect(), ..Default::default() });
    Arc::new(Book(vec![
        (key("good-good-good-good"), plain()),
        (Key { expires: Some(4_000_000_000), ..key("soon-soon-soon-soon") }, plain()),
        (Key { expires: Some(1_000_000_000), ..key("past-past-past-past") }, plain()),
        (Key { active: false, ..key("idle-idle-idle-idle") }, plain()),
        (Key { revoked: true, ..key("gone-gone-gone-gone") }, plain()),
        (key("off-off-off-off-off"), consumer("off", ConsumerFacts::default())),
        (key("near-near-near-near"), near),
        (key("narrow-narrow-narrow"), narrow),
    ]))
}

fn policy(config: &str) -> Arc<dyn Policy> {
    let site = TestNames::new("orders", "/*").serving(book()).with_plan("hourly", "{}");
    (entry::<ApiKey>().build)(&written(config), &site)
        .unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)))
}

fn code(policy: &dyn Policy, request: &str, route: u32) -> String {
    let mut asked = exchange(request);
    asked.route = Some(RouteId(route));
    match ready(policy.on_request(&mut asked)) {
        Decision::Continue => asked.identity.map_or("anonymous".to_owned(), |identity| identity.subject.to_string()),
        Decision::Reject(rejection) => {
            assert!(asked.identity.is_none());
            let shown = format!("{rejection:?} {}", rejection.message());
            let is_shown = |key: &str| shown.contains(key);
            assert!(!["good-good", "past-past", "gone-gone", "unknown-un"].into_iter().any(is_shown), "{shown}");
            format!("{} told {}", rejection.refusal.code, rejection.refusal.told().code)
        }
        Decision::Answer(_) => "answered".to_owned(),
    }
}

#[test]
fn a_key_counts_or_the_log_says_why_not_and_the_caller_does_not_learn_it() {
    let policy = policy("{}");
    for (key, expected) in [
        ("good-good-good-good", "shop"),
        ("soon-soon-soon-soon", "shop"),
        ("narrow-narrow-narrow", "narrow"),
        ("unknown-unknown-unknown", "api_key.unknown told api_key.unknown"),
        ("good-good-good-goo", "api_key.unknown told api_key.unknown"),
        ("", "api_key.unknown told api_key.unknown"),
        ("past-past-past-past", "api_key.expired told api_key.unknown"),
        ("gone-gone-gone-gone", "api_key.revoked told api_key.unknown"),
        ("idle-idle-idle-idle", "api_key.inactive told api_key.unknown"),
        ("off-off-off-off-off", "api_key.inactive told api_key.unknown"),
        ("near-near-near-near", "api_key.not_here told api_key.not_here"),
        ("lost-lost-lost-lost", "api_key.unavailable told api_key.unavailable"),
    ] {
        for header in ["X-API-Key: ", "x-api-key: ", "Authorization: ApiKey ", "Authorization: APIKEY "] {
            assert_eq!(
                code(&*policy, &format!("GET / HTTP/1.1\nHost: a\n{header}{key}"), 0),
                expected,
                "{header}{key}"
            );
        }
    }
    assert_eq!(code(&*policy, "GET / HTTP/1.1\nHost: a", 0), "api_key.missing told api_key.missing");
    let other = "GET / HTTP/1.1\nHost: a\nX-API-Key: narrow-narrow-narrow";
    assert_eq!(code(&*policy, other, 1), "api_key.not_here told api_key.not_here", "another route");
}

#[test]
fn a_key_that_does_not_count_is_refused_where_none_is_needed() {
    let policy = policy(r#"{ "optional": true }"#);
    assert_eq!(code(&*policy, "GET / HTTP/1.1\nHost: a", 0), "anonymous");
    let wrong = "GET / HTTP/1.1\nHost: a\nX-API-Key: unknown-unknown";
    assert_eq!(code(&*policy, wrong, 0), "api_key.unknown told api_key.unknown");
    // CVE-2022-29226: there being a credential is not its being good.
    let bearer = "GET / HTTP/1.1\nHost: a\nAuthorization: Bearer good-good-good-good";
    assert_eq!(code(&*policy, bearer, 0), "anonymous", "another scheme is another policy's");
}

#[test]
fn two_keys_are_none() {
    let policy = policy(r#"{ "from": [ { "header": "X-API-Key" }, { "query": "key" }, { "cookie": "key" } ] }"#);
    let good = "good-good-good-good";
    for request in [
        format!("GET /?key={good} HTTP/1.1\nHost: a\nX-API-Key: {good}"),
        format!("GET / HTTP/1.1\nHost: a\nX-API-Key: {good}\nX-API-Key: {good}"),
        format!("GET /?key={good}&key=x HTTP/1.1\nHost: a"),
        format!("GET /?key={good} HTTP/1.1\nHost: a\nCookie: key={good}"),
    ] {
        assert_eq!(code(&*policy, &request, 0), "api_key.ambiguous told api_key.unknown", "{request}");
    }
    assert_eq!(code(&*policy, &format!("GET /?%6bey={good} HTTP/1.1\nHost: a"), 0), "shop");
}

#[test]
fn upstreams_get_a_name_and_no_key() {
    let shown = |config: &str, request: &str| run(&*policy(config), &mut exchange(request), reply("200"));
    let config = r#"{ "consumer_header": "X-Consumer", "from": [ { "header": "X-Key" }, { "query": "k" }, { "cookie": "k" } ] }"#;
    let header = shown(config, "GET /a?b=1 HTTP/1.1\nHost: a\nX-Key: good-good-good-good\nX-Consumer: admin");
    assert_eq!(header, "GET /a?b=1\nhost: a\nx-consumer: shop\n--\n200\n");
    let query = shown(config, "GET /a?b=1&k=good-good-good-good HTTP/1.1\nHost: a");
    assert_eq!(query, "GET /a?b=1\nhost: a\nx-consumer: shop\n--\n200\n");
    let cookie = shown(config, "GET /a HTTP/1.1\nHost: a\nCookie: a=1; k=good-good-good-good");
    assert_eq!(cookie, "GET /a\nhost: a\ncookie: a=1\nx-consumer: shop\n--\n200\n");
    let kept = shown(r#"{ "forward_key": true }"#, "GET /a HTTP/1.1\nHost: a\nX-API-Key: good-good-good-good");
    assert_eq!(kept, "GET /a\nhost: a\nx-api-key: good-good-good-good\n--\n200\n");
    let refused = shown("{}", "GET /a HTTP/1.1\nHost: a");
    assert_eq!(refused, "rejected api_key.missing 401\n401\nwww-authenticate: ApiKey\n");
    assert_eq!(policy(config).owned_headers(), [HeaderName::new("x-consumer").unwrap()]);
}

#[test]
fn a_consumer_without_a_plan_gets_the_default_one() {
    let policy = policy(r#"{ "default_plan": "hourly" }"#);
    let mut asked = exchange("GET / HTTP/1.1\nHost: a\nX-API-Key: good-good-good-good");
    asked.route = Some(RouteId(0));
    assert_eq!(policy.explain(&mut asked).as_deref(), Some("the caller is `shop`"));
    let identity = asked.identity.unwrap();
    assert_eq!(
        (identity.plan.as_deref(), identity.consumer.as_deref(), identity.proven_by),
        (Some("hourly"), Some("shop"), "api_key")
    );
    assert!(identity.roles.contains("buyer"));
}

#[test]
fn what_cannot_be_is_said() {
    let said = |config: &str| {
        let site = TestNames::new("r", "/*").serving(Arc::new(Nobody)).with_plan("gold", "{}");
        match (entry::<ApiKey>().build)(&written(config), &site) {
            Ok(_) => "fine".to_owned(),
            Err(problems) => show_diagnostics(&problems),
        }
    };
    assert_eq!(said(r#"{ "default_plan": "gold" }"#), "fine");
    assert!(said(r#"{ "default_plan": "glod" }"#).contains("did you mean `gold`"));
    assert!(said(r#"{ "consumer_header": "Authorization" }"#).contains("consumers.header"));
    assert!(said(r#"{ "consumer_header": "X-Forwarded-For" }"#).contains("consumers.header"));
    for from in
        [r#"{}"#, r#"{ "header": "a", "query": "b" }"#, r#"{ "header": "a b" }"#, r#"{ "query": "a", "scheme": "b" }"#]
    {
        assert!(said(&format!(r#"{{ "from": {from} }}"#)).contains("api_key.from"), "{from}");
    }
}
