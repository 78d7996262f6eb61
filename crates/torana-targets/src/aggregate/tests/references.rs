use super::*;
use proptest::prelude::*;
use torana_core::identity::{Facts, Identity};
use torana_core::query;

/// Asks one part for what `template` makes of `value`, which comes once from a
/// service and once from the client; tells what was sent, or why not.
fn sent(part: &str, value: &str) -> Result<String, String> {
    let config = format!(
        r#"{{ "parts": {{ "v": {{ "upstream": "users", "path": "/v" }}, "p": {{ "upstream": "orders", {part} }} }} }}"#
    );
    let services = Rc::new(Services::default());
    let json: &'static str = serde_json::json!({ "x": value }).to_string().leak();
    services.now_says("/v", Says::Json(200, json));
    let built = build(&config, "/x/{id}");
    let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
    assert!(poll(&mut built.begin(&mut exchange)).is_some());
    match services.sent.take().into_iter().nth(1) {
        Some(text) => Ok(text),
        None => Err(exchange.notes.cause.unwrap().to_string()),
    }
}

fn target(part: &str, value: &str) -> Result<String, String> {
    let text = sent(part, value)?;
    Ok(text.lines().next().unwrap().trim_start_matches("orders GET ").to_owned())
}

#[test]
fn values_never_become_structure() {
    let path = r#""path": "/a/{v.x}/b?q={v.x}&r=1""#;
    let cases = [
        ("plain", Ok("/a/plain/b?q=plain&r=1")),
        ("a b&c=d?e#f", Ok("/a/a%20b%26c%3Dd%3Fe%23f/b?q=a%20b%26c%3Dd%3Fe%23f&r=1")),
        ("%2e%2e", Ok("/a/%252e%252e/b?q=%252e%252e&r=1")),
        ("é+;x", Ok("/a/%C3%A9%2B%3Bx/b?q=%C3%A9%2B%3Bx&r=1")),
        ("..", Err("dot segment")),
        (".", Err("dot segment")),
        ("a/../b", Err("cannot be asked for")),
        ("..\\b", Err("cannot be asked for")),
        ("a\r\nHost: evil", Err("cannot be asked for")),
        ("a\u{0}", Err("cannot be asked for")),
        ("", Err("is empty")),
    ];
    for (value, expected) in cases {
        match (target(path, value), expected) {
            (Ok(target), Ok(expected)) => assert_eq!(target, expected, "{value:?}"),
            (Err(cause), Err(expected)) => assert!(cause.contains(expected), "{value:?}: {cause}"),
            (found, _) => panic!("{value:?}: {found:?}"),
        }
    }
    assert_eq!(
        target(r#""path": "/a/.{v.x}""#, "."),
        Err("part `p` (orders): what is put into the path makes a dot segment of it".to_owned())
    );
    let in_query = r#""path": "/q", "query": { "a b": "x y{v.x}" }"#;
    assert_eq!(target(in_query, "/../\r\n&c=d").unwrap(), "/q?a%20b=x%20y%2F..%2F%0D%0A%26c%3Dd");
}

#[test]
fn values_never_become_lines() {
    let part = r#""path": "/p", "headers": { "x-v": "v={v.x}" }"#;
    assert!(sent(part, "a b\té").unwrap().contains("\nx-v: v=a b\té\n"));
    for value in ["a\r\nx: y", "a\nb", "a\u{0}"] {
        let cause = sent(part, value).unwrap_err();
        assert!(cause.ends_with("what is put into the header `x-v` cannot stand there"), "{cause}");
    }
}

#[test]
fn what_clients_send_is_taken_as_it_was_meant() {
    let config = r#"{ "parts": { "p": { "upstream": "users", "path": "/p/{id}",
        "query": { "id": "{id}", "q": "{query.q}", "none": "{query.none}", "h": "{headers.X-H}", "who": "{identity.subject}" } } } }"#;
    let built = build(config, "/x/{id}");
    let ask = |text: &str| {
        let services = Rc::new(Services::default());
        let mut exchange = request(&services, text);
        assert!(poll(&mut built.begin(&mut exchange)).is_some());
        let line = services.lines().into_iter().next();
        line.ok_or_else(|| exchange.notes.cause.unwrap().to_string())
    };
    assert_eq!(
        ask("GET /x/a%26b+c%C3%A9?q=1%262+3&other=4 HTTP/1.1\nHost: a\nx-h: a=b").unwrap(),
        "users GET /p/a%26b+c%C3%A9?h=a%3Db&id=a%26b%2Bc%C3%A9&q=1%262%203"
    );
    assert_eq!(ask("GET /x/7 HTTP/1.1\nHost: a").unwrap(), "users GET /p/7?id=7", "what is missing is left out");
    for twice in ["GET /x/7?q=1&q=2 HTTP/1.1\nHost: a", "GET /x/7 HTTP/1.1\nHost: a\nx-h: 1\nx-h: 2"] {
        assert!(ask(twice).unwrap_err().contains("is there more than once"), "{twice}");
    }
}

