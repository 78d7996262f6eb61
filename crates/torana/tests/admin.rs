//! The admin interface of a running gateway: who may ask, and going back.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use support::{Gateway, Scratch, ask, ask_with, ask_with_body, torana};

fn start(path: &std::path::Path) -> (Gateway, SocketAddr, SocketAddr) {
    let mut gateway = Gateway::run(path);
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    (gateway, address, admin)
}

#[test]
fn the_admin_token_is_asked_for_and_rotates() {
    let scratch = Scratch::new();
    let config = "listeners: [ { address: 127.0.0.1:0 } ]\naccess_log: false\n\
                  admin: { address: 0.0.0.0:0, token: \"${file:token}\" }\n\
                  routes: [ { name: all, respond: { body: here } } ]\n";
    scratch.write("token", "the-first-of-two-tokens\n");
    let (mut gateway, _, admin) = start(&scratch.write("torana.yaml", config));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin.port()));
    let bearer = |token: &str, method: &str, path: &str| {
        ask_with(admin, method, path, &format!("authorization: Bearer {token}\r\n"))
    };
    let (status, reply) = ask(admin, "GET", "/config");
    assert!(status == 401 && reply.contains("www-authenticate: Bearer"), "{reply}");
    gateway.line_with("refused a request from 127.0.0.1 (admin.no_token)");
    assert_eq!(ask(admin, "GET", "/readyz").0, 200);
    assert_eq!(bearer("the-second-of-two-tokens", "POST", "/reload").0, 401);
    let (status, reply) = bearer("the-first-of-two-tokens", "GET", "/config");
    assert!(status == 200 && reply.contains("${file:token}") && !reply.contains("of-two-tokens"), "{reply}");
    scratch.write("token", "the-second-of-two-tokens\n");
    gateway.line_with("revision 2 in force");
    assert_eq!(bearer("the-first-of-two-tokens", "GET", "/status").0, 401);
    let (status, metrics) = bearer("the-second-of-two-tokens", "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("gateway_admin_refusals_total{code=\"admin.no_token\"} 1"), "{metrics}");
    assert!(metrics.contains("gateway_admin_refusals_total{code=\"admin.bad_token\"} 2"), "{metrics}");
}

#[test]
fn no_name_of_loopback_leads_through_a_route_to_the_admin_interface() {
    let scratch = Scratch::new();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |endpoint: &str| {
        format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: \"{admin}\" }}\naccess_log: false\n\
             upstreams: {{ a: {{ endpoints: [ \"http://{endpoint}:{}\" ] }} }}\n\
             routes: [ {{ name: all, upstream: a, rewrite: {{ host: localhost }} }} ]\n",
            admin.port()
        )
    };
    let refused = torana().arg("check").arg(scratch.write("bad.yaml", &config("localhost"))).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("upstream.admin_endpoint"), "{refused:?}");
    // A spelling that the resolver takes for loopback and the check does not.
    let (_gateway, address, _) = start(&scratch.write("torana.yaml", &config("127.1")));
    let (status, reply) = ask(address, "GET", "/config");
    assert!(status == 403 && reply.contains("admin.forwarded"), "{reply}");
}

