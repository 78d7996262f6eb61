//! The one expression language of the house: what a route's `when`, a policy's
//! condition or a key is written in.
//!
//! It is CEL (the Common Expression Language) over the parts of a request:
//!
//! | written | is |
//! |---|---|
//! | `method`, `scheme`, `host`, `path` | text; host and path in canonical form |
//! | `headers["x-tenant"]`, `headers.accept` | text: the value of that field, whose name is not case-sensitive |
//! | `query["page"]`, `cookies["session"]` | text: the decoded value of that parameter, the value of that cookie |
//! | `captures["id"]` | text: what the route's path captured, percent-encoded as in the path |
//! | `client.ip` | text; `client.ip.within("10.0.0.0/8")` asks for a network |
//! | `tls.version`, `tls.server_name` | text; missing in the clear |
//! | `identity.subject`, `identity.proven_by`, `identity.issuer`, `identity.consumer`, `identity.plan` | text; missing until a policy has proved who is calling, and where nobody said |
//! | `identity.claims["tenant"]`, `identity.claims.realm.tier` | text: the claim of that name, or at that path; numbers and booleans as JSON writes them |
//! | `"admin" in identity.roles` | whether it is among them; also `permissions`, `scopes`, and a claim that is a list |
//! | `"x-tenant" in headers`, `has(tls.version)`, `has(identity.claims.tenant)` | whether it is there |
//!
//! Operators: `&& || ! == != < <= > >= + - * / % ?: in`; functions: `startsWith
//! endsWith contains matches size lowerAscii upperAscii trim int double string
//! has exists all`. `matches` searches anywhere, as CEL says, and its pattern
//! is written out, so it is compiled once.
//!
//! # What cannot be evaluated
//!
//! A part that is missing, a field sent twice, text that is not UTF-8 where
//! text is computed with, an overflow: that is a [`Fault`], never a guess.
//! `false && fault` is false and `true || fault` true, in either order; all
//! else that needs the part is a fault too. Who asks decides what a fault
//! means: a route does not match, a check must refuse. Of several fields of one
//! name no one is "the" value: whoever took the first would be told one thing
//! and the upstream another (CVE-2026-26308).
//!
//! # What it costs
//!
//! Comparing, searching and combining parts is compiled to [`Test`]s that
//! allocate nothing, except to decode what has escapes. Only what computes
//! (`+`, `size`, `?:`) enters the interpreter, with the parts it needs as
//! variables.
//!
//! # What is refused
//!
//! Everything that could be wrong is found by [`Expr::compile`]: unknown names
//! and functions, types that do not fit, patterns that do not compile, and
//! text too long or too deep for anyone to have meant it. There are no
//! loops but `exists` and `all` over lists that are written out, which are
//! unrolled; so time is bounded by the length of the text.

mod check;
mod limits;
mod lower;
mod part;
mod read;
pub mod regex;
mod test;
mod written;

#[cfg(test)]
mod tests;

pub use part::{Part, Parts};
pub use written::Written;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use test::computed::Computed;
use test::{Test, Text};
use torana_core::canonical::CanonicalTarget;
use torana_core::captures::Captures;
use torana_core::exchange::{Exchange, Tls};
use torana_core::head::Head;
use torana_core::identity::Identity;

/// An expression, compiled. Equal to another if it was written alike.
#[derive(Clone)]
pub struct Expr {
    text: Box<str>,
    root: Root,
    kind: Kind,
    parts: Vec<Part>,
}

/// What an expression compiled to.
#[derive(Clone)]
enum Root {
    Test(Test),
    Text(Text),
    Computed(Computed),
}

/// What an expression evaluates to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// A whole number.
    Int,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bool => "true or false",
            Kind::Text => "text",
            Kind::Int => "a whole number",
        })
    }
}

/// What an expression evaluated to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// Text; borrowed where it is a part of the request.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
}

/// An expression that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Where in the text, in bytes.
    pub offset: usize,
}

impl ExprError {
    fn new(message: impl Into<String>, hint: impl Into<String>, offset: usize) -> ExprError {
        ExprError { message: message.into(), hint: hint.into(), offset }
    }
}

