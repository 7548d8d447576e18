//! Errors and warnings as a person reads them, with the place in the script.
//!
//! ```text
//! error: there is no column 'prise'
//!   --> enrich.sql:7:10
//!    |
//!  7 | SELECT t.prise FROM trades t
//!    |          ^^^^^
//!    = help: did you mean 'price'?
//! ```

use console::{measure_text_width, truncate_str};
use fletching::{Error, Warning, without_secrets};

use crate::paint::Paint;

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Note,
}

/// A place in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The script's name; `None` in the shell.
    pub(crate) name: Option<String>,
    /// The line, counted from one.
    pub(crate) line: u64,
    /// The column, counted from one in characters.
    pub(crate) column: u64,
    /// The line's text.
    pub(crate) text: String,
    /// How many characters to mark; with none, the line alone is shown.
    pub(crate) marked: usize,
}

/// Something to tell a person.
#[derive(Debug, Clone)]
pub(crate) struct Diagnostic {
    severity: Severity,
    message: String,
    place: Option<Place>,
    help: Option<String>,
}

/// How many columns of a source line are shown around its place.
const LINE_WIDTH_MAX: usize = 140;
/// How many columns are kept before the place where a line is cut.
const LEAD_WIDTH: usize = 60;

impl Diagnostic {
    /// Makes an error.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            help: None,
        }
    }

    /// Makes a note.
    pub(crate) fn note(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(message)
        }
    }

    /// Makes a warning of the engine's.
    pub(crate) fn of_warning(warning: &Warning) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(warning.message.clone())
        }
    }

    /// Takes an engine's error apart. `place` finds a line and column in the script; given
    /// neither, the statement itself.
    pub(crate) fn of_error(error: &Error, place: impl Fn(Option<(u64, u64)>) -> Option<Place>) -> Self {
        let (message, location, text, help) = match error {
            Error::Sql(error) => {
                let location = error.location.map(|location| (location.line, location.column));
                (
                    error.message.clone(),
                    location,
                    error.text.as_deref(),
                    &error.hint,
                )
            }
            Error::Option {
                subject,
                message,
                hint,
                location,
            } => (format!("{subject}: {message}"), *location, None, hint),
            Error::Record { place, message, hint } => (format!("{place}: {message}"), None, None, hint),
            Error::File { path, message, hint } => {
                (format!("{}: {message}", path.display()), None, None, hint)
            }
            Error::Compute { message, hint } => (message.clone(), None, None, hint),
            other => (other.to_string(), None, None, &None),
        };
        // Where a person has stopped the run, they know the place.
        let place = if matches!(error, Error::Cancelled) {
            None
        } else {
            place(location)
        };
        let place = place.map(|mut place| {
            if location.is_some() {
                place.marked = marked_width(&place, text.unwrap_or_default());
            }
            place
        });
        Self {
            severity: Severity::Error,
            message,
            place,
            help: help.clone(),
        }
    }

    /// Adds what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    pub(crate) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Writes it out, one or more lines, each ended.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let word = match self.severity {
            Severity::Error => paint.error("error"),
            Severity::Warning => paint.warning("warning"),
            Severity::Note => paint.accent("note"),
        };
        let mut text = format!("{word}{} {}\n", paint.strong(":"), paint.strong(&self.message));
        let gutter = self
            .place
            .as_ref()
            .map_or(0, |place| place.line.to_string().len());
        if let Some(place) = &self.place {
            place.render(gutter, paint, &mut text);
        }
        if let Some(help) = &self.help {
            let lead = if self.place.is_some() {
                format!(" {:gutter$} = ", "")
            } else {
                "  = ".to_owned()
            };
            text.push_str(&format!(
                "{}{} {help}\n",
                paint.accent(lead),
                paint.strong("help:")
            ));
        }
        text
    }
}

/// Finds how many characters of the line an offending text covers.
fn marked_width(place: &Place, text: &str) -> usize {
    let before = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest: String = place.text.chars().skip(before).collect();
    let head: String = rest.chars().take(text.chars().count()).collect();
    if text.is_empty() || text.contains('\n') || head.to_lowercase() != text.to_lowercase() {
        return 1;
    }
    head.chars().count()
}

