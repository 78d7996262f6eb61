use super::*;
use crate::balance::tests::{Fleet, HASH, balancer, members};
use crate::balance::{Algorithm, BalanceSpec, Balancer, HASH_BOUND, Roster};
use std::sync::Arc;
use std::time::Instant;
use torana_core::trace::IdSource;

const KEYS: u32 = 20_000;

fn hashing(members: Vec<Member>) -> Balancer {
    Balancer::new(Arc::new(Roster::new(BalanceSpec { algorithm: HASH, slow_start: None }, members)), 0)
}

/// The identity of the endpoint of each key.
fn places(balancer: &Balancer, fleet: &Fleet) -> Vec<Arc<str>> {
    let now = Instant::now();
    let place = |key: u32| {
        let index = balancer.pick(fleet, Some(hash_key(&key.to_be_bytes())), now, &mut || 0).unwrap();
        balancer.roster().members()[index].identity.clone()
    };
    (0..KEYS).map(place).collect()
}

fn moved(before: &[Arc<str>], after: &[Arc<str>]) -> f64 {
    let moved = before.iter().zip(after).filter(|(before, after)| before != after).count();
    f64::from(u32::try_from(moved).unwrap()) / f64::from(KEYS)
}

/// Shares of keys, by position in `members`.
fn shares(places: &[Arc<str>], members: &[Member]) -> Vec<f64> {
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for place in places {
        *counts.entry(place).or_default() += 1.0 / f64::from(KEYS);
    }
    members.iter().map(|member| counts.get(&*member.identity).copied().unwrap_or(0.0)).collect()
}

#[test]
fn keys_of_an_endpoint_that_goes_are_all_that_move() {
    for (size, gone) in [(2_u16, 1), (10, 4), (100, 50)] {
        let all = members(&vec![1; size.into()]);
        let before = places(&hashing(all.clone()), &Fleet::new(all.len()));
        let mut fewer = all.clone();
        let gone = fewer.remove(gone).identity;
        let after = places(&hashing(fewer.clone()), &Fleet::new(fewer.len()));
        let moved = moved(&before, &after) * f64::from(size);
        assert!((0.7..1.3).contains(&moved), "{moved}/{size} of the keys moved");
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == gone, "a key moved from {before} to {after}");
        }
        // The order does not matter, and whoever comes back gets back its own.
        let mut back = all;
        back.reverse();
        assert_eq!(places(&hashing(back), &Fleet::new(size.into())), before);
    }
}

/// Being down is like being gone: only those keys move, to all others alike,
/// and come back.
#[test]
fn keys_of_an_endpoint_that_is_down_are_spread() {
    let balancer = balancer(HASH, &[1; 8]);
    let mut fleet = Fleet::new(8);
    let before = places(&balancer, &fleet);
    fleet.down[3] = true;
    let after = places(&balancer, &fleet);
    let gone = &balancer.roster().members()[3].identity;
    let mut heirs: HashMap<&str, u32> = HashMap::new();
    for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
        assert_eq!(before, gone);
        *heirs.entry(after).or_default() += 1;
    }
    let (least, most) = (heirs.values().min().unwrap(), heirs.values().max().unwrap());
    assert!(heirs.len() == 7 && f64::from(*most) < 1.3 * f64::from(*least), "{heirs:?}");
    fleet.down.fill(false);
    assert_eq!(places(&balancer, &fleet), before);
}

/// With one of a hundred left up, and with two: the same key still finds the
/// same endpoint, and all of them share.
#[test]
fn keys_stay_together_when_most_are_down() {
    let balancer = balancer(HASH, &[1; 100]);
    let mut fleet = Fleet::new(100);
    fleet.down = (0..100).map(|index| ![10, 60, 90].contains(&index)).collect();
    let (first, second) = (places(&balancer, &fleet), places(&balancer, &fleet));
    assert_eq!(first, second);
    let shares = shares(&first, balancer.roster().members());
    for index in [10, 60, 90] {
        assert!((shares[index] - 1.0 / 3.0).abs() < 0.02, "{}", shares[index]);
    }
}

#[test]
fn shares_are_those_of_the_weights() {
    for (weights, tolerance) in
        [(vec![1; 3], 0.03), (vec![1; 10], 0.06), (vec![1; 100], 0.25), (vec![8, 4, 2, 1], 0.06)]
    {
        let members = members(&weights);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let shares = shares(&places(&hashing(members.clone()), &Fleet::new(weights.len())), &members);
        for (share, weight) in shares.iter().zip(&weights) {
            let relative = share * sum / f64::from(*weight);
            assert!((relative - 1.0).abs() < tolerance, "{} endpoints, weight {weight}: {relative}", weights.len());
        }
    }
}

