use super::*;
use crate::canonical::CanonicalTarget;
use crate::head::{Head, Version};
use proptest::prelude::*;
use std::fmt::Write as _;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusted(family: ForwardingFamily) -> TrustedProxies {
    let networks = ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/112"];
    TrustedProxies::new(networks.map(|network| network.parse().unwrap()), family)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.append_text(name.as_bytes(), value.as_bytes()).unwrap();
    }
    fields
}

fn x(list: &[(&str, &str)]) -> ClientAddress {
    resolve(ip("10.0.0.1"), &fields(list), &trusted(ForwardingFamily::XForwarded))
}

fn forwarded(list: &[&str]) -> ClientAddress {
    let list: Vec<_> = list.iter().map(|value| ("forwarded", *value)).collect();
    resolve(ip("10.0.0.1"), &fields(&list), &trusted(ForwardingFamily::Forwarded))
}

#[test]
fn the_chain_is_read_from_the_right() {
    for (chain, client, malformed) in [
        ("1.2.3.4", "1.2.3.4", false),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4", false),
        ("6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4", false),
        ("1.2.3.4, 192.168.0.7, fd00::1,10.9.9.9", "1.2.3.4", false),
        ("10.3.3.3, 10.4.4.4", "10.3.3.3", false),
        ("", "10.0.0.1", false),
        ("unknown", "10.0.0.1", false),
        ("1.2.3.4, unknown, 10.9.9.9", "10.9.9.9", false),
        ("1.2.3.4, _hidden", "10.0.0.1", false),
        ("evil, 1.2.3.4", "1.2.3.4", false),
        ("evil, 1.2.3.4, 10.9.9.9", "1.2.3.4", false),
        ("1.2.3.4, evil", "10.0.0.1", true),
        ("1.2.3.4, evil, 10.9.9.9", "10.9.9.9", true),
        ("evil, 10.8.8.8, 10.9.9.9", "10.8.8.8", true),
        ("evil, unknown", "10.0.0.1", false),
        ("::ffff:1.2.3.4", "1.2.3.4", false),
        ("1.2.3.4:5678", "1.2.3.4", false),
        ("[2001:db8::1]:443, [fd00::2]", "2001:db8::1", false),
        ("1.2.3.4, ::ffff:10.1.1.1", "1.2.3.4", false),
        ("1.2.3.4, 192.169.1.1", "192.169.1.1", false),
    ] {
        let found = x(&[("X-Forwarded-For", chain)]);
        assert_eq!((found.ip, found.malformed), (ip(client), malformed), "{chain}");
    }
    let two_lines = x(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("X-FORWARDED-FOR", "10.2.2.2")]);
    assert_eq!(two_lines.ip, ip("1.2.3.4"));
}

#[test]
fn garbage_is_not_an_address() {
    for text in [
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:123456",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "fe80::1%eth0",
        "\"1.2.3.4\"",
        "1.2.3.4 5.6.7.8",
        "localhost",
        "0x7f.0.0.1",
        ":",
        "[]",
    ] {
        assert_eq!(parse_address(text.as_bytes()), Node::Garbage, "{text}");
    }
}

#[test]
fn cve_2024_45806_a_strangers_fields_are_ignored() {
    let list = [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "https"), ("forwarded", "for=10.0.0.9")];
    for family in [ForwardingFamily::XForwarded, ForwardingFamily::Forwarded] {
        let found = resolve(ip("8.8.8.8"), &fields(&list), &trusted(family));
        assert_eq!((found.ip, found.proto, found.from_trusted), (ip("8.8.8.8"), None, false));
        let nobody = resolve(ip("10.0.0.1"), &fields(&list), &TrustedProxies::default());
        assert_eq!((nobody.ip, nobody.from_trusted), (ip("10.0.0.1"), false));
    }
    // Mapped peers are the IPv4 addresses they are.
    let mapped = resolve(ip("::ffff:10.0.0.1"), &fields(&list[..1]), &trusted(ForwardingFamily::XForwarded));
    assert_eq!((mapped.ip, mapped.peer), (ip("10.0.0.9"), ip("10.0.0.1")));
}

