//! Walks a tree along a JSON Schema, reports everything that does not fit and cuts it out of a
//! copy.
//!
//! This is not a general JSON Schema validator. It knows what `schemars` makes of our types, and
//! says what is wrong in the words of someone who has never seen a schema.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema_tree::{choices, properties, types};
use super::{Entry, Node, SchemaTree, Written};
use crate::diagnostic::{Diagnostic, Span, did_you_mean, quoted};
use crate::{pace, units};

mod describe;
mod scalar;

use describe::{describe, list_of};

/// Deeper trees are refused: every walk over a tree is recursive. The parsers' limit is lower.
const DEEPEST: usize = 100;

/// A tree after the walk.
pub(super) struct Checked {
    /// The tree without what is wrong, and with whole references turned into the numbers and
    /// booleans they stand for; `None` if the root itself is wrong.
    pub(super) left: Option<Written>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) dropped: Vec<Span>,
}

/// Checks `tree`. What stands at a span of `condemned` is cut out without a word: it was reported
/// before.
pub(super) fn check(tree: &Written, schema: &SchemaTree, condemned: &HashSet<Span>) -> Checked {
    let mut left = tree.clone();
    let mut walk = Walk { schema, condemned, path: Vec::new(), diagnostics: Vec::new(), dropped: Vec::new() };
    let fate = walk.node(&mut left, schema.root());
    let Walk { diagnostics, dropped, .. } = walk;
    Checked { left: (fate == Fate::Keep).then_some(left), diagnostics, dropped }
}

/// The path of keys and indices from the root to the outermost part at `span`:
/// `upstreams.users.timeout`.
pub(super) fn path_to(tree: &Written, span: Span) -> Option<String> {
    fn find<'t>(tree: &'t Written, span: Span, path: &mut Vec<Step<'t>>) -> bool {
        if tree.span == span {
            return true;
        }
        for (index, item) in tree.items().iter().enumerate() {
            path.push(Step::Item(index));
            if find(item, span, path) {
                return true;
            }
            path.pop();
        }
        for entry in tree.entries() {
            path.push(Step::Key(&entry.key));
            if entry.key.span == span || find(&entry.value, span, path) {
                return true;
            }
            path.pop();
        }
        false
    }
    let mut path = Vec::new();
    (find(tree, span, &mut path) && !path.is_empty()).then(|| shown(&path))
}

enum Step<'t> {
    Key(&'t str),
    Item(usize),
}

fn shown(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Key(key) if out.is_empty() => write!(out, "{}", quoted(key).trim_matches('`')),
            Step::Key(key) => write!(out, ".{}", quoted(key).trim_matches('`')),
            Step::Item(index) => write!(out, "[{index}]"),
        };
    }
    out
}

/// Whether a value has the type a schema wants.
enum Fit {
    No,
    Yes,
    /// If this takes its place.
    As(Node),
}

fn type_fit(node: &Written, schema: &Value) -> Fit {
    if schema == &Value::Bool(false) {
        return Fit::No;
    }
    let mut wanted = types(schema);
    if wanted.is_empty() {
        if choices(schema).is_none() {
            return Fit::Yes;
        }
        wanted.push("string");
    }
    let fits = |wanted: &str| match &node.node {
        Node::Null => wanted == "null",
        Node::Bool(_) => wanted == "boolean",
        Node::Int(_) => wanted == "integer" || wanted == "number",
        Node::Float(value) => wanted == "number" || (wanted == "integer" && value.fract() == 0.0 && value.abs() < 9e15),
        Node::String(_) => wanted == "string",
        Node::List(_) => wanted == "array",
        Node::Map(_) => wanted == "object",
    };
    if wanted.iter().any(|wanted| fits(wanted)) {
        return match node.node {
            // JSON writes `1e3` for a thousand. The test above made the conversion exact.
            #[allow(clippy::cast_possible_truncation, reason = "whole and below 9e15")]
            Node::Float(value) if wanted.contains(&"integer") => Fit::As(Node::Int(value as i128)),
            _ => Fit::Yes,
        };
    }
    let whole = node.reference.as_ref().is_some_and(|reference| reference.whole);
    let Some(text) = node.as_str().filter(|_| whole) else { return Fit::No };
    let became = wanted.iter().find_map(|wanted| match *wanted {
        "integer" => text.parse().ok().map(Node::Int),
        "number" => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Node::Float),
        "boolean" => text.parse().ok().map(Node::Bool),
        _ => None,
    });
    became.map_or(Fit::No, Fit::As)
}

