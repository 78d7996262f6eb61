//! JSON from and to XML.
//!
//! Only what every reader agrees about: no document types (so no entities of
//! their own, and nothing to fetch), UTF-8 only, a limit on depth and on the
//! number of nodes. Names keep their prefixes; namespaces are not resolved.

use bytes::Bytes;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use torana_reshape::{Fault, Val, number_text, text};

/// Deepest element: not as deep as JSON may be.
const DEEPEST: usize = 100;
/// Most elements and attributes: XML is mostly names, so a body within its cap
/// could become many times as much.
const MOST_NODES: usize = 200_000;

const NOT_XML: &str = "it is not well-formed XML";

/// An element that is open.
struct Open {
    name: String,
    members: Vec<(String, Vec<Val>)>,
    text: String,
    has_cdata: bool,
}

impl Open {
    fn put(&mut self, name: String, value: Val) {
        // Elements of one name mostly follow each other.
        match self.members.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.members.push((name, vec![value])),
        }
    }

    fn close(self) -> Val {
        let content = if self.has_cdata { self.text.as_str() } else { self.text.trim_ascii() };
        if self.members.is_empty() {
            return if content.is_empty() { Val::Null } else { text(content) };
        }
        let entry = |(name, mut values): (String, Vec<Val>)| {
            let value = if values.len() == 1 { values.pop().unwrap_or_default() } else { values.into_iter().collect() };
            (text(&name), value)
        };
        let own = (!content.is_empty()).then(|| (text("#text"), text(content)));
        Val::obj(self.members.into_iter().map(entry).chain(own).collect())
    }
}

/// Reads a document.
pub(super) fn read(bytes: &Bytes) -> Result<Val, &'static str> {
    let source = std::str::from_utf8(bytes).map_err(|_| "the XML is not UTF-8")?;
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut reader = Reader::from_str(source);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    config.check_comments = true;
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut nodes = 0_usize;
    loop {
        match reader.read_event().map_err(|_| NOT_XML)? {
            Event::Start(start) => {
                if root.is_some() || open.len() >= DEEPEST {
                    return Err(if root.is_some() { NOT_XML } else { "the XML is nested too deeply" });
                }
                open.push(element(&start, &mut nodes)?);
            }
            Event::End(_) => {
                let closed = open.pop().ok_or(NOT_XML)?;
                let name = closed.name.clone();
                let value = closed.close();
                match open.last_mut() {
                    Some(parent) => parent.put(name, value),
                    None => root = Some((name, value)),
                }
            }
            Event::Text(content) => put_text(&mut open, &content.xml10_content(), false)?,
            Event::CData(content) => put_text(&mut open, &content.xml10_content(), true)?,
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                let character = resolve(&reference)?;
                // Written as a reference, so blanks are meant.
                put_text(&mut open, character.encode_utf8(&mut buffer), true)?;
            }
            Event::DocType(_) => return Err("the XML has a document type"),
            Event::Decl(declaration) => {
                let encoding = declaration.encoding().transpose().map_err(|_| NOT_XML)?;
                if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                    return Err("the XML is not UTF-8");
                }
            }
            Event::Comment(_) | Event::PI(_) | Event::Empty(_) => {}
            Event::Eof => break,
        }
    }
    let (name, value) = root.filter(|_| open.is_empty()).ok_or(NOT_XML)?;
    Ok(Val::obj([(text(&name), value)].into_iter().collect()))
}

fn element(start: &BytesStart<'_>, nodes: &mut usize) -> Result<Open, &'static str> {
    let mut count = || {
        *nodes += 1;
        if *nodes > MOST_NODES { Err("the XML has too many elements") } else { Ok(()) }
    };
    count()?;
    let name = start.name().as_ref().to_owned();
    let mut open = Open { name, members: Vec::new(), text: String::new(), has_cdata: false };
    for attribute in start.attributes() {
        count()?;
        let attribute = attribute.map_err(|_| NOT_XML)?;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| NOT_XML)?;
        open.members.push((format!("@{}", AsRef::<str>::as_ref(&attribute.key)), vec![text(&value)]));
    }
    Ok(open)
}

fn put_text(open: &mut [Open], content: &str, is_literal: bool) -> Result<(), &'static str> {
    match open.last_mut() {
        Some(element) => {
            element.text.push_str(content);
            element.has_cdata |= is_literal;
            Ok(())
        }
        None if content.trim_ascii().is_empty() => Ok(()),
        None => Err(NOT_XML),
    }
}

