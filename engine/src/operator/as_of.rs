//! As-of arms: which row of a key they take, and what they take it from.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::nullif;
use fletching_kernels::{AsOfCondition, AsOfTolerance, RowId};

use super::lookup_join::ArmSpec;
use super::miss::{counted_nulls, union_nulls};
use super::pinned::PinnedArm;
use crate::error::{Error, Result};
use crate::table::{Pins, Table, TableSnapshot, TimeSpec};

/// Which one of a key's rows an arm takes.
#[derive(Debug, Clone)]
pub(crate) struct AsOfSpec {
    /// The table's time. The probe side's is the last of the arm's probe keys.
    pub(crate) time: TimeSpec,
    pub(crate) condition: AsOfCondition,
    /// How far back from the newest row a probe row may lie and still be answered.
    pub(crate) retention: Option<AsOfTolerance>,
    /// The same for people.
    pub(crate) text: String,
}

/// What an arm looks its rows up in.
#[derive(Debug, Clone)]
pub(crate) enum ArmSource {
    /// A table, in the version that is current when a run begins.
    Table(Arc<Table>),
    /// The rows of a plan, collected when a run begins: which one of those that the run is given.
    Collected(usize),
}

impl ArmSource {
    /// Returns the rows for a run. An arm of a versioned table that asks for no time sees the current ones.
    pub(super) fn snapshot(
        &self,
        as_of: Option<&AsOfSpec>,
        collected: &[Arc<TableSnapshot>],
        pins: &Pins,
    ) -> Result<Arc<TableSnapshot>> {
        match self {
            Self::Table(table) => {
                let snapshot = match pins.get(table) {
                    Some(pinned) => Arc::clone(pinned),
                    None => table.snapshot()?,
                };
                if as_of.is_some() {
                    return Ok(snapshot);
                }
                table.current_of(snapshot)
            }
            Self::Collected(at) => match collected.get(*at) {
                Some(rows) => Ok(Arc::clone(rows)),
                None => Err(Error::internal("an as-of join's right side was not collected")),
            },
        }
    }

    /// Returns the table, where it is one.
    pub(crate) fn table(&self) -> Option<&Arc<Table>> {
        match self {
            Self::Table(table) => Some(table),
            Self::Collected(_) => None,
        }
    }

    /// Says whether a version is still the one that a run beginning now would read.
    pub(super) fn is_current(&self, version: u64) -> bool {
        match self {
            Self::Table(table) => table.is_current(version),
            Self::Collected(_) => true,
        }
    }
}

impl fmt::Display for ArmSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => f.write_str(table.name()),
            Self::Collected(at) => write!(f, "(input {})", at + 1),
        }
    }
}

/// Makes the times NULL, and so without a match, that are older than the history an arm has.
/// Returns how many there are.
pub(super) fn without_history(arm: &ArmSpec, table: &PinnedArm, keys: &mut [ArrayRef]) -> Result<usize> {
    let Some(too_old) = too_old(arm, table, keys)? else {
        return Ok(0);
    };
    let count = too_old.true_count();
    if let Some(time) = keys.last_mut().filter(|_| count > 0) {
        *time = nullif(time.as_ref(), &too_old)?;
        if let ArmSource::Table(table) = &arm.source {
            table.note_too_old(count as u64);
        }
    }
    Ok(count)
}

/// Says which rows are older than the history an arm has, of those that have no NULL in their key
/// or time; nothing where the history is whole.
pub(super) fn too_old(arm: &ArmSpec, table: &PinnedArm, keys: &[ArrayRef]) -> Result<Option<BooleanArray>> {
    let (Some((index, spec)), Some(time)) = (table.as_of(), keys.last()) else {
        return Ok(None);
    };
    let Some(retention) = spec.retention else {
        return Ok(None);
    };
    let too_old = index.too_old(time, retention)?;
    Ok(Some(match union_nulls(counted_nulls(arm, keys)) {
        Some(valid) => BooleanArray::new(too_old.values() & valid.inner(), None),
        None => too_old,
    }))
}

impl ArmSpec {
    /// Says whether rows that were located are judged: by a condition, or because one of a table's
    /// versions may end its key.
    pub(super) fn judges_rows(&self) -> bool {
        let table = self.source.table().filter(|_| self.as_of.is_some());
        self.residual.is_some() || table.is_some_and(|table| table.may_end_keys())
    }
}

/// Says which rows do not end their key; nothing where none does.
pub(super) fn rows_that_last(snapshot: &TableSnapshot, rows: &[RowId]) -> Option<BooleanArray> {
    let ended = snapshot.ended();
    let lasts = |row: &RowId| Some(ended.binary_search(row).is_err());
    (!ended.is_empty()).then(|| rows.iter().map(lasts).collect())
}
