//! `torana run`

use super::FAILED;
use crate::cli;
use crate::gateway::{Gateway, Options, StartError};
use crate::terminal::Terminal;
use std::process::ExitCode;
use torana_control::notice;

pub(super) fn run(run: cli::Run, terminal: Terminal) -> ExitCode {
    let options = Options { path: run.file, watch: !run.no_watch };
    serve(&options, terminal, |gateway| notice::lines(&gateway.summary()), None)
}

/// Starts a gateway, says so, and serves until it is stopped.
pub(super) fn serve(
    options: &Options,
    terminal: Terminal,
    started: impl FnOnce(&Gateway),
    exit_after: Option<std::time::Duration>,
) -> ExitCode {
    let gateway = match Gateway::start(options, terminal) {
        Ok(gateway) => gateway,
        Err(StartError::Config(built)) => {
            terminal.error(&built.rendered(terminal.error_style()));
            return ExitCode::from(FAILED);
        }
        Err(StartError::System(error)) => {
            terminal.error(&format!("error: {error}\n"));
            return ExitCode::from(FAILED);
        }
    };
    started(&gateway);
    gateway.run(exit_after)
}
