//! From the configuration to what is counted with.

use super::key::Key;
use super::lease::Leases;
use super::shared::Shared;
use super::told::{Told, Which};
use super::written::{self, Algorithm, Config, Headers, Limit};
use super::{Anchor, Cost, RateLimit, Set};
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};
use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::names::HeaderName;
use torana_core::site::{Site, find_store, keep};
use torana_core::store::memory::MemoryCounters;
use torana_core::store::quota::Quota;
use torana_core::store::{MOST_QUOTAS, quota};
use torana_core::units::Duration;
use torana_core::written::{Spanned, Written};
use torana_expr::{Expr, Kind};

pub(super) fn compile(config: &Config, written: &Written, site: &dyn Site) -> Result<RateLimit, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let otherwise = match own_limit(config, &mut problems) {
        Some(limit) => set(&[limit], "", written.span, config, site, &mut problems),
        None => {
            let limits: Vec<Wanted<'_>> = config.limits.iter().map(Wanted::from).collect();
            set(&limits, "", written.span, config, site, &mut problems)
        }
    };
    let tiers = config.tiers.iter().map(|(name, limits)| {
        let limits: Vec<Wanted<'_>> = limits.iter().map(Wanted::from).collect();
        (name.as_str().into(), set(&limits, name, name.span, config, site, &mut problems))
    });
    let tiers: Vec<(Box<str>, Set)> = tiers.collect();
    let key = config.key.iter().filter_map(|key| part(key, site, &mut problems)).collect();
    let cost = cost(config, site, &mut problems);
    let sets = || tiers.iter().map(|(_, set)| set).chain([&otherwise]);
    // Limits that have changed are counted anew.
    let counted: Vec<&[Quota]> = sets().map(|set| &*set.quotas).collect();
    let shares: Vec<&[Quota]> = sets().map(|set| &*set.shares).collect();
    let keys = usize::try_from(config.max_keys.value).unwrap_or(usize::MAX);
    let memory = keep(site, &format!("memory {keys} {counted:?}"), || MemoryCounters::new(keys));
    let shared = match find_store(&config.store, site) {
        Err(problem) => {
            problems.push(*problem);
            None
        }
        Ok(store) => store.map(|store| Shared {
            store,
            local: keep(site, &format!("share {keys} {shares:?}"), || MemoryCounters::new(keys)),
            leases: config.lease.as_ref().map(|lease| {
                keep(site, &format!("lease {lease:?} {keys} {counted:?}"), || Leases::new(lease.value, keys))
            }),
            lasts: config.on_store_failure.lasts.as_ref().map(|lasts| micros(lasts.std())),
            then: config.on_store_failure.then,
            down: keep(site, "down", AtomicU64::default),
        }),
    };
    conflicts(config, shared.is_some(), sets, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let clock = keep(site, "clock", || Anchor {
        instant: Instant::now(),
        wall: micros(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
    });
    let tally = site.tally();
    let captures = site.captured_names().into();
    Ok(RateLimit { otherwise, tiers, key, cost, captures, memory, shared, is_shadow: config.shadow, tally, clock })
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A limit, wherever it is written.
struct Wanted<'a> {
    name: &'a str,
    name_span: Span,
    requests: &'a Spanned<u64>,
    per: Option<&'a Spanned<Duration>>,
    algorithm: Algorithm,
    burst: Option<&'a Spanned<u64>>,
}

impl<'a> From<&'a Spanned<Limit>> for Wanted<'a> {
    fn from(limit: &'a Spanned<Limit>) -> Self {
        Wanted {
            name: limit.name.as_str(),
            name_span: limit.name.span,
            requests: &limit.requests,
            per: limit.per.as_ref(),
            algorithm: limit.algorithm.as_ref().map_or(Algorithm::default(), |algorithm| algorithm.value),
            burst: limit.burst.as_ref(),
        }
    }
}

/// The limit that is written without a list.
fn own_limit<'a>(config: &'a Config, problems: &mut Vec<Diagnostic>) -> Option<Wanted<'a>> {
    let spans = [
        config.requests.as_ref().map(|value| value.span),
        config.per.as_ref().map(|value| value.span),
        config.algorithm.as_ref().map(|value| value.span),
        config.burst.as_ref().map(|value| value.span),
    ];
    let span = spans.into_iter().flatten().next()?;
    if let (Some(first), true) = (config.limits.first(), span.is_known() || config.requests.is_some()) {
        let message = "a limit stands beside `limits`";
        problems.push(
            Diagnostic::error("rate_limit.two_limits", message)
                .label(span, "this one")
                .also(first.span, "and these")
                .hint("move it into the list"),
        );
        return None;
    }
    let Some(requests) = &config.requests else {
        let message = "the limit does not say how many `requests`";
        problems.push(Diagnostic::error("config.missing_key", message).at(span));
        return None;
    };
    Some(Wanted {
        name: "default",
        name_span: requests.span,
        requests,
        per: config.per.as_ref(),
        algorithm: config.algorithm.as_ref().map_or(Algorithm::default(), |algorithm| algorithm.value),
        burst: config.burst.as_ref(),
    })
}

/// Which headers clients get.
fn which(config: &Config) -> Which {
    let is_told = |kind: Headers| !config.shadow && (config.headers == kind || config.headers == Headers::All);
    Which { ietf: is_told(Headers::Ietf), legacy: is_told(Headers::Legacy) }
}

