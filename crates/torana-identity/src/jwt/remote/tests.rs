//! Key sets that change, disappear and are asked for in bad faith, and the
//! policy in front of them.

use super::*;
use crate::jwt::Jwt;
use crate::jwt::tests::{asking, claims, pairs};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use torana_core::exchange::{Exchange, RouteId};
use torana_core::head::Status;
use torana_core::outbound::{Full, Line, Work};
use torana_core::policy::{Policy, entry};
use torana_core::refusal::Rejection;
use torana_core::testing::{TestNames, show_diagnostics, written};
use torana_core::verdict::{Decision, LocalBoxFuture, Verdict};

torana_core::refusals! {
    /// Stands for an upstream that is gone.
    GONE = "test.gone" 502 Upstream IfSafe "Gone.";
}

/// Who publishes keys: what it says, and whether it is slow to say it.
#[derive(Default)]
struct Publisher {
    says: RefCell<Vec<(String, String)>>,
    age: Cell<Option<u64>>,
    is_held: Cell<bool>,
    is_over: Cell<bool>,
    asked: RefCell<Vec<String>>,
}

impl Publisher {
    fn say(&self, path: &str, document: &Value) {
        let mut says = self.says.borrow_mut();
        says.retain(|(known, _)| known != path);
        says.push((path.to_owned(), document.to_string()));
    }

    fn take_asked(&self) -> Vec<String> {
        self.asked.take()
    }
}

struct Way(Rc<Publisher>);

impl Outbound for Way {
    fn send(&self, _: UpstreamId, request: OutboundRequest) -> LocalBoxFuture<'static, Result<Reply, Rejection>> {
        let publisher = self.0.clone();
        publisher.asked.borrow_mut().push(request.path_and_query.clone());
        Box::pin(async move {
            poll_fn(|context| {
                if publisher.is_held.get() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            let says = publisher.says.borrow();
            let said = says.iter().find(|(path, _)| *path == request.path_and_query);
            let Some((_, text)) = said else { return Err(Rejection::new(&GONE)) };
            let status = if text == "\"500\"" { 500 } else { 200 };
            let mut reply =
                Reply::with_body(Status::new(status).unwrap(), "application/json", text.clone().into_bytes());
            if let Some(age) = publisher.age.get() {
                reply = reply.with_field(KnownName::CacheControl, format!("public, max-age={age}").as_bytes());
            }
            Ok(reply)
        })
    }

    fn ask_again(&self, _: Box<Exchange>, _: Box<dyn FnOnce(Reply) -> LocalBoxFuture<'static, ()>>) {
        unreachable!("keys are not behind the policy")
    }

    fn route_name(&self, _: RouteId) -> &str {
        "test"
    }

    /// Time stands still, unless it has run out.
    fn sleep(&self, _: Duration) -> LocalBoxFuture<'static, ()> {
        let publisher = self.0.clone();
        Box::pin(poll_fn(move |_| if publisher.is_over.get() { Poll::Ready(()) } else { Poll::Pending }))
    }

    fn take_aside(&self, _: Line, _: Work) -> Result<(), Full> {
        unreachable!("keys are not computed")
    }

    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        WORK.with_borrow_mut(|list| list.push(work));
        go_on();
    }
}

thread_local! {
    /// What goes on beside exchanges.
    static WORK: RefCell<Vec<LocalBoxFuture<'static, ()>>> = const { RefCell::new(Vec::new()) };
}

fn go_on() {
    let mut work = WORK.take();
    work.retain_mut(|work| work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    WORK.with_borrow_mut(|list| list.append(&mut work));
}

fn policy(config: &Value) -> Arc<dyn Policy> {
    let built = (entry::<Jwt>().build)(
        &written(&config.to_string()),
        &TestNames::new("test", "/*").counting(crate::jwt::EVENTS),
    );
    built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)))
}

fn jwks(cooldown: &str) -> Arc<dyn Policy> {
    policy(&json!({ "jwks": "https://idp.example/keys", "audience": "api", "cooldown": cooldown }))
}

fn token(pair: usize, id: &str) -> String {
    let (signer, algorithms) = &pairs()[pair];
    signer.token(algorithms[0], Some(id), &claims(json!({ "aud": "api", "iss": "https://idp.example" })))
}

fn set(keys: &[(usize, &str)]) -> Value {
    json!({ "keys": keys.iter().map(|(pair, id)| pairs()[*pair].0.jwk(id)).collect::<Vec<_>>() })
}

/// A request on its way through the policy.
fn exchange(publisher: &Rc<Publisher>, token: &str) -> Exchange {
    let mut exchange = asking(token);
    exchange.outbound = Some(Rc::new(Way(publisher.clone())));
    exchange
}

