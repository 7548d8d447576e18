//! A source over files: cut into units, dealt out to readers, each read in order.
//!
//! A *unit* is what one decoder reads: a row group of a Parquet file, any other file as a whole.
//! A scan gives each reader a run of neighbouring units with about the same bytes, so that the
//! readers' output, one after the other, is in the order of the files.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use fletching::connector::{Reader, ScanRequest, Source, SourceReport, SourceSize};
use fletching::{Error, Result};

use super::changes::{Marks, nullable};
use super::columns::project;
use super::dead_letters::{DeadLetterShare, DeadLetters};

/// What one decoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) bytes: u64,
    pub(crate) rows: Option<u64>,
}

/// What a decoder needs to know of a scan.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Columns wanted, by position in the source's schema.
    pub(crate) projection: Vec<usize>,
    /// The schema of the batches.
    pub(crate) schema: SchemaRef,
    pub(crate) batch_rows_max: usize,
    pub(crate) report: Arc<SourceReport>,
    pub(crate) dead_letters: Option<Arc<DeadLetters>>,
    /// Where readers note what they see of a changelog.
    pub(crate) marks: Arc<Marks>,
}

impl Scan {
    /// Makes what a decoder needs for some columns of a source; none for all of them.
    ///
    /// # Errors
    /// Fails where a column is asked for that is not there.
    pub(crate) fn new(
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        batch_rows_max: usize,
        report: &Arc<SourceReport>,
    ) -> Result<Self> {
        let columns = schema.fields().len();
        let projection = projection.cloned().unwrap_or_else(|| (0..columns).collect());
        if let Some(bad) = projection.iter().find(|at| **at >= columns) {
            return Err(Error::internal(format!(
                "column {bad} of {columns} was asked for"
            )));
        }
        Ok(Self {
            schema: project(schema, &projection),
            projection,
            batch_rows_max: batch_rows_max.max(1),
            report: Arc::clone(report),
            dead_letters: None,
            marks: Arc::default(),
        })
    }
}

/// Where a unit's rows stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitPlace {
    /// The file.
    pub(crate) origin: String,
    /// How many of the file's rows come before the unit.
    pub(crate) rows_before: u64,
}

/// The units of some files of one format.
pub(crate) trait Layout: Debug + Send + Sync {
    /// Returns the units, in order.
    fn units(&self) -> &[Unit];

    /// Returns where a unit's rows stand.
    fn place(&self, unit: usize) -> UnitPlace;

    /// Opens one. Where records are changes, its batches end with the engine's column of changes.
    fn open(&self, unit: usize, scan: &Scan) -> Result<Box<dyn Reader>>;

    /// Opens the file for rows that cannot be decoded, where there is one.
    fn dead_letters(&self) -> Result<Option<Arc<DeadLetters>>> {
        Ok(None)
    }
}

/// Files of one format.
#[derive(Debug)]
pub(crate) struct FileSource {
    schema: SchemaRef,
    layout: Arc<dyn Layout>,
    has_changes: bool,
}

impl FileSource {
    pub(crate) fn new(schema: SchemaRef, layout: Arc<dyn Layout>, has_changes: bool) -> Self {
        Self {
            schema,
            layout,
            has_changes,
        }
    }
}

/// Returns the columns that batches have: a deletion may leave any of them NULL.
pub(crate) fn batch_schema(schema: &SchemaRef, has_changes: bool) -> SchemaRef {
    if has_changes {
        Arc::new(Schema::new(nullable(schema)))
    } else {
        Arc::clone(schema)
    }
}

impl Source for FileSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn size(&self) -> SourceSize {
        let units = self.layout.units();
        match units.iter().map(|unit| unit.rows).sum::<Option<u64>>() {
            Some(rows) => SourceSize {
                rows: Some(rows),
                bytes: None,
            },
            None => SourceSize {
                rows: None,
                bytes: Some(units.iter().map(|unit| unit.bytes).sum()),
            },
        }
    }

    fn has_changes(&self) -> bool {
        self.has_changes
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let dead_letters = self.layout.dead_letters()?;
        let scan = Arc::new(Scan {
            dead_letters: dead_letters.clone(),
            ..Scan::new(
                &batch_schema(&self.schema, self.has_changes),
                request.projection.as_ref(),
                request.batch_rows_max,
                &request.report,
            )?
        });
        let units = needed(self.layout.units(), request.limit);
        let remaining = request.limit.map(|limit| Arc::new(AtomicUsize::new(limit)));
        let readers = deal(units, request.partitions_max)
            .into_iter()
            .map(|units| -> Box<dyn Reader> {
                Box::new(UnitReader {
                    layout: Arc::clone(&self.layout),
                    scan: Arc::clone(&scan),
                    units,
                    current: None,
                    remaining: remaining.clone(),
                    share: dead_letters.as_ref().map(DeadLetters::share),
                })
            })
            .collect();
        Ok(readers)
    }
}

