//! What a scenario file may say. `scenarios/README.md` explains it to people.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// The rule that is shown, in a sentence.
    pub(super) about: String,
    /// The gateway's configuration, with the harness' placeholders.
    pub(super) config: String,
    /// What stands behind it, by name. A name is also the upstream's, and what
    /// the origin answers.
    #[serde(default)]
    pub(super) origins: BTreeMap<String, OriginSpec>,
    /// Requests, one after the other.
    pub(super) steps: Vec<Step>,
    /// Lines that the metrics must hold at the end: `name{labels} value`.
    #[serde(default)]
    pub(super) metrics: Vec<String>,
}

/// How an origin behaves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OriginSpec {
    /// Replies of each connection, in order; the last goes on. Default: 200
    /// with the origin's name.
    pub(super) replies: Vec<ReplySpec>,
    /// Nobody listens.
    pub(super) down: bool,
    /// Listens on a Unix socket.
    pub(super) unix: bool,
}

/// One reply.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplySpec {
    /// Status. Default 200.
    pub(super) status: Option<u16>,
    /// Fields.
    pub(super) headers: BTreeMap<String, String>,
    /// Body; its length is announced.
    pub(super) body: Option<String>,
    /// The exact bytes instead of the above; `{64KiB}` stands for as many `x`.
    pub(super) raw: Option<String>,
    /// What the origin does after it.
    pub(super) then: Then,
}

/// What an origin does after a reply.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Then {
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
pub(super) struct Step {
    /// For messages. Default: the first line of the request.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// A request as text: line ends become CRLF, `Host` and `Content-Length`
    /// are added where they are missing.
    #[serde(default)]
    pub(super) send: Option<String>,
    /// The exact bytes, one for each character up to U+00FF.
    #[serde(default)]
    pub(super) raw: Option<String>,
    /// Uses the connection of that name, opening it if it is not there.
    /// Default: a connection of its own.
    #[serde(default)]
    pub(super) on: Option<String>,
    /// The listener's port name. Default `main`.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// A Unix socket, instead of a port.
    #[serde(default)]
    pub(super) unix: Option<String>,
    /// The reply.
    #[serde(default)]
    pub(super) expect: Option<Expect>,
    /// Several replies.
    #[serde(default)]
    pub(super) replies: Vec<Expect>,
    /// Whether the connection is closed after the replies. Default: not looked at.
    #[serde(default)]
    pub(super) closed: Option<bool>,
    /// What the origins saw, and what was logged.
    #[serde(default)]
    pub(super) seen: Option<SeenSpec>,
    /// The origin that got the request, or `none`. Default: not looked at.
    #[serde(default)]
    pub(super) origin: Option<String>,
    /// Members that one line of the access log must have, all together.
    #[serde(default)]
    pub(super) log: Option<BTreeMap<String, Value>>,
}

/// A reply.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// Its status.
    pub(super) status: u16,
    /// Fields: a value, `*` for any, nothing for a field that must not be there.
    pub(super) headers: BTreeMap<String, Option<String>>,
    /// The body, exactly.
    pub(super) body: Option<String>,
    /// What the body contains.
    pub(super) body_has: Option<String>,
    /// The reason code of a problem reply.
    pub(super) code: Option<String>,
    /// Interim replies before it.
    pub(super) interim: Vec<u16>,
    /// Trailers, exactly.
    pub(super) trailers: BTreeMap<String, String>,
    /// The body breaks off.
    pub(super) truncated: bool,
    /// The request's method, where it decides about the body: HEAD.
    pub(super) to_head: bool,
}

/// A request as the origin saw it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SeenSpec {
    /// The request line.
    pub(super) line: Option<String>,
    /// Fields, as in [`Expect::headers`].
    pub(super) headers: BTreeMap<String, Option<String>>,
    /// The body, exactly.
    pub(super) body: Option<String>,
    /// Trailers, exactly.
    pub(super) trailers: Option<BTreeMap<String, String>>,
    /// On which connection to the origin, counted from 0.
    pub(super) connection: Option<usize>,
}
