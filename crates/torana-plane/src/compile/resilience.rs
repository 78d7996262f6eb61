//! How endpoints of an upstream are chosen and watched, and what happens when
//! they fail.

use super::{Context, target};
use std::sync::Arc;
use std::time::Duration;
use torana_config::model::{self, Balance, BreakerScope, Config, HedgeAfter, SameSite, StatusText, Switch};
use torana_core::diagnostic::{Diagnostic, did_you_mean, quoted};
use torana_core::head::Method;
use torana_core::names::HeaderName;
use torana_core::units::Percent;
use torana_core::written::Spanned;
use torana_upstream::balance::{self, Algorithm, BalanceSpec, PEAK_EWMA_DECAY, SlowStart, StickySecret, StickySpec};
use torana_upstream::breaker::{BreakerSpec, SlowSpec};
use torana_upstream::health::spec::{
    ActiveSpec, Check, FailurePercentage, GrpcCheck, HealthSpec, HttpCheck, PassiveSpec, StatusRanges,
};
use torana_upstream::hedge::{After, HedgeSpec};
use torana_upstream::retry::{Backoff, BudgetSpec, RetrySpec, Trigger, Triggers};
use torana_upstream::spec::{Fallback, FixedAnswer, HashOn, Scope, elsewhere};

pub(super) fn balance(upstream: &model::Upstream, context: &mut Context<'_>) -> (BalanceSpec, Option<HashOn>) {
    let mut hash_on = None;
    let algorithm = match &upstream.balance.value {
        Balance::RoundRobin => Algorithm::RoundRobin,
        Balance::LeastRequest => Algorithm::LeastRequest,
        Balance::PeakEwma => Algorithm::PeakEwma { decay: PEAK_EWMA_DECAY },
        Balance::Random => Algorithm::Random,
        Balance::ConsistentHash(hash) => {
            hash_on = hashed(hash, &upstream.balance, context);
            let bound = match hash.bound.value {
                0 => None,
                bound if bound < 100 => {
                    let message = format!("a bound of {bound} % would leave requests without an endpoint");
                    let hint = "write 125 for a quarter more than the average, or 0 for no bound";
                    context.report(Diagnostic::error("upstream.balance", message).at(hash.bound.span).hint(hint));
                    None
                }
                bound => Some(f64::from(bound) / 100.0),
            };
            Algorithm::ConsistentHash { bound }
        }
    };
    let window = upstream.slow_start.as_ref().map(|window| window.std()).filter(|window| !window.is_zero());
    (BalanceSpec { algorithm, slow_start: window.map(SlowStart::new) }, hash_on)
}

fn hashed(hash: &model::ConsistentHash, place: &Spanned<Balance>, context: &mut Context<'_>) -> Option<HashOn> {
    let is_on = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
    let given = [hash.header.is_some(), hash.cookie.is_some(), is_on(&hash.client), is_on(&hash.path)];
    if given.iter().filter(|given| **given).count() != 1 {
        if !context.has_gap(place.span) {
            let message = "`consistent_hash` needs exactly one of `header`, `cookie`, `client` and `path`";
            let hint = "for example `consistent_hash: { header: x-user-id }`";
            context.report(Diagnostic::error("upstream.balance", message).at(place.span).hint(hint));
        }
        return None;
    }
    if let Some(written) = &hash.header {
        let name = HeaderName::new(written);
        if name.is_none() {
            let message = format!("{} is not a header name", written.shown());
            context.report(Diagnostic::error("upstream.balance", message).at(written.span));
        }
        return name.map(HashOn::Header);
    }
    if let Some(written) = &hash.cookie {
        check_cookie(written, context);
        return Some(HashOn::Cookie(written.as_str().into()));
    }
    Some(if is_on(&hash.client) { HashOn::Client } else { HashOn::Path })
}

fn check_cookie(name: &Spanned<String>, context: &mut Context<'_>) {
    if !StickySpec::is_name(name) {
        let message = format!("{} cannot be the name of a cookie", name.shown());
        let hint = "letters, digits, `-` and `_` are safe";
        context.report(Diagnostic::error("upstream.cookie", message).at(name.span).hint(hint));
    }
}

