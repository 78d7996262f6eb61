//! What the gateway keeps outside of its configuration and its memory.

pub mod records;
