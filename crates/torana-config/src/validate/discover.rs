//! Sources of endpoints.

use std::net::IpAddr;

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::Spanned;

use super::Found;
use super::boot::not_zero;
use crate::model::{Discover, Dns, DnsScheme, Protocol, Upstream};

const CODE: &str = "config.discover";

pub(super) fn check(
    found: &Found<'_>,
    name: &Spanned<String>,
    upstream: &Spanned<Upstream>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for discover in upstream.discover.iter() {
        match (&discover.dns, &discover.file) {
            (Some(dns), None) => {
                check_dns(found, name, dns, diagnostics);
                if *upstream.protocol == Protocol::Http1 && *dns.scheme == DnsScheme::H2c {
                    let message = "`h2c` is HTTP/2, but `protocol` is `http1`";
                    let diagnostic = Diagnostic::error("config.protocol_conflict", message).at(dns.scheme.span);
                    let diagnostic = diagnostic.also(upstream.protocol.span, "here");
                    diagnostics.push(diagnostic.hint("write `scheme: http`, or remove `protocol`"));
                }
            }
            (Some(_), Some(file)) => {
                let message = "a source of endpoints is either `dns` or `file`, and this has both";
                let hint = "make `discover` a list with one entry for each";
                diagnostics.push(Diagnostic::error(CODE, message).at(file.span).hint(hint));
            }
            (None, None) if !found.has_gap(discover.span) => {
                let message = "a source of endpoints needs `dns` or `file`";
                let hint = "write `dns: { name: users.internal }` or `file: endpoints.yaml`";
                diagnostics.push(Diagnostic::error(CODE, message).at(discover.span).hint(hint));
            }
            (None, _) => {}
        }
    }
}

/// Whether a source may have endpoints with TLS.
pub(super) fn may_be_secure(upstream: &Upstream) -> bool {
    let may = |discover: &Discover| match &discover.dns {
        Some(dns) => *dns.scheme == DnsScheme::Https,
        None => true,
    };
    upstream.discover.iter().any(|discover| may(discover))
}

fn check_dns(found: &Found<'_>, upstream: &Spanned<String>, dns: &Spanned<Dns>, diagnostics: &mut Vec<Diagnostic>) {
    match (&dns.name, &dns.srv) {
        (Some(name), None) => check_name(name, "name", diagnostics),
        (None, Some(srv)) => {
            check_name(srv, "srv", diagnostics);
            let message = |what: &str| format!("`{what}` has no effect beside `srv`: SRV records have their own");
            for (what, span) in [
                ("port", dns.port.as_ref().map(|port| port.span)),
                ("weight", dns.weight.as_ref().map(|weight| weight.span)),
            ] {
                if let Some(span) = span {
                    diagnostics.push(Diagnostic::error(CODE, message(what)).at(span).hint("remove it"));
                }
            }
        }
        (Some(_), Some(srv)) => {
            let message = "`name` and `srv` exclude each other";
            diagnostics.push(Diagnostic::error(CODE, message).at(srv.span).hint("remove one of them"));
        }
        (None, None) if !found.has_gap(dns.span) => {
            let message = "`dns` needs a `name`, or the name of an `srv` record";
            diagnostics.push(Diagnostic::error(CODE, message).at(dns.span).hint("write `name: users.internal`"));
        }
        (None, None) => {}
    }
    for resolver in dns.resolvers.iter().filter(|resolver| Dns::resolver(resolver).is_none()) {
        let message = format!("{} is not the address of a name server", resolver.shown());
        let hint = "an IP address, with or without a port: `10.0.0.53`, `127.0.0.1:5353`, `[fd00::53]:53`";
        diagnostics.push(Diagnostic::error(CODE, message).at(resolver.span).hint(hint));
    }
    let key = format!("upstreams.{}.discover.dns.min_ttl", upstream.as_str());
    not_zero(&key, Some(&dns.min_ttl), "name servers would be asked without a pause", diagnostics);
    if dns.min_ttl.value > dns.max_ttl.value {
        let message = format!("`min_ttl` ({}) is longer than `max_ttl` ({})", dns.min_ttl.value, dns.max_ttl.value);
        let spans = [dns.min_ttl.span, dns.max_ttl.span];
        let [first, second] = if spans[0] == Span::NONE { [spans[1], spans[0]] } else { spans };
        let diagnostic = Diagnostic::error(CODE, message).at(first);
        diagnostics.push(if second == Span::NONE { diagnostic } else { diagnostic.also(second, "and this") });
    }
}

fn check_name(name: &Spanned<String>, key: &str, diagnostics: &mut Vec<Diagnostic>) {
    let text = name.strip_suffix('.').unwrap_or(name.as_str());
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let hint = if text.parse::<IpAddr>().is_ok() {
        "an address needs no looking up: write it in `endpoints`"
    } else if text.len() > 253 || !text.split('.').all(is_label) {
        "a host name without scheme, port and path: `users.internal`"
    } else {
        return;
    };
    let message = format!("`{key}`: {} is not a name that DNS could know", name.shown());
    diagnostics.push(Diagnostic::error(CODE, message).at(name.span).hint(hint));
}
