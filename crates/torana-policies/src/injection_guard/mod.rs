//! Recognises SQL injection and cross-site scripting in what clients send.
//!
//! It does what libinjection does: it reads values as SQL would, and as HTML
//! would, and asks whether that could be meant as code. It is a second line:
//! what it lets pass may still be an attack, and what it refuses may be a
//! sentence with a quote in it. That is why it can only observe, why places
//! can be excluded, and why the log says where, and never what.

mod value;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::json;
use torana_core::names::KnownName;
use torana_core::payload::{self, Media};
use torana_core::pointer;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::query::without_escapes;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{OneOrMany, Spanned, Written};
use torana_core::{cookie, query};
use torana_reshape::with_budget;
use value::{Kind, Wanted, attack};

torana_core::refusals! {
    /// A value could be meant as SQL; the log says where it stands.
    SQLI = "injection_guard.sqli" 403 Caller Never "The request was refused.";
    /// A value could be meant as markup or script; the log says where it stands.
    XSS = "injection_guard.xss" 403 Caller Never "The request was refused.";
    /// There is more than can be looked at: the body is longer than `max_body`, or has too many values.
    TOO_LARGE = "injection_guard.too_large" 413 Caller Never "The request is too large.";
    /// The body is compressed.
    UNREADABLE = "injection_guard.unreadable" 415 Caller Never "The body of the request cannot be read.";
    /// Too many others are being looked at.
    BUSY = "injection_guard.busy" 503 Gateway IfSafe "The request could not be processed.";
}

torana_core::events! {
    CLEAN = "clean" "Nothing was found in a request.";
    FOUND_SQLI = "sqli" "A value could be meant as SQL.";
    FOUND_XSS = "xss" "A value could be meant as markup or script.";
    UNSEEN = "unseen" "A body was passed on without a look at all of it: it is neither JSON nor a form, or, observed only, compressed or of too many values.";
    BLOCKED = "blocked" "A request was refused.";
}

/// Looks for SQL injection and cross-site scripting in path, query, headers, cookies, and bodies of JSON and forms.
///
/// Values are looked at as they are decoded, and once more with percent escapes and entities of HTML decoded again. The
/// log says where something was found, and never what. Begin with `mode: observe`, exclude what is legitimate, then block.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is looked for. Default: both.
    #[serde(default)]
    pub detect: OneOrMany<Detect>,
    /// Which parts of requests are looked at. Default: all.
    #[serde(default)]
    pub parts: OneOrMany<Part>,
    /// Values that are not looked at: `query.q`, `header.referer`, `cookie.theme`, `form.text`, and for JSON a path in which `*` is
    /// any member or item: `json/comments/*/text`.
    #[serde(default)]
    pub exclude: OneOrMany<Spanned<String>>,
    /// What is done with what is found. Default `block`.
    #[serde(default)]
    pub mode: Mode,
    /// Longest body that is looked at; longer ones are refused. Default 256 KiB, at most 16 MiB.
    #[serde(default = "kib_256")]
    pub max_body: Spanned<ByteSize>,
}

/// An attack that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InjectionDetect")]
pub enum Detect {
    /// SQL injection.
    Sqli,
    /// Cross-site scripting.
    Xss,
}

/// A part of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InjectionPart")]
pub enum Part {
    /// The segments of the path.
    Path,
    /// Names and values of the query's parameters.
    Query,
    /// `Referer`, `User-Agent`, and fields that HTTP itself does not know.
    Headers,
    /// Values of cookies.
    Cookies,
    /// Text and names in JSON, names and values of forms.
    Body,
}

/// What is done with what is found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InjectionMode")]
pub enum Mode {
    /// 403.
    #[default]
    Block,
    /// It is counted, and where it stands is in the log as the cause.
    Observe,
}

fn kib_256() -> Spanned<ByteSize> {
    ByteSize::kib(256).into()
}

/// The policy `injection_guard`.
pub struct InjectionGuard {
    rules: Arc<Rules>,
    parts: Vec<Part>,
    mode: Mode,
    most: usize,
    tally: Arc<Tally>,
}

