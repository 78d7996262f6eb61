//! The admin interface of a running gateway: who may ask, and going back.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use support::{Gateway, Scratch, ask, ask_with, torana};

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
    let config = format!("{}{upstreams}", answering("here"));
    let (_gateway, _, admin) = start(&scratch.write("torana.yaml", &config));
    let json = |method: &str, path: &str| {
        let (status, reply) = ask(admin, method, path);
        assert_eq!(status, 200, "{reply}");
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
            let named = [("{id}", &*newest), ("{name}", "team%2Fusers"), ("{address}", "127.0.0.1:1")];
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
