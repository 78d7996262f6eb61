//! Endpoints that come and go beside traffic: from DNS, from files, and by
//! hand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use torana_e2e::client::{Client, get};
use torana_e2e::dns::{Data, NameServer, Says};
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, ok};
use torana_e2e::wait_for;

const ADMIN: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }\n";

/// Requests sent without a pause by several clients until it is told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(gateway: &Gateway, clients: usize) -> Traffic {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let port = gateway.port("main");
        let one = |stop: Arc<AtomicBool>, done: Arc<AtomicUsize>| {
            move || {
                let mut failed = Vec::new();
                let mut client = Client::connect(port);
                while !stop.load(Ordering::SeqCst) {
                    let reply = client.try_send(get("/", "")).ok().and_then(|()| client.reply_to("GET"));
                    match reply {
                        Some(reply) if reply.status() == 200 => {}
                        Some(reply) => failed.push(format!("{}: {}", reply.status(), reply.text())),
                        None => {
                            failed.push("closed without a reply".to_owned());
                            client = Client::connect(port);
                        }
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
                failed
            }
        };
        let clients = (0..clients).map(|_| thread::spawn(one(stop.clone(), done.clone()))).collect();
        Traffic { stop, done, clients }
    }

    /// Waits for so many more requests.
    fn pass(&self, count: usize) {
        let until = self.done.load(Ordering::SeqCst) + count;
        wait_for("traffic", || (self.done.load(Ordering::SeqCst) >= until).then_some(()));
    }

    /// How many there were, and what went wrong.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failed = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.done.load(Ordering::SeqCst), failed)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Puts another file in the place of one, as those who write lists do.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

/// The names of the endpoints an upstream has now.
fn endpoints(gateway: &Gateway) -> BTreeSet<String> {
    let shown = upstream(gateway);
    let list = shown["endpoints"].as_array().unwrap();
    list.iter().map(|endpoint| endpoint["endpoint"].as_str().unwrap().to_owned()).collect()
}

fn upstream(gateway: &Gateway) -> serde_json::Value {
    let shown: serde_json::Value = serde_json::from_str(&gateway.admin("GET", "/upstreams").text()).unwrap();
    shown["upstreams"][0].clone()
}

fn wait_endpoints(gateway: &Gateway, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    wait_for(&format!("the endpoints {wanted:?}"), || (endpoints(gateway) == wanted).then_some(()));
}

/// Names of those who answer `count` requests.
fn answering(gateway: &Gateway, count: usize) -> BTreeSet<String> {
    (0..count).map(|_| gateway.ask(get("/", "")).text()).collect()
}

#[test]
fn no_request_fails_while_a_list_of_endpoints_changes_and_endpoints_are_drained() {
    let origins: Vec<Origin> = ["a", "b", "c"].into_iter().map(Origin::saying).collect();
    let urls: Vec<String> = origins.iter().map(Origin::url).collect();
    let config = format!(
        "workers: 2\naccess_log: false\n{ADMIN}upstreams: {{ u: {{ discover: {{ file: endpoints.yaml }} }} }}\n\
         routes: [ {{ name: r, upstream: u }} ]"
    );
    let dir = torana_e2e::dir::Dir::new();
    let file = dir.write("endpoints.yaml", format!("[ '{}' ]", urls[0]));
    let gateway = Setup::new(&config).dir(dir).start();
    assert_eq!(gateway.ask(get("/", "")).text(), "a", "what a file lists is there with the first request");
    let traffic = Traffic::start(&gateway, 4);
    let lists: [&[usize]; 6] = [&[0, 1], &[1], &[1, 2], &[2, 0], &[0, 1, 2], &[1]];
    for list in lists.iter().cycle().take(18) {
        let wanted: Vec<&str> = list.iter().map(|index| urls[*index].as_str()).collect();
        replace(&file, &format!("endpoints: {wanted:?}"));
        wait_endpoints(&gateway, &wanted);
        traffic.pass(150);
    }
    replace(&file, &format!("endpoints: {urls:?}"));
    wait_endpoints(&gateway, &urls.iter().map(String::as_str).collect::<Vec<_>>());
    for url in urls.iter().cycle().take(9) {
        let address = url.strip_prefix("http://").unwrap();
        for what in ["drain", "undrain"] {
            let reply = gateway.admin("POST", &format!("/upstreams/u/endpoints/{address}/{what}"));
            assert_eq!(reply.status(), 200, "{}", reply.text());
            traffic.pass(100);
        }
    }
    let (count, failed) = traffic.end();
    assert!(count > 4000, "{count} requests");
    assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert_eq!(gateway.metric("gateway_config_revision"), Some(1.0), "nobody has configured anything");
}

#[test]
fn no_request_fails_while_dns_changes_its_mind() {
    let server = NameServer::start();
    let at = |host: &'static str, port: u16| {
        Origin::start_at((ip(host), port).into(), move |conn| while conn.request().is_some() && conn.send(ok(host)) {})
    };
    let first = at("127.0.0.1", 0);
    let port = first.port();
    // One port, as the addresses of a name have it.
    let _others = [at("127.0.0.2", port), at("127.0.0.3", port)];
    server.addresses("users.internal", &[ip("127.0.0.1")]);
    let config = format!(
        "workers: 2\naccess_log: false\n{ADMIN}upstreams: {{ u: {{ discover: {{ dns: {{ name: users.internal, \
         port: {port}, resolvers: '{}', min_ttl: 20ms, max_ttl: 1s }} }} }} }}\nroutes: [ {{ name: r, upstream: u }} ]",
        server.address()
    );
    let gateway = Setup::new(&config).start();
    assert_eq!(gateway.ask(get("/", "")).text(), "127.0.0.1", "asked before the first request comes");
    let traffic = Traffic::start(&gateway, 4);
    let url = |host: &str| format!("http://{host}:{port}");
    let answers: [&[&str]; 5] =
        [&["127.0.0.1", "127.0.0.2"], &["127.0.0.2"], &["127.0.0.3"], &["127.0.0.1", "127.0.0.3"], &["127.0.0.2"]];
    for (round, answer) in answers.iter().cycle().take(15).enumerate() {
        server.addresses("users.internal", &answer.iter().map(|host| ip(host)).collect::<Vec<_>>());
        let wanted: Vec<String> = answer.iter().map(|host| url(host)).collect();
        wait_endpoints(&gateway, &wanted.iter().map(String::as_str).collect::<Vec<_>>());
        traffic.pass(150);
        // What is no answer changes nothing.
        let asked = server.asked();
        server.say(
            "users.internal",
            match round % 3 {
                0 => Says::Code(2),
                1 => Says::Code(3),
                _ => Says::Records(0, vec![]),
            },
        );
        wait_for("a failure", || (server.asked() > asked + 4).then_some(()));
        assert_eq!(endpoints(&gateway), wanted.into_iter().collect());
    }
    let (count, failed) = traffic.end();
    assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    let source = format!("upstream=\"u\",source=\"dns:users.internal:{port}\"");
    assert!(gateway.metric(&format!("gateway_discovery_answers_total{{{source},result=\"failure\"}}")) > Some(14.0));
    assert!(gateway.metric(&format!("gateway_discovery_age_seconds{{{source}}}")) > Some(0.0));
    let shown = &upstream(&gateway)["sources"][0];
    assert_eq!((&shown["failing"], &shown["endpoints"]), (&true.into(), &1.into()));
    assert_eq!(shown["last_error"]["seen"], "users.internal has no address");
}

