//! As-of arms: which row of a key they take, and what they take it from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::ArrayRef;
use arrow::compute::nullif;
use fletching_kernels::{AsOfCondition, AsOfTolerance};

use super::lookup_join::ArmSpec;
use super::pinned::{PinnedArm, PinnedTables};
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
/// They are counted.
pub(super) fn without_history(
    arm: &ArmSpec,
    table: &PinnedArm,
    pinned: &PinnedTables,
    keys: &mut [ArrayRef],
) -> Result<()> {
    let (Some((index, spec)), Some(time)) = (table.as_of(), keys.last_mut()) else {
        return Ok(());
    };
    let Some(retention) = spec.retention else {
        return Ok(());
    };
    let too_old = index.too_old(time, retention)?;
    let count = too_old.true_count() as u64;
    if count > 0 {
        *time = nullif(time.as_ref(), &too_old)?;
        pinned.rows_too_old.fetch_add(count, Relaxed);
        if let ArmSource::Table(table) = &arm.source {
            table.note_too_old(count);
        }
    }
    Ok(())
}
