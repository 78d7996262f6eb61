//! What the admin interface answers.

use super::answer::{Answer, Problem, json, problem, text};
use super::routes::{self, Page, Part, ROUTES, Route};
use super::{Client, Parts, guard, openapi};
use crate::notice;
use crate::revisions::{self, Listed};
use crate::running::{
    ConsumerAsk, ConsumerProblem, ConsumerProblemKind, ConsumerTask, NotDone, NotThere, Operation, Report,
};
use crate::supervisor::{Cause, NoRollback};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longest body a request may have.
const BODY_BYTES: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn answer(request: Request<Incoming>, client: &Client) -> Answer {
    match reply(request, client).await {
        Ok(answer) => answer,
        Err(refused) => {
            client.parts.running.admin_refused(refused.code);
            if refused.is_suspicious()
                && let Some(line) = client.refusals.line(refused.code, client.from, Instant::now())
            {
                notice::warn(&line);
            }
            problem(&refused, Value::Null)
        }
    }
}

async fn reply(request: Request<Incoming>, client: &Client) -> Result<Answer, Problem> {
    let found = routes::find(request.uri().path());
    if found.is_empty()
        && let Some(operation) =
            client.parts.running.operations().into_iter().find(|it| it.path == request.uri().path())
    {
        return operate(request, client, &operation).await;
    }
    let is_open = found.iter().any(|(route, _)| route.is_open);
    {
        let rules = client.rules.borrow();
        guard::check(&request, client.from, rules.as_ref(), is_open)?;
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let method = if is_read { &Method::GET } else { request.method() };
    let Some((route, named)) = found.iter().find(|(route, _)| route.method == *method) else {
        return if found.is_empty() { Err(NOT_FOUND) } else { Ok(not_allowed(client, &allowed(&found))) };
    };
    let body = if is_read { Bytes::new() } else { read(request.into_body()).await? };
    if route.page == Page::Explain {
        return explain(&body, &client.parts);
    }
    if let Page::Consumers(task) = route.page {
        return consumers(task, named, &body, &client.parts).await;
    }
    show(route.page, named, &client.parts).await
}

/// Has policies do what they offer.
async fn operate(request: Request<Incoming>, client: &Client, operation: &Operation) -> Result<Answer, Problem> {
    {
        let rules = client.rules.borrow();
        guard::check(&request, client.from, rules.as_ref(), false)?;
    }
    if request.method() != Method::POST {
        return Ok(not_allowed(client, "POST"));
    }
    let body = read(request.into_body()).await?;
    let arguments = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice(&body) };
    let done = match arguments {
        Ok(arguments) => client.parts.running.operate(&operation.path, &arguments),
        Err(error) => Err(NotDone::Arguments(format!("the body is not JSON: {error}"))),
    };
    match done {
        Ok(done) => Ok(json(StatusCode::OK, &done.await)),
        Err(NotDone::Nobody) => Err(NO_POLICY),
        Err(NotDone::Arguments(why)) => {
            client.parts.running.admin_refused(ARGUMENTS.code);
            Ok(problem(&ARGUMENTS, json!({ "arguments": why })))
        }
    }
}

const NO_POLICY: Problem =
    Problem { status: StatusCode::NOT_FOUND, code: "admin.no_policy", detail: "no route has a policy that does this" };

const ARGUMENTS: Problem = Problem {
    status: StatusCode::UNPROCESSABLE_ENTITY,
    code: "admin.arguments",
    detail: "what was sent along is not what this takes; `arguments` says why",
};

/// For `Allow`.
fn allowed(found: &[(&Route, Vec<Part>)]) -> String {
    let methods: Vec<&str> = found
        .iter()
        .map(|(route, _)| if route.method == Method::GET { "GET, HEAD" } else { route.method.as_str() })
        .collect();
    methods.join(", ")
}

fn not_allowed(client: &Client, allow: &str) -> Answer {
    let detail = "the method is not possible here";
    let refused = Problem { status: StatusCode::METHOD_NOT_ALLOWED, code: "admin.method", detail };
    client.parts.running.admin_refused(refused.code);
    let mut answer = problem(&refused, Value::Null);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        answer.headers_mut().insert(ALLOW, allow);
    }
    answer
}

