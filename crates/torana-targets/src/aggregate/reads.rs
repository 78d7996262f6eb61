//! What jq programs take of their input, as far as can be told without running
//! them: enough for an order of parts and for a warning.

/// The members that a jq program takes of its input, as far as they can be told
/// without running it: `.user` where a path begins, unless behind a `|`, where
/// the dot is something else.
pub(super) fn members(program: &str) -> Vec<&str> {
    let mut members = Vec::new();
    let mut last = ' ';
    let mut before = ' ';
    for (at, char) in program.char_indices() {
        let is_continued = before.is_alphanumeric() || matches!(before, '_' | ')' | ']' | '}' | '"' | '?' | '.');
        if char == '.' && !is_continued && last != '|' {
            let name = program.get(at + 1..).map(word).unwrap_or_default();
            if !name.is_empty() {
                members.push(name);
            }
        }
        before = char;
        // Of `|=`, what follows is relative as well.
        if !char.is_whitespace() && (last, char) != ('|', '=') {
            last = char;
        }
    }
    members
}

/// The name that `text` begins with.
fn word(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
    text.get(..end).filter(|word| !word.starts_with(|char: char| char.is_ascii_digit())).unwrap_or_default()
}

/// The words of a jq program, without the names of members that it makes:
/// `orders` in `{orders: .list}`, but not in `{orders}`.
pub(super) fn words(text: &str) -> Vec<&str> {
    let is_in_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut words = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(char) = rest.chars().next() {
        let end = rest.find(|char| !is_in_word(char)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            before = char;
            rest = rest.get(char.len_utf8()..).unwrap_or_default();
            continue;
        }
        if before == '.' || !after.trim_start().starts_with(':') {
            words.push(word);
        }
        rest = after;
    }
    words
}

/// Whether a jq program has a dot that no member follows.
pub(super) fn takes_all(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, &byte)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
        let begins = !before.is_ascii_alphanumeric() && !b"_)]}\"?".contains(&before);
        let next = text.get(at + 1..).unwrap_or_default();
        byte == b'.' && begins && word(next).is_empty() && !next.starts_with('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_of_the_input() {
        let cases: [(&str, &[&str]); 7] = [
            (".user.premium and (.account.age > 17)", &["user", "account"]),
            (".user | .premium", &["user"]),
            ("[.user[] | select(.ok)] | length", &["user", "ok"]),
            (".a |= .b", &["a"]),
            ("if .a then .b else 1.5 end", &["a", "b"]),
            (".a.b[0].c?.d", &["a"]),
            (". == 1 or ..", &[]),
        ];
        for (program, expected) in cases {
            assert_eq!(members(program), expected, "{program}");
        }
    }

    #[test]
    fn names_of_what_is_made_are_no_words() {
        assert_eq!(words("{orders: .list, user}"), ["list", "user"]);
        assert_eq!(words(".rows[.first:.last] | {é: .x}"), ["rows", "first", "last", "x"]);
    }

    #[test]
    fn a_dot_alone_takes_all() {
        for all in [".", "{a: .}", ". + {}", ".[]", "[..]", "map(.)", ".[\"a\"]"] {
            assert!(takes_all(all), "{all}");
        }
        for some in [".a", "{a: .b.c}", ".a[]", "1.5 + .a", ".a.[0]", ".\"a b\""] {
            assert!(!takes_all(some), "{some}");
        }
    }
}
