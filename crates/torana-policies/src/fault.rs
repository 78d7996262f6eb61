//! Faults on purpose: delays and aborted requests, for a share of the traffic
//! and a limited time.
//!
//! An experiment that is forgotten is an outage, so every fault has an end; one
//! that slows everybody down is an outage as well, so the delayed ones are
//! capped.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::grpc;
use torana_core::head::Status;
use torana_core::names::HeaderName;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::{Site, keep};
use torana_core::stage::Stage;
use torana_core::trace::IdSource;
use torana_core::units::{Duration, Moment, Percent};
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{Spanned, Written};

torana_core::refusals! {
    /// The policy `fault` was told to.
    INJECTED = "fault.aborted" 503 Gateway IfSafe "The request was aborted on purpose.";
}

torana_core::events! {
    DELAYED = "delayed" "A request was held back.";
    ABORTED = "aborted" "A request was answered with the fault's status.";
    SHED = "shed" "A request was not held back, since `max_active` others were.";
}

/// Holds requests back, answers them with an error, or both: to see what callers make of it.
///
/// It runs last, behind all checks and limits, so nobody who is refused meets it. Every fault ends: give it `until` or
/// `for`. After that it does nothing, and `torana check` and the gateway say so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Only requests that have all of these headers with exactly these values. Whoever may send the header may ask for the
    /// fault. Default: every request.
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Hold requests back.
    #[serde(default)]
    pub delay: Option<Spanned<Delay>>,
    /// Answer with an error in place of the target, `fault.aborted` in the log; after the delay, if there is one.
    #[serde(default)]
    pub abort: Option<Spanned<Abort>>,
    /// Most requests held back at a time, over all workers; the others pass without delay. Default 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_active: Spanned<u32>,
    /// When it ends.
    #[serde(default)]
    pub until: Option<Spanned<Moment>>,
    /// How long it lasts, from the moment that this process first takes up a configuration with it. A reload does not
    /// prolong it, unless it changes this time; a restart begins anew.
    #[serde(default, rename = "for")]
    pub lasts: Option<Spanned<Duration>>,
}

/// For how long requests are held back, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultDelay")]
pub struct Delay {
    /// How long. The timeouts of the route and the listener go on meanwhile.
    pub time: Spanned<Duration>,
    /// Share of the requests. Default `100%`.
    #[serde(default = "all")]
    pub percent: Percent,
}

/// What requests are answered, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FaultAbort")]
pub struct Abort {
    /// Status, 400 to 599. Default 503.
    #[serde(default)]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<Spanned<u16>>,
    /// Status for gRPC callers, by name: `unavailable`, `deadline_exceeded`. Default: what the status means there.
    #[serde(default)]
    pub grpc_status: Option<Spanned<String>>,
    /// Share of the requests; drawn apart from that of the delay. Default `100%`.
    #[serde(default = "all")]
    pub percent: Percent,
}

fn hundred() -> Spanned<u32> {
    100.into()
}

fn all() -> Percent {
    Percent::WHOLE
}

/// The policy `fault`.
pub struct Fault {
    headers: Vec<(HeaderName, Box<[u8]>)>,
    delay: Option<(std::time::Duration, Percent)>,
    abort: Option<(Option<Status>, Option<u8>, Percent)>,
    ends: Instant,
    most: u32,
    active: Arc<AtomicU32>,
    tally: Arc<Tally>,
}

/// Sets its draws apart from those of others that draw from the same span.
const SALT: u64 = 0x6661_756c_7400_0000;

