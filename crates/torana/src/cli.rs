//! The command line.

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use torana_core::diagnostic::did_you_mean;

/// Torana, an API gateway: one binary, one file.
#[derive(Debug, Parser)]
#[command(name = "torana", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// When to colour output; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  torana demo                             try it: gateway, sample services and curl lines
  torana torana.yaml                      run a gateway; short for `torana run torana.yaml`
  torana check torana.yaml                find every mistake in a configuration
  torana explain torana.yaml GET /users   what would become of a request, and why

Exit codes:
  0  it worked; a gateway ended after SIGTERM or Ctrl-C
  1  the configuration has errors, or the gateway cannot start
  2  the command line is not understood
  3  `explain`: the request would be refused";

/// When to colour output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Check(Check),
    Explain(Explain),
    Key(Key),
    Routes(Routes),
    Schema(Schema),
    Demo(Demo),
    Version(Version),
    Completions(Completions),
}

/// Run a gateway
///
/// It runs until SIGTERM or Ctrl-C: then readiness turns to "no", connections end after their current request, and
/// the process exits with 0. A second signal ends it at once. SIGHUP, a changed file and `POST /reload` on the admin
/// address take up a new configuration; one with errors leaves the old one in force. SIGUSR1 opens the access log
/// anew. SIGUSR2 starts the program anew and lets it take over, without losing a connection. Sockets that a service
/// manager passes are used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana run torana.yaml
  torana run /etc/torana/          every configuration file of a directory
  torana torana.yaml               the same as `torana run torana.yaml`
  curl localhost:9901/             what the running gateway can tell")]
pub(crate) struct Run {
    /// Configuration: a YAML, TOML or JSON file, or a directory of them
    pub(crate) file: PathBuf,
    /// Do not take up changed files by itself; SIGHUP and `POST /reload` still do
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Take the sockets over from the gateway whose `upgrade.socket` this is; it ends when this one serves
    #[arg(long, value_name = "PATH")]
    pub(crate) upgrade_from: Option<PathBuf>,
}

/// Find every mistake in a configuration
///
/// Prints all errors and warnings with the lines they are on, and exits with 1 if there is an error. Nothing is
/// fetched, connected to or executed; certificates are read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana check torana.yaml
  torana check --format json torana.yaml | jq '.[].message'")]
