//! `SUM` and `AVG` over integers and decimals without wrapping.
//!
//! Totals are kept in 128 bits (256 for wider decimals), so the order of rows decides nothing and
//! only a result that does not fit is an error. `AVG` of decimals rounds half away from zero at
//! the result's scale, which is the argument's plus four.

use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;

use arrow_array::builder::ListBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, BooleanArray, PrimitiveArray, UInt64Array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, internal_datafusion_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion_functions_aggregate::average::avg_udaf;
use datafusion_functions_aggregate::sum::sum_udaf;
use hashbrown::HashSet;

use super::wide::{Wide, finish, for_each};

/// Which total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Total {
    Sum,
    Average,
}

/// `sum` or `avg`: ours over integers and decimals, DataFusion's over everything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CheckedTotal {
    total: Total,
    inner: Arc<AggregateUDF>,
}

impl CheckedTotal {
    /// `sum`.
    pub(crate) fn sum() -> AggregateUDF {
        AggregateUDF::new_from_impl(Self {
            total: Total::Sum,
            inner: sum_udaf(),
        })
    }

    /// `avg`.
    pub(crate) fn average() -> AggregateUDF {
        AggregateUDF::new_from_impl(Self {
            total: Total::Average,
            inner: avg_udaf(),
        })
    }

    fn state<W: Wide>(&self, args: &AccumulatorArgs<'_>) -> TotalState<W> {
        let result = args.return_field.data_type().clone();
        let rescale = match (self.total, args.expr_fields[0].data_type(), &result) {
            (Total::Average, from, to) => scale(to) - scale(from),
            _ => 0,
        };
        TotalState {
            total: self.total,
            result,
            rescale,
            name: args.name.to_string(),
            width: std::marker::PhantomData,
        }
    }
}

fn scale(kind: &DataType) -> i8 {
    match kind {
        DataType::Decimal32(_, s)
        | DataType::Decimal64(_, s)
        | DataType::Decimal128(_, s)
        | DataType::Decimal256(_, s) => *s,
        _ => 0,
    }
}

/// Says whether totals over this type are ours, and whether they need 256 bits.
fn needs_256_bits(kind: &DataType) -> Option<bool> {
    match kind {
        DataType::Int64 | DataType::UInt64 | DataType::Decimal32(..) | DataType::Decimal64(..) => Some(false),
        // A total of 2^32 values needs ten more digits than each of them.
        DataType::Decimal128(p, _) => Some(*p > 28),
        DataType::Decimal256(..) => Some(true),
        _ => None,
    }
}

fn state_type(kind: &DataType) -> Option<DataType> {
    needs_256_bits(kind).map(|wide| {
        if wide {
            DataType::Decimal256(76, scale(kind))
        } else {
            DataType::Decimal128(38, scale(kind))
        }
    })
}

macro_rules! with_width {
    ($wide:expr, $width:ident => $body:expr) => {
        if $wide {
            type $width = Decimal256Type;
            $body
        } else {
            type $width = Decimal128Type;
            $body
        }
    };
}

