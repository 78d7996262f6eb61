//! Directories that go away with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory, removed on drop.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Creates one. Its path is short, because a Unix socket's path must be.
    ///
    /// # Panics
    /// It cannot be created.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "creating a directory is no default value")]
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("torana-e2e-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory can be created");
        Dir(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file the way careful programs do: complete, then renamed, so
    /// that a watcher never sees half of it.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let (path, fresh) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        fs::write(&fresh, contents).expect("a file can be written");
        fs::rename(&fresh, &path).expect("a file can be renamed");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A leftover directory is no reason to fail a test.
        let _ = fs::remove_dir_all(&self.0);
    }
}
