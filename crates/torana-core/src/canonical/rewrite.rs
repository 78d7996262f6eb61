//! A target with another path or query, under the same rules.

use super::{CanonicalTarget, TargetError, TargetForm, path};

impl CanonicalTarget {
    /// Writes into `out` this target with another path, read by the same rules
    /// as a client's; scheme, host and query stay. `out` keeps its buffers.
    ///
    /// Rewrites build paths from what clients sent, so the result must stay in
    /// the subtree `within` (a canonical path without trailing slash, or `/`)
    /// that the operator wrote, and may hold no dot segment: those come from
    /// a client's `.` meeting the operator's `.` (CVE-2026-40912 and siblings).
    ///
    /// # Errors
    /// [`TargetError::LeavesSubtree`], or as for any path; `out` is then empty.
    pub fn rewrite_path(&self, path: &[u8], within: &str, out: &mut CanonicalTarget) -> Result<(), TargetError> {
        out.clear();
        let result = self.try_rewrite_path(path, within, out);
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn try_rewrite_path(&self, path: &[u8], within: &str, out: &mut CanonicalTarget) -> Result<(), TargetError> {
        let had_dots = path::canonical_path_noting_dots(path, &mut out.text)?;
        if had_dots || !is_within(&out.text, within) {
            return Err(TargetError::LeavesSubtree);
        }
        out.form = TargetForm::Origin;
        out.scheme = self.scheme;
        out.authority.push_str(&self.authority);
        out.host_len = self.host_len;
        out.port = self.port;
        out.path_len = out.text.len();
        if let Some(query) = self.query() {
            out.text.push('?');
            out.text.push_str(query);
        }
        Ok(())
    }

    /// Replaces the query (`None` removes it, `?` and all), read by the same
    /// rules as a client's.
    ///
    /// # Errors
    /// For bytes a query may not hold; the target is then without query.
    pub fn set_query(&mut self, query: Option<&[u8]>) -> Result<(), TargetError> {
        self.text.truncate(self.path_len);
        let Some(query) = query else { return Ok(()) };
        self.text.push('?');
        let result = path::append_query(query, &mut self.text);
        if result.is_err() {
            self.text.truncate(self.path_len);
        }
        result
    }
}

/// Whether the canonical `path` is `subtree` or below it, segment-wise.
#[must_use]
pub fn is_within(path: &str, subtree: &str) -> bool {
    let subtree = subtree.strip_suffix('/').unwrap_or(subtree);
    path.strip_prefix(subtree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::get;
    use super::*;

    #[test]
    fn rewriting_stays_in_its_subtree() {
        let target = get(b"/api/x?q=1").unwrap();
        let mut out = CanonicalTarget::default();
        target.rewrite_path(b"/v2/x", "/v2", &mut out).unwrap();
        assert_eq!((out.path_and_query(), out.authority()), ("/v2/x?q=1", "h"));
        target.rewrite_path(b"/v2//%41", "/v2/", &mut out).unwrap();
        assert_eq!(out.path(), "/v2/A");
        target.rewrite_path(b"/anything", "/", &mut out).unwrap();
        for path in ["/v2/../admin", "/v2/a/../b", "/v2/./b", "/v2x", "/v2/..", "/V2/x", "/v2/%2e%2e/v2"] {
            assert_eq!(
                target.rewrite_path(path.as_bytes(), "/v2", &mut out),
                Err(TargetError::LeavesSubtree),
                "{path}"
            );
            assert_eq!(out, CanonicalTarget::default());
        }
        assert_eq!(target.rewrite_path(b"/v2/a?b", "/v2", &mut out), Err(TargetError::Form));
        assert_eq!(target.rewrite_path(b"v2", "/v2", &mut out), Err(TargetError::Form));
    }

    #[test]
    fn replacing_the_query() {
        let mut target = get(b"/a?b").unwrap();
        target.set_query(Some(b"c=d")).unwrap();
        assert_eq!(target.path_and_query(), "/a?c=d");
        assert_eq!(target.set_query(Some(b"c d")), Err(TargetError::Control));
        assert_eq!(target.path_and_query(), "/a");
        target.set_query(None).unwrap();
        assert_eq!(target.query(), None);
    }
}
