//! Idle HTTP/1.1 connections to one endpoint, on one worker.

use crate::client::h1::Connection;
use crate::timer;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::metric::Counter;

/// What happened to the connections of a pool. Shared with the scrape.
#[derive(Debug, Default)]
pub struct PoolMetrics {
    /// Connections opened.
    pub opened: Counter,
    /// Requests sent on a connection that had served before.
    pub reused: Counter,
    /// Connections waiting for a request now.
    pub idle: Counter,
    /// Connections thrown away because they were closed or had become dirty
    /// while they waited.
    pub discarded: Counter,
}

/// A connection that has waited no longer than this is not looked at twice. An
/// end that arrived meanwhile is as likely to arrive right behind the request,
/// and under load, where requests follow each other, looking would cost each of
/// them a system call.
const UNSEEN: Duration = Duration::from_millis(1);

/// A last-in-first-out pool: the connection used last is the one whose path
/// and buffers are warm, and the surplus grows old and goes.
#[derive(Debug)]
pub struct Pool {
    idle: RefCell<VecDeque<Box<Connection>>>,
    max_idle: usize,
    idle_timeout: Duration,
    closed: Cell<bool>,
    metrics: Arc<PoolMetrics>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(max_idle: usize, idle_timeout: Duration, metrics: Arc<PoolMetrics>) -> Rc<Pool> {
        Rc::new(Pool { idle: RefCell::default(), max_idle, idle_timeout, closed: Cell::new(false), metrics })
    }

    /// Takes a connection on which nothing has happened while it waited. `once`
    /// is for a request that cannot be sent again: it is worth a system call to
    /// know of an end that has arrived but was not noticed yet.
    #[must_use]
    pub fn take(self: &Rc<Self>, once: bool) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop_back()?;
            self.metrics.idle.sub(1);
            let has_waited = timer::coarse_now().saturating_duration_since(connection.idle_since) >= UNSEEN;
            let is_clean = if once && has_waited { connection.is_surely_clean() } else { connection.is_clean() };
            if is_clean {
                self.metrics.reused.add(1);
                connection.set_home(self.clone());
                return Some(connection);
            }
            self.metrics.discarded.add(1);
        }
    }

    /// Makes a fresh connection one of this pool's.
    #[must_use]
    pub fn adopt(self: &Rc<Self>, mut connection: Box<Connection>) -> Box<Connection> {
        self.metrics.opened.add(1);
        connection.set_home(self.clone());
        connection
    }

    pub(crate) fn put(&self, mut connection: Box<Connection>) {
        if self.closed.get() {
            return;
        }
        connection.idle_since = timer::coarse_now();
        let mut idle = self.idle.borrow_mut();
        idle.push_back(connection);
        if idle.len() > self.max_idle {
            idle.pop_front();
        } else {
            self.metrics.idle.add(1);
        }
    }

    /// Closes connections that have waited too long or were closed by the
    /// other side. Called now and then by the worker.
    pub fn sweep(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|connection| {
            now.saturating_duration_since(connection.idle_since) < self.idle_timeout && connection.is_clean()
        });
        let gone = (before - idle.len()) as u64;
        self.metrics.idle.sub(gone);
        self.metrics.discarded.add(gone);
    }

    /// Closes all idle connections now and busy ones when they are done: the
    /// endpoint is no longer part of the configuration.
    pub fn close(&self) {
        self.closed.set(true);
        self.clear();
    }

    /// Closes all idle connections now.
    pub fn clear(&self) {
        let gone = std::mem::take(&mut *self.idle.borrow_mut()).len() as u64;
        self.metrics.idle.sub(gone);
    }

    /// How many connections wait.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Io, Socket};

    /// As long as nobody asks the kernel for events, the end of a connection
    /// that has arrived is not among them.
    #[tokio::test]
    async fn an_end_that_nobody_has_noticed_is_seen_by_who_cannot_send_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        let pool = Pool::new(8, Duration::from_secs(60), Arc::default());
        pool.put(pool.adopt(Connection::new(Io::Plain(Socket::Tcp(tcp)))));
        pool.put(pool.take(true).expect("nothing has happened"));
        drop(peer);
        // Loopback is quick, not instant.
        let is_gone = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            let _ = timer::now();
            pool.take(true).map(|connection| pool.put(connection)).is_none()
        });
        assert!(is_gone && pool.idle() == 0);
    }

    #[tokio::test]
    async fn one_that_was_used_a_moment_ago_is_not_asked_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().unwrap());
        let pool = Pool::new(8, Duration::from_secs(60), Arc::default());
        let _ = timer::now();
        pool.put(pool.adopt(Connection::new(Io::Plain(Socket::Tcp(tcp)))));
        assert!(pool.take(true).is_some(), "its end has arrived, but nobody looked");
    }
}
