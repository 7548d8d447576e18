//! Writes rows as Protobuf messages of a schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::*;
use fletching::{Error, Result};
use prost_reflect::{Kind, MessageDescriptor};

use super::fit::{NO_FIELD, fit, places};
use super::protobuf_schema::{ProtoField, fields, unusable};
use super::registry::MAGIC;
use super::schema_text::SchemaOrigin;
use super::wire::{Wire, put_field, put_varint, zigzag};
use super::{MessageEncoder, Payloads, unwritable};

/// Encodes rows as one message.
pub(super) struct ProtobufEncoder {
    /// What each message begins with: the schema's number and the message's place, with a registry.
    head: Vec<u8>,
    /// The message's fields in the order of the batch's columns.
    fields: Vec<ProtoField>,
}

impl ProtobufEncoder {
    pub(super) fn new(
        origin: &Arc<SchemaOrigin>,
        message: &MessageDescriptor,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let found = fields(message);
        let columns: Fields = found.iter().map(|field| Arc::clone(&field.column)).collect();
        let declared: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let places = places(("protobuf", NO_FIELD), &columns, &declared)?;
        let mut head = Vec::new();
        if let Some(registry) = &origin.registry {
            let text = origin.reader("protobuf")?;
            let id = registry.register(&origin.subject, "PROTOBUF", &text)?;
            head.push(MAGIC);
            head.extend_from_slice(&id.to_be_bytes());
            let file = message.parent_file();
            let at = file
                .messages()
                .position(|other| other.full_name() == message.full_name());
            match at.and_then(|at| i64::try_from(at).ok()) {
                // The first message is written short.
                Some(0) => head.push(0),
                Some(at) => {
                    put_varint(zigzag(1), &mut head);
                    put_varint(zigzag(at), &mut head);
                }
                None => {
                    return Err(unusable(
                        "the message is within another",
                        "name a message of the file itself",
                    ));
                }
            }
        }
        Ok(Self {
            head,
            fields: places.iter().map(|at| found[*at].clone()).collect(),
        })
    }
}

impl MessageEncoder for ProtobufEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, column) in self.fields.iter().zip(batch.columns()) {
            let mut lost = Vec::new();
            let fitted = fit(column, &field.column, &mut lost)?;
            if let Some(lost) = lost.first() {
                let message = format!("column '{}': {}", field.column.name(), lost.reason);
                return Err(unwritable("protobuf", &message));
            }
            if !field.is_nullable && fitted.null_count() > 0 {
                let message = format!(
                    "column '{}' is NULL, but its field is not optional",
                    field.column.name()
                );
                return Err(unwritable("protobuf", &message));
            }
            columns.push(fitted);
        }
        for row in 0..batch.num_rows() {
            out.push_with(|bytes| {
                bytes.extend_from_slice(&self.head);
                for (field, column) in self.fields.iter().zip(&columns) {
                    if column.is_valid(row) {
                        put(field, column, row, bytes)?;
                    }
                }
                Ok::<(), Error>(())
            })?;
        }
        Ok(())
    }
}

/// Writes one value.
fn put(field: &ProtoField, column: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let int32 = || i64::from(column.as_primitive::<Int32Type>().value(row));
    let int64 = || column.as_primitive::<Int64Type>().value(row);
    let mut inner = Vec::new();
    let value = match &field.kind {
        Kind::Double => Wire::Fixed64(column.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        Kind::Float => Wire::Fixed32(column.as_primitive::<Float32Type>().value(row).to_le_bytes()),
        Kind::Int32 => Wire::Varint(int32().cast_unsigned()),
        Kind::Sint32 => Wire::Varint(zigzag(int32())),
        Kind::Sfixed32 => Wire::Fixed32(column.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        Kind::Int64 => Wire::Varint(int64().cast_unsigned()),
        Kind::Sint64 => Wire::Varint(zigzag(int64())),
        Kind::Sfixed64 => Wire::Fixed64(int64().to_le_bytes()),
        Kind::Uint32 => Wire::Varint(u64::from(column.as_primitive::<UInt32Type>().value(row))),
        Kind::Fixed32 => Wire::Fixed32(column.as_primitive::<UInt32Type>().value(row).to_le_bytes()),
        Kind::Uint64 => Wire::Varint(column.as_primitive::<UInt64Type>().value(row)),
        Kind::Fixed64 => Wire::Fixed64(column.as_primitive::<UInt64Type>().value(row).to_le_bytes()),
        Kind::Bool => Wire::Varint(u64::from(column.as_boolean().value(row))),
        Kind::String => Wire::Bytes(column.as_string_view().value(row).as_bytes()),
        Kind::Bytes => Wire::Bytes(column.as_binary_view().value(row)),
        Kind::Enum(values) => {
            let name = column.as_string_view().value(row);
            let number = values.get_value_by_name(name).map(|value| value.number());
            let number = number.or_else(|| name.parse().ok()).ok_or_else(|| {
                let why = format!("column '{}': the enum has no value '{name}'", field.column.name());
                unwritable("protobuf", &why)
            })?;
            Wire::Varint(i64::from(number).cast_unsigned())
        }
        Kind::Message(_) => {
            let time = column.as_primitive::<TimestampNanosecondType>().value(row);
            let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
            put_field(1, Wire::Varint(seconds.cast_unsigned()), &mut inner);
            put_field(2, Wire::Varint(nanos.cast_unsigned()), &mut inner);
            Wire::Bytes(&inner)
        }
    };
    put_field(field.number, value, out);
    Ok(())
}
