//! Tokens of every kind, and every way they should not count.

use super::algorithm::{Algorithm, Allowed};
use super::key::{Key, KeySet, Signature};
use super::{Jwt, jws, unix_now};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use torana_core::exchange::Exchange;
use torana_core::policy::{Policy, entry};
use torana_core::testing::{TestNames, exchange, reply, run, show_diagnostics, transcript, written};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed.
fn signed(header: &str, claims: &str) -> String {
    format!("{}.{}", base64(header), base64(claims))
}

fn hs256_raw(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = signed(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", base64(tag))
}

fn hs256(claims: &Value) -> String {
    hs256_raw(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), SECRET.as_bytes())
}

/// Claims that count, with these besides or instead.
pub(super) fn claims(with: Value) -> Value {
    let mut claims = json!({ "sub": "u-7", "role": "admin", "email": "a@b.example", "exp": unix_now() + 600 });
    for (name, value) in with.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn policy(config: &Value) -> Arc<dyn Policy> {
    let built =
        (entry::<Jwt>().build)(&written(&config.to_string()), &TestNames::new("test", "/*").counting(super::EVENTS));
    built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)))
}

pub(super) fn asking(token: &str) -> Exchange {
    exchange(&format!("GET /x HTTP/1.1\nHost: a\nAuthorization: Bearer {token}"))
}

/// `ok`, or the code that a token is refused with.
fn judged(policy: &dyn Policy, token: &str) -> String {
    let mut asked = asking(token);
    let shown = run(policy, &mut asked, reply("200"));
    match shown.strip_prefix("rejected ") {
        Some(rest) => {
            assert!(asked.identity.is_none(), "{shown}");
            rest.split(' ').next().unwrap().to_owned()
        }
        None => "ok".to_owned(),
    }
}

fn with_secret(with: Value) -> Arc<dyn Policy> {
    let mut config = json!({ "secret": SECRET });
    for (name, value) in with.as_object().unwrap() {
        config[name] = value.clone();
    }
    policy(&config)
}

/// A key pair of each kind.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Signer {
        Signer::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn sign(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let signed = signed(header, claims);
        let random = SystemRandom::new();
        let signature = match self {
            Signer::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS384 => &RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    Algorithm::PS512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Signer::P256(key) | Signer::P384(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", base64(signature))
    }

    pub(super) fn token(&self, algorithm: Algorithm, id: Option<&str>, claims: &Value) -> String {
        let mut header = json!({ "alg": algorithm.as_str(), "typ": "JWT" });
        if let Some(id) = id {
            header["kid"] = id.into();
        }
        self.sign(algorithm, &header.to_string(), &claims.to_string())
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Signer::Rsa(key) => key.public_key().as_der().unwrap(),
            Signer::P256(key) | Signer::P384(key) => key.public_key().as_der().unwrap(),
            Signer::Ed(key) => key.public_key().as_der().unwrap(),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    pub(super) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Signer::Rsa(key) => {
                let (n, e) = rsa_numbers(key.public_key().as_ref());
                json!({ "kty": "RSA", "n": base64(n), "e": base64(e) })
            }
            Signer::P256(key) | Signer::P384(key) => {
                let point = key.public_key().as_ref();
                let half = point.len() / 2;
                let curve = if half == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": base64(&point[1..=half]), "y": base64(&point[half + 1..]) })
            }
            Signer::Ed(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref()) }),
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// Modulus and exponent of an RSAPublicKey of 2048 bits in DER.
fn rsa_numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // SEQUENCE (4 bytes), INTEGER (4 bytes and a zero), 256 bytes, INTEGER.
    assert_eq!(&der[4..9], [2, 0x82, 1, 1, 0]);
    (der[9..265].to_vec(), der[267..].to_vec())
}

pub(super) fn pairs() -> &'static [(Signer, &'static [Algorithm])] {
    static PAIRS: OnceLock<Vec<(Signer, &'static [Algorithm])>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        vec![
            (Signer::rsa(), &Algorithm::RSA[..]),
            (Signer::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()), &[Algorithm::ES256][..]),
            (Signer::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()), &[Algorithm::ES384][..]),
            (Signer::Ed(Ed25519KeyPair::generate().unwrap()), &[Algorithm::EdDsa][..]),
        ]
    })
}

