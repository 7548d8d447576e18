//! Columns: names and types, to and from Python.

use arrow::datatypes::SchemaRef;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::PySchema;
use pyo3_arrow::ffi::to_schema_pycapsule;

use crate::input::{batches_of, type_name};
use crate::rows::pyarrow_function;

/// The columns of a result or of an input: their names and Arrow types.
#[pyclass(frozen, module = "fletching", name = "Schema")]
pub(crate) struct PyColumns(pub(crate) SchemaRef);

#[pymethods]
impl PyColumns {
    /// The names, in order.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.0
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| other.get().0.fields() == self.0.fields())
    }

    fn __repr__(&self) -> String {
        let column = |field: &arrow::datatypes::FieldRef| format!("{}: {}", field.name(), field.data_type());
        let columns: Vec<_> = self.0.fields().iter().map(column).collect();
        format!("fletching.Schema({})", columns.join(", "))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.0.as_ref())?)
    }

    /// Returns the same as a `pyarrow.Schema`.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        pyarrow_function(slf.py(), "schema")?.call1((slf,))
    }
}

/// Takes a schema from a `pyarrow.Schema`, a Polars schema, or any Arrow data that have one.
///
/// # Errors
/// Raises `TypeError` for anything else.
pub(crate) fn schema_of(object: &Bound<'_, PyAny>) -> PyResult<SchemaRef> {
    let py = object.py();
    let dunder = intern!(py, "__arrow_c_schema__");
    if object.hasattr(dunder)? {
        return Ok(object.extract::<PySchema>()?.into_inner());
    }
    // A reader would lose its rows if its stream were asked.
    if let Some(schema) = object.getattr_opt(intern!(py, "schema"))?
        && schema.hasattr(dunder)?
    {
        return Ok(schema.extract::<PySchema>()?.into_inner());
    }
    if object.hasattr(intern!(py, "__arrow_c_stream__"))? {
        return Ok(batches_of(object)?.schema);
    }
    Err(PyTypeError::new_err(format!(
        "expected the input's schema (a pyarrow.Schema, or anything with __arrow_c_schema__), found {}",
        type_name(object)
    )))
}
