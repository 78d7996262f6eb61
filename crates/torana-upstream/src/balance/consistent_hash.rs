//! The same endpoint for the same key, as long as it can take more.
//!
//! Every key falls into one of 65,536 slots, and every slot belongs to the
//! endpoint that wins it by weighted rendezvous hashing (Thaler, Ravishankar,
//! 1998). The winners depend on nothing but identities and weights, so all
//! gateways of a fleet agree, and when an endpoint goes, its slots go to the
//! others in proportion to their weights and no other slot moves.
//!
//! A ring of hashes and Maglev's table were the alternatives. Measured with
//! one of N endpoints taken away; `moved` is in parts of 1/N, so 1 is what has
//! to move, and `max` is the largest share against the mean:
//!
//! | N | ring, 160 points each | Maglev, 65,537 slots | this, 65,536 slots |
//! |---|---|---|---|
//! | 10 | moved 1.13, max 1.13, 19 KB | moved 1.02, max 1.00, 262 KB | moved 1.00, max 1.01, 262 KB |
//! | 100 | moved 1.10, max 1.21, 192 KB | moved 1.52, max 1.02, 262 KB | moved 0.98, max 1.08, 262 KB |
//! | 1000 | moved 1.16, max 1.37, 1.9 MB | moved 7.00, max 1.08, 262 KB | moved 0.96, max 1.28, 262 KB |
//!
//! A lookup is one access where the ring searches. The table takes some eight
//! milliseconds to build, however many endpoints there are, and workers share
//! it. The ring also would need a number of points per unit of weight, which
//! has to change, and move keys, when weights do.
//!
//! When the endpoint of a key cannot be picked, or has as much to do as it may
//! have, the key tries the slot it would have under another hash, and so on.
//! So what one endpoint loses is spread over all others; walking to the next
//! point of a ring would load the neighbour, then its neighbour (Chen,
//! Coleman, Shrivastava, "Revisiting consistent hashing with bounded loads",
//! 2019). How much an endpoint may have is the bound of Mirrokni, Thorup and
//! Zadimoghaddam ("Consistent hashing with bounded loads", 2016): its share,
//! times a factor, of the requests under way, this one included and rounded
//! up. HAProxy (`hash-balance-factor`) and Envoy (`hash_balance_factor`) have
//! the same.

use super::hash::{hash_key, sequence};
use super::{Candidates, Member, View};
use std::collections::HashMap;

const BITS: u32 = 16;

/// Slots a key tries before everything is looked at.
const SLOTS_TRIED: u64 = 16;

/// Who owns which slot.
#[derive(Debug)]
pub(super) struct Slots {
    owners: Box<[u32]>,
    /// A hash of the identity of each endpoint, by position.
    ids: Box<[u64]>,
}

/// The first claim to a slot while the table is built.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    round: u64,
    at: u64,
    /// Random and the same everywhere, to decide between claims of one moment.
    dart: u64,
    owner: u32,
}

impl Slots {
    /// At least one endpoint has to have a weight.
    pub(super) fn new(members: &[Member]) -> Slots {
        let ids = ids(members);
        Slots { owners: owners(&ids, members), ids }
    }

    /// Whose the slot of a key is at this try.
    fn owner(&self, key: u64, tries: u64) -> usize {
        let slot = sequence(key, tries) >> (u64::BITS - BITS);
        self.owners[slot as usize] as usize
    }

