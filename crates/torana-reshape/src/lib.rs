//! Programs that shape JSON: jq, cut down to what a gateway can stand.
//!
//! What a program may do to the process it runs in is decided here, once, for
//! everything that has programs in its configuration:
//!
//! | jq can | here |
//! |---|---|
//! | end the process (`halt`), read its environment (`env`, `$ENV`), other files (`import`, `include`, `input`), write to its log (`debug`, `stderr`) | these names do not exist |
//! | recurse without end (`def f: [f]; f` overflows the stack) | a `def` that calls itself is refused; `recurse`, `until` and their like are loops that are counted |
//! | loop without end (`[range(1e12)]`) | every turn of every loop is counted, and the clock is looked at; nothing can catch the stop |
//! | fill the memory (`"a" * 3e9`, `. + .` in a loop) | strings, lists and numbers have a largest size, checked where they can grow |
//! | nest without end | loops look at the depth of what they build |
//! | be so deep itself that compiling it overflows | text and nesting have limits, and compiling has a stack of its own |
//!
//! Programs are their operator's: the limits are for mistakes, and for what a
//! stranger's input makes of an honest program. Input is a stranger's, and is
//! read by [`json::read`](torana_core::json::read).
//!
//! Numbers keep the digits they came with: `1.10` and integers of any size
//! pass through unchanged.

mod guard;
mod natives;
mod value;

#[cfg(test)]
mod tests;

pub use jaq_json::Val;
pub use value::{from_value, number_text, read, text, write};

use jaq_core::data::HasLut;
use jaq_core::load::{self, Arena, File, Loader, lex};
use jaq_core::{Compiler, Ctx, DataT, Filter, Lut, Vars};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use torana_core::json::JsonError;
use torana_core::outbound::{self, Line, NotDone, Outbound};
use torana_core::refusal::{Refusal, Rejection};

/// A program, compiled. Cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Reshape(Arc<Program>);

struct Program {
    text: Box<str>,
    variables: usize,
    filter: Filter<Shaping>,
}

/// A program that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReshapeError {
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Where in the text, in bytes.
    pub offset: usize,
}

/// How much a run may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Turns of loops, nested ones multiplied.
    pub turns: u32,
    /// Wall clock.
    pub time: Duration,
    /// Most bytes of a string, entries of a list or an object, that may come
    /// to be on the way; and of the result as text.
    pub size: usize,
}

impl Budget {
    /// What may be spent on a worker's thread, between other requests: a
    /// millisecond or two.
    pub const INLINE: Budget = Budget { turns: 10_000, time: Duration::from_millis(5), size: 1 << 20 };
    /// What may be spent beside them.
    pub const ASIDE: Budget = Budget { turns: 4_000_000, time: Duration::from_secs(2), size: 16 << 20 };
}

/// Why a program has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It failed on this input; in words, without what the input holds.
    Failed(Box<str>),
    /// It took more turns or time than it may.
    TooLong,
    /// Something became larger or deeper than it may.
    TooLarge,
    /// It has no output (`empty`).
    Nothing,
    /// It has more than one output.
    Several,
    /// The interpreter broke; a fault of ours or its own.
    Broken,
    /// Too much is being shaped already.
    Busy,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Failed(why) => return write!(f, "the program failed: {why}"),
            Fault::TooLong => "the program took too long",
            Fault::TooLarge => "the program made something too large",
            Fault::Nothing => "the program has no output",
            Fault::Several => "the program has more than one output",
            Fault::Broken => "the interpreter failed",
            Fault::Busy => "too much is being shaped already",
        })
    }
}

impl std::error::Error for Fault {}

