//! Arrow data through PyCapsules: the one place where pointers from Python are read.
//!
//! A micro-batch's cost is mostly here, so the C schema, which is the same call after call, is
//! compared with the last one and only parsed when it differs.

#![expect(
    unsafe_code,
    reason = "the Arrow C data interface is pointers; each use says why it is sound"
)]

use std::ffi::CStr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use arrow::array::{RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::bad_data;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// What a C schema says of names and types.
struct Shape {
    format: String,
    name: Option<String>,
    flags: Option<i64>,
    children: Vec<Shape>,
    dictionary: Option<Box<Shape>>,
}

impl Shape {
    fn of(schema: &FFI_ArrowSchema) -> Self {
        Self {
            format: schema.format().to_string(),
            name: schema.name().map(str::to_string),
            flags: schema.flags().map(|flags| flags.bits()),
            children: schema.children().map(Self::of).collect(),
            dictionary: schema.dictionary().map(|values| Box::new(Self::of(values))),
        }
    }

    fn is(&self, schema: &FFI_ArrowSchema) -> bool {
        self.format == schema.format()
            && self.name.as_deref() == schema.name()
            && self.flags == schema.flags().map(|flags| flags.bits())
            && match (&self.dictionary, schema.dictionary()) {
                (Some(values), Some(others)) => values.is(others),
                (None, None) => true,
                _ => false,
            }
            && {
                let mut others = schema.children();
                self.children
                    .iter()
                    .all(|child| others.next().is_some_and(|other| child.is(other)))
                    && others.next().is_none()
            }
    }
}

/// A C schema and what it is here.
struct Known {
    shape: Shape,
    schema: SchemaRef,
    row: DataType,
}

/// The schema that came last, so that the same one need not be parsed again.
#[derive(Default)]
pub(crate) struct SchemaMemory {
    last: RwLock<Option<Arc<Known>>>,
    /// What a query expects: handed out for an equal one, so that the two compare by address.
    expected: OnceLock<SchemaRef>,
}

impl SchemaMemory {
    /// Says which schema a query expects, once it is known.
    pub(crate) fn expect(&self, schema: &SchemaRef) {
        if self.expected.set(Arc::clone(schema)).is_ok() {
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn known(&self, schema: &FFI_ArrowSchema) -> PyResult<Arc<Known>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.shape.is(schema)) {
            return Ok(Arc::clone(last));
        }
        drop(last);
        let parsed = parse(schema)?;
        let schema_ref = match self.expected.get() {
            Some(expected) if same_columns(expected.fields(), parsed.fields()) => Arc::clone(expected),
            _ => Arc::new(parsed),
        };
        let known = Arc::new(Known {
            shape: Shape::of(schema),
            row: DataType::Struct(schema_ref.fields().clone()),
            schema: schema_ref,
        });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }
}

/// Compares all but metadata.
fn same_columns(left: &Fields, right: &Fields) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            left.name() == right.name()
                && left.data_type() == right.data_type()
                && left.is_nullable() == right.is_nullable()
        })
}

/// Reads a C schema, which must be that of rows.
fn parse(schema: &FFI_ArrowSchema) -> PyResult<Schema> {
    // "+s" is a struct: the interface's form of a record batch.
    if schema.format() != "+s" {
        let found =
            DataType::try_from(schema).map_or_else(|error| error.to_string(), |found| found.to_string());
        return Err(bad_data(format!(
            "expected rows with columns, found one column of {found}"
        )));
    }
    Schema::try_from(schema).map_err(|error| bad_data(error.to_string()))
}

/// Takes a batch from what `__arrow_c_array__` returned, sharing its buffers.
///
/// # Errors
/// Fails where the capsules hold no rows with columns, or a type that is not known here.
pub(crate) fn import_batch(
    schema: &Bound<'_, PyCapsule>,
    array: &Bound<'_, PyCapsule>,
    memory: &SchemaMemory,
) -> PyResult<RecordBatch> {
    let schema = schema.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds an ArrowSchema, by the PyCapsule interface; the capsule
    // is alive, and no Python runs while the reference is.
    let known = memory.known(unsafe { schema.as_ref() })?;
    let array = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: likewise an ArrowArray. It is moved out, which leaves the capsule's marked released,
    // as the interface says a consumer must.
    let array = unsafe { FFI_ArrowArray::from_raw(array.as_ptr()) };
    if array.is_released() {
        return Err(bad_data("these Arrow data have been taken already"));
    }
    // SAFETY: the array is of the schema that came with it, from which `known` was parsed.
    let data = unsafe { from_ffi_and_data_type(array, known.row.clone()) };
    let data = data.map_err(|error| bad_data(error.to_string()))?;
    if data.null_count() > 0 {
        return Err(bad_data("expected rows, found structs of which some are null"));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(data.len()));
    let (_, columns, _) = StructArray::from(data).into_parts();
    RecordBatch::try_new_with_options(Arc::clone(&known.schema), columns, &options)
        .map_err(|error| bad_data(error.to_string()))
}

/// Takes a reader from what `__arrow_c_stream__` returned. It may be read with the GIL released:
/// producers that need it take it.
///
/// # Errors
/// Fails where the stream has been read already, is not one of rows, or cannot begin.
pub(crate) fn import_stream(stream: &Bound<'_, PyCapsule>) -> PyResult<ArrowArrayStreamReader> {
    let stream = stream
        .pointer_checked(Some(STREAM))?
        .cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds an ArrowArrayStream, by the PyCapsule interface. It is
    // moved out, which leaves the capsule's marked released.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
    ArrowArrayStreamReader::try_new(stream).map_err(|error| {
        bad_data(format!(
            "expected rows with columns, found another stream: {error}"
        ))
    })
}