impl PolicyKind for Fault {
    const NAME: &'static str = "fault";
    const STAGE: Stage = Stage::Serve;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let headers = config.headers.iter().filter_map(|(name, value)| {
            let known = HeaderName::new(name);
            if known.is_none() {
                let message = format!("{} is not a header name", name.shown());
                problems.push(Diagnostic::error("fault.header", message).at(name.span));
            }
            Some((known?, value.as_bytes().into()))
        });
        let headers = headers.collect();
        if config.delay.is_none() && config.abort.is_none() && site.is_whole() {
            let hint = "`delay: { time: 200ms }`, `abort: { status: 503 }`, or both";
            problems.push(Diagnostic::error("fault.nothing", "this fault does nothing").at(written.span).hint(hint));
        }
        if let Some(delay) = config.delay.as_ref().filter(|delay| delay.time.is_zero()) {
            problems.push(Diagnostic::error("fault.delay", "`0s` is no delay").at(delay.time.span));
        }
        let grpc_status = config.abort.as_ref().and_then(|abort| abort.grpc_status.as_ref());
        let grpc_status = grpc_status.and_then(|name| grpc_status_of(name, &mut problems));
        let ends = ends(&config, written, site, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Fault {
            headers,
            delay: config.delay.map(|delay| (delay.value.time.std(), delay.value.percent)),
            abort: config.abort.map(|abort| {
                let status = abort.status.as_ref().and_then(|status| Status::new(status.value));
                (status, grpc_status, abort.percent)
            }),
            ends,
            most: config.max_active.value,
            active: keep(site, "active", AtomicU32::default),
            tally: site.tally(),
        }))
    }
}

/// When the fault is over.
fn ends(config: &Config, written: &Written, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Instant {
    let now = Instant::now();
    let (ends, span) = match (&config.until, &config.lasts) {
        (Some(until), None) => {
            let left = until.system_time().duration_since(SystemTime::now()).unwrap_or_default();
            (now.checked_add(left), until.span)
        }
        (None, Some(lasts)) => {
            let began = keep(site, &format!("for {}", lasts.value), Instant::now);
            (began.checked_add(lasts.std()), lasts.span)
        }
        _ if !site.is_whole() => return now,
        _ => {
            let message = "a fault needs exactly one end, `until` or `for`";
            let hint = "`for: 10m`, or `until: 2026-12-31T18:00:00Z`";
            problems.push(Diagnostic::error("fault.end", message).at(written.span).hint(hint));
            return now;
        }
    };
    // What is too far away to be told is not meant to end: it ends at once.
    let ends = ends.unwrap_or(now);
    if ends <= now {
        let message = "this fault is over: it does nothing any more";
        site.warn(Diagnostic::warning("fault.expired", message).at(span).hint("remove it, or give it a new end"));
    }
    ends
}

fn grpc_status_of(name: &Spanned<String>, problems: &mut Vec<Diagnostic>) -> Option<u8> {
    let errors = || grpc::STATUSES.iter().copied().filter(|known| *known != "ok");
    let position = grpc::STATUSES.iter().position(|known| *known == name.as_str() && *known != "ok");
    if position.is_none() {
        let message = format!("{} is not an error of gRPC", name.shown());
        let hint = match did_you_mean(name, errors()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "for example `unavailable`".to_owned(),
        };
        problems.push(Diagnostic::error("fault.grpc_status", message).at(name.span).hint(hint));
    }
    position.and_then(|position| u8::try_from(position).ok())
}

impl Fault {
    fn is_for(&self, exchange: &Exchange) -> bool {
        let fields = &exchange.head.fields;
        self.headers.iter().all(|(name, value)| fields.values(name).any(|sent| *sent == **value))
    }

    /// What becomes of a request that has been held back long enough.
    fn decide(&self, aborts: bool) -> Decision {
        let Some((status, grpc_status, _)) = self.abort.filter(|_| aborts) else { return Decision::Continue };
        self.tally.count(&ABORTED);
        let mut rejection = Rejection::new(&INJECTED);
        rejection.status = status;
        rejection.grpc_status = grpc_status;
        Decision::Reject(rejection)
    }
}

/// Whether a draw is within the share.
fn hits(share: Percent, random: &mut IdSource) -> bool {
    random.next() % 10_000 < u64::from(share.hundredths())
}

impl Policy for Fault {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if exchange.notes.started >= self.ends || !self.is_for(exchange) {
            return Verdict::CONTINUE;
        }
        let mut random = IdSource::new(exchange.trace.span ^ SALT);
        // Both are drawn for every request, so that one does not depend on the other.
        let delay = self.delay.filter(|(_, share)| hits(*share, &mut random));
        let aborts = self.abort.is_some_and(|(.., share)| hits(share, &mut random));
        let Some((delay, outbound)) = delay.map(|(time, _)| time).zip(exchange.outbound.clone()) else {
            return Verdict::Now(self.decide(aborts));
        };
        let Some(active) = Active::enter(&self.active, self.most) else {
            self.tally.count(&SHED);
            return Verdict::Now(self.decide(aborts));
        };
        self.tally.count(&DELAYED);
        exchange.notes.cause = Some(format!("held back for {} ms by the policy `fault`", delay.as_millis()).into());
        Verdict::Wait(Box::pin(async move {
            outbound.sleep(delay).await;
            drop(active);
            self.decide(aborts)
        }))
    }
}

