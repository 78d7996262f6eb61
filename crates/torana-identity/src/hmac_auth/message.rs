//! Reading `Signature-Input` and `Signature`, and what was signed (RFC 9421).
//!
//! Of the structured fields (RFC 9651) no more is read than one signature needs,
//! and anything else is refused rather than guessed at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use torana_core::exchange::Exchange;
use torana_core::names::HeaderName;

/// What one signature says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Input<'a> {
    /// Its label.
    label: &'a str,
    /// What it covers, in order.
    pub(super) components: Vec<&'a str>,
    /// The list of components and the parameters, as sent.
    raw: &'a str,
    pub(super) created: Option<u64>,
    pub(super) expires: Option<u64>,
    pub(super) nonce: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) algorithm: Option<&'a str>,
}

/// Most parts of a request that a signature may cover.
const MOST_COMPONENTS: usize = 32;

/// A text that is read from its beginning.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    fn while_is(&mut self, is: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.0.find(|c: char| !is(c)).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!text.is_empty()).then_some(text)
    }

    /// A key of a dictionary or parameter.
    fn key(&mut self) -> Option<&'a str> {
        self.while_is(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*'))
    }

    /// A string without escapes, which nothing in here needs.
    fn string(&mut self) -> Option<&'a str> {
        if !self.take("\"") {
            return None;
        }
        let (text, rest) = self.0.split_once('"')?;
        self.0 = rest;
        text.chars().all(|c| (c == ' ' || c.is_ascii_graphic()) && c != '\\').then_some(text)
    }
}

/// Reads both fields; `None` if there is not exactly one signature, or it is
/// said in a way that is not read here.
pub(super) fn read<'a>(input: &'a [u8], signature: &[u8]) -> Option<(Input<'a>, Vec<u8>)> {
    let input = read_input(std::str::from_utf8(input).ok()?.trim_matches(' '))?;
    let mut reader = Reader(std::str::from_utf8(signature).ok()?.trim_matches(' '));
    if reader.key()? != input.label || !reader.take("=:") {
        return None;
    }
    let encoded = reader.0.strip_suffix(':')?;
    Some((input, STANDARD.decode(encoded).ok()?))
}

fn read_input(text: &str) -> Option<Input<'_>> {
    let mut reader = Reader(text);
    let mut input = Input { label: reader.key()?, ..Input::default() };
    if !reader.take("=") {
        return None;
    }
    input.raw = reader.0;
    if !reader.take("(") {
        return None;
    }
    loop {
        reader.blanks();
        if reader.take(")") {
            break;
        }
        let component = reader.string()?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '@' | '.');
        // With parameters it would mean another text than is built here.
        let is_readable = component.chars().all(is_plain) && (reader.0.starts_with([' ', ')']));
        if !is_readable || input.components.contains(&component) || input.components.len() == MOST_COMPONENTS {
            return None;
        }
        input.components.push(component);
    }
    let mut seen = Vec::new();
    while reader.take(";") {
        reader.blanks();
        let key = reader.key()?;
        if seen.contains(&key) || !reader.take("=") {
            return None;
        }
        seen.push(key);
        match key {
            "created" => input.created = Some(reader.while_is(|c| c.is_ascii_digit())?.parse().ok()?),
            "expires" => input.expires = Some(reader.while_is(|c| c.is_ascii_digit())?.parse().ok()?),
            "nonce" => input.nonce = Some(reader.string()?),
            "keyid" => input.key = Some(reader.string()?),
            "alg" => input.algorithm = Some(reader.string()?),
            "tag" => {
                reader.string()?;
            }
            _ => return None,
        }
    }
    reader.0.is_empty().then_some(input)
}

impl Input<'_> {
    /// Whether the part of a request called `wanted` is signed.
    pub(super) fn covers(&self, wanted: &str) -> bool {
        let has = |name: &str| self.components.contains(&name);
        has(wanted)
            || (has("@target-uri")
                && matches!(wanted, "@authority" | "@path" | "@query" | "@scheme" | "@request-target"))
            || (has("@request-target") && matches!(wanted, "@path" | "@query"))
    }

    /// The text that was signed (RFC 9421 §2.5), of the request as it was read:
    /// with the path that is matched and forwarded. `None`: the request lacks a
    /// part, or it is one that requests do not have.
    pub(super) fn base(&self, exchange: &Exchange) -> Option<Vec<u8>> {
        let target = exchange.target();
        let scheme = if exchange.connection.is_secure() { "https" } else { "http" };
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut base = Vec::new();
        for component in &self.components {
            let mut text = String::new();
            match *component {
                "@method" => text.push_str(exchange.head.method_text()),
                "@authority" => text.push_str(target.authority()),
                "@scheme" => text.push_str(scheme),
                "@path" => text.push_str(target.path()),
                // RFC 9421 §2.2.7: without one it is the question mark alone.
                "@query" if query.is_empty() => text.push('?'),
                "@query" => text.push_str(&query),
                "@request-target" => write!(text, "{}{query}", target.path()).ok()?,
                "@target-uri" => write!(text, "{scheme}://{}{}{query}", target.authority(), target.path()).ok()?,
                name => {
                    line(&mut base, name, &field(exchange, name)?);
                    continue;
                }
            }
            line(&mut base, component, text.as_bytes());
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(self.raw.as_bytes());
        Some(base)
    }
}

