//! Header names: the ones the gateway acts on are interned, the rest are bytes.
//!
//! A parsed head knows for every field which [`KnownName`] it is, so the
//! request path compares one byte instead of text. Names follow RFC 9110 §5.1:
//! case-insensitive tokens.

use std::fmt;

macro_rules! known_names {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// A header name the gateway knows by number.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum KnownName {
            $(
                #[doc = concat!("`", $text, "`")]
                $variant,
            )+
        }

        impl KnownName {
            /// Every known name, in declaration order: `ALL[name as usize] == name`.
            pub const ALL: &'static [KnownName] = &[$(KnownName::$variant),+];

            const TEXTS: &'static [&'static str] = &[$($text),+];
            const LINES: &'static [&'static str] = &[$(concat!($text, ": ")),+];

            /// The start of the name's line in HTTP/1.1: `host: `.
            #[inline]
            pub(crate) const fn line_start(self) -> &'static str {
                Self::LINES[self as usize]
            }

            /// The name in lower case, as HTTP/2 writes it.
            #[must_use]
            #[inline]
            pub const fn as_str(self) -> &'static str {
                Self::TEXTS[self as usize]
            }
        }
    };
}

known_names! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    Age = "age",
    Allow = "allow",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    Baggage = "baggage",
    CacheControl = "cache-control",
    CacheStatus = "cache-status",
    Connection = "connection",
    ContentDisposition = "content-disposition",
    ContentEncoding = "content-encoding",
    ContentLanguage = "content-language",
    ContentLength = "content-length",
    ContentLocation = "content-location",
    ContentRange = "content-range",
    ContentSecurityPolicy = "content-security-policy",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    ETag = "etag",
    Expect = "expect",
    Expires = "expires",
    Forwarded = "forwarded",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    IdempotencyKey = "idempotency-key",
    IfMatch = "if-match",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IfRange = "if-range",
    IfUnmodifiedSince = "if-unmodified-since",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Link = "link",
    Location = "location",
    MaxForwards = "max-forwards",
    Origin = "origin",
    Pragma = "pragma",
    Priority = "priority",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    RateLimit = "ratelimit",
    RateLimitPolicy = "ratelimit-policy",
    Referer = "referer",
    RetryAfter = "retry-after",
    SecFetchDest = "sec-fetch-dest",
    SecFetchMode = "sec-fetch-mode",
    SecFetchSite = "sec-fetch-site",
    SecWebSocketAccept = "sec-websocket-accept",
    SecWebSocketExtensions = "sec-websocket-extensions",
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketProtocol = "sec-websocket-protocol",
    SecWebSocketVersion = "sec-websocket-version",
    Server = "server",
    SetCookie = "set-cookie",
    StrictTransportSecurity = "strict-transport-security",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    Warning = "warning",
    WwwAuthenticate = "www-authenticate",
    XApiKey = "x-api-key",
    XCache = "x-cache",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedPrefix = "x-forwarded-prefix",
    XForwardedProto = "x-forwarded-proto",
    XForwardedServer = "x-forwarded-server",
    XRateLimitLimit = "x-ratelimit-limit",
    XRateLimitRemaining = "x-ratelimit-remaining",
    XRateLimitReset = "x-ratelimit-reset",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    XUserEmail = "x-user-email",
    XUserId = "x-user-id",
    XUserRole = "x-user-role",
}

const LONGEST: usize = 32;

// A `NameSet` is two words.
const _: () = assert!(KnownName::ALL.len() <= 128);

/// The first and last bytes of a name as two words, so that names of up to 16
/// bytes are compared by two comparisons.
type Words = (u64, u64);

/// The bit that tells lower from upper case in ASCII letters.
const CASE: u8 = 0x20;
/// That bit in every byte of a word.
const FOLD: u64 = u64::from_ne_bytes([CASE; 8]);

const fn words(name: &[u8]) -> Words {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        return (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64);
    }
    match name {
        [a] => (*a as u64, 0),
        [a, b] => (*a as u64, *b as u64),
        [a, b, c] => (*a as u64 | (*b as u64) << 8, *c as u64),
        _ => (0, 0),
    }
}

/// What a name has to be like to be a known one.
struct Shape {
    words: Words,
    /// [`CASE`] where a letter stands: there a name may differ by it, and
    /// nowhere else, so that words which agree are the same in any case.
    letters: Words,
    length: usize,
}