async fn show(page: Page, named: &[Part], parts: &Parts) -> Result<Answer, Problem> {
    const OK: StatusCode = StatusCode::OK;
    const PLAIN: &str = "text/plain; charset=utf-8";
    let Parts { running, status, version, .. } = parts;
    Ok(match page {
        Page::Index => json(OK, &index(parts)),
        Page::Live => text(OK, PLAIN, "ok\n"),
        Page::Ready if status.is_ready() => text(OK, PLAIN, "ready\n"),
        Page::Ready => {
            let detail = "the gateway is stopping";
            let refused = Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: "admin.not_ready", detail };
            problem(&refused, Value::Null)
        }
        Page::Status => {
            let mut shown = status.to_json();
            shown["open_connections"] = running.open_connections().into();
            json(OK, &shown)
        }
        Page::Metrics => text(OK, "text/plain; version=0.0.4; charset=utf-8", running.metrics()),
        Page::Config => {
            let mut shown = status.to_json();
            shown["config"] = running.config();
            json(OK, &shown)
        }
        Page::Listeners => json(OK, &json!({ "listeners": running.listeners() })),
        Page::Routes => json(OK, &json!({ "routes": running.routes() })),
        Page::Drain | Page::Undrain => match running.drain(name(named, 0), name(named, 1), page == Page::Drain) {
            Ok(shown) => json(OK, &shown),
            Err(NotThere::Upstream) => return Err(NO_UPSTREAM),
            Err(NotThere::Endpoint) => return Err(NO_ENDPOINT),
        },
        Page::Upstreams => json(OK, &json!({ "upstreams": running.upstreams() })),
        Page::Diagnostics => {
            let mut shown = status.to_json();
            shown["last"] = status.last().to_json();
            json(OK, &shown)
        }
        // Need their bodies, so they are answered before.
        Page::Explain | Page::Consumers(_) => return Err(NOT_FOUND),
        Page::Reload => match parts.reloads.reload(Cause::Admin).await {
            Some(report) => attempted(&report),
            None => return Err(STOPPING),
        },
        Page::Revisions => {
            let (in_force, _) = status.in_force();
            let list: Value = running.revisions().iter().map(|listed| revisions::to_json(listed, in_force)).collect();
            json(OK, &json!({ "revisions": list, "pinned": status.to_json()["pinned"] }))
        }
        Page::Revision => {
            let listed = revision(parts, named, 0)?;
            let mut shown = revisions::to_json(&listed, status.in_force().0);
            let documents = listed.0.documents.iter();
            shown["documents"] =
                documents.map(|document| json!({ "path": document.path, "text": document.text })).collect();
            json(OK, &shown)
        }
        Page::Diff => {
            let (before, after) = (revision(parts, named, 0)?, revision(parts, named, 1)?);
            text(OK, PLAIN, revisions::diff(&before.0, &after.0))
        }
        Page::Rollback => {
            let id = number(named, 0);
            match parts.reloads.roll_back(id).await {
                Ok(report) => attempted(&report),
                Err(NoRollback::NotKept) => return Err(NOT_KEPT),
                Err(NoRollback::Stopping) => return Err(STOPPING),
            }
        }
        Page::Version => json(OK, version),
        Page::OpenApi => json(OK, &openapi::description(version, &running.operations())),
    })
}

/// The number at this place of the path; 0 is nobody's.
fn number(named: &[Part], at: usize) -> u64 {
    match named.get(at) {
        Some(Part::Number(number)) => *number,
        _ => 0,
    }
}

/// The name at this place of the path.
fn name(named: &[Part], at: usize) -> &str {
    match named.get(at) {
        Some(Part::Name(name)) => name,
        _ => "",
    }
}

/// The revision named by the path's number `at`.
fn revision(parts: &Parts, named: &[Part], at: usize) -> Result<Listed, Problem> {
    let id = number(named, at);
    parts.running.revisions().into_iter().find(|(revision, _)| revision.id == id).ok_or(NOT_KEPT)
}

fn index(parts: &Parts) -> Value {
    let pages =
        ROUTES.iter().map(|route| json!({ "method": route.method.as_str(), "path": route.path, "about": route.about }));
    let operations = parts.running.operations().into_iter();
    let pages = pages.chain(operations.map(|it| json!({ "method": "POST", "path": it.path, "about": it.about })));
    json!({
        "version": parts.version,
        "status": parts.status.word(),
        "pages": pages.collect::<Value>(),
    })
}

const NOT_FOUND: Problem =
    Problem { status: StatusCode::NOT_FOUND, code: "admin.not_found", detail: "there is no such page; `/` lists them" };

const NOT_KEPT: Problem = Problem {
    status: StatusCode::NOT_FOUND,
    code: "admin.no_revision",
    detail: "this revision is not kept; `/revisions` lists those that are",
};

const NO_UPSTREAM: Problem = Problem {
    status: StatusCode::NOT_FOUND,
    code: "admin.no_upstream",
    detail: "there is no such upstream; `/upstreams` lists them",
};

const NO_ENDPOINT: Problem = Problem {
    status: StatusCode::NOT_FOUND,
    code: "admin.no_endpoint",
    detail: "the upstream has no such endpoint; `/upstreams` lists them. `/` in a URL is written `%2F`",
};

