//! Concat: the batches of a table as one, for kernels that take a column as one array.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, ByteViewType, StringViewType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, GenericByteViewArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, downcast_primitive, new_empty_array,
};
use arrow_buffer::{NullBuffer, NullBufferBuilder};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat;

use crate::prefetch::chunks_ahead;
use crate::{KernelError, past_caches};

/// Columns from this size on are stored past the caches, which hold nothing of smaller value then.
const PAST_CACHES_BYTES_MIN: usize = 64 << 20;

/// Copies batches of one schema into one batch, in their order.
///
/// Views share the bytes that they point to. A column of 64 MiB and more whose values are of fixed width is
/// stored past the caches: 0.7 of the time (560 MB in pieces of 128 KiB). Others are copied as arrow does.
///
/// # Errors
///
/// [`KernelError::ColumnCount`] and [`KernelError::ColumnTypeMismatch`] for a batch of another schema, and
/// [`KernelError::Arrow`] where a column outgrows 32-bit offsets.
///
/// ```
/// use arrow_array::{RecordBatch, record_batch};
/// use fletching_kernels::{KernelError, concat_batches};
///
/// let batch = record_batch!(("id", Int64, [1, 2]))?;
/// let both = concat_batches(&batch.schema(), &[batch.clone(), batch])?;
/// assert_eq!(both, record_batch!(("id", Int64, [1, 2, 1, 2]))?);
/// # Ok::<(), KernelError>(())
/// ```
pub fn concat_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, KernelError> {
    concat_batches_from(PAST_CACHES_BYTES_MIN, schema, batches)
}

