//! A Redis server of a test's own.

use crate::dir::Dir;
use crate::wait_for;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server on a Unix socket in a directory of its own; killed on drop.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    dir: Dir,
    socket: PathBuf,
}

impl Redis {
    /// Starts one and waits until it serves.
    ///
    /// # Panics
    /// It does not.
    #[must_use]
    pub fn start() -> Redis {
        let dir = Dir::new();
        let socket = dir.path().join("redis");
        Redis::in_dir(dir, socket)
    }

    /// The same with a socket of the test's choosing.
    ///
    /// # Panics
    /// It does not serve.
    #[must_use]
    pub fn start_at(socket: &Path) -> Redis {
        Redis::in_dir(Dir::new(), socket.to_owned())
    }

    fn in_dir(dir: Dir, socket: PathBuf) -> Redis {
        let mut redis = Redis { child: None, dir, socket };
        redis.run();
        redis
    }

    /// Where it is, for `stores`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Starts it again, with nothing in it.
    ///
    /// # Panics
    /// It does not start.
    pub fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&self.socket)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian: redis-server)");
        self.child = Some(child);
        wait_for("the Redis server", || UnixStream::connect(&self.socket).ok());
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