/// A heavier endpoint takes keys from the others, and nobody else moves.
#[test]
fn a_change_of_weight_moves_its_part() {
    let light = members(&[10; 10]);
    let mut heavy = light.clone();
    heavy[6].weight = 20;
    let fleet = Fleet::new(10);
    let (before, after) = (places(&hashing(light), &fleet), places(&hashing(heavy.clone()), &fleet));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *after == heavy[6].identity, "{before} to {after}");
    }
    // From 1/10 to 2/11.
    let moved = moved(&before, &after);
    assert!((0.07..0.095).contains(&moved), "{moved}");
}

#[test]
fn the_table_is_the_same_everywhere() {
    let slots = Slots::new(&members(&[1, 2, 3]));
    let head: Vec<u32> = slots.owners[..16].to_vec();
    assert_eq!(
        head,
        [2, 1, 2, 2, 1, 2, 1, 1, 2, 2, 1, 2, 2, 2, 1, 1],
        "pinned for good: a change here moves keys of every fleet"
    );
}

#[test]
fn endpoints_that_are_there_twice_count_twice() {
    let mut list = members(&[1, 1, 1]);
    list[2].identity = list[1].identity.clone();
    let shares = shares(&places(&hashing(list.clone()), &Fleet::new(3)), &list[..2]);
    assert!((shares[0] - 1.0 / 3.0).abs() < 0.02 && (shares[1] - 2.0 / 3.0).abs() < 0.02, "{shares:?}");
}

#[test]
fn without_a_key_it_is_random() {
    let balancer = balancer(HASH, &[1, 3]);
    let (fleet, mut random) = (Fleet::new(2), IdSource::new(5));
    let mut heavy = 0;
    for _ in 0..10_000 {
        heavy += balancer.pick(&fleet, None, Instant::now(), &mut || random.next()).unwrap();
    }
    assert!((7300..7700).contains(&heavy), "{heavy}");
}

/// Requests come and go with a skewed choice of keys, one key having a third:
/// no endpoint ever has more than its share of them all allows.
#[test]
fn no_endpoint_exceeds_the_bound() {
    for (weights, factor) in
        [(vec![1; 10], HASH_BOUND), (vec![1; 10], 1.0), (vec![4, 2, 1, 1], 1.25), (vec![1; 3], 2.0)]
    {
        let balancer = balancer(Algorithm::ConsistentHash { bound: Some(factor) }, &weights);
        let mut fleet = Fleet::new(weights.len());
        let mut random = IdSource::new(9);
        let now = Instant::now();
        let mut under_way = Vec::new();
        for step in 0..20_000 {
            if step == 10_000 {
                // One goes down, and what it had counts for nobody.
                fleet.down[1] = true;
            }
            while under_way.len() as u64 > random.next() % 200 {
                let place = usize::try_from(random.next() % under_way.len() as u64).unwrap();
                under_way.swap_remove(place);
            }
            let key = match random.next() % 9 {
                0..3 => 1,
                3..6 => random.next() % 10,
                _ => random.next(),
            };
            let index = balancer.pick(&fleet, Some(hash_key(&key.to_be_bytes())), now, &mut || 0).unwrap();
            under_way.push(fleet.loads[index].begin());
            let usable = (0..weights.len()).filter(|index| fleet.usable(*index));
            let (all, sum) = usable.fold((0.0, 0.0), |(all, sum), index| {
                (all + f64::from(fleet.loads[index].active()), sum + f64::from(weights[index]))
            });
            let active = f64::from(fleet.loads[index].active());
            let bound = factor * all * f64::from(weights[index]) / sum;
            assert!(active <= bound.ceil() && active < bound + 1.0, "{active} of {all}, the bound is {bound}");
        }
    }
}

/// The bound moves requests only while it has to.
#[test]
fn keys_come_home_when_there_is_room() {
    let balancer = balancer(Algorithm::ConsistentHash { bound: Some(HASH_BOUND) }, &[1; 5]);
    let fleet = Fleet::new(5);
    let pick = || balancer.pick(&fleet, Some(77), Instant::now(), &mut || 0).unwrap();
    let home = pick();
    let busy: Vec<_> = (0..4).map(|_| fleet.loads[home].begin()).collect();
    let away = pick();
    assert_ne!(away, home);
    assert_eq!(pick(), away, "the same second choice as before");
    drop(busy);
    assert_eq!(pick(), home);
}
