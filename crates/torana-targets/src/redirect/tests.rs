use super::*;
use torana_core::target::entry;
use torana_core::testing::target_transcript;

fn location(to: &str, captures: &[(&str, &str)], target: &str) -> String {
    let config = format!("{{ \"to\": {to:?} }}");
    let request = format!("GET {target} HTTP/1.1\nHost: a.example");
    let shown = target_transcript(&entry::<Redirect>(), &config, captures, &request);
    match shown.split_once("location: ") {
        Some((_, location)) => location.trim().to_owned(),
        None => shown,
    }
}

#[test]
fn the_whole_reply() {
    let config = r#"{ "to": "/v2/{rest}", "status": 301 }"#;
    let request = "GET /v1/a/b?x=1 HTTP/1.1\nHost: a";
    let shown = target_transcript(&entry::<Redirect>(), config, &[("rest", "a/b")], request);
    assert_eq!(shown, "redirect 301 /v2/{rest}\n301\nlocation: /v2/a/b?x=1\n");
}

#[test]
fn an_own_query_replaces_the_request_s() {
    assert_eq!(location("/x?own=1", &[], "/a?b=2"), "/x?own=1");
    assert_eq!(location("/x?", &[], "/a?b=2"), "/x?");
    assert_eq!(location("https://new.example", &[], "/a?b=2"), "https://new.example/?b=2");
    assert_eq!(location("/x#part", &[], "/a?b=2"), "/x?b=2#part");
}

#[test]
fn captures_cannot_choose_the_host() {
    for to in ["https://{rest}/x", "https://a.{rest}", "http://{rest}", "https://a@{rest}/"] {
        assert!(location(to, &[("rest", "a")], "/a").contains("error redirect.to"), "{to}");
    }
    // Nor by ending up at the front of the path.
    assert_eq!(location("/{a}/{b}", &[("a", ""), ("b", "evil")], "/x/evil"), "/evil");
    assert_eq!(location("https://h.example/{a}", &[("a", "@evil")], "/@evil"), "https://h.example/@evil");
}

#[test]
fn what_is_no_place_is_refused() {
    for to in
        ["//evil.example", "javascript:alert(1)", "v2", "", "https://", "/a/../b", "/a b", "/x?q={rest}", "/\\evil"]
    {
        let shown = location(to, &[("rest", "a")], "/a");
        assert!(shown.contains("error redirect.to"), "{to}: {shown}");
    }
    let shown = location("/{rset}", &[("rest", "a")], "/a");
    assert_eq!(
        shown,
        "error redirect.template: `{rset}` is not captured by the route's path (did you mean `{rest}`?)\n"
    );
}

