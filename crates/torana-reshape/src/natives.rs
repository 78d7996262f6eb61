//! The functions programs have: jq's, less some, and the guards.

use super::guard::{SHOWABLE, SIZED, TICK, TIMES, TOJSON, library};
use super::{Meter, Shaping, Stop, Val};
use jaq_core::box_iter::box_once;
use jaq_core::load::parse::{BinaryOp, Def, Term};
use jaq_core::native::{Fun, v};
use jaq_core::{Exn, Native};
use jaq_json::Num;
use std::time::Instant;

/// Not for programs: they would end the process, read its environment or its
/// time zone, or write to its log.
const REMOVED: &[&str] = &["halt", "env", "debug_empty", "stderr_empty", "localtime", "strflocaltime"];
/// What is defined by those.
const REMOVED_DEFINITIONS: &[&str] = &["halt", "halt_error", "debug", "stderr"];

pub(super) fn definitions() -> Vec<Def<&'static str>> {
    let known = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let kept = known.filter(|definition| !REMOVED_DEFINITIONS.contains(&definition.name));
    let call = |name| Box::new(Term::Call(name, Vec::new()));
    let body = Term::BinOp(call(SHOWABLE), BinaryOp::Pipe(None), call(TOJSON));
    let tojson = Def { name: "tojson", args: Vec::new(), body };
    // First, since later definitions use it.
    [tojson].into_iter().chain(kept.filter_map(library)).collect()
}

pub(super) fn functions() -> impl Iterator<Item = Fun<Shaping>> {
    let known = jaq_core::funs::<Shaping>().chain(jaq_std::funs()).chain(jaq_json::funs());
    let kept = known.filter(|(name, ..)| !REMOVED.contains(name));
    let renamed = kept.map(|(name, arity, native)| (if name == "tojson" { TOJSON } else { name }, arity, native));
    renamed.chain(guards())
}

fn guards() -> [Fun<Shaping>; 4] {
    let tick = Native::<Shaping>::new(|cv| {
        let stop = cv.0.data().meter.turn(&cv.1);
        box_once(stop.map(|()| cv.1))
    });
    let tick = tick.with_paths(|cv| {
        let stop = cv.0.data().meter.turn(&cv.1.0);
        box_once(stop.map(|()| cv.1))
    });
    let tick = tick.with_update(|cv, update| match cv.0.data().meter.turn(&cv.1) {
        Ok(()) => update(cv.1),
        Err(stop) => box_once(Err(stop)),
    });
    let sized = Native::<Shaping>::new(|cv| {
        let stop = cv.0.data().meter.size(&cv.1);
        box_once(stop.map(|()| cv.1))
    });
    // An interpolated string or a sum has no path; what passes through has.
    let sized = sized.with_paths(|cv| box_once(Ok(cv.1))).with_update(|cv, update| update(cv.1));
    let showable = Native::<Shaping>::new(|cv| {
        let stop = cv.0.data().meter.show(&cv.1);
        box_once(stop.map(|()| cv.1))
    });
    let times = Native::<Shaping>::new(|mut cv| {
        let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
        box_once(match cv.0.data().meter.product(&left, &right) {
            Ok(()) => (left * right).map_err(Exn::from),
            Err(stop) => Err(stop),
        })
    });
    [(TICK, v(0), tick), (SIZED, v(0), sized), (SHOWABLE, v(0), showable), (TIMES, v(2), times)]
}

/// Deepest value a loop may build; the input is at most 128 deep.
const DEEPEST: usize = 512;
/// Most bits of a whole number: a thousand digits are no identifier.
const MOST_BITS: u64 = 4096;

type Guarded<'a> = Result<(), Exn<'a, Val>>;

impl Meter {
    fn stop<'a>(&self, why: Stop) -> Guarded<'a> {
        self.stopped.set(self.stopped.get().or(Some(why)));
        // Unlike an error, it cannot be caught.
        Err(Exn::halt(1))
    }

