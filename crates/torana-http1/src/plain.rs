//! The common case, read at a glance.
//!
//! Nearly every head is plain: complete, `Name: value` with one space on every
//! line, CRLF behind each, no byte that needs a second thought. Such a head is
//! read here in one pass. Everything else (partial heads, odd blanks, empty
//! values, tabs, unusual bytes, anything malformed) is left to httparse and the
//! strict check behind it, which alone decide what is refused and why.
//!
//! What is accepted here is a subset of what is accepted there, with the same
//! reading; the test below and the fuzz targets hold it to that.

use crate::limits::{HeadLimits, MAX_METHOD, MAX_NAME, MAX_PLAIN};
use crate::scan::HeadScanner;
use torana_core::head::{Fields, Head, ReplyHead, Status, Version};
use torana_core::names::{KnownName, is_token_byte};

/// Reads a plain request; `None` if it is not one. Then `head` may hold parts.
pub(crate) fn request(scanner: &mut HeadScanner, window: &[u8], limits: &HeadLimits, head: &mut Head) -> Option<usize> {
    let method_len = prefix(window, &TOKEN);
    let (method, rest) = window.split_at_checked(method_len)?;
    if method.is_empty() || method.len() > MAX_METHOD {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    let (target, rest) = rest.split_at_checked(prefix(rest, &TARGET))?;
    if target.is_empty() || target.len() > limits.uri_bytes {
        return None;
    }
    let (version, section) = match rest.split_first_chunk::<11>()? {
        (b" HTTP/1.1\r\n", section) => (Version::Http11, section),
        (b" HTTP/1.0\r\n", section) => (Version::Http10, section),
        _ => return None,
    };
    let length = fields(scanner, section, limits, &mut head.fields)?;
    head.set_method(method);
    head.set_raw_target(target);
    head.version = version;
    window.len().checked_sub(section.len())?.checked_add(length)
}

/// Reads a plain reply; `None` if it is not one. Then `head` may hold parts.
pub(crate) fn reply(
    scanner: &mut HeadScanner,
    window: &[u8],
    limits: &HeadLimits,
    head: &mut ReplyHead,
) -> Option<usize> {
    let rest = window.strip_prefix(b"HTTP/1.1 ")?;
    let (code, rest) = rest.split_first_chunk::<4>()?;
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' '] = *code else { return None };
    let digit = |byte: u8| u16::from(byte.wrapping_sub(b'0'));
    let number = digit(hundreds).checked_mul(100)?.checked_add(digit(tens).checked_mul(10)?)?;
    let status = Status::new(number.checked_add(digit(ones))?)?;
    let (reason, rest) = rest.split_at_checked(plain_len(rest))?;
    if !reason.is_ascii() {
        return None;
    }
    let section = rest.strip_prefix(b"\r\n")?;
    let length = fields(scanner, section, limits, &mut head.fields)?;
    head.status = status;
    head.version = Version::Http11;
    window.len().checked_sub(section.len())?.checked_add(length)
}

/// Reads field lines up to the empty one; answers the length of all of them.
/// Leaves no fields behind where it does not come to the end.
fn fields(scanner: &mut HeadScanner, section: &[u8], limits: &HeadLimits, into: &mut Fields) -> Option<usize> {
    if let Some(length) = scanner.recall(section, limits, into) {
        return Some(length);
    }
    into.clear();
    let read = lines(section, limits, into);
    match read {
        Some(length) => scanner.note(length, into),
        None => into.clear(),
    }
    read
}

fn lines(section: &[u8], limits: &HeadLimits, into: &mut Fields) -> Option<usize> {
    let most = limits.fields.min(MAX_PLAIN);
    let mut count: usize = 0;
    let mut at: usize = 0;
    loop {
        let rest = section.get(at..)?;
        if rest.first() == Some(&b'\r') {
            if rest.get(1) != Some(&b'\n') {
                return None;
            }
            break;
        }
        let (name, behind) = rest.split_at_checked(name_len(rest)?)?;
        let known = KnownName::lookup(name);
        // A known name is a token.
        if name.is_empty() || (known.is_none() && !name.iter().copied().all(is_token_byte)) {
            return None;
        }
        let behind = behind.strip_prefix(b": ")?;
        let (value, behind) = behind.split_at_checked(plain_len(behind))?;
        let blank = matches!(value.first(), None | Some(b' ')) || value.last() == Some(&b' ');
        if blank || behind.first_chunk::<2>()? != b"\r\n" {
            return None;
        }
        count = count.checked_add(1)?;
        if count > most {
            return None;
        }
        into.push_ahead(known, at, name.len(), value.len());
        at = at.checked_add(name.len())?.checked_add(value.len())?.checked_add(4)?;
    }
    // Without the empty line, so that what is added later follows the lines at once.
    into.fill(section.get(..at)?);
    at.checked_add(2)
}

