//! Drawing by weight.

use super::slow_start::Share;
use super::{Candidates, View};

/// Draws that may miss before everything is looked at. With half of the
/// endpoints unusable, one pick in 65,000 gets there.
const DRAWS: usize = 16;

/// Draws positions in proportion to their weights, in constant time: Vose's
/// form of Walker's alias method (Vose, "A linear algorithm for generating
/// random numbers with a given distribution", 1991), in whole numbers.
#[derive(Debug)]
pub(super) struct Alias {
    columns: Box<[Column]>,
}

/// Every position has a column of the same width; what a light one leaves free
/// of its column is filled with a part of a heavy one.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// How much of the column is its own, of [`WIDTH`].
    own: u64,
    /// Whose the rest is.
    other: u32,
}

const WIDTH: u64 = 1 << 32;

/// An endpoint that was drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) index: usize,
    /// Its weight at this moment, in 65,536ths.
    pub(super) weight: u64,
}

impl Alias {
    /// Nothing if all weights are zero.
    pub(super) fn new(weights: &[u16]) -> Option<Alias> {
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        if sum == 0 {
            return None;
        }
        // Multiplied by their number, the weights have `sum` as their mean,
        // which is what fills a column.
        let mut left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * weights.len() as u64).collect();
        let mut columns: Vec<Column> = (0..).zip(weights).map(|(other, _)| Column { own: WIDTH, other }).collect();
        let (mut light, mut heavy): (Vec<u32>, Vec<u32>) =
            (0..).take(weights.len()).partition(|index| left[*index as usize] < sum);
        while let Some(short) = light.pop()
            && let Some(long) = heavy.pop()
        {
            let (s, l) = (short as usize, long as usize);
            let own = u128::from(left[s]) * u128::from(WIDTH) / u128::from(sum);
            columns[s] = Column { own: u64::try_from(own).unwrap_or(WIDTH), other: long };
            left[l] -= sum - left[s];
            if left[l] < sum { light.push(long) } else { heavy.push(long) }
        }
        Some(Alias { columns: columns.into() })
    }

    #[inline]
    /// A position by weight. The bias is below one in two billion.
    fn position(&self, word: u64) -> usize {
        let index = (((word >> 32) * self.columns.len() as u64) >> 32) as usize;
        let column = self.columns[index];
        if word & (WIDTH - 1) < column.own { index } else { column.other as usize }
    }

    /// An endpoint that may be picked, in proportion to the weights that such
    /// endpoints have at the moment, but not `except`.
    ///
    /// Draws are repeated until one fits, which leaves the proportions of the
    /// others as they are. When many do not fit, the weights are added up
    /// instead, and the proportions are the same again.
    #[inline]
    pub(super) fn draw(
        &self,
        view: &View<'_, impl Candidates>,
        except: Option<usize>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Drawn> {
        self.draw_once(view, except, random).or_else(|| self.draw_again(view, except, random))
    }

    #[inline]
    fn draw_once(
        &self,
        view: &View<'_, impl Candidates>,
        except: Option<usize>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Drawn> {
        let index = self.position(random());
        if Some(index) == except {
            return None;
        }
        Some(Drawn { index, weight: view.accept(index, random)? })
    }

    #[inline(never)]
    fn draw_again(
        &self,
        view: &View<'_, impl Candidates>,
        except: Option<usize>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Drawn> {
        (1..DRAWS).find_map(|_| self.draw_once(view, except, random)).or_else(|| draw_from_all(view, except, random))
    }
}

/// Draws as [`Alias::draw`] does, looking at all endpoints.
#[cold]
pub(super) fn draw_from_all(
    view: &View<'_, impl Candidates>,
    except: Option<usize>,
    random: &mut impl FnMut() -> u64,
) -> Option<Drawn> {
    let weights = || view.indices().filter(|index| Some(*index) != except).map(|index| (index, view.weight(index)));
    let sum: u64 = weights().map(|(_, weight)| weight).sum();
    let drawn = (u128::from(random()) * u128::from(sum)) >> 64;
    let mut passed = 0;
    let drawn = weights().find(|(_, weight)| {
        passed += u128::from(*weight);
        drawn < passed
    });
    drawn.map(|(index, weight)| Drawn { index, weight })
}

impl<C: Candidates> View<'_, C> {
    /// Its weight at the moment, in 65,536ths; 0 if it must not be picked.
    pub(super) fn weight(&self, index: usize) -> u64 {
        match self.share(index) {
            Some(share) => share.of_weight(self.roster.weights[index]),
            None => 0,
        }
    }

    /// Its weight at the moment, if it may be picked and a coin weighted by
    /// its share agrees. Whoever calls this for an endpoint as often as its
    /// full weight asks for, gets it as often as its present weight does.
    #[inline]
    pub(super) fn accept(&self, index: usize, random: &mut impl FnMut() -> u64) -> Option<u64> {
        let share = self.share(index)?;
        share.wins(random).then(|| share.of_weight(self.roster.weights[index]))
    }

    /// What it gets of its weight; nothing if it is not usable.
    #[inline]
    fn share(&self, index: usize) -> Option<Share> {
        if !self.candidates.usable(index) {
            return None;
        }
        let slow_start = self.roster.spec.slow_start.as_ref();
        Some(slow_start.map_or(Share::FULL, |slow| slow.share(self.candidates.load(index), self.now)))
    }
}
