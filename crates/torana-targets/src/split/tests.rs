use super::*;
use proptest::prelude::*;
use torana_core::target::entry;
use torana_core::testing::{TestNames, exchange, target_transcript, written};

/// A split of the route `route` with parts called `a`, `b`, …
fn split(route: &str, weights: &[(char, u32)], key: Option<Key>) -> Split {
    let mut sum = 0;
    let mut parts: Vec<Weighed> = weights
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(name, weight)| {
            sum += u64::from(*weight);
            let salt = hash(0, name.to_string().as_bytes());
            Weighed { upstream: UpstreamId(u32::from(*name)), salt, weight: *weight, sum }
        })
        .collect();
    let last = parts.pop().unwrap();
    Split { key, salt: hash(0, route.as_bytes()), others: parts, last, shown: String::new() }
}

fn name(part: &Weighed) -> char {
    char::from_u32(part.upstream.0).unwrap()
}

/// The part of the caller with this number.
fn of_caller(split: &Split, caller: u32) -> char {
    name(split.winner(hash(split.salt, format!("user-{caller}").as_bytes())))
}

const CALLERS: u32 = 100_000;

/// As a share of [`CALLERS`].
fn share(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / f64::from(CALLERS)
}

/// Four standard deviations of a share of [`CALLERS`], at its widest.
const TOLERANCE: f64 = 0.0064;

/// How many of [`CALLERS`] went from which part to which other.
fn moves(before: &Split, after: &Split) -> std::collections::BTreeMap<(char, char), usize> {
    let mut moves = std::collections::BTreeMap::new();
    for caller in 0..CALLERS {
        let (from, to) = (of_caller(before, caller), of_caller(after, caller));
        if from != to {
            *moves.entry((from, to)).or_default() += 1;
        }
    }
    moves
}

#[test]
fn shares_are_those_of_the_weights() {
    let weights = [('a', 80), ('b', 15), ('c', 5), ('d', 0)];
    let split = split("r", &weights, None);
    let mut dice = IdSource::new(7);
    let drawn: Vec<char> = (0..CALLERS).map(|_| name(split.at(dice.next()))).collect();
    let kept: Vec<char> = (0..CALLERS).map(|caller| of_caller(&split, caller)).collect();
    for (part, weight) in weights {
        for (how, parts) in [("drawn", &drawn), ("kept", &kept)] {
            let share = share(parts.iter().filter(|seen| **seen == part).count());
            let wanted = f64::from(weight) / 100.0;
            assert!((share - wanted).abs() < TOLERANCE, "{how} {part}: {share} instead of {wanted}");
        }
    }
    assert!(!drawn.contains(&'d') && !kept.contains(&'d'), "a part without weight gets nothing");
}

#[test]
fn the_ends_of_the_line_belong_to_the_ends_of_the_list() {
    let split = split("r", &[('a', 1), ('b', 1_000_000), ('c', 1)], None);
    assert_eq!((name(split.at(0)), name(split.at(u64::MAX / 2)), name(split.at(u64::MAX))), ('a', 'b', 'c'));
}

#[test]
fn from_5_to_10_percent_only_the_new_5_percent_move() {
    let canary = |stable, next| split("canary", &[('a', stable), ('b', next)], None);
    let moves = moves(&canary(95, 5), &canary(90, 10));
    assert_eq!(moves.keys().collect::<Vec<_>>(), [&('a', 'b')], "nobody leaves the canary");
    let moved = share(moves[&('a', 'b')]);
    assert!((moved - 0.05).abs() < TOLERANCE, "{moved}");
    let same = (0..CALLERS).all(|caller| of_caller(&canary(95, 5), caller) == of_caller(&canary(19, 1), caller));
    assert!(same, "only the relation of the weights counts");
}

#[test]
fn nobody_moves_between_parts_whose_weights_stay() {
    let before = split("r", &[('a', 50), ('b', 30), ('c', 20)], None);
    // Grown from 20 of 100 to 60 of 140.
    let grown = moves(&before, &split("r", &[('a', 50), ('b', 30), ('c', 60)], None));
    assert_eq!(grown.keys().collect::<Vec<_>>(), [&('a', 'c'), &('b', 'c')]);
    let moved = share(grown.values().sum());
    assert!((moved - (60.0 / 140.0 - 0.2)).abs() < 2.0 * TOLERANCE, "{moved}");
    // Shrunk, switched off, removed, added, in another order.
    let shrunk = moves(&before, &split("r", &[('a', 50), ('b', 30), ('c', 5)], None));
    assert_eq!(shrunk.keys().collect::<Vec<_>>(), [&('c', 'a'), &('c', 'b')]);
    let off = split("r", &[('a', 50), ('b', 30), ('c', 0)], None);
    let removed = split("r", &[('a', 50), ('b', 30)], None);
    assert!(moves(&off, &removed).is_empty());
    assert_eq!(moves(&before, &removed).keys().collect::<Vec<_>>(), [&('c', 'a'), &('c', 'b')]);
    let added = split("r", &[('a', 50), ('x', 10), ('b', 30), ('c', 20)], None);
    assert!(moves(&before, &added).keys().all(|(_, to)| *to == 'x'));
    assert!(moves(&before, &split("r", &[('c', 20), ('a', 50), ('b', 30)], None)).is_empty());
}

