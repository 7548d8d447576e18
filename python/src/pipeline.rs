//! `fletching.Pipeline`: a query over a stream that goes on, at work on threads of its own.

use fletching::{Error, LookupCounts, Pipeline, PipelineState};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::raised;
use crate::waiting::wait_until;

/// A pipeline that `CREATE SINK … AS SELECT …` over a stream that goes on has started.
///
/// It goes on without this handle, and without the program's threads, until it is stopped.
#[pyclass(frozen, module = "fletching", name = "Pipeline")]
pub(crate) struct PyPipeline(pub(crate) Pipeline);

#[pymethods]
impl PyPipeline {
    /// Its name: that of its sink.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// 'running', 'stopping', 'ended' or 'failed'.
    #[getter]
    fn state(&self) -> &'static str {
        word(&self.0.state())
    }

    /// Why it has failed; None where it has not.
    #[getter]
    fn failure(&self) -> Option<String> {
        match self.0.state() {
            PipelineState::Failed(message) => Some(message),
            _ => None,
        }
    }

    /// Returns what it has done so far: a dict of counts, positions and lookups.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.0.stats());
        let all = PyDict::new(py);
        all.set_item("name", &stats.name)?;
        all.set_item("stream", &stats.stream)?;
        all.set_item("state", word(&stats.state))?;
        let counts = [
            ("rows_in", stats.rows_in),
            ("rows_out", stats.rows_out),
            ("epoch", stats.epoch),
            ("restored_epoch", stats.restored_epoch),
            ("bad_rows", stats.bad_rows),
            ("late", stats.late),
        ];
        for (name, count) in counts {
            all.set_item(name, count)?;
        }
        all.set_item("has_caught_up", stats.has_caught_up)?;
        all.set_item("watermark_us", stats.watermark_us)?;
        all.set_item("elapsed_s", stats.elapsed.as_secs_f64())?;
        let positions = PyDict::new(py);
        for position in &stats.positions {
            positions.set_item(&*position.partition, &position.place)?;
        }
        all.set_item("positions", positions)?;
        let lookups = PyList::empty(py);
        for lookup in &stats.lookups {
            lookups.append(counts_of(py, lookup)?)?;
        }
        all.set_item("lookups", lookups)?;
        Ok(all)
    }

    /// Asks it to stop: what it has taken in is computed and committed, then it ends.
    fn stop(&self) {
        self.0.stop();
    }

    /// Waits for it to end, for at most so many seconds, or for ever; returns whether it has. Raises
    /// what it has failed with.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        if !wait_until(py, timeout, |piece| self.0.wait_for(piece))? {
            return Ok(false);
        }
        match (self.0.wait(), self.0.state()) {
            (Err(error), _) => Err(raised(&error)),
            // The error itself was raised before, and is there in words only.
            (Ok(_), PipelineState::Failed(message)) => Err(raised(&Error::External {
                message,
                source: None,
            })),
            (Ok(_), _) => Ok(true),
        }
    }

    fn __repr__(&self) -> String {
        format!("fletching.Pipeline({}, {})", self.0.name(), word(&self.0.state()))
    }
}

fn word(state: &PipelineState) -> &'static str {
    match state {
        PipelineState::Running => "running",
        PipelineState::Stopping => "stopping",
        PipelineState::Ended => "ended",
        _ => "failed",
    }
}

/// Returns what the lookups in one table have come to.
fn counts_of<'py>(py: Python<'py>, lookup: &LookupCounts) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item("table", &lookup.table)?;
    for (name, count) in lookup.named() {
        counts.set_item(name, count)?;
    }
    Ok(counts)
}
