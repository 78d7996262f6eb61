//! Routes that are read one by one, and kept from one load to the next.
//!
//! Of ten thousand routes mostly one changes at a time. So each is parsed, checked and decoded by itself, and a route
//! whose lines are the same as in the load before is not read again. All that knows its place in the file are its
//! spans, and they are counted from its own first line ([`Sources::place_part`]), so it may move.
//!
//! This is the way without errors. Whatever is unusual, an anchor or a line that is not what it seemed, ends it, and
//! all is read as a whole, which also finds the words for it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use torana_core::diagnostic::{FileId, Span};
use torana_core::pace::stepwise;
use torana_core::written::{Node, SchemaTree, Spanned, Written};

use super::cut::{self, Cut};
use crate::conceal;
use crate::document::{self, MOST_NODES};
use crate::fingerprint::Fingerprint;
use crate::interpolate::Expander;
use crate::model::Route;
use crate::sources::{PartNumbers, Source, Sources};
use crate::validate::check_route;

/// A route as it was read.
#[derive(Clone)]
pub(crate) struct Piece {
    /// What its places carry.
    number: FileId,
    pub(crate) written: Written,
    pub(crate) route: Arc<Spanned<Route>>,
    pub(crate) fingerprint: Fingerprint,
    /// Where secrets stand in it.
    pub(crate) secrets: Box<[Span]>,
    /// Whether there is nothing to say of it, as long as it is looked at alone.
    pub(crate) is_fine: bool,
    /// How many values it holds.
    values: usize,
    /// Whether its text alone says what it is, without the environment.
    is_fixed: bool,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

/// What was read of a file, for the next time: its text, and the lines of each piece.
#[derive(Debug)]
struct Known {
    source: Arc<Source>,
    pieces: Vec<(Range<usize>, Arc<Piece>)>,
}

/// What the last good load has read, by file.
#[derive(Debug, Default)]
pub(super) struct Memo {
    files: HashMap<PathBuf, Known>,
}

#[cfg(test)]
impl Memo {
    pub(super) fn len(&self) -> usize {
        self.files.values().map(|known| known.pieces.len()).sum()
    }
}

/// Reads the routes of one load.
pub(super) struct Pieces<'m> {
    schema: &'m SchemaTree,
    before: &'m Memo,
    numbers: &'m mut PartNumbers,
    now: Memo,
    /// The routes of all files read so far, in order.
    list: Vec<Arc<Piece>>,
    /// Whether all could be read like this.
    is_whole: bool,
}

impl<'m> Pieces<'m> {
    pub(super) fn new(schema: &'m SchemaTree, before: &'m Memo, numbers: &'m mut PartNumbers) -> Self {
        Self { schema, before, numbers, now: Memo::default(), list: Vec::new(), is_whole: true }
    }

    /// All routes, and what to remember of them; `None`: they could not be read one by one.
    pub(super) fn finish(self) -> Option<(Vec<Arc<Piece>>, Memo)> {
        self.is_whole.then_some((self.list, self.now))
    }

    /// Reads the file `id`, at `path`, if its routes are a list in block style: its tree, with references still to be
    /// expanded, and an empty list in their place.
    pub(super) fn read(
        &mut self,
        path: &Path,
        id: FileId,
        sources: &mut Sources,
        expander: &mut Expander<'_>,
    ) -> Option<Written> {
        let source = Arc::clone(sources.shared(id)?);
        let cut = cut::cut(&source.text)?;
        let pieces = self.pieces(path, id, &source, &cut, sources, expander)?;
        let place = |of: Option<&(Range<usize>, Arc<Piece>)>| {
            let (lines, piece) = of?;
            let at = u32::try_from(lines.start).ok()?;
            Some((at.checked_add(piece.written.span.start)?, at.checked_add(piece.written.span.end)?))
        };
        let items = place(pieces.first())?.0..place(pieces.last())?.1;
        let (values, mut tree) = document::parse_part(id, &cut.rest(&source.text, items.start))?;
        let all = stepwise(&pieces).map(|(_, piece)| piece.values).fold(values, usize::saturating_add);
        if all > MOST_NODES || !take_placeholder(&mut tree, &cut) {
            return None;
        }
        move_places(&mut tree, &|span| cut.place(span, &items));
        self.list.extend(stepwise(&pieces).map(|(_, piece)| Arc::clone(piece)));
        self.now.files.insert(path.to_owned(), Known { source, pieces });
        Some(tree)
    }

