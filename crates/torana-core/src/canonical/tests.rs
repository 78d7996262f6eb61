//! Every row of the module's table.

use super::*;

/// A request head in three words; `None` for a header that is not there.
pub(super) fn head(version: Version, method: &str, target: &[u8], hosts: &[&[u8]]) -> Head {
    let mut head = Head::default();
    head.version = version;
    head.set_method(method.as_bytes());
    head.set_raw_target(target);
    for host in hosts {
        head.fields.append_text(b"host", host).unwrap();
    }
    head
}

pub(super) fn admit(head: &Head) -> Result<CanonicalTarget, TargetError> {
    let mut target = CanonicalTarget::default();
    let result = target.admit(head, false);
    if result.is_err() {
        assert_eq!(target, CanonicalTarget::default(), "nothing half-read remains");
    }
    result.map(|()| target)
}

pub(super) fn get(target: &[u8]) -> Result<CanonicalTarget, TargetError> {
    admit(&head(Version::Http11, "GET", target, &[b"h"]))
}

fn path(raw: &str) -> Result<String, TargetError> {
    get(raw.as_bytes()).map(|target| target.path().to_owned())
}

pub(super) fn host(raw: &[u8]) -> Result<String, TargetError> {
    admit(&head(Version::Http11, "GET", b"/", &[raw])).map(|target| target.authority().to_owned())
}

#[test]
fn paths_with_one_reading() {
    for (raw, canonical) in [
        ("/", "/"),
        ("/ping", "/ping"),
        ("/a/b/", "/a/b/"),
        ("/A/b", "/A/b"),
        ("/a.b/.c/..d/e../...", "/a.b/.c/..d/e../..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/-_~!$&'()*+,=:@", "/-_~!$&'()*+,=:@"),
        // RFC 3986 §6.2.2: unreserved decoded, the rest in upper case.
        ("/%41%62%7e%2d%5f%2E", "/Ab~-_."),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%3b%3f%23%25", "/%3B%3F%23%25"),
        ("/%2A%21", "/%2A%21"),
        ("/%252e%252E/%252f", "/%252e%252E/%252f"),
        ("/%E9", "/%E9"),
        // One reading, but not allowed as it is.
        ("/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("/é", "/%C3%A9"),
        // RFC 3986 §5.2.4.
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b/%2e", "/b/"),
        // Merged slashes.
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a//.//b", "/a/b"),
    ] {
        assert_eq!(path(raw).as_deref(), Ok(canonical), "{raw}");
    }
}

#[test]
fn paths_with_two_readings() {
    use TargetError::*;
    for (raw, error) in [
        ("/a#b", Fragment),
        ("/#", Fragment),
        ("/a?b#c", Fragment),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%2fb", EncodedSlash),
        ("/a%2Fb", EncodedSlash),
        ("/%00", EncodedControl),
        ("/a%0d%0ab", EncodedControl),
        ("/%1f", EncodedControl),
        ("/%7f", EncodedControl),
        ("/a b", Control),
        ("/a\tb", Control),
        ("/a\x7fb", Control),
        ("/a\0b", Control),
        ("/a?b c", Control),
        ("/%", Escape),
        ("/%4", Escape),
        ("/%4g", Escape),
        ("/%%41", Escape),
        ("/%u002e", Escape),
        ("/%c0%ae", Overlong),
        ("/%C1%9c", Overlong),
        ("/%e0%80%af", Overlong),
        ("/%f0%80%80%af", Overlong),
        ("/a;b", Parameters),
        ("/..;/b", Parameters),
        ("/a/;/b", Parameters),
        ("/a/..%3b/b", Parameters),
        ("/a/.%3Bx", Parameters),
        ("/..", AboveRoot),
        ("/../a", AboveRoot),
        ("/a/../..", AboveRoot),
        ("/a/../../a", AboveRoot),
        ("/%2e%2e/a", AboveRoot),
        ("/a//../b", AmbiguousSegments),
        ("/a/../b//c", AmbiguousSegments),
        ("//a/..", AmbiguousSegments),
    ] {
        assert_eq!(path(raw), Err(error), "{raw}");
    }
    assert_eq!(get(b"/\xc0\xaf").unwrap_err(), Overlong, "raw bytes too");
    assert_eq!(get(b"/\xc0%af").unwrap_err(), Overlong, "and mixed");
}

#[test]
fn escapes_that_only_look_overlong_stay() {
    assert_eq!(path("/%c3%80").as_deref(), Ok("/%C3%80"));
    assert_eq!(path("/%e0%a0%80").as_deref(), Ok("/%E0%A0%80"));
    // Latin-1 `À` beside text.
    assert_eq!(path("/%c0a%ae").as_deref(), Ok("/%C0a%AE"));
}

#[test]
fn queries_are_kept() {
    for (raw, query) in [
        ("/", None),
        ("/?", Some("")),
        ("/?a=1&b=%zz%2f%5c;\\\"<>|", Some("a=1&b=%zz%2f%5c;\\\"<>|")),
        ("/?a?b/../c//d", Some("a?b/../c//d")),
        ("/?é", Some("%C3%A9")),
        ("/%41?%41", Some("%41")),
    ] {
        let target = get(raw.as_bytes()).unwrap();
        assert_eq!(target.query(), query, "{raw}");
        assert!(target.path_and_query().starts_with(target.path()));
    }
    assert_eq!(get(b"/a%41?x").unwrap().path_and_query(), "/aA?x");
}

#[test]
fn hosts_with_one_reading() {
    for (raw, canonical) in [
        ("Shop.Example", "shop.example"),
        ("shop.example.", "shop.example"),
        ("shop.example.:8080", "shop.example:8080"),
        ("a_b-c.example", "a_b-c.example"),
        ("h:80", "h"),
        ("h:0080", "h"),
        ("h:", "h"),
        ("h:443", "h:443"),
        ("h:65535", "h:65535"),
        ("[2001:DB8:0::1]:8080", "[2001:db8::1]:8080"),
        ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]"),
        ("[::1]:80", "[::1]"),
        ("0x7f.1", "0x7f.1"),
        ("127.000.0.1", "127.000.0.1"),
        ("2130706433", "2130706433"),
    ] {
        assert_eq!(host(raw.as_bytes()).as_deref(), Ok(canonical), "{raw}");
    }
    assert!(host(&[b'a'; 253]).is_ok());
}

