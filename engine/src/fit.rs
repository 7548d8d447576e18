//! Gives a program's batch the columns that a stream declares.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{FieldRef, SchemaRef};

use crate::error::{Error, Result};

/// Takes a stream's columns out of a batch by name, in any order, and casts those of another
/// type. A batch that has them already is not copied; surplus columns are left out.
///
/// # Errors
/// Fails where a column is missing, or a value cannot be cast.
pub(crate) fn fit<'a>(batch: &'a RecordBatch, schema: &SchemaRef) -> Result<Cow<'a, RecordBatch>> {
    if Arc::ptr_eq(batch.schema_ref(), schema) || batch.schema_ref() == schema {
        return Ok(Cow::Borrowed(batch));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Err(Error::Batch {
                message: format!(
                    "expected a batch of ({}), but there is no column '{}' in ({})",
                    columns(schema),
                    field.name(),
                    columns(&batch.schema())
                ),
            });
        };
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        cast_with_options(column, field.data_type(), &options).map_err(|error| Error::Batch {
            message: format!(
                "column '{}': expected {}, found {}: {error}",
                field.name(),
                field.data_type(),
                column.data_type()
            ),
        })
    };
    let fitted = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let fitted = RecordBatch::try_new_with_options(Arc::clone(schema), fitted, &options);
    fitted.map(Cow::Owned).map_err(|error| Error::Batch {
        message: error.to_string(),
    })
}

/// Lists columns with their types.
fn columns(schema: &SchemaRef) -> String {
    let column = |field: &FieldRef| format!("{} {}", field.name(), field.data_type());
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
