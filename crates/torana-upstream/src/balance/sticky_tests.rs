use super::*;
use crate::balance::tests::members;

fn spec() -> StickySpec {
    StickySpec { secrets: vec![StickySecret::new(b"a secret of the whole fleet")], ..StickySpec::new("lb") }
}

fn sticky(members: &[Member]) -> Sticky {
    Sticky::new(spec(), members)
}

/// The value a client sends back.
fn value(set_cookie: &str) -> String {
    set_cookie.split_once(';').unwrap().0.to_owned()
}

fn find(sticky: &Sticky, field: &str) -> Option<Binding> {
    sticky.find([field.as_bytes()])
}

#[test]
fn a_cookie_leads_back() {
    let sticky = sticky(&members(&[1, 1, 1]));
    for index in 0..3 {
        let issued = value(&sticky.set_cookie(index, None, false).unwrap());
        let bound = find(&sticky, &issued);
        assert_eq!(bound, Some(Binding { index, current: true }));
        assert_eq!(sticky.set_cookie(index, bound, false), None, "it has it already");
        assert_eq!(find(&sticky, &format!("a=b; x{issued};{issued} ; c=d")), bound, "among others");
        assert_eq!(sticky.find([&b"a=b"[..], issued.as_bytes()]), bound, "in another field");
        assert_eq!(find(&sticky, &format!("lb=old; {issued}")), bound, "beside a foreign one");
    }
    assert_eq!(sticky.set_cookie(3, None, false), None);
}

#[test]
fn others_may_come_and_go() {
    let before = members(&[1, 1, 1, 1]);
    let issued = value(&sticky(&before).set_cookie(2, None, false).unwrap());
    let mut after = before.clone();
    after.reverse();
    after.truncate(3);
    after[0].weight = 0;
    let sticky = sticky(&after);
    let bound = find(&sticky, &issued).unwrap();
    assert_eq!(after[bound.index].identity, before[2].identity);
    assert_eq!(sticky.set_cookie(bound.index, Some(bound), false), None);
}

#[test]
fn who_answered_instead_is_in_the_new_cookie() {
    let all = members(&[1, 1]);
    let sticky = sticky(&all);
    let bound = find(&sticky, &value(&sticky.set_cookie(0, None, false).unwrap()));
    let moved = value(&sticky.set_cookie(1, bound, false).unwrap());
    assert_eq!(find(&sticky, &moved), Some(Binding { index: 1, current: true }));
    // Gone altogether.
    let rest = Sticky::new(spec(), &all[1..]);
    assert_eq!(find(&rest, &value(&sticky.set_cookie(0, None, false).unwrap())), None);
    assert!(rest.set_cookie(0, None, false).is_some());
}

#[test]
fn values_cannot_be_made_up() {
    let sticky = sticky(&members(&[1, 1, 1]));
    let issued = value(&sticky.set_cookie(1, None, false).unwrap());
    assert_eq!(issued.len(), "lb=".len() + TAG_CHARS);
    assert!(!issued.contains("10.0.0"));
    for place in 3..issued.len() {
        for digit in ALPHABET {
            let mut forged = issued.clone().into_bytes();
            if forged[place] != *digit {
                forged[place] = *digit;
                assert_eq!(sticky.find([&forged[..]]), None, "{}", String::from_utf8_lossy(&forged));
            }
        }
    }
    let other = Sticky::new(StickySpec { secrets: vec![StickySecret::new(b"another")], ..spec() }, &members(&[1; 3]));
    assert_eq!(find(&other, &issued), None);
    for garbage in
        ["", "lb", "lb=", "lb==", "=lb", ";;;", "lb=\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"]
    {
        assert_eq!(find(&sticky, garbage), None, "{garbage:?}");
    }
    assert_eq!(find(&sticky, &format!("{issued}A")), None);
    assert_eq!(find(&sticky, &issued.to_uppercase()), None);
}