#[test]
fn an_upstream_that_is_not_found_says_so_and_heals_when_it_is() {
    let server = NameServer::start();
    let origin = Origin::saying("found");
    let config = format!(
        "{ADMIN}upstreams: {{ u: {{ discover: {{ dns: {{ srv: _http._tcp.users.internal, resolvers: '{}', \
         min_ttl: 20ms, max_ttl: 50ms }} }} }} }}\nroutes: [ {{ name: r, upstream: u }} ]",
        server.address()
    );
    let gateway = Setup::new(&config).start();
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (503, "upstream.undiscovered"));
    assert_eq!(gateway.admin("GET", "/readyz").status(), 200, "others may be served");
    assert!(gateway.said().contains("fails: the name does not exist (NXDOMAIN); no endpoint is known"));
    server.say("one.users.internal", Says::Records(60, vec![Data::Address(ip("127.0.0.1"))]));
    let service = Data::Service(0, 1, origin.port(), "one.users.internal.".to_owned());
    server.say("_http._tcp.users.internal", Says::Records(0, vec![service]));
    wait_for("the service", || (gateway.ask(get("/", "")).text() == "found").then_some(()));
    let host = origin.take_seen().pop().unwrap().head.get("host").unwrap_or_default().to_owned();
    assert!(!host.contains("one."), "{host}");
}

