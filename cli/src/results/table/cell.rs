//! The text of a table's cells.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use console::measure_text_width;

use super::super::WriteError;

/// One value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    is_null: bool,
}

impl Cell {
    /// Holds a text.
    pub(crate) fn text(text: String) -> Self {
        Self { text, is_null: false }
    }

    /// Holds NULL.
    fn null() -> Self {
        Self {
            text: "NULL".to_owned(),
            is_null: true,
        }
    }

    /// Says whether it is NULL, not the text `NULL`.
    pub(crate) fn is_null(&self) -> bool {
        self.is_null
    }

    /// Returns how many lines it takes.
    pub(crate) fn lines(&self) -> usize {
        self.text.split('\n').count()
    }

    /// Breaks its lines to a width where it has several: a plan must not be cut.
    pub(crate) fn wrapped(&self, width: usize) -> Self {
        if self.lines() == 1 || self.width() <= width {
            return self.clone();
        }
        let mut text = String::with_capacity(self.text.len() + 16);
        for line in self.text.split('\n') {
            // What follows stands below what a line begins with, and a little to the right.
            let indent = line.len() - line.trim_start().len() + 4;
            let indent = if indent * 2 > width { 0 } else { indent };
            let mut used = 0;
            for character in line.chars() {
                let wide = measure_text_width(character.encode_utf8(&mut [0; 4]));
                if used + wide > width {
                    text.push('\n');
                    text.push_str(&" ".repeat(indent));
                    used = indent;
                }
                text.push(character);
                used += wide;
            }
            text.push('\n');
        }
        text.pop();
        Self {
            text,
            is_null: self.is_null,
        }
    }

    /// Returns one of its lines.
    pub(crate) fn line(&self, at: usize) -> &str {
        self.text.split('\n').nth(at).unwrap_or_default()
    }

    /// Returns the width of its widest line.
    pub(crate) fn width(&self) -> usize {
        self.text.split('\n').map(measure_text_width).max().unwrap_or(0)
    }
}

/// Says whether values line up at their right ends.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values),
        other => other.is_numeric(),
    }
}

/// Writes the values of a batch, row by row.
pub(crate) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>, WriteError> {
    let options = FormatOptions::default()
        .with_display_error(false)
        .with_null("NULL");
    let mut rows: Vec<Vec<Cell>> = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let nulls = column.logical_nulls();
        for (at, row) in rows.iter_mut().enumerate() {
            row.push(if nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
                Cell::null()
            } else {
                let mut text = String::new();
                formatter.value(at).write(&mut text)?;
                Cell::text(visible(&text))
            });
        }
    }
    Ok(rows)
}

/// Shows control characters rather than obeying them: data must not steer a terminal. A line's end
/// stays one, as plans and other long texts have them.
pub(crate) fn visible(text: &str) -> String {
    if !text.contains(|c: char| c.is_control()) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.trim_end_matches('\n').chars() {
        match character {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("\u{1b}[31mred\r\n\tx\n"), "\\u{1b}[31mred\\r\n    x");
    }

    #[test]
    fn a_cell_may_have_several_lines() {
        let cell = Cell::text("ab\nlonger".into());
        assert_eq!(
            (cell.lines(), cell.width(), cell.line(1), cell.line(2)),
            (2, 6, "longer", "")
        );
    }

    #[test]
    fn a_long_line_among_several_is_broken() {
        let cell = Cell::text("Plan\n  abcdefghijklmnopqr".into()).wrapped(12);
        assert_eq!(cell.text, "Plan\n  abcdefghij\n      klmnop\n      qr");
        let single = Cell::text("abcdefghijklmnop".into());
        assert_eq!(single.wrapped(5), single);
    }
}
