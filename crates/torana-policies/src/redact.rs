//! Removes and masks fields of JSON bodies, before anybody outside sees them.
//!
//! It fails closed: a body that is said to be JSON and cannot be read is not
//! sent on, since nobody knows what it would have told.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::body::Body;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Method;
use torana_core::names::KnownName;
use torana_core::outbound::Outbound;
use torana_core::payload::{self, Media};
use torana_core::pointer;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{OneOrMany, Spanned, Written};
use torana_reshape::{self as reshape, TextFault, Val, with_budget};

torana_core::refusals! {
    /// The upstream's reply is not the JSON it says, is compressed, or too long.
    RESPONSE = "redact.response" 502 Upstream IfSafe "The upstream's reply could not be used.";
    /// The request's body is not the JSON it says, or is compressed.
    REQUEST = "redact.request" 400 Caller Never "The body of the request cannot be read.";
    /// It is longer than `max_body`.
    TOO_LONG = "redact.too_long" 413 Caller Never "The body of the request is too long.";
    /// Too many others are being changed.
    BUSY = "redact.busy" 503 Gateway IfSafe "The message could not be processed.";
}

torana_core::events! {
    REDACTED = "redacted" "A body held fields that were removed or masked.";
    CLEAN = "clean" "A body held none of them.";
    OTHER_TYPE = "other_type" "A body was passed on as it is, since it is not JSON.";
    FAILED = "failed" "A body could not be read and was held back.";
}

/// Removes or masks fields of JSON bodies.
///
/// Places are written as paths: `/user/ssn`; `*` stands for any member or item (`/items/*/card`), `**` for any number of
/// levels (`/**/password`). Names are compared exactly. `~1` is a slash and `~0` a tilde, as in JSON Pointer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Fields of replies, whatever their status; not of those that the gateway makes itself. Upstreams are asked for the
    /// whole of them, uncompressed. Replies that are not JSON pass.
    #[serde(default)]
    pub response: Fields,
    /// Fields of requests.
    #[serde(default)]
    pub request: Fields,
    /// What stands in the place of masked values. Default `***`.
    #[serde(default = "stars")]
    pub mask_with: String,
    /// Longest body that is read; longer ones are refused. Default 1 MiB, at most 16 MiB.
    #[serde(default = "payload::one_mib")]
    pub max_body: Spanned<ByteSize>,
}

/// Which fields, and what is done with them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RedactFields")]
pub struct Fields {
    /// They are not there any more. Items of lists are removed, too.
    pub remove: OneOrMany<Spanned<String>>,
    /// Their value is replaced, whatever it is.
    pub mask: OneOrMany<Spanned<String>>,
}

fn stars() -> String {
    "***".to_owned()
}

/// The policy `redact`.
pub struct Redact {
    response: Option<Arc<Places>>,
    request: Option<Arc<Places>>,
    most: usize,
    tally: Arc<Tally>,
}

impl PolicyKind for Redact {
    const NAME: &'static str = "redact";
    const STAGE: Stage = Stage::Shape;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let response = places(&config.response, &config.mask_with, &mut problems);
        let request = places(&config.request, &config.mask_with, &mut problems);
        if response.is_none() && request.is_none() && problems.is_empty() && site.is_whole() {
            let hint = "`response: { remove: [ /password ] }`";
            problems.push(Diagnostic::error("redact.nothing", "this redacts nothing").at(written.span).hint(hint));
        }
        let most = payload::max_body(&config.max_body, "redact.max_body", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Redact { response, request, most, tally: site.tally() }))
    }
}

/// Places in a value: a value is walked once for all of them.
#[derive(Default, Debug)]
struct Places {
    paths: Vec<Path>,
    mask: Box<str>,
}

#[derive(Debug)]
struct Path {
    steps: Box<[Step]>,
    masks: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Any,
    Deep,
}

/// Most places: each costs a look at every member.
const MOST_PLACES: usize = 64;

fn places(fields: &Fields, mask: &str, problems: &mut Vec<Diagnostic>) -> Option<Arc<Places>> {
    let written = fields.remove.iter().map(|path| (path, false)).chain(fields.mask.iter().map(|path| (path, true)));
    let mut paths = Vec::new();
    for (path, masks) in written {
        match steps(path) {
            Some(steps) if paths.len() < MOST_PLACES => paths.push(Path { steps, masks }),
            Some(_) => {
                let message = format!("there are more than {MOST_PLACES} places");
                problems.push(Diagnostic::error("redact.place", message).at(path.span).hint("use `*` and `**`"));
                break;
            }
            None => {
                let message = format!("{} is no place in a JSON value", path.shown());
                let hint = "`/user/ssn`, `/items/*/card`, `/**/password`; `**` needs something behind it";
                problems.push(Diagnostic::error("redact.place", message).at(path.span).hint(hint));
            }
        }
    }
    (!paths.is_empty()).then(|| Arc::new(Places { paths, mask: mask.into() }))
}

