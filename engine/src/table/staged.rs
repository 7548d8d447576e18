//! What is loaded of a table before it is published: rows one after the other, or a store of one row
//! a key, which needs no more memory than the table will, however many changes there are.

use arrow::array::RecordBatch;

use super::Table;
use super::records::Records;
use super::store::Store;
use crate::error::Result;

/// Rows that nobody sees yet.
#[derive(Debug)]
pub(super) enum Staged {
    /// Every row, and which of them end their key.
    Rows {
        chunks: Vec<RecordBatch>,
        ended: Vec<u32>,
    },
    /// One row a key.
    Store(Box<Store>),
}

impl Staged {
    /// Returns how many rows there are.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Rows { chunks, .. } => chunks.iter().map(RecordBatch::num_rows).sum(),
            Self::Store(store) => store.snapshot().row_count(),
        }
    }

    /// Returns the bytes of the rows.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rows { chunks, .. } => chunks.iter().map(RecordBatch::get_array_memory_size).sum(),
            Self::Store(store) => store.snapshot().memory().total_bytes() + store.tombstone_bytes(),
        }
    }
}

impl Table {
    /// Begins to load, as the table's changelog says.
    pub(super) fn stage(&self) -> Result<Staged> {
        self.stage_with(Vec::new())
    }

    /// Begins to load with rows that the table has had before, as they are.
    pub(super) fn stage_with(&self, rows: Vec<RecordBatch>) -> Result<Staged> {
        let shape = {
            let changes = self.changes.lock();
            changes.options.is_upsert.then(|| self.store_shape(&changes))
        };
        let Some(shape) = shape else {
            return Ok(Staged::Rows {
                chunks: rows,
                ended: Vec::new(),
            });
        };
        let store = match rows.is_empty() {
            true => Store::new(shape)?,
            false => Store::load(shape, rows)?,
        };
        Ok(Staged::Store(Box::new(store)))
    }

    /// Adds records to those loaded so far.
    ///
    /// # Errors
    /// Fails where they lack what a change needs, or the table would grow beyond its memory.
    pub(super) fn add_staged(&self, staged: &mut Staged, records: &Records) -> Result<()> {
        match staged {
            Staged::Store(store) => {
                store.apply(records, |rows| self.check_keys(rows))?;
            }
            Staged::Rows { chunks, ended } => {
                let version = self.versions.as_ref().map(|versions| versions.column);
                let history = records.history(&self.schema, version)?;
                if history.truncates {
                    chunks.clear();
                    ended.clear();
                }
                if !history.ended.is_empty() {
                    let before: usize = chunks.iter().map(RecordBatch::num_rows).sum();
                    let before = u32::try_from(before).unwrap_or(u32::MAX);
                    ended.extend(history.ended.iter().map(|row| before.saturating_add(*row)));
                }
                if history.rows.num_rows() > 0 {
                    chunks.push(history.rows);
                }
            }
        }
        Ok(())
    }

    /// Refuses what is loaded so far where it is more than the table may hold.
    pub(super) fn check_staged(&self, staged: &Staged) -> Result<()> {
        let options = self.changes.lock().options.clone();
        self.check_memory(&options, staged.bytes(), &[])
    }
}
