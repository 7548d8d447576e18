//! Results: batches as they come, and what a statement did.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

use super::follow::Following;
use crate::error::{Error, Result};

/// The rows of a query, batch by batch, as they are computed. Dropping it ends the query.
///
/// ```
/// use fletching::Session;
///
/// let rows = Session::new()?.sql("SELECT 1 AS one UNION ALL SELECT 2")?;
/// assert_eq!(rows.schema().field(0).name(), "one");
/// assert_eq!(rows.collect_batches()?.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
/// # Ok::<(), fletching::Error>(())
/// ```
pub struct Rows {
    schema: SchemaRef,
    source: RowSource,
}

enum RowSource {
    Ready(std::vec::IntoIter<RecordBatch>),
    Following(Following),
    Running(
        mpsc::Receiver<Result<RecordBatch>>,
        #[expect(dead_code, reason = "ends the query when dropped")] Running,
    ),
    Ended,
}

/// A query at work; dropped, it is aborted.
pub(crate) struct Running {
    pub(crate) task: tokio::task::AbortHandle,
    /// Does what is due when the query has ended, by being dropped.
    #[expect(dead_code, reason = "held to be dropped with the query")]
    pub(crate) at_end: Box<dyn Send + Sync>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn ready(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            source: RowSource::Ready(batches.into_iter()),
        }
    }

    pub(crate) fn running(
        schema: SchemaRef,
        rows: mpsc::Receiver<Result<RecordBatch>>,
        running: Running,
    ) -> Self {
        Self {
            schema,
            source: RowSource::Running(rows, running),
        }
    }

    pub(super) fn following(schema: SchemaRef, following: Following) -> Self {
        Self {
            schema,
            source: RowSource::Following(following),
        }
    }

    /// Says whether the query goes on until it is cancelled, its LIMIT is reached or this is dropped, as one
    /// with `EMIT CHANGES` does. Cancelled, it gives what it has taken in and then ends well.
    pub fn goes_on(&self) -> bool {
        matches!(self.source, RowSource::Following(_))
    }

    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Collects all batches.
    ///
    /// # Errors
    /// Fails where the query does.
    pub fn collect_batches(self) -> Result<Vec<RecordBatch>> {
        self.collect()
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.source {
            RowSource::Ready(batches) => batches.next().map(Ok),
            RowSource::Following(following) => following.next(),
            RowSource::Running(rows, _) => futures::executor::block_on(rows.recv()),
            RowSource::Ended => None,
        };
        if matches!(next, None | Some(Err(_))) {
            self.source = RowSource::Ended;
        }
        next
    }
}

/// What a statement that gives no rows did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// For a person to read.
    pub message: String,
    /// The rows written, where it wrote.
    pub rows: Option<u64>,
}

/// What a statement gave.
#[derive(Debug)]
pub enum Outcome {
    /// Rows, which are computed as they are taken.
    Rows(Rows),
    /// Something done.
    Done(Summary),
}

impl Outcome {
    pub(crate) fn done(message: impl Into<String>) -> Self {
        Self::Done(Summary {
            message: message.into(),
            rows: None,
        })
    }

    /// Returns the rows, or none with no columns.
    pub fn into_rows(self) -> Rows {
        match self {
            Self::Rows(rows) => rows,
            Self::Done(_) => Rows::ready(Arc::new(arrow::datatypes::Schema::empty()), Vec::new()),
        }
    }
}

/// Turns a task's end into an error.
pub(crate) fn task_error(error: &tokio::task::JoinError) -> Error {
    if error.is_cancelled() {
        Error::Cancelled
    } else {
        Error::internal(format!("a task panicked: {error}"))
    }
}
