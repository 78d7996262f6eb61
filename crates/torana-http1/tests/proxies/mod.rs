//! nginx and haproxy as they come from their packages, each in a folder of its
//! own that goes away with it.
//!
//! Client, proxy and origin talk over Unix sockets in that folder: no ports to
//! run out of, and nobody else's program behind one.

#![allow(unreachable_pub, reason = "a part of a test program")]

mod known;
pub mod message;
pub mod origin;

use message::{Message, Side};
use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes that is not stuck.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    Nginx,
    Haproxy,
}

/// A running proxy, stopped when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub product: Product,
    folder: PathBuf,
    guard: Child,
}

/// Runs the command behind it and ends it, and removes the folder, when its
/// input ends: when the test drops the proxy, panics, or is killed itself.
const GUARD: &str = r#"
folder=$1; shift
"$@" >"$folder/output" 2>&1 &
read -r _
kill -s KILL $! 2>/dev/null
wait
rm -rf "$folder"
"#;

impl Proxy {
    /// Starts a proxy in front of the origin that `origin` makes at the path
    /// it is given.
    ///
    /// # Panics
    /// If the proxy is not installed, or does not start.
    pub fn start<Origin>(product: Product, origin: impl FnOnce(&Path) -> Origin) -> (Proxy, Origin) {
        let program = installed(product.name());
        let folder = std::env::temp_dir().join(format!("torana-{}-{}", product.name(), unique()));
        std::fs::create_dir(&folder).unwrap();
        let origin = origin(&folder.join("origin"));
        let config = folder.join("config");
        std::fs::write(&config, product.config().replace("@FOLDER@", folder.to_str().unwrap())).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "sh"]).arg(&folder).arg(program);
        match product {
            Product::Nginx => command.arg("-p").arg(&folder).args(["-e", "stderr", "-c"]).arg(&config),
            Product::Haproxy => command.args(["-db", "-f"]).arg(&config),
        };
        // A group of its own: Ctrl-C ends the test, which ends the guard's input.
        let guard = command.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        let proxy = Proxy { product, folder, guard };
        proxy.wait_until_it_answers();
        (proxy, origin)
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.folder.join("front")).is_err() {
            let said = std::fs::read_to_string(self.folder.join("output")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{} does not start: {said}", self.product.name());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends `bytes` on a connection of their own and reads everything that
    /// comes back, the replies to requests with these `methods`. When `wanted`
    /// of them are there the proxy is told that no more bytes follow: haproxy
    /// may leave requests unread once it knows that.
    pub fn exchange(&self, bytes: &[u8], methods: &[&str], wanted: usize) -> Vec<Message> {
        let mut stream = UnixStream::connect(self.folder.join("front")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A proxy may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes);
        let mut reader = BufReader::new(&stream);
        let mut replies = Vec::new();
        let mut answered = 0;
        loop {
            if answered >= wanted {
                let _ = stream.shutdown(Shutdown::Write);
            }
            let to = methods.get(answered).copied().unwrap_or("GET");
            let Some(reply) = Message::read(&mut reader, Side::Reply { to }) else { return replies };
            answered += usize::from(reply.status() >= 200);
            replies.push(reply);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard ends by itself now; waiting leaves no zombie.
        let _ = self.guard.wait();
    }
}

impl Product {
    pub const fn name(self) -> &'static str {
        match self {
            Product::Nginx => "nginx",
            Product::Haproxy => "haproxy",
        }
    }

    const fn config(self) -> &'static str {
        match self {
            Product::Nginx => include_str!("nginx.conf"),
            Product::Haproxy => include_str!("haproxy.cfg"),
        }
    }
}

/// Servers live in sbin, which is not on everyone's PATH.
fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed: run `apt-get install nginx haproxy` and try again"))
}

/// Different for every proxy of every test process.
fn unique() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
