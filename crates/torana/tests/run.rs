//! A running gateway: reload, drain, admin interface.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Gateway, Origin, PATIENCE, Scratch, ask, ask_until, torana};

/// A configuration whose `/` answers `body`.
fn answering(body: &str) -> String {
    format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0 }}\naccess_log: false\n\
         routes: [ {{ name: all, respond: {{ body: {body} }} }} ]\n"
    )
}

fn start(path: &std::path::Path) -> (Gateway, SocketAddr, SocketAddr) {
    let mut gateway = Gateway::run(path);
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    (gateway, address, admin)
}

#[test]
fn a_changed_file_is_taken_up_and_a_bad_one_is_not() {
    let scratch = Scratch::new();
    let path = scratch.write("torana.yaml", &answering("first"));
    let (mut gateway, address, admin) = start(&path);
    assert!(ask(address, "GET", "/").1.ends_with("first"));

    scratch.write("torana.yaml", &answering("second"));
    gateway.line_with("revision 2 in force");
    assert!(ask(address, "GET", "/").1.ends_with("second"));

    scratch.write("torana.yaml", "listeners: [ { adress: 127.0.0.1:0 } ]\n");
    gateway.line_with("revision 2 stays in force");
    gateway.line_with("did you mean `address`?");
    assert!(ask(address, "GET", "/").1.ends_with("second"));
    assert!(ask(admin, "GET", "/status").1.contains("degraded"));
    assert!(ask(admin, "GET", "/diagnostics").1.contains("adress"));
    assert_eq!(ask(admin, "GET", "/readyz").0, 200);
    let (status, reply) = ask(admin, "POST", "/reload");
    assert_eq!((status, reply.contains("config.unknown_key")), (422, true), "{reply}");

    scratch.write("torana.yaml", &answering("third"));
    gateway.line_with("revision 3 in force");
    assert!(ask(address, "GET", "/").1.ends_with("third"));
    let metrics = ask(admin, "GET", "/metrics").1;
    assert!(metrics.contains("reload"), "{metrics}");
    assert!(ask(admin, "GET", "/status").1.contains("\"ok\""));
}

#[test]
fn signals_and_the_admin_interface_reload_too() {
    let scratch = Scratch::new();
    let path = scratch.write("torana.yaml", &answering("first"));
    let mut gateway = Gateway::start(torana().args(["run", "--no-watch"]).arg(&path).stdout(Stdio::null()));
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    scratch.write("torana.yaml", &answering("second"));
    gateway.signal(Signal::HUP);
    gateway.line_with("revision 2 in force");
    assert!(ask(address, "GET", "/").1.ends_with("second"));
    scratch.write("torana.yaml", &answering("third"));
    let (status, reply) = ask(admin, "POST", "/reload");
    assert!(status == 200 && reply.contains("\"revision\": 3"), "{reply}");
    assert!(ask(address, "GET", "/").1.ends_with("third"));
}

