//! Fits a file's columns to the columns that a relation declares: by name, then by type.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::{Error, RecordPlace, Result};

use super::paths::file_error;
use crate::spelling::{listed, nearest, type_name};

/// Finds a column by name, or by name without regard to case where that is unambiguous.
pub(crate) fn find<'a>(name: &str, columns: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut loose = None;
    let mut loose_found = 0;
    for (at, column) in columns.enumerate() {
        if column == name {
            return Some(at);
        }
        if column.eq_ignore_ascii_case(name) {
            loose = Some(at);
            loose_found += 1;
        }
    }
    if loose_found == 1 { loose } else { None }
}

/// Makes the error for a declared column that a file does not have.
pub(crate) fn missing_column<'a>(
    path: &Path,
    name: &str,
    columns: impl ExactSizeIterator<Item = &'a str> + Clone,
) -> Error {
    let near = nearest(name, columns.clone());
    let hint = match near {
        Some(near) => format!("did you mean '{near}'? its columns are {}", listed(columns)),
        None => format!("its columns are {}", listed(columns)),
    };
    file_error(path, format!("has no column '{name}'"), Some(hint))
}

/// Returns for each wanted column its position in a file, after checking that its type can become
/// the wanted one.
pub(crate) fn match_columns(wanted: &Schema, file: &Schema, path: &Path) -> Result<Vec<usize>> {
    let names = || file.fields().iter().map(|field| field.name().as_str());
    let mut places = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let Some(at) = find(field.name(), names()) else {
            return Err(missing_column(path, field.name(), names()));
        };
        let found = file.field(at).data_type();
        if !can_cast_types(found, field.data_type()) {
            let message = format!(
                "column '{}' is {}, which cannot become {}",
                field.name(),
                type_name(found),
                type_name(field.data_type())
            );
            let hint = format!("declare the column as {}", type_name(found));
            return Err(file_error(path, message, Some(hint)));
        }
        places.push(at);
    }
    Ok(places)
}

/// Turns text and binary types into their view forms, which are read without a copy.
pub(crate) fn viewed(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => field.as_ref().clone().with_data_type(DataType::Utf8View),
            DataType::Binary | DataType::LargeBinary => {
                field.as_ref().clone().with_data_type(DataType::BinaryView)
            }
            _ => field.as_ref().clone(),
        })
        .collect();
    Schema::new(fields)
}

/// Returns a schema's fields without metadata, which would only stand in the way of comparisons.
pub(crate) fn bare(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    Schema::new(fields)
}

/// Picks columns of a schema.
pub(crate) fn project(schema: &Schema, projection: &[usize]) -> SchemaRef {
    let fields: Vec<_> = projection
        .iter()
        .filter_map(|at| schema.fields().get(*at).cloned())
        .collect();
    Arc::new(Schema::new(fields))
}

/// Where a batch's rows stand in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPlace<'a> {
    /// The file.
    pub(crate) origin: &'a str,
    /// How many of the file's rows come before the batch.
    pub(crate) rows_before: u64,
    /// The row group, in a format that has them.
    pub(crate) row_group: Option<usize>,
}

/// Makes a batch of `schema` from a file's columns, casting where types differ.
pub(crate) fn conform(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
    place: BatchPlace<'_>,
) -> Result<RecordBatch> {
    let mut fitted = Vec::with_capacity(columns.len());
    for (field, column) in schema.fields().iter().zip(columns) {
        let column = exact_cast(&column, field, place)?;
        if !field.is_nullable()
            && let Some(row) = (0..column.len()).find(|row| column.is_null(*row))
        {
            let message = "found NULL, but the column is declared NOT NULL".to_owned();
            let hint = "leave out NOT NULL, or mend the file".to_owned();
            return Err(record_error(place, row, field.name(), message, Some(hint)));
        }
        fitted.push(column);
    }
    batch_of(schema, fitted, rows)
}

/// Makes a batch that may have no columns.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal(format!("a batch does not fit its schema: {error}")))
}

fn record_error(
    place: BatchPlace<'_>,
    row: usize,
    column: &str,
    message: String,
    hint: Option<String>,
) -> Error {
    let message = match place.row_group {
        Some(group) => format!("{message} (row group {group})"),
        None => message,
    };
    let place = RecordPlace {
        origin: place.origin.to_owned(),
        line: None,
        row: Some(place.rows_before + row as u64 + 1),
        column: Some(column.to_owned()),
    };
    Error::Record { place, message, hint }
}

