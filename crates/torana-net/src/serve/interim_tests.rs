use super::*;
use crate::io::Socket;
use crate::serve::link::Link;
use crate::serve::send::Sending;
use crate::service::Settings;
use crate::timer::Timer;
use std::future::poll_fn;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::task::Waker;
use torana_core::testing;

/// A client's connection, and the client's end of it.
async fn pair() -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    // Takes a part of what is written, not all or nothing.
    socket2::SockRef::from(&ours).set_send_buffer_size(16 * 1024).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    // Nothing can be written before the runtime has heard of the socket.
    ours.writable().await.unwrap();
    (Link::new(Io::Plain(Socket::Unix(ours))), theirs)
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn hints(number: usize, size: usize) -> Fields {
    let text = format!("103\nx-number: {number}\nlink: <{}>", "x".repeat(size));
    testing::reply(&text).head.fields
}

fn hints_text(number: usize, size: usize) -> String {
    format!("HTTP/1.1 103 Early Hints\r\nx-number: {number}\r\nlink: <{}>\r\n\r\n", "x".repeat(size))
}

/// Offers until the socket and the bound are full; how many that took.
fn fill(link: &Link, size: usize) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    for number in 0.. {
        let before = link.interim.waiting();
        link.offer(Status::EARLY_HINTS, &hints(number, size));
        if link.interim.waiting() == before {
            return number;
        }
        assert!(link.interim.waiting() <= MOST);
        let _ = link.poll_interim(&mut cx);
    }
    unreachable!()
}

#[test]
fn a_reply_is_written_as_it_was_offered() {
    block_on(async {
        let (link, mut client) = pair().await;
        link.interim.open();
        assert!(!link.interim.is_owing());
        link.offer(Status::PROCESSING, &Fields::default());
        link.offer(Status::EARLY_HINTS, &testing::reply("103\nLink: </a>\nX-Own: 1").head.fields);
        poll_fn(|cx| link.poll_interim(cx)).await.unwrap();
        assert!(!link.interim.is_owing());
        drop(link);
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        let wanted = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nX-Own: 1\r\n\r\n";
        assert_eq!(got, wanted);
    });
}

#[test]
fn there_is_a_time_for_them() {
    block_on(async {
        let (link, _client) = pair().await;
        let offer = || link.offer(Status::EARLY_HINTS, &hints(0, 1));
        offer();
        link.interim.invite();
        assert!(!link.interim.is_owing(), "no request is being served");
        link.interim.open();
        offer();
        let waiting = link.interim.waiting();
        assert!(waiting > 0);
        link.interim.close();
        offer();
        link.interim.invite();
        assert_eq!(link.interim.waiting(), waiting, "the final reply has begun");
    });
}

#[test]
fn a_client_that_does_not_read_costs_no_more_than_the_bound() {
    block_on(async {
        let (link, _client) = pair().await;
        link.interim.open();
        assert!(fill(&link, 1000) > 64, "the socket took none");
        // A smaller one may still find room, one that is too large never does.
        link.offer(Status::EARLY_HINTS, &hints(0, MOST));
        assert!(link.interim.waiting() <= MOST);
        // The invitation is not an offer.
        let before = link.interim.waiting();
        link.interim.invite();
        assert_eq!(link.interim.waiting(), before + response::CONTINUE.len());
    });
}

/// Interim replies, `100 Continue` and the final reply, at a client that took
/// nothing for a while: every message is whole, the final one is the last.
#[test]
fn messages_do_not_mix() {
    const SIZE: usize = 20_000;
    block_on(async {
        let (link, mut client) = pair().await;
        link.interim.open();
        let taken = fill(&link, SIZE);
        let mut wanted: String = (0..taken).map(|number| hints_text(number, SIZE)).collect();
        let (written, waiting) = wanted.split_at(wanted.len() - link.interim.waiting());
        assert!(!written.is_empty() && !waiting.starts_with("HTTP/"), "none is written in part, so nothing is shown");
        link.interim.invite();
        link.interim.close();
        let mut exchange = testing::raw_exchange("GET / HTTP/1.1\nhost: x");
        let mut reply = testing::reply("200\ndate: now\n\nfinal");
        let settings = Settings::default();
        let mut sending = Sending::start(&mut exchange, &mut reply, Persist::Close, &settings).unwrap();
        let mut timer = Timer::new();
        let mut cx = Context::from_waker(Waker::noop());
        let polled = sending.poll(&mut cx, &link, &mut timer, &mut reply.body, &mut exchange.notes);
        assert!(polled.is_pending() && sending.is_unsent(), "the final reply has passed the others");
        let reading = std::thread::spawn(move || {
            let mut got = String::new();
            client.read_to_string(&mut got).unwrap();
            got
        });
        poll_fn(|cx| sending.poll(cx, &link, &mut timer, &mut reply.body, &mut exchange.notes)).await.unwrap();
        assert!(!link.interim.is_owing() && !sending.is_unsent());
        drop(link);
        wanted += "HTTP/1.1 100 Continue\r\n\r\n";
        wanted += "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfinal";
        assert!(reading.join().unwrap() == wanted, "the client got something else");
    });
}

#[test]
fn a_stream_is_offered_no_more_than_the_bound() {
    let offered = Offered::take();
    for number in 0..100 {
        offered.offer(Status::EARLY_HINTS, &hints(number, 1000));
    }
    // 1000 and a few bytes, and 32 for each of two fields and the status.
    assert_eq!(offered.replies.borrow().len(), 58);
    let first = &offered.replies.borrow()[0];
    assert_eq!((first.status().as_u16(), first.headers().len()), (103, 2));
}

#[test]
fn what_was_offered_is_not_for_the_next_stream() {
    let offered = Offered::take();
    offered.offer(Status::EARLY_HINTS, &hints(0, MOST - 200));
    assert!(!offered.is_empty());
    let address = Rc::as_ptr(&offered);
    offered.keep();
    let again = Offered::take();
    assert_eq!(Rc::as_ptr(&again), address);
    assert!(again.is_empty());
    // Nor does it use up the next one's room.
    again.offer(Status::EARLY_HINTS, &hints(0, MOST - 200));
    assert!(!again.is_empty());
    // Not kept while somebody else could still add to it.
    let other = again.clone();
    again.keep();
    assert_ne!(Rc::as_ptr(&Offered::take()), Rc::as_ptr(&other));
}
