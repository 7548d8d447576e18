//! Reads CSV: header, records, typed columns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use fletching::connector::{Reader, SourceReport};
use fletching::{Error, Result};

use super::bad_rows::{BadRow, BadRowDesk, cell_row, fault_of, finish, null_rows};
use super::buffer::{BATCH_BYTES_MAX, RECORD_BYTES_MAX, Span, TextBuffer};
use super::csv_split::{Cell, CsvCells, CsvSplitter, Fault, Step};
use super::csv_style::CsvStyle;
use super::values::{is_text, parse_column};
use super::{Picked, TextOptions};
use crate::file::paths::{SourceFile, file_error};

/// A CSV file's records, cut but not yet typed.
pub(super) struct CsvRecords {
    pub(super) buffer: TextBuffer,
    pub(super) splitter: CsvSplitter,
    /// Cells kept of each record.
    pub(super) stride: usize,
    /// Columns that a record should have; `None` until the first is seen.
    columns: Option<usize>,
    pub(super) records: Vec<Span>,
    pub(super) cells: Vec<Cell>,
    consumed: usize,
    lines: u64,
}

impl CsvRecords {
    fn open(
        file: &SourceFile,
        options: &TextOptions,
        style: &CsvStyle,
        report: &Arc<SourceReport>,
    ) -> Result<Self> {
        let buffer = TextBuffer::open(file, options.packing_of(file), report)?;
        Ok(Self {
            buffer,
            splitter: CsvSplitter::new(style.clone(), Vec::new()),
            stride: 0,
            columns: None,
            records: Vec::new(),
            cells: Vec::new(),
            consumed: 0,
            lines: 0,
        })
    }

    /// Keeps the cells of some columns only; every record should have `columns` of them.
    pub(super) fn keep(&mut self, style: &CsvStyle, kept: Vec<bool>) {
        self.columns = Some(kept.len());
        self.stride = kept.iter().filter(|kept| **kept).count();
        // An empty list would mean all.
        let kept = if kept.is_empty() { vec![false] } else { kept };
        self.splitter = CsvSplitter::new(style.clone(), kept);
    }

    /// Cuts the next records, at most `rows_max`; adds those with faults to `bad`.
    pub(super) fn cut(&mut self, rows_max: usize, bad: &mut Vec<BadRow>) -> Result<()> {
        self.records.clear();
        self.cells.clear();
        (self.consumed, self.lines) = (0, 0);
        while self.records.len() < rows_max && self.consumed < BATCH_BYTES_MAX {
            let line = self.buffer.line + self.lines;
            let ended = self.buffer.is_ended();
            let data = self.buffer.data();
            match self
                .splitter
                .split(data, self.consumed, line, ended, &mut self.cells)
            {
                Step::End => break,
                Step::Incomplete => {
                    if data.len() - self.consumed > RECORD_BYTES_MAX {
                        return Err(self.buffer.too_long(line));
                    }
                    self.buffer.fill()?;
                }
                Step::Record {
                    span,
                    next,
                    lines,
                    cells,
                    fault,
                } => {
                    let row = self.records.len();
                    bad.extend(fault_row(row, fault));
                    let columns = *self.columns.get_or_insert(cells);
                    if cells != columns && fault.is_none() {
                        bad.push(count_row(row, columns, cells));
                    }
                    self.records.push(span);
                    self.cells
                        .resize(self.records.len() * self.stride, Cell::default());
                    self.consumed = next;
                    self.lines += lines;
                }
            }
        }
        Ok(())
    }

    /// Overwrites the records that are not UTF-8 and adds them to `bad`.
    pub(super) fn blot_out(&mut self, bad: &mut Vec<BadRow>) {
        let data = &mut self.buffer.data_mut()[..self.consumed];
        if std::str::from_utf8(data).is_err() {
            blot_out(data, &self.records, bad);
        }
    }

