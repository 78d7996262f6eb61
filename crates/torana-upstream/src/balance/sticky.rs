//! A cookie that brings a client back to its endpoint.
//!
//! Its value is `HMAC-SHA256(secret, identity of the endpoint)`, cut to 128 bits
//! and in base64url: 22 characters. So a client neither learns the address of
//! an endpoint nor can name one that it was not given, and nothing is stored
//! per client. All gateways with the same secret give an endpoint the same
//! value, whatever its position and whatever other endpoints there are.
//!
//! Envoy's stateful sessions and HAProxy's `cookie insert` write the address or
//! the name of the server into the cookie; Traefik (`sticky`) and ingress-nginx
//! (`affinity: cookie`) a hash of it without a key, which anyone who can guess
//! addresses can reverse.
//!
//! When the endpoint of a cookie is gone or not usable, the request is balanced
//! like any other and its reply brings a new cookie. That also holds for a
//! retry: whoever answered at last is in the cookie.
//!
//! Without a configured secret, one is drawn when the process starts. Cookies
//! then end with the process, and two gateways do not know each other's: every
//! client that comes to the other one is bound anew. A fleet needs a secret.

use super::Member;
use aws_lc_rs::{constant_time, hmac, rand};
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use torana_core::cookie;

const TAG_BYTES: usize = 16;
const TAG_CHARS: usize = 22;

type Tag = [u8; TAG_BYTES];

/// A sticky cookie, as compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickySpec {
    /// Its name; see [`StickySpec::is_name`].
    pub name: Arc<str>,
    /// For which paths it is sent; `/` unless there is a reason. See
    /// [`StickySpec::is_path`].
    pub path: Arc<str>,
    /// Whether scripts are kept from reading it; on unless there is a reason.
    pub http_only: bool,
    /// When it is sent from other sites; nothing: as the browser has it.
    pub same_site: Option<SameSite>,
    /// How long it lives, counted from when it was issued, in whole seconds;
    /// nothing: until the browser is closed.
    pub max_age: Option<Duration>,
    /// The first signs, all are accepted, so that a secret can be replaced
    /// without losing sessions. None: that of the process.
    pub secrets: Vec<StickySecret>,
}

/// When a cookie is sent along with requests from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When a link is followed.
    Lax,
    /// Always. Browsers want such cookies to be `Secure`, so it has no effect
    /// for clients without TLS.
    None,
}

/// What cookies are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct StickySecret(Arc<[u8]>);

/// A sticky cookie for the endpoints of an upstream: immutable, and shared by
/// all workers.
#[derive(Debug)]
pub struct Sticky {
    spec: StickySpec,
    /// The value for each endpoint, by position.
    tags: Box<[Tag]>,
    /// By the first half of a tag, under any secret: the tag and its endpoint.
    known: HashMap<u64, (Tag, usize)>,
    /// What follows the value, in the clear and with TLS.
    attributes: [Box<str>; 2],
}

/// The endpoint a client is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its position.
    pub index: usize,
    /// Whether the cookie is as it would be issued now, under the first secret.
    pub current: bool,
}

impl StickySpec {
    /// A session cookie of this name with the usual attributes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> StickySpec {
        StickySpec {
            name: name.into(),
            path: "/".into(),
            http_only: true,
            same_site: None,
            max_age: None,
            secrets: Vec::new(),
        }
    }

    /// Whether a cookie can have this name: a token (RFC 6265 §4.1.1).
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    }

    /// Whether this can be the path of a cookie: it begins with `/` and has
    /// neither control characters nor `;`.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        path.starts_with('/') && path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
    }

    fn attributes(&self, tls: bool) -> Box<str> {
        let mut text = format!("; Path={}", self.path);
        if let Some(age) = self.max_age {
            // Writing to a string does not fail.
            let _ = write!(text, "; Max-Age={}", age.as_secs());
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        // Browsers take `SameSite=None` only together with `Secure`.
        if tls || self.same_site == Some(SameSite::None) {
            text.push_str("; Secure");
        }
        text.push_str(match self.same_site {
            None => "",
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
        });
        text.into()
    }
}

impl StickySecret {
    /// A secret of at least this many bytes is as strong as the cookie.
    pub const ENOUGH_BYTES: usize = 16;

    /// A secret that someone chose.
    #[must_use]
    pub fn new(bytes: &[u8]) -> StickySecret {
        StickySecret(bytes.into())
    }

    /// The secret of this process: the same until it ends, and nobody knows it.
    #[must_use]
    pub fn of_process() -> StickySecret {
        static SECRET: OnceLock<StickySecret> = OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            let mut bytes = [0; 32];
            // Not known to fail. If it does, the keys of the standard library's
            // hash maps are from the same source by another way.
            if rand::fill(&mut bytes).is_err() {
                use std::hash::{BuildHasher, RandomState};
                for (place, part) in (0_u8..).zip(bytes.chunks_exact_mut(8)) {
                    part.copy_from_slice(&RandomState::new().hash_one(place).to_ne_bytes());
                }
            }
            StickySecret::new(&bytes)
        });
        secret.clone()
    }
}

