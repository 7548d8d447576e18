//! Protobuf: a message of a `.proto` schema, decoded from the wire straight into columns.
//!
//! Fields are known by number, so a field may be renamed, added or dropped: one that a message does
//! not have is NULL where the schema says `optional`, and zero or no text otherwise; one that the
//! schema does not have is passed over. A field whose kind on the wire is another one makes its
//! message a bad one. A message of a registry begins with the schema's number and the message's
//! place in the schema, which are passed over.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::builder::{
    BinaryViewBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder,
    StringViewBuilder, TimestampNanosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{Field, Fields, SchemaRef};
use fletching::Result;
use fletching::connector::Options;
use prost_reflect::{Kind, MessageDescriptor};

use super::fit::{NO_FIELD, fit, places};
use super::protobuf_schema::{ProtoField, fields, message, message_name};
use super::protobuf_write::ProtobufEncoder;
use super::registry::{NO_HEAD, split};
use super::schema_text::SchemaOrigin;
use super::wire::{Wire, WireReader, unzigzag};
use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads};

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
            message: message_name(options),
        })
    }

    fn message(&self) -> Result<MessageDescriptor> {
        message(&self.origin.reader("protobuf")?, self.message.as_deref())
    }
}

impl MessageFormat for ProtobufMessages {
    fn columns(&self) -> Result<Option<Fields>> {
        let fields = fields(&self.message()?);
        Ok(Some(fields.into_iter().map(|field| field.column).collect()))
    }

