//! The products compared: how each is configured, started and asked whether it does the same work.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::certificate::Certificate;
use crate::bench::client;
use crate::bench::supervise::{Server, Session};
use crate::workspace::installed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    Torana,
    Nginx,
    Haproxy,
    /// No product: what sockets cost a proxy ([`floor`](crate::bench::floor)).
    Floor,
}

impl Product {
    pub(super) const ALL: [Self; 4] = [Self::Torana, Self::Nginx, Self::Haproxy, Self::Floor];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Torana => "torana",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Floor => "floor",
        }
    }

    /// The file that runs; `gateway` is the one given on the command line.
    pub(super) fn executable(self, gateway: &Path) -> Outcome<PathBuf> {
        match self {
            Self::Torana => std::path::absolute(gateway).map_err(|e| format!("{}: {e}", gateway.display())),
            Self::Floor => std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}")),
            Self::Nginx | Self::Haproxy => {
                installed(self.name()).ok_or_else(|| format!("{} is not installed", self.name()))
            }
        }
    }

    /// Its own words about its version.
    pub(super) fn version(self, gateway: &Path) -> String {
        let flag = if self == Self::Torana { "version" } else { "-v" };
        let executable = self.executable(gateway).unwrap_or_else(|_| self.name().into());
        first_line(Command::new(executable).arg(flag))
    }
}

/// The first line a program prints to either stream, for version flags.
pub(super) fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// What a proxy is to do besides plain proxying.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// Tells its files from those of others of the same product; empty for plain proxying.
    pub(super) name: &'static str,
    /// In the product's own words. Of torana: keys that replace those of its file. Of nginx: what stands in place
    /// of `@MORE@`. Of haproxy: what follows its last backend.
    pub(super) text: &'static str,
    /// More names between at-signs, and what they stand for.
    pub(super) values: Vec<(&'static str, String)>,
}

/// A configuration written to disk and the command line that runs it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) product: Product,
    /// Where its log is.
    log: String,
    pub(super) admin: SocketAddr,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
}

/// A proxy that answers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) product: Product,
    pub(super) admin: SocketAddr,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) server: Server,
}

/// Writes the configuration with ports that are free now.
pub(super) fn prepare(
    session: &Session,
    product: Product,
    gateway: &Path,
    origin: SocketAddr,
    files: &Certificate,
) -> Outcome<Prepared> {
    prepare_more(session, product, &Extra::default(), gateway, origin, files)
}

/// The same for a proxy that has more to do.
pub(super) fn prepare_more(
    session: &Session,
    product: Product,
    extra: &Extra,
    gateway: &Path,
    origin: SocketAddr,
    files: &Certificate,
) -> Outcome<Prepared> {
    let [plain, tls, admin] = free_addresses()?;
    let slug =
        if extra.name.is_empty() { product.name().to_owned() } else { format!("{}-{}", product.name(), extra.name) };
    let state = session.folder(&slug)?.display().to_string();
    // Apart from the configuration, whose folder torana watches.
    let logs = session.folder(&format!("{slug}.logs"))?.display().to_string();
    let mut values = vec![
        ("@PLAIN@", plain.to_string()),
        ("@TLS@", tls.to_string()),
        ("@ADMIN@", admin.to_string()),
        ("@ORIGIN@", origin.to_string()),
        ("@CERT@", files.chain.display().to_string()),
        ("@KEY@", files.key.display().to_string()),
        ("@BOTH@", files.both.display().to_string()),
        ("@LOGS@", logs),
    ];
    if extra.text.contains("@MEMORY@") {
        values.push(("@MEMORY@", session.in_memory(&slug)?.display().to_string()));
    }
    values.push(("@STATE@", state.clone()));
    values.extend(extra.values.iter().cloned());
    let (name, template) = match product {
        Product::Floor => ("none", String::new()),
        Product::Torana => ("torana.yaml", overlaid(include_str!("../../../bench/torana.yaml"), extra.text)),
        Product::Nginx => {
            let more = if extra.text.is_empty() { "    access_log off;" } else { extra.text.trim_end() };
            ("nginx.conf", include_str!("../../../bench/nginx.conf").replace("@MORE@", more))
        }
        Product::Haproxy => ("haproxy.cfg", format!("{}{}", include_str!("../../../bench/haproxy.cfg"), extra.text)),
    };
    let text = values.iter().fold(template, |text, (key, value)| text.replace(key, value));
    let file = session.write(&format!("{slug}/{name}"), &text)?.display().to_string();
    let args = match product {
        Product::Torana => vec!["run".to_owned(), file],
        Product::Nginx => ["-p", &state, "-e", "stderr", "-c", &file, "-g", "daemon off;"].map(str::to_owned).to_vec(),
        Product::Floor => vec!["bench-floor".to_owned(), plain.to_string(), origin.to_string()],
        Product::Haproxy => ["-db", "-f", &file].map(str::to_owned).to_vec(),
    };
    Ok(Prepared { product, log: format!("{slug}.log"), program: product.executable(gateway)?, args, plain, tls, admin })
}

