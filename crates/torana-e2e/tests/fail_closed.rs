//! Nobody passes when nobody can tell: everything that proves a caller is taken away, in every way it can fail, and no
//! protected route answers 2xx to somebody who has proven nothing.
//!
//! One table, [`rows`]: what fails, how, and what a caller gets who could prove itself if it did not. Each row has a
//! gateway of its own. Strangers get 401, 403 or 503 whatever the row says, over both protocols, and the service behind
//! never hears of them.

use std::fmt::Write as _;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use torana_e2e::both::Wire;
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup, binary};
use torana_e2e::origin::{Conn, Origin, ok, reply};
use torana_e2e::redis::Redis;
use torana_e2e::tls::Authority;
use torana_e2e::token::{Issuer, bearer, claims, key_set, seconds_from_now, with_secret, with_signature};
use torana_e2e::wait_for;

const WRITTEN_KEY: &str = "written-in-the-file-1";

/// How something fails.
#[derive(Clone, Copy, Debug)]
enum Fails {
    /// Nobody listens.
    Absent,
    /// Hangs up on every request.
    HangsUp,
    /// Takes requests and never answers.
    Silent,
    /// An answer that does not end.
    Endless,
    /// An answer that breaks off in its body.
    Breaks,
    /// One that breaks off in its head.
    Cut,
    /// A status and a body.
    Says(u16, &'static str),
    /// To somewhere else.
    Redirects,
    /// What is no HTTP.
    Nonsense,
}

use Fails::{Absent, Breaks, Cut, Endless, HangsUp, Nonsense, Redirects, Says, Silent};

/// What becomes of a caller who could prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Passes,
    /// With this status and code.
    Refused(u16, &'static str),
}

use Caller::{Passes, Refused};

/// What proves callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// The keys of an issuer, by URL.
    Jwks,
    /// The same where a token is optional, and there is one.
    OptionalJwks,
    /// What an issuer says about itself.
    Discovery,
    /// The key set that this names.
    DiscoveredKeys,
    /// A service that decides.
    ForwardAuth,
    /// Either keys of an issuer or an API key that is written down.
    AnyOf,
    /// The file of keys that were made, asked about one of these.
    Records,
    /// The same, asked about a key that is written down.
    WrittenKeys,
    /// The store of limits.
    Limits,
    /// The store of replies to repeated requests.
    Idempotency,
    /// The same, configured to do without.
    IdempotencyOpen,
}

/// When it begins to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Start,
    /// After it has served.
    Later,
}

use When::{Later, Start};

type Row = (What, When, Fails, Caller);

/// Everything that is tried.
fn rows() -> Vec<Row> {
    const GARBAGE: Fails = Says(200, "<html>maintenance</html>");
    const EMPTY: Fails = Says(200, "{\"keys\":[]}");
    // A public key set may hold no secrets; were they believed, whoever reads the set could sign.
    const SECRETS: Fails =
        Says(200, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA\"}]}");
    const NOT_ALLOWED: Fails = Says(403, "");
    const BROKEN: Fails = Says(500, "oops");
    let everything = [
        Absent,
        HangsUp,
        Silent,
        Endless,
        Breaks,
        Cut,
        GARBAGE,
        EMPTY,
        SECRETS,
        NOT_ALLOWED,
        BROKEN,
        Redirects,
        Nonsense,
    ];
    let no_keys = Refused(503, "jwt.keys_unavailable");
    let no_answer = Refused(503, "forward_auth.unavailable");
    let mut rows = Vec::new();
    for what in [What::Jwks, What::Discovery, What::DiscoveredKeys] {
        rows.extend(everything.map(|fails| (what, Start, fails, no_keys)));
        // Those whose keys are known go on.
        rows.extend(everything.map(|fails| (what, Later, fails, Passes)));
    }
    for fails in [Absent, HangsUp, GARBAGE, BROKEN] {
        rows.push((What::OptionalJwks, Start, fails, no_keys));
        rows.push((What::AnyOf, Start, fails, Passes));
        rows.push((What::AnyOf, Later, fails, Passes));
    }
    for when in [Start, Later] {
        // Of an answer that says yes only the head counts, and that has to be whole.
        for fails in [Absent, HangsUp, Silent, Cut, BROKEN, Says(304, ""), Says(305, ""), Nonsense] {
            rows.push((What::ForwardAuth, when, fails, no_answer));
        }
        // A reply of its own, and one that says no: both go to the client.
        rows.push((What::ForwardAuth, when, NOT_ALLOWED, Refused(403, "")));
        rows.push((What::ForwardAuth, when, Redirects, Refused(302, "")));
        rows.push((What::ForwardAuth, when, Says(404, "who?"), Refused(403, "forward_auth.denied")));
        // The stand-ins of a store, which speaks another protocol.
        for fails in [Absent, HangsUp, Silent, BROKEN, Nonsense] {
            rows.push((What::Limits, when, fails, Passes));
            rows.push((What::Idempotency, when, fails, Refused(503, "idempotency.no_store")));
            rows.push((What::IdempotencyOpen, when, fails, Passes));
        }
        for fails in [Absent, GARBAGE, Says(200, ""), Breaks, Silent] {
            rows.push((What::Records, when, fails, Refused(503, "api_key.unavailable")));
            rows.push((What::WrittenKeys, when, fails, Passes));
        }
    }
    // There is no file yet: nothing was lost, and no key is known.
    rows.retain(|(what, when, fails, _)| {
        !(matches!(what, What::Records | What::WrittenKeys) && *when == Start && matches!(fails, Absent))
    });
    rows
}

