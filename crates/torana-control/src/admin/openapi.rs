//! The pages as an OpenAPI description, made from the table that routes
//! requests. What each page answers stands here, and a test compares it with
//! what the interface does answer.

use super::routes::{Page, ROUTES, Route};
use crate::running::{ConsumerTask, Operation};
use serde_json::{Map, Value, json};

/// A page's reply when all is well.
enum Content {
    Text,
    /// An object with these members.
    Json(&'static [&'static [Member]]),
    /// An object.
    Any,
}

/// A member of an object: its name and JSON type. A `?` after the type stands
/// for "or null".
type Member = (&'static str, &'static str);

const STATUS: &[Member] = &[
    ("status", "string"),
    ("revision", "integer"),
    ("checksum", "string"),
    ("loaded_at", "string"),
    ("started_at", "string"),
    ("uptime_seconds", "integer"),
    ("reloads", "integer"),
    ("refused_reloads", "integer"),
    ("pinned", "boolean"),
];

const ATTEMPT: &[Member] = &[
    ("revision", "integer"),
    ("checksum", "string"),
    ("changed", "boolean"),
    ("from", "integer?"),
    ("pinned", "boolean"),
    ("diagnostics", "array"),
    ("text", "string"),
];

const EXPLANATION: &[Member] = &[
    ("request", "object?"),
    ("client_ip", "string"),
    ("outcome", "object"),
    ("candidates", "array"),
    ("policies", "array"),
    ("target", "string?"),
    ("forwarded", "object?"),
    ("endpoint", "object?"),
];

/// What `/explain` is asked.
const QUESTION: &[Member] = &[("method", "string"), ("url", "string"), ("headers", "array"), ("client", "string")];

const REVISION: &[Member] = &[
    ("id", "integer"),
    ("at", "string"),
    ("cause", "string"),
    ("from", "integer?"),
    ("checksum", "string"),
    ("in_force", "boolean"),
    ("files", "integer"),
    ("bytes", "integer"),
    ("lines_added", "integer?"),
    ("lines_removed", "integer?"),
];

const DRAINED: &[Member] = &[("upstream", "string"), ("endpoints", "array")];

const CONSUMER: &[Member] = &[
    ("name", "string"),
    ("source", "string"),
    ("plan", "string?"),
    ("active", "boolean"),
    ("tags", "array"),
    ("ips", "array"),
    ("routes", "array"),
    ("roles", "array"),
    ("scopes", "array"),
];

const KEY: &[Member] = &[
    ("id", "string"),
    ("consumer", "string"),
    ("source", "string"),
    ("name", "string?"),
    ("state", "string"),
    ("created", "string?"),
    ("expires", "string?"),
    ("revoked", "string?"),
    ("replaces", "string?"),
];

/// What a consumer is made of.
const NEW_CONSUMER: &[Member] = &[
    ("name", "string"),
    ("plan", "string?"),
    ("active", "boolean"),
    ("tags", "array"),
    ("ips", "array"),
    ("routes", "array"),
    ("roles", "array"),
    ("scopes", "array"),
];

/// What a key is made of.
const NEW_KEY: &[Member] = &[("name", "string"), ("ttl", "string"), ("expires", "string")];

/// The same for one in the place of another.
const ROTATION: &[Member] = &[("overlap", "string"), ("ttl", "string"), ("expires", "string")];

/// RFC 9457, and `code`.
const PROBLEM: &[Member] = &[
    ("type", "string"),
    ("title", "string"),
    ("status", "integer"),
    ("detail", "string"),
    ("code", "string"),
    ("error", "string"),
];

fn content(page: Page) -> Content {
    match page {
        Page::Live | Page::Ready | Page::Metrics | Page::Diff => Content::Text,
        Page::Index => Content::Json(&[&[("version", "object"), ("status", "string"), ("pages", "array")]]),
        Page::Status => Content::Json(&[STATUS, &[("open_connections", "integer")]]),
        Page::Config => Content::Json(&[STATUS, &[("config", "object")]]),
        Page::Diagnostics => Content::Json(&[STATUS, &[("last", "object")]]),
        Page::Listeners => Content::Json(&[&[("listeners", "array")]]),
        Page::Routes => Content::Json(&[&[("routes", "array")]]),
        Page::Upstreams => Content::Json(&[&[("upstreams", "array")]]),
        Page::Explain => Content::Json(&[EXPLANATION]),
        Page::Revisions => Content::Json(&[&[("revisions", "array"), ("pinned", "boolean")]]),
        Page::Revision => Content::Json(&[REVISION, &[("documents", "array")]]),
        Page::Reload | Page::Rollback => Content::Json(&[ATTEMPT]),
        Page::Drain | Page::Undrain => Content::Json(&[DRAINED]),
        Page::Consumers(task) => match task {
            ConsumerTask::List => Content::Json(&[&[("consumers", "array"), ("kept", "boolean")]]),
            ConsumerTask::Show => Content::Json(&[CONSUMER, &[("keys", "array")]]),
            ConsumerTask::Put | ConsumerTask::Remove => Content::Json(&[CONSUMER]),
            ConsumerTask::Keys => Content::Json(&[&[("keys", "array")]]),
            ConsumerTask::CreateKey | ConsumerTask::RotateKey => Content::Json(&[KEY, &[("key", "string")]]),
            ConsumerTask::RevokeKey => Content::Json(&[KEY]),
        },
        Page::Version | Page::OpenApi => Content::Any,
    }
}

