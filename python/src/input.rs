//! Data from Python: one batch by `__arrow_c_array__`, any number by `__arrow_c_stream__`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::capsule::{SchemaMemory, import_batch, import_stream};
use crate::error::bad_data;
use crate::rows::PyRows;

/// Batches of one schema.
pub(crate) struct Batches {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// What was handed in.
pub(crate) enum Input {
    /// One batch.
    One(RecordBatch),
    /// A table, or what a stream gave to its end.
    Many(Batches),
}

impl Input {
    /// Takes Arrow data from a Python object, sharing its buffers.
    ///
    /// # Errors
    /// Raises `TypeError` where the object is no Arrow data, and `DataError` where the data are no
    /// rows, of an unknown type, or cannot be read.
    pub(crate) fn of(object: &Bound<'_, PyAny>, memory: &SchemaMemory) -> PyResult<Self> {
        let py = object.py();
        if let Ok(rows) = object.cast::<PyRows>() {
            return Ok(Self::Many(rows.get().batches()));
        }
        if let Some(export) = object.getattr_opt(intern!(py, "__arrow_c_array__"))? {
            let capsules = export.call0()?;
            let capsules = capsules.cast::<PyTuple>()?;
            let schema = capsules.get_item(0)?;
            let array = capsules.get_item(1)?;
            let batch = import_batch(schema.cast::<PyCapsule>()?, array.cast::<PyCapsule>()?, memory)?;
            return Ok(Self::One(batch));
        }
        if let Some(export) = object.getattr_opt(intern!(py, "__arrow_c_stream__"))? {
            let capsule = export.call0()?;
            let reader = import_stream(capsule.cast::<PyCapsule>()?)?;
            return read(py, reader).map(Self::Many);
        }
        Err(PyTypeError::new_err(format!(
            "expected Arrow data (a pyarrow RecordBatch, Table or RecordBatchReader, a Polars or pandas \
             DataFrame, a DuckDB relation: anything with __arrow_c_array__ or __arrow_c_stream__), found {}",
            type_name(object)
        )))
    }
}

/// Takes all batches of a Python object.
///
/// # Errors
/// As [`Input::of`].
pub(crate) fn batches_of(object: &Bound<'_, PyAny>) -> PyResult<Batches> {
    Ok(match Input::of(object, &SchemaMemory::default())? {
        Input::One(batch) => Batches {
            schema: batch.schema(),
            batches: vec![batch],
        },
        Input::Many(batches) => batches,
    })
}

/// Reads a stream to its end with the GIL released: a producer's own threads may want it.
fn read(py: Python<'_>, reader: impl RecordBatchReader + Send) -> PyResult<Batches> {
    let schema = reader.schema();
    let read = py.detach(|| {
        let all = || reader.collect::<Result<Vec<_>, ArrowError>>();
        // Where a producer fails without saying why, the reader panics.
        catch_unwind(AssertUnwindSafe(all))
    });
    match read {
        Ok(Ok(batches)) => Ok(Batches { schema, batches }),
        Ok(Err(error)) => Err(bad_data(format!("the data cannot be read: {error}"))),
        Err(_) => Err(bad_data(
            "the data cannot be read, and their producer does not say why",
        )),
    }
}

/// Names an object's type, with its module.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    let class = object.get_type();
    class
        .fully_qualified_name()
        .map_or_else(|_| "something else".to_string(), |name| name.to_string())
}
