//! The shell's own commands: they begin with a dot and end with the line.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::diagnostic::Diagnostic;
use crate::results::{Destination, Format};
use crate::run::Runner;

/// A command of the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DotCommand {
    /// Lists the commands.
    Help,
    /// Ends the shell.
    Quit,
    /// Lists streams, tables, sinks and views.
    Tables,
    /// Runs a script.
    Read(PathBuf),
    /// Chooses how rows are shown.
    Format(Format),
    /// Tells each statement's time, or stops to.
    Timing(bool),
    /// Chooses how many rows of a table are shown.
    Rows(Option<usize>),
}

/// Each command with its arguments and what it does.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    (".format", "table|csv|json", "choose how rows are shown"),
    (".help", "", "list these commands"),
    (".quit", "", "end the shell; so does Ctrl-D"),
    (".read", "FILE", "run the statements of a file"),
    (".rows", "N|all", "choose how many rows of a table are shown"),
    (".tables", "", "list streams, tables, sinks and views"),
    (".timing", "on|off", "tell how long each statement took"),
];

/// Cuts a command from its argument; `None` where the text is no command.
pub(crate) fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let text = text.trim_start();
    if !text.starts_with('.') {
        return None;
    }
    match text.split_once(char::is_whitespace) {
        Some((command, argument)) => Some((command, Some(argument.trim_start()))),
        None => Some((text, None)),
    }
}

/// Returns the words that a command takes.
pub(crate) fn arguments(command: &str) -> Vec<String> {
    match command {
        ".format" => shown_formats().map(|format| format.word().to_owned()).collect(),
        ".timing" => vec!["on".to_owned(), "off".to_owned()],
        ".rows" => vec!["all".to_owned()],
        _ => Vec::new(),
    }
}

fn shown_formats() -> impl Iterator<Item = Format> {
    Format::value_variants()
        .iter()
        .copied()
        .filter(|format| !format.is_binary())
}

impl DotCommand {
    /// Says whether a text is a command, or one of the words by which people try to leave.
    pub(crate) fn is_one(text: &str) -> bool {
        Self::parse(text).is_some()
    }

    /// Reads a command; `None` where the text is no command.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, Diagnostic>> {
        let bare = text.trim().trim_end_matches(';').trim_end();
        if ["quit", "exit", "\\q"]
            .iter()
            .any(|word| bare.eq_ignore_ascii_case(word))
        {
            return Some(Ok(Self::Quit));
        }
        let (command, argument) = split(bare)?;
        let argument = argument.unwrap_or_default().trim();
        Some(match (command, argument) {
            (".help", "") => Ok(Self::Help),
            (".quit" | ".exit", "") => Ok(Self::Quit),
            (".tables", "") => Ok(Self::Tables),
            (".timing", "on") => Ok(Self::Timing(true)),
            (".timing", "off") => Ok(Self::Timing(false)),
            (".rows", "all") => Ok(Self::Rows(None)),
            (".rows", number) if number.parse::<usize>().is_ok() => Ok(Self::Rows(number.parse().ok())),
            (".read", path) if !path.is_empty() => Ok(Self::Read(PathBuf::from(path.trim_matches('\'')))),
            (".format", word) if shown_formats().any(|format| format.word() == word) => {
                Format::from_word(word)
                    .map(Self::Format)
                    .ok_or_else(|| unknown(command, argument))
            }
            _ => Err(unknown(command, argument)),
        })
    }

    /// Does everything but end the shell and run a file, which are the shell's own.
    pub(crate) fn obey(self, runner: &mut Runner, out: &mut Destination) {
        let text = match self {
            Self::Help => help(),
            Self::Tables => relations(runner),
            Self::Timing(is_on) => {
                runner.style.timing = is_on;
                return;
            }
            Self::Format(format) => {
                runner.style.format = format;
                return;
            }
            Self::Rows(rows) => {
                runner.style.rows_shown = rows;
                return;
            }
            Self::Quit | Self::Read(_) => return,
        };
        // A closed output is found by the next statement.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn unknown(command: &str, argument: &str) -> Diagnostic {
    match COMMANDS.iter().find(|(name, ..)| *name == command) {
        Some((name, "", _)) => Diagnostic::error(format!("{name} takes no argument, found '{argument}'")),
        Some((name, expected, _)) => {
            let found = if argument.is_empty() {
                "nothing".to_owned()
            } else {
                format!("'{argument}'")
            };
            Diagnostic::error(format!("{name} takes {expected}, found {found}"))
        }
        None => {
            Diagnostic::error(format!("there is no command '{command}'")).help(".help lists the commands")
        }
    }
}

fn help() -> String {
    let mut text = String::new();
    for (name, arguments, meaning) in COMMANDS {
        text.push_str(&format!("{:<24} {meaning}\n", format!("{name} {arguments}")));
    }
    text.push_str(
        "\nSQL ends with a semicolon and may take several lines. Tab completes, Ctrl-C stops what runs.\n",
    );
    text
}

fn relations(runner: &Runner) -> String {
    let mut names = runner.session.names();
    if names.is_empty() {
        return "there are none yet; CREATE STREAM, CREATE TABLE and CREATE SINK make some\n".to_owned();
    }
    names.sort_by(|a, b| (a.1.word(), &a.0).cmp(&(b.1.word(), &b.0)));
    names
        .iter()
        .map(|(name, kind)| format!("{:<8}{name}\n", kind.word()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let parse = |text: &str| DotCommand::parse(text).and_then(Result::ok);
        assert_eq!(parse(".timing on"), Some(DotCommand::Timing(true)));
        assert_eq!(parse(" .read a b.sql "), Some(DotCommand::Read("a b.sql".into())));
        assert_eq!(parse(".format csv"), Some(DotCommand::Format(Format::Csv)));
        assert_eq!(parse(".rows 5"), Some(DotCommand::Rows(Some(5))));
        assert_eq!(
            (parse("exit;"), parse("\\q")),
            (Some(DotCommand::Quit), Some(DotCommand::Quit))
        );
        assert!(!DotCommand::is_one("SELECT .5"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |text: &str| {
            let diagnostic = DotCommand::parse(text)
                .expect("a command")
                .expect_err("a wrong one");
            diagnostic.render(crate::paint::Paint::PLAIN)
        };
        assert_eq!(told(".timing"), "error: .timing takes on|off, found nothing\n");
        assert_eq!(
            told(".format parquet"),
            "error: .format takes table|csv|json, found 'parquet'\n"
        );
        assert_eq!(told(".help me"), "error: .help takes no argument, found 'me'\n");
        assert!(told(".foo").starts_with("error: there is no command '.foo'\n"));
    }
}
