//! JSON as in RFC 8259, with places. Our own parser, because the usual ones keep no byte ranges,
//! and a YAML parser would let files pass that no other JSON tool reads.

use torana_core::diagnostic::{Diagnostic, FileId, Span};
use torana_core::written::{Node, Spanned, Written};

use super::{DEEPEST, Entries, MOST_NODES, Parsed, too_deep, too_many};

pub(super) fn parse(file: FileId, text: &str) -> Parsed {
    let mut parser = Parser { file, text, at: 0, nodes: 0, diagnostics: Vec::new() };
    let outcome = parser.document();
    let mut diagnostics = parser.diagnostics;
    match outcome {
        Ok(tree) => Parsed { tree: Some(tree), diagnostics },
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            Parsed { tree: None, diagnostics }
        }
    }
}

struct Parser<'t> {
    file: FileId,
    text: &'t str,
    at: usize,
    nodes: usize,
    diagnostics: Vec<Diagnostic>,
}

type Outcome<T> = Result<T, Box<Diagnostic>>;

impl<'t> Parser<'t> {
    fn document(&mut self) -> Outcome<Written> {
        let value = self.value(0)?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(_) => self.expected("the end of the file"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn span(&self, start: usize) -> Span {
        Span::new(self.file, start, self.at)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// An error at the current byte: the texts are cut from the source at a character boundary.
    fn expected<T>(&self, what: &str) -> Outcome<T> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = self.at + rest.chars().next().map_or(0, char::len_utf8);
        let (found, hint) = match rest.chars().next() {
            None => ("the end of the file".to_owned(), None),
            Some('/') => ("`/`".to_owned(), Some("JSON has no comments; YAML and TOML do")),
            Some('\'') => ("`'`".to_owned(), Some("JSON strings have double quotes")),
            Some(c @ ('}' | ']')) if what.starts_with("a value") || what.starts_with("a key") => {
                (format!("`{c}`"), Some("remove the comma before it"))
            }
            Some(c) => (torana_core::diagnostic::quoted(&c.to_string()), None),
        };
        Err(Box::new(
            Diagnostic::error("config.syntax", format!("not valid JSON: expected {what}, found {found}"))
                .at(Span::new(self.file, self.at, end))
                .maybe_hint(hint.map(str::to_owned)),
        ))
    }

    fn value(&mut self, depth: usize) -> Outcome<Written> {
        self.space();
        let start = self.at;
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Box::new(too_many(self.span(start))));
        }
        if depth > DEEPEST {
            return Err(Box::new(too_deep(self.span(start))));
        }
        let node = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Node::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Written::new(node, self.span(start)))
    }

    fn word(&mut self) -> Outcome<Node> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, node) in [("true", Node::Bool(true)), ("false", Node::Bool(false)), ("null", Node::Null)] {
            let after = rest.as_bytes().get(word.len()).copied();
            if rest.starts_with(word) && !after.is_some_and(|byte| byte.is_ascii_alphanumeric()) {
                self.at += word.len();
                return Ok(node);
            }
        }
        self.expected("a value")
    }

    fn list(&mut self, depth: usize) -> Outcome<Node> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Node::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Node::List(items));
                }
                _ => return self.expected("`,` or `]`"),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Outcome<Node> {
        self.at += 1;
        let mut entries = Entries::default();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Node::Map(entries.list));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return self.expected("a key in double quotes");
            }
            let key = self.string()?;
            let key = Spanned::new(key, self.span(start));
            self.space();
            if self.peek() != Some(b':') {
                return self.expected("`:`");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            entries.push(key, value, &mut self.diagnostics);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Node::Map(entries.list));
                }
                _ => return self.expected("`,` or `}`"),
            }
        }
    }

    fn digits(&mut self) -> Outcome<()> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.expected("a digit");
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Outcome<Node> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return self.expected("no digit after a leading zero");
            }
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let node = if whole { text.parse().ok().map(Node::Int) } else { None };
        let node = node.or_else(|| text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Node::Float));
        node.ok_or_else(|| {
            Box::new(Diagnostic::error("config.syntax", "a number this large is not supported").at(self.span(start)))
        })
    }

    fn string(&mut self) -> Outcome<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest: &'t str = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            out.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return self.expected("an escape such as `\\n` for a control character"),
                None => return self.expected("the closing `\"`"),
            }
        }
    }

    fn escape(&mut self) -> Outcome<char> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.expected("one of `\"\\/bfnrtu` after the backslash"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Outcome<char> {
        let start = self.at - 1;
        let first = self.four_digits()?;
        let code = match first {
            0xd800..0xdc00 if self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) => {
                self.at += 1;
                let second = self.four_digits()?;
                // Anything but a low surrogate makes this no character, which is refused below.
                second
                    .checked_sub(0xdc00)
                    .filter(|low| *low < 0x400)
                    .map(|low| 0x1_0000 + ((first - 0xd800) << 10) + low)
            }
            other => Some(other),
        };
        code.and_then(char::from_u32).ok_or_else(|| {
            let message = "not valid JSON: this escape is half of a character";
            Box::new(Diagnostic::error("config.syntax", message).at(self.span(start)))
        })
    }

    /// Four hexadecimal digits after the `u` at the current byte.
    fn four_digits(&mut self) -> Outcome<u32> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.expected("four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> (Option<serde_json::Value>, Option<serde_json::Value>) {
        let parsed = parse(FileId(0), text);
        let ours = parsed.tree.filter(|_| parsed.diagnostics.is_empty()).map(|tree| tree.to_json());
        (ours, serde_json::from_str(text).ok())
    }

    /// What serde_json reads, we read alike, and what it refuses, we refuse.
    #[test]
    fn agrees_with_serde_json() {
        for text in [
            r#"{"a": [1, -2.5, 1e3, true, false, null], "b": {"c": "x\n\"\\\/\u00e4\ud83d\ude00"}}"#,
            "[]",
            "{}",
            "0",
            "-0.0",
            r#""""#,
            "01",
            "1.",
            "+1",
            ".5",
            "nul",
            "truex",
            "[1,]",
            r#"{"a":1,}"#,
            "{a:1}",
            "'a'",
            "\"\t\"",
            r#""\x""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\u12"#,
            "[1] 2",
            "",
            "{\"a\" 1}",
            "[",
            "// c\n{}",
            "1e999",
            "\u{a0}1",
        ] {
            let (ours, theirs) = both(text);
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_with_both_places() {
        let parsed = parse(FileId(0), r#"{"a": 1, "a": 2}"#);
        let diagnostic = &parsed.diagnostics[0];
        assert_eq!(diagnostic.code, "config.duplicate_key");
        assert_eq!(diagnostic.primary.as_ref().unwrap().span, Span::new(FileId(0), 9, 12));
        assert_eq!(diagnostic.secondary[0].span, Span::new(FileId(0), 1, 4));
    }

    #[test]
    fn errors_point_at_the_byte_and_help() {
        let parsed = parse(FileId(0), "{\n  // note\n}");
        let diagnostic = &parsed.diagnostics[0];
        assert_eq!(diagnostic.primary.as_ref().unwrap().span, Span::new(FileId(0), 4, 5));
        assert_eq!(diagnostic.hint.as_deref(), Some("JSON has no comments; YAML and TOML do"));
        assert!(parse(FileId(0), &"[".repeat(100_000)).tree.is_none());
    }

    proptest::proptest! {
        #[test]
        fn generated_text_reads_as_serde_json_reads_it(text in r#"[\[\]{}:,"\\0-9a-u \n.eE+-]{0,24}"#) {
            let (ours, theirs) = both(&text);
            // Duplicate keys are the one intended difference.
            if ours.is_some() || !text.contains('{') {
                proptest::prop_assert_eq!(ours, theirs);
            }
        }
    }
}
