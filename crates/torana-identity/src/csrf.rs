//! Keeps other web sites from using the credentials that browsers send along.

use crate::refuses;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::cookie;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::Fields;
use torana_core::names::{HeaderName, KnownName};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// A page of another web site made a browser send the request.
    CROSS_SITE = "csrf.cross_site" 403 Caller Never "The request comes from a page of another web site.";
    /// It does not bring the token that the page was given.
    TOKEN = "csrf.token" 403 Caller Never "The request does not bring its token.";
}

/// Refuses requests that a page of another web site made a browser send, with
/// the cookies of the user who looks at it.
///
/// Requests that only read (GET, HEAD, OPTIONS, TRACE) pass. Others pass if
/// `Sec-Fetch-Site` says `same-origin` or `none`, or if `Origin` is the
/// request's own or one of `origins`. With neither header, which browsers send
/// in all such requests, they pass only if they bring nothing that a browser
/// would add by itself: no cookie, no client certificate, and no
/// `Authorization` other than `Bearer`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Other origins whose pages may send requests, such as `https://app.example`.
    pub origins: OneOrMany<Spanned<String>>,
    /// Asks for a token besides, the same in a cookie and in a header ("double submit"): a page of
    /// another web site can read neither. The service sets the cookie.
    pub token: Option<Token>,
}

/// Where the token stands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// The cookie. Default `csrf_token`.
    pub cookie: String,
    /// The header. Default `X-CSRF-Token`.
    pub header: Spanned<String>,
}

impl Default for Token {
    fn default() -> Self {
        Token { cookie: "csrf_token".into(), header: "X-CSRF-Token".into() }
    }
}

/// The policy `csrf`.
pub struct Csrf {
    origins: Vec<Box<str>>,
    token: Option<(Box<str>, HeaderName)>,
}

impl PolicyKind for Csrf {
    const NAME: &'static str = "csrf";
    const STAGE: Stage = Stage::Intake;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, _: &Written, _: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        for origin in config.origins.iter().filter(|origin| !is_origin(origin)) {
            let message = format!("{} is not an origin", origin.shown());
            let hint = "write scheme, host and port in lower case, such as `https://app.example`";
            problems.push(Diagnostic::error("csrf.origin", message).at(origin.span).hint(hint));
        }
        let token = config.token.and_then(|token| match HeaderName::new(&token.header) {
            Some(header) if !token.cookie.is_empty() => Some((token.cookie.into(), header)),
            _ => {
                let message = format!("{} is not a header name", token.header.shown());
                problems.push(Diagnostic::error("csrf.header", message).at(token.header.span));
                None
            }
        });
        let origins = config.origins.iter().map(|origin| origin.as_str().into()).collect();
        if problems.is_empty() { Ok(Arc::new(Csrf { origins, token })) } else { Err(problems) }
    }
}

impl Policy for Csrf {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        match self.problem(exchange) {
            None => Verdict::CONTINUE,
            Some(rejection) => rejection.into(),
        }
    }

    fn explain(&self, exchange: &mut Exchange) -> Option<String> {
        self.problem(exchange).as_ref().map(refuses)
    }
}

impl Csrf {
    fn problem(&self, exchange: &Exchange) -> Option<Rejection> {
        // An upgraded connection is not bound to read: WebSockets have no
        // same-origin policy at all.
        let reads = exchange.head.method.is_safe() && matches!(exchange.upgrade, torana_core::exchange::Upgrade::No);
        if reads {
            return None;
        }
        if let Some(why) = self.foreign(exchange) {
            return Some(Rejection::new(&CROSS_SITE).because(why));
        }
        let (cookie, header) = self.token.as_ref()?;
        let fields = &exchange.head.fields;
        let mut given = fields.values(header);
        let is_right = match (cookie_value(fields, cookie.as_bytes()), given.next(), given.next()) {
            (Some(kept), Some(given), None) => {
                aws_lc_rs::constant_time::verify_slices_are_equal(kept, given.trim_ascii()).is_ok()
            }
            _ => false,
        };
        (!is_right).then(|| Rejection::new(&TOKEN).because("cookie and header are not the same"))
    }

    /// Why the request seems to come from elsewhere.
    fn foreign(&self, exchange: &Exchange) -> Option<&'static str> {
        let fields = &exchange.head.fields;
        let Ok(site) = fields.get_single(KnownName::SecFetchSite) else { return Some("`Sec-Fetch-Site` is repeated") };
        if matches!(site, Some(b"same-origin" | b"none")) {
            return None;
        }
        match (fields.get_single(KnownName::Origin), site) {
            (Err(_), _) => Some("`Origin` is repeated"),
            (Ok(Some(origin)), _) if self.knows(origin, exchange) => None,
            (Ok(Some(_)), _) => Some("`Origin` is another one"),
            (Ok(None), Some(_)) => Some("`Sec-Fetch-Site` says so"),
            (Ok(None), None) if is_ambient(exchange) => Some("it does not say where it comes from"),
            (Ok(None), None) => None,
        }
    }

    fn knows(&self, origin: &[u8], exchange: &Exchange) -> bool {
        let target = exchange.target();
        let own = origin.strip_prefix(target.scheme().as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b"://"));
        // An empty authority (HTTP/1.0) is nobody's.
        let is_own = own.is_some_and(|own| !own.is_empty() && own == target.authority().as_bytes());
        is_own || self.origins.iter().any(|known| known.as_bytes() == origin)
    }
}

