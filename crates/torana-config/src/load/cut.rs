//! Where the items of large lists stand in a YAML text, found without parsing it.
//!
//! A list is cut at lines that begin with `- ` at its own indent. That is a guess: the line may be inside of a text
//! in quotes. Whoever parses the parts finds out, since then they do not parse, or not as what they should be.

use std::ops::Range;

use memchr::memchr2;
use torana_core::diagnostic::Span;
use torana_core::pace::{blocks, stepwise};

/// The key whose list is cut, at the top of a file.
pub(super) const KEY: &str = "routes";

/// What stands in the place of the items while the rest is parsed.
pub(super) const PLACEHOLDER: i128 = 0;

/// A list in block style.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Where its key is.
    pub(super) key: usize,
    /// Spaces in front of each `-`.
    pub(super) indent: usize,
    /// The lines of each item, to the line of the next.
    pub(super) items: Vec<Range<usize>>,
}

impl Cut {
    /// All lines of the list, from its first item on.
    pub(super) fn range(&self) -> Range<usize> {
        let of = |item: Option<&Range<usize>>| item.cloned().unwrap_or_default();
        of(self.items.first()).start..of(self.items.last()).end
    }

    /// `text` with one item, a number, in the place of all: what the first one says begins at `first`.
    pub(super) fn rest(&self, text: &str, first: u32) -> String {
        let (before, after) = (text.get(..first as usize), text.get(self.range().end..));
        format!("{}{PLACEHOLDER}\n{}", before.unwrap_or_default(), after.unwrap_or_default())
    }

    /// Where in the text a place in what [`Cut::rest`] has made of it is. `items` is from the beginning of the first
    /// item to the end of the last, as they are parsed: everything that ended with the number ends there.
    pub(super) fn place(&self, span: Span, items: &Range<u32>) -> Span {
        let offset = |offset: u32| {
            let number = items.start + 1;
            let behind = u32::try_from(self.range().end).unwrap_or(u32::MAX);
            match offset {
                before if before <= items.start => before,
                end if end <= number => items.end,
                // The line's end came with the number.
                after => behind.saturating_add(after - number - 1),
            }
        };
        Span { file: span.file, start: offset(span.start), end: offset(span.end) }
    }
}

/// Finds the list of `text`; `None` if there is none, or more than one, or if the text has something in it that
/// needs a closer look.
pub(super) fn cut(text: &str) -> Option<Cut> {
    // Where a line ends, and how far it is indented, is said by these as well.
    if blocks(text.as_bytes()).any(|block| memchr2(b'\t', b'\r', block).is_some()) {
        return None;
    }
    let mut found: Option<Cut> = None;
    let mut state = State::Outside;
    let mut at = 0;
    for line in stepwise(text.split_inclusive('\n')) {
        let start = at;
        at += line.len();
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        let content = content.trim_end_matches('\n');
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let is_item = content == "-" || content.starts_with("- ");
        match (state, &mut found) {
            (State::Key(key), None) if is_item => {
                let mut cut = Cut { key, indent, items: Vec::new() };
                cut.items.push(start..start);
                found = Some(cut);
                state = State::Inside;
                continue;
            }
            (State::Inside, Some(cut)) if indent > cut.indent => continue,
            (State::Inside, Some(cut)) if indent == cut.indent && is_item => {
                close(cut, start);
                cut.items.push(start..start);
                continue;
            }
            (State::Inside, Some(cut)) => close(cut, start),
            _ => {}
        }
        let rest = content.strip_prefix(KEY).and_then(|rest| rest.strip_prefix(':')).filter(|_| indent == 0);
        state = match rest.map(|rest| (rest, rest.trim_start_matches(' '))) {
            Some((_, "")) => State::Key(start),
            Some((rest, comment)) if comment.starts_with('#') && comment.len() < rest.len() => State::Key(start),
            _ => State::Outside,
        };
        if matches!(state, State::Key(_)) && found.is_some() {
            return None;
        }
    }
    if let (State::Inside, Some(cut)) = (state, &mut found) {
        close(cut, at);
    }
    found
}

fn close(cut: &mut Cut, end: usize) {
    if let Some(last) = cut.items.last_mut() {
        last.end = end;
    }
}

#[derive(Clone, Copy)]
enum State {
    Outside,
    /// Behind the key that stands here.
    Key(usize),
    Inside,
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::diagnostic::FileId;

    fn items(text: &str) -> Option<Vec<&str>> {
        cut(text).map(|cut| cut.items.into_iter().map(|item| &text[item]).collect())
    }

    #[test]
    fn lists_in_block_style_are_cut_at_their_own_indent() {
        let one = "a: 1\nroutes: # all\n\n  - name: x\n    list:\n    - 1\n  # note\n\n  -\n    name: y\nb: 2\n";
        let first = "  - name: x\n    list:\n    - 1\n  # note\n\n";
        assert_eq!(items(one), Some(vec![first, "  -\n    name: y\n"]));
        assert_eq!(items("routes:\n- a\n-b: c\n"), Some(vec!["- a\n"]));
        assert_eq!(items("routes:\n- a: |\n   - b\n- c"), Some(vec!["- a: |\n   - b\n", "- c"]));
    }

    #[test]
    fn what_is_not_one_such_list_is_left_alone() {
        for text in [
            "routes: [ a ]\n",
            "routes:\n",
            "routes:\n  a: b\n",
            "x:\n  routes:\n  - a\n",
            "routes:#\n- a\n",
            "routes:\n\t- a\n",
            "routes:\r\n- a\n",
            "routes:\n- a\nroutes:\n- b\n",
        ] {
            assert_eq!(items(text), None, "{text:?}");
        }
    }

    #[test]
    fn places_of_the_rest_are_those_of_the_text() {
        let text = "a: 1\nroutes:\n  - x\n  - yy\nb: 2\n";
        let cut = cut(text).unwrap();
        let at = |of: &str| u32::try_from(text.find(of).unwrap()).unwrap();
        let items = at("x")..at("yy") + 2;
        let rest = cut.rest(text, items.start);
        assert_eq!(rest, "a: 1\nroutes:\n  - 0\nb: 2\n");
        let place = |of: &str| {
            let start = rest.find(of).unwrap();
            let span = cut.place(Span::new(FileId(0), start, start + of.len()), &items);
            &text[span.start as usize..span.end as usize]
        };
        assert_eq!((place("a: 1"), place("b"), place("2")), ("a: 1", "b", "2"));
        assert_eq!((place("- 0"), place("routes:\n  - 0")), ("- x\n  - yy", "routes:\n  - x\n  - yy"));
    }
}