pub(crate) struct Check {
    /// Configuration: a file or a directory
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// Say what would become of a request, and why
///
/// Shows the route that wins, every other route with the rule that decided against it, the policies, and the request
/// as the upstream would get it. Nothing is sent. Exits with 3 if the gateway would refuse the request.
///
/// With `--admin` the gateway that runs there is asked instead of a file. It also says which endpoint it would choose,
/// and why: balancing, health, breakers, sticky cookies.
#[derive(Debug, Args)]
#[command(override_usage = "torana explain [OPTIONS] <FILE> <METHOD> <URL>
       torana explain [OPTIONS] --admin <ADDRESS> <METHOD> <URL>")]
#[command(after_help = "Examples:
  torana explain torana.yaml GET /api/users/7
  torana explain --admin http://127.0.0.1:9901 GET /api/users/7
  torana explain torana.yaml POST https://shop.example/orders -H 'x-api-version: v2'
  torana explain torana.yaml GET /api --client 10.1.2.3 --format json")]
pub(crate) struct Explain {
    /// Configuration, a file or a directory; the request's method; its URL, or a path for the host `localhost`
    #[arg(value_names = ["FILE", "METHOD", "URL"], num_args = 2..=3, required = true)]
    pub(crate) words: Vec<String>,
    /// The admin interface of a gateway that runs: `http://127.0.0.1:9901`, or `unix:` and a path
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Its token; rather put it into the environment, as TORANA_ADMIN_TOKEN
    #[arg(long, value_name = "TOKEN", requires = "admin")]
    pub(crate) token: Option<String>,
    /// A header, as for curl; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The address it would come from
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) client: IpAddr,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// List the routes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana routes torana.yaml
  torana routes torana.yaml --format json | jq '.[].name'")]
pub(crate) struct Routes {
    /// Configuration: a file or a directory
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// Make, replace, take back and list API keys of a gateway that runs
///
/// The gateway needs a `state_dir` to keep them in, and a consumer to give them to: one of the configuration, or one made
/// with `POST /consumers` on the admin address. A key is shown once, when it is made; kept is only its digest.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana key create mobile-app --name ci --ttl 90d
  torana key list mobile-app
  torana key rotate mobile-app 8f3kQ2mZ --overlap 24h
  torana key revoke mobile-app 8f3kQ2mZ")]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key
    Create(KeyCreate),
    /// Make a key in the place of another, which goes on for a while
    Rotate(KeyRotate),
    /// Take a key back, at once and for good
    Revoke(KeyRevoke),
    /// List the keys of a consumer
    List(KeyList),
}

/// Where a gateway is asked.
#[derive(Debug, Args)]
pub(crate) struct KeyAt {
    /// The admin interface of the gateway: `http://127.0.0.1:9901`, or `unix:` and a path
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:9901")]
    pub(crate) admin: String,
    /// Its `admin.token`; best in the environment, as TORANA_ADMIN_TOKEN
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// When a key ends.
#[derive(Debug, Args)]
pub(crate) struct KeyLife {
    /// End after so long, such as `90d`; else never
    #[arg(long, value_name = "TIME", conflicts_with = "expires")]
    pub(crate) ttl: Option<String>,
    /// End at a date such as `2027-01-01`, or a time such as `2027-01-01T12:00:00Z`
    #[arg(long, value_name = "DATE")]
    pub(crate) expires: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreate {
    /// Whose it is
    pub(crate) consumer: String,
    /// What it is for, in listings
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) life: KeyLife,
    #[command(flatten)]
    pub(crate) at: KeyAt,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRotate {
    /// Whose it is
    pub(crate) consumer: String,
    /// The id of the key to replace, as listed
    pub(crate) key: String,
    /// For how long the old key goes on; `24h` unless said
    #[arg(long, value_name = "TIME")]
    pub(crate) overlap: Option<String>,
    #[command(flatten)]
    pub(crate) life: KeyLife,
    #[command(flatten)]
    pub(crate) at: KeyAt,
}

#[derive(Debug, Args)]
pub(crate) struct KeyRevoke {
    /// Whose it is
    pub(crate) consumer: String,
    /// The id of the key, as listed
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) at: KeyAt,
}

#[derive(Debug, Args)]
pub(crate) struct KeyList {
    /// Whose
    pub(crate) consumer: String,
    #[command(flatten)]
    pub(crate) at: KeyAt,
}

/// Print the JSON Schema of configurations, for editors
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana schema > torana.schema.json

An editor with the YAML language server takes it from the first line of a file:
  # yaml-language-server: $schema=torana.schema.json")]
pub(crate) struct Schema {}

/// Try it: a gateway with sample services, traffic, and curl lines to paste
///
/// It runs `examples/microservices.yaml`, a shop of four services behind tokens, limits and a cache, with services that
/// answer and secrets drawn at random. Everything runs in this process and on this machine only: nothing is downloaded,
/// and Ctrl-C ends it all.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana demo
  torana demo --port 9000 --no-traffic")]
pub(crate) struct Demo {
    /// Port of the gateway; if it is taken, the next free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Port of the admin interface; if it is taken, the next free one
    #[arg(long, default_value_t = 9901)]
    pub(crate) admin_port: u16,
    /// Send no sample traffic
    #[arg(long)]
    pub(crate) no_traffic: bool,
    /// End after a while, such as `2s`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) exit_after: Option<Duration>,
}

/// Print the version
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana version
  torana version --format json")]
pub(crate) struct Version {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  torana completions bash > ~/.local/share/bash-completion/completions/torana
  torana completions zsh > \"${fpath[1]}/_torana\"
  torana completions fish > ~/.config/fish/completions/torana.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

impl Explain {
    /// The file, unless a gateway is asked, the method and the URL.
    ///
    /// # Errors
    /// There are too many words, or too few.
    pub(crate) fn question(&self) -> Result<(Option<&Path>, &str, &str), clap::Error> {
        match (self.words.as_slice(), &self.admin) {
            ([file, method, url], None) => Ok((Some(Path::new(file)), method, url)),
            ([method, url], Some(_)) => Ok((None, method, url)),
            (_, admin) => {
                let wanted =
                    if admin.is_some() { "a method and a URL, and no file" } else { "a file, a method and a URL" };
                let mut command = Cli::command();
                let explain = command.find_subcommand_mut("explain").map(std::mem::take).unwrap_or_default();
                let mut explain = explain.bin_name("torana explain");
                let kind = clap::error::ErrorKind::WrongNumberOfValues;
                Err(explain.error(kind, format!("expected {wanted}")))
            }
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<torana_core::units::Duration>().map(|duration| duration.std()).map_err(|misfit| misfit.expected)
}

/// Makes `torana FILE` mean `torana run FILE`.
///
/// A word that is no command and no file, but near a command, is left to be
/// reported as such.
pub(crate) fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut index = 1;
    while let Some(argument) = arguments.get(index).map(|argument| argument.to_string_lossy()) {
        if argument == "--color" {
            index += 2;
        } else if argument.starts_with('-') {
            index += 1;
        } else {
            let command = Cli::command();
            let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
            let is_command = names.contains(&&*argument);
            let is_typo =
                || !Path::new(&*argument).exists() && did_you_mean(&argument, names.iter().copied()).is_some();
            if !is_command && !is_typo() {
                arguments.insert(index, "run".into());
            }
            break;
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Command {
        let arguments = line.split(' ').map(OsString::from).collect();
        Cli::try_parse_from(with_default_command(arguments)).unwrap().command
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_alone_is_run() {
        for line in [
            "torana gate.yaml",
            "torana --color never gate.yaml",
            "torana run gate.yaml",
            "torana --color=never gate.yaml",
        ] {
            let Command::Run(run) = parsed(line) else { panic!("{line}") };
            assert_eq!(run.file, Path::new("gate.yaml"));
        }
        assert!(matches!(parsed("torana check gate.yaml"), Command::Check(_)));
        let typo = with_default_command(["torana", "chekc"].map(OsString::from).to_vec());
        assert!(Cli::try_parse_from(typo).unwrap_err().to_string().contains("check"));
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        assert_eq!(header("Host: a:80"), Ok(("Host".to_owned(), "a:80".to_owned())));
        assert!(header("nonsense").is_err());
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
    }
}
