//! `Cache-Control` as it is written (RFC 9111 §5.2), and the numbers beside it.
//!
//! What can be misread is read against keeping: of two values the shorter
//! counts, one that is no number is zero, and an unknown directive says
//! nothing (§5.2.3, §4.2.1).

use crate::head::Fields;
use crate::names::KnownName;

/// What requests and replies say about keeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Whether there is any.
    pub said: bool,
    /// Nothing of it is to be kept.
    pub no_store: bool,
    /// Not to be used without asking; without regard to the fields it may name.
    pub no_cache: bool,
    /// For one caller only; the same.
    pub private: bool,
    /// For everybody, whoever asked.
    pub public: bool,
    /// `must-revalidate`, as `proxy-revalidate` does, to a shared cache.
    pub must_revalidate: bool,
    /// `must-revalidate` itself, which permits keeping (§3.5).
    pub origin_revalidates: bool,
    /// The bytes are to stay as they are.
    pub no_transform: bool,
    /// The target is not to be asked.
    pub only_if_cached: bool,
    /// Seconds that it is fresh, or may be old.
    pub max_age: Option<u64>,
    /// The same for shared caches.
    pub s_maxage: Option<u64>,
    /// Seconds that it is to be fresh still.
    pub min_fresh: Option<u64>,
    /// Seconds that it may be stale; `u64::MAX` if any staleness will do.
    pub max_stale: Option<u64>,
    /// Seconds that it may be used stale while it is asked for (RFC 5861 §3).
    pub stale_while_revalidate: Option<u64>,
    /// Seconds that it may be used stale when asking fails (RFC 5861 §4).
    pub stale_if_error: Option<u64>,
}

impl Directives {
    /// What `fields` say.
    #[must_use]
    pub fn of(fields: &Fields) -> Directives {
        let mut all = Directives::default();
        for value in fields.get_all(KnownName::CacheControl) {
            for part in parts(value) {
                all.take(part);
            }
        }
        all
    }

    /// What a request says; `Pragma: no-cache` is what HTTP/1.0 has (§5.4).
    #[must_use]
    pub fn of_request(fields: &Fields) -> Directives {
        let mut all = Directives::of(fields);
        all.no_cache |= !all.said && fields.list_contains(KnownName::Pragma, "no-cache");
        all
    }

    fn take(&mut self, part: &[u8]) {
        let (name, value) = match part.iter().position(|byte| *byte == b'=') {
            Some(at) => (&part[..at], Some(&part[at + 1..])),
            None => (part, None),
        };
        self.said = true;
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        // Blanks around `=` are no part of the grammar: whatever stands there
        // is no number.
        let seconds = || match value {
            Some(value) if name.trim_ascii_end() == name => seconds(unquoted(value)).unwrap_or(0),
            _ => 0,
        };
        let shorter = |before: Option<u64>, now: u64| Some(before.map_or(now, |before| before.min(now)));
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            (self.must_revalidate, self.origin_revalidates) = (true, true);
        } else if is("proxy-revalidate") {
            self.must_revalidate = true;
        } else if is("no-transform") {
            self.no_transform = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age = shorter(self.max_age, seconds());
        } else if is("s-maxage") {
            self.s_maxage = shorter(self.s_maxage, seconds());
        } else if is("min-fresh") {
            self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds()));
        } else if is("max-stale") {
            let most = if value.is_some() { seconds() } else { u64::MAX };
            self.max_stale = shorter(self.max_stale, most);
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate = shorter(self.stale_while_revalidate, seconds());
        } else if is("stale-if-error") {
            self.stale_if_error = shorter(self.stale_if_error, seconds());
        }
    }
}

/// The members of a list whose members may be or hold quoted strings.
pub fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let (mut is_quoted, mut is_escaped) = (false, false);
            let end = rest.iter().position(|byte| {
                let is_end = *byte == b',' && !is_quoted;
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_quoted => is_escaped = true,
                    b'"' => is_quoted = !is_quoted,
                    _ => {}
                }
                is_end
            });
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().trim_ascii();
            rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
            if !part.is_empty() {
                return Some(part);
            }
        }
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// `1*DIGIT`; more than there is room for is a very long time (§1.2.2).
#[must_use]
pub fn seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = std::str::from_utf8(text).ok()?.parse().unwrap_or(u64::MAX);
    Some(seconds.min(LONGEST))
}

/// A hundred years: more is never meant, and would not fit into dates.
const LONGEST: u64 = 100 * 366 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Directives {
        let mut fields = Fields::default();
        for value in values {
            fields.append(KnownName::CacheControl, value.as_bytes()).unwrap();
        }
        Directives::of(&fields)
    }

    #[test]
    fn names_have_no_case_and_come_in_any_number_of_fields() {
        let all = of(&["Private, NO-STORE", "Max-Age=60,, s-maxage=\"30\"", "No-Cache=\"Set-Cookie, X\", Public"]);
        assert!(all.private && all.no_store && all.no_cache && all.public);
        assert_eq!((all.max_age, all.s_maxage), (Some(60), Some(30)));
    }

    #[test]
    fn what_is_quoted_is_no_directive() {
        assert_eq!(of(&[r#"extension="max-age=3600, no-store", max-age=1"#]).max_age, Some(1));
        assert_eq!(of(&[r#"max-age=1, extension="a\", max-age=3600""#]).max_age, Some(1));
        assert!(!of(&[r#"extension="no-store""#]).no_store);
        assert_eq!(of(&[r#"x="open, max-age=3600"#]).max_age, None);
    }

    #[test]
    fn what_is_not_a_number_is_zero_and_of_two_the_shorter_counts() {
        for (value, seconds) in [
            ("max-age=003600", 3600),
            ("max-age=3600, max-age=1", 1),
            ("max-age=1, max-age=3600", 1),
            ("max-age='3600'", 0),
            ("max-age=3600.0", 0),
            ("max-age=-1", 0),
            ("max-age=a3600", 0),
            ("max-age=3600a", 0),
            ("max-age =3600", 0),
            ("max-age= 3600", 0),
            ("max-age", 0),
            ("max-age=", 0),
            ("max-age=99999999999999999999", LONGEST),
        ] {
            assert_eq!(of(&[value]).max_age, Some(seconds), "{value}");
        }
        assert_eq!(of(&["max-stale"]).max_stale, Some(u64::MAX));
        assert_eq!(of(&["x-max-age=5"]).max_age, None);
    }

    #[test]
    fn the_old_word_for_no_cache_counts_where_there_is_no_new_one() {
        let mut fields = Fields::default();
        fields.append(KnownName::Pragma, b"No-Cache").unwrap();
        assert!(Directives::of_request(&fields).no_cache);
        fields.append(KnownName::CacheControl, b"max-age=5").unwrap();
        assert!(!Directives::of_request(&fields).no_cache);
    }
}
