//! The formats of messages for programs that have messages of their own.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use fletching::Result;
use fletching::connector::Options;

use super::{BadMessage, MessageDecoder, Payloads, value_format};
use crate::file::batch_of;

/// Decodes messages into batches as the Kafka connector decodes the values of a topic, for programs
/// that get their messages in another way.
///
/// The options are those of a Kafka stream that say how values are written: `format` and, by format,
/// `schema`, `schema.registry`, `delimiter` and so on. Many messages are decoded at once, straight
/// into columns; the bench `decode` says at what rate.
///
/// ```
/// use std::sync::Arc;
/// use arrow::datatypes::{DataType, Field, Schema};
/// use fletching::connector::Options;
/// use fletching_connectors::MessageReader;
///
/// let schema = Arc::new(Schema::new(vec![
///     Field::new("id", DataType::Int64, true),
///     Field::new("price", DataType::Decimal128(9, 2), true),
/// ]));
/// let options = Options::new("messages").with("format", "json");
/// let mut reader = MessageReader::new(&options, &schema)?;
/// let messages = [br#"{"id": 1, "price": 0.1}"#.as_slice(), b"{", br#"{"id": 2}"#];
/// let (batch, refused) = reader.decode(messages)?;
/// // A message that does not decode is a row of NULLs, and is named.
/// assert_eq!(batch.num_rows(), 3);
/// assert_eq!(refused.len(), 1);
/// assert_eq!(refused[0].message, 1);
/// # Ok::<(), fletching::Error>(())
/// ```
pub struct MessageReader {
    decoder: Box<dyn MessageDecoder>,
    payloads: Payloads,
    schema: SchemaRef,
}

/// A message that does not decode.
///
/// ```
/// # use fletching_connectors::RefusedMessage;
/// let refused = RefusedMessage { message: 7, column: Some("price".into()), reason: "…".into() };
/// assert_eq!(refused.message, 7);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMessage {
    /// Its place among those given, from zero.
    pub message: usize,
    /// The column at fault, where one is.
    pub column: Option<String>,
    /// What was expected and what was found.
    pub reason: String,
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl MessageReader {
    /// Makes a reader of messages with these columns.
    ///
    /// # Errors
    /// Fails where an option is missing or wrong, a column cannot be read from the format, or a
    /// schema cannot be had.
    pub fn new(options: &Options, schema: &SchemaRef) -> Result<Self> {
        let format = value_format(options, options.text("topic").unwrap_or_default())?;
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let nullable: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        Ok(Self {
            decoder: format.decoder(schema.fields(), &all)?,
            payloads: Payloads::default(),
            schema: Arc::new(Schema::new(nullable)),
        })
    }

    /// Decodes messages: a row for each, in order, and those that do not decode, in no order.
    ///
    /// # Errors
    /// Fails where the whole cannot be decoded, as where a registry does not answer.
    pub fn decode<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(RecordBatch, Vec<RefusedMessage>)> {
        self.payloads.clear();
        messages
            .into_iter()
            .for_each(|message| self.payloads.push(message));
        let mut bad = Vec::new();
        let columns = self.decoder.decode(&self.payloads, &mut bad)?;
        let batch = batch_of(&self.schema, columns, self.payloads.len())?;
        Ok((batch, bad.into_iter().map(RefusedMessage::from).collect()))
    }
}

impl From<BadMessage> for RefusedMessage {
    fn from(bad: BadMessage) -> Self {
        Self {
            message: bad.message,
            column: bad.column,
            reason: bad.reason,
        }
    }
}
