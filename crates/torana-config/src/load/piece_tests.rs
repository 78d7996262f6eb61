//! What is read piece by piece is what is read as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::report::{Style, render};
use crate::{documents, redacted};

/// A file of its own for one test.
struct Scratch {
    path: PathBuf,
    loader: Loader,
    environment: BTreeMap<String, String>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("torana-pieces-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let environment = [("WORD", "abc"), ("SECRET", "hunter2hunter2")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { path: path.join("t.yaml"), loader: Loader::new(&Kinds::default()), environment }
    }

    /// Loads `text` by piece and as a whole, and holds them to each other; whether it could be read by piece.
    fn load(&mut self, text: &str) -> bool {
        fs::write(&self.path, text).unwrap();
        let by_piece = self.loader.by_piece(&self.path, &self.environment);
        let whole = self.loader.whole(&self.path, &self.environment);
        let Some(by_piece) = by_piece else { return false };
        assert_same(&by_piece, &whole, text);
        by_piece.pieces.iter().any(|piece| by_piece.sources.in_file(piece.written.span) != piece.written.span)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path.parent().unwrap());
    }
}

fn assert_same(one: &Loaded, other: &Loaded, text: &str) {
    assert_eq!(one.diagnostics, other.diagnostics, "{text}");
    let said = |loaded: &Loaded| render(&loaded.diagnostics, &loaded.sources, Style::Plain);
    assert_eq!(said(one), said(other), "{text}");
    assert_eq!(places(&one.tree()), places(&other.tree()), "{text}");
    assert_eq!(one.tree().to_json(), other.tree().to_json(), "{text}");
    assert_eq!(redacted(one), redacted(other), "{text}");
    assert_eq!(documents(one), documents(other), "{text}");
    assert_eq!(one.sources.covered_places(), other.sources.covered_places(), "{text}");
    assert_eq!((&one.files, one.config.is_ok()), (&other.files, other.config.is_ok()), "{text}");
    let (Ok(one_config), Ok(other_config)) = (&one.config, &other.config) else { return };
    assert_eq!(one_config, other_config, "{text}");
    for (route, same) in one_config.routes.iter().zip(&other_config.routes) {
        assert_eq!(one.sources.in_file(route.span), same.span, "{text}");
        assert_eq!(one.sources.in_file(route.name.span), same.name.span, "{text}");
        assert_eq!(one.sources.text(route.name.span), other.sources.text(same.name.span), "{text}");
    }
}

/// The places of everything in a tree, in its order.
fn places(tree: &Written) -> Vec<Span> {
    let mut all = vec![tree.span];
    tree.items().iter().for_each(|item| all.extend(places(item)));
    for entry in tree.entries() {
        all.push(entry.key.span);
        all.extend(places(&entry.value));
    }
    all
}

const HEAD: &str = "listeners: [ { address: 127.0.0.1:80 } ]\nupstreams:\n  u: { endpoints: [ http://127.0.0.1:1 ] }\n";

#[test]
fn routes_that_move_are_not_read_again() {
    let mut scratch = Scratch::new("move");
    let route = |name: &str| format!("  - name: {name}\n    match: {{ path: /{name}/* }}\n    upstream: u\n");
    let text = |names: &[&str]| format!("{HEAD}routes:\n{}", names.iter().map(|name| route(name)).collect::<String>());
    let mut load = |names: &[&str]| {
        fs::write(&scratch.path, text(names)).unwrap();
        let loaded = scratch.loader.load(&scratch.path, &scratch.environment);
        assert_same(&loaded, &scratch.loader.whole(&scratch.path, &scratch.environment), "");
        loaded.config.unwrap().routes.clone()
    };
    let before = load(&["a", "b", "c", "d"]);
    let after = load(&["x", "a", "c", "b", "y", "d"]);
    for (at, was) in [(1, 0), (2, 2), (3, 1), (5, 3)] {
        assert!(Arc::ptr_eq(&after[at], &before[was]), "{at}");
    }
    // One with an error changes nothing about what is known.
    fs::write(&scratch.path, text(&["a", "a"])).unwrap();
    assert!(scratch.loader.load(&scratch.path, &scratch.environment).has_errors());
    fs::write(&scratch.path, text(&["d", "x"])).unwrap();
    let last = scratch.loader.load(&scratch.path, &scratch.environment).config.unwrap().routes.clone();
    assert!(Arc::ptr_eq(&last[0], &after[5]) && Arc::ptr_eq(&last[1], &after[0]));
    assert_eq!(scratch.loader.memo.len(), 2, "no more than the last load held");
}

#[test]
fn what_depends_on_the_environment_is_read_each_time() {
    let mut scratch = Scratch::new("environment");
    let text = format!("{HEAD}routes:\n  - {{ name: a, respond: {{ body: \"${{env:WORD}}\" }} }}\n");
    let body = |scratch: &mut Scratch| {
        assert!(scratch.load(&text));
        let loaded = scratch.loader.load(&scratch.path, &scratch.environment);
        loaded.config.unwrap().routes[0].respond.as_ref().unwrap().body.as_ref().unwrap().value.clone()
    };
    assert_eq!(body(&mut scratch), "abc");
    scratch.environment.insert("WORD".to_owned(), "def".to_owned());
    assert_eq!(body(&mut scratch), "def");
    scratch.environment.remove("WORD");
    assert!(!scratch.load(&text), "an error is told by who reads all");
}