#[test]
fn what_is_known_of_the_caller_is_of_the_policy_that_proved_it() {
    let config = r#"{ "parts": { "p": { "upstream": "users", "path": "/of/{identity.subject}", "query": {
        "t": "{identity.claims.org.tenant}", "n": "{identity.claims.n}", "c": "{identity.consumer}", "p": "{identity.plan}" } } } }"#;
    let built = build(config, "/x/{id}");
    let services = Rc::new(Services::default());
    let ask = |identity: Identity| {
        let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
        exchange.identity = Some(identity);
        assert!(poll(&mut built.begin(&mut exchange)).is_some());
        services.sent.take().concat().lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(Identity::new("u/7", "jwt")), "", "a subject with a slash is no segment");
    assert_eq!(ask(Identity::new("u7", "jwt")), "users GET /of/u7");
    let serde_json::Value::Object(claims) = serde_json::json!({ "org": { "tenant": "a&b" }, "n": 7 }) else { panic!() };
    let facts = Facts { subject: "u 7".into(), claims, plan: Some("gold".into()), ..Facts::default() };
    assert_eq!(ask(facts.into()), "users GET /of/u%207?n=7&p=gold&t=a%26b");
}

#[test]
fn what_a_star_matched_keeps_its_segments() {
    let services = Rc::new(Services::default());
    let built = build(r#"{ "parts": { "p": { "upstream": "users", "path": "/in/{rest}" } } }"#, "/x/*");
    let mut exchange = exchange("GET /x/a/b%20c HTTP/1.1\nHost: a");
    exchange.captures.push(3, exchange.target().path().len());
    exchange.outbound = Some(Rc::new(Worker(Rc::clone(&services))));
    assert!(poll(&mut built.begin(&mut exchange)).is_some());
    assert!(matches!(&services.lines()[..], [line] if line.starts_with("users GET /in/a/b")), "{:?}", services.lines());
}

#[test]
fn only_texts_and_numbers_are_text() {
    let part = |path: &str| {
        format!(
            r#"{{ "parts": {{ "v": {{ "upstream": "users", "path": "/v" }}, "p": {{ "upstream": "orders", "path": "{path}" }} }} }}"#
        )
    };
    let services = Services::answering(&[("/v", Says::Json(200, r#"{"n":1.10,"t":true,"l":[1],"o":{},"z":null}"#))]);
    let ask = |path: &str| {
        services.sent.take();
        let built = build(&part(path), "/x/{id}");
        let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
        assert!(poll(&mut built.begin(&mut exchange)).is_some());
        let line = services.lines().into_iter().nth(1);
        line.map(|line| line[11..].to_owned()).unwrap_or_else(|| exchange.notes.cause.unwrap().to_string())
    };
    assert_eq!(ask("/{v.n}/{v.t}?a={v.z}&b={v.none.x}&c={v.l.0}"), "/1.10/true?c=1");
    for (path, cause) in
        [("/{v.l}", "is a list"), ("/{v.o}", "is an object"), ("/{v.z}", "missing"), ("/a?q={v.l}", "a list")]
    {
        assert!(ask(path).contains(cause), "{path}: {}", ask(path));
    }
}

#[test]
fn numbers_are_the_same_in_a_path_and_in_a_body() {
    let config = r#"{ "parts": {
        "v": { "upstream": "users", "path": "/v", "select": "{n: (.n | tonumber), nan: nan}" },
        "p": { "upstream": "orders", "path": "/{v.n}?a={v.nan}", "method": "POST", "body": ["{v.n}", "n{v.n}", "{v.nan}"] }
    }, "allow_unsafe": true }"#;
    let services = Services::answering(&[("/v", Says::Json(200, r#"{"n":"08.50"}"#))]);
    let mut exchange = request(&services, "GET /x/7 HTTP/1.1\nHost: a");
    assert!(poll(&mut build(config, "/x/{id}").begin(&mut exchange)).is_some());
    let sent = services.sent.take().into_iter().nth(1).unwrap();
    assert!(sent.starts_with("orders POST /8.5\n") && sent.contains(r#"[8.5,"n8.5",null]"#), "{sent}");
}

proptest! {
    /// Whatever a service says, the request that is made of it has the shape
    /// that is written, and says it unchanged; or it is not made.
    #[test]
    fn any_value_keeps_its_place(value in "\\PC{0,12}|[./%\\\\;?&=#+ \\r\\n\\x00a-c]{0,8}") {
        let part = r#""path": "/a/{v.x}/b/pre-{v.x}?q={v.x}&r=1", "query": { "s": "{v.x}" }"#;
        if let Ok(target) = target(part, &value) {
            let (path, query) = target.split_once('?').unwrap();
            let segments: Vec<&str> = path.split('/').collect();
            prop_assert_eq!(segments.len(), 5);
            prop_assert!(segments[1] == "a" && segments[3] == "b" && segments[4].starts_with("pre-"));
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()) && !target.contains('#'));
            let pairs: Vec<(String, String)> = query::pairs(query)
                .map(|(name, value)| (String::from_utf8(name.collect()).unwrap(), String::from_utf8(value.collect()).unwrap()))
                .collect();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            prop_assert_eq!(pairs, [pair("q", &value), pair("r", "1"), pair("s", &value)]);
            prop_assert!(!value.contains(['/', '\\']) && value != "." && value != "..");
        }
    }
}