/// How many bytes stand before the first colon, at most [`MAX_NAME`].
fn name_len(bytes: &[u8]) -> Option<usize> {
    scan(bytes, wide::colons, |byte| byte == b':').filter(|len| *len <= MAX_NAME)
}

/// How many bytes at the front are in `table`.
fn prefix(bytes: &[u8], table: &[bool; 256]) -> usize {
    let in_table = |byte: &u8| table.get(usize::from(*byte)).copied().unwrap_or(false);
    bytes.iter().position(|byte| !in_table(byte)).unwrap_or(bytes.len())
}

const TOKEN: [bool; 256] = table(false);
/// Bytes of targets that every parser takes as they stand; others go the long
/// way, where each has its own answer.
const TARGET: [bool; 256] = table(true);

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs when compiling")]
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
const fn table(target: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let this = byte as u8;
        table[byte] = if target {
            this.is_ascii_alphanumeric()
                || matches!(
                    this,
                    b'-' | b'.'
                        | b'_'
                        | b'~'
                        | b'/'
                        | b'?'
                        | b'%'
                        | b'&'
                        | b'='
                        | b'+'
                        | b','
                        | b':'
                        | b'@'
                        | b'!'
                        | b'$'
                        | b'*'
                        | b'('
                        | b')'
                        | b'\''
                        | b';'
                )
        } else {
            is_token_byte(this)
        };
        byte += 1;
    }
    table
}

/// How many bytes at the front are neither control characters nor DEL.
fn plain_len(bytes: &[u8]) -> usize {
    scan(bytes, wide::controls, |byte| byte < b' ' || byte == 0x7f).unwrap_or(bytes.len())
}

/// Where the first byte stands that `hits` and `is_hit`, which agree, point at.
#[inline]
fn scan(bytes: &[u8], hits: impl Fn(&[u8; wide::STEP]) -> u32, is_hit: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at: usize = 0;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<{ wide::STEP }>() {
        let hits = hits(chunk);
        if hits != 0 {
            return at.checked_add(usize::try_from(hits.trailing_zeros()).ok()?);
        }
        at = at.checked_add(wide::STEP)?;
        rest = behind;
    }
    let tail = rest.iter().position(|byte| is_hit(*byte))?;
    at.checked_add(tail)
}

/// Several bytes at a time; a bit of the answer for each, the first byte's the
/// lowest.
#[cfg(target_arch = "x86_64")]
mod wide {
    // `core::arch` behind functions that are safe where the build has SSE2,
    // as every x86-64 build does.
    use safe_arch::{
        bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, min_u8_m128i, move_mask_i8_m128i, set_splat_i8_m128i,
    };

    pub(super) const STEP: usize = 16;

    #[inline]
    pub(super) fn colons(bytes: &[u8; STEP]) -> u32 {
        let colons = cmp_eq_mask_i8_m128i(load_unaligned_m128i(bytes), set_splat_i8_m128i(0x3a));
        move_mask_i8_m128i(colons).cast_unsigned()
    }

    #[inline]
    pub(super) fn controls(bytes: &[u8; STEP]) -> u32 {
        let bytes = load_unaligned_m128i(bytes);
        // The smaller of a byte and 0x1f is the byte, if it is at most 0x1f.
        let below = cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, set_splat_i8_m128i(0x1f)), bytes);
        let delete = cmp_eq_mask_i8_m128i(bytes, set_splat_i8_m128i(0x7f));
        move_mask_i8_m128i(bitor_m128i(below, delete)).cast_unsigned()
    }
}