#[test]
fn what_is_unusual_is_read_as_a_whole() {
    let mut scratch = Scratch::new("unusual");
    let route = "- { name: a, respond: { status: 204 } }\n";
    for text in [
        format!("{HEAD}routes:\n{route}- &x {{ name: b, respond: {{}} }}\n"),
        format!("{HEAD}access_log: &x false\nroutes:\n{route}- {{ name: b, respond: {{ json: *x }} }}\n"),
        format!("{HEAD}routes:\n{route}{route}"),
        format!("{HEAD}routes:\n{route}- {{ name: b, respond: {{}}, typo: 1 }}\n"),
        format!("{HEAD}routes:\n{route}- name: \"b\n- c\"\n  respond: {{}}\n"),
        format!("{HEAD}routes:\n{route}  - {{ name: b }}\n"),
        format!("{HEAD}routes:\n  {route} - {{ name: b }}\n"),
        format!("{HEAD}routes:\n{route}---\n"),
        format!("{HEAD}x: \"\nroutes:\n{route}\"\n"),
    ] {
        assert!(!scratch.load(&text), "{text}");
    }
    // What follows the list, and what stands between its items, is no part of the routes.
    for text in [
        format!("{HEAD}routes:\n# of all\n\n{route}# the end\nadmin: {{ token: 0123456789abcdef-hunter2 }}\n"),
        format!(
            "routes:\n    {route}\n    -   name: b\n        respond:\n            body: |\n\n              - c\n{HEAD}"
        ),
        format!("{HEAD}routes:\n- name: a\n  match: {{ path: /a, query: {{ token: hunter2 }} }}\n  respond: {{}}"),
        format!(
            "{HEAD}routes:\n{route}- {{ name: b, match: {{ path: /b }}, upstream: u, rewrite: {{ strip_prefix: /b }} }}\n"
        ),
    ] {
        assert!(scratch.load(&text), "{text}");
        assert!(scratch.load(&text), "{text}");
    }
}

#[test]
fn files_that_are_included_are_read_alike() {
    let mut scratch = Scratch::new("include");
    let folder = scratch.path.parent().unwrap().to_owned();
    fs::write(folder.join("b.yaml"), "routes:\n  - { name: b, respond: {} }\n  - { name: c, respond: {} }\n").unwrap();
    fs::write(folder.join("d.json"), "{ \"routes\": [ { \"name\": \"d\", \"respond\": {} } ] }").unwrap();
    fs::write(folder.join("e.yaml"), "routes: [ { name: e, respond: {} } ]\n").unwrap();
    let text = format!("include: [ d.json, b.yaml, e.yaml ]\n{HEAD}routes:\n  - {{ name: a, upstream: u }}\n");
    assert!(scratch.load(&text));
    fs::write(folder.join("b.yaml"), "routes:\n  - { name: c, respond: {} }\n").unwrap();
    assert!(scratch.load(&text));
    let loaded = scratch.loader.load(&scratch.path, &scratch.environment);
    let config = loaded.config.unwrap();
    assert_eq!(config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(), ["a", "d", "c", "e"]);
}

/// A line of a file: mostly of a route, sometimes of none, sometimes broken.
fn line() -> impl Strategy<Value = String> {
    let name = "[a-z]{2}";
    prop_oneof![
        8 => name.prop_map(|name| format!("  - {{ name: {name}, match: {{ path: /{name}/* }}, upstream: u }}\n")),
        4 => name.prop_map(|name| format!("  - name: {name}\n    match: {{ path: \"/{name}\" }}\n    respond: {{ body: x }}\n")),
        2 => name.prop_map(|name| format!("  - name: {name}\n    respond:\n      body: |+\n        - é\n\n        x\n\n")),
        1 => name.prop_map(|name| format!("  - {{ name: {name}, respond: {{ body: \"${{env:WORD}}\" }} }}\n")),
        1 => name.prop_map(|name| format!("  - {{ name: {name}, redirect: {{ to: \"/x?token=hunter2\" }} }}\n")),
        1 => Just("    # a note\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => "[ ]{0,3}(- |-|\\{|\\}|\"|'|&a |\\*a|#|a: |routes:|\\||x)[ a-c]{0,3}\n",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_the_whole(
        first in prop::collection::vec(line(), 0..8),
        changes in prop::collection::vec((any::<prop::sample::Index>(), line(), 0..3_usize), 0..6),
        is_first in any::<bool>(),
        is_indented in any::<bool>(),
    ) {
        let mut scratch = Scratch::new("random");
        let mut lines = first;
        let text = |lines: &[String]| {
            let lines = lines.iter().flat_map(|line| line.split_inclusive('\n'));
            let lines = lines.map(|line| if is_indented { line } else { line.strip_prefix("  ").unwrap_or(line) });
            match is_first {
                true => format!("routes:\n{}{HEAD}", lines.collect::<String>()),
                false => format!("{HEAD}routes:\n{}", lines.collect::<String>()),
            }
        };
        scratch.load(&text(&lines));
        for (at, line, how) in changes {
            let at = at.index(lines.len() + 1);
            match how {
                0 => lines.insert(at, line),
                1 if at < lines.len() => drop(lines.remove(at)),
                _ => lines.splice(at..lines.len().min(at + 1), [line]).for_each(drop),
            }
            scratch.load(&text(&lines));
        }
    }
}
