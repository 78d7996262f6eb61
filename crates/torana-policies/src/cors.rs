//! Cross-origin resource sharing (Fetch §3.2): which web sites' pages may call
//! a route from a browser and read what it answers.
//!
//! It keeps nobody else out: whoever is no browser sends what it likes. It is
//! the first policy of its chain, so that every reply says what the browser
//! needs, a refusal of a later policy included, and so that preflights, which
//! never bring credentials, meet no policy that would ask for them.

mod origin;

use origin::Origins;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::head::{Fields, Method, Status};
use torana_core::names::{HeaderName, KnownName, is_token_byte};
use torana_core::policy::{Policy, PolicyKind};
use torana_core::refusal::{Refusal, Rejection};
use torana_core::reply::Reply;
use torana_core::site::Site;
use torana_core::stage::Stage;
use torana_core::units::Duration;
use torana_core::vary;
use torana_core::verdict::Verdict;
use torana_core::written::{OneOrMany, Spanned, Written};

torana_core::refusals! {
    /// A browser asks for a page of a web site that may not call the route.
    ORIGIN = "cors.origin_not_allowed" 403 Caller Never "This web site may not call this address from a browser.";
}

/// Lets pages of other web sites call the route from a browser (CORS).
///
/// It is always the first policy of a route. Preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) are
/// answered here, whether or not the route's `methods` list `OPTIONS`; they reach neither other policies nor the target.
/// All other requests go on, whatever their origin: whether their reply may be read is the browser's to enforce. What
/// the target says about CORS is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose pages may: origins such as `https://shop.example` or `http://localhost:3000`; all subdomains,
    /// `https://*.shop.example`; a regular expression for whole origins, `regex:https://pr-\d+\.shop\.example`; `*` for every
    /// web site; `null` for pages without an origin (sandboxes, files), which `*` does not include. One, a list, or
    /// several in one text with commas between them, as environment variables have them.
    pub origins: OneOrMany<Spanned<String>>,
    /// Methods that pages may use. Default: `GET`, `HEAD` and `POST`, which browsers allow by themselves. `*`: all.
    #[serde(default)]
    pub methods: OneOrMany<Spanned<String>>,
    /// Request headers that pages may set besides those that browsers allow by themselves. `*`: all but `Authorization`.
    #[serde(default)]
    pub headers: OneOrMany<Spanned<String>>,
    /// Reply headers that pages may read besides those that browsers show by themselves. `*`: all.
    #[serde(default)]
    pub expose_headers: OneOrMany<Spanned<String>>,
    /// Whether browsers may send cookies and other credentials along. Not together with `*`, neither for origins nor for
    /// methods or headers: any web site could act for whoever visits it. Default: no.
    #[serde(default)]
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight; they have limits of their own. Default `10m`.
    #[serde(default = "ten_minutes")]
    pub max_age: Duration,
    /// Whether pages of public web sites may call an address in a private network (`Access-Control-Request-Private-Network`).
    /// Default: no.
    #[serde(default)]
    pub private_network: bool,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// The policy `cors`.
pub struct Cors {
    origins: Origins,
    methods: Box<[u8]>,
    headers: Box<[u8]>,
    expose: Box<[u8]>,
    credentials: bool,
    max_age: Box<[u8]>,
    private_network: bool,
    asks_private: HeaderName,
    allows_private: HeaderName,
}

impl PolicyKind for Cors {
    const NAME: &'static str = "cors";
    const STAGE: Stage = Stage::Intake;
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, written: &Written, site: &dyn Site) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut origins = Origins::default();
        for origin in config.origins.iter() {
            origins.add(origin, &mut problems);
        }
        if origins.is_empty() && problems.is_empty() && site.is_whole() {
            let hint = "name them: `origins: [ https://shop.example ]`";
            let message = "no web site may call this route";
            problems.push(Diagnostic::error("cors.no_origins", message).at(written.span).hint(hint));
        }
        let methods = list(&config.methods, "method", &mut problems);
        let headers = list(&config.headers, "header", &mut problems);
        let expose = list(&config.expose_headers, "header", &mut problems);
        if config.credentials {
            let all = [&config.origins, &config.methods, &config.headers, &config.expose_headers];
            problems.extend(all.into_iter().filter_map(|list| everybody(list)));
        }
        let name = |text: &str| HeaderName::new(text).ok_or_else(Vec::new);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Cors {
            origins,
            methods: if methods.is_empty() { (*b"GET, HEAD, POST").into() } else { methods },
            headers,
            expose,
            credentials: config.credentials,
            max_age: config.max_age.std().as_secs().to_string().into_bytes().into(),
            private_network: config.private_network,
            asks_private: name("access-control-request-private-network")?,
            allows_private: name("access-control-allow-private-network")?,
        }))
    }
}

