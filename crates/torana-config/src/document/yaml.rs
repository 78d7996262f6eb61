//! YAML 1.2, strictly: only `true` and `false` are booleans, no tags but `!!str`, one document, no
//! merge keys.
//!
//! Built on the event parser, not on a serde layer, because every scalar and every key has to keep
//! its place.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Range, Tag};
use torana_core::diagnostic::{Diagnostic, FileId, Span};
use torana_core::pace::stepwise;
use torana_core::written::{Node, Spanned, Written};

use super::{DEEPEST, Entries, MOST_NODES, Parsed, too_deep, too_many};

pub(super) fn parse(file: FileId, text: &str) -> Parsed {
    read(file, text).0
}

/// Parses a text that is a part of another: how many values are in it, and what they are; `None` if anything is wrong
/// with it, or if it has anchors, through which parts may depend on each other.
pub(super) fn parse_part(file: FileId, text: &str) -> Option<(usize, Written)> {
    let (parsed, extent) = read(file, text);
    let tree = parsed.tree.filter(|_| parsed.diagnostics.is_empty() && !extent.has_anchors)?;
    Some((extent.nodes, tree))
}

/// What is known of a text besides what it says.
struct Extent {
    nodes: usize,
    has_anchors: bool,
}

fn read(file: FileId, text: &str) -> (Parsed, Extent) {
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        flow_nesting_limit: DEEPEST + 1,
        block_nesting_limit: DEEPEST + 1,
    };
    let mut builder = Builder {
        file,
        text,
        open: Vec::new(),
        anchors: Vec::new(),
        nodes: 0,
        has_anchors: false,
        root: None,
        diagnostics: Vec::new(),
    };
    for next in stepwise(Parser::new_from_str_with_options(text, options)) {
        let outcome = match next {
            Ok((event, range)) => builder.event(event, range),
            Err(error) => Err(Box::new(builder.syntax(&error))),
        };
        if let Err(diagnostic) = outcome {
            builder.diagnostics.push(*diagnostic);
            let extent = builder.extent();
            return (Parsed { tree: None, diagnostics: builder.diagnostics }, extent);
        }
    }
    let end = Span::new(file, text.len(), text.len());
    let extent = builder.extent();
    let tree = builder.root.unwrap_or_else(|| Written::new(Node::Null, end));
    (Parsed { tree: Some(tree), diagnostics: builder.diagnostics }, extent)
}

/// A list or map whose end has not come yet.
struct Open {
    start: Range,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Written>),
    Map { entries: Entries, key: Option<Spanned<String>> },
}

struct Builder<'t> {
    file: FileId,
    text: &'t str,
    open: Vec<Open>,
    /// Finished anchored values and how many values each holds, by the parser's number for the
    /// anchor.
    anchors: Vec<(usize, Written, usize)>,
    nodes: usize,
    /// Whether there is an anchor anywhere, on a key too.
    has_anchors: bool,
    root: Option<Written>,
    diagnostics: Vec<Diagnostic>,
}

type Step = Result<(), Box<Diagnostic>>;

