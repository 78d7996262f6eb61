//! When a policy runs.

/// The stages of a request, in running order. Inside a stage policies run as
/// written; the response walks the chain backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Before anything is known about the caller: CORS, address filters.
    Intake,
    /// Who the caller is.
    Identify,
    /// Whether the caller may.
    Authorize,
    /// How much the caller may.
    Meter,
    /// What the request and its reply look like.
    Shape,
    /// Answers in place of the target: caches, mocks.
    Serve,
}

impl Stage {
    /// The stage in lower case, as listings show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Intake => "intake",
            Stage::Identify => "identify",
            Stage::Authorize => "authorize",
            Stage::Meter => "meter",
            Stage::Shape => "shape",
            Stage::Serve => "serve",
        }
    }
}
