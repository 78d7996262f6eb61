//! What is looked at and put into a program before it is compiled: recursion is
//! refused, loops are counted, what grows is measured.

use super::{LONGEST, MAIN, ReshapeError, offset};
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

/// Counts a turn; hands its input on. No program can write its name.
pub(super) const TICK: &str = "!tick";
/// Checks how large its input has become; hands it on.
pub(super) const SIZED: &str = "!sized";
/// Checks that its input is not too large to become text; hands it on.
pub(super) const SHOWABLE: &str = "!showable";
/// `$l * $r`, if that is not too large.
pub(super) const TIMES: &str = "!times";
/// `tojson` for what is showable.
pub(super) const TOJSON: &str = "!tojson";

/// Deepest nesting of brackets.
const DEEPEST: usize = 96;
/// Deepest program, chains of operators and fields of objects included: they
/// are nested when it runs, on a worker's stack.
const DEEPEST_TREE: usize = 256;
/// Most words and signs; the parser nests them at worst.
const MOST_TOKENS: usize = 4096;

/// Refuses text that is too long or too deep to be parsed.
pub(super) fn measure(text: &str) -> Result<(), ReshapeError> {
    if text.len() > LONGEST {
        let message = format!("the program is longer than {} KiB", LONGEST / 1024);
        return Err(ReshapeError::new(message, "programs of that size belong behind the gateway", 0));
    }
    let (mut depth, mut tokens, mut in_word) = (0_usize, 0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_';
        if !(byte.is_ascii_whitespace() || is_word && in_word) {
            tokens += 1;
        }
        in_word = is_word;
        if depth > DEEPEST || tokens > MOST_TOKENS {
            return Err(too_deep(at));
        }
    }
    Ok(())
}

fn too_deep(at: usize) -> ReshapeError {
    ReshapeError::new("the program is nested too deeply", "simplify it, or use `def` for its parts", at)
}

/// Guards what a person wrote; recursion is refused.
pub(super) fn program<'s>(term: Term<&'s str>, text: &str) -> Result<Term<&'s str>, ReshapeError> {
    let mut guard = Guard { scope: vec![Name { name: MAIN, arity: 0, is_around: true }], text: Some(text), depth: 0 };
    guard.term(term)
}

/// Guards definitions of the library, which recurse in known ways.
pub(super) fn library(definition: Def<&'static str>) -> Option<Def<&'static str>> {
    let mut guard = Guard { scope: Vec::new(), text: None, depth: 0 };
    guard.definition(definition).ok()
}

/// A name of a function, as seen from inside.
struct Name<'s> {
    name: &'s str,
    arity: usize,
    /// Whether we are within its definition: a call is recursion.
    is_around: bool,
}

struct Guard<'s, 't> {
    scope: Vec<Name<'s>>,
    /// What is guarded, if a person wrote it.
    text: Option<&'t str>,
    depth: usize,
}

type Guarded<'s> = Result<Term<&'s str>, ReshapeError>;

