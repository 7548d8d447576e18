//! Streams that the program itself fills, and results that it takes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::registry::SinkEntry;
use super::{Entry, Session, StreamEntry};
use crate::connector::{MemoryStream, PushStream, Results};
use crate::error::{Error, Result};

impl Session {
    /// Creates a stream of batches that the program pushes or hands to a prepared query.
    ///
    /// # Errors
    /// Fails where the name is taken.
    pub fn create_stream(&self, name: &str, schema: SchemaRef) -> Result<()> {
        self.register(name, Entry::memory_stream(schema), false)
    }

    /// Creates a stream that goes on: a table made from it is kept current as batches are pushed,
    /// and any other query reads what was pushed so far. For an example see [`PushStream`].
    ///
    /// What is pushed stays in memory until [`PushStream::forget_read`].
    ///
    /// # Errors
    /// Fails where the name is taken.
    pub fn open_stream(&self, name: &str, schema: SchemaRef) -> Result<PushStream> {
        let memory = Arc::new(MemoryStream::open(schema));
        self.register(name, Entry::open_stream(&memory), false)?;
        Ok(PushStream::new(memory))
    }

    /// Returns the results of a sink with `connector = 'memory'`, to be taken by the program. For an
    /// example see [`Results`].
    ///
    /// # Errors
    /// Fails where there is no such sink.
    pub fn results(&self, sink: &str) -> Result<Results> {
        match self.inner.registry.read().get(sink) {
            Some(Entry::Sink(SinkEntry {
                results: Some(results),
                ..
            })) => Ok(results.clone()),
            _ => Err(Error::Batch {
                message: format!(
                    "there is no sink '{sink}' whose results can be taken; create it WITH (connector = 'memory')"
                ),
            }),
        }
    }

    /// Appends a batch to a stream that the program fills. Its columns are taken by name, in any
    /// order, and cast where their types differ.
    ///
    /// # Errors
    /// Fails where there is no such stream, or the batch has other columns.
    pub fn push(&self, stream: &str, batch: RecordBatch) -> Result<()> {
        let memory = match self.inner.registry.read().get(stream) {
            Some(Entry::Stream(StreamEntry {
                memory: Some(memory), ..
            })) => Arc::clone(memory),
            _ => {
                return Err(Error::Batch {
                    message: format!("there is no stream '{stream}' that takes batches"),
                });
            }
        };
        memory.push(&batch)
    }
}
