//! Which origins may read replies.

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;
use torana_core::diagnostic::Diagnostic;
use torana_core::names::is_token_byte;
use torana_core::written::Spanned;

/// The origins of a policy.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Every origin, `*`.
    pub(super) any: bool,
    list: Vec<Origin>,
}

#[derive(Debug)]
enum Origin {
    /// As browsers write it; `null` among them.
    Exact(Box<[u8]>),
    /// What stands around the labels: `https://` and `.example.com:8443`.
    Below(Box<[u8]>, Box<[u8]>),
    Pattern(Regex),
}

/// What begins a pattern.
const REGEX: &str = "regex:";

/// Most bytes a compiled pattern may take.
const PATTERN_BYTES: usize = 256 * 1024;

impl Origins {
    /// Whether pages of `origin`, what a browser sent, are among them.
    pub(super) fn allow(&self, origin: &[u8]) -> bool {
        // `*` is everybody who has a name: `null` is any sandbox and any file,
        // so it has to be written.
        (self.any && origin != b"null") || self.list.iter().any(|known| known.is(origin))
    }

    /// Takes up what was written: one origin, several between commas, or a
    /// pattern.
    pub(super) fn add(&mut self, written: &Spanned<String>, problems: &mut Vec<Diagnostic>) {
        if let Some(pattern) = written.strip_prefix(REGEX) {
            match compile(pattern) {
                Ok(pattern) => self.list.push(Origin::Pattern(pattern)),
                Err(error) => {
                    let message = format!("{} is not a regular expression: {error}", written.shown());
                    problems.push(Diagnostic::error("cors.origin", message).at(written.span));
                }
            }
            return;
        }
        for part in written.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "*" => self.any = true,
                "null" => self.list.push(Origin::Exact((*b"null").into())),
                part => match read(part) {
                    Ok(origin) => self.list.push(origin),
                    Err(hint) => {
                        let message = format!("{} is not an origin", written.shown());
                        problems.push(Diagnostic::error("cors.origin", message).at(written.span).hint(hint));
                    }
                },
            }
        }
    }

    /// Whether nothing is among them.
    pub(super) fn is_empty(&self) -> bool {
        !self.any && self.list.is_empty()
    }
}

impl Origin {
    fn is(&self, origin: &[u8]) -> bool {
        match self {
            Origin::Exact(known) => **known == *origin,
            Origin::Below(before, behind) => {
                let labels = origin.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**behind));
                labels.is_some_and(is_labels)
            }
            Origin::Pattern(pattern) => pattern.is_match(origin),
        }
    }
}

/// Whole origins: one that only holds the pattern is another (`https://a.example.evil.example`).
fn compile(pattern: &str) -> Result<Regex, Box<BuildError>> {
    // Bytes: an origin is ASCII, and what is not does not match.
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let config = Config::new().utf8_empty(false).nfa_size_limit(Some(PATTERN_BYTES));
    let regex = Regex::builder().syntax(syntax).configure(config).build(&format!(r"\A(?:{pattern})\z"));
    regex.map_err(Box::new)
}

/// Reads `https://shop.example`, `https://*.shop.example:8443`; the error is a hint.
fn read(text: &str) -> Result<Origin, &'static str> {
    const FORM: &str = "write `https://shop.example`, `https://*.shop.example`, `http://localhost:3000`, \
        `regex:…`, `null` or `*`";
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://").ok_or(FORM)?;
    if scheme.is_empty() || !scheme.bytes().all(is_token_byte) {
        return Err(FORM);
    }
    if authority.ends_with('/') {
        return Err("an origin has no path: leave out what is behind the host, the last `/` too");
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err("an origin is scheme, host and port, and nothing else");
    }
    let (host, port) = split_port(authority);
    // What browsers leave out.
    let port = match (scheme, port) {
        ("http", Some("80")) | ("https", Some("443")) | (_, None) => String::new(),
        (_, Some(port)) if port.parse::<u16>().is_ok() => format!(":{port}"),
        _ => return Err("the port is a number"),
    };
    if let Some(below) = host.strip_prefix("*.") {
        if !is_labels(below.as_bytes()) {
            return Err(FORM);
        }
        let before = format!("{scheme}://").into_bytes();
        return Ok(Origin::Below(before.into(), format!(".{below}{port}").into_bytes().into()));
    }
    let is_ip6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
    });
    if !is_ip6 && !is_labels(host.as_bytes()) {
        return Err(FORM);
    }
    Ok(Origin::Exact(format!("{scheme}://{host}{port}").into_bytes().into()))
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Labels between dots, none of them empty.
fn is_labels(text: &[u8]) -> bool {
    let is_label_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    text.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(is_label_byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(written: &[&str]) -> (Origins, Vec<Diagnostic>) {
        let mut origins = Origins::default();
        let mut problems = Vec::new();
        for written in written {
            origins.add(&(*written).to_owned().into(), &mut problems);
        }
        (origins, problems)
    }

    #[test]
    fn only_what_was_written_is_allowed() {
        let written = [
            "https://shop.example:443, http://localhost:3000",
            "https://*.wild.example",
            r"regex:https://pr-\d{1,3}\.preview\.example",
            "http://[::1]:8080",
            "HTTPS://UPPER.Example",
        ];
        let (origins, problems) = origins(&written);
        assert!(problems.is_empty(), "{problems:?}");
        for allowed in [
            "https://shop.example",
            "http://localhost:3000",
            "https://a.wild.example",
            "https://a.b.wild.example",
            "https://pr-12.preview.example",
            "http://[::1]:8080",
            "https://upper.example",
        ] {
            assert!(origins.allow(allowed.as_bytes()), "{allowed}");
        }
        for refused in [
            "",
            "null",
            "http://shop.example",
            "https://shop.example:8443",
            "https://shop.example.evil.example",
            "https://evilshop.example",
            "http://localhost",
            "https://wild.example",
            "https://.wild.example",
            "https://evil.example/.wild.example",
            "https://user@a.wild.example",
            "https://evil.example:1.wild.example",
            "https://a.wild.example:444",
            "https://evilwild.example",
            "https://pr-12.preview.example.evil.example",
            "https://evil.example/https://pr-12.preview.example",
            "https://pr-1234.preview.example",
            "https://pr-12.preview.example\n",
        ] {
            assert!(!origins.allow(refused.as_bytes()), "{refused}");
        }
    }

    #[test]
    fn everybody_is_everybody_with_a_name() {
        let (any, _) = origins(&["*"]);
        assert!(any.allow(b"https://a.example") && !any.allow(b"null"));
        let (null, _) = origins(&["null"]);
        assert!(null.allow(b"null") && !null.allow(b"https://a.example"));
    }

    #[test]
    fn what_is_no_origin_is_told() {
        for wrong in [
            "shop.example",
            "https://",
            "https://shop.example/",
            "https://shop.example/path",
            "https://a@shop.example",
            "https://shop.example:http",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "https://a..example",
            "regex:(",
        ] {
            let (origins, problems) = origins(&[wrong]);
            assert_eq!(problems.len(), 1, "{wrong}");
            assert!(origins.is_empty(), "{wrong}");
        }
    }
}
