//! Torana, an API gateway.
//!
//! This crate puts the others together: [`wire`] knows which policies and
//! targets there are and leads from a file to a plan, [`gateway`] starts and
//! stops the threads, [`commands`] has a file per subcommand.

mod cli;
mod commands;
mod gateway;
mod show;
mod terminal;
mod wire;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::with_default_command(std::env::args_os().collect());
    let cli = cli::Cli::parse_from(arguments);
    commands::run(cli)
}
