//! Hosts and the segments of paths, as tables to look up.

use super::RoutePattern;
use super::hash::TextMap;
use super::host::HostPattern;
use super::path::Segment;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use torana_core::captures::Captures;
use torana_core::pace::{self, stepwise};
use torana_expr::regex::{AnyOf, Regex};

/// Up to this many literal children are compared one by one: for a handful
/// that is faster than hashing.
const FEW: usize = 4;

/// How many times larger a full table of children becomes.
const GROWTH: usize = 8;

/// What a walk meets, in the total order of the routes.
pub(super) trait Visit {
    /// A route whose host and path match. To break ends the walk and leaves
    /// the captures of this route in place.
    fn candidate(&mut self, route: usize, captures: &Captures) -> ControlFlow<()>;

    /// The walk begins with the routes of another host pattern.
    fn host(&mut self, _rank: usize) {}

    /// The walk is at another node.
    fn node(&mut self) {}

    /// The walk searches the path for a regular expression.
    fn search(&mut self) {}
}

#[derive(Debug, Default)]
pub(super) struct Trie {
    exact: TextMap<usize>,
    /// By what follows `*.`.
    wildcards: TextMap<usize>,
    any: Option<usize>,
    /// The nodes of all hosts; the maps above name roots.
    nodes: Vec<Node>,
    /// Routes, grouped by node and in order within each group.
    candidates: Vec<u32>,
}

#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    /// Regular expressions that begin with the segments down to here.
    regexes: Option<Box<Regexes>>,
    param: Option<usize>,
    /// Routes whose path ends here.
    exact: Range<usize>,
    /// Routes that take whatever follows, even nothing.
    rest: Range<usize>,
}

/// The regular expressions of one node, in order.
#[derive(Debug)]
struct Regexes {
    /// Whether any of them matches, where there are enough for that to pay.
    any: Option<AnyOf>,
    each: Vec<(Regex, u32)>,
}

impl Regexes {
    /// From how many on they are searched for together first.
    const MANY: usize = 3;

    fn new(routes: impl Iterator<Item = usize>, patterns: &[Arc<RoutePattern>]) -> Option<Box<Regexes>> {
        let regex = |route: usize| Some((patterns[route].path.as_regex()?.clone(), narrow(route)));
        let each: Vec<(Regex, u32)> = routes.filter_map(regex).collect();
        let any = if each.len() >= Regexes::MANY { AnyOf::new(each.iter().map(|(regex, _)| regex)) } else { None };
        (!each.is_empty()).then(|| Box::new(Regexes { any, each }))
    }

    #[cold]
    fn visit(&self, path: &str, captures: &mut Captures, visit: &mut impl Visit) -> ControlFlow<()> {
        if let Some(any) = &self.any {
            visit.search();
            if !any.is_match(path.as_bytes()) {
                return ControlFlow::Continue(());
            }
        }
        let before = captures.len();
        for (regex, route) in &self.each {
            visit.search();
            if regex.capture(path, captures) {
                visit.candidate(*route as usize, captures)?;
            }
            captures.truncate(before);
        }
        ControlFlow::Continue(())
    }
}

#[derive(Debug)]
enum Literals {
    Few(Vec<(Box<str>, usize)>),
    Many(TextMap<usize>),
}

impl Default for Literals {
    fn default() -> Self {
        Literals::Few(Vec::new())
    }
}

impl Literals {
    #[inline]
    fn get(&self, segment: &str) -> Option<usize> {
        match self {
            Literals::Few(few) => few.iter().find(|(text, _)| **text == *segment).map(|&(_, node)| node),
            Literals::Many(many) => many.get(segment).copied(),
        }
    }

    /// Adds a child; a node gets no more than `most`.
    fn insert(&mut self, segment: &str, node: usize, most: usize) {
        match self {
            Literals::Few(few) if few.len() < FEW => few.push((segment.into(), node)),
            Literals::Few(few) => {
                let mut many: TextMap<usize> = std::mem::take(few).into_iter().collect();
                many.insert(segment.into(), node);
                *self = Literals::Many(many);
            }
            Literals::Many(many) => {
                if many.len() == many.capacity() {
                    // To grow means to move all there are, in one go: rarely, then.
                    many.reserve(many.len().saturating_mul(GROWTH).min(most).saturating_sub(many.len()).max(1));
                }
                many.insert(segment.into(), node);
            }
        }
    }
}

