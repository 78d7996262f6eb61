//! From a request to its route: compiled once, matched without allocating.
//!
//! # What matches
//!
//! | pattern | matches |
//! |---|---|
//! | host `shop.example` | that host, whatever the port |
//! | host `*.shop.example` | one or more labels in front: `a.shop.example`, `a.b.shop.example`; never `shop.example` |
//! | no host | every host, and requests without one (HTTP/1.0) |
//! | path `/ping` | `/ping`, not `/ping/` |
//! | path `/api/users/*` | `/api/users`, `/api/users/` and everything below; never `/api/usersX`. Captures `rest`, without its leading slash |
//! | path `/files/{path*}` | as `/files/*`, capturing `path` |
//! | path `/users/{id}` | one non-empty segment |
//! | path `/*`, or none | every path |
//! | a regex, `/items/(?<id>[0-9]+)` | paths that match it from end to end, in canonical form. Captures its named groups |
//! | methods `[GET]` | GET, and HEAD, which is GET without the body (RFC 9110 §9.3.2): a HEAD that fell through to a route with other policies would be a way around them |
//! | headers, query, cookies | see [`ValueMatch`]; of several values of one name, any may match |
//! | content types | see [`MediaPattern`] |
//! | client networks | the client's address is in one of them |
//! | `when` | an [`Expr`] is true; one that cannot be evaluated is not |
//!
//! `OPTIONS *` and `CONNECT host:port` name no path, so no route matches them:
//! [`Outcome::NotFound`]. A WebSocket over HTTP/2 (extended CONNECT, RFC 8441)
//! matches as the GET it stands for, so one route serves both versions.
//!
//! # Which one wins
//!
//! Of the routes that match, the first in this order. The order is total, and
//! a route whose predicates fail makes room for the next.
//!
//! 1. host: exact, then the longest wildcard, then none;
//! 2. path, segment by segment from the left: literal, regex, `{param}`, rest;
//!    where the path ends, exact before rest. A regex stands behind the whole
//!    segments it begins with: `/items/[0-9]+` behind `items`, so it comes
//!    after `/items/7` and before `/items/{id}` and `/items/*`, and
//!    `/items(/[0-9]+)?`, which begins with no whole segment, before `/{a}`
//!    and after `/items/*`;
//! 3. methods given before none given;
//! 4. more header predicates;
//! 5. more query predicates;
//! 6. more other predicates: each cookie, content types, client networks and
//!    `when` count one;
//! 7. the order they were written in.
//!
//! A route without any condition is the default. By this order it is the last
//! of all; there can be one, since a second is never reached ([`shadowed`]).
//!
//! # Why it is fast
//!
//! Routes of one host share a trie of segments. A request looks up its host,
//! then goes down the trie: per level one hash look-up and perhaps one
//! parameter. Each node is visited at most once, because each has one parent
//! and one depth; how many routes hang elsewhere does not matter. Only routes
//! with the same host and path shape are tried one after the other.
//!
//! A regex hangs at the node of the segments it begins with and is run only for
//! paths that come by there; several at one node are searched as one, first,
//! and one by one only if any of them matches.

mod explain;
mod hash;
mod host;
mod media;
mod method;
mod path;
mod predicate;
mod shadow;
mod trie;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

pub(crate) use hash::TextHasher;

pub use explain::{Considered, Explanation, Reason, Rule};
pub use host::HostPattern;
pub use media::MediaPattern;
pub use method::Methods;
pub use path::PathPattern;
pub use predicate::ValueMatch;
pub use shadow::{Shadow, shadowed};

use ipnet::IpNet;
use predicate::Predicates;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use torana_core::canonical::{CanonicalTarget, TargetForm};
use torana_core::captures::Captures;
use torana_core::exchange::{Exchange, RouteId, Tls};
use torana_core::head::{Fields, Head, Method, MethodSet};
use torana_core::names::HeaderName;
use torana_core::pace::{free, stepwise};
use torana_expr::Expr;
use trie::{Trie, Visit};

/// What requests a route wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePattern {
    /// Any of these; none written means every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// The methods.
    pub methods: Methods,
    /// All of these.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// All of these; names and values in decoded form.
    pub query: Vec<(String, ValueMatch)>,
    /// All of these; values as they are sent.
    pub cookies: Vec<(String, ValueMatch)>,
    /// Any of these; none written means every type, and none.
    pub content_types: Vec<MediaPattern>,
    /// Any of these; none written means every client.
    pub clients: Vec<IpNet>,
    /// This is true.
    pub when: Option<Expr>,
    /// Position as written; lower wins the last tie.
    pub order: u32,
}

