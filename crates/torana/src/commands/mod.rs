//! The subcommands, one file each.

mod admin;
mod check;
mod completions;
mod demo;
mod explain;
mod key;
mod routes;
mod run;
mod schema;
mod version;

use crate::cli::{Cli, Command};
use crate::terminal::Terminal;
use crate::wire;
use std::path::Path;
use std::process::ExitCode;
use torana_plane::plan::Plan;

/// The configuration has errors, or the gateway cannot start.
const FAILED: u8 = 1;

/// `explain`: the request would be refused.
const REFUSED: u8 = 3;

/// Runs what was asked for.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let terminal = Terminal::new(cli.color);
    match cli.command {
        Command::Run(run) => run::run(run, terminal),
        Command::Check(check) => check::run(&check, terminal),
        Command::Explain(explain) => explain::run(&explain, terminal),
        Command::Key(key) => key::run(&key, terminal),
        Command::Routes(routes) => routes::run(&routes, terminal),
        Command::Schema(_) => schema::run(terminal),
        Command::Demo(demo) => demo::run(&demo, terminal),
        Command::Version(version) => version::run(&version, terminal),
        Command::Completions(completions) => completions::run(&completions, terminal),
    }
}

/// The plan of the configuration at `path`, for commands that only ask about
/// it. Prints what is wrong with it; warnings are `check`'s business.
fn plan(path: &Path, terminal: Terminal) -> Result<Plan, ExitCode> {
    let mut built = wire::look_at(path);
    built.plan.take().ok_or_else(|| {
        terminal.error(&built.rendered(terminal.error_style()));
        ExitCode::from(FAILED)
    })
}
