//! Steps that every engine must take alike, for the tests of engines.

use super::quota::{Algorithm, Quota, Standing};
use super::{Take, Taken};
use std::time::Duration;

/// A quota and what becomes of requests one after the other.
pub struct Vector {
    /// What it shows.
    pub name: &'static str,
    /// Algorithm, amount, milliseconds of the period, burst, milliseconds of
    /// delay.
    pub quotas: &'static [(Algorithm, u64, u64, u64, u64)],
    /// In order of time.
    pub steps: &'static [Step],
}

/// A request and what becomes of it. Times are in milliseconds.
pub struct Step {
    /// Since [`START`].
    pub at: u64,
    /// What it costs, and how much it would take ahead.
    pub cost: (u64, u64),
    /// What is granted.
    pub granted: u64,
    /// By quota: what is left, and the times of reset, retry and wait.
    pub stands: &'static [(u64, u64, u64, u64)],
}

/// When vectors begin, in microseconds since 1970: on a full hour.
pub const START: u64 = 1_700_002_800_000_000;

/// Stands for a time that does not come.
const NEVER: u64 = u64::MAX;

const fn step(at: u64, cost: (u64, u64), granted: u64, stands: &'static [(u64, u64, u64, u64)]) -> Step {
    Step { at, cost, granted, stands }
}

/// All of them.
pub const VECTORS: &[Vector] = &[
    Vector {
        name: "a bucket lets a burst through and then one as each leaks out",
        quotas: &[(Algorithm::Bucket, 3, 3000, 2, 0)],
        steps: &[
            step(0, (1, 1), 1, &[(1, 1000, 0, 0)]),
            step(0, (1, 1), 1, &[(0, 2000, 0, 0)]),
            step(0, (1, 1), 0, &[(0, 2000, 1000, 0)]),
            step(999, (1, 1), 0, &[(0, 1001, 1, 0)]),
            step(1000, (1, 1), 1, &[(0, 2000, 0, 0)]),
            step(10_000, (3, 3), 0, &[(2, 0, NEVER, 0)]),
            step(10_000, (1, 9), 2, &[(0, 2000, 0, 0)]),
        ],
    },
    Vector {
        name: "a bucket with a delay lends what comes within it",
        quotas: &[(Algorithm::Bucket, 10, 1000, 1, 250)],
        steps: &[
            step(0, (1, 1), 1, &[(0, 100, 0, 0)]),
            step(0, (1, 1), 1, &[(0, 200, 0, 100)]),
            step(0, (1, 1), 1, &[(0, 300, 0, 200)]),
            step(0, (1, 1), 0, &[(0, 300, 50, 200)]),
            step(50, (1, 1), 1, &[(0, 350, 0, 250)]),
        ],
    },
    Vector {
        name: "a fixed window begins anew at a multiple of its length",
        quotas: &[(Algorithm::FixedWindow, 2, 60_000, 1, 0)],
        steps: &[
            step(50_000, (1, 1), 1, &[(1, 10_000, 0, 0)]),
            step(59_999, (2, 2), 0, &[(1, 1, 1, 0)]),
            step(59_999, (1, 5), 1, &[(0, 1, 0, 0)]),
            step(60_000, (2, 2), 2, &[(0, 60_000, 0, 0)]),
            step(61_000, (3, 3), 0, &[(0, 59_000, NEVER, 0)]),
        ],
    },
    Vector {
        name: "a sliding window counts the part of the last that still overlaps",
        quotas: &[(Algorithm::SlidingWindow, 10, 10_000, 1, 0)],
        steps: &[
            step(9000, (10, 10), 10, &[(0, 11_000, 0, 0)]),
            step(9000, (1, 1), 0, &[(0, 11_000, 2000, 0)]),
            // A tenth of the new window: nine tenths of the old one.
            step(11_000, (1, 1), 1, &[(0, 19_000, 0, 0)]),
            step(11_000, (1, 1), 0, &[(0, 19_000, 1000, 0)]),
            // Half: 5 and 1.
            step(15_000, (1, 9), 4, &[(0, 15_000, 0, 0)]),
            step(40_000, (10, 10), 10, &[(0, 20_000, 0, 0)]),
            step(41_000, (2, 2), 0, &[(0, 19_000, 11_000, 0)]),
        ],
    },
    Vector {
        name: "a log forgets each charge when its own time is over",
        quotas: &[(Algorithm::SlidingLog, 3, 1000, 1, 0)],
        steps: &[
            step(0, (1, 1), 1, &[(2, 1000, 0, 0)]),
            step(600, (2, 2), 2, &[(0, 1000, 0, 0)]),
            step(700, (1, 1), 0, &[(0, 900, 300, 0)]),
            step(700, (2, 2), 0, &[(0, 900, 900, 0)]),
            step(1000, (1, 1), 1, &[(0, 1000, 0, 0)]),
            step(1600, (3, 3), 0, &[(2, 400, 400, 0)]),
            step(2000, (3, 3), 3, &[(0, 1000, 0, 0)]),
        ],
    },
    Vector {
        name: "what one quota refuses is charged to none",
        quotas: &[(Algorithm::FixedWindow, 2, 1000, 1, 0), (Algorithm::Bucket, 60, 60_000, 3, 0)],
        steps: &[
            step(0, (1, 1), 1, &[(1, 1000, 0, 0), (2, 1000, 0, 0)]),
            step(0, (1, 1), 1, &[(0, 1000, 0, 0), (1, 2000, 0, 0)]),
            step(0, (1, 1), 0, &[(0, 1000, 1000, 0), (1, 2000, 0, 0)]),
            step(500, (1, 1), 0, &[(0, 500, 500, 0), (1, 1500, 0, 0)]),
            step(1000, (2, 2), 2, &[(0, 1000, 0, 0), (0, 3000, 0, 0)]),
            step(2000, (2, 2), 0, &[(2, 1000, 0, 0), (1, 2000, 1000, 0)]),
        ],
    },
    Vector {
        name: "places at a time are not charged by cost",
        quotas: &[(Algorithm::Concurrency, 2, 60_000, 1, 0)],
        steps: &[
            step(0, (5, 5), 5, &[(1, 0, 0, 0)]),
            step(0, (5, 5), 5, &[(0, 0, 0, 0)]),
            step(0, (1, 1), 0, &[(0, 0, NEVER, 0)]),
        ],
    },
    Vector {
        name: "a quota of a month is exact to its tick",
        quotas: &[(Algorithm::Bucket, 1_000_000, 2_592_000_000, 1_000_000, 0)],
        steps: &[
            step(0, (999_999, 999_999), 999_999, &[(1, 2_591_997_410, 0, 0)]),
            step(0, (2, 2), 0, &[(1, 2_591_997_410, 2600, 0)]),
            step(2600, (2, 2), 2, &[(0, 2_592_000_000, 0, 0)]),
        ],
    },
];

