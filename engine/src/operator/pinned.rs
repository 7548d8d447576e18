//! Pinned tables: the versions that one run reads, and how its output takes their columns.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use fletching_kernels::{
    AsOfIndex, ClusteredRows, Interleaved, KeyIndex, LiveSnapshot, NO_ROW, Picks, RowId, StarFinder,
    VisitedRows, gather, missing_count,
};
use fletching_planner::Provenance;

use super::as_of::AsOfSpec;
use crate::error::{Error, Result};
use crate::table::{KeySpec, TableSnapshot};

/// What a session's settings say of its lookups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookupTuning {
    /// Whether columns of large tables may be copied row by row to gather them faster.
    pub(crate) interleaves: bool,
    /// Threads that build an index.
    pub(crate) threads: usize,
    /// Whether the tables were looked up so often that rows clustered by their keys pay.
    pub(crate) is_long: bool,
}

/// The versions of the tables that one run reads, with their indexes.
#[derive(Debug)]
pub(crate) struct PinnedTables {
    pub(super) arms: Vec<Arc<PinnedArm>>,
    /// Which rows of a RIGHT or FULL join's table were matched.
    pub(super) visited: Option<VisitedRows>,
    /// Probe rows seen and rows given out.
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
}

impl PinnedTables {
    pub(super) fn new(arms: Vec<PinnedArm>, visited: Option<VisitedRows>) -> Self {
        Self::of_arms(arms.into_iter().map(Arc::new).collect(), visited)
    }

    pub(super) fn of_arms(arms: Vec<Arc<PinnedArm>>, visited: Option<VisitedRows>) -> Self {
        Self {
            arms,
            visited,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
        }
    }

    /// Says, once, that rows clustered by their keys would pay by now: so many were gathered.
    pub(crate) fn wants_clustered(&self) -> bool {
        let wants = |arm: &Arc<PinnedArm>| {
            arm.wants_clustered.load(Relaxed) && arm.wants_clustered.swap(false, Relaxed)
        };
        self.arms.iter().any(wants)
    }

    /// Interleaves what the output takes from large tables now, where they are neither that yet nor
    /// clustered. Without this it is done in the midst of a run, once that has shown to be long.
    pub(crate) fn interleave(&self) -> Result<()> {
        self.arms.iter().try_for_each(|arm| arm.interleave())
    }

    /// Returns the versions, in the order of the arms.
    pub(crate) fn versions(&self) -> Vec<u64> {
        self.arms.iter().map(|arm| arm.snapshot.version()).collect()
    }

    /// Says whether a table that changes in place is among them.
    pub(crate) fn holds_live(&self) -> bool {
        self.arms
            .iter()
            .any(|arm| matches!(arm.rows, PinnedRows::Live { .. }))
    }

    /// Copies what may be kept while nothing runs: a version of a table that changes in place must
    /// not be, since the table keeps for it what every later change replaces.
    pub(crate) fn released(&self) -> Self {
        let release = |arm: &Arc<PinnedArm>| match arm.rows {
            PinnedRows::Live { .. } => {
                let nothing = TableSnapshot::empty(Arc::clone(arm.snapshot.schema()));
                let arm = PinnedArm {
                    snapshot: Arc::new(nothing),
                    rows: PinnedRows::Released,
                    together: Vec::new(),
                    interleaved: OnceLock::new(),
                    may_cluster: false,
                    gathered: AtomicU64::new(0),
                    wants_clustered: AtomicBool::new(false),
                    threads: arm.threads,
                };
                Arc::new(arm)
            }
            _ => Arc::clone(arm),
        };
        Self {
            arms: self.arms.iter().map(release).collect(),
            visited: None,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
        }
    }
}

/// A version of an arm's table, with the index and the columns that the join needs of it.
#[derive(Debug)]
pub(super) struct PinnedArm {
    pub(super) snapshot: Arc<TableSnapshot>,
    rows: PinnedRows,
    /// The columns to take together, ascending; none where that gains nothing.
    together: Vec<usize>,
    interleaved: OnceLock<Arc<Interleaved>>,
    /// Whether rows clustered by their keys would be found faster.
    may_cluster: bool,
    /// Rows gathered so far from rows that are not clustered.
    gathered: AtomicU64,
    /// Whether they became so many that clustering pays, and nobody has seen to it.
    wants_clustered: AtomicBool,
    /// Threads that build what is missing.
    threads: usize,
}

