//! How long a pick takes. Without optimisation it says nothing; with it:
//!
//! ```text
//! package=profile.dev.package.torana-upstream
//! CARGO_INCREMENTAL=0 cargo test -p torana-upstream --config $package.opt-level=3 --config $package.codegen-units=1 \
//!     --config $package.debug-assertions=false --config $package.overflow-checks=false \
//!     cost_of_a_pick -- --ignored --nocapture
//! ```

use super::hash::sequence;
use super::tests::{Fleet, HASH, PEAK_EWMA, balancer};
use super::*;
use std::hint::black_box;
use std::rc::Rc;

/// A fleet as cheap to ask as the gateway's.
struct Plain(Vec<Rc<Load>>);

impl Candidates for Plain {
    fn load(&self, index: usize) -> &Load {
        &self.0[index]
    }

    fn usable(&self, _: usize) -> bool {
        true
    }
}

#[test]
#[ignore = "a measurement: run alone, with --release --nocapture"]
fn cost_of_a_pick() {
    let bounded = Algorithm::ConsistentHash { bound: Some(HASH_BOUND) };
    for (name, algorithm, heaviest, busy) in [
        ("round_robin", Algorithm::RoundRobin, 1, false),
        ("round_robin, long rounds", Algorithm::RoundRobin, 9000, false),
        ("random", Algorithm::Random, 1, false),
        ("least_request", Algorithm::LeastRequest, 1, false),
        ("least_request, unequal", Algorithm::LeastRequest, 7, false),
        ("peak_ewma", PEAK_EWMA, 1, false),
        ("peak_ewma, unequal", PEAK_EWMA, 7, false),
        ("consistent_hash", HASH, 1, false),
        ("consistent_hash, bound, idle", bounded, 1, false),
        ("consistent_hash, bound, busy", bounded, 1, true),
    ] {
        let costs = [3, 100, 1000_u16].map(|size| {
            let weights: Vec<u16> =
                (0..u32::from(size)).map(|index| u16::try_from(1 + index * 4321 % heaviest).unwrap()).collect();
            let balancer = balancer(algorithm, &weights);
            let fleet = Plain(Fleet::new(size.into()).loads);
            let start = Instant::now();
            let _busy: Vec<InFlight> = fleet.0.iter().filter(|_| busy).map(Load::begin).collect();
            for (load, age) in fleet.0.iter().zip(0..) {
                balancer.observe(load, start + Duration::from_micros(age), Duration::from_millis(3), false);
            }
            let now = start + Duration::from_millis(10);
            let picks: u32 = if busy { 20_000 } else { 1_000_000 };
            let mut step = 0;
            let mut best = f64::MAX;
            for _ in 0..5 {
                let begin = Instant::now();
                for _ in 0..picks {
                    step += 1;
                    let mut state = step;
                    let mut random = || {
                        state += 1 << 32;
                        sequence(state, 1)
                    };
                    black_box(balancer.pick(black_box(&fleet), Some(step), now, &mut random));
                }
                best = best.min(begin.elapsed().as_secs_f64() * 1e9 / f64::from(picks));
            }
            best
        });
        println!("{name:32} {:7.1} {:7.1} {:7.1} ns", costs[0], costs[1], costs[2]);
    }
}
