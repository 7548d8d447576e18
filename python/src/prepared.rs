//! `fletching.Prepared`: planned once, a batch in, a batch out.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fletching::{Error, Prepared, Result, Session, SqlErrorKind};
use pyo3::prelude::*;

use crate::capsule::SchemaMemory;
use crate::error::{bad_data, raised};
use crate::input::{Batches, Input};
use crate::interrupt::interruptible;
use crate::rows::PyRows;
use crate::schema::PyColumns;

/// What a query calls the stream it enriches.
const INPUT: &str = "input";

/// Rows up to which one batch gives one batch; longer ones are worked on in parallel pieces.
const ROWS_AT_ONCE_MAX: usize = 1 << 16;

/// Rows from which a call looks out for Ctrl-C: fewer are done before anyone could press it.
const ROWS_UNINTERRUPTED_MAX: usize = 1 << 20;

/// A query, planned when its input's schema is known.
struct Query {
    session: Session,
    sql: String,
    planned: OnceLock<Prepared>,
    /// Held while planning, so that it is done once.
    planning: Mutex<()>,
}

impl Query {
    /// Plans for an input of this schema, unless that is done.
    fn plan(&self, input: SchemaRef) -> Result<&Prepared> {
        let _turn = self.planning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(planned) = self.planned.get() {
            return Ok(planned);
        }
        let planned = self.session.prepare_over(INPUT, input, &self.sql)?;
        Ok(self.planned.get_or_init(|| planned))
    }

