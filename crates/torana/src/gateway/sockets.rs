//! The sockets of all listeners, and what a new plan changes about them.

use super::heritage::{Heritage, Role};
use super::worker::Command;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use torana_config::model::ListenAddress;
use torana_net::defer;
use torana_net::listen::{self, Listener};
use torana_net::service::ListenerId;
use torana_plane::plan::Plan;

/// What the gateway listens on. Sockets are kept here besides in the workers,
/// so that a listener that only changes its name loses no connection that
/// waits to be accepted.
#[derive(Default)]
pub(crate) struct Sockets {
    bound: Vec<Bound>,
    next: u64,
    /// Whether they are about to be closed.
    stopping: bool,
    /// The admin interface's socket, to be handed over.
    admin: Option<(ListenAddress, Listener)>,
    /// Where successors ask, to be handed over.
    upgrade: Option<(PathBuf, Listener)>,
}

/// One listener's sockets: at least one per worker, and more where a process
/// that handed them over had more workers. A queue nobody accepts from would
/// hold connections for ever.
struct Bound {
    socket: u64,
    id: ListenerId,
    /// As configured: port 0 stays port 0.
    address: ListenAddress,
    listeners: Vec<Listener>,
    /// Whether clients are accepted when they speak.
    defers: bool,
}

/// New sockets, bound but not in use yet.
pub(crate) struct Prepared {
    new: Vec<(ListenerId, ListenAddress, Vec<Listener>)>,
}

impl Sockets {
    /// Binds what `plan` needs and is not bound yet.
    ///
    /// # Errors
    /// An address cannot be listened on; nothing has changed then.
    pub(super) fn prepare(&self, plan: &Plan, workers: usize, heritage: &mut Heritage) -> io::Result<Prepared> {
        let mut new = Vec::new();
        for listener in &plan.listeners {
            if self.bound.iter().all(|bound| bound.address != listener.address) {
                let inherited = heritage.claim(Role::Listener(&listener.name, &listener.address));
                let listeners = if inherited.is_empty() {
                    self.bind(&listener.address, workers)?
                } else {
                    complete(inherited, workers)?
                };
                new.push((listener.id, listener.address.clone(), listeners));
            }
        }
        Ok(Prepared { new })
    }

    fn bind(&self, address: &ListenAddress, workers: usize) -> io::Result<Vec<Listener>> {
        let wanted = net_address(address);
        match listen::bind_workers(&wanted, workers) {
            // From `127.0.0.1:80` to `:80`: who is in the way is this gateway.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && self.bound.iter().any(|bound| bound.address.overlaps(address)) =>
            {
                (0..workers).map(|_| listen::bind(&wanted, true)).collect()
            }
            bound => bound,
        }
    }

    /// Makes the workers listen where `plan`, which is in force, says, and
    /// nowhere else.
    pub(crate) fn apply(&mut self, plan: &Plan, prepared: Prepared, workers: &[UnboundedSender<Command>]) {
        for (id, address, listeners) in prepared.new {
            let socket = self.number();
            let bound = Bound { socket, id, address, listeners, defers: false };
            bound.listen(workers);
            self.bound.push(bound);
        }
        let mut kept = Vec::new();
        for mut bound in std::mem::take(&mut self.bound) {
            let listener = plan.listeners.iter().find(|listener| listener.address == bound.address);
            if let Some(listener) = listener {
                bound.defer(listener.listening.defer_accept && !self.stopping);
            }
            match listener {
                Some(listener) if listener.id != bound.id => {
                    bound.unlisten(workers);
                    (bound.socket, bound.id) = (self.number(), listener.id);
                    bound.listen(workers);
                    kept.push(bound);
                }
                Some(_) => kept.push(bound),
                None => bound.unlisten(workers),
            }
        }
        self.bound = kept;
    }

    /// Notes where the admin interface is.
    pub(super) fn set_admin(&mut self, admin: Option<(ListenAddress, Listener)>) {
        self.admin = admin;
    }