/// Casts a column, refusing any value that does not survive: text that is no number, a number out
/// of range, a decimal or time with more digits than the target holds.
fn exact_cast(column: &ArrayRef, field: &Field, place: BatchPlace<'_>) -> Result<ArrayRef> {
    let target = field.data_type();
    if column.data_type() == target {
        return Ok(Arc::clone(column));
    }
    let internal = |error| Error::internal(format!("cannot cast to {}: {error}", type_name(target)));
    let forgiving = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    // Decimal text goes through the exact parser: Arrow's cast rounds.
    let cast = match exact_decimals(column, target) {
        Some(cast) => cast,
        None => cast_with_options(column, target, &forgiving).map_err(internal)?,
    };
    if let Some(row) = lost_row(column, &cast, target) {
        let shown = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).map_or_else(
            |_| "a value".to_owned(),
            |shown| format!("'{}'", shown.value(row)),
        );
        let message = format!("expected {}, found {shown}", type_name(target));
        let hint = format!("declare the column as {}", type_name(column.data_type()));
        return Err(record_error(place, row, field.name(), message, Some(hint)));
    }
    Ok(cast)
}

/// Returns the first row whose value a cast dropped or changed.
fn lost_row(column: &ArrayRef, cast: &ArrayRef, target: &DataType) -> Option<usize> {
    if cast.logical_null_count() != column.logical_null_count() {
        let (before, after) = (column.logical_nulls(), cast.logical_nulls());
        let is_null = |nulls: &Option<arrow::buffer::NullBuffer>, row: usize| {
            nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
        };
        return (0..column.len()).find(|row| !is_null(&before, *row) && is_null(&after, *row));
    }
    if !may_round(column.data_type(), target) {
        return None;
    }
    let strict = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let back = cast_with_options(cast, column.data_type(), &strict).ok()?;
    let changed: BooleanArray = distinct(&back, column).ok()?;
    (changed.true_count() > 0).then(|| (0..changed.len()).find(|row| changed.value(*row)))?
}

/// Says whether a cast between two types drops digits in silence where Arrow does it.
pub(crate) fn may_round(from: &DataType, to: &DataType) -> bool {
    let is_decimal = |data_type: &DataType| data_type.is_decimal();
    (from.is_floating() && to.is_integer())
        || (is_decimal(from) && (is_decimal(to) || to.is_integer()))
        || (matches!(
            from,
            DataType::Timestamp(_, _) | DataType::Time64(_) | DataType::Time32(_)
        ) && to.is_temporal())
}

/// Casts text to a decimal exactly; `None` where this is another kind of cast.
pub(crate) fn exact_decimals(column: &ArrayRef, target: &DataType) -> Option<ArrayRef> {
    #[cfg(any(feature = "csv", feature = "json"))]
    if target.is_decimal() {
        let text = match column.data_type() {
            DataType::Utf8View => Arc::clone(column),
            DataType::Utf8 | DataType::LargeUtf8 => arrow::compute::cast(column, &DataType::Utf8View).ok()?,
            _ => return None,
        };
        return super::text::cast_text(&text, target);
    }
    let _ = (column, target);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, StringViewArray};

    const PLACE: BatchPlace<'_> = BatchPlace {
        origin: "f.parquet",
        rows_before: 10,
        row_group: Some(1),
    };

    fn cast(column: ArrayRef, to: DataType) -> Result<RecordBatch> {
        let rows = column.len();
        let schema = Arc::new(Schema::new(vec![Field::new("c", to, true)]));
        conform(&schema, vec![column], rows, PLACE)
    }

    #[test]
    fn names_match_without_regard_to_case_only_where_that_is_clear() {
        assert_eq!(find("A", ["a", "b"].into_iter()), Some(0));
        assert_eq!(find("A", ["a", "A"].into_iter()), Some(1));
        assert_eq!(find("aB", ["ab", "AB"].into_iter()), None);
    }

    #[test]
    fn a_value_that_does_not_survive_is_an_error_with_its_place() {
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("1.5"), None, Some("1.555")]));
        let error = cast(text, DataType::Decimal128(9, 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "f.parquet, row 13, column c: expected DECIMAL(9, 2), found '1.555' (row group 1); \
             declare the column as VARCHAR"
        );
        let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5]));
        let text = cast(float, DataType::Int64).unwrap_err().to_string();
        assert!(text.contains("row 12") && text.contains("found '1.5'"), "{text}");
    }

    #[test]
    fn decimals_narrow_only_where_nothing_is_lost() {
        let decimals = |values: Vec<i128>| -> ArrayRef {
            let array = Decimal128Array::from(values).with_precision_and_scale(18, 4);
            Arc::new(array.unwrap())
        };
        assert!(cast(decimals(vec![12_500, 300]), DataType::Decimal128(9, 2)).is_ok());
        assert!(cast(decimals(vec![12_501]), DataType::Decimal128(9, 2)).is_err());
    }
}