#[test]
fn the_examples_of_the_rfcs_verify() {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let judge = |keys: &KeySet, algorithm, token: &str| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        keys.judge(None, algorithm, Allowed::of(&[]), signed.as_bytes(), &decode(signature))
    };
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    // RFC 7515 A.1.
    let token =
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let secret = decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let keys = KeySet::of(vec![Key::of_secret(None, &secret, Allowed::of(&[])).unwrap()]);
    assert_eq!(judge(&keys, Algorithm::HS256, &token), Signature::Good);
    assert_eq!(jws::read(token.as_bytes()).unwrap().claims["iss"], "joe");
    // RFC 7515 A.3.
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{payload}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let set = br#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let keys = KeySet::of_jwks(&super::object(set).unwrap()).unwrap();
    assert_eq!(judge(&keys, Algorithm::ES256, &token), Signature::Good);
    assert_eq!(judge(&keys, Algorithm::ES256, &token.replace("DtEh", "DtEi")), Signature::Bad);
    // RFC 8037 A.4.
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = KeySet::of_jwks(&super::object(set).unwrap()).unwrap();
    assert_eq!(judge(&keys, Algorithm::EdDsa, token), Signature::Good);
}

#[test]
fn every_algorithm_works_with_its_own_key_and_no_other() {
    for (signer, own) in pairs() {
        let policy = policy(&json!({ "public_key": signer.pem() }));
        for &algorithm in *own {
            let token = signer.token(algorithm, None, &claims(json!({})));
            assert_eq!(judged(&*policy, &token), "ok", "{algorithm:?}");
            // Announced as another of the same key, it is not what was signed.
            for &other in own.iter().filter(|other| **other != algorithm) {
                let header = json!({ "alg": other.as_str() }).to_string();
                let token = signer.sign(algorithm, &header, &claims(json!({})).to_string());
                assert_eq!(judged(&*policy, &token), "jwt.signature", "{algorithm:?} as {other:?}");
            }
        }
        for (stranger, algorithms) in pairs() {
            let expected = if stranger.pem() == signer.pem() { "ok" } else { "jwt.algorithm" };
            assert_eq!(judged(&*policy, &stranger.token(algorithms[0], None, &claims(json!({})))), expected);
        }
    }
    for algorithm in Algorithm::MAC {
        let policy = with_secret(json!({ "algorithms": algorithm.as_str() }));
        let signed = signed(&json!({ "alg": algorithm.as_str() }).to_string(), &claims(json!({})).to_string());
        let tag = hmac::sign(&hmac::Key::new(algorithm.mac().unwrap(), SECRET.as_bytes()), signed.as_bytes());
        assert_eq!(judged(&*policy, &format!("{signed}.{}", base64(tag))), "ok");
    }
}

