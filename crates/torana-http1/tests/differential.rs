//! The codec against hyper on generated and mutated messages: whatever we
//! accept, hyper reads the same way, message by message on one connection.
//!
//! The reverse does not hold and is not wanted: hyper accepts bare LF, equal
//! repeated lengths and more, which are refused here.
//!
//! `tests/generate/mod.rs` makes the messages and says how to try others. Where
//! hyper has no reading of its own (justified, counted, printed with
//! `--nocapture`):
//!
//! * **target**: hyper parses the target into `http::Uri` while reading and
//!   answers 400 to what that refuses; here the target is text until admission,
//!   which is stricter still. Same when `Uri` writes it differently (it drops
//!   fragments and adds a path to the absolute form).
//! * **dropped trailers**: those of RFC 9110 §6.5.1, which hyper passes on.

#![allow(clippy::unwrap_used, reason = "tests")]

mod generate;
mod wire;

use bytes::Bytes;
use generate::Dice;
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use torana_core::head::{Method, Version};
use wire::{Reading, read_connection, read_reply};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What both parsers must agree on.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Meaning {
    method: String,
    target: Vec<u8>,
    status: u16,
    http10: bool,
    fields: Pairs,
    body: Vec<u8>,
    trailers: Pairs,
}

fn sorted(mut pairs: Pairs) -> Pairs {
    pairs.sort();
    pairs
}

fn ours(reading: &Reading) -> Meaning {
    Meaning {
        method: reading.method.clone(),
        target: reading.target.clone(),
        status: reading.status,
        http10: reading.version == Version::Http10,
        fields: sorted(reading.fields.clone()),
        body: reading.body.clone(),
        trailers: sorted(reading.trailers.clone()),
    }
}

fn pairs(map: &hyper::HeaderMap) -> Pairs {
    sorted(map.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())).collect())
}

async fn collect<B: hyper::body::Body<Data = Bytes> + Unpin>(mut body: B) -> Option<(Vec<u8>, Pairs)> {
    let (mut data, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.ok()?;
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = pairs(frame.trailers_ref()?),
        }
    }
    Some((data, trailers))
}

/// Writes all of `bytes` and reads whatever comes back, to the end.
async fn feed(mut io: DuplexStream, bytes: &[u8]) {
    io.write_all(bytes).await.ok();
    io.shutdown().await.ok();
    let mut sink = Vec::new();
    io.read_to_end(&mut sink).await.ok();
}

/// What hyper's server makes of the bytes of a connection.
async fn hyper_requests(bytes: &[u8]) -> Vec<Meaning> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (near, far) = tokio::io::duplex(1 << 20);
    let record = Rc::clone(&seen);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let record = Rc::clone(&record);
        async move {
            let (head, body) = request.into_parts();
            if let Some((body, trailers)) = collect(body).await {
                record.borrow_mut().push(Meaning {
                    method: head.method.to_string(),
                    target: head.uri.to_string().into_bytes(),
                    status: 0,
                    http10: head.version == hyper::Version::HTTP_10,
                    fields: pairs(&head.headers),
                    body,
                    trailers,
                });
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let server =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(far), service);
    let (result, ()) = tokio::join!(server, feed(near, bytes));
    drop(result);
    seen.take()
}

/// What hyper's client makes of the bytes a server answers with.
async fn hyper_reply(method: &str, bytes: &[u8]) -> Option<Meaning> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.ok()?;
    let request =
        hyper::Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new()).ok()?;
    let exchange = async {
        let reply = sender.send_request(request).await.ok()?;
        let (head, body) = reply.into_parts();
        let (body, trailers) = collect(body).await?;
        Some(Meaning {
            method: String::new(),
            target: Vec::new(),
            status: head.status.as_u16(),
            http10: head.version == hyper::Version::HTTP_10,
            fields: pairs(&head.headers),
            body,
            trailers,
        })
    };
    let server = async {
        let mut io = far;
        // Not before the request is there: a reply nobody asked for is an error.
        let mut request = [0; 1024];
        if io.read(&mut request).await.is_ok() {
            feed(io, bytes).await;
        }
    };
    let (meaning, result, ()) = tokio::join!(exchange, connection, server);
    drop(result);
    meaning
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Whether hyper's `Uri` reads this target, and writes it as it was.
fn is_plain_uri(target: &[u8]) -> bool {
    hyper::Uri::try_from(target).is_ok_and(|uri| uri.to_string().as_bytes() == target)
}

fn agree(us: &Meaning, them: &Meaning) -> bool {
    let same_head = Meaning { trailers: Vec::new(), ..us.clone() } == Meaning { trailers: Vec::new(), ..them.clone() };
    same_head && us.trailers.iter().all(|trailer| them.trailers.contains(trailer))
}

#[test]
fn hyper_reads_accepted_requests_the_same_way() {
    let runtime = runtime();
    let (mut accepted, mut refused, mut by_target) = (0, 0, 0);
    let seeds = generate::seeds(12_000);
    for seed in seeds.clone() {
        let mut dice = Dice::new(seed);
        let bytes = generate::requests(&mut dice);
        let theirs = runtime.block_on(hyper_requests(&bytes));
        let (readings, _) = read_connection(&bytes);
        refused += u64::from(readings.is_empty());
        for (index, reading) in readings.iter().enumerate() {
            if !is_plain_uri(&reading.target) {
                by_target += 1;
                break;
            }
            let us = ours(reading);
            let shown = String::from_utf8_lossy(&bytes);
            let Some(them) = theirs.get(index) else {
                panic!("seed {seed}: hyper has no reading {index} of {shown:?}; ours {us:?}")
            };
            assert!(agree(&us, them), "seed {seed}: {shown:?}\nours  {us:?}\nhyper {them:?}");
            accepted += 1;
        }
    }
    println!(
        "{accepted} requests read alike, {refused} refused at once, {by_target} left to admission for their target"
    );
    assert!(generate::is_balanced(&seeds, accepted, refused), "the generator is out of balance");
}

#[test]
fn hyper_reads_accepted_replies_the_same_way() {
    let runtime = runtime();
    let (mut accepted, mut refused, mut switched) = (0, 0, 0);
    let seeds = generate::seeds(8_000);
    for seed in seeds.clone() {
        let mut dice = Dice::new(seed);
        let bytes = generate::replies(&mut dice);
        let (name, method) = [("GET", Method::Get), ("HEAD", Method::Head)][dice.roll(2)];
        let mut rest = &bytes[..];
        let reading = loop {
            match read_reply(method, rest) {
                Ok(reading) if reading.status < 200 && reading.status != 101 => rest = &rest[reading.consumed..],
                other => break other,
            }
        };
        let Ok(reading) = reading else {
            refused += 1;
            continue;
        };
        // Nobody asked to switch: whoever sees 101 then closes.
        if reading.status == 101 {
            switched += 1;
            continue;
        }
        let us = ours(&reading);
        let shown = String::from_utf8_lossy(&bytes);
        let Some(them) = runtime.block_on(hyper_reply(name, &bytes)) else {
            panic!("seed {seed}: hyper has no reading of {shown:?} to {name}; ours {us:?}")
        };
        assert!(agree(&us, &them), "seed {seed}: {shown:?}\nours  {us:?}\nhyper {them:?}");
        accepted += 1;
    }
    println!("{accepted} replies read alike, {refused} refused, {switched} switched");
    assert!(generate::is_balanced(&seeds, accepted, refused), "the generator is out of balance");
}