fn set(
    limits: &[Wanted<'_>],
    tier: &str,
    span: Span,
    config: &Config,
    site: &dyn Site,
    problems: &mut Vec<Diagnostic>,
) -> Set {
    if limits.is_empty() && site.is_whole() && problems.is_empty() {
        let message = "there is no limit here";
        let hint = "add `requests: 100, per: 1m`, or `limits`";
        problems.push(Diagnostic::error("rate_limit.no_limit", message).at(span).hint(hint));
    }
    if let Some(ninth) = limits.get(MOST_QUOTAS) {
        let message = format!("at most {MOST_QUOTAS} limits are decided upon together");
        problems.push(Diagnostic::error("rate_limit.too_many", message).at(ninth.name_span));
    }
    let mut quotas: Vec<Quota> = Vec::new();
    for limit in limits.iter().take(MOST_QUOTAS) {
        let name = limit.name;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) {
            let message = format!("`{}` is no name for a limit", name.escape_debug());
            let hint = "up to 64 letters, digits, `-`, `_` and `.`";
            problems.push(Diagnostic::error("rate_limit.name", message).at(limit.name_span).hint(hint));
        } else if quotas.iter().any(|known| *known.name == *name) {
            let message = format!("two limits are called `{name}`");
            let hint = "give each a name of its own";
            problems.push(Diagnostic::error("rate_limit.name", message).at(limit.name_span).hint(hint));
        }
        quotas.extend(quota(limit, config, problems));
    }
    let of = config.on_store_failure.replicas.as_ref().map_or(1, |replicas| replicas.value);
    Set {
        scope: format!("{}#{tier}", site.owner()).into(),
        tier: tier.into(),
        shares: quotas.iter().map(|quota| quota.share(1, of)).collect(),
        told: Told::new(which(config), &quotas),
        has_places: quotas.iter().any(|quota| quota.algorithm == quota::Algorithm::Concurrency),
        quotas,
    }
}

fn quota(limit: &Wanted<'_>, config: &Config, problems: &mut Vec<Diagnostic>) -> Option<Quota> {
    let algorithm = limit.algorithm.counted();
    let per = match limit.per {
        Some(per) => per.std(),
        None if algorithm == quota::Algorithm::Concurrency => std::time::Duration::from_secs(300),
        None => {
            let message = "the limit does not say `per` which time";
            let diagnostic = Diagnostic::error("config.missing_key", message).at(limit.requests.span);
            problems.push(diagnostic.hint("add `per: 1m`"));
            return None;
        }
    };
    if let Some(burst) = limit.burst.filter(|_| algorithm != quota::Algorithm::Bucket) {
        let message = "`burst` is for `gcra` and `token_bucket` only";
        problems.push(Diagnostic::error("rate_limit.burst", message).at(burst.span));
    }
    let burst = limit.burst.map_or(limit.requests.value, |burst| burst.value);
    let delay = config.delay.as_ref().map_or(std::time::Duration::ZERO, |delay| delay.std());
    Quota::new(limit.name, algorithm, limit.requests.value, per, burst, delay)
        .map_err(|error| {
            problems.push(Diagnostic::error("rate_limit.limit", error.to_string()).at(limit.requests.span));
        })
        .ok()
}

fn part(key: &Spanned<written::Key>, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Option<Key> {
    Some(match &key.value {
        written::Key::Consumer => Key::Consumer,
        written::Key::Client => Key::Client,
        written::Key::Path => Key::Path,
        written::Key::Constant(_) => Key::Constant,
        written::Key::Cookie(name) => Key::Cookie(name.as_bytes().into()),
        written::Key::Header(name) => {
            let known = HeaderName::new(name);
            if known.is_none() {
                let message = format!("{} is not a header name", name.shown());
                problems.push(Diagnostic::error("rate_limit.header", message).at(name.span));
            }
            Key::Header(known?)
        }
        written::Key::Expr(text) => Key::Expr(expr(text, site, problems)?),
    })
}

fn expr(text: &Spanned<String>, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Option<Expr> {
    let compiled = torana_expr::Written::of(site, "rate_limit.expr").expression(text);
    compiled.map_err(|problem| problems.push(*problem)).ok()
}

fn cost(config: &Config, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Cost {
    match config.cost.as_ref().map(|cost| &cost.value) {
        None => Cost::Fixed(1),
        Some(written::Cost::Fixed(cost)) => Cost::Fixed(*cost),
        Some(written::Cost::Expr(text)) => match expr(text, site, problems) {
            Some(expr) if expr.kind() == Kind::Int => Cost::Computed(expr),
            Some(expr) => {
                let message = format!("a cost is a whole number, and this is {}", expr.kind());
                problems.push(Diagnostic::error("rate_limit.expr", message).at(text.span));
                Cost::Fixed(1)
            }
            None => Cost::Fixed(1),
        },
    }
}

/// What excludes each other.
fn conflicts<'a, I: Iterator<Item = &'a Set>>(
    config: &Config,
    is_shared: bool,
    sets: impl Fn() -> I,
    problems: &mut Vec<Diagnostic>,
) {
    let mut conflict = |span: Span, message: &str| {
        problems.push(Diagnostic::error("rate_limit.conflict", message.to_owned()).at(span));
    };
    let has = |is_it: fn(&Quota) -> bool| sets().any(|set| set.quotas.iter().any(is_it));
    if let Some(delay) = &config.delay {
        if has(|quota| quota.algorithm != quota::Algorithm::Bucket) {
            conflict(delay.span, "`delay` is for `gcra` and `token_bucket`: the others do not know whose turn is when");
        }
        if config.lease.is_some() {
            conflict(delay.span, "`delay` and `lease` exclude each other: what is taken ahead has no turn");
        }
    }
    if let Some(lease) = &config.lease {
        if !is_shared {
            conflict(lease.span, "a `lease` is taken from a store, and this counts in memory");
        }
        if has(|quota| quota.algorithm == quota::Algorithm::Concurrency) {
            conflict(lease.span, "places at a time cannot be taken ahead");
        }
    }
}
