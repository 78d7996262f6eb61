//! Routes that can never win.

use super::hash::TextHasher;
use super::path::Segment;
use super::{HostPattern, MediaPattern, RoutePattern, ValueMatch, route_id};
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use torana_core::exchange::RouteId;
use torana_core::head::Method;
use torana_core::pace::stepwise;
use torana_expr::regex::Regex;

/// A route no request can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The route that never wins.
    pub route: RouteId,
    /// The routes that take all it matches: usually one; several if together
    /// they cover its hosts or methods.
    pub by: Vec<RouteId>,
}

/// Finds every route that others always beat.
///
/// A route is only ever beaten everywhere by routes of the same host pattern
/// and the same path shape: a more specific one leaves requests over, a less
/// specific one comes later in the order. So routes are grouped by both, and
/// within a group a route is lost if all requests that satisfy it satisfy one
/// that comes before. Never reports a route that can win.
#[must_use]
pub fn shadowed<P: Borrow<RoutePattern>>(patterns: &[P]) -> Vec<Shadow> {
    let patterns: Vec<&RoutePattern> = patterns.iter().map(Borrow::borrow).collect();
    // Groups by number, and who is in which: mostly each route is alone in one.
    let mut numbers: HashMap<Key<'_>, usize, BuildHasherDefault<TextHasher>> =
        HashMap::with_capacity_and_hasher(patterns.len(), BuildHasherDefault::default());
    let mut members: Vec<(usize, usize)> = Vec::with_capacity(patterns.len());
    for (route, &pattern) in stepwise(patterns.iter().enumerate()) {
        for host in hosts(pattern) {
            let next = numbers.len();
            members.push((*numbers.entry(Key::new(host, pattern)).or_insert(next), route));
        }
    }
    members.sort_unstable();
    // One that names a host twice.
    members.dedup();
    // Below how many of its host patterns is each route covered, and by whom?
    let mut covered: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
    for group in members.chunk_by(|(one, _), (other, _)| one == other).filter(|group| group.len() > 1) {
        let mut routes: Vec<usize> = group.iter().map(|(_, route)| *route).collect();
        routes.sort_by(|&one, &other| patterns[one].predicate_order(patterns[other]));
        find_covered(&routes, &patterns, &mut covered);
    }
    let mut shadows = Vec::new();
    for (route, (count, mut by)) in covered {
        let mut distinct: Vec<&HostPattern> = hosts(patterns[route]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        if count == distinct.len() {
            by.sort_unstable();
            by.dedup();
            shadows.push(Shadow { route: route_id(route), by: by.into_iter().map(route_id).collect() });
        }
    }
    shadows
}

fn hosts(pattern: &RoutePattern) -> impl Iterator<Item = &HostPattern> {
    let any: &[HostPattern] = if pattern.hosts.is_empty() { &[HostPattern::Any] } else { &[] };
    pattern.hosts.iter().chain(any)
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'p> {
    host: &'p HostPattern,
    segments: &'p [Segment],
    has_rest: bool,
    /// Of two different ones it is not known whether one covers the other.
    regex: Option<&'p str>,
}

impl<'p> Key<'p> {
    fn new(host: &'p HostPattern, pattern: &'p RoutePattern) -> Key<'p> {
        let path = &pattern.path;
        Key { host, segments: path.segments(), has_rest: path.has_rest(), regex: path.as_regex().map(Regex::as_str) }
    }
}

/// A predicate by which a route is found again: one whose predicates all
/// follow from another's has this one among them.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Mark<'p> {
    None,
    Header(&'p str, Option<&'p str>),
    Query(&'p str, Option<&'p str>),
}

fn exact_text(value: &ValueMatch) -> Option<&str> {
    match value {
        ValueMatch::Exact(text) => Some(text),
        _ => None,
    }
}

/// Under which mark a route is filed.
fn mark(pattern: &RoutePattern) -> Mark<'_> {
    if let Some((name, value)) = pattern.headers.first() {
        Mark::Header(name.as_str(), exact_text(value))
    } else if let Some((name, value)) = pattern.query.first() {
        Mark::Query(name, exact_text(value))
    } else {
        Mark::None
    }
}

