//! Writes Parquet: some ten thousand rows at a time, their columns encoded side by side.
//!
//! ```text
//!   batches ──▶ pending ──(enough rows)──▶ column 0 ─┐
//!                                          column 1 ─┼─ each on a thread of the pool it is called in
//!                                          column 2 ─┘
//!   (row group full) ──▶ columns closed, their pages appended to the file in order
//! ```
//!
//! Values are written by a dictionary until it is too large. A column whose dictionary was is written
//! plainly from the next row group on: a dictionary of its first values takes room, and gains nothing.
//! The statistics of short texts are made here rather than by the library (`text_bounds.rs`).

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, GzipLevel, PageType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use super::atomic::AtomicFile;
use super::encode::{Encoder, unbuffered};
use super::text_bounds::TextBounds;

/// How pages are packed, by the option's word.
pub(crate) struct ParquetPacking;

impl ParquetPacking {
    /// The words of the option `compression`.
    pub(crate) const WORDS: [&str; 5] = ["zstd", "snappy", "gzip", "lz4", "none"];

    fn compression(at: usize) -> Compression {
        match at {
            0 => Compression::ZSTD(ZstdLevel::default()),
            1 => Compression::SNAPPY,
            2 => Compression::GZIP(GzipLevel::default()),
            3 => Compression::LZ4_RAW,
            _ => Compression::UNCOMPRESSED,
        }
    }
}

/// Rows that are encoded together: enough work for a thread to be worth waking, few enough to
/// hold.
const ROWS_PENDING_MAX: usize = 1 << 17;

/// A column of the row group at hand.
struct Column {
    /// The writers of its leaves.
    writers: Vec<ArrowColumnWriter>,
    /// The bounds of its texts, if they began short.
    bounds: Option<TextBounds>,
}

impl Column {
    fn write(&mut self, schema: &SchemaRef, at: usize, batch: &RecordBatch) -> Result<(), ParquetError> {
        let values = batch.column(at);
        if let (Some(bounds), Some(texts)) = (&mut self.bounds, values.as_string_view_opt()) {
            bounds.take(texts);
        }
        let leaves = compute_leaves(schema.field(at), values)?;
        let mut leaves = leaves.iter().zip(&mut self.writers);
        leaves.try_for_each(|(leaf, writer)| writer.write(leaf))
    }

    fn close(self) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let chunks = self.writers.into_iter().map(|writer| {
            let mut chunk = writer.close()?;
            if let Some(bounds) = &self.bounds {
                bounds.complete(chunk.close_mut())?;
            }
            Ok(chunk)
        });
        chunks.collect()
    }
}

/// Writes Parquet.
pub(crate) struct ParquetEncoder {
    file: SerializedFileWriter<BufWriter<AtomicFile>>,
    /// Leaves that had too many values for a dictionary.
    plain: Vec<ColumnPath>,
    packing: usize,
    schema: SchemaRef,
    row_group_rows: usize,
    groups: usize,
    columns: Vec<Column>,
    /// Rows given to `columns`.
    rows_in_group: usize,
    pending: Vec<RecordBatch>,
    rows_pending: usize,
}

