//! Tokens that are not what they say, or could be read in two ways.

use super::identity::guarded;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use torana_e2e::both::Wire;
use torana_e2e::client::get;
use torana_e2e::gateway::Gateway;
use torana_e2e::token::{Issuer, bearer, claims, seconds_from_now, with_secret, with_signature};

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
    refused(&gateway, &tokens);
    assert!(origin.seen().is_empty());
    assert_eq!(gateway.ask(get("/api/x", &bearer(&issuer.token(&claims)))).status(), 200);
}

/// Each token is refused over both protocols, and none of them twice differently.
fn refused(gateway: &Gateway, tokens: &[String]) {
    for token in tokens {
        for wire in Wire::BOTH {
            let told = wire.get(gateway, "/api/x", &bearer(token));
            assert_eq!(told.verdict(), (401, "jwt.invalid".into()), "{token} over {wire:?}");
        }
    }
}

/// APISIX: encrypted tokens were let through as they came where the policy had no key. Here there are none: they are
/// refused, whatever they hold.
#[test]
fn cve_2026_49230_encrypted_tokens() {
    let (issuer, origin, gateway) = guarded();
    let inner = issuer.token(&claims("u"));
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let mut tokens = Vec::new();
    for header in [
        json!({ "alg": "dir", "enc": "A256GCM" }),
        json!({ "alg": "none", "enc": "none" }),
        json!({ "alg": "EdDSA", "enc": "A256GCM", "kid": "a" }),
        json!({ "alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF", "cty": "JWT" }),
    ] {
        let header = part(&header.to_string());
        tokens.push(format!("{header}..{}.{}.{}", part("iv"), part(&inner), part("tag")));
        tokens.push(format!("{header}....{}", part(&claims("u").to_string())));
        tokens.push(format!("{header}.{}.{}", part(&claims("u").to_string()), part("x")));
    }
    // Signed by the right key, and said to be encrypted or packed besides.
    for header in [
        r#"{"alg":"EdDSA","kid":"a","enc":"A256GCM"}"#,
        r#"{"alg":"EdDSA","kid":"a","zip":"DEF"}"#,
        r#"{"alg":"EdDSA","kid":"a","typ":"JWE"}"#,
    ] {
        tokens.push(issuer.token_of(header, &claims("u").to_string()));
    }
    refused(&gateway, &tokens);
    assert!(origin.seen().is_empty());
}

