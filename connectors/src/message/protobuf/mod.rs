//! Protobuf: a message of a `.proto` schema, decoded from the wire straight into columns.
//!
//! ```text
//!  schema  .proto text ─▶ descriptors          shape    fields ─▶ a tree of columns
//!  plan    declared columns ─▶ what is read    columns  wire ─▶ slots ─▶ builders (nested, leaves)
//!  encode  columns ─▶ wire
//! ```
//!
//! Fields are known by number, so a field may be renamed, added or dropped: one that a message does
//! not have is NULL where the schema says `optional`, and zero or no text otherwise; one that the
//! schema does not have is passed over. A field whose kind on the wire is another one makes its
//! message a bad one. A message of a registry begins with the schema's number and the message's
//! place in the schema, which are passed over.

mod columns;
mod encode;
mod leaves;
mod nested;
#[cfg(test)]
mod oracle;
mod plan;
mod schema;
mod shape;
mod wire;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Fields, SchemaRef};
use fletching::Result;
use fletching::connector::Options;
use prost_reflect::MessageDescriptor;

use super::registry::{NO_HEAD, split};
use super::schema_text::SchemaOrigin;
use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads};
use columns::MessageColumns;
use encode::ProtobufEncoder;
use wire::{WireReader, unzigzag};

/// Messages of a Protobuf schema.
#[derive(Debug)]
pub(super) struct ProtobufMessages {
    origin: Arc<SchemaOrigin>,
    message: Option<String>,
}

impl ProtobufMessages {
    pub(super) fn from_options(options: &Options, topic: &str) -> Result<Self> {
        Ok(Self {
            origin: Arc::new(SchemaOrigin::from_options(options, topic)?),
            message: schema::message_name(options),
        })
    }

    fn message(&self) -> Result<MessageDescriptor> {
        schema::message(&self.origin.reader("protobuf")?, self.message.as_deref())
    }
}

impl MessageFormat for ProtobufMessages {
    fn columns(&self) -> Result<Option<Fields>> {
        let fields = shape::fields(&self.message()?);
        Ok(Some(fields.iter().map(shape::ProtoField::column).collect()))
    }

    fn decoder(&self, declared: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let message = self.message()?;
        let all = shape::fields(&message);
        let declared = super::picked(declared, wanted);
        let wanted = plan::wanted(&message, &all, &declared)?;
        Ok(Box::new(ProtobufDecoder {
            has_head: self.origin.registry.is_some(),
            columns: MessageColumns::new(&wanted),
            declared,
        }))
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        Ok(Box::new(ProtobufEncoder::new(
            &self.origin,
            &self.message()?,
            schema,
        )?))
    }
}

struct ProtobufDecoder {
    has_head: bool,
    columns: MessageColumns,
    declared: Vec<Arc<Field>>,
}

/// Passes over the schema's number and the message's place in the schema.
fn body(message: &[u8]) -> Result<usize, String> {
    let (_, rest) = split(message).ok_or_else(|| NO_HEAD.to_owned())?;
    let mut reader = WireReader::new(rest);
    let count = unzigzag(reader.varint()?);
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(message.len() - reader.rest().len())
}

impl ProtobufDecoder {
    /// Adds a message to the columns; says what is wrong with it.
    fn push(&mut self, messages: &Payloads, range: Range<usize>) -> Result<(), (Option<String>, String)> {
        let all = messages.bytes();
        let start = match self.has_head.then(|| body(&all[range.clone()])) {
            None => 0,
            Some(Ok(start)) => start,
            Some(Err(why)) => {
                self.columns.push_nulls();
                return Err((None, why));
            }
        };
        self.columns
            .push(all, range.start + start..range.end)
            .map_err(|flaw| (Some(flaw.path).filter(|path| !path.is_empty()), flaw.why))
    }
}

impl MessageDecoder for ProtobufDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        for row in 0..messages.len() {
            if let Err((column, why)) = self.push(messages, messages.range(row)) {
                bad.push(BadMessage {
                    column,
                    ..BadMessage::new(row, why)
                });
            }
        }
        self.columns.finish(&self.declared, bad)
    }
}
