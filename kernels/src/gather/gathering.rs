//! Gathering: columns that rows of an interleaved copy are being taken to, some at a time.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, downcast_primitive};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::fill::{fill, fill_found};
use super::fixed::{gather_nulls, views_of};
use super::interleaved::{Cells, Field, Interleaved};
use super::picks::Picks;
use crate::{RowId, past_caches};

/// The columns of an interleaved copy, filled up to some row.
pub(crate) struct Gathering<'a> {
    from: &'a Interleaved,
    /// A column each, in the order of the copy's fields.
    values: Vec<Values>,
    past_caches: bool,
}

impl<'a> Gathering<'a> {
    /// Makes room for so many rows, in columns that are stored past the caches if told so.
    pub(crate) fn new(from: &'a Interleaved, rows: usize, past_caches: bool) -> Self {
        let values = |field: &Field| Values::with_room_for(rows, field.width);
        Self {
            from,
            values: from.fields.iter().map(values).collect(),
            past_caches,
        }
    }

    /// Takes the next rows, some of them missing if it is said so: zeros stand for those.
    #[inline]
    pub(crate) fn take(&mut self, rows: &[RowId], has_missing: bool) {
        for (field, values) in self.from.fields.iter().zip(&mut self.values) {
            values.take(self.from, field, rows, has_missing, self.past_caches);
        }
    }

    /// Takes the next rows, up to a word of them: those that have a bit, and zeros for the others.
    #[inline]
    pub(super) fn take_found(&mut self, rows: &[RowId], found: u64) {
        for (field, values) in self.from.fields.iter().zip(&mut self.values) {
            values.take_found(self.from, field, rows, found, self.past_caches);
        }
    }

    /// Makes arrays of what was taken: of the rows of `picks`, the missing ones being NULL. Room for
    /// many more rows is given back.
    pub(crate) fn finish(self, picks: &Picks<'_>) -> Vec<ArrayRef> {
        if self.past_caches {
            past_caches::finish();
        }
        let columns = self.from.fields.iter().zip(self.values);
        columns
            .map(|(field, values)| array(field, values, picks))
            .collect()
    }
}

/// Makes an array of a field's values.
fn array(field: &Field, values: Values, picks: &Picks<'_>) -> ArrayRef {
    let rows = picks.rows.len();
    let values = values.into_buffer();
    let nulls = gather_nulls(field.nulls.as_ref(), picks);
    let column = &field.column;
    macro_rules! primitive {
        ($t:ty) => {
            Arc::new(primitive::<$t>(
                column,
                ScalarBuffer::new(values, 0, rows),
                nulls,
            ))
        };
    }
    downcast_primitive! {
        column.data_type() => (primitive),
        DataType::BinaryView => Arc::new(views_of(column.as_binary_view(), ScalarBuffer::new(values, 0, rows), nulls)),
        // The last type that is taken.
        _ => Arc::new(views_of(column.as_string_view(), ScalarBuffer::new(values, 0, rows), nulls)),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    values: ScalarBuffer<T::Native>,
    nulls: Option<NullBuffer>,
) -> PrimitiveArray<T> {
    let array = PrimitiveArray::<T>::new(values, nulls);
    // Decimals and timestamps carry more than their native type.
    array.with_data_type(column.data_type().clone())
}

/// Runs a block with the values taken so far and the cells that they come from, by their width.
macro_rules! with_cells {
    ($taken:expr, $from:expr, $field:expr, |$values:ident, $cells:ident| $block:block) => {
        match $taken {
            Self::W1($values) => {
                let $cells = Cells::<u8>::new($from, $field.offset);
                $block
            }
            Self::W2($values) => {
                let $cells = Cells::<u16>::new($from, $field.offset);
                $block
            }
            Self::W4($values) => {
                let $cells = Cells::<u32>::new($from, $field.offset);
                $block
            }
            Self::W8($values) => {
                let $cells = Cells::<u64>::new($from, $field.offset);
                $block
            }
            Self::W16($values) => {
                let $cells = Cells::<i128>::new($from, $field.offset);
                $block
            }
        }
    };
}

/// Values of a field, by their width.
enum Values {
    W1(Vec<u8>),
    W2(Vec<u16>),
    W4(Vec<u32>),
    W8(Vec<u64>),
    W16(Vec<i128>),
}

impl Values {
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
    #[inline]
    fn take(
        &mut self,
        from: &Interleaved,
        field: &Field,
        rows: &[RowId],
        has_missing: bool,
        past_caches: bool,
    ) {
        with_cells!(self, from, field, |values, cells| {
            if has_missing {
                fill(values, rows, |row| cells.get_or_zero(row), past_caches);
            } else {
                fill(values, rows, |row| cells.get(row as usize), past_caches);
            }
        });
    }

    /// Adds a field's values of the rows that have a bit, and zeros for the others.
    #[inline]
    fn take_found(
        &mut self,
        from: &Interleaved,
        field: &Field,
        rows: &[RowId],
        found: u64,
        past_caches: bool,
    ) {
        with_cells!(self, from, field, |values, cells| {
            let value = |row| cells.get(row as usize);
            fill_found(values, rows, found, value, past_caches);
        });
    }

    fn into_buffer(self) -> Buffer {
        /// Gives back the room that more than an eighth as many rows again would have.
        fn fitting<T>(mut values: Vec<T>) -> Vec<T> {
            if values.capacity() - values.len() > values.len() / 8 {
                values.shrink_to_fit();
            }
            values
        }
        match self {
            Self::W1(values) => fitting(values).into(),
            Self::W2(values) => fitting(values).into(),
            Self::W4(values) => fitting(values).into(),
            Self::W8(values) => fitting(values).into(),
            Self::W16(values) => fitting(values).into(),
        }
    }
}
