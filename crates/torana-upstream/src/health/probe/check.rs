//! One probe.
//!
//! Every probe opens a connection of its own and closes it. Whether new
//! connections are taken is part of what is to be found out, and an endpoint
//! that has lost its accept loop answers for a long time on old ones. It costs
//! the endpoint a handshake per interval; TLS sessions are resumed.

use super::grpc::{self, Answer};
use super::target::Target;
use crate::health::spec::{Check, GrpcCheck, HttpCheck};
use std::future::poll_fn;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use torana_core::body::{Body, BodyError, Progress};
use torana_core::deadline::Deadline;
use torana_core::head::{Fields, Method};
use torana_core::names::KnownName;
use torana_core::refusal::{Origin, Rejection};
use torana_core::reply::Reply;
use torana_net::client::dial::{Dialled, dial};
use torana_net::client::h1::{self, Outgoing};
use torana_net::client::h2;

/// Read at most of a body in which text is looked for.
const MOST_BODY: usize = 64 * 1024;

/// Longest answer to a gRPC check; it takes seven bytes.
const MOST_GRPC_BODY: usize = 4 * 1024;

/// How long an HTTP/2 connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(100);

/// Longest account of a probe, in bytes: causes may quote strangers.
const MOST_WORDS: usize = 200;

/// How endpoints recognise probes in their logs.
const USER_AGENT: &[u8] = b"torana-health";

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probed {
    /// `None`: it could not be made, and says nothing about the endpoint.
    pub(super) passed: Option<bool>,
    /// What was seen.
    pub(super) words: Box<str>,
}

/// Why a probe did not pass.
enum Miss {
    /// The endpoint was not reached, or broke off.
    Rejected(Rejection),
    /// It answered, but not as it should.
    Answered(String),
}

impl From<Rejection> for Miss {
    fn from(rejection: Rejection) -> Miss {
        Miss::Rejected(rejection)
    }
}

impl From<BodyError> for Miss {
    fn from(error: BodyError) -> Miss {
        Miss::Rejected(error.into())
    }
}

/// Makes one probe; takes no longer than its timeout, and a moment for goodbye.
pub(super) async fn check(target: &Target) -> Probed {
    let began = Instant::now();
    // An HTTP/2 connection runs in a task of its own. This set ends with the
    // probe, and whatever is left in it: an endpoint that does not read must
    // not collect a socket of ours with every probe.
    let tasks = LocalSet::new();
    let asked = tokio::time::timeout(target.active.timeout, tasks.run_until(Box::pin(ask(target)))).await;
    let took = began.elapsed();
    let _ = tokio::time::timeout(FAREWELL, tasks).await;
    let (passed, words) = match asked {
        Ok(Ok(seen)) => (Some(true), format!("{seen} in {} ms", took.as_millis())),
        Ok(Err(Miss::Answered(seen))) => (Some(false), seen),
        Ok(Err(Miss::Rejected(rejection))) => {
            let blamed = rejection.refusal.origin == Origin::Upstream;
            (blamed.then_some(false), told(&rejection))
        }
        Err(_) => (Some(false), format!("no answer within {:?}", target.active.timeout)),
    };
    Probed { passed, words: shortened(words) }
}

fn told(rejection: &Rejection) -> String {
    match &rejection.cause {
        Some(cause) => format!("{}: {cause}", rejection.refusal.code),
        None => rejection.refusal.code.to_owned(),
    }
}

fn shortened(mut words: String) -> Box<str> {
    if words.len() > MOST_WORDS {
        let end = (0..=MOST_WORDS).rev().find(|&at| words.is_char_boundary(at)).unwrap_or(0);
        words.truncate(end);
        words.push('…');
    }
    words.into()
}

async fn ask(target: &Target) -> Result<String, Miss> {
    match &target.active.check {
        Check::Tcp => tcp(target).await,
        Check::Http(check) => http(target, check).await,
        Check::Grpc(check) => grpc_health(target, check).await,
    }
}

async fn connect(target: &Target, http2: bool) -> Result<Dialled, Rejection> {
    // The probe as a whole has a timeout.
    dial(target.place(), target.security(http2), Duration::ZERO).await
}

async fn tcp(target: &Target) -> Result<String, Miss> {
    let Dialled { mut io, .. } = connect(target, false).await?;
    // A TLS server that is left without a word logs an error.
    let _ = poll_fn(|cx| io.poll_shutdown(cx)).await;
    Ok("connected".to_owned())
}

