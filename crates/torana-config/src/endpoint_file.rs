//! Files that list endpoints, besides the configuration: they change without it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use torana_core::diagnostic::{Diagnostic, Span, quoted};
use torana_core::written::{Entry, Node, Spanned, Written};

use crate::document::{self, Format};
use crate::interpolate::read_bounded;
use crate::model::Endpoint;
use crate::sources::Sources;

/// Bytes of such a file.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// URLs, or maps with `url`.
    endpoints: Vec<Spanned<Endpoint>>,
}

/// Reads the endpoints that the file at `path` lists: a list, or a map with one under `endpoints`.
///
/// # Errors
/// Why it cannot be read, or the first thing wrong with it and where.
pub fn endpoints_of_file(path: &Path) -> Result<Vec<Endpoint>, String> {
    let format = Format::of(path).ok_or("its name does not end in `.yaml`, `.yml`, `.toml` or `.json`")?;
    let bytes = read_bounded(path, LARGEST)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut sources = Sources::default();
    let file = sources.add(path.to_owned(), String::new(), text.to_owned());
    let first = |diagnostics: &[Diagnostic]| {
        let error = diagnostics.iter().find(|diagnostic| diagnostic.is_error())?;
        let span = error.primary.as_ref().map(|label| label.span);
        let place = span.and_then(|span| Some(sources.file(span.file)?.place(span.start as usize)));
        let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let at = place.map(|place| format!("line {}: ", place.line)).unwrap_or_default();
        Some(format!("{at}{}{hint}", error.message))
    };
    let parsed = document::parse_any(file, text, format);
    if let Some(problem) = first(&parsed.diagnostics) {
        return Err(problem);
    }
    let mut tree = parsed.tree.ok_or("it cannot be read")?;
    if matches!(tree.node, Node::List(_)) {
        let key = Spanned::new("endpoints".to_owned(), Span::NONE);
        tree = Written::new(Node::Map(vec![Entry { key, value: tree }]), Span::NONE);
    }
    match tree.decode::<Listed>() {
        Ok(listed) => Ok(listed.endpoints.into_iter().map(|endpoint| endpoint.value).collect()),
        Err(diagnostics) => Err(first(&diagnostics).unwrap_or_else(|| format!("{} is no list", quoted(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<String>, String> {
        let directory = std::env::temp_dir().join(format!("torana-endpoints-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        let shown = |endpoint: &Endpoint| format!("{} {} {}", endpoint.url.value, endpoint.weight, endpoint.drain);
        endpoints_of_file(&path).map(|endpoints| endpoints.iter().map(shown).collect())
    }

    #[test]
    fn lists_and_maps_of_every_format_are_read() {
        let endpoints = Ok(vec!["http://h:1 1 false".to_owned(), "http://h:2 3 true".to_owned()]);
        let list = "- http://h:1\n- { url: http://h:2, weight: 3, drain: true }\n";
        assert_eq!(read("list.yaml", list), endpoints);
        assert_eq!(
            read("map.yml", "endpoints: [ http://h:1, { url: http://h:2, weight: 3, drain: true } ]"),
            endpoints
        );
        let json = r#"["http://h:1", {"url": "http://h:2", "weight": 3, "drain": true}]"#;
        assert_eq!(read("list.json", json), endpoints);
        let toml = "endpoints = ['http://h:1', { url = 'http://h:2', weight = 3, drain = true }]";
        assert_eq!(read("map.toml", toml), endpoints);
        assert_eq!(read("none.yaml", "[]"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |name: &str, text: &str| read(name, text).unwrap_err();
        let message = wrong("url.yaml", "- http://h:1\n- h:2\n");
        assert!(message.starts_with("line 2: ") && message.contains("which has no scheme"), "{message}");
        assert!(wrong("syntax.yaml", "- http://h:1\n- [\n").contains("not valid YAML"));
        assert!(wrong("key.yaml", "endpoint: []").contains("endpoint"));
        assert!(wrong("empty.yaml", "").contains("endpoints"), "half a file is not an empty list");
        assert!(wrong("text.yaml", "http://h").contains("expected"), "{}", wrong("text.yaml", "http://h"));
        assert!(wrong("weight.yaml", "- { url: http://h, weight: 10001 }").contains("weight"));
        assert_eq!(wrong("endpoints.txt", ""), "its name does not end in `.yaml`, `.yml`, `.toml` or `.json`");
        assert_eq!(endpoints_of_file("/does/not/exist.yaml".as_ref()).unwrap_err(), "it does not exist");
    }
}