fn poll<'a>(future: &mut Pin<Box<dyn Future<Output = Decision> + 'a>>) -> Poll<Decision> {
    go_on();
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn begin<'a>(policy: &'a dyn Policy, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Decision> + 'a>> {
    match policy.on_request(exchange) {
        Verdict::Now(decision) => Box::pin(async move { decision }),
        Verdict::Wait(future) => future,
    }
}

fn shown(decision: Poll<Decision>) -> String {
    match decision {
        Poll::Pending => "waits".to_owned(),
        Poll::Ready(Decision::Continue) => "ok".to_owned(),
        Poll::Ready(Decision::Answer(_)) => "answers".to_owned(),
        Poll::Ready(Decision::Reject(rejection)) => rejection.refusal.code.to_owned(),
    }
}

fn judged(policy: &dyn Policy, publisher: &Rc<Publisher>, token: &str) -> String {
    let mut exchange = exchange(publisher, token);
    let decision = shown(poll(&mut begin(policy, &mut exchange)));
    assert_eq!(decision == "ok", exchange.identity.is_some());
    decision
}

#[test]
fn keys_are_fetched_once_and_shared() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]));
    let policy = jwks("10s");
    for round in 0..3 {
        for (pair, id) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
            assert_eq!(judged(&*policy, &publisher, &token(pair, id)), "ok", "{round} {id}");
        }
    }
    assert_eq!(publisher.take_asked(), ["/keys"]);
    // The right key under another's name is not the right key.
    assert_eq!(judged(&*policy, &publisher, &token(0, "b")), "jwt.algorithm");
}

#[test]
fn those_who_come_while_keys_are_fetched_wait_for_them() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    publisher.is_held.set(true);
    let policy = jwks("10s");
    let token = token(1, "b");
    let mut exchanges: Vec<Exchange> = (0..5).map(|_| exchange(&publisher, &token)).collect();
    let mut waiting: Vec<_> = exchanges.iter_mut().map(|exchange| begin(&*policy, exchange)).collect();
    for future in &mut waiting {
        assert_eq!(shown(poll(future)), "waits");
    }
    // The one that began it is given up; the fetch goes on.
    drop(waiting.remove(0));
    assert_eq!(shown(poll(&mut waiting[0])), "waits");
    publisher.is_held.set(false);
    for future in &mut waiting {
        assert_eq!(shown(poll(future)), "ok");
    }
    assert_eq!(publisher.take_asked(), ["/keys"]);
    // Where it does not, because its worker ends, nobody is left waiting.
    let policy = jwks("10s");
    publisher.is_held.set(true);
    let mut exchange = exchange(&publisher, &token);
    let mut waiting = begin(&*policy, &mut exchange);
    assert_eq!(shown(poll(&mut waiting)), "waits");
    WORK.take().clear();
    assert_eq!(shown(poll(&mut waiting)), "jwt.keys_unavailable");
}

#[test]
fn a_new_key_is_found_at_once_and_the_old_ones_stay() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "old")]));
    let policy = jwks("0s");
    // The same tokens each time: they are known from the second time on.
    let (old, new, newest) = (token(1, "old"), token(3, "new"), token(0, "newest"));
    assert_eq!(judged(&*policy, &publisher, &old), "ok");
    publisher.say("/keys", &set(&[(1, "old"), (3, "new")]));
    for _ in 0..3 {
        assert_eq!(judged(&*policy, &publisher, &new), "ok");
        assert_eq!(judged(&*policy, &publisher, &old), "ok");
    }
    assert_eq!(publisher.take_asked().len(), 2);
    // A key that is gone takes the tokens with it that were verified before.
    publisher.say("/keys", &set(&[(0, "newest"), (3, "new")]));
    assert_eq!(judged(&*policy, &publisher, &newest), "ok");
    assert_eq!(judged(&*policy, &publisher, &old), "jwt.key_unknown");
}

#[test]
fn a_token_that_names_no_key_may_mean_one_that_is_new() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "old")]));
    let policy = jwks("0s");
    let (signer, algorithms) = &pairs()[3];
    let nameless = signer.token(algorithms[0], None, &claims(json!({ "aud": "api" })));
    assert_eq!(judged(&*policy, &publisher, &token(1, "old")), "ok");
    assert_eq!(judged(&*policy, &publisher, &nameless), "jwt.algorithm", "no key of that kind is expected");
    let stranger = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let stranger = crate::jwt::tests::Signer::Ed(stranger);
    publisher.say("/keys", &json!({ "keys": [stranger.jwk("a")] }));
    assert_eq!(judged(&*policy, &publisher, &nameless), "jwt.signature");
    publisher.say("/keys", &set(&[(3, "b")]));
    assert_eq!(judged(&*policy, &publisher, &nameless), "ok");
}

