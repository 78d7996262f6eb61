//! Checks across the whole configuration: what the schema of one value cannot see.

use torana_core::diagnostic::{Diagnostic, Span};
use torana_core::written::{Spanned, Written};

use crate::gaps::Gaps;
use crate::model::Config;
use crate::sources::Sources;

mod boot;
mod consumers;
mod discover;
mod routes;
mod upstreams;

pub(crate) use routes::alone as check_route;

/// What there is to check. After errors `config` lacks the parts in error; the rest says what not
/// to conclude from their absence.
pub(crate) struct Found<'a> {
    pub(crate) config: &'a Config,
    /// Everything as written, the parts in error included.
    pub(crate) tree: &'a Written,
    /// What `config` lacks of it.
    pub(crate) gaps: &'a Gaps,
    /// Whether every file could be read.
    pub(crate) whole: bool,
    pub(crate) sources: &'a Sources,
    /// Whether the route at a position is known to be fine when it is looked at alone.
    pub(crate) is_fine: &'a dyn Fn(usize) -> bool,
}

impl Found<'_> {
    /// Whether something inside `span` was in error, so that a lack in it proves nothing.
    fn has_gap(&self, span: Span) -> bool {
        self.gaps.touch(span)
    }

    /// " (defined at file:line)", or nothing.
    fn defined_at(&self, span: Span) -> String {
        self.sources.shown(span).map(|place| format!(" (defined at {place})")).unwrap_or_default()
    }
}

/// Runs every check.
pub(crate) fn validate(found: &Found<'_>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    boot::check(found, &mut diagnostics);
    upstreams::check(found, &mut diagnostics);
    routes::check(found, &mut diagnostics);
    consumers::check(found, &mut diagnostics);
    diagnostics
}

/// Names are shown in logs, metrics and URLs of the admin interface, so they have to be plain.
fn check_name(name: &Spanned<String>, what: &str, diagnostics: &mut Vec<Diagnostic>) {
    const LONGEST: usize = 128;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@');
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(plain) {
        let message = format!("{} is not a name for {what}", name.shown());
        let hint = format!("names have up to {LONGEST} letters, digits, `-`, `_`, `.`, `/`, `:` and `@`");
        diagnostics.push(Diagnostic::error("config.bad_name", message).at(name.span).hint(hint));
    }
}
