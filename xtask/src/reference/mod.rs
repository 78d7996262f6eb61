//! `cargo xtask gen`: files that are written from the code, so that they cannot say anything else.
//!
//! `torana schema` gives the schema; the example `reference` of the crate `torana` lists refusals, codes and metrics.

mod codes;
mod configuration;
mod meanings;
mod metrics;

use std::fs;

use serde_json::Value;

use crate::Outcome;
use crate::workspace::{self, cargo};

const USAGE: &str = "\
usage: cargo xtask gen [--check]

Writes schema/torana.schema.json and docs/reference/{configuration,codes,metrics}.md from the code. With --check, only
says which of them are out of date.
";

/// At the top of every generated document.
const NOTE: &str = "<!-- Written by `cargo xtask gen` from the code. Do not edit. -->\n";

/// `cargo xtask gen`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    match args {
        [] => write("dev"),
        [only] if only == "--check" => check("dev"),
        _ => crate::usage(args, USAGE),
    }
}

/// Fails if a generated file is not what would be generated now. Programs are built in `profile`.
pub(crate) fn check(profile: &str) -> Outcome<()> {
    let mut stale = Vec::new();
    let files = generate(profile)?;
    for (path, text) in &files {
        if fs::read_to_string(workspace::root().join(path)).ok().as_deref() != Some(text) {
            stale.push(*path);
        }
    }
    if stale.is_empty() {
        println!("{} generated files are up to date", files.len());
        return Ok(());
    }
    Err(format!("out of date: {}; `cargo xtask gen` writes them", stale.join(", ")))
}

fn write(profile: &str) -> Outcome<()> {
    for (path, text) in generate(profile)? {
        let file = workspace::root().join(path);
        if fs::read_to_string(&file).ok().as_deref() == Some(&text) {
            println!("unchanged  {path}");
            continue;
        }
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).map_err(|error| format!("cannot make the directory of {path}: {error}"))?;
        }
        fs::write(&file, text).map_err(|error| format!("cannot write {path}: {error}"))?;
        println!("written    {path}");
    }
    Ok(())
}

fn generate(profile: &str) -> Outcome<Vec<(&'static str, String)>> {
    let run = ["run", "--quiet", "--locked", "--profile", profile, "--package", "torana"];
    let schema = workspace::output(cargo().args(run).args(["--", "schema"]))?;
    let listing = workspace::output(cargo().args(run).args(["--example", "reference"]))?;
    let schema_value = parse(&schema)?;
    let listing = parse(&listing)?;
    Ok(vec![
        ("schema/torana.schema.json", schema),
        ("docs/reference/configuration.md", configuration::page(&schema_value)?),
        ("docs/reference/codes.md", codes::page(&listing)?),
        ("docs/reference/metrics.md", metrics::page(&listing)),
    ])
}

fn parse(text: &str) -> Outcome<Value> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