/// Replies besides the usual ones that say something about the page.
fn others(page: Page) -> &'static [(&'static str, &'static str)] {
    match page {
        Page::Ready => &[("503", "the gateway is stopping")],
        Page::Explain => &[("400", "the body is no question; `why` says what is wrong with it")],
        Page::Reload => &[
            ("422", "the configuration was refused; the one before stays in force"),
            ("503", "the gateway is stopping"),
        ],
        Page::Rollback => &[
            ("404", "the revision is not kept"),
            ("422", "the revision cannot be put in force any more; nothing changed"),
            ("503", "the gateway is stopping"),
        ],
        Page::Drain | Page::Undrain => &[("404", "there is no such upstream, or it has no such endpoint")],
        Page::Consumers(ConsumerTask::List | ConsumerTask::Show | ConsumerTask::Keys) => {
            &[("404", "there is no such consumer"), ("503", "what was made cannot be read")]
        }
        Page::Consumers(_) => &[
            ("400", "the body makes no sense; `why` says what is wrong with it"),
            ("404", "there is no such consumer, or it has no such key"),
            ("409", "there is no `state_dir`, it stands in the configuration, or there is no room"),
            ("503", "what was made cannot be read or written; nothing changed"),
        ],
        Page::Revision | Page::Diff => &[("404", "the revision is not kept")],
        _ => &[],
    }
}

/// The description; `version` is what `/version` says.
pub(super) fn description(version: &Value, operations: &[Operation]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method.as_str()] = operation(route, &method);
    }
    for offered in operations {
        paths.insert(offered.path.clone(), json!({ "post": offered_operation(offered) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Torana admin interface",
            "version": version["version"].as_str().unwrap_or_default(),
            "description": "What can be read with GET can be asked for with HEAD.",
        },
        "paths": paths,
        // A token is needed where one is configured.
        "security": [{ "token": [] }, {}],
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "`admin.token`" } },
            "schemas": { "Problem": object(&[PROBLEM]) },
            "responses": { "Problem": problem("the request is refused; `code` says why") },
        },
    })
}

fn operation(route: &Route, method: &str) -> Value {
    let mut replies = Map::new();
    let about = route.about;
    let content = match content(route.page) {
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Content::Json(members) => json!({ "application/json": { "schema": object(members) } }),
        Content::Any => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    replies.insert("200".to_owned(), json!({ "description": about, "content": content }));
    replies.extend(others(route.page).iter().map(|(status, about)| ((*status).to_owned(), problem(about))));
    replies.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    let parameters: Value = names(route.path)
        .map(|name| {
            let schema = match name {
                "name" | "address" | "key" => json!({ "type": "string", "minLength": 1 }),
                _ => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let mut words = vec![method];
    words.extend(route.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty()));
    let mut operation =
        json!({ "operationId": words.join("_"), "summary": about, "parameters": parameters, "responses": replies });
    if route.page == Page::Explain {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": question() } },
        });
    }
    let body = match route.page {
        Page::Consumers(ConsumerTask::Put) => Some((NEW_CONSUMER, true)),
        Page::Consumers(ConsumerTask::CreateKey) => Some((NEW_KEY, false)),
        Page::Consumers(ConsumerTask::RotateKey) => Some((ROTATION, false)),
        _ => None,
    };
    if let Some((members, is_needed)) = body {
        let mut schema = object(&[members]);
        schema["required"] = if is_needed { json!(["name"]) } else { json!([]) };
        operation["requestBody"] =
            json!({ "required": is_needed, "content": { "application/json": { "schema": schema } } });
    }
    if route.is_open {
        operation["security"] = json!([]);
    }
    operation
}

/// What policies offer.
fn offered_operation(offered: &Operation) -> Value {
    let mut words = vec!["post"];
    words.extend(offered.path.split('/').filter(|word| !word.is_empty()));
    let results =
        json!({ "type": "object", "properties": { "results": { "type": "array" } }, "required": ["results"] });
    json!({
        "operationId": words.join("_"),
        "summary": offered.about,
        "parameters": [],
        "requestBody": { "content": { "application/json": { "schema": offered.arguments } } },
        "responses": {
            "200": { "description": "what came of it, by route", "content": { "application/json": { "schema": results } } },
            "404": problem("no route has a policy that does this"),
            "422": problem("what was sent along is not what this takes"),
            "default": { "$ref": "#/components/responses/Problem" },
        },
    })
}

fn question() -> Value {
    let mut schema = object(&[QUESTION]);
    schema["required"] = json!(["method", "url"]);
    schema["properties"]["url"]["description"] = json!("a URL, or a path for the host `localhost`");
    schema["properties"]["headers"]["description"] = json!("pairs of name and value");
    schema["properties"]["headers"]["items"] =
        json!({ "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 });
    schema["properties"]["client"]["description"] = json!("the address it would come from; `127.0.0.1` if left out");
    schema
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn problem(about: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({ "description": about, "content": { "application/problem+json": { "schema": schema } } })
}

fn object(members: &[&[Member]]) -> Value {
    let members = || members.iter().copied().flatten();
    let properties: Map<String, Value> = members().map(|(name, kind)| ((*name).to_owned(), schema(kind))).collect();
    let required: Value = members().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn schema(kind: &str) -> Value {
    match kind.strip_suffix('?') {
        Some(kind) => json!({ "type": [kind, "null"] }),
        None => json!({ "type": kind }),
    }
}
