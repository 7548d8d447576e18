//! A script on its way to the session: read, its values put in, its places found again.

mod scan;
mod substitute;

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use fletching::ParsedStatement;

use crate::diagnostic::{Diagnostic, Place};
use crate::failure::Failure;
use substitute::Expansion;

pub(crate) use scan::Scan;

/// Where a script comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The command line: a name for messages, and the SQL.
    Command { name: String, text: String },
}

impl Source {
    /// Takes a path; `-` is standard input.
    pub(crate) fn file(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdin
        } else {
            Self::File(path)
        }
    }

    /// Takes the texts of `-c`.
    pub(crate) fn commands(texts: Vec<String>) -> Vec<Self> {
        let several = texts.len() > 1;
        let name = |at: usize| {
            if several {
                format!("-c {}", at + 1)
            } else {
                "-c".to_owned()
            }
        };
        texts
            .into_iter()
            .enumerate()
            .map(|(at, text)| Self::Command { name: name(at), text })
            .collect()
    }

    /// Reads the script.
    pub(crate) fn read(self, values: &[(String, String)]) -> Result<Script, Failure> {
        let (name, bytes) = match self {
            Self::Command { name, text } => return Script::new(Some(name), text, values),
            Self::File(path) => (path.display().to_string(), fs::read(&path)),
            Self::Stdin => {
                let mut bytes = Vec::new();
                (
                    "stdin".to_owned(),
                    io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes),
                )
            }
        };
        let bytes = bytes.map_err(|error| cannot_read(&name, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Script::new(Some(name), text.trim_start_matches('\u{feff}').to_owned(), values),
            Err(_) => Err(Failure::usage(
                Diagnostic::error(format!("{name}: is not a text in UTF-8"))
                    .help("give a file of SQL statements; data is read with CREATE STREAM or CREATE TABLE"),
            )),
        }
    }
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    let text = error.to_string();
    let message = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    let diagnostic = Diagnostic::error(format!("{name}: {message}"));
    Failure::usage(match error.kind() {
        io::ErrorKind::NotFound => {
            diagnostic.help("give the path of a SQL file, or use -c to run SQL from the command line")
        }
        _ => diagnostic,
    })
}

/// A script, as written and as it runs.
#[derive(Debug)]
pub(crate) struct Script {
    name: Option<String>,
    written: String,
    expansion: Expansion,
}

impl Script {
    /// Puts the values in. The name is for messages; the shell's input has none.
    pub(crate) fn new(
        name: Option<String>,
        written: String,
        values: &[(String, String)],
    ) -> Result<Self, Failure> {
        match Expansion::new(&written, values) {
            Ok(expansion) => Ok(Self {
                name,
                written,
                expansion,
            }),
            Err(missing) => {
                let expansion = Expansion::default();
                let place = Self {
                    name,
                    written,
                    expansion,
                }
                .place_at(missing.offset);
                let mark = missing.name.chars().count() + "${}".len();
                let name = missing.name;
                let diagnostic = Diagnostic::error(format!("${{{name}}} has no value"))
                    .at(Some(Place {
                        marked: mark,
                        ..place
                    }))
                    .help(format!("give it one, as in --set {name}=VALUE"));
                Err(Failure::usage(diagnostic))
            }
        }
    }

    /// Returns the text to run.
    pub(crate) fn text(&self) -> &str {
        &self.expansion.text
    }

    /// Returns the script's name for messages.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("the input")
    }

    /// Says whether `${name}` was replaced.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.expansion.used.iter().any(|used| used == name)
    }

    /// Finds where each statement begins in the text that runs.
    pub(crate) fn offsets(&self, statements: &[ParsedStatement]) -> Vec<usize> {
        let mut from = 0;
        let mut find = |statement: &ParsedStatement| {
            let text = statement.text();
            let at = self.text()[from..].find(text).map(|at| from + at)?;
            from = at + text.len();
            Some(at)
        };
        statements
            .iter()
            .map(|statement| find(statement).unwrap_or_default())
            .collect()
    }

    /// Finds the place of a line and column of the text that runs, or else of a statement.
    pub(crate) fn place(&self, location: Option<(u64, u64)>, statement: usize) -> Place {
        self.place_at(location.map_or(statement, |(line, column)| offset_of(self.text(), line, column)))
    }

    /// Finds the place of a statement, where the script has a name to look it up by.
    pub(crate) fn place_of_statement(&self, statement: usize) -> Option<Place> {
        self.name.is_some().then(|| self.place_at(statement))
    }

    /// Finds the place, as it was written, of a byte of the text that runs.
    fn place_at(&self, offset: usize) -> Place {
        let offset = self.expansion.written_offset(offset).min(self.written.len());
        let before = self.written.get(..offset).unwrap_or(&self.written);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = self.written[line_start..].lines().next().unwrap_or_default();
        Place {
            name: self.name.clone(),
            line: before.matches('\n').count() as u64 + 1,
            column: before[line_start..].chars().count() as u64 + 1,
            text: text.to_owned(),
            marked: 0,
        }
    }
}

/// Finds the byte at a line and column, both counted from one.
fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let skip = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(skip(line)).map(str::len).sum();
    let rest = text[start..].split('\n').next().unwrap_or_default();
    start
        + rest
            .char_indices()
            .nth(skip(column))
            .map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(written: &str) -> Script {
        let values = [("x".to_owned(), "one\ntwo".to_owned())];
        Script::new(Some("a.sql".into()), written.into(), &values).expect("every name has a value")
    }

    #[test]
    fn a_place_is_given_as_it_was_written() {
        let script = script("SELECT ${x},\n  é, oops;");
        assert_eq!(script.text(), "SELECT one\ntwo,\n  é, oops;");
        let place = script.place(Some((3, 6)), 0);
        assert_eq!(
            (place.line, place.column, place.text.as_str()),
            (2, 6, "  é, oops;")
        );
        let place = script.place(Some((2, 2)), 0);
        assert_eq!(
            (place.line, place.column, place.text.as_str()),
            (1, 8, "SELECT ${x},")
        );
    }

    #[test]
    fn a_place_out_of_the_text_is_its_end() {
        let place = script("SELECT 1").place(Some((9, 9)), 0);
        assert_eq!((place.line, place.column), (1, 9));
        assert_eq!(script("").place(Some((1, 1)), 0).column, 1);
    }

    #[test]
    fn a_missing_value_is_shown_with_the_fix() {
        let failure = Script::new(Some("a.sql".into()), "SELECT ${day}".into(), &[]).expect_err("no value");
        assert_eq!(failure.exit_code(), 2);
        let text = format!("{failure:?}");
        assert!(
            text.contains("--set day=VALUE") && text.contains("marked: 6"),
            "{text}"
        );
    }

    #[test]
    fn commands_are_numbered_where_there_are_several() {
        let names = |texts: &[&str]| -> Vec<String> {
            Source::commands(texts.iter().map(|text| (*text).to_owned()).collect())
                .into_iter()
                .filter_map(|source| match source {
                    Source::Command { name, .. } => Some(name),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(names(&["a"]), ["-c"]);
        assert_eq!(names(&["a", "b"]), ["-c 1", "-c 2"]);
    }
}
