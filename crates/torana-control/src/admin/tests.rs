use super::*;
use crate::running::{Reload, Report};
use crate::supervisor::Supervisor;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::SystemTime;

struct Fake;

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
    fn metrics(&self) -> String {
        "# TYPE gateway_up gauge\ngateway_up 1\n".to_owned()
    }
    fn open_connections(&self) -> u32 {
        3
    }
}

/// Refuses the first configuration and accepts the rest.
struct Second(u64);

impl Reload for Second {
    fn reload(&mut self) -> Report {
        self.0 += 1;
        let accepted = self.0 > 1;
        let text = if accepted { "" } else { "error: no such upstream" };
        Report { accepted, revision: self.0.max(1), checksum: "c".into(), text: text.into(), ..Report::default() }
    }
}

struct Server {
    address: SocketAddr,
    status: Arc<Status>,
    admin: Option<Admin>,
    reloads: Reloads,
    supervisor: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let status = Status::new(Report { accepted: true, revision: 1, checksum: "c".into(), ..Report::default() });
        let supervisor = Supervisor::default();
        let reloads = supervisor.reloads();
        let thread = supervisor.start(Second(0), status.clone(), None, Vec::new(), SystemTime::now()).unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let parts = Parts {
            running: Arc::new(Fake),
            status: status.clone(),
            reloads: reloads.clone(),
            version: json!({ "version": "0.0.0" }),
        };
        let admin = Admin::start(parts, Some(Socket::Tcp(socket))).unwrap();
        Server { address, status, admin: Some(admin), reloads, supervisor: Some(thread) }
    }

    /// Sends bytes and reads until the connection is closed.
    fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.ask_with(method, path, "host: localhost\r\n")
    }

    fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let reply = self.exchange(&format!("{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n"));
        let status = reply.get(9..12).unwrap().parse().unwrap();
        (status, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
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
        assert_eq!(server.ask(method, path).0, expected, "{method} {path}");
        let other = if method == "GET" { "POST" } else { "GET" };
        assert_eq!(server.ask(other, path).0, 405, "{other} {path}");
    }
    assert_eq!(server.ask("GET", "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.ask("HEAD", "/metrics"), (200, String::new()));
    assert_eq!(server.ask("GET", "/config/..%2f").0, 404);
    assert!(server.ask("GET", "/config").1.contains("${env:TOKEN}"));
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
fn strangers_are_refused() {
    let server = Server::start();
    let refused = |method: &str, path: &str, headers: &str| server.ask_with(method, path, headers).1;
    assert!(refused("GET", "/config", "host: evil.example\r\n").contains("admin.host"));
    assert!(
        refused("POST", "/reload", "host: localhost\r\norigin: http://evil.example\r\n").contains("admin.cross_origin")
    );
    assert!(refused("GET", "/config", "host: localhost\r\nx-forwarded-for: 1.2.3.4\r\n").contains("admin.forwarded"));
    assert_eq!(server.status.last().cause, "start", "no reload happened");
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
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    server.admin.as_ref().unwrap().place().serve_on(Some(Socket::Tcp(socket)));
    server.address = address;
    assert_eq!(server.ask("GET", "/livez").0, 200);
}
