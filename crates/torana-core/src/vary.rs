//! What replies say about which others there are.

use crate::head::Fields;
use crate::names::KnownName;

/// Says that replies differ with this field of the request (RFC 9110 §12.5.5),
/// if it has not been said.
pub fn add(reply: &mut Fields, name: &str) {
    if !reply.list_contains(KnownName::Vary, "*") && !reply.list_contains(KnownName::Vary, name) {
        // A name is a value, too.
        let _ = reply.append(KnownName::Vary, name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_not_where_everything_matters() {
        for (before, after) in [(None, "origin"), (Some("Accept, Origin"), "Accept, Origin"), (Some("*"), "*")] {
            let mut fields = Fields::default();
            before.into_iter().for_each(|value| fields.append(KnownName::Vary, value.as_bytes()).unwrap());
            add(&mut fields, "origin");
            add(&mut fields, "origin");
            assert_eq!(fields.get_all(KnownName::Vary).collect::<Vec<_>>(), [after.as_bytes()]);
        }
    }
}
