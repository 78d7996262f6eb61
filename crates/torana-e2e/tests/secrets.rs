//! No secret is ever shown: not one of the configuration, from wherever it takes them, and not one that a client brings.
//!
//! Every secret of this test has [`MARK`] in it, so whatever the gateway writes anywhere is looked through for one word,
//! and for the forms in which that word could hide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::process::Command;
use torana_e2e::both::Wire;
use torana_e2e::client::{Client, Reply, get};
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup, binary};
use torana_e2e::origin::{Origin, reply};
use torana_e2e::redis::Redis;
use torana_e2e::tls::{Authority, connect};
use torana_e2e::token::{bearer, claims, with_secret};
use torana_e2e::wait_for;

const MARK: &str = "s3cr3t";

/// The hash of `s3cr3t-basic-password`.
const HASH: &str = "$argon2id$v=19$m=4096,t=1,p=1$c2FsdC1vZi10aGUtdGVzdA$3yGzHxEhb0G/kVhCfOPOFGXrASHoAPYDvHe9JIG+3Mg";

const JWT: &str = "s3cr3t-env-jwt-0123456789-0123456789";

const VARIABLES: [(&str, &str); 8] = [
    ("E2E_JWT", JWT),
    ("E2E_KEY", "s3cr3t-env-key-0123456789"),
    ("E2E_SIGN", "s3cr3t-env-sign-0123456789-0123456789"),
    ("E2E_REDIS", "s3cr3t-env-redis"),
    ("E2E_ADMIN", "s3cr3t-env-admin-0123456789"),
    ("E2E_HEADER", "s3cr3t-env-header"),
    ("E2E_HASH", HASH),
    ("E2E_BODY", "s3cr3t-env-body"),
];

/// Secrets wherever a configuration takes them: from the environment, from files, and written down where that is
/// recognised as one.
const CONFIG: &str = r#"
admin: { address: "127.0.0.1:{port:admin}", token: "${env:E2E_ADMIN}" }
state_dir: "{state}"
listeners:
  - address: "127.0.0.1:{port:main}"
  - { address: "127.0.0.1:{port:tls}", tls: { certificates: [ { cert: one.pem, key: one.key } ] } }
stores:
  shared: { redis: { url: "{redis}", password: "${env:E2E_REDIS}", timeout: 200ms } }
  away: { redis: { url: "redis://127.0.0.1:{port:away}", username: me, password: "s3cr3t-plain-redis", timeout: 50ms } }
consumers:
  - name: shop
    keys: [ { key: "${env:E2E_KEY}" }, { key: "s3cr3t-plain-key-0123456789" }, { key: "${file:{dir}/key.txt}" } ]
    basic: { password_hash: "${env:E2E_HASH}" }
    signatures: [ { id: s, secret: "${env:E2E_SIGN}" }, { id: p, secret: "s3cr3t-plain-sign-0123456789-0123456789" } ]
upstreams:
  a: { endpoints: [ "{a}" ] }
  auth: { endpoints: [ "{auth}" ] }
  dead: { endpoints: [ "http://127.0.0.1:{port:dead}" ] }
