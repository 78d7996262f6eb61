//! One rule: conditions that all have to hold.

use super::RuleConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::SystemTime;
use torana_core::diagnostic::Diagnostic;
use torana_core::exchange::Exchange;
use torana_core::names::is_token_byte;
use torana_core::site::Site;
use torana_core::units::Network;
use torana_core::wanted::Wanted;
use torana_core::written::OneOrMany;
use torana_expr::{self as expr, Expr, Parts, Subject};

/// Hours of the day and days of the week, in UTC.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeWindow {
    /// From this time of the day on, `08:00`, in UTC. Default `00:00`.
    pub from: Option<String>,
    /// Until before this time of the day, `18:00`. If it is earlier than `from`, the window ends on the
    /// next day. Default: midnight.
    pub to: Option<String>,
    /// Days on which the window begins. Default: all.
    pub days: OneOrMany<Weekday>,
}

/// A day of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Weekday {
    /// Thursday, the day on which time began.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
}

const DAY: u64 = 24 * 60;

/// A compiled window, in minutes.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: u64,
    to: u64,
    /// A bit for each [`Weekday`].
    days: u8,
}

impl Window {
    fn compile(written: &TimeWindow) -> Option<Window> {
        let minutes = |text: &Option<String>, otherwise| match text {
            None => Some(otherwise),
            Some(text) => {
                let (hours, minutes) = text.split_once(':')?;
                let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() == 2 && !text.contains('+'));
                let (hours, minutes) = (number(hours)?, number(minutes)?);
                (minutes < 60 && (hours < 24 || (hours, minutes) == (24, 0))).then_some(hours * 60 + minutes)
            }
        };
        let (from, to) = (minutes(&written.from, 0)?, minutes(&written.to, DAY)?);
        let days = written.days.iter().fold(0, |days, day| days | 1 << *day as u8);
        (from != to && from < DAY).then_some(Window { from, to, days: if days == 0 { 0x7f } else { days } })
    }

    fn holds(self, now: SystemTime) -> bool {
        let Ok(since) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let minutes = since.as_secs() / 60;
        let (day, minute) = (minutes / DAY, minutes % DAY);
        let begins_on = |day: u64| self.days & 1 << (day % 7) != 0;
        if self.from < self.to {
            return begins_on(day) && (self.from..self.to).contains(&minute);
        }
        (minute >= self.from && begins_on(day)) || (minute < self.to && day > 0 && begins_on(day - 1))
    }
}

/// A compiled rule.
pub(super) struct Rule {
    name: Box<str>,
    deny: bool,
    authenticated: bool,
    roles: Wanted,
    permissions: Wanted,
    scopes: Wanted,
    subjects: Vec<String>,
    methods: Vec<String>,
    networks: Vec<Network>,
    time: Option<Window>,
    when: Option<Expr>,
}

