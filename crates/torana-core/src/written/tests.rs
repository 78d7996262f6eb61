use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::diagnostic::{FileId, Misfit};
use crate::units::{ByteSize, Duration};

/// Builds trees by hand, each part at its own made-up place.
struct Maker(u32);

impl Maker {
    fn span(&mut self) -> Span {
        self.0 += 10;
        Span { file: FileId(0), start: self.0, end: self.0 + 5 }
    }

    fn make(&mut self, json: &serde_json::Value) -> Written {
        let span = self.span();
        let node = match json {
            serde_json::Value::Null => Node::Null,
            serde_json::Value::Bool(value) => Node::Bool(*value),
            serde_json::Value::Number(number) => match number.as_i128() {
                Some(value) => Node::Int(value),
                None => Node::Float(number.as_f64().unwrap()),
            },
            serde_json::Value::String(text) => Node::String(text.clone()),
            serde_json::Value::Array(items) => Node::List(items.iter().map(|item| self.make(item)).collect()),
            serde_json::Value::Object(map) => Node::Map(
                map.iter()
                    .map(|(key, value)| Entry { key: Spanned::new(key.clone(), self.span()), value: self.make(value) })
                    .collect(),
            ),
        };
        Written::new(node, span)
    }
}

fn tree(json: serde_json::Value) -> Written {
    Maker(0).make(&json)
}

/// A string that stands for `expanded` and was written as one reference.
fn reference(raw: &str, expanded: &str) -> Written {
    let mut written = tree(expanded.into());
    written.reference = Some(Box::new(Reference { raw: raw.to_owned(), whole: true, failed: false }));
    written
}

fn put(tree: &mut Written, key: &str, value: Written) {
    let Node::Map(entries) = &mut tree.node else { panic!("not a map") };
    entries.retain(|entry| entry.key.as_str() != key);
    entries.push(Entry { key: key.into(), value });
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Server {
    name: Spanned<String>,
    #[serde(default)]
    timeout: Option<Spanned<Duration>>,
    #[serde(default)]
    size: ByteSize,
    #[serde(default)]
    #[schemars(range(min = 1, max = 10))]
    weight: Option<u8>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    hosts: OneOrMany<Spanned<String>>,
    #[serde(default)]
    even: Option<Even>,
    #[serde(default)]
    children: Vec<Server>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, i64>,
    #[serde(default)]
    free: Option<Written>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Documented variants become `oneOf` in the schema.
    #[default]
    Fast,
    /// The other.
    Careful,
}

/// A scalar whose rules only its own parser knows.
#[derive(Debug, PartialEq, JsonSchema)]
struct Even(u64);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if number % 2 == 0 {
            return Ok(Self(number));
        }
        Err(serde::de::Error::custom(
            Misfit::new("an even number", format!("`{number}`")).code("test.odd").hint("add one"),
        ))
    }
}

fn messages(tree: &Written) -> Vec<String> {
    let diagnostics = tree.decode::<Server>().unwrap_err();
    diagnostics.into_iter().map(|d| format!("{} {}", d.code, d.message)).collect()
}

#[test]
fn everything_right_decodes_with_places() {
    let written = tree(serde_json::json!({
        "name": "a", "timeout": "1m30s", "size": "64KiB", "weight": 3, "mode": "careful", "on": true, "hosts": "x",
        "even": 4, "children": [{"name": "b", "hosts": ["y", "z"], "size": 12}], "labels": {"l": -1}, "free": {"k": [1]}
    }));
    let server: Server = written.decode().unwrap();
    assert_eq!(server.timeout.as_ref().unwrap().std().as_secs(), 90);
    assert_eq!(server.name.span, written.get("name").unwrap().span);
    assert_eq!(server.hosts[0].span, written.get("hosts").unwrap().span);
    assert_eq!(server.children[0].hosts.len(), 2);
    assert_eq!(server.children[0].size.bytes(), 12);
    assert_eq!(server.mode, Mode::Careful);
    let (key, _) = server.labels.get_key_value("l").unwrap();
    assert_eq!(key.span, written.get("labels").unwrap().entries()[0].key.span);
    let free = server.free.unwrap();
    assert_eq!(free.get("k").unwrap().items()[0].span, written.get("free").unwrap().get("k").unwrap().items()[0].span);
}

