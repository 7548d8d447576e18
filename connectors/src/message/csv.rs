//! CSV: a message is one record without a header, its fields are the columns in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Fields, SchemaRef};
use fletching::connector::Options;
use fletching::{Error, Result};

use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, unfit, unwritable};
use crate::file::text::csv_split::{Cell, CsvCells, CsvSplitter, Fault, Step};
use crate::file::text::values::{is_readable, is_text, parse_column};
use crate::file::text::{CsvStyle, CsvWriter, cell_reason, is_writable_csv};

/// Messages that are one CSV record each.
#[derive(Debug, Clone)]
pub(super) struct CsvMessages {
    style: CsvStyle,
}

impl CsvMessages {
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let style = CsvStyle {
            header: false,
            ..CsvStyle::from_options(options, false)?
        };
        Ok(Self { style })
    }
}

impl MessageFormat for CsvMessages {
    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        for field in fields {
            if !is_readable(field.data_type()) {
                let hint = "use json, avro or protobuf";
                return Err(unfit("csv", field.name(), field.data_type(), hint));
            }
        }
        Ok(Box::new(CsvDecoder {
            splitter: CsvSplitter::new(self.style.clone(), Vec::new()),
            columns: fields.len(),
            wanted: wanted
                .iter()
                .filter_map(|at| Some((*at, Arc::clone(fields.get(*at)?))))
                .collect(),
        }))
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        for field in schema.fields() {
            if !is_writable_csv(field.data_type()) {
                let hint = "use json, avro or protobuf";
                return Err(unfit("csv", field.name(), field.data_type(), hint));
            }
        }
        Ok(Box::new(CsvEncoder {
            style: self.style.clone(),
        }))
    }
}

struct CsvDecoder {
    splitter: CsvSplitter,
    columns: usize,
    /// The columns wanted, each with its place in a record.
    wanted: Vec<(usize, Arc<Field>)>,
}

impl CsvDecoder {
    /// Cuts a message into cells; says what is wrong where it is not one record.
    fn cut(&self, data: &[u8], at: usize, cells: &mut Vec<Cell>) -> Result<(), String> {
        if let Err(error) = std::str::from_utf8(&data[at..]) {
            return Err(format!("is not UTF-8 text at byte {}", error.valid_up_to() + 1));
        }
        match self.splitter.split(data, at, 1, true, cells) {
            Step::Record {
                fault: Some(Fault::Unclosed),
                ..
            } => Err("a quote is opened and never closed".to_owned()),
            Step::Record {
                fault: Some(Fault::AfterQuote),
                ..
            } => Err("expected a delimiter after a closing quote".to_owned()),
            Step::Record { cells: found, .. } if found != self.columns => {
                Err(format!("expected {} fields, found {found}", self.columns))
            }
            Step::Record { next, .. } if !data[next..].trim_ascii().is_empty() => {
                Err("expected one record, found more".to_owned())
            }
            Step::Record { .. } => Ok(()),
            Step::Incomplete | Step::End => Err("expected a record, found nothing".to_owned()),
        }
    }
}

impl MessageDecoder for CsvDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let (stride, mut cells) = (self.columns, Vec::new());
        let mut faulty = Vec::new();
        for row in 0..messages.len() {
            let range = messages.range(row);
            let cut = self.cut(&messages.bytes()[..range.end], range.start, &mut cells);
            if let Err(reason) = cut {
                bad.push(BadMessage::new(row, reason));
                cells.truncate(row * stride);
                faulty.push(range);
            }
            cells.resize((row + 1) * stride, Cell::default());
        }
        // Bad messages are overwritten, so that the rest can be read as text in one piece.
        let mut owned;
        let bytes = if faulty.is_empty() {
            messages.bytes()
        } else {
            owned = messages.bytes().to_vec();
            for range in faulty {
                owned[range].fill(b'?');
            }
            owned.as_slice()
        };
        let data = std::str::from_utf8(bytes).map_err(|_| Error::internal("CSV messages are not text"))?;
        let known: Vec<usize> = bad.iter().map(|bad| bad.message).collect();
        let mut columns = Vec::with_capacity(self.wanted.len());
        for (slot, field) in &self.wanted {
            let cells = CsvCells {
                splitter: &self.splitter,
                data,
                cells: &cells,
                stride,
                slot: *slot,
                of_text: is_text(field.data_type()),
            };
            let mut bad_cells = Vec::new();
            columns.push(parse_column(&cells, field.data_type(), &mut bad_cells)?);
            let fresh = bad_cells.iter().filter(|cell| !known.contains(&cell.row));
            bad.extend(fresh.map(|cell| BadMessage {
                column: Some(field.name().clone()),
                ..BadMessage::new(cell.row, cell_reason(field, cell))
            }));
        }
        Ok(columns)
    }
}

struct CsvEncoder {
    style: CsvStyle,
}

impl MessageEncoder for CsvEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let mut lines = Vec::new();
        let mut writer = CsvWriter::new(self.style.clone());
        writer
            .write(batch, &mut lines)
            .map_err(|error| unwritable("csv", &error))?;
        // A line end within quotes belongs to its record.
        let (mut start, mut is_quoted) = (0, false);
        for (at, byte) in lines.iter().enumerate() {
            if Some(*byte) == self.style.quote {
                is_quoted = !is_quoted;
            } else if *byte == b'\n' && !is_quoted {
                out.push(&lines[start..at]);
                start = at + 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Int64Type};

    fn format() -> CsvMessages {
        CsvMessages::from_options(&Options::new("stream s")).unwrap()
    }

    #[test]
    fn records_come_back_as_they_were() {
        let batch = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["x\n\"y\",z", ""]))),
        ])
        .unwrap();
        let mut out = Payloads::default();
        format()
            .encoder(&batch.schema())
            .unwrap()
            .encode(&batch, &mut out)
            .unwrap();
        assert_eq!(out.len(), 2);
        let mut bad = Vec::new();
        let mut decoder = format().decoder(batch.schema().fields(), &[0, 1]).unwrap();
        let back = decoder.decode(&out, &mut bad).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(&back[0], batch.column(0));
        assert_eq!(&back[1], batch.column(1));
    }

    #[test]
    fn what_is_not_one_record_is_bad() {
        let fields = Fields::from(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
        ]);
        let mut messages = Payloads::default();
        for text in ["1,x", "2", "3,y\n4,z", "5,\"open", "6,\u{e9}", "x,y"] {
            messages.push(text.as_bytes());
        }
        messages.push(b"7,\xff");
        let mut bad = Vec::new();
        let columns = format()
            .decoder(&fields, &[1, 0])
            .unwrap()
            .decode(&messages, &mut bad)
            .unwrap();
        let mut at: Vec<_> = bad.iter().map(|bad| bad.message).collect();
        at.sort_unstable();
        assert_eq!(at, [1, 2, 3, 5, 6]);
        assert_eq!(columns[1].as_primitive::<Int64Type>().value(4), 6);
        assert_eq!(columns[0].as_string_view().value(4), "é");
        assert_eq!(columns[0].len(), 7);
    }
}
