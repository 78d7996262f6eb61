//! Sends the client elsewhere.
//!
//! Where to is the operator's word: captures are inserted into the path only,
//! percent-encoded as they stand in the canonical path, and the result is read
//! again as a path. So no request can choose the host a client is sent to (an
//! open redirect), and `//evil.example` or `/\evil.example` cannot come about.
//!
//! What `scheme`, `host` and `port` leave open is taken from the request: its
//! host as it was admitted, which routes were matched with and which only the
//! client itself can have chosen, never a header as it was sent. The keys and
//! what becomes of the port are those of the Gateway API's `RequestRedirect`.

use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::canonical::{Scheme, canonical_authority_of, canonical_path};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::exchange::Exchange;
use torana_core::head::{Method, Status};
use torana_core::names::KnownName;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::target::{Answer, Names, Target, TargetKind};
use torana_core::template::{Template, TemplateError};
use torana_core::written::{Spanned, Written};

torana_core::refusals! {
    /// What the request's path makes of the redirect is not a path.
    NO_PATH = "redirect.no_path" 400 Caller Never "There is nothing at this address.";
    /// An HTTP/1.0 request that names no host is to be sent to another scheme
    /// or port of it.
    NO_HOST = "redirect.no_host" 400 Caller Never "The request has to name a host.";
    /// The client would be sent where it is.
    LOOP = "redirect.loop" 500 Gateway Never "This address leads to itself.";
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to: a path or an `http(s)` URL. `{name}` stands for what the
    /// route's path captured, `{rest}` for what `*` matched; in the path only.
    /// The query is kept unless this has its own. Default: the request's path.
    #[serde(default)]
    pub to: Option<Spanned<String>>,
    /// `http` or `https`. Default: the request's.
    #[serde(default)]
    pub scheme: Option<Web>,
    /// A host name or an IP address. Default: the request's.
    #[serde(default)]
    pub host: Option<Spanned<String>>,
    /// A port. Default: with `scheme` that scheme's own, otherwise the
    /// request's.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
    /// 301, 302, 303, 307 or 308. Default 308: permanent, and the method stays.
    #[serde(default = "permanent")]
    pub status: Spanned<u16>,
}

/// A scheme that browsers follow.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Web {
    /// Plain text.
    Http,
    /// Over TLS.
    Https,
}

fn permanent() -> Spanned<u16> {
    308.into()
}

/// The target `redirect`.
pub struct Redirect {
    status: Status,
    origin: Origin,
    to: To,
    /// What of it was written, as it was written.
    shown: String,
}

/// The part of a URL before the path.
enum Origin {
    /// The one asked for: left out.
    Same,
    /// This: `https://host:port`, canonical.
    Fixed(String),
    /// The request's, but for what is given.
    Changed { scheme: Option<Scheme>, host: Option<String>, port: Option<u16> },
}

/// The part of a URL from the path on.
#[derive(Default)]
struct To {
    /// `None` keeps the request's.
    path: Option<Template>,
    /// With its `?`; `None` keeps the request's.
    query: Option<String>,
    /// With its `#`, perhaps empty.
    fragment: String,
}

impl TargetKind for Redirect {
    const NAME: &'static str = "redirect";
    const REFUSALS: &'static [&'static Refusal] = &[&NO_PATH, &NO_HOST, &LOOP];
    type Config = Config;

    fn build(config: Config, written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let status = status(&config.status).map_err(|problem| problems.push(*problem)).ok();
        let url = config.to.as_ref().map(|to| parse(to, names)).transpose();
        let url = url.map_err(|problem| problems.push(*problem)).ok();
        let host = config.host.as_ref().map(host).transpose().map_err(|problem| problems.push(*problem)).ok();
        let (Some(status), Some(url), Some(host)) = (status, url, host) else { return Err(problems) };
        let (origin, to) = url.unwrap_or_default();
        let scheme = config.scheme.map(Scheme::from);
        let is_changed = scheme.is_some() || host.is_some() || config.port.is_some();
        let origin = match (origin, is_changed) {
            (None, true) => Origin::Changed { scheme, host, port: config.port.as_ref().map(|port| port.value) },
            (None, false) if config.to.is_some() => Origin::Same,
            (None, false) => {
                let problem = Diagnostic::error("redirect.nothing", "the redirect leads nowhere else");
                return Err(vec![problem.at(written.span).hint("add `to`, `scheme`, `host` or `port`")]);
            }
            (Some(origin), false) => Origin::Fixed(origin),
            (Some(_), true) => {
                let problem = Diagnostic::error("redirect.conflict", "`to` is a URL, and others say where to as well");
                let span = config.to.as_ref().map_or(written.span, |to| to.span);
                return Err(vec![problem.at(span).hint("write the path alone in `to`, or remove the other keys")]);
            }
        };
        Ok(Arc::new(Redirect { status, origin, to, shown: shown(&config) }))
    }
}

