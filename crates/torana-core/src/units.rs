//! Scalars of the configuration: texts with a unit or a form of their own.
//!
//! Each is a newtype that parses, prints and describes itself in the JSON Schema, and each says
//! what it expected and what it found. [`Written::decode`](crate::written::Written::decode) checks
//! [`Duration`], [`ByteSize`], [`Moment`], [`Network`] and [`Percent`] while it walks the tree, so all bad values of a file
//! are reported at once.

use serde_json::Value;

use crate::diagnostic::{Misfit, quoted};
use crate::written::{Node, Written};

mod byte_size;
mod duration;
mod moment;
mod network;
mod percent;

pub use byte_size::ByteSize;
pub use duration::Duration;
pub use moment::Moment;
pub use network::Network;
pub use percent::Percent;

/// What is wrong with a node whose schema has the `format` of one of our scalars; `None` if nothing
/// is, or if the format is not ours.
pub(crate) fn check(schema: &Value, node: &Written) -> Option<Misfit> {
    let format = schema.get("format").and_then(Value::as_str)?;
    let (expected, parse): (_, fn(&str) -> Option<Misfit>) = match format {
        duration::FORMAT => (duration::EXPECTED, |text| text.parse::<Duration>().err()),
        byte_size::FORMAT => (byte_size::EXPECTED, |text| text.parse::<ByteSize>().err()),
        moment::FORMAT => (moment::EXPECTED, |text| text.parse::<Moment>().err()),
        network::FORMAT => (network::EXPECTED, |text| text.parse::<Network>().err()),
        percent::FORMAT => (percent::EXPECTED, |text| text.parse::<Percent>().err()),
        _ => return None,
    };
    match &node.node {
        Node::String(text) => parse(text),
        Node::Int(value) if format == duration::FORMAT => Some(duration::without_unit(&value.to_string())),
        Node::Float(value) if format == duration::FORMAT => Some(duration::without_unit(&value.to_string())),
        Node::Int(value) if format == percent::FORMAT => Some(percent::without_sign(&value.to_string())),
        Node::Float(value) if format == percent::FORMAT => Some(percent::without_sign(&value.to_string())),
        Node::Int(value) if format == byte_size::FORMAT && u64::try_from(*value).is_ok() => None,
        _ => Some(Misfit::new(expected, node.describe())),
    }
}

/// Implements `Serialize` as the text, and `JsonSchema` as a string with a format, pattern and
/// examples.
macro_rules! text_scalar {
    ($type:ident, $name:literal, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!("torana_core::units::", $name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use text_scalar;

/// Splits `12ms` into `12` and `ms`; the number has no sign and no fraction.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// "`text`, which …", for [`Misfit::found`].
fn found(text: &str, which: &str) -> String {
    format!("{}, {which}", quoted(text))
}
