//! Times: any ordered column as plain numbers, read once a column.
//!
//! | column | number | distance |
//! |---|---|---|
//! | integers, dates, times, timestamps, durations, decimals of up to 18 digits | `i64` | `u64` |
//! | decimals of up to 38 digits | `i128` | `u128` |
//! | floats | `f64` | `f64` |
//!
//! `u64` is shifted by 2^63, which keeps order and distances. A NaN is no time: like NULL, it
//! matches nothing. `-0.0` is `0.0`.

use arrow_array::cast::AsArray;
use arrow_array::types::Float16Type;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};
use arrow_schema::DataType;

use super::condition::AsOfTolerance;

/// A number that times of some types become.
pub(super) trait Time: ArrowNativeType {
    /// How far two times are apart.
    type Distance: Copy + PartialOrd;

    const LEAST: Self;
    const GREATEST: Self;

    /// Reads a decoded column whose class is this number's. What stands under a NULL may be anything.
    fn read(column: &ArrayRef) -> ScalarBuffer<Self>;

    /// Says whether it is a time at all.
    fn is_time(self) -> bool {
        true
    }

    fn distance(self, other: Self) -> Self::Distance;

    fn bound(tolerance: AsOfTolerance) -> Self::Distance;
}

/// Which number the times of a type become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeClass {
    Whole,
    Wide,
    Float,
}

impl TimeClass {
    /// Returns the class of a plain type; none where its values are not times.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        use DataType as T;
        match data_type {
            T::Decimal128(..) => Some(Self::Wide),
            T::Float16 | T::Float32 | T::Float64 => Some(Self::Float),
            T::Date32 | T::Date64 | T::Time32(_) | T::Time64(_) | T::Timestamp(..) | T::Duration(_) => {
                Some(Self::Whole)
            }
            T::Decimal32(..) | T::Decimal64(..) => Some(Self::Whole),
            integer if integer.is_integer() => Some(Self::Whole),
            _ => None,
        }
    }
}

/// Returns a primitive column's values as they lie in memory.
fn native<N: ArrowNativeType>(column: &ArrayRef) -> ScalarBuffer<N> {
    let data = column.to_data();
    match data.buffers().first() {
        Some(values) => ScalarBuffer::new(values.clone(), data.offset(), data.len()),
        None => ScalarBuffer::from(Vec::new()),
    }
}

impl Time for i64 {
    type Distance = u64;
    const LEAST: Self = Self::MIN;
    const GREATEST: Self = Self::MAX;

    fn read(column: &ArrayRef) -> ScalarBuffer<Self> {
        use DataType as T;
        fn widen<N: ArrowNativeType + Into<i64>>(column: &ArrayRef) -> ScalarBuffer<i64> {
            native::<N>(column).iter().map(|value| (*value).into()).collect()
        }
        match column.data_type() {
            T::Int8 => widen::<i8>(column),
            T::Int16 => widen::<i16>(column),
            T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(..) => widen::<i32>(column),
            T::UInt8 => widen::<u8>(column),
            T::UInt16 => widen::<u16>(column),
            T::UInt32 => widen::<u32>(column),
            T::UInt64 => native::<u64>(column)
                .iter()
                .map(|value| (value ^ (1 << 63)).cast_signed())
                .collect(),
            _ => native::<i64>(column),
        }
    }

    fn distance(self, other: Self) -> u64 {
        self.abs_diff(other)
    }

    fn bound(tolerance: AsOfTolerance) -> u64 {
        u64::try_from(tolerance.as_whole()).unwrap_or(u64::MAX)
    }
}

impl Time for i128 {
    type Distance = u128;
    const LEAST: Self = Self::MIN;
    const GREATEST: Self = Self::MAX;

    fn read(column: &ArrayRef) -> ScalarBuffer<Self> {
        native(column)
    }

    fn distance(self, other: Self) -> u128 {
        self.abs_diff(other)
    }

    fn bound(tolerance: AsOfTolerance) -> u128 {
        tolerance.as_whole()
    }
}

impl Time for f64 {
    type Distance = f64;
    const LEAST: Self = Self::NEG_INFINITY;
    const GREATEST: Self = Self::INFINITY;

    fn read(column: &ArrayRef) -> ScalarBuffer<Self> {
        match column.data_type() {
            DataType::Float16 => column
                .as_primitive::<Float16Type>()
                .values()
                .iter()
                .map(|value| f64::from(*value))
                .collect(),
            DataType::Float32 => native::<f32>(column).iter().map(|v| f64::from(*v)).collect(),
            _ => native(column),
        }
    }

    fn is_time(self) -> bool {
        !self.is_nan()
    }

    fn distance(self, other: Self) -> f64 {
        // Two infinities of one sign are at the same time.
        if self == other { 0.0 } else { (self - other).abs() }
    }

    fn bound(tolerance: AsOfTolerance) -> f64 {
        tolerance.as_float()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, Int16Array, TimestampMicrosecondArray, UInt64Array};
    use arrow_schema::{DataType, IntervalUnit};

    use super::{Time, TimeClass};

    #[test]
    fn keeps_order_and_distance_of_unsigned_numbers() {
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![0, 1, u64::MAX]));
        let times = <i64 as Time>::read(&column);
        assert!(times[0] < times[1] && times[1] < times[2]);
        assert_eq!(times[0].distance(times[2]), u64::MAX);
    }

    #[test]
    fn reads_slices_and_narrow_types() {
        let column: ArrayRef = Arc::new(Int16Array::from(vec![1, -2, 3]).slice(1, 2));
        assert_eq!(*<i64 as Time>::read(&column), [-2, 3]);
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5, 6]).slice(1, 1));
        assert_eq!(*<i64 as Time>::read(&column), [6]);
        let column: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        assert_eq!(*<f64 as Time>::read(&column), [0.5]);
    }

    #[test]
    fn knows_what_is_no_time() {
        assert_eq!(TimeClass::of(&DataType::Utf8View), None);
        assert_eq!(TimeClass::of(&DataType::Boolean), None);
        assert_eq!(TimeClass::of(&DataType::Interval(IntervalUnit::DayTime)), None);
        assert_eq!(TimeClass::of(&DataType::Decimal128(20, 2)), Some(TimeClass::Wide));
    }
}
