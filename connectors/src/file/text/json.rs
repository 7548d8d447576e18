//! Reads JSON lines: one object a line.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field};
use fletching::Result;
use fletching::connector::Reader;
use memchr::memchr;
use serde_json::Value;

use super::Picked;
use super::bad_rows::{BadRow, BadRowDesk, cell_row, fault_of, finish, null_rows, shown};
use super::buffer::{BATCH_BYTES_MAX, RECORD_BYTES_MAX, Span, TextBuffer};
use super::debezium::{Envelope, Opened};
use super::json_shape::typed;
use crate::file::changes::{Operation, changes_of, with_change_column};
use crate::file::columns::batch_of;
use crate::json::{Decoded, ObjectDecoder, Refused};
use crate::spelling::type_name;

/// A file's lines, without the blank ones.
pub(super) struct JsonLines {
    buffer: TextBuffer,
    pub(super) spans: Vec<Span>,
    consumed: usize,
    lines: u64,
}

impl JsonLines {
    pub(super) fn new(buffer: TextBuffer) -> Self {
        Self {
            buffer,
            spans: Vec::new(),
            consumed: 0,
            lines: 0,
        }
    }

    /// Finds the next lines, at most `rows_max`, and returns how many.
    pub(super) fn cut(&mut self, rows_max: usize) -> Result<usize> {
        self.spans.clear();
        (self.consumed, self.lines) = (0, 0);
        let mut searched = 0;
        while self.spans.len() < rows_max && self.consumed < BATCH_BYTES_MAX {
            let data = self.buffer.data();
            let line = self.buffer.line + self.lines;
            let from = self.consumed + searched;
            let (end, next) = match memchr(b'\n', &data[from..]) {
                Some(length) => (from + length, from + length + 1),
                None if self.buffer.is_ended() && self.consumed < data.len() => (data.len(), data.len()),
                None if self.buffer.is_ended() => break,
                None if data.len() - self.consumed > RECORD_BYTES_MAX => {
                    return Err(self.buffer.too_long(line));
                }
                None => {
                    searched = data.len() - self.consumed;
                    self.buffer.fill()?;
                    continue;
                }
            };
            searched = 0;
            let text = data[self.consumed..end].trim_ascii_end();
            if !text.trim_ascii_start().is_empty() {
                let (start, end) = (self.consumed, self.consumed + text.len());
                self.spans.push(Span { start, end, line });
            }
            self.consumed = next;
            self.lines += 1;
        }
        Ok(self.spans.len())
    }

    /// Returns the data that the spans point into.
    pub(super) fn data(&self) -> &[u8] {
        &self.buffer.data()[..self.consumed]
    }

    /// Lets go of the lines that were found.
    pub(super) fn release(&mut self) {
        self.buffer.consume(self.consumed);
        self.buffer.line += self.lines;
    }
}

/// Reads one JSON lines file of a scan.
pub(super) struct JsonReader {
    lines: JsonLines,
    picked: Picked,
    /// For each decoded column its key in the file.
    keys: Vec<String>,
    objects: ObjectDecoder,
    /// What each line wraps its row in.
    envelope: Option<Envelope>,
    batch_rows_max: usize,
    desk: BadRowDesk,
}

impl JsonReader {
    /// Starts to read; `keys` gives for each of the source's columns its key in the file.
    pub(super) fn new(
        buffer: TextBuffer,
        keys: &[String],
        has_envelopes: bool,
        picked: Picked,
        (batch_rows_max, desk): (usize, BadRowDesk),
    ) -> Result<Self> {
        let column = |(column, field): (&usize, &Arc<Field>)| {
            let key = keys.get(*column).unwrap_or(field.name());
            Field::new(key, field.data_type().clone(), true)
        };
        let fields: Vec<Field> = picked
            .decoded
            .iter()
            .zip(picked.schema.fields())
            .map(column)
            .collect();
        let keys = fields.iter().map(|field| field.name().clone()).collect();
        let (envelope, fields) = match has_envelopes {
            true => {
                let envelope = Envelope::new(&fields);
                let fields = envelope.schema().fields().clone();
                (Some(envelope), fields)
            }
            false => (None, fields.into()),
        };
        Ok(Self {
            lines: JsonLines::new(buffer),
            picked,
            keys,
            objects: ObjectDecoder::new(&fields)?,
            envelope,
            batch_rows_max,
            desk,
        })
    }