/// `base` without the top-level keys that `over` has, and `over`.
fn overlaid(base: &str, over: &str) -> String {
    fn key(line: &str) -> Option<&str> {
        line.split_once(':').map(|(key, _)| key).filter(|key| !key.starts_with([' ', '#', '-']))
    }
    let replaced: Vec<&str> = over.lines().filter_map(key).collect();
    let mut stays = true;
    let mut text = String::new();
    for line in base.lines() {
        if let Some(key) = key(line) {
            stays = !replaced.contains(&key);
        }
        if stays {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + over
}

/// Kept bound until all are chosen, so that they differ; another program could still take one before
/// the proxy does, which then fails to start and says so.
pub(super) fn free_addresses<const N: usize>() -> Outcome<[SocketAddr; N]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).and_then(|l| Ok((l.local_addr()?, l)));
    let mut held = Vec::new();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        let (free, listener) = bind().map_err(|e| format!("no free loopback port: {e}"))?;
        *address = free;
        held.push(listener);
    }
    Ok(addresses)
}

/// Starts it pinned to the proxies' core and waits for the first proxied reply.
pub(super) fn start(session: &Session, prepared: &Prepared) -> Outcome<(Running, Duration)> {
    start_patiently(session, prepared, Duration::from_secs(10), Duration::from_millis(1), |plain| {
        client::get(plain, "/r5/json").map(drop)
    })
}

/// The same, asking every `pause` by `ask` for so long.
pub(super) fn start_patiently(
    session: &Session,
    prepared: &Prepared,
    patience: Duration,
    pause: Duration,
    ask: impl Fn(SocketAddr) -> Outcome<()>,
) -> Outcome<(Running, Duration)> {
    let began = Instant::now();
    let server = session.spawn_pinned(&prepared.program, &prepared.args, &prepared.log)?;
    let &Prepared { product, plain, tls, admin, .. } = prepared;
    let mut running = Running { product, admin, plain, tls, server };
    running.await_reply(patience, pause, ask)?;
    Ok((running, began.elapsed()))
}

impl Running {
    /// Asks every `pause` until a request is answered.
    fn await_reply(
        &mut self,
        patience: Duration,
        pause: Duration,
        ask: impl Fn(SocketAddr) -> Outcome<()>,
    ) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        loop {
            let refusal = match ask(self.plain) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            let name = self.product.name();
            self.server.still_running().map_err(|e| format!("{name} did not start: {e}"))?;
            if Instant::now() > deadline {
                let said = self.server.said();
                return Err(format!(
                    "{name} did not proxy within {} s ({refusal}); it said:\n{said}",
                    patience.as_secs()
                ));
            }
            std::thread::sleep(pause);
        }
    }

    /// Fails unless the origin sees the forwarding headers all of them must set.
    pub(super) fn check_same_work(&self) -> Outcome<()> {
        let name = self.product.name();
        let echo = client::get(self.plain, "/r5/echo").map_err(|e| format!("{name}: {e}"))?;
        let head = String::from_utf8_lossy(&echo.body).to_ascii_lowercase();
        for wanted in [
            " http/1.1\r\n",
            "\r\nx-forwarded-for: 127.0.0.1",
            "\r\nx-forwarded-proto: http\r",
            "\r\nx-forwarded-host: ",
        ] {
            if !head.contains(wanted) {
                return Err(format!(
                    "{name} does not do the same work as the others: its request to the origin lacks `{}`. The origin got:\n{head}",
                    wanted.trim()
                ));
            }
        }
        Ok(())
    }

    /// "TLSv1.3 TLS_AES_256_GCM_SHA384": what a client with OpenSSL's defaults negotiates.
    pub(super) fn cipher(&self) -> Outcome<String> {
        let output = Command::new("openssl")
            .args(["s_client", "-brief", "-connect", &self.tls.to_string()])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cannot start openssl: {e}"))?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let value = |label: &str| text.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
        match (value("Protocol version:"), value("Ciphersuite:")) {
            (Some("TLSv1.3"), Some(cipher)) => Ok(format!("TLSv1.3 {cipher}")),
            _ => Err(format!("{} does not speak TLS 1.3; openssl s_client said:\n{text}", self.product.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_fragment_replace_those_of_the_file() {
        let base = "a: 1\nb:\n  - x: 1\n  - y\n# about c\nc: [ 2 ]\n";
        assert_eq!(overlaid(base, "# of b\nb: 3\nd: 4\n"), "a: 1\nc: [ 2 ]\n# of b\nb: 3\nd: 4\n");
        assert_eq!(overlaid(base, ""), base);
    }
}
