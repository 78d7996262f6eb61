//! Authentication that fails open, is confused, or is told by the client.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use torana_e2e::both::Wire;
use torana_e2e::client::get;
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::http2::{self, Client as Http2, block_on};
use torana_e2e::origin::{Origin, reply};
use torana_e2e::tls::{Authority, Signed, connect};
use torana_e2e::token::{Issuer, bearer, claims, seconds_from_now, with_secret};
use torana_e2e::wait_for;

const GUARDED: &str = "routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/key.pem}', identity_headers: true } ] }
  - { name: open, match: { path: /open/* }, upstream: a }
";

pub(super) fn guarded() -> (Issuer, Origin, Gateway) {
    let issuer = Issuer::new("a");
    let dir = Dir::new();
    dir.write("key.pem", issuer.pem());
    let origin = Origin::saying("ok");
    let gateway = Setup::new(GUARDED).dir(dir).origin("a", &origin).start();
    (issuer, origin, gateway)
}

/// APISIX, also its CVE-2026-31908, -39998, -44087 and -49231, and Caddy's
/// CVE-2026-30851: identity headers from the client, on routes with the policy
/// and on those without.
#[test]
fn cve_2026_49231_identity_headers_from_the_client() {
    let (issuer, origin, gateway) = guarded();
    let spoofed = "X-User-Id: evil\r\nx-user-id: evil\r\nX-USER-ROLE: evil\r\nx-User-Email: evil\r\n";
    let nominated = "connection: x-user-id, X-User-Role, close\r\n";
    let mut all = claims("u");
    all.as_object_mut().unwrap().remove("email");
    let token = bearer(&issuer.token(&all));
    // HTTP/2 nominates nothing.
    for (wire, extra) in [(Wire::Http1, ""), (Wire::Http1, nominated), (Wire::Http2, "")] {
        assert_eq!(wire.get(&gateway, "/open/x", &format!("{spoofed}{extra}")).status, 200);
        let seen = origin.only();
        assert!(seen.head.fields.iter().all(|(_, value)| value != "evil"), "{:?}", seen.head.fields);
        assert_eq!(wire.get(&gateway, "/api/x", &format!("{token}{spoofed}{extra}")).status, 200);
        let seen = origin.only();
        assert_eq!(seen.head.all("x-user-id"), ["u"]);
        assert_eq!(seen.head.all("x-user-role"), ["user"]);
        assert!(seen.head.all("x-user-email").is_empty(), "the token has none, and the client's is no substitute");
    }
    for wire in Wire::BOTH {
        let _ = wire.attempt(gateway.port("main"), "POST", "/open/x", "", "a", &[("X-User-Id", "evil")]);
    }
    for seen in origin.take_seen() {
        assert!(
            seen.body.trailers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("x-user-id")),
            "{:?}",
            seen.body.trailers
        );
    }
}

/// oauth2-proxy, also Caddy's CVE-2026-52845.
#[test]
fn cve_2025_64484_identity_headers_with_underscores() {
    let (issuer, origin, gateway) = guarded();
    let token = bearer(&issuer.token(&claims("u")));
    for name in ["X_User_Id", "x_user-id", "X-User_Role", "x_USER_email"] {
        for path in ["/open/x", "/api/x"] {
            for wire in Wire::BOTH {
                let told = wire.get(&gateway, path, &format!("{token}{name}: evil\r\n"));
                assert_eq!(told.verdict(), (400, "header.owned_spelling".into()), "{name} {path} over {wire:?}");
            }
        }
    }
    assert!(origin.seen().is_empty());
}

/// Envoy: that there is a token at all counted as proof.
#[test]
fn cve_2022_29226_any_token_counts() {
    let (issuer, origin, gateway) = guarded();
    let good = issuer.token(&claims("u"));
    let cut = &good[..good.len() - 4];
    for fields in [
        bearer("1"),
        bearer(cut),
        bearer(&format!("{good}x")),
        format!("authorization: {good}\r\n"),
        format!("authorization: Basic {good}\r\n"),
        format!("cookie: token={good}\r\n"),
        format!("{}{}", bearer(&good), bearer("x")),
    ] {
        for wire in Wire::BOTH {
            assert_eq!(wire.get(&gateway, "/api/x", &fields).status, 401, "{fields} over {wire:?}");
        }
    }
    assert!(origin.seen().is_empty());
}

/// oauth2-proxy: who called itself a health check was let in. Also by path, method and address.
#[test]
fn cve_2026_34457_health_checks_are_nobody_special() {
    let (_, origin, gateway) = guarded();
    for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Consul Health Check"] {
        for path in ["/api/x", "/api/ping", "/api/healthz", "/api/robots.txt"] {
            for method in ["GET", "OPTIONS", "POST"] {
                for wire in Wire::BOTH {
                    let fields = format!("user-agent: {agent}\r\nx-forwarded-for: 127.0.0.1\r\n");
                    let told = wire.ask(&gateway, method, path, &fields, "");
                    assert_eq!(told.status, 401, "{agent} {method} {path} over {wire:?}");
                }
            }
        }
    }
    assert!(origin.seen().is_empty());
}

/// APISIX: the body of the error told the secret.
#[test]
fn cve_2022_29266_errors_tell_the_secret() {
    let config = "routes: [ { name: api, upstream: a, policies: [ jwt: { secret: '${env:E2E_JWT}' } ] } ]";
    let origin = Origin::saying("ok");
    let secret = "swordfish-swordfish-swordfish-swordfish";
    let gateway = Setup::new(config).env("E2E_JWT", secret).origin("a", &origin).start();
    for token in ["x", "a.b.c", &with_secret(&json!({ "alg": "RS256" }), &claims("u"), b"k"), &"x".repeat(9000)] {
        for wire in Wire::BOTH {
            let told = wire.get(&gateway, "/x", &bearer(token));
            assert_eq!(told.status, 401);
            assert!(!format!("{told:?}").contains("swordfish"), "{told:?}");
        }
    }
    let token = with_secret(&json!({ "alg": "HS256" }), &claims("u"), secret.as_bytes());
    assert_eq!(gateway.ask(get("/last", &bearer(&token))).status(), 200);
    gateway.log_line("the last", |line| line["path"] == "/last");
    assert!(!gateway.log_text().contains("swordfish") && !gateway.said().contains("swordfish"));
    assert!(!gateway.log_text().contains(&token[..40]), "a token is a secret too");
}

/// Traefik: the secret could not be resolved, so the route was published
/// without the policy.
#[test]
fn cve_2026_54762_unresolved_secrets() {
    let (_, origin, mut gateway) = guarded();
    for broken in [
        "jwt: { secret: '${env:E2E_NOT_SET}' }",
        "jwt: { secret: '' }",
        "jwt: { public_key: '${file:{dir}/missing.pem}' }",
        "jwt: { }",
        "jwtt: { secret: x }",
        "any_of: [ { jwt: { secret: '' } } ]",
    ] {
        let before = gateway.said().len();
        let config = GUARDED.replace("jwt: { public_key: '${file:{dir}/key.pem}', identity_headers: true }", broken);
        gateway.rewrite(&config);
        wait_for("the refusal of the new configuration", || {
            gateway.said().get(before..).is_some_and(|said| said.contains("error")).then_some(())
        });
        for wire in Wire::BOTH {
            assert_eq!(wire.get(&gateway, "/api/x", "").status, 401, "{broken} over {wire:?}");
        }
    }
    assert!(origin.seen().is_empty());
}

/// Traefik: an answer of the service that decides had no limit.
#[test]
fn cve_2026_26998_endless_answers() {
    let auth = Origin::replying(|_| reply(401, &[], "x".repeat(200_000)));
    let origin = Origin::saying("ok");
    let config =
        "routes: [ { name: api, upstream: a, policies: [ forward_auth: { ask: { upstream: auth, path: / } } ] } ]";
    let gateway = Setup::new(config).origin("a", &origin).origin("auth", &auth).start();
    for wire in Wire::BOTH {
        assert_eq!(wire.get(&gateway, "/x", "").verdict(), (503, "forward_auth.unavailable".into()));
    }
    assert!(origin.seen().is_empty());
}

/// APISIX: one source's credentials were good for another's routes. Also by way of what is remembered of tokens that
/// were verified before.
#[test]
fn cve_2026_49872_credentials_of_another_source() {
    let (one, two) = (Issuer::new("same"), Issuer::new("same"));
    let dir = Dir::new();
    dir.write("one.pem", one.pem());
    dir.write("two.pem", two.pem());
    let config = "consumers: [ { name: shop, keys: [ { key: 0123456789-0123456789 } ], routes: [ key ] }, { name: other, keys: [ { key: abcdefghij-abcdefghij } ] } ]
routes:
  - { name: one, match: { path: /one }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/one.pem}', issuer: one } ] }
  - { name: two, match: { path: /two }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/two.pem}', issuer: two } ] }
  - { name: both, match: { path: /both }, upstream: a, policies: [ jwt: { issuers: [ { issuer: one, public_key: '${file:{dir}/one.pem}' }, { issuer: two, public_key: '${file:{dir}/two.pem}', audience: two } ] } ] }
  - { name: api, match: { path: /api }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/one.pem}', issuer: one, audience: other } ] }
  - { name: key, match: { path: /key }, upstream: a, policies: [ api_key: {} ] }
  - { name: not, match: { path: /not }, upstream: a, policies: [ api_key: {} ] }
  - { name: pass, match: { path: /pass }, upstream: a, policies: [ basic_auth: {} ] }
";
    let origin = Origin::saying("ok");
    let gateway = Setup::new(config).dir(dir).origin("a", &origin).start();
    let of = |issuer: &Issuer, name: &str| {
        let mut all = claims("u");
        all["iss"] = json!(name);
        bearer(&issuer.token(&all))
    };
    let key = "x-api-key: 0123456789-0123456789\r\n".to_owned();
    let cases = [
        ("/one", of(&one, "one"), 200),
        ("/two", of(&one, "one"), 401),
        ("/two", of(&one, "two"), 401),
        ("/two", of(&two, "two"), 200),
        ("/one", of(&two, "two"), 401),
        ("/one", of(&one, "two"), 401),
        // The issuer picks the key, not its name; and whom it is for belongs to the issuer.
        ("/both", of(&one, "one"), 200),
        ("/both", of(&one, "two"), 401),
        ("/both", of(&two, "one"), 401),
        ("/both", of(&two, "two"), 401),
        ("/api", of(&one, "one"), 401),
        ("/key", key.clone(), 200),
        ("/not", key.clone(), 403),
        ("/key", of(&one, "one"), 401),
        ("/one", key, 401),
        ("/one", bearer("0123456789-0123456789"), 401),
        ("/key", "authorization: Basic MDEyMzQ1Njc4OS0wMTIzNDU2Nzg5Og==\r\n".to_owned(), 401),
        ("/pass", "authorization: Basic c2hvcDowMTIzNDU2Nzg5LTAxMjM0NTY3ODk=\r\n".to_owned(), 401),
        ("/key", "cookie: x-api-key=0123456789-0123456789\r\n".to_owned(), 401),
    ];
    // Twice, so that what was remembered the first time is met the second.
    for wire in [Wire::Http1, Wire::Http2, Wire::Http1] {
        for (path, fields, status) in &cases {
            assert_eq!(wire.get(&gateway, path, fields).status, *status, "{path} {fields} over {wire:?}");
        }
    }
}

const SIGNED: &str = "consumers:
  - { name: shop, signatures: [ { id: s, secret: 0123456789abcdef0123456789abcdef } ] }
routes: [ { name: api, match: { path: /api/* }, upstream: a, policies: [ hmac_auth: { require_nonce: false } ] } ]
";

/// Envoy: what an HMAC was made of could be put together in more than one way. Also its CVE-2023-27496: a message
/// without a part brought the process down.
#[test]
fn cve_2023_35941_what_is_signed_has_one_reading() {
    let origin = Origin::saying("ok");
    let gateway = Setup::new(SIGNED).origin("a", &origin).start();
    let now = seconds_from_now(0);
    let sign = |base: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        STANDARD.encode(hmac::sign(&key, base.as_bytes()))
    };
    let made = |path: &str, query: &str, number: i64| {
        let params =
            format!("(\"@method\" \"@authority\" \"@path\" \"@query\" \"x-a\");created={};keyid=\"s\"", now - number);
        let base = format!(
            "\"@method\": GET\n\"@authority\": gateway.example\n\"@path\": {path}\n\"@query\": ?{query}\n\"x-a\": 1\n\"@signature-params\": {params}"
        );
        (params, sign(&base))
    };
    let fields = |params: &str, signature: &str, x: &str| {
        format!("x-a: {x}\r\nsignature-input: s={params}\r\nsignature: s=:{signature}:\r\n")
    };
    for (number, wire) in (1..).zip(Wire::BOTH) {
        let (params, signature) = made("/api/pay", "to=bob&amount=1", number);
        // Bytes moved from one part to the next, parts repeated, dropped, reordered, and what nobody signed.
        for (path, x) in [
            ("/api/pay?to=bob&amount=10", "1"),
            ("/api/pay/?to=bob&amount=1", "1"),
            ("/api/p?ay&to=bob&amount=1", "1"),
            ("/api/pay%3Fto=bob&amount=1", "1"),
            ("/api/pay?to=bob&amount=1", "2"),
            ("/api/pay?to=bob&amount=1", "1\r\nx-a: 1"),
            ("/api/pay?to=bob&amount=1", "1, 1"),
            ("/api/pay?amount=1&to=bob", "1"),
            ("/api/pay", "1"),
        ] {
            assert_eq!(
                wire.get(&gateway, path, &fields(&params, &signature, x)).status,
                401,
                "{path} {x} over {wire:?}"
            );
        }
        let good = fields(&params, &signature, "1");
        for (from, to) in [
            (" \"@query\"", ""),
            (" \"x-a\"", ""),
            ("\"@path\" \"@query\"", "\"@query\" \"@path\""),
            ("(", "()("),
            ("keyid=\"s\"", "keyid=\"s"),
            ("keyid=\"s\"", "keyid=\"t\""),
            ("keyid=\"s\"", ""),
            (";created=", ";created=1;created="),
            ("signature: s=:", "signature: t=:"),
            ("signature: s=:", "signature: s=::"),
            ("signature: s=:", "signature: :"),
            ("signature-input: s=", "signature-input: s=();a="),
            ("signature-input: s=", "signature-input: =="),
            ("signature-input: s=", "signature-input: s=((((((((("),
        ] {
            let other = good.replacen(from, to, 1);
            assert_ne!(other, good, "{from}");
            assert_eq!(wire.get(&gateway, "/api/pay?to=bob&amount=1", &other).status, 401, "{other} over {wire:?}");
        }
        let post = wire.ask(&gateway, "POST", "/api/pay?to=bob&amount=1", &good, "x");
        assert_eq!(post.status, 401);
        assert!(origin.take_seen().is_empty());
        assert_eq!(wire.get(&gateway, "/api/pay?to=bob&amount=1", &good).status, 200, "{wire:?}");
        assert_eq!(wire.get(&gateway, "/api/pay?to=bob&amount=1", &good).status, 401, "again over {wire:?}");
        let _ = origin.take_seen();
    }
}

/// Caddy: where certificates could not be judged, they were not asked for.
#[test]
fn cve_2026_27586_certificates() {
    let (ours, theirs, origin, dir) = (Authority::new(), Authority::new(), Origin::saying("ok"), Dir::new());
    ours.write(&dir, "one", &["gateway.example"]);
    dir.write("ca.pem", ours.pem());
    let config = "admin: { address: \"127.0.0.1:{port:admin}\" }
listeners: [ { address: \"127.0.0.1:{port:main}\", tls: { certificates: [ { cert: one.pem, key: one.key } ], client_auth: { ca: ca.pem, mode: optional } } } ]
routes:
  - { name: open, match: { path: /open }, respond: {} }
  - { name: api, match: { path: /api }, upstream: a, policies: [ mtls: { allow: [ \"dns:good.example\" ] } ] }
";
    let gateway = Setup::new(config).argument("--no-watch").dir(dir).origin("a", &origin).start();
    let port = gateway.port("main");
    // The status, or nothing where there is no connection.
    let http1 = |identity: Option<&Signed>| {
        let mut client = connect(&ours.client(identity, &["http/1.1"]), port, "gateway.example");
        let _ = client.try_send(get("/api", ""));
        client.reader.head().ok().flatten().map(|head| head.status())
    };
    let http2 = |identity: Option<&Signed>| {
        block_on(async {
            let client = Http2::connect_tls(ours.client(identity, &["h2"]), port, "gateway.example").await;
            client.ask(http2::get("https", "/api"), b"").await.ok().map(|reply| reply.status())
        })
    };
    let (good, other, stranger) =
        (ours.sign(&["good.example"]), ours.sign(&["other.example"]), theirs.sign(&["good.example"]));
    for broken in
        [None, Some(""), Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")]
    {
        if let Some(broken) = broken {
            gateway.dir().write("ca.pem", broken);
            assert!(matches!(gateway.admin("POST", "/reload").status(), 400..=499), "{broken:?}");
        }
        assert_eq!((http1(None), http2(None)), (Some(403), Some(403)), "{broken:?}");
        assert_eq!((http1(Some(&other)), http2(Some(&other))), (Some(403), Some(403)), "{broken:?}");
        assert_eq!((http1(Some(&stranger)), http2(Some(&stranger))), (None, None), "{broken:?}");
        assert!(origin.seen().is_empty());
        assert_eq!((http1(Some(&good)), http2(Some(&good))), (Some(200), Some(200)), "{broken:?}");
        let _ = origin.take_seen();
    }
}

/// Traefik: of those who asked at the same time, some got what was another's.
#[test]
fn cve_2026_71326_at_the_same_time() {
    let (issuer, dir) = (Issuer::new("a"), Dir::new());
    dir.write("key.pem", issuer.pem());
    let config = "workers: 2
routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/key.pem}', identity_headers: true }, cache: { ttl: 60s } ] }
  - { name: asks, match: { path: /asks/* }, upstream: a, policies: [ forward_auth: { ask: { upstream: auth, path: / }, copy_headers: X-User-Id, subject: X-User-Id }, cache: { ttl: 60s } ] }
";
    let auth = Origin::replying(|seen| {
        let who = seen.head.get("authorization").and_then(|text| text.strip_prefix("Custom ")).unwrap_or_default();
        reply(200, &[("x-user-id", who)], "")
    });
    let origin = Origin::replying(|seen| {
        // Long enough for the others to wait for it.
        std::thread::sleep(std::time::Duration::from_millis(20));
        reply(200, &[("cache-control", "max-age=60")], seen.head.get("x-user-id").unwrap_or("nobody"))
    });
    let gateway = Setup::new(config).dir(dir).origin("a", &origin).origin("auth", &auth).start();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (gateway, issuer) = (&gateway, &issuer);
            scope.spawn(move || {
                // Names of which one is the beginning of another, and that meet where they are put together.
                let name = format!("u{}{}", "1".repeat(number / 2), if number % 2 == 0 { "" } else { ":x" });
                let token = bearer(&issuer.token(&claims(&name)));
                for round in 0..4 {
                    for wire in Wire::BOTH {
                        let path = format!("/api/{}", round % 2);
                        assert_eq!(wire.get(gateway, &path, &token).text, name, "{path} over {wire:?}");
                        let path = format!("/asks/{}", round % 2);
                        let asks = format!("authorization: Custom {name}\r\n");
                        assert_eq!(wire.get(gateway, &path, &asks).text, name, "{path} over {wire:?}");
                    }
                }
            });
        }
    });
}

/// oauth2-proxy: of `a@evil@corp` the last part was looked at. Names are compared whole.
#[test]
fn cve_2026_40574_names_are_compared_whole() {
    let (issuer, dir) = (Issuer::new("a"), Dir::new());
    dir.write("key.pem", issuer.pem());
    let config = "routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/key.pem}' }, authorize: { subjects: [ ada@corp.example ], roles: staff } ] }
";
    let origin = Origin::saying("ok");
    let gateway = Setup::new(config).dir(dir).origin("a", &origin).start();
    let token = |name: &str, role: &str| {
        let mut all = claims(name);
        all["role"] = json!(role);
        bearer(&issuer.token(&all))
    };
    for wire in Wire::BOTH {
        for name in [
            "ada@evil@corp.example",
            "ada@corp.example@evil",
            "ada@corp.example.evil",
            "evil.ada@corp.example",
            "ADA@corp.example",
            "ada@corp.example ",
            " ada@corp.example",
            "ada@corp.example\0",
            "ada@corp.example\u{200b}",
            "ada@corp.example,evil",
            "\u{430}da@corp.example",
            "",
        ] {
            let status = wire.get(&gateway, "/api/x", &token(name, "staff")).status;
            assert!(matches!(status, 401 | 403), "{name:?} over {wire:?}: {status}");
        }
        for role in ["staff2", "Staff", "staff ", "not staff", "staff,admin", "sta", ""] {
            let status = wire.get(&gateway, "/api/x", &token("ada@corp.example", role)).status;
            assert_eq!(status, 403, "{role:?} over {wire:?}");
        }
        assert!(origin.take_seen().is_empty());
        assert_eq!(wire.get(&gateway, "/api/x", &token("ada@corp.example", "staff")).status, 200);
        let _ = origin.take_seen();
    }
}
