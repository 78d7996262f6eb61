//! What people may have a policy do while it runs.
//!
//! A policy declares its operations as constants
//! ([`PolicyKind::OPERATIONS`](crate::policy::PolicyKind::OPERATIONS)) and offers
//! its site somebody who does them. The admin interface has a page for each,
//! `POST /POLICY/OPERATION`, and knows no more of them than what stands here.

use crate::store::Soon;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

/// Something that can be asked for.
#[derive(Debug)]
pub struct Operation {
    /// Its name: a verb.
    pub name: &'static str,
    /// What it does, in a sentence without its full stop.
    pub about: &'static str,
    /// JSON Schema of what is said along with it, an object.
    pub arguments: fn(&mut SchemaGenerator) -> Schema,
}

/// Does an operation of one policy, as it is configured in one place.
pub trait Operate: Send + Sync {
    /// Does it, on the thread of the admin interface: no worker waits for it, and
    /// it waits for none. Answers with an object that says what came of it; what
    /// needs a store comes later, on the same thread, which serves others
    /// meanwhile.
    ///
    /// # Errors
    /// What is wrong with `arguments`, for the person who wrote them.
    fn operate(&self, arguments: &Value) -> Result<Soon<Value>, String>;
}