/// Slots of the table of known names; a power of two.
const SLOTS: usize = 1024;

/// A multiplier under which every known name has a slot of its own, found when
/// compiling: a look-up is one multiplication and one comparison.
const MULTIPLIER: u64 = {
    let mut candidate: u64 = 0x9e37_79b9_7f4a_7c15;
    while !separates(candidate) {
        // Knuth's MMIX generator; any sequence would do.
        candidate = candidate.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
    }
    candidate
};

#[expect(clippy::cast_possible_truncation, reason = "the ten highest bits of a word")]
const fn slot(words: Words, length: usize, multiplier: u64) -> usize {
    let (first, last) = (words.0 | FOLD, words.1 | FOLD);
    let mixed = (first ^ last.rotate_left(29) ^ (length as u64)).wrapping_mul(multiplier);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

const fn separates(multiplier: u64) -> bool {
    let mut taken = [false; SLOTS];
    let mut i = 0;
    while i < KnownName::ALL.len() {
        let name = KnownName::ALL[i].as_str().as_bytes();
        let slot = slot(words(name), name.len(), multiplier);
        if taken[slot] {
            return false;
        }
        taken[slot] = true;
        i += 1;
    }
    true
}

/// `KnownName as u8` by slot; [`NOBODY`] where there is none.
const TABLE: [u8; SLOTS] = {
    let mut table = [NOBODY; SLOTS];
    let mut i = 0;
    while i < KnownName::ALL.len() {
        let name = KnownName::ALL[i].as_str().as_bytes();
        assert!(name.len() <= LONGEST, "LONGEST is shorter than some name");
        table[slot(words(name), name.len(), MULTIPLIER)] = KnownName::ALL[i] as u8;
        i += 1;
    }
    table
};

const NOBODY: u8 = u8::MAX;

/// By `KnownName as usize`.
const SHAPES: [Shape; KnownName::ALL.len()] = {
    let mut shapes = [const { Shape { words: (0, 0), letters: (0, 0), length: 0 } }; KnownName::ALL.len()];
    let mut i = 0;
    while i < shapes.len() {
        let name = KnownName::ALL[i].as_str().as_bytes();
        let mut letters = [0; LONGEST];
        let mut at = 0;
        while at < name.len() {
            assert!(!name[at].is_ascii_uppercase(), "known names are in lower case");
            letters[at] = if name[at].is_ascii_lowercase() { CASE } else { 0 };
            at += 1;
        }
        shapes[i] = Shape { words: words(name), letters: words(letters.split_at(name.len()).0), length: name.len() };
        i += 1;
    }
    shapes
};

impl KnownName {
    /// Finds the known name equal to `name`, ignoring ASCII case. `name` is a
    /// token; of other bytes none is known.
    #[must_use]
    pub fn lookup(name: &[u8]) -> Option<KnownName> {
        let length = name.len();
        if length > LONGEST {
            return None;
        }
        let (first, last) = words(name);
        let index = usize::from(*TABLE.get(slot((first, last), length, MULTIPLIER))?);
        let shape = SHAPES.get(index)?;
        let agree = (first | shape.letters.0, last | shape.letters.1) == shape.words;
        if !agree || length != shape.length {
            return None;
        }
        let known = *KnownName::ALL.get(index)?;
        // Of a long name the words leave out the middle.
        let same = length <= 16 || known.as_str().as_bytes().eq_ignore_ascii_case(name);
        same.then_some(known)
    }

    /// Whether the field describes one connection only and is never forwarded
    /// (RFC 9110 §7.6.1, plus the historic `proxy-connection` and `keep-alive`).
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            KnownName::Connection
                | KnownName::KeepAlive
                | KnownName::ProxyConnection
                | KnownName::ProxyAuthenticate
                | KnownName::ProxyAuthorization
                | KnownName::Te
                | KnownName::Trailer
                | KnownName::TransferEncoding
                | KnownName::Upgrade
                | KnownName::Http2Settings
        )
    }
}

impl fmt::Display for KnownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of known names, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NameSet([u64; 2]);

impl NameSet {
    /// The set without members.
    pub const EMPTY: NameSet = NameSet([0; 2]);

    /// The set of `names`.
    #[must_use]
    pub const fn of(names: &[KnownName]) -> NameSet {
        let mut set = NameSet::EMPTY;
        let mut i = 0;
        while i < names.len() {
            set.insert(names[i]);
            i += 1;
        }
        set
    }

