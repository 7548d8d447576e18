//! CSV that tells NULL from an empty text: NULL is nothing at all, an empty text is `""`.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Destination, ResultWriter, WriteError};

/// Writes CSV.
pub(crate) struct CsvWriter<'a> {
    out: &'a mut Destination,
    /// The text of one batch.
    lines: String,
}

impl<'a> CsvWriter<'a> {
    /// Writes the header.
    pub(crate) fn new(schema: &Schema, out: &'a mut Destination) -> Result<Self, WriteError> {
        let mut lines = String::new();
        for (at, field) in schema.fields().iter().enumerate() {
            separate(at, &mut lines);
            cell(field.name(), &mut lines);
        }
        lines.push('\n');
        out.write_all(lines.as_bytes())?;
        Ok(Self { out, lines })
    }
}

impl ResultWriter for CsvWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.lines.clear();
        encode(batch, &mut self.lines)?;
        self.out.write_all(self.lines.as_bytes())?;
        // Who reads a slow stream's rows wants them as they come.
        Ok(self.out.flush()?)
    }

    fn finish(self: Box<Self>) -> Result<(), WriteError> {
        Ok(())
    }
}

fn encode(batch: &RecordBatch, lines: &mut String) -> Result<(), WriteError> {
    let options = FormatOptions::default().with_display_error(false);
    let mut columns = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        columns.push((
            ArrayFormatter::try_new(column.as_ref(), &options)?,
            column.logical_nulls(),
        ));
    }
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (at, (formatter, nulls)) in columns.iter().enumerate() {
            separate(at, lines);
            if !nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                text.clear();
                formatter.value(row).write(&mut text)?;
                cell(&text, lines);
            }
        }
        lines.push('\n');
    }
    Ok(())
}

fn separate(at: usize, lines: &mut String) {
    if at > 0 {
        lines.push(',');
    }
}

fn cell(text: &str, lines: &mut String) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return lines.push_str(text);
    }
    lines.push('"');
    lines.push_str(&text.replace('"', "\"\""));
    lines.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, NullArray, StringArray};

    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![
            Some("a,b"),
            Some(""),
            None,
            Some("\"q\"\n"),
        ]));
        let money = Decimal128Array::from(vec![150, -5, 0, 1]).with_precision_and_scale(9, 2);
        let money: ArrayRef = Arc::new(money.expect("they fit"));
        let nothing: ArrayRef = Arc::new(NullArray::new(4));
        let batch = RecordBatch::try_from_iter([("t", text), ("m", money), ("n", nothing)]);
        let mut lines = String::new();
        encode(&batch.expect("equal lengths"), &mut lines).expect("all can be written");
        assert_eq!(
            lines,
            "\"a,b\",1.50,\n\"\",-0.05,\n,0.00,\n\"\"\"q\"\"\n\",0.01,\n"
        );
    }
}
