//! The lookup join: batches in, batches enriched from tables out. Synchronous, without a clock.
//!
//! Row ids first, columns last: all arms are located and narrowed, residuals see only the columns
//! they name, and the output is gathered once. See [`fletching_kernels::star`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use fletching_kernels::{
    JoinKind, LookUp, RowId, StarArm, StarKind, StarProbe, StarRows, VisitedRows, select, star_join,
};
use fletching_planner::MissPolicy;

use super::BoundExpr;
use super::as_of::{ArmSource, AsOfSpec};
use super::counters::LookupCounts;
use super::letters::Letters;
use super::miss::ArmMiss;
use super::pinned::{ArmPicks, LookupTuning, PinnedArm, PinnedTables, picks_of};
use super::probe::Probe;
use super::wait::Parking;
use crate::error::{Error, Result};
use crate::table::{KeySpec, Pins, TableSnapshot};

/// Where a column of a join comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputColumn {
    /// A column of the probe batch.
    Probe(usize),
    /// A column of an arm's table.
    Table {
        /// The arm.
        arm: usize,
        /// The table's column.
        column: usize,
    },
}

/// One table to look up.
#[derive(Debug, Clone)]
pub(crate) struct ArmSpec {
    pub(crate) source: ArmSource,
    pub(crate) kind: JoinKind,
    /// The probe side's key, over probe columns and earlier arms; of an as-of arm its time comes last.
    pub(crate) probe_keys: Vec<BoundExpr>,
    /// The table's key.
    pub(crate) key: KeySpec,
    /// Which one of the key's rows matches; all of them where this is not given.
    pub(crate) as_of: Option<AsOfSpec>,
    pub(crate) residual: Option<BoundExpr>,
    /// What becomes of rows without a match.
    pub(crate) miss: ArmMiss,
}

impl ArmSpec {
    /// Returns the sink that rows without a match go to, where they do.
    pub(crate) fn letter_sink(&self) -> Option<&str> {
        let table = self.source.table()?;
        let is_followed = self.miss.settled() == Some(MissPolicy::DeadLetter);
        table
            .options()
            .miss
            .dead_letter
            .as_deref()
            .filter(|_| is_followed)
    }

    /// Says whether a row may wait for its key.
    pub(crate) fn lets_wait(&self) -> bool {
        self.miss.on_miss.map(|on_miss| on_miss.policy) == Some(MissPolicy::Wait)
    }

    /// Says whether an as-of arm is looked up by the very keys and times of another.
    fn has_keys_of(&self, other: &Self) -> bool {
        let history = |arm: &Self| arm.as_of.as_ref().map(|as_of| as_of.retention);
        history(self) == history(other) && self.probe_keys == other.probe_keys
    }
}

/// A planned lookup join.
#[derive(Debug, Clone)]
pub(crate) struct LookupJoin {
    arms: Vec<ArmSpec>,
    output: Vec<OutputColumn>,
    schema: SchemaRef,
    tuning: LookupTuning,
    /// For each arm the first one that joins by the same keys and time: itself where none does.
    pub(super) alike: Vec<usize>,
    /// The versions that the statement reads; without them those that are current when a run begins.
    pins: Option<Arc<Pins>>,
}

/// What becomes of the rows that a join gives.
#[derive(Clone, Copy)]
pub(crate) struct JoinOutput<'a> {
    /// About how many rows a batch may have.
    pub(crate) rows_max: usize,
    /// Takes the rows that are to be dead letters; without it they are counted and let go.
    pub(crate) letters: Option<&'a dyn Letters>,
    /// How many batches like this one are joined in all, where what they give is kept until the last has come
    /// and is more than the caches hold; else none.
    pub(crate) kept_pieces: usize,
}

impl JoinOutput<'_> {
    fn is_kept(&self) -> bool {
        self.kept_pieces > 0
    }
}

impl LookupJoin {
    pub(crate) fn new(
        arms: Vec<ArmSpec>,
        output: Vec<OutputColumn>,
        schema: SchemaRef,
        tuning: LookupTuning,
    ) -> Self {
        let first_alike = |(at, arm): (usize, &ArmSpec)| {
            let first = arms.iter().take(at).position(|other| other.has_keys_of(arm));
            first.unwrap_or(at)
        };
        let alike = arms.iter().enumerate().map(first_alike).collect();
        Self {
            arms,
            output,
            schema,
            tuning,
            alike,
            pins: None,
        }
    }

