//! How long a reply is fresh, and how old it is (RFC 9111 §4.2).

use std::time::Duration;
use torana_core::cache_control::{Directives, seconds};
use torana_core::civil::parse_http_date;
use torana_core::head::{Fields, Status};
use torana_core::names::KnownName;

/// What the configuration says about freshness.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// In place of what replies say, for those that are good news.
    pub(super) ttl: Option<Duration>,
    /// For 404 and 410 that do not say.
    pub(super) negative_ttl: Option<Duration>,
    /// Whether to guess where a reply does not say.
    pub(super) heuristics: bool,
}

/// The share of its age at arrival that a reply stays fresh when guessing, and
/// the most (§4.2.2).
const GUESSED_SHARE: u32 = 10;
const LONGEST_GUESS: Duration = Duration::from_secs(24 * 3600);

/// How long a reply is fresh. `None` if nothing says so: then it must not be
/// used without asking, but that need not be an explicit zero.
pub(super) fn lifetime(status: Status, fields: &Fields, said: &Directives, rules: &Rules) -> Option<Duration> {
    let code = status.code();
    if let Some(ttl) = rules.ttl.filter(|_| matches!(code, 200 | 203 | 204 | 300 | 301 | 308)) {
        return Some(ttl);
    }
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(Duration::from_secs(seconds));
    }
    let mut expires = fields.get_all(KnownName::Expires);
    if let Some(first) = expires.next() {
        // `0` and other texts that are no date are in the past (§5.3).
        let expires = parse_http_date(first).filter(|_| expires.next().is_none()).unwrap_or(0);
        let date = date(fields).unwrap_or(u64::MAX);
        return Some(Duration::from_secs(expires.saturating_sub(date)));
    }
    if let Some(ttl) = rules.negative_ttl.filter(|_| matches!(code, 404 | 410)) {
        return Some(ttl);
    }
    if rules.heuristics && (is_guessable(status) || said.public) {
        let modified = fields.get_single(KnownName::LastModified).ok().flatten().and_then(parse_http_date)?;
        let unchanged = Duration::from_secs(date(fields)?.saturating_sub(modified));
        return Some((unchanged / GUESSED_SHARE).min(LONGEST_GUESS));
    }
    None
}

/// How old a reply was when it arrived at `arrived` (seconds of the wall clock),
/// `delay` after it was asked for (§4.2.3).
pub(super) fn initial_age(fields: &Fields, arrived: u64, delay: Duration) -> Duration {
    let apparent = date(fields).map_or(0, |date| arrived.saturating_sub(date));
    // The first should count; the largest errs on the safe side.
    let said = fields.list(KnownName::Age).filter_map(seconds).max();
    Duration::from_secs(apparent).max(said.map_or(Duration::ZERO, |age| Duration::from_secs(age) + delay))
}

/// When the reply was made, as it says.
pub(super) fn date(fields: &Fields) -> Option<u64> {
    fields.get_single(KnownName::Date).ok().flatten().and_then(parse_http_date)
}

