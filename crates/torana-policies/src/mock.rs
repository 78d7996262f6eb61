//! Answers in place of the target: with what is written, or with the examples
//! of an OpenAPI document.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::{Method, Status};
use torana_core::names::{HeaderName, KnownName, is_value_byte};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::written::{Node, Spanned, Written};

torana_core::refusals! {
    /// The OpenAPI document has no such operation, or no example for it.
    NO_EXAMPLE = "mock.no_example" 501 Gateway Never "There is no example for this request.";
}

torana_core::events! {
    ANSWERED = "answered" "A request was answered with the mock's reply.";
    LACKING = "lacking" "There was no example for a request.";
}

/// Answers requests itself, before they reach the target: for frontends whose backend is not there yet.
///
/// All other policies of the route run as they would, so authentication and limits can be tried, too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One reply for all requests.
    #[serde(default)]
    pub reply: Option<Spanned<Fixed>>,
    /// An OpenAPI 3 document in JSON, whose examples are the replies: `${file:api.json}`, or written in place. The operation
    /// is found by method and path; the example is that of its first successful status, or what `Prefer: code=404` or
    /// `Prefer: example=name` ask for. Without one, the reply is 501 `mock.no_example`.
    #[serde(default)]
    pub openapi: Option<Written>,
    /// What stands before the document's paths in those of requests: `/api/v1`. Default: nothing.
    #[serde(default)]
    pub prefix: Option<Spanned<String>>,
}

/// A reply as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MockReply")]
pub struct Fixed {
    /// Status. Default 200.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<Spanned<u16>>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// The body, as text.
    #[serde(default)]
    pub body: Option<Spanned<String>>,
    /// The body, as JSON; the type is `application/json` then.
    #[serde(default)]
    pub json: Option<Written>,
}

/// The policy `mock`.
pub struct Mock {
    source: Source,
    tally: Arc<Tally>,
}

enum Source {
    Fixed(Example),
    Document { prefix: Box<str>, operations: Vec<Operation> },
}

/// A reply, made ahead.
struct Example {
    status: Status,
    name: Box<str>,
    headers: Vec<(HeaderName, Box<[u8]>)>,
    body: Box<[u8]>,
}

struct Operation {
    method: Box<str>,
    path: Box<[Segment]>,
    /// In order of preference.
    examples: Vec<Example>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// Before a parameter, when both fit.
    Literal(Box<str>),
    Parameter,
}

impl PolicyKind for Mock {
    const NAME: &'static str = "mock";
    const STAGE: Stage = Stage::Serve;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let source = match (&config.reply, &config.openapi) {
            (Some(reply), None) => Source::Fixed(fixed(reply)?),
            (None, Some(document)) => {
                let prefix = config.prefix.as_ref().map_or("", |prefix| prefix.trim_end_matches('/'));
                if let Some(wrong) = config.prefix.as_ref().filter(|prefix| !prefix.starts_with('/')) {
                    return Err(vec![Diagnostic::error("mock.prefix", "a prefix begins with `/`").at(wrong.span)]);
                }
                Source::Document {
                    prefix: prefix.into(),
                    operations: operations(document).map_err(|problem| vec![*problem])?,
                }
            }
            _ => {
                let message = "a mock has exactly one of `reply` and `openapi`";
                return Err(vec![Diagnostic::error("mock.source", message).at(written.span)]);
            }
        };
        Ok(Arc::new(Mock { source, tally: site.tally() }))
    }
}

