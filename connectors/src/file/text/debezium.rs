//! Opens Debezium's envelopes: each line says what happened to one row, and has the row as it was
//! before and is after.
//!
//! ```text
//!  {"payload": {"op": "u", "before": {…}, "after": {…}, "source": {"snapshot": "false", "ts_ms": …}}}
//!  {"op": "d", "before": {…}, "after": null, …}                     the same without its schema
//!
//!  c, r, u  the row is what 'after' holds        t  all rows are gone
//!  d        the row of 'before's key is gone     m  nothing happened to a row
//! ```
//!
//! Both images are decoded with text at their leaves; the one that counts is picked row by row, and
//! read from there on as any JSON column is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StructArray, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::record_batch::RecordBatch;
use fletching::connector::Change;
use fletching::{Error, Result};

use super::json_shape::text_type;
use crate::file::changes::{Fault, Marks, Operation, envelope_operation};

/// What records of the snapshot that a changelog begins with say of themselves, but for its last.
const SNAPSHOT_WORDS: &[&str] = &[
    "true",
    "first",
    "first_in_data_collection",
    "last_in_data_collection",
];

/// The shape of a line.
#[derive(Debug)]
pub(crate) struct Envelope {
    columns: Vec<Field>,
}

/// What lines hold.
#[derive(Default)]
pub(crate) struct Opened {
    /// The columns of the rows that count, as text.
    pub(crate) columns: Vec<ArrayRef>,
    /// What each line does; `None` where that is at fault.
    pub(crate) operations: Vec<Option<Operation>>,
    pub(crate) faults: Vec<Fault>,
}

impl Envelope {
    /// Makes the shape around rows of these columns, whose scalars are decoded as text.
    pub(crate) fn new(columns: &[Field]) -> Self {
        let text = |field: &Field| Field::new(field.name(), text_type(field.data_type()), true);
        Self {
            columns: columns.iter().map(text).collect(),
        }
    }

    /// Returns the columns to decode of a line.
    pub(crate) fn schema(&self) -> Schema {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let row = |name: &str| {
            let columns: Fields = self.columns.clone().into();
            Field::new(name, DataType::Struct(columns), true)
        };
        let source = DataType::Struct(vec![text("snapshot"), text("ts_ms")].into());
        let level = vec![
            row("before"),
            row("after"),
            text("op"),
            text("ts_ms"),
            Field::new("source", source, true),
        ];
        let mut fields = vec![Field::new(
            "payload",
            DataType::Struct(level.clone().into()),
            true,
        )];
        fields.extend(level);
        Schema::new(fields)
    }

    /// Picks of each line the row that counts, and notes what is told of time and snapshot.
    pub(crate) fn open(&self, lines: &RecordBatch, marks: &Marks) -> Result<Opened> {
        let rows = lines.num_rows();
        let bare = StructArray::from(lines.clone());
        let wrapped = bare
            .column_by_name("payload")
            .and_then(|payload| payload.as_struct_opt())
            .ok_or_else(broken)?;
        let levels = [Level::of(wrapped)?, Level::of(&bare)?];
        let mut picks = Vec::with_capacity(rows);
        let mut operations = Vec::with_capacity(rows);
        let mut faults = Vec::new();
        for row in 0..rows {
            let at = usize::from(wrapped.is_null(row));
            let level = &levels[at];
            level.note(row, marks);
            match level.judge(row) {
                Ok((operation, image)) => {
                    picks.push(image.map_or((4, 0), |image| (at * 2 + image, row)));
                    operations.push(Some(operation));
                }
                Err((column, message)) => {
                    faults.push(Fault {
                        row,
                        column: column.into(),
                        message,
                    });
                    picks.push((4, 0));
                    operations.push(None);
                }
            }
        }
        let images = [
            levels[0].before,
            levels[0].after,
            levels[1].before,
            levels[1].after,
        ];
        let columns = self.columns.iter().enumerate().map(|(column, field)| {
            let nothing = new_null_array(field.data_type(), 1);
            let mut arrays: Vec<&dyn Array> =
                images.iter().map(|image| image.column(column).as_ref()).collect();
            arrays.push(nothing.as_ref());
            interleave(&arrays, &picks)
        });
        Ok(Opened {
            columns: columns.collect::<Result<_, _>>()?,
            operations,
            faults,
        })
    }
}

fn broken() -> Error {
    Error::internal("an envelope was decoded to other columns than asked for")
}

/// The fields of an envelope, of the outermost object or of its payload.
struct Level<'a> {
    before: &'a StructArray,
    after: &'a StructArray,
    op: &'a StringViewArray,
    ts_ms: &'a StringViewArray,
    source: &'a StructArray,
    snapshot: &'a StringViewArray,
    source_ts_ms: &'a StringViewArray,
}

impl<'a> Level<'a> {
    fn of(fields: &'a StructArray) -> Result<Self> {
        let row = |of: &'a StructArray, name: &str| {
            let column: Option<&'a Arc<dyn Array>> = of.column_by_name(name);
            column
                .and_then(|column| column.as_struct_opt())
                .ok_or_else(broken)
        };
        let text = |of: &'a StructArray, name: &str| {
            let column: Option<&'a Arc<dyn Array>> = of.column_by_name(name);
            column
                .and_then(|column| column.as_string_view_opt())
                .ok_or_else(broken)
        };
        let source = row(fields, "source")?;
        Ok(Self {
            before: row(fields, "before")?,
            after: row(fields, "after")?,
            op: text(fields, "op")?,
            ts_ms: text(fields, "ts_ms")?,
            source,
            snapshot: text(source, "snapshot")?,
            source_ts_ms: text(source, "ts_ms")?,
        })
    }

    /// Says what a line does and which image counts: 0 before, 1 after.
    fn judge(&self, row: usize) -> Result<(Operation, Option<usize>), (&'static str, String)> {
        if self.op.is_null(row) {
            let message = "expected an envelope that says c, u, d, r, t or m, found no 'op'";
            return Err(("op", message.into()));
        }
        let word = self.op.value(row);
        let Some(operation) = envelope_operation(word) else {
            return Err(("op", format!("expected c, u, d, r, t or m, found '{word}'")));
        };
        let (image, rows, name) = match operation {
            Operation::Does(Change::Upsert) => (1, self.after, "after"),
            Operation::Does(Change::Delete) => (0, self.before, "before"),
            Operation::Does(Change::Truncate) | Operation::Skips => return Ok((operation, None)),
        };
        if rows.is_null(row) {
            return Err((
                name,
                format!("expected the row in '{name}' of an op '{word}', found none"),
            ));
        }
        Ok((operation, Some(image)))
    }

    /// Notes the time of a line in its database, or else that of the envelope, and whether the
    /// snapshot is over.
    fn note(&self, row: usize, marks: &Marks) {
        let has_source = self.source.is_valid(row);
        let number = |text: &StringViewArray| {
            let text = text.is_valid(row).then(|| text.value(row));
            text.and_then(|text| text.parse::<i64>().ok())
        };
        let source_ms = number(self.source_ts_ms).filter(|_| has_source);
        if let Some(ms) = source_ms.or_else(|| number(self.ts_ms)) {
            marks.note_time(ms.saturating_mul(1000));
        }
        let word = (has_source && self.snapshot.is_valid(row)).then(|| self.snapshot.value(row));
        let is_snapshot = word.is_some_and(|word| SNAPSHOT_WORDS.contains(&word));
        if !is_snapshot {
            marks.note_snapshot_over();
        }
    }
}