#[test]
fn an_earlier_revision_is_put_in_force_with_what_it_was_made_of() {
    let scratch = Scratch::new();
    let config = |status: u16| {
        format!(
            "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0, revisions: 3 }}\n\
             access_log: false\ninclude: [ routes.yaml ]\n\
             policies: [ {{ headers: {{ response: {{ set: {{ x-secret: \"${{file:secret}}\" }} }} }} }} ]\n\
             routes: [ {{ name: all, respond: {{ status: {status}, body: \"${{file:secret}}\" }} }} ]\n"
        )
    };
    scratch.write("secret", "the-old-secret");
    scratch.write("routes.yaml", "routes: [ { name: a, match: { path: /a }, respond: { body: a } } ]\n");
    let path = scratch.write("torana.yaml", &config(200));
    let mut gateway = Gateway::start(torana().args(["run", "--no-watch"]).arg(&path).stdout(Stdio::null()));
    let address = gateway.address("listening on");
    let admin = gateway.address("admin at");
    let json = |method: &str, path: &str| {
        let (status, reply) = ask(admin, method, path);
        (status, serde_json::from_str::<serde_json::Value>(reply.split_once("\r\n\r\n").unwrap().1).unwrap())
    };
    // The second revision has another document, another secret and one file less.
    scratch.write("secret", "the-new-secret");
    scratch.write("torana.yaml", &config(201).replace("include: [ routes.yaml ]\n", ""));
    std::fs::remove_file(scratch.0.join("routes.yaml")).unwrap();
    assert_eq!(json("POST", "/reload").0, 200);
    let (status, reply) = ask(address, "GET", "/a");
    assert!(status == 201 && reply.ends_with("the-new-secret"), "{reply}");
    let diff = ask(admin, "GET", "/revisions/1/diff/2").1;
    for line in [
        "-include: [ routes.yaml ]",
        "+++ /dev/null",
        "-routes: [ { name: a, match: { path: /a }, respond: { body: a } } ]",
    ] {
        assert!(diff.lines().any(|found| found == line), "{line} in {diff}");
    }
    assert!(diff.contains("${file:secret}") && !diff.contains("the-"), "{diff}");

    let (status, report) = json("POST", "/revisions/1/rollback");
    assert_eq!(
        (status, &report["revision"], &report["from"], &report["pinned"]),
        (200, &3.into(), &1.into(), &true.into())
    );
    gateway.line_with("revision 3 in force, revision 1 again");
    gateway.line_with("what is on disk is not in force");
    assert!(ask(address, "GET", "/a").1.ends_with("\r\n\r\na"));
    assert!(ask(address, "GET", "/").1.ends_with("the-old-secret"));
    let (_, shown) = json("GET", "/status");
    assert_eq!((&shown["status"], &shown["pinned"]), (&"degraded".into(), &true.into()));
    assert_eq!(ask(admin, "GET", "/readyz").0, 200);
    assert!(ask(admin, "GET", "/metrics").1.contains("\ngateway_config_pinned 1\n"));
    for page in ["/revisions", "/revisions/3", "/config"] {
        assert!(!ask(admin, "GET", page).1.contains("the-"), "{page}");
    }

    // A bad file leaves it there; going to what was read last ends it.
    scratch.write("torana.yaml", "listeners: 1\n");
    assert_eq!(json("POST", "/reload").0, 422);
    assert_eq!(json("GET", "/status").1["pinned"], true);
    scratch.write("torana.yaml", &config(202).replace("include: [ routes.yaml ]\n", ""));
    let (_, report) = json("POST", "/reload");
    assert_eq!((&report["revision"], &report["pinned"]), (&4.into(), &false.into()));
    assert_eq!(json("GET", "/status").1["status"], "ok");
    let (_, listed) = json("GET", "/revisions");
    let ids: Vec<_> = listed["revisions"].as_array().unwrap().iter().map(|revision| revision["id"].clone()).collect();
    assert_eq!(ids, [2, 3, 4], "three are kept");
    assert_eq!(json("POST", "/revisions/1/rollback").1["code"], "admin.no_revision");
    let (_, report) = json("POST", "/revisions/4/rollback");
    assert_eq!((&report["pinned"], &report["changed"]), (&false.into(), &false.into()), "it is what is on disk");
}

/// A configuration whose `/` answers `body`.
fn answering(body: &str) -> String {
    format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nadmin: {{ address: 127.0.0.1:0 }}\naccess_log: false\n\
         routes: [ {{ name: all, respond: {{ body: {body} }} }} ]\n"
    )
}

#[test]
fn a_changed_file_ends_a_rollback() {
    let scratch = Scratch::new();
    let path = scratch.write("torana.yaml", &answering("first"));
    let (mut gateway, address, admin) = start(&path);
    scratch.write("torana.yaml", &answering("second"));
    gateway.line_with("revision 2 in force");
    assert_eq!(ask(admin, "POST", "/revisions/1/rollback").0, 200);
    assert!(ask(address, "GET", "/").1.ends_with("first"));
    scratch.write("torana.yaml", &answering("third"));
    gateway.line_with("revision 4 in force");
    assert!(ask(address, "GET", "/").1.ends_with("third"));
    assert!(ask(admin, "GET", "/metrics").1.contains("\ngateway_config_pinned 0\n"));
}

