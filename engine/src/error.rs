//! Errors of the engine: one enum, a stable code and a class for each variant.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use fletching_kernels::KernelError;
use fletching_planner::SqlError;

/// What the engine's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can mend an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The SQL, the options or the data: the user mends it.
    User,
    /// A limit was met: memory, rows, time.
    Resource,
    /// The world outside: a file, a disk, a broker.
    External,
    /// A fault in this program.
    Internal,
}

/// Everything that can go wrong in a session.
///
/// ```
/// use fletching::{ErrorClass, Session};
///
/// let error = Session::new()?.sql("SELEC 1").unwrap_err();
/// assert_eq!(error.code(), "SQL_SYNTAX");
/// assert_eq!(error.class(), ErrorClass::User);
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SQL text is wrong: where, and how to mend it.
    #[error(transparent)]
    Sql(#[from] SqlError),

    /// A `WITH (…)` option or a setting is missing, unknown or has a bad value.
    #[error("{subject}: {message}{}{}", at(.location), hint_text(.hint))]
    Option {
        /// The relation or setting it belongs to, as in `stream trades`.
        subject: String,
        /// What was expected and what was found.
        message: String,
        /// How to mend it.
        hint: Option<String>,
        /// Line and column in the SQL text, one-based.
        location: Option<(u64, u64)>,
    },

    /// A record of a source cannot be decoded.
    #[error("{place}: {message}{}", hint_text(.hint))]
    Record {
        /// File, line or row, and column.
        place: RecordPlace,
        /// What was expected and what was found.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },

    /// A file cannot be opened, read or written.
    #[error("{}: {message}{}", .path.display(), hint_text(.hint))]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },

    /// A row could not be computed: overflow, division by zero, a failing cast.
    #[error("{message}{}", hint_text(.hint))]
    Compute {
        /// The expression and what happened to it.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },

    /// A table is not ready in time, and its options say that this ends the statement.
    #[error("table {table}: {message}; raise ready.timeout, or say ready.on_timeout = 'hold' or 'proceed'")]
    NotReady {
        /// The table.
        table: String,
        /// How long was waited, and how far it is.
        message: String,
    },

    /// A row's key is not in a table that says `on_miss = 'error'`.
    #[error("table {table} has no row for {key}: {row}; add the row, or choose another on_miss")]
    Miss {
        /// The table.
        table: String,
        /// The key, as in `user_id = 7`.
        key: String,
        /// The row that was to be joined, as JSON: the columns that the query needs of it.
        row: String,
    },

    /// A batch handed in does not have the columns the query was prepared for.
    #[error("{message}")]
    Batch {
        /// What was expected and what was found.
        message: String,
    },

    /// A limit was met.
    #[error("{message}")]
    Resource {
        /// What, how large, and the setting that bounds it.
        message: String,
    },

    /// A table would hold more memory than it may.
    #[error(
        "table {table} would hold {bytes} bytes, more than the {bytes_max} of the {setting}; raise it, or hold fewer rows"
    )]
    TableMemory {
        /// The table.
        table: String,
        /// What it would hold.
        bytes: u64,
        /// What it may hold.
        bytes_max: u64,
        /// What says so.
        setting: String,
    },

    /// A pipeline's checkpoints cannot be read or written.
    #[error("checkpoints in {place}: {message}{}", hint_text(.hint))]
    Checkpoint {
        /// Their folder.
        place: String,
        /// What went wrong.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },

    /// Another instance of the same pipeline was started later and has taken over.
    #[error(
        "pipeline {pipeline} has ended: it was started again elsewhere, and that one goes on ({place}); \
         run one instance, or give each its own checkpoint.path"
    )]
    Fenced {
        /// The pipeline.
        pipeline: String,
        /// Where its checkpoints are.
        place: String,
    },

    /// Something outside the program failed.
    #[error("{message}")]
    External {
        /// What failed.
        message: String,
        /// The error it gave.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },

    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,

    /// A fault in this program: please report it.
    #[error("internal error: {message} (please report this)")]
    Internal {
        /// What should not have happened.
        message: String,
    },
}

/// Where a record stands in its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordPlace {
    /// The file or other origin.
    pub origin: String,
    /// One-based line in a text file.
    pub line: Option<u64>,
    /// One-based record number, where lines mean nothing.
    pub row: Option<u64>,
    /// The column's name.
    pub column: Option<String>,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

fn at(location: &Option<(u64, u64)>) -> String {
    location.map_or_else(String::new, |(line, column)| {
        format!(" (line {line}, column {column})")
    })
}

fn hint_text(hint: &Option<String>) -> String {
    hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"))
}

