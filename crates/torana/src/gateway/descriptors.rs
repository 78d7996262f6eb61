//! Every connection is a file descriptor, and the usual limit is 1024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use torana_control::notice;

/// Raises the limit as far as the system lets us without privileges.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let current = limit.current.map_or("unknown".to_owned(), |current| current.to_string());
        notice::warn(&format!("the limit of open files stays at {current}: {error}"));
    }
}
