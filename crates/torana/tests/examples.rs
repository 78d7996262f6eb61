//! Every file in `examples/` loads and compiles, without a warning.

#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::path::Path;

#[test]
fn every_example_is_good() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| ["yaml", "toml", "json"].iter().any(|known| extension == *known)) {
            continue;
        }
        count += 1;
        let output = support::torana().arg("check").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.starts_with("ok: "), "{}:\n{text}", path.display());
    }
    assert!(count >= 8, "only {count} examples");
}
