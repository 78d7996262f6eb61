//! Patterns of `include`: `*` and `?` inside one part of a path. No `**`: what belongs to a
//! configuration should be seen at a glance.

use std::path::{Component, Path, PathBuf};

/// Directory entries looked at for one pattern.
const MOST_ENTRIES: usize = 100_000;

/// Whether the text is a pattern rather than a path.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// What a pattern found.
#[derive(Default)]
pub(super) struct Matches {
    /// Existing files and directories, sorted.
    pub(super) paths: Vec<PathBuf>,
    /// The directories that were listed: a new file in them may match.
    pub(super) listed: Vec<PathBuf>,
    /// Whether the search gave up.
    pub(super) too_many: bool,
}

/// Finds what matches `pattern`. Names that start with a dot match only where the pattern has that
/// dot.
pub(super) fn find(pattern: &Path) -> Matches {
    let mut matches = Matches { paths: vec![PathBuf::new()], ..Matches::default() };
    let mut entries = 0;
    for component in pattern.components() {
        let part = component.as_os_str().to_str().filter(|part| is_pattern(part));
        let (Component::Normal(_), Some(part)) = (component, part) else {
            matches.paths.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let mut next = Vec::new();
        for directory in std::mem::take(&mut matches.paths) {
            let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
            let Ok(found) = std::fs::read_dir(listed) else {
                continue;
            };
            matches.listed.push(listed.to_owned());
            for entry in found.flatten() {
                entries += 1;
                if entries > MOST_ENTRIES {
                    matches.too_many = true;
                    return matches;
                }
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| fits(part, name)) {
                    next.push(directory.join(name));
                }
            }
        }
        matches.paths = next;
    }
    matches.paths.retain(|path| path.exists());
    matches.paths.sort();
    matches
}

/// Whether `name` fits `pattern`. Linear in practice and quadratic at worst: only the last `*` is
/// gone back to.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml", false),
            (".*", ".a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xbxa", false),
            ("**", "x", true),
            ("ä*", "äb", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_cost_little() {
        let started = std::time::Instant::now();
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
        assert!(started.elapsed().as_secs() < 2);
    }
}