routes:
  - name: open
    match: { path: /open }
    upstream: a
    policies:
      - headers: { request: { set: { X-Upstream-Token: "${env:E2E_HEADER}", Authorization: "Bearer s3cr3t-plain-header" } } }
  - { name: env, match: { path: /jwt }, upstream: a, policies: [ jwt: { secret: "${env:E2E_JWT}", from: [ { header: Authorization, scheme: Bearer }, { cookie: ticket }, { query: access } ] } ] }
  - { name: file, match: { path: /file }, upstream: a, policies: [ jwt: { secret: "${file:{dir}/jwt.txt}" } ] }
  - { name: plain, match: { path: /plain }, upstream: a, policies: [ jwt: { secret: "s3cr3t-plain-jwt-0123456789-0123456789" } ] }
  - { name: key, match: { path: /key }, upstream: a, policies: [ api_key: { from: [ { header: X-API-Key }, { cookie: visitor }, { query: visitor } ] } ] }
  - { name: basic, match: { path: /basic }, upstream: a, policies: [ basic_auth: { users: [ { name: ada, password_hash: "${env:E2E_HASH}" }, { name: bob, password_hash: '{hash}' } ] } ] }
  - { name: consumers, match: { path: /consumers }, upstream: a, policies: [ basic_auth: {} ] }
  - { name: signed, match: { path: /signed }, upstream: a, policies: [ hmac_auth: {} ] }
  - { name: any, match: { path: /any }, upstream: a, policies: [ any_of: [ { jwt: { secret: "${env:E2E_JWT}" } }, { api_key: {} }, { basic_auth: {} } ], authorize: { roles: admin } ] }
  - { name: asks, match: { path: /asks }, upstream: a, policies: [ forward_auth: { ask: "{auth}/verify?token=s3cr3t-plain-ask", copy_headers: X-Copied } ] }
  - { name: limited, match: { path: /limited }, upstream: a, policies: [ rate_limit: { requests: 2, per: 1h, store: shared } ] }
  - { name: away, match: { path: /away }, upstream: a, policies: [ idempotency: { store: away } ] }
  - { name: dead, match: { path: /dead }, upstream: dead }
  - { name: small, match: { path: /small }, upstream: a, policies: [ body_limit: { max: 1B }, injection_guard: {} ] }
  - { name: parts, match: { path: /parts }, aggregate: { parts: { one: { upstream: dead, path: "/x?token=s3cr3t", headers: { X-Token: '"s3cr3t-plain-part"' } } } } }
  - { name: said, match: { path: /said }, respond: { body: "${env:E2E_BODY}", headers: { X-Token: "s3cr3t-plain-reply" } } }
"#;

/// A gateway with all of them, and what it needs.
struct Scene {
    gateway: Gateway,
    authority: Authority,
    key_lines: Vec<String>,
    /// Replies that the gateway made itself, as far as clients have seen them.
    told: String,
    /// Secrets that were seen.
    found: Vec<String>,
    _held: (Origin, Origin, Redis, Dir),
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

impl Scene {
    fn start() -> Scene {
        let (dir, state, authority, redis) = (Dir::new(), Dir::new(), Authority::new(), Redis::start());
        authority.write(&dir, "one", &["gateway.example"]);
        dir.write("jwt.txt", "s3cr3t-file-jwt-0123456789-0123456789");
        dir.write("key.txt", "s3cr3t-file-key-0123456789");
        let key = std::fs::read_to_string(dir.path().join("one.key")).unwrap();
        let key_lines =
            key.lines().filter(|line| !line.starts_with('-') && line.len() > 20).map(str::to_owned).collect();
        let origin = Origin::saying("ok");
        let auth = Origin::replying(|seen| match seen.head.get("authorization") {
            Some("yes") => {
                reply(200, &[("x-copied", "s3cr3t-copied"), ("x-internal", "s3cr3t-internal")], "s3cr3t-yes")
            }
            Some("no") => reply(403, &[("x-internal", "s3cr3t-internal")], "no"),
            _ => reply(500, &[("x-internal", "s3cr3t-internal")], "s3cr3t-trace"),
        });
        let setup = VARIABLES.iter().fold(Setup::new(CONFIG), |setup, (name, value)| setup.env(name, value));
        let setup = setup.known("{hash}", HASH).known("{state}", &state.path().join("state").to_string_lossy());
        let setup = setup.known("{redis}", &redis.url()).known("{a}", &origin.url()).known("{auth}", &auth.url());
        let gateway = setup.argument("--no-watch").dir(dir).start();
        Scene {
            gateway,
            authority,
            key_lines,
            told: String::new(),
            found: Vec::new(),
            _held: (origin, auth, redis, state),
        }
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let token = "authorization: Bearer s3cr3t-env-admin-0123456789\r\n";
        self.gateway.admin_with(method, path, token, body)
    }

