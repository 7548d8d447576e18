//! `fletching.Stream` and `fletching.Results`: what a program pushes into pipelines, and takes out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use fletching::connector::{PushStream, Results};
use pyo3::prelude::*;

use crate::error::raised;
use crate::input::batches_of;
use crate::rows::PyRows;
use crate::schema::PyColumns;
use crate::waiting::wait_until;

/// A stream that the program pushes batches to, and that goes on until it is finished.
#[pyclass(frozen, module = "fletching", name = "Stream")]
pub(crate) struct PyStream(pub(crate) PushStream);

#[pymethods]
impl PyStream {
    /// Appends a batch, or all batches of a table. Columns are taken by name and cast where their types
    /// differ. It waits for nobody: what is not read yet is kept.
    fn push(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = batches_of(data)?;
        py.detach(|| data.batches.iter().try_for_each(|batch| self.0.push(batch)))
            .map_err(|error| raised(&error))
    }

    /// Says that nothing more comes: what follows the stream ends when it has read what is there.
    fn finish(&self) {
        self.0.finish();
    }

    /// Waits until everything that follows the stream has taken in what was pushed so far, for at most
    /// so many seconds, or for ever; returns whether it has.
    #[pyo3(signature = (timeout=None))]
    fn wait_until_read(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait_until(py, timeout, |piece| self.0.wait_until_read(piece))
    }

    /// Forgets the batches that everything that follows the stream has read; returns how many are kept.
    fn forget_read(&self) -> usize {
        self.0.forget_read()
    }
}

/// The results of a sink with `connector = 'memory'`.
#[pyclass(frozen, module = "fletching", name = "Results")]
pub(crate) struct PyResults(pub(crate) Results);

#[pymethods]
impl PyResults {
    /// Takes all that was committed and not taken yet. Where there is nothing it waits for something,
    /// for at most so many seconds, or for ever, and not beyond the end of the pipeline.
    #[pyo3(signature = (timeout=0.0))]
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<PyRows> {
        let mut taken: Vec<RecordBatch> = Vec::new();
        wait_until(py, timeout, |piece| {
            taken = self.0.take(piece);
            !taken.is_empty() || self.0.has_ended() && self.0.rows() == 0
        })?;
        let schema = taken.first().map(RecordBatch::schema).or_else(|| self.0.schema());
        Ok(PyRows::new(
            schema.unwrap_or_else(|| Arc::new(Schema::empty())),
            taken,
        ))
    }

    /// How many rows wait to be taken.
    #[getter]
    fn rows(&self) -> usize {
        self.0.rows()
    }

    /// The columns; None before anything is written.
    #[getter]
    fn schema(&self) -> Option<PyColumns> {
        self.0.schema().map(PyColumns)
    }

    /// Whether something was written and nothing writes any more: what waits is the rest.
    #[getter]
    fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}