/// Whether a part stays in the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
}

#[derive(Clone)]
enum OwnedStep {
    Key(String),
    Item(usize),
}

struct Walk<'s> {
    schema: &'s SchemaTree,
    condemned: &'s HashSet<Span>,
    path: Vec<OwnedStep>,
    diagnostics: Vec<Diagnostic>,
    dropped: Vec<Span>,
}

impl<'s> Walk<'s> {
    /// The path so far, ready to open a message; empty at the root.
    fn here(&self) -> String {
        let steps: Vec<_> = self
            .path
            .iter()
            .map(|step| match step {
                OwnedStep::Key(key) => Step::Key(key),
                OwnedStep::Item(index) => Step::Item(*index),
            })
            .collect();
        if steps.is_empty() { String::new() } else { format!("`{}`: ", shown(&steps)) }
    }

    fn report(&mut self, code: &'static str, span: Span, message: &str, hint: Option<String>) -> Fate {
        let message = format!("{}{message}", self.here());
        self.diagnostics.push(Diagnostic::error(code, message).at(span).maybe_hint(hint));
        Fate::Drop
    }

    fn node(&mut self, node: &mut Written, schema: &'s Value) -> Fate {
        if self.path.len() > DEEPEST {
            let message = format!("nested more than {DEEPEST} levels deep");
            return self.report("config.too_deep", node.span, &message, None);
        }
        let failed = node.reference.as_ref().is_some_and(|reference| reference.failed);
        let fate = if failed || self.condemned.contains(&node.span) {
            Fate::Drop
        } else {
            let schema = self.schema.resolve(schema);
            self.resolved(node, schema)
        };
        if fate == Fate::Drop {
            self.dropped.push(node.span);
        }
        fate
    }

