//! Rows that each follow from one row of one table: computed anew for the keys that changed.
//!
//! ```text
//!   SELECT id, upper(name) AS name FROM users WHERE active      users: PRIMARY KEY (id), replaced by key
//!
//!   changed ids ─▶ their rows now ─▶ filter, project ─▶ put
//!               └─ those that no row came of ─────────▶ taken away
//! ```

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat, concat_batches, take};
use datafusion::logical_expr::LogicalPlan;
use fletching_kernels::{BuildOptions, KeyIndex, NO_ROW};

use super::shape::{columns_of_table, is_table, with_input};
use crate::error::Result;
use crate::prepared::Chain;
use crate::session::{Session, named, output_schema};
use crate::table::{KeySpec, Table, TableSnapshot};

/// A query of filters and projections over one table, by whose key its rows are known.
pub(super) struct ByKey {
    chain: Chain,
    /// The key's names in the result.
    pub(super) key: Vec<String>,
    /// For each column of the result's key, where it is in the table's key.
    order: Vec<usize>,
    output: arrow::datatypes::SchemaRef,
}

/// What becomes of the rows of changed keys.
pub(super) struct Exchange {
    /// The keys that no row came of, a column for each of the key's.
    pub(super) gone: Vec<ArrayRef>,
    /// The rows that are there now.
    pub(super) rows: RecordBatch,
}

impl ByKey {
    /// Takes a query over one table as such; none where it is more than that, or its key is not the
    /// table's.
    pub(super) fn of(
        session: &Session,
        query: &LogicalPlan,
        source: &Table,
        declared: &[String],
    ) -> Result<Option<Self>> {
        if !source.is_upsert() || source.versions().is_some() {
            return Ok(None);
        }
        let Some(columns) = columns_of_table(query) else {
            return Ok(None);
        };
        let output = output_schema(query);
        let of_key = |at: &usize| columns.iter().position(|column| *column == Some(*at));
        let places: Option<Vec<usize>> = source.primary_key().iter().map(of_key).collect();
        let Some(places) = places else { return Ok(None) };
        let names: Vec<String> = places.iter().map(|at| output.field(*at).name().clone()).collect();
        let key = if declared.is_empty() { &names[..] } else { declared };
        let order = key.iter().map(|name| names.iter().position(|own| own == name));
        let Some(order) = order
            .collect::<Option<Vec<usize>>>()
            .filter(|order| order.len() == names.len())
        else {
            return Ok(None);
        };
        let Some(over_input) = with_input(query, &is_table)? else {
            return Ok(None);
        };
        let Some(chain) = session.chain(&over_input)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            chain,
            key: key.to_vec(),
            order,
            output,
        }))
    }

    /// Computes the rows of changed keys, given commit by commit, in a version of the source.
    pub(super) fn exchange(
        &self,
        source: &Table,
        now: &TableSnapshot,
        table: &Table,
        changed: &[Vec<ArrayRef>],
    ) -> Result<Option<Exchange>> {
        let spec = KeySpec::of_columns(source.schema(), source.primary_key());
        let Some((live, _)) = now.live_for(&spec) else {
            return Ok(None);
        };
        let keys = distinct(&joined(changed)?)?;
        let mut rows = Vec::new();
        live.locate(&keys, None, &mut rows)?;
        rows.retain(|row| *row != NO_ROW);
        let columns = (0..source.schema().fields().len()).map(|at| live.gather(at, &rows));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(source.schema()), columns, &options)?;
        let computed = self.chain.run_alone(&batch)?;
        let computed = computed.into_iter().map(|batch| named(batch, &self.output));
        let computed = computed.collect::<Result<Vec<_>>>()?;
        let rows = concat_batches(&self.output, &computed)?;
        let keys: Vec<ArrayRef> = self.order.iter().map(|at| Arc::clone(&keys[*at])).collect();
        let gone = without(&keys, &rows, table.primary_key())?;
        Ok(Some(Exchange { gone, rows }))
    }
}

/// Puts the keys of commits one after the other.
fn joined(changed: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let Some(first) = changed.first() else {
        return Ok(Vec::new());
    };
    let column = |at: usize| {
        let pieces: Vec<_> = changed.iter().map(|keys| keys[at].as_ref()).collect();
        concat(&pieces)
    };
    Ok((0..first.len()).map(column).collect::<Result<_, _>>()?)
}

/// Keeps each key once.
fn distinct(keys: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let index = KeyIndex::build(keys, &BuildOptions::default())?;
    let mut heads = Vec::new();
    index.locate(keys, None, &mut heads)?;
    let firsts = (0..)
        .zip(&heads)
        .filter(|(row, head)| row == *head)
        .map(|(row, _)| row);
    pick(keys, firsts.collect())
}

/// Keeps the keys that rows do not have.
pub(super) fn without(keys: &[ArrayRef], rows: &RecordBatch, key: &[usize]) -> Result<Vec<ArrayRef>> {
    let there: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(rows.column(*at))).collect();
    let index = KeyIndex::build(&there, &BuildOptions::default())?;
    let mut heads = Vec::new();
    index.locate(keys, None, &mut heads)?;
    let gone = (0..)
        .zip(&heads)
        .filter(|(_, head)| **head == NO_ROW)
        .map(|(row, _)| row);
    pick(keys, gone.collect())
}

fn pick(columns: &[ArrayRef], rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows);
    let picked = columns.iter().map(|column| take(column, &rows, None));
    Ok(picked.collect::<Result<_, _>>()?)
}
