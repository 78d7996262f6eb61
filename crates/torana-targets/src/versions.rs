//! Sends requests to the upstream of the API version they ask for.
//!
//! # Which version a request asks for
//!
//! One place of the request says it: a header, a media type in `Accept`, a
//! query parameter or a segment of the path ([`said`]). What it says is
//! compared with the names of the versions, in upper or lower case and with or
//! without the `v` before a number: `v2`, `V2` and `2` are one version.
//!
//! | the request says | what becomes of it |
//! |---|---|
//! | a version | that version |
//! | nothing | `default`, or 400 `versions.missing` |
//! | something else | 400 `versions.unknown`, by path 404 `versions.not_found`, by `Accept` 406 `versions.not_acceptable`; with `unknown: default` the default |
//! | two versions | 400 `versions.ambiguous`: which one counts is not the gateway's to guess |
//! | one that has been `gone` since its `sunset` | 410 `versions.gone` |
//!
//! # What replies say
//!
//! | field | when | source |
//! |---|---|---|
//! | `Deprecation: @1767225600` | `deprecated` | RFC 9745 |
//! | `Sunset: Fri, 01 Jan 2027 00:00:00 GMT` | `sunset` | RFC 8594 |
//! | `Link: <…>; rel="deprecation"`, `rel="sunset"` | `link` | both |
//! | `Vary` with the header that decided | `header`, `accept` | RFC 9110 §12.5.5 |
//!
//! Refusals of the upstream or on its behalf say the same: the version had been
//! chosen.

mod said;
mod written;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::target::{Answer, Names, Target, TargetKind, Way};
use torana_core::written::Written;

use said::{Place, Said};
pub use written::Config;
use written::Unknown;

torana_core::refusals! {
    /// The request names no version, and none is the default.
    MISSING = "versions.missing" 400 Caller Never "The request has to name a version of the API.";
    /// A header or query parameter names a version that there is not.
    UNKNOWN = "versions.unknown" 400 Caller Never "There is no such version of the API.";
    /// The path names a version that there is not.
    NOT_FOUND = "versions.not_found" 404 Caller Never "There is no such version of the API at this address.";
    /// `Accept` names only versions that there are not.
    NOT_ACCEPTABLE = "versions.not_acceptable" 406 Caller Never "No version of the API is acceptable to the client.";
    /// The request names two versions.
    AMBIGUOUS = "versions.ambiguous" 400 Caller Never "The request names more than one version of the API.";
    /// The version is past its sunset.
    GONE = "versions.gone" 410 Caller Never "This version of the API is gone.";
}

/// The target `versions`.
pub struct Versions {
    place: Place,
    /// Names of the versions; the other lists go by their positions.
    names: Vec<Box<str>>,
    ways: Vec<Way>,
    /// Since when requests for a version are refused.
    gone_at: Vec<Option<SystemTime>>,
    default: Option<usize>,
    unknown: Unknown,
    shown: String,
}

impl TargetKind for Versions {
    const NAME: &'static str = "versions";
    const REFUSALS: &'static [&'static Refusal] = REFUSALS;
    type Config = Config;

    fn build(config: Config, written: &Written, names: &dyn Names) -> Result<Arc<dyn Target>, Vec<Diagnostic>> {
        written::compile(&config, written, names).map(|versions| Arc::new(versions) as Arc<dyn Target>)
    }
}

impl Versions {
    fn choose(&self, exchange: &Exchange) -> Result<usize, Rejection> {
        let refuse = |refusal| self.refuse(refusal);
        let index = match (self.place.read(exchange, &self.names), self.unknown) {
            (Said::Version(index), _) => index,
            (Said::Nothing, _) => self.default.ok_or_else(|| refuse(&MISSING))?,
            (Said::Other, Unknown::Default) => self.default.ok_or_else(|| refuse(self.place.unknown()))?,
            (Said::Other, Unknown::Reject) => return Err(refuse(self.place.unknown())),
            (Said::Several, _) => return Err(refuse(&AMBIGUOUS)),
        };
        if self.is_gone(index) {
            let mut rejection = refuse(&GONE);
            if let Some(way) = self.ways.get(index) {
                way.reply.write(rejection.fields.get_or_insert_default());
            }
            return Err(rejection);
        }
        Ok(index)
    }

    fn is_gone(&self, index: usize) -> bool {
        self.gone_at.get(index).copied().flatten().is_some_and(|at| SystemTime::now() >= at)
    }

    #[cold]
    fn refuse(&self, refusal: &'static Refusal) -> Rejection {
        let served: Vec<&str> =
            self.names.iter().enumerate().filter(|(index, _)| !self.is_gone(*index)).map(|(_, name)| &**name).collect();
        let rejection = Rejection::new(refusal);
        if served.is_empty() { rejection } else { rejection.with_detail(format!("Supported: {}.", served.join(", "))) }
    }
}

impl Target for Versions {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Answer<'a> {
        match self.choose(exchange) {
            Ok(index) => Answer::ForwardBy(index),
            Err(rejection) => Answer::Reject(rejection),
        }
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }

    fn ways(&self) -> &[Way] {
        &self.ways
    }
}
