//! Where a policy asks: a URL, or a path of an upstream.

use crate::diagnostic::{Diagnostic, Span};
use crate::site::{Service, Site, find_upstream};
use crate::written::{Spanned, Written};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use std::borrow::Cow;

/// Whom to ask, as written: `https://idp.example/keys`, or
/// `{ upstream: idp, path: /keys }` for an upstream with a name, which may have
/// authorities, health and limits of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By URL.
    Url(Spanned<String>),
    /// By upstream.
    Upstream(UpstreamAsk),
}

/// A path of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamAsk {
    /// Name of the upstream.
    pub upstream: Spanned<String>,
    /// Path and query to ask for; begins with `/`.
    pub path: Spanned<String>,
}

impl Ask {
    /// Where that is.
    ///
    /// # Errors
    /// It is no URL, there is no such upstream, or the path is none.
    pub fn service(&self, site: &(impl Site + ?Sized)) -> Result<Service, Box<Diagnostic>> {
        match self {
            Ask::Url(url) => site.service(url),
            Ask::Upstream(UpstreamAsk { upstream, path }) => {
                let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
                if !is_path {
                    let message = format!("{} is not a path to ask for", path.shown());
                    let hint = "begin with `/`, and escape blanks and what is not ASCII";
                    return Err(Box::new(Diagnostic::error("config.service_path", message).at(path.span).hint(hint)));
                }
                Ok(Service { upstream: find_upstream(upstream, site)?, path_and_query: path.value.clone() })
            }
        }
    }

    /// Where it is written.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Ask::Url(url) => url.span,
            Ask::Upstream(ask) => ask.upstream.span,
        }
    }

    /// What tells it from others, in configurations with the same upstreams.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Ask::Url(url) => url.value.clone(),
            Ask::Upstream(UpstreamAsk { upstream, path }) => format!("{} {}", upstream.value, path.value),
        }
    }
}

impl<'de> Deserialize<'de> for Ask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        if let Some(url) = written.as_spanned() {
            return Ok(Ask::Url(url));
        }
        match (written.get("upstream").and_then(Written::as_spanned), written.get("path").and_then(Written::as_spanned))
        {
            (Some(upstream), Some(path)) => Ok(Ask::Upstream(UpstreamAsk { upstream, path })),
            _ => Err(D::Error::custom("expected a URL, or a map with `upstream` and `path`")),
        }
    }
}

impl JsonSchema for Ask {
    fn schema_name() -> Cow<'static, str> {
        "Ask".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let upstream = generator.subschema_for::<UpstreamAsk>();
        schemars::json_schema!({
            "description": "Whom to ask: a URL, or a map with `upstream` and `path`.",
            "anyOf": [{ "type": "string", "x-torana-expects": "a URL such as `https://idp.example/keys`" }, upstream]
        })
    }
}
