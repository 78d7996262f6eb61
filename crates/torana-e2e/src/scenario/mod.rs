//! Tests that are data: a configuration, origins, requests, and what is to
//! come of them.

mod model;

use crate::client::{Client, Reply};
use crate::dir::Dir;
use crate::gateway::{Gateway, Setup};
use crate::origin::{Conn, Origin, Seen, ok, reply};
use crate::ports;
use crate::wire::{Ending, Head};
use model::{Expect, OriginSpec, ReplySpec, Scenario, SeenSpec, Step, Then};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every scenario file below `dir`.
///
/// # Panics
/// It cannot be read.
#[must_use]
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the scenarios can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Runs one scenario.
///
/// # Panics
/// It does not go as written.
pub fn run(path: &Path) {
    let text = fs::read_to_string(path).expect("a scenario can be read");
    let scenario: Scenario = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    assert!(scenario.about.ends_with('.'), "`about` is a sentence");
    assert!(!scenario.steps.is_empty(), "a scenario without steps shows nothing");
    let mut run = Run::start(&scenario);
    for step in &scenario.steps {
        run.step(step);
    }
    for line in &scenario.metrics {
        let (series, value) = line.rsplit_once(' ').expect("a metric line is `name{labels} value`");
        run.gateway.wait_metric(series, value.parse().expect("a metric's value is a number"));
    }
}

struct Run {
    gateway: Gateway,
    origins: BTreeMap<String, Origin>,
    clients: BTreeMap<String, Client>,
}

impl Run {
    fn start(scenario: &Scenario) -> Run {
        let dir = Dir::new();
        let mut config = scenario.config.clone();
        if !scenario.metrics.is_empty() {
            config.push_str("\nadmin: { address: \"127.0.0.1:{port:admin}\" }\n");
        }
        let mut setup = Setup::new(&config);
        let mut origins = BTreeMap::new();
        for (name, spec) in &scenario.origins {
            if spec.down {
                setup = setup.endpoint(name, &format!("http://127.0.0.1:{}", ports::free()));
                continue;
            }
            let origin = origin(name, spec, &dir);
            setup = setup.origin(name, &origin);
            origins.insert(name.clone(), origin);
        }
        for (name, origin) in &origins {
            setup = setup.known(&format!("{{url:{name}}}"), &origin.url());
        }
        Run { gateway: setup.dir(dir).start(), origins, clients: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step) {
        let bytes = match (&step.send, &step.raw) {
            (Some(text), None) => request(text),
            (None, Some(raw)) => bytes(raw),
            _ => panic!("a step has either `send` or `raw`"),
        };
        let first_line = || String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
        let name = step.name.clone().unwrap_or_else(first_line);
        for origin in self.origins.values() {
            drop(origin.take_seen());
        }
        let mut client = match step.on.as_ref().and_then(|on| self.clients.remove(on)) {
            Some(client) => client,
            None => self.connect(step),
        };
        client.send(&bytes);
        for expect in step.expect.iter().chain(&step.replies) {
            let method = if expect.to_head { "HEAD" } else { "GET" };
            let reply = client.reply_to(method).unwrap_or_else(|| panic!("{name}: closed without a reply"));
            check(&name, expect, &reply);
        }
        match step.closed {
            Some(true) => client.assert_closed(),
            Some(false) => assert!(client.is_open(), "{name}: closed"),
            None => {}
        }
        if let Some(on) = &step.on {
            self.clients.insert(on.clone(), client);
        }
        self.check_origins(&name, step);
        if let Some(wanted) = &step.log {
            self.gateway.log_line(&format!("{name}: {wanted:?}"), |line| has_all(line, wanted));
        }
    }

    fn connect(&self, step: &Step) -> Client {
        match &step.unix {
            Some(file) => Client::connect_unix(&self.gateway.dir().path().join(file)),
            None => Client::connect(self.gateway.port(step.to.as_deref().unwrap_or("main"))),
        }
    }

    fn check_origins(&self, name: &str, step: &Step) {
        let seen: Vec<(&str, Seen)> = self
            .origins
            .iter()
            .flat_map(|(origin, server)| server.seen().into_iter().map(|seen| (origin.as_str(), seen)))
            .collect();
        if let Some(wanted) = &step.origin {
            let got: Vec<&str> = seen.iter().map(|(origin, _)| *origin).collect();
            let wanted: Vec<&str> = wanted.split(", ").filter(|name| *name != "none").collect();
            assert_eq!(got, wanted, "{name}: the origins that got a request");
        }
        if let Some(wanted) = &step.seen {
            let (origin, seen) = seen.last().unwrap_or_else(|| panic!("{name}: no origin saw a request"));
            let url = self.origins[*origin].url();
            check_seen(name, wanted, seen, url.trim_start_matches("http://"));
        }
    }
}

fn origin(name: &str, spec: &OriginSpec, dir: &Dir) -> Origin {
    let mut replies: Vec<(Vec<u8>, Then)> =
        spec.replies.iter().map(|spec| (reply_bytes(name, spec), spec.then)).collect();
    if replies.is_empty() {
        replies.push((ok(name), Then::Next));
    }
    let script = move |conn: &mut Conn| serve(conn, &replies);
    if spec.unix { Origin::start_unix(&dir.path().join(name), script) } else { Origin::start(script) }
}

fn serve(conn: &mut Conn, replies: &[(Vec<u8>, Then)]) {
    let mut at = 0;
    while conn.request().is_some() {
        let (bytes, then) = &replies[at.min(replies.len() - 1)];
        at += 1;
        if !conn.send(bytes) {
            return;
        }
        match then {
            Then::Next => {}
            Then::Close => return,
            Then::Reset => return conn.reader.stream.second().reset(),
            Then::Silence => {
                conn.until_closed();
            }
            Then::Echo => loop {
                let waiting = conn.reader.waiting().len();
                if waiting > 0 {
                    let back = conn.reader.exactly(waiting).unwrap_or_default();
                    conn.send(back);
                } else if !conn.reader.fill().unwrap_or(false) {
                    return;
                }
            },
        }
    }
}

fn reply_bytes(name: &str, spec: &ReplySpec) -> Vec<u8> {
    if let Some(raw) = &spec.raw {
        // Nobody wants to read this much in a file.
        return bytes(&raw.replace("{64KiB}", &"x".repeat(65_536)));
    }
    let headers: Vec<(&str, &str)> = spec.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    reply(spec.status.unwrap_or(200), &headers, spec.body.as_deref().unwrap_or(name))
}

/// Text to bytes, one for each character.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).expect("`raw` has characters up to U+00FF only")).collect()
}

