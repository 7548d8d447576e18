//! Turns gathered records into batches: values and keys decoded, metadata beside them, bad ones out.

use std::sync::Arc;

use arrow::array::builder::BinaryViewBuilder;
use arrow::array::{
    Array, ArrayRef, BooleanArray, Int8Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray, UInt32Array, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and, cast, filter_record_batch, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use fletching::connector::Change;
use fletching::{Error, Result};

use super::bad::{BadRecord, Desk};
use super::columns::{Columns, Meta, Origin};
use super::gather::{Gathered, Kept};
use crate::file::batch_of;
use crate::file::changes::Operation;
use crate::message::{BadMessage, MessageDecoder};

/// Decodes records into some columns of a source.
pub(super) struct Decoding {
    columns: Arc<Columns>,
    projection: Vec<usize>,
    schema: SchemaRef,
    /// The same with every column nullable, for a batch that still has its bad rows.
    nullable: SchemaRef,
    /// The value's fields to decode.
    wanted: Vec<usize>,
    values: Option<Box<dyn MessageDecoder>>,
    keys: Option<Box<dyn MessageDecoder>>,
}

impl Decoding {
    /// Where bad records are left out, every field is decoded, so that the rows that stay do not
    /// depend on which columns a query reads.
    pub(super) fn new(columns: &Arc<Columns>, projection: Vec<usize>, is_strict: bool) -> Result<Self> {
        let is_asked = |origin: fn(usize) -> Origin, at: usize| {
            !is_strict
                || projection
                    .iter()
                    .any(|column| columns.origins[*column] == origin(at))
        };
        let fields = 0..columns.value_fields.len();
        let wanted: Vec<usize> = fields.filter(|at| is_asked(Origin::Value, *at)).collect();
        let keys = 0..columns.key_fields.len();
        let are_keys_needed = columns.has_changes || keys.clone().any(|at| is_asked(Origin::Key, at));
        let schema = columns.batch_schema(&projection);
        let nullable: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        // A record of which no field is asked for must still be one.
        // Of changes what they do is asked for in any case.
        let values = match columns.value_fields.is_empty() && !columns.value_format.tells_operations() {
            true => None,
            false => Some(columns.value_format.decoder(&columns.value_fields, &wanted)?),
        };
        let keys = match are_keys_needed && !columns.key_fields.is_empty() {
            true => {
                let all: Vec<usize> = keys.collect();
                let format = columns.key_format.messages();
                Some(format.decoder(&columns.key_fields, &all)?)
            }
            false => None,
        };
        Ok(Self {
            columns: Arc::clone(columns),
            projection,
            schema,
            nullable: Arc::new(Schema::new(nullable)),
            wanted,
            values,
            keys,
        })
    }

    /// Returns which parts of records must be kept for decoding.
    pub(super) fn kept(&self) -> Kept {
        let has = |meta: Meta| {
            let mut origins = self.projection.iter().map(|at| self.columns.origins[*at]);
            origins.any(|origin| origin == Origin::Meta(meta))
        };
        Kept {
            keys: self.keys.is_some() || has(Meta::Key),
            headers: has(Meta::Headers),
        }
    }

    /// Decodes records; the bad ones go where `desk` says.
    pub(super) fn decode(&mut self, gathered: &Gathered, desk: &mut Desk) -> Result<RecordBatch> {
        let mut bad = Vec::new();
        let values = self.decode_values(gathered, &mut bad)?;
        let keys = self.decode_keys(gathered, &mut bad)?;
        let rows = gathered.rows();
        let operations = self.columns.has_changes.then(|| self.operations(gathered));
        let tombstones = self.columns.has_changes.then(|| tombstones(gathered));
        let mut output = Vec::with_capacity(self.projection.len() + 1);
        for column in &self.projection {
            let array = match self.columns.origins[*column] {
                Origin::Value(field) => {
                    let at = self.wanted.binary_search(&field).ok();
                    let value = at.and_then(|at| values.get(at).cloned());
                    let value = value.unwrap_or_else(|| {
                        new_null_array(self.columns.schema.field(*column).data_type(), rows)
                    });
                    let key = self.columns.key_columns.iter().position(|key| key == column);
                    match (&tombstones, key.and_then(|key| keys.get(key))) {
                        (Some(tombstones), Some(key)) => zip(tombstones, key, &value).map_err(broken)?,
                        _ => value,
                    }
                }
                Origin::Key(key) => keys
                    .get(key)
                    .cloned()
                    .ok_or_else(|| Error::internal("a key was not decoded"))?,
                Origin::Meta(meta) => metadata(
                    meta,
                    gathered,
                    self.columns.schema.field(*column).data_type(),
                    &mut bad,
                )?,
            };
            output.push(array);
        }
        self.find_nulls(&output, operations.as_deref(), gathered, &mut bad);
        if let Some(operations) = &operations {
            output.push(Arc::new(changes(operations)));
        }
        let stays = desk.settle(bad, gathered)?;
        match without_skipped(stays, operations.as_deref())? {
            None => batch_of(&self.schema, output, rows),
            Some(stays) => {
                let batch = batch_of(&self.nullable, output, rows)?;
                let batch = filter_record_batch(&batch, &stays).map_err(broken)?;
                batch_of(&self.schema, batch.columns().to_vec(), stays.true_count())
            }
        }
    }

    fn decode_values(&mut self, gathered: &Gathered, bad: &mut Vec<BadRecord>) -> Result<Vec<ArrayRef>> {
        let Some(decoder) = &mut self.values else {
            return Ok(Vec::new());
        };
        let mut messages = Vec::new();
        let columns = decoder.decode(&gathered.values, &mut messages)?;
        note(messages, &gathered.value_rows, bad);
        placed(columns, &gathered.value_rows, gathered.rows())
    }

    fn decode_keys(&mut self, gathered: &Gathered, bad: &mut Vec<BadRecord>) -> Result<Vec<ArrayRef>> {
        let Some(decoder) = &mut self.keys else {
            return Ok(Vec::new());
        };
        let mut messages = Vec::new();
        let columns = decoder.decode(&gathered.keys, &mut messages)?;
        if self.columns.has_changes && !self.columns.origins.iter().any(|o| matches!(o, Origin::Key(_))) {
            // Only of records without a value is the key read: the others hold it in the value.
            messages.retain(|bad| gathered.value(gathered.key_rows[bad.message]).is_none());
        }
        note(messages, &gathered.key_rows, bad);
        placed(columns, &gathered.key_rows, gathered.rows())
    }

    /// Says what each record does: one without a value deletes.
    fn operations(&mut self, gathered: &Gathered) -> Vec<Operation> {
        let mut operations = vec![Operation::Does(Change::Delete); gathered.rows()];
        let told = self.values.as_mut().and_then(|values| values.operations());
        for (at, row) in gathered.value_rows.iter().enumerate() {
            let told = told.as_ref().and_then(|told| told.get(at).copied());
            operations[*row] = told.unwrap_or(Operation::Does(Change::Upsert));
        }
        operations
    }

    /// Finds rows that are NULL where that is not allowed.
    fn find_nulls(
        &self,
        output: &[ArrayRef],
        operations: Option<&[Operation]>,
        gathered: &Gathered,
        bad: &mut Vec<BadRecord>,
    ) {
        for (place, array) in self.projection.iter().zip(output) {
            let field = self.columns.schema.field(*place);
            let is_key = self.columns.has_changes && self.columns.key_columns.contains(place);
            if (field.is_nullable() && !is_key) || array.logical_null_count() == 0 {
                continue;
            }
            let nulls = array.logical_nulls();
            for row in 0..gathered.rows() {
                let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                let change = operations.map_or(Some(Change::Upsert), |of| of[row].change());
                let is_needed = match change {
                    Some(Change::Upsert) => true,
                    Some(Change::Delete) => is_key,
                    _ => false,
                };
                if !is_null || !is_needed || bad.iter().any(|bad| bad.row == row) {
                    continue;
                }
                let reason = match (change == Some(Change::Delete), gathered.value(row).is_none()) {
                    (true, true) => "has neither a value nor a key that says which row it deletes",
                    (true, false) => "found NULL in a column of the PRIMARY KEY",
                    (false, true) => "has no value, but the column is declared NOT NULL",
                    (false, false) => "found NULL, but the column is NOT NULL",
                };
                bad.push(BadRecord {
                    row,
                    column: Some(field.name().clone()),
                    reason: reason.to_owned(),
                });
            }
        }
    }
}

fn broken(error: ArrowError) -> Error {
    Error::internal(format!("records do not become a batch: {error}"))
}

/// Names bad messages by their rows.
fn note(messages: Vec<BadMessage>, rows: &[usize], bad: &mut Vec<BadRecord>) {
    bad.extend(messages.into_iter().map(|message| BadRecord {
        row: rows[message.message],
        column: message.column,
        reason: message.reason,
    }));
}

/// Puts columns of the rows `of` into columns of all rows.
fn placed(columns: Vec<ArrayRef>, of: &[usize], rows: usize) -> Result<Vec<ArrayRef>> {
    if of.len() == rows {
        return Ok(columns);
    }
    let mut places: Vec<Option<u32>> = vec![None; rows];
    for (at, row) in of.iter().enumerate() {
        places[*row] = u32::try_from(at).ok();
    }
    let places = UInt32Array::from(places);
    let taken = columns.iter().map(|column| take(column.as_ref(), &places, None));
    taken.collect::<Result<_, _>>().map_err(broken)
}

/// Says which records have no value.
fn tombstones(gathered: &Gathered) -> BooleanArray {
    let mut tombstones = vec![true; gathered.rows()];
    for row in &gathered.value_rows {
        tombstones[*row] = false;
    }
    BooleanArray::from(tombstones)
}

/// Leaves out also the records that do nothing to the table.
fn without_skipped(
    stays: Option<BooleanArray>,
    operations: Option<&[Operation]>,
) -> Result<Option<BooleanArray>> {
    let Some(operations) = operations.filter(|of| of.contains(&Operation::Skips)) else {
        return Ok(stays);
    };
    let does: BooleanArray = operations.iter().map(|of| Some(of.change().is_some())).collect();
    match stays {
        None => Ok(Some(does)),
        Some(stays) => and(&stays, &does).map(Some).map_err(broken),
    }
}

fn changes(operations: &[Operation]) -> Int8Array {
    let changes = operations.iter().map(|operation| operation.change());
    Int8Array::from_iter_values(changes.map(|change| change.map_or(0, |change| change as i8)))
}

/// Makes a metadata column.
fn metadata(
    meta: Meta,
    gathered: &Gathered,
    data_type: &DataType,
    bad: &mut Vec<BadRecord>,
) -> Result<ArrayRef> {
    let rows = gathered.rows();
    let array: ArrayRef = match meta {
        Meta::Topic => Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
            &*gathered.topic,
            rows,
        ))),
        Meta::Partition => Arc::new(Int32Array::from(vec![gathered.partition; rows])),
        Meta::Offset => Arc::new(Int64Array::from(gathered.offsets.clone())),
        Meta::Timestamp => Arc::new(TimestampMillisecondArray::from(gathered.timestamps.clone())),
        Meta::Headers => Arc::new(StringViewArray::from_iter(gathered.headers.iter())),
        Meta::Key => {
            let is_text = !matches!(
                data_type,
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView
            );
            let mut keys = BinaryViewBuilder::with_capacity(rows);
            for row in 0..rows {
                let key = gathered.key(row);
                if is_text && key.is_some_and(|key| std::str::from_utf8(key).is_err()) {
                    bad.push(BadRecord {
                        row,
                        column: Some("_key".into()),
                        reason: "the key is not UTF-8 text; declare _key as BYTEA".into(),
                    });
                    keys.append_null();
                } else {
                    keys.append_option(key);
                }
            }
            Arc::new(keys.finish())
        }
    };
    cast(&array, data_type).map_err(broken)
}
