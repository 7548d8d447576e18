//! `fletching.Session`: tables, prepared queries, and the rest of SQL.

use arrow::array::RecordBatch;
use fletching::{RelationKind, Session};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error::{raised, warning};
use crate::input::{batches_of, type_name};
use crate::interrupt::interruptible;
use crate::pipeline::PyPipeline;
use crate::prepared::PyPrepared;
use crate::rows::PyRows;
use crate::schema::schema_of;
use crate::stream::{PyResults, PyStream};

/// A session: its tables, settings and threads. It may be used from many threads at once.
///
/// threads: the cores used at most; all of them, or FLETCHING_THREADS, if not given.
#[pyclass(frozen, module = "fletching", name = "Session")]
pub(crate) struct PySession(Session);

#[pymethods]
impl PySession {
    #[new]
    #[pyo3(signature = (threads=None))]
    fn new(threads: Option<usize>) -> PyResult<Self> {
        let mut builder = Session::builder()
            .connectors(fletching_connectors::all())
            .storages(fletching_connectors::storages());
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        builder.build().map(Self).map_err(|error| raised(&error))
    }

    /// Makes a table of Arrow data, indexed by its key: one column or several.
    ///
    /// The data are shared, not copied, but for texts, which are held as views of theirs.
    #[pyo3(signature = (name, data, key=None))]
    fn table(
        &self,
        py: Python<'_>,
        name: &str,
        data: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let key = key.map_or_else(|| Ok(Vec::new()), key_columns)?;
        let mut data = batches_of(data)?;
        if data.batches.is_empty() {
            data.batches.push(RecordBatch::new_empty(data.schema));
        }
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        py.detach(|| self.0.create_table(name, data.batches, &key))
            .map_err(|error| raised(&error))
    }

    /// Prepares a query over the stream `input`, to be called with batches of it.
    ///
    /// input: its schema; taken from the first batch if not given. A query over a stream that SQL
    /// has declared needs none.
    #[pyo3(signature = (sql, input=None))]
    fn prepare(&self, py: Python<'_>, sql: &str, input: Option<&Bound<'_, PyAny>>) -> PyResult<PyPrepared> {
        let input = input.map(schema_of).transpose()?;
        PyPrepared::new(py, &self.0, sql, input)
    }

    /// Runs every statement of a script and returns the rows of the last one: none, with no
    /// columns, where it gives none. Ctrl-C cancels whatever the session runs.
    fn sql(&self, py: Python<'_>, text: &str) -> PyResult<PyRows> {
        let session = self.0.clone();
        let text = text.to_string();
        interruptible(py, &self.0, move |stop| {
            let rows = session.sql(&text)?;
            let schema = rows.schema();
            let mut batches = Vec::new();
            for batch in rows {
                stop.check()?;
                batches.push(batch?);
            }
            Ok(PyRows::new(schema, batches))
        })
    }

    /// Creates a stream that goes on: pipelines and tables made from it take in what is pushed.
    fn stream(&self, name: &str, schema: &Bound<'_, PyAny>) -> PyResult<PyStream> {
        let schema = schema_of(schema)?;
        let opened = self.0.open_stream(name, schema);
        opened.map(PyStream).map_err(|error| raised(&error))
    }

    /// Returns what the results of a sink with `connector = 'memory'` are taken by.
    fn results(&self, sink: &str) -> PyResult<PyResults> {
        self.0
            .results(sink)
            .map(PyResults)
            .map_err(|error| raised(&error))
    }

    /// Returns the pipelines started so far, those that have ended too.
    fn pipelines(&self) -> Vec<PyPipeline> {
        self.0.pipelines().into_iter().map(PyPipeline).collect()
    }

    /// Returns the names of the tables.
    fn tables(&self) -> Vec<String> {
        let names = self.0.names().into_iter();
        let tables = names.filter(|(_, kind)| *kind == RelationKind::Table);
        tables.map(|(name, _)| name).collect()
    }

    /// Takes the warnings since the last call.
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let taken = self.0.take_warnings();
        taken.iter().map(|one| warning(py, one)).collect()
    }

    fn __repr__(&self) -> String {
        let names: Vec<_> = self.0.names().into_iter().map(|(name, _)| name).collect();
        format!("fletching.Session({})", names.join(", "))
    }
}

/// Reads a key: a column's name, or several.
fn key_columns(key: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if key.is_instance_of::<PyString>() {
        return Ok(vec![key.extract()?]);
    }
    key.extract().map_err(|_| {
        PyTypeError::new_err(format!(
            "expected the key's column name, or a list of them, found {}",
            type_name(key)
        ))
    })
}
