//! Records of a source on their way into a table: rows, and what each of them does.
//!
//! ```text
//!  batch of a source          Records               settled: what they come to
//!  k  v  _change              rows  (k, v)          truncates   whether all rows go first
//!  1  a  0 upsert      ─▶     changes      ─▶       upserts     (1, b)
//!  1  b  0                                          deletes     (2)
//!  2  -  1 delete
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Int8Type, Schema, SchemaRef};

use super::newest::newest_of_each_key;
use super::snapshot::as_views;
use crate::connector::{CHANGE_COLUMN, Change};
use crate::error::{Error, Result};

/// Rows that came, with a table's columns.
#[derive(Debug, Clone)]
pub(super) struct Records {
    /// The rows; a deletion may have NULL in any column but the key's.
    pub(super) rows: RecordBatch,
    /// What each does; none where all are plain rows.
    changes: Option<Int8Array>,
}

impl Records {
    /// Takes plain rows that have the table's columns.
    pub(super) fn plain(rows: RecordBatch) -> Self {
        Self { rows, changes: None }
    }

    /// Takes a batch of a source.
    ///
    /// # Errors
    /// Fails where its columns are not the table's, or it says of changes what none does.
    pub(super) fn of_source(batch: &RecordBatch, schema: &SchemaRef, has_changes: bool) -> Result<Self> {
        if !has_changes {
            return as_views(batch, schema).map(Self::plain);
        }
        let columns = batch.num_columns();
        let last = columns.checked_sub(1).map(|at| batch.column(at));
        let changes = last.and_then(|last| last.as_primitive_opt::<Int8Type>());
        let is_change = |code: Option<i8>| code.and_then(Change::of_code).is_some();
        let Some(changes) = changes.filter(|changes| changes.iter().all(is_change)) else {
            let message = format!("a source of changes gave a batch whose last column is no {CHANGE_COLUMN}");
            return Err(Error::internal(message));
        };
        let rows = batch.project(&(0..columns - 1).collect::<Vec<_>>())?;
        let is_plain = changes.values().iter().all(|code| *code == Change::Upsert as i8);
        if is_plain {
            return as_views(&rows, schema).map(Self::plain);
        }
        Ok(Self {
            rows: as_views(&rows, &nullable(schema))?,
            changes: Some(changes.clone()),
        })
    }

    /// Takes some of them.
    pub(super) fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let changes = self.changes.as_ref();
        let changes = changes.map(|changes| arrow::compute::take(changes, rows, None));
        let changes = changes.transpose()?;
        Ok(Self {
            rows: take_record_batch(&self.rows, rows)?,
            changes: changes.map(|changes| changes.as_primitive::<Int8Type>().clone()),
        })
    }

    /// Says whether one of them takes all rows away.
    pub(super) fn has_truncation(&self) -> bool {
        let mut codes = self.changes.iter().flat_map(|changes| changes.values().iter());
        codes.any(|code| *code == Change::Truncate as i8)
    }

    /// Returns the rows after the last one that takes all away, and whether there is such a one.
    fn after_truncation(&self) -> (bool, Self) {
        let codes = self.changes.iter().flat_map(|changes| changes.values().iter());
        let last = codes
            .enumerate()
            .filter(|(_, code)| **code == Change::Truncate as i8)
            .last();
        let Some((at, _)) = last else {
            return (false, self.clone());
        };
        let (from, rows) = (at + 1, self.rows.num_rows());
        let rest = Self {
            rows: self.rows.slice(from, rows - from),
            changes: self
                .changes
                .as_ref()
                .map(|changes| changes.slice(from, rows - from)),
        };
        (true, rest)
    }

    /// Returns which rows delete.
    fn deletions(&self) -> Vec<bool> {
        match &self.changes {
            None => vec![false; self.rows.num_rows()],
            Some(changes) => {
                let codes = changes.values().iter();
                codes.map(|code| *code == Change::Delete as i8).collect()
            }
        }
    }

    /// Says what records come to for a table that has one row a key.
    ///
    /// Of records with one key the last counts, or where the table has versions, the newest.
    ///
    /// # Errors
    /// Fails where a column that is never NULL has one in a row that is put.
    pub(super) fn settle(
        &self,
        schema: &SchemaRef,
        key: &[usize],
        version: Option<usize>,
    ) -> Result<Settled> {
        let (truncates, rest) = self.after_truncation();
        let deletions = rest.deletions();
        if !deletions.contains(&true) {
            return Ok(Settled {
                truncates,
                upserts: as_views(&rest.rows, schema)?,
                deletes: Vec::new(),
                delete_versions: None,
            });
        }
        let keys: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(rest.rows.column(*at))).collect();
        let versions = version.map(|at| rest.rows.column(at));
        let deciding = newest_of_each_key(&keys, versions)?;
        let (gone, put): (Vec<u32>, Vec<u32>) =
            deciding.into_iter().partition(|row| deletions[*row as usize]);
        let gone = take_record_batch(&rest.rows, &UInt32Array::from(gone))?;
        let put = take_record_batch(&rest.rows, &UInt32Array::from(put))?;
        Ok(Settled {
            truncates,
            upserts: as_views(&put, schema)?,
            deletes: key.iter().map(|at| Arc::clone(gone.column(*at))).collect(),
            delete_versions: version.map(|at| Arc::clone(gone.column(at))),
        })
    }

    /// Says what records come to for a table that keeps every row: the rows, and which of them end
    /// their key instead.
    ///
    /// # Errors
    /// Fails where a deletion does not say from when.
    pub(super) fn history(&self, schema: &SchemaRef, version: Option<usize>) -> Result<History> {
        let (truncates, rest) = self.after_truncation();
        let deletions = (0_u32..).zip(rest.deletions());
        let ended: Vec<u32> = deletions.filter(|(_, ends)| *ends).map(|(row, _)| row).collect();
        if let Some(version) = version.map(|at| (at, rest.rows.column(at)))
            && let Some(row) = ended.iter().find(|row| version.1.is_null(**row as usize))
        {
            return Err(Error::Batch {
                message: format!(
                    "row {} of a batch deletes a key, but has NULL in '{}', which says from when",
                    row + 1,
                    schema.field(version.0).name()
                ),
            });
        }
        Ok(History {
            truncates,
            rows: as_views(&rest.rows, schema)?,
            ended,
        })
    }
}

/// What records come to for a table that has one row a key. No key is in both parts.
pub(super) struct Settled {
    pub(super) truncates: bool,
    pub(super) upserts: RecordBatch,
    /// The keys to delete; without columns where there are none.
    pub(super) deletes: Vec<ArrayRef>,
    /// The versions of the deletions.
    pub(super) delete_versions: Option<ArrayRef>,
}

/// What records come to for a table that keeps every row.
pub(super) struct History {
    pub(super) truncates: bool,
    pub(super) rows: RecordBatch,
    /// The rows that end their key, ascending.
    pub(super) ended: Vec<u32>,
}

fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}