/// Tyk: what was verified and what was read of one document were two things. A token says everything once.
#[test]
fn cve_2021_23365_two_readings_of_one_token() {
    let (issuer, origin, gateway) = guarded();
    let exp = seconds_from_now(600);
    let mut tokens = Vec::new();
    let header = r#"{"alg":"EdDSA","kid":"a"}"#;
    for text in [
        format!(r#"{{"sub":"u","sub":"root","exp":{exp}}}"#),
        format!(r#"{{"sub":"u","s\u0075b":"root","exp":{exp}}}"#),
        format!(r#"{{"sub":"u","exp":{exp},"exp":{exp}}}"#),
        format!(r#"{{"sub":"u","exp":{exp},"x":{{"a":1,"a":2}}}}"#),
        format!(r#"{{"sub":"u","exp":{exp}}}{{"sub":"root","exp":{exp}}}"#),
        format!("{{\"sub\":\"u\",\"exp\":{exp}}}\0"),
        format!("\u{feff}{{\"sub\":\"u\",\"exp\":{exp}}}"),
        format!(r#"[{{"sub":"u","exp":{exp}}}]"#),
        format!(r#"{{"sub":"u","exp":{exp},}}"#),
        format!(r#"{{'sub':'u','exp':{exp}}}"#),
        format!(r#"{{"sub":"u","exp":{exp},"x":"\ud800"}}"#),
        format!(r#"{{"sub":"u","exp":{exp},"x":{}1{}}}"#, "[".repeat(2000), "]".repeat(2000)),
        "null".to_owned(),
        String::new(),
    ] {
        tokens.push(issuer.token_of(header, &text));
    }
    for header in [
        r#"{"alg":"EdDSA","kid":"a","alg":"EdDSA"}"#,
        r#"{"alg":"none","kid":"a","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"a","\u0061lg":"HS256"}"#,
        r#"{"alg":"EdDSA","kid":"a"} {}"#,
        r#"{"alg":"EdDSA","kid":["a"]}"#,
        r#"{"alg":["EdDSA"],"kid":"a"}"#,
        r#"{"alg":"EdDSA\u0000","kid":"a"}"#,
        r#"{"Alg":"EdDSA","kid":"a"}"#,
        r#"{"alg":"eddsa","kid":"a"}"#,
    ] {
        tokens.push(issuer.token_of(header, &claims("u").to_string()));
    }
    // The same bytes, written otherwise.
    let good = issuer.token(&claims("u"));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = signed.split_once('.').unwrap();
    for other in [
        format!("{head}=.{payload}.{signature}"),
        format!("{head}.{payload}=.{signature}"),
        format!("{signed}.{signature}=="),
        format!("{signed}.{signature}."),
        format!(".{signed}.{signature}"),
        format!("{signed}..{signature}"),
        format!("{signed}.\"{signature}\""),
        format!("{head}.{payload}.{}", signature.replacen(['-', '_'], "+", 1) + "+"),
        format!("{head}%2e{payload}.{signature}"),
    ] {
        tokens.push(other);
    }
    refused(&gateway, &tokens);
    assert!(origin.seen().is_empty());
}

/// What libraries for JOSE have got wrong, signed by the right key where that is not the point.
#[test]
fn cve_2022_21449_and_the_rest_of_jose() {
    let (issuer, origin, gateway) = guarded();
    let evil = Issuer::new("a");
    let all = claims("u");
    let mut tokens = Vec::new();
    let nowhere = "http://127.0.0.1:9/keys";
    for more in [
        json!({ "crit": ["exp"], "exp": 1 }),
        json!({ "crit": [] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "b64": false }),
        json!({ "b64": true }),
        json!({ "jwk": evil.jwk() }),
        json!({ "jwk": issuer.jwk() }),
        json!({ "jku": nowhere }),
        json!({ "x5u": nowhere }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "zip": "DEF" }),
        json!({ "typ": "dpop+jwt" }),
        json!({ "typ": "logout+jwt" }),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "a" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tokens.push(issuer.token_of(&header.to_string(), &all.to_string()));
        // And by the key that it brings.
        tokens.push(evil.token_of(&header.to_string(), &all.to_string()));
    }
    for kid in ["../../../dev/null", "' OR 1=1 --", "a\0b", "http://127.0.0.1:9/", "${env:PATH}"] {
        tokens.push(with_secret(&json!({ "alg": "HS256", "kid": kid }), &all, b""));
        tokens.push(with_secret(&json!({ "alg": "HS256", "kid": kid }), &all, &[0]));
        tokens.push(evil.token_as(kid, &all));
    }
    for alg in ["ES256", "ES384", "ES512", "ES256K", "EdDSA", "RS256", "PS256", "HS256", "none", "NONE", "", "Ed25519"]
    {
        for length in [0, 1, 32, 64, 96, 132, 256] {
            tokens.push(with_signature(&json!({ "alg": alg, "kid": "a" }), &all, &vec![0; length]));
        }
        // DER of (0, 0) and of (1, 1).
        tokens.push(with_signature(&json!({ "alg": alg, "kid": "a" }), &all, &[0x30, 6, 2, 1, 0, 2, 1, 0]));
        tokens.push(with_signature(&json!({ "alg": alg, "kid": "a" }), &all, &[0x30, 6, 2, 1, 1, 2, 1, 1]));
    }
    let mut with = |name: &str, value: &str| {
        let mut text = all.clone();
        text[name] = json!("PLACE");
        let text = text.to_string().replace("\"PLACE\"", value);
        tokens.push(issuer.token_of(r#"{"alg":"EdDSA","kid":"a"}"#, &text));
    };
    for value in [
        "\"9999999999\"",
        "true",
        "null",
        "[9999999999]",
        "{}",
        "-1",
        "0",
        "1",
        "-9223372036854775808",
        "NaN",
        "1e400",
        "99999999999999999999999999",
        "0x7fffffff",
        "\"never\"",
    ] {
        with("exp", value);
    }
    for value in ["\"0\"", "true", "[0]", "1e400", "9999999999", "9223372036854775807", "99999999999999999999"] {
        with("nbf", value);
    }
    refused(&gateway, &tokens);
    let kept = gateway.ask(get("/api/x", &bearer(&format!("{}.{}", issuer.token(&all), "A".repeat(7000)))));
    assert_eq!(kept.status(), 401);
    assert!(origin.seen().is_empty());
    assert_eq!(gateway.ask(get("/api/x", &bearer(&issuer.token(&all)))).status(), 200);
}
