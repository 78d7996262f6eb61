//! How much each caller may: several limits at once, in memory or in a store
//! that gateways share.
//!
//! | file | what |
//! |---|---|
//! | `written` | the configuration |
//! | `compile` | from that to what is counted with |
//! | `key` | whose request it is |
//! | `shared` | counting in a store, ahead of need, and without it when it is down |
//! | `told` | what clients are told |
//!
//! The arithmetic is [`torana_core::store::quota`].

mod compile;
mod key;
mod lease;
mod shared;
#[cfg(test)]
mod tests;
mod told;
mod written;

pub use written::Config;

use key::Key;
use shared::Shared;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use told::Told;
use torana_core::diagnostic::Diagnostic;
use torana_core::event::{Event, Tally};
use torana_core::exchange::Exchange;
use torana_core::outbound::Outbound;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::store::memory::MemoryCounters;
use torana_core::store::quota::{Quota, Standing};
use torana_core::store::{Counters, Standings, Take, Taken};
use torana_core::verdict::{Decision, Verdict};
use torana_core::written::Written;
use torana_expr::{Expr, Subject, Value};

torana_core::refusals! {
    /// A limit is reached.
    EXCEEDED = "rate_limit.exceeded" 429 Caller IfSafe "Too many requests.";
    /// The store is down, and this gateway's share of a limit is reached.
    EXCEEDED_SHARE = "rate_limit.exceeded_share" 429 Gateway IfSafe "Too many requests.";
    /// The store is down, and the policy is configured to let nothing through.
    NOT_COUNTED = "rate_limit.not_counted" 429 Gateway IfSafe "Too many requests.";
}

torana_core::events! {
    LIMITED = "limited" "A request was refused because a limit was reached.";
    SHADOWED = "shadowed" "A request would have been refused, but the policy only watches.";
    DELAYED = "delayed" "A request was held back until it was its turn.";
    STORE_FAILED = "store_failed" "The store did not answer a request in time, or with an error.";
    SHARED_OUT = "shared_out" "A request was counted against this gateway's share, since the store was down.";
    UNCOUNTED = "uncounted" "A request passed without being counted, since the store was down.";
    CLOSED = "closed" "A request was refused because the store was down.";
    NO_COST = "no_cost" "The cost of a request could not be computed; it was counted as 1.";
}

/// The policy `rate_limit`.
pub struct RateLimit {
    /// For callers of no tier.
    otherwise: Set,
    /// By name.
    tiers: Vec<(Box<str>, Set)>,
    key: Vec<Key>,
    cost: Cost,
    /// The names of what the route's path captures.
    captures: Box<[String]>,
    memory: Arc<MemoryCounters>,
    shared: Option<Shared>,
    told: Told,
    is_shadow: bool,
    tally: Arc<Tally>,
    clock: Arc<Anchor>,
}

/// Limits that are counted together.
struct Set {
    /// What the counters belong to.
    scope: Box<str>,
    quotas: Vec<Quota>,
    /// What of them is this gateway's when the store is down.
    shares: Vec<Quota>,
    /// `RateLimit-Policy`, which never changes.
    policy: Box<str>,
    /// Whether something limits what runs at a time.
    has_places: bool,
}

impl Set {
    fn take<'a>(&'a self, key: &'a [u8], cost: u64, now: u64) -> Take<'a> {
        Take { scope: &self.scope, key, quotas: &self.quotas, cost, up_to: cost, now }
    }
}

/// What a request costs.
enum Cost {
    Fixed(u64),
    Computed(Expr),
}

/// Where time is counted from: windows begin with the hours of the wall, but
/// are not moved when somebody sets that clock.
struct Anchor {
    instant: Instant,
    /// Microseconds since 1970 at `instant`.
    wall: u64,
}

impl Anchor {
    fn micros(&self, at: Instant) -> u64 {
        let after = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        match at.checked_duration_since(self.instant) {
            Some(since) => self.wall.saturating_add(after(since)),
            None => self.wall.saturating_sub(after(self.instant.duration_since(at))),
        }
    }
}

