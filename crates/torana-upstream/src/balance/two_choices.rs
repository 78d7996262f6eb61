//! The better of two: `least_request` and `peak_ewma`.
//!
//! Two endpoints are drawn by weight, and the one with less to do is picked.
//! That is nearly as good as looking at all of them (Mitzenmacher, "The power
//! of two choices in randomized load balancing", 2001), costs the same for a
//! thousand endpoints as for three, and does not send the requests of all
//! workers to the one endpoint that was the best a moment ago.

use super::alias::Alias;
use super::load::expected;
use super::{Candidates, Load, View};
use std::time::Duration;

/// What it costs to send a request to an endpoint.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Requests under way.
    active: f64,
    /// In 65,536ths.
    weight: u64,
    /// Of one request, in any unit.
    latency: f64,
}

/// Picks by requests under way.
pub(super) fn least_request(
    view: &View<'_, impl Candidates>,
    alias: &Alias,
    random: &mut impl FnMut() -> u64,
) -> Option<usize> {
    better_of_two(view, alias, random, |_, _| (1.0, 1.0))
}

/// Picks by requests under way and how long they are expected to take.
pub(super) fn peak_ewma(
    view: &View<'_, impl Candidates>,
    alias: &Alias,
    decay: Duration,
    random: &mut impl FnMut() -> u64,
) -> Option<usize> {
    better_of_two(view, alias, random, |one, other| expected(one, other, view.now, decay))
}

/// `latencies` are those to expect of the one and the other.
fn better_of_two(
    view: &View<'_, impl Candidates>,
    alias: &Alias,
    random: &mut impl FnMut() -> u64,
    latencies: impl FnOnce(&Load, &Load) -> (f64, f64),
) -> Option<usize> {
    let first = alias.draw(view, None, random)?;
    let Some(second) = alias.draw(view, Some(first.index), random) else { return Some(first.index) };
    let (one, other) = (view.candidates.load(first.index), view.candidates.load(second.index));
    let (for_one, for_other) = latencies(one, other);
    let one = Cost { active: f64::from(one.active()), weight: first.weight, latency: for_one };
    let other = Cost { active: f64::from(other.active()), weight: second.weight, latency: for_other };
    Some(if other.is_below(one, view.roster.mean_weight) { second.index } else { first.index })
}

impl Cost {
    /// Whether it is lower than another in both measures: as things are, and
    /// as they would be with one request more.
    ///
    /// For equal weights the two are the same. Otherwise the first alone sends
    /// too much to light endpoints, which are often idle, and the second
    /// nothing at all while there is little to do, as one request weighs more
    /// on them. When they disagree, what was drawn first stands, and so idle
    /// endpoints are picked by weight.
    fn is_below(self, other: Cost, mean_weight: f64) -> bool {
        if self.weight == other.weight {
            return self.latency * (self.active + 1.0) < other.latency * (other.active + 1.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "below 2^32")]
        let (weight, other_weight) = (self.weight as f64, other.weight as f64);
        // Both sides multiplied by both weights, and the same expression for
        // both, so that equal costs compare as equal.
        let now = |cost: Cost, own: f64, rival: f64| cost.latency * ((cost.active * mean_weight + own) * rival);
        let then = |cost: Cost, rival: f64| cost.latency * ((cost.active + 1.0) * rival);
        now(self, weight, other_weight) < now(other, other_weight, weight)
            && then(self, other_weight) < then(other, weight)
    }
}

#[cfg(test)]
#[path = "two_choices_tests.rs"]
mod tests;
