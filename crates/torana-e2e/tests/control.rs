//! Reload and shutdown, seen from outside.

use rustix::process::Signal;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use torana_e2e::client::get;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::{Origin, ok};
use torana_e2e::wait_for;

const ADMIN: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }\n";

fn saying(text: &str) -> String {
    format!("{ADMIN}routes: [ {{ name: r, respond: {{ body: {text} }} }} ]")
}

fn says(gateway: &Gateway, text: &str) {
    wait_for(&format!("the plan that says {text}"), || (gateway.ask(get("/", "")).text() == text).then_some(()));
}

#[test]
fn a_changed_file_is_taken_up() {
    let mut gateway = Setup::new(&saying("one")).start();
    says(&gateway, "one");
    gateway.rewrite(&saying("two"));
    says(&gateway, "two");
    gateway.wait_metric("gateway_config_reloads_total{result=\"success\"}", 1.0);
}

#[test]
fn sighup_and_the_admin_interface_reload_where_nothing_is_watched() {
    let mut gateway = Setup::new(&saying("one")).argument("--no-watch").start();
    gateway.rewrite(&saying("two"));
    assert_eq!(gateway.ask(get("/", "")).text(), "one");
    gateway.signal(Signal::HUP);
    says(&gateway, "two");
    gateway.rewrite(&saying("three"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    // The answer comes when the plan is in force.
    says(&gateway, "three");
}

#[test]
fn a_bad_file_keeps_the_old_plan_and_says_what_is_wrong() {
    let mut gateway = Setup::new(&saying("one")).argument("--no-watch").start();
    gateway.rewrite(&format!("{ADMIN}routes: [ {{ name: r, upstream: nobody }} ]"));
    let reply = gateway.admin("POST", "/reload");
    assert_eq!(reply.status(), 422);
    assert!(reply.text().contains("nobody"), "{}", reply.text());
    assert_eq!(gateway.ask(get("/", "")).text(), "one");
    gateway.wait_metric("gateway_config_reloads_total{result=\"failure\"}", 1.0);
    assert!(gateway.admin("GET", "/diagnostics").text().contains("nobody"));
    gateway.rewrite(&saying("two"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    says(&gateway, "two");
}

#[test]
fn a_request_under_way_survives_the_reload_and_its_upstream_connection_does_too() {
    let (go, may_reply) = mpsc::channel::<()>();
    let may_reply = Mutex::new(may_reply);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            may_reply.lock().unwrap().recv().unwrap();
            conn.send(ok("done"));
        }
    });
    let config = |more: &str| format!("{ADMIN}routes: [ {{ name: a, upstream: a }}{more} ]");
    let mut gateway = Setup::new(&config("")).origin("a", &origin).argument("--no-watch").start();
    let mut client = gateway.connect();
    client.send(get("/1", ""));
    origin.wait_seen(1);
    gateway.rewrite(&config(", { name: new, match: { path: /new }, respond: { body: new } }"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    go.send(()).unwrap();
    assert_eq!(client.reply().text(), "done");
    says_at(&gateway, "/new", "new");
    go.send(()).unwrap();
    assert_eq!(client.ask(get("/2", "")).text(), "done");
    assert_eq!(origin.connections(), 1);
}

fn says_at(gateway: &Gateway, path: &str, text: &str) {
    wait_for(path, || (gateway.ask(get(path, "")).text() == text).then_some(()));
}

#[test]
fn sigterm_lets_requests_finish_and_exits_with_0() {
    let (go, may_reply) = mpsc::channel::<()>();
    let may_reply = Mutex::new(may_reply);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            may_reply.lock().unwrap().recv().unwrap();
            conn.send(ok("done"));
        }
    });
    let config = format!("{ADMIN}routes: [ {{ name: a, upstream: a }} ]");
    let mut gateway = Setup::new(&config).origin("a", &origin).start();
    let mut idle = gateway.connect();
    go.send(()).unwrap();
    assert_eq!(idle.ask(get("/0", "")).status(), 200);
    let mut busy = gateway.connect();
    busy.send(get("/1", ""));
    origin.wait_seen(2);
    assert_eq!(gateway.admin("GET", "/readyz").status(), 200);
    gateway.signal(Signal::TERM);
    // Idle connections go at once; the busy one gets its reply first.
    idle.assert_closed();
    assert_eq!(gateway.admin("GET", "/readyz").status(), 503);
    go.send(()).unwrap();
    let reply = busy.reply();
    assert_eq!((reply.text().as_str(), reply.head.get("connection")), ("done", Some("close")));
    busy.assert_closed();
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// Or it would listen again, and cut off whoever connects then.
#[test]
fn a_gateway_that_stops_takes_up_nothing_new() {
    let origin = Origin::start(|conn| {
        conn.request();
        conn.until_closed();
    });
    let config = format!("{ADMIN}routes: [ {{ name: a, upstream: a }} ]");
    let mut gateway = Setup::new(&config).origin("a", &origin).argument("--no-watch").start();
    let mut busy = gateway.connect();
    busy.send(get("/", ""));
    origin.wait_seen(1);
    gateway.signal(Signal::TERM);
    let address = ("127.0.0.1", gateway.port("main"));
    wait_for("the listener to be closed", || TcpStream::connect(address).is_err().then_some(()));
    gateway.rewrite(&config.replace("name: a,", "name: b,"));
    let report = gateway.admin("POST", "/reload");
    assert_eq!(report.status(), 422, "{}", report.text());
    assert!(report.text().contains("stopping"), "{}", report.text());
    assert!(TcpStream::connect(address).is_err(), "it listens again");
}

#[test]
fn sigterm_says_goaway_to_http2_clients() {
    let mut gateway = Setup::new(&saying("one")).start();
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
        gateway.signal(Signal::TERM);
        // Ends by itself, without an error.
        client.connection.await.unwrap().unwrap();
    });
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// Or nobody could tell afterwards what became of it.
#[test]
fn what_is_cut_after_the_drain_timeout_is_answered_or_broken_off_and_logged() {
    let exit = cut_off("300ms", |gateway| gateway.signal(Signal::TERM));
    assert_eq!(exit, Some(0));
}

