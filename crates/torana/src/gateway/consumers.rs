//! Consumers and keys as the admin interface shows and changes them.

use crate::wire::Keeper;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};
use torana_control::notice;
use torana_control::running::{ConsumerAsk, ConsumerProblem, ConsumerProblemKind as Kind, ConsumerTask};
use torana_core::civil::Date;
use torana_core::consumer::{Consumer, Key};
use torana_core::units::{Duration as WrittenDuration, Moment, Network};
use torana_plane::directory::Directory;
use torana_store::records::{Change, ConsumerRecord, KeyRecord, NewKey, NotDone, Records};

/// How often the file of the records is looked at: for so long may a key be
/// good whose file is gone, or that another gateway has taken back.
const LOOK: Duration = Duration::from_secs(1);

/// How long a key goes on that another takes the place of.
const OVERLAP: &str = "24h";

/// Longest name of a consumer, as in configurations.
const LONGEST_NAME: usize = 128;

/// Longest list of a consumer.
const MOST_ENTRIES: usize = 1000;

/// Notices when the file of `keeper` changes or is gone, for as long as there
/// is one.
pub(super) fn watch(keeper: &Keeper) -> io::Result<()> {
    let Some(records) = keeper.opened().map(Arc::downgrade) else { return Ok(()) };
    thread::Builder::new().name("torana-keys".to_owned()).spawn(move || look(&records))?;
    Ok(())
}

fn look(records: &Weak<Records>) {
    loop {
        thread::sleep(LOOK);
        let Some(records) = records.upgrade() else { return };
        match records.look() {
            Some(Change::Lost(why)) => {
                notice::warn(&format!("keys that were made while the gateway ran do not count any more: {why}"));
            }
            Some(Change::Found) => notice::say("keys that were made while the gateway ran count again"),
            None => {}
        }
    }
}

/// A consumer to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default)]
    plan: Option<String>,
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

const fn yes() -> bool {
    true
}

/// A key to be made.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedKey {
    name: Option<String>,
    ttl: Option<String>,
    expires: Option<String>,
}

/// One in the place of another.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    overlap: Option<String>,
    ttl: Option<String>,
    expires: Option<String>,
}

type Answer = Result<Value, ConsumerProblem>;

/// Does what is asked for, with the consumers of the plan in force.
pub(super) fn answer(asked: &ConsumerAsk, written: &Directory, records: Option<&Arc<Records>>) -> Answer {
    let book = Book { written, records, now: now() };
    let (consumer, key) = (asked.consumer.as_str(), asked.key.as_str());
    match asked.task {
        ConsumerTask::List => book.list(),
        ConsumerTask::Show => {
            let mut shown = book.consumer(consumer)?;
            shown["keys"] = book.keys(consumer)?.into();
            Ok(shown)
        }
        ConsumerTask::Put => book.put(&asked.more),
        ConsumerTask::Remove => book.remove(consumer),
        ConsumerTask::Keys => Ok(json!({ "keys": book.keys(consumer)? })),
        ConsumerTask::CreateKey => book.create_key(consumer, &asked.more),
        ConsumerTask::RotateKey => book.rotate_key(consumer, key, &asked.more),
        ConsumerTask::RevokeKey => book.revoke_key(consumer, key),
    }
}

struct Book<'a> {
    written: &'a Directory,
    records: Option<&'a Arc<Records>>,
    now: u64,
}

