//! Writes CSV so that it reads back as it was: NULL is written bare, text that looks like NULL is
//! quoted.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::csv_style::CsvStyle;
use super::values::is_text;

/// Writes batches as CSV.
#[derive(Debug)]
pub(crate) struct CsvWriter {
    style: CsvStyle,
    /// Rows that are not yet handed on.
    pending: Vec<u8>,
}

/// How many bytes are gathered before they are handed on.
const PENDING_BYTES: usize = 64 * 1024;

impl CsvWriter {
    pub(crate) fn new(style: CsvStyle) -> Self {
        Self {
            style,
            pending: Vec::with_capacity(PENDING_BYTES + 1024),
        }
    }

    /// Writes the line that names the columns, where the style has one.
    pub(crate) fn header<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if !self.style.header {
            return Ok(());
        }
        for (at, name) in names.enumerate() {
            self.separate(at);
            self.cell(name, true, at == 0);
        }
        self.pending.push(b'\n');
        self.hand_on(out)
    }

    /// Writes a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_display_error(false);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            columns.push((formatter, column.logical_nulls(), is_text(column.data_type())));
        }
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for (at, (formatter, nulls, of_text)) in columns.iter().enumerate() {
                self.separate(at);
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    self.null(columns.len() == 1);
                    continue;
                }
                text.clear();
                formatter.value(row).write(&mut text)?;
                self.cell(&text, *of_text, at == 0);
            }
            self.pending.push(b'\n');
            if self.pending.len() >= PENDING_BYTES {
                self.hand_on(out)?;
            }
        }
        Ok(self.hand_on(out)?)
    }

    fn separate(&mut self, at: usize) {
        if at > 0 {
            self.pending.push(self.style.delimiter);
        }
    }

    /// Writes NULL; where it is a whole record and empty, the line must not look blank. Readers
    /// take a quoted empty cell of any but a text column for NULL.
    fn null(&mut self, alone: bool) {
        if alone && self.style.null.is_empty() {
            self.pending
                .extend(self.style.quote.into_iter().chain(self.style.quote));
        } else {
            self.pending.extend_from_slice(self.style.null.as_bytes());
        }
    }

    fn cell(&mut self, text: &str, of_text: bool, first: bool) {
        let style = &self.style;
        let Some(quote) = style.quote else {
            return self.pending.extend_from_slice(text.as_bytes());
        };
        let special = |byte: u8| byte == style.delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let comment = first && text.bytes().next().is_some_and(|b| Some(b) == style.comment);
        let looks_null = of_text && text == style.null;
        if !comment && !looks_null && !text.bytes().any(special) {
            return self.pending.extend_from_slice(text.as_bytes());
        }
        self.pending.push(quote);
        for byte in text.bytes() {
            if byte == quote || Some(byte) == style.escape {
                self.pending.push(style.escape.unwrap_or(quote));
            }
            self.pending.push(byte);
        }
        self.pending.push(quote);
    }

    fn hand_on(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}
