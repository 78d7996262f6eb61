//! What a scenario file may say. `scenarios/README.md` explains it to people.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The rule that is shown, in a sentence.
    pub about: String,
    /// The gateway's configuration, with the harness' placeholders.
    pub config: String,
    /// What stands behind it, by name. A name is also the upstream's, and what
    /// the origin answers.
    #[serde(default)]
    pub origins: BTreeMap<String, OriginSpec>,
    /// Requests, one after the other.
    pub steps: Vec<Step>,
    /// Lines that the metrics must hold at the end: `name{labels} value`.
    #[serde(default)]
    pub metrics: Vec<String>,
}

/// How an origin behaves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginSpec {
    /// Replies of each connection, in order; the last goes on. Default: 200
    /// with the origin's name.
    pub replies: Vec<ReplySpec>,
    /// Nobody listens.
    pub down: bool,
    /// Listens on a Unix socket.
    pub unix: bool,
}

/// One reply.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplySpec {
    /// Status. Default 200.
    pub status: Option<u16>,
    /// Fields.
    pub headers: BTreeMap<String, String>,
    /// Body; its length is announced.
    pub body: Option<String>,
    /// The exact bytes instead of the above.
    pub raw: Option<String>,
    /// What the origin does after it.
    pub then: Then,
}

/// What an origin does after a reply.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Reads the next request.
    #[default]
    Next,
    /// Closes.
    Close,
    /// Resets the connection.
    Reset,
    /// Says nothing more, but stays.
    Silence,
    /// Sends back whatever comes.
    Echo,
}

/// One request and what is to come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// For messages. Default: the first line of the request.
    #[serde(default)]
    pub name: Option<String>,
    /// A request as text: line ends become CRLF, `Host` and `Content-Length`
    /// are added where they are missing.
    #[serde(default)]
    pub send: Option<String>,
    /// The exact bytes, one for each character up to U+00FF.
    #[serde(default)]
    pub raw: Option<String>,
    /// Uses the connection of that name, opening it if it is not there.
    /// Default: a connection of its own.
    #[serde(default)]
    pub on: Option<String>,
    /// The listener's port name. Default `main`.
    #[serde(default)]
    pub to: Option<String>,
    /// A Unix socket, instead of a port.
    #[serde(default)]
    pub unix: Option<String>,
    /// The reply.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// Several replies.
    #[serde(default)]
    pub replies: Vec<Expect>,
    /// Whether the connection is closed after the replies. Default: not looked at.
    #[serde(default)]
    pub closed: Option<bool>,
    /// What the origins saw, and what was logged.
    #[serde(default)]
    pub seen: Option<SeenSpec>,
    /// The origin that got the request, or `none`. Default: not looked at.
    #[serde(default)]
    pub origin: Option<String>,
    /// Members that one line of the access log must have, all together.
    #[serde(default)]
    pub log: Option<BTreeMap<String, Value>>,
}

/// A reply.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Its status.
    pub status: u16,
    /// Fields: a value, `*` for any, nothing for a field that must not be there.
    pub headers: BTreeMap<String, Option<String>>,
    /// The body, exactly.
    pub body: Option<String>,
    /// What the body contains.
    pub body_has: Option<String>,
    /// The reason code of a problem reply.
    pub code: Option<String>,
    /// Interim replies before it.
    pub interim: Vec<u16>,
    /// Trailers, exactly.
    pub trailers: BTreeMap<String, String>,
    /// The body breaks off.
    pub truncated: bool,
    /// The request's method, where it decides about the body: HEAD.
    pub to_head: bool,
}

/// A request as the origin saw it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeenSpec {
    /// The request line.
    pub line: Option<String>,
    /// Fields, as in [`Expect::headers`].
    pub headers: BTreeMap<String, Option<String>>,
    /// The body, exactly.
    pub body: Option<String>,
    /// Trailers, exactly.
    pub trailers: Option<BTreeMap<String, String>>,
    /// On which connection to the origin, counted from 0.
    pub connection: Option<usize>,
}