const STOPPING: Problem =
    Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: "admin.stopping", detail: "the gateway is stopping" };

fn explain(body: &[u8], parts: &Parts) -> Result<Answer, Problem> {
    let question = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"));
    Ok(match question.and_then(|question: Value| parts.running.explain(&question)) {
        Ok(explanation) => json(StatusCode::OK, &explanation),
        Err(why) => {
            let detail = "the body is no question about a request; `why` says what is wrong with it";
            let refused = Problem { status: StatusCode::BAD_REQUEST, code: "admin.question", detail };
            parts.running.admin_refused(refused.code);
            problem(&refused, json!({ "why": why }))
        }
    })
}

async fn consumers(task: ConsumerTask, named: &[Part], body: &[u8], parts: &Parts) -> Result<Answer, Problem> {
    let more = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let (consumer, key) = (name(named, 0).to_owned(), name(named, 1).to_owned());
    let done = match more {
        Ok(more) => {
            let (running, asked) = (parts.running.clone(), ConsumerAsk { task, consumer, key, more });
            // Files are written: probes are not to wait for a slow disk.
            #[allow(clippy::disallowed_methods, reason = "the admin interface is no worker")]
            let done = tokio::task::spawn_blocking(move || running.consumers(&asked)).await;
            done.unwrap_or_else(|_| {
                Err(ConsumerProblem { kind: ConsumerProblemKind::Unavailable, why: "it broke off".to_owned() })
            })
        }
        // What is wrong would be shown with a part of what was sent.
        Err(_) => Err(ConsumerProblem { kind: ConsumerProblemKind::Question, why: "the body is no JSON".to_owned() }),
    };
    Ok(match done {
        Ok(shown) => json(StatusCode::OK, &shown),
        Err(ConsumerProblem { kind, why }) => {
            let refused = consumer_problem(kind);
            parts.running.admin_refused(refused.code);
            problem(&refused, json!({ "why": why }))
        }
    })
}

fn consumer_problem(kind: ConsumerProblemKind) -> Problem {
    let (status, code, detail) = match kind {
        ConsumerProblemKind::NotKept => {
            let detail = "consumers and keys can only be made where the configuration has a `state_dir`";
            (StatusCode::CONFLICT, "admin.not_kept", detail)
        }
        ConsumerProblemKind::Unavailable => {
            let detail = "what was made cannot be read or written; `why` says what is wrong. Nothing changed";
            (StatusCode::SERVICE_UNAVAILABLE, "admin.records_unavailable", detail)
        }
        ConsumerProblemKind::NoConsumer => {
            (StatusCode::NOT_FOUND, "admin.no_consumer", "there is no such consumer; `/consumers` lists them")
        }
        ConsumerProblemKind::NoKey => {
            let detail = "the consumer has no such key, or it cannot be changed; `/consumers/{name}/keys` lists them";
            (StatusCode::NOT_FOUND, "admin.no_key", detail)
        }
        ConsumerProblemKind::Written => {
            (StatusCode::CONFLICT, "admin.written", "it stands in the configuration: change it there")
        }
        ConsumerProblemKind::Full => {
            (StatusCode::CONFLICT, "admin.records_full", "there are as many of them as there may be")
        }
        ConsumerProblemKind::Question => {
            (StatusCode::BAD_REQUEST, "admin.consumer_question", "`why` says what is wrong with the body")
        }
    };
    Problem { status, code, detail }
}

/// Reads a body, also one that nobody needs: the connection can be used again.
async fn read(body: Incoming) -> Result<Bytes, Problem> {
    let read = Limited::new(body, BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => {
            let detail = "the body is too long, or broken off";
            Err(Problem { status: StatusCode::PAYLOAD_TOO_LARGE, code: "admin.body", detail })
        }
        Err(_) => {
            let detail = "the body took too long";
            Err(Problem { status: StatusCode::REQUEST_TIMEOUT, code: "admin.body_timeout", detail })
        }
    }
}

/// What came of a reload or a rollback.
fn attempted(report: &Report) -> Answer {
    let more = json!({
        "revision": report.revision,
        "checksum": report.checksum,
        "changed": report.changed,
        "from": report.from,
        "pinned": report.pinned,
        "diagnostics": report.diagnostics,
        "text": report.text,
    });
    if report.accepted {
        return json(StatusCode::OK, &more);
    }
    let (code, detail) = match report.from {
        Some(_) => ("admin.rollback_refused", "the revision cannot be put in force any more; nothing changed"),
        None => ("admin.reload_refused", "the configuration was refused; the one before stays in force"),
    };
    problem(&Problem { status: StatusCode::UNPROCESSABLE_ENTITY, code, detail }, more)
}
