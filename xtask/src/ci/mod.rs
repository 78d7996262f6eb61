//! `cargo xtask ci`: everything a change has to pass, in one command.
//!
//! One profile (`ci`) and one set of features for the build, the tests and the documents, so that nothing is compiled
//! twice; clippy and rustdoc check with the dependencies' metadata of the same profile. The release build is apart: it
//! is what the budget measures.

mod options;
mod packages;
mod steps;

use std::process::Command;

use crate::Outcome;
use crate::reference::Programs;
use crate::workspace::{self, cargo};
use options::Options;
use steps::{Needs, Steps};

/// `cargo xtask ci`.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    if options::wants_help(args) {
        print!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(args)?;
    let mut steps = Steps::default();
    match &options.only {
        Some(package) => one_crate(&mut steps, package, &options),
        None => everything(&mut steps, &options)?,
    }
    steps.finish()
}

/// The crate one is working on, in the profile one is working with.
fn one_crate(steps: &mut Steps, package: &str, options: &Options) {
    steps.command("format", cargo().args(["fmt", "--check", "--package", package]), Needs::Nothing);
    steps.run("architecture", Needs::Nothing, || crate::arch::run(&[]));
    let clippy = ["clippy", "--package", package, "--all-targets", "--", "-D", "warnings"];
    steps.command("clippy", cargo().args(clippy), Needs::Nothing);
    steps.tests("tests", &mut tests(&["--package", package], options));
}

fn everything(steps: &mut Steps, options: &Options) -> Outcome<()> {
    let target = workspace::target_directory()?;
    let built = target.join("ci");
    let binary = built.join("torana");
    steps.run("packages", Needs::Nothing, packages::install);
    steps.command("format", cargo().args(["fmt", "--all", "--check"]), Needs::Nothing);
    let fuzz = ["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"];
    steps.command("format of the fuzz targets", cargo().args(fuzz), Needs::Nothing);
    steps.run("architecture", Needs::Nothing, || crate::arch::run(&[]));
    let workspace = ["--workspace", "--profile", "ci", "--locked"];
    let clippy = ["--all-targets", "--", "-D", "warnings"];
    steps.command("clippy", cargo().arg("clippy").args(workspace).args(clippy), Needs::Nothing);
    steps.command("build", cargo().arg("build").args(workspace).arg("--all-targets"), Needs::Nothing);
    steps.run("generated files", Needs::Build, || crate::reference::check(&Programs::Built(built)));
    steps.run("snippets in the documents", Needs::Build, || crate::snippets::check(&binary));
    steps.command(
        "rustdoc",
        cargo()
            .args(["doc", "--no-deps", "--document-private-items"])
            .args(workspace)
            .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
        Needs::Build,
    );
    deny(steps);
    steps.tests("documentation tests", cargo().args(["test", "--doc"]).args(workspace));
    let mut tests = tests(&workspace, options);
    steps.tests("tests", tests.env("TORANA_BIN", &binary));
    // Not of the workspace, so not built for others; its lock file pins what only its tests need.
    let vendored = ["test", "--locked", "--manifest-path", "vendor/libinjectionrs/Cargo.toml", "--target-dir"];
    steps.tests("tests of what is vendored", cargo().args(vendored).arg(target.join("vendored")));
    if options.release {
        let build = ["build", "--release", "--locked", "--package", "torana"];
        steps.command("release build", cargo().args(build), Needs::Nothing);
        steps.run("budget", Needs::ReleaseBuild, budget);
    } else {
        steps.skip("budget", "--no-release");
    }
    Ok(())
}

/// nextest runs every test in a process of its own, several at a time; without it cargo's own runner does.
fn tests(what: &[&str], options: &Options) -> Command {
    let mut command = cargo();
    if workspace::installed("cargo-nextest").is_some() {
        let what = what.iter().map(|word| if *word == "--profile" { "--cargo-profile" } else { word });
        command.args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]).args(what);
        if options.long {
            command.args(["--run-ignored", "all"]);
        }
    } else {
        command.args(["test", "--no-fail-fast"]).args(what).arg("--all-targets");
        if options.long {
            command.args(["--", "--include-ignored"]);
        }
    }
    // A crash of a test process leaves its backtrace; without debug information it is short.
    command.env("RUST_BACKTRACE", "1");
    command
}

fn deny(steps: &mut Steps) {
    if workspace::installed("cargo-deny").is_some() {
        let check = ["deny", "check", "licenses", "bans", "sources"];
        steps.command("cargo deny", cargo().args(check), Needs::Nothing);
    } else {
        steps.skip("cargo deny", "not installed; `cargo install cargo-deny --locked` adds it");
    }
}

/// A process of its own: the budget becomes the child of a shell that cleans up after it.
fn budget() -> Outcome<()> {
    let this = std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    let binary = workspace::target_directory()?.join("release").join("torana");
    workspace::succeed(Command::new(this).current_dir(workspace::root()).arg("budget").arg("--bin").arg(binary))
}