/// Leaves out the units past those that certainly hold `limit` rows.
fn needed(units: &[Unit], limit: Option<usize>) -> &[Unit] {
    let Some(limit) = limit else { return units };
    let mut rows = 0_u64;
    for (at, unit) in units.iter().enumerate() {
        let Some(known) = unit.rows else { return units };
        rows += known;
        if rows >= limit as u64 {
            return &units[..=at];
        }
    }
    units
}

/// Cuts units into at most `partitions_max` runs of about the same bytes; always at least one.
fn deal(units: &[Unit], partitions_max: usize) -> Vec<Range<usize>> {
    let parts = partitions_max.clamp(1, units.len().max(1));
    let mut left: u64 = units.iter().map(|unit| unit.bytes).sum();
    let mut runs = Vec::with_capacity(parts);
    let mut at = 0;
    for part in 0..parts {
        let begin = at;
        let parts_left = parts - part;
        let fair = left / parts_left as u64;
        let mut taken = 0;
        // Take units while that brings the run nearer to its fair share; leave one for each of
        // the runs that follow.
        while at < units.len() && (units.len() - at) >= parts_left {
            let next = taken + units[at].bytes;
            if at > begin && parts_left > 1 && next.abs_diff(fair) > fair.abs_diff(taken) {
                break;
            }
            taken = next;
            at += 1;
        }
        left -= taken;
        runs.push(begin..at);
    }
    runs
}

/// Reads a run of units, one after the other, up to the scan's limit.
struct UnitReader {
    layout: Arc<dyn Layout>,
    scan: Arc<Scan>,
    units: Range<usize>,
    current: Option<Box<dyn Reader>>,
    /// Rows that all readers of the scan may still give.
    remaining: Option<Arc<AtomicUsize>>,
    share: Option<DeadLetterShare>,
}

impl UnitReader {
    fn next_of_units(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.current {
                if let Some(batch) = reader.next_batch()? {
                    return Ok(Some(batch));
                }
                self.current = None;
            }
            let Some(unit) = self.units.next() else {
                return Ok(None);
            };
            self.current = Some(self.layout.open(unit, &self.scan)?);
        }
    }

    /// Ends the reader; the last of a scan publishes the dead letters.
    fn end(&mut self) -> Result<Option<RecordBatch>> {
        self.current = None;
        self.units = 0..0;
        if let Some(share) = self.share.take() {
            share.finish()?;
        }
        Ok(None)
    }
}

impl Reader for UnitReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self
            .remaining
            .as_ref()
            .is_some_and(|remaining| remaining.load(Relaxed) == 0)
        {
            return self.end();
        }
        let Some(batch) = self.next_of_units()? else {
            return self.end();
        };
        let Some(remaining) = &self.remaining else {
            return Ok(Some(batch));
        };
        let rows = batch.num_rows();
        let before = remaining
            .fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(rows)))
            .unwrap_or_else(|left| left);
        Ok(Some(batch.slice(0, before.min(rows))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(bytes: &[u64]) -> Vec<Unit> {
        bytes
            .iter()
            .map(|bytes| Unit {
                bytes: *bytes,
                rows: Some(*bytes),
            })
            .collect()
    }

    #[test]
    fn units_are_dealt_by_bytes_in_order() {
        assert_eq!(deal(&sized(&[1, 1, 1, 1]), 2), [0..2, 2..4]);
        assert_eq!(deal(&sized(&[6, 1, 1, 1]), 2), [0..1, 1..4]);
        assert_eq!(deal(&sized(&[1, 1]), 8), [0..1, 1..2]);
        assert_eq!(
            deal(&sized(&[0, 0, 0]), 2)
                .iter()
                .map(ExactSizeIterator::len)
                .sum::<usize>(),
            3
        );
        assert_eq!(deal(&[], 4).len(), 1);
    }

    #[test]
    fn a_limit_leaves_units_out() {
        let units = sized(&[10, 10, 10]);
        assert_eq!(needed(&units, Some(11)).len(), 2);
        assert_eq!(needed(&units, Some(0)).len(), 1);
        assert_eq!(needed(&units, None).len(), 3);
    }
}
