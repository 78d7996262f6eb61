//! Sources that change, fail and come back.

#[path = "../../../torana-e2e/src/dns.rs"]
#[allow(dead_code, unreachable_pub, reason = "it belongs to the end-to-end tests, which use all of it")]
mod fake;

use super::*;
use crate::spec::{Address, UpstreamSpec};
use crate::state::{State, Watch};
use fake::{Data, NameServer, Says};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};

const SOON: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(3600);

fn like() -> EndpointSpec {
    EndpointSpec {
        name: "".into(),
        address: Address::Unix("/".into()),
        authority: "users.internal:3001".into(),
        secure: false,
        prior_knowledge: false,
        weight: 1,
        drain: false,
    }
}

pub(super) fn dns_spec(resolvers: &[SocketAddr], min_ttl: Duration, max_ttl: Duration) -> SourceSpec {
    let question = Question::Addresses("users.internal".into(), 3001);
    let kind =
        Kind::Dns(DnsSpec { question, scheme: "http", like: like(), resolvers: resolvers.to_vec(), min_ttl, max_ttl });
    SourceSpec { name: "dns:users.internal".into(), kind }
}

pub(super) fn file_spec(path: &Path) -> SourceSpec {
    SourceSpec { name: "file".into(), kind: Kind::File { path: path.into(), http2: false } }
}

fn srv_spec(server: SocketAddr) -> SourceSpec {
    let mut spec = dns_spec(&[server], SOON, SOON);
    if let Kind::Dns(dns) = &mut spec.kind {
        dns.question = Question::Service("_http._tcp.users.internal".into());
    }
    spec
}

fn endpoint(name: &str) -> EndpointSpec {
    EndpointSpec { name: name.into(), ..like() }
}

/// A line for each endpoint; `!` at the beginning is an error, `?` a panic.
fn read_lines(path: &Path, _: bool) -> Result<Vec<EndpointSpec>, String> {
    let text = std::fs::read_to_string(path).map_err(|_| "it cannot be read".to_owned())?;
    assert!(!text.starts_with('?'), "asked for");
    match text.strip_prefix('!') {
        Some(error) => Err(error.to_owned()),
        None => Ok(text.lines().map(endpoint).collect()),
    }
}

/// A source that is asked on a thread of its own.
struct Bench {
    source: Arc<Source>,
    discovery: Discovery,
    told: Receiver<Option<Told>>,
}

impl Bench {
    fn start(spec: SourceSpec) -> Bench {
        let source = Source::new(&"a".into(), spec, Instant::now());
        let (discovery, discovering) = discovery(read_lines);
        let (sender, told) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(discovering.run(|notice| {
                let _ = sender.send(match notice {
                    Notice::Asked(_, told) => Some(told),
                    Notice::Spares => None,
                });
            }));
        });
        discovery.follow([source.clone()]);
        Bench { source, discovery, told }
    }

    fn next(&self) -> Option<Told> {
        self.told.recv_timeout(Duration::from_secs(20)).expect("the source is asked")
    }

    /// Waits until it is told that this is so.
    fn until(&self, what: &str, is_it: impl Fn(Told) -> bool) -> Told {
        for _ in 0..1000 {
            if let Some(told) = self.next().filter(|told| is_it(*told)) {
                return told;
            }
        }
        panic!("never told: {what}");
    }

    fn names(&self) -> Vec<String> {
        names(&self.source.members(&|_| true))
    }

    fn error(&self) -> String {
        self.source.snapshot(Instant::now()).error.map(|(error, _)| error.into()).unwrap_or_default()
    }
}