/// What is looked for, and where not.
struct Rules {
    wanted: Wanted,
    /// Names in lower case for headers, as they are elsewhere.
    names: Vec<(&'static str, Box<str>)>,
    json: Vec<Box<[Box<str>]>>,
}

/// Why a look ended early.
enum Ended {
    /// Something was found, and where, in words for the log.
    Found(Kind, Box<str>),
    TooMany,
}

/// Most values of a request: each is read six times.
const MOST_VALUES: usize = 20_000;

impl PolicyKind for InjectionGuard {
    const NAME: &'static str = "injection_guard";
    const STAGE: Stage = Stage::Authorize;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, _: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let detects = |kind| config.detect.is_empty() || config.detect.contains(&kind);
        let wanted = Wanted { sqli: detects(Detect::Sqli), xss: detects(Detect::Xss) };
        let mut rules = Rules { wanted, names: Vec::new(), json: Vec::new() };
        for place in config.exclude.iter() {
            if !rules.exclude(place) {
                let message = format!("{} is no place in a request", place.shown());
                let hint = "`query.q`, `header.referer`, `cookie.theme`, `form.text`, `json/comments/*/text`";
                problems.push(Diagnostic::error("injection_guard.exclude", message).at(place.span).hint(hint));
            }
        }
        let most = payload::max_body(&config.max_body, "injection_guard.max_body", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        const ALL: [Part; 5] = [Part::Path, Part::Query, Part::Headers, Part::Cookies, Part::Body];
        let parts = if config.parts.is_empty() { ALL.to_vec() } else { config.parts.0 };
        Ok(Arc::new(InjectionGuard { rules: Arc::new(rules), parts, mode: config.mode, most, tally: site.tally() }))
    }
}

impl Rules {
    fn exclude(&mut self, place: &str) -> bool {
        if let Some(path) = place.strip_prefix("json/") {
            self.json.push(path.split('/').map(pointer::name).collect());
            return true;
        }
        let Some((kind, name)) = place.split_once('.').filter(|(_, name)| !name.is_empty()) else { return false };
        let (kind, name): (_, Box<str>) = match kind {
            "query" => ("query", name.into()),
            "form" => ("form", name.into()),
            "cookie" => ("cookie", name.into()),
            "header" => ("header", name.to_ascii_lowercase().into()),
            _ => return false,
        };
        self.names.push((kind, name));
        true
    }

    fn excludes(&self, kind: &str, name: &[u8]) -> bool {
        self.names.iter().any(|(of, known)| *of == kind && known.as_bytes() == name)
    }

    /// Looks at one value; `place` is for the log.
    fn look(&self, value: &[u8], place: impl FnOnce() -> Box<str>) -> Result<(), Ended> {
        attack(value, self.wanted).map_or(Ok(()), |kind| Err(Ended::Found(kind, place())))
    }

    /// Names and values of a query or a form.
    fn pairs(&self, text: &str, kind: &'static str) -> Result<(), Ended> {
        let (name_of, value_of) = match kind {
            "query" => ("the name of a query parameter", "the query parameter"),
            _ => ("the name of a form field", "the form field"),
        };
        for (index, (name, value)) in query::pairs(text).enumerate() {
            if index > MOST_VALUES {
                return Err(Ended::TooMany);
            }
            let name: Vec<u8> = name.collect();
            self.look(&name, || name_of.into())?;
            if !self.excludes(kind, &name) {
                self.look(&value.collect::<Vec<u8>>(), || place(value_of, &name))?;
            }
        }
        Ok(())
    }

    fn headers(&self, fields: &Fields) -> Result<(), Ended> {
        for (name, value) in fields.iter() {
            let known = KnownName::lookup(name.text);
            if !matches!(known, None | Some(KnownName::Referer | KnownName::UserAgent)) {
                continue;
            }
            let lower = name.text.to_ascii_lowercase();
            if !self.excludes("header", &lower) {
                self.look(value, || place("the header", &lower))?;
            }
        }
        Ok(())
    }

    fn cookies(&self, fields: &Fields) -> Result<(), Ended> {
        for (name, value) in fields.get_all(KnownName::Cookie).flat_map(cookie::pairs) {
            if !self.excludes("cookie", name) {
                self.look(value, || place("the cookie", name))?;
            }
        }
        Ok(())
    }

    fn body(&self, bytes: &Bytes, media: Media) -> Result<(), Ended> {
        if media == Media::Form {
            return self.pairs(&String::from_utf8_lossy(bytes), "form");
        }
        match json::read(bytes) {
            Ok(value) => self.json(&value, &mut Vec::new(), &mut 0),
            // What is not JSON for us may be for somebody else.
            Err(_) => self.look(bytes, || "the body, which is not JSON".into()),
        }
    }

