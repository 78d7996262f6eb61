//! Secrets that stand in the files themselves: where they are, and reports without them.
//!
//! A report shows lines as they were written, and reports end up in logs and tickets. So what sounds like a secret is
//! covered in them: the values of the keys that [`is_secret`] knows, keys of consumers, and credentials in URLs. Every
//! byte of an excerpt that is covered becomes a `*`, so that what is underlined stays underlined.

use std::borrow::Cow;
use std::ops::Range;

use torana_core::diagnostic::Span;
use torana_core::written::{Entry, Node, Written};

/// What stands where a secret was.
pub(crate) const MASK: &str = "***";

/// Shorter values are not looked for in messages, where they would be found in words.
const SHORTEST: usize = 8;

/// Whether a key sounds as if its value were to be kept to oneself.
fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 7] = ["token", "secret", "password", "passwd", "apikey", "authorization", "cookie"];
    let mut words = key.rsplit(['_', '-']);
    let last = words.next().unwrap_or_default();
    let before = words.next().unwrap_or_default().as_bytes();
    let ends = |first: &str, second: &str| {
        let start = before.len().checked_sub(first.len());
        let end = start.and_then(|start| before.get(start..)).unwrap_or_default();
        last.eq_ignore_ascii_case(second) && end.eq_ignore_ascii_case(first.as_bytes())
    };
    WORDS.iter().any(|word| last.eq_ignore_ascii_case(word)) || ends("api", "key") || ends("password", "hash")
}

/// Whether a variable of this name seems to hold a secret.
pub(crate) fn names_a_secret(variable: &str) -> bool {
    is_secret(variable) || variable.to_ascii_uppercase().ends_with("_KEY")
}

/// Whether `value`, written at `key`, is one. Policies name cookies with `cookie`; the header has values in it.
fn is_meant(key: &str, value: &str) -> bool {
    is_secret(key) && (!key.eq_ignore_ascii_case("cookie") || value.contains('='))
}

/// Values that are not references: a reference may be seen.
fn is_plain(value: &Written) -> bool {
    matches!(value.node, Node::String(_) | Node::Int(_) | Node::Float(_)) && value.reference.is_none()
}

/// The secrets that are written down right at `entry`: its value, what is in its list, keys of consumers.
fn secrets_of(entry: &Entry) -> impl Iterator<Item = &Written> {
    let is_one = |value: &&Written| is_plain(value) && is_meant(&entry.key, value.as_str().unwrap_or("="));
    let values = std::iter::once(&entry.value).chain(entry.value.items());
    // Keys of consumers: under `keys` a `key` is one, while elsewhere it is the path of a file.
    let items = if *entry.key == "keys" { entry.value.items() } else { &[] };
    let keys = items.iter().filter_map(|item| item.get("key")).filter(|key| is_plain(key));
    values.filter(is_one).chain(keys).chain(Some(&entry.value).filter(|value| has_secret_query(value)))
}

/// Whether it is a URL, or a path, with a parameter that sounds like a secret. `{name}` stands for something else.
fn has_secret_query(value: &Written) -> bool {
    let is_target = |text: &&str| text.starts_with('/') || text.contains("://");
    let target = value.as_str().filter(|text| value.reference.is_none() && is_target(text));
    let query = target.and_then(|target| target.split_once('?')).map_or("", |(_, query)| query);
    let is_one = |(name, value): (&str, &str)| is_secret(name) && !value.is_empty() && !value.starts_with('{');
    query.split('&').filter_map(|pair| pair.split_once('=')).any(is_one)
}

/// The places of the secrets written down in `tree`, in order, each once: through an alias one could be found twice.
pub(crate) fn places(tree: &Written) -> Vec<Span> {
    let mut places = Vec::new();
    find(tree, &mut places);
    places.sort_unstable();
    places.dedup();
    places
}

fn find(tree: &Written, places: &mut Vec<Span>) {
    tree.items().iter().for_each(|item| find(item, places));
    for entry in tree.entries() {
        places.extend(secrets_of(entry).map(|value| value.span));
        find(&entry.value, places);
    }
}

/// A message without the secrets that stand at some place of the files.
pub(crate) fn message<'m>(message: &'m str, secrets: &[&str]) -> Cow<'m, str> {
    let mut out = Cow::Borrowed(message);
    for secret in secrets.iter().map(|secret| secret.trim_matches(['"', '\''])) {
        if secret.len() >= SHORTEST && out.contains(secret) {
            out = Cow::Owned(out.replace(secret, MASK));
        }
    }
    while let Some(user) = userinfo(&out).into_iter().find(|user| out.get(user.clone()) != Some(MASK)) {
        out.to_mut().replace_range(user, MASK);
    }
    out
}