#[test]
fn a_removed_endpoint_ends_what_it_has_and_loses_its_idle_connections() {
    let release = Arc::<AtomicBool>::default();
    let waiting = release.clone();
    let old = Origin::replying(move |seen| {
        if seen.target() == "/slow" {
            wait_for("the endpoint to be removed", || waiting.load(Ordering::SeqCst).then_some(()));
        }
        ok("old")
    });
    let new = Origin::saying("new");
    let config = format!(
        "{ADMIN}upstreams: {{ u: {{ discover: {{ file: endpoints.json }} }} }}\nroutes: [ {{ name: r, upstream: u }} ]"
    );
    let dir = torana_e2e::dir::Dir::new();
    let file = dir.write("endpoints.json", format!("[\"{}\"]", old.url()));
    let gateway = Setup::new(&config).dir(dir).start();
    // One connection at work, one idle.
    let mut slow = gateway.connect();
    slow.send(get("/slow", ""));
    wait_for("the slow request", || (old.open() == 1).then_some(()));
    assert_eq!(gateway.ask(get("/", "")).text(), "old");
    assert_eq!(old.open(), 2);
    replace(&file, &format!("[\"{}\"]", new.url()));
    wait_endpoints(&gateway, &[&new.url()]);
    assert_eq!(answering(&gateway, 20), ["new".to_owned()].into());
    wait_for("the idle connection to close", || (old.open() == 1).then_some(()));
    release.store(true, Ordering::SeqCst);
    assert_eq!(slow.reply_to("GET").unwrap().text(), "old");
    wait_for("the other to close when it is done", || (old.open() == 0).then_some(()));
    // A file that is broken, empty or gone changes nothing.
    for text in ["[", "[]", "{}"] {
        replace(&file, text);
        wait_for("it to be read", || upstream(&gateway)["sources"][0]["failing"].as_bool().filter(|failing| *failing));
        assert_eq!(answering(&gateway, 5), ["new".to_owned()].into(), "{text}");
        replace(&file, &format!("[\"{}\"]", new.url()));
        wait_for("it to be mended", || {
            upstream(&gateway)["sources"][0]["failing"].as_bool().filter(|failing| !failing)
        });
    }
}