#[test]
fn keys_for_something_else_verify_nothing() {
    let marked = |name: &str, value: Value| {
        let mut key = pairs()[1].0.jwk("b");
        key[name] = value;
        key
    };
    let other = pairs()[3].0.jwk("other");
    for (key, expected) in [
        (marked("use", json!("enc")), "jwt.key_unknown"),
        (marked("use", json!("sig")), "ok"),
        (marked("key_ops", json!(["sign"])), "jwt.key_unknown"),
        (marked("key_ops", json!(["sign", "verify"])), "ok"),
        (marked("alg", json!("ES384")), "jwt.key_unknown"),
        (marked("alg", json!("HS256")), "jwt.key_unknown"),
        (marked("alg", json!("ES256")), "ok"),
        (marked("x", json!("AAAA")), "jwt.key_unknown"),
        (marked("crv", json!("secp256k1")), "jwt.key_unknown"),
        (marked("kty", json!("AKP")), "jwt.key_unknown"),
    ] {
        let publisher = Rc::new(Publisher::default());
        publisher.say("/keys", &json!({ "keys": [key, other] }));
        assert_eq!(judged(&*jwks("0s"), &publisher, &token(1, "b")), expected, "{key}");
    }
}

#[test]
fn a_flood_of_unknown_keys_is_one_fetch() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    let policy = jwks("1h");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    for index in 0..200 {
        assert_eq!(judged(&*policy, &publisher, &token(1, &format!("k{index}"))), "jwt.key_unknown");
    }
    assert_eq!(publisher.take_asked().len(), 2, "the first, and one for all unknown keys");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
}

#[test]
fn a_flood_while_keys_are_fetched_waits_for_that_one() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    let policy = jwks("0s");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    publisher.is_held.set(true);
    let tokens: Vec<String> = (0..50).map(|index| token(1, &format!("k{index}"))).collect();
    let mut exchanges: Vec<Exchange> = tokens.iter().map(|token| exchange(&publisher, token)).collect();
    let mut waiting: Vec<_> = exchanges.iter_mut().map(|exchange| begin(&*policy, exchange)).collect();
    waiting.iter_mut().for_each(|future| assert_eq!(shown(poll(future)), "waits"));
    // Known keys do not wait.
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    publisher.is_held.set(false);
    waiting.iter_mut().for_each(|future| assert_eq!(shown(poll(future)), "jwt.key_unknown"));
    assert_eq!(publisher.take_asked().len(), 2);
}

#[test]
fn the_last_good_keys_survive_an_outage_and_nonsense() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    let policy = jwks("0s");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    let nonsense = [
        json!("500"),
        json!("not json"),
        json!({ "keys": [] }),
        json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "x" }] }),
        json!({ "keys": [{ "kty": "RSA", "n": "AAAA", "e": "AQAB", "kid": "x", "use": "enc" }] }),
        json!([]),
        json!({ "keys": [{ "pad": "x".repeat(LONGEST_REPLY) }] }),
    ];
    for says in &nonsense {
        publisher.say("/keys", says);
        assert_eq!(judged(&*policy, &publisher, &token(1, "x")), "jwt.key_unknown");
        assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    }
    publisher.says.borrow_mut().clear();
    assert_eq!(judged(&*policy, &publisher, &token(1, "x")), "jwt.key_unknown");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    assert_eq!(publisher.take_asked().len(), nonsense.len() + 2);
}

#[test]
fn an_issuer_that_never_finishes_is_given_up() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    let policy = jwks("0s");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
    publisher.is_held.set(true);
    let unknown = token(1, "x");
    let mut asking = exchange(&publisher, &unknown);
    let mut waiting = begin(&*policy, &mut asking);
    assert_eq!(shown(poll(&mut waiting)), "waits");
    publisher.is_over.set(true);
    assert_eq!(shown(poll(&mut waiting)), "jwt.key_unknown");
    assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "ok");
}

#[test]
fn without_keys_nobody_passes() {
    let publisher = Rc::new(Publisher::default());
    let policy = jwks("1h");
    for _ in 0..20 {
        assert_eq!(judged(&*policy, &publisher, &token(1, "b")), "jwt.keys_unavailable");
    }
    assert_eq!(publisher.take_asked().len(), 1, "the next attempt is a second later");
    // What is wrong without any key is refused as ever.
    assert_eq!(judged(&*policy, &publisher, "a.b.c"), "jwt.malformed");
    let mut exchange = asking(&token(1, "b"));
    exchange.outbound = None;
    let policy = jwks("0s");
    assert_eq!(shown(poll(&mut begin(&*policy, &mut exchange))), "jwt.keys_unavailable");
}

