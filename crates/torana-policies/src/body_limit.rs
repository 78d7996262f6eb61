//! How long request bodies may be, by their media type.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use torana_core::body::{Body, BodyError, BodyStream, Progress};
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::names::KnownName;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::ByteSize;
use torana_core::verdict::Verdict;
use torana_core::written::{Spanned, Written};

torana_core::refusals! {
    /// A request body is longer than its route allows for its type.
    TOO_LARGE = "body_limit.too_large" 413 Caller Never "The request's body is too large.";
}

torana_core::events! {
    REFUSED = "refused" "A body was refused by its announced length.";
    CUT = "cut" "A body without announced length was cut off at the limit.";
}

/// Limits request bodies by their media type, below `limits.body_bytes` and a route's own `body_bytes`, which hold besides.
/// Longer ones are refused with 413: at once where `Content-Length` says so, else when the limit is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BodyLimit")]
pub struct Config {
    /// For bodies of types that are not listed, and without a type. Default: no limit but those of listener and route.
    #[serde(default)]
    pub max: Option<Spanned<ByteSize>>,
    /// By media type: `application/json`, or `image/*` for all of a kind; the exact one wins. `0B` refuses any body.
    #[serde(default)]
    pub types: BTreeMap<Spanned<String>, Spanned<ByteSize>>,
}

/// The policy `body_limit`.
pub struct BodyLimit {
    exact: Vec<(Box<str>, u64)>,
    /// By what stands before `/*`.
    kinds: Vec<(Box<str>, u64)>,
    otherwise: Option<u64>,
    tally: Arc<Tally>,
}

impl PolicyKind for BodyLimit {
    const NAME: &'static str = "body_limit";
    const STAGE: Stage = Stage::Meter;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        if config.max.is_none() && config.types.is_empty() && site.is_whole() {
            let hint = "`max: 1MiB`, `types: { application/json: 64KiB }`, or both";
            problems.push(Diagnostic::error("body_limit.nothing", "this limits nothing").at(written.span).hint(hint));
        }
        let (mut exact, mut kinds) = (Vec::new(), Vec::new());
        for (name, limit) in &config.types {
            let name_lower = name.to_ascii_lowercase();
            let is_part = |part: &str| {
                !part.is_empty() && !part.contains('*') && part.bytes().all(torana_core::names::is_token_byte)
            };
            match name_lower.split_once('/') {
                Some((kind, "*")) if is_part(kind) => kinds.push((kind.into(), limit.bytes())),
                Some((kind, of)) if is_part(kind) && is_part(of) => exact.push((name_lower.into(), limit.bytes())),
                _ => {
                    let message = format!("{} is no media type", name.shown());
                    let hint = "write `application/json`, or `image/*`, without parameters";
                    problems.push(Diagnostic::error("body_limit.type", message).at(name.span).hint(hint));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let otherwise = config.max.map(|max| max.bytes());
        Ok(Arc::new(BodyLimit { exact, kinds, otherwise, tally: site.tally() }))
    }
}

impl BodyLimit {
    fn limit(&self, exchange: &Exchange) -> Option<u64> {
        let named = || {
            // Of two types either might be believed: neither is.
            let field = exchange.head.fields.get_single(KnownName::ContentType).ok()??;
            let name = field.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let exact = self.exact.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
            let kind = name.split(|byte| *byte == b'/').next().unwrap_or_default();
            let kinds = || self.kinds.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known.as_bytes()));
            exact.or_else(kinds).map(|(_, limit)| *limit)
        };
        let repeated = || {
            let most = |limits: &[(Box<str>, u64)]| limits.iter().map(|(_, limit)| *limit).min();
            let is_repeated = exchange.head.fields.get_single(KnownName::ContentType).is_err();
            is_repeated.then(|| [most(&self.exact), most(&self.kinds), self.otherwise].into_iter().flatten().min())?
        };
        repeated().or_else(named).or(self.otherwise)
    }
}

impl Policy for BodyLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if exchange.body.is_empty() {
            return Verdict::CONTINUE;
        }
        let Some(limit) = self.limit(exchange) else { return Verdict::CONTINUE };
        match exchange.body.remaining() {
            Some(length) if length > limit => {
                self.tally.count(&REFUSED);
                Rejection::new(&TOO_LARGE).because(format_args!("{length} bytes, {limit} allowed")).into()
            }
            _ => Verdict::CONTINUE,
        }
    }

    fn wrap_request(&self, exchange: &Exchange, body: Body) -> Body {
        match self.limit(exchange) {
            Some(left) if body.remaining().is_none() => {
                Body::Stream(Box::new(Limited { body, left, tally: Arc::clone(&self.tally) }))
            }
            _ => body,
        }
    }
}

