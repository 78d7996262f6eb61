//! Answers with what is written in the configuration.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Status};
use torana_core::names::{HeaderName, KnownName};
use torana_core::reply::Reply;
use torana_core::target::{Answer, Names, Target, TargetKind};
use torana_core::written::{Spanned, Written};

/// A fixed answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Status, 200 to 599. Default 200.
    pub status: Option<Spanned<u16>>,
    /// Body as text; `text/plain` unless `headers` say otherwise. Default:
    /// empty.
    pub body: Option<Spanned<String>>,
    /// Body as JSON, `application/json`; instead of `body`.
    pub json: Option<Written>,
    /// Headers of the answer. `Content-Length` is the gateway's.
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// The target `respond`.
pub struct Respond {
    status: Status,
    fields: Fields,
    body: Bytes,
}

impl TargetKind for Respond {
    const NAME: &'static str = "respond";
    type Config = Config;

    fn build(config: Config, written: &Written, _: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let status = status(config.status.as_ref(), &mut problems);
        let (media_type, body) = match (&config.body, &config.json) {
            (Some(_), Some(json)) => {
                let message = "`body` and `json` cannot both be the answer";
                problems
                    .push(Diagnostic::error("respond.two_bodies", message).at(json.span).hint("remove one of them"));
                ("", Bytes::new())
            }
            (Some(text), None) => ("text/plain; charset=utf-8", Bytes::from(text.value.clone())),
            (None, Some(json)) => ("application/json", Bytes::from(json.to_json().to_string())),
            (None, None) => ("", Bytes::new()),
        };
        // RFC 9110 §6.4.1; 205 §15.3.6.
        if matches!(status.code(), 204 | 205 | 304) && !body.is_empty() {
            let message = format!("a reply with status {} has no body", status.code());
            let span = config.status.as_ref().map_or(written.span, |status| status.span);
            problems.push(Diagnostic::error("respond.no_body", message).at(span));
        }
        let mut fields = Fields::default();
        if !media_type.is_empty() {
            fields.set_own(KnownName::ContentType, media_type.as_bytes());
        }
        for (name, value) in &config.headers {
            if let Err(problem) = add_header(name, value, &mut fields) {
                problems.push(*problem);
            }
        }
        if problems.is_empty() { Ok(Arc::new(Respond { status, fields, body })) } else { Err(problems) }
    }
}

fn status(written: Option<&Spanned<u16>>, problems: &mut Vec<Diagnostic>) -> Status {
    let Some(written) = written else { return Status::OK };
    // 1xx are no final answers, and nothing is defined above 599.
    let status = Status::new(written.value).filter(|_| (200..=599).contains(&written.value));
    status.unwrap_or_else(|| {
        let message = format!("{} is not the status of an answer", written.shown());
        problems.push(Diagnostic::error("respond.status", message).at(written.span).hint("200 to 599"));
        Status::OK
    })
}

fn add_header(name: &Spanned<String>, value: &Spanned<String>, fields: &mut Fields) -> Result<(), Box<Diagnostic>> {
    let problem = |message: String, span| Box::new(Diagnostic::error("respond.header", message).at(span));
    let Some(known) = HeaderName::new(name) else {
        return Err(problem(format!("{} is not a header name", name.shown()), name.span));
    };
    if let HeaderName::Known(known) = known
        && (known.is_hop_by_hop()
            || matches!(known, KnownName::ContentLength | KnownName::Date | KnownName::XRequestId))
    {
        return Err(problem(format!("the header {} is the gateway's to set", name.shown()), name.span));
    }
    fields
        .set(known, value.as_bytes())
        .map_err(|error| problem(format!("the value of {} cannot be sent: {error}", name.shown()), value.span))
}

impl Target for Respond {
    fn answer<'a>(&'a self, _: &'a mut Exchange) -> Answer<'a> {
        let mut reply = Reply::new(self.status);
        reply.head.fields = self.fields.clone();
        reply.body = self.body.clone().into();
        Answer::Now(Box::new(reply))
    }

    fn describe(&self) -> String {
        format!("respond {}", self.status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::target::entry;
    use torana_core::testing::target_transcript;

    fn run(config: &str) -> String {
        target_transcript(&entry::<Respond>(), config, &[], "GET / HTTP/1.1\nHost: a")
    }

    #[test]
    fn text_json_and_nothing() {
        let text = "respond 200\n200\ncontent-type: text/plain; charset=utf-8\n\npong\n";
        assert_eq!(run(r#"{ "body": "pong" }"#), text);
        let json = "respond 503\n503\ncontent-type: application/json\nretry-after: 60\n\n{\"a\":[1,true]}\n";
        assert_eq!(run(r#"{ "status": 503, "json": { "a": [1, true] }, "headers": { "Retry-After": "60" } }"#), json);
        assert_eq!(run("{}"), "respond 200\n200\n");
        let html = run(r#"{ "body": "<p>", "headers": { "content-type": "text/html" } }"#);
        assert!(html.contains("content-type: text/html\n") && !html.contains("text/plain"));
    }

    #[test]
    fn what_cannot_be_answered_is_refused_all_at_once() {
        let shown = run(
            r#"{ "status": 101, "body": "a", "json": 1, "headers": { "content-length": "1", "b c": "x", "x-y": "a\r\nb" } }"#,
        );
        let codes: Vec<_> = shown.lines().filter_map(|line| line.split(['\u{20}', ':']).nth(1)).collect();
        assert_eq!(
            codes,
            ["respond.status", "respond.two_bodies", "respond.header", "respond.header", "respond.header"],
            "{shown}"
        );
        assert!(run(r#"{ "status": 204, "body": "a" }"#).contains("respond.no_body"));
    }
}