    /// Returns the text of the records that were cut.
    pub(super) fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.buffer.data()[..self.consumed])
            .map_err(|_| Error::internal("CSV records are not text"))
    }

    /// Lets go of the records that were cut.
    pub(super) fn release(&mut self) {
        self.buffer.consume(self.consumed);
        self.buffer.line += self.lines;
    }
}

fn fault_row(row: usize, fault: Option<Fault>) -> Option<BadRow> {
    let (message, hint) = match fault? {
        Fault::Unclosed => ("a quote is opened and never closed", "close it"),
        Fault::AfterQuote => (
            "expected a delimiter or the line's end after a closing quote",
            "double the quotes within a quoted cell",
        ),
    };
    Some(BadRow {
        hint: Some(hint),
        ..BadRow::new(row, message)
    })
}

fn count_row(row: usize, expected: usize, found: usize) -> BadRow {
    let hint = if found > expected {
        "check the options delimiter and quote"
    } else {
        "check that the line is whole and the option delimiter is right"
    };
    let message = format!("expected {expected} fields, found {found}");
    BadRow {
        hint: Some(hint),
        ..BadRow::new(row, message)
    }
}

/// Overwrites everything that is not UTF-8, so that the rest of a batch can be read as text.
fn blot_out(data: &mut [u8], records: &[Span], bad: &mut Vec<BadRow>) {
    for (row, span) in records.iter().enumerate() {
        let bytes = &mut data[span.start..span.end];
        if let Err(error) = std::str::from_utf8(bytes) {
            let message = format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1);
            let hint = Some("convert the file to UTF-8");
            bad.push(BadRow {
                hint,
                raw: Some(bytes.to_vec()),
                ..BadRow::new(row, message)
            });
            bytes.fill(b'?');
        }
    }
    // Comments may hold anything.
    while let Err(error) = std::str::from_utf8(data) {
        let at = error.valid_up_to();
        let length = error.error_len().unwrap_or(data.len() - at);
        data[at..at + length].fill(b'?');
    }
}

/// Opens a file and reads its header: the columns' names, and the records that follow.
///
/// Without a header the first record tells how many columns there are, and is a record itself.
pub(super) fn open_csv(
    file: &SourceFile,
    options: &TextOptions,
    style: &CsvStyle,
    report: &Arc<SourceReport>,
) -> Result<(Vec<String>, CsvRecords)> {
    let mut records = CsvRecords::open(file, options, style, report)?;
    let mut bad = Vec::new();
    records.stride = 0;
    let names = header_names(&mut records, style, &mut bad)?;
    if let Some(bad) = bad.first() {
        let hint = "check the options header, delimiter and quote".to_owned();
        return Err(file_error(
            &file.path,
            format!("its first line {}", bad.message),
            Some(hint),
        ));
    }
    match names {
        Some(names) => {
            if style.header {
                records.release();
                check_names(file, &names)?;
            }
            records.columns = Some(names.len());
            Ok((names, records))
        }
        None if style.header => {
            let hint = "set header = 'false' and declare the columns, or leave the file out";
            Err(file_error(
                &file.path,
                "is empty; expected a header",
                Some(hint.to_owned()),
            ))
        }
        None => Ok((Vec::new(), records)),
    }
}

fn header_names(
    records: &mut CsvRecords,
    style: &CsvStyle,
    bad: &mut Vec<BadRow>,
) -> Result<Option<Vec<String>>> {
    loop {
        let (line, ended) = (records.buffer.line, records.buffer.is_ended());
        let mut cells = Vec::new();
        match records
            .splitter
            .split(records.buffer.data(), 0, line, ended, &mut cells)
        {
            Step::End => return Ok(None),
            Step::Incomplete if records.buffer.data().len() > RECORD_BYTES_MAX => {
                return Err(records.buffer.too_long(line));
            }
            Step::Incomplete => records.buffer.fill()?,
            Step::Record {
                span,
                next,
                lines,
                fault,
                ..
            } => {
                bad.extend(fault_row(0, fault));
                records.records = vec![span];
                (records.consumed, records.lines) = (next, lines);
                if !style.header {
                    let names = (1..=cells.len()).map(|at| format!("column_{at}")).collect();
                    return Ok(Some(names));
                }
                let splitter = CsvSplitter::new(style.clone(), Vec::new());
                records.blot_out(bad);
                let text = records.text()?;
                let mut scratch = String::new();
                let names = cells
                    .iter()
                    .enumerate()
                    .map(|(at, cell)| {
                        let name = splitter.text(text, *cell, true, &mut scratch);
                        match name.unwrap_or_default().trim() {
                            "" => format!("column_{}", at + 1),
                            name => name.to_owned(),
                        }
                    })
                    .collect();
                return Ok(Some(names));
            }
        }
    }
}

