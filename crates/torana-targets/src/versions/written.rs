//! The configuration and what becomes of it.

use super::Versions;
use super::said::{LONGEST, Place, is_same};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;
use torana_core::diagnostic::{Diagnostic, Span, did_you_mean};
use torana_core::names::{HeaderName, KnownName};
use torana_core::reply::ReplyFields;
use torana_core::rewrite;
use torana_core::target::{Names, Way, find_upstream};
use torana_core::units::Moment;
use torana_core::written::{Entry, Spanned, Written, others};

/// The versions of an API, each under its name, and where a request says which
/// one it wants: exactly one of `header`, `accept`, `query` and `path`.
///
/// Names have letters, digits, `.`, `_` and `-`. Upper and lower case are the
/// same, and so are a number and the number with a `v` in front: `v2` and `2`.
/// A request that names two versions is refused with `versions.ambiguous`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Versions")]
pub struct Config {
    /// This header says it.
    #[serde(default)]
    header: Option<Spanned<String>>,
    /// `Accept` says it: in this parameter of a media type
    /// (`application/json; version=2`), or in the name of a vendor's type
    /// (`application/vnd.acme.v2+json`).
    #[serde(default)]
    accept: Option<Spanned<String>>,
    /// This query parameter says it.
    #[serde(default)]
    query: Option<Spanned<String>>,
    /// The path says it: the name of one of the captures of the route's path.
    /// Of what `*` matched, `rest`, it is the first segment.
    #[serde(default)]
    path: Option<Spanned<String>>,
    /// The version of requests that name none. Without it they are refused with
    /// `versions.missing`.
    #[serde(default)]
    default: Option<Spanned<String>>,
    /// What becomes of requests for a version that there is not. Default
    /// `reject`.
    #[serde(default)]
    unknown: Spanned<Unknown>,
    /// All other keys.
    #[serde(default, rename = "$others", deserialize_with = "others")]
    #[schemars(flatten, with = "BTreeMap<String, Version>")]
    versions: Vec<Entry>,
}

/// What becomes of requests for a version that there is not.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "UnknownVersion")]
pub(super) enum Unknown {
    /// They are refused, with a list of the versions: 400, by `path` 404, by
    /// `accept` 406.
    #[default]
    Reject,
    /// They get the default.
    Default,
}

/// A version of an API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiVersion")]
struct Version {
    /// The upstream that serves it.
    upstream: Spanned<String>,
    /// Change the request before it is sent there, in place of the route's
    /// `rewrite`.
    #[serde(default)]
    rewrite: Option<rewrite::Config>,
    /// Since or from when the version is deprecated; `true` without a date.
    /// Replies say so in `Deprecation` (RFC 9745), which cannot do without a date:
    /// `true` is the beginning of 1970.
    #[serde(default)]
    deprecated: Option<Spanned<Deprecated>>,
    /// When the version is expected to stop working. Replies say so in `Sunset`
    /// (RFC 8594).
    #[serde(default)]
    sunset: Option<Spanned<Moment>>,
    /// Refuse requests for the version from its `sunset` on, with 410
    /// `versions.gone`. Default `false`.
    #[serde(default)]
    gone: Spanned<bool>,
    /// A page about the deprecation or the sunset, a URL or a path. Replies name
    /// it in `Link`.
    #[serde(default)]
    link: Option<Spanned<String>>,
}

/// A moment, or whether at all.
#[derive(Clone, Copy, Debug)]
enum Deprecated {
    No,
    Since(Moment),
}

impl<'de> Deserialize<'de> for Deprecated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Deprecated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date, or `true`")
            }

            fn visit_bool<E: Error>(self, is_deprecated: bool) -> Result<Deprecated, E> {
                Ok(if is_deprecated { Deprecated::Since(Moment::default()) } else { Deprecated::No })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Deprecated, E> {
                text.parse().map(Deprecated::Since).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Deprecated {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Deprecated".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let moment = generator.subschema_for::<Moment>();
        schemars::json_schema!({ "anyOf": [moment, { "type": "boolean" }] })
    }
}

/// Makes the target.
pub(super) fn compile(config: &Config, written: &Written, names: &dyn Names) -> Result<Versions, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let place = place(config, written.span, names).map_err(|problem| problems.push(*problem)).ok();
    let vary = match &place {
        Some(Place::Header(name)) => Some(name.clone()),
        Some(Place::Accept(_)) => Some(KnownName::Accept.into()),
        _ => None,
    };
    check_names(&config.versions, written.span, &mut problems);
    let default = default(config, names, &mut problems);
    let mut ways = Vec::new();
    let mut gone_at = Vec::new();
    let mut upstreams = Vec::new();
    for Entry { value, .. } in &config.versions {
        match value.decode::<Version>() {
            Err(found) => problems.extend(found),
            Ok(version) => {
                ways.extend(way(&version, vary.as_ref(), names, &mut problems));
                gone_at.push(gone_at_of(&version));
                upstreams.push(version.upstream.value);
            }
        }
    }
    let Some(place) = place.filter(|_| !problems.iter().any(Diagnostic::is_error)) else { return Err(problems) };
    problems.into_iter().for_each(|warning| names.warn(warning));
    Ok(Versions {
        place,
        names: config.versions.iter().map(|entry| entry.key.as_str().into()).collect(),
        ways,
        gone_at,
        default,
        unknown: config.unknown.value,
        shown: shown(config, default, &upstreams),
    })
}

