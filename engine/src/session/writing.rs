//! A query's rows into a sink's writer: beside the query, or in turns with it.
//!
//! ```text
//!  beside       query ─▶ rows that wait ─▶ writer          where the session may use all cores
//!  in turns     a batch of the query, the writer's work on it, the next batch …
//! ```

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use rayon::ThreadPool;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::rows::task_error;
use super::run::named;
use crate::connector::SinkWriter;
use crate::error::Result;

/// Rows that may wait for a writer beside the query, unless that is but a few batches: twice what a
/// writer of columns encodes at a time, so that the query goes on meanwhile.
const ROWS_WAITING_MAX: usize = 1 << 18;

/// How many batches wait at least, however large, and at most, however small.
const BATCHES_WAITING: (usize, usize) = (4, 32);

/// Writes rows by their columns' names in `schema`; `threads` is how many cores may be used. A writer
/// that encodes in parallel does so on `pool`.
pub(super) async fn write_rows(
    rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    writer: Box<dyn SinkWriter>,
    pool: &Arc<ThreadPool>,
    (threads, batch_rows): (usize, usize),
) -> Result<Box<dyn SinkWriter>> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    if threads < cores {
        return write_in_turns(rows, schema, writer, pool).await;
    }
    let (least, most) = BATCHES_WAITING;
    let waiting_max = (ROWS_WAITING_MAX / batch_rows.max(1)).clamp(least, most);
    write_beside(rows, schema, writer, Arc::clone(pool), waiting_max).await
}

async fn write_in_turns(
    mut rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    mut writer: Box<dyn SinkWriter>,
    pool: &ThreadPool,
) -> Result<Box<dyn SinkWriter>> {
    while let Some(batch) = rows.next().await {
        let batch = named(batch?, schema)?;
        pool.install(|| writer.write(&batch))?;
    }
    Ok(writer)
}

async fn write_beside(
    rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    mut writer: Box<dyn SinkWriter>,
    pool: Arc<ThreadPool>,
    waiting_max: usize,
) -> Result<Box<dyn SinkWriter>> {
    let (sender, mut receiver) = mpsc::channel(waiting_max);
    let writing = spawn_blocking(move || -> Result<_> {
        while let Some(batch) = receiver.blocking_recv() {
            pool.install(|| writer.write(&batch))?;
        }
        Ok(writer)
    });
    let sent = send_rows(rows, schema, sender).await;
    // What the writer began is gone before the query's error is told.
    let written = writing.await.map_err(|error| task_error(&error))?;
    sent?;
    written
}

/// Sends a query's batches to who writes them, until there are no more or nobody takes them.
async fn send_rows(
    mut rows: SendableRecordBatchStream,
    schema: &SchemaRef,
    writer: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    while let Some(batch) = rows.next().await {
        if writer.send(named(batch?, schema)?).await.is_err() {
            break;
        }
    }
    Ok(())
}