/// Whether a reply of this status may be guessed about (RFC 9110 §15.1).
const fn is_guessable(status: Status) -> bool {
    matches!(status.code(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether this cache knows what a reply of this status means (RFC 9111 §3).
/// Partial content it could not put together.
pub(super) const fn is_understood(status: Status) -> bool {
    matches!(
        status.code(),
        200 | 203
            | 204
            | 300
            | 301
            | 302
            | 303
            | 307
            | 308
            | 400
            | 403
            | 404
            | 405
            | 410
            | 414
            | 451
            | 500
            | 501
            | 502
            | 503
            | 504
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use torana_core::civil::http_date;

    const NOW: u64 = 1_800_000_000;

    /// What a reply says, before it is written down.
    #[derive(Clone, Debug)]
    struct Said {
        status: u16,
        s_maxage: Option<u64>,
        max_age: Option<u64>,
        expires: Option<Result<i64, &'static str>>,
        date: Option<i64>,
        modified: Option<i64>,
        age: Option<u64>,
        ttl: Option<u64>,
        negative: Option<u64>,
        heuristics: bool,
        delay: u64,
    }

    fn at(offset: i64) -> Vec<u8> {
        http_date(NOW.saturating_add_signed(offset)).to_vec()
    }

    impl Said {
        fn fields(&self) -> Fields {
            let mut fields = Fields::default();
            let mut add = |name: KnownName, value: Vec<u8>| fields.append(name, &value).unwrap();
            if let Some(seconds) = self.max_age {
                add(KnownName::CacheControl, format!("max-age={seconds}").into());
            }
            if let Some(seconds) = self.s_maxage {
                add(KnownName::CacheControl, format!("x=\"max-age=1\", S-MAXAGE={seconds}").into());
            }
            match self.expires {
                Some(Ok(offset)) => add(KnownName::Expires, at(offset)),
                Some(Err(text)) => add(KnownName::Expires, text.into()),
                None => {}
            }
            if let Some(offset) = self.date {
                add(KnownName::Date, at(offset));
            }
            if let Some(offset) = self.modified {
                add(KnownName::LastModified, at(offset));
            }
            if let Some(age) = self.age {
                add(KnownName::Age, age.to_string().into());
            }
            fields
        }

        /// RFC 9111 §4.2.1 and §4.2.2 as a list of cases, in whole seconds from
        /// a moment of our own.
        fn lifetime(&self) -> Option<i64> {
            let good = [200, 203, 204, 300, 301, 308].contains(&self.status);
            let guess = || {
                let known = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&self.status);
                let unchanged = (self.date? - self.modified?).max(0);
                (self.heuristics && known).then(|| (unchanged / 10).min(86_400))
            };
            let expires = || {
                Some(match (self.expires?, self.date) {
                    (Ok(expires), Some(date)) => (expires - date).max(0),
                    _ => 0,
                })
            };
            let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap());
            number(self.ttl.filter(|_| good))
                .or(number(self.s_maxage))
                .or(number(self.max_age))
                .or_else(expires)
                .or(number(self.negative.filter(|_| self.status == 404 || self.status == 410)))
                .or_else(guess)
        }

        /// §4.2.3.
        fn initial_age(&self) -> i64 {
            let apparent = self.date.map_or(0, |date| -date).max(0);
            let corrected = self.age.map_or(0, |age| i64::try_from(age + self.delay).unwrap());
            apparent.max(corrected)
        }
    }

    fn said() -> impl Strategy<Value = Said> {
        let seconds = || proptest::option::weighted(0.4, 0_u64..5_000);
        let offset = || -200_000_i64..200_000;
        let expires = prop_oneof![3 => offset().prop_map(Ok), 1 => Just(Err("0")), 1 => Just(Err("soon"))];
        let status = prop_oneof![Just(200_u16), Just(404), Just(410), Just(302), Just(301), Just(500)];
        let times = (
            proptest::option::weighted(0.5, expires),
            proptest::option::weighted(0.7, offset()),
            proptest::option::of(offset()),
        );
        (status, seconds(), seconds(), times, seconds(), seconds(), seconds(), any::<bool>(), 0_u64..100).prop_map(
            |(status, s_maxage, max_age, (expires, date, modified), age, ttl, negative, heuristics, delay)| Said {
                status,
                s_maxage,
                max_age,
                expires,
                date,
                modified,
                age,
                ttl,
                negative,
                heuristics,
                delay,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn lifetime_and_age_are_those_of_the_specification(said in said()) {
            let fields = said.fields();
            let duration = |seconds: Option<u64>| seconds.map(Duration::from_secs);
            let rules = Rules {
                ttl: duration(said.ttl),
                negative_ttl: duration(said.negative),
                heuristics: said.heuristics,
            };
            let found = lifetime(Status::new(said.status).unwrap(), &fields, &Directives::of(&fields), &rules);
            let found = found.map(|found| i64::try_from(found.as_secs()).unwrap());
            prop_assert_eq!(found, said.lifetime());
            let age = initial_age(&fields, NOW, Duration::from_secs(said.delay));
            prop_assert_eq!(i64::try_from(age.as_secs()).unwrap(), said.initial_age());
        }
    }

    #[test]
    fn two_dates_are_none() {
        let mut fields = Fields::default();
        for offset in [1000, 2000] {
            fields.append(KnownName::Expires, &at(offset)).unwrap();
        }
        fields.append(KnownName::Date, &at(0)).unwrap();
        let found = lifetime(Status::OK, &fields, &Directives::default(), &Rules::default());
        assert_eq!(found, Some(Duration::ZERO));
    }
}
