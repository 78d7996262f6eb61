//! The products compared: how each is configured, started and asked whether it does the same work.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::bench::certificate::Certificate;
use crate::bench::client;
use crate::bench::supervise::{Server, Session, find};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    Torana,
    Nginx,
    Haproxy,
}

impl Product {
    pub(super) const ALL: [Self; 3] = [Self::Torana, Self::Nginx, Self::Haproxy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Torana => "torana",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// The file that runs; `gateway` is the one given on the command line.
    pub(super) fn executable(self, gateway: &Path) -> Outcome<PathBuf> {
        match self {
            Self::Torana => std::path::absolute(gateway).map_err(|e| format!("{}: {e}", gateway.display())),
            Self::Nginx | Self::Haproxy => find(self.name()).ok_or_else(|| format!("{} is not installed", self.name())),
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

/// A configuration written to disk and the command line that runs it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) product: Product,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
}

/// A proxy that answers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) product: Product,
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
    let [plain, tls, admin] = free_addresses()?;
    let state = session.path("");
    let state = state.display().to_string();
    let values = [
        ("@PLAIN@", plain.to_string()),
        ("@TLS@", tls.to_string()),
        ("@ADMIN@", admin.to_string()),
        ("@ORIGIN@", origin.to_string()),
        ("@CERT@", files.chain.display().to_string()),
        ("@KEY@", files.key.display().to_string()),
        ("@BOTH@", files.both.display().to_string()),
        ("@STATE@", state.trim_end_matches('/').to_owned()),
    ];
    let (name, template) = match product {
        Product::Torana => ("torana.yaml", include_str!("../../../bench/torana.yaml")),
        Product::Nginx => ("nginx.conf", include_str!("../../../bench/nginx.conf")),
        Product::Haproxy => ("haproxy.cfg", include_str!("../../../bench/haproxy.cfg")),
    };
    let text = values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value));
    let file = session.write(name, &text)?.display().to_string();
    let args = match product {
        Product::Torana => vec!["run".to_owned(), file],
        Product::Nginx => ["-p", &state, "-e", "stderr", "-c", &file, "-g", "daemon off;"].map(str::to_owned).to_vec(),
        Product::Haproxy => ["-db", "-f", &file].map(str::to_owned).to_vec(),
    };
    Ok(Prepared { product, program: product.executable(gateway)?, args, plain, tls })
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
    let log = format!("{}.log", prepared.product.name());
    let began = Instant::now();
    let server = session.spawn_pinned(&prepared.program, &prepared.args, &log)?;
    let mut running = Running { product: prepared.product, plain: prepared.plain, tls: prepared.tls, server };
    running.await_reply(Duration::from_secs(10), Duration::from_millis(1))?;
    Ok((running, began.elapsed()))
}

impl Running {
    /// Asks every `pause` until a request comes back from the origin.
    pub(super) fn await_reply(&mut self, patience: Duration, pause: Duration) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        loop {
            let refusal = match client::get(self.plain, "/r5/json") {
                Ok(_) => return Ok(()),
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
