//! Whether two configurations say the same, without saying what they say.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use torana_core::pace::stepwise;
use torana_core::written::{Entry, Node, Written};

/// Equal for configurations of equal values, references expanded; comments, spelling and the order
/// of keys do not count, nor does what the files hold that values name.
///
/// It is computed with a key that is drawn at random once per process, and it is never shown: from a
/// plain hash that somebody gets to see, a weak secret could be found by trying. So it says nothing
/// outside of the process that made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// That of a part of a configuration.
    #[must_use]
    pub fn of(tree: &Written) -> Self {
        let mut hasher = Self::hasher();
        add(tree, &mut hasher);
        Self(hasher.finish())
    }

    /// That of the map `tree` if it had the items with these fingerprints in its list `key`, which is empty.
    pub(crate) fn with_items(tree: &Written, key: &str, items: impl ExactSizeIterator<Item = Self>) -> Self {
        let mut hasher = Self::hasher();
        let mut items = Some(items);
        add_map(tree.entries(), &mut hasher, |entry, hasher| match items.take_if(|_| *entry.key == key) {
            Some(items) => add_list(items, hasher),
            None => add(&entry.value, hasher),
        });
        Self(hasher.finish())
    }

    fn hasher() -> impl Hasher {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEY.build_hasher()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// A number before each part and a length inside keep `[a, b]` and `[[a], b]`, `ab` and `a` `b`
/// apart.
fn add(tree: &Written, hasher: &mut impl Hasher) {
    match &tree.node {
        Node::Null => hasher.write_u8(0),
        Node::Bool(value) => hasher.write(&[1, u8::from(*value)]),
        Node::Int(value) => {
            hasher.write_u8(2);
            hasher.write_i128(*value);
        }
        Node::Float(value) => {
            hasher.write_u8(3);
            hasher.write_u64(value.to_bits());
        }
        Node::String(text) => {
            hasher.write_u8(4);
            add_text(text, hasher);
        }
        Node::List(items) => add_list(items.iter().map(Fingerprint::of), hasher),
        Node::Map(entries) => add_map(entries, hasher, |entry, hasher| add(&entry.value, hasher)),
    }
}

/// By the fingerprints of its items: those of a large list are known from the load before.
fn add_list(items: impl ExactSizeIterator<Item = Fingerprint>, hasher: &mut impl Hasher) {
    hasher.write_u8(5);
    hasher.write_usize(items.len());
    stepwise(items).for_each(|item| hasher.write_u64(item.0));
}

fn add_map<H: Hasher>(entries: &[Entry], hasher: &mut H, mut add_value: impl FnMut(&Entry, &mut H)) {
    hasher.write_u8(6);
    hasher.write_usize(entries.len());
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    for entry in sorted {
        add_text(&entry.key, hasher);
        add_value(entry, hasher);
    }
}

fn add_text(text: &str, hasher: &mut impl Hasher) {
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::diagnostic::FileId;

    fn of(yaml: &str) -> Fingerprint {
        Fingerprint::of(&crate::document::parse(FileId(0), yaml, crate::document::Format::Yaml).tree.unwrap())
    }

    #[test]
    fn it_follows_values_and_not_their_spelling() {
        assert_eq!(of("a: 1\nb: [ x, y ]\n"), of("# note\nb:\n  - \"x\"\n  - y\na: 1\n"));
        let all = ["a: 1", "a: \"1\"", "a: 1.0", "a: [ 1 ]", "a: true", "a:", "a: [ b, c ]", "a: [ [ b ], c ]", "b: 1"];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(of(one), of(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", of("a: 1")), "Fingerprint(…)");
    }
}