impl Builder<'_> {
    fn extent(&self) -> Extent {
        Extent { nodes: self.nodes, has_anchors: self.has_anchors }
    }

    fn event(&mut self, event: Event<'_>, range: Range) -> Step {
        if let Event::Scalar(_, _, anchor, _) | Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) =
            &event
        {
            self.has_anchors |= *anchor != 0;
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(Box::new(
                Diagnostic::error("config.syntax", "expected one YAML document, found a second one")
                    .at(self.span(range))
                    .hint("use `include` to join files"),
            )),
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), range),
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), range)?;
                self.start(range, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), range)?;
                self.start(range, anchor, OpenKind::Map { entries: Entries::default(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(range),
            Event::Alias(anchor) => self.alias(anchor, range),
            _ => Ok(()),
        }
    }

    fn span(&self, range: Range) -> Span {
        let bytes = range.byte_range().unwrap_or(self.text.len()..self.text.len());
        Span::new(self.file, bytes.start, bytes.end)
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        let mut hint = None;
        let line_start = self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let before = self.text.get(line_start..at).unwrap_or_default();
        let line = self.text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        if before.trim_start().len() < before.len() && before.contains('\t') || line.starts_with('\t') {
            hint = Some("indent with spaces: YAML does not allow tabs there");
        } else if line.contains("${") {
            hint = Some("quote text with `${…}` inside `[ ]` and `{ }`: \"${env:NAME}\"");
        } else if line.contains(": *") || line.contains(": [*") {
            hint = Some("quote text that starts with `*`: \"*.example\"");
        }
        // The parser notices a missing bracket where the text stops making sense, often lines after
        // it.
        let bracket = self.open.last().map(|open| self.span(open.start)).filter(|span| {
            let opens = matches!(self.text.as_bytes().get(span.start as usize), Some(b'[' | b'{'));
            opens && hint.is_none() && (span.start as usize) < at
        });
        let hint = hint.or(bracket.map(|_| "close the bracket"));
        Diagnostic::error("config.syntax", format!("not valid YAML: {}", error.info()))
            .at(Span::new(self.file, at, at))
            .also(bracket.unwrap_or(Span::NONE), "not closed yet")
            .maybe_hint(hint.map(str::to_owned))
    }

    fn refuse_tag(&self, tag: Option<&Tag>, range: Range) -> Step {
        match tag {
            None => Ok(()),
            Some(_) => Err(Box::new(
                Diagnostic::error("config.syntax", "YAML tags are not supported, except `!!str`").at(self.span(range)),
            )),
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Step {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES { Err(Box::new(too_many(span))) } else { Ok(()) }
    }

    fn start(&mut self, start: Range, anchor: usize, kind: OpenKind) -> Step {
        let span = self.span(start);
        self.count(1, span)?;
        self.key_may_be(span, false)?;
        if self.open.len() >= DEEPEST {
            return Err(Box::new(too_deep(span)));
        }
        self.open.push(Open { start, anchor, kind });
        Ok(())
    }

    /// Keys are scalars; called before anything else than a scalar is taken.
    fn key_may_be(&self, span: Span, scalar: bool) -> Step {
        match self.open.last() {
            Some(Open { kind: OpenKind::Map { key: None, .. }, .. }) if !scalar => Err(Box::new(
                Diagnostic::error("config.syntax", "expected a key, found a list, a map or an alias")
                    .at(span)
                    .hint("keys are plain text; quote `${…}` and text that starts with `[`, `{` or `*`"),
            )),
            _ => Ok(()),
        }
    }

    fn end(&mut self, range: Range) -> Step {
        let Some(Open { start, anchor, kind }) = self.open.pop() else {
            return Ok(());
        };
        let start = self.span(start);
        let end = self.span(range);
        let (node, last) = match kind {
            OpenKind::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Node::List(items), last)
            }
            OpenKind::Map { entries, .. } => {
                let last = entries.list.last().map(|entry| entry.value.span.end.max(entry.key.span.end));
                (Node::Map(entries.list), last)
            }
        };
        // A block ends where the next thing begins, lines further down; its last value is what
        // people see.
        let written = usize::try_from(end.end.saturating_sub(end.start)).unwrap_or(0);
        let closed = written > 0 && matches!(self.text.as_bytes().get(end.start as usize), Some(b']' | b'}'));
        let stop = if closed { end.end } else { last.unwrap_or(start.end) };
        let begin =
            first_of(&node).map_or(start.start, |first| if closed { start.start } else { first.min(start.start) });
        let span = Span { file: self.file, start: begin, end: stop.max(begin) };
        self.value(Written::new(node, span), anchor, 0)
    }

    fn alias(&mut self, anchor: usize, range: Range) -> Step {
        let span = self.span(range);
        self.key_may_be(span, false)?;
        let Some((_, value, nodes)) = self.anchors.iter().find(|(id, ..)| *id == anchor) else {
            return Err(Box::new(
                Diagnostic::error("config.syntax", "an alias inside the value it stands for").at(span),
            ));
        };
        let (value, nodes) = (value.clone(), *nodes);
        if self.open.len() + depth(&value) > DEEPEST {
            return Err(Box::new(too_deep(span)));
        }
        self.count(nodes, span)?;
        self.value(value, 0, nodes)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, range: Range) -> Step {
        let mut span = self.span(range);
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            // The parser counts the indent of what comes next as well.
            let written = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
            span.end -= u32::try_from(written.len() - written.trim_end_matches(' ').len()).unwrap_or(0);
        }
        self.count(1, span)?;
        let string = match tag {
            Some(tag) if tag.is_yaml_core_schema_tag("str") => true,
            Some(_) => return self.refuse_tag(tag, range),
            None => style != ScalarStyle::Plain,
        };
        let node = if string { Node::String(text.to_owned()) } else { plain(text) };
        if let Some(Open { kind: OpenKind::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
            if node == Node::Null && text.is_empty() {
                return Err(Box::new(Diagnostic::error("config.syntax", "expected a key, found nothing").at(span)));
            }
            // `200:` and `true:` are keys like any other, by their text.
            *key = Some(Spanned::new(text.to_owned(), span));
            return Ok(());
        }
        self.value(Written::new(node, span), anchor, 1)
    }

    fn value(&mut self, value: Written, anchor: usize, nodes: usize) -> Step {
        if anchor != 0 {
            let nodes = if nodes == 0 { size(&value) } else { nodes };
            // The copy kept for aliases counts too: anchors inside anchors keep one copy per level.
            self.count(nodes, value.span)?;
            self.anchors.push((anchor, value.clone(), nodes));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(value),
            Some(OpenKind::List(items)) => items.push(value),
            Some(OpenKind::Map { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.push(key, value, &mut self.diagnostics);
                }
            }
        }
        Ok(())
    }
}

