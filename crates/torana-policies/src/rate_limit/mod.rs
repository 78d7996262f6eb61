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
use told::{Left, Told};
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
    is_shadow: bool,
    tally: Arc<Tally>,
    clock: Arc<Anchor>,
}

/// Limits that are counted together.
struct Set {
    /// What the counters belong to in a store.
    scope: Box<str>,
    /// What they belong to in memory, which no other policy counts in.
    tier: Box<str>,
    quotas: Vec<Quota>,
    /// What of them is this gateway's when the store is down.
    shares: Vec<Quota>,
    told: Told,
    /// Whether something limits what runs at a time.
    has_places: bool,
}

impl Set {
    fn take<'a>(&'a self, key: &'a [u8], cost: u64, now: u64) -> Take<'a> {
        Take { scope: &self.scope, key, quotas: &self.quotas, cost, up_to: cost, now }
    }

    fn take_here<'a>(&'a self, key: &'a [u8], cost: u64, now: u64) -> Take<'a> {
        Take { scope: &self.tier, ..self.take(key, cost, now) }
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

/// What is remembered of a request that was counted, to be told.
struct Counted<L> {
    /// What is left of the only limit, or of each of several: hardly anybody has
    /// more than one.
    left: L,
    /// Position of the tier; `None` for no tier.
    tier: Option<usize>,
}

/// What has to be given back at the end.
struct Place {
    /// To whom.
    by: By,
    key: Box<[u8]>,
    ticket: u64,
    tier: Option<usize>,
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
            let taken = self.memory.take_now(&set.take_here(&key, cost, now));
            let decision = self.decide(exchange, tier, &key, By::Memory, &taken);
            KEY.replace(key);
            return self.hold(exchange, decision);
        };
        if let Some(standings) = shared.leased(&set.take(&key, cost, now)) {
            self.remember(exchange, tier, &standings);
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
        let fields = &mut reply.head.fields;
        if let Some(counted) = exchange.carried.get::<Counted<Left>>(self) {
            self.set(counted.tier).told.write(std::slice::from_ref(&counted.left), fields);
        } else if let Some(counted) = exchange.carried.get::<Counted<Box<[Left]>>>(self) {
            self.set(counted.tier).told.write(&counted.left, fields);
        }
        Verdict::CONTINUE
    }

    fn on_end(&self, exchange: &Exchange) {
        let Some(Place { by, key, ticket, tier }) = exchange.carried.get::<Place>(self) else { return };
        let set = self.set(*tier);
        let quotas = if *by == By::Share { &set.shares } else { &set.quotas };
        let take = Take { quotas, ..set.take(key, 1, 0) };
        match (by, &self.shared) {
            (By::Store, Some(shared)) => shared.store.counters().release(&take, *ticket),
            (By::Share, Some(shared)) => shared.local.release(&take, *ticket),
            _ => self.memory.release(&set.take_here(key, 1, 0), *ticket),
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
        let standings = &taken.standings;
        self.remember(exchange, tier, standings);
        if is_granted && set.has_places {
            exchange.carried.put(self, Place { by, key: key.into(), ticket: taken.ticket, tier });
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

    /// Keeps what there is to tell.
    fn remember(&self, exchange: &mut Exchange, tier: Option<usize>, standings: &Standings) {
        if !self.set(tier).told.any() {
            return;
        }
        match &**standings {
            [standing] => exchange.carried.put(self, Counted { left: Left::from(standing), tier }),
            several => {
                let left: Box<[Left]> = several.iter().map(Left::from).collect();
                exchange.carried.put(self, Counted { left, tier });
            }
        }
    }

    /// Holds a request back whose turn is later.
    fn hold<'a>(&self, exchange: &Exchange, due: Due) -> Verdict<'a> {
        if due.wait.is_zero() || self.is_shadow {
            return Verdict::Now(due.decision);
        }
        let worker: Option<std::rc::Rc<dyn Outbound>> = exchange.outbound.clone();
        let Some(worker) = worker else { return Verdict::Now(due.decision) };
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
