//! Reads JSON lines: one object a line.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use fletching::connector::Reader;
use fletching::{Error, Result};
use serde_json::Value;

use super::Picked;
use super::bad_rows::{BadRow, BadRowDesk, cell_row, fault_of, finish, null_rows, shown};
use super::buffer::{BATCH_BYTES_MAX, RECORD_BYTES_MAX, Span, TextBuffer};
use super::debezium::{Envelope, Opened};
use super::json_shape::{text_type, typed};
use crate::file::changes::{Operation, changes_of, with_change_column};
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
            let (end, next) = match data[from..].iter().position(|byte| *byte == b'\n') {
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
    /// What to decode, with text in place of each scalar.
    text_schema: SchemaRef,
    /// What each line wraps its row in.
    envelope: Option<Envelope>,
    batch_rows_max: usize,
    desk: BadRowDesk,
}

/// The key that is asked for where no column is, since rows must still be checked and counted.
const NO_COLUMN: &str = "\u{0}";

impl JsonReader {
    /// Starts to read; `keys` gives for each of the source's columns its key in the file.
    pub(super) fn new(
        buffer: TextBuffer,
        keys: &[String],
        has_envelopes: bool,
        picked: Picked,
        (batch_rows_max, desk): (usize, BadRowDesk),
    ) -> Self {
        let mut fields: Vec<Field> = picked
            .decoded
            .iter()
            .zip(picked.schema.fields())
            .map(|(column, field)| {
                let key = keys.get(*column).unwrap_or(field.name());
                Field::new(key, text_type(field.data_type()), true)
            })
            .collect();
        if fields.is_empty() {
            fields.push(Field::new(NO_COLUMN, DataType::Utf8View, true));
        }
        let keys = fields.iter().map(|field| field.name().clone()).collect();
        let envelope = has_envelopes.then(|| Envelope::new(fields.clone()));
        let text_schema = match &envelope {
            Some(envelope) => envelope.schema(),
            None => Schema::new(fields),
        };
        Self {
            lines: JsonLines::new(buffer),
            picked,
            keys,
            text_schema: Arc::new(text_schema),
            envelope,
            batch_rows_max,
            desk,
        }
    }

    fn decoder(&self, rows: usize) -> Result<Decoder> {
        ReaderBuilder::new(Arc::clone(&self.text_schema))
            .with_coerce_primitive(true)
            // One more than is fed, so that a second object on the last line shows.
            .with_batch_size(rows + 1)
            .build_decoder()
            .map_err(|error| Error::internal(format!("cannot decode JSON: {error}")))
    }

    /// Decodes lines together; `None` where one of them is not as it should be.
    fn decode_rows(&self, rows: &[usize]) -> Result<Option<RecordBatch>> {
        let mut decoder = self.decoder(rows.len())?;
        for (fed, row) in rows.iter().enumerate() {
            if feed(&mut decoder, self.line(*row), fed).is_none() {
                return Ok(None);
            }
        }
        match decoder.flush() {
            Ok(Some(batch)) => Ok(Some(batch)),
            Ok(None) => Ok(Some(RecordBatch::new_empty(Arc::clone(&self.text_schema)))),
            Err(_) => Ok(None),
        }
    }

    /// Tells the lines that decode by themselves from those that do not.
    fn sort_out(&self, bad: &mut Vec<BadRow>) -> Result<Vec<usize>> {
        let mut good = Vec::with_capacity(self.lines.spans.len());
        let mut decoder = self.decoder(1)?;
        for row in 0..self.lines.spans.len() {
            let line = self.line(row);
            match feed(&mut decoder, line, 0).and_then(|()| decoder.flush().ok()) {
                Some(_) => good.push(row),
                None => {
                    bad.push(self.explain(row, line));
                    decoder = self.decoder(1)?;
                }
            }
        }
        Ok(good)
    }

    fn line(&self, row: usize) -> &[u8] {
        let span = self.lines.spans[row];
        &self.lines.data()[span.start..span.end]
    }

    /// Says why a line does not decode.
    fn explain(&self, row: usize, line: &[u8]) -> BadRow {
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
            Ok(Value::Object(object)) => self.explain_shape(row, &object),
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
    fn explain_shape(&self, row: usize, object: &serde_json::Map<String, Value>) -> BadRow {
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
        found.unwrap_or_else(|| BadRow::new(row, "cannot be decoded"))
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

    /// Takes the rows that count out of decoded lines, and finds what is wrong with them as changes.
    fn open(&self, text: &RecordBatch) -> Result<Opened> {
        match &self.envelope {
            Some(envelope) => envelope.open(text, &self.picked.marks),
            None => Ok(Opened {
                columns: text.columns().to_vec(),
                operations: Vec::new(),
                faults: Vec::new(),
            }),
        }
    }

    fn decode(&self) -> Result<RecordBatch> {
        let rows = self.lines.spans.len();
        let mut good: Vec<usize> = (0..rows).collect();
        let mut bad = Vec::new();
        let mut decoded = self.decode_rows(&good)?;
        if decoded.is_none() {
            good = self.sort_out(&mut bad)?;
            decoded = self.decode_rows(&good)?;
        }
        let Some(text) = decoded else {
            return Err(Error::internal("JSON lines decode one by one but not together"));
        };
        let mut opened = self.open(&text)?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.picked.decoded.len());
        for (field, column) in self.picked.schema.fields().iter().zip(&opened.columns) {
            let mut bad_cells = Vec::new();
            let column = typed(column, field.data_type(), &mut bad_cells)?;
            let mut wrong: Vec<BadRow> = bad_cells.into_iter().map(|cell| cell_row(field, cell)).collect();
            wrong.extend(null_rows(field, column.as_ref(), &wrong));
            bad.extend(wrong.into_iter().map(|row| BadRow {
                record: good[row.record],
                ..row
            }));
            columns.push(column);
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

/// Decodes one line after `fed` others; `None` where it is not exactly one value.
fn feed(decoder: &mut Decoder, line: &[u8], fed: usize) -> Option<()> {
    let read = decoder.decode(line).ok()?;
    (read == line.len() && !decoder.has_partial_record() && decoder.len() == fed + 1).then_some(())
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