    /// Notes where successors ask.
    pub(super) fn set_upgrade(&mut self, path: PathBuf, socket: Listener) {
        self.upgrade = Some((path, socket));
    }

    /// Every socket under a descriptor of its own, with its label, for the
    /// process that takes over.
    pub(super) fn passable(&self) -> io::Result<Vec<(String, Listener)>> {
        let listeners = self
            .bound
            .iter()
            .flat_map(|bound| bound.listeners.iter().map(|listener| (Role::Listener("", &bound.address), listener)));
        let admin = self.admin.iter().map(|(address, socket)| (Role::Admin(address), socket));
        let upgrade = self.upgrade.iter().map(|(path, socket)| (Role::Upgrade(path), socket));
        let all = listeners.chain(admin).chain(upgrade);
        all.map(|(role, socket)| Ok((role.label(), socket.try_clone()?))).collect()
    }

    /// From now on clients are accepted as they come, whatever is configured:
    /// the sockets are about to be closed. Answers how long that should wait for
    /// those who have connected and not spoken yet.
    pub(super) fn stop_deferring(&mut self) -> Duration {
        self.stopping = true;
        let had_any = self.bound.iter().any(|bound| bound.defers);
        for bound in &mut self.bound {
            bound.defer(false);
        }
        if had_any { defer::STRAGGLERS } else { Duration::ZERO }
    }

    /// Lets go of every socket; the workers' own stay with them.
    pub(crate) fn clear(&mut self) {
        (self.admin, self.upgrade) = (None, None);
        self.bound.clear();
    }

    /// Where the listener `id` really listens.
    pub(crate) fn local_address(&self, id: ListenerId) -> Option<String> {
        let bound = self.bound.iter().find(|bound| bound.id == id)?;
        let address = bound.listeners.first()?.local_addr().ok()?;
        Some(address.to_string())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Bound {
    fn listen(&self, workers: &[UnboundedSender<Command>]) {
        for (worker, listener) in workers.iter().cycle().zip(&self.listeners) {
            match listener.try_clone() {
                // A worker that has ended serves nothing; that was reported.
                Ok(listener) => drop(worker.send(Command::Listen { socket: self.socket, id: self.id, listener })),
                Err(error) => {
                    torana_control::notice::warn(&format!("a worker cannot listen on {}: {error}", self.address))
                }
            }
        }
    }

    /// Sets whether clients are accepted when they speak. Sockets that were
    /// handed over may be set either way, so nothing is taken for granted.
    fn defer(&mut self, defers: bool) {
        self.defers = defers && self.address.socket().is_some();
        for listener in &self.listeners {
            if let Err(error) = defer::set(listener, defers) {
                torana_control::notice::warn(&format!("cannot set when {} accepts clients: {error}", self.address));
            }
        }
    }

    fn unlisten(&self, workers: &[UnboundedSender<Command>]) {
        for worker in workers {
            let _ = worker.send(Command::Unlisten { socket: self.socket });
        }
    }
}

/// Enough sockets for all workers. More queues on the same address, as workers
/// have otherwise, if the socket allows it (`SO_REUSEPORT`, and this user opened
/// it); else workers share the queues there are.
fn complete(mut inherited: Vec<Listener>, workers: usize) -> io::Result<Vec<Listener>> {
    let found = inherited.len();
    while inherited.len() < workers {
        let shared = &inherited[inherited.len() % found];
        let more = match shared {
            Listener::Tcp(_) => shared.local_addr().and_then(|address| listen::bind(&address, true)),
            Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        let more = more.or_else(|_| shared.try_clone())?;
        inherited.push(more);
    }
    Ok(inherited)
}

/// The address as `torana-net` takes it.
pub(crate) fn net_address(address: &ListenAddress) -> listen::ListenAddress {
    match (address, address.socket()) {
        (ListenAddress::Unix(path), _) => listen::ListenAddress::Unix(path.clone()),
        (_, Some(socket)) => listen::ListenAddress::Socket(socket),
        // Every address but a Unix one has a socket; this arm cannot be reached.
        (_, None) => listen::ListenAddress::Unix(Default::default()),
    }
}
