//! Replies of the admin interface.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

pub(super) type Answer = Response<Full<Bytes>>;

/// A reason to refuse a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: &'static str,
}

impl Problem {
    /// Whether it may be an attack, or a configuration that looks like one.
    pub(super) fn is_suspicious(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }
}

pub(super) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What runs now is not what will run.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// Indented: people read it with curl.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", format!("{value:#}\n"))
}

/// RFC 9457, with the same members as the data plane's, and `more`.
pub(super) fn problem(problem: &Problem, more: Value) -> Answer {
    let mut body = json!({
        "type": "about:blank",
        "title": problem.status.canonical_reason().unwrap_or_default(),
        "status": problem.status.as_u16(),
        "detail": problem.detail,
        "code": problem.code,
        "error": problem.detail,
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    let mut answer = text(problem.status, "application/problem+json", format!("{body:#}\n"));
    let headers = answer.headers_mut();
    match problem.status {
        // RFC 6750 §3: `error` is for those who showed a token.
        StatusCode::UNAUTHORIZED if problem.code == "admin.bad_token" => {
            let challenge = HeaderValue::from_static("Bearer realm=\"torana admin\", error=\"invalid_token\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"torana admin\""));
        }
        StatusCode::MISDIRECTED_REQUEST => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    answer
}
