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

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, GzipLevel, PageType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use super::atomic::AtomicFile;
use super::encode::{Encoder, unbuffered};

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

/// The writers of a column's leaves in the row group at hand.
type ColumnWriters = Vec<ArrowColumnWriter>;

/// Writes Parquet.
pub(crate) struct ParquetEncoder {
    file: SerializedFileWriter<BufWriter<AtomicFile>>,
    factory: ArrowRowGroupWriterFactory,
    /// Leaves that had too many values for a dictionary.
    plain: Vec<ColumnPath>,
    packing: usize,
    schema: SchemaRef,
    row_group_rows: usize,
    groups: usize,
    columns: Vec<ColumnWriters>,
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
        let (file, factory) = writer.into_serialized_writer()?;
        Ok(Self {
            file,
            factory,
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
        let mut columns: Vec<ColumnWriters> = self.schema.fields().iter().map(|_| Vec::new()).collect();
        let leaves = self.factory.create_column_writers(self.groups)?;
        for (leaf, writer) in leaves.into_iter().enumerate() {
            let root = self.file.schema_descr().get_column_root_idx(leaf);
            columns[root].push(writer);
        }
        self.columns = columns;
        self.groups += 1;
        Ok(())
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
        self.columns.par_iter_mut().enumerate().try_for_each(
            |(at, writers)| -> Result<(), ParquetError> {
                for batch in pending {
                    let leaves = compute_leaves(schema.field(at), batch.column(at))?;
                    for (leaf, writer) in leaves.iter().zip(writers.iter_mut()) {
                        writer.write(leaf)?;
                    }
                }
                Ok(())
            },
        )?;
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
        let close = |writers: ColumnWriters| -> Result<Vec<ArrowColumnChunk>, ParquetError> {
            writers.into_iter().map(ArrowColumnWriter::close).collect()
        };
        let columns = std::mem::take(&mut self.columns);
        let chunks: Vec<_> = columns.into_par_iter().map(close).collect::<Result<_, _>>()?;
        let plain_before = self.plain.len();
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
        if self.plain.len() > plain_before {
            self.factory = self.plainer_factory()?;
        }
        Ok(())
    }

    /// Makes what makes the writers of columns, some of which are written plainly.
    fn plainer_factory(&self) -> Result<ArrowRowGroupWriterFactory, ArrowError> {
        let plain = |properties: WriterPropertiesBuilder, leaf: &ColumnPath| {
            properties.set_column_dictionary_enabled(leaf.clone(), false)
        };
        let properties = self.plain.iter().fold(properties(self.packing), plain);
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
