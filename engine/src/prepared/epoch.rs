//! Prepared queries run by epochs: many batches, every table at one version throughout.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::{ChainPins, Kind, Prepared, pieces};
use crate::connector::Sink;
use crate::error::{Error, Result};
use crate::fit::fit;
use crate::operator::{CallLetters, Letters};

/// Batches of fewer rows are gathered up to this many: a step costs some microseconds a batch.
const SMALL_ROWS: usize = 1024;

/// What came of batches: rows, and letters about rows without a match with the names of their sinks,
/// both in the order of the input.
#[derive(Default)]
pub(crate) struct EpochRows {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) letters: Vec<(String, RecordBatch)>,
}

impl EpochRows {
    /// Adds what came of the batches that follow.
    pub(crate) fn extend(&mut self, next: Self) {
        self.rows.extend(next.rows);
        self.letters.extend(next.letters);
    }
}

/// A sink of letters about rows without a match.
pub(crate) struct LetterSink {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn Sink>,
    /// The share of rows past which the run ends, from 0 to 1.
    pub(crate) rate_max: f64,
}

impl Prepared {
    /// Says whether every row can be computed by itself, so that the query can go on for ever.
    pub(crate) fn is_row_by_row(&self) -> bool {
        matches!(self.kind, Kind::Chain(_))
    }

    /// Fails where a row is to wait: no checkpoint would keep it.
    ///
    /// # Errors
    /// Names the table whose `on_miss` it is.
    pub(crate) fn check_epoch_misses(&self) -> Result<()> {
        let mut arms = self.lookups.iter().flat_map(|join| join.arms());
        match arms.find(|arm| arm.lets_wait()) {
            None => Ok(()),
            Some(arm) => Err(Error::Option {
                subject: format!("table {}", arm.source),
                message: "on_miss = 'wait' needs a run that ends, and this stream does not".into(),
                hint: Some(
                    "say /*+ ON_MISS(alias, 'dead_letter') */ or 'null' in the query, and look after those rows \
                     once the table has their keys"
                        .into(),
                ),
                location: None,
            }),
        }
    }

    /// Returns the sinks that its lookups name for letters about rows without a match, each once.
    pub(crate) fn letter_sinks(&self) -> Vec<LetterSink> {
        let Some(outbox) = &self.outbox else {
            return Vec::new();
        };
        let arms: Vec<_> = self.lookups.iter().flat_map(|join| join.arms()).collect();
        let share = |name: &str| {
            let own = arms.iter().filter(|arm| arm.letter_sink() == Some(name));
            let shares = own.filter_map(|arm| arm.source.table());
            shares
                .map(|table| table.options().miss.rate_max)
                .fold(1.0, f64::min)
        };
        let sinks = outbox.sinks().into_iter();
        sinks
            .map(|(name, sink)| LetterSink {
                rate_max: share(&name),
                name,
                sink,
            })
            .collect()
    }

    /// Pins the tables for an epoch.
    ///
    /// # Errors
    /// Fails where a table cannot be read.
    pub(crate) fn pin(&self) -> Result<ChainPins> {
        match &self.kind {
            Kind::Chain(chain) => chain.pin(),
            Kind::Plan(..) => Err(Error::internal("a query that is no chain is run by epochs")),
        }
    }

    /// Lets go of the tables of an epoch.
    pub(crate) fn unpin(&self, pins: ChainPins) {
        if let Kind::Chain(chain) = &self.kind {
            chain.release(pins);
        }
    }

    /// Does work that may itself be parallel on the session's threads.
    ///
    /// # Errors
    /// Fails where the work does.
    pub(crate) fn on_threads<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.session.pool()?.install(work)
    }

    /// Runs the query over batches of an epoch. Rows and letters come out in the order of the input;
    /// long batches are cut, and the pieces computed in parallel.
    ///
    /// # Errors
    /// Fails where a row cannot be computed; there are then no letters either.
    pub(crate) fn run_pinned(&self, batches: &[RecordBatch], pins: &ChainPins) -> Result<EpochRows> {
        let Kind::Chain(chain) = &self.kind else {
            return Err(Error::internal("a query that is no chain is run by epochs"));
        };
        let gathered = gather_small(batches)?;
        let pieces: Vec<RecordBatch> = gathered.iter().flat_map(pieces).collect();
        let run = |piece: &RecordBatch| {
            let letters = self.outbox.as_ref().map(|_| CallLetters::default());
            let taker = letters.as_ref().map(|letters| letters as &dyn Letters);
            let piece = fit(piece, &self.input)?;
            let rows = self.all(chain.run_pinned(&piece, pins, taker)?)?;
            let letters = letters.map_or_else(Vec::new, |letters| letters.drain());
            Ok(EpochRows { rows, letters })
        };
        let parts: Vec<EpochRows> = if pieces.len() < 2 || self.session.thread_count() == 1 {
            pieces.iter().map(run).collect::<Result<_>>()?
        } else {
            let pool = self.session.pool()?;
            pool.install(|| pieces.par_iter().map(run).collect::<Result<_>>())?
        };
        let mut all = EpochRows::default();
        parts.into_iter().for_each(|part| all.extend(part));
        Ok(all)
    }
}

/// Puts neighbouring small batches together.
fn gather_small(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let mut gathered = Vec::new();
    let mut small: Vec<&RecordBatch> = Vec::new();
    let mut rows = 0;
    let mut flush = |small: &mut Vec<&RecordBatch>| -> Result<()> {
        match small.as_slice() {
            [] => {}
            [one] => gathered.push((*one).clone()),
            [first, ..] => gathered.push(concat_batches(first.schema_ref(), small.iter().copied())?),
        }
        small.clear();
        Ok(())
    };
    for batch in batches {
        let fits = small
            .first()
            .is_none_or(|first| first.schema_ref() == batch.schema_ref());
        if batch.num_rows() >= SMALL_ROWS || !fits || rows >= SMALL_ROWS {
            flush(&mut small)?;
            rows = 0;
        }
        rows += batch.num_rows();
        small.push(batch);
    }
    flush(&mut small)?;
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn small_batches_are_gathered_in_order() {
        let mut next = 0;
        let mut batch = |rows: i64| {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + rows));
            next += rows;
            RecordBatch::try_from_iter([("k", values)]).unwrap()
        };
        let batches: Vec<_> = [1, 2, 3000, 0, 5, 600, 600, 600].map(&mut batch).to_vec();
        let gathered = gather_small(&batches).unwrap();
        assert!(gathered.len() < batches.len());
        let schema = batches[0].schema();
        assert_eq!(
            concat_batches(&schema, &gathered).unwrap(),
            concat_batches(&schema, &batches).unwrap()
        );
    }
}
