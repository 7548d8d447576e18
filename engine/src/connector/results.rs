//! `connector = 'memory'` of a sink: results that the program itself takes.
//!
//! ```text
//!  pipeline ─write()─▶ epoch in the making ─prepare()─▶ ─commit()─▶ queue ─take()─▶ the program
//!  query    ─write()─────────────────────────────────────commit()──▶ queue
//! ```
//!
//! Nothing of an epoch is seen before it is committed. The queue is bounded: results that nobody takes
//! end in an error, rather than in all of the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parking_lot::{Condvar, Mutex};

use super::{EpochWriter, OptionSpec, Position, RelationSpec, Sink, SinkSummary, SinkWriter};
use crate::error::{Error, Result};

/// Rows that wait to be taken at most, where the option does not say otherwise.
const ROWS_MAX: usize = 16 << 20;

/// The options of such a sink.
const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "connector",
        help: "memory",
    },
    OptionSpec {
        name: "rows.max",
        help: "rows that may wait to be taken; one more is an error",
    },
];

/// What was written into a sink and not taken yet.
#[derive(Debug)]
struct Queue {
    name: String,
    rows_max: usize,
    held: Mutex<Held>,
    /// Told when results have come, or the last writer is gone.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    batches: VecDeque<RecordBatch>,
    rows: usize,
    schema: Option<SchemaRef>,
    /// Outputs that are being written.
    writers: usize,
    has_begun: bool,
}

/// A sink whose results stay in memory until they are taken.
#[derive(Debug, Clone)]
pub(crate) struct MemorySink(Arc<Queue>);

impl MemorySink {
    /// Makes an empty one.
    ///
    /// # Errors
    /// Fails where an option is unknown or wrong.
    pub(crate) fn try_new(spec: &RelationSpec) -> Result<Self> {
        spec.options.check(OPTIONS)?;
        let rows_max = spec.options.parsed("rows.max", "a whole number")?;
        Ok(Self(Arc::new(Queue {
            name: spec.name.clone(),
            rows_max: rows_max.unwrap_or(ROWS_MAX),
            held: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    /// Returns what the results are taken by.
    pub(crate) fn results(&self) -> Results {
        Results(Arc::clone(&self.0))
    }

    fn writer(&self, schema: &SchemaRef) -> MemoryOutput {
        let mut held = self.0.held.lock();
        held.schema = Some(Arc::clone(schema));
        held.writers += 1;
        held.has_begun = true;
        MemoryOutput {
            queue: Arc::clone(&self.0),
            making: Vec::new(),
            making_rows: 0,
            prepared: None,
        }
    }
}

impl Sink for MemorySink {
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(self.writer(schema)))
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn epochs(&self, schema: &SchemaRef, _consumer: &str) -> Result<Box<dyn EpochWriter>> {
        Ok(Box::new(self.writer(schema)))
    }
}

/// The results of a sink in memory, to be taken; from [`Session::results`](crate::Session::results).
/// Cheap to clone, shared by threads: each result is given to one taker.
///
/// They are in memory and nowhere else: what is not taken when the program ends is lost, though its
/// epoch was committed.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use fletching::Session;
///
/// let batch = |ids: &[i64]| -> fletching::Result<RecordBatch> {
///     let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
///     Ok(RecordBatch::try_from_iter([("id", ids)])?)
/// };
/// let session = Session::new()?;
/// let trades = session.open_stream("trades", batch(&[])?.schema())?;
/// session.sql(
///     "CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id));
///      INSERT INTO users VALUES (1, 'gold');
///      CREATE SINK enriched WITH (connector = 'memory')
///        AS SELECT t.id, u.tier FROM trades t LEFT JOIN users u ON t.id = u.id",
/// )?;
/// let results = session.results("enriched")?;
///
/// trades.push(&batch(&[1, 2])?)?;
/// let mut rows = 0;
/// while rows < 2 {
///     rows += results.take(Duration::from_secs(10)).iter().map(RecordBatch::num_rows).sum::<usize>();
/// }
/// trades.finish();
/// session.pipelines()[0].wait()?;
/// assert!(results.has_ended() && results.take(Duration::ZERO).is_empty());
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Results(Arc<Queue>);

impl Results {
    /// Takes all that was committed and not taken yet, in its order. Where there is nothing it waits
    /// for something, but not longer than the time given, nor beyond the end of whoever writes. Cost:
    /// none a row.
    pub fn take(&self, longest: Duration) -> Vec<RecordBatch> {
        let until = Instant::now().checked_add(longest);
        let mut held = self.0.held.lock();
        while held.batches.is_empty() && !held.has_ended() {
            let timed_out = match until {
                Some(until) => self.0.changed.wait_until(&mut held, until).timed_out(),
                None => {
                    self.0.changed.wait(&mut held);
                    false
                }
            };
            if timed_out {
                break;
            }
        }
        held.rows = 0;
        std::mem::take(&mut held.batches).into()
    }

    /// Returns how many rows wait to be taken.
    pub fn rows(&self) -> usize {
        self.0.held.lock().rows
    }

    /// Returns the columns; none before anything is written.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.0.held.lock().schema.clone()
    }

    /// Says whether something was written, and nobody writes any more: what waits is the rest.
    pub fn has_ended(&self) -> bool {
        self.0.held.lock().has_ended()
    }
}

impl Held {
    fn has_ended(&self) -> bool {
        self.has_begun && self.writers == 0
    }
}

/// One output, whole or in epochs.
struct MemoryOutput {
    queue: Arc<Queue>,
    making: Vec<RecordBatch>,
    making_rows: usize,
    /// The epoch that is to be shown next.
    prepared: Option<(u64, Vec<RecordBatch>)>,
}

impl MemoryOutput {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = self.making_rows + batch.num_rows();
        let waiting = self.queue.held.lock().rows;
        if waiting + rows > self.queue.rows_max {
            return Err(Error::Resource {
                message: format!(
                    "sink {}: {} rows were not taken, and rows.max = '{}' allows no more; take them with \
                     Session::results, or raise rows.max",
                    self.queue.name,
                    waiting + rows,
                    self.queue.rows_max
                ),
            });
        }
        if batch.num_rows() > 0 {
            self.making.push(batch.clone());
            self.making_rows = rows;
        }
        Ok(())
    }

    fn show(&self, batches: Vec<RecordBatch>) -> SinkSummary {
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let mut held = self.queue.held.lock();
        held.rows += rows;
        held.batches.extend(batches);
        drop(held);
        self.queue.changed.notify_all();
        SinkSummary {
            rows: rows as u64,
            bytes: None,
            location: format!("memory of sink {}", self.queue.name),
        }
    }
}

impl Drop for MemoryOutput {
    fn drop(&mut self) {
        self.queue.held.lock().writers -= 1;
        self.queue.changed.notify_all();
    }
}

impl SinkWriter for MemoryOutput {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.add(batch)
    }

    fn commit(mut self: Box<Self>) -> Result<SinkSummary> {
        let batches = std::mem::take(&mut self.making);
        Ok(self.show(batches))
    }
}

impl EpochWriter for MemoryOutput {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.add(batch)
    }

