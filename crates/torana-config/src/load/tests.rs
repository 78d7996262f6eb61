use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::{HostRewrite, Origin, Protocol, Scheme, TlsVersion};
use crate::redacted;
use crate::report::{Style, render};

/// A directory of its own for one test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("torana-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let path = fs::canonicalize(path).unwrap();
        for (name, text) in files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self(path)
    }

    fn load(&self, name: &str) -> Loaded {
        self.load_with(name, &[])
    }

    fn load_with(&self, name: &str, variables: &[(&str, &str)]) -> Loaded {
        let environment: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(&self.0.join(name), &Kinds::default(), &environment)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(loaded: &Loaded) -> &Config {
    match &loaded.config {
        Ok(config) => config,
        Err(_) => panic!("{}", render(&loaded.diagnostics, &loaded.sources, Style::Plain)),
    }
}

fn messages(loaded: &Loaded) -> Vec<&str> {
    loaded.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect()
}

const EVERYTHING: &str = r#"
workers: 2
listeners:
  - name: public
    address: 127.0.0.1:8080
    proxy_protocol: { trusted: [ 10.0.0.0/8 ] }
    limits: { header_count: 50 }
  - address: "[::1]:8443"
    tls:
      certificates: [ { cert: certs/a.pem, key: /keys/a.key } ]
      min_version: "1.3"
      client_auth: { ca: ca.pem, mode: optional }
    http2: false
admin: { address: 127.0.0.1:9902, token: 0123456789abcdef, hosts: [ gw.internal ], revisions: 3 }
trusted_proxies: [ 10.0.0.0/8, 192.0.2.1 ]
limits: { header_bytes: 16KiB, header_count: 80, head_timeout: 5s, request_timeout: 0s, min_body_rate: 100B }
access_log: { output: logs/access.json }
shutdown: { drain_timeout: 10s, readiness_delay: 1s }
upstreams:
  users:
    endpoints: [ http://127.0.0.1:3001, { url: http://127.0.0.1:3002, weight: 2 } ]
    timeout: 3s
    connect_timeout: 1s
    idle_timeout: 30s
    max_idle: 8
  secure:
    endpoints: [ https://api.internal.example ]
    protocol: http2
    tls: { ca: ca.pem, cert: c.pem, key: c.key, server_name: internal.example }
routes:
  - name: users
    match:
      host: "*.shop.example"
      path: /api/users/*
      methods: [ GET, PUT ]
      headers: { x-api-version: v2 }
      query: { page: "1" }
    policies: []
    upstream: users
    rewrite: { strip_prefix: /api, host: upstream }
    timeout: 10s
    body_bytes: 100MiB
  - { name: secure, match: { host: [ a.example, b.example ] }, upstream: secure, rewrite: { host: c.example } }
  - { name: old, match: { path: "/v1/*" }, redirect: { to: "/v2/{rest}", status: 307 } }
  - { name: ping, match: { path: /ping, methods: GET }, respond: { body: pong, headers: { x-a: b } } }
  - { name: rest, respond: { status: 404, json: { error: none, list: [ 1, { a: null } ] } } }
"#;

#[test]
fn every_key_of_the_model_is_read() {
    let directory = Directory::new(&[("torana.yaml", EVERYTHING)]);
    let loaded = directory.load("torana.yaml");
    assert_eq!(messages(&loaded), Vec::<&str>::new());
    let config = config(&loaded);
    assert_eq!(config.workers.as_deref(), Some(&2));
    let [public, tls] = config.listeners.as_slice() else { panic!() };
    assert_eq!((public.label(), tls.label()), ("public".to_owned(), "[::1]:8443".to_owned()));
    assert!(public.http2 && !tls.http2);
    let certificates = tls.tls.as_ref().unwrap();
    assert_eq!(certificates.min_version, TlsVersion::V1_3);
    assert_eq!(certificates.certificates[0].cert.value, directory.0.join("certs/a.pem"));
    assert_eq!(certificates.certificates[0].key.value, Path::new("/keys/a.key"));
    let limits = config.limits_of(public);
    assert_eq!((limits.header_count, limits.header_bytes.bytes(), limits.head_timeout.std().as_secs()), (50, 16384, 5));
    assert!(limits.request_timeout.is_zero() && limits.http2_streams == 128);
    assert_eq!(config.limits_of(tls).header_count, 80);
    let admin = config.admin.on().unwrap();
    assert_eq!((admin.address.to_string().as_str(), admin.revisions.value), ("127.0.0.1:9902", 3));
    assert_eq!(
        (admin.token.as_deref().unwrap().as_str(), admin.hosts[0].as_str()),
        ("0123456789abcdef", "gw.internal")
    );
    let log = config.access_log.on().unwrap();
    assert_eq!(Path::new(log.output.as_str()), directory.0.join("logs/access.json"));
    let users = &config.upstreams["users"];
    assert_eq!((users.endpoints[0].weight, users.endpoints[1].weight, users.max_idle), (1, 2, 8));
    assert_eq!(loaded.sources.text(users.endpoints[0].url.span), Some("http://127.0.0.1:3001"));
    let secure = &config.upstreams["secure"];
    assert_eq!(*secure.protocol, Protocol::Http2);
    let url = &secure.endpoints[0].url;
    assert_eq!(
        (url.scheme, &url.origin),
        (Scheme::Https, &Origin::Network { host: "api.internal.example".into(), port: 443 })
    );
    let route = &config.routes[0];
    assert_eq!(loaded.sources.text(route.matches.path.as_ref().unwrap().span), Some("/api/users/*"));
    assert_eq!(loaded.sources.text(route.matches.host[0].span), Some("\"*.shop.example\""));
    assert_eq!(route.rewrite.as_ref().unwrap().host.as_deref(), Some(&HostRewrite::Upstream));
    assert_eq!(route.body_bytes.as_ref().unwrap().bytes(), 100 << 20);
    assert_eq!(config.routes[1].matches.host.len(), 2);
    assert_eq!(config.routes[2].redirect.as_ref().unwrap().status.value, 307);
    assert_eq!(config.routes[3].matches.methods[0].as_str(), "GET");
    let json = config.routes[4].respond.as_ref().unwrap().json.as_ref().unwrap();
    assert_eq!(json.to_json(), serde_json::json!({"error": "none", "list": [1, {"a": null}]}));
}

#[test]
fn the_three_formats_say_the_same() {
    let yaml = "listeners: [ { address: ':8080' } ]\nroutes:\n  - { name: a, respond: { status: 204 } }\nworkers: 3\n";
    let toml = "workers = 3\n[[listeners]]\naddress = ':8080'\n[[routes]]\nname = 'a'\nrespond.status = 204\n";
    let json =
        r#"{"listeners": [{"address": ":8080"}], "routes": [{"name": "a", "respond": {"status": 204}}], "workers": 3}"#;
    let directory = Directory::new(&[("a.yaml", yaml), ("b.toml", toml), ("c.json", json)]);
    let [a, b, c] = ["a.yaml", "b.toml", "c.json"].map(|name| directory.load(name));
    assert_eq!(config(&a), config(&b));
    assert_eq!(config(&a), config(&c));
    let fingerprint = |loaded: &Loaded| loaded.config.as_ref().unwrap().fingerprint();
    assert_eq!((fingerprint(&a), fingerprint(&a)), (fingerprint(&b), fingerprint(&c)));
}

#[test]
fn defaults_are_the_documented_ones() {
    let directory = Directory::new(&[("a.yaml", "listeners: [ { address: ':1' } ]\n")]);
    let loaded = directory.load("a.yaml");
    let config = config(&loaded);
    assert_eq!(config.admin.on().unwrap().address.to_string(), "127.0.0.1:9901");
    assert_eq!(config.access_log.on().unwrap().output.as_str(), "stdout");
    assert_eq!(config.shutdown.drain_timeout.to_string(), "30s");
    assert!(config.workers.is_none() && config.trusted_proxies.is_empty());
    let off = Directory::new(&[("a.yaml", "listeners: [ { address: ':1' } ]\nadmin: false\naccess_log: false\n")]);
    let loaded = off.load("a.yaml");
    assert!(self::config(&loaded).admin.on().is_none() && self::config(&loaded).access_log.on().is_none());
}

#[test]
fn a_directory_is_merged_in_order_and_only_its_own_files() {
    let directory = Directory::new(&[
        ("20-b.toml", "[[routes]]\nname = 'b'\nupstream = 'u'\n"),
        ("10-a.yaml", "listeners: [ { address: ':8080' } ]\nroutes: [ { name: a, upstream: u } ]\n"),
        ("30-c.json", r#"{"upstreams": {"u": {"endpoints": ["http://h:1"]}}}"#),
        ("README.md", "not: configuration"),
        (".hidden.yaml", "workers: nonsense"),
        ("deeper/d.yaml", "workers: nonsense"),
    ]);
    let loaded = directory.load("");
    let names: Vec<_> = config(&loaded).routes.iter().map(|route| route.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    let files: Vec<_> =
        loaded.files.iter().map(|path| path.strip_prefix(&directory.0).unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["", "10-a.yaml", "20-b.toml", "30-c.json"]);
}

#[test]
fn includes_are_relative_sorted_and_nested() {
    let directory = Directory::new(&[
        ("main.yaml", "include: [ 'routes/*.yaml', other/up.toml ]\nlisteners: [ { address: ':8080' } ]\n"),
        ("routes/b.yaml", "routes: [ { name: b, upstream: u } ]\n"),
        ("routes/a.yaml", "include: [ ../routes-more ]\nroutes: [ { name: a, upstream: u } ]\n"),
        ("routes-more/z.yaml", "routes: [ { name: z, upstream: u } ]\n"),
        ("other/up.toml", "[upstreams.u]\nendpoints = ['https://h']\ntls.ca = 'ca.pem'\n"),
    ]);
    let loaded = directory.load("main.yaml");
    let config = config(&loaded);
    let names: Vec<_> = config.routes.iter().map(|route| route.name.to_string()).collect();
    assert_eq!(names, ["a", "z", "b"]);
    let ca = config.upstreams["u"].tls.as_ref().unwrap().ca.as_ref().unwrap();
    assert_eq!(ca.value, directory.0.join("other/ca.pem"));
    let watched: Vec<_> =
        loaded.files.iter().map(|path| path.strip_prefix(&directory.0).unwrap().to_str().unwrap()).collect();
    for name in ["main.yaml", "routes", "routes/a.yaml", "routes/b.yaml", "other/up.toml"] {
        assert!(watched.contains(&name), "{name} in {watched:?}");
    }
}

#[test]
fn secrets_are_expanded_for_use_and_never_shown() {
    let text = "listeners: [ { address: '127.0.0.1:${env:PORT}' } ]\nworkers: ${env:WORKERS}\naccess_log: ${env:LOG:-false}\n\
        routes: [ { name: a, respond: { body: 'key ${file:secret}', headers: { x-key: '${env:KEY}' } } } ]\n";
    let directory = Directory::new(&[("a.yaml", text), ("secret", "hunter2\n")]);
    let loaded = directory.load_with("a.yaml", &[("PORT", "8081"), ("WORKERS", "4"), ("KEY", "hunter3")]);
    let config = config(&loaded);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8081");
    assert_eq!(config.workers.as_deref(), Some(&4));
    assert!(config.access_log.on().is_none());
    let respond = config.routes[0].respond.as_ref().unwrap();
    assert_eq!(respond.body.as_ref().unwrap().as_str(), "key hunter2");
    assert_eq!(redacted(&loaded)["routes"][0]["respond"]["body"], "key ${file:secret}");
    assert_eq!(redacted(&loaded)["workers"], "${env:WORKERS}");
    let everything = format!("{loaded:?}");
    assert!(!everything.contains("hunter"), "{everything}");
    assert!(loaded.files.contains(&directory.0.join("secret")));
}

#[test]
fn the_fingerprint_follows_what_references_stand_for() {
    let fingerprint = |key: &str| {
        let text = "listeners: [ { address: ':80' } ]\nroutes: [ { name: a, respond: { body: '${env:KEY}' } } ]\n";
        let directory = Directory::new(&[("a.yaml", text)]);
        directory.load_with("a.yaml", &[("KEY", key)]).config.unwrap().fingerprint()
    };
    assert_eq!(fingerprint("1"), fingerprint("1"));
    assert_ne!(fingerprint("1"), fingerprint("2"));
}

#[test]
fn documents_are_kept_in_the_order_read() {
    let directory = Directory::new(&[
        ("main.yaml", "include: [ b.yaml, a.yaml ]\nlisteners: [ { address: ':80' } ]\n"),
        ("a.yaml", "# a\n"),
        ("b.yaml", "include: [ c.yaml ]\n"),
        ("c.yaml", "# c\n"),
    ]);
    let loaded = directory.load("main.yaml");
    let names: Vec<_> =
        loaded.sources.iter().map(|source| source.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["main.yaml", "b.yaml", "c.yaml", "a.yaml"]);
}

#[test]
fn a_missing_file_and_an_unknown_format_are_said_plainly() {
    let directory = Directory::new(&[("a.ini", ""), ("empty/readme", ""), ("bad.yaml", "")]);
    fs::write(directory.0.join("bad.yaml"), b"workers: 1\nx: \xff\n").unwrap();
    let message = |name: &str| {
        let loaded = directory.load(name);
        assert!(loaded.config.is_err());
        loaded.diagnostics[0].message.replace(directory.0.to_str().unwrap(), "DIR")
    };
    assert_eq!(message("none.yaml"), "cannot read `DIR/none.yaml`: it does not exist");
    assert_eq!(message("a.ini"), "the format of `DIR/a.ini` is unknown");
    assert_eq!(message("empty"), "the directory `DIR/empty` has no configuration files");
    assert_eq!(message("bad.yaml"), "cannot read `DIR/bad.yaml`: line 2 is not UTF-8 text");
}

#[test]
fn includes_that_never_end_are_cut_off() {
    let directory = Directory::new(&[("a.yaml", "include: [ b.yaml ]\n"), ("b.yaml", "include: [ a.yaml ]\n")]);
    let loaded = directory.load("a.yaml");
    assert!(
        messages(&loaded).iter().any(|message| message.ends_with("a.yaml` includes itself")),
        "{:?}",
        messages(&loaded)
    );
    let chain: Vec<(String, String)> =
        (0..20).map(|n| (format!("{n}.yaml"), format!("include: [ {}.yaml ]\n", n + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let loaded = Directory::new(&chain).load("0.yaml");
    assert!(messages(&loaded).contains(&"includes are nested more than 16 deep"), "{:?}", messages(&loaded));
}

#[test]
fn what_a_broken_file_may_define_is_not_called_missing() {
    let directory = Directory::new(&[
        ("a.yaml", "listeners: [ { address: ':80' } ]\nroutes: [ { name: a, upstream: u } ]\ninclude: [ b.yaml ]\n"),
        ("b.yaml", "upstreams: { u: [\n"),
    ]);
    let loaded = directory.load("a.yaml");
    assert_eq!(loaded.diagnostics.len(), 1, "{:?}", messages(&loaded));
    assert_eq!(loaded.diagnostics[0].code, "config.syntax");
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let directory = Directory::new(&[("a.json", "\u{feff}{\"listeners\": [{\"address\": \":1\"}]}")]);
    assert_eq!(config(&directory.load("a.json")).listeners.len(), 1);
}

#[test]
fn ten_thousand_routes_load_in_reasonable_time() {
    let mut text =
        "listeners: [ { address: ':80' } ]\nupstreams: { u: { endpoints: [ http://h ] } }\nroutes:\n".to_owned();
    for number in 0..10_000 {
        text += &format!(
            "  - {{ name: r{number}, match: {{ path: /r{number}/*, methods: [ GET ] }}, upstream: u, timeout: 3s }}\n"
        );
    }
    let directory = Directory::new(&[("a.yaml", &text)]);
    let started = std::time::Instant::now();
    assert_eq!(config(&directory.load("a.yaml")).routes.len(), 10_000);
    // Half a second in a debug build on the slow machine this was written on.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
