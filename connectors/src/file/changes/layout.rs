//! Files of which a column says what each record does: that column is read with the others, and
//! given to the engine as its column of changes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int8Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use fletching::connector::Reader;
use fletching::{Error, RecordPlace, Result};

use super::{ChangeRules, Judge, Operation, with_change_column};
use crate::file::columns::{batch_of, find, project};
use crate::file::dead_letters::DeadLetters;
use crate::file::source::{Layout, Scan, Unit, UnitPlace};
use crate::spelling::listed;

/// The layout below, without its column of operations.
#[derive(Debug)]
pub(crate) struct ChangesLayout {
    inner: Arc<dyn Layout>,
    file_schema: SchemaRef,
    /// Where the column is.
    op: usize,
    rules: ChangeRules,
}

impl ChangesLayout {
    /// Finds the column among those of the files.
    ///
    /// # Errors
    /// Fails where there is no such column.
    pub(crate) fn new(
        inner: Arc<dyn Layout>,
        file_schema: SchemaRef,
        op: &str,
        rules: ChangeRules,
        subject: &str,
    ) -> Result<Self> {
        let names = || file_schema.fields().iter().map(|field| field.name().as_str());
        let Some(at) = find(op, names()) else {
            return Err(Error::Option {
                subject: subject.to_owned(),
                message: format!("option 'op': the files have no column '{op}'"),
                hint: Some(format!("their columns are {}", listed(names()))),
                location: None,
            });
        };
        Ok(Self {
            inner,
            op: at,
            file_schema,
            rules,
        })
    }

    /// Returns the columns of the table.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.file_schema.fields().iter().enumerate();
        let fields: Vec<_> = fields
            .filter(|(at, _)| *at != self.op)
            .map(|(_, field)| Arc::clone(field))
            .collect();
        Arc::new(Schema::new(fields))
    }
}

impl Layout for ChangesLayout {
    fn units(&self) -> &[Unit] {
        self.inner.units()
    }

    fn place(&self, unit: usize) -> UnitPlace {
        self.inner.place(unit)
    }

    fn open(&self, unit: usize, scan: &Scan) -> Result<Box<dyn Reader>> {
        let of_file = |at: &usize| if *at < self.op { *at } else { *at + 1 };
        let mut projection: Vec<usize> = scan.projection.iter().map(of_file).collect();
        projection.push(self.op);
        let inner = Scan {
            schema: project(&self.file_schema, &projection),
            projection,
            batch_rows_max: scan.batch_rows_max,
            report: Arc::clone(&scan.report),
            dead_letters: scan.dead_letters.clone(),
            marks: Arc::clone(&scan.marks),
        };
        Ok(Box::new(ChangesReader {
            judge: self.rules.judge(&inner.schema),
            reader: self.inner.open(unit, &inner)?,
            schema: with_change_column(&scan.schema),
            place: self.inner.place(unit),
        }))
    }

    fn dead_letters(&self) -> Result<Option<Arc<DeadLetters>>> {
        self.inner.dead_letters()
    }
}

struct ChangesReader {
    reader: Box<dyn Reader>,
    judge: Judge,
    schema: SchemaRef,
    /// The file, and how many of its rows were read.
    place: UnitPlace,
}

impl Reader for ChangesReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next_batch()? else {
            return Ok(None);
        };
        let operations = self.judge.operations(batch.columns())?;
        // Text formats have dealt with their bad records, where a line can be named.
        if let Some(fault) = self
            .judge
            .faults(&operations, batch.columns())?
            .into_iter()
            .next()
        {
            return Err(Error::Record {
                place: RecordPlace {
                    origin: self.place.origin.clone(),
                    line: None,
                    row: Some(self.place.rows_before + fault.row as u64 + 1),
                    column: Some(fault.column),
                },
                message: fault.message,
                hint: Some("mend the file".into()),
            });
        }
        self.place.rows_before += batch.num_rows() as u64;
        let (columns, _) = batch.columns().split_at(batch.num_columns() - 1);
        changes_of(&self.schema, columns.to_vec(), &operations).map(Some)
    }
}

/// Makes a batch of the records that change something, with what each does in the last column.
pub(crate) fn changes_of(
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    operations: &[Option<Operation>],
) -> Result<RecordBatch> {
    let change = |operation: &Option<Operation>| operation.and_then(Operation::change);
    let codes = operations.iter().map(change);
    let codes = codes.map(|change| change.map_or(0, |change| change as i8));
    columns.push(Arc::new(Int8Array::from_iter_values(codes)));
    let batch = batch_of(schema, columns, operations.len())?;
    let stays: Vec<bool> = operations.iter().map(|op| change(op).is_some()).collect();
    if stays.iter().all(|stays| *stays) {
        return Ok(batch);
    }
    Ok(filter_record_batch(&batch, &BooleanArray::from(stays))?)
}
