//! What the command line of `ci` may say.

use crate::Outcome;

pub(super) const USAGE: &str = "\
usage: cargo xtask ci [OPTIONS]

Formatting, architecture, lints, build, generated files, snippets, documents, licences, tests, and the budget of the
release build. Installs Debian packages that are missing, as root, and says so.

  --fast CRATE    formatting, architecture, lints and tests of one crate only
  --long          also run tests marked `#[ignore]` because they take minutes
  --no-release    leave out the release build and the budget
";

/// Options of `cargo xtask ci`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The one crate to look at.
    pub(super) only: Option<String>,
    /// Whether ignored tests run too.
    pub(super) long: bool,
    /// Whether the release build is made and measured.
    pub(super) release: bool,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Outcome<Options> {
        let mut options = Options { only: None, long: false, release: true };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--fast" => options.only = Some(args.next().ok_or("--fast needs the name of a crate")?.clone()),
                "--long" => options.long = true,
                "--no-release" => options.release = false,
                other => return Err(format!("unknown option `{other}`\n\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

pub(super) fn wants_help(args: &[String]) -> bool {
    args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parse(""), Ok(Options { only: None, long: false, release: true }));
        let fast = parse("--fast torana-core --long --no-release");
        assert_eq!(fast, Ok(Options { only: Some("torana-core".to_owned()), long: true, release: false }));
        assert!(parse("--fast").is_err() && parse("--slow").is_err());
    }
}