/// A trie being built: routes still one by one.
struct Builder {
    trie: Trie,
    routes: Vec<(usize, End, usize)>,
    /// Children that a node can have at most.
    most: usize,
}

/// How the path of a route ends at its node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Exact,
    Rest,
    Regex,
}

impl Builder {
    /// With room for all, so that nothing has to be moved later.
    fn new(patterns: &[Arc<RoutePattern>]) -> Builder {
        let pairs = |pattern: &Arc<RoutePattern>| pattern.hosts.len().max(1);
        let most = stepwise(patterns).map(pairs).sum();
        // A node for each segment below each host, and for the hosts themselves; paths that begin alike need fewer.
        let nodes = |pattern: &Arc<RoutePattern>| pairs(pattern) * pattern.path.segments().len() + pattern.hosts.len();
        let nodes = stepwise(patterns).map(nodes).sum::<usize>() + 1;
        let trie = Trie { nodes: Vec::with_capacity(nodes), ..Trie::default() };
        Builder { trie, routes: Vec::with_capacity(most), most }
    }

    fn new_node(&mut self) -> usize {
        self.trie.nodes.push(Node::default());
        self.trie.nodes.len() - 1
    }

    fn root(&mut self, host: &HostPattern) -> usize {
        let known = match host {
            HostPattern::Exact(name) => self.trie.exact.get(name).copied(),
            HostPattern::Wildcard(name) => self.trie.wildcards.get(name).copied(),
            HostPattern::Any => self.trie.any,
        };
        known.unwrap_or_else(|| {
            let root = self.new_node();
            match host {
                HostPattern::Exact(name) => drop(self.trie.exact.insert(name.clone(), root)),
                HostPattern::Wildcard(name) => drop(self.trie.wildcards.insert(name.clone(), root)),
                HostPattern::Any => self.trie.any = Some(root),
            }
            root
        })
    }

    fn child(&mut self, node: usize, segment: &Segment) -> usize {
        let known = match segment {
            Segment::Literal(text) => self.trie.nodes[node].literals.get(text),
            Segment::Param => self.trie.nodes[node].param,
        };
        known.unwrap_or_else(|| {
            let child = self.new_node();
            match segment {
                Segment::Literal(text) => self.trie.nodes[node].literals.insert(text, child, self.most),
                Segment::Param => self.trie.nodes[node].param = Some(child),
            }
            child
        })
    }

    fn insert(&mut self, route: usize, pattern: &RoutePattern, host: &HostPattern) {
        let mut node = self.root(host);
        for segment in pattern.path.segments() {
            node = self.child(node, segment);
        }
        let end = match (pattern.path.as_regex(), pattern.path.has_rest()) {
            (Some(_), _) => End::Regex,
            (None, true) => End::Rest,
            (None, false) => End::Exact,
        };
        self.routes.push((node, end, route));
    }

    fn finish(mut self, patterns: &[Arc<RoutePattern>]) -> Trie {
        self.routes.sort_unstable();
        // A route may name a host twice.
        self.routes.dedup();
        let same = |(one, end, _): &(usize, End, usize), (other, other_end, _): &(usize, End, usize)| {
            (one, end) == (other, other_end)
        };
        for group in stepwise(self.routes.chunk_by_mut(same)) {
            // Stable: routes with equal `order` stay by position.
            group.sort_by(|(.., one), (.., other)| patterns[*one].predicate_order(&patterns[*other]));
            let Some(&(node, end, _)) = group.first() else { continue };
            let routes = group.iter().map(|(.., route)| *route);
            let built = &mut self.trie.nodes[node];
            match end {
                End::Exact => built.exact = push_all(&mut self.trie.candidates, routes),
                End::Rest => built.rest = push_all(&mut self.trie.candidates, routes),
                End::Regex => built.regexes = Regexes::new(routes, patterns),
            }
        }
        self.trie
    }
}

