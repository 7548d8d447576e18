//! Fits decoded columns to the columns that are declared, exactly: a value that does not survive
//! makes its message a bad one.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fletching::{Error, Result};

use super::BadMessage;
use crate::file::{exact_decimals, find_column, may_round};
use crate::spelling::{listed, nearest, type_name};

/// What it means that a declared column is not there.
pub(super) const NO_FIELD: &str = "its schema has no field";

const FORGIVING: CastOptions<'static> = CastOptions {
    safe: true,
    format_options: FormatOptions::new(),
};

/// Finds for each wanted field its place among those found. `lacking` says what it means that one
/// is not there.
pub(super) fn places(
    (format, lacking): (&str, &str),
    found: &Fields,
    wanted: &[std::sync::Arc<Field>],
) -> Result<Vec<usize>> {
    let names = || found.iter().map(|field| field.name().as_str());
    let refused = |message: String, hint: String| Error::Option {
        subject: format!("format {format}"),
        message,
        hint: Some(hint),
        location: None,
    };
    let place = |field: &std::sync::Arc<Field>| -> Result<usize> {
        let Some(at) = find_column(field.name(), names()) else {
            let hint = match nearest(field.name(), names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", listed(names())),
            };
            let message = format!("{lacking} '{}'", field.name());
            return Err(refused(message, hint));
        };
        let of_schema = found[at].data_type();
        if !can_cast_types(of_schema, field.data_type()) {
            let name = type_name(of_schema);
            let wanted = type_name(field.data_type());
            let message = format!(
                "column '{}' is {name}, which cannot become {wanted}",
                field.name()
            );
            return Err(refused(message, format!("declare the column as {name}")));
        }
        Ok(at)
    };
    wanted.iter().map(place).collect()
}

/// Casts a column; rows whose value does not survive are added to `bad`.
pub(super) fn fit(column: &ArrayRef, field: &Field, bad: &mut Vec<BadMessage>) -> Result<ArrayRef> {
    let target = field.data_type();
    if column.data_type() == target {
        return Ok(std::sync::Arc::clone(column));
    }
    let cast = match exact_decimals(column, target) {
        Some(cast) => cast,
        None => cast_with_options(column, target, &FORGIVING)
            .map_err(|error| Error::internal(format!("cannot cast to {}: {error}", type_name(target))))?,
    };
    let lost = lost_rows(column, &cast, target);
    let shown = ArrayFormatter::try_new(column.as_ref(), &FORGIVING.format_options);
    for row in lost {
        let found = shown
            .as_ref()
            .map_or_else(|_| String::new(), |shown| shown.value(row).to_string());
        bad.push(BadMessage {
            column: Some(field.name().clone()),
            ..BadMessage::new(row, format!("expected {}, found '{found}'", type_name(target)))
        });
    }
    Ok(cast)
}

/// Returns the rows whose value a cast dropped or changed.
fn lost_rows(column: &ArrayRef, cast: &ArrayRef, target: &DataType) -> Vec<usize> {
    let (before, after) = (column.logical_nulls(), cast.logical_nulls());
    let is_null = |nulls: &Option<arrow::buffer::NullBuffer>, row: usize| {
        nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    };
    let mut lost: Vec<usize> = match cast.logical_null_count() == column.logical_null_count() {
        true => Vec::new(),
        false => (0..column.len())
            .filter(|row| !is_null(&before, *row) && is_null(&after, *row))
            .collect(),
    };
    if may_round(column.data_type(), target)
        && let Ok(back) = cast_with_options(cast, column.data_type(), &FORGIVING)
        && let Ok(changed) = distinct(&back, column)
    {
        let changed: BooleanArray = changed;
        let rounded = (0..changed.len()).filter(|row| changed.value(*row) && !lost.contains(row));
        lost.extend(rounded.collect::<Vec<_>>());
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Decimal128Type, Int32Type};
    use std::sync::Arc;

    #[test]
    fn what_does_not_survive_is_named() {
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1 << 40), None]));
        let mut bad = Vec::new();
        let field = Field::new("n", DataType::Int32, true);
        let fitted = fit(&longs, &field, &mut bad).unwrap();
        assert_eq!(fitted.as_primitive::<Int32Type>().value(0), 1);
        assert_eq!(bad.len(), 1);
        assert_eq!(
            (bad[0].message, bad[0].reason.as_str()),
            (1, "expected INTEGER, found '1099511627776'")
        );
    }

    #[test]
    fn text_becomes_decimals_exactly() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["0.10", "1.005"]));
        let mut bad = Vec::new();
        let field = Field::new("n", DataType::Decimal128(9, 2), true);
        let fitted = fit(&texts, &field, &mut bad).unwrap();
        assert_eq!(fitted.as_primitive::<Decimal128Type>().value(0), 10);
        assert_eq!(bad[0].message, 1);
    }
}