    /// Requests with credentials, right and wrong, to every route, over both protocols.
    fn traffic(&mut self) {
        let token = with_secret(&json!({ "alg": "HS256" }), &claims("s3cr3t-but-a-name"), JWT.as_bytes());
        let wrong = with_secret(&json!({ "alg": "HS256", "kid": "s3cr3t-kid" }), &claims("u"), b"s3cr3t");
        let fields = [
            String::new(),
            bearer(&token),
            bearer(&wrong),
            "authorization: Bearer s3cr3t\r\ncookie: session=s3cr3t; ticket=s3cr3t; visitor=s3cr3t\r\n".to_owned(),
            format!("cookie: ticket={token}; visitor=s3cr3t-env-key-0123456789\r\n"),
            "x-api-key: s3cr3t-env-key-0123456789\r\n".to_owned(),
            "x-api-key: s3cr3t-file-key-0123456789\r\nidempotency-key: s3cr3t-1\r\n".to_owned(),
            "x-api-key: s3cr3t-wrong\r\nx-api-key: s3cr3t-twice\r\n".to_owned(),
            format!("authorization: Basic {}\r\n", base64("ada:s3cr3t-basic-password")),
            format!("authorization: Basic {}\r\n", base64("ada:s3cr3t-wrong")),
            "authorization: Basic s3cr3t\r\nproxy-authorization: Basic s3cr3t\r\n".to_owned(),
            "authorization: s3cr3t\r\nx-auth-token: s3cr3t\r\n".to_owned(),
            "authorization: yes\r\n".to_owned(),
            "authorization: no\r\n".to_owned(),
            "signature-input: s=(\"@method\");created=1;keyid=\"s\";nonce=\"s3cr3t\"\r\nsignature: s=:czNjcjN0:\r\n"
                .to_owned(),
            "expect: s3cr3t\r\n".to_owned(),
            "content-encoding: s3cr3t\r\ncontent-type: s3cr3t/s3cr3t\r\n".to_owned(),
        ];
        let paths = [
            "/open",
            "/jwt",
            "/file",
            "/plain",
            "/key",
            "/basic",
            "/consumers",
            "/signed",
            "/any",
            "/asks",
            "/limited",
            "/away",
            "/dead",
            "/small",
            "/parts",
            "/said",
            "/none",
        ];
        for path in paths {
            // `visitor` is a credential because one route's policy takes it for one.
            let query =
                format!("?access_token=s3cr3t&access={token}&visitor=s3cr3t-wrong&api_key=s3cr3t&password=s3cr3t");
            for fields in &fields {
                for (wire, method, query) in
                    [(Wire::Http1, "GET", ""), (Wire::Http2, "POST", ""), (Wire::Http1, "POST", query.as_str())]
                {
                    let body = if method == "POST" { "{\"password\":\"s3cr3t' OR 1=1 --\"}" } else { "" };
                    let port = self.gateway.port("main");
                    let told = wire.attempt(port, method, &format!("{path}{query}"), fields, body, &[]);
                    if let Some(told) = told.filter(|told| !told.code().is_empty()) {
                        self.told.push_str(&format!("{told:?}\n"));
                    }
                }
            }
        }
    }

    /// What no gateway likes to read.
    fn nonsense(&mut self) {
        for bytes in [
            "GET /open HTTP/1.1\r\nhost: x\r\nAuthorization : Bearer s3cr3t\r\n\r\n",
            "GET /open HTTP/1.1\r\nhost: x\r\nBearer s3cr3t\r\n\r\n",
            "GET /open HTTP/1.1\r\nhost: x\r\n s3cr3t\r\n\r\n",
            "GET /open?token=s3cr3t#s3cr3t HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET http://user:s3cr3t@x/open HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /open HTTP/1.1\r\nhost: user:s3cr3t@x\r\n\r\n",
            "GET /open?token=s3cr3t HTTP/9.9\r\nhost: x\r\n\r\n",
            "POST /open HTTP/1.1\r\nhost: x\r\ncontent-length: s3cr3t\r\n\r\n",
            "POST /open HTTP/1.1\r\nhost: x\r\ntransfer-encoding: s3cr3t\r\n\r\n",
            "s3cr3t\r\n\r\n",
            "GET /open HTTP/1.1\r\nhost: x\r\ncookie: a=s3cr3t\0\r\n\r\n",
        ] {
            let mut client = self.gateway.connect();
            let _ = client.try_send(bytes);
            if let Some(reply) = client.reply_to("GET") {
                self.told.push_str(&String::from_utf8_lossy(&reply.head.raw));
                self.told.push_str(&reply.text());
            }
        }
        let config = self.authority.client(None, &["http/1.1"]);
        let mut client = connect(&config, self.gateway.port("tls"), "gateway.example");
        assert_eq!(client.ask(get("/none?token=s3cr3t", "authorization: Bearer s3cr3t\r\n")).status(), 404);
        let mut client = Client::connect(self.gateway.port("tls"));
        let _ = client.try_send("GET /s3cr3t HTTP/1.1\r\n\r\n");
        self.told.push_str(&String::from_utf8_lossy(&client.until_closed()));
    }