#[test]
fn drained_endpoints_say_why_and_survive_reloads() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let config = |drain: bool, timeout: &str| {
        format!(
            "{ADMIN}upstreams: {{ u: {{ timeout: {timeout}, endpoints: [ '{}', {{ url: '{}', drain: {drain} }} ] }} }}\n\
             routes: [ {{ name: r, upstream: u }} ]",
            a.url(),
            b.url()
        )
    };
    let mut gateway = Setup::new(&config(true, "3s")).start();
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(answering(&gateway, 10), only("a"));
    let out = |gateway: &Gateway, index: usize| upstream(gateway)["endpoints"][index]["health"].clone();
    let health = out(&gateway, 1);
    assert_eq!(health["out"][0], "drained_in_configuration");
    assert_eq!((&health["reason"], &health["seen"]), (&"health.drained".into(), &"as it is listed".into()));
    // By hand, under the whole URL; that it is configured stays so.
    let path = |origin: &Origin, what: &str| {
        format!("/upstreams/u/endpoints/{}/{what}", origin.url().replace(':', "%3A").replace('/', "%2F"))
    };
    assert_eq!(gateway.admin("POST", &path(&b, "undrain")).status(), 200);
    assert_eq!(answering(&gateway, 10), only("a"));
    gateway.rewrite(&config(false, "3s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    wait_for("both", || (answering(&gateway, 10).len() == 2).then_some(()));
    let drained: serde_json::Value = serde_json::from_str(&gateway.admin("POST", &path(&a, "drain")).text()).unwrap();
    assert_eq!(drained["endpoints"][0]["health"]["out"][0], "drained");
    assert_eq!(answering(&gateway, 10), only("b"));
    wait_for("its idle connections to close", || (a.open() == 0).then_some(()));
    gateway.rewrite(&config(false, "4s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(answering(&gateway, 10), only("b"), "a reload brings nobody back");
    assert_eq!(out(&gateway, 0)["seen"], "by request");
    assert_eq!(gateway.admin("POST", &path(&b, "drain")).status(), 200);
    let reply = gateway.ask(get("/", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (503, "upstream.unavailable"));
    assert_eq!(gateway.admin("POST", &path(&a, "undrain")).status(), 200);
    assert_eq!(answering(&gateway, 10), only("a"));
    assert_eq!(gateway.admin("POST", "/upstreams/u/endpoints/nobody/drain").code(), "admin.no_endpoint");
    assert_eq!(gateway.admin("POST", "/upstreams/nobody/endpoints/a/drain").code(), "admin.no_upstream");
}

#[test]
fn a_reload_waits_for_new_sources_and_keeps_those_it_has() {
    let server = NameServer::start();
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    server.addresses("a.internal", &[ip("127.0.0.1")]);
    server.addresses("b.internal", &[ip("127.0.0.1")]);
    let config = |name: &str, origin: &Origin, timeout: &str| {
        format!(
            "{ADMIN}upstreams: {{ u: {{ timeout: {timeout}, discover: {{ dns: {{ name: {name}, port: {}, \
             resolvers: '{}' }} }} }} }}\nroutes: [ {{ name: r, upstream: u }} ]",
            origin.port(),
            server.address()
        )
    };
    let mut gateway = Setup::new(&config("a.internal", &a, "3s")).start();
    assert_eq!(gateway.ask(get("/", "")).text(), "a");
    // The source is the same: what it has found stays, though nobody answers.
    server.say("a.internal", Says::Silence);
    gateway.rewrite(&config("a.internal", &a, "4s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.ask(get("/", "")).text(), "a");
    gateway.rewrite(&config("b.internal", &b, "4s"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(gateway.ask(get("/", "")).text(), "b", "a source that is new is asked before it is used");
    assert_eq!(endpoints(&gateway).len(), 1);
}

#[test]
fn a_request_that_waited_goes_to_those_who_are_there_now() {
    let release = Arc::<AtomicBool>::default();
    let waiting = release.clone();
    let old = Origin::replying(move |_| {
        wait_for("the other to be in force", || waiting.load(Ordering::SeqCst).then_some(()));
        ok("old")
    });
    let new = Origin::saying("new");
    // One at a time: the second waits for its place.
    let config = format!(
        "{ADMIN}upstreams: {{ u: {{ concurrency: {{ requests: 1, queue: 5, queue_timeout: 20s }}, \
         discover: {{ file: endpoints.json }} }} }}\nroutes: [ {{ name: r, upstream: u }} ]"
    );
    let dir = torana_e2e::dir::Dir::new();
    let file = dir.write("endpoints.json", format!("[\"{}\"]", old.url()));
    let gateway = Setup::new(&config).dir(dir).start();
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.send(get("/", ""));
    wait_for("the first request", || (old.open() == 1).then_some(()));
    second.send(get("/", ""));
    wait_for("the second to wait", || (upstream(&gateway)["concurrency"]["waiting"] == 1).then_some(()));
    // The old one is gone for good: nobody can connect there any more.
    let (gone, url) = (old.url(), new.url());
    drop(old);
    replace(&file, &format!("[\"{url}\"]"));
    wait_endpoints(&gateway, &[&url]);
    // Workers have taken it up when they count for it.
    let series = |url: &str| format!("gateway_upstream_requests_total{{upstream=\"u\",endpoint=\"{url}\"}}");
    wait_for("the workers", || {
        (gateway.metric(&series(&url)).is_some() && gateway.metric(&series(&gone)).is_none()).then_some(())
    });
    release.store(true, Ordering::SeqCst);
    assert_eq!(first.reply_to("GET").unwrap().text(), "old");
    assert_eq!(second.reply_to("GET").unwrap().text(), "new");
}

#[test]
fn spares_are_asked_while_the_first_are_not_well() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let first = Origin::replying(move |_| {
        if is_well.load(Ordering::SeqCst) { ok("first") } else { torana_e2e::origin::reply(503, &[], "broken") }
    });
    let spare = Origin::saying("spare");
    let server = NameServer::start();
    server.say("here.internal", Says::Records(60, vec![Data::Address(ip("127.0.0.1"))]));
    let service = |priority, origin: &Origin| Data::Service(priority, 0, origin.port(), "here.internal.".to_owned());
    server.say("_http._tcp.u.internal", Says::Records(60, vec![service(1, &first), service(2, &spare)]));
    let config = format!(
        "{ADMIN}upstreams: {{ u: {{ health: {{ path: /, interval: 50ms, unhealthy_threshold: 1, panic_threshold: 0% }}, \
         discover: {{ dns: {{ srv: _http._tcp.u.internal, resolvers: '{}' }} }} }} }}\n\
         routes: [ {{ name: r, upstream: u }} ]",
        server.address()
    );
    let gateway = Setup::new(&config).start();
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(answering(&gateway, 10), only("first"));
    well.store(false, Ordering::SeqCst);
    wait_for("the spare", || (answering(&gateway, 5) == only("spare")).then_some(()));
    well.store(true, Ordering::SeqCst);
    wait_for("the first again", || (answering(&gateway, 5) == only("first")).then_some(()));
    wait_endpoints(&gateway, &[&first.url()]);
}
