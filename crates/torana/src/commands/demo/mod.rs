//! `torana demo`: everything in one process, on this machine, in no time.
//!
//! What runs is `examples/microservices.yaml`, as users read it. The demo says
//! only where things are and which secrets count, by the variables that the
//! file refers to.

mod people;
mod script;
mod services;
mod shop;
mod traffic;

use super::FAILED;
use super::run::serve;
use crate::cli;
use crate::gateway::Options;
use crate::terminal::Terminal;
use crate::wire::Input;
use people::{Login, random_text};
use script::{Script, quoted};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use torana_control::notice;
use traffic::Traffic;

/// What the demo runs.
const EXAMPLE: &str = include_str!("../../../../../examples/microservices.yaml");

pub(super) fn run(demo: &cli::Demo, terminal: Terminal) -> ExitCode {
    match prepare(demo) {
        Ok(Scene { input, script, traffic, directory: _directory }) => {
            let options = Options { input, watch: true, succession: None };
            let started = |_: &_| {
                terminal.out(&script.lines());
                if !demo.no_traffic {
                    traffic.start();
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
    input: Input,
    script: Script,
    traffic: Traffic,
    directory: Directory,
}

fn prepare(demo: &cli::Demo) -> io::Result<Scene> {
    let services = services::start()?;
    let port = free_port(demo.port, "the gateway", 0)?;
    let admin = free_port(demo.admin_port, "the admin interface", port)?;
    let directory = Directory::new()?;
    let login = Login::new()?;
    let gateway = format!("127.0.0.1:{port}");
    let admin = format!("127.0.0.1:{admin}");
    let key = random_text()?;

    let mut variables = BTreeMap::from([
        ("LISTEN".to_owned(), gateway.clone()),
        ("ADMIN".to_owned(), admin.clone()),
        ("ACCESS_LOG".to_owned(), directory.access_log().display().to_string()),
        ("ALLOWED_ORIGINS".to_owned(), "https://shop.example".to_owned()),
        ("JWT_SECRET".to_owned(), login.secret().to_owned()),
        ("MOBILE_KEY".to_owned(), key.clone()),
    ]);
    variables.extend(services.into_iter().map(|(name, address)| (name.to_owned(), format!("http://{address}"))));
    std::fs::write(directory.config(), EXAMPLE)?;
    std::fs::write(directory.variables(), exports(&variables))?;
    let script = Script::new(&directory, &gateway, &admin, &login, &key)?;
    let traffic = Traffic::new(gateway, login, key);
    let input = Input::new(directory.config()).with_variables(variables);
    Ok(Scene { input, script, traffic, directory })
}

/// The variables for a shell, so that other commands read the same file alike.
fn exports(variables: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# What microservices.yaml refers to, as the demo has it.\n");
    for (name, value) in variables {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    text
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

/// Where the demo's configuration, its tokens and the access log are, as long as
/// it runs; for nobody else to read.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Directory> {
        let path = std::env::temp_dir().join(format!("torana-demo-{}", std::process::id()));
        remove(&path);
        // Refused if somebody else has put something there.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Directory(path))
    }

    fn config(&self) -> PathBuf {
        self.0.join("microservices.yaml")
    }

    /// A file for shells.
    fn variables(&self) -> PathBuf {
        self.0.join("env")
    }

    fn access_log(&self) -> PathBuf {
        self.0.join("access.log")
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
