//! Interleaved columns: the values of a row side by side, so that one cache miss fetches them all.
//!
//! ```text
//!   columns      number │ 1 2 3 …       ratio │ .5 .7 .1 …      word │ "a" "b" "c" …
//!
//!   interleaved  ┌──────┬───────┬────────┬─────┐┌──────┬───────┬────────┬─────┐
//!                │ "a"  │   1   │   .5   │     ││ "b"  │   2   │   .7   │     │ …   ░ one row of zeros
//!                └──────┴───────┴────────┴─────┘└──────┴───────┴────────┴─────┘
//!                widest values first, a row padded so that it shares its cache line with whole rows
//! ```
//!
//! Gathering n columns of a table larger than the caches costs n misses a row, and those are most
//! of a join's time. From interleaved columns it costs one for each 64 bytes of the row. Rows are
//! taken a block at a time: the first column's pass loads the block's lines, the passes of the
//! others find them in the first-level cache. This is the row-wise layout of Zukowski, Nes and
//! Boncz, "DSM vs. NSM: CPU performance tradeoffs in block-oriented query processing" (DaMoN 2008).

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_buffer::{ArrowNativeType, Buffer, MutableBuffer, NullBuffer};
use arrow_schema::DataType;
use rayon::prelude::*;

use super::copy::{copy_keys, copy_rows, copy_to_places, fields_of, place, room_for};
use super::fixed::gather_nulls;
use super::gathering::Gathering;
use super::picks::Picks;
use crate::key::words::KeyWord;
use crate::prefetch::prefetch_far;
use crate::{KernelError, RowId};

/// The widest value that is interleaved: a view or a 128-bit decimal.
pub(super) const VALUE_BYTES_MAX: usize = 16;

/// Bytes of rows worked on at a time: what a first-level cache holds. The misses of a block
/// overlap by themselves; asking for its lines ahead was tried, and gained nothing.
const BLOCK_BYTES: usize = 32 << 10;

/// The least number of rows worked on at a time, however wide.
const BLOCK_ROWS_MIN: usize = 64;

/// Rows copied at a time while interleaving: what they fill stays in the second-level cache.
const COPY_ROWS: usize = 4096;

/// Columns of a table copied row by row.
///
/// Holds a copy of the values of fixed width (views count as such), and shares validity bitmaps
/// and the bytes behind views with the columns it was made of.
pub struct Interleaved {
    bytes: Buffer,
    /// From a row to the next.
    stride: usize,
    rows: usize,
    pub(super) fields: Vec<Field>,
    /// Where the key of a row is, if rows carry theirs.
    key_offset: usize,
}

pub(super) struct Field {
    pub(super) column: ArrayRef,
    /// Which rows of the copy have no value.
    pub(super) nulls: Option<NullBuffer>,
    pub(super) offset: usize,
    pub(super) width: usize,
}

impl Interleaved {
    /// Returns the bytes of a value, for the types that can be interleaved: those whose values, or
    /// views, have a fixed width of up to 16 bytes.
    ///
    /// ```
    /// use arrow_schema::DataType;
    /// use fletching_kernels::Interleaved;
    /// assert_eq!(Interleaved::value_bytes(&DataType::Int32), Some(4));
    /// assert_eq!(Interleaved::value_bytes(&DataType::Utf8View), Some(16));
    /// assert_eq!(Interleaved::value_bytes(&DataType::Utf8), None);
    /// ```
    #[must_use]
    pub fn value_bytes(data_type: &DataType) -> Option<usize> {
        match data_type {
            DataType::Utf8View | DataType::BinaryView => Some(VALUE_BYTES_MAX),
            other => other
                .primitive_width()
                .filter(|width| (1..=VALUE_BYTES_MAX).contains(width)),
        }
    }

