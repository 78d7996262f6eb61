//! What is said about refused requests.

use super::guard::From;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often there is a line about the same kind of refusal. Whoever knocks
/// must not be able to fill the log.
const PAUSE: Duration = Duration::from_secs(10);

/// Keeps refusals from being said too often.
#[derive(Default)]
pub(super) struct Refusals(RefCell<BTreeMap<&'static str, Said>>);

struct Said {
    at: Instant,
    /// Refusals since that nothing was said about.
    kept_back: u64,
}

impl Refusals {
    /// The line for a request refused with `code`, if it is time for one. It
    /// holds nothing the client sent.
    pub(super) fn line(&self, code: &'static str, from: From, now: Instant) -> Option<String> {
        let mut said = self.0.borrow_mut();
        let more = match said.get_mut(code) {
            Some(said) if now.duration_since(said.at) < PAUSE => {
                said.kept_back += 1;
                return None;
            }
            Some(said) => said.kept_back,
            None => 0,
        };
        said.insert(code, Said { at: now, kept_back: 0 });
        let more = if more == 0 { String::new() } else { format!(", and {more} more before it") };
        Some(format!("the admin interface refused a request from {from} ({code}){more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_now_and_then_counts_those_between() {
        let refusals = Refusals::default();
        let from = From::Network([10, 0, 0, 9].into());
        let start = Instant::now();
        let line = |code, seconds| refusals.line(code, from, start + Duration::from_secs(seconds));
        let first = "the admin interface refused a request from 10.0.0.9 (admin.bad_token)";
        assert_eq!(line("admin.bad_token", 0).as_deref(), Some(first));
        assert_eq!((line("admin.bad_token", 1), line("admin.bad_token", 9)), (None, None));
        assert!(line("admin.host", 9).is_some(), "each kind has its own pause");
        assert_eq!(line("admin.bad_token", 10), Some(format!("{first}, and 2 more before it")));
        assert_eq!(line("admin.bad_token", 30).as_deref(), Some(first));
    }
}
