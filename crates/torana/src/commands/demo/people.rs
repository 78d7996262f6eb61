//! Who talks to the demo, and how they prove it.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A user of the shop.
#[derive(Clone, Copy)]
pub(super) struct Person {
    /// What the tokens call them.
    pub(super) id: &'static str,
    role: &'static str,
    email: &'static str,
}

/// Sees every user.
pub(super) const ADA: Person = Person { id: "2", role: "admin", email: "ada@shop.example" };
/// A customer.
pub(super) const GRACE: Person = Person { id: "7", role: "customer", email: "grace@shop.example" };
/// A customer who asks too often.
pub(super) const EAGER: Person = Person { id: "8", role: "customer", email: "barbara@shop.example" };

/// How long the tokens that are printed count.
pub(super) const PRINTED: Duration = Duration::from_secs(12 * 3600);

/// Who signs the tokens: in a real shop, the login service.
#[derive(Clone)]
pub(super) struct Login {
    secret: String,
}

impl Login {
    /// One with a secret that nobody knew before.
    pub(super) fn new() -> io::Result<Login> {
        Ok(Login { secret: random_text()? })
    }

    /// What the gateway has to know to believe its tokens.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// A token that counts for `time` from now.
    pub(super) fn token(&self, person: Person, time: Duration) -> String {
        self.token_until(person, SystemTime::now() + time)
    }

    /// One that counted until an hour ago.
    pub(super) fn expired(&self, person: Person) -> String {
        self.token_until(person, SystemTime::now() - Duration::from_secs(3600))
    }

    fn token_until(&self, person: Person, end: SystemTime) -> String {
        let end = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        let claims = json!({ "sub": person.id, "role": person.role, "email": person.email, "exp": end });
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Text that cannot be guessed: 43 characters that a header can carry.
pub(super) fn random_text() -> io::Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|Unspecified| io::Error::other("the system has no random numbers"))?;
    Ok(encoded(bytes))
}
