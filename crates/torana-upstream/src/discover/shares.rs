//! The weights of SRV records as shares of requests.

/// The heaviest share: what a configured weight may be.
const HEAVIEST: u64 = 10_000;

/// How much lighter a record of weight 0 is than one of weight 1 (RFC 2782: "a
/// very small chance of being selected").
const SCALE: u64 = 100;

/// The share of each address of each target, for targets of these weights with
/// so many addresses. A target's weight is that of all its addresses together;
/// weights that are all 0 are all the same.
pub(super) fn shares(targets: &[(u16, usize)]) -> Vec<u32> {
    let heaviest = targets.iter().map(|(weight, _)| u64::from(*weight)).max().unwrap_or_default();
    let most = targets.iter().map(|(_, addresses)| *addresses as u64).max().unwrap_or_default().max(1);
    let share = |&(weight, addresses): &(u16, usize)| {
        let weight = if heaviest == 0 { 1 } else { u64::from(weight) };
        let scaled = weight * SCALE * most / (addresses as u64).max(1);
        let top = heaviest.max(1) * SCALE * most;
        let fitting = if top > HEAVIEST { scaled * HEAVIEST / top } else { scaled };
        u32::try_from(fitting.max(1)).unwrap_or(u32::MAX)
    };
    let shares: Vec<u32> = targets.iter().map(share).collect();
    // Small numbers make short rounds.
    let divisor = shares.iter().copied().fold(0, gcd).max(1);
    shares.iter().map(|share| share / divisor).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn weights_are_proportions_and_all_zero_is_all_the_same() {
        assert_eq!(shares(&[(10, 1), (30, 1)]), [1, 3]);
        assert_eq!(shares(&[(0, 1), (0, 1)]), [1, 1]);
        assert_eq!(shares(&[]), Vec::<u32>::new());
    }

    #[test]
    fn a_target_with_more_addresses_gets_no_more_requests() {
        assert_eq!(shares(&[(1, 1), (1, 2)]), [2, 1]);
        assert_eq!(shares(&[(0, 3), (0, 1)]), [1, 3]);
    }

    #[test]
    fn zero_beside_others_is_next_to_nothing() {
        assert_eq!(shares(&[(1, 1), (0, 1)]), [100, 1]);
        assert_eq!(shares(&[(65_535, 1), (0, 1), (1, 1)]), [10_000, 1, 1]);
    }
}
