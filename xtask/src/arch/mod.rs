//! `cargo xtask arch`: the architecture as far as a program can check it.

mod arrows;
mod cycles;
mod limits;
mod named;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use crate::Outcome;
use crate::workspace;
use arrows::Package;

const USAGE: &str = "\
usage: cargo xtask arch

Checks what ARCHITECTURE.md promises: which crate depends on which, that modules do not import each other in circles,
that policies and targets do not know their siblings, file and crate sizes, names, and that the files and symbols the
documents name exist.
";

/// `cargo xtask arch`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return crate::usage(args, USAGE);
    }
    let metadata = workspace::metadata()?;
    let listed = || metadata["packages"].as_array().into_iter().flatten();
    let members: BTreeSet<String> = listed().filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect();
    let mut packages = Vec::new();
    for package in listed() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let sources = source::of_crate(manifest.parent().unwrap_or(manifest))?;
        packages.push(Package::new(package, &members, sources));
    }
    let mut wrong = arrows::check(&packages);
    wrong.extend(cycles::check(&packages));
    let (too_long, long) = limits::check(&packages, &metadata)?;
    wrong.extend(too_long);
    wrong.extend(named::check()?);
    if !long.is_empty() {
        println!("files above the 400 lines aimed for (no error):\n  {}", long.join("\n  "));
    }
    if wrong.is_empty() {
        println!("{} crates: arrows, cycles, siblings, sizes, names and documents are in order", packages.len());
        return Ok(());
    }
    Err(format!("{} found:\n  {}", count(wrong.len(), "problem"), wrong.join("\n  ")))
}

fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
