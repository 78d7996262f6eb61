//! Reads callgrind's profile format: total instructions, and how often functions were called.
//!
//! Format: <https://valgrind.org/docs/manual/cl-format.html>. Names are compressed: `cfn=(7) malloc`
//! defines 7, later lines say `cfn=(7)`; `fn=` and `cfn=` share one table. The line after `cfn=` that begins with `calls=`
//! holds the number of calls.

use std::collections::HashMap;

/// The calls that hand out memory. `free` is left out: it follows from these.
pub(super) const ALLOCATORS: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "mi_malloc",
    "mi_malloc_aligned",
    "mi_zalloc",
    "mi_zalloc_aligned",
    "mi_realloc",
    "mi_realloc_aligned",
];

/// What one dump says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Profile {
    pub(super) instructions: u64,
    /// Calls by function name, of [`ALLOCATORS`] only.
    pub(super) allocations: HashMap<String, u64>,
}

impl Profile {
    pub(super) fn total_allocations(&self) -> u64 {
        self.allocations.values().sum()
    }

    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.instructions += other.instructions;
        for (name, calls) in other.allocations {
            *self.allocations.entry(name).or_default() += calls;
        }
        self
    }
}

/// `None` for a file without a total, which callgrind has not finished writing.
pub(super) fn parse(text: &str) -> Option<Profile> {
    let mut profile = Profile::default();
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut callee = None;
    let mut total = None;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("cfn=") {
            callee = resolve(value, &mut names);
        } else if let Some(value) = line.strip_prefix("fn=") {
            resolve(value, &mut names);
        } else if let Some(value) = line.strip_prefix("calls=") {
            if let Some(name) = callee.take()
                && let Some(count) = value.split_whitespace().next().and_then(|n| n.parse::<u64>().ok())
            {
                *profile.allocations.entry(name).or_default() += count;
            }
        } else if let Some(value) = line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")) {
            total = total.or_else(|| value.split_whitespace().next()?.parse().ok());
        }
    }
    profile.instructions = total?;
    Some(profile)
}

/// The allocator a `(7) name` or `(7)` stands for; remembers definitions.
fn resolve<'a>(value: &'a str, names: &mut HashMap<&'a str, &'a str>) -> Option<String> {
    let (id, name) = match value.split_once(") ") {
        Some((id, name)) => (id, name),
        None => match value.strip_suffix(')') {
            Some(id) => (id, *names.get(id)?),
            None => ("", value),
        },
    };
    if !id.is_empty() {
        names.insert(id, name);
    }
    // `malloc'2` is a recursion level, `malloc@@GLIBC_2.2.5` a symbol version.
    let plain = name.split(['\'', '@']).next().unwrap_or(name);
    ALLOCATORS.contains(&plain).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_calls_through_compressed_names() {
        let text = "events: Ir\nsummary: 5000\n\nfn=(1) main\n16 400\ncfn=(2) malloc\ncalls=3 0\n16 90\n\
                    cfn=(3) other\ncalls=9 0\n17 5\nfn=(4) work\ncfn=(2)\ncalls=2 0\n1 1\ncfn=(5) realloc'2\ncalls=1 0\n";
        let profile = parse(text).unwrap();
        assert_eq!(profile.instructions, 5000);
        assert_eq!(profile.allocations["malloc"], 5);
        assert_eq!(profile.allocations["realloc"], 1);
        assert_eq!(profile.total_allocations(), 6);
    }

    #[test]
    fn threads_add_up() {
        let one = parse("summary: 5\nfn=(1) main\ncfn=(2) malloc\ncalls=3 0\n16 90\n").unwrap();
        let other =
            parse("summary: 7\nfn=(1) main\ncfn=(2) malloc\ncalls=1 0\n1 1\ncfn=(3) calloc\ncalls=2 0\n").unwrap();
        let both = one.and(other);
        assert_eq!((both.instructions, both.total_allocations()), (12, 6));
        assert_eq!(both.allocations["malloc"], 4);
    }

    #[test]
    fn an_unfinished_file_is_not_zero_instructions() {
        assert_eq!(parse("events: Ir\nfn=(1) main\n"), None);
    }
}