    /// Looks up the versions of tables that a statement reads.
    pub(crate) fn with_pins(mut self, pins: Option<Arc<Pins>>) -> Self {
        self.pins = pins;
        self
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Copies the join with some of its output columns.
    pub(crate) fn project(&self, columns: &[usize]) -> Result<Self> {
        let schema = Arc::new(self.schema.project(columns)?);
        let output = columns.iter().map(|&column| self.output[column]).collect();
        Ok(Self {
            arms: self.arms.clone(),
            output,
            schema,
            tuning: self.tuning,
            alike: self.alike.clone(),
            pins: self.pins.clone(),
        })
    }

    /// Returns the tables looked up.
    pub(crate) fn arms(&self) -> &[ArmSpec] {
        &self.arms
    }

    /// Returns what the lookups have come to so far, a table each.
    pub(crate) fn counts(&self) -> Vec<LookupCounts> {
        let counts = |arm: &ArmSpec| {
            arm.miss
                .counts(&arm.source.to_string(), arm.kind, arm.judges_rows())
        };
        self.arms.iter().map(counts).collect()
    }

    /// Says whether the table itself has rows to give once the probe side has ended.
    pub(crate) fn keeps_table_rows(&self) -> bool {
        self.arms.iter().any(|arm| arm.kind.needs_visited())
    }

    /// Says whether rows come out in the order of the probe side: not where a table adds rows of its
    /// own, or rows wait for their key.
    pub(crate) fn keeps_order(&self) -> bool {
        !self.keeps_table_rows() && Parking::of_join(self).is_none()
    }

    /// Returns where the output has a column of the probe side.
    pub(crate) fn output_of_probe(&self, column: usize) -> Option<usize> {
        let wanted = OutputColumn::Probe(column);
        self.output.iter().position(|output| *output == wanted)
    }

    /// Says whether a probe row may give several rows.
    pub(crate) fn may_multiply(&self, pinned: &PinnedTables) -> bool {
        self.arms
            .iter()
            .zip(&pinned.arms)
            .any(|(arm, pinned)| arm.kind.emits_build() && !pinned.is_unique())
    }

    /// Takes the tables' versions, the current ones where none are given, and the rows collected for
    /// the run, and builds the indexes they lack.
    pub(crate) fn pin(
        &self,
        collected: &[Arc<TableSnapshot>],
        pins: Option<Arc<Pins>>,
    ) -> Result<PinnedTables> {
        self.pin_with(collected, pins, self.tuning)
    }

    /// Takes the tables' current versions for a query that is to be run over and over. Copies that only pay
    /// in the long run are made where `is_long` says that it is.
    pub(crate) fn pin_for_many(&self, is_long: bool) -> Result<PinnedTables> {
        let tuning = LookupTuning {
            is_long,
            ..self.tuning
        };
        self.pin_with(&[], None, tuning)
    }

    fn pin_with(
        &self,
        collected: &[Arc<TableSnapshot>],
        pins: Option<Arc<Pins>>,
        tuning: LookupTuning,
    ) -> Result<PinnedTables> {
        let keeps_table_rows = self.keeps_table_rows();
        let pins = match self.pins.clone().or(pins) {
            Some(pins) => pins,
            None => Arc::new(self.current_versions()?),
        };
        let pin = |(at, arm): (usize, &ArmSpec)| {
            let as_of = arm.as_of.as_ref();
            let snapshot = arm.source.snapshot(as_of, collected, &pins)?;
            if keeps_table_rows {
                return PinnedArm::with_whole_table(snapshot, &arm.key, self.taken(at), tuning);
            }
            PinnedArm::new(snapshot, &arm.key, as_of, self.taken(at), tuning)
        };
        let arms = self
            .arms
            .iter()
            .enumerate()
            .map(pin)
            .collect::<Result<Vec<_>>>()?;
        let visited = match arms.first() {
            Some(arm) if keeps_table_rows => Some(VisitedRows::new(arm.index()?.row_count())),
            _ => None,
        };
        Ok(PinnedTables::new(arms, visited))
    }

    /// Takes the tables' versions that are current now; what was collected stays.
    pub(crate) fn pin_again(&self, pinned: &PinnedTables) -> Result<PinnedTables> {
        let pins = self.current_versions()?;
        let pin = |(at, (arm, before)): (usize, (&ArmSpec, &Arc<PinnedArm>))| {
            if arm.source.is_current(before.snapshot.version()) {
                return Ok(Arc::clone(before));
            }
            let as_of = arm.as_of.as_ref();
            let snapshot = arm.source.snapshot(as_of, &[], &pins)?;
            PinnedArm::new(snapshot, &arm.key, as_of, self.taken(at), self.tuning).map(Arc::new)
        };
        let arms = self.arms.iter().zip(&pinned.arms).enumerate().map(pin);
        Ok(PinnedTables::of_arms(arms.collect::<Result<_>>()?, None))
    }

    /// Takes the current versions of all tables looked up, of one moment.
    fn current_versions(&self) -> Result<Pins> {
        let tables = self.arms.iter().filter_map(|arm| arm.source.table().cloned());
        Pins::take(&tables.collect::<Vec<_>>())
    }

    /// Returns the columns of its own that the output takes from an arm's table.
    fn taken(&self, arm: usize) -> impl Iterator<Item = usize> {
        let table = self.arms[arm].source.table();
        let width = table.map_or(usize::MAX, |table| table.schema().fields().len());
        self.output.iter().filter_map(move |from| match from {
            OutputColumn::Table { arm: of, column } if *of == arm && *column < width => Some(*column),
            _ => None,
        })
    }

    /// Says whether the pinned versions are still the tables' current ones.
    pub(crate) fn is_current(&self, pinned: &PinnedTables) -> bool {
        self.arms
            .iter()
            .zip(&pinned.arms)
            .all(|(arm, pinned)| arm.source.is_current(pinned.snapshot.version()))
    }

    /// Joins one probe batch, and hands over output batches.
    pub(crate) fn join(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        to: JoinOutput<'_>,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        pinned.rows_in.fetch_add(batch.num_rows() as u64, Relaxed);
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.keeps_table_rows() {
            return self.join_whole_table(pinned, batch, to, emit);
        }
        let mut probe = Probe::new(self, pinned, batch, to.letters);
        if self.join_in_one_pass(pinned, batch, &mut probe, to, emit)? {
            return Ok(());
        }
        let mut arms = Vec::with_capacity(self.arms.len());
        for (arm, pinned) in self.arms.iter().zip(&pinned.arms) {
            arms.push(StarArm {
                finder: pinned.finder()?,
                kind: star_kind(arm.kind)?,
            });
        }
        star_join(&arms, batch.num_rows(), &mut probe, to.rows_max, &mut |rows| {
            if rows.len == 0 {
                return Ok(());
            }
            let arms: Vec<&[RowId]> = rows.arms.iter().map(Vec::as_slice).collect();
            emit(self.gather_joined(pinned, batch, (rows.probe.as_deref(), &arms), to)?)
        })
    }

    /// Joins a batch with its only table where rows need no more than to be found and gathered, and that
    /// can be done in one pass; says whether it was.
    fn join_in_one_pass(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        probe: &mut Probe<'_>,
        to: JoinOutput<'_>,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<bool> {
        let ([arm], [table]) = (self.arms.as_slice(), pinned.arms.as_slice()) else {
            return Ok(false);
        };
        let drops_missing = match arm.kind {
            JoinKind::Inner => true,
            JoinKind::Left => false,
            _ => return Ok(false),
        };
        let Some(clustered) = table
            .clustered()
            .filter(|_| !arm.judges_rows() && !probe.watches(0))
        else {
            return Ok(false);
        };
        let keys = probe.keys(0, &StarRows::identity(batch.num_rows()))?;
        let how = LookUp {
            drops_missing,
            past_caches: to.is_kept(),
            rows_max: to.rows_max,
        };
        let found = clustered.look_up(&keys, how, &mut |rows| {
            if rows.places.is_empty() {
                return Ok(());
            }
            let picks = [ArmPicks::gathered(
                table,
                &rows.places,
                to.is_kept(),
                rows.columns,
            )];
            emit(self.gather_picked(pinned, batch, rows.positions.as_deref(), &picks, to.is_kept())?)
        })?;
        if let Some(found) = found {
            probe.note_found(0, batch.num_rows(), found);
        }
        Ok(found.is_some())
    }

    /// Makes an output batch of probe rows (all of them in their places, where none are named) and
    /// rows of each arm. The columns of an arm share one look at its row ids.
    pub(super) fn gather_joined(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        (probe, arms): (Option<&[RowId]>, &[&[RowId]]),
        to: JoinOutput<'_>,
    ) -> Result<RecordBatch> {
        let mut picks = Vec::with_capacity(arms.len());
        for (arm, rows) in pinned.arms.iter().zip(arms) {
            picks.push(ArmPicks::new(arm, rows, to.kept_pieces)?);
        }
        self.gather_picked(pinned, batch, probe, &picks, to.is_kept())
    }

    fn gather_picked(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        probe: Option<&[RowId]>,
        arms: &[ArmPicks<'_>],
        is_kept: bool,
    ) -> Result<RecordBatch> {
        let rows = probe.map_or(batch.num_rows(), <[RowId]>::len);
        let probe = probe.map(|rows| picks_of(rows, is_kept).asking_ahead());
        self.gather(pinned, rows, |column| {
            Ok(Some(match (column, &probe) {
                (OutputColumn::Probe(column), None) => Arc::clone(batch.column(column)),
                (OutputColumn::Probe(column), Some(probe)) => probe.gather(batch.column(column))?,
                (OutputColumn::Table { arm, column }, _) => {
                    let (spec, picks) = (&self.arms[arm], &arms[arm]);
                    let gathered = picks.column(column)?;
                    spec.miss
                        .fill(spec.source.table(), column, picks.rows(), gathered)?
                }
            }))
        })
    }

    /// Gathers a column of rows joined so far.
    pub(super) fn star_column(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        rows: &StarRows,
        column: OutputColumn,
    ) -> Result<Option<ArrayRef>> {
        Ok(Some(match column {
            OutputColumn::Probe(column) => select(batch.column(column), rows.probe.as_deref())?,
            OutputColumn::Table { arm, column } => {
                let spec = &self.arms[arm];
                let gathered = pinned.arms[arm].column(column, &rows.arms[arm])?;
                spec.miss
                    .fill(spec.source.table(), column, &rows.arms[arm], gathered)?
            }
        }))
    }

    /// Makes an output batch; a column that is not there is all NULL.
    pub(super) fn gather(
        &self,
        pinned: &PinnedTables,
        rows: usize,
        mut column: impl FnMut(OutputColumn) -> Result<Option<ArrayRef>>,
    ) -> Result<RecordBatch> {
        pinned.rows_out.fetch_add(rows as u64, Relaxed);
        let mut columns = Vec::with_capacity(self.output.len());
        for (&from, field) in self.output.iter().zip(self.schema.fields()) {
            columns.push(match column(from)? {
                Some(gathered) => gathered,
                None => new_null_array(field.data_type(), rows),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

fn star_kind(kind: JoinKind) -> Result<StarKind> {
    Ok(match kind {
        JoinKind::Inner => StarKind::Inner,
        JoinKind::Left => StarKind::Left,
        JoinKind::LeftSemi => StarKind::LeftSemi,
        JoinKind::LeftAnti => StarKind::LeftAnti,
        other => {
            return Err(Error::internal(format!("{other:?} is no arm of a star join")));
        }
    })
}

pub(super) fn evaluate_all(
    expressions: &[BoundExpr],
    rows: usize,
    column: impl Fn(OutputColumn) -> Result<Option<ArrayRef>>,
) -> Result<Vec<ArrayRef>> {
    expressions
        .iter()
        .map(|expression| evaluate(expression, rows, &column))
        .collect()
}

pub(super) fn evaluate(
    expression: &BoundExpr,
    rows: usize,
    column: impl Fn(OutputColumn) -> Result<Option<ArrayRef>>,
) -> Result<ArrayRef> {
    expression.evaluate(rows, |input| {
        column(input)?.ok_or_else(|| Error::internal("an expression names a column that is not joined yet"))
    })
}

pub(super) fn as_verdict(residual: &BoundExpr, passed: &ArrayRef) -> Result<BooleanArray> {
    passed
        .as_boolean_opt()
        .cloned()
        .ok_or_else(|| Error::internal(format!("{residual} is {}, not BOOLEAN", passed.data_type())))
}

impl fmt::Display for LookupJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, arm) in self.arms.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let keys = arm
                .probe_keys
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            write!(
                f,
                "{comma}{} {} on [{keys}]",
                fletching_planner::kind_word(arm.kind),
                arm.source
            )?;
            if let Some(as_of) = &arm.as_of {
                write!(f, " {}", as_of.text)?;
            }
            if let Some(residual) = &arm.residual {
                write!(f, " if {residual}")?;
            }
            if let Some(on_miss) = arm.miss.on_miss {
                write!(f, " on miss {on_miss}")?;
            }
        }
        Ok(())
    }
}
