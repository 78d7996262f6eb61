//! The configurations that were in force, to look at and to go back to.

use crate::diff::{self, Change};
use crate::time::rfc3339;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

/// A file of a configuration, as it may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Where it is.
    pub path: String,
    /// What is in it, without secrets.
    pub text: String,
}

/// A configuration that was taken up.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its number.
    pub id: u64,
    /// When it was taken up.
    pub at: SystemTime,
    /// Why: `start`, `signal`, `admin`, `files`, `rollback`.
    pub cause: &'static str,
    /// The revision it was taken from, if it was not from disk.
    pub from: Option<u64>,
    /// Tells its documents from others.
    pub checksum: String,
    /// Its files, in the order read.
    pub documents: Arc<[Document]>,
}

/// The last revisions, each with `T`, what it takes to put it in force again.
#[derive(Debug)]
pub struct History<T> {
    /// Oldest first, with what changed since the one before.
    kept: VecDeque<(Revision, Option<Change>, T)>,
}

/// A revision and how its documents differ from those of the one before, if
/// that is known.
pub type Listed = (Revision, Option<Change>);

impl<T: Clone> History<T> {
    /// Nothing was in force yet.
    #[must_use]
    pub fn new() -> History<T> {
        History { kept: VecDeque::new() }
    }

    /// Adds the revision that is in force now, and forgets all but the last
    /// `most`. One that is the `same` as the one before takes its place: to go
    /// back to, neither is better.
    pub fn note(&mut self, revision: Revision, source: T, same: bool, most: usize) {
        let same = same && self.kept.back().is_some_and(|(last, ..)| last.checksum == revision.checksum);
        let change = if same {
            self.kept.pop_back().and_then(|(_, change, _)| change)
        } else {
            self.kept.back().map(|(last, ..)| change_of(&last.documents, &revision.documents))
        };
        self.kept.push_back((revision, change, source));
        while self.kept.len() > most.max(1) {
            self.kept.pop_front();
        }
    }

    /// What it takes to put `id` in force again.
    #[must_use]
    pub fn source(&self, id: u64) -> Option<T> {
        self.kept.iter().find(|(revision, ..)| revision.id == id).map(|(.., source)| source.clone())
    }

    /// What the revision in force was made of.
    #[must_use]
    pub fn newest(&self) -> Option<T> {
        self.kept.back().map(|(.., source)| source.clone())
    }

    /// All, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.kept.iter().map(|(revision, change, _)| (revision.clone(), *change)).collect()
    }
}

impl<T: Clone> Default for History<T> {
    fn default() -> Self {
        History::new()
    }
}

/// For the admin interface; `in_force` is the revision that is.
pub(crate) fn to_json((revision, change): &Listed, in_force: u64) -> Value {
    let bytes: usize = revision.documents.iter().map(|document| document.text.len()).sum();
    json!({
        "id": revision.id,
        "at": rfc3339(revision.at),
        "cause": revision.cause,
        "from": revision.from,
        "checksum": revision.checksum,
        "in_force": revision.id == in_force,
        "files": revision.documents.len(),
        "bytes": bytes,
        "lines_added": change.map(|change| change.added),
        "lines_removed": change.map(|change| change.removed),
    })
}

/// What turns the documents of `before` into those of `after`, for `patch`.
pub(crate) fn diff(before: &Revision, after: &Revision) -> String {
    let mut out = String::new();
    for (path, old, new) in pairs(&before.documents, &after.documents) {
        let hunks = diff::hunks(old.unwrap_or_default(), new.unwrap_or_default());
        if hunks.is_empty() && old.is_some() == new.is_some() {
            continue;
        }
        let name = |text: Option<&str>, id| match text {
            Some(_) => format!("{path}\trevision {id}"),
            None => "/dev/null".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "--- {}\n+++ {}\n{hunks}", name(old, before.id), name(new, after.id));
    }
    out
}

fn change_of(before: &[Document], after: &[Document]) -> Change {
    let mut sum = Change::default();
    for (_, old, new) in pairs(before, after) {
        let change = diff::change(old.unwrap_or_default(), new.unwrap_or_default());
        sum.added += change.added;
        sum.removed += change.removed;
    }
    sum
}

/// The text of every path on either side.
fn pairs<'d>(
    before: &'d [Document],
    after: &'d [Document],
) -> impl Iterator<Item = (&'d str, Option<&'d str>, Option<&'d str>)> {
    let mut pairs: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for document in before {
        pairs.entry(&document.path).or_default().0 = Some(&document.text);
    }
    for document in after {
        pairs.entry(&document.path).or_default().1 = Some(&document.text);
    }
    pairs.into_iter().map(|(path, (old, new))| (path, old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(id: u64, documents: &[(&str, &str)]) -> Revision {
        let document = |(path, text): &(&str, &str)| Document { path: (*path).into(), text: (*text).into() };
        let documents: Arc<[Document]> = documents.iter().map(document).collect();
        let checksum = format!("{documents:?}");
        Revision { id, at: SystemTime::UNIX_EPOCH, cause: "files", from: None, checksum, documents }
    }

    fn ids(history: &History<u64>) -> Vec<u64> {
        history.list().iter().map(|(revision, _)| revision.id).collect()
    }

    #[test]
    fn the_last_ones_are_kept_and_repeats_take_no_room() {
        let mut history = History::new();
        for id in 1..=5 {
            history.note(revision(id, &[("a", &format!("{id}\nsame\n"))]), id * 10, false, 3);
        }
        assert_eq!(ids(&history), [3, 4, 5]);
        assert_eq!((history.source(4), history.source(2)), (Some(40), None));
        assert_eq!(history.list()[2].1, Some(Change { added: 1, removed: 1 }));
        history.note(revision(6, &[("a", "5\nsame\n")]), 60, true, 3);
        assert_eq!((ids(&history), history.source(5)), (vec![3, 4, 6], None));
        assert_eq!(history.list()[2].1, Some(Change { added: 1, removed: 1 }), "against the one before both");
        // Only a secret changed: it is another one to go back to.
        history.note(revision(7, &[("a", "5\nsame\n")]), 70, false, 3);
        assert_eq!((ids(&history), history.list()[2].1), (vec![4, 6, 7], Some(Change::default())));
        history.note(revision(8, &[]), 80, false, 0);
        assert_eq!(ids(&history), [8]);
    }

    #[test]
    fn files_that_come_and_go_are_in_the_diff() {
        let before = revision(1, &[("a", "x\n"), ("gone", "y\n"), ("same", "z\n")]);
        let after = revision(2, &[("a", "X\n"), ("new", "y\n"), ("same", "z\n"), ("empty", "")]);
        assert_eq!(
            diff(&before, &after),
            "--- a\trevision 1\n+++ a\trevision 2\n@@ -1,1 +1,1 @@\n-x\n+X\n\
             --- /dev/null\n+++ empty\trevision 2\n\
             --- gone\trevision 1\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-y\n\
             --- /dev/null\n+++ new\trevision 2\n@@ -0,0 +1,1 @@\n+y\n"
        );
        assert_eq!(change_of(&before.documents, &after.documents), Change { added: 2, removed: 2 });
        assert_eq!(diff(&after, &after), "");
    }
}
