//! A running gateway, for tests of the binary.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine; waited for only on failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn torana() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torana"));
    command.env_remove("NO_COLOR").env_remove("COLUMNS").stdin(Stdio::null());
    command
}

/// A directory of its own, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torana-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Renamed, so that nobody reads half of it.
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of the binary whose lines on standard error can be awaited.
pub(crate) struct Gateway {
    child: Child,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Gateway {
    pub(crate) fn start(command: &mut Command) -> Gateway {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Gateway { child, lines, seen: Vec::new() }
    }

    /// Runs the configuration at `path`.
    pub(crate) fn run(path: &Path) -> Gateway {
        Gateway::start(torana().arg(path).stdout(Stdio::null()))
    }

    /// The next line that contains `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with `{text}` in:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Where it says it listens, after `what`.
    pub(crate) fn address(&mut self, what: &str) -> SocketAddr {
        let line = self.line_with(what);
        line.rsplit_once("//").unwrap().1.trim_end_matches('/').parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Waits for the end and returns the exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the gateway does not end");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads until the connection is closed: status, whole reply.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    ask_with(address, method, path, "")
}

/// The same with more headers, each with its line ending.
pub(crate) fn ask_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
    exchange(address, &format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n"))
}

/// The same with a body.
pub(crate) fn ask_with_body(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let fields = format!("host: {address}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    exchange(address, &format!("{method} {path} HTTP/1.1\r\n{fields}\r\n{body}"))
}

fn exchange(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    (reply.get(9..12).unwrap_or_default().parse().unwrap_or(0), reply)
}

/// Asks until the answer contains `text`.
pub(crate) fn ask_until(address: SocketAddr, path: &str, text: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (_, reply) = ask(address, "GET", path);
        if reply.contains(text) {
            return;
        }
        assert!(Instant::now() < until, "`{text}` does not come:\n{reply}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An upstream that answers when it is told to.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Gets a message per request that has arrived.
    pub(crate) arrived: Receiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (arrive, arrived) = channel();
        let (go, wait) = channel::<()>();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                if arrive.send(()).is_err() || wait.recv().is_err() {
                    return;
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone");
            }
        });
        Origin { address, arrived, go }
    }

    pub(crate) fn answer(&self) {
        self.go.send(()).unwrap();
    }
}