#[test]
fn only_redirects_have_these_statuses() {
    let shown =
        target_transcript(&entry::<Redirect>(), r#"{ "to": "//x", "status": 200 }"#, &[], "GET / HTTP/1.1\nHost: a");
    assert!(shown.contains("redirect.status") && shown.contains("redirect.to"), "both at once: {shown}");
}

/// Where a redirect of `config` sends `GET target` of `host`, or the code it
/// is refused with.
fn sent(config: &str, request: &str) -> String {
    let shown = target_transcript(&entry::<Redirect>(), config, &[], request);
    match (shown.split_once("location: "), shown.split_once("rejected ")) {
        (Some((_, location)), _) => location.trim().to_owned(),
        (None, Some((_, code))) => code.trim().to_owned(),
        (None, None) => shown,
    }
}

#[test]
fn the_scheme_alone_keeps_host_path_and_query() {
    let sent =
        |target: &str, host: &str| sent(r#"{ "scheme": "https" }"#, &format!("GET {target} HTTP/1.1\nHost: {host}"));
    assert_eq!(sent("/a/b?c=%20d", "shop.example"), "https://shop.example/a/b?c=%20d");
    assert_eq!(sent("/", "Shop.Example."), "https://shop.example/");
    // The port was that of the other scheme.
    assert_eq!(sent("/", "shop.example:8080"), "https://shop.example/");
    assert_eq!(sent("/", "[2001:DB8::0:1]:80"), "https://[2001:db8::1]/");
}

#[test]
fn each_part_of_the_origin_can_be_given() {
    let request = "GET /a?b HTTP/1.1\nHost: shop.example:8080";
    for (config, location) in [
        (r#"{ "scheme": "https", "port": 8443 }"#, "https://shop.example:8443/a?b"),
        (r#"{ "scheme": "https", "port": 443 }"#, "https://shop.example/a?b"),
        (r#"{ "scheme": "http", "port": 443 }"#, "http://shop.example:443/a?b"),
        (r#"{ "scheme": "http" }"#, "http://shop.example/a?b"),
        (r#"{ "host": "New.Example" }"#, "http://new.example:8080/a?b"),
        (r#"{ "host": "[::1]", "port": 80 }"#, "http://[::1]/a?b"),
        (r#"{ "port": 8081 }"#, "http://shop.example:8081/a?b"),
        (r#"{ "scheme": "https", "host": "new.example", "to": "/x" }"#, "https://new.example/x?b"),
        (r#"{ "host": "new.example", "port": 1, "to": "/x?own#part" }"#, "http://new.example:1/x?own#part"),
        (r#"{ "to": "https://New.Example:443/x" }"#, "https://new.example/x?b"),
    ] {
        assert_eq!(sent(config, request), location, "{config}");
    }
}

#[test]
fn the_scheme_asked_for_is_the_one_the_gateway_forwards() {
    // Its own field by then: where a trusted proxy ended the TLS, `https`.
    let request = "GET /a HTTP/1.1\nHost: shop.example\nX-Forwarded-Proto: https";
    assert_eq!(sent(r#"{ "host": "new.example" }"#, request), "https://new.example/a");
    assert_eq!(sent(r#"{ "scheme": "https" }"#, request), "redirect.loop 500");
}

#[test]
fn a_request_without_a_host_is_not_sent_to_it() {
    let request = "GET /a HTTP/1.0";
    let mut exchange = torana_core::testing::raw_exchange(request);
    exchange.head.version = torana_core::head::Version::Http10;
    exchange.admit().unwrap();
    let origin = Origin::Changed { scheme: Some(Scheme::Https), host: None, port: None };
    let rejection = origin.write(&exchange, &mut String::new()).unwrap_err();
    assert_eq!(rejection.refusal.code, "redirect.no_host");
    let named = Origin::Changed { scheme: Some(Scheme::Https), host: Some("a.example".to_owned()), port: None };
    let mut out = String::new();
    named.write(&exchange, &mut out).unwrap();
    assert_eq!(out, "https://a.example");
}

#[test]
fn nobody_is_sent_where_they_are() {
    let get = "GET /a?b HTTP/1.1\nHost: shop.example";
    for config in [
        r#"{ "scheme": "http" }"#,
        r#"{ "host": "shop.example" }"#,
        r#"{ "to": "/a" }"#,
        r#"{ "to": "/a?b#part" }"#,
        r#"{ "to": "http://SHOP.example:80/a" }"#,
    ] {
        assert_eq!(sent(config, get), "redirect.loop 500", "{config}");
    }
    assert_eq!(sent(r#"{ "to": "/a?c" }"#, get), "/a?c");
    // A form that is shown again after it was sent.
    let post = "POST /a?b HTTP/1.1\nHost: shop.example";
    assert_eq!(sent(r#"{ "to": "/a", "status": 303 }"#, post), "/a?b");
    assert_eq!(sent(r#"{ "to": "/a", "status": 307 }"#, post), "redirect.loop 500");
}

#[test]
fn no_request_leads_to_another_host() {
    for target in ["//evil.example", "///evil.example/%2e", "/a//evil.example/", "/x?//evil.example", "/@evil.example"]
    {
        for config in [r#"{ "scheme": "https" }"#, r#"{ "port": 8443, "scheme": "https" }"#] {
            let location = sent(config, &format!("GET {target} HTTP/1.1\nHost: shop.example"));
            let rest = location.strip_prefix("https://shop.example").unwrap();
            let path = rest.strip_prefix(":8443").unwrap_or(rest);
            assert!(path.starts_with('/') && !path.starts_with("//"), "{target}: {location}");
        }
    }
    let forged = "GET /a HTTP/1.1\nHost: shop.example\nX-Forwarded-Host: evil.example\nForwarded: host=evil.example";
    assert_eq!(sent(r#"{ "scheme": "https" }"#, forged), "https://shop.example/a");
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let code = |config: &str| sent(config, "GET / HTTP/1.1\nHost: a").split(':').next().unwrap().to_owned();
    assert_eq!(code("{}"), "error redirect.nothing");
    assert_eq!(code(r#"{ "status": 301 }"#), "error redirect.nothing");
    for key in [r#""scheme": "https""#, r#""host": "b.example""#, r#""port": 1"#] {
        assert_eq!(code(&format!(r#"{{ "to": "https://a.example", {key} }}"#)), "error redirect.conflict");
    }
    for host in ["a.example:443", "a.example:80", "[::1]:8080", "::1", "", "a b", "u@a", "{rest}", "a/b", "https://a"] {
        assert_eq!(code(&format!(r#"{{ "host": "{host}" }}"#)), "error redirect.host", "{host}");
    }
    assert_eq!(code(r#"{ "port": 0 }"#), "error config.out_of_range");
    assert_eq!(code(r#"{ "scheme": "ftp" }"#), "error config.invalid_value");
    let all = sent(r#"{ "to": "nowhere", "host": "a b", "status": 200 }"#, "GET / HTTP/1.1\nHost: a");
    assert_eq!(all.lines().count(), 3, "all at once: {all}");
}

#[test]
fn listings_show_what_was_written() {
    let config = r#"{ "scheme": "https", "host": "New.example", "port": 8443, "to": "/x", "status": 302 }"#;
    let shown = target_transcript(&entry::<Redirect>(), config, &[], "GET / HTTP/1.1\nHost: a");
    assert!(shown.starts_with("redirect 302 scheme https host New.example port 8443 /x\n"), "{shown}");
}
