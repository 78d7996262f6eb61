//! The sockets of all listeners, and what a new plan changes about them.

use super::worker::Command;
use std::io;
use tokio::sync::mpsc::UnboundedSender;
use torana_config::model::ListenAddress;
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
}

/// One listener's sockets, one per worker.
struct Bound {
    socket: u64,
    id: ListenerId,
    /// As configured: port 0 stays port 0.
    address: ListenAddress,
    listeners: Vec<Listener>,
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
    pub(crate) fn prepare(&self, plan: &Plan, workers: usize) -> io::Result<Prepared> {
        let mut new = Vec::new();
        for listener in &plan.listeners {
            if self.bound.iter().all(|bound| bound.address != listener.address) {
                let listeners = self.bind(&listener.address, workers)?;
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
            let bound = Bound { socket, id, address, listeners };
            bound.listen(workers);
            self.bound.push(bound);
        }
        let mut kept = Vec::new();
        for mut bound in std::mem::take(&mut self.bound) {
            let listener = plan.listeners.iter().find(|listener| listener.address == bound.address);
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

    /// Lets go of every socket; the workers' own stay with them.
    pub(crate) fn clear(&mut self) {
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
        for (worker, listener) in workers.iter().zip(&self.listeners) {
            match listener.try_clone() {
                // A worker that has ended serves nothing; that was reported.
                Ok(listener) => drop(worker.send(Command::Listen { socket: self.socket, id: self.id, listener })),
                Err(error) => {
                    torana_control::notice::warn(&format!("a worker cannot listen on {}: {error}", self.address))
                }
            }
        }
    }

    fn unlisten(&self, workers: &[UnboundedSender<Command>]) {
        for worker in workers {
            let _ = worker.send(Command::Unlisten { socket: self.socket });
        }
    }
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
