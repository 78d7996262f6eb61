//! What policies carry from one hook of an exchange to the next.
//!
//! Policies are shared by all exchanges, so what one knows about one exchange
//! travels with that. Exchanges whose policies carry nothing pay for an empty
//! list.

use std::any::Any;
use std::fmt;

/// Luggage of policies, by whose it is.
#[derive(Default)]
pub struct Carried(Vec<(usize, Box<dyn Any>)>);

impl Carried {
    /// Keeps `value` for `owner`: the policy itself, which is in one place for
    /// as long as its plan. A second value of the same type is a second one.
    pub fn put<T: 'static>(&mut self, owner: &impl Sized, value: T) {
        self.0.push((key(owner), Box::new(value)));
    }

    /// The first value of this type that `owner` has put.
    #[must_use]
    pub fn get<T: 'static>(&self, owner: &impl Sized) -> Option<&T> {
        let key = key(owner);
        self.0.iter().filter(|(of, _)| *of == key).find_map(|(_, value)| value.downcast_ref())
    }

    /// The same, taken away.
    pub fn take<T: 'static>(&mut self, owner: &impl Sized) -> Option<T> {
        let key = key(owner);
        let at = self.0.iter().position(|(of, value)| *of == key && value.is::<T>())?;
        self.0.swap_remove(at).1.downcast().ok().map(|value| *value)
    }

    /// Drops everything, keeping the list's room.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn key(owner: &impl Sized) -> usize {
    std::ptr::from_ref(owner).addr()
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carried({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_finds_its_own() {
        let (one, two) = (Box::new(1_u8), Box::new(1_u8));
        let mut carried = Carried::default();
        carried.put(&*one, "of one");
        carried.put(&*two, "of two");
        carried.put(&*two, 7_u32);
        assert_eq!(carried.get::<&str>(&*one), Some(&"of one"));
        assert_eq!((carried.get::<&str>(&*two), carried.get::<u32>(&*two)), (Some(&"of two"), Some(&7)));
        assert_eq!(carried.get::<u32>(&*one), None);
        assert_eq!((carried.take::<u32>(&*one), carried.take::<u32>(&*two)), (None, Some(7)));
        assert_eq!((carried.take::<u32>(&*two), carried.get::<&str>(&*two)), (None, Some(&"of two")));
        carried.clear();
        assert_eq!(carried.get::<&str>(&*one), None);
    }
}
