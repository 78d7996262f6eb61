//! Which requests a route is for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use torana_core::units::Network;
use torana_core::written::{OneOrMany, Spanned};

const ONE_TEST: &str = "a map with one test such as `prefix`";

/// Which requests a route is for. All conditions have to hold.
///
/// Of the routes that match a request, the most specific one gets it, wherever it is written. The first of these
/// that tells two routes apart decides: host (exact, then the longest wildcard, then none); path, segment by segment
/// from the left (text, then a regex, then `{param}`, then `*`); `methods` before none; more `headers`; more
/// `query`; more of `cookies`, `content_type`, `client` and `when`; the order of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Host name, or a list: `shop.example`, or `*.shop.example` for all names below it. Ports and
    /// upper case do not matter. Default: any host.
    pub host: OneOrMany<Spanned<String>>,
    /// Path: `/ping` exactly, `/api/*` for `/api` and everything below it, `{id}` for one segment, or a map with
    /// `regex`. Default: any path.
    pub path: Option<Spanned<PathMatch>>,
    /// Methods, in upper case. Default: any method. Where only the method does not fit, the answer
    /// is 405.
    pub methods: OneOrMany<Spanned<String>>,
    /// Headers: the exact value, or a map with one test. Of several fields of one name, one that fits is enough.
    pub headers: BTreeMap<Spanned<String>, Spanned<ValueMatch>>,
    /// Query parameters, decoded: the exact value, or a map with one test.
    pub query: BTreeMap<Spanned<String>, Spanned<ValueMatch>>,
    /// Cookies, by their names, which are case-sensitive: the exact value, or a map with one test.
    pub cookies: BTreeMap<Spanned<String>, Spanned<ValueMatch>>,
    /// Media type of the body, or a list: `application/json`, `application/*`. Its parameters (`; charset=…`) and
    /// upper case do not matter. Default: any, and none.
    pub content_type: OneOrMany<Spanned<String>>,
    /// The client's address, or networks it is in: `10.0.0.0/8`. Behind `trusted_proxies` it is the one they name.
    /// Default: any.
    pub client: OneOrMany<Spanned<Network>>,
    /// An expression that has to be true, in CEL: `method == "POST" && int(headers["content-length"]) > 1000`. One
    /// that cannot be evaluated, because a header it reads is missing, does not match.
    pub when: Option<Spanned<String>>,
}

/// A path: a pattern, or a map with a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// `/users/{id}`.
    Pattern(String),
    /// For the whole path.
    Regex(Spanned<String>),
}

/// A path by regular expression.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PathRegex", extend("x-torana-expects" = "a map with `regex`"))]
struct ByRegex {
    /// A regular expression that the whole path has to match, without the query. `.` matches slashes too. Named
    /// groups, `(?<id>[0-9]+)`, can be used in rewrites and redirects as `{id}`. It is as specific as the whole
    /// segments it begins with, written out: in `/items/[0-9]+` that is `/items/`.
    regex: Spanned<String>,
}

/// What a value has to be: text that it has to equal, or a map with one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// A test.
    Test(ValueTest),
}

/// A test of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTest {
    /// It is this text.
    Exact(Spanned<String>),
    /// It is one of these texts.
    OneOf(Vec<Spanned<String>>),
    /// It begins with this text.
    Prefix(Spanned<String>),
    /// It ends with this text.
    Suffix(Spanned<String>),
    /// It contains this text.
    Contains(Spanned<String>),
    /// The whole of it matches this regular expression.
    Regex(Spanned<String>),
    /// It is there.
    Present(Spanned<bool>),
    /// It is not there.
    Absent(Spanned<bool>),
}

/// One test of a value. Tests are case-sensitive.
#[derive(Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ValueTest", extend("minProperties" = 1, "maxProperties" = 1, "x-torana-expects" = ONE_TEST))]
struct Tests {
    /// It is this text.
    exact: Option<Spanned<String>>,
    /// It is one of these texts.
    one_of: Option<Vec<Spanned<String>>>,
    /// It begins with this text.
    prefix: Option<Spanned<String>>,
    /// It ends with this text.
    suffix: Option<Spanned<String>>,
    /// It contains this text.
    contains: Option<Spanned<String>>,
    /// The whole of it matches this regular expression; `.*` around it looks anywhere, `(?i)` ignores case.
    regex: Option<Spanned<String>>,
    /// `true`: it is there, whatever it says.
    present: Option<Spanned<bool>>,
    /// `true`: it is not there.
    absent: Option<Spanned<bool>>,
}

impl<'de> Deserialize<'de> for ValueTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tests = Tests::deserialize(deserializer)?;
        // The schema has seen to it that there is one.
        let test = (tests.exact.map(ValueTest::Exact))
            .or(tests.one_of.map(ValueTest::OneOf))
            .or(tests.prefix.map(ValueTest::Prefix))
            .or(tests.suffix.map(ValueTest::Suffix))
            .or(tests.contains.map(ValueTest::Contains))
            .or(tests.regex.map(ValueTest::Regex))
            .or(tests.present.map(ValueTest::Present))
            .or(tests.absent.map(ValueTest::Absent));
        test.ok_or_else(|| D::Error::custom("expected a test such as `prefix`"))
    }
}

/// Reads text or a map.
struct Either<T, F> {
    expected: &'static str,
    text: F,
    map: std::marker::PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, O: From<T>, F: Fn(String) -> O> Visitor<'de> for Either<(T, O), F> {
    type Value = O;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<O, E> {
        Ok((self.text)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<O, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(O::from)
    }
}

impl From<ByRegex> for PathMatch {
    fn from(by: ByRegex) -> Self {
        PathMatch::Regex(by.regex)
    }
}

impl From<ValueTest> for ValueMatch {
    fn from(test: ValueTest) -> Self {
        ValueMatch::Test(test)
    }
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a path such as `/api/*`, or a map with `regex`";
        deserializer.deserialize_any(Either::<(ByRegex, PathMatch), _> {
            expected,
            text: PathMatch::Pattern,
            map: std::marker::PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "text, or a map with one test such as `prefix`";
        deserializer.deserialize_any(Either::<(ValueTest, ValueMatch), _> {
            expected,
            text: ValueMatch::Exact,
            map: std::marker::PhantomData,
        })
    }
}

impl JsonSchema for PathMatch {
    fn schema_name() -> Cow<'static, str> {
        "PathMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let regex = generator.subschema_for::<ByRegex>();
        schemars::json_schema!({
            "description": "A path: `/ping`, `/api/*`, `/users/{id}`, or a map with `regex`.",
            "anyOf": [{ "type": "string" }, regex]
        })
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> Cow<'static, str> {
        "ValueMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let test = generator.subschema_for::<Tests>();
        schemars::json_schema!({
            "description": "What a value has to be: text that it has to equal, or a map with one test.",
            "anyOf": [{ "type": "string" }, test]
        })
    }
}
