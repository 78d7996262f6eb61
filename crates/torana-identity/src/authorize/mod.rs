//! Whether the caller may.

mod rule;

#[cfg(test)]
mod tests;

pub use rule::{TimeWindow, Weekday};

use rule::Rule;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::SystemTime;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::KnownName;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::Network;
use torana_core::verdict::Verdict;
use torana_core::wanted::Wanted;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// The caller is known, and may not.
    DENIED = "authorize.denied" 403 Caller Never "This is not allowed.";
    /// Nobody knows who the caller is, and the rules ask for it.
    ANONYMOUS = "authorize.anonymous" 401 Caller Never "Authentication is required." error "No token provided";
}

/// Lets requests through by who sends them, and how: all conditions have to
/// hold. What is not allowed gets 403; who is not known and would have to be,
/// 401.
///
/// With `rules`, the first rule whose conditions hold decides; if none does,
/// the request is refused. A rule that cannot be evaluated refuses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the caller has to be known, whoever it is. Default false.
    pub authenticated: bool,
    /// Roles of the caller: one, a list of which one is enough, or `{ any: […], all: […] }`.
    pub roles: Wanted,
    /// Permissions of the caller, likewise.
    pub permissions: Wanted,
    /// Scopes of the caller's token, likewise.
    pub scopes: Wanted,
    /// Callers by name (`sub`).
    pub subjects: OneOrMany<String>,
    /// Methods.
    pub methods: OneOrMany<Spanned<String>>,
    /// Addresses and networks of the client.
    pub networks: OneOrMany<Spanned<Network>>,
    /// When.
    pub time: Option<Spanned<TimeWindow>>,
    /// A condition in CEL, such as `headers["x-tenant"] == identity.claims.tenant`,
    /// `"admin" in identity.roles` or `captures["id"] == identity.subject`. A claim that is missing is a
    /// condition that cannot be evaluated, and refuses; `has(identity.claims.tenant)` asks for it.
    pub when: Option<Spanned<String>>,
    /// Rules, tried in order, besides the conditions above, which have to hold in any case.
    pub rules: Vec<Spanned<RuleConfig>>,
}

/// A rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// Its name, for the log and for `torana explain`. Default: its number.
    pub name: Option<String>,
    /// Whether it refuses what it applies to. Default false: it lets it through.
    pub deny: bool,
    /// Whether the caller has to be known for it to apply. Default false.
    pub authenticated: bool,
    /// Roles of the caller: one, a list of which one is enough, or `{ any: […], all: […] }`.
    pub roles: Wanted,
    /// Permissions of the caller, likewise.
    pub permissions: Wanted,
    /// Scopes of the caller's token, likewise.
    pub scopes: Wanted,
    /// Callers by name (`sub`).
    pub subjects: OneOrMany<String>,
    /// Methods.
    pub methods: OneOrMany<Spanned<String>>,
    /// Addresses and networks of the client.
    pub networks: OneOrMany<Spanned<Network>>,
    /// When.
    pub time: Option<Spanned<TimeWindow>>,
    /// A condition in CEL.
    pub when: Option<Spanned<String>>,
}

impl RuleConfig {
    /// Whether its conditions always hold.
    fn is_nothing(&self) -> bool {
        let names = [&self.roles, &self.permissions, &self.scopes];
        !self.authenticated
            && names.iter().all(|wanted| wanted.is_nothing())
            && self.subjects.is_empty()
            && self.methods.is_empty()
            && self.networks.is_empty()
            && self.time.is_none()
            && self.when.is_none()
    }
}

/// The policy `authorize`.
pub struct Authorize {
    /// What holds for every request.
    base: Rule,
    rules: Vec<Rule>,
    /// Whether any rule asks who the caller is.
    asks_who: bool,
    /// The names of what the route's path captures.
    captures: Box<[String]>,
}

impl PolicyKind for Authorize {
    const NAME: &'static str = "authorize";
    const STAGE: Stage = Stage::Authorize;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let rules: Vec<Rule> = config
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| {
                let span = rule.span;
                let mut rule = rule.value;
                let name = rule.name.take().unwrap_or_else(|| format!("rule {}", index + 1));
                if rule.is_nothing() && !rule.deny {
                    let message = format!("`{name}` lets everything through that comes to it");
                    let hint = "give it conditions; what no rule lets through is refused";
                    site.warn(Diagnostic::warning("authorize.open", message).at(span).hint(hint));
                }
                Rule::compile(name, rule, site, &mut problems)
            })
            .collect();
        let base = RuleConfig {
            name: None,
            deny: false,
            authenticated: config.authenticated,
            roles: config.roles,
            permissions: config.permissions,
            scopes: config.scopes,
            subjects: config.subjects,
            methods: config.methods,
            networks: config.networks,
            time: config.time,
            when: config.when,
        };
        if base.is_nothing() && rules.is_empty() && site.is_whole() {
            let message = "nothing is asked for, so everything would be allowed";
            let hint = "add `roles`, `scopes` or another condition; `authenticated: true` asks only for someone";
            problems.push(Diagnostic::error("authorize.empty", message).at(written.span).hint(hint));
        }
        let base = Rule::compile("authorize".to_owned(), base, site, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let asks_who = base.asks_who() || rules.iter().any(Rule::asks_who);
        Ok(Arc::new(Authorize { base, rules, asks_who, captures: site.captured_names().into() }))
    }
}

/// What was decided, and by which rule.
enum Decided<'a> {
    Allowed(&'a Rule),
    Denied(&'a Rule, Option<String>),
    /// No rule applies.
    Nobody,
}

impl Authorize {
    fn decide(&self, exchange: &Exchange, now: SystemTime) -> Decided<'_> {
        match self.base.applies(exchange, &self.captures, now) {
            Err(fault) => return Decided::Denied(&self.base, Some(fault)),
            Ok(Err(lacking)) => return Decided::Denied(&self.base, Some(lacking.to_owned())),
            Ok(Ok(())) if self.rules.is_empty() => return Decided::Allowed(&self.base),
            Ok(Ok(())) => {}
        }
        for rule in &self.rules {
            match rule.applies(exchange, &self.captures, now) {
                // A broken rule must not make way for a wider one behind it.
                Err(fault) => return Decided::Denied(rule, Some(fault)),
                Ok(Err(_)) => {}
                Ok(Ok(())) if rule.denies() => return Decided::Denied(rule, None),
                Ok(Ok(())) => return Decided::Allowed(rule),
            }
        }
        Decided::Nobody
    }
}

impl Decided<'_> {
    fn describe(&self) -> String {
        match self {
            Decided::Allowed(rule) => format!("`{}` allows it", rule.name()),
            Decided::Denied(rule, None) => format!("`{}` denies it", rule.name()),
            Decided::Denied(rule, Some(why)) => format!("`{}` denies it: {why}", rule.name()),
            Decided::Nobody => "no rule allows it".to_owned(),
        }
    }
}

impl Policy for Authorize {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let decided = self.decide(exchange, SystemTime::now());
        if matches!(decided, Decided::Allowed(_)) {
            return Verdict::CONTINUE;
        }
        let rejection = if exchange.identity.is_none() && self.asks_who {
            Rejection::new(&ANONYMOUS).with_field(KnownName::WwwAuthenticate, b"Bearer")
        } else {
            Rejection::new(&DENIED)
        };
        rejection.because(decided.describe()).into()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let who = match &exchange.identity {
            Some(identity) => format!("for `{}`", identity.subject),
            None => "for an anonymous caller".to_owned(),
        };
        Some(format!("{who}, {}", self.decide(exchange, SystemTime::now()).describe()))
    }
}