    /// Every page that can be read, and what is said to requests that change something.
    fn pages(&self) -> String {
        let described = self.admin("GET", "/openapi.json", "").text();
        let described: Value = serde_json::from_str(&described).unwrap();
        let mut shown = String::new();
        let mut read = 0;
        for (path, methods) in described["paths"].as_object().unwrap() {
            if methods.get("get").is_none() {
                continue;
            }
            let path = path.replace("{name}", "shop").replace("{id}", "1").replace("{other}", "2");
            shown.push_str(&format!("== {path}\n{}\n", self.admin("GET", &path, "").text()));
            read += 1;
        }
        assert!(read > 15, "{described}");
        let headers = [
            ("authorization", "Bearer s3cr3t.s3cr3t.s3cr3t"),
            ("x-api-key", "s3cr3t"),
            ("cookie", "a=s3cr3t"),
            ("signature", "s3cr3t"),
        ];
        for path in ["/open", "/jwt", "/key", "/basic", "/signed", "/any", "/asks", "/said", "/limited", "/parts"] {
            let question = json!({ "method": "GET", "url": format!("{path}?token=s3cr3t&a=b"), "headers": headers });
            let explained = self.admin("POST", "/explain", &question.to_string());
            assert_eq!(explained.status(), 200, "{}", explained.text());
            shown.push_str(&format!("== explain {path}\n{}\n", explained.text()));
        }
        let wrong = "authorization: Bearer s3cr3t-wrong-0123\r\n";
        shown + &self.gateway.admin_with("GET", "/config", wrong, "").text()
    }

    /// Configurations with mistakes beside secrets, of every kind there is.
    fn mistakes(&mut self) -> String {
        let mut shown = String::new();
        for (from, to) in [
            (
                "secret: \"s3cr3t-plain-jwt-0123456789-0123456789\"",
                "secret: \"s3cr3t-plain-jwt-0123456789-0123456789\", x: 1",
            ),
            ("secret: \"s3cr3t-plain-jwt-0123456789-0123456789\"", "secret: \"s3cr3t-short\""),
            ("secret: \"${env:E2E_JWT}\"", "secret: \"${env:E2E_JWT}\", public_key: \"${env:E2E_JWT}\""),
            ("secret: \"${env:E2E_JWT}\"", "public_key: \"${env:E2E_JWT}\""),
            ("secret: \"${env:E2E_JWT}\"", "issuer: \"${env:E2E_JWT}\", discover: true"),
            (
                "{ key: \"s3cr3t-plain-key-0123456789\" }",
                "{ key: \"s3cr3t-plain-key-0123456789\" }, { key: \"s3cr3t-plain-key-0123456789\" }",
            ),
            ("{ key: \"s3cr3t-plain-key-0123456789\" }", "{ key: \"s3cr3t-key\" }"),
            ("{ key: \"s3cr3t-plain-key-0123456789\" }", "{ digest: \"${env:E2E_KEY}\" }"),
            ("password_hash: '{hash}'", "password_hash: s3cr3t-no-hash"),
            ("password: \"s3cr3t-plain-redis\"", "password: \"s3cr3t-plain-redis\", user: x"),
            ("redis://127.0.0.1:{port:away}", "redis://me:s3cr3t@127.0.0.1:1"),
            ("endpoints: [ \"{a}\" ]", "endpoints: [ \"http://me:s3cr3t@127.0.0.1:1\" ]"),
            ("endpoints: [ \"{a}\" ]", "endpoints: [ \"${env:E2E_BODY}\" ]"),
            ("{auth}/verify", "http://me:s3cr3t@127.0.0.1:1/verify"),
            ("Authorization: \"Bearer s3cr3t-plain-header\"", "Authorization: \"s3cr3t\\nx\""),
            ("X-Upstream-Token: \"${env:E2E_HEADER}\"", "\"${env:E2E_HEADER} x\": 1"),
            ("token: \"${env:E2E_ADMIN}\"", "token: s3cr3t"),
            ("token: \"${env:E2E_ADMIN}\"", "token: \"s3cr3t"),
            ("routes:\n", "routes: ]\n"),
        ] {
            assert!(CONFIG.contains(from), "{from}");
            self.gateway.rewrite(&CONFIG.replacen(from, to, 1));
            let reload = self.admin("POST", "/reload", "");
            assert!(matches!(reload.status(), 400..=499), "{to}: {}", reload.text());
            shown.push_str(&format!("== {to:?}\n").replace(MARK, "…"));
            for page in ["/diagnostics", "/status"] {
                shown.push_str(&self.admin("GET", page, "").text());
            }
            shown.push_str(&reload.text());
            shown.push_str(&self.command(&["check"], &[]));
            shown.push_str(&self.command(&["check", "--format", "json"], &[]));
        }
        self.gateway
            .rewrite(&CONFIG.replace("policies: [ hmac_auth: {} ]", "policies: [ hmac_auth: { max_age: 1m } ]"));
        assert_eq!(self.admin("POST", "/reload", "").status(), 200);
        shown + &self.admin("GET", "/revisions/1/diff/2", "").text()
    }

