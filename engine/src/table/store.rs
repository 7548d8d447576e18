//! The rows of a table that changes in place, with what is remembered of keys that are gone.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use fletching_kernels::{KernelError, LiveChange, LiveOptions, LiveSnapshot, LiveTable, NO_ROW};

use super::newest::newer_rows;
use super::records::Records;
use super::tombstones::{Tombstones, deletions_that_count, no_versions, picked, versions_of_deletions};
use crate::error::Result;

/// How a table's rows are told apart.
#[derive(Debug, Clone)]
pub(super) struct StoreShape {
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<usize>,
    /// The column by which an older row never replaces a newer one.
    pub(super) version: Option<usize>,
    /// How long the version of a key that is gone is remembered.
    pub(super) tombstones: Duration,
}

/// Rows by key, and tombstones.
#[derive(Debug)]
pub(super) struct Store {
    shape: StoreShape,
    live: LiveTable,
    /// Only where rows have versions.
    tombstones: Option<Tombstones>,
}

impl Store {
    /// Makes an empty one.
    pub(super) fn new(shape: StoreShape) -> Result<Self> {
        let live = LiveTable::new(Arc::clone(&shape.schema), &shape.key, LiveOptions::default())?;
        let tombstones = shape
            .version
            .map(|version| Tombstones::new(&shape.schema, &shape.key, version, shape.tombstones));
        Ok(Self {
            live,
            tombstones: tombstones.transpose()?,
            shape,
        })
    }

    /// Makes one of rows that are all there, on the threads of the pool it is called in; of rows
    /// with one key the last stays. Batches of no more rows than a page are kept as they are.
    pub(super) fn load(shape: StoreShape, rows: Vec<RecordBatch>) -> Result<Self> {
        let live = LiveTable::load(
            Arc::clone(&shape.schema),
            &shape.key,
            LiveOptions::default(),
            rows,
        )?;
        Ok(Self {
            live,
            ..Self::new(shape)?
        })
    }

    /// Takes the current version.
    pub(super) fn snapshot(&self) -> LiveSnapshot {
        self.live.snapshot()
    }

    /// Returns the bytes of tombstones.
    pub(super) fn tombstone_bytes(&self) -> usize {
        self.tombstones.as_ref().map_or(0, Tombstones::memory_bytes)
    }

    /// Puts rows, but for those that are older than what is there, or than the deletion of their key.
    pub(super) fn upsert(&mut self, rows: &RecordBatch) -> Result<LiveChange> {
        let mut newer = newer_rows(&self.live, &self.shape.key, self.shape.version, rows)?;
        if let (Some(tombstones), Some(version)) = (&self.tombstones, self.shape.version) {
            newer = tombstones.without_older(newer, &self.shape.key, version)?;
        }
        self.put(&newer)
    }

    /// Puts rows, whatever their versions.
    pub(super) fn put(&mut self, rows: &RecordBatch) -> Result<LiveChange> {
        if rows.num_rows() == 0 {
            return Ok(LiveChange::default());
        }
        let change = self.live.upsert(rows)?;
        let keys = self.keys_of(rows);
        if let Some(tombstones) = &mut self.tombstones {
            tombstones.forget(&keys)?;
        }
        Ok(change)
    }

    /// Deletes the rows of keys. Where the deletions say of which version they are, one that is
    /// older than the row there is passed over.
    pub(super) fn delete(
        &mut self,
        keys: &[ArrayRef],
        said: Option<&ArrayRef>,
    ) -> Result<LiveChange, StoreError> {
        let (Some(tombstones), Some(version)) = (&mut self.tombstones, self.shape.version) else {
            return Ok(self.live.delete(keys)?);
        };
        let snapshot = self.live.snapshot();
        let mut heads = Vec::new();
        snapshot.locate(keys, None, &mut heads)?;
        let there = snapshot.gather(version, &heads)?;
        drop(snapshot);
        let counts = match said {
            Some(said) => deletions_that_count(said, &there, &heads)?,
            None => (0_u32..).take(heads.len()).collect::<Vec<_>>().into(),
        };
        let keys = picked(keys, &counts)?;
        let kind = self.shape.schema.field(version).data_type();
        let nothing = no_versions(kind, heads.len());
        let versions = versions_of_deletions(Some(said.unwrap_or(&nothing)), &there)?;
        let versions = picked(&[versions], &counts)?;
        let change = self.live.delete(&keys)?;
        if let Some(versions) = versions.first() {
            tombstones.bury(&keys, versions)?;
        }
        Ok(change)
    }

    /// Takes away all rows and tombstones.
    pub(super) fn truncate(&mut self) -> Result<LiveChange> {
        let deleted = self.live.snapshot().row_count();
        *self = Self::new(self.shape.clone())?;
        Ok(LiveChange {
            deleted,
            ..LiveChange::default()
        })
    }

    /// Applies records of a source; `check` is asked about the rows that are put.
    pub(super) fn apply(
        &mut self,
        records: &Records,
        check: impl FnOnce(&RecordBatch) -> Result<()>,
    ) -> Result<LiveChange> {
        let settled = records.settle(&self.shape.schema, &self.shape.key, self.shape.version)?;
        check(&settled.upserts)?;
        let mut change = LiveChange::default();
        if settled.truncates {
            change = self.truncate()?;
        }
        if !settled.deletes.is_empty() {
            let deleted = self.delete(&settled.deletes, settled.delete_versions.as_ref());
            change.deleted += deleted.map_err(StoreError::into_error)?.deleted;
        }
        let put = self.upsert(&settled.upserts)?;
        change.inserted += put.inserted;
        change.replaced += put.replaced;
        Ok(change)
    }

    /// Gives keys the rows that they have in another store, or none.
    pub(super) fn copy_keys(&mut self, keys: &[ArrayRef], from: &Self) -> Result<()> {
        let snapshot = from.live.snapshot();
        let mut heads = Vec::new();
        snapshot.locate(keys, None, &mut heads)?;
        let gone = (0_u32..).zip(&heads).filter(|(_, head)| **head == NO_ROW);
        let gone: Vec<u32> = gone.map(|(row, _)| row).collect();
        let gone = picked(keys, &gone.into())?;
        self.delete(&gone, None).map_err(StoreError::into_error)?;
        heads.retain(|head| *head != NO_ROW);
        let columns = (0..self.shape.schema.fields().len()).map(|at| snapshot.gather(at, &heads));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&self.shape.schema), columns)?;
        self.upsert(&rows)?;
        Ok(())
    }

    /// Returns what is remembered of keys that are gone, where rows have versions.
    pub(super) fn tombstones(&self) -> Option<&Tombstones> {
        self.tombstones.as_ref()
    }

    /// Remembers again what was remembered before.
    pub(super) fn restore_tombstones(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.tombstones {
            Some(tombstones) => tombstones.restore(rows),
            None => Ok(()),
        }
    }

    /// Returns the key columns of rows.
    pub(super) fn keys_of(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let key = self.shape.key.iter();
        key.map(|at| Arc::clone(rows.column(*at))).collect()
    }
}

/// Why a deletion could not be made: for the keys given, or for another reason.
#[derive(Debug)]
pub(super) enum StoreError {
    Kernel(KernelError),
    Other(crate::error::Error),
}

impl StoreError {
    pub(super) fn into_error(self) -> crate::error::Error {
        match self {
            Self::Kernel(error) => error.into(),
            Self::Other(error) => error,
        }
    }
}

impl From<KernelError> for StoreError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<crate::error::Error> for StoreError {
    fn from(error: crate::error::Error) -> Self {
        Self::Other(error)
    }
}
