//! Who the caller proved to be.

use std::sync::Arc;

/// An authenticated caller. Set by policies of the `Identify` stage; absent
/// means anonymous, never "not checked yet" to later stages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The stable name: consumer, subject, certificate name.
    pub subject: Arc<str>,
    /// Which policy proved it.
    pub proven_by: &'static str,
    /// The plan of the consumer: what it pays for.
    pub plan: Option<Arc<str>>,
}
