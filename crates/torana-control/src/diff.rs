//! Differences between texts, as `diff -u` shows them.

use std::fmt::Write;

/// Lines that differ before a text is taken to be another one altogether: the
/// time to find the fewest grows with their number.
const MOST_EDITS: usize = 1000;

/// Unchanged lines shown around changed ones.
const CONTEXT: usize = 3;

/// A line of the one text, the other, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit<'t> {
    Keep(&'t str),
    Remove(&'t str),
    Add(&'t str),
}

/// How much differs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Change {
    /// Lines that came.
    pub added: usize,
    /// Lines that went.
    pub removed: usize,
}

/// Counts the lines in which `after` differs from `before`.
#[must_use]
pub fn change(before: &str, after: &str) -> Change {
    let mut change = Change::default();
    let (before, after) = middles(before, after);
    for edit in edits(before, after) {
        match edit {
            Edit::Keep(_) => {}
            Edit::Remove(_) => change.removed += 1,
            Edit::Add(_) => change.added += 1,
        }
    }
    change
}

/// Both without the lines that they have in common at the beginning and at the end: of large texts that is mostly all,
/// and bytes are compared faster than lines.
fn middles<'t>(before: &'t str, after: &'t str) -> (&'t str, &'t str) {
    let head = before.bytes().zip(after.bytes()).take_while(|(one, other)| one == other).count();
    // To the end of a line.
    let head = before.as_bytes()[..head].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before.bytes().rev().zip(after.bytes().rev()).take_while(|(one, other)| one == other).count();
    // From the beginning of a line, in both: behind a newline that is common to them.
    let newline = before.as_bytes()[before.len() - tail..].iter().position(|byte| *byte == b'\n');
    let tail = newline.map_or(0, |newline| tail - newline - 1);
    (&before[..before.len() - tail], &after[..after.len() - tail])
}

/// The hunks of a unified diff, without a head; empty if nothing differs.
#[must_use]
pub fn hunks(before: &str, after: &str) -> String {
    let edits = edits(before, after);
    let mut out = String::new();
    // Lines of either text before `at`.
    let (mut at, mut old, mut new) = (0, 0, 0);
    while let Some(first) = edits[at..].iter().position(is_change) {
        let start = at + first.saturating_sub(CONTEXT);
        // Both texts have the lines skipped.
        old += start - at;
        new += start - at;
        let mut end = at + first;
        while let Some(next) = edits[end..].iter().position(is_change).filter(|next| *next <= 2 * CONTEXT) {
            end += next + 1;
        }
        let end = edits.len().min(end + CONTEXT);
        let hunk = &edits[start..end];
        let removed = hunk.iter().filter(|edit| !matches!(edit, Edit::Add(_))).count();
        let added = hunk.iter().filter(|edit| !matches!(edit, Edit::Remove(_))).count();
        // An empty range is named by the line before it. Writing to a String
        // cannot fail.
        let first_line = |before: usize, count: usize| before + usize::from(count > 0);
        let _ = writeln!(out, "@@ -{},{removed} +{},{added} @@", first_line(old, removed), first_line(new, added));
        hunk.iter().for_each(|edit| line(*edit, &mut out));
        (at, old, new) = (end, old + removed, new + added);
    }
    out
}

fn is_change(edit: &Edit<'_>) -> bool {
    !matches!(edit, Edit::Keep(_))
}