/// The rows of an arm's table, and how they are found.
#[derive(Debug)]
enum PinnedRows {
    /// All rows in one batch, and an index over them.
    Indexed { rows: RecordBatch, index: PinnedIndex },
    /// A table that changes in place, looked up by its primary key; the key's columns are in this
    /// order among the join's.
    Live { live: LiveSnapshot, order: Vec<usize> },
    /// Such a table between two runs: its version 0 is nobody's, so the next run pins another.
    Released,
}

/// How an arm finds the rows of one batch.
#[derive(Debug)]
enum PinnedIndex {
    /// All rows of a key.
    Key(Arc<KeyIndex>),
    /// The same, in a copy of the rows: found there, they are named by their places in the copy.
    Clustered(Arc<ClusteredRows>),
    /// The one row of a key that is nearest in time.
    AsOf(Arc<AsOfIndex>, AsOfSpec),
}

impl PinnedArm {
    /// Pins a version; `columns` are those that the output takes.
    pub(super) fn new(
        snapshot: Arc<TableSnapshot>,
        key: &KeySpec,
        as_of: Option<&AsOfSpec>,
        columns: impl Iterator<Item = usize>,
        tuning: LookupTuning,
    ) -> Result<Self> {
        if let Some(spec) = as_of {
            let index = snapshot.as_of_index(key, &spec.time, tuning.threads)?;
            return Self::indexed(snapshot, PinnedIndex::AsOf(index, spec.clone()), columns, tuning);
        }
        if let Some((live, order)) = snapshot.live_for(key) {
            let rows = PinnedRows::Live { live, order };
            return Ok(Self::with_rows(snapshot, rows, Vec::new(), tuning));
        }
        if tuning.is_long && tuning.interleaves {
            let columns: Vec<usize> = columns.collect();
            return match snapshot.clustered(key, &columns, tuning.threads)? {
                Some((clustered, together)) => {
                    let rows = PinnedRows::Indexed {
                        rows: snapshot.rows()?.clone(),
                        index: PinnedIndex::Clustered(clustered),
                    };
                    Ok(Self::with_rows(snapshot, rows, together, tuning))
                }
                None => Self::with_whole_table(snapshot, key, columns.into_iter(), tuning),
            };
        }
        Self::with_whole_table(snapshot, key, columns, tuning)
    }

    /// Pins a version of a table whose rows are all to be counted.
    pub(super) fn with_whole_table(
        snapshot: Arc<TableSnapshot>,
        key: &KeySpec,
        columns: impl Iterator<Item = usize>,
        tuning: LookupTuning,
    ) -> Result<Self> {
        let index = PinnedIndex::Key(snapshot.index(key, tuning.threads)?);
        Self::indexed(snapshot, index, columns, tuning)
    }

    fn indexed(
        snapshot: Arc<TableSnapshot>,
        index: PinnedIndex,
        columns: impl Iterator<Item = usize>,
        tuning: LookupTuning,
    ) -> Result<Self> {
        let rows = PinnedRows::Indexed {
            rows: snapshot.rows()?.clone(),
            index,
        };
        if !tuning.interleaves {
            return Ok(Self::with_rows(snapshot, rows, Vec::new(), tuning));
        }
        let columns: Vec<usize> = columns.collect();
        let together = snapshot.worth_interleaving(columns.iter().copied());
        let may_cluster = match &rows {
            PinnedRows::Indexed {
                index: PinnedIndex::Key(index),
                ..
            } => ClusteredRows::serve(index) && snapshot.is_worth_clustering(&columns),
            _ => false,
        };
        Ok(Self {
            may_cluster,
            ..Self::with_rows(snapshot, rows, together, tuning)
        })
    }

