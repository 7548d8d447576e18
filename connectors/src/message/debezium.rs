//! `debezium-json`: a message is an envelope, which says what happened to one row and has the row.
//!
//! ```text
//!  value  {"op": "u", "before": {…}, "after": {…}, …}       with its schema or without
//!  key    {"id": 7}   or   {"schema": …, "payload": {"id": 7}}
//! ```
//!
//! The envelope is opened as those in files are; see there. A record without a value, as Debezium
//! sends one after each deletion, deletes the row of its key once more, which changes nothing,
//! unless the deletion before it was compacted away.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use fletching::{Error, Result};

use super::json::{JsonMessages, explain};
use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, spread, unfit};
use crate::file::batch_of;
use crate::file::changes::{Marks, Operation};
use crate::file::text::cell_reason;
use crate::file::text::debezium::Envelope;
use crate::file::text::json_shape::{is_readable, typed};
use crate::json::{Decoded, ObjectDecoder};

/// Makes the error for a relation that would be written so.
fn unwritten() -> Error {
    Error::Option {
        subject: "format debezium-json".into(),
        message: "is read, and never written".into(),
        hint: Some("write format = 'json' with a key: a record without a value is a deletion".into()),
        location: None,
    }
}

fn check(fields: &[Arc<Field>]) -> Result<()> {
    match fields.iter().find(|field| !is_readable(field.data_type())) {
        Some(field) => Err(unfit(
            "debezium-json",
            field.name(),
            field.data_type(),
            "declare another type",
        )),
        None => Ok(()),
    }
}

/// Values that are envelopes.
#[derive(Debug, Clone, Copy)]
pub(super) struct EnvelopeMessages;

impl MessageFormat for EnvelopeMessages {
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let fields = super::picked(fields, wanted);
        check(&fields)?;
        let columns: Vec<Field> = fields.iter().map(|field| field.as_ref().clone()).collect();
        let envelope = Envelope::new(&columns);
        let schema = Arc::new(envelope.schema());
        Ok(Box::new(EnvelopeDecoder {
            objects: ObjectDecoder::new(schema.fields())?,
            fields,
            envelope,
            schema,
            operations: Vec::new(),
        }))
    }

    fn encoder(&self, _: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        Err(unwritten())
    }

    fn tells_operations(&self) -> bool {
        true
    }
}

struct EnvelopeDecoder {
    fields: Vec<Arc<Field>>,
    envelope: Envelope,
    schema: SchemaRef,
    objects: ObjectDecoder,
    /// What each message that was decoded last does.
    operations: Vec<Operation>,
}

impl EnvelopeDecoder {
    /// Says why a message that is not as it should be is refused.
    fn envelope_fault(&self, message: &[u8]) -> Option<(String, String)> {
        let value: serde_json::Value = serde_json::from_slice(message).ok()?;
        let level = value.get("payload").filter(|payload| payload.is_object());
        let level = level.unwrap_or(&value);
        let images = ["after", "before"].iter().filter_map(|image| level.get(*image));
        images.filter_map(serde_json::Value::as_object).find_map(|image| {
            self.fields.iter().find_map(|field| {
                let reason = crate::file::text::shape_reason(image.get(field.name()), field.data_type())?;
                Some((field.name().clone(), reason))
            })
        })
    }
}

impl MessageDecoder for EnvelopeDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut good = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let Err(refused) = self.objects.push(message.trim_ascii()) else {
                good.push(at);
                continue;
            };
            bad.push(match self.envelope_fault(message) {
                Some((column, reason)) => BadMessage {
                    column: Some(column),
                    ..BadMessage::new(at, reason)
                },
                None => explain(&[], at, message, refused),
            });
        }
        let Decoded { rows, columns, .. } = self.objects.finish()?;
        // Where messages are put one after another, what they note of time and snapshot is not asked.
        let marks = Marks::default();
        let opened = self
            .envelope
            .open(&batch_of(&self.schema, columns, rows)?, &marks)?;
        self.operations = vec![Operation::Skips; messages.len()];
        for (row, operation) in opened.operations.iter().enumerate() {
            self.operations[good[row]] = operation.unwrap_or(Operation::Skips);
        }
        bad.extend(opened.faults.into_iter().map(|fault| BadMessage {
            column: Some(fault.column),
            ..BadMessage::new(good[fault.row], fault.message)
        }));
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, text) in self.fields.iter().zip(&opened.columns) {
            let mut cells = Vec::new();
            columns.push(typed(text, field.data_type(), &mut cells)?);
            bad.extend(cells.iter().map(|cell| BadMessage {
                column: Some(field.name().clone()),
                ..BadMessage::new(good[cell.row], cell_reason(field, cell))
            }));
        }
        spread(columns, &good, messages.len())
    }

    fn operations(&mut self) -> Option<Vec<Operation>> {
        Some(std::mem::take(&mut self.operations))
    }
}