/// Why text is not shaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is not what it is to be read as.
    #[error("{0}")]
    Other(&'static str),
    /// The program has no result.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Longest input that is shaped on the worker itself: reading it takes a
/// fraction of a millisecond.
pub const LARGEST_INLINE: usize = 32 * 1024;

impl TextFault {
    /// The rejection that it is: `unreadable` if the text is to blame, `busy`
    /// where it could not be worked on.
    #[must_use]
    pub fn rejection(self, unreadable: &'static Refusal, busy: &'static Refusal) -> Rejection {
        match self {
            TextFault::Fault(fault) => Rejection::new(busy).because(fault),
            fault => Rejection::new(unreadable).because(fault),
        }
    }
}

/// Does `work`, which runs programs on text of this size, on the calling worker
/// if that is quick, else aside.
///
/// # Errors
/// Those of `work`, and where too much is being done aside.
pub async fn with_budget<T: Send + 'static>(
    worker: Option<&dyn Outbound>,
    size: usize,
    work: impl Fn(Budget) -> Result<T, TextFault> + Send + 'static,
) -> Result<T, TextFault> {
    if size <= LARGEST_INLINE {
        match work(Budget::INLINE) {
            Err(TextFault::Fault(Fault::TooLong | Fault::TooLarge)) => {}
            result => return result,
        }
    }
    outbound::aside(worker, Line::Bodies, move || work(Budget::ASIDE)).await.map_err(Fault::from)?
}

/// Does what takes longer the more bytes it is about: here, or if they are
/// many, aside.
///
/// # Errors
/// Too much is being done aside.
pub async fn beside<T: Send + 'static>(
    worker: Option<&dyn Outbound>,
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if size <= LARGEST_INLINE {
        return Ok(work());
    }
    Ok(outbound::aside(worker, Line::Bodies, work).await?)
}

impl From<NotDone> for Fault {
    fn from(why: NotDone) -> Fault {
        match why {
            NotDone::Full => Fault::Busy,
            NotDone::Panicked => Fault::Broken,
        }
    }
}

/// Longest program. Longer ones are software, and belong behind the gateway.
pub const LONGEST: usize = 16 * 1024;

/// What values and data are to the interpreter.
struct Shaping;

impl DataT for Shaping {
    type V<'a> = Val;
    type Data<'a> = Run<'a>;
}

/// One run: where programs are looked up, and what is left to spend.
#[derive(Clone, Copy)]
struct Run<'a> {
    lut: &'a Lut<Shaping>,
    meter: &'a Meter,
}

impl<'a> HasLut<'a, Shaping> for Run<'a> {
    fn lut(&self) -> &'a Lut<Shaping> {
        self.lut
    }
}

struct Meter {
    left: Cell<u32>,
    /// Turns that came to lists and objects.
    nested: Cell<u32>,
    until: Instant,
    size: usize,
    stopped: Cell<Option<Stop>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Long,
    Large,
}

/// The name the program gets as a definition.
const MAIN: &str = "torana__main";

impl Reshape {
    /// Compiles `text`, which may use `variables`, written with their `$`.
    ///
    /// # Errors
    /// Whatever is wrong with it, and where: the first thing found.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Reshape, ReshapeError> {
        guard::measure(text)?;
        // The parser and the compiler recurse, and who compiles may have little
        // stack left.
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("torana-jq".into()).stack_size(64 << 20);
            thread.spawn_scoped(scope, || compile(text, variables)).ok().and_then(|thread| thread.join().ok())
        });
        let broken = || ReshapeError::new("the compiler of programs failed on this one", "write it differently", 0);
        let filter = compiled.ok_or_else(broken)??;
        Ok(Reshape(Arc::new(Program { text: text.into(), variables: variables.len(), filter })))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Runs the program on `input`, with values for its variables in their
    /// order, and returns its one output.
    ///
    /// # Errors
    /// There is not exactly one, or the budget is spent.
    pub fn run(&self, input: Val, variables: Vec<Val>, budget: Budget) -> Result<Val, Fault> {
        debug_assert_eq!(variables.len(), self.0.variables);
        let meter = Meter {
            left: Cell::new(budget.turns),
            nested: Cell::new(0),
            until: Instant::now() + budget.time,
            size: budget.size,
            stopped: Cell::new(None),
        };
        let run = || self.only(input, variables, &meter);
        // The interpreter is not ours: what it does to itself must not reach
        // anything else.
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Fault::Broken));
        match meter.stopped.get() {
            // Whatever the program made of having been stopped.
            Some(Stop::Long) => Err(Fault::TooLong),
            Some(Stop::Large) => Err(Fault::TooLarge),
            None => result,
        }
    }

    /// [`run`](Self::run), on the calling worker if that is quick, else
    /// aside. `size` is how long the input is as text.
    ///
    /// # Errors
    /// As `run`, and where too much is being done aside.
    pub async fn apply(
        &self,
        worker: Option<&dyn Outbound>,
        input: Val,
        size: usize,
        variables: Vec<Val>,
    ) -> Result<Val, Fault> {
        if size <= LARGEST_INLINE {
            match self.run(input.clone(), variables.clone(), Budget::INLINE) {
                Err(Fault::TooLong | Fault::TooLarge) => {}
                result => return result,
            }
        }
        let program = self.clone();
        outbound::aside(worker, Line::Bodies, move || program.run(input, variables, Budget::ASIDE)).await?
    }

    fn only(&self, input: Val, mut variables: Vec<Val>, meter: &Meter) -> Result<Val, Fault> {
        variables.resize(self.0.variables, Val::Null);
        let filter = &self.0.filter;
        let ctx = Ctx::<Shaping>::new(Run { lut: &filter.lut, meter }, Vars::new(variables));
        let mut outputs = filter.id.run((ctx, input));
        let first = match outputs.next() {
            None => return Err(Fault::Nothing),
            Some(Ok(value)) => value,
            Some(Err(thrown)) => {
                return Err(match thrown.get_err() {
                    Ok(error) => Fault::Failed(value::without_values(&error)),
                    Err(_) => Fault::TooLong,
                });
            }
        };
        if outputs.next().is_some() { Err(Fault::Several) } else { Ok(first) }
    }
}

