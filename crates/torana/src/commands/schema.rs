//! `torana schema`

use crate::terminal::Terminal;
use crate::wire;
use std::process::ExitCode;

pub(super) fn run(terminal: Terminal) -> ExitCode {
    terminal.out(&format!("{:#}\n", wire::schema()));
    ExitCode::SUCCESS
}
