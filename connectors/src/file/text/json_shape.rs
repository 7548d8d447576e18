//! The two shapes of a JSON column: every scalar as text, and as the type it should have.
//!
//! Arrow's JSON decoder would round a number on its way into an integer or decimal column. So it
//! is asked for text at every leaf, which it copies as it stands, and the leaves are then read by
//! the same exact parsers as CSV, at any depth:
//!
//! ```text
//!  LIST<STRUCT<price DECIMAL(9,2)>>   asked for as   LIST<STRUCT<price VARCHAR>>
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use fletching::{Error, Result};

use super::values::{self, BadCell, parse_column};

/// Says whether JSON can be read as a type.
pub(crate) fn is_readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|field| is_readable(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => is_readable(field.data_type()),
        other => values::is_readable(other),
    }
}

/// Returns a type with text in place of each scalar.
pub(crate) fn text_type(data_type: &DataType) -> DataType {
    let with_text = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(text_type(field.data_type())),
        )
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(with_text).collect()),
        DataType::List(field) => DataType::List(with_text(field)),
        DataType::LargeList(field) => DataType::LargeList(with_text(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(with_text(field), *size),
        DataType::Map(field, sorted) => DataType::Map(with_text(field), *sorted),
        _ => DataType::Utf8View,
    }
}

/// Reads the text at the leaves of a column; cells that do not fit are added to `bad`, each with
/// the row of the outermost column.
pub(crate) fn typed(column: &ArrayRef, data_type: &DataType, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
    let broken = |error: ArrowError| Error::internal(format!("a JSON column is broken: {error}"));
    match data_type {
        DataType::Struct(fields) => typed_struct(column, fields, bad).map(|a| Arc::new(a) as _),
        DataType::List(field) => typed_list::<i32>(column, field, bad),
        DataType::LargeList(field) => typed_list::<i64>(column, field, bad),
        DataType::FixedSizeList(field, size) => {
            let list = column.as_fixed_size_list();
            let length = usize::try_from(*size).unwrap_or(1).max(1);
            let items = inner(list.values(), field, bad, |item| item / length)?;
            let array = FixedSizeListArray::try_new(Arc::clone(field), *size, items, list.nulls().cloned());
            Ok(Arc::new(array.map_err(broken)?))
        }
        DataType::Map(field, sorted) => {
            let map = column.as_map();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = inner(&entries, field, bad, |item| row_of(&offsets, item))?;
            let entries = entries.as_struct().clone();
            let array = MapArray::try_new(Arc::clone(field), offsets.clone(), entries, nulls, *sorted);
            Ok(Arc::new(array.map_err(broken)?))
        }
        scalar => match column.as_string_view_opt() {
            Some(text) => parse_column(text, scalar, bad),
            None => Err(Error::internal("a JSON leaf is not text")),
        },
    }
}

fn typed_struct(column: &ArrayRef, fields: &Fields, bad: &mut Vec<BadCell>) -> Result<StructArray> {
    let array = column.as_struct();
    let nulls = array.nulls().cloned();
    let mut children = Vec::with_capacity(fields.len());
    for (field, child) in fields.iter().zip(array.columns()) {
        children.push(typed(child, field.data_type(), bad)?);
    }
    StructArray::try_new_with_length(fields.clone(), children, nulls, array.len())
        .map_err(|error| Error::internal(format!("a JSON object is broken: {error}")))
}

fn typed_list<O: OffsetSizeTrait>(
    column: &ArrayRef,
    field: &FieldRef,
    bad: &mut Vec<BadCell>,
) -> Result<ArrayRef> {
    let list = column.as_list::<O>();
    let items = inner(list.values(), field, bad, |item| row_of(list.offsets(), item))?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    let array = GenericListArray::try_new(Arc::clone(field), offsets, items, nulls)
        .map_err(|error| Error::internal(format!("a JSON list is broken: {error}")))?;
    Ok(Arc::new(array))
}

/// Reads the items of lists, and gives a bad item the row of its list.
fn inner(
    items: &ArrayRef,
    field: &Field,
    bad: &mut Vec<BadCell>,
    row: impl Fn(usize) -> usize,
) -> Result<ArrayRef> {
    let mut bad_items = Vec::new();
    let items = typed(items, field.data_type(), &mut bad_items)?;
    bad.extend(bad_items.into_iter().map(|cell| BadCell {
        row: row(cell.row),
        ..cell
    }));
    Ok(items)
}

/// Returns the list that holds an item.
fn row_of<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, item: usize) -> usize {
    offsets
        .partition_point(|offset| offset.as_usize() <= item)
        .saturating_sub(1)
}
