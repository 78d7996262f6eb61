use super::*;
use torana_core::policy::entry;
use torana_core::testing::{TestNames, exchange, ready, reply, transcript, written};

const USER: &str = r#"{ "type": "object", "required": ["name", "email"], "additionalProperties": false,
    "properties": {
        "name": { "type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$" },
        "email": { "type": "string", "format": "email" },
        "age": { "type": "integer", "minimum": 18 },
        "tags": { "type": "array", "items": { "enum": ["a", "b"] }, "uniqueItems": true }
    } }"#;

fn run(config: &str, request: &str, reply: &str) -> String {
    transcript(&entry::<Validate>(), config, request, reply)
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\nHost: a\nContent-Type: application/json\n\n{body}")
}

/// The errors of a body, a field and a message a line.
fn errors(schema: &str, body: &str) -> String {
    let config = format!(r#"{{ "body": {schema} }}"#);
    let policy = (entry::<Validate>().build)(&written(&config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
    match ready(policy.on_request(&mut exchange(&post(body)))) {
        Decision::Reject(rejection) if rejection.errors.is_none() => rejection.refusal.code.to_owned(),
        Decision::Reject(rejection) => rejection
            .errors
            .iter()
            .flat_map(|errors| &errors.0)
            .map(|error| format!("{} {}\n", error.field, error.message))
            .collect(),
        _ => String::new(),
    }
}

#[test]
fn each_field_is_named_with_what_is_expected_and_never_with_what_was_there() {
    let body = r#"{ "name": "S3CRET", "age": 7, "tags": ["S3CRET", "a", "a"], "S3CRETS": 1 }"#;
    let mut lines: Vec<String> = errors(USER, body).lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "body has members that are not allowed",
        "body/age has to be at least 18",
        "body/email is required",
        "body/name does not have the form that is expected",
        "body/name is longer than 5 characters",
        "body/tags has an item twice",
        "body/tags/0 is not one of the values that are allowed",
    ];
    assert_eq!(lines, expected);
    assert_eq!(errors(USER, r#"{ "name": "ada", "email": "a@example.org", "age": 18, "tags": [] }"#), "");
    assert_eq!(errors(USER, r#"{ "name": "ada", "email": "nope" }"#), "body/email is not a valid email\n");
    assert_eq!(errors(USER, "[]"), "body has to be of type object\n");
}

#[test]
fn bodies_with_two_readings_and_bombs_are_no_bodies() {
    assert_eq!(errors(USER, r#"{"name":"ada","name":"eve","email":"a@b.org"}"#), "validate.malformed");
    assert_eq!(errors("true", &"[".repeat(30_000)), "validate.malformed");
    assert_eq!(errors("true", "{"), "validate.malformed");
    assert_eq!(errors("true", "1e999"), "validate.malformed");
    let config = r#"{ "body": true, "max_body": 4 }"#;
    assert!(run(config, &post("[1,2]"), "200").starts_with("rejected validate.too_long 413"));
    let text = "POST / HTTP/1.1\nHost: a\nContent-Type: text/plain\n\n{}";
    assert!(run(config, text, "200").starts_with("rejected validate.media_type 415"));
    let zipped = "POST / HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Encoding: gzip\n\n{}";
    assert!(run(config, zipped, "200").starts_with("rejected validate.media_type 415"));
}

#[test]
fn a_body_is_needed_unless_it_is_optional() {
    let get = "GET / HTTP/1.1\nHost: a";
    assert!(run(r#"{ "body": true }"#, get, "200").starts_with("rejected validate.request 422\n422\n"));
    assert!(run(r#"{ "body": true, "status": 400 }"#, get, "200").contains("\n400\n"));
    assert!(run(r#"{ "body": true, "body_optional": true }"#, get, "200").starts_with("GET /"));
}

#[test]
fn parameters_are_read_as_their_schema_says() {
    let config = r#"{ "query": { "properties": {
        "page": { "type": "integer", "minimum": 1 }, "all": { "type": "boolean" },
        "id": { "type": "array", "items": { "type": "integer" }, "maxItems": 2 } }, "additionalProperties": { "type": "string" } } }"#;
    for (query, fits) in [
        ("page=2&all=true&id=1&id=2&q=a", true),
        ("", true),
        ("id=1", true),
        ("q=1", true),
        ("page=0", false),
        ("page=two", false),
        ("page=1&page=2", false),
        ("page=%22 1%22", false),
        ("id=1&id=2&id=3", false),
        ("q=a&q=b", false),
        ("all=1", false),
    ] {
        let query = query.replace(' ', "%20");
        let shown = run(config, &format!("GET /?{query} HTTP/1.1\nHost: a"), "200");
        assert_eq!(shown.starts_with("GET /"), fits, "{query}: {shown}");
    }
}

#[test]
fn captures_are_decoded_and_checked() {
    let config =
        r#"{ "params": { "properties": { "id": { "type": "integer" }, "name": { "pattern": "^[a-z +]+$" } } } }"#;
    let policy =
        (entry::<Validate>().build)(&written(config), &TestNames::new("r", "/{id}/{name}").counting(EVENTS)).unwrap();
    let fits = |path: &str| {
        let mut exchange = exchange(&format!("GET {path} HTTP/1.1\nHost: a"));
        let path = exchange.target().path().to_owned();
        let slash = path.rfind('/').unwrap();
        exchange.captures.push(1, slash);
        exchange.captures.push(slash + 1, path.len());
        matches!(ready(policy.on_request(&mut exchange)), Decision::Continue)
    };
    assert!(fits("/42/a+b%20c"));
    assert!(!fits("/x/abc") && !fits("/42/a1"));
    assert!(!fits("/42/a=1") && !fits("/42/a&1") && !fits("/42=x/a"));
}

#[test]
fn replies_are_checked_too() {
    let config = r#"{ "response": { "body": { "required": ["id"] } } }"#;
    let run = |reply: &str| run(config, "GET / HTTP/1.1\nHost: a", reply);
    assert!(run("200\ncontent-type: application/json\n\n{\"id\":1}").contains("\n{\"id\":1}\n1 × valid_reply\n"));
    for wrong in
        ["200\ncontent-type: application/json\n\n{}", "200\n\n{\"id\":1}", "200\ncontent-type: application/json\n\n{"]
    {
        let shown = run(wrong);
        assert!(shown.contains("reply rejected validate.response\n") && shown.contains("1 × invalid_reply"), "{shown}");
    }
    assert!(!run("404\n\nno").contains("×"));
}

#[test]
fn observing_refuses_nothing_and_keeps_the_body() {
    let config = format!(r#"{{ "body": {USER}, "response": {{ "body": false }}, "mode": "observe" }}"#);
    let policy = (entry::<Validate>().build)(&written(&config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
    for body in ["{}", "{", "[]"] {
        let mut exchange = exchange(&post(body));
        assert!(matches!(ready(policy.on_request(&mut exchange)), Decision::Continue));
        assert_eq!(exchange.body.data(), body.as_bytes());
        assert!(exchange.notes.cause.as_deref().unwrap().starts_with("observed by the policy `validate`: validate."));
        let mut reply = reply("200\ncontent-type: application/json\n\n{\"a\":1}");
        assert!(matches!(ready(policy.on_response(&mut exchange, &mut reply)), Decision::Continue));
        assert_eq!(reply.body.data(), b"{\"a\":1}");
    }
}

#[test]
fn observing_holds_no_body_that_it_does_not_check() {
    let config = format!(r#"{{ "body": {USER}, "mode": "observe", "max_body": "8B" }}"#);
    let policy = (entry::<Validate>().build)(&written(&config), &TestNames::new("r", "/*").counting(EVENTS)).unwrap();
    let sent = |head: &str| {
        let mut exchange = exchange(&format!("POST / HTTP/1.1\nHost: a\n{head}\n\na long body"));
        let is_refused = matches!(ready(policy.on_request(&mut exchange)), Decision::Reject(_));
        (is_refused, String::from_utf8_lossy(exchange.body.data()).into_owned())
    };
    for head in ["Content-Type: text/csv", "Content-Type: application/json\nContent-Encoding: gzip"] {
        assert_eq!(sent(head), (false, "a long body".to_owned()), "{head}");
    }
    assert!(sent("Content-Type: application/json").0);
}

#[test]
fn schemas_of_older_drafts_and_from_text() {
    let four = r#"{ "$schema": "http://json-schema.org/draft-04/schema#", "minimum": 5, "exclusiveMinimum": true }"#;
    assert_eq!(errors(four, "5"), "body has to be more than 5\n");
    let text = serde_json::Value::String(four.to_owned()).to_string();
    assert_eq!(errors(&text, "6"), "");
    let inside = r##"{ "$defs": { "a": { "type": "string" } }, "items": { "$ref": "#/$defs/a" } }"##;
    assert_eq!(errors(inside, "[1]"), "body/0 has to be of type string\n");
}

#[test]
fn schemas_that_cannot_be_used_are_refused() {
    for (schema, part) in [
        (r#"{ "type": "strin" }"#, "no JSON Schema that can be used"),
        (r#"{ "$ref": "https://example.org/a.json" }"#, "no JSON Schema that can be used"),
        (r#"{ "$ref": "file:///etc/passwd" }"#, "no JSON Schema that can be used"),
        (r#"{ "pattern": "(?=a)b" }"#, "no JSON Schema that can be used"),
        (r#""{""#, "no JSON Schema"),
        ("[]", "a schema is an object"),
    ] {
        let shown = run(&format!(r#"{{ "body": {schema} }}"#), "GET / HTTP/1.1\nHost: a", "200");
        assert!(shown.starts_with("error validate.schema") && shown.contains(part), "{schema}: {shown}");
    }
    let shown =
        run(r#"{ "max_body": "1GiB", "response": { "body": true, "status": "x" } }"#, "GET / HTTP/1.1\nHost: a", "200");
    assert!(shown.contains("validate.max_body") && shown.contains("validate.status"), "{shown}");
    assert!(run("{}", "GET / HTTP/1.1\nHost: a", "200").starts_with("error validate.nothing"));
}
