//! `connector = 'stdout'`: results on the terminal, as a table, CSV or JSON lines.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use fletching::connector::{
    Connector, EpochWriter, OptionSpec, Options, Position, RelationSpec, Sink, SinkSummary, SinkWriter,
    Source,
};
use fletching::{Error, Result};

/// Writes results to standard output.
///
/// The option `format` is `'table'` (the default), `'csv'` or `'json'`. A reader that goes away
/// early, as `head` does, ends the run without an error message.
///
/// ```
/// use fletching::connector::{Connector, Options, RelationKind, RelationSpec};
/// use fletching_connectors::StdoutConnector;
///
/// let spec = RelationSpec {
///     name: "seen".into(),
///     kind: RelationKind::Sink,
///     schema: None,
///     primary_key: Vec::new(),
///     options: Options::new("sink seen").with("format", "json"),
/// };
/// assert!(StdoutConnector.sink(&spec).is_ok());
/// assert!(StdoutConnector.source(&spec).is_err());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct StdoutConnector;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "connector",
        help: "stdout",
    },
    OptionSpec {
        name: "format",
        help: "table, csv or json",
    },
];

/// How many rows a table holds before it is printed and another is begun: columns are as wide as
/// the widest value, so a table is printed only when its rows are known.
const TABLE_ROWS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Table,
    #[cfg(feature = "csv")]
    Csv,
    #[cfg(feature = "json")]
    Json,
}

const STYLES: &[(&str, Style)] = &[
    ("table", Style::Table),
    #[cfg(feature = "csv")]
    ("csv", Style::Csv),
    #[cfg(feature = "json")]
    ("json", Style::Json),
];

impl Connector for StdoutConnector {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn source(&self, spec: &RelationSpec) -> Result<Arc<dyn Source>> {
        Err(Error::Option {
            subject: spec.subject(),
            message: "the connector 'stdout' cannot be read from".into(),
            hint: Some("use it in CREATE SINK".into()),
            location: None,
        })
    }

    fn sink(&self, spec: &RelationSpec) -> Result<Arc<dyn Sink>> {
        spec.options.check(OPTIONS)?;
        let words: Vec<&str> = STYLES.iter().map(|(word, _)| *word).collect();
        let at = spec.options.choice("format", &words)?.unwrap_or(0);
        Ok(Arc::new(StdoutSink { style: STYLES[at].1 }))
    }
}

#[derive(Debug)]
struct StdoutSink {
    style: Style,
}

impl Sink for StdoutSink {
    fn create(&self, schema: &SchemaRef) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(Printer::new(
            self.style,
            schema,
            BufWriter::new(io::stdout()),
        )?))
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn epochs(&self, schema: &SchemaRef, _consumer: &str) -> Result<Box<dyn EpochWriter>> {
        Ok(Box::new(EpochPrinter {
            printer: Printer::new(self.style, schema, BufWriter::new(io::stdout()))?,
            held: Vec::new(),
            rows: 0,
        }))
    }
}

/// Prints an epoch when it is committed. One that was printed is not taken back, and one that was
/// prepared and not printed is not printed by the next run: standard output keeps no state.
struct EpochPrinter<W: Write + Send> {
    printer: Printer<W>,
    held: Vec<RecordBatch>,
    rows: u64,
}

impl<W: Write + Send> EpochWriter for EpochPrinter<W> {
    fn restore(&mut self, _epoch: u64) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.held.push(batch.clone());
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64, _positions: &[Position]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _epoch: u64) -> Result<SinkSummary> {
        for batch in self.held.drain(..) {
            self.printer.print(&batch).map_err(failed)?;
        }
        if self.rows > 0 {
            self.printer.print_table().map_err(failed)?;
            self.printer.out.flush().map_err(|error| failed(error.into()))?;
        }
        Ok(SinkSummary {
            rows: std::mem::take(&mut self.rows),
            bytes: None,
            location: "standard output".into(),
        })
    }
}

/// Prints batches to some output.
struct Printer<W: Write + Send> {
    schema: SchemaRef,
    form: Form,
    out: W,
    rows: u64,
}

enum Form {
    Table {
        held: Vec<RecordBatch>,
        held_rows: usize,
        printed: bool,
    },
    #[cfg(feature = "csv")]
    Csv(crate::file::text::CsvWriter),
    #[cfg(feature = "json")]
    Json,
}

