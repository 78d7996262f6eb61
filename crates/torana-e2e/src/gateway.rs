//! The process under test.

use crate::client::{Client, Reply, get};
use crate::dir::Dir;
use crate::origin::Origin;
use crate::{ports, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

type Lines = Arc<Mutex<Vec<String>>>;

/// The series in which a policy or a target counts an event.
#[must_use]
pub fn event_series(policy: &str, route: &str, event: &str) -> String {
    format!("gateway_policy_events_total{{policy=\"{policy}\",route=\"{route}\",event=\"{event}\"}}")
}

/// What to start.
#[derive(Debug, Default)]
pub struct Setup {
    config: String,
    upstreams: BTreeMap<String, String>,
    dir: Option<Dir>,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
    known: Vec<(String, String)>,
}

impl Setup {
    /// A gateway with this configuration, in YAML. In it:
    ///
    /// * `{port:NAME}` is a free port, the same wherever the name stands;
    /// * `{dir}` is the directory of the configuration;
    /// * without `listeners`, one listens on `{port:main}`;
    /// * without `upstreams`, there is one for each [`origin`](Setup::origin);
    /// * without `workers`, there is one; without `admin`, none.
    #[must_use]
    pub fn new(config: &str) -> Setup {
        Setup { config: config.to_owned(), ..Setup::default() }
    }

    /// Makes `origin` the only endpoint of the upstream `name`.
    #[must_use]
    pub fn origin(self, name: &str, origin: &Origin) -> Setup {
        self.endpoint(name, &origin.url())
    }

    /// Adds an upstream with one endpoint.
    #[must_use]
    pub fn endpoint(mut self, name: &str, url: &str) -> Setup {
        self.upstreams.insert(name.to_owned(), url.to_owned());
        self
    }

    /// Uses a directory that was filled before.
    #[must_use]
    pub fn dir(mut self, dir: Dir) -> Setup {
        self.dir = Some(dir);
        self
    }

    /// Adds an argument to the command line.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Puts `value` wherever `placeholder` stands in the configuration.
    #[must_use]
    pub fn known(mut self, placeholder: &str, value: &str) -> Setup {
        self.known.push((placeholder.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds what the configuration leaves to the harness.
    fn complete(&self, config: &str) -> String {
        let mut text = config.to_owned();
        let has = |key: &str| config.lines().any(|line| line.starts_with(&format!("{key}:")));
        for (key, otherwise) in [
            ("workers", "workers: 1"),
            ("admin", "admin: false"),
            ("listeners", "listeners: [ { address: \"127.0.0.1:{port:main}\" } ]"),
        ] {
            if !has(key) {
                let _ = write!(text, "\n{otherwise}\n");
            }
        }
        if !has("upstreams") && !self.upstreams.is_empty() {
            text.push_str("\nupstreams:\n");
            for (name, url) in &self.upstreams {
                let _ = writeln!(text, "  {name}: {{ endpoints: [ \"{url}\" ] }}");
            }
        }
        for (placeholder, value) in &self.known {
            text = text.replace(placeholder, value);
        }
        text
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// It does not start; the message has what it said.
    #[must_use]
    pub fn start(mut self) -> Gateway {
        let dir = self.dir.take().unwrap_or_else(Dir::new);
        // Another process may take a port between the look and the bind.
        for _ in 0..5 {
            let mut ports = BTreeMap::new();
            let text = render(&self.complete(&self.config), dir.path(), &mut ports);
            let path = dir.write("torana.yaml", text);
            let mut process = self.spawn(&path);
            let log = collect(process.0.stdout.take());
            let said = collect(process.0.stderr.take());
            let up = wait_for("the gateway to start", || {
                // A probing connection would count against the limits that
                // are to be tested; the summary ends with the revision.
                let started = lines(&said).iter().any(|line| line.contains("revision "));
                if started { Some(true) } else { process.exited().map(|_| false) }
            });
            if up {
                return Gateway { process, setup: self, dir, path, ports, log, said };
            }
            let said = wait_for("its last words", || Some(lines(&said)).filter(|lines| !lines.is_empty())).join("\n");
            assert!(said.contains("in use"), "the gateway does not start:\n{said}");
        }
        panic!("no port stays free");
    }

    fn spawn(&self, config: &Path) -> Process {
        let mut command = Command::new(binary());
        command.arg("run").args(&self.arguments).arg(config);
        self.spawn_command(command.stdin(Stdio::null()))
    }

    fn spawn_command(&self, command: &mut Command) -> Process {
        let child = command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the torana binary can be started");
        Process(child)
    }
}

/// Gives the descriptor at standard input the number 3, as a service manager does with the first one it passes, and
/// says for whom it is. The name is the first argument, the program and its arguments follow.
const ACTIVATION: &str =
    "export LISTEN_FDS=1 LISTEN_FDNAMES=$1; shift; export LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null";

impl Setup {
    /// Starts it as a service manager would that has opened `socket` and calls it `name`.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_activated(mut self, socket: TcpListener, name: &str) -> Gateway {
        let dir = self.dir.take().unwrap_or_else(Dir::new);
        let mut ports = BTreeMap::new();
        let text = render(&self.complete(&self.config), dir.path(), &mut ports);
        let path = dir.write("torana.yaml", text);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ACTIVATION, "sh", name]).arg(binary()).arg("run").args(&self.arguments).arg(&path);
        let process = self.spawn_command(command.stdin(OwnedFd::from(socket)));
        Gateway::up(process, self, dir, path, ports)
    }
}

/// Ends with the test, however that ends.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running gateway, killed on drop.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    setup: Setup,
    dir: Dir,
    path: PathBuf,
    ports: BTreeMap<String, u16>,
    log: Lines,
    said: Lines,
}

impl Gateway {
    /// One that has to start.
    fn up(mut process: Process, setup: Setup, dir: Dir, path: PathBuf, ports: BTreeMap<String, u16>) -> Gateway {
        let log = collect(process.0.stdout.take());
        let said = collect(process.0.stderr.take());
        let is_up = wait_for("the gateway to start", || {
            let started = lines(&said).iter().any(|line| line.contains("revision "));
            if started { Some(true) } else { process.exited().map(|_| false) }
        });
        let gateway = Gateway { process, setup, dir, path, ports, log, said };
        assert!(is_up, "the gateway does not start");
        gateway
    }

    /// Starts a second process with the same configuration file that takes over from this one, which must listen for
    /// it at `socket`, and puts it in the place of this one. What is answered is the old one, which drains.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn replace(&mut self, socket: &str) -> Gateway {
        let setup = Setup { arguments: self.setup.arguments.clone(), env: self.setup.env.clone(), ..Setup::default() };
        let mut command = Command::new(binary());
        command.arg("run").args(&setup.arguments).args(["--upgrade-from", socket]).arg(&self.path);
        let process = setup.spawn_command(command.stdin(Stdio::null()));
        // The directory stays with the one that remains.
        let (path, ports) = (self.path.clone(), self.ports.clone());
        let mut new = Gateway::up(process, setup, Dir::new(), path, ports);
        std::mem::swap(&mut new.dir, &mut self.dir);
        std::mem::swap(&mut new.setup, &mut self.setup);
        std::mem::replace(self, new)
    }

    /// Tries to, where the new process is expected not to come up; its exit code.
    ///
    /// # Panics
    /// It comes up.
    #[must_use]
    pub fn fail_to_replace(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(binary())
            .arg("run")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the torana binary can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// The port of that name.
    ///
    /// # Panics
    /// The configuration has no such name.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        *self.ports.get(name).unwrap_or_else(|| panic!("the configuration has no {{port:{name}}}"))
    }

    /// A connection to the listener `main`.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.port("main"))
    }

    /// Sends a request on a connection of its own.
    #[must_use]
    pub fn ask(&self, bytes: impl AsRef<[u8]>) -> Reply {
        self.connect().ask(bytes)
    }

    /// The directory of the configuration.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Puts another configuration in the place of this one. Whether and when
    /// it is read is the gateway's business.
    pub fn rewrite(&mut self, config: &str) {
        let text = render(&self.setup.complete(config), self.dir.path(), &mut self.ports);
        let name = self.path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        self.dir.write(&name, text);
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.process.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("the gateway lives");
    }

    /// Waits until it exits; its exit code.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_exit(&mut self) -> Option<i32> {
        wait_for("the gateway to exit", || self.process.exited()).code()
    }

    /// The first line of the access log that satisfies `is_it`.
    ///
    /// # Panics
    /// None is written in time.
    pub fn log_line(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        wait_for(&format!("a log line about {what}"), || self.log_lines().into_iter().find(|line| is_it(line)))
    }

    /// The access log so far. Lines that are no JSON are an error.
    ///
    /// # Panics
    /// There is one.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Value> {
        let lines = lines(&self.log);
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// The access log as it was written.
    #[must_use]
    pub fn log_text(&self) -> String {
        lines(&self.log).join("\n")
    }

    /// What it said on standard error.
    #[must_use]
    pub fn said(&self) -> String {
        lines(&self.said).join("\n")
    }

    /// Asks the admin interface, which the configuration must put on
    /// `{port:admin}`.
    #[must_use]
    pub fn admin(&self, method: &str, path: &str) -> Reply {
        self.admin_with(method, path, "", "")
    }

    /// The same with header lines, each ending in CRLF, and a body.
    #[must_use]
    pub fn admin_with(&self, method: &str, path: &str, fields: &str, body: &str) -> Reply {
        let (port, length) = (self.port("admin"), body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {length}\r\n");
        Client::connect(port).ask(format!("{head}{fields}\r\n{body}"))
    }

    /// How often a policy or a target has counted an event.
    #[must_use]
    pub fn events(&self, policy: &str, route: &str, event: &str) -> f64 {
        self.metric(&event_series(policy, route, event)).unwrap_or(0.0)
    }

    /// The value of one series, written as the exposition does.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.admin("GET", "/metrics").text();
        let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        rest.parse().ok()
    }

    /// Waits until a series has a value.
    pub fn wait_metric(&self, series: &str, value: f64) {
        let mut last = None;
        let same = || {
            last = self.metric(series);
            (last == Some(value)).then_some(())
        };
        wait_for(&format!("{series} to be {value}"), same);
    }

    /// Resident memory in bytes: now, and the most it has ever been.
    ///
    /// # Panics
    /// The process is gone.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("the gateway lives");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
            kib * 1024
        };
        (value("VmRSS:"), value("VmHWM:"))
    }

    /// Whether it still answers; `path` must be routed.
    #[must_use]
    pub fn answers(&self, path: &str) -> bool {
        self.ask(get(path, "")).status() == 200
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            #[allow(clippy::print_stderr, reason = "what the gateway said explains a failed test")]
            {
                eprintln!("--- the gateway said:\n{}\n--- it logged:\n{}", self.said(), self.log_text());
            }
        }
    }
}