fn steps(path: &str) -> Option<Box<[Step]>> {
    let step = |part: &str| match part {
        "*" => Step::Any,
        "**" => Step::Deep,
        name => Step::Name(pointer::name(name)),
    };
    let steps: Box<[Step]> = path.strip_prefix('/')?.split('/').map(step).collect();
    // The whole value, or everything in it, is not a field.
    let ends_well = !matches!(steps.last(), None | Some(Step::Deep));
    (ends_well && path.len() > 1).then_some(steps)
}

/// What becomes of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Kept,
    Masked,
    Removed,
}

impl Places {
    /// Redacts a value; whether there was anything to do.
    fn redact(&self, value: &mut Val) -> bool {
        let all: Vec<(usize, usize)> = (0..self.paths.len()).map(|path| (path, 0)).collect();
        self.walk(value, &all)
    }

    /// `open` are the paths that lead here, each with the step that is next.
    fn walk(&self, value: &mut Val, open: &[(usize, usize)]) -> bool {
        let mut found = false;
        match value {
            Val::Obj(members) => {
                Arc::make_mut(members).retain(|key, value| {
                    let (fate, next) = self.step(open, name_of(key));
                    found |= self.meet(fate, &next, value);
                    fate != Fate::Removed
                });
            }
            Val::Arr(items) => {
                let mut index = 0_usize;
                Arc::make_mut(items).retain_mut(|item| {
                    let mut buffer = itoa::Buffer::new();
                    let (fate, next) = self.step(open, Some(buffer.format(index)));
                    index += 1;
                    found |= self.meet(fate, &next, item);
                    fate != Fate::Removed
                });
            }
            _ => {}
        }
        found
    }

    fn meet(&self, fate: Fate, next: &[(usize, usize)], value: &mut Val) -> bool {
        match fate {
            Fate::Removed => true,
            Fate::Masked => {
                *value = reshape::text(&self.mask);
                true
            }
            Fate::Kept => !next.is_empty() && self.walk(value, next),
        }
    }

    /// What becomes of the member `name`, and which paths go on in it.
    fn step(&self, open: &[(usize, usize)], name: Option<&str>) -> (Fate, Vec<(usize, usize)>) {
        let mut fate = Fate::Kept;
        let mut next = Vec::new();
        for &(index, at) in open {
            let Some(path) = self.paths.get(index) else { continue };
            let mut at = at;
            // `**` stands for no level, too.
            while path.steps.get(at) == Some(&Step::Deep) {
                next.push((index, at));
                at += 1;
            }
            let fits = match path.steps.get(at) {
                Some(Step::Name(wanted)) => name == Some(&**wanted),
                Some(Step::Any) => true,
                Some(Step::Deep) | None => false,
            };
            if !fits {
                continue;
            }
            if at + 1 == path.steps.len() {
                fate = fate.max(if path.masks { Fate::Masked } else { Fate::Removed });
            } else {
                next.push((index, at + 1));
            }
        }
        next.sort_unstable();
        next.dedup();
        (fate, next)
    }
}

