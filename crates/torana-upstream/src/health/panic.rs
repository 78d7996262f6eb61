//! When to set health aside.
//!
//! If most endpoints look broken, it is likelier that the looking is broken:
//! a probe path that went away, a dependency that all endpoints share, a
//! network cut between the gateway and everything. And if they are broken,
//! sending all traffic to the few that are left breaks those too. So below a
//! share of usable endpoints health is ignored and the load spread over all:
//! Envoy's panic threshold (`healthy_panic_threshold`, 50 % there as well).
//!
//! Only *guesses* are set aside, those made by probes and by ejection. An
//! endpoint that a person has drained stays out, and so does one that has to
//! pass a first probe; neither counts into the share.

/// Whether health is set aside while `usable` of `candidates` endpoints may be
/// used: fewer than `threshold` percent. Never for a threshold of 0.
#[must_use]
pub const fn is_panic(threshold: u8, usable: u32, candidates: u32) -> bool {
    (usable as u64) * 100 < (threshold as u64) * (candidates as u64)
}

#[cfg(test)]
mod tests {
    use super::is_panic;

    #[test]
    fn the_threshold_itself_is_no_panic() {
        assert!(!is_panic(50, 5, 10));
        assert!(is_panic(50, 4, 10));
        assert!(is_panic(50, 1, 3));
        assert!(!is_panic(50, 2, 3));
    }

    #[test]
    fn one_endpoint_that_is_out_is_used_all_the_same() {
        assert!(is_panic(50, 0, 1));
        assert!(is_panic(1, 0, 1));
    }

    #[test]
    fn zero_turns_it_off_and_nobody_is_no_panic() {
        assert!(!is_panic(0, 0, 10));
        assert!(!is_panic(100, 0, 0));
        assert!(is_panic(100, u32::MAX - 1, u32::MAX));
    }
}