/// The binary under test: `TORANA_BIN`, or the one beside the test executable.
///
/// Cargo does not build it for these tests, which do not depend on it, and an
/// old one would be tested without a word: so it is built here. Where nothing
/// has changed that takes a fraction of a second.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("TORANA_BIN") {
            return path.into();
        }
        let test = std::env::current_exe().expect("a test knows where it is");
        // target/PROFILE/deps/main-HASH
        let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps").to_owned();
        build(&profile);
        profile.join("torana")
    })
}

fn build(profile: &Path) {
    let name = profile.file_name().expect("a profile has a name").to_string_lossy();
    let name = if name == "debug" { "dev" } else { &*name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "torana", "--profile", name, "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", profile.parent().expect("a profile has a target directory"))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the torana binary cannot be built");
}

/// Fills in `{dir}` and `{port:NAME}`, finding ports for new names.
pub(crate) fn render(text: &str, dir: &Path, ports: &mut BTreeMap<String, u16>) -> String {
    let text = text.replace("{dir}", &dir.display().to_string());
    let mut parts = text.split("{port:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("a placeholder is closed");
        let port = *ports.entry(name.to_owned()).or_insert_with(ports::free);
        let _ = write!(out, "{port}{rest}");
    }
    out
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Lines {
    let collected = Lines::default();
    let (pipe, lines) = (pipe.expect("the pipe was asked for"), collected.clone());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    collected
}

fn lines(lines: &Lines) -> Vec<String> {
    lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