/// The same, with columns of so many bytes stored past the caches.
fn concat_batches_from(
    bytes_min: usize,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<RecordBatch, KernelError> {
    let count = schema.fields().len();
    if let Some(other) = batches.iter().find(|batch| batch.num_columns() != count) {
        return Err(KernelError::ColumnCount {
            expected: count,
            found: other.num_columns(),
        });
    }
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut columns = Vec::with_capacity(count);
    for (position, field) in schema.fields().iter().enumerate() {
        let pieces: Vec<&dyn Array> = batches
            .iter()
            .map(|batch| batch.column(position).as_ref())
            .collect();
        if let Some(other) = pieces.iter().find(|piece| piece.data_type() != field.data_type()) {
            return Err(KernelError::ColumnTypeMismatch {
                position,
                expected: field.data_type().clone(),
                found: other.data_type().clone(),
            });
        }
        let pieces = Pieces { pieces, rows };
        columns.push(match pieces.stored(field.data_type(), bytes_min) {
            Some(column) => column,
            None if batches.is_empty() => new_empty_array(field.data_type()),
            None => concat(&pieces.pieces)?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// A column in pieces of one type.
struct Pieces<'a> {
    pieces: Vec<&'a dyn Array>,
    rows: usize,
}

impl Pieces<'_> {
    /// Copies a column of so many bytes by stores past the caches, if its values are of fixed width.
    fn stored(&self, data_type: &DataType, bytes_min: usize) -> Option<ArrayRef> {
        macro_rules! primitive {
            ($t:ty) => {
                if self.rows * size_of::<<$t as ArrowPrimitiveType>::Native>() >= bytes_min {
                    Some(Arc::new(self.primitive::<$t>(data_type)))
                } else {
                    None
                }
            };
        }
        let are_long = self.rows * size_of::<u128>() >= bytes_min;
        downcast_primitive! {
            data_type => (primitive),
            DataType::Utf8View if are_long => Some(Arc::new(self.views::<StringViewType>())),
            DataType::BinaryView if are_long => Some(Arc::new(self.views::<BinaryViewType>())),
            _ => None,
        }
    }

    fn primitive<T: ArrowPrimitiveType>(&self, data_type: &DataType) -> PrimitiveArray<T> {
        let mut values = Vec::with_capacity(self.rows);
        for piece in &self.pieces {
            store(&mut values, piece.as_primitive::<T>().values(), |value| value);
        }
        past_caches::finish();
        // Decimals and timestamps carry more than their native type.
        PrimitiveArray::<T>::new(values.into(), self.nulls()).with_data_type(data_type.clone())
    }

    #[expect(
        unsafe_code,
        reason = "checking views again would read the bytes behind every one of them"
    )]
    fn views<T: ByteViewType>(&self) -> GenericByteViewArray<T> {
        let mut views = Vec::with_capacity(self.rows);
        let mut buffers = Vec::new();
        for piece in &self.pieces {
            let piece = piece.as_byte_view::<T>();
            match u32::try_from(buffers.len()) {
                Ok(first) if first > 0 && !piece.data_buffers().is_empty() => {
                    store(&mut views, piece.views(), |view| after(view, first));
                }
                _ => store(&mut views, piece.views(), |view| view),
            }
            buffers.extend_from_slice(piece.data_buffers());
        }
        past_caches::finish();
        // SAFETY: a view points into its piece's buffers, which now come after those of the pieces before;
        // there is a view and, where any are missing, a bit for each row.
        unsafe { GenericByteViewArray::new_unchecked(views.into(), buffers, self.nulls()) }
    }

    /// Returns which rows are there, unless all are.
    fn nulls(&self) -> Option<NullBuffer> {
        if self.pieces.iter().all(|piece| piece.null_count() == 0) {
            return None;
        }
        let mut valid = NullBufferBuilder::new(self.rows);
        for piece in &self.pieces {
            match piece.nulls() {
                Some(nulls) => valid.append_buffer(nulls),
                None => valid.append_n_non_nulls(piece.len()),
            }
        }
        valid.finish()
    }
}

/// Adds values to a column by stores past the caches.
#[inline(always)]
#[expect(unsafe_code, reason = "the stores copy bits, which a type has to have all of")]
fn store<T: Copy>(column: &mut Vec<T>, values: &[T], change: impl Fn(T) -> T) {
    for values in chunks_ahead(values) {
        // SAFETY: every bit of a value of Arrow is there.
        unsafe { past_caches::extend(column, values.iter().map(|value| change(*value))) }
    }
}

/// Points a view of a piece to buffers that come after so many others.
fn after(view: u128, buffers: u32) -> u128 {
    let mut view = ByteView::from(view);
    if view.length > MAX_INLINE_VIEW_LEN {
        // Wrapping: what a NULL's view says means nothing.
        view.buffer_index = view.buffer_index.wrapping_add(buffers);
    }
    view.as_u128()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::{Decimal128Type, Decimal256Type, Int8Type, Int64Type};
    use arrow_array::{
        ArrayRef, BinaryViewArray, BooleanArray, Float64Array, PrimitiveArray, RecordBatch, StringArray,
        StringViewArray, TimestampMicrosecondArray,
    };
    use arrow_buffer::i256;

    use super::concat_batches_from;
    use crate::KernelError;

    /// Makes a batch of some rows from a number on, one in three of them NULL where it is said so.
    fn batch(first: i64, rows: i64, has_nulls: bool) -> RecordBatch {
        let rows = || (first..first + rows).map(|row| (!has_nulls || row % 3 > 0).then_some(row));
        let text = |row: i64| "abcdefghijklmnopqrst"[..usize::try_from(row % 20).unwrap()].to_string();
        let texts = || rows().map(|row| row.map(text));
        let column = |array: ArrayRef| array;
        let money: PrimitiveArray<Decimal128Type> = rows().map(|row| row.map(i128::from)).collect();
        let wide: PrimitiveArray<Decimal256Type> = rows().map(|row| row.map(i256::from)).collect();
        RecordBatch::try_from_iter_with_nullable([
            (
                "small",
                column(Arc::new(
                    rows()
                        .map(|row| row.map(|row| (row % 100) as i8))
                        .collect::<PrimitiveArray<Int8Type>>(),
                )),
                true,
            ),
            (
                "number",
                column(Arc::new(rows().collect::<PrimitiveArray<Int64Type>>())),
                true,
            ),
            (
                "ratio",
                column(Arc::new(
                    rows()
                        .map(|row| row.map(|row| row as f64))
                        .collect::<Float64Array>(),
                )),
                true,
            ),
            (
                "time",
                column(Arc::new(
                    rows().collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
                )),
                true,
            ),
            (
                "money",
                column(Arc::new(money.with_precision_and_scale(20, 3).unwrap())),
                true,
            ),
            ("wide", column(Arc::new(wide)), true),
            (
                "word",
                column(Arc::new(texts().collect::<StringViewArray>())),
                true,
            ),
            (
                "bytes",
                column(Arc::new(texts().collect::<BinaryViewArray>())),
                true,
            ),
            ("text", column(Arc::new(texts().collect::<StringArray>())), true),
            (
                "flag",
                column(Arc::new(
                    rows().map(|row| row.map(|row| row > 5)).collect::<BooleanArray>(),
                )),
                true,
            ),
        ])
        .unwrap()
    }

    #[test]
    fn every_type_comes_out_as_arrow_has_it() {
        let piece = batch(7, 2500, true);
        let pieces = [
            batch(0, 1000, false),
            piece.slice(100, 1),
            piece.slice(0, 0),
            piece.slice(3, 2400),
            batch(11, 13, false),
        ];
        for pieces in [&pieces[..], &pieces[..1], &pieces[3..], &pieces[2..3], &[]] {
            let expected = arrow_select::concat::concat_batches(&piece.schema(), pieces).unwrap();
            for bytes_min in [0, 20_000, usize::MAX] {
                let all = concat_batches_from(bytes_min, &piece.schema(), pieces).unwrap();
                for column in all.columns() {
                    column.to_data().validate_full().unwrap();
                }
                assert_eq!(all, expected);
            }
        }
    }

    #[test]
    fn batches_of_another_schema_are_refused() {
        let whole = batch(0, 3, false);
        let check = |other: RecordBatch| {
            concat_batches_from(0, &whole.schema(), &[whole.clone(), other]).unwrap_err()
        };
        let fewer = check(whole.project(&[0, 1]).unwrap());
        assert!(matches!(
            fewer,
            KernelError::ColumnCount {
                expected: 10,
                found: 2
            }
        ));
        let turned = check(whole.project(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]).unwrap());
        assert!(matches!(
            turned,
            KernelError::ColumnTypeMismatch { position: 0, .. }
        ));
    }
}
