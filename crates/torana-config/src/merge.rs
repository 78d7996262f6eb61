//! Several files into one tree: lists are joined, maps united, and nothing silently wins.

use std::collections::HashMap;

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::{Entry, Node, Written};

/// Adds `layer` to `base`.
///
/// Lists are joined in the order of the files. Maps are united, key by key, except that an upstream
/// belongs to one file: half an upstream here and half there would be read wrongly. A value set
/// twice is an error that shows both places.
pub(crate) fn merge(base: &mut Written, layer: Written, diagnostics: &mut Vec<Diagnostic>) {
    merge_at(base, layer, &mut Vec::new(), diagnostics);
}

fn merge_at(base: &mut Written, layer: Written, path: &mut Vec<String>, diagnostics: &mut Vec<Diagnostic>) {
    match (&mut base.node, layer.node) {
        (Node::List(items), Node::List(more)) => items.extend(more),
        (Node::Map(entries), Node::Map(more)) => {
            let known: HashMap<String, usize> =
                entries.iter().enumerate().map(|(at, entry)| (entry.key.value.clone(), at)).collect();
            for Entry { key, value } in more {
                // `more` has no key twice, so what is pushed here need not become known.
                let Some(same) = known.get(key.as_str()).and_then(|at| entries.get_mut(*at)) else {
                    entries.push(Entry { key, value });
                    continue;
                };
                let upstream = path.len() == 1 && path[0] == "upstreams";
                let joined = matches!(
                    (&same.value.node, &value.node),
                    (Node::List(_), Node::List(_)) | (Node::Map(_), Node::Map(_))
                );
                if joined && !upstream {
                    path.push(key.value);
                    merge_at(&mut same.value, value, path, diagnostics);
                    path.pop();
                } else {
                    path.push(key.value.clone());
                    let what = if upstream { "the upstream" } else { "the value of" };
                    let shown = if upstream { &key.value } else { &path.join(".") };
                    diagnostics.push(twice(what, shown, key.span, same.key.span));
                    path.pop();
                }
            }
        }
        // The roots of files are maps.
        _ => {}
    }
}

fn twice(what: &str, name: &str, second: Span, first: Span) -> Diagnostic {
    let message = format!("{what} {} is set in two files", torana_core::diagnostic::quoted(name));
    Diagnostic::error("config.set_twice", message).label(second, "second").also(first, "first").hint("keep one of them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::diagnostic::FileId;

    fn tree(file: u32, yaml: &str) -> Written {
        crate::document::parse(FileId(file), yaml, crate::document::Format::Yaml).tree.unwrap()
    }

    fn merged(one: &str, two: &str) -> (serde_json::Value, Vec<Diagnostic>) {
        let mut base = tree(0, one);
        let mut diagnostics = Vec::new();
        merge(&mut base, tree(1, two), &mut diagnostics);
        (base.to_json(), diagnostics)
    }

    #[test]
    fn lists_join_and_maps_unite() {
        let (json, diagnostics) = merged(
            "routes: [a]\nupstreams: {u: {}}\nlimits: {uri_bytes: 1}\n",
            "routes: [b]\nupstreams: {v: {}}\nlimits: {header_count: 2}\nworkers: 1\n",
        );
        assert_eq!(diagnostics, []);
        assert_eq!(
            json,
            serde_json::json!({
                "routes": ["a", "b"], "upstreams": {"u": {}, "v": {}},
                "limits": {"uri_bytes": 1, "header_count": 2}, "workers": 1
            })
        );
    }

    #[test]
    fn what_is_set_twice_shows_both_places() {
        let (_, diagnostics) = merged("limits: {uri_bytes: 1}\nadmin: false\n", "limits: {uri_bytes: 1}\nadmin: {}\n");
        let messages: Vec<_> = diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            messages,
            ["the value of `limits.uri_bytes` is set in two files", "the value of `admin` is set in two files"]
        );
        assert_eq!(diagnostics[0].primary.as_ref().unwrap().span.file, FileId(1));
        assert_eq!(diagnostics[0].secondary[0].span.file, FileId(0));
    }

    #[test]
    fn an_upstream_belongs_to_one_file() {
        let (_, diagnostics) = merged("upstreams: {u: {timeout: 1s}}\n", "upstreams: {u: {max_idle: 1}}\n");
        assert_eq!(diagnostics[0].message, "the upstream `u` is set in two files");
    }
}
