//! The `Bytes` layout: one string or binary key, compared as views.
//!
//! ```text
//!   view, 16 bytes     short:  length │ up to 12 bytes, the rest zero
//!                      long:   length │ first 4 bytes │ buffer │ offset
//! ```
//!
//! The first 8 bytes of two views (length and prefix) tell nearly all different keys apart, and
//! the whole view decides for short keys; only long keys that agree so far look at their bytes.
//! The bytes themselves stay in the table's column and are shared with it.

use arrow_array::{Array, ArrayRef, BinaryViewArray};
use arrow_data::ByteView;
use arrow_schema::DataType;

use super::chain::Chains;
use super::fill::Rows;
use super::tag_table::{TagKeys, TagTable};
use crate::key::class::byte_views;
use crate::key::hash::KeyHasher;
use crate::prefetch::prefetch;
use crate::{KernelError, RowId};

/// The longest key that lies within its view.
const INLINE_BYTES_MAX: u32 = 12;

/// Strings or binaries to row ids.
pub(crate) struct ByteTable {
    keys: BinaryViewArray,
    tags: TagTable,
    hasher: KeyHasher,
    own_bytes: usize,
}

impl ByteTable {
    /// Builds from a decoded column; `rows` carries no comparison yet.
    pub(crate) fn build(
        column: &ArrayRef,
        hasher: KeyHasher,
        rows: &Rows<'_, ()>,
    ) -> Result<(Self, Chains), KernelError> {
        let keys = byte_views(column)?;
        let rows = Rows {
            count: rows.count,
            valid: rows.valid,
            same: |a: RowId, b: RowId| same(&keys, a as usize, &keys, b as usize),
            parallel: rows.parallel,
        };
        let (tags, chains) = TagTable::build(|row| hash(&hasher, &keys, row), &rows);
        let own_bytes = match column.data_type() {
            DataType::Utf8View | DataType::BinaryView => 0,
            DataType::FixedSizeBinary(_) => keys.get_array_memory_size(),
            _ => keys.views().inner().capacity(),
        };
        Ok((
            Self {
                keys,
                tags,
                hasher,
                own_bytes,
            },
            chains,
        ))
    }

    /// Writes the first row of each key of a decoded column, or `NO_ROW`.
    pub(crate) fn locate(&self, column: &ArrayRef, heads: &mut [RowId]) -> Result<(), KernelError> {
        let probe = byte_views(column)?;
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
        self.tags.heap_bytes() + self.own_bytes
    }
}

/// The keys of a probe against those of the table.
struct Probe<'a> {
    probe: &'a BinaryViewArray,
    table: &'a ByteTable,
}

impl TagKeys for Probe<'_> {
    #[inline(always)]
    fn hash(&self, row: usize) -> u64 {
        hash(&self.table.hasher, self.probe, row)
    }

    #[inline(always)]
    fn touch(&self, row: RowId) {
        prefetch(self.table.keys.views(), row as usize);
    }

    #[inline(always)]
    fn touch_bytes(&self, row: RowId) {
        let keys = &self.table.keys;
        if let Some(view) = keys.views().get(row as usize)
            && length(*view) > INLINE_BYTES_MAX
        {
            let view = ByteView::from(*view);
            if let Some(bytes) = keys.data_buffers().get(view.buffer_index as usize) {
                prefetch(bytes, view.offset as usize);
            }
        }
    }

    #[inline(always)]
    fn same(&self, row: usize, other: RowId) -> bool {
        same(self.probe, row, &self.table.keys, other as usize)
    }
}

/// Returns the length in a view.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length is the low 4 bytes")]
fn length(view: u128) -> u32 {
    view as u32
}

/// Hashes a key: as a word where it lies within its view, else as bytes.
#[inline(always)]
fn hash(hasher: &KeyHasher, keys: &BinaryViewArray, row: usize) -> u64 {
    let view = keys.views()[row];
    if length(view) <= INLINE_BYTES_MAX {
        hasher.wide(view)
    } else {
        hasher.bytes(keys.value(row))
    }
}

/// Compares two keys.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "length and prefix are the low 8 bytes"
)]
fn same(a: &BinaryViewArray, a_row: usize, b: &BinaryViewArray, b_row: usize) -> bool {
    let (a_view, b_view) = (a.views()[a_row], b.views()[b_row]);
    if a_view as u64 != b_view as u64 {
        return false;
    }
    if length(a_view) <= INLINE_BYTES_MAX {
        a_view == b_view
    } else {
        a.value(a_row) == b.value(b_row)
    }
}
