//! Sends the client elsewhere.
//!
//! Where to is the operator's word: captures are inserted into the path only,
//! percent-encoded as they stand in the canonical path, and the result is read
//! again as a path. So no request can choose the host a client is sent to (an
//! open redirect), and `//evil.example` or `/\evil.example` cannot come about.

use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::canonical::{Scheme, canonical_authority_of, canonical_path};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::exchange::Exchange;
use torana_core::head::Status;
use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::target::{Answer, Names, Target, TargetKind};
use torana_core::template::{Template, TemplateError};
use torana_core::written::{Spanned, Written};

torana_core::refusals! {
    /// What the request's path makes of the redirect is not a path.
    NO_PATH = "redirect.no_path" 400 Caller Never "There is nothing at this address.";
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to: a path or an `http(s)` URL. `{name}` stands for what the
    /// route's path captured, `{rest}` for what `*` matched; in the path only.
    /// The query is kept unless this has its own.
    pub to: Spanned<String>,
    /// 301, 302, 303, 307 or 308. Default 308: permanent, and the method stays.
    #[serde(default = "permanent")]
    pub status: Spanned<u16>,
}

fn permanent() -> Spanned<u16> {
    308.into()
}

/// The target `redirect`.
pub struct Redirect {
    status: Status,
    /// `https://host:port`; empty to stay on the host asked for.
    origin: String,
    path: Template,
    /// With its `?`; `None` keeps the request's.
    query: Option<String>,
    /// With its `#`, perhaps empty.
    fragment: String,
    written: String,
}

impl TargetKind for Redirect {
    const NAME: &'static str = "redirect";
    const REFUSALS: &'static [&'static Refusal] = &[&NO_PATH];
    type Config = Config;

    fn build(config: Config, _: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let status = status(&config.status).map_err(|problem| problems.push(*problem)).ok();
        let target = parse(&config.to, names).map_err(|problem| problems.push(*problem)).ok();
        match (status, target) {
            (Some(status), Some(target)) => Ok(Arc::new(Redirect { status, ..target })),
            _ => Err(problems),
        }
    }
}

fn status(status: &Spanned<u16>) -> Result<Status, Box<Diagnostic>> {
    let known = matches!(status.value, 301 | 302 | 303 | 307 | 308);
    Status::new(status.value).filter(|_| known).ok_or_else(|| {
        let message = format!("{} is not the status of a redirect", status.shown());
        let hint = "308 and 301 are permanent, 307 and 302 temporary; 307 and 308 keep the method; 303 makes it GET";
        Box::new(Diagnostic::error("redirect.status", message).at(status.span).hint(hint))
    })
}

fn parse(to: &Spanned<String>, names: &dyn Names) -> Result<Redirect, Box<Diagnostic>> {
    let invalid = |why: &str, hint: Option<String>| {
        let problem = Diagnostic::error("redirect.to", format!("{} {why}", to.shown()));
        Box::new(problem.at(to.span).maybe_hint(hint))
    };
    let text = to.as_str();
    let (text, fragment) = text.split_at(text.find('#').unwrap_or(text.len()));
    let (text, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    if [query, fragment].iter().any(|part| part.contains(['{', '}'])) {
        return Err(invalid("has a capture after its path", Some("captures stand in the path only".into())));
    }
    let is_visible = query.bytes().chain(fragment.bytes()).all(|byte| matches!(byte, b'!'..=b'~'));
    if !is_visible || fragment.matches('#').count() > 1 {
        return Err(invalid("holds characters that a URL cannot", Some("percent-encode them".into())));
    }
    let Some((origin, path)) = split_origin(text) else {
        let hint = "write `/path`, or `https://host/path`";
        return Err(invalid("is neither a path nor an `http` or `https` URL", Some(hint.into())));
    };
    if !origin.is_empty() {
        check_origin(origin).map_err(|why| invalid(&why, None))?;
    }
    let path = if path.is_empty() { "/" } else { path };
    check_path(path).map_err(|(why, hint)| invalid(&why, hint))?;
    let template = Template::compile(path, names.captures())
        .map_err(|error| Box::new(template_problem(&error, names).at(to.span)))?;
    Ok(Redirect {
        // The caller's to set.
        status: Status::PERMANENT_REDIRECT,
        origin: origin.to_owned(),
        path: template,
        query: (!query.is_empty()).then(|| query.to_owned()),
        fragment: fragment.to_owned(),
        written: to.raw().unwrap_or(to.as_str()).to_owned(),
    })
}

/// Scheme and authority (none for a path), and the path.
fn split_origin(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('/') {
        return Some(("", text));
    }
    let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = after.find('/').unwrap_or(after.len());
    Some(text.split_at(text.len() - after.len() + authority))
}

fn check_origin(origin: &str) -> Result<(), String> {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    if authority.contains(['{', '}']) {
        return Err("lets the request choose the host".to_owned());
    }
    match canonical_authority_of(authority.as_bytes(), scheme, &mut String::new()) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("has no valid host: {error}")),
    }
}

/// With a plain word for each capture the path must be canonical.
fn check_path(path: &str) -> Result<(), (String, Option<String>)> {
    let mut plain = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push('x');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    let mut canonical = String::new();
    match canonical_path(plain.as_bytes(), &mut canonical) {
        Ok(()) if canonical == plain => Ok(()),
        Ok(()) if plain == path => Err(("is not in canonical form".to_owned(), Some(format!("write `{canonical}`")))),
        Ok(()) => Err(("is not in canonical form".to_owned(), None)),
        Err(error) => Err((format!("has no valid path: {error}"), None)),
    }
}

fn template_problem(error: &TemplateError, names: &dyn Names) -> Diagnostic {
    let diagnostic = Diagnostic::error("redirect.template", error.to_string());
    let TemplateError::Unknown(name) = error else { return diagnostic };
    let captures = names.captures();
    diagnostic.hint(match did_you_mean(name, captures.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None if captures.is_empty() => "the route's path captures nothing".to_owned(),
        None => format!("the route's path captures `{}`", captures.join("`, `")),
    })
}

impl Redirect {
    fn location(&self, exchange: &Exchange) -> Result<String, Rejection> {
        let target = exchange.target();
        let mut rendered = String::new();
        self.path.render(target.path(), &exchange.captures, &mut rendered);
        let mut path = String::new();
        canonical_path(rendered.as_bytes(), &mut path).map_err(|error| Rejection::new(&NO_PATH).because(error))?;
        let mut location = String::with_capacity(self.origin.len() + path.len() + 16);
        location.push_str(&self.origin);
        location.push_str(&path);
        match (&self.query, target.query()) {
            (Some(own), _) => location.push_str(own),
            (None, Some(asked)) => {
                location.push('?');
                location.push_str(asked);
            }
            (None, None) => {}
        }
        location.push_str(&self.fragment);
        Ok(location)
    }
}

impl Target for Redirect {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a> {
        match self.location(exchange) {
            Ok(location) => {
                let reply = Reply::new(self.status).with_field(KnownName::Location, location.as_bytes());
                Answer::Now(Box::new(reply))
            }
            Err(rejection) => Answer::Reject(rejection),
        }
    }

    fn describe(&self) -> String {
        format!("redirect {} {}", self.status.code(), self.written)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(location("/{a}/{b}", &[("a", ""), ("b", "evil")], "/evil"), "/evil");
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
        let shown = target_transcript(
            &entry::<Redirect>(),
            r#"{ "to": "//x", "status": 200 }"#,
            &[],
            "GET / HTTP/1.1\nHost: a",
        );
        assert!(shown.contains("redirect.status") && shown.contains("redirect.to"), "both at once: {shown}");
    }
}
