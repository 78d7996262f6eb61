//! Which directories to watch for changes of a file.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Symbolic links followed for one path; the kernel's own limit (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Adds every directory in which something has to happen before `path` means
/// another content: its own, and those of all symbolic links on the way.
///
/// Kubernetes updates a mounted ConfigMap by renaming a link: `torana.yaml` is
/// a link to `..data/torana.yaml`, and `..data` is the link that is replaced.
/// A watch on the file alone would never fire (vector#10877, traefik#5495).
/// Directories are watched rather than files also because editors replace
/// files: the watched one would be the deleted one.
pub(super) fn add(path: &Path, places: &mut BTreeSet<PathBuf>) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut links = 0;
    walk(&absolute, &mut links, places);
    if absolute.is_dir()
        && let Ok(directory) = absolute.canonicalize()
    {
        places.insert(directory);
    }
}

fn walk(path: &Path, links: &mut usize, places: &mut BTreeSet<PathBuf>) {
    let mut so_far = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        match component {
            Component::ParentDir => {
                so_far.pop();
                continue;
            }
            Component::CurDir => continue,
            other => so_far.push(other),
        }
        let Ok(found) = std::fs::symlink_metadata(&so_far) else {
            // It may come into being: in the last directory there is.
            places.extend(so_far.parent().map(Path::to_owned));
            return;
        };
        if found.is_symlink() {
            places.extend(so_far.parent().map(Path::to_owned));
            *links += 1;
            let Ok(target) = std::fs::read_link(&so_far) else { return };
            if *links > MOST_LINKS {
                return;
            }
            let base = so_far.parent().unwrap_or(Path::new("/"));
            return walk(&base.join(target).join(components.as_path()), links, places);
        }
    }
    places.extend(so_far.parent().map(Path::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_directory_with_a_link_on_the_way_is_watched() {
        let scratch = std::env::temp_dir().join(format!("torana-places-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        let mount = scratch.join("mount");
        std::fs::create_dir_all(mount.join("..2026_1")).unwrap();
        std::fs::write(mount.join("..2026_1/torana.yaml"), "").unwrap();
        symlink("..2026_1", mount.join("..data")).unwrap();
        symlink("..data/torana.yaml", mount.join("torana.yaml")).unwrap();
        symlink(&mount, scratch.join("etc")).unwrap();
        let mut places = BTreeSet::new();
        add(&scratch.join("etc/torana.yaml"), &mut places);
        let expected = [scratch.clone(), mount.clone(), mount.join("..2026_1")];
        assert_eq!(places, BTreeSet::from(expected));

        let mut places = BTreeSet::new();
        add(&scratch.join("not/there/yet.yaml"), &mut places);
        add(&mount, &mut places);
        assert_eq!(places, BTreeSet::from([scratch.clone(), mount.clone()]));

        symlink("loop", scratch.join("loop")).unwrap();
        add(&scratch.join("loop"), &mut places);
        let _ = std::fs::remove_dir_all(scratch);
    }
}
