//! Pinned tables: the versions that one run reads, and how its output takes their columns.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use fletching_kernels::{Interleaved, KeyIndex, NO_ROW, Picks, RowId, VisitedRows, gather};
use fletching_planner::Provenance;

use crate::error::Result;
use crate::table::{KeySpec, TableSnapshot};

/// What a session's settings say of its lookups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookupTuning {
    /// Whether columns of large tables may be copied row by row to gather them faster.
    pub(crate) interleaves: bool,
    /// Threads that build an index.
    pub(crate) threads: usize,
}

/// The versions of the tables that one run reads, with their indexes.
#[derive(Debug)]
pub(crate) struct PinnedTables {
    pub(super) arms: Vec<PinnedArm>,
    /// Which rows of a RIGHT or FULL join's table were matched.
    pub(super) visited: Option<VisitedRows>,
    /// Probe rows seen and rows given out.
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
}

impl PinnedTables {
    pub(super) fn new(arms: Vec<PinnedArm>, visited: Option<VisitedRows>) -> Self {
        Self {
            arms,
            visited,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
        }
    }

    /// Interleaves what the output takes from large tables now, for a query that is to be run over
    /// and over. Without this it is done in the midst of a run, once that has shown to be long.
    pub(crate) fn interleave(&self) -> Result<()> {
        self.arms.iter().try_for_each(PinnedArm::interleave)
    }
}

/// A version of an arm's table, with the index and the columns that the join needs of it.
#[derive(Debug)]
pub(super) struct PinnedArm {
    pub(super) snapshot: Arc<TableSnapshot>,
    pub(super) rows: RecordBatch,
    pub(super) index: Arc<KeyIndex>,
    /// The columns to take together, ascending; none where that gains nothing.
    together: Vec<usize>,
    interleaved: OnceLock<Arc<Interleaved>>,
    /// Rows gathered so far without interleaved columns.
    gathered: AtomicU64,
    /// Threads that build what is missing.
    threads: usize,
}

impl PinnedArm {
    /// Pins a version; `columns` are those that the output takes.
    pub(super) fn new(
        snapshot: Arc<TableSnapshot>,
        key: &KeySpec,
        columns: impl Iterator<Item = usize>,
        tuning: LookupTuning,
    ) -> Result<Self> {
        Ok(Self {
            rows: snapshot.rows()?.clone(),
            index: snapshot.index(key, tuning.threads)?,
            together: if tuning.interleaves {
                snapshot.worth_interleaving(columns)
            } else {
                Vec::new()
            },
            snapshot,
            interleaved: OnceLock::new(),
            gathered: AtomicU64::new(0),
            threads: tuning.threads,
        })
    }

    /// Gathers a column of the table, or says of rows where they come from.
    pub(super) fn column(&self, column: usize, rows: &[RowId]) -> Result<ArrayRef> {
        match Provenance::at(column, self.rows.num_columns()) {
            None => Ok(gather(self.rows.column(column), rows)?),
            Some(which) => Ok(provenance(which, &self.snapshot, rows)),
        }
    }

    fn interleave(&self) -> Result<()> {
        if !self.together.is_empty() && self.interleaved.get().is_none() {
            let interleaved = self.snapshot.interleaved(&self.together, self.threads)?;
            // Another thread may have been first, with the same copy.
            let _ = self.interleaved.set(interleaved);
        }
        Ok(())
    }

    /// Takes note of rows to be gathered. The copy costs about as much as gathering as many rows
    /// as the table has: once so many were gathered, it is likely to pay, and never costs more
    /// than all that was done before. One thread makes it; others go on without.
    fn note(&self, rows: usize) -> Result<()> {
        if self.together.is_empty() || self.interleaved.get().is_some() {
            return Ok(());
        }
        let rows = rows as u64;
        let before = self.gathered.fetch_add(rows, Relaxed);
        let enough = self.rows.num_rows() as u64;
        if before < enough && before.saturating_add(rows) >= enough {
            self.interleave()?;
        }
        Ok(())
    }
}

/// Rows of an arm to gather, and what was gathered of them at once.
pub(super) struct ArmPicks<'a> {
    arm: &'a PinnedArm,
    rows: &'a [RowId],
    picks: Picks<'a>,
    together: Vec<ArrayRef>,
}

impl<'a> ArmPicks<'a> {
    pub(super) fn new(arm: &'a PinnedArm, rows: &'a [RowId]) -> Result<Self> {
        let picks = Picks::new(rows);
        arm.note(rows.len())?;
        let together = match arm.interleaved.get() {
            Some(interleaved) => interleaved.gather(&picks)?,
            None => Vec::new(),
        };
        Ok(Self {
            arm,
            rows,
            picks,
            together,
        })
    }

    pub(super) fn column(&self, column: usize) -> Result<ArrayRef> {
        if column >= self.arm.rows.num_columns() {
            return self.arm.column(column, self.rows);
        }
        let at = self.arm.together.binary_search(&column);
        match at.ok().and_then(|at| self.together.get(at)) {
            Some(gathered) => Ok(Arc::clone(gathered)),
            None => Ok(self.picks.gather(self.arm.rows.column(column))?),
        }
    }
}

/// Says of rows whether they are there, and of which version.
fn provenance(which: Provenance, snapshot: &TableSnapshot, rows: &[RowId]) -> ArrayRef {
    let is_there = rows.iter().map(|row| *row != NO_ROW);
    match which {
        Provenance::Matched => Arc::new(is_there.map(Some).collect::<BooleanArray>()),
        Provenance::Version => {
            let version = i64::try_from(snapshot.version()).ok();
            let versions = is_there.map(|is_there| version.filter(|_| is_there));
            Arc::new(versions.collect::<Int64Array>())
        }
        Provenance::UpdatedAt => {
            let times = is_there.map(|is_there| is_there.then(|| snapshot.updated_at_us()));
            Arc::new(times.collect::<TimestampMicrosecondArray>())
        }
    }
}
