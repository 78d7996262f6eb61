//! Every file below `scenarios/`, run against the real binary.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use torana_e2e::scenario;

/// Two at a time: most of a scenario is waiting.
const AT_ONCE: usize = 2;

/// `SCENARIO=part-of-a-path` runs only those.
fn chosen() -> Vec<PathBuf> {
    let all = scenario::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"));
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    all.into_iter().filter(|path| path.to_string_lossy().contains(&wanted)).collect()
}

#[test]
fn all_scenarios_go_as_written() {
    let files = chosen();
    assert!(!files.is_empty(), "no scenario is there");
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario::run(path))) {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                        failed.lock().unwrap().push(format!("{}: {}", path.display(), text.unwrap_or_default()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} scenarios failed:\n\n{}", failed.len(), files.len(), failed.join("\n\n"));
}

#[test]
fn there_are_at_least_forty() {
    let all = scenario::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"));
    assert!(all.len() >= 40, "only {}", all.len());
}