#[test]
fn hosts_that_are_refused() {
    use TargetError::*;
    for (raw, error) in [
        ("", HostInvalid),
        (".", HostInvalid),
        (":80", HostInvalid),
        ("a..b", HostInvalid),
        (".a", HostInvalid),
        ("a..", HostInvalid),
        ("a, b", HostInvalid),
        ("a,b", HostInvalid),
        ("a b", HostInvalid),
        ("a\tb", HostInvalid),
        ("a/b", HostInvalid),
        ("a\\b", HostInvalid),
        ("a%2eb", HostInvalid),
        ("a?b", HostInvalid),
        ("a#b", HostInvalid),
        ("*.a", HostInvalid),
        ("bücher", HostInvalid),
        ("[::1", HostInvalid),
        ("[::1]x", HostInvalid),
        ("[fe80::1%25eth0]", HostInvalid),
        ("[v1.a]", HostInvalid),
        ("[1.2.3.4]", HostInvalid),
        ("[]", HostInvalid),
        ("::1", HostInvalid),
        ("u@h", UserInfo),
        ("u:p@h", UserInfo),
        ("u:1@h", UserInfo),
        ("[::1]:1@h", UserInfo),
        ("h:0", PortInvalid),
        ("h:65536", PortInvalid),
        ("h:000080", PortInvalid),
        ("h:+80", PortInvalid),
        ("h:8a", PortInvalid),
        ("h:80:80", PortInvalid),
    ] {
        assert_eq!(host(raw.as_bytes()), Err(error), "{raw}");
    }
    assert_eq!(host(&[b'a'; 254]), Err(HostInvalid));
}

