//! `torana check`

use super::FAILED;
use crate::cli::{self, Format};
use crate::terminal::Terminal;
use crate::wire;
use std::process::ExitCode;
use torana_core::diagnostic::Diagnostic;

pub(super) fn run(check: &cli::Check, terminal: Terminal) -> ExitCode {
    let built = wire::look_at(&check.file);
    let failed = built.diagnostics.iter().any(Diagnostic::is_error);
    match check.format {
        Format::Json => terminal.out(&format!("{:#}\n", built.to_json())),
        Format::Text => {
            // The diagnostics are what was asked for, so they are the output.
            terminal.out(&built.rendered(terminal.out_style()));
            if let Some(plan) = &built.plan {
                let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
                terminal.out(&format!(
                    "ok: {}, {}, {}, checksum {}\n",
                    count(plan.listeners.len(), "listener"),
                    count(plan.routes.len(), "route"),
                    count(plan.upstreams.len(), "upstream"),
                    plan.checksum
                ));
            }
        }
    }
    if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}