    /// Copies columns of equal length, on rayon's threads if told so. 5 to 10 ns a row and thread.
    ///
    /// # Errors
    ///
    /// [`KernelError::LengthMismatch`] for columns of different lengths, and
    /// [`KernelError::NotInterleavable`] for types without [`value_bytes`](Self::value_bytes).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{Array, ArrayRef, Float64Array, Int32Array};
    /// use fletching_kernels::{Interleaved, KernelError, NO_ROW, Picks};
    ///
    /// let number: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    /// let ratio: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.7, 0.1]));
    /// let rows = Interleaved::new(&[number, ratio], false)?;
    /// let gathered = rows.gather(&Picks::new(&[2, NO_ROW]))?;
    /// let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None]));
    /// assert_eq!(&gathered[0], &expected);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn new(columns: &[ArrayRef], parallel: bool) -> Result<Self, KernelError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut fields = fields_of(columns, rows)?;
        let (stride, key_offset) = place(&mut fields, 0);
        let copy = |(at, block): (usize, &mut [u8])| {
            for field in &fields {
                copy_rows(field, at * COPY_ROWS, block, stride);
            }
        };
        let block_bytes = COPY_ROWS * stride;
        let bytes = if parallel {
            let mut bytes = room_for(rows, stride);
            bytes.par_chunks_mut(block_bytes).enumerate().for_each(copy);
            bytes
        } else {
            // Zeroed a block at a time, while it is in cache.
            let mut bytes = MutableBuffer::with_capacity((rows + 1) * stride);
            for at in 0..=rows / COPY_ROWS {
                let from = bytes.len();
                bytes.resize((from + block_bytes).min((rows + 1) * stride), 0);
                copy((at, &mut bytes[from..]));
            }
            bytes
        };
        Ok(Self {
            bytes: bytes.into(),
            stride,
            rows,
            fields,
            key_offset,
        })
    }

    /// Copies rows to given places, each with its key. `places` names one for each row, `NO_ROW`
    /// for those that are left out, and `order` is its inverse. 20 to 30 ns a row.
    pub(crate) fn clustered<W: KeyWord>(
        columns: &[ArrayRef],
        keys: &[W],
        places: &[RowId],
        order: &[RowId],
    ) -> Result<Self, KernelError> {
        let mut fields = fields_of(columns, places.len())?;
        for field in &mut fields {
            let nulls = field.nulls.take();
            field.nulls = gather_nulls(nulls.as_ref(), &Picks::new(order));
        }
        let (stride, key_offset) = place(&mut fields, size_of::<W>());
        let mut bytes = room_for(order.len(), stride);
        // A block of rows at a time, so that the lines it goes to are missed once for all columns.
        for (at, places) in places.chunks(COPY_ROWS).enumerate() {
            let first = at * COPY_ROWS;
            for field in &fields {
                copy_to_places(field, first, places, &mut bytes, stride);
            }
            let keys = keys.get(first..).unwrap_or_default();
            copy_keys(keys, places, &mut bytes, stride, key_offset);
        }
        Ok(Self {
            bytes: bytes.into(),
            stride,
            rows: order.len(),
            fields,
            key_offset,
        })
    }

    /// Returns the keys of the rows, of the type they were given in.
    pub(crate) fn keys<K: ArrowNativeType>(&self) -> Cells<'_, K> {
        Cells::new(self, self.key_offset)
    }

    /// Gathers rows of all columns, in the order they were given; a missing row gives NULL.
    ///
    /// The same as [`Picks::gather`] for each column.
    ///
    /// # Errors
    ///
    /// [`KernelError::RowOutOfRange`] for a row id past the end.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int32Array};
    /// # use fletching_kernels::{Interleaved, KernelError, Picks};
    /// # let number: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    /// assert!(Interleaved::new(&[number], false)?.gather(&Picks::new(&[3])).is_err());
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn gather(&self, picks: &Picks<'_>) -> Result<Vec<ArrayRef>, KernelError> {
        self.gather_asking(picks, false)
    }

    /// Gathers as [`gather`](Self::gather) does; where told so, the lines of a block's rows are asked for
    /// while the block before is gathered. That pays for rows that nobody has looked at yet.
    pub(crate) fn gather_asking(
        &self,
        picks: &Picks<'_>,
        asks_ahead: bool,
    ) -> Result<Vec<ArrayRef>, KernelError> {
        picks.check_rows(self.rows)?;
        if picks.are_all_missing() {
            let nothing = |field: &Field| new_null_array(field.column.data_type(), picks.rows.len());
            return Ok(self.fields.iter().map(nothing).collect());
        }
        let mut gathering = Gathering::new(self, picks.rows.len(), picks.go_past_caches());
        let lines = Cells::<u8>::new(self, 0);
        if picks.are_mostly_missing() {
            picks.for_each_word(
                |row| lines.prefetch(row),
                |rows, found| gathering.take_found(rows, found),
            );
            return Ok(gathering.finish(picks));
        }
        let mut next = picks.rows.chunks(self.block_rows()).skip(1);
        for block in picks.rows.chunks(self.block_rows()) {
            if let Some(next) = next.next().filter(|_| asks_ahead) {
                next.iter().for_each(|row| lines.prefetch(*row));
            }
            gathering.take(block, picks.has_missing());
        }
        Ok(gathering.finish(picks))
    }

    /// Returns how many rows are worked on at a time.
    fn block_rows(&self) -> usize {
        (BLOCK_BYTES / self.stride).max(BLOCK_ROWS_MIN)
    }

    /// Returns the bytes of the copy.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{Interleaved, KernelError};
    /// let number: ArrayRef = Arc::new(Int64Array::from(vec![1; 1000]));
    /// assert_eq!(Interleaved::new(&[number], false)?.heap_bytes(), 8 * 1001);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl std::fmt::Debug for Interleaved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interleaved")
            .field("columns", &self.fields.len())
            .field("rows", &self.rows)
            .field("stride", &self.stride)
            .finish()
    }
}