/// `a, b` of a list of tokens, each of which may be several between commas.
fn list(written: &[Spanned<String>], what: &str, problems: &mut Vec<Diagnostic>) -> Box<[u8]> {
    let mut joined = Vec::new();
    for text in written {
        for token in text.split(',').map(str::trim) {
            if token.is_empty() || !token.bytes().all(is_token_byte) {
                let message = format!("{} is not a {what}", text.shown());
                problems.push(Diagnostic::error("cors.name", message).at(text.span));
                break;
            }
            if !joined.is_empty() {
                joined.extend_from_slice(b", ");
            }
            joined.extend_from_slice(token.as_bytes());
        }
    }
    joined.into()
}

fn everybody(list: &[Spanned<String>]) -> Option<Diagnostic> {
    let star = list.iter().find(|text| text.split(',').any(|part| part.trim() == "*"))?;
    let message = "`*` and `credentials` cannot stand together: any web site could act for whoever visits it";
    let hint = "write down which, or leave out `credentials`";
    Some(Diagnostic::error("cors.credentials", message).at(star.span).hint(hint))
}

impl Policy for Cors {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Verdict<'a> {
        if exchange.head.method != Method::Options || !is_preflight(&exchange.head.fields) {
            return Verdict::CONTINUE;
        }
        match origin(&exchange.head.fields) {
            Some(origin) if self.origins.allow(origin) => Reply::new(Status::NO_CONTENT).into(),
            origin => {
                let said = origin.map(String::from_utf8_lossy);
                Rejection::new(&ORIGIN).because(said.as_deref().unwrap_or("several origins")).into()
            }
        }
    }

    fn on_response<'a>(&'a self, exchange: &'a mut Exchange, reply: &'a mut Reply) -> Verdict<'a> {
        self.decorate(&exchange.head.method, &exchange.head.fields, &mut reply.head.fields);
        Verdict::CONTINUE
    }

    fn answers_preflights(&self) -> bool {
        true
    }
}

impl Cors {
    fn decorate(&self, method: &Method, request: &Fields, reply: &mut Fields) {
        const TARGETS: &[KnownName] = &[
            KnownName::AccessControlAllowOrigin,
            KnownName::AccessControlAllowCredentials,
            KnownName::AccessControlAllowMethods,
            KnownName::AccessControlAllowHeaders,
            KnownName::AccessControlExposeHeaders,
            KnownName::AccessControlMaxAge,
        ];
        for name in TARGETS {
            reply.remove_known(*name);
        }
        reply.remove(&self.allows_private);
        let asks = *method == Method::Options && is_preflight(request);
        // Whoever keeps a reply keeps it for the origin it was made for.
        if !self.origins.any {
            vary::add(reply, "origin");
        }
        if asks {
            vary::add(reply, "access-control-request-method");
            vary::add(reply, "access-control-request-headers");
        }
        let named: &[u8] = match origin(request).filter(|origin| self.origins.allow(origin)) {
            Some(_) if self.origins.any => b"*",
            // One that stands in the list of origins, or matched: never another.
            Some(origin) => origin,
            // To who says nothing, too: a browser keeps what it loaded without
            // asking, and a page may ask for that later.
            None if self.origins.any && !request.contains(KnownName::Origin) => b"*",
            None => {
                vary::add(reply, "origin");
                return;
            }
        };
        let mut set = |name: KnownName, value: &[u8]| {
            // Of a list of tokens, a number, or a field that was parsed.
            let _ = reply.set(name, value);
        };
        set(KnownName::AccessControlAllowOrigin, named);
        if self.credentials {
            set(KnownName::AccessControlAllowCredentials, b"true");
        }
        if !asks {
            if !self.expose.is_empty() {
                set(KnownName::AccessControlExposeHeaders, &self.expose);
            }
            return;
        }
        set(KnownName::AccessControlAllowMethods, &self.methods);
        if !self.headers.is_empty() {
            set(KnownName::AccessControlAllowHeaders, &self.headers);
        }
        set(KnownName::AccessControlMaxAge, &self.max_age);
        if self.private_network && request.values(&self.asks_private).any(|asked| asked == b"true") {
            let _ = reply.set(self.allows_private.clone(), b"true");
        }
    }
}

/// What a browser asks before it sends what a page wants (Fetch §3.2.2).
fn is_preflight(fields: &Fields) -> bool {
    fields.contains(KnownName::Origin) && fields.contains(KnownName::AccessControlRequestMethod)
}

fn origin(fields: &Fields) -> Option<&[u8]> {
    fields.get_single(KnownName::Origin).ok().flatten()
}

#[cfg(test)]
mod tests;