async fn http(target: &Target, check: &HttpCheck) -> Result<String, Miss> {
    let mut fields = Fields::default();
    fields.set_own(KnownName::UserAgent, USER_AGENT);
    set_host(&mut fields, check.host.as_deref().unwrap_or(&target.authority))?;
    let outgoing = Outgoing { target: &[check.path.as_bytes()], ..outgoing(check.method, &fields) };
    let Dialled { io, http2 } = connect(target, false).await?;
    let reply = if http2 || target.prior_knowledge() {
        let connection = h2::start(io).await?;
        connection.send(&outgoing, &target.authority, Body::Empty).await
    } else {
        h1::Connection::new(io).send(&outgoing, Body::Empty).await
    };
    let mut reply = reply.map_err(|failure| failure.rejection)?;
    let status = reply.head.status;
    if !check.expected.contains(status) {
        return Err(Miss::Answered(format!("{status}, expected {}", check.expected)));
    }
    if let Some(text) = &check.body_contains
        && !contains(&mut reply.body, text.as_bytes()).await?
    {
        return Err(Miss::Answered(format!("{status}, but the body does not contain the text")));
    }
    Ok(status.to_string())
}

async fn grpc_health(target: &Target, check: &GrpcCheck) -> Result<String, Miss> {
    let mut fields = Fields::default();
    fields.set_own(KnownName::UserAgent, USER_AGENT);
    fields.set_own(KnownName::ContentType, b"application/grpc");
    fields.set_own(KnownName::Te, b"trailers");
    let millis = target.active.timeout.as_millis().min(99_999_999);
    fields.set_own(KnownName::GrpcTimeout, format!("{millis}m").as_bytes());
    set_host(&mut fields, check.host.as_deref().unwrap_or(&target.authority))?;
    let outgoing = Outgoing { target: &[grpc::PATH], ..outgoing(Method::Post, &fields) };
    let Dialled { io, .. } = connect(target, true).await?;
    let connection = h2::start(io).await?;
    let body = Body::from(grpc::request(&check.service));
    let mut reply = connection.send(&outgoing, &target.authority, body).await.map_err(|failure| failure.rejection)?;
    let answer = read(&mut reply.body, MOST_GRPC_BODY).await?;
    match grpc_status(&mut reply).as_deref() {
        _ if reply.head.status.code() != 200 => Err(Miss::Answered(format!("HTTP {}", reply.head.status))),
        Some("0") => match answer.as_deref().and_then(grpc::response) {
            Some(Answer::Serving) => Ok(Answer::Serving.as_str().to_owned()),
            Some(other) => Err(Miss::Answered(other.as_str().to_owned())),
            None => Err(Miss::Answered("an answer that is not of the health protocol".to_owned())),
        },
        Some("5") => Err(Miss::Answered(format!("the service `{}` is not known there", check.service))),
        Some("12") => Err(Miss::Answered("the server does not have the health protocol".to_owned())),
        Some(code) => Err(Miss::Answered(format!("gRPC status {code}"))),
        None => Err(Miss::Answered("a reply without gRPC status".to_owned())),
    }
}

/// The gRPC status: in the trailers, or in the head of a reply without body.
fn grpc_status(reply: &mut Reply) -> Option<String> {
    let trailers = reply.body.trailers();
    let fields = trailers.as_deref().unwrap_or(&reply.head.fields);
    let text = std::str::from_utf8(fields.get(KnownName::GrpcStatus)?).ok()?;
    // A number, and no text of a stranger's in our words.
    text.parse::<u32>().ok().map(|code| code.to_string())
}

fn outgoing<'a>(method: Method, fields: &'a Fields) -> Outgoing<'a> {
    Outgoing {
        method,
        method_text: method.as_str(),
        target: &[],
        fields,
        upgrade: false,
        deadline: Deadline::NONE,
        body_idle: Duration::ZERO,
        interim: None,
    }
}

fn set_host(fields: &mut Fields, host: &str) -> Result<(), Rejection> {
    let unwritable = |_| Rejection::new(&torana_net::refusals::UPSTREAM_UNWRITABLE).because("the host has a bad byte");
    fields.set(KnownName::Host, host.as_bytes()).map_err(unwritable)
}

/// The whole body, or `None` if it is longer than `most`.
async fn read(body: &mut Body, most: usize) -> Result<Option<Vec<u8>>, BodyError> {
    let mut all = Vec::new();
    while poll_fn(|cx| body.poll_data(cx)).await? == Progress::Data {
        let data = body.data();
        if all.len() + data.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(data);
        let count = data.len();
        body.consume(count);
    }
    Ok(Some(all))
}

/// Whether `text` is in the first [`MOST_BODY`] bytes of `body`. Reads no more
/// than it takes to know.
async fn contains(body: &mut Body, text: &[u8]) -> Result<bool, BodyError> {
    let mut seen = Vec::new();
    while poll_fn(|cx| body.poll_data(cx)).await? == Progress::Data {
        let data = body.data();
        let count = data.len().min(MOST_BODY - seen.len());
        // The text may have begun in what was seen before.
        let from = seen.len().saturating_sub(text.len());
        seen.extend_from_slice(data.get(..count).unwrap_or_default());
        let new = seen.get(from..).unwrap_or_default();
        if text.is_empty() || new.windows(text.len()).any(|window| window == text) {
            return Ok(true);
        }
        if seen.len() == MOST_BODY {
            return Ok(false);
        }
        body.consume(count);
    }
    Ok(text.is_empty())
}