impl ParquetEncoder {
    /// Starts a file; `packing` is a position in [`ParquetPacking::WORDS`].
    pub(crate) fn new(
        file: AtomicFile,
        schema: &SchemaRef,
        packing: usize,
        row_group_rows: usize,
    ) -> Result<Self, ArrowError> {
        let properties = Some(properties(packing).build());
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(schema), properties)?;
        let (file, _) = writer.into_serialized_writer()?;
        Ok(Self {
            file,
            plain: Vec::new(),
            packing,
            schema: Arc::clone(schema),
            row_group_rows,
            groups: 0,
            columns: Vec::new(),
            rows_in_group: 0,
            pending: Vec::new(),
            rows_pending: 0,
        })
    }

    /// Makes the writers of the next row group, gathered by column.
    fn start_group(&mut self) -> Result<(), ArrowError> {
        let column = |at: usize| Column {
            writers: Vec::new(),
            bounds: self.is_of_short_texts(at).then(TextBounds::default),
        };
        let mut columns: Vec<Column> = (0..self.schema.fields().len()).map(column).collect();
        let leaves = self.factory(&columns)?.create_column_writers(self.groups)?;
        for (leaf, writer) in leaves.into_iter().enumerate() {
            let root = self.file.schema_descr().get_column_root_idx(leaf);
            columns[root].writers.push(writer);
        }
        self.columns = columns;
        self.groups += 1;
        Ok(())
    }

    /// Says whether what is pending of a column are texts that lie within their views.
    fn is_of_short_texts(&self, column: usize) -> bool {
        let mut pending = self
            .pending
            .iter()
            .map(|batch| batch.column(column).as_string_view_opt());
        *self.schema.field(column).data_type() == DataType::Utf8View
            && pending.all(|texts| texts.is_some_and(TextBounds::serve))
    }

    /// Encodes what is pending.
    fn encode(&mut self) -> Result<(), ArrowError> {
        if self.rows_pending == 0 {
            return Ok(());
        }
        if self.columns.is_empty() {
            self.start_group()?;
        }
        let (pending, schema) = (&self.pending, &self.schema);
        let columns = self.columns.par_iter_mut().enumerate();
        columns.try_for_each(|(at, column)| {
            pending
                .iter()
                .try_for_each(|batch| column.write(schema, at, batch))
        })?;
        self.rows_in_group += self.rows_pending;
        self.rows_pending = 0;
        self.pending.clear();
        Ok(())
    }

    /// Ends the row group at hand.
    fn end_group(&mut self) -> Result<(), ArrowError> {
        self.encode()?;
        if self.rows_in_group == 0 {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let chunks: Vec<_> = columns
            .into_par_iter()
            .map(Column::close)
            .collect::<Result<_, _>>()?;
        let mut group = self.file.next_row_group()?;
        for chunk in chunks.into_iter().flatten() {
            let written = &chunk.close().metadata;
            if has_outgrown_its_dictionary(written) {
                self.plain.push(written.column_path().clone());
            }
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.rows_in_group = 0;
        Ok(())
    }

    /// Makes what makes the writers of columns: some write plainly, and some leave statistics to us.
    fn factory(&self, columns: &[Column]) -> Result<ArrowRowGroupWriterFactory, ArrowError> {
        let plain = |properties: WriterPropertiesBuilder, leaf: &ColumnPath| {
            properties.set_column_dictionary_enabled(leaf.clone(), false)
        };
        let properties = self.plain.iter().fold(properties(self.packing), plain);
        let bounded = columns.iter().zip(self.schema.fields());
        let bounded = bounded.filter(|(column, _)| column.bounds.is_some());
        let properties = bounded.fold(properties, |properties, (_, field)| {
            let leaf = ColumnPath::new(vec![field.name().clone()]);
            properties.set_column_statistics_enabled(leaf, EnabledStatistics::None)
        });
        // Properties come from a file, of which there is no other need.
        let schema = self.file.schema_descr().root_schema_ptr();
        let nowhere = SerializedFileWriter::new(io::sink(), schema, Arc::new(properties.build()))?;
        let schema = Arc::clone(&self.schema);
        Ok(ArrowRowGroupWriterFactory::new(&nowhere, schema))
    }
}

fn properties(packing: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(ParquetPacking::compression(packing))
}

/// Says whether a column was written by a dictionary, and then some of it without.
fn has_outgrown_its_dictionary(column: &ColumnChunkMetaData) -> bool {
    let is_plain = |page: &PageEncodingStats| {
        matches!(page.page_type, PageType::DATA_PAGE | PageType::DATA_PAGE_V2)
            && !matches!(
                page.encoding,
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
            )
    };
    let pages = column.page_encoding_stats();
    column.dictionary_page_offset().is_some() && pages.is_some_and(|pages| pages.iter().any(is_plain))
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut from = 0;
        while from < batch.num_rows() {
            let room = self.row_group_rows - self.rows_in_group - self.rows_pending;
            let rows = room.min(batch.num_rows() - from);
            self.pending.push(batch.slice(from, rows));
            self.rows_pending += rows;
            from += rows;
            if rows == room {
                self.end_group()?;
            } else if self.rows_pending >= ROWS_PENDING_MAX {
                self.encode()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<AtomicFile, ArrowError> {
        self.end_group()?;
        unbuffered(self.file.into_inner()?)
    }
}
