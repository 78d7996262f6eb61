//! Right and wrong passwords, and that nobody can tell who is known.

use super::*;
use torana_core::policy::entry;
use torana_core::testing::{TestNames, TestWorker, exchange, ready, reply, run, show_diagnostics, written};

const COST: Cost = Cost { memory: 4096, passes: 1, lanes: 1 };

fn hash(password: &str) -> String {
    hash_at(COST, password)
}

fn hash_at(cost: Cost, password: &str) -> String {
    let salt = b"salt-of-the-test";
    let hash = compute(cost, password.as_bytes(), salt, 32).unwrap();
    let Cost { memory, passes, lanes } = cost;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
}

fn config(more: &str) -> String {
    let users = [("alice", "swordfish"), ("bob", "sword:fish"), ("ali", "ceswordfish")];
    let users =
        users.map(|(name, password)| format!(r#"{{ "name": "{name}", "password_hash": "{}" }}"#, hash(password)));
    format!(r#"{{ "users": [ {} ] {more} }}"#, users.join(", "))
}

fn build(config: &str) -> Result<Arc<dyn Policy>, String> {
    let site = TestNames::new("r", "/*").counting(EVENTS);
    (entry::<BasicAuth>().build)(&written(config), &site).map_err(|problems| show_diagnostics(&problems))
}

fn asked(policy: &dyn Policy, authorization: &str) -> String {
    let mut asked = exchange(&format!("GET / HTTP/1.1\nHost: a\n{authorization}"));
    asked.outbound = Some(TestWorker::new());
    let shown = run(policy, &mut asked, reply("200"));
    match (asked.identity, shown.lines().next()) {
        (Some(identity), _) => {
            assert!(!shown.contains("authorization"), "{shown}");
            format!("{} by {}", identity.subject, identity.proven_by)
        }
        (None, line) => {
            assert!(!shown.contains("401") || shown.contains("www-authenticate: Basic realm=\"torana\""), "{shown}");
            line.unwrap_or_default().to_owned()
        }
    }
}

fn basic(said: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(said))
}

#[test]
fn the_right_password_is_right_and_no_other() {
    let policy = build(&config("")).unwrap();
    // Twice: the second time it is remembered.
    for _ in 0..2 {
        for (said, expected) in [
            ("alice:swordfish", "alice by basic_auth"),
            ("bob:sword:fish", "bob by basic_auth"),
            ("ali:ceswordfish", "ali by basic_auth"),
            ("alice:swordfisH", "rejected basic_auth.invalid 401"),
            ("alice:", "rejected basic_auth.invalid 401"),
            ("bob:swordfish", "rejected basic_auth.invalid 401"),
            ("eve:swordfish", "rejected basic_auth.invalid 401"),
            (":swordfish", "rejected basic_auth.invalid 401"),
            // The same letters, divided otherwise.
            ("alices:wordfish", "rejected basic_auth.invalid 401"),
            ("alice", "rejected basic_auth.malformed 401"),
        ] {
            assert_eq!(asked(&*policy, &basic(said)), expected, "{said}");
        }
    }
    let right = basic("alice:swordfish");
    assert_eq!(asked(&*policy, &right.replace("Basic", "bASIC")), "alice by basic_auth");
    assert_eq!(asked(&*policy, &format!("{right}\n{right}")), "rejected basic_auth.malformed 401");
    assert_eq!(asked(&*policy, "Authorization: Basic ***"), "rejected basic_auth.malformed 401");
    for none in ["Accept: */*", "Authorization: Bearer x", "Authorization: Basically x"] {
        assert_eq!(asked(&*policy, none), "rejected basic_auth.missing 401", "{none}");
    }
}

#[test]
fn who_is_not_known_costs_as_much_as_who_is() {
    // Traefik, CVE-2026-32595: the answer to unknown names came at once.
    let site = TestNames::new("r", "/*").counting(EVENTS);
    let built = (entry::<BasicAuth>().build)(&written(&config(r#", "remember": "0s""#)), &site);
    let policy = built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
    let verified = || site.tally().counts().map(|(_, count)| count).sum::<u64>();
    for (number, said) in ["alice:wrong", "nobody:wrong", "alice:swordfish"].iter().enumerate() {
        asked(&*policy, &basic(said));
        assert_eq!(verified(), u64::try_from(number + 1).unwrap(), "{said}");
    }
}

#[test]
fn everybody_costs_the_same_whatever_their_hash_costs() {
    let dear = Cost { passes: 3, ..COST };
    let user = |cost, password| {
        let facts = ConsumerFacts { name: "somebody".into(), active: true, ..ConsumerFacts::default() };
        User { password: hash_at(cost, password).parse().unwrap(), consumer: Arc::new(Consumer::new(facts)) }
    };
    let (cheap, costly) = (user(COST, "swordfish"), user(dear, "swordfish"));
    for (who, is_right) in [(Some(&cheap), true), (Some(&costly), true), (None, false)] {
        for (password, is_right) in [("swordfish", is_right), ("wrong", false)] {
            let mut spent = Vec::new();
            let mut counted = |cost, password: &[u8], salt: &[u8], length| {
                spent.push(cost);
                compute(cost, password, salt, length)
            };
            assert_eq!(compare(who, password.as_bytes(), &[COST, dear], &mut counted), is_right, "{password}");
            spent.sort();
            assert_eq!(spent, [COST, dear]);
        }
    }
}

#[test]
fn each_cost_is_known_once_and_there_is_one_where_nobody_has_a_password() {
    let costs = |config: &str| {
        let site = TestNames::new("r", "/*").counting(EVENTS);
        let config = written(config).decode::<Config>().unwrap();
        costs_of(&users(&config, &site, &mut Vec::new()), &*site.consumers())
    };
    assert_eq!(*costs(&config("")), [COST]);
    let dearer = format!(r#"{{ "name": "eve", "password_hash": "{}" }} ]"#, hash_at(Cost { passes: 2, ..COST }, "x"));
    assert_eq!(*costs(&config("").replace(" ]", &format!(", {dearer}"))), [COST, Cost { passes: 2, ..COST }]);
    assert_eq!(*costs("{}"), [USUAL]);
}

#[test]
fn a_password_is_compared_once_while_it_is_remembered() {
    let site = TestNames::new("r", "/*").counting(EVENTS);
    let built = (entry::<BasicAuth>().build)(&written(&config("")), &site);
    let policy = built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
    for _ in 0..3 {
        assert_eq!(asked(&*policy, &basic("alice:swordfish")), "alice by basic_auth");
        assert_eq!(asked(&*policy, &basic("alice:wrong")), "rejected basic_auth.invalid 401");
    }
    assert_eq!(site.tally().counts().map(|(_, count)| count).sum::<u64>(), 4, "wrong ones are not remembered");
}

#[test]
fn more_than_there_is_room_for_are_refused() {
    let policy = build(&config("")).unwrap();
    let worker = TestWorker::new();
    worker.is_full.set(true);
    let mut exchange = exchange(&format!("GET / HTTP/1.1\nHost: a\n{}", basic("alice:swordfish")));
    exchange.outbound = Some(worker.clone());
    match ready(policy.on_request(&mut exchange)) {
        Decision::Reject(rejection) => assert_eq!(rejection.refusal.code, BUSY.code),
        _ => panic!("the right password counts without having been compared"),
    }
    worker.is_full.set(false);
    assert!(matches!(ready(policy.on_request(&mut exchange)), Decision::Continue));
}

#[test]
fn what_cannot_be_is_said_without_the_hash() {
    for (config, code) in [
        (r#"{ "users": [ { "name": "a", "password_hash": "hunter2" } ] }"#.to_owned(), "basic_auth.password_hash"),
        (r#"{ "realm": "a\"b" }"#.to_owned(), "basic_auth.realm"),
        (config("").replace("bob", "alice"), "basic_auth.user"),
        (config("").replace("bob", "b b"), "basic_auth.user"),
    ] {
        let said = build(&config).err().unwrap();
        assert!(said.contains(code) && !said.contains("hunter2") && !said.contains("argon2id$"), "{said}");
    }
    let shown = format!("{:?}", written(&config("")).decode::<Config>().unwrap());
    assert!(!shown.contains("argon2id"), "{shown}");
}