impl fmt::Debug for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reshape({})", self.0.text)
    }
}

impl ReshapeError {
    fn new(message: impl Into<String>, hint: impl Into<String>, offset: usize) -> ReshapeError {
        ReshapeError { message: message.into(), hint: hint.into(), offset }
    }
}

fn compile(text: &str, variables: &[&str]) -> Result<Filter<Shaping>, ReshapeError> {
    let tokens = lex::Lexer::new(text).lex().map_err(|errors| {
        let first = errors.into_iter().next();
        let (what, at) = first.map_or(("a token", text), |(expect, at)| (expect.as_str(), at));
        ReshapeError::new(format!("not a jq program: a {what} is expected here"), "", offset(text, at))
    })?;
    let term = load::Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let first = errors.into_iter().next();
        let (what, at) =
            first.map_or(("term", ""), |(expect, found)| (expect.as_str(), lex::Token::opt_as_str(found, text)));
        let hint = if at.starts_with("import") || at.starts_with("include") { "there are no modules here" } else { "" };
        ReshapeError::new(format!("not a jq program: `{what}` is expected here"), hint, offset(text, at))
    })?;
    let main = load::parse::Def { name: MAIN, args: Vec::new(), body: guard::program(term, text)? };
    let loader = Loader::new(natives::definitions().into_iter().chain([main]));
    let arena = Arena::default();
    let modules = loader.load(&arena, File { code: MAIN, path: () });
    let modules = modules.map_err(|_| ReshapeError::new("the program cannot be loaded", "", 0))?;
    let compiler = Compiler::default().with_funs(natives::functions()).with_global_vars(variables.iter().copied());
    compiler.compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        let Some((name, what)) = first else { return ReshapeError::new("the program does not compile", "", 0) };
        undefined(text, variables, name, what.as_str())
    })
}

fn undefined(text: &str, variables: &[&str], name: &str, what: &str) -> ReshapeError {
    let hint = match name {
        "env" | "$ENV" | "$__prog_args" => "programs do not see the environment of the gateway".to_owned(),
        "halt" | "halt_error" => "a program cannot end the gateway; `error(\"…\")` refuses the message".to_owned(),
        "input" | "inputs" | "input_filename" => "there is one input, and it is `.`".to_owned(),
        "debug" | "stderr" => "programs do not write to the log".to_owned(),
        "localtime" | "strflocaltime" => "times are UTC: `gmtime`, `strftime`".to_owned(),
        _ if what == "variable" && !variables.is_empty() => format!("there are `{}`", variables.join("`, `")),
        _ => String::new(),
    };
    let what = if what == "filter" { "function" } else { what };
    ReshapeError::new(format!("there is no {what} `{name}`"), hint, offset(text, name))
}

/// Where `part` stands in `text`, if it does.
fn offset(text: &str, part: &str) -> usize {
    let (whole, part) = (text.as_ptr().addr(), part.as_ptr().addr());
    part.checked_sub(whole).filter(|offset| *offset <= text.len()).unwrap_or(0)
}
