//! Who may ask.
//!
//! Where there is a token, whoever has it, and probes. Beside that, what must
//! be kept out is a request somebody else makes a local program send: a browser
//! on a hostile page (DNS rebinding shows in `Host`, cross-site requests in
//! `Origin` and `Sec-Fetch-Site`: CVE-2026-27589) and a proxy, this gateway
//! included, that was told to forward here (CVE-2025-24030, CVE-2026-44774).

use super::Rules;
use super::answer::Problem;
use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request, StatusCode, Version};
use std::fmt;
use std::net::IpAddr;

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum From {
    Unix,
    Network(IpAddr),
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Unix => f.write_str("a Unix socket"),
            From::Network(ip) => ip.to_canonical().fmt(f),
        }
    }
}

/// Whether the request may be answered; `is_open`: without a token.
pub(super) fn check<B>(request: &Request<B>, from: From, rules: Option<&Rules>, is_open: bool) -> Result<(), Problem> {
    let Some(rules) = rules else {
        let detail = "the admin interface is served elsewhere by now";
        return Err(Problem { status: StatusCode::MISDIRECTED_REQUEST, code: "admin.moved", detail });
    };
    let headers = request.headers();
    if headers.contains_key(FORWARDED)
        || headers.contains_key("x-forwarded-for")
        || headers.contains_key("x-forwarded-host")
    {
        return refuse("admin.forwarded", "the admin interface does not answer requests that came through a proxy");
    }
    // No browser speaks to a Unix socket.
    if from != From::Unix {
        check_host(request, rules)?;
    }
    if let Some(is_token) = rules.token.as_ref().filter(|_| !is_open) {
        check_token(headers, is_token)?;
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_safe && !is_same_origin(headers) {
        return refuse("admin.cross_origin", "the request comes from another web site");
    }
    Ok(())
}

fn check_token(headers: &HeaderMap, is_token: impl Fn(&[u8]) -> bool) -> Result<(), Problem> {
    let unauthorized = |code, detail| Err(Problem { status: StatusCode::UNAUTHORIZED, code, detail });
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return unauthorized("admin.no_token", "send the admin token: `Authorization: Bearer …`");
    };
    // RFC 9110 §11.1: the name of the scheme in any case, then blanks.
    let shown = value
        .as_bytes()
        .split_at_checked("Bearer ".len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, token)| token.trim_ascii());
    match shown {
        None => unauthorized("admin.no_token", "send the admin token: `Authorization: Bearer …`"),
        Some(token) if is_token(token) => Ok(()),
        Some(_) => unauthorized("admin.bad_token", "this is not the admin token"),
    }
}

fn refuse(code: &'static str, detail: &'static str) -> Result<(), Problem> {
    Err(Problem { status: StatusCode::FORBIDDEN, code, detail })
}

fn check_host<B>(request: &Request<B>, rules: &Rules) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        // Probes of old; browsers always send one.
        (None, _) if request.version() == Version::HTTP_10 => return Ok(()),
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    // An absolute target would stand for `Host` (RFC 9112 §3.2.2).
    let target = request.uri().authority().map_or(host, |authority| authority.as_str());
    if is_own(host, rules) && is_own(target, rules) {
        return Ok(());
    }
    refuse("admin.host", "the admin interface does not answer to this name; `admin.hosts` lists those it should have")
}

/// Names no stranger's DNS can answer for: `localhost`, IP addresses (on
/// loopback only those of loopback) and those the operator vouches for. Which
/// port does not matter: tunnels change it.
fn is_own(authority: &str, rules: &Rules) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6),
        None => host.parse().map(IpAddr::V4),
    };
    match ip.map(|ip| ip.to_canonical()) {
        // "Any address" is none, and browsers have let pages use it.
        Ok(ip) => ip.is_loopback() || (!rules.is_local && !ip.is_unspecified()),
        Err(_) => {
            let host = host.strip_suffix('.').unwrap_or(host);
            rules.hosts.iter().any(|known| known.trim_end_matches('.').eq_ignore_ascii_case(host))
        }
    }
}

