//! Gateways that share a store: what one has, the others get, and nothing else.

use super::tests::{Bench, Seen, now};
use super::*;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use torana_core::store::nowhere::Nowhere;
use torana_core::store::{self as core, Blobs, Counters, Heard as Words, Journal, Soon};
use torana_core::testing::{TestNames, ready, reply};

/// A store in memory that can be taken away, and that nothing ends in.
#[derive(Default)]
struct Fake(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    is_down: bool,
    blobs: BTreeMap<Vec<u8>, (Bytes, Vec<String>)>,
    words: Vec<(Position, Bytes)>,
    /// Asked for bytes so often.
    gets: usize,
}

impl Fake {
    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> Soon<Result<T, StoreError>> {
        let mut kept = self.0.lock().unwrap();
        Soon::Now(if kept.is_down { Err(StoreError::Unreachable("it is down".into())) } else { Ok(work(&mut kept)) })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

impl core::Store for Fake {
    fn counters(&self) -> &dyn Counters {
        &Nowhere
    }
    fn blobs(&self) -> &dyn Blobs {
        self
    }
    fn journal(&self) -> &dyn Journal {
        self
    }
}

impl Blobs for Fake {
    fn get(&self, key: &[u8]) -> Soon<Result<Option<Bytes>, StoreError>> {
        self.with(|kept| {
            kept.gets += 1;
            kept.blobs.get(key).map(|(value, _)| value.clone())
        })
    }
    fn put(&self, key: &[u8], value: Bytes, ttl: Duration, tags: &[&str]) -> Soon<Result<(), StoreError>> {
        assert!(!ttl.is_zero());
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.with(|kept| drop(kept.blobs.insert(key.to_vec(), (value, tags))))
    }
    fn add(&self, _: &[u8], _: Bytes, _: Duration) -> Soon<Result<Option<Bytes>, StoreError>> {
        panic!("caches do not add")
    }
    fn delete(&self, key: &[u8]) -> Soon<Result<(), StoreError>> {
        self.with(|kept| drop(kept.blobs.remove(key)))
    }
    fn delete_tagged(&self, tag: &str) -> Soon<Result<(), StoreError>> {
        self.with(|kept| kept.blobs.retain(|_, (_, tags)| !tags.iter().any(|known| known == tag)))
    }
    fn delete_prefix(&self, prefix: &[u8]) -> Soon<Result<(), StoreError>> {
        self.with(|kept| kept.blobs.retain(|key, _| !key.starts_with(prefix)))
    }
}

impl Journal for Fake {
    fn tell(&self, _: &[u8], record: Bytes) -> Soon<Result<Position, StoreError>> {
        self.with(|kept| {
            let position = kept.words.last().map_or(0, |(last, _)| *last) + 1;
            kept.words.push((position, record));
            position
        })
    }
    fn hear(&self, _: &[u8], from: Position) -> Soon<Result<Words, StoreError>> {
        self.with(|kept| {
            let knows = from == 0 || kept.words.iter().any(|(position, _)| *position == from);
            let mut records: Vec<_> = kept.words.iter().filter(|(position, _)| *position > from).cloned().collect();
            let has_more = records.len() > 2;
            records.truncate(2);
            Words { records, has_gap: !knows, has_more }
        })
    }
}

const GET: &str = "GET /a HTTP/1.1\nHost: a";
const FRESH: &str = "200\nCache-Control: max-age=60\nETag: \"1\"\n\nfirst";

/// Gateways that are configured alike.
fn gateways<const N: usize>(config: &str) -> (Arc<Fake>, [Bench; N]) {
    time::AHEAD.set(Duration::ZERO);
    let store = Arc::new(Fake::default());
    let gateways = [(); N].map(|()| gateway(config, &store));
    (store, gateways)
}

fn gateway(config: &str, store: &Arc<Fake>) -> Bench {
    let mut names = TestNames::new("test", "/*");
    names.stores.insert("shared".to_owned(), store.clone());
    Bench::at(&format!("{{ \"store\": \"shared\"{config} }}"), names)
}

impl Bench {
    /// Sends, and lets what goes on beside it be done.
    fn exchanged(&self, request: &str, answer: &str) -> Seen {
        let seen = self.send(request, answer);
        assert_eq!(self.worker.work(), 0);
        seen
    }

    fn purge(&self, arguments: Value) -> Value {
        let mut offered = self.names.offered.borrow_mut();
        now(offered.last_mut().unwrap().1.operate(&arguments).unwrap().get())
    }
}

#[test]
fn what_one_has_fetched_the_others_have() {
    let (store, [one, two]) = gateways("");
    assert_eq!(one.exchanged(GET, FRESH).short(), ("MISS", "first"));
    one.pass(10);
    let seen = two.exchanged(GET, "500");
    assert_eq!((seen.short(), seen.header("age"), seen.header("etag")), (("HIT", "first"), Some("10"), Some("\"1\"")));
    assert_eq!(seen.header("cache-status"), Some("torana; hit; detail=store; ttl=50"));
    // From now on it is in memory.
    let gets = store.kept().gets;
    assert_eq!(two.exchanged(GET, "500").header("cache-status"), Some("torana; hit; ttl=50"));
    assert_eq!(store.kept().gets, gets);
    assert_eq!((one.count(&STORE_KEPT), two.count(&STORE_HIT), two.count(&MISS)), (1, 1, 0));
    // It does not live longer by travelling.
    one.pass(50);
    assert_eq!(two.exchanged(GET, "200\n\nsecond").short(), ("MISS", "second"));
}

#[test]
fn variants_stay_apart() {
    let (_, [one, two]) = gateways("");
    let ask = |lang: &str| format!("{GET}\nLang: {lang}");
    for lang in ["de", "en"] {
        one.exchanged(&ask(lang), &format!("200\nCache-Control: max-age=60\nVary: Lang\n\n{lang}"));
    }
    assert_eq!(two.exchanged(&ask("de"), "500").short(), ("HIT", "de"));
    assert_eq!(two.exchanged(&ask("en"), "500").short(), ("HIT", "en"));
    assert_eq!(two.exchanged(&ask("fr"), "200\n\nfr").short(), ("MISS", "fr"));
}

#[test]
fn never_across_hosts_or_users_and_no_credential_is_written_down() {
    let (store, [one, two]) = gateways(", \"ttl\": \"60s\"");
    let requests = [
        ("GET /a HTTP/1.1\nHost: a", None),
        ("GET /a HTTP/1.1\nHost: b", None),
        ("GET /a HTTP/1.1\nHost: a\nAuthorization: Bearer s3cr3t", None),
        ("GET /a HTTP/1.1\nHost: a\nAuthorization: Bearer other", None),
        ("GET /a HTTP/1.1\nHost: a\nCookie: session=s3cr3t", None),
        ("GET /a HTTP/1.1\nHost: a", Some("alice")),
        ("GET /a HTTP/1.1\nHost: a", Some("bob")),
    ];
    for (at, (request, subject)) in requests.iter().enumerate() {
        assert_eq!(one.send_as(request, *subject, &format!("200\n\nof {at}")).body, format!("of {at}"));
        one.worker.work();
    }
    for (at, (request, subject)) in requests.iter().enumerate() {
        assert_eq!(two.send_as(request, *subject, "500").short(), ("HIT", &*format!("of {at}")));
    }
    let varies = "200\nVary: X-Token\n\nvaries";
    one.exchanged("GET /v HTTP/1.1\nHost: a\nX-Token: s3cr3t", varies);
    assert_eq!(two.exchanged("GET /v HTTP/1.1\nHost: a\nX-Token: s3cr3t", "500").short(), ("HIT", "varies"));
    assert_eq!(two.exchanged("GET /v HTTP/1.1\nHost: a\nX-Token: other", "200\n\nno").short(), ("MISS", "no"));
    let everything = {
        let kept = store.kept();
        format!("{:?} {:?}", kept.blobs, kept.words)
    };
    assert!(everything.contains("of 2") && !everything.contains("s3cr3t") && !everything.contains("alice"));
    // Without copies of everybody's own, there are none of those who bring something.
    let (_, [one, two]) = gateways("");
    one.exchanged(requests[2].0, FRESH);
    assert_eq!(two.exchanged(requests[2].0, "200\n\nother").short(), ("MISS", "other"));
    one.exchanged(GET, FRESH);
    assert_eq!(two.exchanged(requests[2].0, "200\n\nother").short(), ("MISS", "other"), "not that of all either");
}

#[test]
fn caches_that_are_configured_otherwise_share_nothing() {
    let (store, [one]) = gateways("");
    let two = gateway(", \"query\": { \"ignore\": [ \"x\" ] }", &store);
    one.exchanged(GET, FRESH);
    assert_eq!(two.exchanged(GET, "200\n\nother").short(), ("MISS", "other"));
}

#[test]
fn a_purge_reaches_all_within_two_seconds() {
    let tagged = "200\nCache-Control: max-age=600\nCache-Tag: t\n\nold";
    for meant in [
        json!({ "url": "http://a/a" }),
        json!({ "prefix": "http://a/" }),
        json!({ "tag": "t" }),
        json!({ "all": true }),
    ] {
        let (store, [one, two, three]) = gateways("");
        for gateway in [&one, &two] {
            assert_eq!(gateway.exchanged(GET, tagged).body, "old");
        }
        one.exchanged("GET /b HTTP/1.1\nHost: b", FRESH);
        one.pass(1);
        let done = one.purge(meant.clone());
        assert_eq!(done["store"], json!({ "purged": true }), "{meant}");
        let keys = store.kept().blobs.len();
        assert_eq!(keys, usize::from(meant != json!({ "all": true })), "{meant}");
        assert_eq!(three.exchanged(GET, "200\n\nnew").short(), ("MISS", "new"), "{meant}");
        // It has not listened yet; after two seconds it does before it answers.
        one.pass(2);
        assert_eq!(two.exchanged(GET, "200\n\nnew").short(), ("MISS", "new"), "{meant}");
        let other = two.exchanged("GET /b HTTP/1.1\nHost: b", "200\n\nnew").short().0.to_owned();
        assert_eq!(other, if meant == json!({ "all": true }) { "MISS" } else { "HIT" }, "{meant}");
    }
}

#[test]
fn who_is_asked_all_the_time_listens_beside() {
    let (_, [one, two]) = gateways("");
    two.exchanged(GET, FRESH);
    one.purge(json!({ "all": true }));
    two.pass(1);
    assert_eq!(two.send(GET, "500").short(), ("HIT", "first"), "it does not wait");
    assert_eq!(two.worker.work(), 0);
    assert_eq!(two.exchanged(GET, "200\n\nnew").short(), ("MISS", "new"));
}

#[test]
fn what_was_changed_is_gone_at_once_and_everywhere() {
    let (_, [one, two]) = gateways("");
    one.exchanged(GET, FRESH);
    assert_eq!(two.exchanged(GET, "500").label, "HIT");
    one.pass(1);
    let mut post = one.exchange("POST /a HTTP/1.1\nHost: a");
    assert!(matches!(ready(one.policy.on_request(&mut post)), Decision::Continue));
    assert_eq!(one.finish(&mut post, reply("204"), None).status, 204);
    assert_eq!(one.exchanged(GET, "200\nCache-Control: max-age=60\n\nsecond").body, "second");
    one.pass(2);
    assert_eq!(two.exchanged(GET, "500").short(), ("HIT", "second"));
}

#[test]
fn what_is_on_its_way_during_a_purge_does_not_outlive_it() {
    let (store, [one, two, three]) = gateways("");
    // Nobody has told `two` when it puts what it has got from before.
    let mut slow = two.exchange(GET);
    assert!(matches!(ready(two.policy.on_request(&mut slow)), Decision::Continue));
    one.purge(json!({ "url": "http://a/a" }));
    assert_eq!(two.finish(&mut slow, reply(FRESH), None).body, "first");
    assert_eq!(store.kept().blobs.len(), 0, "it is put beside");
    assert_eq!(two.worker.work(), 0);
    assert_eq!(store.kept().blobs.len(), 0, "and taken back");
    assert_eq!(three.exchanged(GET, "200\n\nnew").short(), ("MISS", "new"));
    // Should somebody have read it before: it was written by one who knew less.
    let bytes = {
        one.exchanged(GET, FRESH);
        store.kept().blobs.clone()
    };
    one.purge(json!({ "tag": "other" }));
    one.purge(json!({ "url": "http://a/a" }));
    store.kept().blobs = bytes;
    assert_eq!(one.exchanged(GET, "200\n\nnew").short(), ("MISS", "new"));
}

#[test]
fn a_store_that_is_down_makes_misses_and_no_errors() {
    let (store, [one, two]) = gateways("");
    store.kept().is_down = true;
    let mut first = one.exchange(GET);
    assert!(matches!(ready(one.policy.on_request(&mut first)), Decision::Continue));
    assert!(first.notes.cause.as_deref().is_some_and(|cause| cause.contains("it is down")), "the log says so");
    assert_eq!(one.finish(&mut first, reply(FRESH), None).short(), ("MISS", "first"));
    one.worker.work();
    assert_eq!(one.exchanged(GET, "500").short(), ("HIT", "first"), "its memory goes on");
    assert_eq!(two.exchanged(GET, "200\n\nother").short(), ("MISS", "other"));
    assert!(one.count(&STORE_FAILED) >= 2);
    let done = one.purge(json!({ "all": true }));
    assert_eq!((&done["purged"], &done["store"]["purged"]), (&json!(1), &json!(false)));
    assert!(done["store"]["error"].as_str().unwrap().contains("cannot be reached"));
    // What changed meanwhile is not taken from the store later on.
    store.kept().is_down = false;
    one.exchanged(GET, FRESH);
    store.kept().is_down = true;
    let mut post = one.exchange("POST /a HTTP/1.1\nHost: a");
    assert!(matches!(ready(one.policy.on_request(&mut post)), Decision::Continue));
    assert_eq!(one.finish(&mut post, reply("204"), None).status, 204);
    store.kept().is_down = false;
    assert_eq!(one.exchanged(GET, "200\n\nsecond").short(), ("MISS", "second"));
}

#[test]
fn a_store_that_has_lost_its_memory_costs_the_copies() {
    let (store, [one, two]) = gateways("");
    one.purge(json!({ "tag": "x" }));
    two.exchanged(GET, FRESH);
    *store.kept() = Kept::default();
    two.pass(2);
    assert_eq!(two.exchanged(GET, "200\nCache-Control: max-age=60\n\nsecond").short(), ("MISS", "second"));
    two.pass(2);
    assert_eq!(two.exchanged(GET, "500").short(), ("HIT", "second"), "once");
}

#[test]
fn many_words_and_those_of_newer_versions_are_understood() {
    let (store, [one, two]) = gateways("");
    two.exchanged(GET, FRESH);
    for at in 0..100 {
        one.purge(json!({ "tag": format!("t{at}") }));
    }
    two.pass(2);
    assert_eq!(two.exchanged(GET, "500").label, "HIT");
    let last = store.kept().words.len() as Position;
    store.kept().words.push((last + 1, Bytes::from_static(b"\xffnew")));
    two.pass(2);
    store.kept().blobs.clear();
    assert_eq!(two.exchanged(GET, "200\n\nsecond").short(), ("MISS", "second"), "it may have meant anything");
}
