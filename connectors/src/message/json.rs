//! JSON: a message is one object, its keys are the columns' names.
//!
//! A column whose key a message does not have is NULL; keys that no column names are passed over.
//! So a schema may gain and lose fields; a field that changes its type is a bad record, unless its
//! text is a value of the column's type.

use std::convert::Infallible;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::datatypes::{Field, Fields, SchemaRef};
use arrow_json::writer::{EncoderOptions, make_encoder};
use fletching::Result;
use serde_json::Value;

use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, spread, unfit, unwritable};
use crate::file::text::json_shape::is_readable;
use crate::file::text::{cell_reason, shape_reason};
use crate::json::write::CellEncoders;
use crate::json::{ObjectDecoder, Refused};

/// Messages that are JSON objects.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonMessages;

impl MessageFormat for JsonMessages {
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let fields = super::picked(fields, wanted);
        for field in &fields {
            if !is_readable(field.data_type()) {
                return Err(unfit(
                    "json",
                    field.name(),
                    field.data_type(),
                    "declare another type",
                ));
            }
        }
        Ok(Box::new(JsonDecoder::new(fields)?))
    }

    fn encoder(&self, _: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        let options = EncoderOptions::default().with_explicit_nulls(true);
        Ok(Box::new(JsonEncoder(
            options.with_encoder_factory(Arc::new(CellEncoders)),
        )))
    }
}

/// Decodes JSON objects.
struct JsonDecoder {
    fields: Vec<Arc<Field>>,
    objects: ObjectDecoder,
}

impl JsonDecoder {
    fn new(fields: Vec<Arc<Field>>) -> Result<Self> {
        Ok(Self {
            objects: ObjectDecoder::new(&fields.clone().into())?,
            fields,
        })
    }
}

/// Says why a message is refused, which has these fields.
pub(super) fn explain(fields: &[Arc<Field>], row: usize, message: &[u8], refused: Refused) -> BadMessage {
    let reason = match serde_json::from_slice::<Value>(message) {
        Err(error) => {
            let text = error.to_string();
            let why = text.split(" at line ").next().unwrap_or(&text);
            format!("is not a JSON object: {why} at character {}", error.column())
        }
        Ok(Value::Object(object)) => {
            for field in fields {
                if let Some(reason) = shape_reason(object.get(field.name()), field.data_type()) {
                    return BadMessage {
                        column: Some(field.name().clone()),
                        ..BadMessage::new(row, reason)
                    };
                }
            }
            let field = refused.field().and_then(|field| fields.get(field));
            return BadMessage {
                column: field.map(|field| field.name().clone()),
                ..BadMessage::new(row, refused.to_string())
            };
        }
        Ok(_) => "expected a JSON object, found another value".to_owned(),
    };
    BadMessage::new(row, reason)
}

impl MessageDecoder for JsonDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut good = Vec::with_capacity(messages.len());
        for (row, message) in messages.iter().enumerate() {
            match self.objects.push(message.trim_ascii()) {
                Ok(()) => good.push(row),
                Err(refused) => bad.push(explain(&self.fields, row, message, refused)),
            }
        }
        let decoded = self.objects.finish()?;
        for (field, cell) in &decoded.bad {
            let field = &self.fields[*field];
            bad.push(BadMessage {
                column: Some(field.name().clone()),
                ..BadMessage::new(good[cell.row], cell_reason(field, cell))
            });
        }
        spread(decoded.columns, &good, messages.len())
    }
}

/// Writes each row as one JSON object; NULLs are written, so that every object has every column.
struct JsonEncoder(EncoderOptions);

impl MessageEncoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let field = Arc::new(Field::new_struct("", batch.schema_ref().fields().clone(), false));
        let rows = StructArray::from(batch.clone());
        let encoder = make_encoder(&field, &rows, &self.0);
        let mut encoder = encoder.map_err(|error| unwritable("json", &error))?;
        for row in 0..batch.num_rows() {
            out.push_with(|bytes| {
                encoder.encode(row, bytes);
                Ok::<(), Infallible>(())
            })
            .unwrap_or_else(|never| match never {});
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Decimal128Type, Int64Type};

    fn decode(texts: &[&str]) -> (Vec<ArrayRef>, Vec<BadMessage>) {
        let fields = Fields::from(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("price", DataType::Decimal128(18, 4), true),
        ]);
        let mut messages = Payloads::default();
        texts.iter().for_each(|text| messages.push(text.as_bytes()));
        let mut bad = Vec::new();
        let mut decoder = JsonMessages.decoder(&fields, &[0, 1]).unwrap();
        let columns = decoder.decode(&messages, &mut bad).unwrap();
        (columns, bad)
    }

    #[test]
    fn keys_may_be_missing_or_more() {
        let (columns, bad) = decode(&[
            r#"{"id": 1, "price": 0.1}"#,
            r#"{"other": [1, 2], "id": 2}"#,
            " {} ",
        ]);
        assert!(bad.is_empty(), "{bad:?}");
        let ids: Vec<_> = columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), Some(2), None]);
        assert_eq!(columns[1].as_primitive::<Decimal128Type>().value(0), 1000);
    }

    #[test]
    fn bad_messages_are_named_and_the_others_stay_in_place() {
        let (columns, bad) = decode(&[
            r#"{"id": 1}"#,
            "{",
            r#"{"id": 1.5}"#,
            r#"{"id": 4} {"id": 5}"#,
            "[]",
            r#"{"id": {}}"#,
            r#"{"id": 7}"#,
        ]);
        let mut at: Vec<_> = bad.iter().map(|bad| bad.message).collect();
        at.sort_unstable();
        assert_eq!(at, [1, 2, 3, 4, 5]);
        let ids: Vec<_> = columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), None, None, None, None, None, Some(7)]);
    }

    #[test]
    fn a_row_is_one_object() {
        let batch = RecordBatch::try_from_iter([(
            "t",
            Arc::new(arrow::array::StringArray::from(vec![Some("a\nb"), None])) as ArrayRef,
        )])
        .unwrap();
        let mut out = Payloads::default();
        let mut encoder = JsonMessages.encoder(&batch.schema()).unwrap();
        encoder.encode(&batch, &mut out).unwrap();
        assert_eq!(out.get(0), br#"{"t":"a\nb"}"#);
        assert_eq!(out.get(1), br#"{"t":null}"#);
    }
}