    fn with_rows(
        snapshot: Arc<TableSnapshot>,
        rows: PinnedRows,
        together: Vec<usize>,
        tuning: LookupTuning,
    ) -> Self {
        Self {
            snapshot,
            rows,
            together,
            interleaved: OnceLock::new(),
            may_cluster: false,
            gathered: AtomicU64::new(0),
            wants_clustered: AtomicBool::new(false),
            threads: tuning.threads,
        }
    }

    /// Returns what finds rows.
    pub(super) fn finder(&self) -> Result<StarFinder<'_>> {
        match &self.rows {
            PinnedRows::Indexed { index, .. } => Ok(match index {
                PinnedIndex::Key(index) => StarFinder::Key(index),
                PinnedIndex::Clustered(rows) => StarFinder::Key(rows.index()),
                PinnedIndex::AsOf(index, spec) => StarFinder::AsOf(index, spec.condition),
            }),
            PinnedRows::Live { live, .. } => Ok(StarFinder::Live(live)),
            PinnedRows::Released => Err(released()),
        }
    }

    /// Says whether a probe row has one match at most.
    pub(super) fn is_unique(&self) -> bool {
        self.finder().is_ok_and(|finder| finder.is_unique())
    }

    /// Returns the index of a join that counts all rows of the table.
    pub(super) fn index(&self) -> Result<&KeyIndex> {
        match &self.rows {
            PinnedRows::Indexed {
                index: PinnedIndex::Key(index),
                ..
            } => Ok(index),
            _ => Err(Error::internal("a RIGHT or FULL lookup without an index")),
        }
    }

    /// Returns what an as-of arm goes by.
    pub(super) fn as_of(&self) -> Option<(&AsOfIndex, &AsOfSpec)> {
        match &self.rows {
            PinnedRows::Indexed {
                index: PinnedIndex::AsOf(index, spec),
                ..
            } => Some((index, spec)),
            _ => None,
        }
    }

    /// Brings a join's key columns to the order that the finder knows.
    pub(super) fn in_order(&self, keys: Vec<ArrayRef>) -> Vec<ArrayRef> {
        match &self.rows {
            PinnedRows::Indexed { .. } | PinnedRows::Released => keys,
            PinnedRows::Live { order, .. } => order.iter().map(|at| Arc::clone(&keys[*at])).collect(),
        }
    }

    /// Returns the number of the table's own columns.
    fn width(&self) -> usize {
        self.snapshot.schema().fields().len()
    }

    /// Returns the copy that rows are found in, if it is not the table itself.
    pub(super) fn clustered(&self) -> Option<&ClusteredRows> {
        match &self.rows {
            PinnedRows::Indexed {
                index: PinnedIndex::Clustered(rows),
                ..
            } => Some(rows),
            _ => None,
        }
    }

    /// Gathers located rows of a column.
    fn gather(&self, column: usize, rows: &[RowId]) -> Result<ArrayRef> {
        Ok(match &self.rows {
            PinnedRows::Indexed { rows: all, .. } => match self.clustered() {
                Some(clustered) => gather(all.column(column), &clustered.table_rows(rows))?,
                None => gather(all.column(column), rows)?,
            },
            PinnedRows::Live { live, .. } => live.gather(column, rows)?,
            PinnedRows::Released => return Err(released()),
        })
    }

    /// Gathers a column of the table, or says of rows where they come from.
    pub(super) fn column(&self, column: usize, rows: &[RowId]) -> Result<ArrayRef> {
        match Provenance::at(column, self.width()) {
            None => self.gather(column, rows),
            Some(which) => Ok(provenance(which, &self.snapshot, rows)),
        }
    }

    fn interleave(&self) -> Result<()> {
        if self.is_to_interleave() {
            let interleaved = self.snapshot.interleaved(&self.together, self.threads)?;
            // Another thread may have been first, with the same copy.
            let _ = self.interleaved.set(interleaved);
        }
        Ok(())
    }

    /// Says whether columns are to be taken together, and are not yet.
    fn is_to_interleave(&self) -> bool {
        !self.together.is_empty() && self.interleaved.get().is_none() && self.clustered().is_none()
    }

    /// Takes note of rows to be gathered, of the first of so many pieces or of any. Once a copy would pay, or would
    /// have paid, one thread makes it; others go on without.
    fn note(&self, rows: &[RowId], kept_pieces: usize) -> Result<()> {
        let is_to_interleave = self.is_to_interleave();
        if !is_to_interleave && !self.may_cluster {
            return Ok(());
        }
        let found = (rows.len() - missing_count(rows)) as u64;
        let before = self.gathered.fetch_add(found, Relaxed);
        // The first piece of many tells how much will be gathered.
        let coming = if before == 0 { kept_pieces.max(1) as u64 } else { 1 };
        let table_rows = self.snapshot.row_count() as u64;
        let reaches = |enough: u64, found: u64| before < enough && before.saturating_add(found) >= enough;
        if is_to_interleave && reaches(table_rows / INTERLEAVING_GAIN, found.saturating_mul(coming)) {
            self.interleave()?;
        }
        if self.may_cluster && reaches(table_rows.saturating_mul(CLUSTERING_COST), found) {
            self.wants_clustered.store(true, Relaxed);
        }
        Ok(())
    }
}