fn line(base: &mut Vec<u8>, name: &str, value: &[u8]) {
    base.push(b'"');
    base.extend_from_slice(name.as_bytes());
    base.extend_from_slice(b"\": ");
    base.extend_from_slice(value);
    base.push(b'\n');
}

/// All values of a field (RFC 9421 §2.1).
fn field(exchange: &Exchange, name: &str) -> Option<Vec<u8>> {
    let name = HeaderName::new(name)?;
    let mut values = exchange.head.fields.values(&name).map(<[u8]>::trim_ascii);
    let mut all = values.next()?.to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use torana_core::testing::exchange;

    #[test]
    fn one_signature_is_read_and_nothing_is_guessed() {
        let input =
            br#"sig1=("@method" "date");created=1618884473;keyid="k";nonce="n";alg="hmac-sha256";tag="t";expires=9"#;
        let (read_input, signature) = read(input, b"sig1=:AQI=:").unwrap();
        assert_eq!((read_input.components.as_slice(), signature), (&["@method", "date"][..], vec![1, 2]));
        assert_eq!((read_input.created, read_input.expires), (Some(1_618_884_473), Some(9)));
        assert_eq!(
            (read_input.key, read_input.nonce, read_input.algorithm),
            (Some("k"), Some("n"), Some("hmac-sha256"))
        );
        for (input, signature) in [
            ("", "sig1=:AQI=:"),
            ("sig1=()", "sig2=:AQI=:"),
            ("sig1=()", "sig1=AQI="),
            ("sig1=()", "sig1=:AQI=:, sig2=:AQI=:"),
            ("sig1=(), sig2=()", "sig1=:AQI=:"),
            (r#"sig1=("a";req)"#, "sig1=:AQI=:"),
            (r#"sig1=("a" "a")"#, "sig1=:AQI=:"),
            (r#"sig1=("a""b")"#, "sig1=:AQI=:"),
            (r#"sig1=("A")"#, "sig1=:AQI=:"),
            (r#"sig1=("a"#, "sig1=:AQI=:"),
            (r"sig1=();created=-1", "sig1=:AQI=:"),
            (r"sig1=();created=1;created=2", "sig1=:AQI=:"),
            (r#"sig1=();keyid="a\"b""#, "sig1=:AQI=:"),
            (r#"sig1=();created=99999999999999999999"#, "sig1=:AQI=:"),
            (r"sig1=();unknown=1", "sig1=:AQI=:"),
        ] {
            assert!(read(input.as_bytes(), signature.as_bytes()).is_none(), "{input}");
        }
    }

    #[test]
    fn the_base_is_as_the_rfc_has_it() {
        let asked = exchange(
            "POST /foo?param=Value HTTP/1.1\nHost: example.com\nDate: today\nCache-Control: a\nCache-Control:  b ",
        );
        let text = r#"sig=("@method" "@authority" "@path" "@query" "@target-uri" "cache-control" "date");keyid="k""#;
        let (input, _) = read(text.as_bytes(), b"sig=::").unwrap();
        let base = String::from_utf8(input.base(&asked).unwrap()).unwrap();
        assert_eq!(
            base,
            "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /foo\n\"@query\": ?param=Value\n\
             \"@target-uri\": http://example.com/foo?param=Value\n\"cache-control\": a, b\n\"date\": today\n\
             \"@signature-params\": (\"@method\" \"@authority\" \"@path\" \"@query\" \"@target-uri\" \
             \"cache-control\" \"date\");keyid=\"k\""
        );
        for missing in ["x-missing", "@status", "@query-param"] {
            let text = format!("sig=(\"{missing}\")");
            assert_eq!(read(text.as_bytes(), b"sig=::").unwrap().0.base(&asked), None, "{missing}");
        }
    }
}
