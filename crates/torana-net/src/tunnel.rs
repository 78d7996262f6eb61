//! Connections that have left HTTP: WebSocket and other upgrades, CONNECT.

use crate::buffer::{Buffer, SMALL};
use crate::drain;
use crate::io::Io;
use crate::serve::link::Link;
use crate::timer::{self, Timer};
use std::any::Any;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use torana_core::deadline::Deadline;
use torana_core::exchange::Notes;
use torana_core::reply::Tunnel;

/// A tunnel in which nothing moves either way for this long is closed; the
/// peers of a living one send pings long before.
const IDLE: Duration = Duration::from_secs(3600);

/// The upstream end of a tunnel, with what it has already sent.
pub struct UpstreamEnd {
    pub(crate) io: Io,
    pub(crate) early: Option<Buffer>,
    pub(crate) kept: Vec<Box<dyn Any>>,
}

impl Tunnel for UpstreamEnd {
    fn keep(&mut self, what: Box<dyn Any>) {
        self.kept.push(what);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl std::fmt::Debug for UpstreamEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamEnd")
    }
}

/// Copies both ways until both sides have ended, one has failed, or nothing
/// has moved for too long. Bytes the client sent early go first.
pub(crate) async fn run(link: &Link, upstream: Box<dyn Tunnel>, notes: &mut Notes) {
    let Ok(mut upstream) = upstream.into_any().downcast::<UpstreamEnd>() else { return };
    let mut up = Way::new(link.input.borrow_mut().buffer.take());
    let mut down = Way::new(upstream.early.take());
    let mut timer = Timer::new();
    timer.arm(Deadline::after(timer::coarse_now(), IDLE));
    poll_fn(|cx| {
        let mut client = link.io.borrow_mut();
        let before = up.moved + down.moved;
        let upwards = up.poll(cx, &mut client, &mut upstream.io);
        let downwards = down.poll(cx, &mut upstream.io, &mut client);
        if up.moved + down.moved != before {
            timer.arm(Deadline::after(timer::coarse_now(), IDLE));
        }
        match (upwards, downwards) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            // A peer that closes one way of a tunnel is done with it once the
            // other side has answered; while draining nobody waits for that.
            _ if timer.poll_expired(cx) || drain::expired() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    notes.request_bytes += up.moved;
    notes.response_bytes += down.moved;
}

/// One direction.
struct Way {
    buffer: Option<Buffer>,
    ended: bool,
    shut: bool,
    moved: u64,
}

impl Way {
    fn new(early: Option<Buffer>) -> Way {
        Way { buffer: early.filter(|buffer| !buffer.is_empty()), ended: false, shut: false, moved: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<std::io::Result<()>> {
        loop {
            while let Some(buffer) = &mut self.buffer {
                let count = ready!(to.poll_write(cx, buffer.data()))?;
                if count == 0 {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                buffer.consume(count);
                self.moved += count as u64;
                if buffer.is_empty() {
                    self.buffer = None;
                }
            }
            ready!(to.poll_flush(cx))?;
            if self.ended {
                if !self.shut {
                    ready!(to.poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(from.poll_readable(cx))?;
            let mut buffer = Buffer::take(SMALL);
            let count = ready!(buffer.poll_read(from, cx))?;
            self.ended = count == 0;
            self.buffer = Some(buffer).filter(|buffer| !buffer.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Socket;
    use std::pin::pin;
    use std::task::Waker;
    use tokio::net::UnixStream;

    #[test]
    fn a_tunnel_in_which_nothing_ever_moves_ends_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _at_client) = UnixStream::pair().unwrap();
            let (service, _at_service) = UnixStream::pair().unwrap();
            let link = Link::new(Io::Plain(Socket::Unix(client)));
            let upstream =
                Box::new(UpstreamEnd { io: Io::Plain(Socket::Unix(service)), early: None, kept: Vec::new() });
            let mut notes = Notes::new(timer::now());
            let mut running = pin!(run(&link, upstream, &mut notes));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(running.as_mut().poll(&mut cx).is_pending());
            timer::sweep(timer::now() + IDLE / 2);
            assert!(running.as_mut().poll(&mut cx).is_pending());
            timer::sweep(timer::now() + IDLE);
            assert!(running.as_mut().poll(&mut cx).is_ready());
        });
    }
}
