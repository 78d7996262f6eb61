//! Adds, sets, removes and renames headers of requests and replies.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, NameSet};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::reply::Reply;
use torana_core::reserved::{Side, reserved};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

/// Changes to headers on the way in and on the way back.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Changes to the request before it is sent to the target.
    pub request: Changes,
    /// Changes to the reply before it is sent to the client. They are also
    /// made to replies of the gateway itself, such as refusals.
    pub response: Changes,
}

/// Changes to headers: first `rename`, then `remove`, `set` and `add`.
///
/// Headers that the gateway owns cannot be changed: `X-Forwarded-*`,
/// `Forwarded`, `X-Real-IP`, `X-Request-Id`, `traceparent`, `tracestate`,
/// whatever frames the message, and what concerns one connection only. `Host`
/// is set by `rewrite.host`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Gives a header another name. Values that stood under the new name
    /// before are replaced, if there is something to replace them by.
    pub rename: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Removes headers.
    pub remove: OneOrMany<Spanned<String>>,
    /// Sets headers to one value, whatever they held before.
    pub set: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Adds headers beside those that are there; one value or a list.
    pub add: BTreeMap<Spanned<String>, OneOrMany<Spanned<String>>>,
}

/// The policy `headers`.
pub struct Headers {
    request: Edits,
    response: Edits,
}

/// Compiled [`Changes`].
#[derive(Default)]
struct Edits {
    rename: Vec<(HeaderName, HeaderName)>,
    remove: Vec<HeaderName>,
    /// Those of `remove` that are known by number.
    known: NameSet,
    set: Vec<(HeaderName, Box<[u8]>)>,
    add: Vec<(HeaderName, Box<[u8]>)>,
}

impl PolicyKind for Headers {
    const NAME: &'static str = "headers";
    const STAGE: Stage = Stage::Shape;
    type Config = Config;

    fn build(config: Config, _: &Written, _: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let request = compile(&config.request, Side::Request, &mut problems);
        let response = compile(&config.response, Side::Response, &mut problems);
        if problems.is_empty() { Ok(Arc::new(Headers { request, response })) } else { Err(problems) }
    }
}

impl Policy for Headers {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        self.request.apply(&mut exchange.head.fields);
        Verdict::CONTINUE
    }

    fn on_response<'a>(&'a self, _: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        self.response.apply(&mut reply.head.fields);
        Verdict::CONTINUE
    }
}

impl Edits {
    fn apply(&self, fields: &mut Fields) {
        for (from, to) in &self.rename {
            let values: Vec<Vec<u8>> = fields.values(from).map(<[u8]>::to_vec).collect();
            if values.is_empty() {
                continue;
            }
            fields.remove(from);
            fields.remove(to);
            for value in values {
                // It stood in this message already.
                let _ = fields.append(to.clone(), &value);
            }
        }
        if fields.may_have_unknown() || fields.contains_any(self.known) {
            self.remove.iter().for_each(|name| fields.remove(name));
        }
        for (name, value) in &self.set {
            match name {
                // Checked when they were compiled, as are those to be added.
                HeaderName::Known(known) => fields.set_own(*known, value),
                HeaderName::Other(_) => {
                    remove(name, fields);
                    let _ = fields.append_under(name, value);
                }
            }
        }
        for (name, value) in &self.add {
            let _ = fields.append_under(name, value);
        }
    }
}

/// Most messages have no names but those that are known: nothing to look for.
fn remove(name: &HeaderName, fields: &mut Fields) {
    if fields.may_have_unknown() || matches!(name, HeaderName::Known(_)) {
        fields.remove(name);
    }
}

fn compile(changes: &Changes, side: Side, problems: &mut Vec<Diagnostic>) -> Edits {
    let mut edits = Edits::default();
    let mut name =
        |written: &Spanned<String>| header_name(written, side).map_err(|problem| problems.push(*problem)).ok();
    for (from, to) in &changes.rename {
        if let (Some(from), Some(to)) = (name(from), name(to)) {
            edits.rename.push((from, to));
        }
    }
    edits.remove.extend(changes.remove.iter().filter_map(&mut name));
    for name in &edits.remove {
        if let HeaderName::Known(known) = name {
            edits.known.insert(*known);
        }
    }
    for (header, value) in &changes.set {
        edits.set.extend(name(header).map(|name| (name, value.as_bytes().into())));
    }
    for (header, values) in &changes.add {
        if let Some(name) = name(header) {
            edits.add.extend(values.iter().map(|value| (name.clone(), value.as_bytes().into())));
        }
    }
    let values = changes.set.values().chain(changes.add.values().flat_map(|values| values.iter()));
    problems.extend(values.filter_map(invalid_value));
    edits
}

