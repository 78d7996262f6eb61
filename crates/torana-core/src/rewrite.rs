//! How a request changes on its way to an upstream: as written, compiled, and
//! done.
//!
//! A rewritten path is built from what a client sent, so it is read again by
//! the rules every path is read by, and must stay below what the operator
//! wrote: `StripPrefix` and its kind produced `..` after authorisation in
//! CVE-2026-40912, -48020, -65600 and -67309.

mod compile;
mod written;

pub use compile::{RoutePath, host, path};
pub use written::{Config, HostRewrite};

use crate::canonical::{CanonicalTarget, TargetError, TargetForm};
use crate::captures::Captures;
use crate::template::Template;
use std::sync::Arc;

/// What `Host` an upstream sees.
#[derive(Debug, Default, Clone)]
pub enum ForwardHost {
    /// The host the client asked for.
    #[default]
    Preserve,
    /// The endpoint's own authority.
    Endpoint,
    /// This one.
    Fixed(Arc<str>),
}

/// A compiled rewrite of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// What is done.
    pub change: Change,
    /// The canonical path, without trailing slash (or `/`), that the result
    /// must equal or lie below.
    pub within: String,
}

/// What a rewrite does with the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes `strip` off the front and puts `add` there; both canonical,
    /// without trailing slash, perhaps empty. A path without `strip` keeps
    /// its front.
    Prefix {
        /// Taken off, whole segments.
        strip: String,
        /// Put in front.
        add: String,
    },
    /// Puts `by` in the place of everything before what the capture at `rest`
    /// (the last of the pattern) holds.
    Matched {
        /// Put in front; canonical, without trailing slash, perhaps empty.
        by: String,
        /// Index of the capture of `*`.
        rest: usize,
    },
    /// The whole path.
    Whole(Template),
}

impl Rewrite {
    /// Writes into `out` the target with the path changed. `text` is scratch;
    /// both keep their buffers.
    ///
    /// # Errors
    /// The result has no one reading or leaves the subtree.
    pub fn apply(
        &self,
        target: &CanonicalTarget,
        captures: &Captures,
        text: &mut String,
        out: &mut CanonicalTarget,
    ) -> Result<(), TargetError> {
        if target.form() != TargetForm::Origin {
            // `OPTIONS *` is about the server, not about a path.
            out.clone_from(target);
            return Ok(());
        }
        let path = target.path();
        text.clear();
        match &self.change {
            Change::Prefix { strip, add } => {
                text.push_str(add);
                text.push_str(strip_segments(path, strip).unwrap_or(path));
            }
            Change::Matched { by, rest } => {
                text.push_str(by);
                let rest = captures.get(path, *rest);
                // `/api/*` matches `/api`, `/api/` and `/api/x`: what follows
                // the prefix begins with a slash or is nothing.
                if !rest.is_empty() || path.ends_with('/') {
                    text.push('/');
                    text.push_str(rest);
                }
            }
            Change::Whole(template) => template.render(path, captures, text),
        }
        if text.is_empty() {
            text.push('/');
        }
        target.rewrite_path(text.as_bytes(), &self.within, out)
    }
}

/// What is left of `path` after the whole segments `prefix`: begins with `/`
/// or is empty.
fn strip_segments<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;

    fn target(path: &str) -> CanonicalTarget {
        let mut head = Head::default();
        head.set_raw_target(path.as_bytes());
        head.fields.append_text(b"host", b"a").unwrap();
        let mut target = CanonicalTarget::default();
        target.admit(&head, false).unwrap();
        target
    }

    fn apply(rewrite: &Rewrite, path: &str, captured: &[(usize, usize)]) -> Result<String, TargetError> {
        let mut captures = Captures::default();
        for &(start, end) in captured {
            captures.push(start, end);
        }
        let mut out = CanonicalTarget::default();
        rewrite.apply(&target(path), &captures, &mut String::new(), &mut out)?;
        Ok(out.path_and_query().to_owned())
    }

    fn prefix(strip: &str, add: &str) -> Rewrite {
        let within = if add.is_empty() { "/" } else { add };
        Rewrite { change: Change::Prefix { strip: strip.into(), add: add.into() }, within: within.into() }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        assert_eq!(apply(&prefix("/api", ""), "/api/users?x=1", &[]).unwrap(), "/users?x=1");
        assert_eq!(apply(&prefix("/api", ""), "/api", &[]).unwrap(), "/");
        assert_eq!(apply(&prefix("/api", ""), "/apis/users", &[]).unwrap(), "/apis/users");
        assert_eq!(apply(&prefix("/api", "/v2"), "/api/users", &[]).unwrap(), "/v2/users");
        assert_eq!(apply(&prefix("", "/v2"), "/", &[]).unwrap(), "/v2/");
    }

    #[test]
    fn the_matched_prefix_is_replaced() {
        let rewrite = Rewrite { change: Change::Matched { by: "/in".into(), rest: 0 }, within: "/in".into() };
        assert_eq!(apply(&rewrite, "/t/7/x/y", &[(5, 8)]).unwrap(), "/in/x/y");
        assert_eq!(apply(&rewrite, "/t/7", &[(4, 4)]).unwrap(), "/in");
        assert_eq!(apply(&rewrite, "/t/7/", &[(5, 5)]).unwrap(), "/in/");
    }

    #[test]
    fn captures_cannot_leave_the_subtree() {
        let names = ["a".to_owned(), "b".to_owned()];
        let whole = Template::compile("/in/{a}{b}/x", &names).unwrap();
        let rewrite = Rewrite { change: Change::Whole(whole), within: "/in".into() };
        assert_eq!(apply(&rewrite, "/p/q", &[(1, 2), (3, 4)]).unwrap(), "/in/pq/x");
        // A lone `.` cannot be captured from a canonical path; half of a `..` can.
        assert_eq!(apply(&rewrite, "/a.b.", &[(2, 3), (4, 5)]), Err(TargetError::LeavesSubtree));
    }
}