impl fmt::Debug for StickySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StickySecret(…)")
    }
}

impl Sticky {
    /// A cookie for these endpoints. Endpoints that are there more than once
    /// share a value, and it leads to the first.
    #[must_use]
    pub fn new(spec: StickySpec, members: &[Member]) -> Sticky {
        let of_process = [StickySecret::of_process()];
        let secrets = if spec.secrets.is_empty() { &of_process[..] } else { &spec.secrets };
        let mut known = HashMap::new();
        let mut tags = Vec::with_capacity(members.len());
        for secret in secrets {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
            for (index, member) in members.iter().enumerate() {
                let tag = tag(&key, &member.identity);
                known.entry(half(&tag)).or_insert((tag, index));
                if tags.len() < members.len() {
                    tags.push(tag);
                }
            }
        }
        let attributes = [spec.attributes(false), spec.attributes(true)];
        Sticky { spec, tags: tags.into(), known, attributes }
    }

    /// What it was made from.
    #[must_use]
    pub const fn spec(&self) -> &StickySpec {
        &self.spec
    }

    /// The endpoint that a request is bound to, by the values of its `Cookie`
    /// fields. If the cookie is there more than once, as happens with several
    /// paths, the first that is genuine counts.
    ///
    /// One look-up in a hash map for every cookie of this name. Whether it
    /// finds anything depends on the first half of the value as one word, and
    /// the rest is compared in constant time, so times say nothing about how
    /// much of a guess was right.
    #[must_use]
    pub fn find<'a>(&self, fields: impl IntoIterator<Item = &'a [u8]>) -> Option<Binding> {
        let pairs = fields.into_iter().flat_map(cookie::pairs);
        let values = pairs.filter(|(name, _)| *name == self.spec.name.as_bytes()).map(|(_, value)| value);
        values.filter_map(decode).find_map(|given| {
            let (tag, index) = self.known.get(&half(&given))?;
            constant_time::verify_slices_are_equal(tag, &given).ok()?;
            Some(Binding { index: *index, current: self.tags[*index] == *tag })
        })
    }

    /// The value of a `Set-Cookie` field for the reply of the endpoint at
    /// `served`; nothing if the client has that cookie already.
    ///
    /// `bound` is what [`Sticky::find`] returned for this request, and `tls`
    /// whether the client came by TLS: the cookie is `Secure` then.
    #[must_use]
    pub fn set_cookie(&self, served: usize, bound: Option<Binding>, tls: bool) -> Option<String> {
        let tag = self.tags.get(served)?;
        if bound.is_some_and(|bound| bound.current && self.tags.get(bound.index) == Some(tag)) {
            return None;
        }
        let attributes = &self.attributes[usize::from(tls)];
        let mut text = String::with_capacity(self.spec.name.len() + 1 + TAG_CHARS + attributes.len());
        text.push_str(&self.spec.name);
        text.push('=');
        encode(tag, &mut text);
        text.push_str(attributes);
        Some(text)
    }
}

fn tag(key: &hmac::Key, identity: &str) -> Tag {
    let mut context = hmac::Context::with_key(key);
    // So that a secret can be used for something else, too.
    context.update(b"torana sticky 1\0");
    context.update(identity.as_bytes());
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
    tag
}

const fn half(tag: &Tag) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *tag;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The base64 alphabet that needs no quoting in URLs (RFC 4648 §5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(tag: &Tag, out: &mut String) {
    let bits = u128::from_be_bytes(*tag);
    for place in 0..TAG_CHARS {
        // 22 digits hold 132 bits: the last four are zero.
        let digit = (if place < TAG_CHARS - 1 { bits >> (122 - 6 * place) } else { bits << 4 }) & 63;
        out.push(char::from(ALPHABET[digit as usize]));
    }
}

/// Reads what [`encode`] wrote, and nothing else: one tag has one spelling.
fn decode(text: &[u8]) -> Option<Tag> {
    let text: &[u8; TAG_CHARS] = text.try_into().ok()?;
    let (last, rest) = text.split_last()?;
    let mut bits = 0;
    for char in rest {
        bits = bits << 6 | u128::from(digit(*char)?);
    }
    let last = digit(*last)?;
    (last & 15 == 0).then(|| (bits << 2 | u128::from(last >> 4)).to_be_bytes())
}

const fn digit(char: u8) -> Option<u8> {
    match char {
        b'A'..=b'Z' => Some(char - b'A'),
        b'a'..=b'z' => Some(char - b'a' + 26),
        b'0'..=b'9' => Some(char - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
#[path = "sticky_tests.rs"]
mod tests;
