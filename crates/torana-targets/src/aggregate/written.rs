//! The configuration as it is written.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use torana_core::units::{ByteSize, Duration};
use torana_core::written::{Entry, OneOrMany, Spanned, Written};

/// One answer made of several services' answers, which are asked at the same time: a page's worth of data for one request.
///
/// Each part is a request to an upstream and the JSON that comes back. Parts that refer to others wait for them; all others
/// are asked at once. A part that fails is replaced by its `default`, and the answer says so; a `required` one ends the whole,
/// with 502 or 504 `aggregate.part_failed`, and the requests still under way are given up. Retries, breaker and the like are
/// those of the upstreams.
///
/// `path`, `query`, `headers` and `body` of a part may refer to
///
/// | written | is |
/// |---|---|
/// | `{userId}` | what the route's path captured |
/// | `{query.page}` | a query parameter of the request |
/// | `{headers.x-tenant}` | a header of the request |
/// | `{identity.subject}`, `{identity.claims.tenant}` | who is calling; also `proven_by`, `consumer` and `plan` |
/// | `{user}`, `{user.account.id}` | the value of another part, or something in it |
///
/// and write braces as `{{` and `}}`. What is put in is percent-encoded: it never adds a segment, a query parameter or a line.
/// A query parameter or header that refers to something missing is left out; a path or body that does fails its part.
///
/// Answers to GET may be asked for with HEAD; the request's body, if any, is not passed on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Aggregate")]
pub struct Config {
    /// The parts, each under its name: letters, digits and `_`.
    #[schemars(with = "BTreeMap<String, PartConfig>")]
    pub(super) parts: Written,
    /// The answer: a jq expression over an object with the parts' values. Default: that object.
    #[serde(default)]
    pub(super) response: Option<Spanned<String>>,
    /// Status of the answer. Default 200.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    pub(super) status: Option<u16>,
    /// Status of an answer in which the default stands for a part that failed. Default: `status`.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    pub(super) partial_status: Option<u16>,
    /// Add a member `errors` to the answer: a list with `part` and `code` of each part that failed, empty if none did. Default
    /// `false`. The header `X-Torana-Partial` names them in any case.
    #[serde(default)]
    pub(super) errors: bool,
    /// `all`: every part is required. `settled`: none is. Default: those that say `required`.
    #[serde(default)]
    pub(super) fail: Option<Spanned<Fail>>,
    /// Time for all parts together. Those that have no answer by then fail. Default: what there is for the request, less a
    /// twentieth.
    #[serde(default)]
    pub(super) timeout: Option<Spanned<Duration>>,
    /// Most parts that are asked at a time. Default: all.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32))]
    pub(super) concurrency: Option<u8>,
    /// Headers of the request that parts get as they are. Default: none. Always passed on are tracing headers, each part with
    /// a span of its own, `X-Request-Id`, `X-Forwarded-*` and what the route's policies say of the caller. `Authorization` and
    /// cookies are not, unless they stand here.
    #[serde(default)]
    pub(super) forward_headers: OneOrMany<Spanned<String>>,
    /// Let requests with a safe method, such as GET, ask parts with one that is not, such as POST. Default `false`.
    #[serde(default)]
    pub(super) allow_unsafe: bool,
    /// Memory for answers that parts keep (`cache`), all of them together; without room the oldest goes. Default `16MiB`.
    #[serde(default)]
    pub(super) cache_bytes: Option<ByteSize>,
    /// The same for other kinds of clients, each under its name. The first one whose `when` holds is taken.
    #[serde(default, deserialize_with = "torana_core::written::others")]
    #[schemars(with = "BTreeMap<String, VariantConfig>")]
    pub(super) variants: Vec<Entry>,
}

/// One word for all parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AggregateFail")]
pub(super) enum Fail {
    /// Every part is required.
    All,
    /// No part is required.
    Settled,
}

/// A part of an aggregate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AggregatePart")]
pub(super) struct PartConfig {
    /// The upstream that is asked.
    pub(super) upstream: Spanned<String>,
    /// Method. Default `GET`.
    #[serde(default)]
    pub(super) method: Option<Spanned<String>>,
    /// Path, and perhaps a query: `/orders?customerId={userId}&limit=5`. What is written out stands there as it is.
    pub(super) path: Spanned<String>,
    /// More query parameters. Values are percent-encoded.
    #[serde(default)]
    pub(super) query: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Headers.
    #[serde(default)]
    pub(super) headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Body, sent as JSON. Texts in it may have references; one that is nothing but a reference to a part is that value with
    /// its type.
    #[serde(default)]
    pub(super) body: Option<Written>,
    /// Whether the whole fails with this part. Default `false`.
    #[serde(default)]
    pub(super) required: Option<Spanned<bool>>,
    /// The value if the part fails or is not asked. Default `null`.
    #[serde(default)]
    pub(super) default: Option<Written>,
    /// Time for this part, body included. Default: that of the whole.
    #[serde(default)]
    pub(super) timeout: Option<Spanned<Duration>>,
    /// Ask only if this holds: a condition on the request as in a route's `when`, or, if it begins with `.`, a jq expression
    /// over the other parts: `.user.premium`. Otherwise the value is `default`, which is no failure.
    #[serde(default)]
    pub(super) when: Option<Spanned<String>>,
    /// Parts to wait for, besides those that are referred to.
    #[serde(default)]
    pub(super) depends_on: OneOrMany<Spanned<String>>,
    /// The value: a jq expression over the service's answer. Default: all of it.
    #[serde(default)]
    pub(super) select: Option<Spanned<String>>,
    /// Statuses that are success. Default: 200 to 299. An answer without body is `null`.
    #[serde(default)]
    pub(super) success: OneOrMany<Spanned<u16>>,
    /// Statuses of a required part that clients get as the status of the whole: `[ 404 ]`. Default: none, it is 502.
    #[serde(default)]
    pub(super) pass_status: OneOrMany<Spanned<u16>>,
    /// Longest answer; a longer one is a failure. Default `1MiB`.
    #[serde(default)]
    pub(super) body_bytes: Option<ByteSize>,
    /// Keep answers and use them again for the same question of the same caller: `{}`, or `{ ttl: 30s }`. Default: none.
    #[serde(default)]
    pub(super) cache: Option<Spanned<PartCache>>,
}

