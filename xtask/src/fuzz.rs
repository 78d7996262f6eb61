//! `cargo xtask fuzz`: runs the fuzz targets for a while each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::workspace::{self, cargo, shown};

const USAGE: &str = "\
usage: cargo xtask fuzz [--seconds N] [TARGET]

Runs every fuzz target, or one, for N seconds (default 600). What is found is kept in fuzz/corpus, what fails in
fuzz/artifacts. Needs cargo-fuzz, and the nightly toolchain or the stable one told to
behave like it.
";

/// Words that help, for the targets that have some.
const DICTIONARIES: &[(&str, &str)] =
    &[("http1_", "http1.dict"), ("canonical_path", "target.dict"), ("config", "config.dict")];

/// `cargo xtask fuzz`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    let (mut seconds, mut only) = (600_u32, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = rest.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or("--seconds needs a number")?;
            }
            name if !name.starts_with('-') => only = Some(name.to_owned()),
            _ => return crate::usage(args, USAGE),
        }
    }
    require()?;
    let targets = targets()?;
    if let Some(name) = &only
        && !targets.contains(name)
    {
        return Err(format!("there is no fuzz target `{name}`; there are {}", targets.join(", ")));
    }
    let chosen: Vec<_> = targets.into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)).collect();
    let mut failed = Vec::new();
    for target in &chosen {
        println!("=== {target}, {seconds} s");
        let mut command = command(target, seconds)?;
        println!("$ {}", shown(&command));
        let status = command.status().map_err(|error| format!("cannot start cargo fuzz: {error}"))?;
        if !status.success() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        println!("{} fuzz targets ran clean for {seconds} s each", chosen.len());
        return Ok(());
    }
    Err(format!("failed: {}; the inputs are in fuzz/artifacts", failed.join(", ")))
}

fn require() -> Outcome<()> {
    if !cargo().args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Err("cargo-fuzz is not installed: `cargo install cargo-fuzz --locked`".to_owned());
    }
    Ok(())
}

/// The cargo that fuzzes: instrumenting takes options that a stable compiler only accepts when told to.
fn fuzzing_cargo() -> Command {
    // Not the cargo that runs this program: only rustup's knows `+nightly`.
    let mut cargo = Command::new("cargo");
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if nightly.is_ok_and(|output| output.status.success()) {
        cargo.arg("+nightly");
    } else {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo
}

fn directory() -> PathBuf {
    workspace::root().join("fuzz")
}

fn targets() -> Outcome<Vec<String>> {
    let files = workspace::files(&directory().join("fuzz_targets"), ".rs")?;
    Ok(files.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect())
}

fn command(target: &str, seconds: u32) -> Outcome<Command> {
    let fuzz = directory();
    // The first directory receives what is found, and has to be there.
    let corpus = fuzz.join("corpus").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("cannot make {}: {error}", workspace::relative(&corpus)))?;
    let mut command = fuzzing_cargo();
    command.current_dir(&fuzz).args(["fuzz", "run", target]).arg(relative(&fuzz, &corpus));
    let seeds = fuzz.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(relative(&fuzz, &seeds));
    }
    command.args(["--", &format!("-max_total_time={seconds}"), "-max_len=4096", "-print_final_stats=1"]);
    if let Some((_, dictionary)) = DICTIONARIES.iter().find(|(prefix, _)| target.starts_with(prefix)) {
        command.arg(format!("-dict={dictionary}"));
    }
    Ok(command)
}

fn relative(from: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(from).unwrap_or(path).to_path_buf()
}
