//! A door that holds requests up until a test opens it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Shut at first. Clones are the same door.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    /// Lets everybody through, from now on.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let is_open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open));
    }
}
