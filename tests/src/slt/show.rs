//! Rows as cells of text: NULL as `NULL`, the empty text as `(empty)`.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The rows of a result, as text, with the types they had.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) types: Vec<DataType>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Shows batches.
pub(super) fn show(types: Vec<DataType>, batches: &[RecordBatch]) -> Result<Shown, ArrowError> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(show_column)
            .collect::<Result<Vec<_>, _>>()?;
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()),
        );
    }
    Ok(Shown { types, rows })
}

fn show_column(column: &ArrayRef) -> Result<Vec<String>, ArrowError> {
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let floats = match column.data_type() {
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()),
        // Through its own shortest text, or 0.1 would show as 0.10000000149011612.
        DataType::Float32 => {
            let widen = |value: f32| value.to_string().parse::<f64>().unwrap_or(f64::from(value));
            Some(
                column
                    .as_primitive::<Float32Type>()
                    .iter()
                    .map(|value| value.map(widen))
                    .collect(),
            )
        }
        _ => None,
    };
    (0..column.len())
        .map(|row| {
            if column.is_null(row) {
                return Ok("NULL".to_string());
            }
            if let Some(Some(value)) = floats.as_ref().map(|floats| floats[row]) {
                return Ok(show_float(value));
            }
            let text = formatter.value(row).try_to_string()?;
            Ok(if text.is_empty() {
                "(empty)".to_string()
            } else {
                text
            })
        })
        .collect()
}

/// Shows a float as short as it can be read back.
pub(super) fn show_float(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".into(),
        _ if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        _ if value != 0.0 && !(1e-7..1e16).contains(&value.abs()) => format!("{value:e}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, StringArray};

    use super::*;

    #[test]
    fn null_and_empty_are_told_apart() -> Result<(), ArrowError> {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("a b")]));
        assert_eq!(show_column(&texts)?, ["(empty)", "NULL", "a b"]);
        Ok(())
    }

    #[test]
    fn floats_are_short() -> Result<(), ArrowError> {
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.1, 3.0, f32::NAN]));
        assert_eq!(show_column(&floats)?, ["0.1", "3", "NaN"]);
        assert_eq!(show_float(1e300), "1e300");
        Ok(())
    }
}
