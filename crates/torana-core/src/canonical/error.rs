use crate::head::Status;

macro_rules! target_errors {
    ($($variant:ident = $code:literal $status:ident $message:literal),+ $(,)?) => {
        /// Why a request target was refused: one variant per rule of
        /// [`canonical`](crate::canonical). Holds no bytes of the request, so
        /// it can be logged and shown.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        pub enum TargetError {
            $(
                #[doc = concat!("`", $code, "`: ", $message)]
                #[error($message)]
                $variant,
            )+
        }

        impl TargetError {
            /// Every error, for reference pages and metrics.
            pub const ALL: &'static [TargetError] = &[$(TargetError::$variant),+];

            /// The stable reason code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(TargetError::$variant => $code,)+
                }
            }

            /// What the client may read.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(TargetError::$variant => $message,)+
                }
            }

            /// The status to answer with.
            #[must_use]
            pub const fn status(self) -> Status {
                match self {
                    $(TargetError::$variant => Status::$status,)+
                }
            }
        }
    };
}

target_errors! {
    Form = "target.form" BAD_REQUEST "the request target is not a path beginning with `/`",
    Scheme = "target.scheme" BAD_REQUEST "the request target has a scheme other than http or https",
    SchemeMismatch = "target.scheme_mismatch" MISDIRECTED_REQUEST
        "the scheme of the request target is not the one of this connection",
    HostMissing = "target.host_missing" BAD_REQUEST "the request has no Host header",
    HostRepeated = "target.host_repeated" BAD_REQUEST "the request has more than one Host header",
    HostMismatch = "target.host_mismatch" BAD_REQUEST "the request names two different hosts",
    HostInvalid = "target.host_invalid" BAD_REQUEST "the request's host is not a valid host name or address",
    UserInfo = "target.userinfo" BAD_REQUEST "the request's host holds user information",
    PortInvalid = "target.port_invalid" BAD_REQUEST "the request's host has no valid port",
    Fragment = "target.fragment" BAD_REQUEST "the request target holds a `#`",
    Control = "target.control" BAD_REQUEST "the request target holds a blank or a control character",
    Escape = "target.escape" BAD_REQUEST "the path has a `%` that is not followed by two hexadecimal digits",
    EncodedControl = "target.encoded_control" BAD_REQUEST "the path holds an encoded control character",
    EncodedSlash = "target.encoded_slash" BAD_REQUEST "the path holds an encoded slash",
    Backslash = "target.backslash" BAD_REQUEST "the path holds a backslash",
    Parameters = "target.parameters" BAD_REQUEST "the path holds a `;`, which servers read in different ways",
    Overlong = "target.overlong" BAD_REQUEST "the path holds an overlong UTF-8 sequence",
    AboveRoot = "target.above_root" BAD_REQUEST "the path leads above the root",
    AmbiguousSegments = "target.ambiguous_segments" BAD_REQUEST "the path mixes `//` and `..`",
    LeavesSubtree = "target.leaves_subtree" BAD_REQUEST "the rewritten path leaves the part of the site it belongs to",
}
