//! What is wrong with a SQL text, where, and how to mend it; and what is only doubtful.

use std::fmt;

use sqlparser::tokenizer;

/// A place in a SQL text, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Location {
    /// Takes over the parser's location; its zero means "unknown".
    pub(crate) fn from_parser(location: tokenizer::Location) -> Option<Self> {
        (location.line > 0).then_some(Self {
            line: location.line,
            column: location.column,
        })
    }
}

/// The kind of a [`SqlError`], each with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// The text is not SQL.
    Syntax,
    /// A table, column, function or other name is not known.
    UnknownName,
    /// A name is taken already, or stands for two things.
    Ambiguous,
    /// Types do not fit, or a value cannot be computed.
    Type,
    /// It is SQL, but not SQL that can be run here.
    Unsupported,
    /// Anything else that keeps a statement from being planned.
    Planning,
}

/// An error in a SQL text.
///
/// Its one-line form says what was expected, what was found, where, and what to do:
///
/// ```
/// use fletching_planner::parse;
///
/// let error = parse("SELECT 1 FROM t LIMIT 1 2").unwrap_err();
/// assert_eq!(error.to_string(), "expected the end of the statement, found '2' (line 1, column 25)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// What kind of error.
    pub kind: SqlErrorKind,
    /// What was expected and what was found.
    pub message: String,
    /// Where in the text.
    pub location: Option<Location>,
    /// The offending piece of the text.
    pub text: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl SqlError {
    /// Makes an error without place or hint.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            location: None,
            text: None,
            hint: None,
        }
    }

    /// Makes an error of kind [`SqlErrorKind::Planning`].
    pub fn planning(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Planning, message)
    }

    /// Makes an error of kind [`SqlErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Unsupported, message)
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, location: Option<Location>, text: impl Into<String>) -> Self {
        self.location = location;
        self.text = Some(text.into());
        self
    }

    /// Adds the fix.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self.kind {
            SqlErrorKind::Syntax => "SQL_SYNTAX",
            SqlErrorKind::UnknownName => "SQL_UNKNOWN_NAME",
            SqlErrorKind::Ambiguous => "SQL_AMBIGUOUS",
            SqlErrorKind::Type => "SQL_TYPE",
            SqlErrorKind::Unsupported => "SQL_UNSUPPORTED",
            SqlErrorKind::Planning => "SQL_PLANNING",
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(location) = self.location {
            write!(f, " ({location})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

/// What a [`Warning`] is about, each with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// A join without an equality key compares every row with every row.
    JoinWithoutKey,
    /// Two streams are joined without a bound on time.
    StreamJoinWithoutTimeBound,
    /// The two sides of a key have different types.
    KeyCast,
    /// A table's declared primary key has duplicates.
    DuplicateKey,
    /// A join does not mean what its reader may think.
    JoinMeaning,
    /// Rows of a source were left out.
    BadRows,
    /// A table is not ready in time, and is waited for or gone on without.
    NotReady,
    /// A check of a join found something that looks wrong.
    JoinCheck,
    /// Rows or dead letters could not be handed over to anyone, and are lost.
    RowsLost,
    /// A source that goes on is read as far as it is now.
    ReadOnce,
}

/// Something that can be run but deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// One line: what, and what to do about it.
    pub message: String,
}

impl Warning {
    /// Makes a warning.
    pub fn new(kind: WarningKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self.kind {
            WarningKind::JoinWithoutKey => "JOIN_WITHOUT_KEY",
            WarningKind::StreamJoinWithoutTimeBound => "STREAM_JOIN_WITHOUT_TIME_BOUND",
            WarningKind::KeyCast => "KEY_CAST",
            WarningKind::DuplicateKey => "DUPLICATE_KEY",
            WarningKind::JoinMeaning => "JOIN_MEANING",
            WarningKind::BadRows => "BAD_ROWS",
            WarningKind::NotReady => "NOT_READY",
            WarningKind::RowsLost => "ROWS_LOST",
            WarningKind::JoinCheck => "JOIN_CHECK",
            WarningKind::ReadOnce => "READ_ONCE",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns the candidate that a misspelt word most likely means.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