fn line(edit: Edit<'_>, out: &mut String) {
    let (sign, text) = match edit {
        Edit::Keep(text) => (' ', text),
        Edit::Remove(text) => ('-', text),
        Edit::Add(text) => ('+', text),
    };
    out.push(sign);
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

/// The way from `before` to `after`; in a row of changes, what goes comes
/// before what comes.
fn edits<'t>(before: &'t str, after: &'t str) -> Vec<Edit<'t>> {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut edits: Vec<Edit<'t>> = old[..head].iter().map(|line| Edit::Keep(line)).collect();
    match shortest(old_middle, new_middle) {
        Some(middle) => edits.extend(middle),
        None => {
            edits.extend(old_middle.iter().map(|line| Edit::Remove(line)));
            edits.extend(new_middle.iter().map(|line| Edit::Add(line)));
        }
    }
    edits.extend(old_rest[old_rest.len() - tail..].iter().map(|line| Edit::Keep(line)));
    for row in edits.chunk_by_mut(|one, other| is_change(one) == is_change(other)) {
        // Stable: lines of either text stay in order.
        row.sort_by_key(|edit| matches!(edit, Edit::Add(_)));
    }
    edits
}

/// Fewest changes, after Myers, "An O(ND) Difference Algorithm and Its
/// Variations" (1986); `None` if there are too many.
///
/// `furthest[at]` is how many lines of `old` the best way on the diagonal
/// `at` has passed; it has passed `furthest[at] + zero - at` lines of `new`.
fn shortest<'t>(old: &[&'t str], new: &[&'t str]) -> Option<Vec<Edit<'t>>> {
    let most = (old.len() + new.len()).min(MOST_EDITS);
    let zero = most + 1;
    let mut furthest = vec![0; 2 * zero + 1];
    // `furthest` from diagonal `zero - d` to `zero + d` before round `d`.
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for d in 0..=most {
        rounds.push(furthest[zero - d..=zero + d].to_vec());
        for at in (zero - d..=zero + d).step_by(2) {
            let mut x = if comes(&furthest, at, zero, d) { furthest[at + 1] } else { furthest[at - 1] + 1 };
            while let (Some(one), Some(other)) = (old.get(x), new.get(x + zero - at))
                && one == other
            {
                x += 1;
            }
            furthest[at] = x;
            if x >= old.len() && x + zero - at >= new.len() {
                return Some(trace(old, new, &rounds));
            }
        }
    }
    None
}

/// Whether the best way to diagonal `at` in round `d` ends with a line that
/// comes, rather than one that goes.
fn comes(furthest: &[usize], at: usize, zero: usize, d: usize) -> bool {
    at == zero - d || (at != zero + d && furthest[at - 1] < furthest[at + 1])
}

/// Goes back the way that the last of `rounds` found.
fn trace<'t>(old: &[&'t str], new: &[&'t str], rounds: &[Vec<usize>]) -> Vec<Edit<'t>> {
    let (mut x, mut y) = (old.len(), new.len());
    let mut edits = Vec::new();
    for (d, furthest) in rounds.iter().enumerate().skip(1).rev() {
        // The middle of a round's copy is the diagonal zero.
        let at = x + d - y;
        let comes = comes(furthest, at, d, d);
        let from = if comes { at + 1 } else { at - 1 };
        let (old_x, old_y) = (furthest[from], furthest[from] + d - from);
        while x > old_x && y > old_y {
            (x, y) = (x - 1, y - 1);
            edits.push(Edit::Keep(old[x]));
        }
        edits.push(if comes { Edit::Add(new[old_y]) } else { Edit::Remove(old[old_x]) });
        (x, y) = (old_x, old_y);
    }
    edits.extend(old[..x].iter().rev().map(|line| Edit::Keep(line)));
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_they_are_shown() {
        let texts = [
            "",
            "\n",
            "a",
            "a\n",
            "a\nb",
            "a\nb\n",
            "b\n",
            "a\na\n",
            "a\nb\na\nb\n",
            "xa\nb\n",
            "a\nbx\n",
            "ä\nö\n",
            "ä\nü\n",
            "a\n\nb\n",
            "\n\n\n",
        ];
        for before in texts {
            for after in texts {
                let edits = edits(before, after);
                let count = |wanted: fn(&Edit<'_>) -> bool| edits.iter().filter(|edit| wanted(edit)).count();
                let added = count(|edit| matches!(edit, Edit::Add(_)));
                let removed = count(|edit| matches!(edit, Edit::Remove(_)));
                assert_eq!(change(before, after), Change { added, removed }, "{before:?} {after:?}");
            }
        }
    }

    /// Applies hunks the way `patch` does.
    fn patch(before: &str, hunks: &str) -> String {
        let old: Vec<&str> = before.split_inclusive('\n').collect();
        let (mut out, mut at) = (String::new(), 0);
        let mut lines = hunks.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            let text = line.get(1..).unwrap();
            let bare = lines.peek().is_some_and(|next| next.starts_with('\\'));
            let text = if bare { text.trim_end_matches('\n') } else { text };
            match line.as_bytes()[0] {
                b'@' => {
                    let range = line.split(' ').nth(1).unwrap().trim_start_matches('-');
                    let (start, count) = range.split_once(',').unwrap();
                    let (start, count): (usize, usize) = (start.parse().unwrap(), count.parse().unwrap());
                    let start = if count == 0 { start } else { start - 1 };
                    out.extend(old[at..start].iter().copied());
                    at = start;
                }
                b'+' => out.push_str(text),
                b'\\' => {}
                sign => {
                    assert_eq!(old[at], text);
                    at += 1;
                    if sign == b' ' {
                        out.push_str(text);
                    }
                }
            }
        }
        out.extend(old[at..].iter().copied());
        out
    }

    #[test]
    fn it_looks_like_diff_u() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let after = "a\nb\nc\nd\nE\nf\ng\nh\ni";
        assert_eq!(
            hunks(before, after),
            "@@ -2,8 +2,8 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n-i\n+i\n\\ No newline at end of file\n"
        );
        assert_eq!(change(before, after), Change { added: 2, removed: 2 });
        assert_eq!(hunks("", "x\n"), "@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(hunks("x\n", ""), "@@ -1,1 +0,0 @@\n-x\n");
        assert_eq!(hunks("x\n", "x\n"), "");
    }

    #[test]
    fn changes_far_apart_have_hunks_of_their_own() {
        let lines = |changed: &[usize]| -> String {
            (1..=40).map(|n| if changed.contains(&n) { format!("{n}!\n") } else { format!("{n}\n") }).collect()
        };
        let starts = |changed: &[usize]| -> Vec<String> {
            let hunks = hunks(&lines(&[]), &lines(changed));
            hunks.lines().filter(|line| line.starts_with('@')).map(str::to_owned).collect()
        };
        assert_eq!(starts(&[10, 17]), ["@@ -7,14 +7,14 @@"]);
        assert_eq!(starts(&[10, 18]), ["@@ -7,7 +7,7 @@", "@@ -15,7 +15,7 @@"]);
    }

    #[test]
    fn patched_texts_are_the_others_with_no_more_changes_than_needed() {
        // Every text of up to five lines over two letters, and every pair.
        let texts: Vec<String> = (0..=5u32)
            .flat_map(|length| (0..1u32 << length).map(move |bits| (length, bits)))
            .map(|(length, bits)| (0..length).map(|n| if bits >> n & 1 == 0 { "a\n" } else { "b\n" }).collect())
            .collect();
        for before in &texts {
            for after in &texts {
                for (before, after) in [(before.as_str(), after.as_str()), (before.trim_end(), after.as_str())] {
                    assert_eq!(patch(before, &hunks(before, after)), after, "{before:?} {after:?}");
                    let Change { added, removed } = change(before, after);
                    assert_eq!(added + removed, fewest(before, after), "{before:?} {after:?}");
                }
            }
        }
    }

    /// By the longest common subsequence.
    fn fewest(before: &str, after: &str) -> usize {
        let old: Vec<&str> = before.split_inclusive('\n').collect();
        let new: Vec<&str> = after.split_inclusive('\n').collect();
        let mut row = vec![0; new.len() + 1];
        for line in &old {
            let above = row.clone();
            for (at, other) in new.iter().enumerate() {
                row[at + 1] = if line == other { above[at] + 1 } else { row[at].max(above[at + 1]) };
            }
        }
        old.len() + new.len() - 2 * row[new.len()]
    }

    #[test]
    fn texts_that_have_nothing_in_common_take_no_time() {
        let text = |from: u32| -> String { (from..from + 100_000).map(|n| format!("{n}\n")).collect() };
        let (before, after) = (format!("same\n{}", text(0)), format!("same\n{}", text(1_000_000)));
        assert_eq!(change(&before, &after), Change { added: 100_000, removed: 100_000 });
        assert_eq!(patch(&before, &hunks(&before, &after)), after);
    }
}