#[test]
fn a_changed_secret_is_noticed_and_does_not_change_the_checksum() {
    let scratch = Scratch::new();
    let text = answering("\"${file:secret}\"");
    scratch.write("secret", "hunter2");
    let path = scratch.write("torana.yaml", &text);
    let mut gateway = Gateway::start(torana().args(["run", "--no-watch"]).arg(&path).stdout(Stdio::null()));
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    let reload = || {
        let (status, reply) = ask(admin, "POST", "/reload");
        assert_eq!(status, 200, "{reply}");
        serde_json::from_str::<serde_json::Value>(reply.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let first = reload();
    assert_eq!(first["changed"], false, "{first}");
    gateway.line_with("nothing changed");
    scratch.write("secret", "hunter3");
    let second = reload();
    assert_eq!(second["changed"], true, "{second}");
    assert!(ask(address, "GET", "/").1.ends_with("hunter3"));
    assert_eq!(first["checksum"], second["checksum"]);
    scratch.write("torana.yaml", &format!("# another day\n{text}"));
    let third = reload();
    assert_eq!(third["changed"], false, "a note says nothing to the gateway: {third}");
    assert_ne!(second["checksum"], third["checksum"]);
    for page in ["/status", "/metrics", "/config"] {
        let reply = ask(admin, "GET", page).1;
        assert!(reply.contains(third["checksum"].as_str().unwrap()) && !reply.contains("hunter"), "{page}: {reply}");
    }
}

#[test]
fn a_config_map_is_taken_up() {
    let scratch = Scratch::new();
    let version = |number: u32| {
        scratch.write(&format!("..{number}/torana.yaml"), &answering(&format!("version-{number}")));
        symlink(format!("..{number}"), scratch.0.join("..tmp")).unwrap();
        std::fs::rename(scratch.0.join("..tmp"), scratch.0.join("..data")).unwrap();
    };
    version(1);
    symlink("..data/torana.yaml", scratch.0.join("torana.yaml")).unwrap();
    let (_gateway, address, _) = start(&scratch.0.join("torana.yaml"));
    for number in 2..4 {
        version(number);
        ask_until(address, "/", &format!("version-{number}"));
    }
}

#[test]
fn listeners_come_and_go_with_the_configuration() {
    let scratch = Scratch::new();
    let config = |second: &str| {
        format!(
            "listeners: [ {{ name: a, address: 127.0.0.1:0 }}{second} ]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             access_log: false\nroutes: [ {{ name: all, respond: {{ body: here }} }} ]\n"
        )
    };
    let path = scratch.write("torana.yaml", &config(""));
    let (mut gateway, address, admin) = start(&path);
    scratch.write("torana.yaml", &config(", { name: b, address: \"[::1]:0\" }"));
    gateway.line_with("revision 2 in force");
    let listeners = ask(admin, "GET", "/listeners").1;
    let second = listeners.lines().find(|line| line.contains("[::1]:")).expect("the second listener is shown");
    let second: SocketAddr = second.split('"').nth(3).unwrap().parse().unwrap();
    assert!(ask(second, "GET", "/").1.ends_with("here"));
    assert!(ask(address, "GET", "/").1.ends_with("here"), "the first one stays");
    // Renamed: the socket stays, with whoever waits in its queue.
    scratch.write("torana.yaml", &config("").replace("name: a", "name: renamed"));
    gateway.line_with("revision 3 in force");
    ask_until(address, "/", "here");
    let gone = Instant::now() + PATIENCE;
    while TcpStream::connect(second).is_ok() {
        assert!(Instant::now() < gone, "the second listener stays");
    }
}

#[test]
fn a_listener_that_cannot_be_had_refuses_the_configuration() {
    let scratch = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (address, taken)).unwrap();
    let path = scratch.write("torana.yaml", &answering("first"));
    let (mut gateway, address, admin) = start(&path);
    scratch.write(
        "torana.yaml",
        &answering("second").replace("{ address: 127.0.0.1:0 } ]", &format!("{{ address: \"{}\" }} ]", taken.0)),
    );
    gateway.line_with("revision 1 stays in force");
    gateway.line_with("the address is in use");
    assert!(ask(address, "GET", "/").1.ends_with("first"));
    assert!(ask(admin, "GET", "/diagnostics").1.contains("the address is in use"));
}

#[test]
fn sigterm_lets_requests_end_and_then_the_process() {
    let scratch = Scratch::new();
    let origin = Origin::start();
    let config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0 }}\naccess_log: false\n\
         upstreams: {{ slow: {{ endpoints: [ \"http://{}\" ] }} }}\nroutes: [ {{ name: all, upstream: slow }} ]\n",
        origin.address
    );
    let (mut gateway, address, admin) = start(&scratch.write("torana.yaml", &config));
    // One connection in the middle of a request, one that has none.
    let mut busy = TcpStream::connect(address).unwrap();
    write!(busy, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    origin.arrived.recv_timeout(PATIENCE).unwrap();
    gateway.signal(Signal::TERM);
    gateway.line_with("stopping");
    assert_eq!(ask(admin, "GET", "/readyz").0, 503);
    assert_eq!(ask(admin, "GET", "/livez").0, 200);
    let refused = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < refused, "connections are still accepted");
        std::thread::sleep(Duration::from_millis(10));
    }
    origin.answer();
    let mut reply = String::new();
    busy.set_read_timeout(Some(PATIENCE)).unwrap();
    // Returns when the gateway closes the connection, which it does by itself.
    busy.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("done"), "{reply}");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn clients_are_accepted_when_they_speak_or_where_it_is_switched_off_at_once() {
    let scratch = Scratch::new();
    let config = answering("hello");
    let (_gateway, address, admin) = start(&scratch.write("torana.yaml", &config));
    let connected = Instant::now();
    let mut silent = TcpStream::connect(address).unwrap();
    let is_counted = ask(admin, "GET", "/metrics").1.contains("\ngateway_connections 1\n");
    // Not if this machine stood still until the kernel had waited long enough.
    assert!(!is_counted || connected.elapsed() > Duration::from_millis(900), "accepted although it has said nothing");
    write!(silent, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    silent.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("hello"), "{reply}");
    // A reload is enough.
    scratch.write(
        "torana.yaml",
        &config.replace("{ address: 127.0.0.1:0 } ]\nadmin", "{ address: 127.0.0.1:0, defer_accept: false } ]\nadmin"),
    );
    ask_until(admin, "/listeners", "\"defer_accept\": false");
    let is_at_once = || {
        let connected = Instant::now();
        let _silent = TcpStream::connect(address).unwrap();
        ask_until(admin, "/metrics", "\ngateway_connections 1\n");
        connected.elapsed() < Duration::from_millis(900)
    };
    // More than once, should this machine stand still for a moment.
    assert!((0..3).any(|_| is_at_once()), "it is waited for");
}

#[test]
fn a_client_about_to_speak_when_the_gateway_stops_is_served() {
    let scratch = Scratch::new();
    let (mut gateway, address, _) = start(&scratch.write("torana.yaml", &answering("hello")));
    let mut silent = TcpStream::connect(address).unwrap();
    gateway.signal(Signal::TERM);
    gateway.line_with("stopping");
    let stopping = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let mut reply = String::new();
    let told = write!(silent, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").and_then(|()| silent.read_to_string(&mut reply));
    // Who takes longer than the gateway waits has bad luck.
    if stopping.elapsed() < Duration::from_millis(90) {
        told.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("hello"), "{reply}");
    }
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn load_balancers_get_time_to_notice_and_requests_a_limit() {
    let scratch = Scratch::new();
    let origin = Origin::start();
    let config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0 }}\naccess_log: false\n\
         shutdown: {{ readiness_delay: 2s, drain_timeout: 200ms }}\n\
         upstreams: {{ slow: {{ endpoints: [ \"http://{}\" ] }} }}\nroutes: [ {{ name: all, upstream: slow }} ]\n",
        origin.address
    );
    let (mut gateway, address, admin) = start(&scratch.write("torana.yaml", &config));
    gateway.signal(Signal::TERM);
    gateway.line_with("stopping");
    assert_eq!(ask(admin, "GET", "/readyz").0, 503);
    let mut late = TcpStream::connect(address).expect("connections are accepted until the delay is over");
    write!(late, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    origin.arrived.recv_timeout(PATIENCE).unwrap();
    gateway.line_with("cut after the drain timeout: 1");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let scratch = Scratch::new();
    let origin = Origin::start();
    let config = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: false\naccess_log: false\n\
         upstreams: {{ slow: {{ endpoints: [ \"http://{}\" ] }} }}\nroutes: [ {{ name: all, upstream: slow }} ]\n",
        origin.address
    );
    let mut gateway = Gateway::run(&scratch.write("torana.yaml", &config));
    let address = gateway.address("listening on");
    let mut busy = TcpStream::connect(address).unwrap();
    write!(busy, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    origin.arrived.recv_timeout(PATIENCE).unwrap();
    gateway.signal(Signal::INT);
    gateway.line_with("stopping");
    gateway.signal(Signal::INT);
    gateway.line_with("stopped at once");
    assert_eq!(gateway.exit_code(), Some(1));
}

#[test]
fn the_access_log_is_complete_at_the_end_and_follows_a_rename() {
    let scratch = Scratch::new();
    let config = answering("logged").replace("access_log: false", "access_log: { output: access.log }");
    let (mut gateway, address, _) = start(&scratch.write("torana.yaml", &config));
    ask(address, "GET", "/one");
    let log = scratch.0.join("access.log");
    let until = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/one")) {
        assert!(Instant::now() < until, "no line is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::rename(&log, scratch.0.join("access.log.1")).unwrap();
    gateway.signal(Signal::USR1);
    while !log.exists() {
        assert!(Instant::now() < until, "the log is not opened anew");
        std::thread::sleep(Duration::from_millis(20));
    }
    ask(address, "GET", "/two");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exit_code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("/two") && !text.contains("/one"), "{text}");
}

#[test]
fn a_log_reader_that_goes_away_does_not_stop_the_gateway() {
    let scratch = Scratch::new();
    let config = answering("still here").replace("access_log: false\n", "");
    let path = scratch.write("torana.yaml", &config);
    let mut gateway = Gateway::start(torana().arg(&path).stdout(Stdio::piped()));
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    ask(address, "GET", "/one");
    let mut stdout = BufReader::new(gateway.take_stdout());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("\"path\":\"/one\""), "{line}");
    drop(stdout);
    ask(address, "GET", "/two");
    gateway.line_with("access log lines are lost");
    assert!(ask(address, "GET", "/three").1.ends_with("still here"));
    assert!(ask(admin, "GET", "/metrics").1.contains("log"));
}

#[test]
fn a_new_certificate_is_taken_up_without_a_changed_configuration() {
    let certs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/certs");
    let scratch = Scratch::new();
    let put = |name: &str| {
        for kind in ["pem", "key"] {
            let text = std::fs::read_to_string(certs.join(format!("{name}.{kind}"))).unwrap();
            scratch.write(&format!("certs/server.{kind}"), &text);
        }
    };
    put("localhost");
    let tls = "{ address: 127.0.0.1:0, tls: { certificates: [ { cert: certs/server.pem, key: certs/server.key } ] } }";
    let config = answering("hello").replace("{ address: 127.0.0.1:0 } ]\nadmin", &format!("{tls} ]\nadmin"));
    let (mut gateway, _, admin) = start(&scratch.write("torana.yaml", &config));
    assert!(ask(admin, "GET", "/listeners").1.contains("*.shop.example"));
    put("client");
    ask_until(admin, "/listeners", "gateway.internal");
    let line = gateway.line_with("in force (checksum");
    assert!(!line.contains("nothing changed"), "{line}");
}

#[test]
fn the_admin_interface_can_be_a_unix_socket() {
    let scratch = Scratch::new();
    let socket = scratch.0.join("admin.sock");
    let config = answering("hello")
        .replace("admin: { address: 127.0.0.1:0 }", &format!("admin: {{ address: \"unix:{}\" }}", socket.display()));
    let mut gateway = Gateway::run(&scratch.write("torana.yaml", &config));
    gateway.line_with("admin at unix:");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: whatever\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("ready\n"), "{reply}");
}

#[test]
fn requests_do_not_fail_while_configurations_change() {
    let scratch = Scratch::new();
    let path = scratch.write("torana.yaml", &answering("revision-1"));
    let (_gateway, address, admin) = start(&path);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut count = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    count += on_one_connection(address, 50);
                }
                count
            })
        })
        .collect();
    for revision in 2..22 {
        scratch.write("torana.yaml", &answering(&format!("revision-{revision}")));
        let (status, reply) = ask(admin, "POST", "/reload");
        assert_eq!(status, 200, "{reply}");
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let count: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(count > 0);
    assert!(ask(address, "GET", "/").1.ends_with("revision-21"));
}

/// Sends requests one after the other on one connection; all must be answered.
fn on_one_connection(address: SocketAddr, requests: usize) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..requests {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut length = 0;
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200 "), "{line:?}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
    }
    requests
}