impl RoutePattern {
    /// How many predicates there are besides those that rank by themselves.
    fn others(&self) -> usize {
        self.cookies.len()
            + usize::from(!self.content_types.is_empty())
            + usize::from(!self.clients.is_empty())
            + usize::from(self.when.is_some())
    }

    /// Whether it has no condition at all: the default route.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.hosts.iter().all(|host| *host == HostPattern::Any)
            && self.path == PathPattern::default()
            && self.methods.is_any()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.others() == 0
    }

    /// Rules 3 to 7 of the total order.
    fn predicate_order(&self, other: &RoutePattern) -> Ordering {
        self.methods
            .is_any()
            .cmp(&other.methods.is_any())
            .then(other.headers.len().cmp(&self.headers.len()))
            .then(other.query.len().cmp(&self.query.len()))
            .then(other.others().cmp(&self.others()))
            .then(self.order.cmp(&other.order))
    }
}

/// A pattern that cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Where in the pattern, in bytes, if it is about a place in it.
    pub offset: Option<usize>,
}

impl PatternError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> PatternError {
        PatternError { message: message.into(), hint: hint.into(), offset: None }
    }

    fn at(self, offset: usize) -> PatternError {
        PatternError { offset: Some(offset), ..self }
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The route that serves it: its position in the compiled list.
    Matched(RouteId),
    /// Routes match but for their methods, which these are (405). Extension
    /// methods are one bit; [`Matcher::allow`] writes them all.
    MethodNotAllowed(MethodSet),
    /// No route matches (404).
    NotFound,
}

/// A request, as far as routes may look at it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The canonical target.
    pub target: &'a CanonicalTarget,
    /// Method and fields.
    pub head: &'a Head,
    /// The caller's address.
    pub client_ip: &'a IpAddr,
    /// TLS facts; `None` in the clear.
    pub tls: Option<&'a Tls>,
}

impl<'a> Facts<'a> {
    /// An admitted exchange.
    #[must_use]
    pub fn of(exchange: &'a Exchange) -> Facts<'a> {
        Facts {
            target: exchange.target(),
            head: &exchange.head,
            client_ip: &exchange.client_ip,
            tls: exchange.connection.tls.as_ref(),
        }
    }
}

/// What of a request routes are matched against.
#[derive(Clone, Copy)]
struct Request<'a> {
    facts: Facts<'a>,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    method: Method,
    method_text: &'a str,
    fields: &'a Fields,
}

impl<'a> Request<'a> {
    /// `None` where the target names no path.
    fn new(facts: Facts<'a>) -> Option<Request<'a>> {
        let Facts { target, head, .. } = facts;
        if target.form() != TargetForm::Origin {
            return None;
        }
        let is_extended_connect = head.method == Method::Connect && !head.protocol().is_empty();
        let method = if is_extended_connect { Method::Get } else { head.method };
        Some(Request {
            facts,
            host: target.host(),
            path: target.path(),
            query: target.query(),
            method,
            method_text: if is_extended_connect { method.as_str() } else { head.method_text() },
            fields: &head.fields,
        })
    }
}

/// All routes of a plan, compiled.
#[derive(Debug, Default)]
pub struct Matcher {
    trie: Trie,
    /// By route.
    predicates: Vec<Predicates>,
    /// As given, for [`Matcher::explain`].
    patterns: Vec<Arc<RoutePattern>>,
}

impl Matcher {
    /// Compiles `patterns`; a route's [`RouteId`] is its position.
    #[must_use]
    pub fn compile<P: Into<Arc<RoutePattern>>>(patterns: Vec<P>) -> Matcher {
        let patterns: Vec<Arc<RoutePattern>> = patterns.into_iter().map(Into::into).collect();
        let predicates = stepwise(&patterns).map(|pattern| Predicates::new(pattern)).collect();
        Matcher { trie: Trie::build(&patterns), predicates, patterns }
    }

    /// Frees it, in steps.
    pub(crate) fn free(self) {
        self.trie.free();
        free(self.predicates);
        free(self.patterns);
    }

