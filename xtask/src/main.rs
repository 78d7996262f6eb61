//! Developer and CI commands of this workspace: `cargo xtask COMMAND`.
//!
//! One arm of the `match` below per command; a command lives in a module of its own and returns an
//! [`Outcome`], whose error is a sentence that says what to do next.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod arch;
mod bench;
mod ci;
mod create;
mod dist;
mod fuzz;
mod reference;
mod snippets;
mod workspace;

use std::process::ExitCode;

/// What a command returns; the error is printed as it is and makes the exit status 1.
pub(crate) type Outcome<T> = Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

commands:
  ci             everything a change has to pass: format, architecture, lints, tests, documents, budget
  arch           crate arrows, module cycles, sizes, names, and whether the documents name what exists
  gen            write the schema and the reference pages from the code; with --check, only compare
  docs           check every configuration in the documents
  fuzz           run the fuzz targets
  new            begin a policy: `new policy NAME`
  bench          measure torana against nginx and haproxy (CPU per request, memory, start-up)
  dist           build the gateway to be shipped, optimised for what it has been seen to do
  budget         count instructions and allocations per proxied request; exits 1 above the budget
  help           show this

`cargo xtask COMMAND --help` lists the options of a command.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = args.collect();
    let outcome = match command.as_str() {
        "ci" => ci::run(&rest),
        "arch" => arch::run(&rest),
        "gen" => reference::run(&rest),
        "docs" => snippets::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "new" => create::run(&rest),
        "bench" => bench::run(&rest),
        "dist" => dist::run(&rest),
        "budget" => bench::budget::run(&rest),
        // Started by `bench`, `budget` and `dist` themselves; of no use to a person, hence not in USAGE.
        "bench-floor" => bench::floor::run(&rest),
        "bench-origin" => bench::origin::run(),
        "bench-train" => bench::train::run(&rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("unknown command `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {command}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Help if it was asked for, and otherwise what is wrong with the options.
pub(crate) fn usage(args: &[String], usage: &str) -> Outcome<()> {
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        print!("{usage}");
        return Ok(());
    }
    Err(format!("cannot understand `{}`\n\n{usage}", args.join(" ")))
}
