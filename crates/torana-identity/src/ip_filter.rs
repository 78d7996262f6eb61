//! Lets callers in, or keeps them out, by their address.

use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::Network;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// The caller's address is not one that may ask.
    DENIED = "ip_filter.denied" 403 Caller Never "Requests from this address are not allowed.";
}

/// Lets callers in, or keeps them out, by their address: the peer's, or what
/// `trusted_proxies` said. IPv4 addresses mapped into IPv6 count as what they
/// are.
///
/// An address in `deny` is refused, even if it is in `allow` too. With `allow`,
/// every other address is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who may ask: addresses and networks such as `10.0.0.0/8`. Default: everybody.
    pub allow: OneOrMany<Spanned<Network>>,
    /// Who may not.
    pub deny: OneOrMany<Spanned<Network>>,
}

/// The policy `ip_filter`.
pub struct IpFilter {
    allow: Vec<Network>,
    deny: Vec<Network>,
}

impl PolicyKind for IpFilter {
    const NAME: &'static str = "ip_filter";
    const STAGE: Stage = Stage::Intake;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let list = |networks: &OneOrMany<Spanned<Network>>| networks.iter().map(|network| network.value).collect();
        let filter = IpFilter { allow: list(&config.allow), deny: list(&config.deny) };
        if filter.allow.is_empty() && filter.deny.is_empty() && site.is_whole() {
            // `allow: []` may well be meant as "nobody": it must not let
            // everybody in.
            let message = "the filter names no address";
            let hint = "add `allow` or `deny`; `deny: [0.0.0.0/0, \"::/0\"]` keeps everybody out";
            return Err(vec![Diagnostic::error("ip_filter.empty", message).at(written.span).hint(hint)]);
        }
        Ok(Arc::new(filter))
    }
}

impl IpFilter {
    fn admits(&self, address: IpAddr) -> bool {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

impl Policy for IpFilter {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        match self.admits(exchange.client_ip) {
            true => Verdict::CONTINUE,
            false => Rejection::new(&DENIED).into(),
        }
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        let verb = if self.admits(exchange.client_ip) { "lets" } else { "does not let" };
        Some(format!("{verb} {} in", exchange.client_ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::{TestNames, exchange, ready, show_diagnostics, transcript, written};
    use torana_core::verdict::Decision;

    fn admits(config: &str, address: &str) -> bool {
        let built = (entry::<IpFilter>().build)(&written(config), &TestNames::new("test", "/*"));
        let policy = built.unwrap_or_else(|problems| panic!("{}", show_diagnostics(&problems)));
        let mut asked = exchange("GET / HTTP/1.1\nHost: a");
        asked.client_ip = address.parse().unwrap();
        let explained = policy.explain(&mut asked).unwrap();
        let admits = matches!(ready(policy.on_request(&mut asked)), Decision::Continue);
        assert_eq!(explained.starts_with("lets"), admits, "{explained}");
        admits
    }

    #[test]
    fn deny_wins_and_allow_closes_the_rest_out() {
        let both = r#"{ "allow": ["10.0.0.0/8", "fd00::/8"], "deny": ["10.1.0.0/16", "10.2.0.1"] }"#;
        for (address, expected) in [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("10.2.0.1", false),
            ("10.2.0.2", true),
            ("192.0.2.1", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.1.0.1", false),
        ] {
            assert_eq!(admits(both, address), expected, "{address}");
        }
        let deny = r#"{ "deny": "192.0.2.0/24" }"#;
        assert!(!admits(deny, "192.0.2.1") && !admits(deny, "::ffff:192.0.2.1") && admits(deny, "192.0.3.1"));
    }

    #[test]
    fn a_filter_that_names_nobody_is_no_filter() {
        for config in ["{}", r#"{ "allow": [] }"#, r#"{ "allow": [], "deny": [] }"#] {
            let shown = transcript(&entry::<IpFilter>(), config, "GET / HTTP/1.1\nHost: a", "200");
            assert!(shown.starts_with("error ip_filter.empty"), "{shown}");
        }
    }
}