impl Place {
    fn render(&self, gutter: usize, paint: Paint, out: &mut String) {
        if let Some(name) = &self.name {
            let arrow = paint.accent(format!("{:gutter$} -->", ""));
            out.push_str(&format!("{arrow} {name}:{}:{}\n", self.line, self.column));
        }
        let before = usize::try_from(self.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let plain = |text: String| text.replace('\t', "    ").replace(|c: char| c.is_control(), " ");
        // What is shown may end in a log.
        let text = without_secrets(&self.text);
        let head = plain(text.chars().take(before).collect());
        let tail = plain(text.chars().skip(before).collect());
        let marked = plain(text.chars().skip(before).take(self.marked).collect());
        let (head, lead) = crop_start(&head);
        let room = LINE_WIDTH_MAX.saturating_sub(measure_text_width(&head)).max(20);
        let tail = truncate_str(&tail, room, "…");
        let line = format!("{lead}{head}{tail}");
        let number = self.line;
        let bar = |number: &str| paint.accent(format!(" {number:>gutter$} |"));
        out.push_str(&format!(
            "{}\n{} {}\n",
            bar(""),
            bar(&number.to_string()),
            line.trim_end()
        ));
        if self.marked > 0 {
            let indent = measure_text_width(lead) + measure_text_width(&head);
            let marks = "^".repeat(measure_text_width(&marked).clamp(1, room));
            out.push_str(&format!("{} {:indent$}{}\n", bar(""), "", paint.error(marks)));
        }
    }
}

/// Keeps the end of what stands before the place, so that the place is seen in a long line.
fn crop_start(head: &str) -> (String, &'static str) {
    let characters = head.chars().count();
    if characters <= LEAD_WIDTH + LEAD_WIDTH / 2 {
        return (head.to_owned(), "");
    }
    (head.chars().skip(characters - LEAD_WIDTH).collect(), "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, column: u64, marked: usize) -> Place {
        Place {
            name: Some("a.sql".into()),
            line: 7,
            column,
            text: text.into(),
            marked,
        }
    }

    #[test]
    fn the_mark_stands_under_the_place() {
        let diagnostic = Diagnostic::error("there is no column 'prise'")
            .at(Some(place("SELECT t.prise FROM trades t", 10, 5)))
            .help("did you mean 'price'?");
        let expected = "\
error: there is no column 'prise'
  --> a.sql:7:10
   |
 7 | SELECT t.prise FROM trades t
   |          ^^^^^
   = help: did you mean 'price'?
";
        assert_eq!(diagnostic.render(Paint::PLAIN), expected);
    }

    #[test]
    fn tabs_and_wide_letters_do_not_move_the_mark() {
        let text = Diagnostic::error("e")
            .at(Some(place("\t'東京' x", 7, 1)))
            .render(Paint::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3], " 7 |     '東京' x");
        assert_eq!(lines[4], "   |            ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}oops{}", "a ".repeat(200), " b".repeat(200));
        let text = Diagnostic::error("e")
            .at(Some(place(&line, 401, 4)))
            .render(Paint::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        let mark = lines[4].find('^').expect("there is a mark");
        assert_eq!(lines[3].chars().skip(mark).take(4).collect::<String>(), "oops");
        assert!(lines[3].chars().count() < 160);
    }

    #[test]
    fn a_place_past_the_end_of_its_line_is_marked_after_it() {
        let text = Diagnostic::error("e")
            .at(Some(place("SELECT", 7, 1)))
            .render(Paint::PLAIN);
        assert_eq!(text.lines().last(), Some("   |       ^"));
    }

    #[test]
    fn without_a_mark_the_line_is_shown_alone() {
        let text = Diagnostic::error("e")
            .at(Some(place("SELECT 1 / 0", 1, 0)))
            .render(Paint::PLAIN);
        assert_eq!(text, "error: e\n  --> a.sql:7:1\n   |\n 7 | SELECT 1 / 0\n");
    }

    #[test]
    fn only_text_that_is_there_is_marked() {
        assert_eq!(marked_width(&place("select foo", 8, 0), "FOO"), 3);
        assert_eq!(marked_width(&place("select foo", 8, 0), "bar"), 1);
        assert_eq!(marked_width(&place("select foo", 8, 0), ""), 1);
    }
}
