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

impl<'a> Paged<'a> {
    fn array(&self, row: RowId) -> Result<&'a ArrayRef, KernelError> {
        let (page, _) = self.pages.place_of(row);
        let column = self
            .pages
            .page(page)
            .and_then(|page| page.columns.get(self.column));
        column.ok_or(KernelError::RowOutOfRange { row, rows: 0 })
    }

    fn primitive<T: ArrowPrimitiveType>(&self, rows: &[RowId]) -> Result<PrimitiveArray<T>, KernelError> {
        let mut seen: Vec<&[T::Native]> = vec![&[]; self.pages.end()];
        let mut values = Vec::with_capacity(rows.len());
        let mut has_nulls = false;
        for &row in rows {
            let (page, place) = self.pages.place_of(row);
            let known = seen.get(page).and_then(|page| page.get(place));
            values.push(match known {
                Some(value) => *value,
                None if row == NO_ROW => {
                    has_nulls = true;
                    T::Native::default()
                }
                None => {
                    let array = self.array(row)?.as_primitive::<T>();
                    has_nulls |= array.null_count() > 0;
                    seen[page] = array.values();
                    let rows = array.len();
                    let value = array.values().get(place);
                    *value.ok_or(KernelError::RowOutOfRange { row, rows })?
                }
            });
        }
        let nulls = if has_nulls { self.nulls(rows)? } else { None };
        Ok(PrimitiveArray::new(values.into(), nulls))
    }

    /// Gathers validity of rows that are known to be there.
    fn nulls(&self, rows: &[RowId]) -> Result<Option<NullBuffer>, KernelError> {
        let mut seen: Vec<Option<Option<&NullBuffer>>> = vec![None; self.pages.end()];
        let mut valid = Vec::with_capacity(rows.len());
        for &row in rows {
            if row == NO_ROW {
                valid.push(false);
                continue;
            }
            let (page, place) = self.pages.place_of(row);
            let nulls = match seen[page] {
                Some(nulls) => nulls,
                None => *seen[page].insert(self.array(row)?.nulls()),
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
        let mut seen = vec![0_usize; self.pages.end()];
        let mut places = Vec::with_capacity(rows.len());
        for &row in rows {
            if row == NO_ROW {
                places.push((0, 0));
                continue;
            }
            let (page, place) = self.pages.place_of(row);
            let known = seen.get(page).copied().unwrap_or(0);
            let from = if known > 0 {
                known
            } else {
                arrays.push(self.array(row)?.as_ref());
                seen[page] = arrays.len() - 1;
                seen[page]
            };
            if place >= arrays[from].len() {
                let rows = arrays[from].len();
                return Err(KernelError::RowOutOfRange { row, rows });
            }
            places.push((from, place));
        }
        Ok(interleave(&arrays, &places)?)
    }
}