    fn line(&self, row: usize) -> &[u8] {
        let span = self.lines.spans[row];
        &self.lines.data()[span.start..span.end]
    }

    /// Says why a line does not decode.
    fn explain(&self, row: usize, refused: Refused) -> BadRow {
        let line = self.line(row);
        if let Err(error) = std::str::from_utf8(line) {
            let message = format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1);
            return BadRow {
                hint: Some("convert the file to UTF-8"),
                ..BadRow::new(row, message)
            };
        }
        let hint = Some("write one JSON object a line");
        match serde_json::from_slice::<Value>(line) {
            Err(error) => {
                let text = error.to_string();
                let why = text.split(" at line ").next().unwrap_or(&text);
                let message = format!("is not a JSON object: {why} at character {}", error.column());
                BadRow {
                    hint,
                    ..BadRow::new(row, message)
                }
            }
            Ok(Value::Object(object)) => self.explain_shape(row, &object, refused),
            Ok(other) => {
                let message = format!("expected a JSON object, found {}", kind(&other));
                BadRow {
                    hint,
                    ..BadRow::new(row, message)
                }
            }
        }
    }

    /// Finds the column whose value has the wrong shape.
    fn explain_shape(&self, row: usize, object: &serde_json::Map<String, Value>, refused: Refused) -> BadRow {
        let found = match &self.envelope {
            None => self.explain_columns(row, object),
            Some(_) => {
                let payload = object.get("payload").and_then(Value::as_object);
                let level = payload.unwrap_or(object);
                let images = ["after", "before"].iter().filter_map(|image| level.get(*image));
                let mut rows = images.filter_map(Value::as_object);
                rows.find_map(|image| self.explain_columns(row, image))
                    .or_else(|| Some(BadRow::new(row, "is no envelope around a row")))
            }
        };
        let field = refused.field().filter(|_| self.envelope.is_none());
        found.unwrap_or_else(|| BadRow {
            column: field.map(|field| self.picked.schema.field(field).name().clone()),
            ..BadRow::new(row, refused.to_string())
        })
    }

    fn explain_columns(&self, row: usize, object: &serde_json::Map<String, Value>) -> Option<BadRow> {
        for (key, field) in self.keys.iter().zip(self.picked.schema.fields()) {
            if let Some(message) = shape_reason(object.get(key), field.data_type()) {
                let hint = Some("declare the column as it is in the file");
                let column = Some(field.name().clone());
                return Some(BadRow {
                    column,
                    hint,
                    ..BadRow::new(row, message)
                });
            }
        }
        None
    }

    /// Takes the rows that count out of envelopes, finds what is wrong with them as changes, and
    /// reads their columns.
    fn open(&self, envelope: &Envelope, lines: Decoded) -> Result<(Opened, Decoded)> {
        let schema = Arc::new(envelope.schema());
        let mut opened = envelope.open(&batch_of(&schema, lines.columns, lines.rows)?, &self.picked.marks)?;
        let (mut columns, mut bad) = (Vec::new(), Vec::new());
        for (at, (field, column)) in self
            .picked
            .schema
            .fields()
            .iter()
            .zip(&opened.columns)
            .enumerate()
        {
            let mut cells = Vec::new();
            columns.push(typed(column, field.data_type(), &mut cells)?);
            bad.extend(cells.into_iter().map(|cell| (at, cell)));
        }
        opened.columns.clear();
        let rows = lines.rows;
        Ok((opened, Decoded { rows, columns, bad }))
    }

    /// Decodes the lines that were found; returns those that are rows.
    fn decode_lines(&mut self, bad: &mut Vec<BadRow>) -> Result<(Vec<usize>, Decoded)> {
        let mut good = Vec::with_capacity(self.lines.spans.len());
        for (row, span) in self.lines.spans.iter().enumerate() {
            match self.objects.push(&self.lines.data()[span.start..span.end]) {
                Ok(()) => good.push(row),
                Err(refused) => bad.push(self.explain(row, refused)),
            }
        }
        Ok((good, self.objects.finish()?))
    }

    fn decode(&mut self) -> Result<RecordBatch> {
        let mut bad = Vec::new();
        let (good, decoded) = self.decode_lines(&mut bad)?;
        let (mut opened, decoded) = match &self.envelope {
            Some(envelope) => self.open(envelope, decoded)?,
            None => (Opened::default(), decoded),
        };
        let columns = decoded.columns;
        let mut cells = decoded.bad.into_iter().peekable();
        for (at, (field, column)) in self.picked.schema.fields().iter().zip(&columns).enumerate() {
            let mut wrong = Vec::new();
            while let Some((_, cell)) = cells.next_if(|(of, _)| *of == at) {
                wrong.push(cell_row(field, cell));
            }
            wrong.extend(null_rows(field, column.as_ref(), &wrong));
            bad.extend(wrong.into_iter().map(|row| BadRow {
                record: good[row.record],
                ..row
            }));
        }
        if let Some(judge) = &self.picked.judge {
            if self.envelope.is_none() {
                opened.operations = judge.operations(&columns)?;
            }
            opened.faults.extend(judge.faults(&opened.operations, &columns)?);
            bad.extend(opened.faults.into_iter().map(|fault| BadRow {
                record: good[fault.row],
                ..fault_of(fault)
            }));
        }
        let stays = self.desk.settle(bad, &self.lines.spans, self.lines.data())?;
        let stays = stays.map(|stays| {
            good.iter()
                .map(|row| Some(stays.value(*row)))
                .collect::<BooleanArray>()
        });
        let kept = self
            .picked
            .output
            .iter()
            .map(|at| Arc::clone(&columns[*at]))
            .collect();
        if self.envelope.is_some() {
            let mut operations = opened.operations;
            for row in stays
                .iter()
                .flat_map(|stays| (0..good.len()).filter(|row| !stays.value(*row)))
            {
                operations[row] = Some(Operation::Skips);
            }
            let schema = with_change_column(&self.picked.output_schema);
            return changes_of(&schema, kept, &operations);
        }
        finish(&self.picked, kept, good.len(), stays.as_ref())
    }
}

