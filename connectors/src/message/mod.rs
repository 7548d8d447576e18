//! Formats of single messages: bytes that come one record at a time, as from Kafka.
//!
//! ```text
//!  Payloads (bytes of many messages, end to end) ──decoder──▶ one column a field, one row a message
//!  RecordBatch ──encoder──▶ Payloads                          └─▶ BadMessage: which, and why
//! ```
//!
//! A decoder works on many messages at once, straight into columns. A message that does not decode
//! is named in `bad`, and its row is NULL in every column.

mod avro;
mod avro_references;
mod avro_write;
mod csv;
mod debezium;
mod fit;
mod json;
mod key;
mod payloads;
mod protobuf;
mod raw;
mod reader;
mod references;
mod registry;
mod registry_tls;
mod schema_text;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use fletching::connector::Options;
use fletching::{Error, Result};

pub(crate) use key::KeyFormat;
pub(crate) use payloads::Payloads;
pub use reader::{MessageReader, RefusedMessage};

use crate::file::changes::{Operation, is_debezium};
use crate::spelling::type_name;

/// A message that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadMessage {
    /// Its place among those given.
    pub(crate) message: usize,
    /// The column at fault, where one is.
    pub(crate) column: Option<String>,
    /// What was expected and what was found.
    pub(crate) reason: String,
}

impl BadMessage {
    pub(crate) fn new(message: usize, reason: impl Into<String>) -> Self {
        Self {
            message,
            column: None,
            reason: reason.into(),
        }
    }
}

/// How messages are written.
pub(crate) trait MessageFormat: Debug + Send + Sync {
    /// Returns the columns, where the format's own schema tells them.
    ///
    /// # Errors
    /// Fails where there is a schema and it cannot be had.
    fn columns(&self) -> Result<Option<Fields>> {
        Ok(None)
    }

    /// Makes a decoder for some of `fields`, by position in them.
    ///
    /// # Errors
    /// Fails where a field cannot be read from the format.
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>>;

    /// Makes an encoder of batches of these columns.
    ///
    /// # Errors
    /// Fails where a column cannot be written.
    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>>;

    /// Says whether messages are changes, of which each says what it does.
    fn tells_operations(&self) -> bool {
        false
    }
}

/// Decodes messages into columns.
pub(crate) trait MessageDecoder: Send {
    /// Decodes all messages, and adds those that cannot be decoded to `bad`.
    ///
    /// # Errors
    /// Fails where the whole cannot be decoded, as where a schema cannot be had.
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>>;

    /// Takes what each of the messages decoded last does, where the format says so.
    fn operations(&mut self) -> Option<Vec<Operation>> {
        None
    }
}

/// Encodes rows as messages.
pub(crate) trait MessageEncoder: Send {
    /// Adds one message a row.
    ///
    /// # Errors
    /// Fails where a value cannot be written.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()>;
}

/// The words of the option `format`.
pub(crate) const FORMATS: &[&str] = &["json", "csv", "raw", "avro", "protobuf", "debezium-json"];

/// Reads the format of values and its options. `topic` names the subject in a registry.
///
/// # Errors
/// Fails where an option is missing or wrong, or a schema cannot be had.
pub(crate) fn value_format(options: &Options, topic: &str) -> Result<Arc<dyn MessageFormat>> {
    options.required("format", "json")?;
    if is_debezium(options) {
        return Ok(Arc::new(debezium::EnvelopeMessages));
    }
    Ok(match options.choice("format", FORMATS)? {
        Some(1) => Arc::new(csv::CsvMessages::from_options(options)?),
        Some(2) => Arc::new(raw::RawMessages),
        Some(3) => Arc::new(avro::AvroMessages::from_options(options, topic)?),
        Some(4) => Arc::new(protobuf::ProtobufMessages::from_options(options, topic)?),
        _ => Arc::new(json::JsonMessages),
    })
}

/// Picks the fields that are wanted.
fn picked(fields: &Fields, wanted: &[usize]) -> Vec<Arc<Field>> {
    wanted.iter().filter_map(|at| fields.get(*at).cloned()).collect()
}

/// Makes columns with a row for each message out of columns that leave out the bad ones: `good`
/// are the messages that the rows are of, in order.
fn spread(columns: Vec<ArrayRef>, good: &[usize], messages: usize) -> Result<Vec<ArrayRef>> {
    if good.len() == messages {
        return Ok(columns);
    }
    let mut rows: Vec<Option<u32>> = vec![None; messages];
    for (row, message) in good.iter().enumerate() {
        rows[*message] = u32::try_from(row).ok();
    }
    let rows = UInt32Array::from(rows);
    columns
        .iter()
        .map(|column| {
            take(column.as_ref(), &rows, None)
                .map_err(|error| Error::internal(format!("cannot place decoded rows: {error}")))
        })
        .collect()
}

/// Makes a column of NULLs for each field.
fn nulls(fields: &[Arc<Field>], rows: usize) -> Vec<ArrayRef> {
    fields
        .iter()
        .map(|field| arrow::array::new_null_array(field.data_type(), rows))
        .collect()
}

/// Makes the error for a column that a format cannot hold.
fn unfit(format: &str, name: &str, data_type: &DataType, hint: &str) -> Error {
    Error::Option {
        subject: format!("format {format}"),
        message: format!(
            "column '{name}' is {}, which it cannot hold",
            type_name(data_type)
        ),
        hint: Some(hint.to_owned()),
        location: None,
    }
}

/// Makes the error for a batch that cannot be encoded.
fn unwritable(format: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Compute {
        message: format!("a row cannot be written as {format}: {error}"),
        hint: None,
    }
}