/// A request that is held back, until dropped.
struct Active(Arc<AtomicU32>);

impl Active {
    fn enter(active: &Arc<AtomicU32>, most: u32) -> Option<Active> {
        let raised = |now| if now < most { Some(now + 1) } else { None };
        active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised).ok()?;
        Some(Active(Arc::clone(active)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use torana_core::policy::entry;
    use torana_core::testing::{TestNames, TestWorker, exchange, ready, transcript, written};

    const GET: &str = "GET / HTTP/1.1\nHost: a";

    fn run(config: &str) -> String {
        transcript(&entry::<Fault>(), config, GET, "200")
    }

    fn build(config: &str, names: &TestNames) -> Arc<dyn Policy> {
        (entry::<Fault>().build)(&written(config), names).unwrap()
    }

    #[test]
    fn an_abort_has_the_status_that_is_written() {
        assert_eq!(run(r#"{ "abort": {}, "for": "1h" }"#), "rejected fault.aborted 503\n503\n1 × aborted\n");
        let teapot = run(r#"{ "abort": { "status": 418 }, "until": "2999-01-01" }"#);
        assert_eq!(teapot, "rejected fault.aborted 503\n418\n1 × aborted\n");
        assert_eq!(run(r#"{ "abort": { "percent": "0%" }, "for": "1h" }"#), "GET /\nhost: a\n--\n200\n");
    }

    #[test]
    fn what_is_over_does_nothing_and_says_so() {
        let shown = run(r#"{ "abort": {}, "until": "2020-01-01" }"#);
        let expected = "warning fault.expired: this fault is over: it does nothing any more \
                        (remove it, or give it a new end)\nGET /\nhost: a\n--\n200\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn it_ends_for_requests_that_come_after_its_end() {
        let fault = build(r#"{ "abort": {}, "for": "1h" }"#, &TestNames::new("r", "/*").counting(EVENTS));
        let at = |minutes: u64| {
            let mut exchange = exchange(GET);
            exchange.notes.started += std::time::Duration::from_secs(60 * minutes);
            matches!(ready(fault.on_request(&mut exchange)), Decision::Reject(_))
        };
        assert!(at(59) && !at(61));
    }

    #[test]
    fn a_reload_does_not_prolong_it() {
        let names = TestNames::new("r", "/*").counting(EVENTS);
        let _first = build(r#"{ "abort": {}, "for": "30ms" }"#, &names);
        let began: Arc<Instant> = keep(&names, "for 30ms", Instant::now);
        while began.elapsed() < std::time::Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let second = build(r#"{ "abort": {}, "for": "30ms" }"#, &names);
        assert!(matches!(ready(second.on_request(&mut exchange(GET))), Decision::Continue));
        assert_eq!(names.warnings.take().len(), 1);
    }

    #[test]
    fn only_requests_with_all_of_the_headers() {
        let config = r#"{ "headers": { "X-Chaos": "1", "x-team": "a" }, "abort": {}, "for": "1h" }"#;
        let run = |fields: &str| transcript(&entry::<Fault>(), config, &format!("{GET}\n{fields}"), "200");
        assert!(run("x-chaos: 1\nx-team: a").starts_with("rejected"));
        for others in ["x-chaos: 1", "x-chaos: 2\nx-team: a", "x-chaos: 1\nx-team: A"] {
            assert!(run(others).starts_with("GET /"), "{others}");
        }
    }

    #[test]
    fn no_more_are_held_back_than_the_cap() {
        let names = TestNames::new("r", "/*").counting(EVENTS);
        let fault = build(r#"{ "delay": { "time": "200ms" }, "max_active": 2, "for": "1h" }"#, &names);
        let worker = TestWorker::new();
        let mut exchanges: Vec<Exchange> = (0..3).map(|_| exchange(GET)).collect();
        exchanges.iter_mut().for_each(|exchange| exchange.outbound = Some(Rc::clone(&worker) as _));
        let verdicts: Vec<Verdict<'_>> = exchanges.iter_mut().map(|exchange| fault.on_request(exchange)).collect();
        assert!(matches!(verdicts[..], [Verdict::Wait(_), Verdict::Wait(_), Verdict::Now(Decision::Continue)]));
        // The client goes away: its place is free.
        drop(verdicts);
        let mut another = exchange(GET);
        another.outbound = Some(Rc::clone(&worker) as _);
        assert!(matches!(ready(fault.on_request(&mut another)), Decision::Continue));
        assert_eq!(*worker.slept.borrow(), [std::time::Duration::from_millis(200)]);
        let counts: Vec<_> = names.tally().counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [3, 0, 1], "delayed, aborted, shed");
    }

    #[test]
    fn shares_are_met_and_do_not_depend_on_each_other() {
        let config = r#"{ "delay": { "time": "1s", "percent": "20%" }, "abort": { "percent": "50%" }, "for": "1h" }"#;
        let fault = build(config, &TestNames::new("r", "/*").counting(EVENTS));
        let mut spans = IdSource::new(11);
        let (mut delayed, mut aborted, mut both) = (0, 0, 0);
        for _ in 0..10_000 {
            let worker = TestWorker::new();
            let mut exchange = exchange(GET);
            exchange.outbound = Some(Rc::clone(&worker) as _);
            exchange.trace.span = spans.next();
            let aborts = matches!(ready(fault.on_request(&mut exchange)), Decision::Reject(_));
            let waits = !worker.slept.borrow().is_empty();
            delayed += u32::from(waits);
            aborted += u32::from(aborts);
            both += u32::from(aborts && waits);
        }
        assert!((1_850..2_150).contains(&delayed), "{delayed}");
        assert!((4_800..5_200).contains(&aborted), "{aborted}");
        assert!((880..1_120).contains(&both), "{both}");
    }

    #[test]
    fn all_mistakes_at_once() {
        let shown = run(
            r#"{ "headers": { "a b": "1" }, "delay": { "time": "0s" }, "abort": { "grpc_status": "unavailible" } }"#,
        );
        for part in ["fault.header", "fault.delay", "fault.end", "did you mean `unavailable`?"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(run(r#"{ "for": "1h" }"#).starts_with("error fault.nothing"));
        assert!(run(r#"{ "abort": {}, "for": "1h", "until": "2999-01-01" }"#).starts_with("error fault.end"));
        assert!(run(r#"{ "abort": { "grpc_status": "ok" }, "for": "1h" }"#).starts_with("error fault.grpc_status"));
        assert!(run(r#"{ "abort": { "status": 200 }, "for": "1h" }"#).contains("from 400 to 599"));
    }
}
