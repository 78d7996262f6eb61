//! Steps of JSON Pointers (RFC 6901), as configurations name places in bodies.

/// The name that a step stands for: `~1` is a slash and `~0` a tilde.
#[must_use]
pub fn name(step: &str) -> Box<str> {
    // In this order, or `~01` would become a slash (§4).
    step.replace("~1", "/").replace("~0", "~").into()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn slashes_and_tildes_are_escaped() {
        // The examples of RFC 6901 §5, and what order matters for.
        for (step, expected) in [("a~1b", "a/b"), ("m~0n", "m~n"), ("", ""), ("c%d", "c%d"), ("~01", "~1")] {
            assert_eq!(&*name(step), expected);
        }
    }
}
