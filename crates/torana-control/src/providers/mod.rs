//! Where configurations come from.

pub mod file;
mod fingerprint;
mod places;
