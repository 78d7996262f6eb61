//! Turns by weight, spread as evenly as whole turns can be.
//!
//! Weights 5, 1, 1 come as `a a b a a c a`, not as five in a row. With n
//! endpoints, each of them has at every moment had at most `1 - 1/(2n - 2)`
//! turns more or less than its exact share, and no rule can promise less for
//! all weights (Tijdeman, "The chairman assignment problem", 1980). nginx's
//! smooth round robin looks much the same and visits all endpoints each time;
//! here a round is written down once, so that a turn is a look-up, or, when it
//! is too long for that, computed in O(log n).
//!
//! An endpoint that must not be picked loses its turn. So the others keep
//! their proportions and their order, and one that comes back finds its next
//! turn, not all those it has missed.

use super::alias::draw_from_all;
use super::{Candidates, View};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Turns that may be lost in a row before an endpoint is drawn from those that
/// are left. In rotations of up to so many endpoints it never comes to that.
const LOST_TURNS: usize = 64;

/// Rounds of up to so many turns are written down and shared by all workers.
const WRITTEN: u64 = 4096;

/// The order of turns.
#[derive(Debug)]
pub(super) enum Round {
    /// The positions of one round.
    Written(Arc<[u32]>),
    /// Too long for that: a schedule at its beginning.
    Computed(Box<Schedule>),
}

/// Where one worker is in a round.
#[derive(Debug)]
pub(super) enum RoundRobin {
    Written { turns: Arc<[u32]>, next: Cell<usize> },
    Computed(RefCell<Schedule>),
}

/// Tijdeman's rule. After `t` turns of a round, an endpoint with weight `w` of
/// `sum` should have had `t * w / sum`. Of those that would otherwise have had
/// too little by `1/(2n - 2)` or more when the next turn is over, the one has
/// it that would be the first to be behind by `1 - 1/(2n - 2)`. At the end of
/// a round, after `sum` turns, everyone is even.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// By position, without common divisors.
    weights: Box<[u32]>,
    sum: u64,
    /// `2n - 2`.
    margin: u64,
    /// Turns had in this round, by position.
    had: Box<[u32]>,
    /// Turns of this round that are over.
    over: u64,
    /// Whose next turn may come, by when they would be behind.
    open: BinaryHeap<Reverse<Turn>>,
    /// Whose next turn may not come yet, by when it may.
    early: BinaryHeap<Reverse<Turn>>,
    /// `early` at the beginning of a round, when nobody is open.
    first: BinaryHeap<Reverse<Turn>>,
}

/// A moment of a round, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// A fraction of the round, times `margin`, as the bits of a float: those
    /// of positive floats are ordered like them.
    at: u64,
    position: u32,
}

impl Round {
    /// Endpoints of weight zero have no turns; at least one has to have
    /// another weight.
    pub(super) fn new(weights: &[u16]) -> Round {
        let mut schedule = Schedule::new(weights);
        if schedule.sum <= WRITTEN.max(weights.len() as u64) {
            Round::Written((0..schedule.sum).map(|_| schedule.next()).collect())
        } else {
            Round::Computed(Box::new(schedule))
        }
    }
}

impl RoundRobin {
    /// Begins somewhere: if all workers began at the beginning, the heaviest
    /// endpoint would get the first request of each.
    pub(super) fn new(round: &Round, seed: u64) -> RoundRobin {
        match round {
            Round::Written(turns) => {
                #[expect(clippy::cast_possible_truncation, reason = "below the length")]
                let next = (seed % (turns.len() as u64).max(1)) as usize;
                RoundRobin::Written { turns: turns.clone(), next: Cell::new(next) }
            }
            Round::Computed(schedule) => {
                let mut schedule = Schedule::clone(schedule);
                (0..seed % 64).for_each(|_| _ = schedule.next());
                RoundRobin::Computed(RefCell::new(schedule))
            }
        }
    }