/// The five entities of XML and characters by number.
fn resolve(reference: &BytesRef<'_>) -> Result<char, &'static str> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| NOT_XML)? {
        return if is_character(character) { Ok(character) } else { Err(NOT_XML) };
    }
    match reference.xml10_content().as_ref() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err("the XML has an entity of its own"),
    }
}

/// What may stand in a document at all (XML 1.0 §2.2).
fn is_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Writes a document, at most `cap` bytes. The value is an object with one
/// member, the root.
pub(super) fn write(value: &Val, cap: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let root = match value {
        Val::Obj(members) if members.len() == 1 => members.iter().next(),
        _ => None,
    };
    let Some((name, value)) = root.filter(|(_, value)| !matches!(value, Val::Arr(_))) else {
        return Err(Fault::Failed("XML has one root: an object with one member is needed".into()));
    };
    out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    Writer { cap, out }.element(name, value, 0)
}

struct Writer<'o> {
    cap: usize,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn element(&mut self, name: &Val, value: &Val, depth: usize) -> Result<(), Fault> {
        if depth >= DEEPEST || self.out.len() > self.cap {
            return Err(Fault::TooLarge);
        }
        let name = name_of(name)?;
        if let Val::Arr(items) = value {
            let name = text(name);
            return items.iter().try_for_each(|item| match item {
                Val::Arr(_) => Err(Fault::Failed("XML has no lists of lists".into())),
                item => self.element(&name, item, depth + 1),
            });
        }
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        let start = self.out.len();
        if let Val::Obj(members) = value {
            for (key, value) in members.iter() {
                let Some(attribute) = key_of(key)?.strip_prefix('@') else { continue };
                self.out.push(b' ');
                self.out.extend_from_slice(checked_name(attribute)?.as_bytes());
                self.out.extend_from_slice(b"=\"");
                self.text(value, true)?;
                self.out.push(b'"');
            }
        }
        self.out.push(b'>');
        let open = self.out.len();
        match value {
            Val::Obj(members) => {
                for (key, value) in members.iter() {
                    match key_of(key)? {
                        "#text" => self.text(value, false)?,
                        key if key.starts_with('@') => {}
                        _ => self.element(key, value, depth + 1)?,
                    }
                }
            }
            other => self.text(other, false)?,
        }
        if self.out.len() == open && start + 1 == open {
            self.out.pop();
            self.out.extend_from_slice(b"/>");
        } else {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'>');
        }
        if self.out.len() > self.cap { Err(Fault::TooLarge) } else { Ok(()) }
    }

    fn text(&mut self, value: &Val, is_attribute: bool) -> Result<(), Fault> {
        let shown = match value {
            Val::Null => return Ok(()),
            Val::TStr(text) => String::from_utf8_lossy(text).into_owned(),
            Val::Bool(_) => value.to_string(),
            // As in JSON: what is no number there is nothing.
            Val::Num(_) => String::from_utf8(number_text(value).unwrap_or_default()).unwrap_or_default(),
            Val::BStr(_) | Val::Arr(_) | Val::Obj(_) => return Err(Fault::Failed("XML has only text there".into())),
        };
        for character in shown.chars() {
            let escaped = match character {
                '<' => "&lt;",
                '>' => "&gt;",
                '&' => "&amp;",
                '"' if is_attribute => "&quot;",
                '\t' if is_attribute => "&#9;",
                '\n' if is_attribute => "&#10;",
                '\r' => "&#13;",
                character if is_character(character) => {
                    self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                _ => return Err(Fault::Failed("XML has no such character".into())),
            };
            self.out.extend_from_slice(escaped.as_bytes());
        }
        Ok(())
    }
}

fn key_of(key: &Val) -> Result<&str, Fault> {
    match key {
        Val::TStr(key) => std::str::from_utf8(key).map_err(|_| no_name()),
        _ => Err(no_name()),
    }
}

fn name_of(key: &Val) -> Result<&str, Fault> {
    key_of(key).and_then(checked_name)
}

/// A name that every reader of XML takes for one.
fn checked_name(name: &str) -> Result<&str, Fault> {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    let goes_on = characters.all(|next| next.is_alphanumeric() || matches!(next, '_' | '-' | '.' | ':'));
    if starts && goes_on { Ok(name) } else { Err(no_name()) }
}

fn no_name() -> Fault {
    Fault::Failed("a member's name cannot be a name in XML".into())
}
