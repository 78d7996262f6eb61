//! What holds for every algorithm.

use super::*;
use proptest::prelude::*;
use std::rc::Rc;
use torana_core::trace::IdSource;

/// Endpoints with nothing to do, of which some are down.
#[derive(Default)]
pub(super) struct Fleet {
    pub(super) loads: Vec<Rc<Load>>,
    pub(super) down: Vec<bool>,
}

impl Fleet {
    pub(super) fn new(size: usize) -> Fleet {
        Fleet { loads: (0..size).map(|_| Rc::new(Load::new())).collect(), down: vec![false; size] }
    }

    /// One more, which is new.
    pub(super) fn join(&mut self, now: Instant) {
        self.loads.push(Rc::new(Load::joining(now)));
        self.down.push(false);
    }
}

impl Candidates for Fleet {
    fn load(&self, index: usize) -> &Load {
        &self.loads[index]
    }

    fn usable(&self, index: usize) -> bool {
        !self.down[index]
    }
}

pub(super) fn members(weights: &[u16]) -> Vec<Member> {
    let named = weights.iter().enumerate();
    named.map(|(index, weight)| Member { identity: format!("http://10.0.0.{index}").into(), weight: *weight }).collect()
}

pub(super) fn balancer(algorithm: Algorithm, weights: &[u16]) -> Balancer {
    balancer_with(algorithm, None, weights)
}

pub(super) fn balancer_with(algorithm: Algorithm, slow_start: Option<SlowStart>, weights: &[u16]) -> Balancer {
    Balancer::new(Arc::new(Roster::new(BalanceSpec { algorithm, slow_start }, members(weights))), 7)
}

pub(super) const PEAK_EWMA: Algorithm = Algorithm::PeakEwma { decay: PEAK_EWMA_DECAY };
pub(super) const HASH: Algorithm = Algorithm::ConsistentHash { bound: None };
const BOUNDED_HASH: Algorithm = Algorithm::ConsistentHash { bound: Some(HASH_BOUND) };

/// All but the hash, whose shares are random once and then fixed.
const BY_WEIGHT: [Algorithm; 4] = [Algorithm::RoundRobin, Algorithm::LeastRequest, PEAK_EWMA, Algorithm::Random];
const ALL: [Algorithm; 6] =
    [Algorithm::RoundRobin, Algorithm::LeastRequest, PEAK_EWMA, Algorithm::Random, HASH, BOUNDED_HASH];

/// How often each endpoint is picked in so many picks.
pub(super) fn counts(balancer: &Balancer, fleet: &Fleet, now: Instant, picks: u32) -> Vec<f64> {
    let mut random = IdSource::new(42);
    let mut counts = vec![0.0; fleet.loads.len()];
    for _ in 0..picks {
        let key = random.next();
        if let Some(index) = balancer.pick(fleet, Some(key), now, &mut || random.next()) {
            counts[index] += 1.0;
        }
    }
    counts
}

/// Every count within 4.5 standard deviations of its expectation, which the
/// seed would have to be very unlucky to miss.
#[track_caller]
fn assert_shares(counts: &[f64], weights: &[f64], label: &dyn std::fmt::Debug) {
    let (picks, sum): (f64, f64) = (counts.iter().sum(), weights.iter().sum());
    for (index, (count, weight)) in counts.iter().zip(weights).enumerate() {
        let share = weight / sum;
        let tolerance = 4.5 * (picks * share * (1.0 - share)).sqrt();
        let expected = picks * share;
        assert!(
            (count - expected).abs() <= tolerance,
            "{label:?}: endpoint {index} has {count} of {picks}, expected {expected} ± {tolerance}"
        );
    }
}

#[test]
fn idle_endpoints_are_picked_by_weight() {
    for weights in [&[1, 1, 1][..], &[5, 1, 1], &[10, 1], &[65_535, 1000, 1, 0]] {
        let fleet = Fleet::new(weights.len());
        for algorithm in BY_WEIGHT {
            let counts = counts(&balancer(algorithm, weights), &fleet, Instant::now(), 100_000);
            let expected: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            assert_shares(&counts, &expected, &(algorithm, weights));
        }
    }
}

/// Also when most are down, and the draws that look at everything take over.
#[test]
fn usable_endpoints_keep_their_proportions() {
    let weights: Vec<u16> = (0..60).map(|index| 1 + index % 3).collect();
    for usable in [vec![0, 1, 2, 30, 31, 50], (0..30).collect(), vec![7, 8]] {
        let mut fleet = Fleet::new(weights.len());
        fleet.down = (0..weights.len()).map(|index| !usable.contains(&index)).collect();
        let expected: Vec<f64> =
            (0..weights.len()).map(|index| if fleet.usable(index) { f64::from(weights[index]) } else { 0.0 }).collect();
        for algorithm in BY_WEIGHT {
            let counts = counts(&balancer(algorithm, &weights), &fleet, Instant::now(), 10_000);
            assert_shares(&counts, &expected, &(algorithm, &usable));
        }
    }
}

#[test]
fn nothing_is_picked_when_nothing_can_be() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(3);
        let now = Instant::now();
        assert_eq!(counts(&balancer(algorithm, &[0, 0, 0]), &fleet, now, 10), [0.0; 3], "{algorithm:?}");
        assert_eq!(counts(&balancer(algorithm, &[]), &Fleet::new(0), now, 10), [0.0; 0], "{algorithm:?}");
        fleet.down = vec![true, true, false];
        assert_eq!(counts(&balancer(algorithm, &[1, 1, 0]), &fleet, now, 10), [0.0; 3], "{algorithm:?}");
        assert_eq!(counts(&balancer(algorithm, &[1, 1, 1]), &fleet, now, 10), [0.0, 0.0, 10.0], "{algorithm:?}");
    }
}