    /// The patterns, by route.
    #[must_use]
    pub fn patterns(&self) -> &[Arc<RoutePattern>] {
        &self.patterns
    }

    /// Finds the route of a request and leaves what its path captured in
    /// `captures`, in the order of [`PathPattern::names`].
    pub fn find(&self, facts: Facts<'_>, captures: &mut Captures) -> Outcome {
        captures.clear();
        match Request::new(facts) {
            Some(request) => self.find_for(request, captures),
            None => Outcome::NotFound,
        }
    }

    /// [`find`](Matcher::find) for the request that is asked about in a CORS
    /// preflight: the same with another method (Fetch §3.2.2). Conditions see the
    /// preflight.
    pub fn find_announced(&self, facts: Facts<'_>, method: &str, captures: &mut Captures) -> Outcome {
        captures.clear();
        match Request::new(facts) {
            Some(request) => {
                let known = Method::from_bytes(method.as_bytes());
                self.find_for(Request { method: known, method_text: method, ..request }, captures)
            }
            None => Outcome::NotFound,
        }
    }

    fn find_for(&self, request: Request<'_>, captures: &mut Captures) -> Outcome {
        let mut first = First { matcher: self, request, found: None, method_failed: false };
        // A walk that breaks off has found its route.
        let _ = self.trie.walk(request.host, request.path, captures, &mut first);
        match first.found {
            Some(route) => Outcome::Matched(route),
            None if first.method_failed => self.method_outcome(request, captures),
            None => Outcome::NotFound,
        }
    }

    /// The methods a 405 names in `Allow`, comma-separated; empty if the
    /// request is not one for a 405.
    #[must_use]
    pub fn allow(&self, facts: Facts<'_>) -> String {
        let Some(request) = Request::new(facts) else {
            return String::new();
        };
        let mut allowed = Allowed { matcher: self, request, set: MethodSet::EMPTY, extensions: Vec::new() };
        let _ = self.trie.walk(request.host, request.path, &mut Captures::default(), &mut allowed);
        let mut names: Vec<&str> = allowed.set.iter().map(Method::as_str).collect();
        names.append(&mut allowed.extensions);
        names.join(", ")
    }

    #[cold]
    fn method_outcome(&self, request: Request<'_>, captures: &mut Captures) -> Outcome {
        captures.clear();
        let mut allowed = Allowed { matcher: self, request, set: MethodSet::EMPTY, extensions: Vec::new() };
        let _ = self.trie.walk(request.host, request.path, captures, &mut allowed);
        captures.clear();
        if allowed.set.is_empty() { Outcome::NotFound } else { Outcome::MethodNotAllowed(allowed.set) }
    }
}

fn route_id(route: usize) -> RouteId {
    // `Trie::build` numbers routes by `u32`.
    RouteId(u32::try_from(route).unwrap_or(u32::MAX))
}

/// Stops at the first route all of whose predicates hold.
struct First<'m, 'r> {
    matcher: &'m Matcher,
    request: Request<'r>,
    found: Option<RouteId>,
    method_failed: bool,
}

impl Visit for First<'_, '_> {
    fn candidate(&mut self, route: usize, captures: &Captures) -> ControlFlow<()> {
        let Some(predicates) = self.matcher.predicates.get(route) else {
            return ControlFlow::Continue(());
        };
        match predicates.check(&self.request, captures) {
            Ok(()) => {
                self.found = Some(route_id(route));
                ControlFlow::Break(())
            }
            Err(mismatch) => {
                self.method_failed |= mismatch == predicate::Mismatch::Method;
                ControlFlow::Continue(())
            }
        }
    }
}

/// Collects the methods of the routes that match but for the method.
struct Allowed<'m, 'r> {
    matcher: &'m Matcher,
    request: Request<'r>,
    set: MethodSet,
    extensions: Vec<&'m str>,
}

impl Visit for Allowed<'_, '_> {
    fn candidate(&mut self, route: usize, captures: &Captures) -> ControlFlow<()> {
        if let Some(predicates) = self.matcher.predicates.get(route)
            && !predicates.methods.allow(&self.request)
            && predicates.check_all_but_method(&self.request, captures).is_ok()
        {
            self.set = self.set.union(predicates.methods.set());
            for extension in predicates.methods.extensions() {
                if !self.extensions.contains(&extension) {
                    self.extensions.push(extension);
                }
            }
        }
        ControlFlow::Continue(())
    }
}
