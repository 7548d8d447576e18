//! Comparing a column with one value: straight to the positions of the rows where it holds.
//!
//! A filter's usual way is a mask, then the mask's set bits. For the commonest of all conditions,
//! a column against a constant, one pass writes the positions at once, without a branch to
//! mispredict: each row's position is written, and the place to write moves on where it holds.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::prefetch::{CHUNK_BYTES, chunks_ahead};

/// Positions put aside at a time: they stay in the first cache. A chunk's fit in.
const BLOCK_ROWS: usize = 1024;

/// Rows whose comparison takes less time than making a block.
const FEW_ROWS: usize = 32;

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `column = value`.
    Equal,
    /// `column <> value`.
    NotEqual,
    /// `column < value`.
    Less,
    /// `column <= value`.
    LessOrEqual,
    /// `column > value`.
    Greater,
    /// `column >= value`.
    GreaterOrEqual,
}

impl Comparison {
    /// Returns the comparison that says the same with its sides swapped.
    ///
    /// ```
    /// use fletching_kernels::Comparison;
    /// assert_eq!(Comparison::Less.swapped(), Comparison::Greater);
    /// assert_eq!(Comparison::Equal.swapped(), Comparison::Equal);
    /// ```
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

/// Returns the positions, ascending, of the rows whose value compares so with the one of `value`;
/// none for types that are not compared here.
///
/// Takes whole numbers, decimals, dates, times, timestamps and durations, both sides of the same
/// type; `value` has one row. NULL compares with nothing. About 1 ns a row, 0.3 for types of up to
/// 4 bytes.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Float64Array, Int64Array};
/// use fletching_kernels::{Comparison, positions_where};
///
/// let amount: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(20), Some(30)]));
/// let limit: ArrayRef = Arc::new(Int64Array::from(vec![10]));
/// assert_eq!(positions_where(&amount, Comparison::Greater, &limit), Some(vec![2, 3]));
///
/// let ratio: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
/// assert_eq!(positions_where(&ratio, Comparison::Greater, &ratio), None);
/// ```
#[must_use]
pub fn positions_where(column: &ArrayRef, comparison: Comparison, value: &ArrayRef) -> Option<Vec<u32>> {
    if column.data_type() != value.data_type() || value.len() != 1 || u32::try_from(column.len()).is_err() {
        return None;
    }
    macro_rules! of {
        ($t:ty) => {
            Some(of_type::<$t>(
                column.as_primitive(),
                comparison,
                value.as_primitive(),
            ))
        };
    }
    match column.data_type() {
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::UInt8 => of!(UInt8Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::UInt64 => of!(UInt64Type),
        DataType::Decimal32(..) => of!(Decimal32Type),
        DataType::Decimal64(..) => of!(Decimal64Type),
        DataType::Decimal128(..) => of!(Decimal128Type),
        DataType::Date32 => of!(Date32Type),
        DataType::Date64 => of!(Date64Type),
        DataType::Time32(TimeUnit::Second) => of!(Time32SecondType),
        DataType::Time32(TimeUnit::Millisecond) => of!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => of!(Time64MicrosecondType),
        DataType::Time64(TimeUnit::Nanosecond) => of!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => of!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => of!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => of!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => of!(DurationNanosecondType),
        _ => None,
    }
}

fn of_type<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    comparison: Comparison,
    value: &PrimitiveArray<T>,
) -> Vec<u32>
where
    T::Native: PartialOrd,
{
    if value.is_null(0) {
        return Vec::new();
    }
    let value = value.value(0);
    let (values, nulls) = (column.values(), column.nulls());
    match comparison {
        Comparison::Equal => collect(values, nulls, |other| other == value),
        Comparison::NotEqual => collect(values, nulls, |other| other != value),
        Comparison::Less => collect(values, nulls, |other| other < value),
        Comparison::LessOrEqual => collect(values, nulls, |other| other <= value),
        Comparison::Greater => collect(values, nulls, |other| other > value),
        Comparison::GreaterOrEqual => collect(values, nulls, |other| other >= value),
    }
}

fn collect<T: Copy>(values: &[T], nulls: Option<&NullBuffer>, holds: impl Fn(T) -> bool) -> Vec<u32> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    if values.len() <= FEW_ROWS {
        let is_kept = |(position, value): &(u32, &T)| {
            holds(**value) && nulls.is_none_or(|nulls| nulls.is_valid(*position as usize))
        };
        let kept = (0..).zip(values).filter(is_kept);
        return kept.map(|(position, _)| position).collect();
    }
    // Half of the rows is a guess; what is missing is added as it is needed.
    let mut positions = Vec::with_capacity(values.len() / 2 + BLOCK_ROWS);
    let mut block = [0_u32; BLOCK_ROWS];
    let (mut first, mut kept) = (0_u32, 0);
    for values in chunks_ahead(values) {
        match nulls {
            None => {
                for (position, value) in (first..).zip(values) {
                    block[kept % BLOCK_ROWS] = position;
                    kept += usize::from(holds(*value));
                }
            }
            Some(nulls) => {
                for (position, value) in (first..).zip(values) {
                    block[kept % BLOCK_ROWS] = position;
                    kept += usize::from(holds(*value) & nulls.is_valid(position as usize));
                }
            }
        }
        first = first.wrapping_add(u32::try_from(values.len()).unwrap_or(u32::MAX));
        if kept > BLOCK_ROWS - CHUNK_BYTES {
            positions.extend_from_slice(&block[..kept]);
            kept = 0;
        }
    }
    positions.extend_from_slice(&block[..kept]);
    positions
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Decimal128Array, Int32Array, TimestampSecondArray};

    use super::{BLOCK_ROWS, Comparison, FEW_ROWS, positions_where};

    const ALL: [Comparison; 6] = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];

    fn holds(comparison: Comparison, left: i64, right: i64) -> bool {
        match comparison {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }
    }

    /// Values of few kinds, negative ones too, some of them NULL, over several blocks.
    fn values() -> Vec<Option<i64>> {
        let value = |row: i64| (row % 7 != 3).then_some(row * 37 % 11 - 5);
        (0..3 * BLOCK_ROWS as i64 + 5).map(value).collect()
    }

    fn check(column: &ArrayRef, values: &[Option<i64>], constant: impl Fn(i64) -> ArrayRef) {
        for comparison in ALL {
            for right in [-6, -1, 0, 5] {
                let expected: Vec<u32> = (0..)
                    .zip(values)
                    .filter(|(_, left)| left.is_some_and(|left| holds(comparison, left, right)))
                    .map(|(position, _)| position)
                    .collect();
                let found = positions_where(column, comparison, &constant(right));
                assert_eq!(found, Some(expected), "{comparison:?} {right}");
            }
        }
    }

    #[test]
    fn every_comparison_holds_where_it_should() {
        let values = values();
        let decimals = |values: Vec<Option<i64>>| {
            let wide = values.into_iter().map(|value| value.map(i128::from));
            wide.collect::<Decimal128Array>()
                .with_precision_and_scale(12, 2)
                .unwrap()
        };
        let column: ArrayRef = Arc::new(decimals(values.clone()));
        check(&column, &values, |right| Arc::new(decimals(vec![Some(right)])));
        let narrow = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
        let column: ArrayRef = Arc::new(values.iter().copied().map(narrow).collect::<Int32Array>());
        check(&column, &values, |right| {
            Arc::new(Int32Array::from(vec![narrow(Some(right))]))
        });
        let whole: Vec<_> = values.iter().copied().map(|value| value.or(Some(9))).collect();
        let column: ArrayRef = Arc::new(TimestampSecondArray::from(whole.clone()));
        check(&column, &whole, |right| {
            Arc::new(TimestampSecondArray::from(vec![right]))
        });
        for rows in [1000..2100, 1000..1000 + FEW_ROWS, 7..8] {
            let some = column.slice(rows.start, rows.len());
            check(&some, &whole[rows], |right| {
                Arc::new(TimestampSecondArray::from(vec![right]))
            });
        }
        let few: ArrayRef = Arc::new(TimestampSecondArray::from(values[..FEW_ROWS].to_vec()));
        check(&few, &values[..FEW_ROWS], |right| {
            Arc::new(TimestampSecondArray::from(vec![right]))
        });
    }

    #[test]
    fn null_compares_with_nothing_and_other_types_are_left_alone() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let null: ArrayRef = Arc::new(Int32Array::from(vec![None]));
        let other: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]));
        assert_eq!(
            positions_where(&column, Comparison::NotEqual, &null),
            Some(vec![])
        );
        assert_eq!(positions_where(&column, Comparison::Equal, &other), None);
        assert_eq!(positions_where(&column, Comparison::Equal, &column), None);
    }
}
