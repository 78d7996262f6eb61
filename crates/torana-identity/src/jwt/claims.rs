//! What a token has to claim.

use serde_json::{Map, Value};
use torana_core::identity::Names;
use torana_core::refusal::{Refusal, Rejection};
use torana_core::wanted::Wanted;

use super::refusals::{AUDIENCE, CLAIM, EXPIRED, NOT_YET};

/// Whether a token that claims this audience is for somebody who is wanted.
fn admits(audience: &Wanted, claimed: Option<&Value>) -> bool {
    audience.is_met(|wanted| match claimed {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    })
}

/// Rules for claims.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Claims that have to be there.
    pub(super) required: Vec<String>,
    /// Whether it must say when it ends.
    pub(super) require_exp: bool,
    /// How far clocks may differ, in seconds.
    pub(super) leeway: u64,
}

/// No date in a token is later: from here on, doubles lose seconds.
const LATEST: u64 = 1 << 53;

impl Rules {
    /// Until when the token holds, leeway included, in seconds since 1970.
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn judge(&self, claims: &Map<String, Value>, audience: &Wanted, now: u64) -> Result<u64, Rejection> {
        let refuse = |refusal: &'static Refusal, why: &str| Err(Rejection::new(refusal).because(why));
        let until = match date(claims, "exp") {
            Date::Wrong => return refuse(&CLAIM, "`exp` is no date"),
            Date::None if self.require_exp => return refuse(&CLAIM, "it has no `exp`"),
            Date::None => u64::MAX,
            Date::At { floor, .. } => floor.saturating_add(self.leeway),
        };
        if now >= until {
            return refuse(&EXPIRED, "`exp` has passed");
        }
        for name in ["nbf", "iat"] {
            match date(claims, name) {
                Date::Wrong => return refuse(&CLAIM, &format!("`{name}` is no date")),
                Date::At { ceil, .. } if ceil > now.saturating_add(self.leeway) => {
                    return refuse(&NOT_YET, &format!("`{name}` is in the future"));
                }
                Date::None | Date::At { .. } => {}
            }
        }
        if !admits(audience, claims.get("aud")) {
            return refuse(&AUDIENCE, "`aud` names none of ours");
        }
        match self.required.iter().find(|name| torana_core::identity::claim(claims, name).is_none_or(Value::is_null)) {
            Some(name) => refuse(&CLAIM, &format!("it has no `{name}`")),
            None => Ok(until),
        }
    }
}

enum Date {
    None,
    Wrong,
    At { floor: u64, ceil: u64 },
}

/// A NumericDate (RFC 7519 §2): a number, never text.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against both ends before")]
fn date(claims: &Map<String, Value>, name: &str) -> Date {
    match claims.get(name) {
        None => Date::None,
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(at), _) if at <= LATEST => Date::At { floor: at, ceil: at },
            (None, Some(at)) if (0.0..9.0e15).contains(&at) => Date::At { floor: at as u64, ceil: at.ceil() as u64 },
            _ => Date::Wrong,
        },
        Some(_) => Date::Wrong,
    }
}

/// The names under the first of `claims` that has any: a list of texts, or one
/// text, which holds several with blanks between them where `split` says so.
pub(super) fn names(claims: &Map<String, Value>, paths: &[String], split: bool) -> Names {
    for path in paths {
        match torana_core::identity::claim(claims, path) {
            Some(Value::String(text)) if split => return text.split_ascii_whitespace().collect(),
            Some(Value::String(text)) if !text.is_empty() => return [text.as_str()].into_iter().collect(),
            Some(Value::Array(list)) => return list.iter().filter_map(Value::as_str).collect(),
            _ => {}
        }
    }
    Names::default()
}