    /// Takes the routes out of a tree that was read as a whole.
    pub(super) fn take(&mut self, tree: &mut Written) {
        let Node::Map(entries) = &mut tree.node else { return };
        let routes = entries.iter_mut().find(|entry| *entry.key == cut::KEY).map(|entry| &mut entry.value.node);
        let Some(Node::List(items)) = routes else { return };
        for written in std::mem::take(items) {
            match self.piece(written.span.file, written, 0, false) {
                Some(piece) => self.list.push(Arc::new(piece)),
                None => self.is_whole = false,
            }
        }
    }

    fn pieces(
        &mut self,
        path: &Path,
        id: FileId,
        source: &Source,
        cut: &Cut,
        sources: &mut Sources,
        expander: &mut Expander<'_>,
    ) -> Option<Vec<(Range<usize>, Arc<Piece>)>> {
        let mut found = Vec::with_capacity(cut.items.len());
        let known = self.before.files.get(path).map(|known| same(known, &source.text, &cut.items)).unwrap_or_default();
        let mut known = known.into_iter().chain(std::iter::repeat(None));
        // A run of new ones is parsed at once.
        let mut run: Vec<Range<usize>> = Vec::new();
        for lines in stepwise(&cut.items) {
            match known.next().flatten() {
                Some(piece) => {
                    self.fresh(&std::mem::take(&mut run), id, source, sources, expander, &mut found)?;
                    sources.place_part(piece.number, id, u32::try_from(lines.start).ok()?);
                    found.push((lines.clone(), Arc::clone(piece)));
                }
                None => run.push(lines.clone()),
            }
        }
        self.fresh(&run, id, source, sources, expander, &mut found)?;
        Some(found)
    }

    /// Reads items that follow each other.
    fn fresh(
        &mut self,
        run: &[Range<usize>],
        id: FileId,
        source: &Source,
        sources: &mut Sources,
        expander: &mut Expander<'_>,
        found: &mut Vec<(Range<usize>, Arc<Piece>)>,
    ) -> Option<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Some(()) };
        // Below a key, as they are in the file: what may stand in them, and how deep, is the same.
        let head = format!("{}:\n", cut::KEY);
        let text = format!("{head}{}", source.text.get(first.start..last.end)?);
        let (_, tree) = document::parse_part(id, &text)?;
        let Node::Map(entries) = tree.node else { return None };
        let [entry] = <[_; 1]>::try_from(entries).ok()?;
        let Node::List(items) = entry.value.node else { return None };
        if items.len() != run.len() {
            return None;
        }
        for (lines, mut written) in stepwise(run.iter().zip(items)) {
            // From places in `text` to places in the lines of the item.
            let shift = u32::try_from(head.len() + lines.start - first.start).ok()?;
            let end = u32::try_from(lines.len()).ok()?.checked_add(shift)?;
            if written.span.start < shift || written.span.end > end {
                return None;
            }
            let number = self.numbers.next()?;
            let from_start = |offset: u32| offset.saturating_sub(shift);
            move_places(&mut written, &|span| Span {
                file: number,
                start: from_start(span.start),
                end: from_start(span.end),
            });
            sources.place_part(number, id, u32::try_from(lines.start).ok()?);
            let is_fixed = !source.text.get(lines.clone())?.contains("${");
            let values = size(&written);
            if !is_fixed {
                let mut diagnostics = Vec::new();
                expander.expand(&mut written, sources, &mut diagnostics);
                if !diagnostics.is_empty() {
                    return None;
                }
            }
            found.push((lines.clone(), Arc::new(self.piece(number, written, values, is_fixed)?)));
        }
        Some(())
    }

    fn piece(&self, number: FileId, written: Written, values: usize, is_fixed: bool) -> Option<Piece> {
        let decoded = written.decode_along::<Spanned<Route>>(self.schema);
        let route = Arc::new(decoded.value.filter(|_| decoded.diagnostics.is_empty())?);
        let mut remarks = Vec::new();
        check_route(&route, false, &mut remarks);
        let (is_fine, fingerprint) = (remarks.is_empty(), Fingerprint::of(&written));
        let secrets = conceal::places(&written).into();
        Some(Piece { number, route, fingerprint, secrets, is_fine, values, is_fixed, written })
    }
}

