//! Authentication that fails open, is confused, or is told by the client.

use serde_json::json;
use torana_e2e::client::get;
use torana_e2e::dir::Dir;
use torana_e2e::gateway::{Gateway, Setup};
use torana_e2e::origin::{Origin, reply};
use torana_e2e::token::{Issuer, claims, with_secret, with_signature};
use torana_e2e::wait_for;

const GUARDED: &str = "routes:
  - { name: api, match: { path: /api/* }, upstream: a, policies: [ jwt: { public_key: '${file:{dir}/key.pem}', identity_headers: true } ] }
  - { name: open, match: { path: /open/* }, upstream: a }
";

fn guarded() -> (Issuer, Origin, Gateway) {
    let issuer = Issuer::new("a");
    let dir = Dir::new();
    dir.write("key.pem", issuer.pem());
    let origin = Origin::saying("ok");
    let gateway = Setup::new(GUARDED).dir(dir).origin("a", &origin).start();
    (issuer, origin, gateway)
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
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
    for extra in ["", nominated] {
        assert_eq!(gateway.ask(get("/open/x", &format!("{spoofed}{extra}"))).status(), 200);
        let seen = origin.only();
        assert!(seen.head.fields.iter().all(|(_, value)| value != "evil"), "{:?}", seen.head.fields);
        assert_eq!(gateway.ask(get("/api/x", &format!("{token}{spoofed}{extra}"))).status(), 200);
        let seen = origin.only();
        assert_eq!(seen.head.all("x-user-id"), ["u"]);
        assert_eq!(seen.head.all("x-user-role"), ["user"]);
        assert!(seen.head.all("x-user-email").is_empty(), "the token has none, and the client's is no substitute");
    }
    let trailers =
        "POST /open/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-User-Id: evil\r\n\r\n";
    let _ = gateway.ask(trailers);
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
            let reply = gateway.ask(get(path, &format!("{token}{name}: evil\r\n")));
            assert_eq!((reply.status(), reply.code().as_str()), (400, "header.owned_spelling"), "{name} {path}");
        }
    }
    assert!(origin.seen().is_empty());
}

/// APISIX: the algorithm was the token's to choose. Also CVE-2022-21449 (zeros
/// for a signature) and the generic attacks on JOSE.
#[test]
fn cve_2026_39999_algorithm_confusion() {
    let (issuer, origin, gateway) = guarded();
    let (pem, claims) = (issuer.pem(), claims("admin"));
    let mut tokens = vec![
        with_signature(&json!({ "alg": "none" }), &claims, b""),
        with_signature(&json!({ "alg": "None" }), &claims, b"x"),
        with_signature(&json!({ "alg": "EdDSA" }), &claims, &[0; 64]),
        with_signature(&json!({ "alg": "ES256" }), &claims, &[0; 64]),
        with_secret(&json!({ "alg": "HS256" }), &claims, b""),
        with_secret(&json!({ "alg": "HS256", "kid": "../../dev/null" }), &claims, b""),
        with_secret(&json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "" } }), &claims, b""),
    ];
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes()] {
        tokens.push(with_secret(&json!({ "alg": "HS256" }), &claims, secret));
        tokens.push(with_secret(&json!({ "alg": "EdDSA" }), &claims, secret));
    }
    let evil = Issuer::new("a");
    tokens.push(evil.token(&claims));
    let evil_header = json!({ "alg": "EdDSA", "jwk": evil.jwk() });
    tokens.push(with_signature(&evil_header, &claims, &[1; 64]));
    for token in tokens {
        let reply = gateway.ask(get("/api/x", &bearer(&token)));
        assert_eq!((reply.status(), reply.code().as_str()), (401, "jwt.invalid"), "{token}");
    }
    assert!(origin.seen().is_empty());
    assert_eq!(gateway.ask(get("/api/x", &bearer(&issuer.token(&claims)))).status(), 200);
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
        assert_eq!(gateway.ask(get("/api/x", &fields)).status(), 401, "{fields}");
    }
    for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"] {
        // oauth2-proxy's CVE-2026-34457.
        assert_eq!(gateway.ask(get("/api/x", &format!("user-agent: {agent}\r\n"))).status(), 401, "{agent}");
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
        let reply = gateway.ask(get("/x", &bearer(token)));
        assert_eq!(reply.status(), 401);
        assert!(!reply.text().contains("swordfish"), "{}", reply.text());
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
        assert_eq!(gateway.ask(get("/api/x", "")).status(), 401, "{broken}");
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
    let reply = gateway.ask(get("/x", ""));
    assert_eq!((reply.status(), reply.code().as_str()), (503, "forward_auth.unavailable"));
    assert!(origin.seen().is_empty());
}
