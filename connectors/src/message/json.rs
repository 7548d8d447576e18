//! JSON: a message is one object, its keys are the columns' names.
//!
//! A column whose key a message does not have is NULL; keys that no column names are passed over.
//! So a schema may gain and lose fields; a field that changes its type is a bad record, unless its
//! text is a value of the column's type.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use fletching::{Error, Result};
use serde_json::Value;

use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, spread, unfit, unwritable};
use crate::file::text::json_shape::{is_readable, text_type, typed};
use crate::file::text::{BadCell, cell_reason, shape_reason};

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
        Ok(Box::new(JsonDecoder::new(fields)))
    }

    fn encoder(&self, _: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        Ok(Box::new(JsonEncoder))
    }
}

/// The key that is asked for where no column is, since messages must still be checked.
const NO_COLUMN: &str = "\u{0}";

/// Decodes JSON objects.
struct JsonDecoder {
    fields: Vec<Arc<Field>>,
    /// The keys to decode, with text in place of each scalar.
    text_schema: SchemaRef,
}

impl JsonDecoder {
    fn new(fields: Vec<Arc<Field>>) -> Self {
        let mut texts: Vec<Field> = fields
            .iter()
            .map(|field| Field::new(field.name(), text_type(field.data_type()), true))
            .collect();
        if texts.is_empty() {
            texts.push(Field::new(NO_COLUMN, DataType::Utf8View, true));
        }
        Self {
            fields,
            text_schema: Arc::new(Schema::new(texts)),
        }
    }

    fn decoder(&self, rows: usize) -> Result<Decoder> {
        ReaderBuilder::new(Arc::clone(&self.text_schema))
            .with_coerce_primitive(true)
            // One more than is fed, so that a second object in the last message shows.
            .with_batch_size(rows + 1)
            .build_decoder()
            .map_err(|error| Error::internal(format!("cannot decode JSON: {error}")))
    }

    /// Decodes messages together; `None` where one of them is not as it should be.
    fn decode_together(&self, messages: &Payloads, rows: &[usize]) -> Result<Option<RecordBatch>> {
        let mut decoder = self.decoder(rows.len())?;
        for (fed, row) in rows.iter().enumerate() {
            if !feed(&mut decoder, messages.get(*row), fed) {
                return Ok(None);
            }
        }
        match decoder.flush() {
            Ok(Some(batch)) => Ok(Some(batch)),
            Ok(None) => Ok(Some(RecordBatch::new_empty(Arc::clone(&self.text_schema)))),
            Err(_) => Ok(None),
        }
    }

    /// Tells the messages that decode by themselves from those that do not.
    fn sort_out(&self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<usize>> {
        let mut good = Vec::with_capacity(messages.len());
        let mut decoder = self.decoder(1)?;
        for row in 0..messages.len() {
            let message = messages.get(row);
            if feed(&mut decoder, message, 0) && decoder.flush().is_ok() {
                good.push(row);
            } else {
                bad.push(self.explain(row, message));
                decoder = self.decoder(1)?;
            }
        }
        Ok(good)
    }

    /// Says why a message does not decode.
    fn explain(&self, row: usize, message: &[u8]) -> BadMessage {
        let reason = match serde_json::from_slice::<Value>(message) {
            Err(error) => {
                let text = error.to_string();
                let why = text.split(" at line ").next().unwrap_or(&text);
                format!("is not a JSON object: {why} at character {}", error.column())
            }
            Ok(Value::Object(object)) => {
                for field in &self.fields {
                    if let Some(reason) = shape_reason(object.get(field.name()), field.data_type()) {
                        return BadMessage {
                            column: Some(field.name().clone()),
                            ..BadMessage::new(row, reason)
                        };
                    }
                }
                "cannot be decoded".to_owned()
            }
            Ok(_) => "expected a JSON object, found another value".to_owned(),
        };
        BadMessage::new(row, reason)
    }
}

impl MessageDecoder for JsonDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut good: Vec<usize> = (0..messages.len()).collect();
        let mut decoded = self.decode_together(messages, &good)?;
        if decoded.is_none() {
            good = self.sort_out(messages, bad)?;
            decoded = self.decode_together(messages, &good)?;
        }
        let Some(text) = decoded else {
            return Err(Error::internal(
                "JSON messages decode one by one but not together",
            ));
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.fields.len());
        for (field, column) in self.fields.iter().zip(text.columns()) {
            let mut cells: Vec<BadCell> = Vec::new();
            columns.push(typed(column, field.data_type(), &mut cells)?);
            bad.extend(cells.iter().map(|cell| BadMessage {
                column: Some(field.name().clone()),
                ..BadMessage::new(good[cell.row], cell_reason(field, cell))
            }));
        }
        spread(columns, &good, messages.len())
    }
}

/// Decodes one message after `fed` others; says whether it is exactly one value.
fn feed(decoder: &mut Decoder, message: &[u8], fed: usize) -> bool {
    let message = message.trim_ascii();
    decoder.decode(message).is_ok_and(|read| read == message.len())
        && !decoder.has_partial_record()
        && decoder.len() == fed + 1
}

/// Writes each row as one JSON object; NULLs are written, so that every object has every column.
struct JsonEncoder;

impl MessageEncoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let mut writer = arrow_json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow_json::writer::LineDelimited>(Vec::new());
        let written = writer.write(batch).and_then(|()| writer.finish());
        written.map_err(|error| unwritable("json", &error))?;
        // Line ends within text are written as escapes, so every line is one object.
        let lines = writer.into_inner();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            out.push(line);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal128Type, Int64Type};

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
        )]);
        let mut out = Payloads::default();
        JsonEncoder.encode(&batch.unwrap(), &mut out).unwrap();
        assert_eq!(out.get(0), br#"{"t":"a\nb"}"#);
        assert_eq!(out.get(1), br#"{"t":null}"#);
    }
}
