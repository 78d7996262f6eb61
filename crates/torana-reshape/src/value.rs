//! Values of programs from and to JSON.

use super::{Fault, Val};
use bytes::Bytes;
use jaq_core::ValT;
use jaq_json::{Map, Num};
use serde_json::{Number, Value};
use std::fmt::{self, Write};
use torana_core::json::{self, JsonError};

/// Reads a stranger's JSON, strictly ([`json::check`]); numbers keep their
/// digits.
///
/// # Errors
/// It is not JSON, or has two readings.
pub fn read(text: &[u8]) -> Result<Val, JsonError> {
    json::check(text)?;
    jaq_json::read::parse_single(text).map_err(|_| JsonError::NotJson)
}

/// Text as a value.
#[must_use]
pub fn text(text: &str) -> Val {
    Val::utf8_str(Bytes::copy_from_slice(text.as_bytes()))
}

/// A value of JSON as one of programs.
#[must_use]
pub fn from_value(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(*value),
        // Infallible for what is a number already.
        Value::Number(number) => Val::from_num(&number.to_string()).unwrap_or_default(),
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().map(from_value).collect(),
        Value::Object(entries) => {
            Val::obj(entries.iter().map(|(key, value)| (text(key), from_value(value))).collect::<Map>())
        }
    }
}

/// Deepest JSON that is written: as deep as may be read.
const DEEPEST: usize = 127;

/// Appends a value as JSON, at most `cap` bytes. What JSON does not have
/// becomes what is nearest: `nan` and infinities `null`, bytes text.
///
/// # Errors
/// It is too large, too deep, or has a key that is no text.
pub fn write(value: &Val, cap: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let cap = out.len().saturating_add(cap);
    one(value, cap, out, 0)
}

fn one(value: &Val, cap: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        Val::Num(Num::Float(number)) if !number.is_finite() => out.extend_from_slice(b"null"),
        Val::Num(number) => digits(&number.to_string(), out),
        Val::TStr(text) | Val::BStr(text) => string(text, out),
        Val::Arr(_) | Val::Obj(_) if depth >= DEEPEST => return Err(Fault::TooLarge),
        Val::Arr(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                one(item, cap, out, depth + 1)?;
            }
            out.push(b']');
        }
        Val::Obj(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let Val::TStr(key) = key else { return Err(Fault::Failed("a key is not text".into())) };
                string(key, out);
                out.push(b':');
                one(value, cap, out, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    if out.len() > cap { Err(Fault::TooLarge) } else { Ok(()) }
}

/// A number as it was written, if JSON writes numbers so. Programs, and texts
/// that are made numbers, may say `08.5`, of which every reader behind would
/// make something else, or nothing; and of one that is too large for a double,
/// such as `1e999`, some make infinity, and some nothing of all of the text.
fn digits(number: &str, out: &mut Vec<u8>) {
    let may_be_infinite = number.len() > 300 || number.contains(['e', 'E']);
    let is_infinite = may_be_infinite && number.parse().is_ok_and(f64::is_infinite);
    if is_number(number.as_bytes()) && !is_infinite {
        return out.extend_from_slice(number.as_bytes());
    }
    match number.parse().ok().and_then(Number::from_f64) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// A number as JSON has it, for places that have text; `None` for what is no
/// number there either, such as `nan`.
#[must_use]
pub fn number_text(value: &Val) -> Option<Vec<u8>> {
    let Val::Num(_) = value else { return None };
    let mut text = Vec::new();
    write(value, usize::MAX, &mut text).ok().filter(|()| text != b"null").map(|()| text)
}

/// Whether a text is a number by RFC 8259 §6.
fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        text.get(count..).filter(|_| count > 0)
    }
    fn rest(text: &[u8]) -> Option<&[u8]> {
        let mut text = text.strip_prefix(b"-").unwrap_or(text);
        text = text.strip_prefix(b"0").or_else(|| digits(text))?;
        if let Some(fraction) = text.strip_prefix(b".") {
            text = digits(fraction)?;
        }
        if let [b'e' | b'E', exponent @ ..] = text {
            text = digits(exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent))?;
        }
        Some(text)
    }
    rest(text) == Some(b"")
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}

/// What an error says, as far as it is not about what the input holds: that is
/// between quotes, or a number.
pub(super) fn without_values(error: &dyn fmt::Display) -> Box<str> {
    let mut out = Words { text: String::new(), is_quoted: false, was_escape: false };
    // Ends early when there is enough.
    let _ = write!(out, "{error}");
    out.text.into()
}

struct Words {
    text: String,
    is_quoted: bool,
    was_escape: bool,
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.text.len() > 120 {
                return Err(fmt::Error);
            }
            match char {
                '"' if !self.was_escape => {
                    self.is_quoted = !self.is_quoted;
                    self.text.push_str(if self.is_quoted { "\"…" } else { "\"" });
                }
                _ if self.is_quoted => {}
                '0'..='9' => {
                    if !self.text.ends_with('#') {
                        self.text.push('#');
                    }
                }
                char if char.is_control() => self.text.push(' '),
                char => self.text.push(char),
            }
            self.was_escape = self.is_quoted && char == '\\' && !self.was_escape;
        }
        Ok(())
    }
}