/// The one place a request says its version at.
fn place(config: &Config, span: Span, names: &dyn Names) -> Result<Place, Box<Diagnostic>> {
    let keys = [
        ("header", config.header.as_ref()),
        ("accept", config.accept.as_ref()),
        ("query", config.query.as_ref()),
        ("path", config.path.as_ref()),
    ];
    let mut stated = keys.into_iter().filter_map(|(key, name)| Some((key, name?)));
    let Some((key, name)) = stated.next() else {
        let problem = Diagnostic::error("versions.no_place", "it is not said where a request names its version");
        return Err(Box::new(problem.at(span).hint("add one of `header`, `accept`, `query` and `path`")));
    };
    if let Some((other, second)) = stated.next() {
        let message = format!("`{key}` and `{other}` cannot both say the version");
        let problem = Diagnostic::error("versions.two_places", message).at(second.span).also(name.span, "");
        return Err(Box::new(problem.hint("keep one of them")));
    }
    let invalid = |code: &'static str, why: &str| {
        Box::new(Diagnostic::error(code, format!("{} {why}", name.shown())).at(name.span))
    };
    match key {
        "header" => match HeaderName::new(name) {
            None => Err(invalid("versions.header", "is not a header name")),
            Some(HeaderName::Known(known)) if known.is_hop_by_hop() => {
                let hint = "it concerns one connection only (RFC 9110 §7.6.1)";
                Err(Box::new(invalid("versions.header", "is a header that is not there any more").hint(hint)))
            }
            Some(HeaderName::Known(KnownName::Accept)) => {
                let hint = "write `accept: version` for `application/json; version=2`";
                Err(Box::new(invalid("versions.header", "holds media types, not versions").hint(hint)))
            }
            Some(header) => Ok(Place::Header(header)),
        },
        "accept" => match HeaderName::new(name) {
            // The names of parameters are tokens, as those of headers are.
            Some(_) if !name.eq_ignore_ascii_case("q") => Ok(Place::Accept(name.as_bytes().into())),
            _ => Err(invalid("versions.accept", "is not the name of a parameter")),
        },
        "query" if name.is_empty() => Err(invalid("versions.query", "is not the name of a query parameter")),
        "query" => Ok(Place::Query(name.as_str().into())),
        _ => capture(name, names),
    }
}

fn capture(name: &Spanned<String>, names: &dyn Names) -> Result<Place, Box<Diagnostic>> {
    let path = names.path();
    if let Some(position) = path.names.iter().position(|known| known == name.as_str()) {
        return Ok(Place::Path(position));
    }
    let near = did_you_mean(name, path.names.iter().map(String::as_str)).filter(|_| name.raw().is_none());
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if path.names.is_empty() => format!("`{}` captures nothing", path.pattern),
        None => format!("`{}` captures `{}`", path.pattern, path.names.join("`, `")),
    };
    let message = format!("{} is not captured by the route's path", name.shown());
    Err(Box::new(Diagnostic::error("versions.path", message).at(name.span).hint(hint)))
}

fn check_names(versions: &[Entry], span: Span, problems: &mut Vec<Diagnostic>) {
    if versions.is_empty() {
        let problem = Diagnostic::error("versions.none", "there are no versions").at(span);
        problems.push(problem.hint("add one under its name: `v1: { upstream: … }`"));
    }
    for (index, Entry { key, .. }) in versions.iter().enumerate() {
        // All of this stands in paths, queries and headers as it is.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if key.is_empty() || key.len() > LONGEST || !key.bytes().all(is_plain) {
            let message = format!("{} cannot be the name of a version", key.shown());
            let hint = format!("letters, digits, `.`, `_` and `-`, at most {LONGEST}");
            problems.push(Diagnostic::error("versions.name", message).at(key.span).hint(hint));
        }
        let is_twin = |first: &&Entry| is_same(first.key.as_bytes(), key.as_bytes());
        if let Some(first) = versions.iter().take(index).find(is_twin) {
            let message = format!("{} and {} name the same version", first.key.shown(), key.shown());
            let problem = Diagnostic::error("versions.duplicate", message).label(key.span, "second");
            problems.push(
                problem
                    .also(first.key.span, "first")
                    .hint("upper and lower case, and `v` before a number, make no difference"),
            );
        }
    }
}

