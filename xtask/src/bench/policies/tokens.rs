//! Tokens for the rows that verify them, made with openssl when the row is run.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Outcome;
use crate::bench::supervise::Session;

/// Which tokens requests bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// None: `Authorization` as in the other benchmarks, which nobody looks at.
    None,
    /// The same one each time.
    Same(Algorithm),
    /// [`DIFFERENT`] ones in turn.
    Different(Algorithm),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
}

/// More than eight times what a cache of 64 KiB holds of them, so it has forgotten each before it comes again; the
/// gateway's own counters are asked whether that is so.
pub(super) const DIFFERENT: usize = 512;

const SECRET: &str = "a secret of the benchmark, of 47 bytes in length";

/// The keys of one run.
#[derive(Debug)]
pub(super) struct Keys {
    private: PathBuf,
    public: PathBuf,
}

impl Keys {
    /// An RSA key of 2048 bits, beside the secret.
    pub(super) fn create(session: &Session) -> Outcome<Self> {
        let keys = Self { private: session.path("jwt.pem"), public: session.path("jwt.pub.pem") };
        let mut generate = Command::new("openssl");
        generate.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(&keys.private);
        run(&mut generate, b"")?;
        let mut publish = Command::new("openssl");
        publish.args(["pkey", "-pubout", "-in"]).arg(&keys.private).arg("-out").arg(&keys.public);
        run(&mut publish, b"")?;
        Ok(keys)
    }

    /// What stands for names between at-signs.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        vec![("@SECRET@", SECRET.to_owned()), ("@PUBLIC_KEY@", self.public.display().to_string())]
    }

    /// Values of `Authorization`; none for [`Tokens::None`].
    pub(super) fn make(&self, tokens: Tokens) -> Outcome<Vec<String>> {
        let (algorithm, count) = match tokens {
            Tokens::None => return Ok(Vec::new()),
            Tokens::Same(algorithm) => (algorithm, 1),
            Tokens::Different(algorithm) => (algorithm, DIFFERENT),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| format!("the clock is wrong: {e}"))?;
        (0..count).map(|number| self.token(algorithm, number, now.as_secs())).collect()
    }

    fn token(&self, algorithm: Algorithm, number: usize, now: u64) -> Outcome<String> {
        let (name, mut sign) = (if algorithm == Algorithm::Hs256 { "HS256" } else { "RS256" }, Command::new("openssl"));
        sign.args(["dgst", "-sha256", "-binary"]);
        match algorithm {
            Algorithm::Hs256 => sign.args(["-hmac", SECRET]),
            Algorithm::Rs256 => sign.arg("-sign").arg(&self.private),
        };
        let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
        let claims = format!(
            r#"{{"iss":"https://accounts.example","sub":"user-{number:06}","role":"member","email":"user-{number:06}@example.com","iat":{now},"exp":{}}}"#,
            now + 86_400
        );
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = run(&mut sign, signed.as_bytes())?;
        Ok(format!("Bearer {signed}.{}", base64url(&signature)))
    }
}

fn run(command: &mut Command, input: &[u8]) -> Outcome<Vec<u8>> {
    let failed = |e: std::io::Error| format!("openssl: {e}");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut to) = child.stdin.take() {
        to.write_all(input).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("openssl failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..=chunk.len() {
            let digit = (group >> (18 - 6 * place)) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_of_all_lengths() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"\xff\xfe", "__4")]
        {
            assert_eq!(base64url(bytes), text);
        }
    }
}