/// Whether a browser, if it is one, sends this for a page of ours.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.is_some() && authority == host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri("/reload");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    const HERE: From = From::Network(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn local() -> Rules {
        Rules { is_local: true, token: None, hosts: vec!["Gateway.internal".to_owned()] }
    }

    fn public() -> Rules {
        let token: super::super::TokenCheck = Box::new(|shown| shown == b"0123456789abcdef");
        Rules { is_local: false, token: Some(token), ..local() }
    }

    fn code_by(rules: &Rules, method: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        check(&request(method, headers), HERE, Some(rules), false).err().map(|problem| problem.code)
    }

    fn code(method: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        code_by(&local(), method, headers)
    }

    #[test]
    fn on_loopback_only_its_names_and_listed_ones_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:9901",
            "127.0.0.1:9901",
            "127.1.2.3",
            "[::1]:9901",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "gateway.internal:80",
            "GATEWAY.internal.",
        ] {
            assert_eq!(code("GET", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example:9901",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0:9901",
            "[::]",
            "",
            ".",
            "::1",
            "::1.example",
            "[127.0.0.1]",
            "localhost:x",
            "127.0.0.1.nip.io",
            "localtest.me",
            "gateway.internal.evil.example",
        ] {
            assert_eq!(code("GET", &[("host", host)]), Some("admin.host"), "{host}");
        }
        assert_eq!(code("GET", &[("host", "localhost"), ("host", "evil.example")]), Some("admin.host"));
        assert!(check(&request("GET", &[]), From::Unix, Some(&local()), false).is_ok());
        assert_eq!(code("GET", &[]), Some("admin.host"));
    }

    #[test]
    fn off_loopback_addresses_are_answered_and_names_only_if_listed() {
        let token = ("authorization", "Bearer 0123456789abcdef");
        for host in ["10.0.0.1:9901", "[2001:db8::1]:9901", "localhost", "gateway.internal"] {
            assert_eq!(code_by(&public(), "GET", &[("host", host), token]), None, "{host}");
        }
        for host in ["evil.example", "0.0.0.0", "[::]:9901", "10.0.0.1.nip.io"] {
            assert_eq!(code_by(&public(), "GET", &[("host", host), token]), Some("admin.host"), "{host}");
        }
    }

    #[test]
    fn a_token_is_asked_for_wherever_there_is_one() {
        let host = ("host", "localhost");
        let ask = |rules: &Rules, value: &str| code_by(rules, "GET", &[host, ("authorization", value)]);
        for rules in [public(), Rules { is_local: true, ..public() }] {
            assert_eq!(code_by(&rules, "GET", &[host]), Some("admin.no_token"));
            for (value, expected) in [
                ("Bearer 0123456789abcdef", None),
                ("bearer   0123456789abcdef", None),
                ("Bearer 0123456789abcdeF", Some("admin.bad_token")),
                ("Bearer 0123456789abcde", Some("admin.bad_token")),
                ("Bearer ", Some("admin.bad_token")),
                ("Bearer", Some("admin.no_token")),
                ("Basic 0123456789abcdef", Some("admin.no_token")),
                ("0123456789abcdef", Some("admin.no_token")),
            ] {
                assert_eq!(ask(&rules, value), expected, "{value}");
            }
            let twice = [host, ("authorization", "Bearer 0123456789abcdef"), ("authorization", "Bearer x")];
            assert_eq!(code_by(&rules, "GET", &twice), Some("admin.no_token"));
            // Probes bring none; other things are checked all the same.
            let probe = |host: &str| check(&request("GET", &[("host", host)]), HERE, Some(&rules), true);
            assert!(probe("localhost").is_ok());
            assert_eq!(probe("evil.example").unwrap_err().code, "admin.host");
            let unix = check(&request("GET", &[]), From::Unix, Some(&rules), false);
            assert_eq!(unix.unwrap_err().code, "admin.no_token");
        }
    }

    #[test]
    fn nothing_is_answered_where_it_was_served_before() {
        let request = request("GET", &[("host", "localhost")]);
        assert_eq!(check(&request, HERE, None, true).unwrap_err().code, "admin.moved");
    }

    #[test]
    fn pages_of_others_cannot_post() {
        let host = ("host", "localhost:9901");
        assert_eq!(code("POST", &[host]), None);
        assert_eq!(code("POST", &[host, ("origin", "http://localhost:9901"), ("sec-fetch-site", "same-origin")]), None);
        for foreign in [
            &[host, ("origin", "http://evil.example")][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://localhost:3000")],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(code("POST", foreign), Some("admin.cross_origin"), "{foreign:?}");
        }
    }

    #[test]
    fn what_a_proxy_forwards_is_refused() {
        let host = ("host", "localhost");
        for name in ["x-forwarded-for", "x-forwarded-host", "forwarded"] {
            assert_eq!(code("GET", &[host, (name, "1.2.3.4")]), Some("admin.forwarded"));
        }
    }
}
