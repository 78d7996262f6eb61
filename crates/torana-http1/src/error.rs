use torana_core::head::Status;

/// Defines an error whose every variant has a stable code, the status a server
/// answers with, and a public text.
macro_rules! errors {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal $status:ident $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        pub enum $name {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\n`", $code, "`")]
                #[error($text)]
                $variant,
            )+
        }

        impl $name {
            /// Every variant, for documentation and metrics tables.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The stable reason code, for logs, metrics and problem replies.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $($name::$variant => $code,)+
                }
            }

            /// The status a server answers with when a request caused the
            /// error. For an error in a reply a gateway always answers 502.
            #[must_use]
            pub const fn status(self) -> Status {
                match self {
                    $($name::$variant => Status::$status,)+
                }
            }
        }
    };
}

errors! {
    /// Why a head was refused. The connection cannot be used any further.
    HeadError {
        /// The head is longer than [`HeadLimits::head_bytes`](crate::HeadLimits::head_bytes).
        HeaderTooLarge = "http1.header_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "the message head is too large",
        /// More fields than [`HeadLimits::fields`](crate::HeadLimits::fields).
        TooManyFields = "http1.too_many_fields" REQUEST_HEADER_FIELDS_TOO_LARGE "the message has too many header fields",
        /// A field name of more than 1024 bytes.
        FieldNameTooLong = "http1.field_name_too_long" REQUEST_HEADER_FIELDS_TOO_LARGE "a header name is too long",
        /// The target is longer than [`HeadLimits::uri_bytes`](crate::HeadLimits::uri_bytes).
        UriTooLong = "http1.uri_too_long" URI_TOO_LONG "the request target is too long",
        /// RFC 9112 §3: longer than any method a server implements.
        MethodTooLong = "http1.method_too_long" NOT_IMPLEMENTED "the request method is too long",
        /// The method is not a token (RFC 9110 §9.1), or the first bytes are not HTTP at all.
        MethodInvalid = "http1.method_invalid" BAD_REQUEST "the request method is not a token",
        /// The target holds blanks, control characters or bytes above 0x7e, or is missing.
        TargetInvalid = "http1.target_invalid" BAD_REQUEST "the request target holds bytes that no target may hold",
        /// No `HTTP/x.y`: also what an HTTP/0.9 request looks like.
        VersionInvalid = "http1.version_invalid" BAD_REQUEST "the protocol version is malformed",
        /// Well-formed, but neither HTTP/1.0 nor HTTP/1.1.
        VersionUnsupported = "http1.version_unsupported" HTTP_VERSION_NOT_SUPPORTED "the protocol version is not supported",
        /// A reply's first line is not `HTTP/1.x SP 3DIGIT [SP reason]`.
        StatusLineInvalid = "http1.status_line_invalid" BAD_GATEWAY "the status line is malformed",
        /// More than one empty line before the request, or one before a reply.
        LeadingBlankLines = "http1.leading_blank_lines" BAD_REQUEST "the message starts with empty lines",
        /// A CR that is not followed by LF (RFC 9112 §2.2).
        BareCr = "http1.bare_cr" BAD_REQUEST "a carriage return stands alone",
        /// An LF that does not follow CR (RFC 9112 §2.2).
        BareLf = "http1.bare_lf" BAD_REQUEST "a line feed stands alone",
        /// A field folded over several lines (RFC 9112 §5.2).
        ObsFold = "http1.obs_fold" BAD_REQUEST "a header field is folded over several lines",
        /// Whitespace between the start line and the first field (RFC 9112 §2.2).
        SpaceBeforeFields = "http1.space_before_fields" BAD_REQUEST "whitespace stands before the first header field",
        /// Whitespace between name and colon (RFC 9112 §5.1).
        SpaceBeforeColon = "http1.space_before_colon" BAD_REQUEST "whitespace stands between a header name and its colon",
        /// A field name that is not a token, or a line without colon.
        FieldNameInvalid = "http1.field_name_invalid" BAD_REQUEST "a header name is not a token",
        /// A control character in a value (RFC 9110 §5.5).
        FieldValueInvalid = "http1.field_value_invalid" BAD_REQUEST "a header value holds control characters",
        /// The final check found another reading than the parser, or knows of a common peer's.
        Ambiguous = "http1.ambiguous" BAD_REQUEST "the message head has more than one reading",
    }
}

