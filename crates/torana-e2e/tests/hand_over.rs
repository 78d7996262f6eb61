//! Listening sockets that come from another process, and go to another.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use torana_e2e::client::{Client, get};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::{Origin, ok};
use torana_e2e::wait_for;

const CONFIG: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }\nworkers: 2\n\
                      upgrade: { socket: upgrade.sock }\nroutes: [ { name: r, respond: { body: {text} } } ]";

fn saying(text: &str) -> String {
    CONFIG.replace("{text}", text)
}

fn upgrade_socket(gateway: &Gateway) -> String {
    gateway.dir().path().join("upgrade.sock").display().to_string()
}

#[test]
fn a_socket_of_the_service_manager_is_used_by_name_or_address() {
    for is_by_name in [true, false] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        // Somebody has connected before there is a gateway.
        let mut early = Client::connect(port);
        early.send(get("/", ""));
        let (name, address) =
            if is_by_name { ("web", "127.0.0.1:0".to_owned()) } else { ("", format!("127.0.0.1:{port}")) };
        let config = format!(
            "workers: 2\nlisteners: [ {{ name: web, address: \"{address}\" }} ]\n\
             routes: [ {{ name: r, respond: {{ body: activated }} }} ]"
        );
        let mut gateway = Setup::new(&config).start_activated(socket, name);
        assert_eq!(early.reply().text(), "activated");
        for _ in 0..20 {
            assert_eq!(Client::connect(port).ask(get("/", "")).text(), "activated");
        }
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.wait_exit(), Some(0));
    }
}

#[test]
fn a_socket_that_nothing_is_configured_for_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap().to_string();
    let gateway = Setup::new("routes: [ { name: r, respond: {} } ]").start_activated(socket, "other");
    wait_for("a word about it", || {
        gateway.said().contains(&format!("nothing is configured for the socket at {at}")).then_some(())
    });
}

#[test]
fn a_new_process_takes_over_and_the_old_one_finishes() {
    let (go, may_reply) = mpsc::channel::<()>();
    let may_reply = Mutex::new(may_reply);
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            may_reply.lock().unwrap().recv().unwrap();
            conn.send(ok("done"));
        }
    });
    let config = saying("one").replace("routes: [", "routes: [ { name: a, match: { path: /a }, upstream: a },");
    let mut gateway = Setup::new(&config).origin("a", &origin).argument("--no-watch").start();
    let socket = upgrade_socket(&gateway);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(get("/", "")).text(), "one");
    let mut busy = gateway.connect();
    busy.send(get("/a", ""));
    origin.wait_seen(1);

    gateway.rewrite(&config.replace("body: one", "body: two"));
    let mut old = gateway.replace(&socket);
    // New connections reach the new process only; so does the admin interface.
    wait_for("the old one to let go", || old.said().contains("another process serves now").then_some(()));
    wait_for("the new one alone", || (0..8).all(|_| gateway.ask(get("/", "")).text() == "two").then_some(()));
    assert_eq!(gateway.admin("GET", "/readyz").status(), 200);
    // Whoever was connected before is told to go, with a reply.
    let reply = idle.ask(get("/", ""));
    assert_eq!((reply.text().as_str(), reply.head.get("connection")), ("one", Some("close")));
    idle.assert_closed();
    go.send(()).unwrap();
    let reply = busy.reply();
    assert_eq!((reply.text().as_str(), reply.head.get("connection")), ("done", Some("close")));
    busy.assert_closed();
    assert_eq!(old.wait_exit(), Some(0));

    // And once more, from the one that took over.
    let mut old = gateway.replace(&socket);
    assert_eq!(old.wait_exit(), Some(0));
    assert_eq!(gateway.ask(get("/", "")).text(), "two");
}

#[test]
fn the_old_process_says_goaway_to_http2_clients() {
    let mut gateway = Setup::new(&saying("one")).start();
    let socket = upgrade_socket(&gateway);
    let mut old = block_on(async {
        let client = Http2::connect(gateway.port("main")).await;
        assert_eq!(client.ask(http2::get("http", "/"), b"").await.unwrap().status(), 200);
        let old = gateway.replace(&socket);
        // Ends by itself, without an error.
        client.connection.await.unwrap().unwrap();
        old
    });
    assert_eq!(old.wait_exit(), Some(0));
}

#[test]
fn workers_may_be_more_or_fewer_in_the_new_process() {
    let config = |workers: usize| {
        format!("upgrade: {{ socket: upgrade.sock }}\nworkers: {workers}\nroutes: [ {{ name: r, respond: {{}} }} ]")
    };
    let mut gateway = Setup::new(&config(3)).argument("--no-watch").start();
    let socket = upgrade_socket(&gateway);
    for workers in [1, 4] {
        gateway.rewrite(&config(workers));
        let mut old = gateway.replace(&socket);
        assert_eq!(old.wait_exit(), Some(0));
        // A queue that nobody looks after would swallow some of them.
        for _ in 0..40 {
            assert_eq!(gateway.ask(get("/", "")).status(), 200);
        }
    }
}

#[test]
fn a_new_process_that_fails_changes_nothing() {
    let mut gateway = Setup::new(&saying("one")).argument("--no-watch").start();
    let socket = upgrade_socket(&gateway);
    let bad = gateway.dir().write("bad.yaml", "routes: [ { name: r, upstream: nobody } ]").display().to_string();
    let (code, said) = gateway.fail_to_replace(&["--upgrade-from", &socket, &bad]);
    assert_eq!(code, Some(1), "{said}");
    wait_for("the old one to notice", || gateway.said().contains("this one goes on").then_some(()));
    assert_eq!(gateway.ask(get("/", "")).text(), "one");
    let nowhere = gateway.dir().path().join("nowhere.sock").display().to_string();
    let (code, said) = gateway.fail_to_replace(&["--upgrade-from", &nowhere, &bad]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot take over from the gateway at"), "{said}");
    // Its place is still free for one that does not.
    let mut old = gateway.replace(&socket);
    assert_eq!(old.wait_exit(), Some(0));
}

/// Ends with the test: no child of ours.
struct Orphan(Pid);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn sigusr2_starts_the_new_process_and_the_service_manager_follows() {
    let dir = Dir::new();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(torana_e2e::DEADLINE)).unwrap();
    let told = || {
        let mut buffer = [0; 200];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let notify = dir.path().join("notify").display().to_string();
    let mut gateway = Setup::new(&saying("one")).argument("--no-watch").env("NOTIFY_SOCKET", &notify).start();
    assert_eq!(told(), "READY=1");
    gateway.rewrite(&saying("two"));
    gateway.signal(Signal::HUP);
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1");
    gateway.rewrite(&saying("three"));
    gateway.signal(Signal::USR2);
    let ready = told();
    let id = ready.strip_prefix("MAINPID=").and_then(|rest| rest.strip_suffix("\nREADY=1"));
    let new = Orphan(Pid::from_raw(id.unwrap_or_else(|| panic!("{ready}")).parse().unwrap()).unwrap());
    assert_ne!(new.0.as_raw_nonzero().get().unsigned_abs(), gateway.id());
    assert_eq!(gateway.wait_exit(), Some(0));
    assert_eq!(gateway.ask(get("/", "")).text(), "three");
    kill_process(new.0, Signal::TERM).unwrap();
    assert_eq!(told(), "STOPPING=1", "only the one that serves tells of its end");
    // Only then may the directory go.
    wait_for("the new one to end", || test_kill_process(new.0).err());
    manager.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(manager.recv(&mut [0; 10]).is_err());
}