/// For how many of a table's rows a copy costs as much as one row gathered from it saves: of 10 million rows
/// with four columns 12 ns each, and 37 ns or less where more of them are in some cache.
const INTERLEAVING_GAIN: u64 = 2;

/// For how many rows gathered of each row of a table clustering saves as much as it costs: about 6 ns
/// each, and 100 ns.
const CLUSTERING_COST: u64 = 16;

fn released() -> Error {
    Error::internal("a table is read between two runs")
}

/// Picks rows for a result; one that is kept with many others goes past the caches.
pub(super) fn picks_of(rows: &[RowId], is_kept: bool) -> Picks<'_> {
    let picks = Picks::new(rows);
    if is_kept { picks.past_caches() } else { picks }
}

/// Rows of an arm to gather, and what was gathered of them at once.
pub(super) struct ArmPicks<'a> {
    arm: &'a PinnedArm,
    rows: &'a [RowId],
    picks: Picks<'a>,
    together: Vec<ArrayRef>,
    /// The table's own rows, where those were found in a copy.
    table_rows: OnceCell<Vec<RowId>>,
}

impl<'a> ArmPicks<'a> {
    pub(super) fn new(arm: &'a PinnedArm, rows: &'a [RowId], kept_pieces: usize) -> Result<Self> {
        let picks = picks_of(rows, kept_pieces > 0);
        arm.note(rows, kept_pieces)?;
        let together = match (arm.clustered(), arm.interleaved.get()) {
            (Some(clustered), _) => clustered.gather(&picks)?,
            (None, Some(interleaved)) => interleaved.gather(&picks)?,
            (None, None) => Vec::new(),
        };
        Ok(Self {
            arm,
            rows,
            picks,
            together,
            table_rows: OnceCell::new(),
        })
    }

    /// Takes what was gathered already of the columns that are taken together.
    pub(super) fn gathered(
        arm: &'a PinnedArm,
        rows: &'a [RowId],
        is_kept: bool,
        together: Vec<ArrayRef>,
    ) -> Self {
        Self {
            arm,
            rows,
            picks: picks_of(rows, is_kept),
            together,
            table_rows: OnceCell::new(),
        }
    }

    pub(super) fn rows(&self) -> &'a [RowId] {
        self.rows
    }

    pub(super) fn column(&self, column: usize) -> Result<ArrayRef> {
        if column >= self.arm.width() {
            return self.arm.column(column, self.rows);
        }
        let at = self.arm.together.binary_search(&column);
        if let Some(gathered) = at.ok().and_then(|at| self.together.get(at)) {
            return Ok(Arc::clone(gathered));
        }
        match &self.arm.rows {
            PinnedRows::Indexed { rows, .. } => match self.arm.clustered() {
                Some(clustered) => {
                    let table_rows = self.table_rows.get_or_init(|| clustered.table_rows(self.rows));
                    Ok(gather(rows.column(column), table_rows)?)
                }
                None => Ok(self.picks.gather(rows.column(column))?),
            },
            PinnedRows::Live { live, .. } => Ok(live.gather(column, self.rows)?),
            PinnedRows::Released => Err(released()),
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
