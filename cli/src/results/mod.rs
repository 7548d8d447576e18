//! The rows of queries on their way out.
//!
//! ```text
//!  batches ──▶ ResultWriter (one a result) ──▶ Destination (one a run): stdout, or a file that
//!              table csv json arrow parquet     appears when everything is done
//! ```

mod csv;
mod destination;
mod format;
mod ipc;
mod json;
mod parquet_file;
mod table;

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::paint::Paint;

pub(crate) use destination::Destination;
pub(crate) use format::Format;
pub(crate) use table::ROWS_SHOWN;

/// What goes wrong while results are written; the destination knows whether its reader has gone.
pub(crate) type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// Writes the rows of one query.
pub(crate) trait ResultWriter {
    /// Adds a batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError>;

    /// Writes what is left.
    fn finish(self: Box<Self>) -> Result<(), WriteError>;

    /// Says whether further rows will be written, rather than just counted.
    fn wants_rows(&self) -> bool {
        true
    }
}

/// What a table looks like; other formats always look the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableLook {
    /// Colours.
    pub(crate) paint: Paint,
    /// At most this many rows are shown; `None` for all.
    pub(crate) rows_shown: Option<usize>,
    /// What shows all of them.
    pub(crate) rows_remedy: &'static str,
    /// At most this many columns of the screen are used; `None` for as many as it takes.
    pub(crate) width: Option<usize>,
    /// Whether rows are shown as they come, the widths settled by the first of them.
    pub(crate) as_they_come: bool,
    /// Whether a line with the number of rows and the time ends the table, and since when the
    /// time counts.
    pub(crate) footer: Option<Instant>,
}

/// Opens a writer for one result. `first` says that nothing has been written before.
///
/// # Errors
/// Fails where the format cannot hold such columns or the destination cannot be written.
pub(crate) fn open<'a>(
    format: Format,
    schema: SchemaRef,
    out: &'a mut Destination,
    look: TableLook,
) -> Result<Box<dyn ResultWriter + 'a>, WriteError> {
    if out.has_results() && matches!(format, Format::Table | Format::Csv) {
        // An empty line sets one result apart from the next.
        std::io::Write::write_all(out, b"\n")?;
    }
    out.count_result();
    Ok(match format {
        Format::Table => Box::new(table::TableWriter::new(schema, out, look)),
        Format::Csv => Box::new(csv::CsvWriter::new(&schema, out)?),
        Format::Json => Box::new(json::JsonWriter::new(out)),
        Format::Arrow => Box::new(ipc::IpcWriter::new(&schema, out)?),
        Format::Parquet => Box::new(parquet_file::ParquetWriter::new(schema, out)?),
    })
}
