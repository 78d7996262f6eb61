//! What a policy decides.

use crate::refusal::Rejection;
use crate::reply::Reply;
use std::pin::Pin;

/// A future of the data plane: it stays on its thread.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The outcome of a policy hook.
#[derive(Debug)]
pub enum Decision {
    /// Carry on with the next policy.
    Continue,
    /// Answer the request now with this reply.
    Answer(Box<Reply>),
    /// Refuse the request.
    Reject(Rejection),
}

/// A decision, now or later. Most policies decide at once and cost no
/// allocation; only those that do I/O return [`Verdict::Wait`].
pub enum Verdict<'a> {
    /// Decided.
    Now(Decision),
    /// Will be decided.
    Wait(LocalBoxFuture<'a, Decision>),
}

impl Verdict<'_> {
    /// Carry on.
    pub const CONTINUE: Verdict<'static> = Verdict::Now(Decision::Continue);
}

impl From<Rejection> for Verdict<'_> {
    fn from(rejection: Rejection) -> Self {
        Verdict::Now(Decision::Reject(rejection))
    }
}

impl From<Reply> for Verdict<'_> {
    fn from(reply: Reply) -> Self {
        Verdict::Now(Decision::Answer(Box::new(reply)))
    }
}