impl From<Web> for Scheme {
    fn from(scheme: Web) -> Self {
        match scheme {
            Web::Http => Scheme::Http,
            Web::Https => Scheme::Https,
        }
    }
}

/// The keys with what they say, references as they were written.
fn shown(config: &Config) -> String {
    let raw = |text: &Spanned<String>| text.raw().unwrap_or(text).to_owned();
    let keys = [
        ("scheme ", config.scheme.map(|scheme| Scheme::from(scheme).to_string())),
        ("host ", config.host.as_ref().map(raw)),
        ("port ", config.port.as_ref().map(|port| port.raw().map_or(port.to_string(), str::to_owned))),
        ("", config.to.as_ref().map(raw)),
    ];
    let keys: Vec<String> = keys.into_iter().filter_map(|(key, value)| Some(format!("{key}{}", value?))).collect();
    keys.join(" ")
}

fn status(status: &Spanned<u16>) -> Result<Status, Box<Diagnostic>> {
    let known = matches!(status.value, 301 | 302 | 303 | 307 | 308);
    Status::new(status.value).filter(|_| known).ok_or_else(|| {
        let message = format!("{} is not the status of a redirect", status.shown());
        let hint = "308 and 301 are permanent, 307 and 302 temporary; 307 and 308 keep the method; 303 makes it GET";
        Box::new(Diagnostic::error("redirect.status", message).at(status.span).hint(hint))
    })
}

/// The host in canonical form.
fn host(host: &Spanned<String>) -> Result<String, Box<Diagnostic>> {
    let mut canonical = String::new();
    // With either scheme one of the two default ports would be taken off.
    let (why, hint) = match canonical_authority_of(host.as_bytes(), Scheme::Http, &mut canonical) {
        Ok(None) if !has_port(host) => return Ok(canonical),
        Ok(_) => ("is a host and a port", "write the port in `port`"),
        Err(_) => ("is not a host", "write a name such as `shop.example`, or an IP address"),
    };
    Err(Box::new(Diagnostic::error("redirect.host", format!("{} {why}", host.shown())).at(host.span).hint(hint)))
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(']').map_or(authority, |(_, after)| after).contains(':')
}