impl Vector {
    /// Its quotas, by the names `q0`, `q1`, …
    ///
    /// # Panics
    /// They cannot be.
    #[must_use]
    pub fn quotas(&self) -> Vec<Quota> {
        let quota = |(at, &(algorithm, amount, period, burst, delay)): (usize, &(Algorithm, u64, u64, u64, u64))| {
            let (period, delay) = (Duration::from_millis(period), Duration::from_millis(delay));
            match Quota::new(&format!("q{at}"), algorithm, amount, period, burst, delay) {
                Ok(quota) => quota,
                Err(error) => panic!("{}: {error}", self.name),
            }
        };
        self.quotas.iter().enumerate().map(quota).collect()
    }

    /// Takes its steps with `engine`, whose counters of the key `self.name` are
    /// fresh.
    ///
    /// # Panics
    /// One of them comes out differently.
    pub fn run(&self, mut engine: impl FnMut(&Take<'_>) -> Taken) {
        let quotas = self.quotas();
        for (number, step) in self.steps.iter().enumerate() {
            let now = START + step.at * 1000;
            let (cost, up_to) = step.cost;
            let key = self.name.as_bytes();
            let taken = engine(&Take { scope: "vectors", key, quotas: &quotas, cost, up_to, now });
            let time = |millis: u64| if millis == NEVER { Standing::NEVER } else { millis * 1000 };
            let expected: Vec<Standing> = step
                .stands
                .iter()
                .map(|&(left, reset, retry, wait)| Standing {
                    left,
                    reset: time(reset),
                    retry: time(retry),
                    wait: time(wait),
                })
                .collect();
            let seen = (taken.granted, taken.standings.to_vec());
            assert_eq!(seen, (step.granted, expected), "{}: step {number}", self.name);
        }
    }
}
