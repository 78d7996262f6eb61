//! Endpoints with queues, requests that come as they please, and a clock that
//! waits for nobody: what algorithms do to latency.

use super::tests::{PEAK_EWMA, balancer, members};
use super::*;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use torana_core::trace::IdSource;

/// An endpoint that works on a few requests at a time; others wait in line.
struct Server {
    load: Rc<Load>,
    workers: usize,
    /// Mean time of work; times are exponential.
    mean: Cell<f64>,
    /// Refuses everything, at once.
    broken: Cell<bool>,
    busy: usize,
    line: VecDeque<Request>,
    served: u32,
}

struct Request {
    came: f64,
    _active: InFlight,
}

struct Servers(Vec<Server>);

impl Candidates for Servers {
    fn load(&self, index: usize) -> &Load {
        &self.0[index].load
    }

    fn usable(&self, _: usize) -> bool {
        true
    }
}

struct Simulation {
    balancer: Balancer,
    servers: Servers,
    random: IdSource,
    start: Instant,
    time: f64,
    next_arrival: f64,
    /// Work under way, by its end in nanoseconds; `bool`: it fails.
    ends: BinaryHeap<Reverse<(u64, usize, u64, bool)>>,
    under_way: Vec<Option<Request>>,
    latencies: Vec<f64>,
    failed: u32,
}

impl Simulation {
    fn new(algorithm: Algorithm, servers: &[(usize, f64)]) -> Simulation {
        Simulation::with(balancer(algorithm, &vec![1; servers.len()]), servers)
    }

