//! Gather out of pages: row ids → a column.
//!
//! A page is looked up once a call and remembered, so that a row costs what it costs out of one
//! array and a load from a small table of pages.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, downcast_primitive, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;

use super::pages::Directory;
use crate::{KernelError, NO_ROW, RowId};

/// Gathers rows of a column of some type; `NO_ROW` gives NULL.
pub(super) fn gather_paged(
    pages: &Directory,
    column: usize,
    data_type: &DataType,
    rows: &[RowId],
) -> Result<ArrayRef, KernelError> {
    if rows.iter().all(|row| *row == NO_ROW) {
        return Ok(new_null_array(data_type, rows.len()));
    }
    let from = Paged { pages, column };
    macro_rules! primitive {
        ($t:ty) => {
            Ok(Arc::new(
                from.primitive::<$t>(rows)?
                    .with_data_type(data_type.clone()),
            ))
        };
    }
    downcast_primitive! {
        data_type => (primitive),
        _ => from.any(data_type, rows),
    }
}

struct Paged<'a> {
    pages: &'a Directory,
    column: usize,
}

/// Pages that a gather remembers at most: more would not stay in the second-level cache, and a
/// table of many pages should not cost a batch of few rows.
const PAGES_KNOWN_MAX: usize = 2048;

/// What is known of the pages seen last, by the low bits of their numbers.
struct Known<T> {
    entries: Vec<(usize, T)>,
}

impl<T: Copy + Default> Known<T> {
    fn new(pages: usize) -> Self {
        let entries = pages.next_power_of_two().min(PAGES_KNOWN_MAX);
        Self {
            entries: vec![(usize::MAX, T::default()); entries],
        }
    }

    #[inline(always)]
    fn get(&self, page: usize) -> Option<T> {
        let (known, value) = self.entries[page & (self.entries.len() - 1)];
        (known == page).then_some(value)
    }

    fn set(&mut self, page: usize, value: T) {
        let at = page & (self.entries.len() - 1);
        self.entries[at] = (page, value);
    }
}

impl<'a> Paged<'a> {
    fn array(&self, row: RowId) -> Result<&'a ArrayRef, KernelError> {
        let (page, place) = self.pages.place_of(row);
        let column = self
            .pages
            .page(page)
            .and_then(|page| page.columns.get(self.column));
        let rows = column.map_or(0, |column| column.len());
        let column = column.filter(|_| place < rows);
        column.ok_or(KernelError::RowOutOfRange { row, rows })
    }

    fn primitive<T: ArrowPrimitiveType>(&self, rows: &[RowId]) -> Result<PrimitiveArray<T>, KernelError> {
        let mut known: Known<&[T::Native]> = Known::new(self.pages.end());
        let mut values = Vec::with_capacity(rows.len());
        let mut has_nulls = false;
        for &row in rows {
            let (page, place) = self.pages.place_of(row);
            let value = known.get(page).and_then(|page| page.get(place));
            values.push(match value {
                Some(value) => *value,
                None if row == NO_ROW => {
                    has_nulls = true;
                    T::Native::default()
                }
                None => {
                    let array = self.array(row)?.as_primitive::<T>();
                    has_nulls |= array.null_count() > 0;
                    known.set(page, array.values());
                    array.values()[place]
                }
            });
        }
        let nulls = if has_nulls { self.nulls(rows)? } else { None };
        Ok(PrimitiveArray::new(values.into(), nulls))
    }

    /// Gathers validity.
    fn nulls(&self, rows: &[RowId]) -> Result<Option<NullBuffer>, KernelError> {
        let mut known: Known<Option<&NullBuffer>> = Known::new(self.pages.end());
        let mut valid = Vec::with_capacity(rows.len());
        for &row in rows {
            if row == NO_ROW {
                valid.push(false);
                continue;
            }
            let (page, place) = self.pages.place_of(row);
            let nulls = match known.get(page) {
                Some(nulls) => nulls,
                None => {
                    let nulls = self.array(row)?.nulls();
                    known.set(page, nulls);
                    nulls
                }
            };
            valid.push(nulls.is_none_or(|nulls| nulls.is_valid(place)));
        }
        let nulls = NullBuffer::new(BooleanBuffer::from(valid));
        Ok(Some(nulls).filter(|nulls| nulls.null_count() > 0))
    }

    /// Gathers any type from the pages it needs and one NULL.
    fn any(&self, data_type: &DataType, rows: &[RowId]) -> Result<ArrayRef, KernelError> {
        let null = new_null_array(data_type, 1);
        let mut arrays: Vec<&dyn Array> = vec![null.as_ref()];
        let mut known: Known<usize> = Known::new(self.pages.end());
        let mut places = Vec::with_capacity(rows.len());
        for &row in rows {
            if row == NO_ROW {
                places.push((0, 0));
                continue;
            }
            let (page, place) = self.pages.place_of(row);
            let at = match known.get(page) {
                Some(at) if place < arrays[at].len() => at,
                _ => {
                    arrays.push(self.array(row)?.as_ref());
                    known.set(page, arrays.len() - 1);
                    arrays.len() - 1
                }
            };
            places.push((at, place));
        }
        Ok(interleave(&arrays, &places)?)
    }
}