pub(super) fn sticky(sticky: &model::Sticky, context: &mut Context<'_>) -> StickySpec {
    check_cookie(&sticky.cookie, context);
    let mut spec = StickySpec::new(sticky.cookie.as_str());
    spec.max_age = sticky.max_age.as_ref().map(|age| age.std());
    spec.same_site = Some(match sticky.same_site {
        SameSite::Lax => balance::SameSite::Lax,
        SameSite::Strict => balance::SameSite::Strict,
        SameSite::None => balance::SameSite::None,
    });
    if let Some(secret) = &sticky.secret {
        if secret.len() < StickySecret::ENOUGH_BYTES {
            // Never the value, nor how long it is.
            let message = format!("the secret of the cookie is shorter than {} bytes", StickySecret::ENOUGH_BYTES);
            let hint = "make one with `openssl rand -base64 24`";
            context.report(Diagnostic::error("upstream.secret", message).at(secret.span).hint(hint));
        }
        spec.secrets.push(StickySecret::new(secret.as_bytes()));
    }
    spec
}

pub(super) fn health(health: &Spanned<model::Health>, context: &mut Context<'_>) -> HealthSpec {
    let passive = match &health.passive {
        Switch::Off => None,
        Switch::On(passive) => Some(PassiveSpec {
            consecutive_failures: passive.failures,
            failure_statuses: statuses(&passive.status, &[(502, 504)], context),
            failure_percentage: passive.failure_ratio.as_ref().map(|ratio| FailurePercentage {
                threshold: whole_percent(ratio, context),
                ..FailurePercentage::default()
            }),
            base_ejection_time: passive.eject_for.std(),
            max_ejection_time: passive.max_eject_for.std(),
            max_ejection_percent: whole_percent(&passive.max_ejected, context),
        }),
    };
    HealthSpec {
        active: check(health, context).map(|check| active(health, check, context)),
        passive,
        panic_threshold: whole_percent(&health.panic_threshold, context),
    }
}

fn whole_percent(percent: &Spanned<Percent>, context: &mut Context<'_>) -> u8 {
    if !percent.hundredths().is_multiple_of(100) {
        let message = format!("{} is not a whole percentage", percent.shown());
        context.report(Diagnostic::error("upstream.percentage", message).at(percent.span));
    }
    u8::try_from(percent.hundredths() / 100).unwrap_or(100)
}

fn check(health: &Spanned<model::Health>, context: &mut Context<'_>) -> Option<Check> {
    let tcp = health.tcp.as_ref().is_some_and(|tcp| tcp.value);
    let kinds = [health.path.is_some(), tcp, health.grpc.is_some()].iter().filter(|given| **given).count();
    if kinds > 1 {
        let message = "an endpoint is probed in one way: `path`, `tcp` or `grpc`";
        context.report(Diagnostic::error("upstream.health", message).at(health.span).hint("remove the others"));
        return None;
    }
    let host = || health.host.as_ref().map(|host| Arc::from(host.as_str()));
    if let Some(path) = &health.path {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("{} is not a path", path.shown());
            context.report(Diagnostic::error("upstream.health", message).at(path.span).hint("for example `/healthz`"));
        }
        let method = health.method.as_ref().map_or(Some(Method::Get), |written| {
            let method = Method::NAMED.into_iter().find(|method| method.as_str() == written.as_str());
            let method = method.filter(|method| *method != Method::Connect);
            if method.is_none() {
                let message = format!("{} is not a method to probe with", written.shown());
                let hint = "`GET`, `HEAD` or `OPTIONS`";
                context.report(Diagnostic::error("upstream.health", message).at(written.span).hint(hint));
            }
            method
        })?;
        return Some(Check::Http(HttpCheck {
            method,
            path: path.as_str().into(),
            host: host(),
            expected: statuses(&health.status, &[(200, 399)], context),
            body_contains: health.body_contains.as_ref().map(|text| text.as_str().into()),
        }));
    }
    if let Some(service) = &health.grpc {
        return Some(Check::Grpc(GrpcCheck { service: service.as_str().into(), host: host() }));
    }
    if tcp {
        return Some(Check::Tcp);
    }
    unused(health, context);
    None
}

