//! What is written.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use torana_core::units::ByteSize;
use torana_core::written::{OneOrMany, Spanned};

/// Changes bodies with programs in jq, and converts between JSON and XML.
///
/// A program gets the body as `.` and has exactly one output, the new body. `$request` is an object with `method`,
/// `path`, `query`, `headers` (names in lower case; values that are sent several times are joined with `, `), `captures`,
/// `client_ip` and `identity` (`subject`, `proven_by`, `roles`, `permissions`, `scopes`,
/// `claims`; null for nobody). In `query`, a parameter that is sent several
/// times is a list.
///
/// All of jq is there but what reaches beyond the program: `env`, `halt`, `input`, `import`, `debug`, local time.
/// Functions may not call themselves. Loops, time and sizes are limited.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What becomes of the request's body: a program, or a map with more. Requests without a body, and with a body of another type, are left as they are.
    #[serde(default)]
    pub request: Option<Spanned<Short<RequestShape>>>,
    /// What becomes of the reply's body: a program, or a map with more. Replies of the gateway itself, such as refusals, are left as they are. Upstreams
    /// are asked for the whole of it, uncompressed (`Accept-Encoding: identity`, no `Range`); its `ETag` is removed.
    #[serde(default)]
    pub response: Option<Spanned<Short<ReplyShape>>>,
    /// Longest body that is changed, before and after. Default 1 MiB, at most 16 MiB.
    #[serde(default = "torana_core::payload::one_mib")]
    pub max_body: Spanned<ByteSize>,
}

/// What becomes of a request's body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformRequest")]
pub struct RequestShape {
    /// The program, in jq. Default: none, only a conversion.
    #[serde(default)]
    pub jq: Option<Spanned<String>>,
    /// What the body is before. Default JSON.
    #[serde(default)]
    pub from: Format,
    /// What it is to become. Default JSON.
    #[serde(default)]
    pub to: Format,
    /// Take the body for what `from` says, whatever its `Content-Type`.
    #[serde(default)]
    pub force: bool,
}

/// What becomes of a reply's body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransformResponse")]
pub struct ReplyShape {
    /// The program, in jq. Default: none, only a conversion.
    #[serde(default)]
    pub jq: Option<Spanned<String>>,
    /// What the body is before. Default JSON.
    #[serde(default)]
    pub from: Format,
    /// What it is to become. Default JSON.
    #[serde(default)]
    pub to: Format,
    /// Take the body for what `from` says, whatever its `Content-Type`.
    #[serde(default)]
    pub force: bool,
    /// Statuses of the replies that are changed: `200`, `2xx`. Default `2xx`.
    #[serde(default)]
    pub status: OneOrMany<Spanned<String>>,
    /// What is done with a body that is not what it says, is compressed all the same, or is too long. Default `refuse`.
    #[serde(default)]
    pub malformed: Malformed,
}

/// A shape, or only its program.
#[derive(Debug)]
pub struct Short<T>(T);

/// What has a program.
pub trait Programmed {
    /// With this program and nothing else said.
    fn of(program: Spanned<String>) -> Self;
}

impl Programmed for RequestShape {
    fn of(program: Spanned<String>) -> Self {
        RequestShape { jq: Some(program), from: Format::default(), to: Format::default(), force: false }
    }
}

impl Programmed for ReplyShape {
    fn of(program: Spanned<String>) -> Self {
        ReplyShape {
            jq: Some(program),
            from: Format::default(),
            to: Format::default(),
            force: false,
            status: OneOrMany::default(),
            malformed: Malformed::default(),
        }
    }
}

impl<T> Deref for Short<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Programmed + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Spanned::<Form<T>>::deserialize(deserializer)?;
        let (span, raw) = (form.span, form.raw().map(str::to_owned));
        Ok(Short(match form.value {
            Form::Program(text) => T::of(Spanned::new(text, span).written_as(raw.as_deref())),
            Form::Full(shape) => shape,
        }))
    }
}

impl<T: JsonSchema> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrProgram", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<T>();
        schemars::json_schema!({
            "description": "A program in jq, or a map with more.",
            "anyOf": [{ "type": "string", "x-torana-expects": "a program in jq" }, full]
        })
    }
}

enum Form<T> {
    Program(String),
    Full(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Form<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor(PhantomData))
    }
}

struct FormVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FormVisitor<T> {
    type Value = Form<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a program in jq, or a map with more")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Form<T>, E> {
        Ok(Form::Program(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Form::Full)
    }
}

/// A way to write data.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TransformFormat")]
pub enum Format {
    /// JSON with one reading: no member twice, at most 128 levels.
    #[default]
    Json,
    /// XML, which becomes an object with its root as the only member. An element is text, null if it is empty, or an
    /// object: attributes are members with `@` before their names, text beside them is `#text`, and elements of one name are
    /// a list. Without document types and entities of their own.
    Xml,
}

/// What is done with replies that cannot be changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TransformMalformed")]
pub enum Malformed {
    /// 502 `transform.body`.
    #[default]
    Refuse,
    /// They go to the client as they are, with whatever they hold.
    Pass,
}