impl Rule {
    pub(super) fn compile(name: String, written: RuleConfig, site: &dyn Site, problems: &mut Vec<Diagnostic>) -> Rule {
        let condition = |when| expr::Written::of(site, "authorize.when").condition(when);
        for method in written.methods.iter() {
            let is_method = !method.is_empty() && method.bytes().all(|b| is_token_byte(b) && !b.is_ascii_lowercase());
            if !is_method {
                let message = format!("{} is not a method", method.shown());
                let problem = Diagnostic::error("authorize.method", message).at(method.span);
                problems.push(problem.hint("methods are in capitals: `GET`"));
            }
        }
        let time = written.time.as_ref().and_then(|time| {
            let window = Window::compile(time);
            if window.is_none() {
                let problem =
                    Diagnostic::error("authorize.time", "the window has no beginning or no end").at(time.span);
                problems.push(problem.hint("write `from: \"08:00\"` and `to: \"18:00\"`, which differ"));
            }
            window
        });
        Rule {
            name: name.into(),
            deny: written.deny,
            authenticated: written.authenticated,
            roles: written.roles,
            permissions: written.permissions,
            scopes: written.scopes,
            subjects: written.subjects.0,
            methods: written.methods.iter().map(|method| method.value.clone()).collect(),
            networks: written.networks.iter().map(|network| network.value).collect(),
            time,
            when: written
                .when
                .as_ref()
                .and_then(|when| condition(when).map_err(|problem| problems.push(*problem)).ok()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn denies(&self) -> bool {
        self.deny
    }

    /// Whether it asks who the caller is.
    pub(super) fn asks_who(&self) -> bool {
        let names = [&self.roles, &self.permissions, &self.scopes];
        self.authenticated
            || !self.subjects.is_empty()
            || names.iter().any(|wanted| !wanted.is_nothing())
            || self.when.as_ref().is_some_and(|when| when.parts().contains(Parts::IDENTITY))
    }

    /// Whether the rule applies: `Ok(Err(…))` says what is lacking. `captures`
    /// are the names of what the route's path captures.
    ///
    /// # Errors
    /// It cannot be told, and why.
    pub(super) fn applies(
        &self,
        exchange: &Exchange,
        captures: &[String],
        now: SystemTime,
    ) -> Result<Result<(), &'static str>, String> {
        if let Err(lacking) = self.fits(exchange, now) {
            return Ok(Err(lacking));
        }
        match &self.when {
            None => Ok(Ok(())),
            Some(when) => match when.holds(&Subject::of(exchange, captures)) {
                Ok(true) => Ok(Ok(())),
                Ok(false) => Ok(Err("`when` does not hold")),
                Err(fault) => Err(format!("`when` cannot be evaluated: {fault}")),
            },
        }
    }

    fn fits(&self, exchange: &Exchange, now: SystemTime) -> Result<(), &'static str> {
        let identity = exchange.identity.as_ref();
        let has = |wanted: &Wanted, names: Option<&torana_core::identity::Names>| {
            wanted.is_nothing() || wanted.is_met(|name| names.is_some_and(|names| names.contains(name)))
        };
        let check = |holds: bool, lacking: &'static str| if holds { Ok(()) } else { Err(lacking) };
        check(!self.authenticated || identity.is_some(), "the caller is not known")?;
        check(has(&self.roles, identity.map(|who| &who.roles)), "the roles do not suffice")?;
        check(has(&self.permissions, identity.map(|who| &who.permissions)), "the permissions do not suffice")?;
        check(has(&self.scopes, identity.map(|who| &who.scopes)), "the scopes do not suffice")?;
        let is_named = |who: &torana_core::identity::Identity| self.subjects.iter().any(|name| **name == *who.subject);
        check(self.subjects.is_empty() || identity.is_some_and(is_named), "the caller is another one")?;
        let method = exchange.head.method_text();
        check(
            self.methods.is_empty() || self.methods.iter().any(|known| known == method),
            "the method is another one",
        )?;
        let address = exchange.client_ip;
        let is_near = self.networks.is_empty() || self.networks.iter().any(|network| network.contains(address));
        check(is_near, "the client's address is another one")?;
        check(self.time.is_none_or(|time| time.holds(now)), "it is not the time for it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn windows_reach_over_midnight_and_begin_on_their_days() {
        let window = |from: &str, to: &str, days: &[Weekday]| {
            Window::compile(&TimeWindow {
                from: Some(from.into()),
                to: Some(to.into()),
                days: OneOrMany(days.to_vec()),
            })
        };
        // 1970-01-01 was a Thursday.
        let at = |day: u64, hour: u64, minute: u64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(((day * 24 + hour) * 60 + minute) * 60)
        };
        let office = window("08:00", "18:00", &[Weekday::Mon, Weekday::Fri]).unwrap();
        assert!(!office.holds(at(0, 9, 0)), "Thursday");
        assert!(office.holds(at(1, 8, 0)) && office.holds(at(1, 17, 59)) && office.holds(at(4, 9, 0)));
        assert!(!office.holds(at(1, 7, 59)) && !office.holds(at(1, 18, 0)) && !office.holds(at(2, 9, 0)));
        let night = window("22:00", "06:00", &[Weekday::Fri]).unwrap();
        assert!(night.holds(at(1, 22, 0)) && night.holds(at(2, 5, 59)));
        assert!(!night.holds(at(1, 5, 0)) && !night.holds(at(2, 22, 0)) && !night.holds(at(2, 6, 0)));
        assert!(window("00:00", "24:00", &[]).unwrap().holds(at(3, 23, 59)));
        for (from, to) in [
            ("8:00", "18:00"),
            ("08:00", "08:00"),
            ("08:60", "18:00"),
            ("24:00", "06:00"),
            ("", "18:00"),
            ("+8:00", "18:00"),
        ] {
            assert!(window(from, to, &[]).is_none(), "{from} {to}");
        }
    }
}
