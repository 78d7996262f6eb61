//! Copies of replies: who gets them, who asks for them, and what survives.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use torana_e2e::client::{Client, Reply, get, post};
use torana_e2e::door::Door;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, reply};
use torana_e2e::wait_for;

const ADMIN: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }\n";

fn start(policy: &str, workers: u32, origin: &Origin) -> Gateway {
    Setup::new(&config(policy, workers)).known("{url:a}", &origin.url()).start()
}

fn config(policy: &str, workers: u32) -> String {
    format!(
        "{ADMIN}workers: {workers}\nupstreams: {{ a: {{ endpoints: [ '{{url:a}}' ] }} }}\n\
         routes: [ {{ name: a, upstream: a, policies: [ {{ cache: {policy} }} ] }} ]"
    )
}

pub(crate) fn events(gateway: &Gateway, event: &str) -> f64 {
    gateway.events("cache", "a", event)
}

pub(crate) fn label(reply: &Reply) -> &str {
    reply.head.get("x-cache").unwrap_or_default()
}

#[test]
fn a_hundred_who_ask_for_the_same_ask_the_target_once() {
    let (door, asked) = (Door::default(), Arc::new(AtomicUsize::new(0)));
    let origin = Origin::replying({
        let (door, asked) = (door.clone(), asked.clone());
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            door.pass();
            reply(200, &[("cache-control", "max-age=60")], "once")
        }
    });
    let gateway = start("{ collapse_wait: 60s }", 2, &origin);
    let port = gateway.port("main");
    let clients: Vec<_> = (0..100).map(|_| thread::spawn(move || Client::connect(port).ask(get("/a", "")))).collect();
    wait_for("everybody to wait", || (events(&gateway, "collapsed") >= 99.0).then_some(()));
    door.open();
    let replies: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(replies.iter().all(|reply| (reply.status(), reply.text().as_str()) == (200, "once")));
    assert_eq!(replies.iter().filter(|reply| label(reply) == "MISS").count(), 1);
    assert_eq!(replies.iter().filter(|reply| label(reply) == "HIT").count(), 99);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn when_who_asks_goes_away_the_others_go_themselves() {
    let door = Door::default();
    let origin = Origin::replying({
        let door = door.clone();
        move |_| {
            door.pass();
            reply(200, &[("cache-control", "max-age=60")], "each")
        }
    });
    let gateway = start("{ collapse_wait: 60s }", 1, &origin);
    let port = gateway.port("main");
    let mut first = gateway.connect();
    first.send(get("/a", ""));
    wait_for("the first to be sent", || (origin.connections() > 0).then_some(()));
    let others: Vec<_> = (0..3).map(|_| thread::spawn(move || Client::connect(port).ask(get("/a", "")))).collect();
    wait_for("the others to wait", || (events(&gateway, "collapsed") >= 3.0).then_some(()));
    drop(first);
    wait_for("the others to be sent", || (origin.connections() >= 4).then_some(()));
    door.open();
    for other in others {
        assert_eq!(other.join().unwrap().text(), "each");
    }
}

