//! Prepared queries run by epochs: many batches, every table at one version throughout.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::{ChainPins, Kind, Prepared, check_policies, pieces};
use crate::error::{Error, Result};
use crate::fit::fit;

/// Batches of fewer rows are gathered up to this many: a step costs some microseconds a batch.
const SMALL_ROWS: usize = 1024;

impl Prepared {
    /// Says whether every row can be computed by itself, so that the query can go on for ever.
    pub(crate) fn is_row_by_row(&self) -> bool {
        matches!(self.kind, Kind::Chain(_))
    }

    /// Fails where a miss is to leave something behind, which no epoch would commit.
    ///
    /// # Errors
    /// Names the table whose `on_miss` it is.
    pub(crate) fn check_epoch_misses(&self) -> Result<()> {
        check_policies(&self.lookups, "and this stream does not")
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

    /// Runs the query over batches of an epoch. Rows come out in the order of the input; long
    /// batches are cut, and the pieces computed in parallel.
    ///
    /// # Errors
    /// Fails where a row cannot be computed.
    pub(crate) fn run_pinned(&self, batches: &[RecordBatch], pins: &ChainPins) -> Result<Vec<RecordBatch>> {
        let Kind::Chain(chain) = &self.kind else {
            return Err(Error::internal("a query that is no chain is run by epochs"));
        };
        let gathered = gather_small(batches)?;
        let pieces: Vec<RecordBatch> = gathered.iter().flat_map(pieces).collect();
        let run = |piece: &RecordBatch| self.all(chain.run_pinned(fit(piece, &self.input)?, pins)?);
        if pieces.len() < 2 || self.session.thread_count() == 1 {
            return Ok(pieces.iter().map(run).collect::<Result<Vec<_>>>()?.concat());
        }
        let pool = self.session.pool()?;
        let results = pool.install(|| pieces.par_iter().map(run).collect::<Result<Vec<_>>>())?;
        Ok(results.concat())
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
