//! Path and query bytes.

use super::TargetError;

/// Stands as it is (RFC 3986 `pchar` without `;`, `%` and `.`).
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const DOT: u8 = 2;
// From here on a byte is never copied as it is.
const PERCENT: u8 = 3;
/// Not allowed in a path, but with one reading.
const ENCODE: u8 = 4;
const QUESTION: u8 = 5;
const HASH: u8 = 6;
const BACKSLASH: u8 = 7;
const SEMICOLON: u8 = 8;
const CONTROL: u8 = 9;

#[expect(clippy::cast_possible_truncation, reason = "counts to 255")]
const CLASS: [u8; 256] = {
    let mut table = [ENCODE; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => PLAIN,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => PLAIN,
            b'/' => SLASH,
            b'.' => DOT,
            b'%' => PERCENT,
            b'?' => QUESTION,
            b'#' => HASH,
            b'\\' => BACKSLASH,
            b';' => SEMICOLON,
            0..=b' ' | 0x7f => CONTROL,
            _ => ENCODE,
        };
        byte += 1;
    }
    table
};

/// Replaces `out` by the canonical form of `raw`, a whole path. Literals in
/// configuration and rewritten paths go through here as well, so that both
/// sides of every comparison follow the same rules.
///
/// # Errors
/// See the table in [`canonical`](crate::canonical); a raw `?` is
/// [`TargetError::Form`]. `out` is then unspecified.
pub fn canonical_path(raw: &[u8], out: &mut String) -> Result<(), TargetError> {
    canonical_path_noting_dots(raw, out).map(|_| ())
}

/// [`canonical_path`] that tells whether there were dot segments.
pub(super) fn canonical_path_noting_dots(raw: &[u8], out: &mut String) -> Result<bool, TargetError> {
    out.clear();
    if plain_prefix(raw) == raw.len() && raw.first() == Some(&b'/') {
        push_ascii(raw, out)?;
        return Ok(false);
    }
    resolve(raw, out)
}

/// Replaces `out` by the canonical form of the path `raw` begins with and
/// returns its end in `raw`: where the `?` stands, or `raw.len()`.
pub(super) fn canonical_path_part(raw: &[u8], out: &mut String) -> Result<usize, TargetError> {
    out.clear();
    let plain = plain_prefix(raw);
    if matches!(raw.get(plain), None | Some(b'?')) && plain > 0 && raw.first() == Some(&b'/') {
        push_ascii(raw.get(..plain).unwrap_or_default(), out)?;
        return Ok(plain);
    }
    let end = raw.iter().position(|&byte| byte == b'?').unwrap_or(raw.len());
    resolve(raw.get(..end).unwrap_or_default(), out)?;
    Ok(end)
}

/// How many leading bytes are canonical as they stand. One look-up per byte:
/// nearly every path of real traffic ends here.
fn plain_prefix(raw: &[u8]) -> usize {
    let mut previous = PLAIN;
    for (index, &byte) in raw.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        if class != PLAIN && (class > DOT || previous == SLASH) {
            return index;
        }
        previous = class;
    }
    raw.len()
}

fn push_ascii(bytes: &[u8], out: &mut String) -> Result<(), TargetError> {
    // Never fails: the tables admit ASCII only. (Cheaper than it looks: a few
    // words are compared at once.)
    out.push_str(std::str::from_utf8(bytes).map_err(|_| TargetError::Control)?);
    Ok(())
}

/// The careful way, for paths with escapes, dot segments or worse.
fn resolve(raw: &[u8], out: &mut String) -> Result<bool, TargetError> {
    let Some((b'/', rest)) = raw.split_first() else {
        return Err(TargetError::Form);
    };
    out.push('/');
    let mut segments = Segments { start: 1, ..Segments::default() };
    // The last byte written as an escape, if nothing followed it yet.
    let mut escaped = 0;
    let mut bytes = rest.iter().copied();
    while let Some(byte) = bytes.next() {
        let data = match CLASS[usize::from(byte)] {
            PLAIN | DOT => {
                out.push(char::from(byte));
                escaped = 0;
                continue;
            }
            SLASH => {
                segments.end(out, false)?;
                escaped = 0;
                continue;
            }
            PERCENT => match (bytes.next().and_then(hex_value), bytes.next().and_then(hex_value)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(TargetError::Escape),
            },
            ENCODE => byte,
            QUESTION => return Err(TargetError::Form),
            HASH => return Err(TargetError::Fragment),
            BACKSLASH => return Err(TargetError::Backslash),
            SEMICOLON => return Err(TargetError::Parameters),
            _ => return Err(TargetError::Control),
        };
        match data {
            0..0x20 | 0x7f => return Err(TargetError::EncodedControl),
            b'/' => return Err(TargetError::EncodedSlash),
            b'\\' => return Err(TargetError::Backslash),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(data));
                escaped = 0;
            }
            _ if is_overlong(escaped, data) => return Err(TargetError::Overlong),
            _ => {
                push_escape(data, out);
                escaped = data;
            }
        }
    }
    segments.end(out, true)?;
    if segments.empty && segments.parent {
        return Err(TargetError::AmbiguousSegments);
    }
    Ok(segments.parent || segments.current)
}

/// The segments written so far (RFC 3986 §5.2.4, done on the output).
#[derive(Default)]
struct Segments {
    /// Where the current segment begins in the output, after a slash.
    start: usize,
    /// Seen: an empty segment, `.`, `..`.
    empty: bool,
    current: bool,
    parent: bool,
}

impl Segments {
    fn end(&mut self, out: &mut String, last: bool) -> Result<(), TargetError> {
        match out.get(self.start..).unwrap_or_default() {
            // A path may end in a slash; elsewhere an empty segment is dropped.
            "" => self.empty |= !last,
            "." => {
                self.current = true;
                out.truncate(self.start);
            }
            ".." => {
                self.parent = true;
                out.truncate(self.start.saturating_sub(1));
                let slash = out.rfind('/').ok_or(TargetError::AboveRoot)?;
                out.truncate(slash + 1);
                self.start = out.len();
            }
            // What a server sees that decodes before it drops parameters.
            segment if segment.starts_with("..%3B") || segment.starts_with(".%3B") => {
                return Err(TargetError::Parameters);
            }
            _ if last => {}
            _ => {
                out.push('/');
                self.start = out.len();
            }
        }
        Ok(())
    }
}

/// Whether two bytes begin a UTF-8 sequence longer than its code point needs
/// (RFC 3629 §3): old decoders read `%c0%ae` as a dot and `%c0%af` as a slash.
/// Other bytes that are not UTF-8 are somebody's Latin-1 and stay.
fn is_overlong(first: u8, second: u8) -> bool {
    matches!((first, second), (0xc0 | 0xc1, 0x80..=0xbf) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f))
}

/// Appends a query. Its bytes have no structure the gateway relies on for
/// access decisions, so what is visible ASCII stays exactly as it was:
/// signatures over queries survive.
pub(super) fn append_query(raw: &[u8], out: &mut String) -> Result<(), TargetError> {
    let mut rest = raw;
    loop {
        let kept = rest.iter().position(|&byte| !matches!(byte, b'!'..=b'~') || byte == b'#').unwrap_or(rest.len());
        push_ascii(rest.get(..kept).unwrap_or_default(), out)?;
        match rest.get(kept) {
            None => return Ok(()),
            Some(b'#') => return Err(TargetError::Fragment),
            Some(&byte) if byte >= 0x80 => push_escape(byte, out),
            Some(_) => return Err(TargetError::Control),
        }
        rest = rest.get(kept + 1..).unwrap_or_default();
    }
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
