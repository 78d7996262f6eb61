//! `torana demo`: everything in one process, on this machine, in no time.

mod script;
mod services;
mod traffic;

use super::FAILED;
use super::run::serve;
use crate::cli;
use crate::gateway::Options;
use crate::terminal::Terminal;
use script::Script;
use services::Services;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use torana_control::notice;

pub(super) fn run(demo: &cli::Demo, terminal: Terminal) -> ExitCode {
    match prepare(demo) {
        Ok(scene) => {
            let options = Options { path: scene.directory.0.join("torana.yaml"), watch: true, succession: None };
            let Script { lines, gateway, .. } = &scene.script;
            let started = |_: &_| {
                terminal.out(lines);
                if !demo.no_traffic {
                    traffic::start(gateway);
                }
            };
            serve(&options, terminal, started, demo.exit_after)
        }
        Err(error) => {
            terminal.error(&format!("error: the demo cannot start: {error}\n"));
            ExitCode::from(FAILED)
        }
    }
}

/// What has to be there before the gateway starts.
struct Scene {
    script: Script,
    directory: Directory,
}

fn prepare(demo: &cli::Demo) -> io::Result<Scene> {
    let services = Services::start()?;
    let port = free_port(demo.port, "the gateway", 0)?;
    let admin = free_port(demo.admin_port, "the admin interface", port)?;
    let directory = Directory::new()?;
    let script = Script::new(&directory.0, port, admin, &services);
    std::fs::write(directory.0.join("torana.yaml"), &script.config)?;
    Ok(Scene { script, directory })
}

/// How many ports are tried: whoever has that many taken wants to know.
const TRIES: u16 = 100;

/// `wanted`, or the next port that nobody listens on and that is not `taken`.
fn free_port(wanted: u16, what: &str, taken: u16) -> io::Result<u16> {
    let free = |port: &u16| *port != taken && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    if wanted == 0 {
        return TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port());
    }
    let last = wanted.saturating_add(TRIES);
    let port = (wanted..=last).find(free).ok_or_else(|| {
        io::Error::new(io::ErrorKind::AddrInUse, format!("no port from {wanted} to {last} is free for {what}"))
    })?;
    if port != wanted {
        notice::say(&format!("port {wanted} is in use, so {what} takes {port}"));
    }
    Ok(port)
}

/// Where the demo's configuration and access log are, as long as it runs.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Directory> {
        let path = std::env::temp_dir().join(format!("torana-demo-{}", std::process::id()));
        remove(&path);
        // Refused if somebody else has put something there.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// What a demo of the same process id left behind; what cannot be removed is
/// not ours.
fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}