/// The origin in front of the path, if there is one, and the rest.
fn parse(to: &Spanned<String>, names: &dyn Names) -> Result<(Option<String>, To), Box<Diagnostic>> {
    let invalid = |why: &str, hint: Option<String>| {
        let problem = Diagnostic::error("redirect.to", format!("{} {why}", to.shown()));
        // A hint may quote what a reference stands for.
        Box::new(problem.at(to.span).maybe_hint(hint.filter(|_| to.raw().is_none())))
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
    let origin = if origin.is_empty() {
        None
    } else {
        Some(canonical_origin(origin).map_err(|(why, hint)| invalid(&why, hint))?)
    };
    let path = if path.is_empty() { "/" } else { path };
    check_path(path).map_err(|(why, hint)| invalid(&why, hint))?;
    let template = Template::compile(path, names.captures()).map_err(|error| match to.raw() {
        Some(_) => invalid("is no path with the captures of the route", None),
        None => Box::new(template_problem(&error, names).at(to.span)),
    })?;
    let to = To {
        path: Some(template),
        query: (!query.is_empty()).then(|| query.to_owned()),
        fragment: fragment.to_owned(),
    };
    Ok((origin, to))
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

fn canonical_origin(origin: &str) -> Result<String, (String, Option<String>)> {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    if authority.contains(['{', '}']) {
        let hint = format!("to stay on the request's host, write `scheme: {scheme}` and the path alone in `to`");
        return Err(("lets the request choose the host".to_owned(), Some(hint)));
    }
    let mut canonical = String::new();
    match canonical_authority_of(authority.as_bytes(), scheme, &mut canonical) {
        Ok(_) => Ok(format!("{scheme}://{canonical}")),
        Err(error) => Err((format!("has no valid host: {error}"), None)),
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
        let mut location = String::new();
        self.origin.write(exchange, &mut location)?;
        let is_same_origin = location.is_empty() || is_origin_of(exchange, &location);
        let start = location.len();
        match &self.to.path {
            Some(template) => {
                let mut rendered = String::new();
                template.render(target.path(), &exchange.captures, &mut rendered);
                let mut path = String::new();
                canonical_path(rendered.as_bytes(), &mut path)
                    .map_err(|error| Rejection::new(&NO_PATH).because(error))?;
                location.push_str(&path);
            }
            None => location.push_str(target.path()),
        }
        match (&self.to.query, exchange.forward_query()) {
            (Some(own), _) => location.push_str(own),
            (None, Some(asked)) => {
                location.push('?');
                location.push_str(asked);
            }
            (None, None) => {}
        }
        if is_same_origin && location.get(start..) == Some(target.path_and_query()) && self.repeats(exchange) {
            return Err(Rejection::new(&LOOP).because(location));
        }
        location.push_str(&self.to.fragment);
        Ok(location)
    }

    /// Whether the client would send the same request again, but for the URL.
    /// After a POST, all but 307 and 308 make it a GET (RFC 9110 §15.4), which
    /// another route may serve.
    fn repeats(&self, exchange: &Exchange) -> bool {
        matches!(exchange.head.method, Method::Get | Method::Head) || matches!(self.status.code(), 307 | 308)
    }
}

impl Origin {
    /// Appends it as it is for `exchange`.
    fn write(&self, exchange: &Exchange, out: &mut String) -> Result<(), Rejection> {
        let (wanted, host, port) = match self {
            Origin::Same => return Ok(()),
            Origin::Fixed(origin) => {
                out.push_str(origin);
                return Ok(());
            }
            Origin::Changed { scheme, host, port } => (*scheme, host.as_deref(), *port),
        };
        let target = exchange.target();
        let scheme = wanted.unwrap_or_else(|| asked_scheme(exchange));
        let host = host.unwrap_or(target.host());
        if host.is_empty() {
            return Err(Rejection::new(&NO_HOST));
        }
        // The request's port belongs to the request's scheme.
        let port = port.or_else(|| target.port().filter(|_| wanted.is_none()));
        out.push_str(scheme.as_str());
        out.push_str("://");
        out.push_str(host);
        if let Some(port) = port.filter(|port| *port != scheme.default_port()) {
            out.push(':');
            out.push_str(&port.to_string());
        }
        Ok(())
    }
}

/// The scheme the client used, which a trusted proxy may have turned into
/// another. By now the field is the gateway's own.
fn asked_scheme(exchange: &Exchange) -> Scheme {
    match exchange.head.fields.get_single(KnownName::XForwardedProto) {
        Ok(Some(b"https")) => Scheme::Https,
        Ok(Some(b"http")) => Scheme::Http,
        _ => exchange.target().scheme(),
    }
}

fn is_origin_of(exchange: &Exchange, origin: &str) -> bool {
    let authority = origin.strip_prefix(asked_scheme(exchange).as_str()).and_then(|rest| rest.strip_prefix("://"));
    authority == Some(exchange.target().authority())
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
        format!("redirect {} {}", self.status.code(), self.shown)
    }
}

#[cfg(test)]
mod tests;
