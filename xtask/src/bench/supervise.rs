//! Everything started is stopped, and nothing is left behind, however the run ends.
//!
//! [`Session::enter`] replaces this process by a shell that runs it again as its child. The shell owns
//! the temporary directory: on Ctrl-C, on SIGTERM and when the child dies in any way, it kills every
//! process group listed there and removes the directory. A signal handler in Rust would need `unsafe`
//! or a dependency, and could not outlive a SIGKILL of its own process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};

use crate::Outcome;
use crate::bench::options::PROXY_CORE;
use crate::workspace::installed;

/// Set by the supervising shell: the directory of this run.
const STATE: &str = "TORANA_BENCH_STATE";

/// `$1` is the core; the rest is this program's command line. Background jobs of a shell ignore
/// SIGINT, so Ctrl-C reaches the shell alone, which then takes everything down in order.
const SHELL: &str = r#"
core=$1; shift
TORANA_BENCH_STATE=$(mktemp -d "${TMPDIR:-/tmp}/torana-bench.XXXXXX") || exit 1
export TORANA_BENCH_STATE
mkdir "$TORANA_BENCH_STATE/groups"
child=
clean() {
    [ -n "$child" ] && kill -s KILL "$child" 2>/dev/null
    for group in "$TORANA_BENCH_STATE"/groups/*; do
        [ -e "$group" ] && kill -s KILL -- "-${group##*/}" 2>/dev/null
    done
    rm -rf "$TORANA_BENCH_STATE" "/dev/shm/${TORANA_BENCH_STATE##*/}"
}
trap 'trap "" INT TERM HUP; clean; exit 130' INT TERM HUP
taskset -c "$core" "$@" &
child=$!
wait "$child"
status=$?
child=
clean
exit "$status"
"#;

/// Fails with the `apt-get` line for whatever is not installed.
pub(super) fn require(programs: &[(&str, &str)]) -> Outcome<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| installed(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    Err(format!(
        "not installed: {}. Run `apt-get install --no-install-recommends {}` and try again",
        names.join(", "),
        packages.join(" ")
    ))
}

/// One run: its directory, which disappears with it.
#[derive(Debug)]
pub(super) struct Session {
    directory: PathBuf,
}

impl Session {
    /// Inside the supervising shell: the session. Outside: becomes that shell, and returns only if it cannot.
    pub(super) fn enter(core: u32) -> Outcome<Self> {
        if let Some(directory) = std::env::var_os(STATE) {
            raise_file_limit()?;
            return Ok(Self { directory: PathBuf::from(directory) });
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if cores < 2 {
            return Err("needs two cores: one for the proxy, one for load and origin".to_owned());
        }
        let this = std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
        let error = Command::new("/bin/sh")
            .args(["-c", SHELL, "sh", &core.to_string()])
            .arg(this)
            .args(std::env::args_os().skip(1))
            .exec();
        Err(format!("cannot start /bin/sh: {error}"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A directory of the run, made if it is not there.
    pub(super) fn folder(&self, name: &str) -> Outcome<PathBuf> {
        made(self.path(name))
    }

    /// The same in memory; the shell removes it as well.
    pub(super) fn in_memory(&self, name: &str) -> Outcome<PathBuf> {
        let run = self.directory.file_name().unwrap_or_default();
        made(Path::new("/dev/shm").join(run).join(name))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    }

    /// Starts a server as leader of a process group of its own; what it prints goes to `log`.
    pub(super) fn spawn(&self, command: &mut Command, log: &str) -> Outcome<Server> {
        let name = command.get_program().to_string_lossy().into_owned();
        let path = self.path(log);
        let file = fs::File::create(&path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        let errors = file.try_clone().map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        command.stdin(Stdio::null()).stderr(errors).process_group(0);
        command.stdout(file);
        let child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        let group = self.path("groups").join(child.id().to_string());
        fs::write(&group, "").map_err(|e| format!("cannot write {}: {e}", group.display()))?;
        Ok(Server { child, group, log: path })
    }

    /// The same, pinned to the proxies' core.
    pub(super) fn spawn_pinned(&self, program: &Path, args: &[String], log: &str) -> Outcome<Server> {
        let core = PROXY_CORE.to_string();
        let mut command = Command::new("taskset");
        command.args([OsStr::new("-c"), OsStr::new(&core), program.as_os_str()]).args(args);
        self.spawn(&mut command, log)
    }
}

fn made(path: PathBuf) -> Outcome<PathBuf> {
    fs::create_dir_all(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
    Ok(path)
}

/// As many open files as this user may have; children inherit it.
fn raise_file_limit() -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|e| format!("cannot raise the limit of open files: {e}"))
}

/// A running server and everything it started. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    group: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Process id of the leader, which is the id of the group.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with what the server printed, if it has ended.
    pub(super) fn still_running(&mut self) -> Outcome<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("it ended with {status} and said:\n{}", self.said())),
            Err(e) => Err(format!("cannot ask for its state: {e}")),
        }
    }

    /// The last lines of its output.
    pub(super) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Waits for a program that ends by itself and returns what it printed.
    pub(super) fn output(mut self, patience: Duration) -> Outcome<String> {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() > deadline => {
                    return Err(format!("it did not end within {} s", patience.as_secs()));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(e) => return Err(format!("cannot ask for its state: {e}")),
            }
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        if status.success() { Ok(text) } else { Err(format!("it ended with {status} and said:\n{text}")) }
    }

    /// SIGTERM, then after `patience` SIGKILL, to the whole group.
    pub(super) fn stop(mut self, patience: Duration) {
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::KILL);
        // Nothing to do about an error: the shell repeats the kill at the end of the run.
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.group);
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Fails only when the whole group is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.group.exists() {
            self.end(Duration::from_millis(500));
        }
    }
}