#[test]
fn one_host_per_request() {
    use TargetError::*;
    let read = |version, hosts: &[&[u8]]| admit(&head(version, "GET", b"/", hosts)).map(|t| t.host().to_owned());
    assert_eq!(read(Version::Http11, &[]), Err(HostMissing));
    assert_eq!(read(Version::Http10, &[]).as_deref(), Ok(""));
    assert_eq!(read(Version::Http10, &[b"h"]).as_deref(), Ok("h"));
    assert_eq!(read(Version::Http2, &[]), Err(HostMissing));
    assert_eq!(read(Version::Http2, &[b"h"]).as_deref(), Ok("h"));
    for version in [Version::Http10, Version::Http11, Version::Http2] {
        assert_eq!(read(version, &[b"h", b"h"]), Err(HostRepeated));
    }
}

#[test]
fn http2_authority_and_host_agree() {
    let read = |authority: &[u8], hosts: &[&[u8]]| {
        let mut head = head(Version::Http2, "GET", b"/", hosts);
        head.set_raw_authority(authority);
        admit(&head).map(|target| target.authority().to_owned())
    };
    assert_eq!(read(b"H.example:80", &[]).as_deref(), Ok("h.example"));
    assert_eq!(read(b"h.example", &[b"H.Example.:80"]).as_deref(), Ok("h.example"));
    assert_eq!(read(b"h.example", &[b"other"]), Err(TargetError::HostMismatch));
    assert_eq!(read(b"h.example", &[b"h.example:81"]), Err(TargetError::HostMismatch));
    assert_eq!(read(b"h", &[b"h", b"h"]), Err(TargetError::HostRepeated));
    assert_eq!(read(b"u@h", &[]), Err(TargetError::UserInfo));
    assert_eq!(read(b"", &[]), Err(TargetError::HostInvalid));
}

#[test]
fn absolute_form() {
    let read = |target: &str, hosts: &[&[u8]]| {
        admit(&head(Version::Http11, "GET", target.as_bytes(), hosts))
            .map(|target| format!("{}|{}", target.authority(), target.path_and_query()))
    };
    assert_eq!(read("http://h/a?b", &[b"h"]).as_deref(), Ok("h|/a?b"));
    assert_eq!(read("HTTP://H:80/a", &[b"h."]).as_deref(), Ok("h|/a"));
    assert_eq!(read("http://h", &[b"h"]).as_deref(), Ok("h|/"));
    assert_eq!(read("http://h?b", &[b"h"]).as_deref(), Ok("h|/?b"));
    for (target, hosts, error) in [
        ("http://h/", &[&b"other"[..]][..], TargetError::HostMismatch),
        ("http://h/", &[], TargetError::HostMissing),
        ("https://h/", &[b"h"], TargetError::SchemeMismatch),
        ("ftp://h/", &[b"h"], TargetError::Scheme),
        ("http:/h/", &[b"h"], TargetError::Form),
        ("http:h", &[b"h"], TargetError::Form),
        ("://h/", &[b"h"], TargetError::Form),
        ("http://u@h/", &[b"h"], TargetError::UserInfo),
        ("http:///", &[b"h"], TargetError::HostInvalid),
        ("http://h\\@evil/", &[b"h"], TargetError::UserInfo),
        ("http://h#/", &[b"h"], TargetError::Fragment),
        ("http://h/a/../..", &[b"h"], TargetError::AboveRoot),
    ] {
        assert_eq!(read(target, hosts), Err(error), "{target}");
    }
    let http2 = head(Version::Http2, "GET", b"http://h/", &[b"h"]);
    assert_eq!(admit(&http2).unwrap_err(), TargetError::Form);
}

#[test]
fn the_scheme_is_the_connections() {
    let mut target = CanonicalTarget::default();
    let mut request = head(Version::Http2, "GET", b"/", &[b"h:443"]);
    request.set_raw_scheme(b"HTTPS");
    target.admit(&request, true).unwrap();
    assert_eq!((target.scheme(), target.authority(), target.effective_port()), (Scheme::Https, "h", 443));
    assert_eq!(target.admit(&request, false), Err(TargetError::SchemeMismatch));
    assert_eq!(TargetError::SchemeMismatch.status().code(), 421);
    request.set_raw_scheme(b"gopher");
    assert_eq!(target.admit(&request, true), Err(TargetError::Scheme));
}

