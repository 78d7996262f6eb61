use super::*;
use crate::balance::Algorithm;
use crate::balance::tests::{Fleet, balancer, counts};
use proptest::prelude::*;
use std::time::Instant;

fn turns(weights: &[u16], seed: u64, count: usize) -> Vec<usize> {
    let rotation = RoundRobin::new(&Round::new(weights), seed);
    (0..count).map(|_| rotation.next()).collect()
}

#[test]
fn heavy_endpoints_are_spread_out() {
    assert_eq!(turns(&[5, 1, 1], 0, 14), [0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0]);
    // Half of the turns for one, the other half for fifty.
    let mut weights = vec![50];
    weights.resize(51, 1);
    let seen = turns(&weights, 0, 1000);
    let gaps = seen.windows(3).filter(|three| three.iter().all(|index| *index != 0)).count();
    assert_eq!(gaps, 0, "{seen:?}");
}

#[test]
fn equal_weights_are_a_plain_rotation() {
    assert_eq!(turns(&[1, 1, 1], 0, 7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(turns(&[700, 700, 0, 700], 0, 7), [0, 1, 3, 0, 1, 3, 0]);
    let Round::Written(turns) = Round::new(&[9; 5000]) else { panic!("equal weights are always written down") };
    assert!(turns.iter().copied().eq(0..5000));
}

#[test]
fn workers_begin_at_different_places() {
    let first: Vec<usize> = (0..6).map(|seed| turns(&[1, 1, 1], seed, 1)[0]).collect();
    assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    let mut first: Vec<usize> = (0..64).map(|seed| turns(&[6000, 6000, 1], seed, 1)[0]).collect();
    first.sort_unstable();
    assert_eq!(first.iter().filter(|first| **first == 0).count(), 32, "also in a long round");
}

/// The longest wait for an endpoint, in turns, against its exact distance:
/// less than twice that.
#[test]
fn nobody_waits_for_long() {
    let weights = [100, 37, 20, 9, 9, 3, 1, 1];
    let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
    let seen = turns(&weights, 3, sum * 4);
    for (index, weight) in weights.iter().enumerate() {
        let places: Vec<usize> = (0..seen.len()).filter(|place| seen[*place] == index).collect();
        let gap = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        let exact = sum.div_ceil(usize::from(*weight));
        assert!(gap < 2 * exact, "endpoint {index} waits {gap} turns, exactly it would be {exact}");
    }
}

/// As others come and go, the order of those that stay does not change, so
/// none of them is favoured.
#[test]
fn a_lost_turn_is_nobody_else_s() {
    let balancer = balancer(Algorithm::RoundRobin, &[1, 1, 1, 1]);
    let mut fleet = Fleet::new(4);
    fleet.down[1] = true;
    assert_eq!(counts(&balancer, &fleet, Instant::now(), 3000), [1000.0, 0.0, 1000.0, 1000.0]);
}

/// One that comes back has not saved up turns.
#[test]
fn missed_turns_are_not_made_up_for() {
    let balancer = balancer(Algorithm::RoundRobin, &[3, 2, 1]);
    let mut fleet = Fleet::new(3);
    fleet.down[1] = true;
    counts(&balancer, &fleet, Instant::now(), 6000);
    fleet.down.fill(false);
    let counts = counts(&balancer, &fleet, Instant::now(), 60);
    for (count, weight) in counts.iter().zip([3.0, 2.0, 1.0]) {
        assert!((count - 10.0 * weight).abs() < 2.0, "{counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// At every moment everybody has had at most `1 - 1/(2n - 2)` turns more or
    /// less than their share, and at the end of a round exactly their share.
    #[test]
    fn nobody_is_a_turn_ahead_or_behind(
        weights in prop::collection::vec(prop_oneof![6 => 1..4_u16, 6 => 1..100_u16, 1 => 1..10_000_u16, 1 => Just(0)], 1..12),
    ) {
        let sum: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        prop_assume!(sum > 0);
        let used = i64::try_from(weights.iter().filter(|weight| **weight > 0).count()).unwrap();
        let margin = (2 * used - 2).max(1);
        let mut had = vec![0_i64; weights.len()];
        for (over, index) in (1..).zip(turns(&weights, 0, usize::try_from(sum * 2).unwrap())) {
            had[index] += 1;
            for (had, weight) in had.iter().zip(&weights) {
                let ahead = had * sum - over * i64::from(*weight);
                prop_assert!(ahead.abs() * margin <= sum * (margin - 1), "{ahead} of {sum} after {over}");
            }
        }
        prop_assert!(had.iter().zip(&weights).all(|(had, weight)| *had == 2 * i64::from(*weight)));
    }
}

#[test]
fn the_largest_weights_are_exact() {
    let weights = [65_535, 65_534, 1];
    let mut had = [0_u32; 3];
    for index in turns(&weights, 0, 131_070) {
        had[index] += 1;
    }
    assert_eq!(had, weights.map(u32::from));
}