fn first_of(node: &Node) -> Option<u32> {
    match node {
        Node::List(items) => items.first().map(|item| item.span.start),
        Node::Map(entries) => entries.first().map(|entry| entry.key.span.start),
        _ => None,
    }
}

/// Values in `written`, itself included.
fn size(written: &Written) -> usize {
    let items: usize = written.items().iter().map(size).sum();
    let entries: usize = written.entries().iter().map(|entry| size(&entry.value)).sum();
    1 + items + entries
}

fn depth(written: &Written) -> usize {
    let items = written.items().iter().map(depth).max().unwrap_or(0);
    let entries = written.entries().iter().map(|entry| depth(&entry.value)).max().unwrap_or(0);
    match written.node {
        Node::List(_) | Node::Map(_) => 1 + items.max(entries),
        _ => 0,
    }
}

/// What an unquoted scalar means: the YAML 1.2 core schema, with `true` and `false` in lower case
/// only. Numbers with leading zeros are text: YAML 1.1 read them as octal, 1.2 as decimal, and
/// nobody means either.
fn plain(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" => return Node::Bool(true),
        "false" => return Node::Bool(false),
        _ => {}
    }
    let string = || Node::String(text.to_owned());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']));
            return digits.and_then(|d| i128::from_str_radix(d, radix).ok()).map_or_else(string, Node::Int);
        }
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return string();
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return string();
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or_else(|_| string(), Node::Int);
    }
    if !unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return string();
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Node::Float(value),
        _ => string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Written {
        let parsed = parse(FileId(0), text);
        assert_eq!(parsed.diagnostics, [], "{text}");
        parsed.tree.unwrap()
    }

    fn error(text: &str) -> String {
        parse(FileId(0), text).diagnostics.remove(0).message
    }

    fn slice<'t>(text: &'t str, written: &Written) -> &'t str {
        &text[written.span.start as usize..written.span.end as usize]
    }

    #[test]
    fn plain_scalars_follow_the_strict_core_schema() {
        let plain = |text: &str| Written::new(plain(text), Span::NONE).to_json();
        assert_eq!(plain("true"), true);
        for text in ["True", "yes", "on", "0123", ".inf", ".nan", "1_000", "1.2.3", "0x", "1e999", "10.0.0.0/8", "0x-1"]
        {
            assert_eq!(plain(text), text, "{text}");
        }
        assert_eq!(plain("0x1F"), 31);
        assert_eq!(plain("-7"), -7);
        assert_eq!(plain("1.5"), 1.5);
        assert_eq!(plain("1e3"), 1000.0);
        assert_eq!(plain("~"), serde_json::Value::Null);
    }

    #[test]
    fn spans_cover_what_was_written() {
        let text = "a:\n  b: \"x y\"\n  c: [1, {d: e}]\n\n# note\nf: >\n  folded\n  text\n";
        let tree = tree(text);
        let a = tree.get("a").unwrap();
        assert_eq!(slice(text, a), "b: \"x y\"\n  c: [1, {d: e}]");
        assert_eq!(slice(text, a.get("b").unwrap()), "\"x y\"");
        let c = a.get("c").unwrap();
        assert_eq!(slice(text, c), "[1, {d: e}]");
        assert_eq!(slice(text, &c.items()[1]), "{d: e}");
        assert_eq!(tree.get("f").unwrap().as_str(), Some("folded text\n"));
    }

    #[test]
    fn block_lists_start_at_their_first_item() {
        let text = "r:\n  - name: x\n    to: y\n  - name: z\n";
        let tree = tree(text);
        assert_eq!(slice(text, &tree.get("r").unwrap().items()[0]), "name: x\n    to: y");
        assert_eq!(slice(text, &tree.get("r").unwrap().items()[1]), "name: z");
    }

    #[test]
    fn aliases_are_copies_and_keep_the_place_of_the_anchor() {
        let text = "a: &x {k: 1}\nb: *x\n";
        let tree = tree(text);
        assert_eq!(tree.get("a"), tree.get("b"));
        assert_eq!(tree.get("b").unwrap().span, tree.get("a").unwrap().span);
    }

    #[test]
    fn alias_bombs_are_refused_in_little_time() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            text += &format!("a{level}: &a{level} [{items}]\n");
        }
        let started = std::time::Instant::now();
        assert_eq!(error(&text), "more than 1000000 values in one file");
        assert!(started.elapsed().as_secs() < 30);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!("a: {}{}", "[".repeat(60), "]".repeat(60));
        assert!(parse(FileId(0), &deep).tree.is_some());
        assert!(parse(FileId(0), &format!("a: {}", "[".repeat(5000))).tree.is_none());
        assert!(parse(FileId(0), &"- ".repeat(5000)).tree.is_none());
    }

    #[test]
    fn what_is_not_plain_configuration_is_refused() {
        assert_eq!(error("a: 1\n---\nb: 2\n"), "expected one YAML document, found a second one");
        assert_eq!(error("a: !!binary aGk=\n"), "YAML tags are not supported, except `!!str`");
        assert_eq!(error("a: !exec rm\n"), "YAML tags are not supported, except `!!str`");
        assert_eq!(error("[a, b]: 1\n"), "expected a key, found a list, a map or an alias");
        assert_eq!(error("a: &x [*x]\n"), "an alias inside the value it stands for");
        assert_eq!(error("a: 1\na: 2\n"), "the key `a` is there twice");
    }

    #[test]
    fn a_quoted_or_tagged_number_is_text() {
        assert_eq!(tree("a: \"1.2\"").get("a").unwrap().as_str(), Some("1.2"));
        assert_eq!(tree("a: !!str 12").get("a").unwrap().as_str(), Some("12"));
    }
}
