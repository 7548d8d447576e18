//! An Arrow IPC stream. Views and dictionaries are written as plain columns: every reader knows
//! those, and of a view column IPC would write whole shared buffers with each batch.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_ipc::writer::StreamWriter;

use super::{Destination, ResultWriter, WriteError};

/// Writes an Arrow IPC stream.
pub(crate) struct IpcWriter<'a> {
    writer: StreamWriter<&'a mut Destination>,
    schema: SchemaRef,
}

impl<'a> IpcWriter<'a> {
    /// Writes the schema.
    pub(crate) fn new(schema: &Schema, out: &'a mut Destination) -> Result<Self, WriteError> {
        let plain = |field: &Arc<Field>| match plain_type(field.data_type()) {
            Some(plain) => Arc::new(field.as_ref().clone().with_data_type(plain)),
            None => Arc::clone(field),
        };
        let schema = Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()));
        let writer = StreamWriter::try_new(out, &schema)?;
        Ok(Self { writer, schema })
    }
}

fn plain_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        DataType::Dictionary(_, values) => {
            Some(plain_type(values).unwrap_or_else(|| values.as_ref().clone()))
        }
        _ => None,
    }
}

impl ResultWriter for IpcWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let fields = self.schema.fields().iter();
        let columns = batch
            .columns()
            .iter()
            .zip(fields)
            .map(|(column, field)| cast(column, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.writer.write(&batch)?;
        Ok(self.writer.flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), WriteError> {
        Ok(self.writer.finish()?)
    }
}
