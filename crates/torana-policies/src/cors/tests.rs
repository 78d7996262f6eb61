//! What browsers get to read.

use super::*;
use torana_core::policy::entry;
use torana_core::testing::transcript;

fn run(config: &str, request: &str, reply: &str) -> String {
    transcript(&entry::<Cors>(), config, request, reply)
}

const SHOP: &str = r#"{
    "origins": "https://shop.example,https://*.shop.example",
    "methods": ["GET", "PUT"],
    "headers": ["Content-Type", "X-API-Key"],
    "expose_headers": "X-Total",
    "credentials": true
}"#;

#[test]
fn a_preflight_is_answered() {
    let request = "OPTIONS /x HTTP/1.1\nHost: a\nOrigin: https://a.shop.example\nAccess-Control-Request-Method: PUT";
    let expected = "answered\n204\nvary: origin\nvary: access-control-request-method\n\
        vary: access-control-request-headers\naccess-control-allow-origin: https://a.shop.example\n\
        access-control-allow-credentials: true\naccess-control-allow-methods: GET, PUT\n\
        access-control-allow-headers: Content-Type, X-API-Key\naccess-control-max-age: 600\n";
    assert_eq!(run(SHOP, request, "200"), expected);
}

#[test]
fn a_preflight_of_another_site_is_refused_without_a_word_about_who_may() {
    for origin in ["https://evil.example", "null", "https://shop.example.evil.example"] {
        let request = format!("OPTIONS /x HTTP/1.1\nHost: a\nOrigin: {origin}\nAccess-Control-Request-Method: PUT");
        let expected = "rejected cors.origin_not_allowed 403\n403\nvary: origin\n\
            vary: access-control-request-method\nvary: access-control-request-headers\n";
        assert_eq!(run(SHOP, &request, "200"), expected, "{origin}");
    }
    let twice = "OPTIONS /x HTTP/1.1\nHost: a\nOrigin: https://shop.example\nOrigin: https://shop.example\n\
        Access-Control-Request-Method: PUT";
    assert!(run(SHOP, twice, "200").starts_with("rejected cors.origin_not_allowed"));
}

#[test]
fn replies_say_who_may_read_them_whatever_the_target_says() {
    let reply = "200\nAccess-Control-Allow-Origin: *\nAccess-Control-Allow-Credentials: true\n\
        Access-Control-Allow-Private-Network: true\nVary: accept\n\nok";
    let request = "GET /x HTTP/1.1\nHost: a\nOrigin: https://shop.example";
    let shown = run(SHOP, request, reply);
    let expected = "200\nvary: accept\nvary: origin\naccess-control-allow-origin: https://shop.example\n\
        access-control-allow-credentials: true\naccess-control-expose-headers: X-Total\n\nok\n";
    assert_eq!(shown.split_once("--\n").unwrap().1, expected);
    for other in ["Origin: https://evil.example", "Accept: b"] {
        let shown = run(SHOP, &format!("GET /x HTTP/1.1\nHost: a\n{other}"), reply);
        assert_eq!(shown.split_once("--\n").unwrap().1, "200\nvary: accept\nvary: origin\n\nok\n", "{other}");
    }
}

#[test]
fn options_without_a_question_go_to_the_target() {
    for request in [
        "OPTIONS /x HTTP/1.1\nHost: a",
        "OPTIONS /x HTTP/1.1\nHost: a\nOrigin: https://evil.example",
        "GET /x HTTP/1.1\nHost: a\nOrigin: https://evil.example\nAccess-Control-Request-Method: GET",
    ] {
        assert!(!run(SHOP, request, "200").starts_with("rejected"), "{request}");
    }
}

#[test]
fn everybody_is_said_with_a_star_and_without_vary() {
    let config = r#"{ "origins": ["*"], "private_network": true, "max_age": "0s" }"#;
    let shown = run(config, "GET / HTTP/1.1\nHost: a\nOrigin: https://any.example", "200");
    assert!(shown.ends_with("--\n200\naccess-control-allow-origin: *\n"), "{shown}");
    // A browser that loads it as an image first asks its own cache later.
    let shown = run(config, "GET / HTTP/1.1\nHost: a", "200");
    assert!(shown.ends_with("--\n200\naccess-control-allow-origin: *\n"), "{shown}");
    let shown = run(config, "GET / HTTP/1.1\nHost: a\nOrigin: null", "200");
    assert!(shown.ends_with("--\n200\nvary: origin\n"), "{shown}");
    let asks = "OPTIONS / HTTP/1.1\nHost: a\nOrigin: https://any.example\nAccess-Control-Request-Method: GET\n\
        Access-Control-Request-Private-Network: true";
    let shown = run(config, asks, "200");
    assert!(shown.contains("access-control-allow-private-network: true\n"), "{shown}");
    assert!(shown.contains("access-control-allow-methods: GET, HEAD, POST\naccess-control-max-age: 0\n"), "{shown}");
}

#[test]
fn what_would_open_the_route_to_everybody_is_an_error() {
    for config in [
        r#"{ "origins": "*", "credentials": true }"#,
        r#"{ "origins": ["https://a.example", "https://b.example, *"], "credentials": true }"#,
        r#"{ "origins": "https://a.example", "headers": "*", "credentials": true }"#,
        r#"{ "origins": "https://a.example", "methods": ["*"], "credentials": true }"#,
    ] {
        assert!(run(config, "GET / HTTP/1.1\nHost: a", "200").starts_with("error cors.credentials"), "{config}");
    }
    assert!(run(r#"{ "origins": [] }"#, "GET / HTTP/1.1\nHost: a", "200").starts_with("error cors.no_origins"));
    assert!(run(r#"{ "origins": " , " }"#, "GET / HTTP/1.1\nHost: a", "200").starts_with("error cors.no_origins"));
    let shown = run(r#"{ "origins": "shop.example", "headers": "a b" }"#, "GET / HTTP/1.1\nHost: a", "200");
    assert!(shown.contains("error cors.origin:") && shown.contains("error cors.name:"), "{shown}");
}
