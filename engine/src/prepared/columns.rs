//! Some columns of a batch, by their places, under a schema made once.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use fletching_kernels::{Picks, RowId};

use crate::error::{Error, Result};

/// Places of columns, and the schema of what they make.
pub(super) struct Columns {
    places: Vec<usize>,
    schema: SchemaRef,
}

impl Columns {
    pub(super) fn new(places: Vec<usize>, schema: SchemaRef) -> Self {
        Self { places, schema }
    }

    /// Returns the columns of a batch.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.with_each(batch, batch.num_rows(), |column| Ok(Arc::clone(column)))
    }

    /// Gathers rows of the columns.
    pub(super) fn gather(&self, batch: &RecordBatch, rows: &[RowId]) -> Result<RecordBatch> {
        let picks = Picks::new(rows).asking_ahead();
        self.with_each(batch, rows.len(), |column| Ok(picks.gather(column)?))
    }

    fn with_each(
        &self,
        batch: &RecordBatch,
        rows: usize,
        column: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.places.len());
        for &place in &self.places {
            let from = batch.columns().get(place);
            let from = from.ok_or_else(|| Error::internal("a batch lacks a column of its plan"))?;
            columns.push(column(from)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}