/// For each of the `lines` of `text` the piece that was made of the same; the list may be shorter.
///
/// Texts are compared, so there is no hash that could collide. What is the same at the beginning and at the end is
/// mostly all.
fn same<'k>(known: &'k Known, text: &str, lines: &[Range<usize>]) -> Vec<Option<&'k Arc<Piece>>> {
    let old = |(lines, _): &(Range<usize>, Arc<Piece>)| known.source.text.get(lines.clone()).unwrap_or_default();
    let new = |lines: &Range<usize>| text.get(lines.clone()).unwrap_or_default();
    let usable = |(_, piece): &'k (Range<usize>, Arc<Piece>)| Some(piece).filter(|piece| piece.is_fixed);
    let head = stepwise(known.pieces.iter().zip(lines)).take_while(|(one, other)| old(one) == new(other)).count();
    let (old_rest, new_rest) = (&known.pieces[head..], &lines[head..]);
    let ends = old_rest.iter().rev().zip(new_rest.iter().rev());
    let tail = stepwise(ends).take_while(|(one, other)| old(one) == new(other)).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut moved: HashMap<&str, &'k (Range<usize>, Arc<Piece>)> = if new_middle.is_empty() {
        HashMap::new()
    } else {
        old_middle.iter().map(|piece| (old(piece), piece)).collect()
    };
    let mut found: Vec<_> = known.pieces[..head].iter().map(usable).collect();
    // Each is found once: two at different places need places of their own.
    found.extend(new_middle.iter().map(|lines| moved.remove(new(lines)).and_then(usable)));
    found.extend(old_rest[old_rest.len() - tail..].iter().map(usable));
    found
}

/// Empties the list that was cut out; whether it was just that.
fn take_placeholder(tree: &mut Written, cut: &Cut) -> bool {
    let Node::Map(entries) = &mut tree.node else { return false };
    let is_it = |start: u32| usize::try_from(start).is_ok_and(|start| start == cut.key);
    let entry = entries.iter_mut().find(|entry| *entry.key == cut::KEY && is_it(entry.key.span.start));
    let Some(Node::List(items)) = entry.map(|entry| &mut entry.value.node) else { return false };
    let is_placeholder = matches!(items.as_slice(), [one] if one.node == Node::Int(cut::PLACEHOLDER));
    items.clear();
    is_placeholder
}

/// Moves `tree` and all that is in it.
pub(crate) fn move_places(tree: &mut Written, place: &impl Fn(Span) -> Span) {
    tree.span = place(tree.span);
    match &mut tree.node {
        Node::List(items) => items.iter_mut().for_each(|item| move_places(item, place)),
        Node::Map(entries) => {
            for entry in entries {
                entry.key.span = place(entry.key.span);
                move_places(&mut entry.value, place);
            }
        }
        _ => {}
    }
}

/// Values in `written` as the parser counts them: itself and keys included.
fn size(written: &Written) -> usize {
    let items: usize = written.items().iter().map(size).sum();
    let entries: usize = written.entries().iter().map(|entry| 1 + size(&entry.value)).sum();
    1 + items + entries
}
