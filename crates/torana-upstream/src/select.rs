//! Picks the endpoint for one attempt.

use std::cell::RefCell;

/// Smooth weighted round robin, as nginx has it since 1.3.1: every endpoint
/// gains its weight, the highest is picked and pays the sum. Endpoints of
/// weight 5, 1, 1 come as a a b a c a a, not as five in a row.
#[derive(Debug)]
pub struct RoundRobin {
    weights: Box<[i64]>,
    sum: i64,
    current: RefCell<Box<[i64]>>,
}

impl RoundRobin {
    /// A rotation over endpoints of these weights.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> RoundRobin {
        let weights: Box<[i64]> = weights.into_iter().map(|weight| i64::from(weight.max(1))).collect();
        RoundRobin { sum: weights.iter().sum(), current: RefCell::new(vec![0; weights.len()].into()), weights }
    }

    /// The position of the next endpoint; 0 when there is only one.
    #[must_use]
    pub fn next(&self) -> usize {
        if self.weights.len() < 2 {
            return 0;
        }
        let mut current = self.current.borrow_mut();
        let mut best = 0;
        let mut highest = i64::MIN;
        for (index, (value, weight)) in current.iter_mut().zip(&self.weights).enumerate() {
            *value += weight;
            if *value > highest {
                highest = *value;
                best = index;
            }
        }
        current[best] -= self.sum;
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_endpoints_are_spread_out() {
        let rotation = RoundRobin::new([5, 1, 1]);
        let seen: Vec<usize> = (0..7).map(|_| rotation.next()).collect();
        assert_eq!(seen, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn shares_are_exact_over_a_full_turn() {
        let weights = [3, 7, 1, 4];
        let rotation = RoundRobin::new(weights);
        let mut counts = [0; 4];
        for _ in 0..15 * 100 {
            counts[rotation.next()] += 1;
        }
        assert_eq!(counts, weights.map(|weight| weight * 100));
    }
}
