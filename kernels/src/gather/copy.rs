//! Copying columns row by row, for `interleaved.rs`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{MutableBuffer, ToByteSlice};

use super::interleaved::{Field, Interleaved, VALUE_BYTES_MAX};
use crate::key::words::KeyWord;
use crate::prefetch::LINE_BYTES;
use crate::{KernelError, RowId};

/// Takes columns of so many rows as fields, without a place yet.
pub(super) fn fields_of(columns: &[ArrayRef], rows: usize) -> Result<Vec<Field>, KernelError> {
    let field = |(position, column): (usize, &ArrayRef)| {
        let Some(width) = Interleaved::value_bytes(column.data_type()) else {
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
        Ok(Field {
            column: Arc::clone(column),
            nulls: column.nulls().filter(|nulls| nulls.null_count() > 0).cloned(),
            offset: 0,
            width,
        })
    };
    columns.iter().enumerate().map(field).collect()
}

/// Gives each field, and a key of some width, its offset, widest first so that every value is
/// aligned. Returns the stride and the key's offset. A row lies in one cache line where it fits, and
/// shares it with whole rows only.
pub(super) fn place(fields: &mut [Field], key_width: usize) -> (usize, usize) {
    let (mut end, mut key_offset) = (0, 0);
    for width in [16, 8, 4, 2, 1] {
        if width == key_width {
            key_offset = end;
            end += width;
        }
        for field in fields.iter_mut().filter(|field| field.width == width) {
            field.offset = end;
            end += width;
        }
    }
    let stride = if end <= LINE_BYTES {
        end.next_power_of_two()
    } else {
        end.next_multiple_of(VALUE_BYTES_MAX)
    };
    (stride, key_offset)
}

/// Makes room for rows, and one more, of zeros: a missing row is read there.
pub(super) fn room_for(rows: usize, stride: usize) -> MutableBuffer {
    MutableBuffer::from_len_zeroed((rows + 1) * stride)
}

/// Calls a generic function with the values of a field from a row on, by their width.
macro_rules! with_values {
    ($field:expr, $first:expr, $function:ident, $($argument:expr),*) => {{
        let data = $field.column.to_data();
        let values = &data.buffers()[0].as_slice()[data.offset() * $field.width..];
        macro_rules! of_width {
            ($width:literal) => {{
                let values = values.as_chunks::<$width>().0;
                $function(values.get($first..).unwrap_or_default(), $($argument),*)
            }};
        }
        match $field.width {
            1 => of_width!(1),
            2 => of_width!(2),
            4 => of_width!(4),
            8 => of_width!(8),
            _ => of_width!(16),
        }
    }};
}

/// Writes values into a block of rows, from the column's row `first` on.
pub(super) fn copy_rows(field: &Field, first: usize, block: &mut [u8], stride: usize) {
    with_values!(field, first, write_rows, block, stride, field.offset);
}

/// Writes values, from the column's row `first` on, into the rows that are their places.
pub(super) fn copy_to_places(field: &Field, first: usize, places: &[RowId], bytes: &mut [u8], stride: usize) {
    with_values!(field, first, scatter, places, bytes, stride, field.offset);
}

fn write_rows<const W: usize>(values: &[[u8; W]], block: &mut [u8], stride: usize, offset: usize) {
    for (value, row) in values.iter().zip(block.chunks_exact_mut(stride)) {
        if let Some(cell) = row.get_mut(offset..offset + W) {
            cell.copy_from_slice(value);
        }
    }
}

/// Writes keys into the rows that are their places.
pub(super) fn copy_keys<W: KeyWord>(
    keys: &[W],
    places: &[RowId],
    bytes: &mut [u8],
    stride: usize,
    offset: usize,
) {
    for (key, place) in keys.iter().zip(places) {
        let at = *place as usize * stride + offset;
        if let Some(cell) = bytes.get_mut(at..at + size_of::<W>()) {
            cell.copy_from_slice(key.stored().to_byte_slice());
        }
    }
}

/// Writes values into the rows that are their places; one without a place is past the end.
fn scatter<const W: usize>(
    values: &[[u8; W]],
    places: &[RowId],
    bytes: &mut [u8],
    stride: usize,
    offset: usize,
) {
    for (value, place) in values.iter().zip(places) {
        let at = *place as usize * stride + offset;
        if let Some(cell) = bytes.get_mut(at..at + W) {
            cell.copy_from_slice(value);
        }
    }
}
