//! Groups of a stream that goes on: the state of each, and the rows of those that a batch changed.
//!
//! ```text
//!   batch ─▶ states of its groups ─┐
//!            states so far ────────┴─ merged ─▶ kept ─▶ rows of these groups
//! ```
//!
//! The states are the aggregate functions' own partial ones, in columns, kept by the groups' keys in
//! a live table. So a batch costs what its own groups do, however many there are, and every function
//! that can be computed in parts can be kept, with its checks for overflow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use fletching_kernels::{BuildOptions, KeyIndex, LiveOptions, LiveTable, NO_ROW};

use crate::error::{Error, Result};

/// One aggregate function of a query.
struct Function {
    expr: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of its state in the kept ones.
    state: std::ops::Range<usize>,
}

/// The groups of a query so far.
pub(super) struct Groups {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Function>,
    states: LiveTable,
    /// The columns of a group: its key, then what the functions give.
    output: SchemaRef,
}

impl Groups {
    /// Begins without a group.
    pub(super) fn try_new(aggregate: &AggregateExec) -> Result<Self> {
        let keys = aggregate.group_expr().input_exprs();
        let output = aggregate.schema();
        let named = |at: usize, field: &Field| field.clone().with_name(format!("column {at}"));
        let mut fields: Vec<Field> = output.fields()[..keys.len()]
            .iter()
            .enumerate()
            .map(|(at, field)| named(at, field).with_nullable(false))
            .collect();
        let mut functions = Vec::new();
        for (expr, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            let from = fields.len();
            for field in expr.state_fields()? {
                fields.push(named(fields.len(), &field).with_nullable(true));
            }
            let order = expr.order_bys().iter().map(|sort| Arc::clone(&sort.expr));
            functions.push(Function {
                arguments: expr.expressions().into_iter().chain(order).collect(),
                expr: Arc::clone(expr),
                filter: filter.clone(),
                state: from..fields.len(),
            });
        }
        let key: Vec<usize> = (0..keys.len()).collect();
        let states = LiveTable::new(Arc::new(Schema::new(fields)), &key, LiveOptions::default())?;
        Ok(Self {
            keys,
            functions,
            states,
            output,
        })
    }

    /// Leaves out the records that have a NULL among what they are grouped by, and says how many:
    /// no table holds a row under such a key.
    pub(super) fn with_whole_keys(&self, batch: RecordBatch) -> Result<(RecordBatch, usize)> {
        let keys = evaluate(&self.keys, &batch)?;
        let nulls = keys.iter().fold(None, |nulls: Option<NullBuffer>, key| {
            NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref())
        });
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
            return Ok((batch, 0));
        };
        let whole = BooleanArray::new(nulls.inner().clone(), None);
        Ok((filter_record_batch(&batch, &whole)?, nulls.null_count()))
    }

    /// Adds a batch, and returns the groups that it has changed as they are now.
    ///
    /// # Errors
    /// Fails where a function does, or a key is NULL; the groups then stay as they were.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let keys = evaluate(&self.keys, batch)?;
        let mut groups = Numbered::of(&keys)?;
        let before = self.states.snapshot();
        let mut heads = Vec::new();
        before.locate(&groups.firsts(&keys)?, None, &mut heads)?;
        // A function takes it that each group below the number it is told has a row.
        groups.put_first(&heads);
        let keys = groups.firsts(&keys)?;
        heads.retain(|head| *head != NO_ROW);
        let known: Vec<usize> = (0..heads.len()).collect();

        let mut states = keys.clone();
        let mut values = keys;
        for function in &self.functions {
            let mut merged = accumulator(&function.expr)?;
            if !known.is_empty() {
                let kept = function.state.clone().map(|column| before.gather(column, &heads));
                let kept = kept.collect::<Result<Vec<_>, _>>()?;
                merged.merge_batch(&kept, &known, known.len())?;
            }
            let arguments = evaluate(&function.arguments, batch)?;
            let filter = match &function.filter {
                Some(filter) => Some(filter.evaluate(batch)?.into_array(rows)?),
                None => None,
            };
            let filter: Option<&BooleanArray> = filter.as_ref().and_then(|filter| filter.as_boolean_opt());
            let mut added = accumulator(&function.expr)?;
            added.update_batch(&arguments, &groups.of_rows, filter, groups.count)?;
            let every: Vec<usize> = (0..groups.count).collect();
            merged.merge_batch(&added.state(EmitTo::All)?, &every, groups.count)?;
            let state = merged.state(EmitTo::All)?;
            // Giving the state away has emptied it.
            let mut merged = accumulator(&function.expr)?;
            merged.merge_batch(&state, &every, groups.count)?;
            values.push(merged.evaluate(EmitTo::All)?);
            states.extend(state);
        }
        let values = RecordBatch::try_new(Arc::clone(&self.output), values)?;
        let states = RecordBatch::try_new(Arc::clone(self.states.schema()), states)?;
        self.states.upsert(&states)?;
        Ok(values)
    }

    /// Returns how many columns a key has; they are the first of a group's.
    pub(super) fn key_width(&self) -> usize {
        self.keys.len()
    }
}

/// The groups of a batch, numbered in the order of their first rows.
struct Numbered {
    of_rows: Vec<usize>,
    firsts: Vec<u32>,
    count: usize,
}

impl Numbered {
    fn of(keys: &[ArrayRef]) -> Result<Self> {
        let index = KeyIndex::build(keys, &BuildOptions::default())?;
        let mut heads = Vec::new();
        index.locate(keys, None, &mut heads)?;
        let mut of_rows = Vec::with_capacity(heads.len());
        let mut firsts = Vec::new();
        for (row, head) in (0..).zip(heads) {
            if head == NO_ROW {
                return Err(Error::internal("a record without a whole key was to be grouped"));
            }
            // The head of a key's rows is the first of them.
            if head == row {
                of_rows.push(firsts.len());
                firsts.push(row);
            } else {
                let group = of_rows.get(head as usize).copied();
                of_rows.push(group.ok_or_else(|| Error::internal("a group without a first row"))?);
            }
        }
        Ok(Self {
            count: firsts.len(),
            of_rows,
            firsts,
        })
    }

    /// Gives the groups that are known already the first numbers.
    fn put_first(&mut self, heads: &[u32]) {
        let (mut order, new): (Vec<usize>, Vec<usize>) =
            (0..self.count).partition(|group| heads[*group] != NO_ROW);
        order.extend(new);
        let mut numbers = vec![0; self.count];
        for (number, group) in order.iter().enumerate() {
            numbers[*group] = number;
        }
        for group in &mut self.of_rows {
            *group = numbers[*group];
        }
        self.firsts = order.iter().map(|group| self.firsts[*group]).collect();
    }

    /// Returns the key of each group.
    fn firsts(&self, keys: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let firsts = UInt32Array::from(self.firsts.clone());
        let picked = keys.iter().map(|column| take(column, &firsts, None));
        Ok(picked.collect::<Result<_, _>>()?)
    }
}

fn evaluate(expressions: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    let values = expressions
        .iter()
        .map(|expression| expression.evaluate(batch)?.into_array(rows));
    Ok(values.collect::<Result<_, _>>()?)
}

fn accumulator(expr: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if expr.groups_accumulator_supported() {
        return Ok(expr.create_groups_accumulator()?);
    }
    let expr = Arc::clone(expr);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || {
        expr.create_accumulator()
    })))
}