#[test]
fn only_the_family_the_proxies_write_is_read() {
    let list = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2"), ("x-real-ip", "3.3.3.3")];
    assert_eq!(x(&list).ip, ip("1.1.1.1"));
    let found = resolve(ip("10.0.0.1"), &fields(&list), &trusted(ForwardingFamily::Forwarded));
    assert_eq!(found.ip, ip("2.2.2.2"));
    assert_eq!(x(&list[2..]).ip, ip("10.0.0.1"));
}

#[test]
fn the_scheme_is_the_clients_hops() {
    let proto = |chain: &str, proto: &str| x(&[("x-forwarded-for", chain), ("x-forwarded-proto", proto)]).proto;
    assert_eq!(proto("1.2.3.4", "https"), Some(Scheme::Https));
    assert_eq!(proto("1.2.3.4", "WSS"), Some(Scheme::Https));
    assert_eq!(proto("6.6.6.6, 1.2.3.4, 10.2.2.2", "http, https, http"), Some(Scheme::Https));
    assert_eq!(proto("6.6.6.6, 1.2.3.4", "http, https, http"), None);
    assert_eq!(proto("1.2.3.4", "gopher"), None);
}

#[test]
fn forwarded_is_read_as_rfc_7239_has_it() {
    for (value, client, proto) in [
        ("for=1.2.3.4", "1.2.3.4", None),
        ("For=\"[2001:db8::1]:80\";Proto=HTTPS;by=_x", "2001:db8::1", Some(Scheme::Https)),
        ("for=6.6.6.6;proto=http , for=1.2.3.4 ; proto=https,,for=10.2.2.2;proto=http", "1.2.3.4", Some(Scheme::Https)),
        ("proto=https", "10.0.0.1", None),
        ("for=unknown", "10.0.0.1", None),
        ("for=\"_a,for=6.6.6.6\", for=1.2.3.4", "1.2.3.4", None),
        ("for=\"a\\\",for=6.6.6.6\", for=1.2.3.4", "1.2.3.4", None),
        (";for=1.2.3.4;", "1.2.3.4", None),
        ("host=\"a;b\\\\\";for=1.2.3.4", "1.2.3.4", None),
    ] {
        let found = forwarded(&[value]);
        assert_eq!((found.ip, found.proto, found.malformed), (ip(client), proto, false), "{value}");
    }
}

#[test]
fn what_is_not_rfc_7239_is_ignored_whole() {
    for value in [
        "for=\"1.2.3.4",
        "for",
        "for=",
        "=x",
        "for =1.2.3.4",
        "for=1.2.3.4 proto=http",
        "for=2001:db8::1",
        "for=1.2.3.4;for=6.6.6.6",
        "proto=http;proto=https",
        "for=\"x\\",
        "for=[::1]",
    ] {
        let found = forwarded(&[value, "for=6.6.6.6"]);
        assert_eq!((found.ip, found.proto, found.malformed), (ip("10.0.0.1"), None, true), "{value}");
    }
    let late = forwarded(&["for=6.6.6.6", "for=\""]);
    assert_eq!((late.ip, late.malformed), (ip("10.0.0.1"), true));
}

#[test]
fn cve_2025_64484_and_2026_39858_every_spelling_is_owned() {
    for name in
        ["X-Forwarded-For", "x_forwarded_for", "X-Forwarded_For", "FORWARDED", "x_real-IP", "X_FORWARDED_PREFIX"]
    {
        assert!(is_forwarding_spelling(name.as_bytes()), "{name}");
    }
    for name in ["x-forwarded-fo", "x-forwarded", "x.forwarded.for", "forwarded-", "_forwarded", "x-forwarded-for-"] {
        assert!(!is_forwarding_spelling(name.as_bytes()), "{name}");
    }
    let owned = [HeaderName::new("x-user_id").unwrap(), HeaderName::new("x-request-id").unwrap()];
    assert!(is_owned_spelling(b"X-USER-ID", &owned) && is_owned_spelling(b"x_request_id", &owned));
    assert!(!is_owned_spelling(b"x-user", &owned) && !is_owned_spelling(b"", &owned));
}