/// CVE-2026-39999 and its many elders.
#[test]
fn a_public_key_is_never_a_secret() {
    for (signer, own) in pairs() {
        let pem = signer.pem();
        for config in [json!({ "public_key": pem }), json!({ "keys": [{ "public_key": pem, "kid": "a" }] })] {
            let policy = policy(&config);
            for secret in
                [pem.as_bytes(), pem.trim_end().as_bytes(), &STANDARD.decode(&pem[27..pem.len() - 26]).unwrap()]
            {
                let token = hs256_raw(r#"{"alg":"HS256","kid":"a"}"#, &claims(json!({})).to_string(), secret);
                assert_eq!(judged(&*policy, &token), "jwt.algorithm");
            }
            assert_eq!(judged(&*policy, &signer.token(own[0], Some("a"), &claims(json!({})))), "ok");
        }
    }
    let shown = transcript(
        &entry::<Jwt>(),
        &json!({ "secret": pairs()[0].0.pem() }).to_string(),
        "GET / HTTP/1.1\nHost: a",
        "200",
    );
    assert!(shown.contains("use `public_key`") && !shown.contains("MII"), "{shown}");
}

#[test]
fn headers_that_choose_their_own_key_or_ask_for_more_are_refused() {
    let policy = with_secret(json!({}));
    let body = claims(json!({})).to_string();
    let asked = |header: &str| judged(&*policy, &hs256_raw(header, &body, SECRET.as_bytes()));
    assert_eq!(asked(r#"{"alg":"HS256"}"#), "ok");
    for member in [
        r#""crit":["exp"],"exp":1"#,
        r#""crit":[]"#,
        r#""b64":false,"crit":["b64"]"#,
        r#""b64":false"#,
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
        r#""jku":"https://evil.example/keys""#,
        r#""x5u":"https://evil.example/chain""#,
        r#""x5c":["AAAA"]"#,
        r#""zip":"DEF""#,
        r#""enc":"A256GCM""#,
        r#""kid":7"#,
        r#""alg":"HS256""#,
        r#""typ":"dpop+jwt""#,
        r#""typ":7"#,
    ] {
        assert_eq!(asked(&format!(r#"{{"alg":"HS256",{member}}}"#)), "jwt.malformed", "{member}");
    }
    for alg in ["none", "None", "NONE", "nOnE", "hs256", "HS256 ", "", "HS1", "RSA1_5", "dir"] {
        assert_eq!(asked(&json!({ "alg": alg }).to_string()), "jwt.algorithm", "{alg}");
    }
    for header in [r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, "{}"] {
        assert_eq!(asked(header), "jwt.algorithm", "{header}");
    }
    // What stands in `kid` is compared and nothing else.
    for id in ["../../dev/null", "' OR 1=1 --", "\u{0}", &"x".repeat(2000)] {
        assert_eq!(asked(&json!({ "alg": "HS256", "kid": id }).to_string()), "ok");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let policy = with_secret(json!({}));
    let good = hs256(&claims(json!({})));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    for token in [
        String::new(),
        "a".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.x.y"),
        format!("{header}.{payload}.{signature}="),
        format!("{header} .{payload}.{signature}"),
        format!("{header}.{payload}.{}", signature.replace(|c| c != 'A', "/")),
        format!(".{payload}.{signature}"),
        format!("{}.{payload}.{signature}", base64("[]")),
        format!("{}.{payload}.{signature}", base64("\u{feff}{}")),
    ] {
        let judged = judged(&*policy, &token);
        assert!(judged == "jwt.malformed", "{token}: {judged}");
    }
    assert_eq!(judged(&*policy, &format!("{header}.{payload}.{}", base64([0; 32]))), "jwt.signature");
    assert_eq!(judged(&*policy, &format!("{header}.{payload}.{}", base64([0]))), "jwt.signature");
    assert_eq!(judged(&*policy, &hs256(&claims(json!({ "pad": "x".repeat(9000) })))), "jwt.malformed");
    let unsigned = format!("{}.", signed(r#"{"alg":"none"}"#, &claims(json!({})).to_string()));
    assert_eq!(judged(&*policy, &unsigned), "jwt.algorithm");
    // CVE-2022-21449.
    let (signer, _) = &pairs()[1];
    let policy = super::tests::policy(&json!({ "public_key": signer.pem() }));
    let zero = format!("{}.{}", signed(r#"{"alg":"ES256"}"#, &claims(json!({})).to_string()), base64([0; 64]));
    assert_eq!(judged(&*policy, &zero), "jwt.signature");
}

#[test]
fn dates_are_numbers_and_bind() {
    let policy = with_secret(json!({}));
    let now = unix_now();
    let asked = |with: Value| judged(&*policy, &hs256(&claims(with)));
    for (with, expected) in [
        (json!({ "exp": now + 1 }), "ok"),
        (json!({ "exp": now - 5 }), "ok"),
        (json!({ "exp": now - 11 }), "jwt.expired"),
        (json!({ "exp": 0 }), "jwt.expired"),
        (json!({ "exp": now as f64 + 100.5 }), "ok"),
        (json!({ "exp": (now + 100).to_string() }), "jwt.claim"),
        (json!({ "exp": -1 }), "jwt.claim"),
        (json!({ "exp": 9_223_372_036_854_775_807_u64 }), "jwt.claim"),
        (json!({ "exp": 18_446_744_073_709_551_615_u64 }), "jwt.claim"),
        (json!({ "exp": 1e300 }), "jwt.claim"),
        (json!({ "exp": null }), "jwt.claim"),
        (json!({ "exp": [now + 100] }), "jwt.claim"),
        (json!({ "nbf": now + 5 }), "ok"),
        (json!({ "nbf": now + 60 }), "jwt.not_yet"),
        (json!({ "nbf": "0" }), "jwt.claim"),
        (json!({ "iat": now + 60 }), "jwt.not_yet"),
        (json!({ "iat": "now" }), "jwt.claim"),
    ] {
        assert_eq!(asked(with.clone()), expected, "{with}");
    }
    let without = hs256(&json!({ "sub": "a" }));
    assert_eq!(judged(&*policy, &without), "jwt.claim");
    assert_eq!(judged(&*with_secret(json!({ "require_exp": false })), &without), "ok");
    let twice = format!(r#"{{"sub":"a","exp":{},"sub":"b"}}"#, now + 60);
    assert_eq!(judged(&*policy, &hs256_raw(r#"{"alg":"HS256"}"#, &twice, SECRET.as_bytes())), "jwt.malformed");
}

#[test]
fn issuer_audience_and_required_claims_bind() {
    let config =
        json!({ "issuer": "https://a.example", "audience": ["api", "web"], "required_claims": ["sub", "x.y"] });
    let policy = with_secret(config);
    let asked = |with: Value| {
        let mut all = json!({ "iss": "https://a.example", "aud": "api", "x": { "y": 0 } });
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        judged(&*policy, &hs256(&claims(all)))
    };
    for (with, expected) in [
        (json!({}), "ok"),
        (json!({ "aud": ["other", "web"] }), "ok"),
        (json!({ "aud": [] }), "jwt.audience"),
        (json!({ "aud": "ap" }), "jwt.audience"),
        (json!({ "aud": "api web" }), "jwt.audience"),
        (json!({ "aud": null }), "jwt.audience"),
        (json!({ "aud": { "api": true } }), "jwt.audience"),
        (json!({ "iss": "https://a.example/" }), "jwt.issuer"),
        (json!({ "iss": ["https://a.example"] }), "jwt.issuer"),
        (json!({ "iss": null }), "jwt.issuer"),
        (json!({ "x": {} }), "jwt.claim"),
        (json!({ "sub": null }), "jwt.claim"),
    ] {
        assert_eq!(asked(with.clone()), expected, "{with}");
    }
    let all = with_secret(json!({ "audience": { "all": ["a", "b"], "any": "c" } }));
    assert_eq!(judged(&*all, &hs256(&claims(json!({ "aud": ["a", "b", "c"] })))), "ok");
    assert_eq!(judged(&*all, &hs256(&claims(json!({ "aud": ["a", "c"] })))), "jwt.audience");
    assert_eq!(judged(&*all, &hs256(&claims(json!({ "aud": ["a", "b"] })))), "jwt.audience");
}

/// Agentgateway chooses by `kid` alone.
#[test]
fn the_issuer_chooses_the_keys_whatever_key_a_token_names() {
    let (good, evil) = (Signer::rsa(), Signer::rsa());
    let policy = policy(&json!({ "issuers": [
        { "issuer": "good", "keys": [{ "kid": "k", "public_key": good.pem() }] },
        { "issuer": "evil", "keys": [{ "kid": "k", "public_key": evil.pem() }, { "kid": "e", "public_key": evil.pem() }] },
        { "issuer": "secret", "secret": SECRET },
    ] }));
    let token = |signer: &Signer, issuer: &str, id: &str| {
        signer.token(Algorithm::RS256, Some(id), &claims(json!({ "iss": issuer })))
    };
    assert_eq!(judged(&*policy, &token(&good, "good", "k")), "ok");
    assert_eq!(judged(&*policy, &token(&evil, "evil", "k")), "ok");
    assert_eq!(judged(&*policy, &token(&evil, "good", "k")), "jwt.signature");
    assert_eq!(judged(&*policy, &token(&evil, "good", "e")), "jwt.key_unknown");
    assert_eq!(judged(&*policy, &token(&evil, "secret", "k")), "jwt.algorithm");
    assert_eq!(judged(&*policy, &token(&evil, "third", "k")), "jwt.issuer");
    assert_eq!(judged(&*policy, &hs256(&claims(json!({ "iss": "good" })))), "jwt.algorithm");
    assert_eq!(judged(&*policy, &hs256(&claims(json!({ "iss": "secret" })))), "ok");
}

#[test]
fn what_upstreams_and_later_policies_get() {
    let config = json!({
        "secret": SECRET, "identity_headers": true,
        "claims_to_headers": { "realm.tenant": "X-Tenant", "groups": "x-groups", "n": "x-n", "none": "x-none" }
    });
    let token = hs256(&claims(json!({
        "realm": { "tenant": "acme" }, "groups": ["a", "b,c"], "n": 7, "roles": ["r1", "r2"], "scope": "read write", "iss": "i"
    })));
    let policy = policy(&config);
    for round in ["verified", "known"] {
        let mut asked = asking(&token);
        asked.head.fields.append_text(b"X-Other", b"stays").unwrap();
        let shown = run(&*policy, &mut asked, reply("200"));
        let expected = "GET /x\nhost: a\nx-other: stays\nx-user-id: u-7\nx-user-role: admin\nx-user-email: a@b.example\n\
                        x-groups: [\"a\",\"b,c\"]\nx-n: 7\nx-tenant: acme\n--\n200\n";
        assert_eq!(shown, expected, "{round}");
        let identity = asked.identity.unwrap();
        assert_eq!((&*identity.subject, identity.proven_by, identity.issuer.as_deref()), ("u-7", "jwt", Some("i")));
        assert!(identity.roles.contains("r1") && identity.roles.contains("r2") && !identity.roles.contains("admin"));
        assert!(identity.scopes.contains("read") && identity.scopes.contains("write"));
        assert_eq!(identity.claim("realm.tenant"), Some(&"acme".into()));
    }
    let owned: String = policy.owned_headers().iter().fold(String::new(), |mut all, name| {
        let _ = write!(all, "{name} ");
        all
    });
    assert_eq!(owned, "x-user-id x-user-role x-user-email x-groups x-n x-none x-tenant ");
    let token = hs256(&claims(json!({ "sub": "a\r\nx-admin: 1" })));
    assert_eq!(judged(&*policy, &token), "jwt.claim");
}

#[test]
fn a_token_goes_no_further_than_it_has_to() {
    let token = hs256(&claims(json!({})));
    let run = |with: Value, request: String| run(&*with_secret(with), &mut exchange(&request), reply("200"));
    let kept = run(json!({ "forward_token": true }), format!("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer {token}"));
    assert!(kept.contains("authorization: "), "{kept}");
    let places = json!({ "from": [{ "cookie": "t" }, { "query": "t" }, { "header": "X-T" }] });
    for request in [
        format!("GET /?t={token} HTTP/1.1\nHost: a"),
        format!("GET / HTTP/1.1\nHost: a\nCookie: t={token}"),
        format!("GET / HTTP/1.1\nHost: a\nX-T: {token}"),
    ] {
        assert_eq!(run(places.clone(), request), "GET /\nhost: a\n--\n200\n");
    }
    let both = run(places, format!("GET /?t={token} HTTP/1.1\nHost: a\nCookie: t={token}"));
    assert!(both.starts_with("rejected jwt.ambiguous 401"), "{both}");
}

#[test]
fn refusals_say_what_rfc_6750_asks_for() {
    let run = |with: Value, fields: &str| {
        run(&*with_secret(with), &mut exchange(&format!("GET / HTTP/1.1\nHost: a{fields}")), reply("200"))
    };
    assert_eq!(run(json!({}), ""), "rejected jwt.missing 401\n401\nwww-authenticate: Bearer\n");
    assert_eq!(
        run(json!({}), "\nAuthorization: Bearer x"),
        "rejected jwt.malformed 401\n401\nwww-authenticate: Bearer error=\"invalid_token\"\n"
    );
    assert_eq!(run(json!({ "optional": true }), ""), "GET /\nhost: a\n--\n200\n");
    assert!(run(json!({ "optional": true }), "\nAuthorization: Bearer x").starts_with("rejected jwt.malformed 401"));
    for refusal in super::REFUSALS {
        let told = refusal.told();
        assert!(matches!(told.code, "jwt.missing" | "jwt.invalid" | "jwt.keys_unavailable"), "{}", refusal.code);
    }
    assert_eq!(super::refusals::EXPIRED.told().error, Some("Invalid token"));
    assert_eq!(super::MISSING.error, Some("No token provided"));
}

#[test]
fn explaining_names_the_caller_or_the_reason() {
    let policy = with_secret(json!({}));
    let explain = |token: &str| {
        let mut asked = asking(token);
        let says = policy.explain(&mut asked).unwrap();
        (says, asked.identity.map(|identity| identity.subject.to_string()))
    };
    assert_eq!(explain(&hs256(&claims(json!({})))), ("the caller is `u-7`".into(), Some("u-7".into())));
    let expired = explain(&hs256(&claims(json!({ "exp": 1 }))));
    assert_eq!(expired, ("refuses with jwt.expired: `exp` has passed".into(), None));
    let mut none = exchange("GET / HTTP/1.1\nHost: a");
    assert_eq!(policy.explain(&mut none).unwrap(), "refuses with jwt.missing: no token in header `authorization`");
}

#[test]
fn mistakes_in_configurations_are_named() {
    let shown = |config: Value| {
        let site = TestNames::new("test", "/*").counting(super::EVENTS);
        let built = (entry::<Jwt>().build)(&written(&config.to_string()), &site);
        let mut shown = show_diagnostics(&site.warnings.take());
        if let Err(problems) = built {
            shown.push_str(&show_diagnostics(&problems));
        }
        shown
    };
    for (config, expected) in [
        (json!({}), "error jwt.keys: there are no keys"),
        (json!({ "secret": "" }), "error jwt.secret: the secret is shorter"),
        (json!({ "secret": "0123456789abcdef" }), "warning jwt.secret"),
        (json!({ "secret": "*", "secret_is_base64": true }), "error jwt.secret: this is not base64"),
        (json!({ "secret": SECRET, "algorithms": "RS256" }), "error jwt.algorithms: a secret"),
        (json!({ "public_key": "x" }), "error jwt.public_key"),
        (json!({ "public_key": pairs()[1].0.pem(), "algorithms": ["RS256"] }), "error jwt.algorithms: this key"),
        (json!({ "secret": SECRET, "jwks": "https://a.example/keys" }), "error jwt.keys: there are keys here and"),
        (json!({ "jwks": { "upstream": "nobody", "path": "/keys" } }), "error config.unknown_upstream"),
        (json!({ "jwks": { "upstream": "users", "path": "keys" } }), "error config.service_path"),
        (json!({ "jwks": "https://a.example/keys" }), "warning jwt.audience"),
        (json!({ "discover": true }), "error jwt.issuer: `discover` needs"),
        (json!({ "issuers": [{ "secret": SECRET }] }), "error jwt.issuer: the issuer has no name"),
        (
            json!({ "secret": SECRET, "issuers": [{ "issuer": "a", "secret": SECRET }] }),
            "error jwt.keys: there are `issuers`",
        ),
        (json!({ "secret": SECRET, "claims_to_headers": { "sub": "Authorization" } }), "error jwt.header"),
        (json!({ "secret": SECRET, "claims_to_headers": { "sub": "x-forwarded-for" } }), "error jwt.header"),
        (json!({ "secret": SECRET, "claims_to_headers": { "sub": "x-a", "b": "X-A" } }), "error jwt.header"),
        (json!({ "secret": SECRET, "from": [{ "header": "a", "cookie": "b" }] }), "error jwt.from"),
        (json!({ "secret": SECRET, "leeway": "1h" }), "error jwt.leeway"),
        (json!({ "secret": SECRET, "algorithms": ["none"] }), "none"),
        (json!({ "secret": SECRET, "audience": [] }), "expected a name, a list"),
    ] {
        let shown = shown(config.clone());
        assert!(shown.contains(expected), "{config}: {shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