/// The position of the version that requests get which name none.
fn default(config: &Config, names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Option<usize> {
    let Some(name) = &config.default else {
        if matches!(config.unknown.value, Unknown::Default) && names.is_whole() {
            let problem =
                Diagnostic::error("versions.no_default", "unknown versions get the default, and there is none");
            problems.push(problem.at(config.unknown.span).hint("add `default`"));
        }
        return None;
    };
    let position = config.versions.iter().position(|entry| is_same(entry.key.as_bytes(), name.as_bytes()));
    if position.is_none() && names.is_whole() {
        let known: Vec<&str> = config.versions.iter().map(|entry| entry.key.as_str()).collect();
        let hint = match did_you_mean(name, known.iter().copied()).filter(|_| name.raw().is_none()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if known.is_empty() => None,
            None => Some(format!("there are `{}`", known.join("`, `"))),
        };
        let problem = Diagnostic::error("versions.default", format!("there is no version {}", name.shown()));
        problems.push(problem.at(name.span).maybe_hint(hint));
    }
    position
}

fn way(version: &Version, vary: Option<&HeaderName>, names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Option<Way> {
    let upstream = find_upstream(&version.upstream, names).map_err(|problem| problems.push(*problem)).ok();
    let reply = reply(version, vary, problems);
    let (mut path, mut host) = (None, None);
    if let Some(rewrite) = &version.rewrite {
        let before = problems.len();
        rewrite.check(problems);
        if problems.len() == before {
            path = rewrite::path(rewrite, &names.path(), problems);
            host = rewrite.host.as_ref().map(|written| rewrite::host(Some(written), problems));
        }
    }
    Some(Way { upstream: upstream?, rewrite: path, host, reply })
}

/// What replies of a version say about it.
fn reply(version: &Version, vary: Option<&HeaderName>, problems: &mut Vec<Diagnostic>) -> ReplyFields {
    let mut reply = ReplyFields::default();
    let mut say = |name: &str, value: &[u8], adds: bool| {
        let Some(name) = HeaderName::new(name) else { return };
        // Dates and checked URLs.
        let _ = if adds { reply.add(name, value) } else { reply.set(name, value) };
    };
    let deprecated = version.deprecated.as_ref().and_then(|deprecated| match deprecated.value {
        Deprecated::No => None,
        Deprecated::Since(moment) => Some(Spanned::new(moment, deprecated.span)),
    });
    if let Some(since) = &deprecated {
        // A date of structured fields (RFC 9651 §3.3.7).
        say("deprecation", format!("@{}", since.unix()).as_bytes(), false);
    }
    if let Some(sunset) = &version.sunset {
        say("sunset", &sunset.http_date(), false);
        // "MUST NOT be earlier" (RFC 9745 §4).
        if let Some(since) = deprecated.as_ref().filter(|since| since.value > sunset.value) {
            let problem = Diagnostic::error("versions.sunset", "the sunset is before the deprecation");
            problems.push(problem.at(sunset.span).also(since.span, ""));
        }
    } else if version.gone.value {
        let problem = Diagnostic::error("versions.no_sunset", "`gone` without a `sunset` says nothing");
        problems.push(problem.at(version.gone.span).hint("add `sunset`, the date from which on the version is gone"));
    }
    if let Some(link) = &version.link {
        let relations = [("deprecation", deprecated.is_some()), ("sunset", version.sunset.is_some())];
        let is_target = link.starts_with('/') || link.starts_with("https://") || link.starts_with("http://");
        if !is_target || !link.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte)) {
            let problem =
                Diagnostic::error("versions.link", format!("{} cannot be a link", link.shown())).at(link.span);
            problems.push(problem.hint("write a URL with `https://`, or a path; percent-encode other characters"));
        } else if relations.iter().all(|(_, is_said)| !is_said) {
            let problem = Diagnostic::error("versions.link", "the link is about neither a deprecation nor a sunset");
            problems.push(problem.at(link.span).hint("add `deprecated` or `sunset`"));
        }
        for (relation, _) in relations.into_iter().filter(|(_, is_said)| *is_said) {
            say("link", format!("<{}>; rel=\"{relation}\"", link.as_str()).as_bytes(), true);
        }
    }
    if let Some(name) = vary {
        reply.vary(name.clone());
    }
    reply
}

fn gone_at_of(version: &Version) -> Option<SystemTime> {
    version.sunset.as_ref().filter(|_| version.gone.value).map(|sunset| sunset.system_time())
}

fn shown(config: &Config, default: Option<usize>, upstreams: &[String]) -> String {
    let place =
        [("header", &config.header), ("accept", &config.accept), ("query", &config.query), ("path", &config.path)];
    let place = place.into_iter().find_map(|(key, name)| {
        let name = name.as_ref()?;
        Some(format!("{key} {}", name.raw().unwrap_or(name)))
    });
    let versions: Vec<String> = config
        .versions
        .iter()
        .zip(upstreams)
        .enumerate()
        .map(|(index, (entry, upstream))| {
            let default = if default == Some(index) { " (default)" } else { "" };
            format!("{}{default} {upstream}", entry.key.as_str())
        })
        .collect();
    format!("versions by {}: {}", place.unwrap_or_default(), versions.join(", "))
}
