//! A rewrite as a person writes it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diagnostic::Diagnostic;
use crate::written::Spanned;

/// Changes to a request on its way to an upstream.
///
/// Either `path`, or `replace_prefix`, or `strip_prefix` and `add_prefix` (in this order).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Rewrite")]
pub struct Config {
    /// Take this prefix, whole segments, from the path. A path without it stays as it is.
    pub strip_prefix: Option<Spanned<String>>,
    /// Put this in front of the path.
    pub add_prefix: Option<Spanned<String>>,
    /// Put this in the place of the part of the path before the `*` of the route's pattern.
    pub replace_prefix: Option<Spanned<String>>,
    /// The whole path; `{name}` stands for what the pattern captured, `{rest}` for what `*`
    /// matched.
    pub path: Option<Spanned<String>>,
    /// The `Host` sent: `preserve` the client's, the `upstream`'s own, or a fixed name. Default
    /// `preserve`.
    pub host: Option<Spanned<HostRewrite>>,
}

impl Config {
    /// What is wrong with it whatever the route: keys that exclude each other, and paths that do
    /// not begin like one.
    pub fn check(&self, diagnostics: &mut Vec<Diagnostic>) {
        let [path, replace, strip, add] = [
            ("path", self.path.as_ref()),
            ("replace_prefix", self.replace_prefix.as_ref()),
            ("strip_prefix", self.strip_prefix.as_ref()),
            ("add_prefix", self.add_prefix.as_ref()),
        ];
        for ((one, first), (other, second)) in
            [(path, replace), (path, strip), (path, add), (replace, strip), (replace, add)]
        {
            if let (Some(first), Some(second)) = (first, second) {
                let message = format!("`{one}` and `{other}` cannot both rewrite the path");
                let diagnostic = Diagnostic::error("config.rewrite_conflict", message);
                diagnostics.push(diagnostic.at(second.span).also(first.span, "").hint("keep one of them"));
            }
        }
        for (key, text) in [path, replace, strip, add] {
            if let Some(text) = text
                && !text.starts_with('/')
            {
                let message = format!("`rewrite.{key}` has to start with `/`, found {}", text.shown());
                let diagnostic = Diagnostic::error("config.rewrite_path", message).at(text.span);
                let hint = text.raw().is_none().then(|| format!("write `/{}`", text.as_str()));
                diagnostics.push(diagnostic.maybe_hint(hint));
            }
        }
    }
}

/// Which `Host` an upstream sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostRewrite {
    /// The one the client sent.
    #[default]
    Preserve,
    /// The host and port of the endpoint.
    Upstream,
    /// This one.
    Name(String),
}

impl<'de> Deserialize<'de> for HostRewrite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Cow::<'de, str>::deserialize(deserializer)? {
            word if word == "preserve" => Self::Preserve,
            word if word == "upstream" => Self::Upstream,
            name => Self::Name(name.into_owned()),
        })
    }
}

impl Serialize for HostRewrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Preserve => "preserve",
            Self::Upstream => "upstream",
            Self::Name(name) => name,
        })
    }
}

impl JsonSchema for HostRewrite {
    fn schema_name() -> Cow<'static, str> {
        "HostRewrite".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "`preserve` the client's `Host`, the `upstream`'s own, or a fixed name.",
            "examples": ["preserve", "upstream", "internal.example"]
        })
    }
}
