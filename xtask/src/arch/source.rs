//! Rust source, read just well enough to see which paths it names.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::workspace;

/// A source file of a crate, without what only tests see.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The code: comments, the contents of literals and `#[cfg(test)]` items are blanks, line breaks stay.
    pub(super) code: String,
    /// The module path inside the crate; empty for the root.
    pub(super) module: Vec<String>,
}

/// The sources of a crate, without files that only tests compile.
pub(super) fn of_crate(directory: &Path) -> Outcome<Vec<Source>> {
    let src = directory.join("src");
    let mut sources = Vec::new();
    let mut only_tests = Vec::new();
    for path in workspace::files(&src, ".rs")? {
        let (code, test_modules) = without_tests(&blanked(&workspace::read(&path)?));
        let module = module_of(path.strip_prefix(&src).unwrap_or(&path));
        for name in test_modules {
            let mut test = module.clone();
            test.push(name);
            only_tests.push(test);
        }
        sources.push(Source { path, code, module });
    }
    sources.retain(|source| !only_tests.iter().any(|test| source.module.starts_with(test)));
    Ok(sources)
}

fn module_of(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "lib" | "main" | "mod")) {
        names.pop();
    }
    names
}

/// `text` with comments and the contents of string and character literals replaced by blanks.
pub(super) fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = match (byte, bytes.get(at + 1)) {
            (b'/', Some(b'/')) => find(bytes, at, b"\n").unwrap_or(bytes.len()),
            (b'/', Some(b'*')) => end_of_comment(bytes, at),
            (b'"', _) => end_of_string(bytes, at + 1),
            (b'r', Some(b'"' | b'#')) if !is_word_before(bytes, at) => end_of_raw(bytes, at).unwrap_or(at + 1),
            (b'\'', _) => end_of_character(bytes, at).unwrap_or(at + 1),
            _ => at + 1,
        };
        if end > at + 1 {
            out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    // Whole literals were replaced, so no character is cut in two.
    String::from_utf8(out).unwrap_or_default()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && bytes[..at].last().is_some_and(|byte| byte.is_ascii_alphanumeric() && *byte != b'b' || *byte == b'_')
}

fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while depth > 0 && at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`; a raw identifier has no quotation mark and is none of this.
fn end_of_raw(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    (bytes.get(open) == Some(&b'"')).then_some(())?;
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    Some(find(bytes, open + 1, &close)? + close.len())
}

/// `'x'`, `'\n'`, `'\u{1f600}'`; a lifetime has no second quote that near.
fn end_of_character(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        return find(bytes, start + 3, b"'").map(|end| end + 1);
    }
    let text = std::str::from_utf8(bytes.get(start + 1..)?).ok()?;
    let length = text.chars().next()?.len_utf8();
    (bytes.get(start + 1 + length) == Some(&b'\'')).then_some(start + 2 + length)
}

/// Blanks every item behind `#[cfg(test)]`, and names the modules in files of their own among them.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    let mut modules = Vec::new();
    while let Some(start) = out.find(MARK) {
        let end = end_of_item(&out, start + MARK.len());
        let item = &out[start + MARK.len()..end];
        if let Some(name) = item.trim().strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(name.1.trim().to_owned());
        }
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    (out, modules)
}

/// Behind the `;` or the closing brace that ends the item starting at `from`.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code[from..].char_indices() {
        match character {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
        if character == '}' && depth == 0 {
            return from + at + 1;
        }
    }
    code.len()
}

/// The first names behind every `crate::` and `super::…` that leads to the crate's root: the first-level modules (and
/// items of the root) that the source uses.
pub(super) fn uses(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        if !source.code[..at].ends_with(is_word) {
            names.extend(first_names(&source.code[at + "crate::".len()..]));
        }
    }
    // From module a::b, `super::super::` is the root.
    let to_root = "super::".repeat(source.module.len());
    if !to_root.is_empty() {
        for (at, _) in source.code.match_indices(&to_root) {
            let before = &source.code[..at];
            if !before.ends_with(is_word) && !before.ends_with("super::") {
                names.extend(first_names(&source.code[at + to_root.len()..]));
            }
        }
    }
    names
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

/// `a::b` → a; `{a::b, c}` → a, c.
fn first_names(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        return vec![text.chars().take_while(|c| is_word(*c)).collect()];
    };
    let mut names = Vec::new();
    let (mut depth, mut name, mut is_taking) = (1, String::new(), true);
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 1 && character == ',' || depth == 0 {
            names.push(std::mem::take(&mut name));
            is_taking = true;
        } else if is_taking && is_word(character) {
            name.push(character);
        } else if !name.is_empty() {
            is_taking = false;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &[&str], text: &str) -> Source {
        let (code, _) = without_tests(&blanked(text));
        Source { path: PathBuf::new(), code, module: module.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn paths_in_code_are_found_and_others_are_not() {
        let text = "use crate::{a::{X, Y}, b, c::Z};\n// crate::no\nfn f<'a>() { crate::d::g(\"crate::no\", '\"'); }\n\
                    #[cfg(test)]\nmod tests { use crate::no; }\nconst R: &str = r#\"crate::no \" \"#; type T = crate::e::E;";
        assert_eq!(uses(&source(&[], text)), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn super_counts_only_where_it_leads_to_the_root() {
        assert_eq!(uses(&source(&["a"], "use super::b::B;")), ["b"]);
        assert_eq!(uses(&source(&["a", "x"], "use super::y; use super::super::c;")), ["c"]);
    }

    #[test]
    fn test_modules_in_files_are_named() {
        let (_, modules) =
            without_tests("mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[x]\nmod more_tests;\nmod b;");
        assert_eq!(modules, ["tests", "more_tests"]);
    }
}