impl AggregateUDFImpl for CheckedTotal {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some(wide) = needs_256_bits(args.expr_fields[0].data_type()) else {
            return self.inner.accumulator(args);
        };
        with_width!(wide, W => {
            let state = self.state::<W>(&args);
            let kind = state_type(args.expr_fields[0].data_type())
                .ok_or_else(|| internal_datafusion_err!("no state for {}", args.name))?;
            Ok(if args.is_distinct {
                Box::new(DistinctTotal::<W> { state, kind, seen: HashSet::new() })
            } else {
                Box::new(RunningTotal::<W> { state, kind, sum: Default::default(), count: 0 })
            })
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if needs_256_bits(args.expr_fields[0].data_type()).is_none() {
            return self.inner.create_sliding_accumulator(args);
        }
        self.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(kind) = state_type(args.input_fields[0].data_type()) else {
            return self.inner.state_fields(args);
        };
        Ok(if args.is_distinct {
            let item = Field::new_list_field(kind, true);
            vec![Arc::new(Field::new_list(
                format_state_name(args.name, "distinct"),
                item,
                true,
            ))]
        } else {
            vec![
                Arc::new(Field::new(format_state_name(args.name, "sum"), kind, true)),
                Arc::new(Field::new(
                    format_state_name(args.name, "count"),
                    DataType::UInt64,
                    true,
                )),
            ]
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match needs_256_bits(args.expr_fields[0].data_type()) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(wide) = needs_256_bits(args.expr_fields[0].data_type()) else {
            return self.inner.create_groups_accumulator(args);
        };
        let kind = state_type(args.expr_fields[0].data_type())
            .ok_or_else(|| internal_datafusion_err!("no state for {}", args.name))?;
        with_width!(wide, W => {
            let state = self.state::<W>(&args);
            Ok(Box::new(GroupTotals::<W> { state, kind, sums: Vec::new(), counts: Vec::new() }))
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// How totals become results.
#[derive(Debug)]
struct TotalState<W> {
    total: Total,
    result: DataType,
    rescale: i8,
    name: String,
    width: std::marker::PhantomData<fn() -> W>,
}

impl<W: Wide> TotalState<W> {
    fn overflow(&self) -> datafusion_common::DataFusionError {
        exec_datafusion_err!(
            "{} overflow: the total does not fit in {}",
            self.name,
            self.result
        )
    }

    fn add(&self, sum: &mut W::Native, value: W::Native) -> Result<()> {
        *sum = sum.add_checked(value).map_err(|_| self.overflow())?;
        Ok(())
    }

    /// Turns one total into the result's value.
    fn value(&self, sum: W::Native, count: u64) -> Result<Option<W::Native>> {
        if count == 0 {
            return Ok(None);
        }
        match self.total {
            Total::Sum => Ok(Some(sum)),
            Total::Average => {
                let scaled = u32::try_from(self.rescale)
                    .ok()
                    .and_then(W::ten_pow)
                    .and_then(|factor| sum.mul_checked(factor).ok())
                    .ok_or_else(|| self.overflow())?;
                Ok(Some(divide_rounding::<W>(scaled, W::widen(i128::from(count)))))
            }
        }
    }

    fn finish(&self, values: Vec<Option<W::Native>>) -> Result<ArrayRef> {
        finish::<W>(values, &self.result, &self.name)
    }
}

/// Divides by a positive count, rounding half away from zero.
fn divide_rounding<W: Wide>(value: W::Native, by: W::Native) -> W::Native {
    let quotient = value.div_wrapping(by);
    let rest = value.mod_wrapping(by);
    let zero = W::widen(0);
    let one = W::widen(1);
    let size = if rest.is_lt(zero) {
        zero.sub_wrapping(rest)
    } else {
        rest
    };
    if size.is_lt(by.sub_wrapping(size)) {
        quotient
    } else if value.is_lt(zero) {
        quotient.sub_wrapping(one)
    } else {
        quotient.add_wrapping(one)
    }
}

/// One total of all rows; also over sliding windows.
#[derive(Debug)]
struct RunningTotal<W: Wide> {
    state: TotalState<W>,
    kind: DataType,
    sum: W::Native,
    count: u64,
}

impl<W: Wide> Accumulator for RunningTotal<W> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (state, sum, count) = (&self.state, &mut self.sum, &mut self.count);
        for_each::<W>(&values[0], |_, value| {
            *count += 1;
            state.add(sum, value)
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (state, sum, count) = (&self.state, &mut self.sum, &mut self.count);
        for_each::<W>(&values[0], |_, value| {
            *count -= 1;
            *sum = sum.sub_checked(value).map_err(|_| state.overflow())?;
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.state.value(self.sum, self.count)?;
        ScalarValue::try_from_array(&self.state.finish(vec![value])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = PrimitiveArray::<W>::from_iter([Some(self.sum)]).with_data_type(self.kind.clone());
        Ok(vec![
            ScalarValue::try_from_array(&sum, 0)?,
            ScalarValue::UInt64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[1].as_primitive::<UInt64Type>();
        let (state, sum, count) = (&self.state, &mut self.sum, &mut self.count);
        for_each::<W>(&states[0], |row, value| {
            *count += counts.value(row);
            state.add(sum, value)
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The total of distinct values.
#[derive(Debug)]
struct DistinctTotal<W: Wide> {
    state: TotalState<W>,
    kind: DataType,
    seen: HashSet<W::Native>,
}

impl<W: Wide> Accumulator for DistinctTotal<W>
where
    W::Native: std::hash::Hash + Eq,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let seen = &mut self.seen;
        for_each::<W>(&values[0], |_, value| {
            seen.insert(value);
            Ok(())
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = W::widen(0);
        for value in &self.seen {
            self.state.add(&mut sum, *value)?;
        }
        let value = self.state.value(sum, self.seen.len() as u64)?;
        ScalarValue::try_from_array(&self.state.finish(vec![value])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<W>::builder(self.seen.len()).with_data_type(self.kind.clone());
        let mut list = ListBuilder::new(values).with_field(Field::new_list_field(self.kind.clone(), true));
        for value in &self.seen {
            list.values().append_value(*value);
        }
        list.append(true);
        Ok(vec![ScalarValue::List(Arc::new(list.finish()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.seen.capacity() * size_of::<W::Native>()
    }
}

/// One total a group.
#[derive(Debug)]
struct GroupTotals<W: Wide> {
    state: TotalState<W>,
    kind: DataType,
    sums: Vec<W::Native>,
    counts: Vec<u64>,
}

impl<W: Wide> GroupTotals<W> {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, W::widen(0));
        self.counts.resize(groups, 0);
    }
}

impl<W: Wide> GroupsAccumulator for GroupTotals<W> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let (state, sums, counts) = (&self.state, &mut self.sums, &mut self.counts);
        for_each::<W>(&values[0], |row, value| {
            if opt_filter.is_some_and(|filter| filter.is_null(row) || !filter.value(row)) {
                return Ok(());
            }
            let group = group_indices[row];
            counts[group] += 1;
            state.add(&mut sums[group], value)
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let values = sums
            .into_iter()
            .zip(counts)
            .map(|(sum, count)| self.state.value(sum, count))
            .collect::<Result<Vec<_>>>()?;
        self.state.finish(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let sums = PrimitiveArray::<W>::from_iter_values(sums).with_data_type(self.kind.clone());
        Ok(vec![Arc::new(sums), Arc::new(UInt64Array::from(counts))])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let partial_counts = values[1].as_primitive::<UInt64Type>();
        let (state, sums, counts) = (&self.state, &mut self.sums, &mut self.counts);
        for_each::<W>(&values[0], |row, value| {
            let group = group_indices[row];
            counts[group] += partial_counts.value(row);
            state.add(&mut sums[group], value)
        })
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut sums = vec![W::widen(0); values[0].len()];
        let mut counts = vec![0; values[0].len()];
        for_each::<W>(&values[0], |row, value| {
            if opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                sums[row] = value;
                counts[row] = 1;
            }
            Ok(())
        })?;
        let sums = PrimitiveArray::<W>::from_iter_values(sums).with_data_type(self.kind.clone());
        Ok(vec![Arc::new(sums), Arc::new(UInt64Array::from(counts))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<W::Native>() + self.counts.capacity() * size_of::<u64>()
    }
}