/// One endpoint among equals joins: its share of the picks follows the curve,
/// that of the others is equal.
#[test]
fn a_new_endpoint_gets_its_share_bit_by_bit() {
    let slow_start = SlowStart::new(Duration::from_secs(40));
    for algorithm in BY_WEIGHT {
        let balancer = balancer_with(algorithm, Some(slow_start), &[3, 3, 3, 3]);
        let start = Instant::now();
        let mut fleet = Fleet::new(3);
        fleet.join(start);
        for seconds in [0_u32, 4, 10, 20, 30, 39, 40, 50] {
            let share = (f64::from(seconds) / 40.0).clamp(0.1, 1.0);
            let now = start + Duration::from_secs(seconds.into());
            let counts = counts(&balancer, &fleet, now, 20_000);
            assert_shares(&counts, &[1.0, 1.0, 1.0, share], &(algorithm, seconds));
        }
    }
}

/// Under load the better of two is picked, and a new endpoint is idle: that
/// must not bring it more than its share.
#[test]
fn being_idle_does_not_undo_slow_start() {
    let slow_start = SlowStart::new(Duration::from_secs(40));
    for algorithm in [Algorithm::LeastRequest, PEAK_EWMA] {
        let balancer = balancer_with(algorithm, Some(slow_start), &[1; 10]);
        let start = Instant::now();
        let mut fleet = Fleet::new(9);
        fleet.join(start);
        let _busy: Vec<InFlight> = fleet.loads[..9].iter().flat_map(|load| [load.begin(), load.begin()]).collect();
        let counts = counts(&balancer, &fleet, start, 50_000);
        let fair = 0.1 / 9.1 * 50_000.0;
        assert!(counts[9] < fair * 1.25, "{algorithm:?}: {} instead of {fair}", counts[9]);
    }
}

#[test]
fn when_everything_is_new_shares_are_those_of_the_weights() {
    for algorithm in BY_WEIGHT {
        let balancer = balancer_with(algorithm, Some(SlowStart::new(Duration::from_secs(40))), &[4, 2, 1]);
        let now = Instant::now();
        let mut fleet = Fleet::default();
        (0..3).for_each(|_| fleet.join(now));
        assert_shares(&counts(&balancer, &fleet, now, 10_000), &[4.0, 2.0, 1.0], &algorithm);
    }
}

#[test]
fn a_roster_is_what_it_was_made_from() {
    let roster =
        |algorithm, weights: &[u16]| Roster::new(BalanceSpec { algorithm, slow_start: None }, members(weights));
    assert_eq!(roster(PEAK_EWMA, &[1, 2]), roster(PEAK_EWMA, &[1, 2]));
    assert_ne!(roster(PEAK_EWMA, &[1, 2]), roster(PEAK_EWMA, &[1, 1]));
    assert_ne!(roster(PEAK_EWMA, &[1, 2]), roster(Algorithm::Random, &[1, 2]));
}

/// Tables are few, as they take long to make without optimisation.
fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![9 => prop::sample::select(BY_WEIGHT.to_vec()), 1 => prop::sample::select(vec![HASH, BOUNDED_HASH])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any weights, any loads, any age, any subset: what is picked is usable
    /// and has a weight, and something is picked if anything can be.
    #[test]
    fn what_cannot_be_picked_is_not(
        endpoints in prop::collection::vec(
            (prop_oneof![Just(0), Just(1), 0..5_u16, any::<u16>()], any::<bool>(), 0..4_u32, 0..20_u64, any::<bool>()),
            1..40,
        ),
        algorithm in algorithm(),
        slow in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let weights: Vec<u16> = endpoints.iter().map(|endpoint| endpoint.0).collect();
        let slow_start = slow.then(|| SlowStart::new(Duration::from_secs(10)));
        let balancer = balancer_with(algorithm, slow_start, &weights);
        let start = Instant::now();
        let now = start + Duration::from_secs(20);
        let mut fleet = Fleet::default();
        let mut under_way = Vec::new();
        for (_, usable, active, age, failed) in &endpoints {
            let load = Rc::new(Load::joining(start + Duration::from_secs(*age)));
            under_way.extend((0..*active).map(|_| load.begin()));
            balancer.observe(&load, start + Duration::from_secs(*age), Duration::from_millis(*age), *failed);
            fleet.loads.push(load);
            fleet.down.push(!usable);
        }
        let candidates = (0..weights.len()).filter(|index| fleet.usable(*index) && weights[*index] > 0).count();
        let mut random = IdSource::new(seed);
        for round in 0..50 {
            let key = (round % 2 == 0).then(|| random.next());
            match balancer.pick(&fleet, key, now, &mut || random.next()) {
                Some(index) => prop_assert!(fleet.usable(index) && weights[index] > 0, "{index}"),
                None => prop_assert_eq!(candidates, 0),
            }
        }
    }

    /// A request that is tried again and again goes everywhere once.
    #[test]
    fn retries_go_round(size in 1..20_usize, algorithm in algorithm(), seed in any::<u64>()) {
        let balancer = balancer(algorithm, &vec![2; size]);
        let mut fleet = Fleet::new(size);
        let mut random = IdSource::new(seed);
        let now = Instant::now();
        while let Some(index) = balancer.pick(&fleet, Some(seed), now, &mut || random.next()) {
            prop_assert!(!fleet.down[index]);
            fleet.down[index] = true;
        }
        prop_assert!(fleet.down.iter().all(|down| *down));
    }
}
