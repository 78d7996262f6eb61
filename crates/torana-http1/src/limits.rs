/// The most fields any reply's head or trailer section may have, whatever the
/// limits say: the parser's table of them lies on the stack. A request may have
/// more if the limits say so, at the price of an allocation.
pub const MAX_FIELDS: usize = 256;

/// The longest method accepted. The registry's longest is
/// `UPDATEREDIRECTREF` with 17 letters (RFC 9110 §16.1.1).
pub(crate) const MAX_METHOD: usize = 32;

/// The longest field name accepted. A bound of its own because
/// [`Fields`](torana_core::head::Fields) keeps a name's length in 16 bits.
pub(crate) const MAX_NAME: usize = 1024;

/// Most fields of a head that is read at a glance; longer ones take the other
/// way.
pub(crate) const MAX_PLAIN: usize = 64;

/// The largest length of a body or chunk: what fits a signed 64-bit number.
/// A larger one is read as negative by peers that keep lengths in such.
pub(crate) const MAX_LENGTH: u64 = i64::MAX as u64;

/// How large a head may be (RFC 9112 §3, RFC 9110 §5.4 ask for such limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head: start line, fields and the empty line.
    pub head_bytes: usize,
    /// Number of fields; in replies and trailers never more than [`MAX_FIELDS`].
    pub fields: usize,
    /// Bytes of the request target.
    pub uri_bytes: usize,
}

impl HeadLimits {
    /// 32 KiB, 100 fields, 8 KiB of target: above what browsers and the usual
    /// servers send (RFC 9112 §3 recommends 8 000 bytes of request line).
    pub const DEFAULT: HeadLimits = HeadLimits { head_bytes: 32 * 1024, fields: 100, uri_bytes: 8 * 1024 };

    /// For trailer sections: 8 KiB and 64 fields.
    pub const TRAILERS: HeadLimits = HeadLimits { head_bytes: 8 * 1024, fields: 64, uri_bytes: 0 };
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits::DEFAULT
    }
}