fn fixed(written: &Spanned<Fixed>) -> Result<Example, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut headers = Vec::new();
    for (name, value) in &written.headers {
        let framing = |name: &HeaderName| matches!(name, HeaderName::Known(known) if known.is_hop_by_hop() || *known == KnownName::ContentLength);
        match HeaderName::new(name).filter(|name| !framing(name)) {
            Some(header) if value.bytes().all(is_value_byte) => headers.push((header, value.as_bytes().into())),
            Some(_) => problems.push(
                Diagnostic::error("mock.header", "a header value may not hold control characters").at(value.span),
            ),
            None => {
                let message = format!("{} is not a header that can be set here", name.shown());
                problems.push(Diagnostic::error("mock.header", message).at(name.span));
            }
        }
    }
    if written.body.is_some() && written.json.is_some() {
        problems.push(Diagnostic::error("mock.source", "a reply has one body: `body` or `json`").at(written.span));
    }
    let body: Box<[u8]> = match (&written.body, &written.json) {
        (Some(text), _) => text.as_bytes().into(),
        (None, Some(json)) => {
            if !headers.iter().any(|(name, _)| *name == HeaderName::Known(KnownName::ContentType)) {
                headers.push((KnownName::ContentType.into(), b"application/json"[..].into()));
            }
            json.to_json().to_string().into_bytes().into()
        }
        (None, None) => Box::default(),
    };
    let status = written.status.as_ref().and_then(|status| Status::new(status.value)).unwrap_or(Status::OK);
    if problems.is_empty() { Ok(Example { status, name: "".into(), headers, body }) } else { Err(problems) }
}

/// Reads the operations of a document and their examples.
fn operations(written: &Written) -> Result<Vec<Operation>, Box<Diagnostic>> {
    let problem = |message: &str| {
        let hint = "an OpenAPI 3 document in JSON: `${file:api.json}`";
        Box::new(Diagnostic::error("mock.openapi", message).at(written.span).hint(hint))
    };
    let document = match &written.node {
        Node::String(text) => serde_json::from_str(text).map_err(|_| problem("the document is not JSON"))?,
        _ => written.to_json(),
    };
    if !document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")) {
        return Err(problem("this is no OpenAPI 3 document"));
    }
    let paths = document["paths"].as_object().ok_or_else(|| problem("the document has no `paths`"))?;
    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let mut all = Vec::new();
    for (path, item) in paths {
        let item = resolved(&document, item);
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let path = segments(path);
            all.push(Operation {
                method: method.to_ascii_uppercase().into(),
                path,
                examples: examples(&document, operation),
            });
        }
    }
    // Literal segments first: `/users/me` before `/users/{id}`.
    all.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(all)
}

fn segments(path: &str) -> Box<[Segment]> {
    let segment = |text: &str| if text.contains('{') { Segment::Parameter } else { Segment::Literal(text.into()) };
    path.trim_start_matches('/').split('/').map(segment).collect()
}

/// What `value` refers to, if it is a reference within the document; a few
/// steps, so that circles end.
fn resolved<'d>(document: &'d Value, mut value: &'d Value) -> &'d Value {
    for _ in 0..8 {
        let Some(pointer) = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else { break };
        match document.pointer(pointer) {
            Some(target) => value = target,
            None => return &Value::Null,
        }
    }
    value
}

fn examples(document: &Value, operation: &Value) -> Vec<Example> {
    let mut all = Vec::new();
    for (code, response) in operation["responses"].as_object().into_iter().flatten() {
        let number = match code.as_bytes() {
            [class @ b'2'..=b'5', b'X' | b'x', b'X' | b'x'] => u16::from(*class - b'0') * 100,
            _ if code == "default" => 500,
            _ => code.parse().ok().filter(|code| (200..600).contains(code)).unwrap_or(0),
        };
        let Some(status) = Status::new(number).filter(|status| status.code() >= 200) else { continue };
        let response = resolved(document, response);
        let content = response["content"].as_object();
        if content.is_none_or(serde_json::Map::is_empty) {
            all.push(Example { status, name: "".into(), headers: Vec::new(), body: Box::default() });
        }
        for (media_type, content) in content.into_iter().flatten() {
            let mut put = |name: &str, value: &Value| {
                let body = match value {
                    Value::String(text) if !media_type.contains("json") => text.clone(),
                    value => value.to_string(),
                };
                let headers = vec![(HeaderName::Known(KnownName::ContentType), media_type.as_bytes().into())];
                all.push(Example { status, name: name.into(), headers, body: body.into_bytes().into() });
            };
            if !media_type.bytes().all(is_value_byte) {
                continue;
            }
            if let Some(value) = content.get("example") {
                put("", value);
            }
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                if let Some(value) = resolved(document, example).get("value") {
                    put(name, value);
                }
            }
            let schema = resolved(document, &content["schema"]);
            if let Some(value) = schema.get("example").or_else(|| schema["examples"].get(0)) {
                put("", value);
            }
        }
    }
    // The first successful one, as they are written.
    all.sort_by_key(|example| (!(200..300).contains(&example.status.code()), example.status.code()));
    all
}

