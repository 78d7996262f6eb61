//! Why a request goes where it goes.

use super::predicate::Mismatch;
use super::trie::Visit;
use super::{Facts, HostPattern, Matcher, Outcome, Request, RoutePattern, route_id};
use std::fmt;
use std::ops::ControlFlow;
use torana_core::captures::Captures;
use torana_core::exchange::RouteId;

/// The outcome for one request and what every route had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The same as [`Matcher::find`] answers.
    pub outcome: Outcome,
    /// Every route: those whose host and path match in the order they were
    /// tried, then the others as written.
    pub considered: Vec<Considered>,
}

/// One route and the rule that decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The route.
    pub route: RouteId,
    /// What decided.
    pub rule: Rule,
}

/// The rule that decided about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything matched and nothing came before.
    Wins,
    /// The host does not match.
    Host,
    /// The path does not match.
    Path,
    /// The method is not among the route's.
    Method,
    /// The predicate on this header fails.
    Header(String),
    /// The predicate on this query parameter fails.
    Query(String),
    /// The predicate on this cookie fails.
    Cookie(String),
    /// The body is of another type, or of none that is known.
    ContentType,
    /// The client is in none of the networks.
    Client,
    /// The expression is false.
    When,
    /// The expression cannot be evaluated; why.
    WhenFault(String),
    /// Everything matched, but the winner comes first.
    LessSpecific(Reason),
    /// The request names no path: `OPTIONS *` or CONNECT.
    NoPath,
}

/// By which rule of the total order the winner came first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its host is more specific.
    Host,
    /// Its path is more specific.
    Path,
    /// It names methods.
    Methods,
    /// It has more header predicates.
    Headers,
    /// It has more query predicates.
    Query,
    /// It has more predicates of other kinds.
    Others,
    /// It has a condition, and the loser, the default route, has none.
    Default,
    /// It was written first.
    Order,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Wins => f.write_str("wins"),
            Rule::Host => f.write_str("the host does not match"),
            Rule::Path => f.write_str("the path does not match"),
            Rule::Method => f.write_str("the method does not match"),
            Rule::Header(name) => write!(f, "the header `{name}` does not match"),
            Rule::Query(name) => write!(f, "the query parameter `{name}` does not match"),
            Rule::Cookie(name) => write!(f, "the cookie `{name}` does not match"),
            Rule::ContentType => f.write_str("the content type does not match"),
            Rule::Client => f.write_str("the client's address does not match"),
            Rule::When => f.write_str("`when` is false"),
            Rule::WhenFault(why) => write!(f, "`when` cannot be evaluated: {why}"),
            Rule::LessSpecific(Reason::Default) => f.write_str("is the default route, and another one matches"),
            Rule::LessSpecific(reason) => write!(f, "matches, but the winner {reason}"),
            Rule::NoPath => f.write_str("the request names no path"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Host => "has a more specific host",
            Reason::Path => "has a more specific path",
            Reason::Methods => "names its methods",
            Reason::Headers => "has more header predicates",
            Reason::Query => "has more query predicates",
            Reason::Others => "has more predicates on cookies, content type, client or `when`",
            Reason::Default => "is not the default route",
            Reason::Order => "was written first",
        })
    }
}

impl Matcher {
    /// Matches a request and accounts for every route. The walk and the
    /// predicates are those of [`Matcher::find`]; only this one goes on after
    /// the winner.
    #[must_use]
    pub fn explain(&self, facts: Facts<'_>) -> Explanation {
        let mut captures = Captures::default();
        let outcome = self.find(facts, &mut captures);
        let Some(request) = Request::new(facts) else {
            let considered = (0..self.patterns.len())
                .map(|route| Considered { route: route_id(route), rule: Rule::NoPath })
                .collect();
            return Explanation { outcome, considered };
        };
        let mut account = Account {
            matcher: self,
            request,
            host: 0,
            winner: None,
            considered: Vec::new(),
            seen: vec![false; self.patterns.len()],
        };
        captures.clear();
        // Never breaks off.
        let _ = self.trie.walk(request.host, request.path, &mut captures, &mut account);
        let Account { mut considered, seen, .. } = account;
        let unseen = self.patterns.iter().enumerate().zip(seen).filter(|(_, seen)| !seen);
        considered.extend(unseen.map(|((route, pattern), _)| Considered {
            route: route_id(route),
            rule: if has_host(pattern, request.host) { Rule::Path } else { Rule::Host },
        }));
        Explanation { outcome, considered }
    }
}

