//! Torana, an API gateway.
//!
//! This crate puts the others together: [`wire`] knows which policies and
//! targets there are and leads from a file to a plan, [`gateway`] starts and
//! stops the threads, [`commands`] has a file per subcommand.

mod checksum;
mod cli;
mod commands;
mod gateway;
mod show;
mod terminal;
mod wire;

use clap::Parser;
use std::process::ExitCode;

/// HTTP/2 and TLS allocate per request. With this allocator an HTTP/2 request
/// costs 4 % fewer instructions than with the C library's, for the same memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::with_default_command(std::env::args_os().collect());
    let cli = cli::Cli::parse_from(arguments);
    commands::run(cli)
}