fn invalid_value(value: &Spanned<String>) -> Option<Diagnostic> {
    let is_valid = value.bytes().all(torana_core::names::is_value_byte);
    (!is_valid)
        .then(|| Diagnostic::error("headers.value", "a header value may not hold control characters").at(value.span))
}

fn header_name(written: &Spanned<String>, side: Side) -> Result<HeaderName, Box<Diagnostic>> {
    let problem = |code: &'static str, why: &str, hint: &'static str| {
        let message = format!("{} {why}", written.shown());
        Box::new(Diagnostic::error(code, message).at(written.span).hint(hint))
    };
    let Some(name) = HeaderName::new(written) else {
        return Err(problem("headers.name", "is not a header name", "letters, digits and `-`"));
    };
    match reserved(&name, side) {
        None => Ok(name),
        Some(hint) => Err(problem("headers.owned", "is a header that cannot be changed here", hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::transcript;

    fn run(config: &str, request: &str, reply: &str) -> String {
        transcript(&entry::<Headers>(), config, request, reply)
    }

    #[test]
    fn every_change_both_ways() {
        let config = r#"{
            "request": {
                "rename": { "X-Old": "x-new" },
                "remove": "Cookie",
                "set": { "x-tenant": "acme" },
                "add": { "x-tag": ["a", "b"] }
            },
            "response": { "remove": ["Server", "x-powered-by"], "set": { "cache-control": "no-store" } }
        }"#;
        let request =
            "GET /x HTTP/1.1\nHost: a\nX-Old: 1\nX-New: 0\nCOOKIE: c\nX-Tenant: forged\nx-tenant: twice\nX-Tag: z";
        let reply = "200\nServer: nginx\nX-Powered-By: PHP\nCache-Control: public\n\nok";
        let shown = run(config, request, reply);
        let expected = "GET /x\nhost: a\nx-tag: z\nx-new: 1\nx-tenant: acme\nx-tag: a\nx-tag: b\n--\n\
                        200\ncache-control: no-store\n\nok\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_rename_without_its_source_changes_nothing() {
        let shown = run(r#"{ "request": { "rename": { "x-a": "x-b" } } }"#, "GET / HTTP/1.1\nHost: a\nX-B: 1", "200");
        assert_eq!(shown, "GET /\nhost: a\nx-b: 1\n--\n200\n");
    }

    #[test]
    fn owned_headers_are_refused_in_every_spelling() {
        for name in [
            "X-Forwarded-For",
            "x_forwarded_for",
            "Forwarded",
            "X-REAL-IP",
            "x_request_id",
            "X-Request-Id",
            "Host",
            "traceparent",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
        ] {
            for config in [
                format!(r#"{{ "request": {{ "set": {{ "{name}": "x" }} }} }}"#),
                format!(r#"{{ "request": {{ "remove": ["{name}"] }} }}"#),
                format!(r#"{{ "request": {{ "rename": {{ "x-a": "{name}" }} }} }}"#),
            ] {
                let shown = run(&config, "GET / HTTP/1.1\nHost: a", "200");
                assert!(shown.starts_with("error headers.owned"), "{name}: {shown}");
            }
        }
    }

    #[test]
    fn all_mistakes_at_once() {
        let config =
            r#"{ "request": { "set": { "a b": "1", "x": "a\nb" } }, "response": { "remove": ["connection"] } }"#;
        let shown = run(config, "GET / HTTP/1.1\nHost: a", "200");
        for code in ["headers.name", "headers.value", "headers.owned"] {
            assert!(shown.contains(code), "{shown}");
        }
        assert!(run(r#"{ "requst": {} }"#, "GET / HTTP/1.1\nHost: a", "200").contains("did you mean `request`"));
    }
}
