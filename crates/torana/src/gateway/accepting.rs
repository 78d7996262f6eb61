//! Accepting on one socket, until told to stop.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use tokio::task::{self, JoinHandle};
use torana_core::verdict::LocalBoxFuture;
use torana_net::accept_queue::has_waiting;
use torana_net::listen;

/// A task that accepts connections. Dropping this closes the worker's socket
/// there and then: aborting the task would close it when the task's turn comes,
/// and whoever connected in between would be reset.
pub(super) struct Accepting {
    future: Rc<RefCell<Option<LocalBoxFuture<'static, ()>>>>,
    task: JoinHandle<()>,
    /// The same socket, to see whether connections wait.
    socket: listen::Listener,
}

/// How often to let the task accept what waits. A client that never stops
/// connecting would keep the socket open for ever.
const MOST_TURNS: u32 = 1000;

impl Accepting {
    /// Runs `accepting`, which takes connections from `socket`.
    pub(super) fn start(socket: listen::Listener, accepting: impl Future<Output = ()> + 'static) -> Accepting {
        let accepting: LocalBoxFuture<'static, ()> = Box::pin(accepting);
        let future = Rc::new(RefCell::new(Some(accepting)));
        let polled = future.clone();
        let task = task::spawn_local(poll_fn(move |cx| match &mut *polled.borrow_mut() {
            Some(accepting) => accepting.as_mut().poll(cx),
            None => Poll::Ready(()),
        }));
        Accepting { future, task, socket }
    }

    /// Accepts what has connected so far, then closes the socket. Connections
    /// in the kernel's queue are established for the client, which may have
    /// sent a request already: closing the socket resets them.
    pub(super) async fn finish(self) {
        for _ in 0..MOST_TURNS {
            if !has_waiting(&self.socket).unwrap_or(false) {
                return;
            }
            task::yield_now().await;
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        drop(self.future.borrow_mut().take());
        self.task.abort();
    }
}