#[test]
fn forms_other_than_a_path() {
    let read = |method, target: &[u8], hosts: &[&[u8]]| {
        admit(&head(Version::Http11, method, target, hosts))
            .map(|target| (target.form(), target.authority().to_owned(), target.path().to_owned()))
    };
    let asterisk = Ok((TargetForm::Asterisk, "h".to_owned(), "*".to_owned()));
    assert_eq!(read("OPTIONS", b"*", &[b"h"]), asterisk);
    assert_eq!(read("OPTIONS", b"http://h", &[b"h"]), asterisk);
    assert_eq!(read("GET", b"*", &[b"h"]), Err(TargetError::Form));
    assert_eq!(read("OPTIONS", b"*/", &[b"h"]), Err(TargetError::Form));
    for target in ["", "a", "a/b", "?a", ".", "h:80"] {
        assert_eq!(read("GET", target.as_bytes(), &[b"h"]), Err(TargetError::Form), "{target}");
    }
    let connect = Ok((TargetForm::Authority, "h:443".to_owned(), String::new()));
    assert_eq!(read("CONNECT", b"H:443", &[b"h:443"]), connect);
    assert_eq!(read("CONNECT", b"h:443", &[b"h"]), connect);
    assert_eq!(read("CONNECT", b"h:443", &[b"h:444"]), Err(TargetError::HostMismatch));
    assert_eq!(read("CONNECT", b"h:443", &[b"i:443"]), Err(TargetError::HostMismatch));
    assert_eq!(read("CONNECT", b"h:443", &[]), Err(TargetError::HostMissing));
    assert_eq!(read("CONNECT", b"h", &[b"h"]), Err(TargetError::PortInvalid));
    assert_eq!(read("CONNECT", b"/", &[b"h"]), Err(TargetError::HostInvalid));
    assert_eq!(read("CONNECT", b"", &[b"h"]), Err(TargetError::Form));
}

#[test]
fn http2_connect() {
    let mut request = head(Version::Http2, "CONNECT", b"", &[]);
    assert_eq!(admit(&request).unwrap_err(), TargetError::Form);
    request.set_raw_authority(b"h:1");
    assert_eq!(admit(&request).unwrap().authority(), "h:1");
    request.set_raw_target(b"/");
    assert_eq!(admit(&request).unwrap_err(), TargetError::Form);
    request.set_protocol(b"websocket");
    let target = admit(&request).unwrap();
    assert_eq!((target.form(), target.path()), (TargetForm::Origin, "/"));
}

#[test]
fn a_target_is_used_again() {
    let mut target = CanonicalTarget::default();
    target.admit(&head(Version::Http11, "GET", b"/a?b", &[b"h:81"]), false).unwrap();
    target.admit(&head(Version::Http10, "GET", b"/c", &[]), true).unwrap();
    assert_eq!((target.host(), target.port(), target.query()), ("", None, None));
    assert_eq!((target.path_and_query(), target.effective_port()), ("/c", 443));
}

#[test]
fn codes_are_unique_and_documented() {
    let mut codes: Vec<_> = TargetError::ALL.iter().map(|error| error.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), TargetError::ALL.len());
    let table = include_str!("../canonical.rs");
    for error in TargetError::ALL.iter().filter(|error| **error != TargetError::LeavesSubtree) {
        assert!(table.contains(&format!("`{}`", error.code())), "{} is in the table", error.code());
        assert_eq!(error.to_string(), error.message());
    }
}

#[test]
fn what_was_read_last_does_not_show_in_what_is_read_next() {
    let hosts = [&b"shop.example"[..], b"SHOP.example:80", b"", b"a b", b"", b"shop.example", b"x:443", b"x:443", b""];
    let mut reused = CanonicalTarget::default();
    for secure in [false, true, false] {
        for host in hosts {
            let mut head = Head::default();
            head.set_raw_target(b"/x");
            head.fields.append(KnownName::Host, host).unwrap();
            let mut fresh = CanonicalTarget::default();
            let expected = fresh.admit(&head, secure);
            assert_eq!(reused.admit(&head, secure), expected, "{host:?}");
            assert_eq!((reused.authority(), reused.port()), (fresh.authority(), fresh.port()), "{host:?}");
        }
    }
}