    fn with(balancer: Balancer, servers: &[(usize, f64)]) -> Simulation {
        let servers = servers.iter().map(|(workers, mean)| Server {
            load: Rc::new(Load::new()),
            workers: *workers,
            mean: Cell::new(*mean),
            broken: Cell::new(false),
            busy: 0,
            line: VecDeque::new(),
            served: 0,
        });
        Simulation {
            balancer,
            servers: Servers(servers.collect()),
            random: IdSource::new(1),
            start: Instant::now(),
            time: 0.0,
            next_arrival: 0.0,
            ends: BinaryHeap::new(),
            under_way: Vec::new(),
            latencies: Vec::new(),
            failed: 0,
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a fraction in (0, 1)")]
        let uniform = ((self.random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() * mean
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.time)
    }

    /// Goes on for so many seconds at so many requests a second.
    fn run(&mut self, seconds: f64, rate: f64) {
        let until = self.time + seconds;
        self.next_arrival = self.next_arrival.max(self.time);
        while self.next_arrival < until {
            self.finish_until(self.next_arrival);
            self.time = self.next_arrival;
            self.arrive();
            self.next_arrival += self.exponential(1.0 / rate);
        }
        self.finish_until(until);
        self.time = until;
    }

    fn arrive(&mut self) {
        let (now, random) = (self.now(), &mut self.random);
        let index = self.balancer.pick(&self.servers, None, now, &mut || random.next()).unwrap();
        let server = &mut self.servers.0[index];
        server.served += 1;
        server.line.push_back(Request { came: self.time, _active: server.load.begin() });
        self.work(index);
    }

    /// Begins work on what waits, as far as there are workers.
    fn work(&mut self, index: usize) {
        loop {
            let server = &mut self.servers.0[index];
            if server.busy == server.workers {
                return;
            }
            let Some(request) = server.line.pop_front() else { return };
            server.busy += 1;
            let (mean, broken) = (server.mean.get(), server.broken.get());
            let takes = if broken { 0.000_1 } else { self.exponential(mean) };
            let place = self.under_way.len() as u64;
            self.under_way.push(Some(request));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes in nanoseconds")]
            self.ends.push(Reverse((((self.time + takes) * 1e9) as u64, index, place, broken)));
        }
    }

    fn finish_until(&mut self, until: f64) {
        while let Some(Reverse((end, index, place, broken))) = self.ends.peek().copied() {
            #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
            let end = end as f64 / 1e9;
            if end > until {
                return;
            }
            self.ends.pop();
            self.time = self.time.max(end);
            let request = self.under_way[usize::try_from(place).unwrap()].take().unwrap();
            let latency = self.time - request.came;
            let server = &mut self.servers.0[index];
            server.busy -= 1;
            let now = self.start + Duration::from_secs_f64(self.time);
            self.balancer.observe(&server.load, now, Duration::from_secs_f64(latency), broken);
            if broken {
                self.failed += 1;
            } else {
                self.latencies.push(latency);
            }
            self.work(index);
        }
    }

    fn p99(&mut self) -> f64 {
        self.latencies.sort_by(f64::total_cmp);
        self.latencies[self.latencies.len() * 99 / 100]
    }

    fn share(&self, index: usize) -> f64 {
        let all: u32 = self.servers.0.iter().map(|server| server.served).sum();
        f64::from(self.servers.0[index].served) / f64::from(all)
    }

    fn forget(&mut self) {
        self.latencies.clear();
        self.failed = 0;
        for server in &mut self.servers.0 {
            server.served = 0;
        }
    }
}

/// Nine endpoints that take 10 ms and one that takes 100 ms, eight requests at
/// a time each, at half of what they can do together. Round robin sends the
/// slow one four times what it can do.
#[test]
fn one_slow_endpoint_does_not_slow_the_rest() {
    let mut servers = vec![(8, 0.010); 10];
    servers[0].1 = 0.100;
    let p99 = |algorithm| {
        let mut simulation = Simulation::new(algorithm, &servers);
        simulation.run(1.0, 3600.0);
        simulation.forget();
        simulation.run(5.0, 3600.0);
        (simulation.p99(), simulation.share(0))
    };
    let (turns, _) = p99(Algorithm::RoundRobin);
    let (least, least_share) = p99(Algorithm::LeastRequest);
    let (ewma, ewma_share) = p99(PEAK_EWMA);
    println!(
        "p99: round robin {turns:.3} s, least request {least:.3} s ({least_share:.4}), ewma {ewma:.3} s ({ewma_share:.4})"
    );
    assert!(turns > 1.0, "round robin: {turns}");
    assert!(least < 0.200 && least_share < 0.03, "least request: {least}, {least_share}");
    assert!(ewma < 0.060 && ewma_share < 0.005, "peak ewma: {ewma}, {ewma_share}");
}

/// With little to do nothing queues, and requests under way say nothing: only
/// latency tells the slow one apart.
#[test]
fn at_low_load_only_latency_tells() {
    let mut servers = vec![(8, 0.010); 5];
    servers[0].1 = 0.100;
    let p99 = |algorithm| {
        let mut simulation = Simulation::new(algorithm, &servers);
        simulation.run(5.0, 100.0);
        simulation.forget();
        simulation.run(100.0, 100.0);
        simulation.p99()
    };
    let (turns, least, ewma) = (p99(Algorithm::RoundRobin), p99(Algorithm::LeastRequest), p99(PEAK_EWMA));
    println!("p99: round robin {turns:.3} s, least request {least:.3} s, ewma {ewma:.3} s");
    assert!(turns > 0.200 && least > 0.100, "{turns} {least}");
    assert!(ewma < 0.080, "{ewma}");
}

/// An endpoint that has become fast again is found out, though it gets next to
/// nothing: its bad name fades.
#[test]
fn a_slow_endpoint_gets_another_chance() {
    let mut simulation = Simulation::new(PEAK_EWMA, &[(8, 0.100), (8, 0.010), (8, 0.010)]);
    simulation.run(20.0, 500.0);
    simulation.servers.0[0].mean.set(0.010);
    simulation.run(40.0, 500.0);
    simulation.forget();
    simulation.run(20.0, 500.0);
    let share = simulation.share(0);
    assert!((0.25..0.42).contains(&share), "{share}");
}

/// An endpoint that refuses at once looks idle and fast. It must not draw the
/// requests of all others.
#[test]
fn failing_fast_does_not_draw_requests() {
    let refused = |algorithm| {
        let mut simulation = Simulation::new(algorithm, &[(8, 0.010); 5]);
        simulation.run(5.0, 1000.0);
        simulation.forget();
        simulation.servers.0[2].broken.set(true);
        simulation.run(10.0, 1000.0);
        f64::from(simulation.failed) / 10_000.0
    };
    let (least, ewma) = (refused(Algorithm::LeastRequest), refused(PEAK_EWMA));
    println!("refused: least request {least:.3}, ewma {ewma:.3}");
    // What least_request does is why health checks and ejection are there.
    assert!(least > 0.25, "{least}");
    assert!(ewma < 0.02, "{ewma}");
}

/// An endpoint that joins a busy fleet gets about its share from the start,
/// whether the others answer in one millisecond or in a second: it is neither
/// stampeded nor starved.
#[test]
fn a_new_endpoint_is_neither_stampeded_nor_starved() {
    for mean in [0.001, 0.010, 1.0] {
        let rate = 5.0 * 9.0 / mean;
        let mut simulation = Simulation::new(PEAK_EWMA, &[(64, mean); 10]);
        simulation.run(200.0 * mean, rate);
        simulation.servers.0[0].load.recover(simulation.now());
        let mut peak = 0;
        simulation.forget();
        for _ in 0..100 {
            simulation.run(mean / 10.0, rate);
            peak = peak.max(simulation.servers.0[0].load.active());
        }
        let share = simulation.share(0);
        println!("{mean} s: share {share:.3}, at most {peak} at once");
        assert!((0.05..0.2).contains(&share), "{mean} s: a share of {share}");
        assert!(peak <= 20, "{mean} s: {peak} at once, the others have 5");
    }
}

/// Weights under load, with capacity to match: shares of requests follow.
#[test]
fn weights_hold_under_load() {
    let weights = [4, 2, 1];
    let servers = [(32, 0.010), (16, 0.010), (8, 0.010)];
    for (algorithm, tolerance) in [(Algorithm::LeastRequest, 0.12), (PEAK_EWMA, 0.3)] {
        let roster = Roster::new(BalanceSpec { algorithm, slow_start: None }, members(&weights));
        let mut simulation = Simulation::with(Balancer::new(Arc::new(roster), 0), &servers);
        simulation.run(10.0, 3000.0);
        for (index, weight) in weights.iter().enumerate() {
            let relative = simulation.share(index) * 7.0 / f64::from(*weight);
            println!("{algorithm:?}: {index} has {relative:.3} of its share");
            assert!((relative - 1.0).abs() < tolerance, "{algorithm:?}: endpoint {index} has {relative} of its share");
        }
    }
}