fn check_names(file: &SourceFile, names: &[String]) -> Result<()> {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let hint = "rename one of them, or set header = 'false' and declare the columns";
            let message = format!("its header names the column '{name}' twice");
            return Err(file_error(&file.path, message, Some(hint.to_owned())));
        }
    }
    Ok(())
}

/// Reads one CSV file of a scan.
pub(super) struct CsvReader {
    records: CsvRecords,
    picked: Picked,
    /// For each decoded column, its cell among those kept.
    slots: Vec<usize>,
    batch_rows_max: usize,
    desk: BadRowDesk,
}

impl CsvReader {
    /// Starts to read; `places` gives for each of the source's columns its place in the file.
    pub(super) fn new(
        mut records: CsvRecords,
        style: &CsvStyle,
        places: &[usize],
        picked: Picked,
        (batch_rows_max, desk): (usize, BadRowDesk),
    ) -> Self {
        let mut kept = vec![false; records.columns.unwrap_or(0)];
        for column in &picked.decoded {
            if let Some(kept) = places.get(*column).and_then(|place| kept.get_mut(*place)) {
                *kept = true;
            }
        }
        let slot = |place: usize| kept[..place.min(kept.len())].iter().filter(|k| **k).count();
        let slots = picked
            .decoded
            .iter()
            .map(|column| slot(places.get(*column).copied().unwrap_or(0)))
            .collect();
        records.keep(style, kept);
        Self {
            records,
            picked,
            slots,
            batch_rows_max,
            desk,
        }
    }

    fn decode(&mut self, mut bad: Vec<BadRow>) -> Result<RecordBatch> {
        let rows = self.records.records.len();
        self.records.blot_out(&mut bad);
        let data = self.records.text()?;
        let CsvRecords {
            splitter,
            cells,
            stride,
            records,
            ..
        } = &self.records;
        let mut columns = Vec::with_capacity(self.slots.len());
        for (field, slot) in self.picked.schema.fields().iter().zip(&self.slots) {
            let (stride, slot, of_text) = (*stride, *slot, is_text(field.data_type()));
            let cells = CsvCells {
                splitter,
                data,
                cells,
                stride,
                slot,
                of_text,
            };
            let mut bad_cells = Vec::new();
            let column = parse_column(&cells, field.data_type(), &mut bad_cells)?;
            bad.extend(bad_cells.into_iter().map(|cell| cell_row(field, cell)));
            bad.extend(null_rows(field, column.as_ref(), &bad));
            columns.push(column);
        }
        if let Some(judge) = &self.picked.judge {
            let operations = judge.operations(&columns)?;
            bad.extend(judge.faults(&operations, &columns)?.into_iter().map(fault_of));
        }
        let stays = self.desk.settle(bad, records, data.as_bytes())?;
        let kept: Vec<_> = self
            .picked
            .output
            .iter()
            .map(|at| Arc::clone(&columns[*at]))
            .collect();
        finish(&self.picked, kept, rows, stays.as_ref())
    }
}

impl Reader for CsvReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut bad = Vec::new();
        self.records.cut(self.batch_rows_max, &mut bad)?;
        if self.records.records.is_empty() {
            return Ok(None);
        }
        let batch = self.decode(bad)?;
        self.records.release();
        Ok(Some(batch))
    }
}
