//! What `repr` shows of a result: its first rows as a small table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use fletching::Result;

const ROWS_SHOWN_MAX: usize = 10;
const COLUMNS_SHOWN_MAX: usize = 12;
const CELL_CHARS_MAX: usize = 40;

/// Draws the first rows, and says how many rows and columns there are.
pub(crate) fn preview(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let columns = schema.fields().len();
    let size = format!("{} × {}", counted(rows, "row"), counted(columns, "column"));
    if columns == 0 {
        return Ok(format!("fletching.Rows: {size}"));
    }
    let shown = columns.min(COLUMNS_SHOWN_MAX);
    let mut drawn = Vec::with_capacity(shown);
    for (at, field) in schema.fields().iter().take(shown).enumerate() {
        let cells: ArrayRef = Arc::new(StringArray::from(cells(batches, at)?));
        drawn.push((shortened(field.name().clone()), cells, true));
    }
    let table = pretty_format_batches(&[RecordBatch::try_from_iter_with_nullable(drawn)?])?;
    let mut left_out = String::new();
    if rows > ROWS_SHOWN_MAX {
        left_out += &format!(", the first {ROWS_SHOWN_MAX} rows shown");
    }
    if columns > shown {
        left_out += &format!(", the first {shown} columns shown");
    }
    Ok(format!("{table}\n{size}{left_out}"))
}

/// Formats the first values of a column.
fn cells(batches: &[RecordBatch], column: usize) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut cells = Vec::new();
    for batch in batches {
        let values = ArrayFormatter::try_new(batch.column(column), &options)?;
        let rows = batch.num_rows().min(ROWS_SHOWN_MAX - cells.len());
        for row in 0..rows {
            cells.push(shortened(values.value(row).try_to_string()?));
        }
        if cells.len() == ROWS_SHOWN_MAX {
            break;
        }
    }
    Ok(cells)
}

/// Cuts a long text, and keeps it on its line.
fn shortened(text: String) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(CELL_CHARS_MAX).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short.replace(['\n', '\r', '\t'], " ")
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
