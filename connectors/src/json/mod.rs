//! Decodes JSON objects straight into columns: one pass over the bytes, no tree and no map between.
//!
//! ```text
//!  {"id": 7, "note": "a\nb", "more": [1]}        scan.rs    tokens; what nobody asks for is walked over
//!     │          │             └ passed          keys.rs    which field a key is, by the usual order
//!     ▼          ▼                               column.rs  objects, lists and maps, row by row
//!   INT64     VARCHAR                            leaf.rs    scalars, read by the parsers of CSV
//! ```
//!
//! Scalars are read from their text by the same exact parsers as CSV's: `1.50` becomes a decimal
//! without passing through a float, and a number in quotes is a number. A scalar that is not of its
//! type is a bad cell of a row that is there; a record that is no object, or of another shape, is
//! refused and leaves nothing behind. Arrow's own JSON reader is the oracle (`oracle.rs`).
//!
//! The way back is Arrow's writer, with faster encoders of some cells (`write.rs`).

mod column;
mod keys;
mod leaf;
#[cfg(test)]
mod oracle;
mod scan;
pub(crate) mod write;

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use fletching::Result;

use crate::file::text::values::BadCell;
use column::{Found, StructColumn};
use scan::{Scanner, Token};

pub(crate) use scan::Syntax;

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not UTF-8 text from a byte on.
    NotUtf8 { at: usize },
    /// It is another value than an object.
    NoObject,
    /// It is not one JSON object.
    Syntax(Syntax),
    /// A field is not of the shape that its type has.
    Shape { field: usize, why: &'static str },
}

impl Refused {
    /// Returns the field at fault, where one is.
    pub(crate) fn field(&self) -> Option<usize> {
        match self {
            Self::Shape { field, .. } => Some(*field),
            _ => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { at } => write!(f, "is not UTF-8 text at byte {}", at + 1),
            Self::NoObject => f.write_str("is not a JSON object"),
            Self::Syntax(Syntax { at, expected }) => {
                write!(
                    f,
                    "is not a JSON object: expected {expected} at character {}",
                    at + 1
                )
            }
            Self::Shape { why, .. } => f.write_str(why),
        }
    }
}

/// Records that were decoded.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// How many there are.
    pub(crate) rows: usize,
    /// One column a field.
    pub(crate) columns: Vec<ArrayRef>,
    /// The scalars that are not of their type, each with its field.
    pub(crate) bad: Vec<(usize, BadCell)>,
}

/// Decodes objects, each into one row.
///
/// Costs about 1.7 ns a byte on one core where most of it is numbers and keys (`decode/json-*` in
/// `benches/`).
pub(crate) struct ObjectDecoder {
    root: StructColumn,
    scratch: String,
}

impl ObjectDecoder {
    /// Makes a decoder of these fields, whose names are the keys.
    ///
    /// # Errors
    /// Fails where JSON cannot be read as one of the types.
    pub(crate) fn new(fields: &Fields) -> Result<Self> {
        Ok(Self {
            root: StructColumn::new(fields)?,
            scratch: String::new(),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Says why the record is refused; there is no row for it then.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), Refused> {
        let rows = self.root.rows;
        let read = self.read(record);
        if read.is_err() {
            self.root.truncate(rows);
        }
        read
    }

    fn read(&mut self, record: &[u8]) -> Result<(), Refused> {
        let text = std::str::from_utf8(record);
        let text = text.map_err(|error| Refused::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        let mut scanner = Scanner::new(text);
        match scanner.token().map_err(Refused::Syntax)? {
            Token::Object => {}
            _ => return Err(Refused::NoObject),
        }
        let found = self.root.read(&mut scanner, &mut self.scratch);
        let found = found.map_err(Refused::Syntax)?;
        scanner.end().map_err(Refused::Syntax)?;
        match (found, self.root.differing.first()) {
            (Found::Differs(why), Some((field, _))) => Err(Refused::Shape { field: *field, why }),
            _ => Ok(()),
        }
    }

    /// Takes the rows since the last time.
    ///
    /// # Errors
    /// Fails where a batch is too large for its offsets.
    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let rows = self.root.begin_anew();
        let mut columns = Vec::with_capacity(self.root.columns.len());
        let mut bad = Vec::new();
        for (field, column) in self.root.columns.iter_mut().enumerate() {
            let mut cells = Vec::new();
            columns.push(column.finish(&mut cells)?);
            bad.extend(cells.into_iter().map(|cell| (field, cell)));
        }
        Ok(Decoded { rows, columns, bad })
    }
}
