//! One value: what it may be read as further on, and whether that is an attack.

use libinjectionrs::{detect_sqli, detect_xss};
use std::borrow::Cow;
use torana_core::query::without_escapes;

/// What an attack is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// SQL injection.
    Sqli,
    /// Cross-site scripting.
    Xss,
}

/// Which kinds are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) sqli: bool,
    pub(super) xss: bool,
}

/// Longest value that is looked at as a whole: longer ones are read in pieces,
/// since reading may take the square of the length.
const LONGEST: usize = 64 * 1024;
/// What two pieces share, so that nothing hides at a seam.
const SEAM: usize = 2 * 1024;

/// What attack a value is, decoded as its place says. Of a long one only the
/// first piece is read as SQL, which begins where a value does; markup may stand
/// anywhere.
pub(super) fn attack(value: &[u8], wanted: Wanted) -> Option<Kind> {
    let mut pieces = (0..value.len().max(1)).step_by(LONGEST - SEAM).map(|from| {
        let piece = value.get(from..).unwrap_or_default();
        (piece.get(..LONGEST).unwrap_or(piece), Wanted { sqli: wanted.sqli && from == 0, ..wanted })
    });
    pieces.find_map(|(piece, wanted)| attack_in(piece, wanted))
}

fn attack_in(value: &[u8], wanted: Wanted) -> Option<Kind> {
    // Words and numbers are nothing, and most values are that.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if value.iter().all(is_plain) && !value.starts_with(b"-") && !value.windows(2).any(|pair| pair == b"--") {
        return None;
    }
    judged(value, wanted).or_else(|| match further(value) {
        Cow::Owned(further) => judged(&further, wanted),
        Cow::Borrowed(_) => None,
    })
}

fn judged(value: &[u8], wanted: Wanted) -> Option<Kind> {
    if wanted.sqli && detect_sqli(value).is_injection() {
        return Some(Kind::Sqli);
    }
    // Markup needs one of these, whatever context it lands in.
    let may_be_xss = value.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"' | b'\'' | b'`' | b'='));
    (wanted.xss && may_be_xss && detect_xss(value).is_injection()).then_some(Kind::Xss)
}

/// The value decoded once more, as careless applications do: percent escapes,
/// then entities of HTML. Once: what is encoded more often is for nobody.
fn further(value: &[u8]) -> Cow<'_, [u8]> {
    match without_escapes(value) {
        Cow::Owned(decoded) => entities(&decoded).map_or(Cow::Owned(decoded), Cow::Owned),
        Cow::Borrowed(_) => entities(value).map_or(Cow::Borrowed(value), Cow::Owned),
    }
}

fn entities(value: &[u8]) -> Option<Vec<u8>> {
    const NAMED: [(&[u8], u8); 9] = [
        (b"lt", b'<'),
        (b"gt", b'>'),
        (b"amp", b'&'),
        (b"quot", b'"'),
        (b"apos", b'\''),
        (b"Tab", b'\t'),
        (b"NewLine", b'\n'),
        (b"colon", b':'),
        (b"lpar", b'('),
    ];
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    let mut found = false;
    while let [first, after @ ..] = rest {
        // Names and numbers are short; the semicolon may be missing after numbers.
        let entity = (*first == b'&').then(|| {
            let named = NAMED.iter().find_map(|(name, byte)| {
                let after = after.strip_prefix(*name)?;
                Some((u32::from(*byte), after.strip_prefix(b";")?))
            });
            named.or_else(|| number(after.strip_prefix(b"#")?))
        });
        match entity.flatten().and_then(|(code, rest)| Some((char::from_u32(code)?, rest))) {
            Some((character, after)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                found = true;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    found.then_some(out)
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let (radix, text) = match text {
        [b'x' | b'X', text @ ..] => (16, text),
        text => (10, text),
    };
    let length = text.iter().take_while(|byte| char::from(**byte).is_digit(radix)).take(8).count();
    let (digits, rest) = text.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
    let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    Some((code, rest.strip_prefix(b";").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_does_not_hide_behind_much_of_something_else() {
        let both = Wanted { sqli: true, xss: true };
        for length in [0, 10, LONGEST - 20, LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST] {
            let padded = |end: &str| ["a b".repeat(length / 3).as_bytes(), end.as_bytes()].concat();
            assert_eq!(attack(&padded(""), both), None, "{length}");
            assert_eq!(attack(&padded("<script>alert(1)</script>"), both), Some(Kind::Xss), "{length}");
        }
        assert_eq!(attack(b"1' OR '1'='1", both), Some(Kind::Sqli));
    }
}
