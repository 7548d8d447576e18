//! A script as the runner sees it: steps in order, each with its line.

use sqllogictest::{DefaultColumnType, Record};

/// One step of a script.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The line it begins at, counted from one.
    pub(super) line: usize,
    pub(super) body: Body,
}

/// What a step is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// A statement or query as the sqllogictest crate reads it.
    Record(Box<Record<DefaultColumnType>>),
    /// DuckDB's `statement maybe`: run, whatever comes of it.
    Maybe(String),
    /// The script cannot be read here.
    Unreadable(String),
    /// This record is not for us.
    Skip,
    /// Neither is the rest of the file.
    SkipRest,
    /// The file ends here.
    Halt,
}
