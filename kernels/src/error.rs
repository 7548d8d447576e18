//! What a kernel can refuse, as one typed error.
//!
//! Data never makes a kernel panic: a type it cannot key, a table with too many rows or
//! arguments that do not fit together come back as a [`KernelError`].

use arrow_schema::{ArrowError, DataType};

use crate::RowId;
use crate::index::KeyLayout;
use crate::join::JoinKind;

/// Says why a kernel refused its input.
///
/// [`code`](Self::code) is stable across releases; the message is for people.
///
/// ```
/// use fletching_kernels::KernelError;
/// let error = KernelError::TooManyRows { rows: 1 << 33, rows_max: 1 << 32 };
/// assert_eq!(error.code(), "too_many_rows");
/// assert!(error.to_string().contains("split"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A key column has a type that has no key encoding.
    #[error("key column {position} has type {data_type}, which cannot be a key; cast it to a scalar type")]
    UnsupportedKeyType {
        /// Position of the key column.
        position: usize,
        /// Its type.
        data_type: DataType,
    },
    /// A time column has a type without an order in time.
    #[error(
        "the time column has type {data_type}, which is no time; cast it to an integer, a date, a timestamp, a decimal of up to 38 digits or a float"
    )]
    UnsupportedTimeType {
        /// Its type.
        data_type: DataType,
    },
    /// A probe key column has another type than the indexed one.
    #[error(
        "key column {position} must have type {expected} (or another encoding of it), found {found}; cast the probe side"
    )]
    KeyTypeMismatch {
        /// Position of the key column.
        position: usize,
        /// Type the index was built from.
        expected: DataType,
        /// Type of the probe column.
        found: DataType,
    },
    /// The number of key columns is not the index's, or there are none.
    #[error("expected {expected} key column(s), found {found}; give one column for each indexed key")]
    KeyCount {
        /// Columns wanted: those of the index, or 1 (at least) when building.
        expected: usize,
        /// Columns given.
        found: usize,
    },
    /// More rows than row ids can name.
    #[error("{rows} rows exceed the {rows_max} that row ids can name; split the table or the batch")]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// Rows allowed.
        rows_max: usize,
    },
    /// Two arguments that must be equally long are not.
    #[error("{what} has {found} rows where {expected} were expected; give columns of one length")]
    LengthMismatch {
        /// The argument.
        what: &'static str,
        /// Rows wanted.
        expected: usize,
        /// Rows given.
        found: usize,
    },
    /// A row id or position points past the end of its column.
    #[error("row {row} is outside a column of {rows} rows; gather from the table the rows were located in")]
    RowOutOfRange {
        /// The row asked for.
        row: RowId,
        /// Rows there are.
        rows: usize,
    },
    /// A column has values without a fixed width, or too wide ones.
    #[error(
        "column {position} has type {data_type}, whose values cannot be interleaved; gather it by itself"
    )]
    NotInterleavable {
        /// Position of the column.
        position: usize,
        /// Its type.
        data_type: DataType,
    },
    /// The layout asked for cannot hold these keys.
    #[error("layout {layout:?} cannot hold these keys: {reason}; leave the layout unset")]
    LayoutNotPossible {
        /// The layout asked for.
        layout: KeyLayout,
        /// What stands against it.
        reason: &'static str,
    },
    /// A row to be kept by its key has none.
    #[error("row {row} has NULL in a key column; give every row a whole key")]
    NullKey {
        /// Position of the row in its batch.
        row: usize,
    },
    /// A column of a batch is not of the table's type.
    #[error("column {position} must have type {expected}, found {found}; cast the batch")]
    ColumnTypeMismatch {
        /// Position of the column.
        position: usize,
        /// The table's type.
        expected: DataType,
        /// The batch's type.
        found: DataType,
    },
    /// A batch has more or fewer columns than the table.
    #[error("expected {expected} columns, found a batch of {found}; give every column of the table")]
    ColumnCount {
        /// Columns of the table.
        expected: usize,
        /// Columns of the batch.
        found: usize,
    },
    /// A join kind that must remember table rows was run without a place to do so.
    #[error("a {kind:?} join needs visited rows; pass a VisitedRows of the table's length")]
    VisitedRowsMissing {
        /// The join kind.
        kind: JoinKind,
    },
    /// An Arrow kernel refused.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
}

/// Says whose mistake an error is.
///
/// ```
/// use fletching_kernels::error::{ErrorClass, KernelError};
/// let error = KernelError::KeyCount { expected: 2, found: 1 };
/// assert_eq!(error.class(), ErrorClass::Internal);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The query or the data asks for what is not supported.
    User,
    /// A limit was met.
    Resource,
    /// The caller broke a contract of this crate.
    Internal,
}

impl KernelError {
    /// Returns the stable name of the error's kind, in `snake_case`.
    ///
    /// ```
    /// use fletching_kernels::KernelError;
    /// assert_eq!(KernelError::KeyCount { expected: 2, found: 1 }.code(), "key_count");
    /// ```
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedKeyType { .. } => "unsupported_key_type",
            Self::UnsupportedTimeType { .. } => "unsupported_time_type",
            Self::KeyTypeMismatch { .. } => "key_type_mismatch",
            Self::KeyCount { .. } => "key_count",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::LengthMismatch { .. } => "length_mismatch",
            Self::RowOutOfRange { .. } => "row_out_of_range",
            Self::NotInterleavable { .. } => "not_interleavable",
            Self::LayoutNotPossible { .. } => "layout_not_possible",
            Self::NullKey { .. } => "null_key",
            Self::ColumnTypeMismatch { .. } => "column_type_mismatch",
            Self::ColumnCount { .. } => "column_count",
            Self::VisitedRowsMissing { .. } => "visited_rows_missing",
            Self::Arrow(_) => "arrow",
        }
    }

    /// Returns whose mistake it is: the user's, a limit's, or the caller's.
    ///
    /// ```
    /// use fletching_kernels::error::{ErrorClass, KernelError};
    /// let error = KernelError::TooManyRows { rows: 1 << 33, rows_max: 1 << 32 };
    /// assert_eq!(error.class(), ErrorClass::Resource);
    /// ```
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::UnsupportedKeyType { .. } | Self::UnsupportedTimeType { .. } | Self::NullKey { .. } => {
                ErrorClass::User
            }
            Self::TooManyRows { .. } => ErrorClass::Resource,
            Self::Arrow(ArrowError::OffsetOverflowError(_) | ArrowError::MemoryError(_)) => {
                ErrorClass::Resource
            }
            _ => ErrorClass::Internal,
        }
    }
}
