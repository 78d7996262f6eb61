//! `torana version`

use crate::cli::{self, Format};
use crate::gateway;
use crate::terminal::Terminal;
use std::process::ExitCode;

pub(super) fn run(version: &cli::Version, terminal: Terminal) -> ExitCode {
    match version.format {
        Format::Text => terminal.out(concat!("torana ", env!("CARGO_PKG_VERSION"), "\n")),
        Format::Json => terminal.out(&format!("{:#}\n", gateway::version())),
    }
    ExitCode::SUCCESS
}