    fn resolved(&mut self, node: &mut Written, schema: &'s Value) -> Fate {
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            for part in all {
                let part = self.schema.resolve(part);
                if self.resolved(node, part) == Fate::Drop {
                    return Fate::Drop;
                }
            }
        }
        let branches = self.schema.branches(schema);
        if !branches.is_empty() {
            return self.one_of(node, schema, &branches);
        }
        if let Some(misfit) = units::check(schema, node) {
            let message = match &node.reference {
                None => format!("expected {}, found {}", misfit.expected, misfit.found),
                Some(reference) => {
                    format!("expected {}, which the value of {} is not", misfit.expected, quoted(&reference.raw))
                }
            };
            let hint = if node.reference.is_none() { misfit.hint } else { None };
            return self.report("config.invalid_value", node.span, &message, hint);
        }
        // A parser of our own reads the value and says best what is wrong with it.
        let parsed = schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("torana-"));
        if !parsed && !self.right_type(node, schema) {
            return self.wrong_type(node, &[schema]);
        }
        match &node.node {
            Node::String(_) => self.string(node, schema),
            Node::Int(_) | Node::Float(_) => self.number(node, schema),
            Node::List(_) => self.list(node, schema),
            Node::Map(_) => self.map(node, schema),
            Node::Null | Node::Bool(_) => Fate::Keep,
        }
    }

    /// Whether the type fits; a whole reference becomes the number or boolean the schema wants.
    fn right_type(&self, node: &mut Written, schema: &Value) -> bool {
        match type_fit(node, schema) {
            Fit::No => false,
            Fit::Yes => true,
            Fit::As(became) => {
                node.node = became;
                true
            }
        }
    }

    /// `anyOf` and `oneOf`: the alternatives whose type fits are tried; the nearest one tells what
    /// is wrong.
    fn one_of(&mut self, node: &mut Written, schema: &'s Value, branches: &[&'s Value]) -> Fate {
        let open: Vec<&'s Value> = branches.iter().copied().filter(|branch| self.may_fit(node, branch)).collect();
        let all_choices: Option<Vec<&str>> =
            open.iter().map(|branch| choices(branch)).collect::<Option<Vec<_>>>().map(|all| all.concat());
        match (open.as_slice(), all_choices) {
            ([], _) => {
                let stated: Vec<&Value> = branches.iter().copied().filter(|b| types(b) != ["null"]).collect();
                self.wrong_type(node, &stated)
            }
            ([only], _) => self.resolved(node, only),
            (_, Some(choices)) => self.choice(node, &choices, noun(schema)),
            (several, None) => {
                let nearest = several.iter().copied().min_by_key(|branch| self.distance(node, branch));
                match nearest {
                    Some(branch) if self.distance(node, branch).1 < usize::MAX => self.resolved(node, branch),
                    _ => self.unknown_variant(node, several),
                }
            }
        }
    }

    fn may_fit(&self, node: &Written, branch: &'s Value) -> bool {
        let nested = self.schema.branches(branch);
        if !nested.is_empty() {
            return nested.into_iter().any(|branch| self.may_fit(node, branch));
        }
        let parsed = branch.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("torana-"));
        !matches!(type_fit(node, branch), Fit::No)
            || (parsed && !matches!(node.node, Node::List(_) | Node::Map(_) | Node::Null))
    }

    /// How far a node is from a branch: errors, then keys the branch does not know (all unknown:
    /// `usize::MAX`).
    fn distance(&self, node: &Written, branch: &'s Value) -> (usize, usize) {
        let mut trial = Walk { path: Vec::new(), diagnostics: Vec::new(), dropped: Vec::new(), ..*self };
        let fate = trial.resolved(&mut node.clone(), branch);
        let errors = trial.diagnostics.len() + usize::from(fate == Fate::Drop && trial.diagnostics.is_empty());
        if errors == 0 {
            return (0, 0);
        }
        let entries = node.entries();
        let Some(known) = properties(branch).filter(|_| !entries.is_empty()) else {
            return (errors, 0);
        };
        match entries.iter().filter(|entry| !known.contains_key(entry.key.as_str())).count() {
            unknown if unknown == entries.len() => (usize::MAX, usize::MAX),
            unknown => (errors, unknown),
        }
    }

    fn unknown_variant(&mut self, node: &Written, branches: &[&'s Value]) -> Fate {
        let names: Vec<&str> = branches
            .iter()
            .filter_map(|branch| properties(branch))
            .flat_map(|known| known.keys())
            .map(String::as_str)
            .collect();
        for entry in node.entries() {
            self.unknown_key(entry, &names, "key");
        }
        Fate::Drop
    }

    fn list(&mut self, node: &mut Written, schema: &'s Value) -> Fate {
        let span = node.span;
        let Node::List(items) = &mut node.node else {
            return Fate::Keep;
        };
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            let message = match items.len() {
                0 => format!("expected at least {least} in the list, found an empty one"),
                some => format!("expected at least {least} in the list, found {some}"),
            };
            return self.report("config.invalid_value", span, &message, None);
        }
        let Some(of) = schema.get("items") else {
            return Fate::Keep;
        };
        let mut index = 0;
        items.retain_mut(|item| {
            self.path.push(OwnedStep::Item(index));
            let fate = self.node(item, of);
            self.path.pop();
            index += 1;
            // Large lists are what takes long.
            pace::bit(index);
            fate == Fate::Keep
        });
        // Only what was wrong is gone; a list that has become too short for it is of no use.
        if (items.len() as u64) < least { Fate::Drop } else { Fate::Keep }
    }

    fn map(&mut self, node: &mut Written, schema: &'s Value) -> Fate {
        let span = node.span;
        let Node::Map(entries) = &mut node.node else {
            return Fate::Keep;
        };
        let known = properties(schema);
        let rest = schema.get("additionalProperties");
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|keys| keys.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let missing: Vec<&str> =
            required.iter().copied().filter(|key| !entries.iter().any(|entry| entry.key.value == *key)).collect();
        let mut lost = !missing.is_empty();
        let mut misspelt: Vec<&str> = Vec::new();
        let written = entries.len();
        entries.retain_mut(|entry| {
            let value = known.and_then(|known| known.get(entry.key.as_str()));
            let fate = match (value, rest) {
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> =
                        known.into_iter().flat_map(|known| known.keys()).map(String::as_str).collect();
                    misspelt.extend(did_you_mean(&entry.key, names.iter().copied()));
                    self.unknown_key(entry, &names, noun(schema))
                }
                (None, None) => Fate::Keep,
                (Some(of), _) | (None, Some(of)) => {
                    let before = self.diagnostics.len();
                    self.path.push(OwnedStep::Key(entry.key.value.clone()));
                    let fate = self.node(&mut entry.value, of);
                    self.path.pop();
                    if value.is_none() && fate == Fate::Drop {
                        self.perhaps_misspelt(before, entry, known);
                    }
                    fate
                }
            };
            lost |= fate == Fate::Drop && required.contains(&entry.key.as_str());
            fate == Fate::Keep
        });
        // Who is told of a misspelt key knows where the right one is.
        let missing: Vec<&str> = missing.into_iter().filter(|key| !misspelt.contains(key)).collect();
        self.missing_keys(span, &missing);
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        if entries.is_empty() && bound("minProperties").is_some_and(|least| least > 0) {
            // An entry that was cut out has been reported.
            if written == 0 {
                let expected = describe(self.schema, schema);
                self.report("config.missing_key", span, &format!("expected {expected}, found an empty map"), None);
            }
            return Fate::Drop;
        }
        if entries.len() as u64 > bound("maxProperties").unwrap_or(u64::MAX) {
            let names = list_of(entries.iter().map(|entry| quoted(&entry.key)), "and");
            let hint = (noun(schema) == "policy").then(|| "give each policy its own list item".to_owned());
            return self.report("config.too_many_keys", span, &format!("expected one key, found {names}"), hint);
        }
        if lost { Fate::Drop } else { Fate::Keep }
    }

    /// Where other keys than the known ones are names of something, one with the wrong type of
    /// value may be a known one misspelt.
    fn perhaps_misspelt(&mut self, before: usize, entry: &Entry, known: Option<&Map<String, Value>>) {
        let near = did_you_mean(&entry.key, known.into_iter().flat_map(Map::keys).map(String::as_str));
        let (Some(near), Some([only])) = (near, self.diagnostics.get_mut(before..)) else { return };
        let span = only.primary.as_ref().map_or(Span::NONE, |label| label.span);
        if only.code == "config.wrong_type" && span == entry.value.span {
            only.hint = Some(format!("did you mean `{near}`?"));
        }
    }

    fn missing_keys(&mut self, span: Span, missing: &[&str]) {
        if !missing.is_empty() {
            let names = list_of(missing.iter().map(|key| format!("`{key}`")), "and");
            let (keys, are) = if missing.len() == 1 { ("key", "is") } else { ("keys", "are") };
            self.report("config.missing_key", span, &format!("the {keys} {names} {are} missing"), None);
        }
    }

    fn unknown_key(&mut self, entry: &Entry, names: &[&str], noun: &str) -> Fate {
        self.dropped.push(entry.key.span);
        if self.condemned.contains(&entry.key.span) {
            return Fate::Drop;
        }
        let key = entry.key.as_str();
        let code = if noun == "policy" { "config.unknown_policy" } else { "config.unknown_key" };
        let hint = if key == "<<" {
            Some(
                "YAML merge keys are not supported: write the keys out, or use an alias for the whole value".to_owned(),
            )
        } else {
            suggestion(key, names, noun)
        };
        self.report(code, entry.key.span, &format!("unknown {noun} {}", quoted(key)), hint)
    }
}

/// What the keys or strings of a schema name: its keyword `x-torana-noun`, or "key".
fn noun(schema: &Value) -> &str {
    schema.get("x-torana-noun").and_then(Value::as_str).unwrap_or("key")
}

/// "did you mean", or the whole list where it is short enough to read.
fn suggestion(written: &str, names: &[&str], noun: &str) -> Option<String> {
    const MOST_LISTED: usize = 16;
    if let Some(near) = did_you_mean(written, names.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match names {
        [] if noun == "policy" => Some("this build of the gateway has no policies".to_owned()),
        [] => None,
        few if few.len() <= MOST_LISTED => {
            Some(format!("known here: {}", list_of(few.iter().map(|name| format!("`{name}`")), "and")))
        }
        many => {
            let first = many.iter().take(MOST_LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Some(format!("known here: {first} and {} more", many.len() - MOST_LISTED))
        }
    }
}