/// Why an expression has no value for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault<'e> {
    /// The request does not have this part.
    Missing(&'e Part),
    /// The request has this part more than once.
    Repeated(&'e Part),
    /// This part is not UTF-8.
    NotText(&'e Part),
    /// This part is a list or an object, and not one text.
    NotOne(&'e Part),
    /// This part is nothing that a name could be among.
    NotNames(&'e Part),
    /// Computing failed; in words.
    Computing(Box<str>),
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(part) => write!(f, "{part} is missing"),
            Fault::Repeated(part) => write!(f, "{part} is there more than once"),
            Fault::NotText(part) => write!(f, "{part} is not UTF-8"),
            Fault::NotOne(part) => write!(f, "{part} is a list or an object"),
            Fault::NotNames(part) => write!(f, "{part} is not a list of texts"),
            Fault::Computing(why) => f.write_str(why),
        }
    }
}

/// What an expression is asked about: a request, as far as it is known.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The canonical target.
    pub target: &'a CanonicalTarget,
    /// Method and fields.
    pub head: &'a Head,
    /// The caller's address.
    pub client_ip: IpAddr,
    /// TLS facts; `None` in the clear.
    pub tls: Option<&'a Tls>,
    /// Who the caller proved to be.
    pub identity: Option<&'a Identity>,
    /// What the route's path captured.
    pub captures: &'a Captures,
    /// The names of the captures, in order.
    pub names: &'a [String],
}

impl<'a> Subject<'a> {
    /// A routed exchange; `names` are those of its route's captures.
    #[must_use]
    pub fn of(exchange: &'a Exchange, names: &'a [String]) -> Subject<'a> {
        Subject {
            target: exchange.target(),
            head: &exchange.head,
            client_ip: exchange.client_ip,
            tls: exchange.connection.tls.as_ref(),
            identity: exchange.identity.as_ref(),
            captures: &exchange.captures,
            names,
        }
    }
}

impl Expr {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Whatever is wrong with it, and where: the first thing found.
    pub fn compile(text: &str) -> Result<Expr, ExprError> {
        let source = read::read(text)?;
        let kind = check::check(&source)?;
        let (root, parts) = lower::lower(&source, kind)?;
        let kind = kind.known().ok_or_else(|| {
            let message = format!("the expression is {kind}, which is not a result");
            ExprError::new(message, "it may be true or false, text, or a whole number", 0)
        })?;
        Ok(Expr { text: text.into(), root, kind, parts })
    }

    /// Compiles a condition.
    ///
    /// # Errors
    /// As [`compile`](Expr::compile), and where it is not true or false.
    pub fn condition(text: &str) -> Result<Expr, ExprError> {
        let expr = Expr::compile(text)?;
        match expr.kind {
            Kind::Bool => Ok(expr),
            kind => {
                let message = format!("the condition is {kind}; it has to be true or false");
                Err(ExprError::new(message, "compare it with something: `… == …`", 0))
            }
        }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it evaluates to.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The parts of a request it reads, in order.
    #[must_use]
    pub fn reads(&self) -> &[Part] {
        &self.parts
    }

    /// The kinds of parts it reads: what has to be known before it is asked.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.iter().fold(Parts::NONE, |all, part| all.with(part.kind()))
    }

    /// Whether it never enters the interpreter.
    #[must_use]
    pub fn is_native(&self) -> bool {
        match &self.root {
            Root::Test(test) => test.is_native(),
            Root::Text(_) => true,
            Root::Computed(_) => false,
        }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// It has no value for this request, or is no condition.
    pub fn holds<'a>(&'a self, subject: &Subject<'a>) -> Result<bool, Fault<'a>> {
        match &self.root {
            Root::Test(test) => test.holds(subject),
            _ => match self.evaluate(subject)? {
                Value::Bool(holds) => Ok(holds),
                _ => Err(Fault::Computing("not a condition".into())),
            },
        }
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// It has no value for this request.
    pub fn evaluate<'a>(&'a self, subject: &Subject<'a>) -> Result<Value<'a>, Fault<'a>> {
        match &self.root {
            Root::Test(test) => test.holds(subject).map(Value::Bool),
            Root::Text(text) => text.text(subject).map(Value::Text),
            Root::Computed(computed) => computed.value(subject),
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.text == other.text
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.text)
    }
}