/// Something that can be told to fail.
struct Service {
    origin: Option<Origin>,
    url: String,
    fails: Arc<Mutex<Option<Fails>>>,
}

impl Service {
    /// Answers with what `healthy` says, until it fails; where `only` is not empty, only for targets that begin so.
    fn start(only: &'static str, healthy: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static) -> Service {
        let fails = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&fails);
        let origin = Origin::start(move |conn| {
            while let Some(head) = conn.head() {
                let target = head.line.split(' ').nth(1).unwrap_or_default();
                let now = *shared.lock().unwrap();
                match now.filter(|_| target.starts_with(only)) {
                    None => {
                        let host = head.get("host").unwrap_or_default();
                        if !conn.send(healthy(host, target)) {
                            return;
                        }
                    }
                    Some(fails) if !fail(conn, fails) => return,
                    Some(_) => {}
                }
            }
        });
        Service { url: origin.url(), origin: Some(origin), fails }
    }

    fn fail(&mut self, fails: Fails) {
        *self.fails.lock().unwrap() = Some(if matches!(fails, Absent) { HangsUp } else { fails });
        if matches!(fails, Absent) {
            // What is connected hangs up; nobody else gets in.
            self.origin = None;
        }
    }
}

/// Whether the connection goes on.
fn fail(conn: &mut Conn, fails: Fails) -> bool {
    match fails {
        Absent | HangsUp => false,
        Silent => {
            let _ = conn.until_closed();
            false
        }
        Endless => {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let part = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
            while conn.send(&part) {}
            false
        }
        Breaks => {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[");
            false
        }
        Cut => {
            conn.send("HTTP/1.1 200 OK\r\nx-user-id: ad");
            false
        }
        Says(status, body) => conn.send(reply(status, &[("content-type", "application/json")], body)),
        Redirects => conn.send(reply(302, &[("location", "http://127.0.0.1:1/keys")], "")),
        Nonsense => {
            conn.send("\0\u{1}\u{2}nonsense\r\n\r\n");
            false
        }
    }
}

/// A Redis server, or one that is none.
enum Store {
    Real(Box<Redis>),
    /// Speaks the protocol as far as this goes.
    Fake(#[allow(dead_code, reason = "it serves until it is dropped")] Origin),
    Nobody,
}

/// Stands at a Unix socket, where a Redis server may have been.
fn fake_store(path: &std::path::Path, fails: Fails) -> Store {
    let _ = std::fs::remove_file(path);
    if matches!(fails, Absent) {
        return Store::Nobody;
    }
    Store::Fake(Origin::start_unix(path, move |conn| {
        let mut bytes = [0; 4096];
        while let Ok(1..) = read(conn, &mut bytes) {
            let says: &[u8] = match fails {
                Silent => continue,
                Says(..) => b"-LOADING Redis is loading the dataset in memory\r\n",
                Nonsense => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                _ => return,
            };
            if !conn.send(says) {
                return;
            }
        }
    }))
}

fn read(conn: &mut Conn, bytes: &mut [u8]) -> std::io::Result<usize> {
    match &mut conn.reader.stream {
        torana_e2e::stream::Stream::Unix(unix) => unix.read(bytes),
        other => panic!("{other:?}"),
    }
}

/// One row, under way.
struct Scene {
    issuer: Issuer,
    origin: Origin,
    service: Option<Service>,
    store: Option<Store>,
    state: Dir,
    gateway: Gateway,
    /// What the caller shows who could prove itself.
    proof: String,
}

const BASE: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }
state_dir: \"{state}\"
stores: { shared: { redis: { url: \"unix://{state}/redis\", timeout: 200ms } } }
consumers: [ { name: shop, keys: [ { name: first, key: \"${env:SHOP_KEY}\" } ] } ]
routes:
  - { name: open, match: { path: /open }, respond: { body: open } }
  - name: guarded
    match: { path: /guarded/* }
    upstream: a
    policies:
";

fn policies(what: What) -> &'static str {
    match what {
        What::Jwks => "jwt: { jwks: \"{service}/keys\", cooldown: 0s, identity_headers: true }",
        What::OptionalJwks => "jwt: { jwks: \"{service}/keys\", cooldown: 0s, optional: true }",
        What::Discovery | What::DiscoveredKeys => "jwt: { issuer: \"{service}\", discover: true, cooldown: 0s }",
        What::ForwardAuth => {
            "forward_auth: { ask: \"{service}/verify\", timeout: 1s, copy_headers: X-User-Id, subject: X-User-Id }"
        }
        What::AnyOf => "any_of: [ { jwt: { jwks: \"{service}/keys\", cooldown: 0s } }, { api_key: {} } ]",
        What::Records | What::WrittenKeys => "api_key: {}",
        What::Limits => "api_key: {}\n      - rate_limit: { requests: 1000, per: 1h, store: shared }",
        What::Idempotency => "api_key: {}\n      - idempotency: { store: shared }",
        What::IdempotencyOpen => "api_key: {}\n      - idempotency: { store: shared, on_store_failure: open }",
    }
}

impl Scene {
    fn set(what: What, when: When, fails: Fails) -> Scene {
        let issuer = Issuer::new("a");
        let keys = key_set(&[&issuer]);
        let mut service = match what {
            What::Jwks | What::OptionalJwks | What::AnyOf => Some(Service::start("", move |_, _| ok(&keys))),
            What::Discovery | What::DiscoveredKeys => {
                let only = if what == What::Discovery { "/.well-known" } else { "/keys" };
                Some(Service::start(only, move |host, target| match target {
                    "/keys" => ok(&keys),
                    _ => ok(json!({ "issuer": format!("http://{host}"), "jwks_uri": format!("http://{host}/keys") })
                        .to_string()),
                }))
            }
            What::ForwardAuth => Some(Service::start("", |_, _| reply(200, &[("x-user-id", "ada")], ""))),
            _ => None,
        };
        let state = Dir::new();
        let needs_store = matches!(what, What::Limits | What::Idempotency | What::IdempotencyOpen);
        let store = needs_store.then(|| match when {
            Start => fake_store(&state.path().join("redis"), fails),
            Later => Store::Real(Box::new(Redis::start_at(&state.path().join("redis")))),
        });
        if when == Start {
            service.iter_mut().for_each(|service| service.fail(fails));
            if matches!(what, What::Records | What::WrittenKeys) {
                break_file(&state, fails);
            }
        }
        let origin = Origin::saying("behind");
        let url = service.as_ref().map(|service| service.url.clone()).unwrap_or_default();
        let config = format!("{BASE}      - {}\n", policies(what));
        let setup = Setup::new(&config).known("{state}", &state.path().to_string_lossy());
        let gateway = setup.known("{service}", &url).env("SHOP_KEY", WRITTEN_KEY).origin("a", &origin).start();
        let mut good = claims("u");
        good["iss"] = json!(url);
        let mut scene = Scene { proof: String::new(), issuer, origin, service, store, state, gateway };
        scene.proof = match what {
            What::Jwks | What::OptionalJwks | What::Discovery | What::DiscoveredKeys => {
                bearer(&scene.issuer.token(&good))
            }
            What::ForwardAuth => "authorization: yes\r\n".to_owned(),
            What::Records if when == Start => "x-api-key: trn_0123456789_madebefore\r\n".to_owned(),
            What::Records => format!("x-api-key: {}\r\n", scene.make_key()),
            What::Idempotency | What::IdempotencyOpen => {
                format!("x-api-key: {WRITTEN_KEY}\r\nidempotency-key: one\r\n")
            }
            _ => format!("x-api-key: {WRITTEN_KEY}\r\n"),
        };
        scene
    }

    fn make_key(&self) -> String {
        let made = self.gateway.admin_with("POST", "/consumers/shop/keys", "", r#"{ "name": "test" }"#);
        let made: Value = serde_json::from_str(&made.text()).unwrap();
        made["key"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// What fails later worked before.
    fn works_then_fails(&mut self, what: What, fails: Fails) {
        let before = Wire::Http1.ask(&self.gateway, "POST", "/guarded/before", &self.proof, "x");
        assert_eq!(before.status, 200, "it has to work before it fails: {}", before.text);
        let _ = self.origin.take_seen();
        self.service.iter_mut().for_each(|service| service.fail(fails));
        if let Some(store) = &mut self.store {
            if let Store::Real(redis) = store {
                redis.kill();
            }
            *store = fake_store(&self.state.path().join("redis"), fails);
            if what == What::Idempotency || what == What::IdempotencyOpen {
                self.proof = self.proof.replace("key: one", "key: two");
            }
        }
        if matches!(what, What::Records | What::WrittenKeys) {
            if what == What::WrittenKeys {
                // There is a file only once a key was made.
                let _ = self.make_key();
            }
            break_file(&self.state, fails);
            // It is looked at every second.
            wait_for("the loss to be noticed", || self.gateway.said().contains("do not count any more").then_some(()));
        }
    }

    /// Header lines of those who have proven nothing.
    fn strangers(&self, what: What) -> Vec<(&'static str, String)> {
        let mut good = claims("u");
        good["iss"] = json!(self.service.as_ref().map(|service| service.url.clone()));
        let mut old = good.clone();
        old["exp"] = json!(seconds_from_now(-3600));
        let jwk = self.issuer.jwk().to_string();
        let hs256 = json!({ "alg": "HS256", "kid": "a" });
        let mut strangers = vec![
            ("nothing", String::new()),
            ("no token", bearer("x")),
            ("a forged signature", bearer(&Issuer::new("a").token(&good))),
            ("an unknown key", bearer(&Issuer::new("b").token(&good))),
            ("no signature", bearer(&with_signature(&json!({ "alg": "none" }), &good, b""))),
            ("the public key for a secret", bearer(&with_secret(&hs256, &good, jwk.as_bytes()))),
            ("the key set's secret", bearer(&with_secret(&hs256, &good, b"secret-secret-secret-secret-secret"))),
            ("an expired token", bearer(&self.issuer.token(&old))),
            ("an unknown API key", "x-api-key: 0123456789abcdef0123\r\n".to_owned()),
            ("a name of headers", "x-user-id: admin\r\nx-consumer: shop\r\n".to_owned()),
            ("a password", "authorization: Basic c2hvcDpzaG9w\r\n".to_owned()),
            ("a probe", "user-agent: kube-probe/1.30\r\n".to_owned()),
        ];
        if what == What::OptionalJwks {
            // Those without a token pass by choice; a token that cannot be judged is no lack of one.
            strangers.retain(|(_, fields)| fields.starts_with("authorization: Bearer"));
        }
        strangers
    }

    /// What is wrong with how this row ended, if anything.
    fn judge(&self, what: What, caller: Caller) -> Result<(), String> {
        let strangers = self.strangers(what);
        let faults = Mutex::new(String::new());
        let refuses = |name: &str, wire: Wire, method: &str, fields: &str| {
            let told = wire.ask(&self.gateway, method, "/guarded/x", fields, if method == "POST" { "x" } else { "" });
            // A service that decides answers for itself, to all alike.
            let is_refusal = matches!(told.status, 401 | 403 | 503)
                || (what == What::ForwardAuth && Refused(told.status, "") == caller);
            if !is_refusal {
                let _ = writeln!(
                    faults.lock().unwrap(),
                    "  {method} with {name} over {wire:?}: {} {}",
                    told.status,
                    told.text
                );
            }
        };
        thread::scope(|scope| {
            for (name, fields) in &strangers {
                scope.spawn(|| {
                    for wire in Wire::BOTH {
                        refuses(name, wire, "GET", fields);
                        refuses(name, wire, "POST", fields);
                    }
                });
            }
        });
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        if what != What::OptionalJwks {
            refuses("an upgrade", Wire::Http1, "GET", upgrade);
        }
        let mut faults = faults.into_inner().unwrap();
        for seen in self.origin.take_seen() {
            let _ = writeln!(faults, "  the service behind saw {}", seen.head.line);
        }
        for wire in Wire::BOTH {
            // Bodies, since only those requests have repetitions.
            let proof = self.proof.replace("key: two", &format!("key: {wire:?}"));
            let told = wire.ask(&self.gateway, "POST", "/guarded/x", &proof, "x");
            let is_right = match caller {
                Passes => told.status == 200,
                Refused(status, code) => told.status == status && (code.is_empty() || told.code() == code),
            };
            if !is_right {
                let _ = writeln!(faults, "  the caller over {wire:?}: {} {}", told.status, told.text);
            }
            if wire.get(&self.gateway, "/open", "").status != 200 {
                let _ = writeln!(faults, "  what needs no proof is not served over {wire:?}");
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// The file of keys that were made, lost.
fn break_file(state: &Dir, fails: Fails) {
    let file = state.path().join("consumers.redb");
    let _ = std::fs::remove_file(&file);
    match fails {
        Says(_, text) => drop(state.write("consumers.redb", text)),
        Breaks => drop(state.write("consumers.redb", [b"redb\x1a\x0a\xa9\x0d\x0a".as_slice(), &[0; 8192]].concat())),
        // Nobody can read a directory as a file, not even root.
        Silent => std::fs::create_dir(&file).unwrap(),
        _ => {}
    }
}

fn play((what, when, fails, caller): Row) -> Result<(), String> {
    let mut scene = Scene::set(what, when, fails);
    if when == Later {
        scene.works_then_fails(what, fails);
    }
    scene.judge(what, caller)
}

#[test]
fn nobody_passes_when_nobody_can_tell() {
    let rows = rows();
    assert!(rows.len() > 100, "{}", rows.len());
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    // Most of the time is spent waiting for what does not answer.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = catch_unwind(AssertUnwindSafe(|| play(*row)));
                    let fault = match played {
                        Ok(Ok(())) => continue,
                        Ok(Err(fault)) => fault,
                        Err(_) => "  it panicked; see above".to_owned(),
                    };
                    faults.lock().unwrap().push(format!("{row:?}\n{fault}"));
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

/// The issuer says that its keys are old, and can say no more: those that are known stay in use, and nothing else does.
#[test]
fn keys_that_are_too_old_count_while_the_issuer_is_silent_and_others_do_not() {
    let issuer = Issuer::new("a");
    let keys = key_set(&[&issuer]);
    let down = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&down);
    let idp = Origin::replying(move |_| match asked.load(Ordering::SeqCst) {
        0 => reply(200, &[("cache-control", "max-age=1")], &keys),
        _ => reply(500, &[], "down"),
    });
    let origin = Origin::saying("behind");
    let config = "routes: [ { name: r, upstream: a, policies: [ jwt: { jwks: { upstream: idp, path: /keys }, cooldown: 0s } ] } ]";
    let gateway = Setup::new(config).origin("a", &origin).origin("idp", &idp).start();
    let of = |issuer: &Issuer| bearer(&issuer.token(&claims("u")));
    let good = of(&issuer);
    assert_eq!(Wire::Http1.get(&gateway, "/", &good).status, 200);
    down.store(1, Ordering::SeqCst);
    let _ = idp.take_seen();
    // The shortest time that keys are used for is half a minute, whatever the issuer says.
    let end = std::time::Instant::now() + Duration::from_secs(90);
    while idp.seen().is_empty() {
        assert!(std::time::Instant::now() < end, "old keys are never asked for again");
        assert_eq!(Wire::Http1.get(&gateway, "/", &good).status, 200);
        thread::sleep(Duration::from_millis(200));
    }
    let _ = origin.take_seen();
    for wire in Wire::BOTH {
        assert_eq!(wire.get(&gateway, "/", &good).status, 200);
        assert_eq!(wire.get(&gateway, "/", &of(&Issuer::new("a"))).status, 401);
        assert_eq!(wire.get(&gateway, "/", &of(&Issuer::new("b"))).status, 401);
        assert_eq!(wire.get(&gateway, "/", "").status, 401);
    }
    assert_eq!(origin.seen().len(), 2);
}

/// Policies that cannot be built, with the code that says so.
const UNBUILDABLE: &[(&str, &str)] = &[
    ("jwt: {}", "jwt.keys"),
    ("jwt: { secret: '' }", "jwt.secret"),
    ("jwt: { secret: short }", "jwt.secret"),
    ("jwt: { secret: '${env:E2E_NOT_SET}' }", "config.missing_variable"),
    ("jwt: { secret: '${file:not-there}' }", "config.unreadable"),
    ("jwt: { public_key: '${file:not-there.pem}' }", "config.unreadable"),
    ("jwt: { public_key: '${file:junk.pem}' }", "jwt.public_key"),
    ("jwt: { public_key: '${file:short.pem}' }", "jwt.public_key"),
    ("jwt: { public_key: '${file:key.pem}', algorithms: [ RS256 ] }", "jwt.algorithms"),
    ("jwt: { public_key: '${file:key.pem}', algorithms: [ none ] }", "config."),
    ("jwt: { secret: 0123456789abcdef0123456789abcdef, leeway: 1d }", "jwt.leeway"),
    ("jwt: { jwks: { upstream: nobody, path: /keys } }", "config."),
    ("jwt: { discover: true }", "jwt."),
    ("jwtt: { public_key: '${file:key.pem}' }", "config."),
    ("any_of: []", "config."),
    ("any_of: [ { jwt: { secret: '' } } ]", "jwt.secret"),
    ("any_of: [ { headers: {} } ]", "any_of."),
    ("api_key: { from: {} }", "api_key.from"),
    ("api_key: { from: { header: X-Key, query: key } }", "api_key.from"),
    ("api_key: { requird: true }", "config.unknown_key"),
    ("authorize: { when: 'identity.subject =' }", "authorize.when"),
    ("authorize: { when: '1 + 1' }", "authorize.when"),
    ("authorize: {}", "authorize."),
    ("basic_auth: { users: [ { name: ada, password_hash: plain } ] }", "basic_auth.password_hash"),
    ("basic_auth: { users: [ { name: ada, password_hash: '${env:E2E_NOT_SET}' } ] }", "config.missing_variable"),
    ("csrf: { origins: [ not-an-origin ] }", "csrf."),
    ("forward_auth: {}", "config."),
    ("forward_auth: { ask: { upstream: nobody, path: / } }", "config."),
    ("forward_auth: { ask: { upstream: a, path: / }, timeout: 0s }", "forward_auth.timeout"),
    ("hmac_auth: { require: [ '@nothing' ] }", "hmac_auth.component"),
    ("ip_filter: {}", "ip_filter."),
    ("ip_filter: { allow: [ 10.0.0.0/33 ] }", "config."),
    ("mtls: { ca: '${file:junk.pem}' }", "mtls.ca"),
    ("rate_limit: { requests: 10, per: 1m, store: nowhere }", "config.unknown_store"),
];

/// An RSA key of 1024 bits.
const SHORT: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDbkGQgFEbP8++ENk0mW9/4Eoc6\n\
    DoUvOhA2mGR3g6kYsPvVBbQBjYQ5sSZ2TrF1lxa6PcgQlShwcyTAgSNz+jCPfUa3\n\
    hsg43IkxREzchokmiPrTE8/6keK9oUZC/2tlabiLWFSTNFKg4ptO6j0+Jujc3Zfx\n\
    M6wEryANfohekg4z+QIDAQAB\n\
    -----END PUBLIC KEY-----\n";

/// What the configurations of these tests name.
fn key_files(issuer: &Issuer) -> Dir {
    let dir = Dir::new();
    dir.write("key.pem", issuer.pem());
    dir.write("junk.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    dir.write("short.pem", SHORT);
    dir
}

const BUILT: &str = "jwt: { public_key: '${file:key.pem}' }";

fn with_policy(policy: &str) -> String {
    format!("routes:\n  - {{ name: r, match: {{ path: /r }}, upstream: a, policies: [ {policy} ] }}\n")
}

#[test]
fn what_cannot_be_built_is_not_served() {
    let (issuer, origin) = (Issuer::new("a"), Origin::saying("behind"));
    let dir = key_files(&issuer);
    let mut faults = String::new();
    for (policy, code) in UNBUILDABLE {
        let text = format!(
            "listeners: [ {{ address: \"127.0.0.1:0\" }} ]\nadmin: false\nupstreams: {{ a: {{ endpoints: [ {} ] }} }}\n{}",
            origin.url(),
            with_policy(policy)
        );
        let file = dir.write("broken.yaml", text);
        let mut command = Command::new(binary());
        let mut started = command
            .arg("run")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        // Ends with the process, or with the word that it serves.
        let mut errors = std::io::BufReader::new(started.stderr.take().unwrap());
        while !said.contains("listening on") && std::io::BufRead::read_line(&mut errors, &mut said).unwrap() > 0 {}
        let is_up = said.contains("listening on");
        if is_up {
            started.kill().unwrap();
        }
        let status = started.wait().unwrap();
        if is_up || status.code() != Some(1) || !said.contains(&format!("error[{code}")) {
            let _ = writeln!(faults, "{policy}: {status:?}, expected {code}:\n{said}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn what_cannot_be_built_leaves_what_was_in_force() {
    let (issuer, origin) = (Issuer::new("a"), Origin::saying("behind"));
    let dir = key_files(&issuer);
    let admin = "admin: { address: \"127.0.0.1:{port:admin}\" }\n";
    let setup = Setup::new(&format!("{admin}{}", with_policy(BUILT)));
    let mut gateway = setup.argument("--no-watch").dir(dir).origin("a", &origin).start();
    let good = bearer(&issuer.token(&claims("u")));
    for (policy, _) in UNBUILDABLE {
        gateway.rewrite(&format!("{admin}{}", with_policy(policy)));
        let reload = gateway.admin("POST", "/reload");
        assert!(matches!(reload.status(), 400..=499), "{policy}: {}", reload.text());
        for wire in Wire::BOTH {
            assert_eq!(wire.get(&gateway, "/r", "").status, 401, "{policy}");
        }
        assert!(origin.take_seen().is_empty(), "{policy}");
        assert_eq!(Wire::Http1.get(&gateway, "/r", &good).status, 200, "{policy}");
        let _ = origin.take_seen();
    }
    // Nor does a key that goes away while running take the policy with it.
    gateway.rewrite(&format!("{admin}{}", with_policy(BUILT)));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    std::fs::remove_file(gateway.dir().path().join("key.pem")).unwrap();
    assert!(matches!(gateway.admin("POST", "/reload").status(), 400..=499));
    assert_eq!((Wire::Http1.get(&gateway, "/r", "").status, Wire::Http1.get(&gateway, "/r", &good).status), (401, 200));
}

/// Certificates: the authority's file is lost, emptied or replaced while the gateway runs.
#[test]
fn an_authority_that_is_lost_lets_nobody_in() {
    let (authority, origin, dir) = (Authority::new(), Origin::saying("behind"), Dir::new());
    authority.write(&dir, "one", &["gateway.example"]);
    dir.write("ca.pem", authority.pem());
    let config = "admin: { address: \"127.0.0.1:{port:admin}\" }
listeners:
  - address: \"127.0.0.1:{port:main}\"
    tls: { certificates: [ { cert: one.pem, key: one.key } ], client_auth: { ca: ca.pem, mode: optional } }
routes: [ { name: r, match: { path: /r }, upstream: a, policies: [ mtls: { ca: \"${file:ca.pem}\" } ] } ]
";
    let gateway = Setup::new(config).argument("--no-watch").origin("a", &origin).dir(dir).start();
    let ours = authority.sign(&["client.example"]);
    let ask = |identity: Option<&torana_e2e::tls::Signed>| {
        let config = authority.client(identity, &["http/1.1"]);
        let mut client = torana_e2e::tls::connect(&config, gateway.port("main"), "gateway.example");
        client.ask("GET /r HTTP/1.1\r\nhost: gateway.example\r\n\r\n").status()
    };
    assert_eq!((ask(None), ask(Some(&ours))), (403, 200));
    let _ = origin.take_seen();
    for broken in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        gateway.dir().write("ca.pem", broken);
        let reload = gateway.admin("POST", "/reload");
        assert!(matches!(reload.status(), 400..=499), "{broken}: {}", reload.text());
        assert_eq!(ask(None), 403, "{broken}");
    }
    std::fs::remove_file(gateway.dir().path().join("ca.pem")).unwrap();
    assert!(matches!(gateway.admin("POST", "/reload").status(), 400..=499));
    assert_eq!(ask(None), 403);
    assert!(origin.seen().is_empty());
}
