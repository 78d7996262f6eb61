//! Where a configuration lacks what was in error.

use std::collections::HashSet;

use torana_core::diagnostic::Span;
use torana_core::written::Written;

/// The parts in error that a decoded configuration was made without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// The parts themselves.
    lost: HashSet<Span>,
    /// They and everything around them.
    touched: HashSet<Span>,
}

impl Gaps {
    /// `lost` are the places in `tree` that were left out.
    pub(crate) fn new(tree: &Written, lost: &[Span]) -> Self {
        let mut gaps = Self { lost: lost.iter().copied().collect(), touched: HashSet::new() };
        if !gaps.lost.is_empty() {
            mark(tree, &gaps.lost, &mut gaps.touched);
        }
        gaps
    }

    /// Whether nothing was left out.
    pub(crate) fn is_none(&self) -> bool {
        self.lost.is_empty()
    }

    /// Whether the part at `span` itself was left out.
    pub(crate) fn lost(&self, span: Span) -> bool {
        self.lost.contains(&span)
    }

    /// Whether the part at `span`, or anything in it, was left out.
    pub(crate) fn touch(&self, span: Span) -> bool {
        self.touched.contains(&span)
    }

    /// Whether what is decoded from `key` of `map` is what was meant: nothing in it is missing, and
    /// if it is not there, no unknown key may be a misspelling of it.
    pub(crate) fn knows(&self, map: &Written, key: &str) -> bool {
        match map.get(key) {
            Some(value) => !self.touch(value.span),
            None => !map.entries().iter().any(|entry| self.lost(entry.key.span)),
        }
    }
}

/// Notes `tree` and its parts that hold something of `lost`; whether `tree` does.
///
/// The tree has to be walked, since spans alone cannot tell: through a YAML alias a part holds what
/// stands elsewhere.
fn mark(tree: &Written, lost: &HashSet<Span>, touched: &mut HashSet<Span>) -> bool {
    let mut found = lost.contains(&tree.span);
    for item in tree.items() {
        found |= mark(item, lost, touched);
    }
    for entry in tree.entries() {
        found |= lost.contains(&entry.key.span);
        found |= mark(&entry.value, lost, touched);
    }
    if found {
        touched.insert(tree.span);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::diagnostic::FileId;

    fn tree(yaml: &str) -> Written {
        crate::document::parse(FileId(0), yaml, crate::document::Format::Yaml).tree.unwrap()
    }

    #[test]
    fn a_gap_touches_what_is_around_it_and_nothing_beside() {
        let tree = tree("a: { b: [ 1, 2 ], c: 3 }\nd: 4\n");
        let (a, d) = (tree.get("a").unwrap(), tree.get("d").unwrap());
        let (b, c) = (a.get("b").unwrap(), a.get("c").unwrap());
        let gaps = Gaps::new(&tree, &[b.items()[1].span]);
        assert!([tree.span, a.span, b.span, b.items()[1].span].iter().all(|span| gaps.touch(*span)));
        assert!([b.items()[0].span, c.span, d.span].iter().all(|span| !gaps.touch(*span)));
        assert!(gaps.lost(b.items()[1].span) && !gaps.lost(b.span));
        assert!(Gaps::new(&tree, &[]).is_none());
    }

    #[test]
    fn a_gap_is_seen_through_an_alias() {
        let tree = tree("a: &x { b: 1 }\nc: *x\n");
        let inside = tree.get("a").unwrap().get("b").unwrap().span;
        assert!(!Gaps::new(&tree, &[inside]).knows(&tree, "c"));
    }

    #[test]
    fn a_key_that_is_not_there_may_be_misspelt() {
        let tree = tree("name: r\nmtach: { path: /a }\n");
        let misspelt = tree.entries()[1].key.span;
        assert!(!Gaps::new(&tree, &[misspelt]).knows(&tree, "match"));
        assert!(Gaps::new(&tree, &[misspelt]).knows(&tree, "name"));
        let gaps = Gaps::new(&tree, &[]);
        assert!(gaps.knows(&tree, "match"));
    }
}