fn names(endpoints: &[EndpointSpec]) -> Vec<String> {
    endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_come_and_go_with_the_answers() {
    let server = NameServer::start();
    server.addresses("users.internal", &[ip("10.0.0.2"), ip("10.0.0.1")]);
    let bench = Bench::start(dns_spec(&[server.address()], SOON, SOON));
    bench.until("first", |told| told.changed);
    assert_eq!(bench.names(), ["http://10.0.0.1:3001", "http://10.0.0.2:3001"]);
    let found = bench.source.members(&|_| true);
    assert_eq!(&*found[0].authority, "users.internal:3001", "nothing of an answer gets into requests");
    // Another order is no change, another address is.
    server.addresses("users.internal", &[ip("10.0.0.1"), ip("10.0.0.2")]);
    bench.next();
    assert!(!bench.next().unwrap().changed);
    server.addresses("users.internal", &[ip("fd00::1"), ip("10.0.0.2")]);
    bench.until("second", |told| told.changed);
    assert_eq!(bench.names(), ["http://10.0.0.2:3001", "http://[fd00::1]:3001"]);
}

#[test]
fn no_failure_takes_an_endpoint_away() {
    let server = NameServer::start();
    server.addresses("users.internal", &[ip("10.0.0.1")]);
    let bench = Bench::start(dns_spec(&[server.address()], SOON, SOON));
    bench.until("an answer", |told| told.changed);
    for (says, error) in [
        (Says::Code(2), "the server cannot answer (SERVFAIL)"),
        (Says::Code(3), "the name does not exist (NXDOMAIN)"),
        (Says::Code(5), "the server does not want to answer (REFUSED)"),
        (Says::Records(0, vec![]), "users.internal has no address"),
        (Says::Records(0, vec![Data::Address(ip("0.0.0.0"))]), "the answer has nothing that could be an endpoint"),
    ] {
        server.say("users.internal", says);
        bench.until(error, |told| told.failing);
        assert_eq!(bench.error(), error);
        assert_eq!(bench.names(), ["http://10.0.0.1:3001"], "{error}");
        let snapshot = bench.source.snapshot(Instant::now() + LONG);
        assert!(snapshot.failures_in_a_row > 0 && snapshot.age >= LONG, "{snapshot:?}");
        server.addresses("users.internal", &[ip("10.0.0.1")]);
        let told = bench.until("back", |told| told.back);
        assert!(!told.changed && bench.source.snapshot(Instant::now()).failures_in_a_row == 0);
    }
}

#[test]
fn a_server_that_is_silent_is_a_failure_too() {
    let server = NameServer::start();
    server.say("users.internal", Says::Silence);
    let bench = Bench::start(dns_spec(&[server.address()], SOON, SOON));
    bench.until("no answer", |told| told.failing);
    assert!(bench.error().contains("no answer"), "{}", bench.error());
    server.addresses("users.internal", &[ip("10.0.0.1")]);
    bench.until("an answer", |told| told.changed && told.back);
}

#[test]
fn one_family_that_fails_keeps_what_it_had() {
    let spec = dns_spec(&[], SOON, SOON);
    let source = Source::new(&"a".into(), spec, Instant::now());
    let part = |name: &str, part: &str| Found { endpoint: endpoint(name), tier: 0, part: part.into() };
    let note = |found: Vec<Found>, lost: &[&str]| {
        let lost = lost.iter().map(|part| ((*part).into(), "SERVFAIL".to_owned())).collect();
        source.note(Ok(Answer { found, lost, ..Answer::default() }), Instant::now())
    };
    note(vec![part("a4", "A"), part("a6", "AAAA")], &[]);
    assert!(note(vec![part("b4", "A")], &["AAAA"]).changed);
    assert_eq!(names(&source.members(&|_| true)), ["a6", "b4"]);
    // Records that are gone, unlike an error, take theirs away.
    note(vec![part("b4", "A")], &[]);
    assert_eq!(names(&source.members(&|_| true)), ["b4"]);
}

#[test]
fn services_have_ports_weights_and_spares() {
    let server = NameServer::start();
    for (name, address) in [("one", "10.0.0.1"), ("two", "10.0.0.2"), ("spare", "10.0.0.9")] {
        server.say(&format!("{name}.internal"), Says::Records(3600, vec![Data::Address(ip(address))]));
    }
    let service = |priority, weight, port, target: &str| Data::Service(priority, weight, port, target.to_owned());
    let records = vec![
        service(20, 0, 80, "spare.internal."),
        service(10, 30, 3002, "two.internal."),
        service(10, 10, 3001, "one.internal."),
        service(10, 10, 3001, "gone.internal."),
    ];
    server.say("_http._tcp.users.internal", Says::Records(0, records));
    let bench = Bench::start(srv_spec(server.address()));
    bench.until("an answer", |told| told.changed);
    let members = bench.source.members(&|_| true);
    let shown: Vec<(&str, u32)> = members.iter().map(|found| (&*found.name, found.weight)).collect();
    assert_eq!(shown, [("http://10.0.0.1:3001", 1), ("http://10.0.0.2:3002", 3)]);
    assert!(bench.error().starts_with("gone.internal.:3001: "), "{}", bench.error());
    // One of the first that works is enough; without any, the next join them.
    let works = |name: &str| name.ends_with("3002");
    assert_eq!(bench.source.members(&works).len(), 2);
    assert_eq!(names(&bench.source.members(&|_| false)).last().unwrap(), "http://10.0.0.9:80");
    while bench.next().is_some() {}
    // The service says that it is not there (RFC 2782): not an empty pool.
    server.say("_http._tcp.users.internal", Says::Records(0, vec![service(0, 0, 0, ".")]));
    bench.until("not available", |told| told.failing);
    assert_eq!(bench.names().len(), 2);
}

#[test]
fn more_endpoints_than_anyone_has_are_left_out() {
    let source = Source::new(&"a".into(), dns_spec(&[], SOON, SOON), Instant::now());
    let answer = |count: usize| {
        let name = |number| format!("{number:04}");
        let found = (0..count).map(|number| Found { endpoint: endpoint(&name(number)), tier: 0, part: "A".into() });
        Ok(Answer { found: found.collect(), ..Answer::default() })
    };
    assert_eq!(source.note(answer(300), Instant::now()).left_out, 300 - MOST_ENDPOINTS);
    assert_eq!(source.note(answer(300), Instant::now()).left_out, 0, "told once");
    assert_eq!(source.members(&|_| true).len(), MOST_ENDPOINTS);
    assert_eq!(source.snapshot(Instant::now()).left_out, 300 - MOST_ENDPOINTS);
    assert_eq!(source.note(answer(3), Instant::now()), Told { changed: true, ..Told::default() });
}

#[test]
fn a_file_is_read_when_somebody_has_looked_and_a_broken_one_changes_nothing() {
    let path = std::env::temp_dir().join(format!("torana-discover-{}", std::process::id()));
    std::fs::write(&path, "http://a\nhttp://b").unwrap();
    let bench = Bench::start(file_spec(&path));
    bench.until("first", |told| told.changed);
    assert_eq!(bench.names(), ["http://a", "http://b"]);
    let write = |text: &str| {
        let other = path.with_extension("new");
        std::fs::write(&other, text).unwrap();
        std::fs::rename(&other, &path).unwrap();
        bench.discovery.look();
    };
    write("!line 3: what is this?");
    bench.until("broken", |told| told.failing);
    assert_eq!((bench.error().as_str(), bench.names().len()), ("line 3: what is this?", 2));
    write("?");
    bench.next();
    assert_eq!((bench.error().as_str(), bench.names().len()), ("a fault of the gateway: please report it", 2));
    write("");
    bench.next();
    assert_eq!((bench.error().as_str(), bench.names().len()), ("the answer is empty", 2));
    write("http://c");
    bench.until("mended", |told| told.changed && told.back);
    assert_eq!(bench.names(), ["http://c"]);
    std::fs::remove_file(&path).unwrap();
    bench.discovery.look();
    bench.until("gone", |told| told.failing);
    assert_eq!(bench.names(), ["http://c"]);
}

#[test]
fn preparing_waits_for_the_first_attempt_and_no_longer_than_it_may() {
    let server = NameServer::start();
    server.addresses("users.internal", &[ip("10.0.0.1")]);
    let bench = Bench::start(file_spec("/does/not/exist".as_ref()));
    let source = Source::new(&"a".into(), dns_spec(&[server.address()], SOON, SOON), Instant::now());
    bench.discovery.prepare([source.clone()], Duration::from_secs(20));
    assert!(source.is_tried());
    server.say("users.internal", Says::Silence);
    let silent = Source::new(&"a".into(), dns_spec(&[server.address()], SOON, LONG), Instant::now());
    bench.discovery.prepare([silent.clone()], SOON);
    assert!(!silent.is_tried());
}

#[test]
fn an_endpoint_with_tls_is_not_spoken_to_without() {
    let source = Source::new(&"a".into(), file_spec("x".as_ref()), Instant::now());
    let secure = EndpointSpec { secure: true, ..endpoint("https://s") };
    let found = [secure, endpoint("http://p")].map(|endpoint| Found { endpoint, tier: 0, part: "".into() });
    source.note(Ok(Answer { found: found.into(), ..Answer::default() }), Instant::now());
    let names_with = |tls| names(&endpoints(&[], std::slice::from_ref(&source), tls, &|_| true));
    assert_eq!((names_with(false), names_with(true).len()), (vec!["http://p".to_owned()], 2));
}

#[test]
fn a_state_goes_on_with_what_stays_and_with_its_sources() {
    let mut spec = UpstreamSpec::new("a", vec![endpoint("http://fixed")]);
    spec.sources = vec![file_spec("x".as_ref())];
    let (watch, now) = (Watch::default(), Instant::now());
    let state = State::new(&spec, None, &watch, now);
    assert!(state.rediscovered(&spec, &watch, now).is_none(), "nothing is found");
    let source = state.sources()[0].clone();
    let found = |names: &[&str]| {
        let found = names.iter().map(|name| Found { endpoint: endpoint(name), tier: 0, part: "".into() });
        source.note(Ok(Answer { found: found.collect(), ..Answer::default() }), Instant::now());
    };
    found(&["http://fixed", "http://b", "http://c"]);
    let (spec, state) = state.rediscovered(&spec, &watch, now).unwrap();
    assert_eq!(names(&spec.endpoints), ["http://fixed", "http://b", "http://c"], "each once");
    state.health().adopt(now);
    state.health().drain(2, true, now);
    found(&["http://c", "http://d"]);
    let (spec, next) = state.rediscovered(&spec, &watch, now).unwrap();
    next.health().adopt(now);
    assert_eq!(names(&spec.endpoints), ["http://fixed", "http://c", "http://d"]);
    assert_eq!(next.health().standing(1).to_string(), "drained", "what is known of it goes along");
    assert!(!next.works("http://c") && next.works("http://d") && next.works("http://unknown"));
    // A reload that says the same goes on with the source, and what it found.
    let again = State::sources_of(&spec.name, &spec.sources, Some(&next), now);
    assert!(Arc::ptr_eq(&again[0], &source));
}
