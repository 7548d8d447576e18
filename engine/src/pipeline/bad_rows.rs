//! Records that become no row of the result: they fail the pipeline, are left out, or become dead
//! letters that are committed with the epoch.
//!
//! Which rows of a batch cannot be computed is found by halving it: with `k` such rows among `n`,
//! about `n · (log2 k + 2)` rows are computed in at most `2 · k · log2 n` calls. Lookups count the
//! rows that are computed again once more.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;

use crate::connector::{
    BadRate, BadRowPolicy, DeadLetter, EpochWriter, LetterWriter, OnBadRow, Position, SourceReport,
};
use crate::error::{Error, RecordPlace, Result};
use crate::prepared::{ChainPins, EpochRows, Prepared};

/// Where the rows of a batch come from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) partition: Arc<str>,
    /// The place of each row; empty where it is not known.
    pub(super) places: Vec<i64>,
}

/// What is done about bad rows, and the letters of the epoch in the making.
pub(crate) struct BadRows {
    policy: BadRowPolicy,
    /// Where letters go; none where the sink takes them into its own epochs.
    writer: Option<Box<dyn LetterWriter>>,
    report: Arc<SourceReport>,
    rate: BadRate,
    /// Whether letters of records that could not be decoded are another pipeline's to write.
    is_further: bool,
}

/// What came of computing.
#[derive(Default)]
pub(super) struct Computed {
    /// Rows, and letters about rows without a match.
    pub(super) results: EpochRows,
    pub(super) letters: Vec<DeadLetter>,
}

impl BadRows {
    pub(crate) fn new(
        policy: BadRowPolicy,
        writer: Option<Box<dyn LetterWriter>>,
        report: Arc<SourceReport>,
    ) -> Self {
        Self {
            rate: BadRate::new(policy.rate_max),
            policy,
            writer,
            report,
            is_further: false,
        }
    }

    /// Leaves the letters of records that cannot be decoded to a pipeline that reads the stream already:
    /// they belong to the stream, and are written once.
    pub(crate) fn of_a_further_pipeline(mut self) -> Self {
        self.is_further = true;
        self
    }

    /// Says whether it writes those letters itself.
    pub(crate) fn is_first(&self) -> bool {
        !self.is_further
    }

    /// Gives letters of records that could not be decoded to whoever writes them.
    pub(super) fn put_undecoded(&mut self, letters: &[DeadLetter], sink: &mut dyn EpochWriter) -> Result<()> {
        match self.is_further {
            true => Ok(()),
            false => self.put(letters, sink),
        }
    }

    pub(super) fn restore(&mut self, positions: &[Position]) -> Result<()> {
        let writer = self.writer.as_mut();
        writer.map_or(Ok(()), |writer| writer.restore(positions))
    }

    /// Gives letters to whoever writes them; `sink` is that of the rows.
    pub(super) fn put(&mut self, letters: &[DeadLetter], sink: &mut dyn EpochWriter) -> Result<()> {
        match &mut self.writer {
            _ if letters.is_empty() => Ok(()),
            Some(writer) => writer.write(letters),
            None => sink.write_letters(letters),
        }
    }

    pub(super) fn prepare(&mut self, positions: &[Position]) -> Result<()> {
        let writer = self.writer.as_mut();
        writer.map_or(Ok(()), |writer| writer.prepare(positions))
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.commit())
    }

    /// Runs a query over batches, leaving out the rows that cannot be computed; the others keep
    /// their order.
    ///
    /// # Errors
    /// Fails where a row cannot be computed and that is to end the run, or too many cannot.
    pub(super) fn compute(
        &mut self,
        (query, pins): (&Prepared, &ChainPins),
        batches: &[RecordBatch],
        origins: &[Origin],
    ) -> Result<Computed> {
        let mut computed = Computed::default();
        self.rate
            .add(batches.iter().map(|batch| batch.num_rows() as u64).sum(), 0);
        match query.run_pinned(batches, pins) {
            Err(error) if self.policy.on_bad != OnBadRow::Error && is_of_a_row(&error) => {
                for (batch, origin) in batches.iter().zip(origins) {
                    self.halve((query, pins), batch, (origin, 0), &mut computed)?;
                }
            }
            done => computed.results = done?,
        }
        Ok(computed)
    }

    /// Computes rows that begin at `from` in their batch: all of them, or each half by itself.
    fn halve(
        &mut self,
        (query, pins): (&Prepared, &ChainPins),
        rows: &RecordBatch,
        (origin, from): (&Origin, usize),
        computed: &mut Computed,
    ) -> Result<()> {
        let error = match query.run_pinned(std::slice::from_ref(rows), pins) {
            Ok(results) => {
                computed.results.extend(results);
                return Ok(());
            }
            Err(error) if is_of_a_row(&error) => error,
            Err(error) => return Err(error),
        };
        let half = rows.num_rows() / 2;
        if half == 0 {
            return self.leave_out(rows, (origin, from), error, computed);
        }
        let (first, second) = (rows.slice(0, half), rows.slice(half, rows.num_rows() - half));
        self.halve((query, pins), &first, (origin, from), computed)?;
        self.halve((query, pins), &second, (origin, from + half), computed)
    }

    fn too_many(counted: &str, error: &Error, origin: &Origin) -> Error {
        let message = format!(
            "{counted} could not be computed, more than bad_row.rate_max allows; one of them: {error}"
        );
        Error::Record {
            place: RecordPlace {
                origin: origin.partition.to_string(),
                ..RecordPlace::default()
            },
            message,
            hint: Some("mend the query, so that it holds for every row, or raise bad_row.rate_max".into()),
        }
    }

    /// Leaves out one row.
    fn leave_out(
        &mut self,
        row: &RecordBatch,
        (origin, at): (&Origin, usize),
        error: Error,
        computed: &mut Computed,
    ) -> Result<()> {
        self.rate.add(0, 1);
        if let Some(counted) = self.rate.too_many() {
            return Err(Self::too_many(&counted, &error, origin));
        }
        let place = origin.places.get(at).map(i64::to_string).unwrap_or_default();
        self.report
            .add_bad_row(|| format!("{} at {place}: {error}", origin.partition));
        if let OnBadRow::Letter(_) = self.policy.on_bad {
            computed.letters.push(DeadLetter {
                partition: Arc::clone(&origin.partition),
                place,
                code: error.code().to_string(),
                column: None,
                reason: error.to_string(),
                key: None,
                value: Some(json_of(row)?),
            });
        }
        Ok(())
    }
}

/// Says whether an error is one of a row's values, and not of the tables or the machine.
fn is_of_a_row(error: &Error) -> bool {
    matches!(error, Error::Compute { .. })
}

/// Writes a row as a JSON object.
fn json_of(row: &RecordBatch) -> Result<Vec<u8>> {
    let mut json = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(&mut json);
    writer.write(row)?;
    writer.finish()?;
    drop(writer);
    json.truncate(json.trim_ascii_end().len());
    Ok(json)
}