impl Error {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Sql(error) => error.code(),
            Self::Option { .. } => "OPTION",
            Self::Record { .. } => "BAD_RECORD",
            Self::File { .. } => "FILE",
            Self::Compute { .. } => "COMPUTE",
            Self::NotReady { .. } => "NOT_READY",
            Self::Miss { .. } => "MISS",
            Self::Batch { .. } => "BATCH",
            Self::Resource { .. } => "RESOURCE",
            Self::TableMemory { .. } => "TABLE_MEMORY",
            Self::Checkpoint { .. } => "CHECKPOINT",
            Self::Fenced { .. } => "FENCED",
            Self::External { .. } => "EXTERNAL",
            Self::Cancelled => "CANCELLED",
            Self::Internal { .. } => "INTERNAL",
        }
    }

    /// Returns who can mend this error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Sql(_)
            | Self::Option { .. }
            | Self::Record { .. }
            | Self::Compute { .. }
            | Self::Miss { .. }
            | Self::Batch { .. }
            | Self::Cancelled => ErrorClass::User,
            Self::Resource { .. } | Self::TableMemory { .. } | Self::NotReady { .. } => ErrorClass::Resource,
            Self::File { .. } | Self::External { .. } | Self::Checkpoint { .. } | Self::Fenced { .. } => {
                ErrorClass::External
            }
            Self::Internal { .. } => ErrorClass::Internal,
        }
    }

    /// Says whether a source no longer has what follows a position.
    pub(crate) fn is_position_gone(&self) -> bool {
        let Self::External { source, .. } = self else {
            return false;
        };
        source.as_ref().is_some_and(|source| source.is::<PositionGone>())
    }

    /// Makes an internal error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }

    /// Makes a file error from an I/O error.
    pub fn file(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                Some("check the path; it is taken from the folder the program runs in".into())
            }
            std::io::ErrorKind::PermissionDenied => Some("check the permissions".into()),
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => {
                Some("free space there, or raise the limit, and start it again".into())
            }
            _ => None,
        };
        let text = error.to_string();
        let message = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        Self::File {
            path: path.into(),
            message,
            hint,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::TooManyRows { .. } => Self::Resource {
                message: error.to_string(),
            },
            other => Self::Internal {
                message: other.to_string(),
            },
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(error) => *error,
                Err(inner) => Self::External {
                    message: inner.to_string(),
                    source: Some(Arc::from(inner)),
                },
            },
            other => Self::Compute {
                message: arrow_message(&other),
                hint: None,
            },
        }
    }
}

/// Says what an Arrow error means without its `Foo error: ` prefix.
fn arrow_message(error: &ArrowError) -> String {
    match error {
        ArrowError::ComputeError(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::ArithmeticOverflow(text) => text.clone(),
        ArrowError::DivideByZero => "division by zero".into(),
        other => other.to_string(),
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(error) => *error,
                Err(inner) => match inner.downcast::<SqlError>() {
                    Ok(error) => Self::Sql(*error),
                    Err(inner) => Self::External {
                        message: inner.to_string(),
                        source: Some(Arc::from(inner)),
                    },
                },
            },
            DataFusionError::ArrowError(inner, _) => Self::from(*inner),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::from(*inner),
            DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => Self::from(inner),
                Err(shared) => Self::from_shared(&shared),
            },
            DataFusionError::ResourcesExhausted(message) => Self::Resource { message },
            DataFusionError::Execution(message) => Self::Compute { message, hint: None },
            DataFusionError::NotImplemented(message) if message.contains("ScalarSubquery") => {
                let what = "a subquery that refers to the outer query must do so with = conditions";
                Self::Sql(SqlError::unsupported(what).hint("write it as a join with GROUP BY"))
            }
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                Self::Sql(SqlError::planning(message))
            }
            other => Self::Internal {
                message: other.strip_backtrace(),
            },
        }
    }
}

impl Error {
    /// Copies what can be copied of an error that several waiters share.
    fn from_shared(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
                Some(Self::Cancelled) => Self::Cancelled,
                Some(Self::Record { place, message, hint }) => Self::Record {
                    place: place.clone(),
                    message: message.clone(),
                    hint: hint.clone(),
                },
                Some(Self::File { path, message, hint }) => Self::File {
                    path: path.clone(),
                    message: message.clone(),
                    hint: hint.clone(),
                },
                Some(Self::Miss { table, key, row }) => Self::Miss {
                    table: table.clone(),
                    key: key.clone(),
                    row: row.clone(),
                },
                _ => Self::Compute {
                    message: inner.to_string(),
                    hint: None,
                },
            },
            DataFusionError::ArrowError(inner, _) => Self::Compute {
                message: arrow_message(inner),
                hint: None,
            },
            other => Self::Compute {
                message: other.strip_backtrace(),
                hint: None,
            },
        }
    }
}

/// The source of an [`Error::External`] by which a feed says that it has not, or no longer, what
/// follows a position it is to go on from: a table is then read from the start.
///
/// ```
/// use std::sync::Arc;
/// use fletching::{Error, PositionGone};
///
/// let error = Error::External { message: "offset 7 is deleted".into(), source: Some(Arc::new(PositionGone)) };
/// assert_eq!(error.code(), "EXTERNAL");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the position is gone")]
pub struct PositionGone;