impl<W: Write + Send> Printer<W> {
    fn new(style: Style, schema: &SchemaRef, mut out: W) -> Result<Self> {
        let form = match style {
            Style::Table => Form::Table {
                held: Vec::new(),
                held_rows: 0,
                printed: false,
            },
            #[cfg(feature = "csv")]
            Style::Csv => {
                use crate::file::text::{CsvStyle, CsvWriter};
                let mut writer = CsvWriter::new(CsvStyle::from_options(&Options::new(""), false)?);
                let names = schema.fields().iter().map(|field| field.name().as_str());
                writer
                    .header(names, &mut out)
                    .map_err(|error| failed(error.into()))?;
                Form::Csv(writer)
            }
            #[cfg(feature = "json")]
            Style::Json => Form::Json,
        };
        let _ = &mut out;
        Ok(Self {
            schema: Arc::clone(schema),
            form,
            out,
            rows: 0,
        })
    }

    fn print(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match &mut self.form {
            Form::Table { held, held_rows, .. } => {
                *held_rows += batch.num_rows();
                held.push(batch.clone());
                if *held_rows < TABLE_ROWS {
                    return Ok(());
                }
                self.print_table()?;
            }
            #[cfg(feature = "csv")]
            Form::Csv(writer) => writer.write(batch, &mut self.out)?,
            #[cfg(feature = "json")]
            Form::Json => {
                let mut text = Vec::new();
                let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(&mut text);
                writer.write(batch)?;
                writer.finish()?;
                self.out.write_all(&text)?;
            }
        }
        Ok(self.out.flush()?)
    }

    /// Prints the rows that are held.
    fn print_table(&mut self) -> Result<(), ArrowError> {
        let Form::Table {
            held,
            held_rows,
            printed,
        } = &mut self.form
        else {
            return Ok(());
        };
        if held.is_empty() {
            if *printed {
                return Ok(());
            }
            held.push(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let options = FormatOptions::default()
            .with_null("NULL")
            .with_display_error(true);
        writeln!(
            self.out,
            "{}",
            pretty_format_batches_with_options(held, &options)?
        )?;
        held.clear();
        (*held_rows, *printed) = (0, true);
        Ok(())
    }
}

/// Turns a failed write into an error; a reader that went away is a cancelled run.
fn failed(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) if error.kind() == io::ErrorKind::BrokenPipe => Error::Cancelled,
        ArrowError::IoError(_, error) => Error::External {
            message: format!("cannot write to standard output: {error}"),
            source: Some(Arc::new(error)),
        },
        other => other.into(),
    }
}

impl<W: Write + Send> SinkWriter for Printer<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.print(batch).map_err(failed)
    }

    fn commit(mut self: Box<Self>) -> Result<SinkSummary> {
        let printed = self
            .print_table()
            .and_then(|()| Ok(self.out.flush()?))
            .map_err(failed);
        match printed {
            Ok(()) | Err(Error::Cancelled) => {}
            Err(error) => return Err(error),
        }
        Ok(SinkSummary {
            rows: self.rows,
            bytes: None,
            location: "standard output".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
        ]);
        let ids = Arc::new(Int64Array::from(vec![Some(1), None]));
        let names = Arc::new(StringViewArray::from(vec!["a,b", "c"]));
        RecordBatch::try_new(Arc::new(schema), vec![ids, names]).unwrap()
    }

    /// Shares what is printed with the test.
    #[derive(Clone, Default)]
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(style: Style, batches: &[RecordBatch]) -> String {
        let out = Shared::default();
        let mut printer = Box::new(Printer::new(style, &batch().schema(), out.clone()).unwrap());
        for batch in batches {
            printer.write(batch).unwrap();
        }
        printer.commit().unwrap();
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_shows_nulls() {
        let expected = "\
+------+------+
| id   | name |
+------+------+
| 1    | a,b  |
| NULL | c    |
+------+------+
";
        assert_eq!(printed(Style::Table, &[batch()]), expected);
        assert_eq!(printed(Style::Table, &[]).lines().count(), 4);
    }

    #[cfg(all(feature = "csv", feature = "json"))]
    #[test]
    fn csv_and_json_are_lines() {
        assert_eq!(printed(Style::Csv, &[batch()]), "id,name\n1,\"a,b\"\n,c\n");
        assert_eq!(
            printed(Style::Json, &[batch()]),
            "{\"id\":1,\"name\":\"a,b\"}\n{\"id\":null,\"name\":\"c\"}\n"
        );
    }

    #[test]
    fn a_reader_that_goes_away_cancels() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut printer = Printer::new(Style::Table, &batch().schema(), Closed).unwrap();
        let rows = vec![batch(); TABLE_ROWS / 2];
        let results: Result<Vec<()>> = rows.iter().map(|batch| printer.write(batch)).collect();
        assert!(matches!(results, Err(Error::Cancelled)));
        assert!(Box::new(printer).commit().is_ok());
    }
}