    /// The position of the endpoint whose turn it is.
    fn next(&self) -> usize {
        match self {
            RoundRobin::Written { turns, next } => {
                let turn = next.get();
                next.set(if turn + 1 < turns.len() { turn + 1 } else { 0 });
                turns[turn] as usize
            }
            RoundRobin::Computed(schedule) => schedule.borrow_mut().next() as usize,
        }
    }

    pub(super) fn pick(&self, view: &View<'_, impl Candidates>, random: &mut impl FnMut() -> u64) -> Option<usize> {
        for _ in 0..LOST_TURNS {
            let index = self.next();
            if view.accept(index, random).is_some() {
                return Some(index);
            }
        }
        draw_from_all(view, None, random).map(|drawn| drawn.index)
    }
}

impl Schedule {
    fn new(weights: &[u16]) -> Schedule {
        let used = weights.iter().filter(|weight| **weight > 0).count();
        let divisor = weights.iter().map(|weight| u32::from(*weight)).fold(0, gcd).max(1);
        let weights: Box<[u32]> = weights.iter().map(|weight| u32::from(*weight) / divisor).collect();
        let mut schedule = Schedule {
            sum: weights.iter().map(|weight| u64::from(*weight)).sum(),
            margin: (2 * used as u64).saturating_sub(2).max(1),
            had: vec![0; weights.len()].into(),
            over: 0,
            open: BinaryHeap::with_capacity(used),
            early: BinaryHeap::new(),
            first: BinaryHeap::new(),
            weights,
        };
        let positions = (0..).zip(&schedule.weights).filter(|(_, weight)| **weight > 0);
        schedule.first = positions.map(|(position, _)| schedule.opens(position)).collect();
        schedule.early = schedule.first.clone();
        schedule
    }

    /// The position of whose turn it is.
    fn next(&mut self) -> u32 {
        if self.over == self.sum {
            self.over = 0;
            self.had.fill(0);
            self.early.clone_from(&self.first);
        }
        while let Some(Reverse(turn)) = self.early.peek()
            && self.may_come(turn.position)
        {
            let position = turn.position;
            self.early.pop();
            self.open.push(self.is_due(position));
        }
        // What all of them should have had when this turn is over exceeds what
        // they have had by one turn, so someone lacks 1/n or more.
        let Some(Reverse(Turn { position, .. })) = self.open.pop() else { return 0 };
        let index = position as usize;
        self.over += 1;
        self.had[index] += 1;
        if self.had[index] < self.weights[index] {
            if self.may_come(position) {
                self.open.push(self.is_due(position));
            } else {
                self.early.push(self.opens(position));
            }
        }
        position
    }

    /// Whether the next turn of an endpoint may be the one that comes next:
    /// after that, at `t`, `t * w / sum - had >= 1 / margin`.
    fn may_come(&self, position: u32) -> bool {
        let (had, weight) = (self.had[position as usize], self.weights[position as usize]);
        let wanted = u128::from(self.margin * u64::from(had) + 1) * u128::from(self.sum);
        wanted <= u128::from(self.over + 1) * u128::from(self.margin * u64::from(weight))
    }

    /// When the next turn of an endpoint may come.
    fn opens(&self, position: u32) -> Reverse<Turn> {
        self.moment(position, self.margin * u64::from(self.had[position as usize]) + 1)
    }

    /// When an endpoint would be behind without its next turn.
    fn is_due(&self, position: u32) -> Reverse<Turn> {
        self.moment(position, self.margin * u64::from(self.had[position as usize] + 1) - 1)
    }

    /// Equal fractions round to the same float, and different ones to
    /// different floats: with denominators below 2^16 and values below 2^20
    /// they are further apart.
    fn moment(&self, position: u32, turns: u64) -> Reverse<Turn> {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let turns = turns as f64;
        Reverse(Turn { at: (turns / f64::from(self.weights[position as usize])).to_bits(), position })
    }
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[path = "round_robin_tests.rs"]
mod tests;
