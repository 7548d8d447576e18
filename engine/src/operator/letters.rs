//! Dead letters: what is written of a row without a match, and who takes it.
//!
//! ```text
//!   a statement         lookup ─▶ the sink's writer, published when the run has ended well
//!   a prepared query    lookup ─▶ the call's letters ─▶ the query's outbox, once the call is done
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parking_lot::Mutex;

use super::miss::Missed;
use crate::clock::now_us;
use crate::error::Result;

/// Returns the columns of a sink of dead letters: when, which table, which key, why there is no
/// match, and the row as JSON.
pub(crate) fn letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(
            "missed_at",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("table_key", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("stream_row", DataType::Utf8, false),
    ]))
}

/// Writes letters about the rows that a table has no match for.
pub(super) fn letters_about(table: &str, missed: Missed) -> Result<RecordBatch> {
    let count = missed.keys.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![now_us(); count])),
        Arc::new(StringArray::from(vec![table; count])),
        Arc::new(StringArray::from(missed.keys)),
        Arc::new(StringArray::from(missed.reasons)),
        Arc::new(StringArray::from(missed.rows)),
    ];
    Ok(RecordBatch::try_new(letter_schema(), columns)?)
}

/// Takes the dead letters of a run or call; several threads may hand them over at once.
pub(crate) trait Letters: fmt::Debug + Send + Sync {
    /// Takes letters for the sink of this name.
    ///
    /// # Errors
    /// Fails where they cannot be written; the run or call then fails.
    fn take(&self, sink: &str, letters: RecordBatch) -> Result<()>;
}

/// Who takes the dead letters of a run: what a run's configuration carries to its lookups. Without
/// it they are counted and let go.
#[derive(Debug)]
pub(crate) struct RunLetters(pub(crate) Arc<dyn Letters>);

/// The dead letters of one call, kept until it is known to have gone well.
#[derive(Debug, Default)]
pub(crate) struct CallLetters(Mutex<Vec<(String, RecordBatch)>>);

impl CallLetters {
    /// Returns the letters with the names of their sinks, in the order they were written in.
    pub(crate) fn drain(&self) -> Vec<(String, RecordBatch)> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Letters for CallLetters {
    fn take(&self, sink: &str, letters: RecordBatch) -> Result<()> {
        self.0.lock().push((sink.to_string(), letters));
        Ok(())
    }
}
