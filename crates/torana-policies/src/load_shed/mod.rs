//! Refuses what would only wait: the number of requests under way follows what
//! the upstream can do, and when there is no room the less important go first.

mod limiter;
#[cfg(test)]
mod simulation;

use limiter::{Limiter, Rule};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::head::Status;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::{Site, keep};
use torana_core::stage::Stage;
use torana_core::units::{Duration, Percent};
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// As many requests are under way as the upstream can take.
    OVERLOADED = "load_shed.overloaded" 503 Gateway Always "The service is overloaded; try again shortly.";
}

torana_core::events! {
    SHED = "shed" "A request was refused because there was no room for its class.";
}

/// Lets only as many requests be under way as are answered about as fast as when there are few, and refuses the others at
/// once with 503 and `Retry-After: 1`. The number is found by itself from how long the upstream takes to begin its replies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LoadShed")]
pub struct Config {
    /// How the number is found. Default `gradient`.
    pub algorithm: Algorithm,
    /// What is too slow, for `aimd`, which needs it.
    pub latency: Option<Spanned<Duration>>,
    /// Requests under way that are always let through. Default 4.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: Spanned<u32>,
    /// Requests under way that are never exceeded. Default 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: Spanned<u32>,
    /// What it begins with, before anything is known. Default 50.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub initial: Spanned<u32>,
    /// Classes of requests, the first that fits; each may use its share of the room, so those with small shares are refused
    /// first. Requests of no class have `share`.
    pub classes: Vec<Spanned<Class>>,
    /// Share of requests of no class. Default `100%`.
    pub share: Percent,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            algorithm: Algorithm::Gradient,
            latency: None,
            min: 4.into(),
            max: 1000.into(),
            initial: 50.into(),
            classes: Vec::new(),
            share: Percent::WHOLE,
        }
    }
}

/// How the number is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LoadShedAlgorithm")]
pub enum Algorithm {
    /// By comparing the latency of now with that of a longer time: when replies slow down the number falls, when they do not
    /// it grows. Needs no setting. The default.
    #[default]
    Gradient,
    /// One more while replies begin within `latency`, a tenth less when they do not.
    Aimd,
}

/// Requests that are alike in importance. All that is given has to fit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LoadShedClass")]
pub struct Class {
    /// How much of the room it may use.
    pub share: Spanned<Percent>,
    /// Headers with exactly these values. Whoever may send them chooses the class.
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Callers by who they proved to be, one of these.
    #[serde(default)]
    pub consumers: OneOrMany<Spanned<String>>,
    /// Callers by their plan, one of these.
    #[serde(default)]
    pub plans: OneOrMany<Spanned<String>>,
}

/// The policy `load_shed`.
pub struct LoadShed {
    limiter: Arc<Limiter>,
    classes: Vec<Fits>,
    share: Percent,
    tally: Arc<Tally>,
}

/// A class, compiled.
struct Fits {
    share: Percent,
    headers: Vec<(HeaderName, Box<[u8]>)>,
    consumers: Vec<Box<str>>,
    plans: Vec<Box<str>>,
}

/// A request that was let in, until it ends.
struct Inside;

impl PolicyKind for LoadShed {
    const NAME: &'static str = "load_shed";
    const STAGE: Stage = Stage::Meter;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let (min, max, initial) = (config.min.value, config.max.value, config.initial.value);
        if min > max {
            let message = format!("`min` is {min} and `max` is {max}");
            problems.push(Diagnostic::error("load_shed.range", message).at(config.min.span));
        }
        let rule = match (config.algorithm, &config.latency) {
            (Algorithm::Gradient, None) => Rule::Gradient,
            (Algorithm::Gradient, Some(latency)) => {
                let message = "`latency` is for `aimd`: `gradient` finds out for itself what is slow";
                problems.push(Diagnostic::error("load_shed.latency", message).at(latency.span));
                Rule::Gradient
            }
            (Algorithm::Aimd, Some(latency)) if !latency.is_zero() => Rule::Aimd(latency.std()),
            (Algorithm::Aimd, latency) => {
                let span = latency.as_ref().map_or(written.span, |latency| latency.span);
                let message = "`aimd` needs to be told what is too slow";
                let diagnostic = Diagnostic::error("load_shed.latency", message).at(span);
                problems.push(diagnostic.hint("add `latency: 500ms`"));
                Rule::Gradient
            }
        };
        let classes = config.classes.iter().map(|class| fits(class, &mut problems)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let name = format!("{rule:?} {min} {max} {initial}");
        let limiter = keep(site, &name, || Limiter::new(rule, min, max, initial));
        Ok(Arc::new(LoadShed { limiter, classes, share: config.share, tally: site.tally() }))
    }
}

fn fits(class: &Spanned<Class>, problems: &mut Vec<Diagnostic>) -> Fits {
    if class.headers.is_empty() && class.consumers.is_empty() && class.plans.is_empty() {
        let message = "a class that does not say which requests";
        let hint = "add `headers`, `consumers` or `plans`; requests of no class have `share`";
        problems.push(Diagnostic::error("load_shed.class", message).at(class.span).hint(hint));
    }
    let headers = class.headers.iter().filter_map(|(name, value)| {
        let known = HeaderName::new(name);
        if known.is_none() {
            let message = format!("{} is not a header name", name.shown());
            problems.push(Diagnostic::error("load_shed.header", message).at(name.span));
        }
        Some((known?, value.as_bytes().into()))
    });
    let names = |list: &OneOrMany<Spanned<String>>| list.iter().map(|name| name.as_str().into()).collect();
    Fits {
        share: class.share.value,
        headers: headers.collect(),
        consumers: names(&class.consumers),
        plans: names(&class.plans),
    }
}

