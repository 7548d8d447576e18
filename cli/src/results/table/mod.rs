//! Rows as a table that people read.
//!
//! ```text
//!  trade_id │ symbol │  price
//! ──────────┼────────┼────────
//!         1 │ AAA    │ 189.50
//!         2 │ BBB    │   NULL
//! … 336,774 more rows; --all-rows shows them
//! 336,776 rows in 0.412 s
//! ```
//!
//! The first rows are held back until there are enough of them to settle the widths, or one batch of a
//! query that goes on; from then on rows are written as they come, so a table may be longer than memory.

mod cell;
mod layout;

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use console::{measure_text_width, truncate_str};

use super::{Destination, ResultWriter, TableLook, WriteError};
use crate::figures;
use cell::{Cell, cells, is_number, visible};
use layout::{Column, Layout};

/// How many rows a terminal shows of a table.
pub(crate) const ROWS_SHOWN: usize = 40;
/// How many rows settle the widths.
const SAMPLE_ROWS: usize = 1000;

/// Writes a table.
pub(crate) struct TableWriter<'a> {
    out: &'a mut Destination,
    look: TableLook,
    names: Vec<String>,
    types: Vec<DataType>,
    sample: Vec<Vec<Cell>>,
    layout: Option<Layout>,
    rows: usize,
}

impl<'a> TableWriter<'a> {
    /// Writes nothing yet.
    pub(crate) fn new(schema: SchemaRef, out: &'a mut Destination, look: TableLook) -> Self {
        let fields = schema.fields();
        Self {
            out,
            look,
            names: fields.iter().map(|field| visible(field.name())).collect(),
            types: fields.iter().map(|field| field.data_type().clone()).collect(),
            sample: Vec::new(),
            layout: None,
            rows: 0,
        }
    }

    fn rows_shown(&self) -> usize {
        self.look.rows_shown.unwrap_or(usize::MAX)
    }

    /// Settles the widths, writes the header and the rows held back.
    fn settle(&mut self) -> Result<(), WriteError> {
        let sample = std::mem::take(&mut self.sample);
        let mut columns: Vec<Column> = self
            .names
            .iter()
            .zip(&self.types)
            .map(|(name, data_type)| Column {
                width: measure_text_width(name),
                is_number: is_number(data_type),
            })
            .collect();
        for row in &sample {
            for (column, cell) in columns.iter_mut().zip(row) {
                column.width = column.width.max(cell.width());
            }
        }
        let layout = Layout::fit(columns, self.look.width);
        self.write_header(&layout)?;
        for row in &sample {
            self.write_row(row, &layout)?;
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn write_header(&mut self, layout: &Layout) -> Result<(), WriteError> {
        if self.names.is_empty() {
            return Ok(());
        }
        let names = self
            .names
            .iter()
            .map(|name| Cell::text(name.clone()))
            .collect::<Vec<_>>();
        let paint = self.look.paint;
        let header = line(&names, 0, layout, |text, _| paint.strong(text), &paint.dim("│"));
        writeln!(self.out, "{header}")?;
        let rule = layout
            .shown()
            .map(|column| "─".repeat(column.width + 2))
            .collect::<Vec<_>>()
            .join("┼");
        writeln!(self.out, "{}", paint.dim(rule))?;
        Ok(())
    }

    fn write_row(&mut self, row: &[Cell], layout: &Layout) -> Result<(), WriteError> {
        let paint = self.look.paint;
        let bar = paint.dim("│");
        let row: Vec<Cell> = row
            .iter()
            .zip(layout.shown())
            .map(|(cell, column)| layout.wrap(cell, column))
            .collect();
        let lines = row.iter().map(Cell::lines).max().unwrap_or(0);
        for at in 0..lines {
            let style = |text: &str, is_null: bool| if is_null { paint.dim(text) } else { text.to_owned() };
            writeln!(self.out, "{}", line(&row, at, layout, style, &bar))?;
        }
        Ok(())
    }

    fn write_footer(&mut self) -> Result<(), WriteError> {
        let paint = self.look.paint;
        if let Some(layout) = &self.layout {
            let hidden: Vec<&str> = self
                .names
                .iter()
                .skip(layout.shown().count())
                .map(String::as_str)
                .collect();
            if !hidden.is_empty() {
                let number = figures::counted(hidden.len() as u64, "more column");
                let names = hidden.join(", ");
                let width = self
                    .look
                    .width
                    .unwrap_or(80)
                    .saturating_sub(number.len() + 4)
                    .max(20);
                writeln!(
                    self.out,
                    "{}",
                    paint.dim(format!("… {number}: {}", truncate_str(&names, width, "…")))
                )?;
            }
        }
        if self.rows > self.rows_shown() {
            let remedy = self.look.rows_remedy;
            let more = figures::counted((self.rows - self.rows_shown()) as u64, "more row");
            writeln!(
                self.out,
                "{}",
                paint.dim(format!("… {more}; {remedy} shows them"))
            )?;
        }
        if let Some(since) = self.look.footer {
            let rows = figures::counted(self.rows as u64, "row");
            let time = figures::duration(since.elapsed());
            writeln!(self.out, "{}", paint.dim(format!("{rows} in {time}")))?;
        }
        Ok(())
    }
}

impl ResultWriter for TableWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let wanted = self.rows_shown().saturating_sub(self.rows).min(batch.num_rows());
        self.rows += batch.num_rows();
        for row in cells(&batch.slice(0, wanted))? {
            match self.layout.take() {
                Some(layout) => {
                    self.write_row(&row, &layout)?;
                    self.layout = Some(layout);
                }
                None => {
                    self.sample.push(row);
                    if self.sample.len() >= SAMPLE_ROWS.min(self.rows_shown()) {
                        self.settle()?;
                    }
                }
            }
        }
        if self.look.as_they_come {
            if self.layout.is_none() {
                self.settle()?;
            }
            self.out.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), WriteError> {
        if self.layout.is_none() {
            self.settle()?;
        }
        self.write_footer()?;
        Ok(self.out.flush()?)
    }

    fn wants_rows(&self) -> bool {
        self.rows < self.rows_shown()
    }
}

/// Puts one line of a row together.
fn line(row: &[Cell], at: usize, layout: &Layout, style: impl Fn(&str, bool) -> String, bar: &str) -> String {
    let mut text = String::new();
    for (column, cell) in layout.shown().zip(row) {
        if !text.is_empty() {
            text.push_str(bar);
        }
        let shown = truncate_str(cell.line(at), column.width.max(layout.width_min(cell)), "…");
        let gap = " ".repeat(column.width.saturating_sub(measure_text_width(&shown)));
        let shown = style(&shown, cell.is_null());
        if column.is_number {
            text.push_str(&format!(" {gap}{shown} "));
        } else {
            text.push_str(&format!(" {shown}{gap} "));
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

#[cfg(test)]
mod tests;