impl Book<'_> {
    fn records(&self) -> Result<&Records, ConsumerProblem> {
        let why = "the configuration that the gateway was started with has no `state_dir`";
        self.records.map(|records| &**records).ok_or_else(|| problem(Kind::NotKept, why))
    }

    /// Those that were made; none where nothing is kept.
    fn made(&self) -> Result<Vec<ConsumerRecord>, ConsumerProblem> {
        self.records.map_or_else(|| Ok(Vec::new()), |records| records.consumers().map_err(|not| undone(&not)))
    }

    fn list(&self) -> Answer {
        let mut list: Vec<Value> = self.written.written().iter().map(|(consumer, _)| of_written(consumer)).collect();
        let made = self.made()?;
        list.extend(made.iter().filter(|made| !self.written.has(&made.name)).map(of_record));
        list.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        Ok(json!({ "consumers": list, "kept": self.records.is_some() }))
    }

    fn consumer(&self, name: &str) -> Answer {
        if let Some((consumer, _)) = self.written.written().into_iter().find(|(consumer, _)| *consumer.name == *name) {
            return Ok(of_written(consumer));
        }
        let made = self.made()?;
        made.iter().find(|made| made.name == name).map(of_record).ok_or_else(|| nobody(name))
    }

    fn keys(&self, name: &str) -> Result<Vec<Value>, ConsumerProblem> {
        self.consumer(name)?;
        let written = self.written.written().into_iter().find(|(consumer, _)| *consumer.name == *name);
        let mut keys: Vec<Value> = written
            .iter()
            .flat_map(|(consumer, keys)| keys.iter().map(|key| self.of_written_key(key, &consumer.name)))
            .collect();
        if let Some(records) = self.records {
            let made = records.keys(Some(name)).map_err(|not| undone(&not))?;
            keys.extend(made.iter().map(|key| self.of_key(key)));
        }
        Ok(keys)
    }

    fn put(&self, more: &Value) -> Answer {
        let wanted: Wanted = read(more)?;
        self.records()?;
        if self.written.has(&wanted.name) {
            return Err(problem(Kind::Written, "the configuration has a consumer of that name"));
        }
        check(&wanted, self.written)?;
        let before = self.made()?.into_iter().find(|made| made.name == wanted.name);
        let Wanted { name, plan, active, tags, ips, routes, roles, scopes } = wanted;
        let created = before.map_or(self.now, |before| before.created);
        let record = ConsumerRecord { name, plan, active, tags, ips, routes, roles, scopes, created };
        self.records()?.put_consumer(&record).map_err(|not| undone(&not))?;
        Ok(of_record(&record))
    }

    fn remove(&self, name: &str) -> Answer {
        let records = self.records()?;
        let Some(made) = self.made()?.into_iter().find(|made| made.name == name) else {
            let is_written = self.written.has(name);
            return Err(if is_written { problem(Kind::Written, "the configuration has it") } else { nobody(name) });
        };
        // Where the configuration has one of that name, the keys are its own by now.
        records.remove_consumer(name, !self.written.has(name)).map_err(|not| undone(&not))?;
        Ok(of_record(&made))
    }

    fn create_key(&self, name: &str, more: &Value) -> Answer {
        let wanted: WantedKey = read(more)?;
        let records = self.records()?;
        self.consumer(name)?;
        if wanted.name.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(problem(Kind::Question, "`name` is not one: letters, digits and a few signs"));
        }
        let expires = self.end(wanted.ttl.as_deref(), wanted.expires.as_deref())?;
        let made = records.create_key(name, wanted.name.as_deref(), expires, self.now).map_err(|not| undone(&not))?;
        Ok(self.of_new(&made))
    }

    fn rotate_key(&self, name: &str, id: &str, more: &Value) -> Answer {
        let wanted: Rotation = read(more)?;
        let records = self.records()?;
        self.consumer(name)?;
        let overlap = seconds("overlap", wanted.overlap.as_deref().unwrap_or(OVERLAP))?;
        let expires = self.end(wanted.ttl.as_deref(), wanted.expires.as_deref())?;
        let made = records.rotate_key(name, id, expires, overlap, self.now).map_err(|not| undone(&not))?;
        Ok(self.of_new(&made))
    }

    fn revoke_key(&self, name: &str, id: &str) -> Answer {
        let revoked = self.records()?.revoke_key(name, id, self.now).map_err(|not| undone(&not))?;
        Ok(self.of_key(&revoked))
    }

    /// When a key is to end.
    fn end(&self, ttl: Option<&str>, expires: Option<&str>) -> Result<Option<u64>, ConsumerProblem> {
        let end = match (ttl, expires) {
            (None, None) => return Ok(None),
            (Some(ttl), None) => self.now.saturating_add(seconds("ttl", ttl)?),
            (None, Some(expires)) => parsed::<Moment>("expires", expires)?.unix(),
            (Some(_), Some(_)) => return Err(problem(Kind::Question, "`ttl` and `expires` are two ends")),
        };
        if end <= self.now {
            return Err(problem(Kind::Question, "the key would have ended already"));
        }
        Ok(Some(end))
    }

    fn of_new(&self, made: &NewKey) -> Value {
        let mut shown = self.of_key(&made.record);
        shown["key"] = made.key.as_str().into();
        shown
    }

    fn of_key(&self, key: &KeyRecord) -> Value {
        let state = match () {
            () if key.revoked.is_some() => "revoked",
            () if !key.counts(self.now) => "expired",
            () => "active",
        };
        json!({
            "id": key.id, "consumer": key.consumer, "source": "runtime", "name": key.name, "state": state,
            "created": rfc3339(key.created), "expires": key.expires.map(rfc3339), "revoked": key.revoked.map(rfc3339),
            "replaces": key.replaces,
        })
    }

    fn of_written_key(&self, key: &Key, consumer: &str) -> Value {
        let state = match key.expires {
            _ if !key.active => "inactive",
            Some(expires) if expires <= self.now => "expired",
            _ => "active",
        };
        json!({
            "id": key.id, "consumer": consumer, "source": "configuration", "name": null, "state": state,
            "created": null, "expires": key.expires.map(rfc3339), "revoked": null, "replaces": null,
        })
    }
}