impl Fits {
    fn fits(&self, exchange: &Exchange) -> bool {
        let fields = &exchange.head.fields;
        let identity = exchange.identity.as_ref();
        let subject = identity.map(|identity| &*identity.subject);
        let plan = identity.and_then(|identity| identity.plan.as_deref());
        let is_one = |names: &[Box<str>], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|known| **known == *name))
        };
        is_one(&self.consumers, subject)
            && is_one(&self.plans, plan)
            && self.headers.iter().all(|(name, value)| fields.values(name).any(|sent| *sent == **value))
    }
}

impl Policy for LoadShed {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let class = self.classes.iter().find(|class| class.fits(exchange));
        if self.limiter.enter(class.map_or(self.share, |class| class.share)) {
            exchange.carried.put(self, Inside);
            return Verdict::CONTINUE;
        }
        self.tally.count(&SHED);
        Rejection::new(&OVERLOADED).with_field(KnownName::RetryAfter, b"1").into()
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let notes = &exchange.notes;
        if exchange.carried.get::<Inside>(self).is_some()
            && let Some(dispatched) = notes.dispatched
        {
            if reply.head.status == Status::GATEWAY_TIMEOUT {
                self.limiter.timed_out();
            } else if let Some(replied) = notes.replied {
                self.limiter.sample(replied, replied.saturating_duration_since(dispatched));
            }
        }
        Verdict::CONTINUE
    }

    fn on_end(&self, exchange: &Exchange) {
        if exchange.carried.get::<Inside>(self).is_some() {
            self.limiter.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::identity::{Facts, Identity};
    use torana_core::testing::{self, TestNames, ready, show_diagnostics, written};
    use torana_core::verdict::Decision;

    fn build(config: &str) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let config = written(config);
        LoadShed::build(config.decode()?, &config, &TestNames::new("r", "/").counting(EVENTS))
    }

    #[test]
    fn the_less_important_go_first_and_room_comes_back_with_every_end() {
        let config = r#"{ "min": 1, "initial": 10, "share": "50%", "classes": [
            { "share": "100%", "headers": { "x-priority": "critical" } },
            { "share": "80%", "consumers": "alice", "plans": ["gold", "silver"] } ] }"#;
        let policy = build(config).unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
        let send = |fields: &str, identity: Option<Identity>| {
            let mut exchange = testing::exchange(&format!("GET / HTTP/1.1\nHost: a{fields}"));
            exchange.identity = identity;
            let decision = ready(policy.on_request(&mut exchange));
            (matches!(decision, Decision::Continue), exchange)
        };
        let count = |times: usize, fields: &str, identity: Option<&Identity>| {
            let sent: Vec<_> = (0..times).map(|_| send(fields, identity.cloned())).collect();
            sent.into_iter().filter(|(passed, _)| *passed).map(|(_, exchange)| exchange).collect::<Vec<_>>()
        };
        let alice = Identity::from(Facts { subject: "alice".into(), plan: Some("gold".into()), ..Facts::default() });
        let bob = Identity::from(Facts { subject: "bob".into(), plan: Some("gold".into()), ..Facts::default() });
        let others = count(20, "", None);
        assert_eq!(others.len(), 5);
        assert_eq!(count(20, "", Some(&bob)).len(), 0, "bob is of no class");
        let alices = count(20, "", Some(&alice));
        assert_eq!(alices.len(), 3);
        assert_eq!(count(20, "\nX-Priority: critical", None).len(), 2);
        assert_eq!(count(20, "\nX-Priority: low", None).len(), 0);
        alices.iter().chain(&others).for_each(|exchange| policy.on_end(exchange));
        assert_eq!(count(20, "", None).len(), 3, "two critical ones are still under way");
    }

    #[test]
    fn what_is_refused_says_when_to_try_again_and_leaves_nothing_behind() {
        let policy = build(r#"{ "min": 1, "max": 1, "initial": 1 }"#).unwrap();
        let mut first = testing::exchange("GET / HTTP/1.1\nHost: a");
        assert!(matches!(ready(policy.on_request(&mut first)), Decision::Continue));
        for _ in 0..3 {
            let mut second = testing::exchange("GET / HTTP/1.1\nHost: a");
            let shown = testing::run(&*policy, &mut second, Reply::default());
            assert_eq!(shown, "rejected load_shed.overloaded 503\n503\nretry-after: 1\n");
        }
        policy.on_end(&first);
        let mut third = testing::exchange("GET / HTTP/1.1\nHost: a");
        assert!(matches!(ready(policy.on_request(&mut third)), Decision::Continue));
    }

    #[test]
    fn mistakes_are_said() {
        let said = |config: &str| show_diagnostics(&build(config).err().expect("it is refused"));
        assert!(said(r#"{ "algorithm": "aimd" }"#).starts_with("error load_shed.latency"));
        assert!(said(r#"{ "latency": "1s" }"#).starts_with("error load_shed.latency"));
        assert!(said(r#"{ "min": 10, "max": 5 }"#).starts_with("error load_shed.range"));
        assert!(said(r#"{ "classes": [ { "share": "50%" } ] }"#).starts_with("error load_shed.class"));
        assert!(said(r#"{ "classes": [ { "share": "5%", "headers": { "a b": "" } } ] }"#).contains("load_shed.header"));
    }
}