#[test]
fn all_problems_are_reported_at_once() {
    let written = tree(serde_json::json!({
        "nam": "a", "timeout": 3, "size": "10M", "weight": 11, "mode": "fats", "on": "yes", "even": 3,
        "children": [{"name": 1}, {"name": "b", "even": 5, "timeout": "3x"}, {}], "labels": {"l": "x"}
    }));
    let expected = [
        // Not that `name` is missing: the hint of this one says where it is.
        "config.unknown_key unknown key `nam`",
        "config.invalid_value `timeout`: expected a duration such as `3s`, `250ms` or `1m30s`, found `3`, which has no unit",
        "config.invalid_value `size`: expected a size such as `64KiB`, `10MiB` or a whole number of bytes, found `10M`, whose unit `M` is unknown",
        "config.out_of_range `weight`: expected a number from 1 to 10, found `11`",
        "config.invalid_value `mode`: expected `fast` or `careful`, found `fats`",
        "config.wrong_type `on`: expected `true` or `false`, found the string `yes`",
        "config.wrong_type `children[0].name`: expected a string, found the integer `1`",
        "config.invalid_value `children[1].timeout`: expected a duration such as `3s`, `250ms` or `1m30s`, found `3x`, whose unit `x` is unknown",
        "config.missing_key `children[2]`: the key `name` is missing",
        "config.wrong_type `labels.l`: expected an integer, found the string `x`",
    ];
    assert_eq!(messages(&written), expected);
}

#[test]
fn values_only_their_parser_refuses_are_all_reported_too() {
    let written = tree(serde_json::json!({
        "name": "a", "even": 3, "children": [{"name": "b", "even": 5}, {"name": "c", "even": 6}]
    }));
    let diagnostics = written.decode::<Server>().unwrap_err();
    let shown: Vec<_> = diagnostics.iter().map(|d| (d.code.as_ref(), d.message.as_str(), d.hint.as_deref())).collect();
    assert_eq!(
        shown,
        [
            ("test.odd", "`even`: expected an even number, found `3`", Some("add one")),
            ("test.odd", "`children[0].even`: expected an even number, found `5`", Some("add one")),
        ]
    );
    let at = diagnostics[0].primary.as_ref().unwrap().span;
    assert_eq!(at, written.get("even").unwrap().span);
}

#[test]
fn what_is_left_decodes_without_the_parts_in_error() {
    let written = tree(serde_json::json!({
        "name": "a", "weight": 99, "extra": 1, "children": [{"nme": "x"}, {"name": "kept", "even": 7}]
    }));
    let decoded = written.decode_along::<Server>(&SchemaTree::of::<Server>());
    let server = decoded.value.unwrap();
    assert_eq!(server.weight, None);
    assert_eq!(server.children.len(), 1);
    assert_eq!((server.children[0].name.as_str(), &server.children[0].even), ("kept", &None));
    let lost = written.get("children").unwrap().items()[0].span;
    assert!(decoded.dropped.contains(&lost) && decoded.dropped.contains(&written.get("weight").unwrap().span));
}

#[test]
fn whole_references_become_what_the_schema_wants() {
    let mut written = tree(serde_json::json!({"name": "a"}));
    put(&mut written, "weight", reference("${env:WEIGHT}", "7"));
    put(&mut written, "on", reference("${env:ON}", "true"));
    put(&mut written, "size", reference("${env:SIZE}", "1KiB"));
    put(&mut written, "name", reference("${env:NAME}", "12"));
    let server: Server = written.decode().unwrap();
    assert_eq!((server.weight, server.on, server.size.bytes()), (Some(7), true, 1024));
    assert_eq!(server.name.as_str(), "12");
    assert_eq!(server.name.raw(), Some("${env:NAME}"));
    assert_eq!(server.name.shown(), "`${env:NAME}`");
}

#[test]
fn a_partial_reference_stays_text() {
    let mut written = tree(serde_json::json!({"name": "a"}));
    let mut value = reference("1${env:ZERO}", "10");
    value.reference.as_mut().unwrap().whole = false;
    put(&mut written, "weight", value);
    let expected = "config.wrong_type `weight`: expected an integer, which the value of `1${env:ZERO}` is not";
    assert_eq!(messages(&written), [expected]);
}

#[test]
fn no_message_and_no_dump_shows_what_a_reference_stands_for() {
    let secret = "hunter2";
    for key in ["timeout", "size", "weight", "mode", "on", "even", "children", "labels", "name"] {
        let mut written = tree(serde_json::json!({"name": "a"}));
        put(&mut written, key, reference("${env:SECRET}", secret));
        let shown = format!("{written:?} {:?} {}", written.decode::<Server>(), written.redacted());
        assert!(!shown.contains(secret), "{key}: {shown}");
        assert!(shown.contains("${env:SECRET}"), "{key}: {shown}");
    }
}