    /// Counts a turn of a loop, which has come to `value`.
    fn turn<'a>(&self, value: &Val) -> Guarded<'a> {
        let left = self.left.get();
        if left == 0 || self.stopped.get().is_some() {
            return self.stop(Stop::Long);
        }
        self.left.set(left - 1);
        if left.is_multiple_of(64) && Instant::now() > self.until {
            return self.stop(Stop::Long);
        }
        // Counted apart: every other turn may be that of a loop over numbers.
        if matches!(value, Val::Arr(_) | Val::Obj(_)) {
            self.nested.set(self.nested.get().wrapping_add(1));
            if self.nested.get().is_multiple_of(64) && is_deep(value) {
                return self.stop(Stop::Large);
            }
        }
        Ok(())
    }

    fn size<'a>(&self, value: &Val) -> Guarded<'a> {
        let is_large = match value {
            Val::BStr(text) | Val::TStr(text) => text.len() > self.size,
            // Sixteen bytes an entry at the least.
            Val::Arr(items) => items.len() > self.size / 16,
            Val::Obj(entries) => entries.len() > self.size / 16,
            Val::Num(Num::BigInt(number)) => number.bits() > MOST_BITS,
            Val::Null | Val::Bool(_) | Val::Num(_) => false,
        };
        if is_large { self.stop(Stop::Large) } else { Ok(()) }
    }

    fn show<'a>(&self, value: &Val) -> Guarded<'a> {
        let mut left = self.size;
        if fits(value, &mut left, 0) { Ok(()) } else { self.stop(Stop::Large) }
    }

    fn product<'a>(&self, left: &Val, right: &Val) -> Guarded<'a> {
        let bits = |value: &Val| match value {
            Val::Num(Num::BigInt(number)) => Some(number.bits()),
            Val::Num(Num::Int(_)) => Some(64),
            _ => None,
        };
        let (text, times) = match (left, right) {
            (Val::TStr(text) | Val::BStr(text), Val::Num(times))
            | (Val::Num(times), Val::TStr(text) | Val::BStr(text)) => (text, times),
            _ => {
                let bits = bits(left).zip(bits(right)).map(|(left, right)| left + right);
                return if bits.is_some_and(|bits| bits > MOST_BITS) { self.stop(Stop::Large) } else { Ok(()) };
            }
        };
        let length = match times {
            Num::Int(times) => usize::try_from(*times).unwrap_or(0).checked_mul(text.len()),
            Num::BigInt(_) => None,
            // No number of times.
            Num::Float(_) | Num::Dec(_) => Some(0),
        };
        if length.is_some_and(|length| length <= self.size) { Ok(()) } else { self.stop(Stop::Large) }
    }
}

/// Whether the text of a value fits into what is `left`, roughly.
fn fits(value: &Val, left: &mut usize, depth: usize) -> bool {
    let cost = match value {
        Val::TStr(text) | Val::BStr(text) => text.len() + 2,
        Val::Null | Val::Bool(_) | Val::Num(_) | Val::Arr(_) | Val::Obj(_) => 4,
    };
    let Some(rest) = left.checked_sub(cost).filter(|_| depth <= DEEPEST) else { return false };
    *left = rest;
    match value {
        Val::Arr(items) => items.iter().all(|item| fits(item, left, depth + 1)),
        Val::Obj(entries) => {
            entries.iter().all(|(key, value)| fits(key, left, depth + 1) && fits(value, left, depth + 1))
        }
        _ => true,
    }
}

/// Whether a value has become too deep to be dropped safely. Looks at the edges
/// of wide ones only: what loops build, they build there.
fn is_deep(value: &Val) -> bool {
    const MOST: usize = 4096;
    let mut level: Vec<&Val> = vec![value];
    let mut seen = 0;
    for _ in 0..DEEPEST {
        let mut next: Vec<&Val> = Vec::new();
        for value in level {
            let nests = |item: &&Val| matches!(item, Val::Arr(_) | Val::Obj(_));
            match value {
                Val::Arr(items) => next.extend(edges(items.iter()).filter(nests)),
                Val::Obj(entries) => next.extend(edges(entries.values()).filter(nests)),
                _ => {}
            }
        }
        if next.is_empty() || seen > MOST {
            return false;
        }
        seen += next.len();
        level = next;
    }
    true
}

/// The first and the last few.
fn edges<'v>(
    items: impl Clone + ExactSizeIterator<Item = &'v Val> + DoubleEndedIterator,
) -> impl Iterator<Item = &'v Val> {
    const EDGE: usize = 16;
    items.clone().take(EDGE).chain(items.skip(EDGE).rev().take(EDGE))
}
