//! From [`Written`] to a type: check along the schema, then serde, and again without what was
//! refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned};

use super::check::{self, path_to};
use super::{SchemaTree, Written};
use crate::diagnostic::{Diagnostic, Misfit, Span};

mod reader;

use reader::Reader;

/// How many values serde may refuse before decoding gives up. Each costs one more pass over the
/// tree.
const MOST_REFUSALS: usize = 50;

/// What became of a tree.
#[derive(Clone, Debug)]
pub struct Decoded<T> {
    /// The value: of the whole tree if there are no diagnostics, otherwise of what is left without
    /// the parts in error; `None` if too little is left.
    pub value: Option<T>,
    /// Everything wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The parts in error that `value` was made without.
    pub dropped: Vec<Span>,
}

/// See [`Written::decode_along`].
pub(super) fn decode<T: DeserializeOwned>(tree: &Written, schema: &SchemaTree) -> Decoded<T> {
    let mut condemned = HashSet::new();
    let mut checked = check::check(tree, schema, &condemned);
    // Later rounds see less of the tree, so only the first one knows everything the schema has to
    // say.
    let mut diagnostics = std::mem::take(&mut checked.diagnostics);
    for _ in 0..MOST_REFUSALS {
        let Some(left) = &checked.left else { break };
        let error = match T::deserialize(Reader(left)) {
            Ok(value) => {
                return Decoded { value: Some(value), diagnostics: sorted(diagnostics), dropped: checked.dropped };
            }
            Err(error) => error,
        };
        let span = error.at.unwrap_or(left.span);
        // Where something was cut out, what is refused may only be the gap it left.
        if !tree.touches(span, &checked.dropped) {
            diagnostics.push(error.diagnostic(tree, span));
        }
        if !condemned.insert(span) {
            break;
        }
        checked = check::check(tree, schema, &condemned);
    }
    Decoded { value: None, diagnostics: sorted(diagnostics), dropped: checked.dropped }
}

/// In the order of the files, each problem once: a value used through two YAML aliases is reported
/// once.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let place = |diagnostic: &Diagnostic| diagnostic.primary.as_ref().map(|label| label.span);
    diagnostics.sort_by_key(place);
    diagnostics.dedup_by(|one, other| place(one).is_some() && place(one) == place(other) && one.code == other.code);
    diagnostics
}

/// What serde refused, with the innermost place it was refused at.
#[derive(Debug)]
struct Refused {
    message: String,
    at: Option<Span>,
    /// Whether a missing key is the reason.
    missing: bool,
    /// The written text, if the value came from a reference: `message` may then quote a secret.
    raw: Option<String>,
}

impl Refused {
    fn new(message: String) -> Self {
        Self { message, at: None, missing: false, raw: None }
    }

    /// Remembers where, unless a place further inside is known already.
    fn within(mut self, written: &Written) -> Self {
        if self.at.is_none() {
            self.at = Some(written.span);
            self.raw = written.reference.as_ref().map(|reference| reference.raw.clone());
        }
        self
    }

    fn diagnostic(self, tree: &Written, span: Span) -> Diagnostic {
        let path = path_to(tree, span).map(|path| format!("`{path}`: ")).unwrap_or_default();
        let value = self.raw.as_deref().map(crate::diagnostic::quoted);
        match (Misfit::parse(&self.message), value) {
            (Some(misfit), None) => {
                let message = format!("{path}expected {}, found {}", misfit.expected, misfit.found);
                Diagnostic::error(misfit.code, message).at(span).maybe_hint(misfit.hint)
            }
            (Some(misfit), Some(raw)) => {
                let message = format!("{path}expected {}, which the value of {raw} is not", misfit.expected);
                Diagnostic::error(misfit.code, message).at(span)
            }
            (None, None) => {
                let code = if self.missing { "config.missing_key" } else { "config.invalid_value" };
                Diagnostic::error(code, format!("{path}{}", self.message)).at(span)
            }
            (None, Some(raw)) => {
                Diagnostic::error("config.invalid_value", format!("{path}the value of {raw} is not accepted here"))
                    .at(span)
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: true, ..Self::new(format!("the key `{field}` is missing")) }
    }
}