/// Where a key with its schema has the key itself.
const PAYLOAD: &str = "payload";

/// Keys that are JSON objects, with their schema or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct EnvelopeKeys;

impl MessageFormat for EnvelopeKeys {
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let fields = super::picked(fields, wanted);
        check(&fields)?;
        // A key of that name cannot be told from a wrapping.
        if fields.iter().any(|field| field.name() == PAYLOAD) {
            let all: Vec<usize> = (0..fields.len()).collect();
            return JsonMessages.decoder(&fields.into(), &all);
        }
        let nullable: Vec<Field> = fields
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let payload = Field::new(PAYLOAD, DataType::Struct(nullable.clone().into()), true);
        let schema = Schema::new([vec![payload], nullable].concat());
        Ok(Box::new(EnvelopeKeyDecoder {
            objects: ObjectDecoder::new(schema.fields())?,
            fields,
        }))
    }

    fn encoder(&self, _: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        Err(unwritten())
    }
}

struct EnvelopeKeyDecoder {
    fields: Vec<Arc<Field>>,
    /// The payload, then the same fields without one.
    objects: ObjectDecoder,
}

impl MessageDecoder for EnvelopeKeyDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let mut good = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            match self.objects.push(message.trim_ascii()) {
                Ok(()) => good.push(at),
                Err(refused) => bad.push(explain(&[], at, message, refused)),
            }
        }
        let decoded = self.objects.finish()?;
        let Some((payload, bare)) = decoded.columns.split_first() else {
            return Err(Error::internal(
                "a key was decoded to other columns than asked for",
            ));
        };
        let is_wrapped = BooleanArray::from_iter((0..payload.len()).map(|row| Some(payload.is_valid(row))));
        let mut columns = Vec::with_capacity(self.fields.len());
        for (wrapped, bare) in payload.as_struct().columns().iter().zip(bare) {
            columns.push(zip(&is_wrapped, wrapped, bare)?);
        }
        for (field, cell) in &decoded.bad {
            let field = field.checked_sub(1).and_then(|field| self.fields.get(field));
            let reason = field.map_or_else(
                || format!("its key has '{}', which is not of the column's type", cell.found),
                |field| cell_reason(field, cell),
            );
            bad.push(BadMessage {
                column: field.map(|field| field.name().clone()),
                ..BadMessage::new(good[cell.row], reason)
            });
        }
        spread(columns, &good, messages.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int64Type;
    use fletching::connector::Change;

    fn fields() -> Fields {
        vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
        ]
        .into()
    }

    fn payloads(texts: &[&str]) -> Payloads {
        let mut messages = Payloads::default();
        texts.iter().for_each(|text| messages.push(text.as_bytes()));
        messages
    }

    #[test]
    fn envelopes_are_opened_and_say_what_they_do() {
        let messages = payloads(&[
            r#"{"op":"c","before":null,"after":{"id":1,"name":"Ada"}}"#,
            r#"{"schema":{},"payload":{"op":"d","before":{"id":2},"after":null}}"#,
            r#"{"op":"x"}"#,
            r#"{"op":"u","after":{"id":[],"name":"Eve"}}"#,
            r#"{"op":"t"}"#,
            "{",
            r#"{"op":"m"}"#,
        ]);
        let mut decoder = EnvelopeMessages.decoder(&fields(), &[0, 1]).unwrap();
        let mut bad = Vec::new();
        let columns = decoder.decode(&messages, &mut bad).unwrap();
        let ids: Vec<_> = columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), Some(2), None, None, None, None, None]);
        bad.sort_by_key(|bad| bad.message);
        let places: Vec<_> = bad
            .iter()
            .map(|bad| (bad.message, bad.column.as_deref()))
            .collect();
        assert_eq!(places, [(2, Some("op")), (3, Some("id")), (5, None)]);
        let operations = decoder.operations().unwrap();
        let changes: Vec<_> = operations.iter().map(|operation| operation.change()).collect();
        let (put, gone, all) = (Change::Upsert, Change::Delete, Change::Truncate);
        assert_eq!(
            changes,
            [Some(put), Some(gone), None, None, Some(all), None, None]
        );
    }

    #[test]
    fn keys_are_read_with_their_schema_or_without() {
        let messages = payloads(&[
            r#"{"id": 1}"#,
            r#"{"schema": {"type": "struct"}, "payload": {"id": 2}}"#,
            r#"{"payload": {"id": "x"}}"#,
            "Struct{id=3}",
        ]);
        let mut decoder = EnvelopeKeys.decoder(&fields(), &[0]).unwrap();
        let mut bad = Vec::new();
        let columns = decoder.decode(&messages, &mut bad).unwrap();
        let ids: Vec<_> = columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), Some(2), None, None]);
        bad.sort_by_key(|bad| bad.message);
        assert_eq!(bad.iter().map(|bad| bad.message).collect::<Vec<_>>(), [2, 3]);
    }
}