#[test]
fn splits_are_independent_of_each_other() {
    let first = split("checkout", &[('a', 50), ('b', 50)], None);
    let second = split("search", &[('a', 50), ('b', 50)], None);
    let both = (0..CALLERS).filter(|caller| of_caller(&first, *caller) == 'a' && of_caller(&second, *caller) == 'a');
    assert!((share(both.count()) - 0.25).abs() < TOLERANCE);
}

#[test]
fn cohorts_are_the_same_in_every_version_of_the_program() {
    // Changing the hash would move everybody's callers. Worked out a second
    // time, in another language.
    assert_eq!(hash(0, b""), 0xa706_dd2f_4d19_7e6f);
    assert_eq!(hash(1, b"cohort-12"), 0x7660_41f7_88b2_8288);
    let split = split("canary", &[('a', 60), ('b', 30), ('c', 10)], None);
    let cohorts: String = (0..32).map(|caller| of_caller(&split, caller)).collect();
    assert_eq!(cohorts, "abaacabaaabaacabccbcbaacaaacaaba");
}

proptest! {
    #[test]
    fn a_part_that_grows_only_takes(
        weights in prop::collection::vec(0_u32..1000, 1..6),
        grows in any::<prop::sample::Index>(),
        by in 1_u32..1000,
        callers in prop::collection::vec(any::<u64>(), 50),
    ) {
        let named = |weights: &[u32]| -> Vec<(char, u32)> { ('a'..).zip(weights.iter().copied()).collect() };
        let mut after = weights.clone();
        let index = grows.index(weights.len());
        after[index] += by;
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let (before, after) = (split("r", &named(&weights), None), split("r", &named(&after), None));
        for caller in callers {
            let (from, to) = (name(before.winner(caller)), name(after.winner(caller)));
            prop_assert!(from == to || Some(to) == ('a'..).nth(index), "{from} to {to}");
        }
    }

    #[test]
    fn every_hash_finds_a_part(weights in prop::collection::vec(0_u32..=1_000_000, 1..6), caller: u64) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let named: Vec<(char, u32)> = ('a'..).zip(weights.iter().copied()).collect();
        let split = split("r", &named, None);
        for part in [split.at(caller), split.winner(caller)] {
            prop_assert!(part.weight > 0);
            prop_assert!(part.arrival(caller).is_finite());
        }
    }
}

fn by_key(key: Key, request: &str, ip: &str) -> u64 {
    let mut exchange = exchange(request);
    exchange.client_ip = ip.parse().unwrap();
    key.hash(1, &exchange)
}

#[test]
fn callers_are_known_by_what_was_asked_for() {
    let client = |ip| by_key(Key::Client, "GET / HTTP/1.1\nHost: a\nX-User: 1", ip);
    assert_eq!(client("192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"), "one network, one caller");
    assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));

    let header = |lines: &str, ip| {
        let key = Key::Header(HeaderName::new("X-User").unwrap());
        by_key(key, &format!("GET / HTTP/1.1\nHost: a{lines}"), ip)
    };
    assert_eq!(header("\nx-user: 7", "192.0.2.1"), header("\nX-USER: 7", "192.0.2.2"));
    assert_ne!(header("\nx-user: 7", "192.0.2.1"), header("\nx-user: 8", "192.0.2.1"));
    assert_ne!(header("\nx-user: 7", "192.0.2.1"), header("\nx-user: 7\nx-user: 8", "192.0.2.1"));
    assert_eq!(header("", "192.0.2.1"), client("192.0.2.1"), "without one, by address");
    assert_eq!(header("\nx-user:", "192.0.2.1"), client("192.0.2.1"));

    let cookie = |lines: &str| {
        let key = Key::Cookie(b"cohort"[..].into());
        by_key(key, &format!("GET / HTTP/1.1\nHost: a{lines}"), "192.0.2.1")
    };
    assert_eq!(cookie("\ncookie: a=1; cohort=x; b=2"), cookie("\ncookie: a=1\ncookie: cohort=x"));
    assert_eq!(cookie("\ncookie: cohort=x; cohort=y"), cookie("\ncookie: cohort=x"));
    assert_ne!(cookie("\ncookie: cohort=x"), cookie("\ncookie: cohort=y"));
    for none in ["", "\ncookie: mycohort=x; cohortx=y; cohort; cohort=; Cohort=x"] {
        assert_eq!(cookie(none), client("192.0.2.1"), "{none}");
    }
}

