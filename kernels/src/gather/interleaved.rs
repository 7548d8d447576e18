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

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, ByteViewType, StringViewType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, GenericByteViewArray, PrimitiveArray};
use arrow_array::{downcast_primitive, new_null_array};
use arrow_buffer::{ArrowNativeType, Buffer, MutableBuffer, ScalarBuffer};
use arrow_schema::DataType;
use rayon::prelude::*;

use super::fixed::gather_nulls;
use super::picks::Picks;
use crate::{KernelError, RowId};

/// The widest value that is interleaved: a view or a 128-bit decimal.
const VALUE_BYTES_MAX: usize = 16;

/// What the processor loads at once.
const LINE_BYTES: usize = 64;

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
    fields: Vec<Field>,
}

struct Field {
    column: ArrayRef,
    offset: usize,
    width: usize,
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
        let mut fields = Vec::with_capacity(columns.len());
        for (position, column) in columns.iter().enumerate() {
            let Some(width) = Self::value_bytes(column.data_type()) else {
                return Err(KernelError::NotInterleavable {
                    position,
                    data_type: column.data_type().clone(),
                });
            };
            if column.len() != rows {
                return Err(KernelError::LengthMismatch {
                    what: "a column to interleave",
                    expected: rows,
                    found: column.len(),
                });
            }
            let column = Arc::clone(column);
            fields.push(Field {
                column,
                offset: 0,
                width,
            });
        }
        let stride = place(&mut fields);

        // One row more, of zeros: a missing row is read there.
        let mut bytes = MutableBuffer::from_len_zeroed((rows + 1) * stride);
        let copy = |(at, block): (usize, &mut [u8])| {
            for field in &fields {
                field.scatter(at * COPY_ROWS, block, stride);
            }
        };
        let block_bytes = COPY_ROWS * stride;
        if parallel {
            bytes.par_chunks_mut(block_bytes).enumerate().for_each(copy);
        } else {
            bytes.chunks_mut(block_bytes).enumerate().for_each(copy);
        }
        Ok(Self {
            bytes: bytes.into(),
            stride,
            rows,
            fields,
        })
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
        picks.check_rows(self.rows)?;
        if picks.are_all_missing() {
            let nothing = |field: &Field| new_null_array(field.column.data_type(), picks.rows.len());
            return Ok(self.fields.iter().map(nothing).collect());
        }
        let mut picked: Vec<Picked> = self
            .fields
            .iter()
            .map(|field| Picked::with_room_for(picks.rows.len(), field.width))
            .collect();
        for block in picks.rows.chunks(self.block_rows()) {
            for (field, picked) in self.fields.iter().zip(&mut picked) {
                picked.pick(self, field, picks, block);
            }
        }
        let columns = self.fields.iter().zip(picked);
        Ok(columns
            .map(|(field, picked)| field.finish(picked, picks))
            .collect())
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

impl Field {
    /// Writes values into a block of rows, from the column's row `first` on.
    fn scatter(&self, first: usize, block: &mut [u8], stride: usize) {
        let data = self.column.to_data();
        let values = &data.buffers()[0].as_slice()[data.offset() * self.width..];
        match self.width {
            1 => scatter::<1>(values, first, block, stride, self.offset),
            2 => scatter::<2>(values, first, block, stride, self.offset),
            4 => scatter::<4>(values, first, block, stride, self.offset),
            8 => scatter::<8>(values, first, block, stride, self.offset),
            _ => scatter::<16>(values, first, block, stride, self.offset),
        }
    }

