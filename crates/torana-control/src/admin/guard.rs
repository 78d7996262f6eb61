//! Who may ask.
//!
//! The interface is on loopback and has no login, so what must be kept out is
//! a request somebody else makes a local program send: a browser on a hostile
//! page (DNS rebinding shows in `Host`, cross-site requests in `Origin` and
//! `Sec-Fetch-Site`: CVE-2026-27589) and a proxy, this gateway included, that
//! was told to forward here (CVE-2025-24030, CVE-2026-44774).

use super::answer::Problem;
use hyper::header::{FORWARDED, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request, StatusCode, Version};
use std::net::IpAddr;

/// Whether the request may be answered.
pub(super) fn check<B>(request: &Request<B>, is_unix: bool) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(FORWARDED)
        || headers.contains_key("x-forwarded-for")
        || headers.contains_key("x-forwarded-host")
    {
        return refuse("admin.forwarded", "the admin interface does not answer requests that came through a proxy");
    }
    // No browser speaks to a Unix socket.
    if !is_unix {
        check_host(request)?;
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_safe && !is_same_origin(headers) {
        return refuse("admin.cross_origin", "the request comes from another web site");
    }
    Ok(())
}

fn refuse(code: &'static str, detail: &'static str) -> Result<(), Problem> {
    Err(Problem { status: StatusCode::FORBIDDEN, code, detail })
}

fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        // Probes of old; browsers always send one.
        (None, _) if request.version() == Version::HTTP_10 => return Ok(()),
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    // An absolute target would stand for `Host` (RFC 9112 §3.2.2).
    let target = request.uri().authority().map_or(host, |authority| authority.as_str());
    if is_loopback(host) && is_loopback(target) {
        return Ok(());
    }
    refuse("admin.host", "the admin interface answers to `localhost` and loopback addresses only")
}

/// Names no stranger's DNS can answer for. Which port does not matter: tunnels
/// change it.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ip.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
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

    fn code(method: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        check(&request(method, headers), false).err().map(|problem| problem.code)
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in ["localhost", "LOCALHOST:9901", "127.0.0.1:9901", "127.1.2.3", "[::1]:9901", "[::1]"] {
            assert_eq!(code("GET", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example:9901",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "::1.example",
            "localhost:x",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(code("GET", &[("host", host)]), Some("admin.host"), "{host}");
        }
        assert_eq!(code("GET", &[("host", "localhost"), ("host", "evil.example")]), Some("admin.host"));
        assert!(check(&request("GET", &[]), true).is_ok());
        assert_eq!(code("GET", &[]), Some("admin.host"));
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
