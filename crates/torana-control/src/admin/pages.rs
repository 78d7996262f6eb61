//! What the admin interface answers.

use super::Parts;
use super::answer::{Answer, Problem, json, not_allowed, problem, text};
use super::guard;
use crate::supervisor::Cause;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest body a request may have; none is needed.
const BODY_BYTES: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every page: method, path, what it is for.
const PAGES: &[(&str, &str, &str)] = &[
    ("GET", "/livez", "200 while the process runs; also `/healthz`"),
    ("GET", "/readyz", "200 while requests should be sent here, 503 once the gateway is stopping"),
    ("GET", "/status", "how it is doing: `ok`, `degraded` (the configuration on disk was refused) or `draining`"),
    ("GET", "/metrics", "Prometheus metrics"),
    ("GET", "/config", "the configuration in force, without secrets, with its revision and checksum"),
    ("GET", "/listeners", "where connections are accepted, with certificates"),
    ("GET", "/routes", "the routes"),
    ("GET", "/upstreams", "the upstreams, their endpoints and connection pools"),
    ("GET", "/diagnostics", "what was wrong with the last configuration looked at"),
    ("POST", "/reload", "take up the configuration as it is on disk, and say what came of it"),
    ("GET", "/version", "what is running"),
];

pub(super) async fn answer(request: Request<Incoming>, is_unix: bool, parts: &Parts) -> Answer {
    if let Err(refused) = guard::check(&request, is_unix) {
        return problem(&refused, Value::Null);
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().to_owned();
    if path == "/reload" {
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        return match discard(request.into_body()).await {
            Ok(()) => reload(parts).await,
            Err(refused) => problem(&refused, Value::Null),
        };
    }
    let Some(page) = page(&path, parts) else { return not_found() };
    if is_read { page } else { not_allowed("GET, HEAD") }
}

/// The page at `path`, for reading.
fn page(path: &str, parts: &Parts) -> Option<Answer> {
    const OK: StatusCode = StatusCode::OK;
    const PLAIN: &str = "text/plain; charset=utf-8";
    let Parts { running, status, version, .. } = parts;
    Some(match path {
        "/" => json(OK, &index(parts)),
        "/livez" | "/healthz" => text(OK, PLAIN, "ok\n"),
        "/readyz" if status.is_ready() => text(OK, PLAIN, "ready\n"),
        "/readyz" => {
            let detail = "the gateway is stopping";
            let refused = Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: "admin.not_ready", detail };
            problem(&refused, Value::Null)
        }
        "/status" => {
            let mut shown = status.to_json();
            shown["open_connections"] = running.open_connections().into();
            json(OK, &shown)
        }
        "/metrics" => text(OK, "text/plain; version=0.0.4; charset=utf-8", running.metrics()),
        "/config" => {
            let mut shown = status.to_json();
            shown["config"] = running.config();
            json(OK, &shown)
        }
        "/listeners" => json(OK, &json!({ "listeners": running.listeners() })),
        "/routes" => json(OK, &json!({ "routes": running.routes() })),
        "/upstreams" => json(OK, &json!({ "upstreams": running.upstreams() })),
        "/diagnostics" => {
            let mut shown = status.to_json();
            shown["last"] = status.last().to_json();
            json(OK, &shown)
        }
        "/version" => json(OK, version),
        _ => return None,
    })
}

fn index(parts: &Parts) -> Value {
    let pages = PAGES.iter().map(|(method, path, about)| json!({ "method": method, "path": path, "about": about }));
    json!({
        "version": parts.version,
        "status": parts.status.word(),
        "pages": pages.collect::<Value>(),
    })
}

fn not_found() -> Answer {
    let detail = "there is no such page; `/` lists them";
    problem(&Problem { status: StatusCode::NOT_FOUND, code: "admin.not_found", detail }, Value::Null)
}

/// Reads a body nobody needs, so that the connection can be used again.
async fn discard(body: Incoming) -> Result<(), Problem> {
    let read = Limited::new(body, BODY_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(_)) => Ok(()),
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

async fn reload(parts: &Parts) -> Answer {
    let Some(report) = parts.reloads.reload(Cause::Admin).await else {
        let detail = "the gateway is stopping";
        let refused = Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: "admin.stopping", detail };
        return problem(&refused, Value::Null);
    };
    let more = json!({
        "revision": report.revision,
        "checksum": report.checksum,
        "diagnostics": report.diagnostics,
        "text": report.text,
    });
    if report.accepted {
        return json(StatusCode::OK, &more);
    }
    let detail = "the configuration was refused; the one before stays in force";
    problem(&Problem { status: StatusCode::UNPROCESSABLE_ENTITY, code: "admin.reload_refused", detail }, more)
}
