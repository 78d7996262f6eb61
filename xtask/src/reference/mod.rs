//! `cargo xtask gen`: files that are written from the code, so that they cannot say anything else.
//!
//! `torana schema` gives the schema; the example `reference` of the crate `torana` lists refusals, codes and metrics.

mod codes;
mod configuration;
mod meanings;
mod metrics;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::Outcome;
use crate::workspace::{self, cargo};

const USAGE: &str = "\
usage: cargo xtask gen [--check]

Writes schema/torana.schema.json and docs/reference/{configuration,codes,metrics}.md from the code. With --check, only
says which of them are out of date.
";

/// Where the programs come from that say what there is.
pub(crate) enum Programs {
    /// Cargo builds them first.
    Cargo,
    /// They are in this directory. Having cargo look for one package alone would choose other features for its
    /// dependencies than a build of the workspace does, and compile them again.
    Built(PathBuf),
}

impl Programs {
    fn schema(&self) -> Outcome<String> {
        workspace::output(&mut match self {
            Programs::Cargo => with_arguments(&["--", "schema"]),
            Programs::Built(directory) => {
                let mut command = Command::new(directory.join("torana"));
                command.arg("schema");
                command
            }
        })
    }

    fn listing(&self) -> Outcome<String> {
        workspace::output(&mut match self {
            Programs::Cargo => with_arguments(&["--example", "reference"]),
            Programs::Built(directory) => Command::new(directory.join("examples").join("reference")),
        })
    }
}

fn with_arguments(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "torana"]).args(arguments);
    command
}

/// At the top of every generated document.
const NOTE: &str = "<!-- Written by `cargo xtask gen` from the code. Do not edit. -->\n";

/// `cargo xtask gen`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    match args {
        [] => write(&Programs::Cargo),
        [only] if only == "--check" => check(&Programs::Cargo),
        _ => crate::usage(args, USAGE),
    }
}

/// Fails if a generated file is not what would be generated now.
pub(crate) fn check(programs: &Programs) -> Outcome<()> {
    let mut stale = Vec::new();
    let files = generate(programs)?;
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

fn write(programs: &Programs) -> Outcome<()> {
    for (path, text) in generate(programs)? {
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

fn generate(programs: &Programs) -> Outcome<Vec<(&'static str, String)>> {
    let schema = programs.schema()?;
    let listing = programs.listing()?;
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