#[test]
fn discovery_believes_the_issuer_about_itself_only() {
    let config =
        json!({ "issuer": "https://idp.example/realm/", "discover": true, "audience": "api", "cooldown": "0s" });
    let token = {
        let (signer, _) = &pairs()[1];
        let all = claims(json!({ "aud": "api", "iss": "https://idp.example/realm/" }));
        signer.token(crate::jwt::Algorithm::ES256, Some("b"), &all)
    };
    const DOCUMENT: &str = "/realm/.well-known/openid-configuration";
    for (document, expected) in [
        (json!({ "issuer": "https://idp.example/realm/", "jwks_uri": "https://idp.example/k?v=1" }), "ok"),
        (
            json!({ "issuer": "https://idp.example/realm", "jwks_uri": "https://idp.example/k?v=1" }),
            "jwt.keys_unavailable",
        ),
        (
            json!({ "issuer": "https://idp.example/realm/", "jwks_uri": "https://evil.example/k" }),
            "jwt.keys_unavailable",
        ),
        (
            json!({ "issuer": "https://idp.example/realm/", "jwks_uri": "https://idp.example.evil/k" }),
            "jwt.keys_unavailable",
        ),
        (
            json!({ "issuer": "https://idp.example/realm/", "jwks_uri": "https://idp.example/k y" }),
            "jwt.keys_unavailable",
        ),
        (json!({ "issuer": "https://idp.example/realm/" }), "jwt.keys_unavailable"),
    ] {
        let publisher = Rc::new(Publisher::default());
        publisher.say(DOCUMENT, &document);
        publisher.say("/k?v=1", &set(&[(1, "b")]));
        assert_eq!(judged(&*policy(&config), &publisher, &token), expected, "{document}");
        let asked = if expected == "ok" { vec![DOCUMENT, "/k?v=1"] } else { vec![DOCUMENT] };
        assert_eq!(publisher.take_asked(), asked);
    }
}

#[test]
fn how_long_keys_are_used_has_bounds() {
    let bounded = |text: &str| {
        let mut fields = Fields::default();
        fields.set_own(KnownName::CacheControl, text.as_bytes());
        age(&fields).as_secs()
    };
    assert_eq!(bounded("max-age=600"), 600);
    assert_eq!(bounded("public, Max-Age=\"600\", must-revalidate"), 600);
    assert_eq!((bounded("no-store"), bounded("max-age=0"), bounded("max-age=1")), (30, 30, 30));
    assert_eq!(bounded("max-age=99999999"), 86400);
    assert_eq!(bounded("public"), 300);
    // What can be misread is read against keeping, as by caches.
    assert_eq!((bounded("max-age=x"), bounded("max-age=-1"), bounded("max-age=600, max-age=60")), (30, 30, 60));
}

#[test]
fn keys_that_are_too_old_are_fetched_by_one_request_and_used_by_the_rest() {
    let publisher = Rc::new(Publisher::default());
    publisher.say("/keys", &set(&[(1, "b")]));
    let keys = Arc::new(RemoteKeys::default());
    let source = Source::Set(Service { upstream: UpstreamId(9), path_and_query: "/keys".into() });
    let way: Rc<dyn Outbound> = Rc::new(Way(publisher.clone()));
    let tally = Arc::new(Tally::new(crate::jwt::EVENTS));
    let zero = Manner { cooldown: Duration::ZERO, tally: tally.clone() };
    let ready = |future: Pin<Box<dyn Future<Output = Result<Known, Unavailable>> + '_>>| {
        let mut future = future;
        go_on();
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.map(|known| known.version)),
            Poll::Pending => None,
        }
    };
    assert_eq!(ready(Box::pin(keys.get(&source, &way, &zero))), Some(Ok(1)));
    let expire = || keys.state().known.as_mut().unwrap().fresh_until = Instant::now();
    expire();
    assert!(keys.at_hand(Instant::now(), zero.cooldown).is_none());
    publisher.is_held.set(true);
    let mut first = Box::pin(keys.get(&source, &way, &zero));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(keys.at_hand(Instant::now(), zero.cooldown).is_some());
    assert_eq!(ready(Box::pin(keys.get(&source, &way, &zero))), Some(Ok(1)));
    publisher.is_held.set(false);
    assert_eq!(ready(first), Some(Ok(1)), "the same text is the same version");
    publisher.says.borrow_mut().clear();
    expire();
    assert_eq!(ready(Box::pin(keys.get(&source, &way, &zero))), Some(Ok(1)), "the last good ones");
    let long = Duration::from_secs(3600);
    assert!(keys.at_hand(Instant::now(), long).is_some(), "it was tried a moment ago");
    assert_eq!(publisher.take_asked().len(), 3);
    let counts: Vec<_> = tally.counts().filter(|(_, count)| *count > 0).map(|(e, count)| (e.name, count)).collect();
    assert_eq!(counts, [("keys_fetched", 2), ("keys_failed", 1)]);
}
