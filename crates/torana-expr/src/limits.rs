//! What is too long or too deep to be parsed, seen before the parser starts.

use super::ExprError;

/// Longest text, in bytes.
const LONGEST: usize = 4_096;
/// Nesting of brackets and of `?:`. The parser recurses through every level of
/// precedence for each: in a debug build that takes 90 KiB of stack.
const DEEPEST: usize = 12;
/// Operators, dots and the like: no tree is deeper than this and the brackets
/// together.
const MOST_OPERATORS: usize = 128;

/// Refuses what would take the parser, or whoever walks its tree, too deep:
/// both recurse.
///
/// Strings are read exactly as the lexer reads them: what it takes for a string
/// no bracket counts in, and what it does not, it would go on to parse as code.
pub(super) fn check(text: &str) -> Result<(), ExprError> {
    if text.trim().is_empty() {
        return Err(ExprError::new("the expression is empty", "", 0));
    }
    if text.len() > LONGEST {
        let message = format!("the expression has {} bytes; {LONGEST} is the most", text.len());
        return Err(ExprError::new(message, "", 0));
    }
    let bytes = text.as_bytes();
    let (mut depth, mut choices, mut operators) = (0_usize, 0_usize, 0_usize);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = string(bytes, at)?;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                let rest = bytes.get(at..).unwrap_or_default();
                at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' => choices += 1,
            b'.' | b':' | b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'&' | b'|' => operators += 1,
            _ => {}
        }
        if depth + choices > DEEPEST {
            return Err(ExprError::new(format!("brackets and `?:` are nested more than {DEEPEST} deep"), "", at));
        }
        if operators > MOST_OPERATORS {
            let message = format!("the expression has more than {MOST_OPERATORS} operators");
            return Err(ExprError::new(message, "test for one of many values with `x in [ … ]`", at));
        }
        at += 1;
    }
    Ok(())
}

/// Where the string ends whose quote is at `open`.
fn string(bytes: &[u8], open: usize) -> Result<usize, ExprError> {
    let quote = bytes.get(open).copied().unwrap_or_default();
    let before = bytes.get(..open).unwrap_or_default();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let prefix = before.iter().rev().take_while(|byte| is_name(byte)).count();
    let prefix = before.get(open - prefix..).unwrap_or_default().to_ascii_lowercase();
    let is_raw = matches!(prefix.as_slice(), b"r" | b"rb" | b"br");
    let is_triple = bytes.get(open..open + 3) == Some(&[quote; 3]);
    let close: &[u8] = if is_triple { &[quote; 3] } else { &[quote] };
    let mut at = open + close.len();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            _ if rest.starts_with(close) => return Ok(at + close.len()),
            [b'\n' | b'\r', ..] if !is_triple => break,
            [b'\\', escaped @ ..] if !is_raw => {
                at += 1 + escape(escaped)
                    .ok_or_else(|| ExprError::new("`\\` is followed by nothing it can escape", "write `\\\\`", at))?;
            }
            _ => at += 1,
        }
    }
    Err(ExprError::new("the text in quotes is not closed", "", open))
}

/// How many bytes behind a backslash belong to it.
fn escape(escaped: &[u8]) -> Option<usize> {
    let hex = |digits: usize| {
        let all = escaped.get(1..=digits)?.iter().all(u8::is_ascii_hexdigit);
        all.then_some(digits + 1)
    };
    match escaped.first()? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(1),
        b'x' | b'X' => hex(2),
        b'u' => hex(4),
        b'U' => hex(8),
        b'0'..=b'3' => escaped.get(1..3)?.iter().all(|digit| (b'0'..=b'7').contains(digit)).then_some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let many = "(".repeat(40);
        for text in [
            format!("path == '{many}'"),
            format!("path == \"{many}\\\"{many}\""),
            format!("path == r'{many}\\'"),
            format!("path == '''{many}'\n''{many}'''"),
            format!("path == 'a' // {many} it's\n && true"),
            "path.matches('(a|b)(c|d)(e|f)(g|h)(i|j)(k|l)(m|n)(o|p)')".to_owned(),
        ] {
            assert_eq!(check(&text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_string_does_not_hide_them() {
        let many = "(".repeat(40);
        for text in [
            format!("'{many}"),
            format!("'\n{many}'"),
            format!("'\\q{many}'"),
            format!("'\\x4{many}'"),
            format!("r'\\' + {many}"),
            format!("xr'\\'' + {many}"),
            format!("'a' // '\n {many}"),
            format!("'' {many} ''"),
            format!("'''a''' {many} '''b'''"),
        ] {
            assert!(check(&text).is_err(), "{text}");
        }
    }
}