/// What the upstream sees of `list` from `peer`, as `name: value` lines.
fn rebuilt(peer: &str, list: &[(&str, &str)], family: ForwardingFamily, emit: Emit) -> String {
    let mut head = Head::default();
    head.set_raw_target(b"/");
    head.fields = fields(list);
    head.fields.set(KnownName::Host, b"Shop.example:8080").unwrap();
    let mut target = CanonicalTarget::default();
    target.admit(&head, false).unwrap();
    let trusted = trusted(family);
    let client = resolve(ip(peer), &head.fields, &trusted);
    ForwardingFields::default().rebuild(&mut head.fields, &client, &target, &trusted, emit);
    let mut lines = String::new();
    for (name, value) in head.fields.iter().filter(|(name, _)| name.known != Some(KnownName::Host)) {
        let _ = writeln!(lines, "{}: {}", String::from_utf8_lossy(name.text), String::from_utf8_lossy(value));
    }
    lines
}

const ALL: Emit = Emit { x_forwarded: true, forwarded: true, real_ip: true };

#[test]
fn cve_2026_35051_a_strangers_fields_are_rebuilt() {
    let forged = [
        ("x-forwarded-for", "10.0.0.1"),
        ("X-Forwarded-Prefix", "/admin"),
        ("X_Forwarded_Proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-server", "evil"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("X_Real_IP", "10.0.0.1"),
        ("x-other_name", "stays"),
    ];
    assert_eq!(
        rebuilt("8.8.8.8", &forged, ForwardingFamily::XForwarded, ALL),
        "x-other_name: stays\n\
         x-forwarded-for: 8.8.8.8\n\
         x-forwarded-proto: http\n\
         x-forwarded-host: shop.example:8080\n\
         x-forwarded-port: 8080\n\
         x-real-ip: 8.8.8.8\n\
         forwarded: for=8.8.8.8;proto=http;host=\"shop.example:8080\"\n"
    );
    let none = Emit { x_forwarded: false, forwarded: false, real_ip: false };
    assert_eq!(rebuilt("8.8.8.8", &forged, ForwardingFamily::XForwarded, none), "x-other_name: stays\n");
}

#[test]
fn a_trusted_chain_is_kept_from_the_client_on() {
    let list = [
        ("x-forwarded-for", "6.6.6.6, [2001:DB8::1]:5, ::ffff:10.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "Public.example"),
    ];
    assert_eq!(
        rebuilt("10.0.0.1", &list, ForwardingFamily::XForwarded, ALL),
        "x-forwarded-for: 2001:db8::1, 10.2.2.2, 10.0.0.1\n\
         x-forwarded-proto: https\n\
         x-forwarded-host: public.example\n\
         x-forwarded-port: 443\n\
         x-real-ip: 2001:db8::1\n\
         forwarded: for=\"[2001:db8::1]\";proto=https;host=\"public.example\", for=10.2.2.2, for=10.0.0.1\n"
    );
    let list = [("forwarded", "for=6.6.6.6, for=1.2.3.4;proto=https, for=10.2.2.2"), ("x-forwarded-host", "evil")];
    assert_eq!(
        rebuilt("10.0.0.1", &list, ForwardingFamily::Forwarded, Emit { real_ip: false, ..ALL }),
        "x-forwarded-for: 1.2.3.4, 10.2.2.2, 10.0.0.1\n\
         x-forwarded-proto: https\n\
         x-forwarded-host: shop.example:8080\n\
         x-forwarded-port: 8080\n\
         forwarded: for=1.2.3.4;proto=https;host=\"shop.example:8080\", for=10.2.2.2, for=10.0.0.1\n"
    );
}

#[test]
fn cve_2026_40575_what_else_calls_itself_x_forwarded_is_a_trusted_proxys_word_only() {
    let list = [("X-Forwarded-Uri", "/public"), ("x_forwarded_user", "root"), ("X-Forwardedness", "kept")];
    let told = rebuilt("1.2.3.4", &list, ForwardingFamily::XForwarded, ALL).to_lowercase();
    assert!(!told.contains("/public") && !told.contains("root") && told.contains("kept"), "{told}");
    let told = rebuilt("10.0.0.1", &list, ForwardingFamily::XForwarded, ALL).to_lowercase();
    assert!(told.contains("/public") && told.contains("root"), "{told}");
}

#[test]
fn a_host_that_is_no_host_is_not_passed_on() {
    let list = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-host", "a\"b, c")];
    let lines = rebuilt("10.0.0.1", &list, ForwardingFamily::XForwarded, Emit::default());
    assert!(lines.contains("x-forwarded-host: shop.example:8080\n"), "{lines}");
}

