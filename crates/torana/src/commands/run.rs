//! `torana run`

use super::FAILED;
use crate::cli;
use crate::gateway::{Gateway, Options, Predecessor, StartError, Succession, Successor};
use crate::terminal::Terminal;
use crate::wire::Input;
use std::ffi::OsString;
use std::process::ExitCode;
use torana_control::notice;

pub(super) fn run(run: cli::Run, terminal: Terminal) -> ExitCode {
    let successor = match std::env::current_exe() {
        Ok(program) => Successor { program, arguments: arguments(&run, terminal) },
        Err(error) => {
            terminal.error(&format!("error: the program's own file cannot be found: {error}\n"));
            return ExitCode::from(FAILED);
        }
    };
    let predecessor = run
        .upgrade_from
        .map(|path| if path.as_os_str() == PARENT { Predecessor::Parent } else { Predecessor::At(path) });
    let succession = Some(Succession { predecessor, successor });
    let options = Options { input: Input::new(run.file), watch: !run.no_watch, succession };
    serve(&options, terminal, |gateway| notice::lines(&gateway.summary()), None)
}

/// In the place of a path: the gateway is at the other end of standard input.
const PARENT: &str = "-";

/// The command line of the process that takes over from this one.
fn arguments(run: &cli::Run, terminal: Terminal) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["run", "--color", terminal.color(), "--upgrade-from", PARENT].map(Into::into).into();
    if run.no_watch {
        arguments.push("--no-watch".into());
    }
    // What begins with a dash is a file all the same.
    arguments.extend(["--".into(), run.file.clone().into_os_string()]);
    arguments
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
