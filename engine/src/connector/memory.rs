//! `connector = 'memory'`: a stream that the program itself fills.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::RwLock;

use super::{Reader, ScanRequest, Source, SourceSize};
use crate::error::Result;
use crate::fit::fit;

/// Batches kept in memory; every scan reads those that were there when it began.
#[derive(Debug)]
pub(crate) struct MemoryStream {
    schema: SchemaRef,
    batches: RwLock<Vec<RecordBatch>>,
}

impl MemoryStream {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            batches: RwLock::default(),
        }
    }

    /// Appends a batch that has the stream's columns by name.
    pub(crate) fn push(&self, batch: &RecordBatch) -> Result<()> {
        let batch = fit(batch, &self.schema)?;
        self.batches.write().push(batch);
        Ok(())
    }
}

impl Source for MemoryStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn size(&self) -> SourceSize {
        let rows = self
            .batches
            .read()
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>();
        SourceSize {
            rows: Some(rows as u64),
            bytes: None,
        }
    }

    fn scan(&self, request: &ScanRequest) -> Result<Vec<Box<dyn Reader>>> {
        let shared = Arc::new(MemoryScan {
            batches: self.batches.read().clone(),
            next: AtomicUsize::new(0),
            rows_max: request.batch_rows_max.max(1),
        });
        let readers = request.partitions_max.min(shared.batches.len()).max(1);
        let reader = |_| -> Box<dyn Reader> {
            Box::new(MemoryReader {
                scan: Arc::clone(&shared),
                projection: request.projection.clone(),
                rest: None,
            })
        };
        Ok((0..readers).map(reader).collect())
    }
}

/// What the readers of one scan share: each takes the next batch not yet taken.
struct MemoryScan {
    batches: Vec<RecordBatch>,
    next: AtomicUsize,
    rows_max: usize,
}

struct MemoryReader {
    scan: Arc<MemoryScan>,
    projection: Option<Vec<usize>>,
    rest: Option<RecordBatch>,
}

impl Reader for MemoryReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.scan.batches.get(self.scan.next.fetch_add(1, Relaxed)) {
                None => return Ok(None),
                Some(batch) => match &self.projection {
                    Some(columns) => batch.project(columns)?,
                    None => batch.clone(),
                },
            },
        };
        if batch.num_rows() > self.scan.rows_max {
            self.rest = Some(batch.slice(self.scan.rows_max, batch.num_rows() - self.scan.rows_max));
            return Ok(Some(batch.slice(0, self.scan.rows_max)));
        }
        Ok(Some(batch))
    }
}
