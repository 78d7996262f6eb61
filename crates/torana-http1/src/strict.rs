//! The final check: whatever is accepted has one reading.
//!
//! httparse is the lowest layer and in proven hands, but it is lenient where
//! browsers and old servers were. This module walks over what it found with
//! independent arithmetic and refuses the message if anything but the plain
//! grammar of RFC 9112 lies between the parts. What is refused, and who reads
//! it differently:
//!
//! | refused | other reading |
//! |---|---|
//! | bare LF as line end | parsers that require CRLF see one longer line (CVE-2023-30589 class) |
//! | bare CR anywhere | Node and others once took CR as line end |
//! | more than one empty line before a request | some count them as an (HTTP/0.9) request |
//! | an empty line before a reply | the reply of another request, on a reused connection |
//! | more than one blank between the parts of the start line | version or target with a blank in it |
//! | blank before the colon | another header name, or `Content-Length ` ignored |
//! | blank before the first field, folded lines | continuation of the start line, a field more or less |
//! | a tab beside the value of a framing field | part of the value, so no length and no coding (nginx) |
//! | bytes above 0x7e in the target | Latin-1 or UTF-8, decided by each hop |
//! | names above 1 KiB | truncated by fixed-size tables |
//!
//! Kept because all readings agree: blanks around a value (trimmed; spaces only
//! where it frames), empty values, bytes above 0x7f in values (opaque, RFC 9110
//! §5.5), a status line that ends right behind the code.

use crate::error::HeadError;
use crate::framing::FRAMING;
use crate::limits::MAX_NAME;
use std::ops::Range;
use torana_core::head::Fields;
use torana_core::names::KnownName;

/// Checks that a line ends at `at` with CRLF and answers where the next starts.
/// For a start line, `at` is what its parts and the blanks between them add up
/// to.
pub(crate) fn line_end(head: &[u8], at: usize) -> Result<usize, HeadError> {
    let next = at.saturating_add(2);
    if head.get(at..next) == Some(b"\r\n") {
        return Ok(next);
    }
    Err(match head.get(at) {
        Some(b'\n') => HeadError::BareLf,
        Some(b'\r') => HeadError::BareCr,
        _ => HeadError::Ambiguous,
    })
}

/// Copies the parsed `fields` of `head`, a complete head whose field lines
/// start at `start`, into `into`, checking each line on the way.
pub(crate) fn fill(
    into: &mut Fields,
    head: &[u8],
    start: usize,
    fields: &[httparse::Header<'_>],
) -> Result<(), HeadError> {
    // The start line is not part of the copy: it is stored elsewhere.
    let section = head.get(start..).ok_or(HeadError::Ambiguous)?;
    into.load(section);
    let mut at = 0;
    for field in fields {
        if let Some(length) = plain_line(section, at, field) {
            into.push_line(at, field.name.len(), field.value.len());
            at = at.saturating_add(length);
            continue;
        }
        let (name, value, next) = field_line(section, at, field)?;
        into.push_range(name, value);
        at = next;
    }
    if line_end(section, at)? == section.len() { Ok(()) } else { Err(HeadError::Ambiguous) }
}

/// The length of the line at `at` if it is `Name: value CRLF` with nothing
/// else, as most lines are, and is where httparse found the field.
fn plain_line(section: &[u8], at: usize, field: &httparse::Header<'_>) -> Option<usize> {
    let (name, value) = (field.name.as_bytes(), field.value);
    if name.len() > MAX_NAME || value.is_empty() {
        return None;
    }
    let rest = section.get(at..)?;
    let (before, behind) = rest.split_at_checked(name.len())?;
    let (between, behind) = behind.split_first_chunk::<2>()?;
    let (middle, behind) = behind.split_at_checked(value.len())?;
    let (end, _) = behind.split_first_chunk::<2>()?;
    let same = std::ptr::eq(before.as_ptr(), name.as_ptr()) && std::ptr::eq(middle.as_ptr(), value.as_ptr());
    (same && between == b": " && end == b"\r\n").then(|| name.len().saturating_add(value.len()).saturating_add(4))
}

type Line = (Range<usize>, Range<usize>, usize);

/// Finds the field again that httparse found in the line at `at`.
fn field_line(section: &[u8], at: usize, field: &httparse::Header<'_>) -> Result<Line, HeadError> {
    if field.name.len() > MAX_NAME {
        return Err(HeadError::FieldNameTooLong);
    }
    let colon = at.saturating_add(field.name.len());
    let name = section.get(at..colon).ok_or(HeadError::Ambiguous)?;
    if !std::ptr::eq(name, field.name.as_bytes()) || section.get(colon) != Some(&b':') {
        return Err(HeadError::Ambiguous);
    }
    let start = skip_blanks(section, colon.saturating_add(1));
    let end = start.saturating_add(field.value.len());
    let value = section.get(start..end).ok_or(HeadError::Ambiguous)?;
    // An empty value has no place of its own.
    if !value.is_empty() && !std::ptr::eq(value, field.value) {
        return Err(HeadError::Ambiguous);
    }
    let next = line_end(section, skip_blanks(section, end))?;
    let tab = |from, to| section.get(from..to).is_some_and(|blanks| blanks.contains(&b'\t'));
    if (tab(colon, start) || tab(end, next)) && KnownName::lookup(name).is_some_and(|name| FRAMING.contains(name)) {
        return Err(HeadError::Ambiguous);
    }
    Ok((at..colon, start..end, next))
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t') = bytes.get(at) {
        at = at.saturating_add(1);
    }
    at
}

/// Names what httparse stumbled over among the fields. Off the hot path: the
/// message is refused anyway, this only finds the most useful reason.
pub(crate) fn diagnose(head: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderName => diagnose_name(head),
        httparse::Error::HeaderValue | httparse::Error::NewLine => {
            diagnose_line_end(head, HeadError::FieldValueInvalid)
        }
        httparse::Error::Status => diagnose_line_end(head, HeadError::StatusLineInvalid),
        httparse::Error::Token => HeadError::TargetInvalid,
        httparse::Error::Version => HeadError::VersionInvalid,
    }
}

fn diagnose_name(head: &[u8]) -> HeadError {
    for (index, line) in head.split(|&byte| byte == b'\n').skip(1).enumerate() {
        if line.first().is_some_and(|&byte| is_blank(byte)) {
            return if index == 0 { HeadError::SpaceBeforeFields } else { HeadError::ObsFold };
        }
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if name.len() < line.len() && name.last().is_some_and(|&byte| is_blank(byte)) {
            return HeadError::SpaceBeforeColon;
        }
        if !name.iter().copied().all(torana_core::names::is_token_byte) {
            break;
        }
    }
    HeadError::FieldNameInvalid
}

fn diagnose_line_end(head: &[u8], otherwise: HeadError) -> HeadError {
    let bare_cr =
        memchr::memchr_iter(b'\r', head).any(|at| head.get(at.saturating_add(1)).is_some_and(|&next| next != b'\n'));
    if bare_cr { HeadError::BareCr } else { otherwise }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