#[test]
fn copies_survive_a_reload_and_are_purged_by_hand() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::replying({
        let count = count.clone();
        move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst).to_string();
            reply(200, &[("cache-control", "max-age=600"), ("cache-tag", "t1")], &number)
        }
    });
    let mut gateway = start("{}", 2, &origin);
    assert_eq!(gateway.ask(get("/a", "")).text(), "0");
    assert_eq!(gateway.ask(get("/a", "")).text(), "0");
    gateway.rewrite(&config("{ collapse_wait: 7s }", 2));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    gateway.wait_metric("gateway_config_revision", 2.0);
    assert_eq!((label(&gateway.ask(get("/a", ""))), gateway.ask(get("/a", "")).text().as_str()), ("HIT", "0"));
    let purge = |body: &str| {
        let reply = gateway.admin_with("POST", "/cache/purge", "", body);
        (reply.status(), reply.text())
    };
    let (status, said) = purge(r#"{ "tag": "t1" }"#);
    assert!(status == 200 && said.contains("\"purged\": 1") && said.contains("\"route\": \"a\""), "{said}");
    assert_eq!(gateway.ask(get("/a", "")).text(), "1");
    let (_, said) = purge(r#"{ "url": "http://gateway.example/a" }"#);
    assert!(said.contains("\"purged\": 1"), "{said}");
    assert_eq!(gateway.ask(get("/a", "")).text(), "2");
    assert_eq!(purge(r#"{ "url": "/a" }"#).0, 422);
    let described = gateway.admin("GET", "/openapi.json").text();
    assert!(described.contains("\"/cache/purge\"") && described.contains("\"prefix\""), "{described}");
}

#[test]
fn a_stale_copy_is_given_out_at_once_and_refreshed_beside() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::replying({
        let count = count.clone();
        move |seen| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            // Stale from the beginning: no time has to pass.
            let said = if number == 0 { "max-age=0, stale-while-revalidate=600" } else { "max-age=600" };
            let asked = seen.head.get("if-none-match").unwrap_or("nothing").to_owned();
            reply(200, &[("cache-control", said), ("etag", "\"1\"")], format!("{number} {asked}"))
        }
    });
    let gateway = start("{}", 1, &origin);
    assert_eq!(gateway.ask(get("/a", "")).text(), "0 nothing");
    let stale = gateway.ask(get("/a", ""));
    assert_eq!((label(&stale), stale.text().as_str()), ("STALE", "0 nothing"));
    wait_for("the copy to be refreshed", || (gateway.ask(get("/a", "")).text() == "1 \"1\"").then_some(()));
    assert_eq!(label(&gateway.ask(get("/a", ""))), "HIT");
    assert_eq!(events(&gateway, "refreshed"), 1.0);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_stale_copy_stands_in_for_a_target_that_fails() {
    let broken = Arc::new(AtomicBool::new(false));
    let origin = Origin::replying({
        let broken = broken.clone();
        move |_| match broken.load(Ordering::SeqCst) {
            true => reply(503, &[], "broken"),
            false => reply(200, &[("cache-control", "max-age=0, stale-if-error=600")], "well"),
        }
    });
    let gateway = start("{}", 1, &origin);
    assert_eq!(gateway.ask(get("/a", "")).text(), "well");
    broken.store(true, Ordering::SeqCst);
    let stale = gateway.ask(get("/a", ""));
    assert_eq!((stale.status(), label(&stale), stale.text().as_str()), (200, "STALE", "well"));
    assert_eq!(gateway.ask(get("/other", "")).status(), 503);
    // The gateway's own word about a target that is gone counts as well.
    drop(origin);
    let stale = gateway.ask(get("/a", ""));
    assert_eq!((stale.status(), label(&stale), stale.text().as_str()), (200, "STALE", "well"));
}

#[test]
fn what_is_changed_through_the_gateway_is_asked_for_again() {
    let value = Arc::new(Mutex::new("old".to_owned()));
    let origin = Origin::replying({
        let value = value.clone();
        move |seen| {
            if seen.head.line.starts_with("POST") {
                *value.lock().unwrap() = String::from_utf8_lossy(&seen.body.data).into_owned();
                return reply(204, &[], "");
            }
            reply(200, &[("cache-control", "max-age=600")], value.lock().unwrap().clone())
        }
    });
    let gateway = start("{}", 2, &origin);
    assert_eq!(gateway.ask(get("/a", "")).text(), "old");
    assert_eq!(label(&gateway.ask(get("/a", ""))), "HIT");
    assert_eq!(gateway.ask(post("/a", "", "new")).status(), 204);
    assert_eq!(gateway.ask(get("/a", "")).text(), "new");
}

#[test]
fn a_body_that_breaks_off_is_asked_for_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::replying({
        let count = count.clone();
        move |_| {
            match count.fetch_add(1, Ordering::SeqCst) {
            0 => b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                   4\r\nhalf\r\nbroken"
                .to_vec(),
            _ => reply(200, &[("cache-control", "max-age=600")], "whole"),
        }
        }
    });
    let gateway = start("{}", 1, &origin);
    let mut first = gateway.connect();
    first.send(get("/a", ""));
    let _ = first.until_closed();
    assert_eq!(gateway.ask(get("/a", "")).text(), "whole");
    assert_eq!(label(&gateway.ask(get("/a", ""))), "HIT");
}