/// A request written for people, as it goes over the wire.
fn request(text: &str) -> Vec<u8> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut out = String::new();
    let says = |name: &str| head.lines().any(|line| line.to_ascii_lowercase().starts_with(name));
    for line in head.lines() {
        out.push_str(line);
        out.push_str("\r\n");
    }
    if !says("host:") {
        out.push_str("Host: gateway.example\r\n");
    }
    if !body.is_empty() && !says("content-length:") && !says("transfer-encoding:") {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    out.push_str(body);
    out.into_bytes()
}

fn check(name: &str, expect: &Expect, reply: &Reply) {
    let text = reply.text();
    assert_eq!(reply.status(), expect.status, "{name}: status; the body is {text}");
    assert_eq!(reply.interim, expect.interim, "{name}: interim replies");
    check_fields(name, &expect.headers, &reply.head, "");
    if let Some(body) = &expect.body {
        assert_eq!(&text, body, "{name}: body");
    }
    if let Some(part) = &expect.body_has {
        assert!(text.contains(part), "{name}: {part:?} is not in the body {text:?}");
    }
    if let Some(code) = &expect.code {
        assert_eq!(&reply.code(), code, "{name}: reason code");
        assert_eq!(reply.head.get("content-type"), Some("application/problem+json"), "{name}");
    }
    let trailers: BTreeMap<String, String> = reply.body.trailers.iter().cloned().collect();
    assert_eq!(trailers, expect.trailers, "{name}: trailers");
    assert_eq!(reply.body.ending == Ending::Truncated, expect.truncated, "{name}: whether the body breaks off");
}

/// `own` is what `{authority}` stands for.
fn check_fields(name: &str, wanted: &BTreeMap<String, Option<String>>, head: &Head, own: &str) {
    for (field, value) in wanted {
        let got = head.all(field);
        match value.as_deref() {
            None => assert!(got.is_empty(), "{name}: `{field}` should not be there: {got:?}"),
            Some("*") => assert_eq!(got.len(), 1, "{name}: `{field}`"),
            Some(value) => {
                assert_eq!(got.join(", "), value.replace("{authority}", own), "{name}: `{field}`");
            }
        }
    }
}

fn check_seen(name: &str, wanted: &SeenSpec, seen: &Seen, own: &str) {
    if let Some(line) = &wanted.line {
        assert_eq!(&seen.head.line, line, "{name}: the request line the origin saw");
    }
    check_fields(&format!("{name}: seen"), &wanted.headers, &seen.head, own);
    if let Some(body) = &wanted.body {
        assert_eq!(&seen.body.text(), body, "{name}: the body the origin saw");
    }
    if let Some(wanted) = &wanted.trailers {
        let trailers: BTreeMap<String, String> = seen.body.trailers.iter().cloned().collect();
        assert_eq!(&trailers, wanted, "{name}: the trailers the origin saw");
    }
    if let Some(connection) = wanted.connection {
        assert_eq!(seen.connection, connection, "{name}: the connection to the origin");
    }
}

/// Whether a log line has all members; `*` stands for any value, nothing for
/// a member that is not there.
fn has_all(line: &Value, wanted: &BTreeMap<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| match value {
        Value::Null => line.get(key).is_none(),
        Value::String(any) if any == "*" => line.get(key).is_some(),
        value => line.get(key) == Some(value),
    })
}
