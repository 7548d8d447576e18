//! Judges records of a changelog: each must say what it does, and have what that needs.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use fletching::Result;
use fletching::connector::Change;

use super::operation::{EXPECTED, Operation, operation};

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) row: usize,
    pub(crate) column: String,
    pub(crate) message: String,
}

/// The columns that are judged, by their places among those decoded.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    names: Vec<String>,
    op: Option<usize>,
    key: Vec<usize>,
    required: Vec<usize>,
}

impl Judge {
    pub(super) fn new(decoded: &Schema, op: Option<usize>, key: Vec<usize>, required: Vec<usize>) -> Self {
        Self {
            names: decoded
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            op,
            key,
            required,
        }
    }

    /// Reads what each record does by the column that says so; `None` for a word that says nothing.
    pub(crate) fn operations(&self, columns: &[ArrayRef]) -> Result<Vec<Option<Operation>>> {
        let Some(column) = self.op.and_then(|op| columns.get(op)) else {
            return Ok(Vec::new());
        };
        let words = cast(column, &DataType::Utf8View)?;
        let words = words.as_string_view();
        Ok(words.iter().map(|word| word.and_then(operation)).collect())
    }

    /// Lists the records that do not say what they do, or lack what that needs. At most one fault a
    /// record.
    pub(crate) fn faults(
        &self,
        operations: &[Option<Operation>],
        columns: &[ArrayRef],
    ) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        for (row, operation) in operations.iter().enumerate() {
            let missing = match operation {
                None => {
                    faults.extend(self.unknown(row, columns)?);
                    continue;
                }
                Some(Operation::Does(Change::Delete)) => self.null(row, &self.key, columns),
                Some(Operation::Does(Change::Upsert)) => self
                    .null(row, &self.key, columns)
                    .or_else(|| self.null(row, &self.required, columns)),
                Some(Operation::Does(Change::Truncate) | Operation::Skips) => None,
            };
            faults.extend(missing.map(|at| Fault {
                row,
                column: self.names[at].clone(),
                message: if self.key.contains(&at) {
                    "found NULL in a column of the PRIMARY KEY".into()
                } else {
                    "found NULL, but the column is declared NOT NULL".into()
                },
            }));
        }
        Ok(faults)
    }

    fn null(&self, row: usize, wanted: &[usize], columns: &[ArrayRef]) -> Option<usize> {
        let mut wanted = wanted.iter().copied();
        wanted.find(|at| columns.get(*at).is_some_and(|column| column.is_null(row)))
    }

    /// Says what stands where a word should; nothing of a record whose envelope is at fault, which
    /// the one who opened it says.
    fn unknown(&self, row: usize, columns: &[ArrayRef]) -> Result<Option<Fault>> {
        let Some(op) = self.op else { return Ok(None) };
        let found = match columns.get(op) {
            Some(column) if column.is_valid(row) => {
                let word = cast(&column.slice(row, 1), &DataType::Utf8View)?;
                format!("'{}'", word.as_string_view().value(0))
            }
            _ => "NULL".into(),
        };
        Ok(Some(Fault {
            row,
            column: self.names[op].clone(),
            message: format!("expected {EXPECTED}, found {found}"),
        }))
    }
}
