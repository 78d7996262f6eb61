use super::*;

const DECAY: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

#[track_caller]
fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() <= expected.abs() * 1e-9, "{value} instead of {expected}");
}

fn latency(load: &Load) -> f64 {
    load.measured.get().unwrap().latency.unwrap()
}

fn tries(load: &Load, now: Instant) -> f64 {
    attempts(load.measured.get(), now, DECAY)
}

fn seen(at: Instant, took: Duration) -> Load {
    let load = Load::new();
    load.observe(at, took, false, DECAY);
    load
}

#[test]
fn requests_count_until_they_are_dropped() {
    let load = Rc::new(Load::new());
    let (first, second) = (load.begin(), load.begin());
    assert_eq!(load.active(), 2);
    drop(first);
    assert_eq!(load.active(), 1);
    drop(second);
    assert_eq!(load.active(), 0);
}

#[test]
fn peaks_count_at_once_and_fade_with_time() {
    let start = Instant::now();
    let load = seen(start, 10 * MS);
    close(latency(&load), 0.010);
    load.observe(start, 200 * MS, false, DECAY);
    close(latency(&load), 0.200);
    load.observe(start + DECAY, 10 * MS, false, DECAY);
    close(latency(&load), 0.200 / std::f64::consts::E + 0.010 * (1.0 - 1.0 / std::f64::consts::E));
}

#[test]
fn the_unknown_are_taken_for_what_they_are_compared_with() {
    let now = Instant::now();
    let (known, unknown) = (seen(now, 250 * MS), Load::new());
    let (one, other) = expected(&known, &unknown, now, DECAY);
    close(one / other, 1.0);
    let (one, other) = expected(&unknown, &Load::new(), now, DECAY);
    close(one / other, 1.0);
    unknown.observe(now, MS, true, DECAY);
    let (one, other) = expected(&known, &unknown, now, DECAY);
    close(other / one, 1.0 / 0.75);
}

#[test]
fn what_was_seen_longer_ago_has_faded() {
    let start = Instant::now();
    let (old, new) = (seen(start, 100 * MS), seen(start + DECAY, 10 * MS));
    let ratio = |(one, other): (f64, f64)| one / other;
    close(ratio(expected(&old, &new, start + DECAY, DECAY)), 10.0 * (-1.0_f64).exp());
    close(ratio(expected(&new, &old, start + DECAY, DECAY)), 0.1 / (-1.0_f64).exp());
    // Both get older alike.
    close(ratio(expected(&old, &new, start + 9 * DECAY, DECAY)), 10.0 * (-1.0_f64).exp());
}

#[test]
fn nothing_fades_to_nothing() {
    let start = Instant::now();
    let new = seen(start + 1000 * DECAY, 10 * MS);
    for (took, expected_ratio) in [(100 * MS, 0.5), (10 * MS, 0.5), (5 * MS, 0.5), (2 * MS, 0.2)] {
        let (one, other) = expected(&seen(start, took), &new, start + 1000 * DECAY, DECAY);
        close(one / other, expected_ratio);
    }
}

#[test]
fn failing_fast_is_not_being_fast() {
    let start = Instant::now();
    let load = seen(start, 50 * MS);
    for failures in 1..=40 {
        load.observe(start, MS, true, DECAY);
        close(latency(&load), 0.050);
        if failures == 4 {
            assert!((3.0..3.5).contains(&tries(&load, start)), "{}", tries(&load, start));
        }
    }
    close(tries(&load, start), 100.0);
    assert!(tries(&load, start + 3 * DECAY) < 1.06, "failures are forgiven");
    // A failure that took long, a timeout, is slow as well.
    load.observe(start, 3000 * MS, true, DECAY);
    close(latency(&load), 3.0);
    for _ in 0..40 {
        load.observe(start, 50 * MS, false, DECAY);
    }
    close(tries(&load, start), 1.0);
}

#[test]
fn first_failures_leave_the_latency_unknown() {
    let (load, now) = (Load::new(), Instant::now());
    load.observe(now, MS, true, DECAY);
    assert_eq!(load.measured.get().unwrap().latency, None);
}

#[test]
fn recovery_forgets() {
    let start = Instant::now();
    let load = seen(start, MS);
    load.recover(start + MS);
    assert!(load.measured.get().is_none());
    assert_eq!(load.usable_since(), Some(start + MS));
}