/// Pinned for good: a change here unbinds all clients. The value is what other
/// implementations of HMAC and base64 make of it, too.
#[test]
fn the_value_is_pinned() {
    let sticky = sticky(&members(&[1]));
    assert_eq!(sticky.set_cookie(0, None, false).unwrap(), "lb=8shNHJhLbq_34xji5KbZJg; Path=/; HttpOnly");
}

#[test]
fn attributes_are_written() {
    let spec = StickySpec {
        path: "/shop".into(),
        http_only: false,
        same_site: Some(SameSite::Lax),
        max_age: Some(Duration::from_millis(3_600_500)),
        ..spec()
    };
    let sticky = Sticky::new(spec.clone(), &members(&[1]));
    let attributes = |tls| sticky.set_cookie(0, None, tls).unwrap().split_once("; ").unwrap().1.to_owned();
    assert_eq!(attributes(false), "Path=/shop; Max-Age=3600; SameSite=Lax");
    assert_eq!(attributes(true), "Path=/shop; Max-Age=3600; Secure; SameSite=Lax");
    let spec = StickySpec { http_only: true, same_site: Some(SameSite::None), max_age: None, ..spec };
    assert_eq!(&*spec.attributes(true), "; Path=/shop; HttpOnly; Secure; SameSite=None");
    assert!(spec.attributes(false).contains("; Secure"), "browsers would throw it away");
    let spec = StickySpec { same_site: Some(SameSite::Strict), ..spec };
    assert_eq!(&*spec.attributes(false), "; Path=/shop; HttpOnly; SameSite=Strict");
}

#[test]
fn a_secret_can_be_replaced() {
    let list = members(&[1, 1]);
    let old = value(&sticky(&list).set_cookie(1, None, false).unwrap());
    let secrets = vec![StickySecret::new(b"the next one"), StickySecret::new(b"a secret of the whole fleet")];
    let sticky = Sticky::new(StickySpec { secrets, ..spec() }, &list);
    let bound = find(&sticky, &old);
    assert_eq!(bound, Some(Binding { index: 1, current: false }));
    let new = value(&sticky.set_cookie(1, bound, false).unwrap());
    assert_ne!(new, old);
    assert_eq!(find(&sticky, &new), Some(Binding { index: 1, current: true }));
}

#[test]
fn a_process_agrees_with_itself_without_a_secret() {
    let list = members(&[1, 1]);
    let (one, other) = (Sticky::new(StickySpec::new("lb"), &list), Sticky::new(StickySpec::new("lb"), &list));
    let issued = value(&one.set_cookie(1, None, false).unwrap());
    assert_eq!(find(&other, &issued), Some(Binding { index: 1, current: true }));
    assert_ne!(StickySecret::of_process(), StickySecret::new(&[0; 32]));
    assert!(!format!("{:?}", StickySecret::new(b"hidden")).contains("hidden"));
}

#[test]
fn tags_survive_their_spelling() {
    for tag in [[0; 16], [0xff; 16], *b"0123456789abcdef", [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]] {
        let mut text = String::new();
        encode(&tag, &mut text);
        assert_eq!(decode(text.as_bytes()), Some(tag), "{text}");
    }
    let mut text = String::new();
    encode(b"0123456789abcdef", &mut text);
    assert_eq!(text, "MDEyMzQ1Njc4OWFiY2RlZg");
    assert_eq!(decode(b"MDEyMzQ1Njc4OWFiY2RlZh"), None, "one tag, one spelling");
}

#[test]
fn names_and_paths_are_checked() {
    assert!(StickySpec::is_name("__Host-lb") && StickySpec::is_path("/a b"));
    for name in ["", "a b", "a=b", "a;b", "\u{fc}", "a\r"] {
        assert!(!StickySpec::is_name(name), "{name:?}");
    }
    for path in ["", "a", "/a;b", "/a\r\nb", "/\u{fc}"] {
        assert!(!StickySpec::is_path(path), "{path:?}");
    }
}
