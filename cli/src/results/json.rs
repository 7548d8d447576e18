//! One JSON object a line. NULLs are written, so that every line has every column.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow_json::{LineDelimitedWriter, WriterBuilder};

use super::{Destination, ResultWriter, WriteError};

/// Writes JSON lines.
pub(crate) struct JsonWriter<'a> {
    writer: LineDelimitedWriter<&'a mut Destination>,
}

impl<'a> JsonWriter<'a> {
    /// Writes nothing yet.
    pub(crate) fn new(out: &'a mut Destination) -> Self {
        Self {
            writer: WriterBuilder::new().with_explicit_nulls(true).build(out),
        }
    }
}

impl ResultWriter for JsonWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.writer.write(batch)?;
        Ok(self.writer.get_mut().flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), WriteError> {
        Ok(self.writer.finish()?)
    }
}
