//! TOML 1.1. Its parser recovers, so every syntax error of a file is reported.

use toml::Spanned as Located;
use toml::de::{DeTable, DeValue};
use torana_core::diagnostic::{Diagnostic, FileId, Span};
use torana_core::written::{Entry, Node, Spanned, Written};

use super::{DEEPEST, Parsed, too_deep};

pub(super) fn parse(file: FileId, text: &str) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut diagnostics: Vec<_> = errors
        .iter()
        .map(|error| {
            let range = error.span().unwrap_or(text.len()..text.len());
            let duplicate = error.message().contains("duplicate key");
            let code = if duplicate { "config.duplicate_key" } else { "config.syntax" };
            let message = format!("not valid TOML: {}", error.message().trim());
            Diagnostic::error(code, message).at(Span::new(file, range.start, range.end))
        })
        .collect();
    // What is left of a file with syntax errors says other things than what was written.
    if diagnostics.iter().any(|diagnostic| diagnostic.code == "config.syntax") {
        return Parsed { tree: None, diagnostics };
    }
    let tree = map(file, table.get_ref(), 0, &mut diagnostics);
    let span = Span::new(file, 0, text.trim_end().len());
    Parsed { tree: Some(Written::new(Node::Map(tree), span)), diagnostics }
}

fn map(file: FileId, table: &DeTable<'_>, depth: usize, diagnostics: &mut Vec<Diagnostic>) -> Vec<Entry> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let range = key.span();
            let span = Span::new(file, range.start, range.end);
            Entry {
                key: Spanned::new(key.get_ref().to_string(), span),
                value: node(file, value, depth + 1, diagnostics),
            }
        })
        .collect();
    // The parser's tables are sorted by key; people expect their own order.
    entries.sort_by_key(|entry| entry.key.span.start);
    entries
}

fn node(file: FileId, value: &Located<DeValue<'_>>, depth: usize, diagnostics: &mut Vec<Diagnostic>) -> Written {
    let range = value.span();
    let span = Span::new(file, range.start, range.end);
    if depth > DEEPEST {
        diagnostics.push(too_deep(span));
        return Written::new(Node::Null, span);
    }
    let refuse = |diagnostics: &mut Vec<Diagnostic>, message: &str| {
        diagnostics.push(Diagnostic::error("config.syntax", message).at(span));
        Node::Null
    };
    let node = match value.get_ref() {
        DeValue::String(text) => Node::String(text.to_string()),
        DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Node::Int(value),
            Err(_) => refuse(diagnostics, "a number this large is not supported"),
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(value) if value.is_finite() => Node::Float(value),
            _ => refuse(diagnostics, "expected a finite number"),
        },
        DeValue::Boolean(value) => Node::Bool(*value),
        DeValue::Datetime(value) => Node::String(value.to_string()),
        DeValue::Array(array) => {
            Node::List(array.iter().map(|item| node(file, item, depth + 1, diagnostics)).collect())
        }
        DeValue::Table(table) => Node::Map(map(file, table, depth, diagnostics)),
    };
    // A table's own place is its header; what people see as the table is everything below it.
    let end = match &node {
        Node::Map(entries) => entries.iter().map(|entry| entry.value.span.end).max(),
        _ => None,
    };
    Written::new(node, Span { end: end.unwrap_or(0).max(span.end), ..span })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Written {
        let parsed = parse(FileId(0), text);
        assert_eq!(parsed.diagnostics, [], "{text}");
        parsed.tree.unwrap()
    }

    #[test]
    fn tables_arrays_and_scalars_keep_order_and_places() {
        let text = "workers = 2\n[upstreams.users]\ntimeout = \"3s\"\nmax_idle = 0x10\n[[routes]]\nname = 'a'\n[[routes]]\nname = 'b'\n";
        let tree = tree(text);
        let keys: Vec<_> = tree.entries().iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["workers", "upstreams", "routes"]);
        let users = tree.get("upstreams").unwrap().get("users").unwrap();
        assert_eq!(users.get("max_idle").unwrap().to_json(), 16);
        let timeout = users.get("timeout").unwrap();
        assert_eq!(&text[timeout.span.start as usize..timeout.span.end as usize], "\"3s\"");
        assert_eq!(tree.get("routes").unwrap().items().len(), 2);
    }

    #[test]
    fn every_syntax_error_is_reported() {
        let parsed = parse(FileId(0), "a = \nb = 'x\nc = 1\nc = 2\n");
        let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code.as_ref()).collect();
        assert_eq!(codes, ["config.syntax", "config.syntax", "config.duplicate_key"]);
        assert!(parsed.tree.is_none());
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let parsed = parse(FileId(0), "c = nan\n");
        assert_eq!(parsed.diagnostics[0].message, "expected a finite number");
    }
}