/// Who counted a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Memory,
    Store,
    Share,
}

/// What is remembered of a request that was counted.
struct Counted {
    standings: Standings,
    /// Position of the tier; `None` for no tier.
    tier: Option<usize>,
    /// What has to be given back at the end: to whom, the key and the ticket.
    place: Option<(By, Box<[u8]>, u64)>,
}

thread_local! {
    /// Where keys are put together.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl PolicyKind for RateLimit {
    const NAME: &'static str = "rate_limit";
    const STAGE: Stage = Stage::Meter;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    const EVENTS: &'static [&'static Event] = EVENTS;
    const LIST: Option<&'static str> = Some("limits");
    type Config = Config;

    fn build(mut config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        config.add_plans(site)?;
        compile::compile(&config, written, site).map(|policy| Arc::new(policy) as Arc<dyn Policy>)
    }
}

impl Policy for RateLimit {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        let tier = self.tier(exchange);
        let set = self.set(tier);
        let cost = self.cost(exchange);
        if cost == 0 {
            return Verdict::CONTINUE;
        }
        let mut key = KEY.take();
        key.clear();
        self.key.iter().for_each(|part| part.write(exchange, &self.captures, &mut key));
        let now = self.clock.micros(exchange.notes.started);
        let Some(shared) = &self.shared else {
            let taken = self.memory.take_now(&set.take(&key, cost, now));
            let decision = self.decide(exchange, tier, &key, By::Memory, &taken);
            KEY.replace(key);
            return self.hold(exchange, decision);
        };
        if let Some(standings) = shared.leased(&set.take(&key, cost, now)) {
            self.remember(exchange, Counted { standings, tier, place: None });
            KEY.replace(key);
            return Verdict::CONTINUE;
        }
        Verdict::Wait(Box::pin(async move {
            let take = set.take(&key, cost, now);
            let decision = match shared.take(&take).await {
                Ok(taken) => self.decide(exchange, tier, &key, By::Store, &taken),
                Err(error) => {
                    self.tally.count(&STORE_FAILED);
                    self.without_store(exchange, tier, &key, &take, shared, &error.to_string())
                }
            };
            KEY.replace(key);
            match self.hold(exchange, decision) {
                Verdict::Now(decision) => decision,
                Verdict::Wait(future) => future.await,
            }
        }))
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        if let Some(counted) = exchange.carried.get::<Counted>(self) {
            let set = self.set(counted.tier);
            self.told.write(&set.quotas, &set.policy, &counted.standings, &mut reply.head.fields);
        }
        Verdict::CONTINUE
    }

    fn on_end(&self, exchange: &Exchange) {
        let Some(counted) = exchange.carried.get::<Counted>(self) else { return };
        let Some((by, key, ticket)) = &counted.place else { return };
        let set = self.set(counted.tier);
        let quotas = if *by == By::Share { &set.shares } else { &set.quotas };
        let take = Take { scope: &set.scope, key, quotas, cost: 1, up_to: 1, now: 0 };
        match (by, &self.shared) {
            (By::Store, Some(shared)) => shared.store.counters().release(&take, *ticket),
            (By::Share, Some(shared)) => shared.local.release(&take, *ticket),
            _ => self.memory.release(&take, *ticket),
        }
    }
}

/// What is to be done, and after how long.
struct Due {
    decision: Decision,
    wait: Duration,
}

impl RateLimit {
    /// The position of the caller's tier.
    fn tier(&self, exchange: &Exchange) -> Option<usize> {
        let plan = exchange.identity.as_ref()?.plan.as_ref()?;
        self.tiers.iter().position(|(name, _)| **name == **plan)
    }

    fn set(&self, tier: Option<usize>) -> &Set {
        tier.and_then(|at| self.tiers.get(at)).map_or(&self.otherwise, |(_, set)| set)
    }