/// How answers to a part are kept, in memory. A copy is used for a request to the same upstream with the same host, path, query
/// and headers, of the same caller; tracing, request id and the client's address are no part of that. Never kept are failures,
/// answers with `no-store`, `private` or `Set-Cookie`, those that vary with more than is asked, and those to callers that were
/// proved without a name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AggregatePartCache")]
pub(super) struct PartCache {
    /// How long, whatever an answer says about it. Default: as its `Cache-Control` says (`s-maxage`, `max-age`, less its `Age`);
    /// one that does not is not kept.
    pub(super) ttl: Option<Spanned<Duration>>,
    /// Whether answers are for every caller. The service is not told who is calling then: headers that policies set about the
    /// caller are left out. Default `false`: each caller has copies of its own.
    pub(super) shared: bool,
}

/// An aggregate for a kind of clients: what differs from the one it stands in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AggregateVariant")]
pub(super) struct VariantConfig {
    /// Which requests: a condition as in a route's `when`, such as `headers["x-client"] == "mobile"`, `host ==
    /// "m.example.com"` or `identity.subject == "kiosk"`. It does not hold if something in it is missing.
    pub(super) when: Spanned<String>,
    /// Keys of parts to replace, and more parts.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, PartChange>")]
    pub(super) parts: Option<Written>,
    /// Parts that are not asked and not in the answer.
    #[serde(default)]
    pub(super) without: OneOrMany<Spanned<String>>,
    /// Another answer.
    #[serde(default)]
    pub(super) response: Option<Spanned<String>>,
}

/// What a variant changes in a part: any keys of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AggregatePartChange")]
#[expect(dead_code, reason = "it is the schema of what is laid over a part as written")]
pub(super) struct PartChange {
    /// Another upstream.
    #[serde(default)]
    upstream: Option<Spanned<String>>,
    /// Another method.
    #[serde(default)]
    method: Option<Spanned<String>>,
    /// Another path, query included.
    #[serde(default)]
    path: Option<Spanned<String>>,
    /// Other query parameters.
    #[serde(default)]
    query: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Other headers.
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Another body.
    #[serde(default)]
    body: Option<Written>,
    /// Whether it is required.
    #[serde(default)]
    required: Option<Spanned<bool>>,
    /// Another default.
    #[serde(default)]
    default: Option<Written>,
    /// Another time.
    #[serde(default)]
    timeout: Option<Spanned<Duration>>,
    /// Another condition.
    #[serde(default)]
    when: Option<Spanned<String>>,
    /// Other parts to wait for.
    #[serde(default)]
    depends_on: OneOrMany<Spanned<String>>,
    /// Another value of the service's answer.
    #[serde(default)]
    select: Option<Spanned<String>>,
    /// Other statuses that are success.
    #[serde(default)]
    success: OneOrMany<Spanned<u16>>,
    /// Other statuses that clients get.
    #[serde(default)]
    pass_status: OneOrMany<Spanned<u16>>,
    /// Another limit.
    #[serde(default)]
    body_bytes: Option<ByteSize>,
    /// Another way to keep answers.
    #[serde(default)]
    cache: Option<Spanned<PartCache>>,
}

/// The parts as they are in a variant: those of the aggregate, without some,
/// with the keys that it replaces, and its own.
pub(super) fn overlaid(base: &[Entry], variant: &VariantConfig) -> Vec<Entry> {
    let changes = variant.parts.as_ref().map(Written::entries).unwrap_or_default();
    let mut parts: Vec<Entry> = base.iter().filter(|part| !variant.without.contains(&part.key)).cloned().collect();
    for change in changes {
        match parts.iter_mut().find(|part| part.key == change.key) {
            Some(part) => overlay(&mut part.value, &change.value),
            None => parts.push(change.clone()),
        }
    }
    parts
}

fn overlay(part: &mut Written, change: &Written) {
    let mut entries = part.entries().to_vec();
    for entry in change.entries() {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => known.value = entry.value.clone(),
            None => entries.push(entry.clone()),
        }
    }
    *part = Written { node: torana_core::written::Node::Map(entries), span: part.span, reference: None };
}
