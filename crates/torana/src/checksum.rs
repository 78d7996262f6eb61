//! What operators compare to see whether gateways run the same configuration.

use aws_lc_rs::digest::{Context, SHA256};
use std::fmt::Write;
use torana_core::pace::blocks;

/// The SHA-256, in hexadecimal, of the one document a configuration consists
/// of: what `sha256sum torana.yaml` says. For several it is that of their own
/// checksums, a line each, in the order they are read: `sha256sum main.yaml
/// routes/a.yaml | cut -c-64 | sha256sum`.
///
/// Documents count as they are written. What `${env:…}` and `${file:…}` stand
/// for does not: whoever may see a checksum could try guesses at a secret
/// against it.
pub(crate) fn of<'t>(documents: impl IntoIterator<Item = &'t str>) -> String {
    let mut sums = documents.into_iter().map(|document| {
        let mut sum = Context::new(&SHA256);
        blocks(document.as_bytes()).for_each(|block| sum.update(block));
        hex(sum.finish().as_ref())
    });
    let first = sums.next().unwrap_or_default();
    let Some(second) = sums.next() else { return first };
    let mut all = Context::new(&SHA256);
    for sum in [first, second].into_iter().chain(sums) {
        all.update(sum.as_bytes());
        all.update(b"\n");
    }
    hex(all.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn one_document_has_its_own_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(of(["abc"]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn several_have_that_of_the_list_of_theirs() {
        // printf abc >a; printf def >b; sha256sum a b | cut -c-64 | sha256sum
        assert_eq!(of(["abc", "def"]), "de7ad4a6c2f0daea4b2e717eba13e90728ecb1f46840b4450916325b95905ea1");
        let apart = [of(["ab", "c"]), of(["a", "bc"]), of(["abc"]), of(["c", "ab"]), of(["ab", "c", ""])];
        for (at, one) in apart.iter().enumerate() {
            assert!(!apart[at + 1..].contains(one), "{at}");
        }
    }
}