    fn json<'v>(&self, value: &'v Value, path: &mut Vec<&'v str>, count: &mut usize) -> Result<(), Ended> {
        *count += 1;
        if *count > MOST_VALUES {
            return Err(Ended::TooMany);
        }
        match value {
            Value::String(text) if !self.excludes_json(path) => self.look(text.as_bytes(), || {
                let shown = path.iter().map(|step| if is_plain_name(step.as_bytes()) { step } else { "…" });
                format!("the JSON value `/{}`", shown.collect::<Vec<_>>().join("/")).into()
            }),
            Value::Array(items) => {
                path.push("*");
                let looked = items.iter().try_for_each(|item| self.json(item, path, count));
                path.pop();
                looked
            }
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.look(name.as_bytes(), || "the name of a JSON member".into())?;
                path.push(name);
                let looked = self.json(value, path, count);
                path.pop();
                looked
            }),
            _ => Ok(()),
        }
    }

    fn excludes_json(&self, path: &[&str]) -> bool {
        let fits = |wanted: &[Box<str>]| {
            wanted.len() == path.len()
                && wanted.iter().zip(path).all(|(wanted, step)| **wanted == *"*" || **wanted == **step)
        };
        self.json.iter().any(|wanted| fits(wanted))
    }
}

/// A name that tells nothing but itself.
fn is_plain_name(name: &[u8]) -> bool {
    name.len() <= 64
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*'))
}

fn place(what: &str, name: &[u8]) -> Box<str> {
    if name.is_empty() || !is_plain_name(name) {
        return what.into();
    }
    format!("{what} `{}`", String::from_utf8_lossy(name)).into()
}

impl InjectionGuard {
    fn head(&self, exchange: &Exchange) -> Result<(), Ended> {
        let (rules, target, fields) = (&self.rules, exchange.target(), &exchange.head.fields);
        for part in &self.parts {
            match part {
                Part::Path => {
                    for segment in target.path().split('/').filter(|segment| !segment.is_empty()) {
                        rules.look(&without_escapes(segment.as_bytes()), || "the path".into())?;
                    }
                }
                Part::Query => rules.pairs(target.query().unwrap_or_default(), "query")?,
                Part::Headers => rules.headers(fields)?,
                Part::Cookies => rules.cookies(fields)?,
                Part::Body => {}
            }
        }
        Ok(())
    }

    fn judge(&self, ended: Result<(), Ended>, exchange: &mut Exchange) -> Decision {
        let (kind, place) = match ended {
            Ok(()) => {
                self.tally.count(&CLEAN);
                return Decision::Continue;
            }
            Err(Ended::TooMany) if self.mode == Mode::Observe => {
                self.tally.count(&UNSEEN);
                return Decision::Continue;
            }
            Err(Ended::TooMany) => {
                return Decision::Reject(Rejection::new(&TOO_LARGE).because("it has too many values"));
            }
            Err(Ended::Found(kind, place)) => (kind, place),
        };
        let (event, refusal) = match kind {
            Kind::Sqli => (&FOUND_SQLI, &SQLI),
            Kind::Xss => (&FOUND_XSS, &XSS),
        };
        self.tally.count(event);
        let cause = format!("found in {place}");
        if self.mode == Mode::Observe {
            exchange.notes.cause =
                Some(format!("observed by the policy `injection_guard`: {} {cause}", event.name).into());
            return Decision::Continue;
        }
        self.tally.count(&BLOCKED);
        Decision::Reject(Rejection::new(refusal).because(cause))
    }

    async fn body(&self, exchange: &mut Exchange, media: Media) -> Result<Result<(), Ended>, Rejection> {
        let bytes = payload::collect(&mut exchange.body, self.most, &TOO_LARGE).await?;
        exchange.body = bytes.clone().into();
        let rules = Arc::clone(&self.rules);
        with_budget(exchange.outbound.as_deref(), bytes.len(), move |_| Ok(rules.body(&bytes, media)))
            .await
            .map_err(|fault| Rejection::new(&BUSY).because(fault))
    }
}

impl Policy for InjectionGuard {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let looked = self.head(exchange);
        let has_body = self.parts.contains(&Part::Body) && !exchange.body.is_empty();
        if looked.is_err() || !has_body {
            return Verdict::Now(self.judge(looked, exchange));
        }
        let media = payload::media(&exchange.head.fields);
        if !matches!(media, Media::Json | Media::Form) {
            self.tally.count(&UNSEEN);
            return Verdict::Now(self.judge(looked, exchange));
        }
        if !payload::is_plain(&exchange.head.fields) {
            if self.mode == Mode::Block {
                return Rejection::new(&UNREADABLE).because("the body is compressed").into();
            }
            self.tally.count(&UNSEEN);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            match self.body(exchange, media).await {
                Ok(looked) => self.judge(looked, exchange),
                Err(rejection) => Decision::Reject(rejection),
            }
        }))
    }
}
