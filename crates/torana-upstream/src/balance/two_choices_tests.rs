use super::*;
use crate::balance::tests::{Fleet, PEAK_EWMA, balancer, counts};
use crate::balance::{Algorithm, InFlight, PEAK_EWMA_DECAY};
use std::time::Instant;
use torana_core::trace::IdSource;

/// The loads of a fleet with so many requests under way.
fn busy(active: &[usize]) -> (Fleet, Vec<InFlight>) {
    let fleet = Fleet::new(active.len());
    let under_way = fleet.loads.iter().zip(active).flat_map(|(load, active)| (0..*active).map(|_| load.begin()));
    let under_way = under_way.collect();
    (fleet, under_way)
}

#[test]
fn of_two_the_one_with_less_to_do_is_picked() {
    for algorithm in [Algorithm::LeastRequest, PEAK_EWMA] {
        let (fleet, _under_way) = busy(&[3, 2]);
        assert_eq!(counts(&balancer(algorithm, &[1, 1]), &fleet, Instant::now(), 1000), [0.0, 1000.0]);
        // 30/10 against 4/1.
        let (fleet, _under_way) = busy(&[30, 4]);
        assert_eq!(counts(&balancer(algorithm, &[10, 1]), &fleet, Instant::now(), 1000), [1000.0, 0.0]);
    }
}

/// Of n, two are looked at, so the busiest is picked never and the least busy
/// one in 2/n of all cases, also when others are down: the two are always two
/// different usable ones.
#[test]
fn the_two_are_different_and_usable() {
    let (mut fleet, _under_way) = busy(&[9, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    fleet.down[5..].fill(true);
    let counts = counts(&balancer(Algorithm::LeastRequest, &[1; 20]), &fleet, Instant::now(), 100_000);
    for (index, expected) in [(0, 0.0), (1, 0.4), (2, 0.3), (3, 0.2), (4, 0.1)] {
        let share = counts[index] / 100_000.0;
        assert!((share - expected).abs() < 0.01, "{index}: {share} instead of {expected}");
    }
}

#[test]
fn latency_and_requests_under_way_multiply() {
    let now = Instant::now();
    let ms = Duration::from_millis(1);
    let (fleet, _under_way) = busy(&[0, 5]);
    let pick = |slow: Duration| {
        fleet.loads[0].recover(now);
        fleet.loads[0].observe(now, slow, false, PEAK_EWMA_DECAY);
        fleet.loads[1].observe(now, 10 * ms, false, PEAK_EWMA_DECAY);
        counts(&balancer(PEAK_EWMA, &[1, 1]), &fleet, now, 100)
    };
    assert_eq!(pick(59 * ms), [100.0, 0.0], "59 ms against six times 10 ms");
    assert_eq!(pick(61 * ms), [0.0, 100.0]);
}

/// A heavy endpoint has twice as much to do as there is for its weight, and a
/// light one nothing: being a little faster does not keep the request.
#[test]
fn weights_and_latencies_are_of_one_measure() {
    let now = Instant::now();
    let (fleet, _under_way) = busy(&[6, 0]);
    fleet.loads[0].observe(now, Duration::from_millis(10), false, PEAK_EWMA_DECAY);
    fleet.loads[1].observe(now, Duration::from_millis(12), false, PEAK_EWMA_DECAY);
    assert_eq!(counts(&balancer(PEAK_EWMA, &[3, 1]), &fleet, now, 1000), [0.0, 1000.0]);
}

#[test]
fn failures_make_an_endpoint_dearer() {
    let now = Instant::now();
    let fleet = Fleet::new(2);
    fleet.loads[0].observe(now, Duration::from_millis(5), false, PEAK_EWMA_DECAY);
    fleet.loads[1].observe(now, Duration::from_millis(6), false, PEAK_EWMA_DECAY);
    let balancer = balancer(PEAK_EWMA, &[1, 1]);
    assert_eq!(counts(&balancer, &fleet, now, 100), [100.0, 0.0]);
    balancer.observe(&fleet.loads[0], now, Duration::from_millis(1), true);
    assert_eq!(counts(&balancer, &fleet, now, 100), [0.0, 100.0]);
}

/// After a quiet spell one endpoint was seen a minute longer ago than the
/// other. In the burst that follows, nobody answers yet.
#[test]
fn a_burst_after_a_quiet_spell_is_shared() {
    let (start, fleet) = (Instant::now(), Fleet::new(2));
    let later = start + Duration::from_secs(60);
    fleet.loads[0].observe(start, Duration::from_millis(10), false, PEAK_EWMA_DECAY);
    fleet.loads[1].observe(later, Duration::from_millis(10), false, PEAK_EWMA_DECAY);
    let balancer = balancer(PEAK_EWMA, &[1, 1]);
    let mut random = IdSource::new(3);
    let mut under_way = Vec::new();
    for _ in 0..300 {
        let index = balancer.pick(&fleet, None, later, &mut || random.next()).unwrap();
        under_way.push(fleet.loads[index].begin());
    }
    let active = [fleet.loads[0].active(), fleet.loads[1].active()];
    assert!((195..=205).contains(&active[0]), "{active:?}, twice as many at most");
}