fn narrow(route: usize) -> u32 {
    u32::try_from(route).unwrap_or(u32::MAX)
}

fn push_all(candidates: &mut Vec<u32>, routes: impl Iterator<Item = usize>) -> Range<usize> {
    let start = candidates.len();
    candidates.extend(routes.map(narrow));
    start..candidates.len()
}

impl Trie {
    pub(super) fn build(patterns: &[Arc<RoutePattern>]) -> Trie {
        let mut builder = Builder::new(patterns);
        for (route, pattern) in stepwise(patterns.iter().enumerate()) {
            if pattern.hosts.is_empty() {
                builder.insert(route, pattern, &HostPattern::Any);
            }
            for host in &pattern.hosts {
                builder.insert(route, pattern, host);
            }
        }
        builder.finish(patterns)
    }

    /// Frees it, in steps.
    pub(super) fn free(self) {
        for node in stepwise(self.nodes) {
            match node.literals {
                Literals::Few(few) => drop(few),
                Literals::Many(many) => pace::free(many),
            }
        }
    }

    /// Shows `visit` every route whose host and path match, best first.
    pub(super) fn walk(
        &self,
        host: &str,
        path: &str,
        captures: &mut Captures,
        visit: &mut impl Visit,
    ) -> ControlFlow<()> {
        let mut rank = 0;
        let mut table = |root: usize, captures: &mut Captures, visit: &mut _| {
            Visit::host(visit, rank);
            rank += 1;
            self.descend(root, path, 1, captures, visit)
        };
        if let Some(&root) = self.exact.get(host) {
            table(root, captures, visit)?;
        }
        if !self.wildcards.is_empty() {
            // From the left, so the longest suffix comes first. The first
            // label must not be empty, which canonical hosts never have.
            for (dot, _) in host.match_indices('.') {
                let suffix = host.get(dot + 1..).unwrap_or_default();
                if let Some(&root) = self.wildcards.get(suffix) {
                    table(root, captures, visit)?;
                }
            }
        }
        match self.any {
            Some(root) => table(root, captures, visit),
            None => ControlFlow::Continue(()),
        }
    }

    /// Visits what matches `path` from `at`, which is just behind a slash, or
    /// behind the end once every segment is used up. Recursion is as deep as
    /// the deepest pattern (`MOST_SEGMENTS`), however long the path.
    fn descend(
        &self,
        index: usize,
        path: &str,
        at: usize,
        captures: &mut Captures,
        visit: &mut impl Visit,
    ) -> ControlFlow<()> {
        let Some(node) = self.nodes.get(index) else {
            return ControlFlow::Continue(());
        };
        visit.node();
        match path.get(at..) {
            None => self.candidates(&node.exact, captures, visit)?,
            Some(left) => {
                let length = left.bytes().position(|byte| byte == b'/').unwrap_or(left.len());
                let segment = left.get(..length).unwrap_or_default();
                let next = at + length + 1;
                if let Some(child) = node.literals.get(segment) {
                    self.descend(child, path, next, captures, visit)?;
                }
                if let Some(regexes) = &node.regexes {
                    regexes.visit(path, captures, visit)?;
                }
                if let Some(child) = node.param
                    && !segment.is_empty()
                {
                    let before = captures.len();
                    captures.push(at, at + length);
                    self.descend(child, path, next, captures, visit)?;
                    captures.truncate(before);
                }
            }
        }
        if !node.rest.is_empty() {
            let before = captures.len();
            captures.push(at.min(path.len()), path.len());
            self.candidates(&node.rest, captures, visit)?;
            captures.truncate(before);
        }
        ControlFlow::Continue(())
    }

    fn candidates(&self, range: &Range<usize>, captures: &Captures, visit: &mut impl Visit) -> ControlFlow<()> {
        for &route in self.candidates.get(range.clone()).unwrap_or_default() {
            visit.candidate(route as usize, captures)?;
        }
        ControlFlow::Continue(())
    }
}