errors! {
    /// Why the end of a message cannot be told with certainty (RFC 9112 §6.3).
    FramingError {
        /// Both `Content-Length` and `Transfer-Encoding`.
        LengthAndEncoding = "http1.length_and_encoding" BAD_REQUEST "both Content-Length and Transfer-Encoding are present",
        /// `Content-Length` more than once, or as a list, even of equal values.
        LengthRepeated = "http1.length_repeated" BAD_REQUEST "Content-Length is repeated",
        /// Not a plain decimal number.
        LengthInvalid = "http1.length_invalid" BAD_REQUEST "Content-Length is not a decimal number",
        /// A number above 2^63 - 1.
        LengthTooLarge = "http1.length_too_large" BAD_REQUEST "Content-Length is too large",
        /// RFC 9112 §6.1: the framing of such a message is faulty.
        EncodingInHttp10 = "http1.encoding_in_http10" BAD_REQUEST "Transfer-Encoding in an HTTP/1.0 message",
        /// `chunked` repeated, not last, with parameters, or an empty list member.
        EncodingInvalid = "http1.encoding_invalid" BAD_REQUEST "Transfer-Encoding is malformed",
        /// A transfer coding other than chunked.
        EncodingUnknown = "http1.encoding_unknown" NOT_IMPLEMENTED "the transfer coding is not supported",
        /// CONNECT has no content (RFC 9110 §9.3.6), yet some is announced.
        ConnectBody = "http1.connect_body" BAD_REQUEST "a CONNECT request announces content",
        /// A 1xx reply announces content (RFC 9110 §8.6, RFC 9112 §6.1).
        InterimBody = "http1.interim_body" BAD_GATEWAY "an interim reply announces content",
    }
}

errors! {
    /// Why a body was given up. The connection cannot be used any further.
    BodyError {
        /// No hexadecimal digit, or another byte than `;` or CR behind the digits.
        ChunkSizeInvalid = "http1.chunk_size_invalid" BAD_REQUEST "a chunk size is malformed",
        /// More than 16 digits, or above 2^63 - 1.
        ChunkSizeTooLarge = "http1.chunk_size_too_large" BAD_REQUEST "a chunk size is too large",
        /// A chunk extension outside the grammar (RFC 9112 §7.1.1).
        ChunkExtensionInvalid = "http1.chunk_extension_invalid" BAD_REQUEST "a chunk extension is malformed",
        /// Chunk extensions out of proportion to the data.
        ChunkExtensionTooLong = "http1.chunk_extension_too_long" BAD_REQUEST "chunk extensions are too long",
        /// A line of the chunked coding that does not end in CRLF.
        ChunkLineInvalid = "http1.chunk_line_invalid" BAD_REQUEST "a line of the chunked body does not end in CRLF",
        /// Chunk data not followed by CRLF.
        ChunkEndInvalid = "http1.chunk_end_invalid" BAD_REQUEST "chunk data does not end in CRLF",
        /// The trailer section exceeds its limits.
        TrailersTooLarge = "http1.trailers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "the trailer section is too large",
        /// The trailer section is not a field section.
        TrailersInvalid = "http1.trailers_invalid" BAD_REQUEST "the trailer section is malformed",
        /// A trailer that would change framing or routing (RFC 9110 §6.5.1).
        TrailerForbidden = "http1.trailer_forbidden" BAD_REQUEST "a trailer field names framing or routing",
        /// The connection ended before the body did (RFC 9112 §8).
        Truncated = "http1.body_truncated" BAD_REQUEST "the body ended early",
    }
}

errors! {
    /// Why a message cannot be written: a mistake of the caller, never of a
    /// stranger. Nothing has been written.
    EncodeError {
        /// The method is not a token.
        Method = "http1.encode_method" INTERNAL_SERVER_ERROR "the method to be written is not a token",
        /// The target is empty or holds blanks, controls or bytes above 0x7e.
        Target = "http1.encode_target" INTERNAL_SERVER_ERROR "the request target to be written is malformed",
        /// The framing does not exist for this message.
        Framing = "http1.encode_framing" INTERNAL_SERVER_ERROR "the framing does not fit the message to be written",
        /// More data than the announced length, or less at the end.
        Length = "http1.encode_length" INTERNAL_SERVER_ERROR "the body differs from its announced length",
    }
}
