//! Schemas, and what they say in words that tell nothing about the value.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};
use torana_core::diagnostic::Diagnostic;
use torana_core::refusal::FieldError;
use torana_core::written::{Node, Written};

/// Most errors told at once.
const MOST_ERRORS: usize = 20;
/// Longest path of a field that is told.
const LONGEST_PATH: usize = 128;

/// A compiled schema.
pub(super) struct Schema {
    validator: Validator,
    /// What the properties of an object are to be, where values come as text.
    types: Vec<(Box<str>, Wanted)>,
}

/// What text is to be read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Text,
    Number,
    Boolean,
    Texts,
    Numbers,
}

impl Schema {
    /// Compiles a schema: written in place, or as text, which is JSON.
    pub(super) fn compile(written: &Written) -> Result<Schema, Box<Diagnostic>> {
        let problem = |message: String, hint: &'static str| {
            Box::new(Diagnostic::error("validate.schema", message).at(written.span).hint(hint))
        };
        let value = match &written.node {
            Node::String(text) => serde_json::from_str(text).map_err(|_| {
                let hint = "write the schema here, or `${file:schema.json}`";
                problem("this is no JSON Schema".to_owned(), hint)
            })?,
            _ => written.to_json(),
        };
        if !matches!(value, Value::Object(_) | Value::Bool(_)) {
            return Err(problem("a schema is an object".to_owned(), "`{ type: object, … }`"));
        }
        let options = jsonschema::options()
            // Nothing is fetched: what a schema refers to is inside it.
            .offline()
            // Strangers' text meets these: in linear time, or not at all.
            .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
            .should_validate_formats(true);
        let validator = options.build(&value).map_err(|error| {
            let place = error.instance_path().as_str();
            let place = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
            let hint = "references lead to places within the schema (`#/$defs/…`); patterns have no look-around";
            problem(format!("this is no JSON Schema that can be used{place}: {}", error.masked()), hint)
        })?;
        Ok(Schema { validator, types: types(&value) })
    }

    /// What is wrong with `value`; `root` is what it is called.
    pub(super) fn errors(&self, value: &Value, root: &str) -> Vec<FieldError> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let errors = self.validator.iter_errors(value).take(MOST_ERRORS);
        errors
            .map(|error| {
                let mut field = format!("{root}{}", error.instance_path().as_str());
                if let ValidationErrorKind::Required { property: Value::String(name) } = error.kind() {
                    field.push('/');
                    field.push_str(name);
                }
                if let Some((end, _)) = field.char_indices().nth(LONGEST_PATH) {
                    field.truncate(end);
                }
                FieldError { field: field.into(), message: message(error.kind()).into() }
            })
            .collect()
    }

    /// An object of text, read as the schema wants it. What cannot be read so
    /// stays text, and does not match then.
    pub(super) fn object(&self, pairs: impl Iterator<Item = (String, String)>) -> Value {
        let mut all: Map<String, Value> = Map::new();
        for (name, text) in pairs {
            let wanted =
                self.types.iter().find(|(known, _)| **known == *name).map_or(Wanted::Text, |(_, wanted)| *wanted);
            let value = wanted.read(text);
            match all.get_mut(&name) {
                None => {
                    let is_list = matches!(wanted, Wanted::Texts | Wanted::Numbers);
                    all.insert(name, if is_list { Value::Array(vec![value]) } else { value });
                }
                Some(Value::Array(values)) => values.push(value),
                // Several where one is expected: a list does not match.
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Value::Object(all)
    }
}

impl Wanted {
    fn read(self, text: String) -> Value {
        let read = match self {
            Wanted::Text | Wanted::Texts => None,
            Wanted::Number | Wanted::Numbers => serde_json::from_str(&text).ok().filter(Value::is_number),
            Wanted::Boolean => serde_json::from_str(&text).ok().filter(Value::is_boolean),
        };
        read.unwrap_or(Value::String(text))
    }
}

fn types(schema: &Value) -> Vec<(Box<str>, Wanted)> {
    let wanted = |schema: &Value| match schema["type"].as_str() {
        Some("integer" | "number") => Wanted::Number,
        Some("boolean") => Wanted::Boolean,
        Some("array") => match schema["items"]["type"].as_str() {
            Some("integer" | "number") => Wanted::Numbers,
            _ => Wanted::Texts,
        },
        _ => Wanted::Text,
    };
    let properties = schema["properties"].as_object();
    properties.into_iter().flatten().map(|(name, schema)| (name.as_str().into(), wanted(schema))).collect()
}

fn message(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Required { .. } => "is required".to_owned(),
        Kind::Type { kind: TypeKind::Single(kind) } => format!("has to be of type {kind}"),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("has to be of type {}", kinds.join(" or "))
        }
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has members that are not allowed".to_owned()
        }
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => "has items that are not allowed".to_owned(),
        Kind::MaxItems { limit } => format!("has more than {limit} items"),
        Kind::MinItems { limit } => format!("has fewer than {limit} items"),
        Kind::MaxLength { limit } => format!("is longer than {limit} characters"),
        Kind::MinLength { limit } => format!("is shorter than {limit} characters"),
        Kind::MaxProperties { limit } => format!("has more than {limit} members"),
        Kind::MinProperties { limit } => format!("has fewer than {limit} members"),
        Kind::Maximum { limit } => format!("has to be at most {limit}"),
        Kind::Minimum { limit } => format!("has to be at least {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("has to be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("has to be more than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("has to be a multiple of {multiple_of}"),
        Kind::Format { format } => format!("is not a valid {format}"),
        Kind::Pattern { .. } => "does not have the form that is expected".to_owned(),
        Kind::Enum { .. } | Kind::Constant { .. } => "is not one of the values that are allowed".to_owned(),
        Kind::UniqueItems => "has an item twice".to_owned(),
        Kind::Contains => "lacks an item that has to be there".to_owned(),
        Kind::PropertyNames { .. } => "has a member whose name is not allowed".to_owned(),
        Kind::FalseSchema | Kind::Not { .. } => "is not allowed".to_owned(),
        _ => "is not what is expected".to_owned(),
    }
}
