//! Media types.

use super::PatternError;
use torana_core::names::is_token_byte;

/// A media type without parameters, `application/json`, or all of one kind,
/// `application/*`. Not case-sensitive (RFC 9110 §8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPattern {
    kind: Box<str>,
    /// `None`: any.
    subtype: Option<Box<str>>,
}

impl MediaPattern {
    /// Reads `application/json` or `application/*`.
    ///
    /// # Errors
    /// What is no media type, or has parameters.
    pub fn parse(text: &str) -> Result<MediaPattern, PatternError> {
        let wrong = |hint: &str| PatternError::new(format!("`{text}` is not a media type to match"), hint);
        if text.contains(';') {
            return Err(wrong("leave the parameters out: they do not matter"));
        }
        let Some((kind, subtype)) = text.split_once('/') else {
            return Err(wrong("write both parts, as in `application/json`"));
        };
        if kind == "*" {
            return Err(wrong("any type at all is `headers: { content-type: { present: true } }`"));
        }
        let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
        if !is_token(kind) || !is_token(subtype) || kind.contains('*') || (subtype.contains('*') && subtype != "*") {
            return Err(wrong("write `application/json`, or `application/*` for all of a kind"));
        }
        let subtype = (subtype != "*").then(|| subtype.to_ascii_lowercase().into());
        Ok(MediaPattern { kind: kind.to_ascii_lowercase().into(), subtype })
    }

    /// Whether the value of a `Content-Type` field is of this type.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
        let essence = value.get(..end).unwrap_or_default().trim_ascii();
        let Some(slash) = essence.iter().position(|&byte| byte == b'/') else { return false };
        let (kind, subtype) = essence.split_at(slash);
        let subtype = subtype.get(1..).unwrap_or_default();
        kind.eq_ignore_ascii_case(self.kind.as_bytes())
            && match &self.subtype {
                Some(wanted) => subtype.eq_ignore_ascii_case(wanted.as_bytes()),
                None => !subtype.is_empty(),
            }
    }

    /// Whether every type that fits `self` fits `other`.
    pub(super) fn implies(&self, other: &MediaPattern) -> bool {
        self.kind == other.kind && (other.subtype.is_none() || self.subtype == other.subtype)
    }
}

impl std::fmt::Display for MediaPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.subtype.as_deref().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        let json = MediaPattern::parse("Application/JSON").unwrap();
        for value in ["application/json", "application/json; charset=utf-8", " APPLICATION/JSON ;x=\"a;b\""] {
            assert!(json.matches(value.as_bytes()), "{value}");
        }
        for value in ["application/jsonx", "application/problem+json", "json", "", "text/plain; x=application/json"] {
            assert!(!json.matches(value.as_bytes()), "{value}");
        }
        let all = MediaPattern::parse("application/*").unwrap();
        assert!(all.matches(b"application/xml") && !all.matches(b"application/") && !all.matches(b"text/xml"));
        assert!(json.implies(&all) && !all.implies(&json) && json.implies(&json));
        assert_eq!((json.to_string(), all.to_string()), ("application/json".into(), "application/*".into()));
    }

    #[test]
    fn mistakes_get_the_hint_that_helps() {
        for (text, hint) in [
            ("json", "both parts"),
            ("*/*", "present: true"),
            ("application/json; charset=utf-8", "parameters"),
            ("application/*+json", "all of a kind"),
            ("/json", "`application/json`"),
            ("a b/c", "`application/json`"),
        ] {
            let error = MediaPattern::parse(text).unwrap_err();
            assert!(error.hint.contains(hint), "{text}: {error:?}");
        }
    }
}