impl Operation {
    fn fits(&self, method: &str, path: &str) -> bool {
        let mut segments = path.trim_start_matches('/').split('/');
        self.method.as_ref() == method
            && self.path.iter().all(|wanted| match (wanted, segments.next()) {
                (Segment::Literal(text), Some(segment)) => **text == *segment,
                (Segment::Parameter, Some(segment)) => !segment.is_empty(),
                (_, None) => false,
            })
            && segments.next().is_none()
    }

    /// The example that `Prefer` asks for (RFC 7240 §2), or the first.
    fn example(&self, exchange: &Exchange) -> Option<&Example> {
        const PREFER: &[u8] = b"prefer";
        let fields = exchange.head.fields.iter().filter(|(name, _)| name.text.eq_ignore_ascii_case(PREFER));
        let (mut code, mut name) = (None, None);
        for part in fields.flat_map(|(_, value)| value.split(|&byte| matches!(byte, b',' | b';'))) {
            let Some((key, value)) = std::str::from_utf8(part).ok().and_then(|part| part.split_once('=')) else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "code" => code = value.parse::<u16>().ok(),
                "example" => name = Some(value.to_owned()),
                _ => {}
            }
        }
        self.examples.iter().find(|example| {
            code.is_none_or(|code| example.status.code() == code)
                && name.as_ref().is_none_or(|name| *example.name == **name)
        })
    }
}

impl Example {
    fn reply(&self, method: Method) -> Reply {
        let mut reply = Reply::new(self.status);
        for (name, value) in &self.headers {
            // Looked at when it was taken up.
            let _ = reply.head.fields.append(name.clone(), value);
        }
        if method != Method::Head && !matches!(self.status.code(), 204 | 304) {
            reply.body = self.body.to_vec().into();
        }
        reply
    }
}

