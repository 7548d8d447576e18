//! Loading: tables are read in parallel, each by several readers, and published whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::{Table, TableOrigin, TableState, as_views};
use crate::connector::{ScanRequest, Source, SourceReport};
use crate::error::{Error, Result};

/// What loading needs of its session.
pub(crate) struct LoadContext<'a> {
    /// The threads to load with.
    pub(crate) pool: &'a rayon::ThreadPool,
    /// Rows a batch, at most.
    pub(crate) batch_rows_max: usize,
    /// Set when the run is cancelled.
    pub(crate) cancelled: &'a AtomicBool,
}

/// A load, under way or ended.
#[derive(Debug, Clone)]
pub(crate) struct LoadRun {
    /// What it has read.
    pub(crate) report: Arc<SourceReport>,
    began: Instant,
    took: Option<Duration>,
}

impl LoadRun {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self {
            report: Arc::default(),
            began: Instant::now(),
            took: None,
        }
    }

    /// Returns the time it took, or has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.took.unwrap_or_else(|| self.began.elapsed())
    }
}

/// Loads every table that is not ready, all at once. Returns the tables that were loaded now.
///
/// # Errors
/// Fails with the first table's error; the others are loaded all the same.
pub(crate) fn load_all(tables: &[Arc<Table>], context: &LoadContext<'_>) -> Result<Vec<Arc<Table>>> {
    let waiting: Vec<_> = tables
        .iter()
        .filter(|table| table.state() != TableState::Ready)
        .collect();
    let loaded: Vec<Result<Option<Arc<Table>>>> = context.pool.install(|| {
        waiting
            .into_par_iter()
            .map(|table| Ok(table.load(context)?.then(|| Arc::clone(table))))
            .collect()
    });
    let mut fresh = Vec::new();
    for table in loaded {
        fresh.extend(table?);
    }
    Ok(fresh)
}

impl Table {
    /// Reads the source and publishes its rows; returns false if another thread did meanwhile.
    fn load(&self, context: &LoadContext<'_>) -> Result<bool> {
        let TableOrigin::Source(source) = self.origin() else {
            return Ok(false);
        };
        let _turn = self.loading.lock();
        if self.state() == TableState::Ready {
            return Ok(false);
        }
        *self.state.lock() = TableState::Loading;
        let run = LoadRun::begin();
        let report = Arc::clone(&run.report);
        *self.load_run.lock() = run.clone();
        let loaded = self
            .read(source.as_ref(), &report, context)
            .and_then(|chunks| self.publish_loaded(chunks));
        self.load_run.lock().took = Some(run.elapsed());
        *self.state.lock() = match &loaded {
            Ok(()) => TableState::Ready,
            Err(Error::Cancelled) => TableState::Waiting,
            Err(error) => TableState::Failed(error.to_string()),
        };
        loaded.map(|()| true)
    }

    fn read(
        &self,
        source: &dyn Source,
        report: &Arc<SourceReport>,
        context: &LoadContext<'_>,
    ) -> Result<Vec<RecordBatch>> {
        let request = ScanRequest {
            partitions_max: context.pool.current_num_threads(),
            batch_rows_max: context.batch_rows_max,
            report: Arc::clone(report),
            ..ScanRequest::all()
        };
        let readers = source.scan(&request)?;
        let parts: Vec<Result<Vec<RecordBatch>>> = readers
            .into_par_iter()
            .map(|mut reader| {
                let mut chunks = Vec::new();
                while let Some(batch) = reader.next_batch()? {
                    if context.cancelled.load(Relaxed) {
                        return Err(Error::Cancelled);
                    }
                    report.add_rows(batch.num_rows() as u64);
                    if batch.num_rows() > 0 {
                        chunks.push(as_views(&batch, &self.schema)?);
                    }
                }
                Ok(chunks)
            })
            .collect();
        let mut chunks = Vec::new();
        for part in parts {
            chunks.extend(part?);
        }
        Ok(chunks)
    }

    /// Returns the last load.
    pub(crate) fn load_run(&self) -> LoadRun {
        self.load_run.lock().clone()
    }
}