fn run(config: &str, request: &str) -> String {
    target_transcript(&entry::<Split>(), config, &[], request)
}

#[test]
fn a_request_without_a_key_draws_from_its_own_die() {
    let config = written(r#"[ { "upstream": "users", "weight": 3 }, { "upstream": "orders" } ]"#);
    let target = (entry::<Split>().build)(&config, &TestNames::new("r", "/x")).unwrap();
    assert_eq!(target.describe(), "split users 3, orders 1");
    assert_eq!(target.upstreams(), [UpstreamId(0), UpstreamId(1)]);
    let mut exchange = exchange("GET / HTTP/1.1\nHost: a");
    let mut drawn = |die| {
        exchange.trace.span = die;
        match target.answer(&mut exchange) {
            Answer::Forward(UpstreamId(upstream)) => upstream,
            _ => panic!("it always forwards"),
        }
    };
    assert_eq!([0, u64::MAX / 2, u64::MAX / 5 * 4, u64::MAX].map(&mut drawn), [0, 0, 1, 1]);
}

#[test]
fn callers_stay_with_their_part() {
    let config = r#"{ "by": { "cookie": "cohort" }, "parts": [ { "upstream": "users" }, { "upstream": "orders" } ] }"#;
    let of = |cookie: &str| run(config, &format!("GET / HTTP/1.1\nHost: a\nCookie: cohort={cookie}"));
    let seen: Vec<String> = (0..8).map(|caller| of(&caller.to_string())).collect();
    assert_eq!(seen, (0..8).map(|caller| of(&caller.to_string())).collect::<Vec<_>>());
    let shown = "split users 1, orders 1 by cookie cohort\nforward to";
    assert!(seen.contains(&format!("{shown} 0\n")) && seen.contains(&format!("{shown} 1\n")), "{seen:?}");
    let config = |by: &str| format!(r#"{{ "by": {by}, "parts": [ {{ "upstream": "users" }} ] }}"#);
    let request = "GET / HTTP/1.1\nHost: a";
    assert_eq!(run(&config(r#""client""#), request), "split users 1 by client\nforward to 0\n");
    assert_eq!(run(&config(r#"{ "header": "X-User" }"#), request), "split users 1 by header X-User\nforward to 0\n");
}

#[test]
fn all_mistakes_at_once() {
    let config = r#"{ "by": { "header": "connection" }, "parts": [
        { "upstream": "users", "weight": 1 }, { "upstream": "user" }, { "upstream": "users" } ] }"#;
    assert_eq!(
        run(config, "GET / HTTP/1.1\nHost: a"),
        "error split.header: the header `connection` says nothing about a caller (it concerns one connection only \
         and is removed before (RFC 9110 §7.6.1))\n\
         error config.unknown_upstream: there is no upstream `user` (did you mean `users`?)\n\
         error split.duplicate: the upstream `users` is in two parts (make one part of them with both weights)\n"
    );
    for (config, expected) in [
        (r#"[ { "upstream": "users", "weight": 0 } ]"#, "split.no_weight"),
        (r#"{ "by": { "header": "a b" }, "parts": [ { "upstream": "users" } ] }"#, "split.header"),
        (r#"{ "by": { "cookie": "a=b" }, "parts": [ { "upstream": "users" } ] }"#, "split.cookie"),
        (r#"{ "by": "cleint", "parts": [ { "upstream": "users" } ] }"#, "did you mean `client`"),
        (r#"{ "by": { "cookei": "a" }, "parts": [ { "upstream": "users" } ] }"#, "did you mean `cookie`"),
        (r#"{ "by": "client" }"#, "`parts` is missing"),
        (r#"{ "parts": [ { "upstream": "users" } ] }"#, "`by` is missing"),
        (r#"[ { "upstream": "users", "wieght": 2 } ]"#, "did you mean `weight`"),
        (r#"[ { "weight": 2 } ]"#, "`upstream` is missing"),
        (r#"[ { "upstream": "users", "weight": -1 } ]"#, "a number from 0 to 1000000"),
        (r#"[ { "upstream": "users", "weight": 1000001 } ]"#, "a number from 0 to 1000000"),
        ("[]", "at least 1 in the list"),
        (r#"{ "by": "client", "parts": [] }"#, "at least 1 in the list"),
        (r#""users""#, "expected a list or a map"),
    ] {
        let shown = run(config, "GET / HTTP/1.1\nHost: a");
        assert!(shown.starts_with("error ") && shown.contains(expected), "{config}: {shown}");
    }
}
