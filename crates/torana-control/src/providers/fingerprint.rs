//! Whether files say something else than before.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::SystemTime;

/// Bytes of a file that count; what is larger is refused by whoever loads it.
const LARGEST: u64 = 64 << 20;

/// A number that changes when the content of `path` does, whichever way it
/// comes to be there: written in place, renamed over, a link set anew. Times
/// and owners do not count, so `touch` causes no reload. The content of a
/// directory is its list of names.
pub(super) fn of(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    add(path, &mut hasher);
    hasher.finish()
}

fn add(path: &Path, hasher: &mut DefaultHasher) {
    let Ok(found) = std::fs::metadata(path) else { return "missing".hash(hasher) };
    if found.is_dir() {
        let listed = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = listed.map(|entry| entry.file_name()).collect();
        names.sort();
        return names.hash(hasher);
    }
    // Reading a pipe or a device would wait, or never end.
    if !found.is_file() || found.len() > LARGEST {
        return found.len().hash(hasher);
    }
    match std::fs::read(path) {
        Ok(content) => content.hash(hasher),
        Err(error) => error.kind().hash(hasher),
    }
}

/// Whether `path` was written at `since` or later.
pub(super) fn is_written_since(path: &Path, since: SystemTime) -> bool {
    std::fs::metadata(path).and_then(|found| found.modified()).is_ok_and(|written| written >= since)
}