/// Under which marks the routes are filed that could cover `pattern`: the
/// comparison is with those few, not with the whole group, so thousands of
/// routes told apart by one header cost thousands of steps and not millions.
fn marks_that_cover(pattern: &RoutePattern) -> Vec<Mark<'_>> {
    let mut marks = vec![Mark::None];
    for (name, value) in &pattern.headers {
        marks.push(Mark::Header(name.as_str(), None));
        marks.extend(exact_text(value).map(|text| Mark::Header(name.as_str(), Some(text))));
    }
    for (name, value) in &pattern.query {
        marks.push(Mark::Query(name, None));
        marks.extend(exact_text(value).map(|text| Mark::Query(name, Some(text))));
    }
    marks
}

fn find_covered(routes: &[usize], patterns: &[&RoutePattern], covered: &mut BTreeMap<usize, (usize, Vec<usize>)>) {
    let mut filed: HashMap<Mark<'_>, Vec<usize>> = HashMap::new();
    for &route in routes {
        let pattern = &patterns[route];
        if let Some(by) = covering(pattern, patterns, &filed) {
            let (count, all) = covered.entry(route).or_default();
            *count += 1;
            all.extend(by);
        }
        filed.entry(mark(pattern)).or_default().push(route);
    }
}

/// The routes before `pattern` that leave it nothing.
fn covering(
    pattern: &RoutePattern,
    patterns: &[&RoutePattern],
    filed: &HashMap<Mark<'_>, Vec<usize>>,
) -> Option<Vec<usize>> {
    let mut open = OpenMethods::new(pattern);
    let mut by = Vec::new();
    for mark in marks_that_cover(pattern) {
        for &earlier in filed.get(&mark).map(Vec::as_slice).unwrap_or_default() {
            let other = &patterns[earlier];
            if !by.contains(&earlier) && follows(pattern, other) && open.close(other) {
                by.push(earlier);
                if open.is_empty() {
                    return Some(by);
                }
            }
        }
    }
    None
}

/// Whether every request that satisfies the predicates of `pattern`, apart from
/// the method, satisfies those of `other`.
fn follows(pattern: &RoutePattern, other: &RoutePattern) -> bool {
    follow(&pattern.headers, &other.headers)
        && follow(&pattern.query, &other.query)
        && follow(&pattern.cookies, &other.cookies)
        && follows_any(&pattern.content_types, &other.content_types, MediaPattern::implies)
        && follows_any(&pattern.clients, &other.clients, |given, wanted| wanted.contains(given))
        && (other.when.is_none() || other.when == pattern.when)
}

fn follow<N: PartialEq>(given: &[(N, ValueMatch)], wanted: &[(N, ValueMatch)]) -> bool {
    wanted.iter().all(|(name, wanted)| given.iter().any(|(given, value)| given == name && value.implies(wanted)))
}

/// For lists of which one has to hold; an empty one always does.
fn follows_any<T>(given: &[T], wanted: &[T], implies: impl Fn(&T, &T) -> bool) -> bool {
    let is_covered = |given: &T| wanted.iter().any(|wanted| implies(given, wanted));
    wanted.is_empty() || (!given.is_empty() && given.iter().all(is_covered))
}

/// The methods of a route that no earlier route has taken yet.
struct OpenMethods<'p> {
    any: bool,
    named: Vec<Method>,
    extensions: Vec<&'p str>,
}

impl<'p> OpenMethods<'p> {
    fn new(pattern: &'p RoutePattern) -> OpenMethods<'p> {
        OpenMethods {
            any: pattern.methods.is_any(),
            named: pattern.methods.set().iter().collect(),
            extensions: pattern.methods.extensions().collect(),
        }
    }

    /// Whether `other` takes any of them.
    fn close(&mut self, other: &RoutePattern) -> bool {
        if other.methods.is_any() {
            self.any = false;
            self.named.clear();
            self.extensions.clear();
            return true;
        }
        let before = self.named.len() + self.extensions.len();
        self.named.retain(|&method| !other.methods.set().contains(method));
        self.extensions.retain(|name| !other.methods.has_extension(name));
        self.named.len() + self.extensions.len() < before
    }

    fn is_empty(&self) -> bool {
        !self.any && self.named.is_empty() && self.extensions.is_empty()
    }
}