    const fn word(name: KnownName) -> usize {
        (name as usize >> 6) & 1
    }

    const fn bit(name: KnownName) -> u64 {
        1 << (name as u8 & 63)
    }

    /// Adds `name`.
    pub const fn insert(&mut self, name: KnownName) {
        self.0[Self::word(name)] |= Self::bit(name);
    }

    /// Removes `name`.
    pub const fn remove(&mut self, name: KnownName) {
        self.0[Self::word(name)] &= !Self::bit(name);
    }

    /// Whether `name` is a member.
    #[must_use]
    #[inline]
    pub const fn contains(self, name: KnownName) -> bool {
        self.0[Self::word(name)] & Self::bit(name) != 0
    }

    /// Whether the sets share a member.
    #[must_use]
    #[inline]
    pub const fn intersects(self, other: NameSet) -> bool {
        (self.0[0] & other.0[0]) | (self.0[1] & other.0[1]) != 0
    }
}

/// A header name fixed ahead of requests: in configuration or in code.
///
/// Always lower case and always a valid token, so it can be written to either
/// protocol without further checks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HeaderName {
    /// Interned.
    Known(KnownName),
    /// Any other token, lower case.
    Other(Box<str>),
}

impl HeaderName {
    /// Checks and lowers `name`; `None` if it is not a token (RFC 9110 §5.6.2).
    #[must_use]
    pub fn new(name: &str) -> Option<HeaderName> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        Some(match KnownName::lookup(name.as_bytes()) {
            Some(known) => HeaderName::Known(known),
            None => HeaderName::Other(name.to_ascii_lowercase().into()),
        })
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            HeaderName::Known(known) => known.as_str(),
            HeaderName::Other(text) => text,
        }
    }
}

impl From<KnownName> for HeaderName {
    fn from(known: KnownName) -> Self {
        HeaderName::Known(known)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2 `tchar`).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// Whether `byte` may stand in a field value: visible ASCII, space, tab, and
/// the opaque bytes above 0x7f (RFC 9110 §5.5). Everything else, CR, LF and
/// NUL first of all, would let a value become a second header.
#[must_use]
pub const fn is_value_byte(byte: u8) -> bool {
    // Looked up: every byte of every value that is written passes here.
    const ALLOWED: [bool; 256] = {
        let mut allowed = [true; 256];
        let mut byte = 0;
        while byte < 0x20 {
            allowed[byte] = byte == b'\t' as usize;
            byte += 1;
        }
        allowed[0x7f] = false;
        allowed
    };
    ALLOWED[byte as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (index, &name) in KnownName::ALL.iter().enumerate() {
            assert_eq!(name as usize, index);
            assert_eq!(KnownName::lookup(name.as_str().as_bytes()), Some(name));
            assert_eq!(KnownName::lookup(name.as_str().to_ascii_uppercase().as_bytes()), Some(name));
            assert_eq!(HeaderName::new(name.as_str()), Some(HeaderName::Known(name)));
        }
    }

    #[test]
    fn near_misses_are_not_known() {
        for name in [
            "content\rlength",
            "via\r",
            "x\rapi-key",
            "sec-websocket-xersion",
            "",
            "hos",
            "hosts",
            "x_real_ip",
            "content_length",
            "transfer-encodinG ",
        ] {
            assert_eq!(KnownName::lookup(name.as_bytes()), None, "{name}");
        }
        assert_eq!(KnownName::lookup(&[b'a'; 400]), None);
    }

    #[test]
    fn a_name_in_which_one_byte_is_another_is_found_only_where_its_case_is_all_that_differs() {
        for known in KnownName::ALL {
            for at in 0..known.as_str().len() {
                for byte in 0..=u8::MAX {
                    let mut name = known.as_str().as_bytes().to_vec();
                    name[at] = byte;
                    let same = |other: &&KnownName| other.as_str().as_bytes().eq_ignore_ascii_case(&name);
                    assert_eq!(KnownName::lookup(&name), KnownName::ALL.iter().find(same).copied(), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn a_header_name_must_be_a_token() {
        assert_eq!(HeaderName::new("bad name"), None);
        assert_eq!(HeaderName::new("bad\r\nname"), None);
        assert_eq!(HeaderName::new(""), None);
        assert_eq!(HeaderName::new("X-Tenant").map(|n| n.to_string()), Some("x-tenant".to_owned()));
    }
}