impl Policy for Mock {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let example = match &self.source {
            Source::Fixed(example) => Some(example),
            Source::Document { prefix, operations } => {
                let path = exchange.target().path().strip_prefix(&**prefix);
                let path = path.filter(|path| path.is_empty() || path.starts_with('/'));
                let method = exchange.head.method_text();
                let found = path.and_then(|path| operations.iter().find(|operation| operation.fits(method, path)));
                found.and_then(|operation| operation.example(exchange))
            }
        };
        match example {
            Some(example) => {
                self.tally.count(&ANSWERED);
                example.reply(exchange.head.method).into()
            }
            None => {
                self.tally.count(&LACKING);
                Rejection::new(&NO_EXAMPLE).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::transcript;

    const DOCUMENT: &str = r##"{ "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
        "paths": {
            "/": { "get": { "responses": { "200": { "content": { "text/plain": { "example": "home" } } } } } },
            "/users/{id}": { "get": { "responses": {
                "404": { "content": { "application/problem+json": { "example": { "title": "no" } } } },
                "200": { "content": { "application/json": { "examples": {
                    "ada": { "value": { "id": 1, "name": "Ada" } },
                    "eve": { "$ref": "#/components/examples/eve" } } } } } } },
              "delete": { "responses": { "204": { "description": "gone" } } } },
            "/users/me": { "get": { "responses": { "200": { "content": { "text/plain": { "example": "me" } } } } } },
            "/users": { "get": { "responses": { "200": { "content": { "application/json": { "schema": { "type": "array" } } } } } },
              "post": { "responses": { "201": { "$ref": "#/components/responses/made" } } } } },
        "components": {
            "examples": { "eve": { "value": { "id": 2, "name": "Eve" } } },
            "responses": { "made": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/user" } } } } },
            "schemas": { "user": { "example": { "id": 3 } } } } }"##;

    fn ask(request: &str, fields: &str) -> String {
        let config = format!(r#"{{ "openapi": {DOCUMENT}, "prefix": "/api/" }}"#);
        let shown = transcript(&entry::<Mock>(), &config, &format!("{request} HTTP/1.1\nHost: a\n{fields}"), "200");
        shown.lines().take_while(|line| !line.contains('×')).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_operation_and_its_example_are_found() {
        for (request, fields, expected) in [
            ("GET /api/users/7", "", r#"answered|200|content-type: application/json||{"id":1,"name":"Ada"}"#),
            (
                "GET /api/users/7",
                "Prefer: example=eve",
                r#"answered|200|content-type: application/json||{"id":2,"name":"Eve"}"#,
            ),
            (
                "GET /api/users/7",
                "Prefer: code=404",
                r#"answered|404|content-type: application/problem+json||{"title":"no"}"#,
            ),
            ("GET /api/users/me", "", "answered|200|content-type: text/plain||me"),
            ("POST /api/users", "", r#"answered|201|content-type: application/json||{"id":3}"#),
            ("DELETE /api/users/7", "", "answered|204"),
            ("GET /api/users", "", "rejected mock.no_example 501|501"),
            ("GET /api/users/7", "Prefer: code=418", "rejected mock.no_example 501|501"),
            ("GET /api/users/7/x", "", "rejected mock.no_example 501|501"),
            ("PATCH /api/users/7", "", "rejected mock.no_example 501|501"),
            ("GET /api/", "", "answered|200|content-type: text/plain||home"),
            ("GET /api", "", "answered|200|content-type: text/plain||home"),
            ("GET /", "", "rejected mock.no_example 501|501"),
            ("GET /users/7", "", "rejected mock.no_example 501|501"),
            ("GET /apiusers/7", "", "rejected mock.no_example 501|501"),
        ] {
            assert_eq!(ask(request, fields), expected, "{request} {fields}");
        }
    }

    #[test]
    fn one_reply_for_all() {
        let config = r#"{ "reply": { "status": 503, "headers": { "Retry-After": "5" }, "json": { "a": [1] } } }"#;
        let shown = transcript(&entry::<Mock>(), config, "GET / HTTP/1.1\nHost: a", "200");
        assert_eq!(
            shown,
            "answered\n503\nretry-after: 5\ncontent-type: application/json\n\n{\"a\":[1]}\n1 × answered\n"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (config, code) in [
            ("{}", "mock.source"),
            (r#"{ "reply": {}, "openapi": {} }"#, "mock.source"),
            (r#"{ "reply": { "body": "a", "json": 1 } }"#, "mock.source"),
            (r#"{ "openapi": "{" }"#, "mock.openapi"),
            (r#"{ "openapi": { "swagger": "2.0" } }"#, "mock.openapi"),
            (r#"{ "openapi": { "openapi": "3.0.0" } }"#, "mock.openapi"),
            (r#"{ "openapi": { "openapi": "3.0.0", "paths": {} }, "prefix": "api" }"#, "mock.prefix"),
            (r#"{ "reply": { "headers": { "Connection": "x" } } }"#, "mock.header"),
        ] {
            let shown = transcript(&entry::<Mock>(), config, "GET / HTTP/1.1\nHost: a", "200");
            assert!(shown.starts_with(&format!("error {code}")), "{config}: {shown}");
        }
    }
}
