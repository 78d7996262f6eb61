//! Conditions that are decided without the interpreter.

pub(super) mod computed;

use super::part::Part;
use super::{Fault, Subject, Value};
use crate::regex::Regex;
use computed::Computed;
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;

/// A condition. Three-valued: true, false, or a fault.
#[derive(Clone)]
pub(super) enum Test {
    Always(bool),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Equal(Text, Text),
    OneOf(Text, Vec<Text>),
    Begins(Text, Text),
    Ends(Text, Text),
    Holds(Text, Text),
    Matches(Text, Box<Regex>),
    Given(Part),
    /// Whether the text is among the names that the part is.
    Among(Text, Part),
    IpIs(IpAddr),
    IpWithin(IpNet),
    Computed(Box<Computed>),
}

/// Text that is there, or a part of the request.
#[derive(Clone)]
pub(super) enum Text {
    Literal(Box<str>),
    Part(Part),
}

impl Text {
    fn bytes<'a>(&'a self, subject: &Subject<'a>) -> Result<Cow<'a, [u8]>, Fault<'a>> {
        match self {
            Text::Literal(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Text::Part(part) => part.read(subject),
        }
    }

    pub(super) fn text<'a>(&'a self, subject: &Subject<'a>) -> Result<Cow<'a, str>, Fault<'a>> {
        match self {
            Text::Literal(text) => Ok(Cow::Borrowed(text)),
            Text::Part(part) => text_of(part, subject),
        }
    }
}

/// A part as text.
pub(super) fn text_of<'a>(part: &'a Part, subject: &Subject<'a>) -> Result<Cow<'a, str>, Fault<'a>> {
    match part.read(subject)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Fault::NotText(part)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Fault::NotText(part)),
    }
}

impl Test {
    pub(super) fn holds<'a>(&'a self, subject: &Subject<'a>) -> Result<bool, Fault<'a>> {
        match self {
            Test::Always(holds) => Ok(*holds),
            Test::Not(test) => test.holds(subject).map(|holds| !holds),
            Test::All(tests) => decide(tests, subject, false),
            Test::Any(tests) => decide(tests, subject, true),
            Test::Equal(one, other) => Ok(one.bytes(subject)? == other.bytes(subject)?),
            Test::OneOf(text, list) => {
                let text = text.bytes(subject)?;
                for one in list {
                    if one.bytes(subject)? == text {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Begins(text, with) => Ok(text.bytes(subject)?.starts_with(&with.bytes(subject)?)),
            Test::Ends(text, with) => Ok(text.bytes(subject)?.ends_with(&with.bytes(subject)?)),
            Test::Holds(text, part) => {
                let (text, part) = (text.bytes(subject)?, part.bytes(subject)?);
                Ok(part.is_empty() || text.windows(part.len()).any(|window| window == &*part))
            }
            Test::Matches(text, regex) => Ok(regex.is_match(&text.bytes(subject)?)),
            Test::Given(part) => Ok(part.is_given(subject)),
            Test::Among(name, names) => names.has(&name.bytes(subject)?, subject),
            Test::IpIs(ip) => Ok(subject.client_ip.to_canonical() == *ip),
            Test::IpWithin(net) => Ok(net.contains(&subject.client_ip.to_canonical())),
            Test::Computed(computed) => match computed.value(subject)? {
                Value::Bool(holds) => Ok(holds),
                _ => Err(Fault::Computing("not a condition".into())),
            },
        }
    }

    pub(super) fn is_native(&self) -> bool {
        match self {
            Test::Computed(_) => false,
            Test::Not(test) => test.is_native(),
            Test::All(tests) | Test::Any(tests) => tests.iter().all(Test::is_native),
            _ => true,
        }
    }
}

/// CEL's `&&` and `||`: one operand that settles it is enough, even beside one
/// without a value.
fn decide<'a>(tests: &'a [Test], subject: &Subject<'a>, settles: bool) -> Result<bool, Fault<'a>> {
    let mut fault = None;
    for test in tests {
        match test.holds(subject) {
            Ok(holds) if holds == settles => return Ok(settles),
            Ok(_) => {}
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    fault.map_or(Ok(!settles), Err)
}