#[test]
fn a_peer_without_address_is_unknown() {
    let lines = rebuilt("0.0.0.0", &[], ForwardingFamily::XForwarded, ALL);
    assert!(lines.contains("x-forwarded-for: unknown\n") && lines.contains("forwarded: for=unknown;"), "{lines}");
}

/// From the right, with all the elements in hand.
fn naive(peer: IpAddr, chain: &[&str], trusted: &TrustedProxies) -> (IpAddr, bool) {
    let mut client = peer;
    for element in chain.iter().rev() {
        if !trusted.contains(client) {
            break;
        }
        match parse_address(element.as_bytes()) {
            Node::Address(ip) => client = ip,
            Node::Hidden => return (client, false),
            Node::Garbage => return (client, true),
        }
    }
    (client, false)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_pass_from_the_left_is_the_walk_from_the_right(
        chain in prop::collection::vec(
            prop::sample::select(vec!["1.1.1.1", "2.2.2.2", "10.1.1.1", "10.2.2.2", "fd00::1", "unknown", "evil"]), 0..8),
    ) {
        let trusted = trusted(ForwardingFamily::XForwarded);
        let found = x(&[("x-forwarded-for", &chain.join(", "))]);
        prop_assert_eq!((found.ip, found.malformed), naive(ip("10.0.0.1"), &chain, &trusted));
    }

    #[test]
    fn arbitrary_values_never_panic_and_never_forge(value in "[ -~]{0,60}") {
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"] {
            for family in [ForwardingFamily::XForwarded, ForwardingFamily::Forwarded] {
                let lines = rebuilt("10.0.0.1", &[(name, &value)], family, ALL);
                prop_assert_eq!(lines.lines().count(), 6);
                prop_assert!(lines.contains(", 10.0.0.1\n") || lines.contains("x-forwarded-for: 10.0.0.1\n"));
            }
        }
    }
}

#[test]
fn what_was_written_for_one_client_is_not_said_of_another() {
    // Some share a place among the prepared lines, all differ in something.
    let clients = ["192.0.2.1", "198.51.100.1", "192.0.2.65", "2001:db8::1", "2001:db8:0:1::1", "::ffff:192.0.2.1"];
    let hosts = ["a.example", "b.example:81", "a.example:8080", ""];
    let mut reused = ForwardingFields::default();
    let trusted = TrustedProxies::default();
    for round in 0..3 {
        for client in clients {
            for (index, host) in hosts.iter().enumerate() {
                let mut head = Head::default();
                head.version = Version::Http10;
                head.set_raw_target(b"/");
                if !host.is_empty() {
                    head.fields.append(KnownName::Host, host.as_bytes()).unwrap();
                }
                head.fields.append_text(b"x_forwarded_for", b"forged").unwrap();
                head.fields.append_text(b"X-Forwarded-Proto", b"gopher").unwrap();
                let mut target = CanonicalTarget::default();
                target.admit(&head, (round + index) % 2 == 0).unwrap();
                let client = resolve(client.parse().unwrap(), &head.fields, &trusted);
                let mut fresh = head.fields.clone();
                reused.rebuild(&mut head.fields, &client, &target, &trusted, Emit::default());
                ForwardingFields::default().rebuild(&mut fresh, &client, &target, &trusted, Emit::default());
                let list = |fields: &Fields| -> Vec<String> {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    fields.iter().map(|(name, value)| format!("{}: {}", text(name.text), text(value))).collect()
                };
                let said = list(&head.fields);
                assert_eq!(said, list(&fresh));
                assert!(said.contains(&format!("x-forwarded-for: {}", client.ip)), "{said:?}");
                assert!(said.contains(&format!("x-forwarded-proto: {}", target.scheme())), "{said:?}");
                assert_eq!(said.iter().any(|line| line.starts_with("x-forwarded-host")), !host.is_empty());
                assert!(said.iter().all(|line| !line.contains("forged") && !line.contains("gopher")), "{said:?}");
            }
        }
    }
}
