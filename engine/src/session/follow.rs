//! Queries that follow a stream: `SELECT … EMIT CHANGES`.
//!
//! ```text
//!  feed ──▶ pipeline ──commit()──▶ channel ──next()──▶ Rows
//!            (epochs)    waits while nobody takes
//! ```
//!
//! Such a query is a pipeline that keeps nothing: no checkpoint, no offset of a group. It begins where the
//! stream says, and ends with its LIMIT, when it is cancelled, or when its rows are dropped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fletching_planner::SqlError;
use parking_lot::Mutex;

use super::pipelines::GoingOn;
use super::rows::Rows;
use super::{Session, StatementCatalog};
use crate::connector::{EpochWriter, Feed, Lag, Membership, Polled, Position, Sink, SinkSummary, SinkWriter};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;

/// Batches that may wait between the pipeline and its reader.
const BATCHES_WAITING_MAX: usize = 4;
/// How often a reader that waits looks whether it is cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a pipeline remembers of how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// All that its session and its source are told to.
    All,
    /// Nothing: it is a query.
    Nothing,
}

/// Makes the name of a query, another one each time: what it writes beside its rows is by that name.
pub(super) fn name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("query-{}", now.as_micros())
}

impl Session {
    /// Begins a query that goes on, and hands over its rows as they come.
    pub(super) fn follow(&self, query: GoingOn, catalog: &StatementCatalog) -> Result<Rows> {
        if let Some(stream) = query.shared_stream() {
            return Err(Error::Sql(
                SqlError::unsupported(format!(
                    "EMIT CHANGES over '{stream}': its instances share its partitions, and a query would take \
                     some of them"
                ))
                .hint("query a stream of the same topic that has neither group.share nor group.id"),
            ));
        }
        let schema = query.schema();
        let (sender, receiver) = sync_channel(BATCHES_WAITING_MAX);
        let pipeline = self.assemble(query, &Takers(Mutex::new(Some(sender))), Keeping::Nothing)?;
        let following = Following {
            batches: receiver,
            pipeline,
            cancelled: Arc::clone(&catalog.cancelled),
        };
        Ok(Rows::following(schema, following))
    }
}

/// A query that follows a stream, as its reader sees it.
pub(super) struct Following {
    batches: Receiver<RecordBatch>,
    pipeline: Pipeline,
    cancelled: Arc<AtomicBool>,
}

impl Following {
    /// Waits for a batch; none comes after the end.
    pub(super) fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if self.cancelled.load(Relaxed) {
                self.pipeline.stop();
            }
            match self.batches.recv_timeout(LOOK_EVERY) {
                Ok(batch) => return Some(Ok(batch)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.pipeline.wait().err().map(Err),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.pipeline.stop();
    }
}

/// The sink of a query: whoever takes its rows.
struct Takers(Mutex<Option<SyncSender<RecordBatch>>>);

impl fmt::Debug for Takers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takers")
    }
}

impl Sink for Takers {
    fn create(&self, _: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        Err(Error::internal("a query that goes on has no whole output"))
    }

    fn epochs(&self, _: &SchemaRef, _: &str) -> Result<Box<dyn EpochWriter>> {
        let sender = self.0.lock().take();
        let sender = sender.ok_or_else(|| Error::internal("a query is written once"))?;
        Ok(Box::new(Handover {
            sender,
            making: Vec::new(),
        }))
    }
}

/// Hands over the rows of epochs.
struct Handover {
    sender: SyncSender<RecordBatch>,
    /// Those of the epoch in the making.
    making: Vec<RecordBatch>,
}

impl EpochWriter for Handover {
    fn is_parallel(&self) -> bool {
        false
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            self.making.push(batch.clone());
        }
        Ok(())
    }

    fn prepare(&mut self, _: u64, _: &[Position]) -> Result<()> {
        Ok(())
    }

    /// Waits until the rows are taken: that is all the backpressure there is.
    fn commit(&mut self, _: u64) -> Result<SinkSummary> {
        let mut summary = SinkSummary::default();
        for batch in self.making.drain(..) {
            summary.rows += batch.num_rows() as u64;
            self.sender.send(batch).map_err(|_| Error::Cancelled)?;
        }
        Ok(summary)
    }
}

/// A feed whose source does not remember how far it was read.
pub(super) struct OnlyReads(pub(super) Box<dyn Feed>);

impl Feed for OnlyReads {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        self.0.poll(wait)
    }

    fn has_caught_up(&self) -> bool {
        self.0.has_caught_up()
    }

    fn lag(&self) -> Vec<Lag> {
        self.0.lag()
    }

    fn membership(&self) -> Option<Membership> {
        self.0.membership()
    }
}
