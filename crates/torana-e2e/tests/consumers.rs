//! Consumers and their credentials, from making a key to losing the file it is kept in.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::{Command, Output};
use torana_e2e::client::{Reply, get};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup, binary};
use torana_e2e::origin::Origin;
use torana_e2e::tls::{Authority, connect};
use torana_e2e::wait_for;

const WRITTEN: &str = "written-in-the-file-1";

const CONFIG: &str = "admin: { address: \"127.0.0.1:{port:admin}\" }
state_dir: \"{state}\"
plans: { gold: {} }
consumers:
  - { name: shop, plan: gold, keys: [ { name: first, key: \"${env:SHOP_KEY}\" } ] }
routes:
  - name: a
    match: { path: /a }
    upstream: a
    policies: [ api_key: { consumer_header: X-Consumer } ]
";

fn start(state: &Dir, origin: &Origin) -> Gateway {
    let path = state.path().join("state");
    Setup::new(CONFIG).known("{state}", &path.to_string_lossy()).env("SHOP_KEY", WRITTEN).origin("a", origin).start()
}

fn admin(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Reply {
    gateway.admin_with(method, path, "", &body.to_string())
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(&reply.text()).unwrap()
}

/// Makes a key: its id and itself.
fn create(gateway: &Gateway, consumer: &str) -> (String, String) {
    let made = json_of(&admin(gateway, "POST", &format!("/consumers/{consumer}/keys"), &json!({ "name": "test" })));
    let text = |member: &str| made[member].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    (text("id"), text("key"))
}

fn with_key(gateway: &Gateway, key: &str) -> Reply {
    gateway.ask(get("/a", &format!("X-API-Key: {key}\r\n")))
}

/// 200, or the code in the log, which says more than the reply.
fn judged(gateway: &Gateway, key: &str) -> String {
    let reply = with_key(gateway, key);
    if reply.status() == 200 {
        return "200".to_owned();
    }
    let id = reply.head.get("x-request-id").unwrap().to_owned();
    let line = gateway.log_line("the request", |line| line["request_id"] == *id);
    line["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_key_is_made_used_replaced_and_taken_back() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    let gateway = start(&state, &origin);
    assert_eq!((judged(&gateway, WRITTEN), judged(&gateway, "unknown")), ("200".into(), "api_key.unknown".into()));
    let (id, key) = create(&gateway, "shop");
    assert!(key.starts_with(&format!("trn_{id}_")), "{id}");
    let _ = origin.take_seen();
    assert_eq!(judged(&gateway, &key), "200", "without a reload");
    let seen = origin.only();
    assert_eq!((seen.head.get("x-consumer"), seen.head.get("x-api-key")), (Some("shop"), None));

    let rotated =
        json_of(&admin(&gateway, "POST", &format!("/consumers/shop/keys/{id}/rotate"), &json!({ "overlap": "1h" })));
    let newer = rotated["key"].as_str().unwrap().to_owned();
    assert_eq!(rotated["replaces"], *id);
    assert_eq!((judged(&gateway, &key), judged(&gateway, &newer)), ("200".into(), "200".into()), "both, for an hour");
    let revoked = admin(&gateway, "DELETE", &format!("/consumers/shop/keys/{id}"), &Value::Null);
    assert_eq!((revoked.status(), &json_of(&revoked)["state"]), (200, &"revoked".into()));
    assert_eq!((judged(&gateway, &key), judged(&gateway, &newer)), ("api_key.revoked".into(), "200".into()));
    let reply = with_key(&gateway, &key);
    assert_eq!(
        (reply.code(), reply.text().contains("revoked")),
        ("api_key.unknown".into(), false),
        "callers do not learn it"
    );

    let keys = json_of(&gateway.admin("GET", "/consumers/shop/keys"));
    let states: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| (key["source"].as_str(), key["state"].as_str())).collect();
    let runtime = Some("runtime");
    assert_eq!(states[0], (Some("configuration"), Some("active")));
    assert!(
        states[1..].contains(&(runtime, Some("revoked"))) && states[1..].contains(&(runtime, Some("active"))),
        "{keys}"
    );
    // Nothing but the reply to its maker has ever shown a key.
    let pages = [
        "/config",
        "/consumers",
        "/consumers/shop",
        "/consumers/shop/keys",
        "/revisions/1",
        "/diagnostics",
        "/metrics",
        "/routes",
    ];
    let mut shown: String = pages.map(|page| gateway.admin("GET", page).text()).concat();
    shown += &gateway.log_text();
    shown += &gateway.said();
    for secret in [WRITTEN, &*key, &*newer] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[test]
fn keys_survive_a_kill_and_those_taken_back_stay_so() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    let mut gateway = start(&state, &origin);
    let (_, good) = create(&gateway, "shop");
    let (id, bad) = create(&gateway, "shop");
    assert_eq!(admin(&gateway, "DELETE", &format!("/consumers/shop/keys/{id}"), &Value::Null).status(), 200);
    let made = admin(&gateway, "POST", "/consumers", &json!({ "name": "partner", "plan": "gold" }));
    assert_eq!(made.status(), 200, "{}", made.text());
    let (_, partner) = create(&gateway, "partner");
    gateway.signal(Signal::KILL);
    let _ = gateway.wait_exit();

    let gateway = start(&state, &origin);
    assert_eq!(judged(&gateway, &good), "200");
    assert_eq!(judged(&gateway, &bad), "api_key.revoked");
    assert_eq!((judged(&gateway, &partner), judged(&gateway, WRITTEN)), ("200".into(), "200".into()));
    let names = json_of(&gateway.admin("GET", "/consumers"));
    let names: Vec<_> = names["consumers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["source"].as_str().unwrap()))
        .collect();
    assert_eq!(names, [("partner", "runtime"), ("shop", "configuration")]);
    assert_eq!(admin(&gateway, "DELETE", "/consumers/partner", &Value::Null).status(), 200);
    assert_eq!(judged(&gateway, &partner), "api_key.unknown");
}

#[test]
fn without_their_file_keys_that_were_made_do_not_count_and_written_ones_do() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    let gateway = start(&state, &origin);
    let (_, key) = create(&gateway, "shop");
    assert_eq!(judged(&gateway, &key), "200");
    let file = state.path().join("state/consumers.redb");
    let aside = state.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    wait_for("the loss to be noticed", || (with_key(&gateway, &key).status() == 503).then_some(()));
    assert_eq!((judged(&gateway, &key), judged(&gateway, WRITTEN)), ("api_key.unavailable".into(), "200".into()));
    let refused = admin(&gateway, "POST", "/consumers/shop/keys", &Value::Null);
    assert_eq!((refused.status(), refused.code()), (503, "admin.records_unavailable".into()));
    wait_for("it to be said", || gateway.said().contains("do not count any more").then_some(()));
    std::fs::rename(&aside, &file).unwrap();
    wait_for("the file to be found again", || (with_key(&gateway, &key).status() == 200).then_some(()));
}

#[test]
fn a_broken_file_is_said_at_the_start_and_written_keys_count() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    std::fs::create_dir(state.path().join("state")).unwrap();
    std::fs::write(state.path().join("state/consumers.redb"), "this is no database").unwrap();
    let gateway = start(&state, &origin);
    assert!(
        gateway.said().contains("consumers.lost") && gateway.said().contains("consumers.redb"),
        "{}",
        gateway.said()
    );
    assert_eq!((judged(&gateway, WRITTEN), judged(&gateway, "unknown")), ("200".into(), "api_key.unavailable".into()));
}

#[test]
fn without_a_directory_no_keys_are_made() {
    let origin = Origin::saying("a");
    let config = CONFIG.replace("state_dir: \"{state}\"\n", "");
    let gateway = Setup::new(&config).env("SHOP_KEY", WRITTEN).origin("a", &origin).start();
    let refused = admin(&gateway, "POST", "/consumers/shop/keys", &Value::Null);
    assert_eq!((refused.status(), refused.code()), (409, "admin.not_kept".into()));
    assert!(refused.text().contains("state_dir"), "{}", refused.text());
    assert_eq!((judged(&gateway, WRITTEN), judged(&gateway, "unknown")), ("200".into(), "api_key.unknown".into()));
}

#[test]
fn the_configuration_wins_over_what_was_made_with_a_warning() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    let mut gateway = start(&state, &origin);
    let made = admin(&gateway, "POST", "/consumers", &json!({ "name": "partner" }));
    assert_eq!(made.status(), 200);
    let (_, key) = create(&gateway, "partner");
    assert_eq!(judged(&gateway, &key), "200");
    gateway.rewrite(&CONFIG.replace("consumers:\n", "consumers:\n  - { name: partner, active: false }\n"));
    wait_for("the change", || (with_key(&gateway, &key).status() == 401).then_some(()));
    assert_eq!(judged(&gateway, &key), "api_key.inactive");
    // A plan is in force a moment before its report is there to be read.
    let warns = |gateway: &Gateway| gateway.admin("GET", "/diagnostics").text().contains("consumers.shadowed");
    wait_for("the warning", || warns(&gateway).then_some(()));
    let refused = admin(&gateway, "POST", "/consumers", &json!({ "name": "partner" }));
    assert_eq!((refused.status(), refused.code()), (409, "admin.written".into()));
}

#[test]
fn the_command_makes_lists_and_takes_back() {
    let (state, origin) = (Dir::new(), Origin::saying("a"));
    let gateway = start(&state, &origin);
    let at = format!("http://127.0.0.1:{}", gateway.port("admin"));
    let run = |words: &[&str]| -> Output {
        Command::new(binary()).arg("key").args(words).args(["--admin", &at]).output().unwrap()
    };
    let out = |words: &[&str]| String::from_utf8(run(words).stdout).unwrap();
    let made = out(&["create", "shop", "--name", "ci", "--ttl", "90d"]);
    let key = made.lines().next().unwrap();
    assert_eq!(judged(&gateway, key), "200", "{made}");
    let id = key.split('_').nth(1).unwrap();
    let rotated = out(&["rotate", "shop", id, "--overlap", "1s"]);
    let newer = rotated.lines().next().unwrap();
    wait_for("the old key to end", || (judged(&gateway, key) == "api_key.expired").then_some(()));
    assert_eq!(judged(&gateway, newer), "200");
    assert!(out(&["revoke", "shop", newer.split('_').nth(1).unwrap()]).contains("revoked"));
    let listed = out(&["list", "shop"]);
    assert!(listed.contains("expired") && listed.contains("revoked") && listed.contains("ci"), "{listed}");
    assert!(!listed.contains(key) && !listed.contains(newer), "{listed}");
    let failed = run(&["create", "nobody"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("no such consumer"));
}

#[test]
fn a_secret_that_is_not_there_leaves_nothing_served_without_it() {
    // Traefik, CVE-2026-54762: a secret that could not be resolved left its route open.
    let config =
        CONFIG.replace("state_dir: \"{state}\"\n", "").replace("admin: { address: \"127.0.0.1:{port:admin}\" }\n", "");
    let dir = Dir::new();
    let text = format!(
        "listeners: [ {{ address: 127.0.0.1:0 }} ]\nupstreams: {{ a: {{ endpoints: [ http://127.0.0.1:1 ] }} }}\n{config}"
    );
    let file = dir.write("torana.yaml", text);
    let output = Command::new(binary()).arg("run").arg(file).env_remove("SHOP_KEY").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.missing_variable"));
}

#[test]
fn certificates_are_asked_for_by_the_listener_and_demanded_by_routes() {
    let (authority, origin, dir) = (Authority::new(), Origin::saying("a"), Dir::new());
    authority.write(&dir, "one", &["gateway.example", "other.example"]);
    dir.write("ca.pem", authority.pem());
    let config = "listeners:
  - address: \"127.0.0.1:{port:main}\"
    tls: { certificates: [ { cert: one.pem, key: one.key } ], client_auth: { ca: ca.pem, mode: optional } }
consumers: [ { name: billing, certificates: [ \"dns:billing.example\" ] } ]
routes:
  - { name: open, match: { path: /open }, upstream: a }
  - name: a
    match: { path: /a }
    upstream: a
    policies: [ mtls: { consumer_header: X-Consumer, headers: { dns: X-Cert-Name } } ]
  - { name: own, match: { path: /own }, upstream: a, policies: [ mtls: { ca: \"${file:ca.pem}\", require_consumer: true } ] }
";
    let gateway = Setup::new(config).origin("a", &origin).dir(dir).start();
    let ask = |identity: Option<&str>, host: &str, path: &str| {
        let signed = identity.map(|name| authority.sign(&[name]));
        let mut client =
            connect(&authority.client(signed.as_ref(), &["http/1.1"]), gateway.port("main"), "gateway.example");
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Consumer: forged\r\nX-Cert-Name: forged\r\n\r\n"))
    };
    // Caddy, CVE-2026-27586: certificates that were demanded and not looked at.
    let (ours, billing) = ("gateway.example", Some("billing.example"));
    assert_eq!(ask(None, ours, "/a").code(), "mtls.missing");
    assert_eq!(ask(None, ours, "/open").status(), 200);
    assert_eq!(origin.take_seen()[0].head.get("x-consumer"), None, "no route lets it through");
    assert_eq!(ask(billing, ours, "/a").status(), 200);
    let seen = origin.only();
    assert_eq!((seen.head.get("x-consumer"), seen.head.get("x-cert-name")), (Some("billing"), Some("billing.example")));
    assert_eq!(ask(billing, "other.example", "/a").status(), 421);
    assert_eq!(ask(billing, ours, "/own").status(), 200);
    assert_eq!(ask(Some("web.example"), ours, "/own").code(), "mtls.refused");
}
