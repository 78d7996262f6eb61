//! Where output goes, and whether it may be coloured.

use crate::cli::Color;
use std::io::{self, IsTerminal, Write};
use torana_config::report::Style;

/// Output of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    color: Color,
}

impl Terminal {
    pub(crate) fn new(color: Color) -> Terminal {
        Terminal { color }
    }

    /// What was asked for, as on the command line.
    pub(crate) fn color(self) -> &'static str {
        match self.color {
            Color::Auto => "auto",
            Color::Always => "always",
            Color::Never => "never",
        }
    }

    fn style(self, is_terminal: bool) -> Style {
        // <https://no-color.org>: set to anything but nothing.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.color {
            Color::Always => Style::Coloured,
            Color::Auto if is_terminal && !refused => Style::Coloured,
            Color::Auto | Color::Never => Style::Plain,
        }
    }

    /// How standard output may look.
    pub(crate) fn out_style(self) -> Style {
        self.style(io::stdout().is_terminal())
    }

    /// How standard error may look.
    pub(crate) fn error_style(self) -> Style {
        self.style(io::stderr().is_terminal())
    }

    /// Prints the result of a command.
    pub(crate) fn out(self, text: &str) {
        // A reader that has seen enough (`head`) is no error.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// Prints what is not the result.
    pub(crate) fn error(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Text in a style of ANSI SGR, if styles are wanted.
pub(crate) fn paint(style: Style, code: &str, text: &str) -> String {
    match style {
        Style::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        Style::Plain => text.to_owned(),
    }
}