/// The same in a register of any machine. Only the lowest bit is certain.
#[cfg(any(not(target_arch = "x86_64"), test))]
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "compared with the other in tests"))]
#[path = "plain_words.rs"]
mod words;
#[cfg(not(target_arch = "x86_64"))]
use words as wide;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dice, shown};
    use crate::{request as requests, response as replies};

    const REQUESTS: [&str; 4] = [
        "GET /a/b?c=d%20e HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nX-Long: 0123456789abcdef 0123456789\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 5\r\nx: y\r\n\r\nhello",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nCookie: a=b; c=d\r\n\r\nGET / HTTP/1.1\r\n",
        "M-SEARCH /x;y=z HTTP/1.1\r\n\r\n",
    ];
    const REPLIES: [&str; 3] = [
        "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x01",
    ];

    #[test]
    fn what_is_plain_is_read_as_the_long_way_reads_it() {
        let mut dice = Dice(7);
        let limits = HeadLimits::default();
        let mut plain = 0;
        for _ in 0..200_000 {
            let mut message = REQUESTS[dice.roll(REQUESTS.len())].as_bytes().to_vec();
            dice.mutate(&mut message);
            let (mut short, mut long) = (Head::default(), Head::default());
            let read = request(&mut HeadScanner::new(), &message, &limits, &mut short);
            assert!(read.is_some() || short.fields.is_empty());
            if let Some(length) = read {
                plain += 1;
                let text = String::from_utf8_lossy(&message).into_owned();
                assert_eq!(requests::parse_thoroughly(&message, &limits, &mut long), Ok(Some(length)), "{text:?}");
                assert_eq!(short.method_text(), long.method_text());
                assert_eq!((short.raw_target(), short.version), (long.raw_target(), long.version));
                assert_eq!(shown(&short.fields), shown(&long.fields), "{text:?}");
            }
        }
        assert!(plain > 20_000, "only {plain} messages took the short way");
    }

    #[test]
    fn plain_replies_are_read_as_the_long_way_reads_them() {
        let mut dice = Dice(11);
        let limits = HeadLimits::default();
        let mut plain = 0;
        for _ in 0..200_000 {
            let mut message = REPLIES[dice.roll(REPLIES.len())].as_bytes().to_vec();
            dice.mutate(&mut message);
            let (mut short, mut long) = (ReplyHead::default(), ReplyHead::default());
            if let Some(length) = reply(&mut HeadScanner::new(), &message, &limits, &mut short) {
                plain += 1;
                let text = String::from_utf8_lossy(&message).into_owned();
                assert_eq!(replies::parse_thoroughly(&message, &limits, &mut long), Ok(Some(length)), "{text:?}");
                assert_eq!((short.status, short.version), (long.status, long.version));
                assert_eq!(shown(&short.fields), shown(&long.fields), "{text:?}");
            }
        }
        assert!(plain > 20_000, "only {plain} messages took the short way");
    }

    #[test]
    fn unmutated_messages_are_plain() {
        let limits = HeadLimits::default();
        for message in REQUESTS {
            let whole = request(&mut HeadScanner::new(), message.as_bytes(), &limits, &mut Head::default());
            assert!(whole.is_some(), "{message:?}");
        }
        for message in REPLIES {
            assert!(
                reply(&mut HeadScanner::new(), message.as_bytes(), &limits, &mut ReplyHead::default()).is_some(),
                "{message:?}"
            );
        }
    }

    #[test]
    fn plain_text_ends_at_the_first_control_character() {
        for at in 0..40 {
            for odd in (0..0x20).chain([0x7f]) {
                let mut text = vec![b'a'; 40];
                text[at] = odd;
                text[39] = b'\r';
                assert_eq!(plain_len(&text), at, "{odd:#x}");
            }
        }
        assert_eq!(plain_len(&[0x80; 19]), 19);
        assert_eq!(plain_len(b"~ \xff~ \xff~ \xff~ \xff"), 12);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_ways_of_scanning_agree() {
        let mut dice = Dice(5);
        for _ in 0..20_000 {
            let mut block = [b'a'; 16];
            for _ in 0..dice.roll(4) {
                block[dice.roll(16)] = u8::try_from(dice.roll(256)).unwrap();
            }
            let first = |hits: u32, words: [u32; 2]| {
                let expected = if words[0] == 0 { words[1].trailing_zeros() + 8 } else { words[0].trailing_zeros() };
                assert_eq!(if hits == 0 { 40 } else { hits.trailing_zeros() }, expected, "{block:?}");
            };
            let halves = [block.first_chunk::<8>().unwrap(), block.last_chunk::<8>().unwrap()];
            first(wide::colons(&block), halves.map(words::colons));
            first(wide::controls(&block), halves.map(words::controls));
        }
    }
}
