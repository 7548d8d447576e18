//! Raw: a message is one value, as it stands.
//!
//! Text is UTF-8, bytes are bytes; numbers are big-endian and as wide as their type, which is how
//! Kafka's own serializers write them.

use std::sync::Arc;

use arrow::array::builder::{BinaryViewBuilder, PrimitiveBuilder, StringViewBuilder};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::*;
use fletching::{Error, Result};

use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, unfit, unwritable};
use crate::spelling::type_name;

/// Messages that are one value each.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawMessages;

const HINT: &str = "it holds VARCHAR, BYTEA, SMALLINT, INTEGER, BIGINT, REAL and DOUBLE";

impl MessageFormat for RawMessages {
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let field = only(fields)?;
        check(field)?;
        Ok(Box::new(RawDecoder {
            field: Arc::clone(field),
            is_wanted: !wanted.is_empty(),
        }))
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        check(only(schema.fields())?)?;
        Ok(Box::new(RawEncoder))
    }
}

/// Returns the one column of a raw message.
fn only(fields: &Fields) -> Result<&Arc<Field>> {
    match fields.as_ref() {
        [field] => Ok(field),
        fields => Err(Error::Option {
            subject: "format raw".into(),
            message: format!(
                "a message is one value, but there are {} columns for it",
                fields.len()
            ),
            hint: Some("declare one column besides those of key and metadata".into()),
            location: None,
        }),
    }
}

fn check(field: &Field) -> Result<()> {
    use DataType as D;
    match field.data_type() {
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => Ok(()),
        D::Int16 | D::Int32 | D::Int64 | D::Float32 | D::Float64 => Ok(()),
        other => Err(unfit("raw", field.name(), other, HINT)),
    }
}

struct RawDecoder {
    field: Arc<Field>,
    is_wanted: bool,
}

impl MessageDecoder for RawDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        use DataType as D;
        let data_type = self.field.data_type();
        let before = bad.len();
        let column = match data_type {
            D::Int16 => numbers::<Int16Type, 2>(messages, i16::from_be_bytes, bad),
            D::Int32 => numbers::<Int32Type, 4>(messages, i32::from_be_bytes, bad),
            D::Int64 => numbers::<Int64Type, 8>(messages, i64::from_be_bytes, bad),
            D::Float32 => numbers::<Float32Type, 4>(messages, f32::from_be_bytes, bad),
            D::Float64 => numbers::<Float64Type, 8>(messages, f64::from_be_bytes, bad),
            D::Binary | D::LargeBinary | D::BinaryView => {
                let mut builder = BinaryViewBuilder::with_capacity(messages.len());
                messages.iter().for_each(|message| builder.append_value(message));
                Arc::new(builder.finish())
            }
            _ => texts(messages, bad),
        };
        for bad in &mut bad[before..] {
            bad.column = Some(self.field.name().clone());
        }
        let column = cast(&column, data_type)
            .map_err(|error| Error::internal(format!("cannot read a raw message: {error}")))?;
        Ok(if self.is_wanted { vec![column] } else { Vec::new() })
    }
}

fn texts(messages: &Payloads, bad: &mut Vec<BadMessage>) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(messages.len());
    for (row, message) in messages.iter().enumerate() {
        match std::str::from_utf8(message) {
            Ok(text) => builder.append_value(text),
            Err(error) => {
                let reason = format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1);
                bad.push(BadMessage::new(row, reason));
                builder.append_null();
            }
        }
    }
    Arc::new(builder.finish())
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    messages: &Payloads,
    read: impl Fn([u8; N]) -> T::Native,
    bad: &mut Vec<BadMessage>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(messages.len());
    for (row, message) in messages.iter().enumerate() {
        match message.try_into() {
            Ok(bytes) => builder.append_value(read(bytes)),
            Err(_) => {
                let name = type_name(&T::DATA_TYPE);
                let reason = format!("expected {N} bytes of {name}, found {}", message.len());
                bad.push(BadMessage::new(row, reason));
                builder.append_null();
            }
        }
    }
    Arc::new(builder.finish())
}

struct RawEncoder;

impl MessageEncoder for RawEncoder {
    /// A NULL becomes no bytes; the sink sends no value for it.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        use DataType as D;
        let column = batch.column(0);
        let plain = match column.data_type() {
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary => {
                cast(column, &D::BinaryView).map_err(|error| unwritable("raw", &error))?
            }
            _ => Arc::clone(column),
        };
        for row in 0..plain.len() {
            if plain.is_null(row) {
                out.push(&[]);
                continue;
            }
            match plain.data_type() {
                D::Int16 => out.push(&plain.as_primitive::<Int16Type>().value(row).to_be_bytes()),
                D::Int32 => out.push(&plain.as_primitive::<Int32Type>().value(row).to_be_bytes()),
                D::Int64 => out.push(&plain.as_primitive::<Int64Type>().value(row).to_be_bytes()),
                D::Float32 => out.push(&plain.as_primitive::<Float32Type>().value(row).to_be_bytes()),
                D::Float64 => out.push(&plain.as_primitive::<Float64Type>().value(row).to_be_bytes()),
                _ => out.push(plain.as_binary_view().value(row)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow::array::Int64Array::from(vec![-1, 1 << 40])),
            Arc::new(arrow::array::Float32Array::from(vec![1.5, -0.25])),
            Arc::new(arrow::array::StringViewArray::from(vec!["ä", ""])),
            Arc::new(arrow::array::BinaryViewArray::from(vec![b"\xff".as_slice(), b""])),
        ];
        for column in columns {
            let batch = RecordBatch::try_from_iter([("v", Arc::clone(&column))]).unwrap();
            let mut out = Payloads::default();
            RawMessages
                .encoder(&batch.schema())
                .unwrap()
                .encode(&batch, &mut out)
                .unwrap();
            let mut bad = Vec::new();
            let mut decoder = RawMessages.decoder(batch.schema().fields(), &[0]).unwrap();
            let back = decoder.decode(&out, &mut bad).unwrap();
            assert!(bad.is_empty());
            assert_eq!(&back[0], &column);
        }
    }

    #[test]
    fn a_number_of_another_width_is_bad() {
        let fields = Fields::from(vec![Field::new("v", DataType::Int32, true)]);
        let mut messages = Payloads::default();
        messages.push(&[0, 0, 0, 1]);
        messages.push(&[0, 1]);
        let mut bad = Vec::new();
        let columns = RawMessages
            .decoder(&fields, &[0])
            .unwrap()
            .decode(&messages, &mut bad);
        assert_eq!(columns.unwrap()[0].null_count(), 1);
        assert_eq!(bad[0].message, 1);
        assert_eq!(bad[0].reason, "expected 4 bytes of INTEGER, found 2");
    }
}