/// Covers secrets in an excerpt: those at `places`, and what looks like one where the file could not be parsed.
pub(crate) fn excerpt(text: &str, places: impl Iterator<Item = Range<usize>>) -> Cow<'_, str> {
    let mut covered: Vec<Range<usize>> = places.collect();
    covered.extend(userinfo(text));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        covered.extend(values(line).map(|value| value.start + start..value.end + start));
        start += line.len();
    }
    if covered.is_empty() {
        return Cow::Borrowed(text);
    }
    let is_covered = |at: usize| covered.iter().any(|range| range.contains(&at));
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_covered(at) && !c.is_whitespace() && c != '"' && c != '\'' {
            out.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// `user:password` of the URLs in a text.
fn userinfo(text: &str) -> Vec<Range<usize>> {
    let of = |(at, mark): (usize, &str)| {
        let start = at + mark.len();
        let rest = text.get(start..)?;
        let authority = rest.find(['/', '?', '#', '"', '\'', '`', ' ', ',', '\n']).map_or(rest, |end| &rest[..end]);
        authority.rfind('@').map(|end| start..start + end)
    };
    text.match_indices("://").filter_map(of).collect()
}

/// Values in a line behind keys that sound like secrets, in any of the formats.
fn values(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.match_indices([':', '=']).filter_map(|(at, mark)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let key = before.rfind(|c| !is_of_key(c)).map_or(before, |end| &before[end..]);
        let after = &line[at + mark.len()..];
        let value = after.trim_start();
        let start = at + mark.len() + (after.len() - value.len());
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = match quote {
            Some(quote) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
            None => value.find([',', '}', ']', '\n', '\r']).unwrap_or(value.len()),
        };
        let value = value[..end].trim_end();
        let is_reference = value.contains("${") || value.starts_with(['{', '[', '&', '*', '|', '>']);
        let key = key.trim_start_matches(|c| !is_of_key(c));
        (!is_reference && !value.is_empty() && is_meant(key, value)).then(|| start..start + value.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_keep_their_places() {
        for (text, covered) in [
            ("a: { token: hunter22, b: 1 }", "a: { token: ********, b: 1 }"),
            ("  password: \"hünter 2\" # so", "  password: \"******* *\" # so"),
            ("api_key = 'x,y'", "api_key = '***'"),
            ("{ \"secret\": \"s\", \"c\": 2 }", "{ \"secret\": \"*\", \"c\": 2 }"),
            ("X-Api-Key: k", "X-Api-Key: *"),
            ("url: redis://me:pw@host/1", "url: redis://*****@host/1"),
            ("token: ${env:T}", "token: ${env:T}"),
            ("from: { cookie: ticket }", "from: { cookie: ticket }"),
            ("Cookie: a=b", "Cookie: ***"),
            ("token: { header: x }", "token: { header: x }"),
            ("token_ttl: 5m", "token_ttl: 5m"),
            ("token:", "token:"),
            ("url: http://host/a@b", "url: http://host/a@b"),
        ] {
            assert_eq!(excerpt(text, std::iter::empty()), covered);
            assert_eq!(covered.len(), text.len());
        }
        assert_eq!(excerpt("key: abc # d", std::iter::once(5..8)), "key: *** # d");
    }

    #[test]
    fn urls_with_a_token_are_secrets_and_templates_are_not() {
        let yaml = "a: \"http://h/x?a=1&token=2\"\nb: /x?api_key=3\nc: \"/x?token={token}&key=\"\nd: what?token=1\n";
        let tree = crate::document::parse(torana_core::diagnostic::FileId(0), yaml, crate::document::Format::Yaml).tree;
        let shown: Vec<_> =
            places(&tree.unwrap()).iter().map(|span| &yaml[span.start as usize..span.end as usize]).collect();
        assert_eq!(shown, ["\"http://h/x?a=1&token=2\"", "/x?api_key=3"]);
    }

    #[test]
    fn what_is_decoded_does_not_show_in_debug_output() {
        let yaml = "admin: { token: hunter2hunter2hunter2 }\nlisteners: [ { address: 127.0.0.1:80 } ]\nupstreams: { a: { \
                    endpoints: [ http://127.0.0.1:1 ], sticky: { cookie: c, secret: hunter2hunter2hunter2 } } }\nroutes: \
                    [ { name: r, upstream: a } ]\n";
        let nothing = std::collections::BTreeMap::<String, String>::new();
        let path = std::path::Path::new("t.yaml");
        let loaded = crate::load_text(path, yaml.to_owned(), &crate::schema::Kinds::default(), &nothing);
        let shown = format!("{:?}", loaded.config.unwrap());
        assert!(shown.contains("Sticky") && shown.contains("Admin") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn messages_do_not_repeat_secrets() {
        let said = message(
            "found `hunter2hunter2` in `http://me:pw@host/`, not `http://host/`",
            &["'hunter2hunter2'", "found"],
        );
        assert_eq!(said, "found `***` in `http://***@host/`, not `http://host/`");
    }
}