#[test]
fn what_a_second_signal_cuts_is_answered_or_broken_off_and_logged() {
    let exit = cut_off("1h", |gateway| {
        gateway.signal(Signal::TERM);
        // Or the two would be one.
        let address = ("127.0.0.1", gateway.port("main"));
        wait_for("the listener to be closed", || TcpStream::connect(address).is_err().then_some(()));
        gateway.signal(Signal::TERM);
    });
    assert_eq!(exit, Some(1));
}

/// Has `end` cut off requests, of HTTP/1.1 and HTTP/2, whose replies have not begun or are half sent.
fn cut_off(drain_timeout: &str, end: impl Fn(&Gateway)) -> Option<i32> {
    let origin = Origin::start(|conn| {
        let seen = conn.request().unwrap();
        if seen.target() == "/half" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        conn.until_closed();
    });
    let config = format!("shutdown: {{ drain_timeout: {drain_timeout} }}\nroutes: [ {{ name: a, upstream: a }} ]");
    let mut gateway = Setup::new(&config).origin("a", &origin).start();
    let (mut silent, mut half) = (gateway.connect(), gateway.connect());
    silent.send(get("/never", ""));
    half.send(get("/half", ""));
    block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        let silent = client.ask(http2::get("http", "/never2"), b"");
        let half = client.ask(http2::get("http", "/half"), b"");
        let stop = async {
            while origin.seen().len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            end(&gateway);
        };
        let (silent, half, ()) = tokio::join!(silent, half, stop);
        let silent = silent.expect("a reply");
        assert_eq!(silent.status(), 503, "{}", silent.text());
        assert!(silent.text().contains("shutdown.drain_timeout"), "{}", silent.text());
        assert!(half.is_err(), "half a reply passes for a whole one");
    });
    let reply = silent.reply();
    assert_eq!((reply.status(), reply.code().as_str()), (503, "shutdown.drain_timeout"));
    assert_eq!(reply.head.get("connection"), Some("close"));
    assert!(String::from_utf8_lossy(&half.until_closed()).ends_with("\r\n\r\nhalf"));
    let exit = gateway.wait_exit();
    let cut = |line: &&serde_json::Value| line["code"] == "shutdown.drain_timeout";
    let lines = gateway.log_lines();
    let mut cut: Vec<_> = lines.iter().filter(cut).map(|line| (&line["path"], line["status"].as_u64())).collect();
    cut.sort_by_key(|(path, _)| path.to_string());
    let expected = [("/half", 200), ("/half", 200), ("/never", 503), ("/never2", 503)];
    assert_eq!(cut.len(), expected.len(), "{lines:?}");
    for ((path, status), expected) in cut.into_iter().zip(expected) {
        assert_eq!((path.as_str(), status), (Some(expected.0), Some(expected.1)), "{lines:?}");
    }
    exit
}

#[test]
fn the_admin_interface_says_how_it_is_and_keeps_secrets() {
    let config = format!("{ADMIN}routes: [ {{ name: r, respond: {{ body: \"${{env:E2E_SECRET}}\" }} }} ]");
    let gateway = Setup::new(&config).env("E2E_SECRET", "swordfish").start();
    assert_eq!(gateway.ask(get("/", "")).text(), "swordfish");
    for path in ["/livez", "/readyz", "/config", "/routes", "/upstreams", "/metrics", "/status", "/listeners"] {
        let reply = gateway.admin("GET", path);
        assert_eq!(reply.status(), 200, "{path}");
        assert!(!reply.text().contains("swordfish"), "{path} shows a secret");
    }
    let config: serde_json::Value = serde_json::from_slice(&gateway.admin("GET", "/config").body.data).unwrap();
    assert!(config["checksum"].is_string() && config["revision"].is_number(), "{config}");
}