#[test]
fn the_pages_are_as_their_description_says() {
    let scratch = Scratch::new();
    let upstreams = "upstreams: { team/users: { endpoints: [ http://127.0.0.1:1 ] } }\n";
    // Its operations are described, and somebody has to do them.
    let config = format!("{}{upstreams}state_dir: state\npolicies: [ {{ cache: {{}} }} ]\n", answering("here"));
    let (_gateway, _, admin) = start(&scratch.write("torana.yaml", &config));
    let json = |method: &str, path: &str| {
        let question = r#"{ "method": "GET", "url": "/" }"#;
        let (status, reply) = match path {
            "/explain" => ask_with_body(admin, method, path, question),
            "/cache/purge" => ask_with_body(admin, method, path, r#"{ "all": true }"#),
            "/consumers" if method == "POST" => ask_with_body(admin, method, path, r#"{ "name": "new" }"#),
            _ if method == "POST" && path.starts_with("/consumers/") => ask_with_body(admin, method, path, "{}"),
            _ => ask(admin, method, path),
        };
        assert_eq!(status, 200, "{method} {path}: {reply}");
        serde_json::from_str::<serde_json::Value>(reply.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let description = json("GET", "/openapi.json");
    let mut compared = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let Some(members) = schema["properties"].as_object() else { continue };
            // The last revision takes the place of the one before.
            let newest = json("GET", "/revisions")["revisions"][0]["id"].to_string();
            // What one page removes the next one needs.
            let consumer = format!("caller-{compared}");
            let mut key = String::new();
            let name = if path.starts_with("/consumers/") {
                let made = format!("{{ \"name\": \"{consumer}\" }}");
                assert_eq!(ask_with_body(admin, "POST", "/consumers", &made).0, 200);
                let keys = json("POST", &format!("/consumers/{consumer}/keys"));
                key.push_str(keys["id"].as_str().unwrap());
                &*consumer
            } else {
                "team%2Fusers"
            };
            let named = [("{id}", &*newest), ("{name}", name), ("{key}", &*key), ("{address}", "127.0.0.1:1")];
            let asked = named.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
            let page = json(&method.to_uppercase(), &asked);
            assert_eq!(page.as_object().unwrap().len(), members.len(), "{path}");
            for (name, member) in members {
                let wanted = match &member["type"] {
                    serde_json::Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                let value = &page[name];
                let is_it = wanted.iter().any(|kind| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("{other}"),
                });
                assert!(is_it, "{path}: {name}: {value} is not {wanted:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn a_running_gateway_explains_which_endpoint_and_changes_nothing() {
    let scratch = Scratch::new();
    let config = "listeners: [ { address: 127.0.0.1:0 } ]\naccess_log: false\n\
                  admin: { address: 127.0.0.1:0, token: \"0123456789abcdef\" }\n\
                  upstreams:\n  turns: { endpoints: [ \"http://127.0.0.1:1\", { url: \"http://127.0.0.1:2\", weight: 3 } ], \
                  breaker: { failures: 1, open_for: 60s } }\n  \
                  key: { endpoints: [ \"http://127.0.0.1:1\", \"http://127.0.0.1:2\" ], \
                  balance: { consistent_hash: { client: true } } }\n\
                  routes:\n  - { name: turns, match: { path: /turns }, upstream: turns, rewrite: { host: upstream } }\n  \
                  - { name: key, match: { path: /key }, upstream: key }\n";
    let (_gateway, address, admin) = start(&scratch.write("torana.yaml", config));
    let explain = |words: &[&str]| {
        let at = format!("http://{admin}");
        let mut command = torana();
        command.args(["explain", "--admin", &at]).args(words).env("TORANA_ADMIN_TOKEN", "0123456789abcdef");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    // Housekeeping publishes pools once a second; nothing in them may come of asking.
    let metrics = || {
        let bearer = "authorization: Bearer 0123456789abcdef\r\n";
        let text = ask_with(admin, "GET", "/metrics", bearer).1;
        let lines = text.lines().filter(|line| line.starts_with("gateway_"));
        lines.filter(|line| !line.starts_with("gateway_upstream_connections")).map(str::to_owned).collect::<Vec<_>>()
    };
    let until = std::time::Instant::now() + support::PATIENCE;
    let before = loop {
        let lines = metrics();
        if lines.iter().any(|line| line.starts_with("gateway_upstream_requests_total")) {
            break lines;
        }
        assert!(std::time::Instant::now() < until, "pools are not published: {lines:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    for _ in 0..20 {
        let (code, text) = explain(&["GET", "/turns"]);
        assert_eq!(code, Some(0), "{text}");
        for line in [
            "endpoint  one of those below (round_robin): by turns",
            "  http://127.0.0.1:1  weight 1   25 %  usable, breaker closed",
            "  http://127.0.0.1:2  weight 3   75 %  usable, breaker closed",
            "* turns  /turns  wins",
            "  key    /key    the path does not match",
        ] {
            assert!(text.contains(line), "{line}\n\n{text}");
        }
    }
    let chosen = |client: &str| {
        let (code, json) = explain(&["GET", "/key", "--client", client, "--format", "json"]);
        assert_eq!(code, Some(0), "{json}");
        let explanation: serde_json::Value = serde_json::from_str(&json).unwrap();
        explanation["endpoint"]["name"].as_str().unwrap().to_owned()
    };
    let all: std::collections::BTreeSet<_> = (0..20).map(|client| chosen(&format!("10.0.0.{client}"))).collect();
    assert_eq!(all.len(), 2, "clients are spread: {all:?}");
    assert_eq!(chosen("10.0.0.7"), chosen("10.0.0.7"));
    assert_eq!(metrics(), before);
    // A request that fails opens the breaker, and that is told.
    assert!(ask(address, "GET", "/turns").0 >= 500);
    let (code, text) = explain(&["GET", "/turns"]);
    assert!(code == Some(0) && text.contains("endpoint  none (breaker.open)"), "{text}");
    assert!(text.contains("usable, breaker open"), "{text}");
    // Whoever may not ask is told so.
    let (code, text) = explain(&["GET", "/turns", "--token", "not-the-token-at-all"]);
    assert!(code == Some(1) && text.contains("401"), "{text}");
    let (code, text) = explain(&["torana.yaml", "GET", "/turns"]);
    assert!(code == Some(2) && text.contains("no file"), "{text}");
}
