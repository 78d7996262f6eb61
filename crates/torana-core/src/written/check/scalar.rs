//! Values that hold no others: right type, right range, one of the choices.

use serde_json::Value;

use super::super::schema_tree::{choices, types};
use super::describe::{describe, list_of};
use super::{Fate, Node, Walk, Written, noun, suggestion};
use crate::diagnostic::quoted;

impl<'s> Walk<'s> {
    pub(super) fn wrong_type(&mut self, node: &Written, wanted: &[&Value]) -> Fate {
        let expected = list_of(wanted.iter().map(|schema| describe(self.schema, schema)), "or");
        let text = match &node.node {
            Node::Bool(value) => value.to_string(),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            _ => String::new(),
        };
        let quotable = wanted.iter().any(|schema| match choices(schema) {
            Some(choices) => choices.contains(&text.as_str()),
            None => types(schema).contains(&"string") && schema.get("x-torana-expects").is_none(),
        });
        let booleans = wanted.iter().any(|schema| types(schema).contains(&"boolean"));
        if let Some(reference) = &node.reference {
            let message = format!("expected {expected}, which the value of {} is not", quoted(&reference.raw));
            return self.report("config.wrong_type", node.span, &message, None);
        }
        let list_wanted = wanted.iter().all(|schema| types(schema).contains(&"array"));
        let hint = match &node.node {
            Node::Null => Some("give it a value, or remove the key".to_owned()),
            Node::Bool(_) | Node::Int(_) | Node::Float(_) if quotable => Some(format!("quote it: \"{text}\"")),
            Node::String(text) if booleans => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some("write `true`, without quotes".to_owned()),
                "no" | "off" | "false" => Some("write `false`, without quotes".to_owned()),
                _ => None,
            },
            Node::String(text) if text.parse::<f64>().is_ok() && expected.contains("an integer") => {
                Some(format!("write it without quotes: {text}"))
            }
            Node::Map(_) if list_wanted => {
                Some("a list has `- ` before each item, or `[` and `]` around all".to_owned())
            }
            Node::String(_) if list_wanted => Some("put it in a list: `[` and `]` around it".to_owned()),
            _ => None,
        };
        let message = format!("expected {expected}, found {}", node.describe());
        self.report("config.wrong_type", node.span, &message, hint)
    }

    pub(super) fn choice(&mut self, node: &Written, choices: &[&str], noun: &str) -> Fate {
        let Some(text) = node.as_str() else {
            return Fate::Keep;
        };
        if choices.contains(&text) {
            return Fate::Keep;
        }
        if let Some(reference) = &node.reference {
            let expected = list_of(choices.iter().map(|choice| format!("`{choice}`")), "or");
            let message = format!("expected {expected}, which the value of {} is not", quoted(&reference.raw));
            return self.report("config.invalid_value", node.span, &message, None);
        }
        let code = if noun == "policy" { "config.unknown_policy" } else { "config.invalid_value" };
        let hint = suggestion(text, choices, noun);
        let message = if noun == "policy" {
            format!("unknown policy {}", quoted(text))
        } else {
            let expected = list_of(choices.iter().map(|choice| format!("`{choice}`")), "or");
            format!("expected {expected}, found {}", quoted(text))
        };
        self.report(code, node.span, &message, hint)
    }

    pub(super) fn string(&mut self, node: &Written, schema: &'s Value) -> Fate {
        if let Some(choices) = choices(schema) {
            let fate = self.choice(node, &choices, noun(schema));
            return if fate == Fate::Keep { self.bare_name(node, schema) } else { fate };
        }
        let length = node.as_str().map_or(0, |text| text.chars().count()) as u64;
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if length < least {
            let message = if length == 0 {
                "expected some text, found none".to_owned()
            } else {
                format!("expected at least {least} characters, found {length}")
            };
            return self.report("config.invalid_value", node.span, &message, None);
        }
        if length > most {
            let message = format!("expected at most {most} characters, found {length}");
            return self.report("config.invalid_value", node.span, &message, None);
        }
        Fate::Keep
    }

    pub(super) fn number(&mut self, node: &Written, schema: &'s Value) -> Fate {
        // Bounds in our types are small, so comparing as f64 is exact enough to decide.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let value = match node.node {
            Node::Int(value) => value as f64,
            Node::Float(value) => value,
            _ => return Fate::Keep,
        };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let above = bound("exclusiveMinimum");
        let most = most.or_else(|| match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => Some(f64::from(u32::MAX)),
            Some("uint64" | "uint") => Some(18_446_744_073_709_551_615.0),
            _ => None,
        });
        let fits = least.is_none_or(|least| value >= least)
            && most.is_none_or(|most| value <= most)
            && above.is_none_or(|above| value > above);
        if fits {
            return Fate::Keep;
        }
        let range = match (least, most, above) {
            (Some(least), Some(most), _) => format!("a number from {least} to {most}"),
            (Some(least), None, _) => format!("a number of at least {least}"),
            (None, Some(most), _) => format!("a number of at most {most}"),
            (None, None, above) => format!("a number above {}", above.unwrap_or_default()),
        };
        let message = match &node.reference {
            Some(reference) => format!("expected {range}, which the value of {} is not", quoted(&reference.raw)),
            None => format!("expected {range}, found `{value}`"),
        };
        self.report("config.out_of_range", node.span, &message, None)
    }

    /// A name that stands for a map without keys, where the map needs some: `x-torana-needs` lists
    /// them.
    fn bare_name(&mut self, node: &Written, schema: &'s Value) -> Fate {
        let needs = node.as_str().and_then(|name| schema.get("x-torana-needs")?.get(name)?.as_array());
        let keys: Vec<&str> = needs.into_iter().flatten().filter_map(Value::as_str).collect();
        let (Some(name), false) = (node.as_str(), keys.is_empty()) else {
            return Fate::Keep;
        };
        let listed = list_of(keys.iter().map(|key| format!("`{key}`")), "and");
        let example = keys.iter().map(|key| format!("{key}: …")).collect::<Vec<_>>().join(", ");
        let message = format!("`{name}` cannot do without {listed}");
        self.report("config.missing_key", node.span, &message, Some(format!("write `{name}: {{ {example} }}`")))
    }
}