    /// Picks for a key. One access to the table; if there is a bound and the
    /// endpoint of the key has something to do, also one look at the load of
    /// each endpoint.
    pub(super) fn pick(&self, view: &View<'_, impl Candidates>, key: u64, bound: Option<f64>) -> Option<usize> {
        let mut bound = bound.map(|factor| Bound { factor, busy: None });
        for tries in 0..SLOTS_TRIED {
            let index = self.owner(key, tries);
            if view.candidates.usable(index) && bound.as_mut().is_none_or(|bound| bound.admits(view, index)) {
                return Some(index);
            }
        }
        // Most are unusable: rendezvous hashing with the key itself. Someone
        // is within the bound, as it leaves room for one request at least.
        let usable = view.indices().filter(|index| view.roster.weights[*index] > 0 && view.candidates.usable(*index));
        let ranked = usable.map(|index| {
            let over = !bound.as_mut().is_none_or(|bound| bound.admits(view, index));
            (over, self.distance(key, index, view.roster.weights[index]), index)
        });
        ranked
            .min_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal))
            .map(|best| best.2)
    }

    /// When the first claim of an endpoint to a key would come: the shortest
    /// of exponential times with rates `weight` is that of an endpoint with
    /// the probability of its weight.
    fn distance(&self, key: u64, index: usize, weight: u16) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a fraction in (0, 1)")]
        let uniform = (sequence(key ^ self.ids[index], 1) as f64 + 0.5) / 2.0_f64.powi(64);
        -uniform.ln() / f64::from(weight)
    }
}

/// How much an endpoint may have to do.
struct Bound {
    factor: f64,
    /// Requests under way and weight of all usable endpoints, once needed.
    busy: Option<(f64, f64)>,
}

impl Bound {
    /// Whether one request more keeps an endpoint within the bound.
    fn admits(&mut self, view: &View<'_, impl Candidates>, index: usize) -> bool {
        let active = view.candidates.load(index).active();
        // The bound is one request at least.
        if active == 0 {
            return true;
        }
        let (all, weights) = *self.busy.get_or_insert_with(|| {
            let usable = view.indices().filter(|index| view.candidates.usable(*index));
            usable.fold((0.0, 0.0), |(all, weights), index| {
                let weight = f64::from(view.roster.weights[index]);
                // What is drained has its requests besides.
                let active = if weight > 0.0 { f64::from(view.candidates.load(index).active()) } else { 0.0 };
                (all + active, weights + weight)
            })
        });
        let share = f64::from(view.roster.weights[index]) / weights;
        // `active + 1 <= ceil(bound)`.
        f64::from(active) < self.factor.max(1.0) * (all + 1.0) * share
    }
}

/// One hash per endpoint, of its identity. Endpoints that are there more than
/// once, which is how some write weights, get one each.
fn ids(members: &[Member]) -> Box<[u64]> {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let ids = members.iter().map(|member| {
        let times = seen.entry(&member.identity).or_default();
        *times += 1;
        sequence(hash_key(member.identity.as_bytes()), *times)
    });
    ids.collect()
}

/// Finds the owner of each slot.
///
/// Weighted rendezvous hashing draws an exponential time for every pair of
/// slot and endpoint, at the rate of its weight, and the earliest wins. Here
/// every endpoint throws darts at random slots, at the rate of its weight, and
/// the first dart wins, which is the same, in whole numbers, and needs not
/// N × 65,536 draws but some 12 × 65,536, until the last slot is hit.
fn owners(ids: &[u64], members: &[Member]) -> Box<[u32]> {
    let sum: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    if sum == 0 {
        return Box::default();
    }
    let mut claims: Vec<Option<Claim>> = vec![None; 1 << BITS];
    let mut free = claims.len();
    // In every round there are as many darts as slots. What is hit in one
    // round is out of reach of the next: its darts come later.
    for round in 0.. {
        for (owner, (id, member)) in (0..).zip(ids.iter().zip(members)) {
            let weight = u64::from(member.weight);
            let thrown = |rounds: u64| (rounds << BITS) * weight / sum;
            for step in thrown(round)..thrown(round + 1) {
                let dart = sequence(*id, step);
                let place = &mut claims[(dart >> (u64::BITS - BITS)) as usize];
                if place.is_some_and(|first| first.round < round) {
                    continue;
                }
                // The time of the dart, fine enough to order all of them.
                let claim = Claim { round, at: ((step + 1) << 32) / weight, dart, owner };
                match place {
                    Some(first) => *first = claim.min(*first),
                    None => {
                        *place = Some(claim);
                        free -= 1;
                    }
                }
            }
        }
        if free == 0 {
            break;
        }
    }
    claims.iter().map(|claim| claim.map_or(0, |claim| claim.owner)).collect()
}

#[cfg(test)]
#[path = "consistent_hash_tests.rs"]
mod tests;