/// Names the kind of a JSON value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Says in words why a value does not have the shape that a type needs; `None` where it has.
pub(crate) fn shape_reason(value: Option<&Value>, data_type: &DataType) -> Option<String> {
    let value = value.filter(|value| !fits(value, data_type))?;
    let (expected, found) = (type_name(data_type), kind(value));
    let text = shown(&value.to_string());
    Some(format!("expected {expected}, found {found}: {text}"))
}

/// Says whether a value has the shape that a type needs.
fn fits(value: &Value, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Value::Null, _) => true,
        (Value::Object(object), DataType::Struct(fields)) => fields.iter().all(|field| {
            object
                .get(field.name())
                .is_none_or(|value| fits(value, field.data_type()))
        }),
        (Value::Object(_), DataType::Map(_, _)) => true,
        (
            Value::Array(items),
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _),
        ) => items.iter().all(|item| fits(item, field.data_type())),
        (Value::Object(_) | Value::Array(_), _) => false,
        (_, other) => !other.is_nested() || matches!(other, DataType::Dictionary(_, _)),
    }
}

impl Reader for JsonReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.lines.cut(self.batch_rows_max)? == 0 {
            return Ok(None);
        }
        let batch = self.decode()?;
        self.lines.release();
        Ok(Some(batch))
    }
}