    fn prepare(&mut self, epoch: u64, _positions: &[Position]) -> Result<()> {
        self.making_rows = 0;
        self.prepared = Some((epoch, std::mem::take(&mut self.making)));
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<SinkSummary> {
        // What was shown before is not there any more, and not shown twice.
        match self.prepared.take_if(|(prepared, _)| *prepared == epoch) {
            Some((_, batches)) => Ok(self.show(batches)),
            None => Ok(self.show(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::MemorySink;
    use crate::connector::{Options, RelationKind, RelationSpec, Sink};

    fn numbers(values: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn sink(options: &[(&str, &str)]) -> crate::Result<MemorySink> {
        let mut all = Options::new("sink s");
        for (name, value) in options {
            all = all.with(name, *value);
        }
        MemorySink::try_new(&RelationSpec {
            name: "s".into(),
            kind: RelationKind::Sink,
            schema: None,
            primary_key: Vec::new(),
            options: all,
        })
    }

    #[test]
    fn epochs_are_seen_once_they_are_committed_and_once_only() {
        let sink = sink(&[]).unwrap();
        let results = sink.results();
        assert!(!results.has_ended() && results.schema().is_none());
        let mut writer = sink.epochs(&numbers(0..0).schema(), "p").unwrap();
        writer.write(&numbers(0..2)).unwrap();
        writer.write(&numbers(2..3)).unwrap();
        writer.prepare(1, &[]).unwrap();
        assert!(results.take(Duration::ZERO).is_empty());
        assert_eq!(writer.commit(1).unwrap().rows, 3);
        // Asked again, as after a restart, it shows nothing twice.
        assert_eq!(writer.commit(1).unwrap().rows, 0);
        assert_eq!(results.rows(), 3);
        assert_eq!(results.take(Duration::ZERO), [numbers(0..2), numbers(2..3)]);
        assert_eq!((results.rows(), results.has_ended()), (0, false));

        // What was never committed is never seen, and waiting ends with the writer.
        writer.write(&numbers(9..10)).unwrap();
        drop(writer);
        assert!(results.has_ended());
        assert!(results.take(Duration::from_secs(3600)).is_empty());
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let sink = sink(&[("rows.max", "3")]).unwrap();
        let mut writer = sink.epochs(&numbers(0..0).schema(), "p").unwrap();
        writer.write(&numbers(0..2)).unwrap();
        writer.prepare(1, &[]).unwrap();
        writer.commit(1).unwrap();
        let error = writer.write(&numbers(0..2)).unwrap_err();
        assert_eq!(error.code(), "RESOURCE");
        assert!(error.to_string().contains("rows.max = '3'"), "{error}");
        assert_eq!(sink.results().take(Duration::ZERO).len(), 1);
        writer.write(&numbers(0..3)).unwrap();
    }

    #[test]
    fn refuses_other_options() {
        let error = sink(&[("path", "x.csv")]).unwrap_err().to_string();
        assert!(error.contains("no option 'path'"), "{error}");
        assert!(sink(&[("rows.max", "many")]).is_err());
    }
}