#[test]
fn a_failed_reference_is_not_reported_again() {
    let mut written = tree(serde_json::json!({"name": "a"}));
    let mut value = reference("${env:MISSING}", "");
    value.reference.as_mut().unwrap().failed = true;
    put(&mut written, "timeout", value);
    let decoded = written.decode_along::<Server>(&SchemaTree::of::<Server>());
    assert_eq!(decoded.diagnostics, []);
    assert_eq!(decoded.value.unwrap().timeout, None);
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Open {
    #[serde(default)]
    own: Option<u32>,
    #[serde(default, rename = "$others", deserialize_with = "others")]
    #[schemars(skip)]
    rest: Vec<Entry>,
}

#[test]
fn keys_no_field_has_are_kept_with_their_places() {
    let written = tree(serde_json::json!({"x": {"y": 1}, "own": 3, "z": null}));
    let decoded = written.decode_along::<Open>(&SchemaTree::new(true.into())).value.unwrap();
    assert_eq!(decoded.own, Some(3));
    let names: Vec<_> = decoded.rest.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(names, ["x", "z"]);
    assert_eq!(decoded.rest[0].key.span, written.entries()[0].key.span);
    assert_eq!(decoded.rest[0].value.get("y").unwrap().span, written.entries()[0].value.entries()[0].value.span);
}

#[test]
fn equality_and_json_ignore_places() {
    let json = serde_json::json!({"a": [1, 2.5, true, null, "x"]});
    let (one, other) = (Maker(0).make(&json), Maker(500).make(&json));
    assert_eq!(one, other);
    assert_eq!(one.to_json(), json);
    assert_ne!(one, tree(serde_json::json!({"a": []})));
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Key {
    Header(String),
    Query { name: String },
    Address,
}

#[test]
fn enums_with_content_decode_and_suggest() {
    assert_eq!(tree(serde_json::json!({"header": "x"})).decode::<Key>(), Ok(Key::Header("x".into())));
    assert_eq!(tree(serde_json::json!({"query": {"name": "q"}})).decode::<Key>(), Ok(Key::Query { name: "q".into() }));
    assert_eq!(tree(serde_json::json!("address")).decode::<Key>(), Ok(Key::Address));
    let unknown = tree(serde_json::json!({"heder": "x"})).decode::<Key>().unwrap_err();
    assert_eq!(unknown[0].message, "unknown key `heder`");
    assert_eq!(unknown[0].hint.as_deref(), Some("did you mean `header`?"));
    let wrong = tree(serde_json::json!({"query": {"other": "q"}})).decode::<Key>().unwrap_err();
    assert_eq!(wrong[0].message, "`query`: the key `name` is missing");
    assert_eq!(wrong[1].message, "`query`: unknown key `other`");
    let neither = tree(serde_json::json!(3)).decode::<Key>().unwrap_err();
    assert!(neither[0].message.starts_with("expected `address`"), "{}", neither[0].message);
}

#[test]
fn very_deep_trees_are_refused_not_overflowed() {
    let mut deep = tree(serde_json::json!("x"));
    for _ in 0..90 {
        deep = Written::new(Node::List(vec![deep]), Span::NONE);
    }
    #[derive(Deserialize, JsonSchema)]
    struct Nest(#[allow(dead_code, reason = "only its shape matters")] Vec<Nest>);
    assert!(deep.decode::<Nest>().is_err());
    for _ in 0..30 {
        deep = Written::new(Node::List(vec![deep]), Span::NONE);
    }
    assert_eq!(deep.decode::<Nest>().err().unwrap()[0].code, "config.too_deep");
}

#[test]
fn schemas_of_two_types_are_not_mixed_up() {
    let written = tree(serde_json::json!({"name": "a"}));
    assert!(written.decode::<Server>().is_ok());
    assert!(written.decode::<Key>().is_err());
    assert!(written.decode::<Server>().is_ok());
}

/// Settings beside things that have names: any key is a name.
#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    #[serde(default)]
    default: Option<String>,
    #[serde(default, rename = "$others", deserialize_with = "others")]
    #[schemars(flatten, with = "BTreeMap<String, Limits>")]
    rest: Vec<Entry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only the schema is used")]
struct Limits {
    most: u32,
}

#[test]
fn a_misspelt_setting_among_names_is_told_from_a_wrong_value() {
    let problems = |json| -> Vec<(String, Option<String>)> {
        let problems = tree(json).decode::<Named>().err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.message, problem.hint)).collect()
    };
    let named: Named = tree(serde_json::json!({ "default": "a", "a": { "most": 1 } })).decode().unwrap();
    assert_eq!((named.default.as_deref(), named.rest.len()), (Some("a"), 1));
    let expected = "`defualt`: expected a map with the key `most`, found the string `a`".to_owned();
    let hint = Some("did you mean `default`?".to_owned());
    assert_eq!(problems(serde_json::json!({ "defualt": "a" })), [(expected, hint)]);
    // What is wrong inside of a named thing is wrong there.
    let expected = "`defualt.most`: expected an integer, found the string `a`".to_owned();
    assert_eq!(problems(serde_json::json!({ "defualt": { "most": "a" } })), [(expected, None)]);
    assert_eq!(problems(serde_json::json!({ "other": 1 }))[0].1, None);
}