    /// Makes an array of picked values.
    fn finish(&self, picked: Picked, picks: &Picks<'_>) -> ArrayRef {
        let values = picked.into_buffer();
        let column = &self.column;
        macro_rules! primitive {
            ($t:ty) => {
                Arc::new(primitive::<$t>(column, values, picks))
            };
        }
        downcast_primitive! {
            column.data_type() => (primitive),
            DataType::BinaryView => Arc::new(views::<BinaryViewType>(column, values, picks)),
            // The last type that is taken.
            _ => Arc::new(views::<StringViewType>(column, values, picks)),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    values: Buffer,
    picks: &Picks<'_>,
) -> PrimitiveArray<T> {
    let nulls = gather_nulls(column.nulls(), picks);
    let array = PrimitiveArray::<T>::new(ScalarBuffer::new(values, 0, picks.rows.len()), nulls);
    // Decimals and timestamps carry more than their native type.
    array.with_data_type(column.data_type().clone())
}

#[expect(
    unsafe_code,
    reason = "checking views again would read the bytes behind every one of them"
)]
fn views<T: ByteViewType>(column: &ArrayRef, values: Buffer, picks: &Picks<'_>) -> GenericByteViewArray<T> {
    let nulls = gather_nulls(column.nulls(), picks);
    let views = ScalarBuffer::new(values, 0, picks.rows.len());
    let buffers = column.as_byte_view::<T>().data_buffers().to_vec();
    // SAFETY: every view is a copy of one of the column's, or of the row of zeros, which is an
    // empty text; the buffers are the column's own; and `gather_nulls` gives a bit for each row.
    unsafe { GenericByteViewArray::new_unchecked(views, buffers, nulls) }
}

/// Gives each field its offset, widest first so that every value is aligned, and returns the
/// stride: a row lies in one cache line where it fits, and shares it with whole rows only.
fn place(fields: &mut [Field]) -> usize {
    let mut end = 0;
    for width in [16, 8, 4, 2, 1] {
        for field in fields.iter_mut().filter(|field| field.width == width) {
            field.offset = end;
            end += width;
        }
    }
    if end <= LINE_BYTES {
        end.next_power_of_two()
    } else {
        end.next_multiple_of(VALUE_BYTES_MAX)
    }
}

fn scatter<const W: usize>(values: &[u8], first: usize, block: &mut [u8], stride: usize, offset: usize) {
    let values = values.as_chunks::<W>().0.get(first..).unwrap_or_default();
    for (value, row) in values.iter().zip(block.chunks_exact_mut(stride)) {
        if let Some(place) = row.get_mut(offset..offset + W) {
            place.copy_from_slice(value);
        }
    }
}

/// The values of one field: every so many of the cells of its width that rows consist of.
///
/// How many misses are under way at once is a matter of how few instructions there are from one
/// to the next, hence words rather than bytes, and one comparison a value.
struct Cells<'a, T> {
    cells: &'a [T],
    step: usize,
    first: usize,
}

impl<'a, T: ArrowNativeType> Cells<'a, T> {
    fn new(bytes: &'a Buffer, stride: usize, offset: usize) -> Self {
        Self {
            cells: bytes.typed_data(),
            step: stride / size_of::<T>(),
            first: offset / size_of::<T>(),
        }
    }

    #[inline(always)]
    fn get(&self, row: usize) -> T {
        let at = row * self.step + self.first;
        self.cells.get(at).copied().unwrap_or_default()
    }
}

/// Values picked so far, by their width.
enum Picked {
    W1(Vec<u8>),
    W2(Vec<u16>),
    W4(Vec<u32>),
    W8(Vec<u64>),
    W16(Vec<i128>),
}

impl Picked {
    fn with_room_for(rows: usize, width: usize) -> Self {
        match width {
            1 => Self::W1(Vec::with_capacity(rows)),
            2 => Self::W2(Vec::with_capacity(rows)),
            4 => Self::W4(Vec::with_capacity(rows)),
            8 => Self::W8(Vec::with_capacity(rows)),
            _ => Self::W16(Vec::with_capacity(rows)),
        }
    }

    /// Adds a field's values of rows.
    fn pick(&mut self, from: &Interleaved, field: &Field, picks: &Picks<'_>, rows: &[RowId]) {
        macro_rules! pick {
            ($values:expr, $t:ty) => {{
                let cells = Cells::<$t>::new(&from.bytes, from.stride, field.offset);
                if picks.has_missing() {
                    // As a bound to compare with, rather than a branch to mispredict.
                    let zeros = from.rows;
                    $values.extend(rows.iter().map(|row| cells.get((*row as usize).min(zeros))))
                } else {
                    $values.extend(rows.iter().map(|row| cells.get(*row as usize)))
                }
            }};
        }
        match self {
            Self::W1(values) => pick!(values, u8),
            Self::W2(values) => pick!(values, u16),
            Self::W4(values) => pick!(values, u32),
            Self::W8(values) => pick!(values, u64),
            Self::W16(values) => pick!(values, i128),
        }
    }

    fn into_buffer(self) -> Buffer {
        match self {
            Self::W1(values) => values.into(),
            Self::W2(values) => values.into(),
            Self::W4(values) => values.into(),
            Self::W8(values) => values.into(),
            Self::W16(values) => values.into(),
        }
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
