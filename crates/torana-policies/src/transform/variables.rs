//! `$request`: what a program may know about the request.

use serde_json::{Map, Value, json};
use torana_core::exchange::Exchange;
use torana_core::identity::Names;
use torana_core::query;
use torana_core::site::Site;
use torana_reshape::{Val, from_value};

/// Makes the values of variables.
pub(super) struct Variables {
    /// The names of what the route's path captures.
    captures: Box<[String]>,
}

impl Variables {
    pub(super) fn new(site: &dyn Site) -> Variables {
        Variables { captures: site.captured_names().into() }
    }

    /// The value of `$request`, where it is read.
    pub(super) fn of(&self, exchange: &Exchange, is_read: bool) -> Vec<Val> {
        vec![if is_read { from_value(&self.request(exchange)) } else { Val::Null }]
    }

    fn request(&self, exchange: &Exchange) -> Value {
        let target = exchange.target();
        let captures = self.captures.iter().enumerate();
        let captures: Map<String, Value> =
            captures.map(|(index, name)| (name.clone(), exchange.captures.get(target.path(), index).into())).collect();
        let identity = exchange.identity.as_ref();
        json!({
            "method": exchange.head.method_text(),
            "path": target.path(),
            "query": pairs(target.query().unwrap_or_default()),
            "headers": headers(exchange),
            "captures": captures,
            "client_ip": exchange.client_ip.to_string(),
            "identity": identity.map(|identity| json!({
                "subject": &*identity.subject,
                "proven_by": identity.proven_by,
                "roles": names(&identity.roles),
                "permissions": names(&identity.permissions),
                "scopes": names(&identity.scopes),
                "claims": &identity.claims,
            })),
        })
    }
}

/// Parameters by name; those that are sent several times are lists.
fn pairs(query: &str) -> Map<String, Value> {
    let text = |decoded: query::Decoded<'_>| String::from_utf8_lossy(&decoded.collect::<Vec<u8>>()).into_owned();
    let mut all = Map::new();
    for (name, value) in query::pairs(query) {
        let value = Value::String(text(value));
        match all.entry(text(name)) {
            serde_json::map::Entry::Vacant(entry) => {
                entry.insert(value);
            }
            serde_json::map::Entry::Occupied(mut entry) => match entry.get_mut() {
                Value::Array(values) => values.push(value),
                first => *first = Value::Array(vec![first.take(), value]),
            },
        }
    }
    all
}

/// Fields by name in lower case; values joined as RFC 9110 §5.3 says.
fn headers(exchange: &Exchange) -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in exchange.head.fields.iter() {
        let name = String::from_utf8_lossy(name.text).to_ascii_lowercase();
        let value = String::from_utf8_lossy(value);
        match all.get_mut(&name) {
            Some(Value::String(joined)) => {
                joined.push_str(", ");
                joined.push_str(&value);
            }
            _ => {
                all.insert(name, Value::String(value.into_owned()));
            }
        }
    }
    all
}

fn names(names: &Names) -> Vec<&str> {
    names.iter().collect()
}