fn check(wanted: &Wanted, written: &Directory) -> Result<(), ConsumerProblem> {
    let wrong = |why: String| Err(problem(Kind::Question, &why));
    if !is_name(&wanted.name) {
        return wrong(format!(
            "`name` has to be up to {LONGEST_NAME} letters, digits, `-`, `_`, `.`, `/`, `:` and `@`"
        ));
    }
    if let Some(plan) = wanted.plan.as_ref().filter(|plan| !written.has_plan(plan)) {
        return wrong(format!("there is no plan `{}`", plan.escape_default()));
    }
    if let Some(route) = wanted.routes.iter().find(|route| !written.has_route(route)) {
        return wrong(format!("there is no route `{}`", route.escape_default()));
    }
    for network in &wanted.ips {
        parsed::<Network>("ips", network)?;
    }
    let lists = [&wanted.tags, &wanted.ips, &wanted.routes, &wanted.roles, &wanted.scopes];
    if lists.iter().any(|list| list.len() > MOST_ENTRIES || list.iter().any(|entry| entry.len() > LONGEST_NAME)) {
        return wrong(format!("lists have up to {MOST_ENTRIES} entries of up to {LONGEST_NAME} bytes"));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(is_plain)
}

fn read<T: Default + for<'de> Deserialize<'de>>(more: &Value) -> Result<T, ConsumerProblem> {
    if more.is_null() {
        Ok(T::default())
    } else {
        T::deserialize(more).map_err(|error| problem(Kind::Question, &error.to_string()))
    }
}

impl Default for Wanted {
    /// Nobody of that name can be made.
    fn default() -> Wanted {
        let none = Vec::new;
        Wanted {
            name: String::new(),
            plan: None,
            active: true,
            tags: none(),
            ips: none(),
            routes: none(),
            roles: none(),
            scopes: none(),
        }
    }
}

fn seconds(member: &str, text: &str) -> Result<u64, ConsumerProblem> {
    Ok(parsed::<WrittenDuration>(member, text)?.std().as_secs())
}

fn parsed<T: FromStr<Err = torana_core::diagnostic::Misfit>>(member: &str, text: &str) -> Result<T, ConsumerProblem> {
    text.parse().map_err(|misfit: torana_core::diagnostic::Misfit| {
        problem(Kind::Question, &format!("`{member}`: expected {}", misfit.expected))
    })
}

fn problem(kind: Kind, why: &str) -> ConsumerProblem {
    ConsumerProblem { kind, why: why.to_owned() }
}

fn nobody(name: &str) -> ConsumerProblem {
    problem(Kind::NoConsumer, &format!("there is no consumer `{}`", name.escape_default()))
}

fn undone(not: &NotDone) -> ConsumerProblem {
    match not {
        NotDone::Unavailable(why) => problem(Kind::Unavailable, why),
        NotDone::NoConsumer => problem(Kind::NoConsumer, "it was not made while the gateway ran"),
        NotDone::NoKey => {
            problem(Kind::NoKey, "it was not made while the gateway ran, or was taken back, or has ended")
        }
        NotDone::Full => problem(Kind::Full, "revoke what is not needed, or put consumers into the configuration"),
    }
}

fn of_written(consumer: &Consumer) -> Value {
    json!({
        "name": &*consumer.name, "source": "configuration", "plan": consumer.plan.as_deref(), "active": consumer.active,
        "tags": consumer.tags.iter().collect::<Vec<_>>(),
        "ips": consumer.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "routes": consumer.routes.iter().collect::<Vec<_>>(),
        "roles": consumer.roles.iter().collect::<Vec<_>>(),
        "scopes": consumer.scopes.iter().collect::<Vec<_>>(),
    })
}

fn of_record(record: &ConsumerRecord) -> Value {
    let ConsumerRecord { name, plan, tags, active, ips, routes, roles, scopes, .. } = record;
    json!({
        "name": name, "source": "runtime", "plan": plan, "active": active, "tags": tags, "ips": ips, "routes": routes,
        "roles": roles, "scopes": scopes,
    })
}

fn now() -> u64 {
    // A clock before 1970 lets nothing expire, so it counts as the latest.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

fn rfc3339(seconds: u64) -> String {
    let date = Date::from_days(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX));
    let second = seconds % 86_400;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", date.year, date.month, date.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said() {
        let (written, nothing) = (Directory::default(), None);
        let ask = |task, more: Value| {
            let asked = ConsumerAsk { task, consumer: "shop".into(), key: "k".into(), more };
            answer(&asked, &written, nothing).unwrap_err()
        };
        for (task, more, kind) in [
            (ConsumerTask::Put, json!({ "name": "a" }), Kind::NotKept),
            (ConsumerTask::Put, json!({ "nam": "a" }), Kind::Question),
            (ConsumerTask::Put, json!([]), Kind::Question),
            (ConsumerTask::CreateKey, Value::Null, Kind::NotKept),
            (ConsumerTask::RevokeKey, Value::Null, Kind::NotKept),
            (ConsumerTask::Show, Value::Null, Kind::NoConsumer),
        ] {
            assert_eq!(ask(task, more.clone()).kind, kind, "{task:?} {more}");
        }
        assert!(ask(ConsumerTask::Put, json!({ "name": "a" })).why.contains("state_dir"));
    }

    #[test]
    fn keys_end_when_they_are_told_to() {
        let book = Book { written: &Directory::default(), records: None, now: 1_800_000_000 };
        assert_eq!(book.end(Some("1h"), None), Ok(Some(1_800_003_600)));
        assert_eq!(book.end(None, Some("2100-01-01")), Ok(Some(4_102_444_800)));
        assert_eq!(book.end(None, None), Ok(None));
        for (ttl, expires) in
            [(Some("0s"), None), (Some("x"), None), (None, Some("2000-01-01")), (Some("1h"), Some("2100-01-01"))]
        {
            assert_eq!(book.end(ttl, expires).unwrap_err().kind, Kind::Question, "{ttl:?} {expires:?}");
        }
        assert_eq!(rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