/// A body that fails when more comes than is left.
struct Limited {
    body: Body,
    left: u64,
    tally: Arc<Tally>,
}

impl BodyStream for Limited {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        let polled = self.body.poll_data(cx);
        if self.body.data().len() as u64 > self.left {
            self.tally.count(&CUT);
            return Poll::Ready(Err(BodyError::new(&TOO_LARGE)));
        }
        polled
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.body.consume(count);
    }

    fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }

    fn limit(&mut self, bytes: u64) {
        self.body.limit(bytes);
    }

    fn trailers(&mut self) -> Option<Box<Fields>> {
        self.body.trailers()
    }

    fn finish(self: Box<Self>) {
        self.body.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use torana_core::policy::entry;
    use torana_core::testing::{TestNames, exchange, ready, transcript, written};
    use torana_core::verdict::Decision;

    const CONFIG: &str =
        r#"{ "max": "20B", "types": { "application/json": "8B", "image/*": "12B", "image/png": "0B" } }"#;

    fn passes(content_type: &str, body: &str) -> bool {
        let request = format!("POST / HTTP/1.1\nHost: a\n{content_type}\n\n{body}");
        let shown = transcript(&entry::<BodyLimit>(), CONFIG, &request, "200");
        assert!(shown.starts_with("POST /") || shown.starts_with("rejected body_limit.too_large 413"), "{shown}");
        shown.starts_with("POST /")
    }

    #[test]
    fn the_most_specific_type_decides() {
        let json = "Content-Type: Application/JSON; charset=utf-8";
        assert!(passes(json, "12345678") && !passes(json, "123456789"));
        assert!(
            passes("Content-Type: image/gif", "123456789012") && !passes("Content-Type: image/gif", "1234567890123")
        );
        assert!(!passes("Content-Type: image/png", "1") && passes("Content-Type: image/png", ""));
        assert!(passes("X: y", "12345678901234567890") && !passes("X: y", "123456789012345678901"));
        assert!(passes("Content-Type: text/plain", "12345678901234567890"));
        // Of two types, the strictest limit of all.
        assert!(!passes("Content-Type: text/plain\nContent-Type: text/csv", "1"));
    }

    struct Pieces(VecDeque<&'static [u8]>);

    impl BodyStream for Pieces {
        fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
            Poll::Ready(Ok(if self.0.is_empty() { Progress::End } else { Progress::Data }))
        }
        fn data(&self) -> &[u8] {
            self.0.front().copied().unwrap_or_default()
        }
        fn consume(&mut self, _: usize) {
            self.0.pop_front();
        }
        fn remaining(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_body_without_length_is_cut_off_at_the_limit() {
        let site = TestNames::new("r", "/").counting(EVENTS);
        let config = written(CONFIG);
        let policy = BodyLimit::build(config.decode().unwrap(), &config, &site).unwrap();
        let read = |pieces: &[&'static [u8]]| {
            let mut request = exchange("POST / HTTP/1.1\nHost: a\nContent-Type: application/json");
            request.body = Body::Stream(Box::new(Pieces(pieces.iter().copied().collect())));
            assert!(matches!(ready(policy.on_request(&mut request)), Decision::Continue));
            let body = std::mem::take(&mut request.body);
            let body = policy.wrap_request(&request, body);
            let mut future = std::pin::pin!(body.collect_capped(1000));
            match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(result) => result.map_err(|error| error.to_string()),
                Poll::Pending => panic!("pieces never wait"),
            }
        };
        assert_eq!(read(&[b"1234", b"5678"]).unwrap(), "12345678");
        assert_eq!(read(&[b"1234", b"5678", b"9"]).unwrap_err(), "body_limit.too_large");
        assert_eq!(site.tally().counts().map(|(_, count)| count).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn mistakes_are_said() {
        let shown = |config: &str| transcript(&entry::<BodyLimit>(), config, "GET / HTTP/1.1\nHost: a", "200");
        assert!(shown("{}").starts_with("error body_limit.nothing"));
        for name in ["json", "*/*", "a/b;c=d", "/x"] {
            let shown = shown(&format!(r#"{{ "types": {{ "{name}": "1KiB" }} }}"#));
            assert!(shown.starts_with("error body_limit.type"), "{name}: {shown}");
        }
    }
}
