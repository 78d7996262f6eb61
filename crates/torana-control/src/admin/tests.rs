use super::routes::ROUTES;
use super::*;
use crate::revisions::{Document, History, Listed, Revision};
use crate::running::{
    ConsumerAsk, ConsumerProblem, ConsumerProblemKind, ConsumerTask, Done, NotDone, NotThere, Reload, Report,
};
use crate::supervisor::Supervisor;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::SystemTime;

/// Remembers what was refused.
#[derive(Default)]
struct Fake(Mutex<Vec<&'static str>>);

impl Running for Fake {
    fn config(&self) -> Value {
        json!({ "token": "${env:TOKEN}" })
    }
    fn listeners(&self) -> Value {
        json!([])
    }
    fn routes(&self) -> Value {
        json!([{ "name": "users" }])
    }
    fn upstreams(&self) -> Value {
        json!([])
    }
    fn drain(&self, upstream: &str, endpoint: &str, on: bool) -> Result<Value, NotThere> {
        match (upstream, endpoint) {
            ("team/users", "http://10.0.0.7:3000") => Ok(json!({
                "upstream": upstream,
                "endpoints": [{ "endpoint": endpoint, "out": if on { &["drained"][..] } else { &[] } }],
            })),
            ("team/users", _) => Err(NotThere::Endpoint),
            _ => Err(NotThere::Upstream),
        }
    }

    fn explain(&self, question: &Value) -> Result<Value, String> {
        let url = question["url"].as_str().ok_or("`url` is missing")?;
        Ok(json!({
            "request": null, "client_ip": "127.0.0.1", "outcome": { "kind": "route", "name": url },
            "candidates": [], "policies": [], "target": null, "forwarded": null, "endpoint": null,
        }))
    }
    fn consumers(&self, asked: &ConsumerAsk) -> Result<Value, ConsumerProblem> {
        if asked.consumer == "nobody" {
            return Err(ConsumerProblem {
                kind: ConsumerProblemKind::NoConsumer,
                why: "nobody is not here".to_owned(),
            });
        }
        let consumer = json!({
            "name": asked.consumer, "source": "runtime", "plan": null, "active": true, "tags": [], "ips": [],
            "routes": [], "roles": [], "scopes": [],
        });
        let key = json!({
            "id": asked.key, "consumer": asked.consumer, "source": "runtime", "name": asked.more["name"], "state": "active",
            "created": null, "expires": null, "revoked": null, "replaces": null,
        });
        let with = |mut value: Value, name: &str, more: Value| {
            value[name] = more;
            value
        };
        Ok(match asked.task {
            ConsumerTask::List => json!({ "consumers": [consumer], "kept": true }),
            ConsumerTask::Show => with(consumer, "keys", json!([key])),
            ConsumerTask::Put | ConsumerTask::Remove => consumer,
            ConsumerTask::Keys => json!({ "keys": [key] }),
            ConsumerTask::CreateKey | ConsumerTask::RotateKey => with(key, "key", json!("trn_1_2")),
            ConsumerTask::RevokeKey => key,
        })
    }
    fn metrics(&self) -> String {
        "# TYPE gateway_up gauge\ngateway_up 1\n".to_owned()
    }
    fn open_connections(&self) -> u32 {
        3
    }
    fn revisions(&self) -> Vec<Listed> {
        let mut history = History::new();
        for (id, text) in [(1, "old\nsame\n"), (2, "new\nsame\n")] {
            let documents = Arc::new([Document { path: "torana.yaml".into(), text: text.into() }]);
            let checksum = id.to_string();
            let at = SystemTime::UNIX_EPOCH;
            history.note(Revision { id, at, cause: "files", from: None, checksum, documents }, (), false, 10);
        }
        history.list()
    }
    fn operations(&self) -> Vec<crate::running::Operation> {
        let path = "/cache/purge".to_owned();
        vec![crate::running::Operation { path, about: "drop copies", arguments: json!({ "type": "object" }) }]
    }
    fn operate(&self, path: &str, arguments: &Value) -> Result<Done, NotDone> {
        match (path, arguments["url"].as_str()) {
            ("/cache/purge", Some("nobody")) => Err(NotDone::Nobody),
            ("/cache/purge", Some("x")) => Err(NotDone::Arguments("`x` is not a URL".to_owned())),
            ("/cache/purge", url) => {
                let done = json!({ "results": [{ "purged": url }] });
                Ok(Box::pin(async move {
                    // Not at once: others are served meanwhile.
                    tokio::task::yield_now().await;
                    done
                }))
            }
            _ => panic!("{path} is not listed"),
        }
    }
    fn admin_refused(&self, code: &'static str) {
        self.0.lock().unwrap().push(code);
    }
}

/// Refuses the first configuration and accepts the rest.
struct Second(u64);

impl Reload for Second {
    fn roll_back(&mut self, revision: u64) -> Option<Report> {
        (revision < 3).then(|| Report {
            accepted: revision == 1,
            pinned: revision == 1,
            revision: 3,
            from: Some(revision),
            diagnostics: json!([]),
            ..Report::default()
        })
    }

    fn reload(&mut self, _: &'static str) -> Report {
        self.0 += 1;
        let accepted = self.0 > 1;
        let text = if accepted { "" } else { "error: no such upstream" };
        Report {
            accepted,
            revision: self.0.max(1),
            checksum: "c".into(),
            text: text.into(),
            diagnostics: json!([]),
            ..Report::default()
        }
    }
}

/// A path of that form that leads to something.
fn filled(template: &str) -> String {
    let named = [("{id}", "1"), ("{other}", "2"), ("{name}", "team%2Fusers"), ("{address}", ENDPOINT), ("{key}", "1")];
    named.iter().fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

const ENDPOINT: &str = "http%3A%2F%2F10.0.0.7%3A3000";

const TOKEN: &str = "0123456789abcdef";

fn rules(token: Option<&'static str>) -> Rules {
    let token = token.map(|token| Box::new(move |shown: &[u8]| shown == token.as_bytes()) as TokenCheck);
    Rules { is_local: true, token, hosts: Vec::new() }
}

fn socket() -> (Socket, SocketAddr) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (Socket::Tcp(socket), address)
}

struct Server {
    address: SocketAddr,
    running: Arc<Fake>,
    status: Arc<Status>,
    admin: Option<Admin>,
    reloads: Reloads,
    supervisor: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        Server::start_with(rules(None))
    }

    fn start_with(rules: Rules) -> Server {
        let status = Status::new(Report { accepted: true, revision: 1, checksum: "c".into(), ..Report::default() });
        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let thread = supervisor.start(Second(0), status.clone(), None, Vec::new(), SystemTime::now()).unwrap();
        let (socket, address) = socket();
        let running = Arc::new(Fake::default());
        let parts = Parts {
            running: running.clone(),
            status: status.clone(),
            reloads: reloads.clone(),
            version: json!({ "version": "0.0.0" }),
        };
        let admin = Admin::start(parts, Some((socket, rules))).unwrap();
        Server { address, running, status, admin: Some(admin), reloads, supervisor: Some(thread) }
    }

    /// Sends bytes and reads until the connection is closed.
    fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    fn place(&self) -> Place {
        self.admin.as_ref().unwrap().place()
    }

    fn refused(&self) -> Vec<&'static str> {
        self.running.0.lock().unwrap().clone()
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.ask_with(method, path, "host: localhost\r\n")
    }

    fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let body = body_for(method, path);
        let length = body.len();
        let reply = self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
        let status = reply.get(9..12).unwrap().parse().unwrap();
        (status, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

/// What the page wants to be asked.
fn body_for(method: &str, path: &str) -> &'static str {
    if (method, path) == ("POST", "/explain") { r#"{ "method": "GET", "url": "/a" }"# } else { "" }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.reloads.stop();
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

#[test]
fn every_listed_page_is_there() {
    let server = Server::start();
    let (status, body) = server.ask("GET", "/");
    assert_eq!(status, 200);
    let index: Value = serde_json::from_str(&body).unwrap();
    let pages = index["pages"].as_array().unwrap();
    assert!(pages.len() >= 10);
    for page in pages {
        let (method, path) = (page["method"].as_str().unwrap(), page["path"].as_str().unwrap());
        let expected = if path == "/reload" { 422 } else { 200 };
        let path = &filled(path);
        assert_eq!(server.ask(method, path).0, expected, "{method} {path}");
        // Nothing is put anywhere.
        let other = "PUT";
        assert_eq!(server.ask(other, path).0, 405, "{other} {path}");
        assert_eq!(server.refused().last(), Some(&"admin.method"));
    }
    assert_eq!(server.ask("GET", "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.ask("HEAD", "/metrics"), (200, String::new()));
    assert_eq!(server.ask("GET", "/config/..%2f").0, 404);
    assert!(server.ask("GET", "/config").1.contains("${env:TOKEN}"));
}

#[test]
fn what_is_no_question_is_refused_with_the_reason() {
    let server = Server::start();
    for (body, why) in [("", "no JSON"), ("{", "no JSON"), ("{}", "`url` is missing")] {
        let length = body.len();
        let request = format!(
            "POST /explain HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let reply = server.exchange(&request);
        assert!(
            reply.starts_with("HTTP/1.1 400") && reply.contains("admin.question") && reply.contains(why),
            "{reply}"
        );
        assert_eq!(server.refused().last(), Some(&"admin.question"));
    }
    let long = 64 * 1024 + 1;
    let head = format!("POST /explain HTTP/1.1\r\nhost: localhost\r\ncontent-length: {long}\r\n\r\n");
    assert!(server.exchange(&format!("{head}{}", " ".repeat(long))).starts_with("HTTP/1.1 413"));
    let (status, body) = server.ask("POST", "/explain");
    assert!(status == 200 && body.contains("\"name\": \"/a\""), "{body}");
}

#[test]
fn a_refused_reload_says_why_and_stays_visible() {
    let server = Server::start();
    let (status, body) = server.ask("POST", "/reload");
    assert_eq!(status, 422);
    assert!(body.contains("no such upstream") && body.contains("admin.reload_refused"), "{body}");
    assert!(server.ask("GET", "/diagnostics").1.contains("no such upstream"));
    assert!(server.ask("GET", "/status").1.contains("degraded"));
    let (status, body) = server.ask("POST", "/reload");
    assert_eq!((status, body.contains("\"revision\": 2")), (200, true), "{body}");
    assert!(!server.ask("GET", "/diagnostics").1.contains("no such upstream"));
}

#[test]
fn readiness_ends_with_draining_and_liveness_does_not() {
    let server = Server::start();
    assert_eq!(server.ask("GET", "/readyz").0, 200);
    server.status.drain();
    let (status, body) = server.ask("GET", "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("admin.not_ready"));
    assert_eq!(server.ask("GET", "/livez").0, 200);
}

#[test]
fn policies_do_what_they_offer() {
    let server = Server::start();
    let post = |headers: &str, body: &str| {
        let length = body.len();
        let head = format!("POST /cache/purge HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}");
        let reply = server.exchange(&format!("{head}\r\n\r\n{body}"));
        let body = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap_or_default();
        (reply.get(9..12).unwrap().to_owned(), body)
    };
    let (status, body): (String, Value) = post("host: localhost\r\n", r#"{ "url": "http://a/" }"#);
    assert_eq!((status.as_str(), &body["results"][0]["purged"]), ("200", &json!("http://a/")));
    for (sent, status, code) in [
        (r#"{ "url": "nobody" }"#, "404", "admin.no_policy"),
        (r#"{ "url": "x" }"#, "422", "admin.arguments"),
        ("{", "422", "admin.arguments"),
    ] {
        let (found, body) = post("host: localhost\r\n", sent);
        assert_eq!((found.as_str(), &body["code"]), (status, &json!(code)), "{sent}");
    }
    assert_eq!(post("host: evil.example\r\n", "{}").1["code"], "admin.host");
    let guarded = Server::start_with(rules(Some(TOKEN)));
    assert_eq!(guarded.ask("POST", "/cache/purge").0, 401);
}

#[test]
fn strangers_are_refused() {
    let server = Server::start();
    let refused = |method: &str, path: &str, headers: &str| server.ask_with(method, path, headers).1;
    assert!(refused("GET", "/config", "host: evil.example\r\n").contains("admin.host"));
    assert!(
        refused("POST", "/reload", "host: localhost\r\norigin: http://evil.example\r\n").contains("admin.cross_origin")
    );
    assert!(refused("GET", "/config", "host: localhost\r\nx-forwarded-for: 1.2.3.4\r\n").contains("admin.forwarded"));
    assert_eq!(server.status.last().cause, "start", "no reload happened");
    assert_eq!(server.refused(), ["admin.host", "admin.cross_origin", "admin.forwarded"]);
}

#[test]
fn bodies_are_bounded() {
    let server = Server::start();
    let body = "x".repeat(BODY);
    const BODY: usize = 100_000;
    let reply = server.exchange(&format!(
        "POST /reload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n{body}"
    ));
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[test]
fn another_socket_can_take_over() {
    let mut server = Server::start();
    let mut old = TcpStream::connect(server.address).unwrap();
    ask_on(&mut old, "/status", "200");
    let (socket, address) = socket();
    server.place().serve_on(Some((socket, rules(None))));
    server.address = address;
    assert_eq!(server.ask("GET", "/livez").0, 200);
    // The rules of the new place are not for those who came to the old one.
    let reply = ask_on(&mut old, "/status", "421");
    assert!(reply.contains("admin.moved") && reply.contains("connection: close"), "{reply}");
}

/// Asks on an open connection and reads the reply as far as `expected` shows.
fn ask_on(stream: &mut TcpStream, path: &str, expected: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (mut reply, mut part) = (String::new(), [0; 4096]);
    // Every body ends with the brace it began with.
    while !reply.ends_with("\n}\n") {
        let read = stream.read(&mut part).unwrap();
        assert_ne!(read, 0, "{reply}");
        reply.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    assert!(reply.starts_with(&format!("HTTP/1.1 {expected} ")), "{reply}");
    reply
}

#[test]
fn with_a_token_only_probes_are_answered_without_it() {
    let server = Server::start_with(rules(Some(TOKEN)));
    let host = "host: localhost\r\n";
    for route in ROUTES {
        let path = &filled(route.path);
        let (status, body) = server.ask_with(route.method.as_str(), path, host);
        assert_eq!(
            (status == 401, body.contains("admin.no_token")),
            (!route.is_open, !route.is_open),
            "{path}: {body}"
        );
        let (status, body) =
            server.ask_with(route.method.as_str(), path, &format!("{host}authorization: Bearer x\r\n"));
        assert_eq!(
            (status == 401, body.contains("admin.bad_token")),
            (!route.is_open, !route.is_open),
            "{path}: {body}"
        );
        let (status, body) = server.ask_with("GET", path, &format!("{host}authorization: Bearer {TOKEN}\r\n"));
        assert_ne!(status, 401, "{path}: {body}");
    }
    assert_eq!(server.status.last().cause, "start", "no reload happened");
    assert_eq!(server.ask("GET", "/nowhere").0, 401, "what there is, is not told");
    assert!(server.refused().contains(&"admin.no_token") && server.refused().contains(&"admin.bad_token"));
    let reply = server.exchange("GET /status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(reply.contains("www-authenticate: Bearer realm=\"torana admin\"\r\n"), "{reply}");
    assert!(!reply.contains(TOKEN));
}

#[test]
fn another_token_holds_on_open_connections_too() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    ask_on(&mut stream, "/status", "200");
    server.place().judge_by(rules(Some(TOKEN)));
    // Answered after the message was read: the thread does one after the other.
    assert_eq!(server.ask_with("GET", "/livez", "host: localhost\r\n").0, 200);
    let reply = ask_on(&mut stream, "/status", "401");
    assert!(reply.contains("admin.no_token"), "{reply}");
}

#[test]
fn revisions_are_listed_compared_and_put_in_force_again() {
    let server = Server::start();
    let ask = |method, path| {
        let (status, body) = server.ask(method, path);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (_, listed) = ask("GET", "/revisions");
    let of = |key: &str| listed["revisions"].as_array().unwrap().iter().map(|r| r[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), [1, 2]);
    assert_eq!(of("in_force"), [true, false]);
    assert_eq!(of("lines_added"), [Value::Null, json!(1)]);
    let (_, one) = ask("GET", "/revisions/2");
    assert_eq!(one["documents"], json!([{ "path": "torana.yaml", "text": "new\nsame\n" }]));
    let diff = server.ask("GET", "/revisions/1/diff/2").1;
    assert!(diff.ends_with("@@ -1,2 +1,2 @@\n-old\n+new\n same\n"), "{diff}");
    for (method, path) in [
        ("GET", "/revisions/9"),
        ("GET", "/revisions/9/diff/1"),
        ("GET", "/revisions/1/diff/9"),
        ("POST", "/revisions/9/rollback"),
    ] {
        let (status, refused) = ask(method, path);
        assert_eq!((status, &refused["code"]), (404, &json!("admin.no_revision")), "{method} {path}");
    }
    assert!(!server.ask("GET", "/status").1.contains("degraded"));
    let (status, report) = ask("POST", "/revisions/1/rollback");
    assert_eq!((status, &report["from"], &report["pinned"]), (200, &json!(1), &json!(true)));
    let (_, shown) = ask("GET", "/status");
    assert_eq!((&shown["status"], &shown["pinned"]), (&json!("degraded"), &json!(true)));
    let (status, report) = ask("POST", "/revisions/2/rollback");
    assert_eq!((status, &report["code"]), (422, &json!("admin.rollback_refused")));
}

#[test]
fn endpoints_are_drained_by_name_and_only_by_a_post() {
    let server = Server::start();
    let ask = |method: &str, path: &str| {
        let (status, body) = server.ask(method, path);
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let path = |what: &str| format!("/upstreams/team%2Fusers/endpoints/{ENDPOINT}/{what}");
    let (status, shown) = ask("POST", &path("drain"));
    assert_eq!((status, &shown["endpoints"][0]["out"]), (200, &json!(["drained"])));
    assert_eq!(ask("POST", &path("undrain")).1["endpoints"][0]["out"], json!([]));
    let refused = |method: &str, path: &str| {
        let (status, refused) = ask(method, path);
        (status, refused["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused("GET", &path("drain")), (405, "admin.method".to_owned()));
    let (missing, elsewhere) = ("/upstreams/nobody/endpoints/a/drain", "/upstreams/team%2Fusers/endpoints/a/drain");
    assert_eq!(refused("POST", missing), (404, "admin.no_upstream".to_owned()));
    assert_eq!(refused("POST", elsewhere), (404, "admin.no_endpoint".to_owned()));
}

/// Whether `value` is of the type that `schema` says.
fn is_of(schema: &Value, value: &Value) -> bool {
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    types.contains(&kind.into())
}

#[test]
fn what_is_described_is_what_is_answered() {
    let server = Server::start();
    let description: Value = serde_json::from_str(&server.ask("GET", "/openapi.json").1).unwrap();
    let mut described = 0;
    let mut ids = std::collections::BTreeSet::new();
    // Twice: the first reload is refused, the second is not.
    for _ in 0..2 {
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described += 1;
                ids.insert(operation["operationId"].as_str().unwrap().to_owned());
                let names: Vec<_> = operation["parameters"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
                assert_eq!(path.matches('{').count(), names.len(), "{path}");
                let asked = filled(path);
                let method = method.to_uppercase();
                let body = body_for(&method, &asked);
                let request = format!(
                    "{method} {asked} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let reply = server.exchange(&request);
                let (head, body) = reply.split_once("\r\n\r\n").unwrap();
                let (status, media) = (&head[9..12], head.split("content-type: ").nth(1).unwrap());
                let media = media.split(['\r', ';']).next().unwrap();
                let content = &operation["responses"][status]["content"][media];
                assert!(content.is_object(), "{method} {path}: {status} {media} is not described");
                if media != "application/json" {
                    continue;
                }
                let body: Value = serde_json::from_str(body).unwrap();
                assert!(is_of(&content["schema"], &body), "{path}");
                let Some(members) = content["schema"]["properties"].as_object() else { continue };
                let found: Vec<_> = body.as_object().unwrap().keys().collect();
                assert_eq!(found, members.keys().collect::<Vec<_>>(), "{path}");
                for (name, value) in body.as_object().unwrap() {
                    assert!(is_of(&members[name], value), "{path}: {name}: {value}");
                }
            }
        }
    }
    let all = ROUTES.len() + server.running.operations().len();
    assert_eq!((described, ids.len()), (2 * all, all));
    for route in ROUTES {
        let operation = &description["paths"][route.path][route.method.as_str().to_lowercase()];
        assert_eq!(operation["summary"], route.about);
        assert_eq!(operation["security"].is_array(), route.is_open, "{}", route.path);
    }
}

#[test]
fn consumers_are_asked_for_by_name_and_what_is_wrong_is_said() {
    let server = Server::start();
    let (status, body) = server.ask("DELETE", "/consumers/shop/keys/abc");
    assert_eq!(status, 200, "{body}");
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&shown["consumer"], &shown["id"]), (&"shop".into(), &"abc".into()));
    let (status, body) = server.ask("GET", "/consumers/nobody");
    assert!(status == 404 && body.contains("admin.no_consumer") && body.contains("nobody is not here"), "{body}");
    assert_eq!(server.ask("PUT", "/consumers").0, 405);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_page_is_given_up_and_counted() {
    let running = Arc::new(Fake::default());
    let parts = Parts {
        running: running.clone(),
        status: Status::new(Report::default()),
        reloads: Supervisor::default().reloads(),
        version: json!({}),
    };
    let client = Client {
        from: From::Unix,
        rules: Rc::new(Some(rules(None)).into()),
        parts: Rc::new(parts),
        refusals: Rc::default(),
    };
    let (ours, mut theirs) = tokio::io::duplex(64);
    let ask = tokio::io::AsyncWriteExt::write_all(&mut theirs, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (_, asked) = tokio::join!(serve(Box::new(ours), client, Duration::from_millis(100)), ask);
    asked.unwrap();
    assert_eq!(*running.0.lock().unwrap(), [GIVEN_UP]);
}