/// The values of one field: every so many of the cells of its width that rows consist of.
///
/// How many misses are under way at once is a matter of how few instructions there are from one
/// to the next, hence words rather than bytes, and one comparison a value.
pub(crate) struct Cells<'a, T> {
    cells: &'a [T],
    step: usize,
    first: usize,
    /// The row of zeros, which stands for a missing one.
    zeros: usize,
}

impl<'a, T: ArrowNativeType> Cells<'a, T> {
    pub(super) fn new(from: &'a Interleaved, offset: usize) -> Self {
        let stride = from.stride;
        Self {
            zeros: from.rows,
            cells: from.bytes.typed_data(),
            step: stride / size_of::<T>(),
            first: offset / size_of::<T>(),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, row: usize) -> T {
        let at = row * self.step + self.first;
        self.cells.get(at).copied().unwrap_or_default()
    }

    /// Returns the value of a row, or zero of a missing one: a bound to compare with, rather than a
    /// branch to mispredict.
    #[inline(always)]
    pub(crate) fn get_or_zero(&self, row: RowId) -> T {
        self.get((row as usize).min(self.zeros))
    }

    /// Asks for the cache line of a row's value.
    #[inline(always)]
    pub(crate) fn prefetch(&self, row: RowId) {
        prefetch_far(
            self.cells,
            (row as usize).min(self.zeros) * self.step + self.first,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, Int64Array};

    use super::{COPY_ROWS, Interleaved};
    use crate::{NO_ROW, Picks};

    #[test]
    fn copies_every_block_on_one_thread_or_many() {
        let rows = i32::try_from(2 * COPY_ROWS).unwrap() + 3;
        let narrow: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows));
        let wide: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| -i64::from(row))));
        let columns = [narrow, wide];
        let all: Vec<u32> = (0..rows.cast_unsigned()).rev().collect();
        for parallel in [false, true] {
            let copy = Interleaved::new(&columns, parallel).unwrap();
            let gathered = copy.gather(&Picks::new(&all)).unwrap();
            for (gathered, column) in gathered.iter().zip(&columns) {
                assert_eq!(gathered, &Picks::new(&all).gather(column).unwrap());
            }
            assert_eq!(copy.gather(&Picks::new(&[NO_ROW])).unwrap()[1].null_count(), 1);
        }
    }
}