    /// Plans now if the query reads a stream that SQL has declared; otherwise `input` is still to come.
    fn plan_over_declared(&self) -> Result<()> {
        match self.session.prepare(&self.sql) {
            Ok(planned) => {
                self.planned.get_or_init(|| planned);
                Ok(())
            }
            Err(Error::Sql(error))
                if error.kind == SqlErrorKind::UnknownName
                    && error
                        .text
                        .as_deref()
                        .is_some_and(|text| text.trim_matches('"') == INPUT) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn over_batches(&self, batches: &[RecordBatch]) -> Result<PyRows> {
        let planned = self
            .planned
            .get()
            .ok_or_else(|| Error::internal("a query that was not planned"))?;
        let enriched = planned.enrich_batches(batches)?;
        Ok(PyRows::new(Arc::clone(planned.schema()), enriched))
    }
}

/// A query over `input`, planned once, to be called with batches from any number of threads.
///
/// The tables' rows are those at the time of each call. Rows without a match that are to wait, and
/// dead letters, stay between calls: see `release`, `finish` and `flush`.
#[pyclass(frozen, module = "fletching", name = "Prepared")]
pub(crate) struct PyPrepared {
    query: Arc<Query>,
    memory: SchemaMemory,
}

impl PyPrepared {
    pub(crate) fn new(
        py: Python<'_>,
        session: &Session,
        sql: &str,
        input: Option<SchemaRef>,
    ) -> PyResult<Self> {
        let query = Arc::new(Query {
            session: session.clone(),
            sql: sql.to_string(),
            planned: OnceLock::new(),
            planning: Mutex::new(()),
        });
        let planning = Arc::clone(&query);
        interruptible(py, session, move |_| match input {
            Some(input) => planning.plan(input).map(|_| ()),
            None => planning.plan_over_declared(),
        })?;
        let memory = SchemaMemory::default();
        if let Some(planned) = query.planned.get() {
            memory.expect(planned.input_schema());
        }
        Ok(Self { query, memory })
    }

    /// Returns the plan, made now if this is the first batch.
    fn planned(&self, py: Python<'_>, input: &SchemaRef) -> PyResult<&Prepared> {
        if let Some(planned) = self.query.planned.get() {
            return Ok(planned);
        }
        let planning = Arc::clone(&self.query);
        let input = Arc::clone(input);
        interruptible(py, &self.query.session, move |_| planning.plan(input).map(|_| ()))?;
        let planned = self.query.planned.get();
        let planned = planned.ok_or_else(|| raised(&Error::internal("a query that was not planned")))?;
        self.memory.expect(planned.input_schema());
        Ok(planned)
    }

    /// Runs something of the plan's that gives rows; none where there is no plan yet.
    fn rows_left(
        &self,
        py: Python<'_>,
        give: impl Fn(&Prepared) -> Result<RecordBatch> + Send + Sync,
    ) -> PyResult<Option<PyRows>> {
        let Some(planned) = self.query.planned.get() else {
            return Ok(None);
        };
        let rows = py.detach(|| give(planned)).map_err(|error| raised(&error))?;
        Ok(Some(PyRows::one(rows)))
    }

    fn many(&self, py: Python<'_>, input: Batches) -> PyResult<PyRows> {
        self.planned(py, &input.schema)?;
        let rows: usize = input.batches.iter().map(RecordBatch::num_rows).sum();
        if rows <= ROWS_UNINTERRUPTED_MAX {
            return py
                .detach(|| self.query.over_batches(&input.batches))
                .map_err(|error| raised(&error));
        }
        let query = Arc::clone(&self.query);
        interruptible(py, &self.query.session, move |_| {
            query.over_batches(&input.batches)
        })
    }
}

#[pymethods]
impl PyPrepared {
    /// Runs the query over a batch, or over a table or stream as one input.
    ///
    /// Columns are taken by name and cast where their types differ from the planned ones. A batch
    /// of up to 65,536 rows gives one batch, whatever else gives several.
    fn enrich(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<PyRows> {
        match Input::of(data, &self.memory)? {
            Input::One(batch) if batch.num_rows() <= ROWS_AT_ONCE_MAX => {
                let planned = self.planned(py, batch.schema_ref())?;
                let enriched = py.detach(|| planned.enrich(&batch));
                enriched.map(PyRows::one).map_err(|error| raised(&error))
            }
            Input::One(batch) => {
                let schema = batch.schema();
                let batches = vec![batch];
                self.many(py, Batches { schema, batches })
            }
            Input::Many(batches) => self.many(py, batches),
        }
    }

    /// Returns the rows that wait for their keys no longer: those whose key has come, and those whose
    /// time is over. None before the first batch.
    fn release(&self, py: Python<'_>) -> PyResult<Option<PyRows>> {
        self.rows_left(py, Prepared::release)
    }

    /// Returns all rows that still wait: as `miss.then` says where their key has not come. None before
    /// the first batch.
    fn finish(&self, py: Python<'_>) -> PyResult<Option<PyRows>> {
        self.rows_left(py, Prepared::finish)
    }

    /// Publishes the dead letters so far; returns where they are, and how many rows are there.
    fn flush(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        let Some(planned) = self.query.planned.get() else {
            return Ok(Vec::new());
        };
        let written = py.detach(|| planned.flush()).map_err(|error| raised(&error))?;
        Ok(written
            .into_iter()
            .map(|sink| (sink.location, sink.rows))
            .collect())
    }

    /// How many rows wait for their keys.
    #[getter]
    fn rows_waiting(&self) -> usize {
        self.query.planned.get().map_or(0, Prepared::rows_waiting)
    }

    /// The query's text.
    #[getter]
    fn sql(&self) -> &str {
        &self.query.sql
    }

    /// The columns a batch must have; None until they are known.
    #[getter]
    fn input_schema(&self) -> Option<PyColumns> {
        self.query
            .planned
            .get()
            .map(|planned| PyColumns(Arc::clone(planned.input_schema())))
    }

    /// The columns of the result; None until they are known.
    #[getter]
    fn schema(&self) -> Option<PyColumns> {
        self.query
            .planned
            .get()
            .map(|planned| PyColumns(Arc::clone(planned.schema())))
    }

    fn __repr__(&self) -> String {
        format!("fletching.Prepared({:?})", self.query.sql)
    }

    /// Returns the seconds that so many calls take within Rust: what `enrich` is measured against.
    fn _time_in_rust(&self, py: Python<'_>, data: &Bound<'_, PyAny>, calls: usize) -> PyResult<f64> {
        let Input::One(batch) = Input::of(data, &self.memory)? else {
            return Err(bad_data("expected one batch"));
        };
        let planned = self.planned(py, batch.schema_ref())?;
        let took = py.detach(|| {
            let begun = Instant::now();
            for _ in 0..calls {
                drop(planned.enrich(&batch)?);
            }
            Ok(begun.elapsed().as_secs_f64())
        });
        took.map_err(|error| raised(&error))
    }
}
