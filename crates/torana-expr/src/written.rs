//! Expressions as they stand in a configuration: what is wrong is said on the
//! user's line.

use super::{Expr, ExprError, Part};
use torana_core::diagnostic::{Diagnostic, did_you_mean};
use torana_core::site::Site;
use torana_core::written::Spanned;

/// Where expressions stand, and what is known there.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// The code of what is wrong with them.
    pub code: &'static str,
    /// What the route's path captures.
    pub captures: &'a [String],
    /// Whether the route is there to be looked at: if not, what it captures is
    /// not known.
    pub is_whole: bool,
}

impl<'a> Written<'a> {
    /// In the configuration of a policy.
    #[must_use]
    pub fn of(site: &'a dyn Site, code: &'static str) -> Written<'a> {
        Written { code, captures: site.captured_names(), is_whole: site.is_whole() }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Whatever is wrong with it; the first thing found.
    pub fn expression(&self, text: &Spanned<String>) -> Result<Expr, Box<Diagnostic>> {
        self.checked(text, Expr::compile(text))
    }

    /// Compiles a condition.
    ///
    /// # Errors
    /// The same, and that it is none.
    pub fn condition(&self, text: &Spanned<String>) -> Result<Expr, Box<Diagnostic>> {
        self.checked(text, Expr::condition(text))
    }

    fn checked(&self, text: &Spanned<String>, compiled: Result<Expr, ExprError>) -> Result<Expr, Box<Diagnostic>> {
        let expr = compiled.map_err(|error| self.wrong(text, error))?;
        let unknown = expr.reads().iter().find_map(|part| match part {
            Part::Capture { name, offset } if !self.captures.iter().any(|known| **known == **name) => {
                Some((name, *offset))
            }
            _ => None,
        });
        let Some((name, offset)) = unknown.filter(|_| self.is_whole) else { return Ok(expr) };
        let hint = match did_you_mean(name, self.captures.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.captures.is_empty() => {
                "it captures nothing; a policy of all routes sees no captures".to_owned()
            }
            None => format!("it captures `{}`", self.captures.join("`, `")),
        };
        let message = format!("the route's path captures no `{name}`");
        Err(self.wrong(text, ExprError { message, hint, offset }))
    }

    fn wrong(&self, text: &Spanned<String>, error: ExprError) -> Box<Diagnostic> {
        // What a reference stands for is not shown, and the error quotes it.
        if text.raw().is_some() {
            let message = format!("the value of {} is no expression for this place", text.shown());
            return Box::new(Diagnostic::error(self.code, message).at(text.span));
        }
        let hint = Some(error.hint).filter(|hint| !hint.is_empty());
        Box::new(Diagnostic::error(self.code, error.message).at(text.span_from(error.offset)).maybe_hint(hint))
    }
}
