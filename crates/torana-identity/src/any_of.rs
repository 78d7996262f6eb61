//! Several ways to prove who the caller is; one of them is enough.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::Deserializer;
use std::borrow::Cow;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Built, Policy, PolicyKind, inner};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::{KindUse, Spanned, Written};

torana_core::refusals! {
    /// None of the ways to prove who the caller is was taken.
    MISSING = "any_of.missing" 401 Caller Never "Authentication is required." error "No token provided";
}

/// Several policies that prove who the caller is, such as `jwt`; they are tried
/// as written, and the first that succeeds decides.
///
/// If none does, the request is refused, as by the one that was presented with
/// something, or else as by the last. One that would let the request go on
/// without proof (`optional`) does not count here.
#[derive(Debug)]
pub struct Config(Vec<Spanned<KindUse>>);

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Config)
    }
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "AnyOf".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let used = generator.subschema_for::<KindUse>();
        schemars::json_schema!({
            "type": "array",
            "items": used,
            "minItems": 1,
            "description": "Several policies that prove who the caller is, such as `jwt`; they are tried as written, and the first \
                            that succeeds decides.\n\nIf none does, the request is refused, as by the one that was presented with \
                            something, or else as by the last. One that would let the request go on without proof (`optional`) \
                            does not count here."
        })
    }
}

/// The policy `any_of`.
pub struct AnyOf {
    ways: Vec<Arc<Built>>,
    owned: Vec<HeaderName>,
}

impl PolicyKind for AnyOf {
    const NAME: &'static str = "any_of";
    const STAGE: Stage = Stage::Identify;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut ways = Vec::new();
        for used in &config.0 {
            match inner(site, used) {
                Ok(built) if built.stage == Stage::Identify => ways.push(built),
                Ok(built) => {
                    let message = format!("`{}` does not prove who the caller is", built.name);
                    problems.push(Diagnostic::error("any_of.policy", message).at(used.span));
                }
                Err(more) => problems.extend(more),
            }
        }
        if !site.is_whole() && ways.len() < config.0.len() {
            return Err(problems);
        }
        if ways.is_empty() && problems.is_empty() {
            problems.push(Diagnostic::error("any_of.policy", "there is no way to prove anything").at(written.span));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let owned = ways.iter().flat_map(|way| way.policy.owned_headers()).cloned().collect();
        Ok(Arc::new(AnyOf { ways, owned }))
    }
}

impl Policy for AnyOf {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        // Whoever was proven before this policy does not count as proven by it.
        exchange.identity = None;
        let mut refusal = Refused::default();
        for (index, way) in self.ways.iter().enumerate() {
            let now = match way.policy.on_request(exchange) {
                Verdict::Now(decision) => Some(decision),
                // Dropped before it began, and asked again where there is time.
                Verdict::Wait(_) => None,
            };
            let Some(decision) = now else {
                return Verdict::Wait(Box::pin(self.wait(exchange, index, refusal)));
            };
            if let Some(decision) = refusal.consider(decision, exchange) {
                return Verdict::Now(decision);
            }
        }
        Verdict::Now(refusal.decision())
    }

    /// Of those that may have run: up to the one that succeeded, or all.
    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        let proven_by = exchange.identity.as_ref().map(|identity| identity.proven_by);
        let last = self.ways.iter().position(|way| Some(way.name) == proven_by).unwrap_or(self.ways.len() - 1);
        let [only] = self.ways.get(..=last).unwrap_or_default() else {
            return Verdict::Wait(Box::pin(async move {
                for way in self.ways.iter().take(last + 1).rev() {
                    match decided(way.policy.on_response(exchange, reply)).await {
                        Decision::Continue => {}
                        Decision::Answer(other) => *reply = *other,
                        Decision::Reject(rejection) => return Decision::Reject(rejection),
                    }
                }
                Decision::Continue
            }));
        };
        only.policy.on_response(exchange, reply)
    }

    fn owned_headers(&self) -> &[HeaderName] {
        &self.owned
    }

    fn credential_parameters(&self) -> Vec<&str> {
        self.ways.iter().flat_map(|way| way.policy.credential_parameters()).collect()
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let mut all = Vec::new();
        for way in &self.ways {
            let says = way.policy.explain(exchange).unwrap_or_else(|| "cannot tell".to_owned());
            all.push(format!("{}: {says}", way.name));
            if exchange.identity.is_some() {
                break;
            }
        }
        Some(all.join("; "))
    }

    fn on_end(&self, exchange: &Exchange) {
        self.ways.iter().for_each(|way| way.policy.on_end(exchange));
    }
}

impl AnyOf {
    async fn wait(&self, exchange: &mut Exchange, from: usize, mut refusal: Refused) -> Decision {
        for way in self.ways.iter().skip(from) {
            let decision = decided(way.policy.on_request(exchange)).await;
            if let Some(decision) = refusal.consider(decision, exchange) {
                return decision;
            }
        }
        refusal.decision()
    }
}

async fn decided(verdict: Verdict<'_>) -> Decision {
    match verdict {
        Verdict::Now(decision) => decision,
        Verdict::Wait(future) => future.await,
    }
}

/// What the ways that were tried said.
#[derive(Default)]
struct Refused {
    said: Option<Decision>,
    /// Whether `said` is about something that the request brought.
    is_specific: bool,
    challenges: Vec<Vec<u8>>,
}

impl Refused {
    /// Takes a decision into account; the final one, if it is.
    fn consider(&mut self, decision: Decision, exchange: &mut Exchange) -> Option<Decision> {
        let is_specific = match &decision {
            Decision::Continue if exchange.identity.is_some() => return Some(decision),
            Decision::Continue => return None,
            // A page to log in at, say: better than nothing, if nothing else
            // has a say.
            Decision::Answer(_) => false,
            Decision::Reject(rejection) => {
                let fields = rejection.fields.iter().flat_map(|fields| fields.get_all(KnownName::WwwAuthenticate));
                for challenge in fields {
                    if !self.challenges.iter().any(|known| known == challenge) {
                        self.challenges.push(challenge.to_vec());
                    }
                }
                // By convention of the `Identify` stage, codes of what is not
                // there at all end so.
                !rejection.refusal.code.ends_with(".missing")
            }
        };
        exchange.identity = None;
        if is_specific || !self.is_specific {
            self.said = Some(decision);
            self.is_specific |= is_specific;
        }
        None
    }

    /// What becomes of a request that nobody vouches for: never that it goes
    /// on.
    fn decision(self) -> Decision {
        match self.said {
            Some(Decision::Reject(mut rejection)) => {
                if let Some(fields) = &mut rejection.fields {
                    fields.remove_known(KnownName::WwwAuthenticate);
                }
                // All that would do (RFC 9110 §11.6.1).
                if rejection.refusal.status.code() == 401 {
                    for challenge in &self.challenges {
                        rejection = rejection.with_field(KnownName::WwwAuthenticate, challenge);
                    }
                }
                Decision::Reject(rejection)
            }
            Some(Decision::Answer(reply)) => Decision::Answer(reply),
            Some(Decision::Continue) | None => Decision::Reject(Rejection::new(&MISSING)),
        }
    }
}

#[cfg(test)]
mod tests;