/// Says of settings of probes that there are no probes.
fn unused(health: &Spanned<model::Health>, context: &mut Context<'_>) {
    let set = [
        ("method", health.method.as_ref().map(|it| it.span)),
        ("host", health.host.as_ref().map(|it| it.span)),
        ("status", health.status.first().map(|it| it.span)),
        ("body_contains", health.body_contains.as_ref().map(|it| it.span)),
        ("port", health.port.as_ref().map(|it| it.span)),
        ("interval", health.interval.as_ref().map(|it| it.span)),
        ("timeout", health.timeout.as_ref().map(|it| it.span)),
        ("healthy_threshold", health.healthy_threshold.as_ref().map(|it| it.span)),
        ("unhealthy_threshold", health.unhealthy_threshold.as_ref().map(|it| it.span)),
    ];
    if context.has_gap(health.span) {
        return;
    }
    for (key, span) in set {
        if let Some(span) = span {
            let message = format!("`{key}` has no effect: nothing is probed");
            let hint = "say what to probe: `path`, `tcp: true` or `grpc`";
            context.report(Diagnostic::error("upstream.health", message).at(span).hint(hint));
        }
    }
}

fn active(health: &model::Health, check: Check, context: &mut Context<'_>) -> ActiveSpec {
    let mut spec = ActiveSpec::new(check);
    let mut time = |key: &str, written: &Option<Spanned<torana_core::units::Duration>>| {
        let written = written.as_ref()?;
        if written.is_zero() {
            let message = format!("`{key}` cannot be `0s`");
            context.report(Diagnostic::error("config.zero_timeout", message).at(written.span));
        }
        Some(written.std())
    };
    if let Some(interval) = time("interval", &health.interval) {
        spec.interval = interval;
        spec.unhealthy_interval = interval;
        spec.edge_interval = interval.min(Duration::from_secs(1));
    }
    if let Some(timeout) = time("timeout", &health.timeout) {
        spec.timeout = timeout;
    }
    spec.healthy_threshold = health.healthy_threshold.as_ref().map_or(spec.healthy_threshold, |it| it.value);
    spec.unhealthy_threshold = health.unhealthy_threshold.as_ref().map_or(spec.unhealthy_threshold, |it| it.value);
    spec.require = health.require;
    spec.port = health.port.as_ref().map(|port| port.value);
    spec
}

/// Statuses as written, `200` or `200-399`; `default` where none are.
fn statuses(written: &[Spanned<StatusText>], default: &[(u16, u16)], context: &mut Context<'_>) -> StatusRanges {
    let mut ranges = Vec::new();
    for text in written {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if (100..=599).contains(&first) && (first..=599).contains(&last) => {
                ranges.push((first, last));
            }
            _ => {
                let message = format!("{} is neither a status nor a range of them", text.shown());
                let hint = "for example `200`, or `200-399`";
                context.report(Diagnostic::error("upstream.status", message).at(text.span).hint(hint));
            }
        }
    }
    StatusRanges::new(if written.is_empty() { default.to_vec() } else { ranges })
}

pub(super) fn breaker(breaker: &Spanned<model::Breaker>, context: &mut Context<'_>) -> (BreakerSpec, Scope) {
    let spec = BreakerSpec {
        failures: breaker.failures.as_ref().map(|failures| failures.value),
        failure_ratio: breaker.failure_ratio.as_ref().map(|ratio| ratio.value),
        slow: breaker.slow.as_ref().map(|slow| SlowSpec { over: slow.over.std(), ratio: slow.ratio.value }),
        window: breaker.window.std(),
        min_requests: breaker.min_requests.value,
        open_for: breaker.open_for.std(),
        open_for_max: breaker.max_open_for.std(),
        probes: breaker.probes.value,
        recovery: breaker.recovery.std(),
    };
    if !spec.has_trigger() && !context.has_gap(breaker.span) {
        let message = "nothing opens this breaker";
        let hint = "give it `failures`, `failure_ratio` or `slow`";
        context.report(Diagnostic::error("upstream.breaker", message).at(breaker.span).hint(hint));
    }
    for ratio in [breaker.failure_ratio.as_ref(), breaker.slow.as_ref().map(|slow| &slow.ratio)].into_iter().flatten() {
        if ratio.hundredths() == 0 {
            let message = "a share of 0 % would open the breaker at once";
            context.report(Diagnostic::error("upstream.breaker", message).at(ratio.span));
        }
    }
    let scope = match breaker.scope {
        BreakerScope::Upstream => Scope::Upstream,
        BreakerScope::Endpoint => Scope::Endpoint,
    };
    (spec, scope)
}