    fn cost(&self, exchange: &Exchange) -> u64 {
        match &self.cost {
            Cost::Fixed(cost) => *cost,
            Cost::Computed(expr) => match expr.evaluate(&Subject::of(exchange, &self.captures)) {
                Ok(Value::Int(cost)) => u64::try_from(cost).unwrap_or(0),
                _ => {
                    self.tally.count(&NO_COST);
                    1
                }
            },
        }
    }

    /// What follows from an answer of counters.
    fn decide(&self, exchange: &mut Exchange, tier: Option<usize>, key: &[u8], by: By, taken: &Taken) -> Due {
        let set = self.set(tier);
        let is_granted = taken.granted > 0;
        let place = (is_granted && set.has_places).then(|| (by, key.into(), taken.ticket));
        let standings = taken.standings;
        if self.told.any() || place.is_some() {
            self.remember(exchange, Counted { standings, tier, place });
        }
        if is_granted {
            let wait = standings.iter().map(|standing| standing.wait).max().unwrap_or(0);
            return Due { decision: Decision::Continue, wait: Duration::from_micros(wait) };
        }
        if self.is_shadow {
            self.tally.count(&SHADOWED);
            return Due { decision: Decision::Continue, wait: Duration::ZERO };
        }
        self.tally.count(&LIMITED);
        let refusal = if by == By::Share { &EXCEEDED_SHARE } else { &EXCEEDED };
        let reached = set.quotas.iter().zip(standings.iter()).filter(|(_, standing)| standing.retry > 0);
        let mut rejection = Rejection::new(refusal);
        let mut retry = 0;
        for (quota, standing) in reached {
            rejection.cause.get_or_insert_with(|| format!("the limit `{}` is reached", quota.name).into());
            retry = retry.max(retry_after(quota, standing));
        }
        if retry > 0 {
            rejection = told::retry_after(rejection, retry);
        }
        Due { decision: Decision::Reject(rejection), wait: Duration::ZERO }
    }

    /// What is done with a request that the store did not count.
    fn without_store(
        &self,
        exchange: &mut Exchange,
        tier: Option<usize>,
        key: &[u8],
        take: &Take<'_>,
        shared: &Shared,
        why: &str,
    ) -> Due {
        exchange.notes.cause.get_or_insert_with(|| format!("rate_limit: {why}").into());
        let decision = match shared.step(take.now) {
            shared::Step::Share => {
                self.tally.count(&SHARED_OUT);
                let set = self.set(tier);
                let taken = shared.local.take_now(&Take { quotas: &set.shares, up_to: take.cost, ..*take });
                return self.decide(exchange, tier, key, By::Share, &taken);
            }
            shared::Step::Closed if !self.is_shadow => {
                self.tally.count(&CLOSED);
                Decision::Reject(told::retry_after(Rejection::new(&NOT_COUNTED).because(why), 1))
            }
            shared::Step::Open | shared::Step::Closed => {
                self.tally.count(&UNCOUNTED);
                Decision::Continue
            }
        };
        Due { decision, wait: Duration::ZERO }
    }

    fn remember(&self, exchange: &mut Exchange, counted: Counted) {
        exchange.carried.put(self, counted);
    }

    /// Holds a request back whose turn is later.
    fn hold<'a>(&self, exchange: &Exchange, due: Due) -> Verdict<'a> {
        let worker: Option<std::rc::Rc<dyn Outbound>> = exchange.outbound.clone().filter(|_| !due.wait.is_zero());
        let Some(worker) = worker.filter(|_| !self.is_shadow) else { return Verdict::Now(due.decision) };
        self.tally.count(&DELAYED);
        Verdict::Wait(Box::pin(async move {
            worker.sleep(due.wait).await;
            due.decision
        }))
    }
}

/// After how many seconds to try again; 0 if that is of no use.
fn retry_after(quota: &Quota, standing: &Standing) -> u64 {
    use torana_core::store::quota::Algorithm;
    match standing.retry {
        // When somebody else is done is not known.
        Standing::NEVER if quota.algorithm == Algorithm::Concurrency => 1,
        Standing::NEVER => 0,
        micros => micros.div_ceil(1_000_000).max(1),
    }
}
