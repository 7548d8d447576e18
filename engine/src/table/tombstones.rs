//! Tombstones: the versions of keys that are gone, so that an older row that comes late does not
//! bring its key back.
//!
//! A tombstone is kept until a newer row of its key comes, the table is truncated or loaded anew, or
//! it is older than the retention. Keys that are deleted without a version leave none.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::kernels::cmp::lt;
use arrow::compute::{filter_record_batch, is_not_null, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fletching_kernels::{LiveOptions, LiveTable, NO_ROW};

use super::newest::newer_rows;
use crate::clock::now_us;
use crate::error::Result;

/// How long a tombstone stays, unless an option says otherwise.
pub(super) const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys that are gone, with their versions: rows of (key…, version, when they were buried).
#[derive(Debug)]
pub(super) struct Tombstones {
    live: LiveTable,
    schema: SchemaRef,
    key: Vec<usize>,
    retention_us: i64,
    swept_us: i64,
}

impl Tombstones {
    /// Makes an empty set for a table's key and version column.
    pub(super) fn new(table: &Schema, key: &[usize], version: usize, retention: Duration) -> Result<Self> {
        let columns = key.iter().chain([&version]);
        let mut fields: Vec<Field> = columns
            .map(|at| table.field(*at).clone())
            .enumerate()
            // A version column may be one of the key's: names are of no matter here.
            .map(|(at, field)| field.with_name(format!("{at}")).with_nullable(true))
            .collect();
        fields.push(Field::new("buried", DataType::Int64, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let key: Vec<usize> = (0..key.len()).collect();
        Ok(Self {
            live: LiveTable::new(Arc::clone(&schema), &key, LiveOptions::default())?,
            schema,
            key,
            retention_us: i64::try_from(retention.as_micros()).unwrap_or(i64::MAX),
            swept_us: now_us(),
        })
    }

    fn is_empty(&self) -> bool {
        self.live.snapshot().row_count() == 0
    }

    /// Returns the bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.live.snapshot().memory().total_bytes()
    }

    /// Returns all of them, with when they were buried.
    pub(super) fn rows(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.live.snapshot().scan().collect::<Result<_, _>>()?)
    }

    /// Takes what [`rows`](Self::rows) gave.
    pub(super) fn restore(&mut self, rows: &RecordBatch) -> Result<()> {
        self.live.upsert(rows)?;
        Ok(())
    }

    /// Remembers keys that are gone, each with the version of its deletion; those without one, or
    /// with an older one than is remembered, change nothing.
    pub(super) fn bury(&mut self, keys: &[ArrayRef], versions: &ArrayRef) -> Result<()> {
        let now = now_us();
        self.sweep(now)?;
        let mut columns = keys.to_vec();
        columns.push(Arc::clone(versions));
        columns.push(Arc::new(Int64Array::from(vec![now; versions.len()])));
        let all = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let mut stays = is_not_null(versions)?;
        for key in keys {
            stays = arrow::compute::and(&stays, &is_not_null(key)?)?;
        }
        let known = filter_record_batch(&all, &stays)?;
        let newer = newer_rows(&self.live, &self.key, Some(self.key.len()), &known)?;
        self.live.upsert(&newer)?;
        Ok(())
    }

    /// Leaves out rows that are older than the deletion of their key.
    pub(super) fn without_older(
        &self,
        rows: RecordBatch,
        key: &[usize],
        version: usize,
    ) -> Result<RecordBatch> {
        if self.is_empty() {
            return Ok(rows);
        }
        let keys: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(rows.column(*at))).collect();
        let buried = self.versions_of(&keys)?;
        let older = lt(rows.column(version), &buried)?;
        let stays: Vec<u32> = (0_u32..)
            .zip(older.iter())
            .filter(|(_, older)| *older != Some(true))
            .map(|(row, _)| row)
            .collect();
        if stays.len() == rows.num_rows() {
            return Ok(rows);
        }
        Ok(take_record_batch(&rows, &UInt32Array::from(stays))?)
    }

    fn versions_of(&self, keys: &[ArrayRef]) -> Result<ArrayRef> {
        let snapshot = self.live.snapshot();
        let mut heads = Vec::new();
        snapshot.locate(keys, None, &mut heads)?;
        Ok(snapshot.gather(self.key.len(), &heads)?)
    }

    /// Forgets keys that have rows again.
    pub(super) fn forget(&mut self, keys: &[ArrayRef]) -> Result<()> {
        if !self.is_empty() {
            self.live.delete(keys)?;
        }
        Ok(())
    }

    /// Forgets what is older than the retention: a pass over the tombstones, once in a while.
    fn sweep(&mut self, now_us: i64) -> Result<()> {
        let pause = (self.retention_us / 8).max(1);
        if now_us.saturating_sub(self.swept_us) < pause {
            return Ok(());
        }
        self.swept_us = now_us;
        let bound = now_us.saturating_sub(self.retention_us);
        let buried_at = self.key.len() + 1;
        let pieces = self.live.snapshot().scan().collect::<Result<Vec<_>, _>>()?;
        for piece in pieces {
            let times = piece.column(buried_at);
            let bound: ArrayRef = Arc::new(Int64Array::from(vec![bound; times.len()]));
            let is_old: BooleanArray = lt(times, &bound)?;
            let old = filter_record_batch(&piece, &is_old)?;
            let keys: Vec<ArrayRef> = self.key.iter().map(|at| Arc::clone(old.column(*at))).collect();
            self.live.delete(&keys)?;
        }
        Ok(())
    }
}

/// Takes the versions that deletions say, and where they say none those of the rows deleted.
pub(super) fn versions_of_deletions(said: Option<&ArrayRef>, there: &ArrayRef) -> Result<ArrayRef> {
    let Some(said) = said else {
        return Ok(Arc::clone(there));
    };
    if said.null_count() == 0 {
        return Ok(Arc::clone(said));
    }
    Ok(arrow::compute::kernels::zip::zip(
        &is_not_null(said)?,
        said,
        there,
    )?)
}

/// Returns of deletions those that are not older than the row of their key.
pub(super) fn deletions_that_count(said: &ArrayRef, there: &ArrayRef, heads: &[u32]) -> Result<UInt32Array> {
    let older = lt(said, there)?;
    let counts = (0_u32..).zip(heads.iter().zip(older.iter()));
    Ok(counts
        .filter(|(_, (head, older))| **head == NO_ROW || *older != Some(true))
        .map(|(row, _)| row)
        .collect::<Vec<_>>()
        .into())
}

/// Picks rows of columns.
pub(super) fn picked(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    let columns = columns.iter().map(|column| Ok(take(column, rows, None)?));
    columns.collect()
}

/// Makes a column of NULLs for versions that nobody says.
pub(super) fn no_versions(kind: &DataType, rows: usize) -> ArrayRef {
    new_null_array(kind, rows)
}
