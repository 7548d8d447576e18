//! Results: Arrow batches that Python's libraries take without a copy.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, FieldRef, SchemaRef};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};

use crate::error::raised;
use crate::input::Batches;
use crate::preview::preview;
use crate::schema::PyColumns;

/// The rows of a query, in Arrow batches.
///
/// Whatever takes Arrow data takes this: `pyarrow.table(rows)`, `polars.DataFrame(rows)`,
/// `duckdb.sql("… FROM rows")`, another `enrich`.
#[pyclass(frozen, module = "fletching", name = "Rows")]
pub(crate) struct PyRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl PyRows {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    pub(crate) fn one(batch: RecordBatch) -> Self {
        Self::new(batch.schema(), vec![batch])
    }

    /// Returns the batches, which share their buffers with these rows.
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            schema: Arc::clone(&self.schema),
            batches: self.batches.clone(),
        }
    }

    /// Returns the type of a row, as the interface has it.
    fn row_field(&self) -> FieldRef {
        let row = Field::new_struct("", self.schema.fields().clone(), false);
        Arc::new(row.with_metadata(self.schema.metadata().clone()))
    }
}

/// Makes a batch a column of rows; unlike `StructArray::from`, also one without columns.
fn rows_array(batch: &RecordBatch) -> StructArray {
    if batch.num_columns() == 0 {
        return StructArray::new_empty_fields(batch.num_rows(), None);
    }
    StructArray::from(batch.clone())
}

#[pymethods]
impl PyRows {
    /// The number of rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The number of columns.
    #[getter]
    fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// The columns: names and types.
    #[getter]
    fn schema(&self) -> PyColumns {
        PyColumns(Arc::clone(&self.schema))
    }

    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<&str> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    }

    fn __len__(&self) -> usize {
        self.num_rows()
    }

    fn __repr__(&self) -> PyResult<String> {
        preview(&self.schema, &self.batches).map_err(|error| raised(&error))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    /// Gives the rows as one batch. Where there are several they are copied into one.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let whole = match self.batches.as_slice() {
            [batch] => batch.clone(),
            batches if self.num_columns() == 0 => {
                let rows = batches.iter().map(RecordBatch::num_rows).sum();
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), Vec::new(), &options)
                    .map_err(|error| raised(&error.into()))?
            }
            batches => py
                .detach(|| concat_batches(&self.schema, batches))
                .map_err(|error| raised(&error.into()))?,
        };
        Ok(to_array_pycapsules(
            py,
            self.row_field(),
            &rows_array(&whole),
            requested_schema,
        )?)
    }

    /// Gives the rows batch by batch, none copied.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batches = self.batches.clone().into_iter();
        let arrays = batches.map(|batch| Ok(Arc::new(rows_array(&batch)) as ArrayRef));
        let reader = Box::new(ArrayIterator::new(arrays, self.row_field()));
        Ok(to_stream_pycapsule(py, reader, requested_schema)?)
    }

    /// Returns the rows as a `pyarrow.Table`, without a copy.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static RECORD_BATCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static FROM_BATCHES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        if slf.get().batches.len() != 1 || slf.get().num_columns() == 0 {
            return pyarrow_function(py, "table")?.call1((slf,));
        }
        // One batch: shorter than by a stream, which for a thousand rows is most of the time.
        let record_batch =
            RECORD_BATCH.get_or_try_init(py, || pyarrow_function(py, "record_batch").map(Bound::unbind))?;
        let from_batches = FROM_BATCHES.get_or_try_init(py, || {
            pyarrow_function(py, "Table")?
                .getattr("from_batches")
                .map(Bound::unbind)
        })?;
        from_batches
            .bind(py)
            .call1(((record_batch.bind(py).call1((slf,))?,),))
    }

    /// Returns the rows as a `polars.DataFrame`, without a copy.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // Polars would take one array before a stream, and several batches would be copied into it.
        let stream = RowStream(slf.clone().unbind());
        module(slf.py(), "polars")?
            .getattr(intern!(slf.py(), "DataFrame"))?
            .call1((stream,))
    }

    /// Returns the rows as a `pandas.DataFrame`, by way of pyarrow.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        module(slf.py(), "pandas")?;
        Self::to_pyarrow(slf)?.call_method0(intern!(slf.py(), "to_pandas"))
    }
}

/// Rows as a stream and nothing else.
#[pyclass(frozen, module = "fletching", name = "_RowStream")]
struct RowStream(Py<PyRows>);

#[pymethods]
impl RowStream {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        self.0.get().__arrow_c_stream__(py, requested_schema)
    }
}

/// Finds something in pyarrow, which need not be there.
pub(crate) fn pyarrow_function<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    module(py, "pyarrow")?.getattr(name)
}

fn module<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyModule>> {
    py.import(name).map_err(|missing| {
        let error = PyImportError::new_err(format!(
            "this needs the package {name}, which cannot be imported ({missing}): pip install {name}"
        ));
        error.set_cause(py, Some(missing));
        error
    })
}
