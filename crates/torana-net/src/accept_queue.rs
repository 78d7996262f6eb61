//! The queue of connections that wait at a listening socket.
//!
//! An attempt to accept that finds nobody is dear: the kernel makes a socket
//! first, looks into the queue, and throws the socket away, which takes 3 us
//! where asking takes 0.2 (measured; a proxied request takes 12). So a
//! connection is accepted when the kernel has said that one came; whether more
//! came with it is asked.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

/// A listening TCP socket, registered with the runtime of its worker.
#[derive(Debug)]
pub struct AcceptQueue {
    socket: AsyncFd<std::net::TcpListener>,
    /// Whether somebody was taken since the kernel last said that there is one.
    taken: Cell<bool>,
}

impl AcceptQueue {
    /// The queue of `socket`, which does not block. To be called in a runtime.
    ///
    /// # Errors
    /// It cannot be registered.
    #[expect(
        deprecated,
        reason = "the successor is unsafe to call, for types that close a descriptor while they lend it; std's do not"
    )]
    pub fn new(socket: std::net::TcpListener) -> io::Result<AcceptQueue> {
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(AcceptQueue { socket, taken: Cell::new(false) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// The next connection and whose it is. Nothing is lost if it is given up.
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            // Not `readable`, which takes no account of how long this task has run: of a
            // crowd a part is taken at a time, and others have their turn in between.
            let mut ready = poll_fn(|cx| self.socket.poll_read_ready(cx)).await?;
            if !self.taken.get() || has_waiting(self.socket.get_ref())? {
                // Even where it fails: then it is asked.
                self.taken.set(true);
                match self.take() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    taken => return taken,
                }
            }
            // Who came after it was asked is announced anew.
            self.taken.set(false);
            ready.clear_ready();
        }
    }

    fn take(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = acceptfrom_with(self.socket.get_ref().as_fd(), flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Nobody is at the other end any more.
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((TcpStream::from_std(socket.into())?, peer))
    }
}

/// Whether a connection waits at a listening socket.
///
/// # Errors
/// As poll(2).
pub fn has_waiting(socket: &impl AsFd) -> io::Result<bool> {
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut sockets, Some(&Timespec::default())) {
        Ok(count) => Ok(count > 0),
        // A signal came before the answer. Accepting would find out as well.
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{ListenAddress, Listener, bind};
    use std::collections::BTreeSet;
    use std::net::TcpStream as Client;
    use std::rc::Rc;
    use std::time::Duration;

    fn listening() -> (AcceptQueue, SocketAddr) {
        let any = ListenAddress::Socket(([127, 0, 0, 1], 0).into());
        let Listener::Tcp(socket) = bind(&any, false).unwrap() else { panic!("not TCP") };
        let queue = AcceptQueue::new(socket).unwrap();
        let address = queue.local_addr().unwrap();
        (queue, address)
    }

    /// The ports of the next `count` clients; fails if they do not come.
    async fn taken(queue: &AcceptQueue, count: usize) -> Vec<u16> {
        let mut ports = Vec::new();
        while ports.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(5), queue.accept()).await;
            ports.push(next.expect("a connection is missed").unwrap().1.port());
        }
        ports
    }

    async fn is_empty(queue: &AcceptQueue) -> bool {
        tokio::time::timeout(Duration::from_millis(20), queue.accept()).await.is_err()
    }

    #[tokio::test]
    async fn those_who_came_together_are_taken_in_their_order_and_so_is_who_comes_later() {
        let (queue, address) = listening();
        for round in 0..3 {
            let clients: Vec<Client> = (0..=round).map(|_| Client::connect(address).unwrap()).collect();
            let ports: Vec<u16> = clients.iter().map(|client| client.local_addr().unwrap().port()).collect();
            assert_eq!(taken(&queue, clients.len()).await, ports);
            assert!(is_empty(&queue).await);
        }
    }

    #[tokio::test]
    async fn waiting_may_be_given_up() {
        let (queue, address) = listening();
        assert!(is_empty(&queue).await);
        let clients = [Client::connect(address).unwrap(), Client::connect(address).unwrap()];
        assert_eq!(taken(&queue, 1).await.len(), 1);
        assert_eq!(taken(&queue, 1).await.len(), 1);
        assert!(is_empty(&queue).await);
        drop(clients);
    }

    /// Somebody else may take from the same queue, as a new process does while
    /// it takes over: then nobody is there although it was said so.
    #[tokio::test]
    async fn who_was_taken_by_somebody_else_is_waited_for_no_longer() {
        let (queue, address) = listening();
        let other = queue.socket.get_ref().try_clone().unwrap();
        let first = Client::connect(address).unwrap();
        assert!(other.accept().is_ok());
        assert!(is_empty(&queue).await);
        let second = Client::connect(address).unwrap();
        assert_eq!(taken(&queue, 1).await, [second.local_addr().unwrap().port()]);
        drop(first);
    }

    #[tokio::test]
    async fn nobody_is_missed_who_comes_while_others_are_taken() {
        const EACH: usize = 500;
        let (queue, address) = listening();
        let crowds: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        drop(Client::connect(address).unwrap());
                    }
                })
            })
            .collect();
        let mut ports = taken(&queue, 4 * EACH).await;
        assert!(is_empty(&queue).await);
        for crowd in crowds {
            crowd.join().unwrap();
        }
        ports.sort_unstable();
        ports.dedup();
        assert!(ports.len() > EACH, "the clients are told apart");
    }

    /// Or a crowd would keep the worker from those who are there already.
    #[tokio::test]
    async fn others_have_their_turn_while_a_crowd_is_taken() {
        const CROWD: usize = 600;
        let (queue, address) = listening();
        let crowd: Vec<Client> = (0..CROWD).map(|_| Client::connect(address).unwrap()).collect();
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let others = async move {
            let mut seen = BTreeSet::new();
            while counted.get() < CROWD {
                seen.insert(counted.get());
                tokio::task::yield_now().await;
            }
            seen
        };
        let take = async move {
            while count.get() < CROWD {
                drop(queue.accept().await.unwrap());
                count.set(count.get() + 1);
            }
        };
        let local = tokio::task::LocalSet::new();
        local.spawn_local(take);
        let seen = local.run_until(others).await;
        assert!(seen.iter().any(|count| *count > 0), "all {CROWD} were taken at once");
        drop(crowd);
    }

    #[tokio::test]
    async fn a_connection_can_be_used() {
        use std::io::Write;
        let (queue, address) = listening();
        let mut client = Client::connect(address).unwrap();
        let (socket, _) = queue.accept().await.unwrap();
        client.write_all(b"hello").unwrap();
        let mut room = [0; 8];
        let read = tokio::time::timeout(
            Duration::from_secs(5),
            poll_fn(|cx| crate::direct::poll_receive(&socket, cx, &mut room)),
        );
        assert_eq!(read.await.unwrap().unwrap(), 5);
    }
}
