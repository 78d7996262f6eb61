//! Lets another process take over: hands it our sockets, waits until it
//! serves, and has this one drained.
//!
//! A process that takes over and fails leaves everything as it was: sockets are
//! shared until it says that it listens, and this one stops accepting only then.

use super::shared::Shared;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use torana_control::notice;
use torana_net::hand_over;

/// How long it takes no visitors after it could not take one.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// How to start the process that comes after this one.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    /// The program: what is at this path then, which need not be what runs.
    pub(crate) program: PathBuf,
    /// Its arguments, among them that it takes over from its parent.
    pub(crate) arguments: Vec<OsString>,
}

/// How long a new process may take to read its configuration and listen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where upgrades begin.
#[derive(Clone)]
pub(super) struct Upgrades {
    shared: Arc<Shared>,
    /// Told when another process serves in our place.
    taken_over: UnboundedSender<()>,
    /// Whether a process is taking over, or has.
    is_busy: Arc<AtomicBool>,
}

impl Upgrades {
    pub(super) fn new(shared: Arc<Shared>, taken_over: UnboundedSender<()>) -> Upgrades {
        Upgrades { shared, taken_over, is_busy: Arc::default() }
    }

    /// Hands over to whoever asks at `socket`, on a thread of its own.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn listen(&self, socket: UnixListener) -> io::Result<()> {
        let upgrades = self.clone();
        thread::Builder::new().name("torana-upgrade".into()).spawn(move || upgrades.accept(&socket))?;
        Ok(())
    }

    fn accept(&self, socket: &UnixListener) {
        // Not a blocking accept: the successor has this very socket, and must
        // not lose its first visitor to us.
        loop {
            match poll(&mut [PollFd::new(socket, PollFlags::IN)], None) {
                Ok(_) => {}
                // A signal that this thread happened to get, such as one to reload.
                Err(Errno::INTR) => continue,
                Err(error) => return notice::warn(&format!("this process cannot be taken over any more: {error}")),
            }
            if self.is_over() {
                return;
            }
            let stream = match socket.accept() {
                Ok((stream, _)) => stream,
                // It has gone again, or asked our successor.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    // Out of descriptors, perhaps: it still waits, and trying at once would spin.
                    thread::sleep(EXHAUSTED_PAUSE);
                    continue;
                }
            };
            // Accepted sockets are blocking, whatever the listening one is.
            match hand_over::check_peer(&stream) {
                Ok(()) if self.hand_over(&stream) => return,
                Ok(()) => {}
                Err(error) => notice::warn(&format!("somebody who may not asked for the sockets: {error}")),
            }
        }
    }

    /// Whether this process is on its way out.
    fn is_over(&self) -> bool {
        self.shared.common.cell.is_draining() || self.taken_over.is_closed()
    }

    /// Starts the process that is to take over, and hands over to it.
    pub(super) fn start_successor(&self, successor: &Successor) {
        let result = UnixStream::pair().and_then(|(ours, theirs)| {
            let child = Command::new(&successor.program)
                .args(&successor.arguments)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                // What a service manager passed us, it has not passed them.
                .env_remove("LISTEN_PID")
                .env_remove("LISTEN_FDS")
                .env_remove("LISTEN_FDNAMES")
                .spawn()?;
            let upgrades = self.clone();
            thread::Builder::new().name("torana-upgrade".into()).spawn(move || {
                let mut child = child;
                if !upgrades.hand_over(&ours) {
                    drop(ours);
                    // It ends by itself, with nothing to serve on.
                    let _ = child.wait();
                }
            })
        });
        if let Err(error) = result {
            let program = successor.program.display();
            notice::warn(&format!("no process can be started to take over ({program}): {error}"));
        }
    }

    /// True: another process serves now.
    fn hand_over(&self, stream: &UnixStream) -> bool {
        if self.is_over() || self.is_busy.swap(true, Ordering::AcqRel) {
            notice::warn("a process that wants to take over is turned away: another one does, or this one is stopping");
            return false;
        }
        notice::say("a new process is taking over");
        let given = self.shared.sockets().passable().and_then(|sockets| {
            let labelled = sockets.iter().map(|(label, socket)| (label.clone(), socket));
            hand_over::give(stream, labelled, PATIENCE)
        });
        let is_taken = match given {
            Ok(()) => hand_over::is_taken(stream, PATIENCE),
            Err(error) => {
                notice::warn(&format!("the sockets cannot be handed over: {error}"));
                false
            }
        };
        if is_taken {
            // The main thread drains; if it has gone, it did already.
            let _ = self.taken_over.send(());
        } else {
            notice::warn("the new process has not taken over; this one goes on");
            self.is_busy.store(false, Ordering::Release);
        }
        is_taken
    }
}