fn has_host(pattern: &RoutePattern, host: &str) -> bool {
    pattern.hosts.is_empty() || pattern.hosts.iter().any(|pattern: &HostPattern| pattern.matches(host))
}

struct Account<'m, 'r> {
    matcher: &'m Matcher,
    request: Request<'r>,
    /// Which host pattern the walk is below, counted from the best.
    host: usize,
    /// With the host pattern it was found below.
    winner: Option<(usize, &'m RoutePattern)>,
    considered: Vec<Considered>,
    seen: Vec<bool>,
}

impl<'m> Account<'m, '_> {
    fn rule(&mut self, route: usize, pattern: &'m RoutePattern, captures: &Captures) -> Rule {
        let Some(predicates) = self.matcher.predicates.get(route) else {
            return Rule::Path;
        };
        match predicates.check(&self.request, captures) {
            Err(Mismatch::Method) => Rule::Method,
            Err(Mismatch::Header(index)) => {
                Rule::Header(pattern.headers.get(index).map(|(name, _)| name.to_string()).unwrap_or_default())
            }
            Err(Mismatch::Query(index)) => {
                Rule::Query(pattern.query.get(index).map(|(name, _)| name.clone()).unwrap_or_default())
            }
            Err(Mismatch::Cookie(index)) => {
                Rule::Cookie(pattern.cookies.get(index).map(|(name, _)| name.clone()).unwrap_or_default())
            }
            Err(Mismatch::ContentType) => Rule::ContentType,
            Err(Mismatch::Client) => Rule::Client,
            Err(Mismatch::When) => predicates.fault(&self.request, captures).map_or(Rule::When, Rule::WhenFault),
            Ok(()) => match self.winner {
                None => {
                    self.winner = Some((self.host, pattern));
                    Rule::Wins
                }
                Some((_, winner)) if pattern.is_default() && !winner.is_default() => {
                    Rule::LessSpecific(Reason::Default)
                }
                Some((host, winner)) if host == self.host => Rule::LessSpecific(reason(winner, pattern)),
                Some(_) => Rule::LessSpecific(Reason::Host),
            },
        }
    }
}

impl Visit for Account<'_, '_> {
    fn candidate(&mut self, route: usize, captures: &Captures) -> ControlFlow<()> {
        // A route with several hosts may be met once below each.
        if let (Some(seen), Some(pattern)) = (self.seen.get_mut(route), self.matcher.patterns.get(route))
            && !std::mem::replace(seen, true)
        {
            let rule = self.rule(route, pattern, captures);
            self.considered.push(Considered { route: route_id(route), rule });
        }
        ControlFlow::Continue(())
    }

    fn host(&mut self, rank: usize) {
        self.host = rank;
    }
}

/// The first rule of the total order on which the two differ.
fn reason(winner: &RoutePattern, loser: &RoutePattern) -> Reason {
    if winner.path.specificity(&loser.path).is_ne() {
        Reason::Path
    } else if winner.methods.is_any() != loser.methods.is_any() {
        Reason::Methods
    } else if winner.headers.len() != loser.headers.len() {
        Reason::Headers
    } else if winner.query.len() != loser.query.len() {
        Reason::Query
    } else if winner.others() != loser.others() {
        Reason::Others
    } else {
        Reason::Order
    }
}