    /// What a command says about the configuration, whose path stands between the words.
    fn command(&self, before: &[&str], after: &[&str]) -> String {
        let file = self.gateway.dir().path().join("torana.yaml");
        let output = Command::new(binary()).args(before).arg(file).args(after).envs(VARIABLES).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// Notes the secrets that stand in `text`, which is `what`.
    fn look_through(&mut self, what: &str, text: &str) {
        assert!(!text.is_empty(), "there is nothing in {what}");
        // Base64 of the beginning of the word, of a password, and of the header of a token; a hash; the TLS key.
        let forms = [MARK, &base64(MARK), &base64("ada:s3cr3t-basic")[..18], "eyJhbGciOiJIUzI1NiJ9.", "3yGzHxEhb0G"];
        let forms = forms.into_iter().map(str::to_owned).chain(self.key_lines.clone());
        let found: Vec<String> = forms.flat_map(|form| snippets(text, &form)).collect();
        self.found.extend(found.into_iter().map(|snippet| format!("{what}: {snippet}")));
    }
}

/// Where `form` stands in `text`, with what is around it.
fn snippets(text: &str, form: &str) -> Vec<String> {
    let around = |at: usize| {
        let start = (0..=at.saturating_sub(100)).rev().find(|start| text.is_char_boundary(*start)).unwrap_or(0);
        text[start..].chars().take(220).collect::<String>().replace('\n', "⏎")
    };
    text.match_indices(form).take(4).map(|(at, _)| around(at)).collect()
}

#[test]
fn no_secret_is_ever_shown() {
    let mut scene = Scene::start();
    scene.traffic();
    scene.nonsense();
    scene.gateway.log_line("the last request", |line| line["status"] == 404 && line["tls"].is_string());
    let (told, log, pages) = (scene.told.clone(), scene.gateway.log_text(), scene.pages());
    scene.look_through("what clients were told", &told);
    scene.look_through("the access log", &without_names(&log));
    scene.look_through("the admin interface", &without_names(&pages));
    for words in [&["check"][..], &["check", "--format", "json"], &["routes"], &["routes", "--format", "json"]] {
        let said = scene.command(words, &[]);
        scene.look_through(&words.join(" "), &said);
    }
    for path in ["/open", "/jwt", "/any", "/asks", "/parts"] {
        for format in ["text", "json"] {
            let asked = ["GET", path, "-H", "authorization: Bearer s3cr3t", "-H", "cookie: s3cr3t"];
            let said = scene.command(&["explain", "--format", format], &asked);
            scene.look_through(&format!("explain {path}"), &said);
        }
    }
    let (mistakes, pages) = (scene.mistakes(), scene.pages());
    scene.look_through("what is said about mistakes", &mistakes);
    scene.look_through("the pages afterwards", &without_names(&pages));
    wait_for("the last word", || scene.gateway.said().contains("revision 2").then_some(()));
    let said = scene.gateway.said();
    scene.look_through("standard error", &said);
    assert!(scene.found.is_empty(), "{} secrets are shown:\n{}", scene.found.len(), scene.found.join("\n"));
}

/// Who a caller is, is no secret, even if it is called like one.
fn without_names(text: &str) -> String {
    text.replace("s3cr3t-but-a-name", "")
}
