//! What codes mean that are not declared with a meaning beside them. `cargo xtask gen` fails when a code is missing
//! here or no longer used, so the list stays complete.

/// Code and meaning, in alphabetical order.
pub(super) const MEANINGS: &[(&str, &str)] = &[
];