impl<'s> Guard<'s, '_> {
    fn term(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        self.depth += 1;
        if self.text.is_some() && self.depth > DEEPEST_TREE {
            return Err(too_deep(0));
        }
        let guarded = self.guarded(term);
        self.depth -= 1;
        guarded
    }

    fn boxed(&mut self, term: Term<&'s str>) -> Result<Box<Term<&'s str>>, ReshapeError> {
        self.term(term).map(Box::new)
    }

    fn maybe(&mut self, term: Option<Box<Term<&'s str>>>) -> Result<Option<Box<Term<&'s str>>>, ReshapeError> {
        term.map(|term| self.boxed(*term)).transpose()
    }

    fn guarded(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        Ok(match term {
            Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => term,
            Term::Recurse => then(Term::Recurse, TICK),
            Term::Str(format, parts) => then(Term::Str(format, self.parts(parts)?), SIZED),
            Term::Arr(inner) => Term::Arr(self.maybe(inner)?),
            Term::Obj(entries) => {
                // Compiled to a sum of its fields.
                if self.text.is_some() && entries.len() > DEEPEST_TREE {
                    return Err(too_deep(0));
                }
                let entry = |(key, value): (_, Option<_>)| {
                    Ok((self.term(key)?, value.map(|value| self.term(value)).transpose()?))
                };
                Term::Obj(entries.into_iter().map(entry).collect::<Result<_, ReshapeError>>()?)
            }
            Term::Neg(inner) => Term::Neg(self.boxed(*inner)?),
            Term::BinOp(left, operator, right) => self.operator(*left, operator, *right)?,
            Term::Label(name, inner) => Term::Label(name, self.boxed(*inner)?),
            Term::Fold(name, source, pattern, arguments) => {
                let source = self.boxed(*source)?;
                let pattern = self.pattern(pattern)?;
                let mut guarded = Vec::with_capacity(arguments.len());
                for (index, argument) in arguments.into_iter().enumerate() {
                    let argument = self.term(argument)?;
                    // The second is what is done in each turn.
                    guarded.push(if index == 1 { before(TICK, argument) } else { argument });
                }
                Term::Fold(name, source, pattern, guarded)
            }
            Term::TryCatch(inner, catch) => Term::TryCatch(self.boxed(*inner)?, self.maybe(catch)?),
            Term::IfThenElse(branches, otherwise) => {
                let branch = |(test, then)| Ok((self.term(test)?, self.term(then)?));
                let branches = branches.into_iter().map(branch).collect::<Result<_, ReshapeError>>()?;
                Term::IfThenElse(branches, self.maybe(otherwise)?)
            }
            Term::Def(definitions, rest) => {
                let before = self.scope.len();
                let definitions: Result<Vec<_>, _> =
                    definitions.into_iter().map(|definition| self.definition(definition)).collect();
                let rest = self.boxed(*rest);
                self.scope.truncate(before);
                Term::Def(definitions?, rest?)
            }
            Term::Call(name, arguments) => self.call(name, arguments)?,
            Term::Path(of, path) => self.path(*of, path)?,
        })
    }

    fn parts(
        &mut self,
        parts: Vec<StrPart<&'s str, Term<&'s str>>>,
    ) -> Result<Vec<StrPart<&'s str, Term<&'s str>>>, ReshapeError> {
        let part = |part| {
            Ok(match part {
                StrPart::Term(term) => StrPart::Term(then(self.term(term)?, SHOWABLE)),
                other => other,
            })
        };
        parts.into_iter().map(part).collect()
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Result<Pattern<&'s str>, ReshapeError> {
        Ok(match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(items) => {
                Pattern::Arr(items.into_iter().map(|item| self.pattern(item)).collect::<Result<_, _>>()?)
            }
            Pattern::Obj(items) => {
                let item = |(key, item)| Ok((self.term(key)?, self.pattern(item)?));
                Pattern::Obj(items.into_iter().map(item).collect::<Result<_, ReshapeError>>()?)
            }
        })
    }

    fn operator(&mut self, left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Guarded<'s> {
        let (left, right) = (self.term(left)?, self.term(right)?);
        Ok(match operator {
            BinaryOp::Pipe(pattern) => {
                let pattern = pattern.map(|pattern| self.pattern(pattern)).transpose()?;
                binary(left, BinaryOp::Pipe(pattern), right)
            }
            // Before the second, so that a call at its end stays the last thing done.
            BinaryOp::Comma => binary(left, BinaryOp::Comma, before(TICK, right)),
            BinaryOp::Math(Math::Mul) => Term::Call(TIMES, vec![left, right]),
            BinaryOp::Math(Math::Add) => then(binary(left, BinaryOp::Math(Math::Add), right), SIZED),
            // `l *= r` is `r as $x | l |= . * $x`.
            BinaryOp::UpdateMath(math @ (Math::Mul | Math::Add)) => {
                const OTHER: &str = "$!other";
                let other = Term::Var(OTHER);
                let result = match math {
                    Math::Mul => Term::Call(TIMES, vec![Term::Id, other]),
                    math => then(binary(Term::Id, BinaryOp::Math(math), other), SIZED),
                };
                let update = then(binary(left, BinaryOp::Update, result), SIZED);
                binary(right, BinaryOp::Pipe(Some(Pattern::Var(OTHER))), update)
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                then(binary(left, operator, right), SIZED)
            }
            BinaryOp::Alt | BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_) => {
                binary(left, operator, right)
            }
        })
    }

    fn definition(&mut self, definition: Def<&'s str>) -> Result<Def<&'s str>, ReshapeError> {
        let Def { name, args, body } = definition;
        let arity = args.len();
        let before = self.scope.len();
        self.scope.push(Name { name, arity, is_around: true });
        // Arguments hide functions of their name.
        self.scope.extend(args.iter().map(|name| Name { name, arity: 0, is_around: false }));
        let body = self.term(body);
        self.scope.truncate(before);
        self.scope.push(Name { name, arity, is_around: false });
        Ok(Def { name, args, body: body? })
    }

    fn call(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Guarded<'s> {
        let known = self.scope.iter().rev().find(|known| known.name == name && known.arity == arguments.len());
        let is_recursion = known.is_some_and(|known| known.is_around);
        if let Some(text) = self.text.filter(|_| is_recursion) {
            let message = format!("`{name}` calls itself");
            let hint = "use `recurse`, `while`, `until`, `reduce` or `walk`, which can be stopped";
            return Err(ReshapeError::new(message, hint, offset(text, name)));
        }
        let is_ours = known.is_some();
        let arguments: Vec<_> = arguments.into_iter().map(|argument| self.term(argument)).collect::<Result<_, _>>()?;
        let arity = arguments.len();
        let call = Term::Call(name, arguments);
        Ok(match (name, arity) {
            _ if is_recursion => before(TICK, call),
            _ if is_ours => call,
            ("range", 3) => then(call, TICK),
            (
                "implode" | "explode" | "escape_html" | "encode_uri" | "encode_base64" | "escape_sh" | "tobytes"
                | "ascii_downcase",
                0,
            ) => then(call, SIZED),
            _ => call,
        })
    }

    fn path(&mut self, of: Term<&'s str>, path: Path<Term<&'s str>>) -> Guarded<'s> {
        let of = self.boxed(of)?;
        let mut iterates = false;
        let mut parts = Vec::with_capacity(path.0.len());
        for (part, optional) in path.0 {
            let part = match part {
                Part::Index(index) => Part::Index(self.term(index)?),
                Part::Range(None, None) => {
                    iterates = true;
                    Part::Range(None, None)
                }
                Part::Range(from, to) => {
                    Part::Range(from.map(|from| self.term(from)).transpose()?, to.map(|to| self.term(to)).transpose()?)
                }
            };
            parts.push((part, optional));
        }
        let path = Term::Path(of, Path(parts));
        Ok(if iterates { then(path, TICK) } else { path })
    }
}

fn binary<'s>(left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(left), operator, Box::new(right))
}

/// `term | name`
fn then<'s>(term: Term<&'s str>, name: &'static str) -> Term<&'s str> {
    binary(term, BinaryOp::Pipe(None), Term::Call(name, Vec::new()))
}

/// `name | term`
fn before<'s>(name: &'static str, term: Term<&'s str>) -> Term<&'s str> {
    binary(Term::Call(name, Vec::new()), BinaryOp::Pipe(None), term)
}
