//! `torana completions`

use crate::cli::{self, Cli};
use crate::terminal::Terminal;
use clap::CommandFactory;
use std::process::ExitCode;

pub(super) fn run(completions: &cli::Completions, terminal: Terminal) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "torana", &mut script);
    terminal.out(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
