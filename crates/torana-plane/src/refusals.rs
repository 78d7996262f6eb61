//! Everything the plane itself refuses a request for.

use torana_core::canonical::TargetError;
use torana_core::head::Status;
use torana_core::refusal::{Origin, Refusal, Rejection, Retry};

torana_core::refusals! {
    /// No route matches.
    NOT_FOUND = "route.not_found" 404 Caller Never "There is nothing at this address.";
    /// Routes match the path, but none the method; `Allow` lists what they do.
    METHOD_NOT_ALLOWED = "route.method_not_allowed" 405 Caller Never "The method is not allowed here.";
    /// CONNECT: the gateway is no forward proxy.
    CONNECT = "route.connect_unsupported" 405 Caller Never "The CONNECT method is not supported.";
    /// The rewritten path has no one reading, or leaves the subtree the route
    /// rewrites into.
    REWRITE = "route.rewrite_refused" 400 Caller Never "The path cannot be mapped to the service behind it.";
    /// A header spelled with `_` whose name with `-` belongs to the gateway.
    HEADER_SPELLING = "header.owned_spelling" 400 Caller Never "A header name is a misspelling of one that the gateway sets.";
    /// `Connection` nominates more fields than any honest client would.
    CONNECTION_OPTIONS = "header.connection_options" 400 Caller Never "The Connection header names too many headers.";
    /// A policy or a target did not decide before the deadline.
    TIMEOUT = "exchange.timeout" 504 Gateway IfSafe "The request took too long.";
    /// A policy or a target panicked.
    PANIC = "internal.panic" 500 Gateway Never "The gateway failed to process the request.";
}

const TARGET_COUNT: usize = TargetError::ALL.len();

static TARGET: [Refusal; TARGET_COUNT] = {
    const fn of(error: TargetError) -> Refusal {
        Refusal {
            code: error.code(),
            status: error.status(),
            origin: Origin::Caller,
            retry: Retry::Never,
            message: error.message(),
            error: None,
            told_as: None,
        }
    }
    let mut table = [const {
        Refusal {
            code: "",
            status: Status::BAD_REQUEST,
            origin: Origin::Caller,
            retry: Retry::Never,
            message: "",
            error: None,
            told_as: None,
        }
    }; TARGET_COUNT];
    let mut i = 0;
    while i < TARGET_COUNT {
        table[i] = of(TargetError::ALL[i]);
        i += 1;
    }
    table
};

/// The refusal of a request whose target has no one reading.
#[must_use]
pub fn of_target(error: TargetError) -> Rejection {
    // `ALL` lists the variants in their order; a test holds it to that.
    TARGET.get(error as usize).map_or(Rejection::new(&REWRITE), Rejection::new)
}

/// Every refusal the plane may make.
pub fn all() -> impl Iterator<Item = &'static Refusal> {
    REFUSALS.iter().copied().chain(TARGET.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_error_has_its_own_refusal() {
        for &error in TargetError::ALL {
            let refusal = of_target(error).refusal;
            assert_eq!(
                (refusal.code, refusal.status, refusal.message),
                (error.code(), error.status(), error.message())
            );
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = all().map(|refusal| refusal.code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