/// The policy, and how many bytes of a body are kept for it.
pub(super) fn retry(
    retry: Option<&Spanned<model::Retry>>,
    endpoints: usize,
    context: &mut Context<'_>,
) -> (RetrySpec, usize) {
    let Some(retry) = retry else { return (elsewhere(endpoints), 0) };
    let mut on = if retry.on.is_empty() { Triggers::DEFAULT } else { Triggers::NONE };
    for word in &*retry.on {
        match word.parse::<Trigger>() {
            Ok(trigger) => on = on.with(trigger),
            Err(_) => {
                let words = ["connect", "reset", "timeout", "gateway_error", "5xx"];
                let message = format!("{} is nothing to retry on", word.shown());
                let hint = match did_you_mean(word, words) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "`connect`, `reset`, `timeout`, `gateway_error`, `5xx`, or a status from 400 to 599".to_owned()
                    }
                };
                context.report(Diagnostic::error("upstream.retry", message).at(word.span).hint(hint));
            }
        }
    }
    let spec = RetrySpec {
        attempts: retry.attempts.into(),
        on,
        per_try_timeout: retry.per_try_timeout.as_ref().map(|timeout| timeout.std()),
        backoff: Backoff { base: retry.backoff.std(), max: retry.max_backoff.std() },
        non_idempotent: retry.non_idempotent,
        budget: Some(BudgetSpec { share: retry.budget.value, ..BudgetSpec::DEFAULT }),
        ..RetrySpec::DEFAULT
    };
    if let Some(timeout) = retry.per_try_timeout.as_ref().filter(|timeout| timeout.is_zero()) {
        let message = "`per_try_timeout` cannot be `0s`: no attempt could succeed";
        context.report(Diagnostic::error("config.zero_timeout", message).at(timeout.span));
    }
    (spec, retry.body_bytes.as_usize())
}

/// When a request is sent twice. What that may come to is the budget of `retry`,
/// which has one from now on.
pub(super) fn hedge(
    hedge: &Spanned<model::Hedge>,
    retry: &mut RetrySpec,
    endpoints: usize,
    context: &mut Context<'_>,
) -> HedgeSpec {
    retry.budget.get_or_insert(BudgetSpec::DEFAULT);
    if endpoints < 2 && !context.has_gap(hedge.span) {
        let message = "there is no other endpoint to send a slow request to";
        context.report(Diagnostic::warning("upstream.hedge", message).at(hedge.span));
    }
    let after = match hedge.after.value {
        HedgeAfter::Time(time) => {
            if time.is_zero() {
                let message = "`after: 0s` would send every request twice";
                let hint = "`p95` sends one of twenty";
                context.report(Diagnostic::error("upstream.hedge", message).at(hedge.after.span).hint(hint));
            }
            After::Time(time.std())
        }
        HedgeAfter::Quantile(share) => After::Quantile(share),
    };
    HedgeSpec { after, most: hedge.most.into() }
}

pub(super) fn fallback(
    own: &str,
    written: &Spanned<model::Fallback>,
    config: &Config,
    context: &mut Context<'_>,
) -> Option<Fallback> {
    match (&written.upstream, &written.respond) {
        (Some(name), None) => {
            let is_there = config.upstreams.keys().any(|known| **known == **name)
                || context.remnant.is_some_and(|remnant| remnant.may_have_upstream(name));
            if !is_there {
                let message = format!("there is no upstream {}", name.shown());
                let near = did_you_mean(name, config.upstreams.keys().map(|known| known.as_str()));
                let diagnostic = Diagnostic::error("config.unknown_upstream", message).at(name.span);
                context.report(match near {
                    Some(near) => diagnostic.hint(format!("did you mean {}?", quoted(near))),
                    None => diagnostic,
                });
            } else if name.as_str() == own {
                let message = "an upstream cannot stand in for itself";
                context.report(Diagnostic::error("upstream.fallback", message).at(name.span));
            }
            Some(Fallback::Upstream(name.as_str().into()))
        }
        (None, Some(respond)) => {
            let target = target::fixed(respond, context)?;
            let written: Arc<str> = format!("{:?}", respond.value).into();
            Some(Fallback::Answer(FixedAnswer { target, written }))
        }
        _ if context.has_gap(written.span) => None,
        _ => {
            let message = "a fallback is exactly one of `upstream` and `respond`";
            context.report(Diagnostic::error("upstream.fallback", message).at(written.span));
            None
        }
    }
}