/// Whether the request brings what a browser adds by itself.
fn is_ambient(exchange: &Exchange) -> bool {
    let fields = &exchange.head.fields;
    let has_chain = exchange.connection.tls.as_ref().is_some_and(|tls| !tls.client_chain.is_empty());
    let is_bearer = |value: &[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    has_chain || fields.contains(KnownName::Cookie) || !fields.get_all(KnownName::Authorization).all(is_bearer)
}

/// The cookie of that name, if there is one and only one, and not empty.
fn cookie_value<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    let mut found = fields.get_all(KnownName::Cookie).flat_map(cookie::pairs).filter(|(known, _)| *known == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::policy::entry;
    use torana_core::testing::transcript;

    fn judged(config: &str, request: &str) -> String {
        let shown = transcript(&entry::<Csrf>(), config, request, "200");
        match shown.strip_prefix("rejected ") {
            Some(rest) => rest.split(' ').next().unwrap().to_owned(),
            None => "ok".to_owned(),
        }
    }

    #[test]
    fn pages_of_others_cannot_write() {
        let config = r#"{ "origins": "https://app.example" }"#;
        for (fields, expected) in [
            ("Sec-Fetch-Site: same-origin", "ok"),
            ("Sec-Fetch-Site: none", "ok"),
            ("Sec-Fetch-Site: cross-site\nOrigin: https://app.example", "ok"),
            ("Sec-Fetch-Site: same-site\nOrigin: http://shop.example", "ok"),
            ("Origin: http://shop.example", "ok"),
            ("Sec-Fetch-Site: cross-site", "csrf.cross_site"),
            ("Sec-Fetch-Site: same-site", "csrf.cross_site"),
            ("Sec-Fetch-Site: Same-Origin", "csrf.cross_site"),
            ("Sec-Fetch-Site: cross-site\nSec-Fetch-Site: same-origin", "csrf.cross_site"),
            ("Origin: https://shop.example", "csrf.cross_site"),
            ("Origin: null", "csrf.cross_site"),
            ("Origin: http://shop.example.evil", "csrf.cross_site"),
            ("Origin: http://shop.example:81", "csrf.cross_site"),
            ("Origin: https://app.example\nOrigin: https://evil.example", "csrf.cross_site"),
            ("Cookie: session=1", "csrf.cross_site"),
            ("Authorization: Basic eDp5", "csrf.cross_site"),
            ("Authorization: Bearer x", "ok"),
            ("X-Client: curl", "ok"),
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "PURGE"] {
                let request = format!("{method} / HTTP/1.1\nHost: shop.example\n{fields}");
                assert_eq!(judged(config, &request), expected, "{request}");
            }
            let request = format!("GET / HTTP/1.1\nHost: shop.example\n{fields}");
            assert_eq!(judged(config, &request), "ok", "{request}");
        }
    }

    #[test]
    fn a_token_has_to_stand_in_both_places() {
        for (fields, expected) in [
            ("Cookie: csrf_token=abc\nX-CSRF-Token: abc", "ok"),
            ("Cookie: a=1; csrf_token=abc\nx-csrf-token: abc", "ok"),
            ("Cookie: csrf_token=abc", "csrf.token"),
            ("X-CSRF-Token: abc", "csrf.token"),
            ("Cookie: csrf_token=abc\nX-CSRF-Token: abd", "csrf.token"),
            ("Cookie: csrf_token=\nX-CSRF-Token: ", "csrf.token"),
            ("Cookie: csrf_token=a; csrf_token=b\nX-CSRF-Token: b", "csrf.token"),
            ("Cookie: csrf_token=a\nX-CSRF-Token: a\nX-CSRF-Token: b", "csrf.token"),
        ] {
            let request = format!("POST / HTTP/1.1\nHost: a\nSec-Fetch-Site: same-origin\n{fields}");
            assert_eq!(judged(r#"{ "token": {} }"#, &request), expected, "{request}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for origin in ["app.example", "https://App.example", "https://app.example/", "*", "https://"] {
            let shown = transcript(
                &entry::<Csrf>(),
                &format!(r#"{{ "origins": ["{origin}"] }}"#),
                "GET / HTTP/1.1\nHost: a",
                "200",
            );
            assert!(shown.starts_with("error csrf.origin"), "{shown}");
        }
    }
}
