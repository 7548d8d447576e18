//! The `Rows` layout: any tuple, encoded by arrow-row into one buffer.

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;

use super::chain::Chains;
use super::fill::Rows;
use super::tag_table::{TagKeys, TagTable};
use crate::key::class::byte_views;
use crate::key::float::normalize;
use crate::key::hash::KeyHasher;
use crate::prefetch::prefetch;
use crate::{KernelError, NO_ROW, RowId};

/// Encoded tuples to row ids.
pub(crate) struct RowTable {
    converter: RowConverter,
    keys: arrow_row::Rows,
    tags: TagTable,
    hasher: KeyHasher,
}

impl RowTable {
    /// Builds from decoded columns; `rows` carries no comparison yet.
    pub(crate) fn build(
        columns: &[ArrayRef],
        types: &[DataType],
        hasher: KeyHasher,
        rows: &Rows<'_, ()>,
    ) -> Result<(Self, Chains), KernelError> {
        let fields = types.iter().map(|plain| SortField::new(plain.clone())).collect();
        let converter = RowConverter::new(fields)?;
        let keys = converter.convert_columns(&plain_columns(columns)?)?;
        let rows = Rows {
            count: rows.count,
            valid: rows.valid,
            same: |a: RowId, b: RowId| keys.row(a as usize) == keys.row(b as usize),
            parallel: rows.parallel,
        };
        let (tags, chains) = TagTable::build(|row| hasher.bytes(keys.row(row).as_ref()), &rows);
        Ok((
            Self {
                converter,
                keys,
                tags,
                hasher,
            },
            chains,
        ))
    }

    /// Writes the first row of each tuple's key, or `NO_ROW`.
    pub(crate) fn locate(&self, columns: &[ArrayRef], heads: &mut [RowId]) -> Result<(), KernelError> {
        let probe = self.converter.convert_columns(&plain_columns(columns)?)?;
        self.tags.locate(
            &Probe {
                probe: &probe,
                table: self,
            },
            heads,
        );
        Ok(())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.tags.heap_bytes() + self.keys.size() + self.converter.size()
    }
}

/// The tuples of a probe against those of the table.
struct Probe<'a> {
    probe: &'a arrow_row::Rows,
    table: &'a RowTable,
}

impl TagKeys for Probe<'_> {
    #[inline(always)]
    fn hash(&self, row: usize) -> u64 {
        self.table.hasher.bytes(self.probe.row(row).as_ref())
    }

    // Where a row begins is known to arrow-row alone; `touch_bytes` waits for it.
    #[inline(always)]
    fn touch(&self, _row: RowId) {}

    #[inline(always)]
    fn touch_bytes(&self, row: RowId) {
        if row != NO_ROW {
            prefetch(self.table.keys.row(row as usize).as_ref(), 0);
        }
    }

    #[inline(always)]
    fn same(&self, row: usize, other: RowId) -> bool {
        self.probe.row(row).as_ref() == self.table.keys.row(other as usize).as_ref()
    }
}

/// Brings decoded columns to the one encoding of their type, so that all rows compare.
pub(crate) fn plain_columns(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>, KernelError> {
    columns
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => {
                Ok(std::sync::Arc::new(byte_views(column)?.to_string_view()?) as ArrayRef)
            }
            DataType::Binary | DataType::LargeBinary => {
                Ok(std::sync::Arc::new(byte_views(column)?) as ArrayRef)
            }
            _ => normalize(column),
        })
        .collect()
}