    fn decoder(&self, declared: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let found = fields(&self.message()?);
        let columns: Fields = found.iter().map(|field| Arc::clone(&field.column)).collect();
        let declared = super::picked(declared, wanted);
        let places = places(("protobuf", NO_FIELD), &columns, &declared)?;
        Ok(Box::new(ProtobufDecoder {
            has_head: self.origin.registry.is_some(),
            fields: places.iter().map(|at| found[*at].clone()).collect(),
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
    fields: Vec<ProtoField>,
    declared: Vec<Arc<Field>>,
}

impl ProtobufDecoder {
    /// Reads a message's fields into `slots`; of a field that occurs twice the last counts.
    fn read<'a>(&self, message: &'a [u8], slots: &mut [Option<Wire<'a>>]) -> Result<(), String> {
        slots.fill(None);
        let message = if self.has_head { body(message)? } else { message };
        let mut reader = WireReader::new(message);
        while let Some((number, value)) = reader.next_field().map_err(str::to_owned)? {
            for (field, slot) in self.fields.iter().zip(slots.iter_mut()) {
                if field.number == number {
                    *slot = Some(value);
                }
            }
        }
        Ok(())
    }
}

/// Passes over the schema's number and the message's place in the schema.
fn body(message: &[u8]) -> Result<&[u8], String> {
    let (_, rest) = split(message).ok_or_else(|| NO_HEAD.to_owned())?;
    let mut reader = WireReader::new(rest);
    let count = unzigzag(reader.varint()?);
    for _ in 0..count {
        reader.varint()?;
    }
    Ok(reader.rest())
}

impl MessageDecoder for ProtobufDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Column> = self.fields.iter().map(|field| Column::of(&field.kind)).collect();
        let mut slots = vec![None; self.fields.len()];
        for (row, message) in messages.iter().enumerate() {
            let mut is_bad = false;
            if let Err(why) = self.read(message, &mut slots) {
                bad.push(BadMessage::new(row, why));
                is_bad = true;
            }
            for ((field, column), slot) in self.fields.iter().zip(&mut columns).zip(&slots) {
                if is_bad {
                    column.push_null();
                    continue;
                }
                if let Err(why) = column.push(field, *slot) {
                    bad.push(BadMessage {
                        column: Some(field.column.name().clone()),
                        ..BadMessage::new(row, why)
                    });
                }
            }
        }
        let mut output = Vec::with_capacity(columns.len());
        for (column, field) in columns.into_iter().zip(&self.declared) {
            output.push(fit(&column.finish(), field, bad)?);
        }
        Ok(output)
    }
}

/// A column being built.
enum Column {
    I32(Int32Builder),
    I64(Int64Builder),
    U32(UInt32Builder),
    U64(UInt64Builder),
    F32(Float32Builder),
    F64(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    Time(TimestampNanosecondBuilder),
}

impl Column {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Double => Self::F64(Float64Builder::new()),
            Kind::Float => Self::F32(Float32Builder::new()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Self::I32(Int32Builder::new()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Self::I64(Int64Builder::new()),
            Kind::Uint32 | Kind::Fixed32 => Self::U32(UInt32Builder::new()),
            Kind::Uint64 | Kind::Fixed64 => Self::U64(UInt64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Bytes => Self::Bytes(BinaryViewBuilder::new()),
            Kind::Message(_) => Self::Time(TimestampNanosecondBuilder::new()),
            Kind::String | Kind::Enum(_) => Self::Text(StringViewBuilder::new()),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::I32(builder) => builder.append_null(),
            Self::I64(builder) => builder.append_null(),
            Self::U32(builder) => builder.append_null(),
            Self::U64(builder) => builder.append_null(),
            Self::F32(builder) => builder.append_null(),
            Self::F64(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
        }
    }

    /// Adds a value; where it cannot be read a NULL, and says why.
    fn push(&mut self, field: &ProtoField, value: Option<Wire<'_>>) -> Result<(), String> {
        let value = match (value, field.is_nullable) {
            (Some(value), _) => value,
            (None, true) => {
                self.push_null();
                return Ok(());
            }
            (None, false) => zero(&field.kind),
        };
        let read = self.push_wire(&field.kind, value);
        if read.is_err() {
            self.push_null();
        }
        read
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "numbers of 32 bits are sent as 64 with their sign extended, and cut again, by definition"
    )]
    fn push_wire(&mut self, kind: &Kind, value: Wire<'_>) -> Result<(), String> {
        match (self, kind, value) {
            (Self::I32(builder), Kind::Int32, Wire::Varint(value)) => builder.append_value(value as i32),
            (Self::I32(builder), Kind::Sint32, Wire::Varint(value)) => {
                builder.append_value(unzigzag(value) as i32);
            }
            (Self::I32(builder), Kind::Sfixed32, Wire::Fixed32(bytes)) => {
                builder.append_value(i32::from_le_bytes(bytes));
            }
            (Self::I64(builder), Kind::Int64, Wire::Varint(value)) => {
                builder.append_value(value.cast_signed())
            }
            (Self::I64(builder), Kind::Sint64, Wire::Varint(value)) => builder.append_value(unzigzag(value)),
            (Self::I64(builder), Kind::Sfixed64, Wire::Fixed64(bytes)) => {
                builder.append_value(i64::from_le_bytes(bytes));
            }
            (Self::U32(builder), Kind::Uint32, Wire::Varint(value)) => builder.append_value(value as u32),
            (Self::U32(builder), Kind::Fixed32, Wire::Fixed32(bytes)) => {
                builder.append_value(u32::from_le_bytes(bytes));
            }
            (Self::U64(builder), Kind::Uint64, Wire::Varint(value)) => builder.append_value(value),
            (Self::U64(builder), Kind::Fixed64, Wire::Fixed64(bytes)) => {
                builder.append_value(u64::from_le_bytes(bytes));
            }
            (Self::F32(builder), Kind::Float, Wire::Fixed32(bytes)) => {
                builder.append_value(f32::from_le_bytes(bytes));
            }
            (Self::F64(builder), Kind::Double, Wire::Fixed64(bytes)) => {
                builder.append_value(f64::from_le_bytes(bytes));
            }
            (Self::Bool(builder), Kind::Bool, Wire::Varint(value)) => builder.append_value(value != 0),
            (Self::Bytes(builder), Kind::Bytes, Wire::Bytes(bytes)) => builder.append_value(bytes),
            (Self::Text(builder), Kind::String, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => builder.append_value(text),
                Err(error) => return Err(format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1)),
            },
            (Self::Text(builder), Kind::Enum(values), Wire::Varint(value)) => {
                match values.get_value(value as i32) {
                    Some(value) => builder.append_value(value.name()),
                    // A newer writer's value is kept by its number.
                    None => builder.append_value((value as i32).to_string()),
                }
            }
            (Self::Time(builder), Kind::Message(_), Wire::Bytes(bytes)) => {
                builder.append_value(nanos(bytes)?);
            }
            _ => return Err("is of another kind than the schema says".to_owned()),
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::I32(mut builder) => Arc::new(builder.finish()),
            Self::I64(mut builder) => Arc::new(builder.finish()),
            Self::U32(mut builder) => Arc::new(builder.finish()),
            Self::U64(mut builder) => Arc::new(builder.finish()),
            Self::F32(mut builder) => Arc::new(builder.finish()),
            Self::F64(mut builder) => Arc::new(builder.finish()),
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// What a field is that a message leaves out.
fn zero(kind: &Kind) -> Wire<'static> {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64([0; 8]),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32([0; 4]),
        Kind::String | Kind::Bytes | Kind::Message(_) => Wire::Bytes(&[]),
        _ => Wire::Varint(0),
    }
}

/// Reads seconds and nanoseconds since 1970.
fn nanos(message: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut reader = WireReader::new(message);
    while let Some((number, value)) = reader.next_field()? {
        match (number, value) {
            (1, Wire::Varint(value)) => seconds = value.cast_signed(),
            (2, Wire::Varint(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    let whole = seconds.checked_mul(1_000_000_000);
    let time = whole.and_then(|whole| whole.checked_add(nanos));
    time.ok_or_else(|| format!("is a time out of range: {seconds} seconds since 1970"))
}