fn name_of(key: &Val) -> Option<&str> {
    match key {
        Val::TStr(name) => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

/// The body without its fields; `None` if it held none of them.
async fn redacted(
    worker: Option<&dyn Outbound>,
    places: &Arc<Places>,
    bytes: Bytes,
    most: usize,
) -> Result<Option<Vec<u8>>, TextFault> {
    let (places, size) = (Arc::clone(places), bytes.len());
    let work = move |_| {
        let mut value = reshape::read(&bytes)?;
        if !places.redact(&mut value) {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(bytes.len());
        // Masks may be longer than what they mask.
        reshape::write(&value, most.saturating_mul(2), &mut out)?;
        Ok(Some(out))
    };
    with_budget(worker, size, work).await
}

/// Whether somebody may read a body as JSON: of two types either might be
/// believed.
fn may_be_json(fields: &torana_core::head::Fields) -> bool {
    payload::media(fields) == Media::Json || fields.get_single(KnownName::ContentType).is_err()
}

impl Redact {
    async fn request(&self, places: &Arc<Places>, exchange: &mut Exchange) -> Result<bool, Rejection> {
        payload::expect_plain(&exchange.head.fields, &REQUEST)?;
        let bytes = payload::collect(&mut exchange.body, self.most, &TOO_LONG).await?;
        let redacted = redacted(exchange.outbound.as_deref(), places, bytes.clone(), self.most).await;
        let redacted = redacted.map_err(|fault| fault.rejection(&REQUEST, &BUSY))?;
        let found = redacted.is_some();
        match redacted {
            None => exchange.body = bytes.into(),
            Some(bytes) => payload::replace_request(exchange, bytes, None),
        }
        Ok(found)
    }

    async fn reply(
        &self,
        worker: Option<&dyn Outbound>,
        places: &Arc<Places>,
        reply: &mut Reply,
    ) -> Result<bool, Rejection> {
        payload::expect_plain(&reply.head.fields, &RESPONSE)?;
        let bytes = payload::collect(&mut reply.body, self.most, &RESPONSE).await?;
        let redacted = redacted(worker, places, bytes.clone(), self.most).await;
        let redacted = redacted.map_err(|fault| fault.rejection(&RESPONSE, &BUSY))?;
        let found = redacted.is_some();
        match redacted {
            None => reply.body = bytes.into(),
            Some(bytes) => payload::replace_reply(reply, bytes, None),
        }
        Ok(found)
    }

    fn decide(&self, outcome: Result<bool, Rejection>) -> Decision {
        self.tally.count(match &outcome {
            Ok(true) => &REDACTED,
            Ok(false) => &CLEAN,
            Err(_) => &FAILED,
        });
        outcome.map_or_else(Decision::Reject, |_| Decision::Continue)
    }
}

impl Policy for Redact {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if self.response.is_some() {
            payload::ask_for_plain(&mut exchange.head.fields);
        }
        let Some(places) = self.request.as_ref().filter(|_| !exchange.body.is_empty()) else {
            return Verdict::CONTINUE;
        };
        if !may_be_json(&exchange.head.fields) {
            self.tally.count(&OTHER_TYPE);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            let outcome = self.request(places, exchange).await;
            self.decide(outcome)
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let Some(places) = &self.response else { return Verdict::CONTINUE };
        let is_ours = exchange.notes.code.is_some();
        if is_ours || reply.tunnel.is_some() {
            return Verdict::CONTINUE;
        }
        if !may_be_json(&reply.head.fields) {
            self.tally.count(&OTHER_TYPE);
            return Verdict::CONTINUE;
        }
        if matches!(reply.body, Body::Empty) {
            if exchange.head.method == Method::Head {
                payload::replace_head(&mut reply.head.fields, None);
            }
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            let outcome = self.reply(exchange.outbound.as_deref(), places, reply).await;
            self.decide(outcome)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::transcript;

    const GET: &str = "GET / HTTP/1.1\nHost: a";

    fn run(config: &str, reply: &str) -> String {
        let shown = transcript(&entry::<Redact>(), config, GET, reply);
        shown.split_once("--\n").map_or(shown.clone(), |(_, reply)| reply.to_owned())
    }

    fn redact(fields: &str, body: &str) -> String {
        let shown = run(
            &format!(r#"{{ "response": {fields} }}"#),
            &format!("200\ncontent-type: application/json\netag: \"a\"\n\n{body}"),
        );
        let (_, body) = shown.split_once("\n\n").unwrap_or_else(|| panic!("{shown}"));
        body.lines().next().unwrap().to_owned()
    }

    #[test]
    fn fields_are_removed_and_masked_where_they_are() {
        let body =
            r#"{"id":1.10,"ssn":"x","user":{"password":"p","email":"e"},"items":[{"card":1,"n":2},{"card":[1]},3]}"#;
        for (fields, expected) in [
            (
                r#"{ "remove": "/ssn" }"#,
                r#"{"id":1.10,"user":{"password":"p","email":"e"},"items":[{"card":1,"n":2},{"card":[1]},3]}"#,
            ),
            (r#"{ "remove": ["/ssn", "/user", "/items/*/card"] }"#, r#"{"id":1.10,"items":[{"n":2},{},3]}"#),
            (
                r#"{ "mask": ["/**/password", "/**/card"], "remove": ["/ssn", "/id"] }"#,
                r#"{"user":{"password":"***","email":"e"},"items":[{"card":"***","n":2},{"card":"***"},3]}"#,
            ),
            (
                r#"{ "remove": "/items/1", "mask": "/user/*" }"#,
                r#"{"id":1.10,"ssn":"x","user":{"password":"***","email":"***"},"items":[{"card":1,"n":2},3]}"#,
            ),
            (
                r#"{ "remove": "/user/password", "mask": "/**/password" }"#,
                r#"{"id":1.10,"ssn":"x","user":{"email":"e"},"items":[{"card":1,"n":2},{"card":[1]},3]}"#,
            ),
            (
                r#"{ "remove": ["/*/*/*", "/items/*/card/0"] }"#,
                r#"{"id":1.10,"ssn":"x","user":{"password":"p","email":"e"},"items":[{},{},3]}"#,
            ),
        ] {
            assert_eq!(redact(fields, body), expected, "{fields}");
        }
        assert_eq!(redact(r#"{ "remove": "/a~1b/~0" }"#, r#"{"a/b":{"~":1,"x":2}}"#), r#"{"a/b":{"x":2}}"#);
    }

    #[test]
    fn a_body_without_them_is_not_touched() {
        let shown = run(
            r#"{ "response": { "remove": "/ssn" } }"#,
            "200\ncontent-type: application/json\netag: \"a\"\n\n{ \"a\" : 1 }",
        );
        assert_eq!(shown, "200\ncontent-type: application/json\netag: \"a\"\n\n{ \"a\" : 1 }\n1 × clean\n");
        let shown = run(
            r#"{ "response": { "remove": "/a" } }"#,
            "500\ncontent-type: application/json\netag: \"a\"\n\n{\"a\":1}",
        );
        assert_eq!(shown, "500\ncontent-type: application/json\n\n{}\n1 × redacted\n");
    }

    #[test]
    fn what_cannot_be_read_is_held_back() {
        for reply in [
            "200\ncontent-type: application/json\n\n{\"ssn\": 1",
            "200\ncontent-type: application/json\n\n{\"ssn\":1,\"ssn\":2}",
            "200\ncontent-type: application/json\ncontent-encoding: br\n\n{}",
            "200\ncontent-type: application/json\n\n\"0123456789\"",
            "200\ncontent-type: text/plain\ncontent-type: application/json\n\nssn=1",
        ] {
            let shown = run(r#"{ "response": { "remove": "/ssn" }, "max_body": 10 }"#, reply);
            assert!(shown.starts_with("reply rejected redact.response\n"), "{shown}");
        }
        assert!(run(r#"{ "response": { "remove": "/a" } }"#, "200\n\nhello").ends_with("1 × other_type\n"));
    }

    #[test]
    fn of_two_types_either_may_be_believed() {
        let reply = "200\ncontent-type: text/plain\ncontent-type: application/json\n\n{\"ssn\":1}";
        let shown = run(r#"{ "response": { "remove": "/ssn" } }"#, reply);
        assert!(shown.ends_with("\n\n{}\n1 × redacted\n"), "{shown}");
    }

    #[test]
    fn a_head_says_nothing_of_bytes_that_are_not_sent() {
        let reply = "200\ncontent-type: application/json\ncontent-length: 9\netag: \"a\"";
        let config = r#"{ "response": { "remove": "/ssn" } }"#;
        let shown = transcript(&entry::<Redact>(), config, "HEAD / HTTP/1.1\nHost: a", reply);
        assert!(shown.ends_with("--\n200\ncontent-type: application/json\n"), "{shown}");
    }

    #[test]
    fn where_too_much_is_done_aside_nothing_is_sent_on() {
        let names = torana_core::testing::TestNames::new("r", "/*").counting(EVENTS);
        let config = torana_core::testing::written(r#"{ "response": { "remove": "/ssn" } }"#);
        let policy = (entry::<Redact>().build)(&config, &names).unwrap();
        let worker = torana_core::testing::TestWorker::new();
        worker.is_full.set(true);
        let mut exchange = torana_core::testing::exchange(GET);
        exchange.outbound = Some(worker);
        let long = "x".repeat(reshape::LARGEST_INLINE);
        let mut reply =
            torana_core::testing::reply(&format!("200\ncontent-type: application/json\n\n{{\"a\":\"{long}\"}}"));
        match torana_core::testing::ready(policy.on_response(&mut exchange, &mut reply)) {
            Decision::Reject(rejection) => assert_eq!(rejection.refusal.code, BUSY.code),
            _ => panic!("it is sent on"),
        }
    }

    #[test]
    fn requests_too() {
        let request = "POST / HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: 9\n\n{\"a\": 1}";
        let config = r#"{ "request": { "remove": "/a" } }"#;
        let shown = transcript(&entry::<Redact>(), config, request, "200");
        assert_eq!(shown, "POST /\nhost: a\ncontent-type: application/json\n--\n200\n1 × redacted\n");
        let shown = transcript(&entry::<Redact>(), config, &request.replace("}", ""), "200");
        assert!(shown.starts_with("rejected redact.request 400\n"), "{shown}");
    }

    #[test]
    fn places_that_are_none_are_refused() {
        for place in ["", "/", "ssn", "/a/**", "/**", "$.a"] {
            let shown = run(&format!(r#"{{ "response": {{ "remove": "{place}" }} }}"#), "200");
            assert!(shown.starts_with("error redact.place"), "{place}: {shown}");
        }
        assert!(run("{}", "200").starts_with("error redact.nothing"));
    }
}
