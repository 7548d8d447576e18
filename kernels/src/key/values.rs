//! Values: columns of a fixed width as bits of words.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, NullBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use super::float::normal;
use super::words::KeyWord;

/// The bits of a value, sign-extended where it has a sign; floats normalised.
trait KeyBits: Copy {
    fn key_bits(self) -> u128;
}

macro_rules! integer_bits {
    ($($t:ty),*) => {$(
        impl KeyBits for $t {
            #[inline(always)]
            fn key_bits(self) -> u128 {
                self as i128 as u128
            }
        }
    )*};
}
integer_bits!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

macro_rules! float_bits {
    ($($t:ty),*) => {$(
        impl KeyBits for $t {
            #[inline(always)]
            fn key_bits(self) -> u128 {
                u128::from(normal(self).to_bits())
            }
        }
    )*};
}
float_bits!(f32, f64);

impl KeyBits for IntervalDayTime {
    #[inline(always)]
    fn key_bits(self) -> u128 {
        u128::from(self.days.cast_unsigned()) | u128::from(self.milliseconds.cast_unsigned()) << 32
    }
}

impl KeyBits for IntervalMonthDayNano {
    #[inline(always)]
    fn key_bits(self) -> u128 {
        u128::from(self.months.cast_unsigned())
            | u128::from(self.days.cast_unsigned()) << 32
            | u128::from(self.nanoseconds.cast_unsigned()) << 64
    }
}

/// Adds the values of one column to the words; the value of a row in `nulls` counts as zero.
pub(super) fn place_column<W: KeyWord>(
    words: &mut [W],
    column: &ArrayRef,
    shift: u32,
    mask: u128,
    nulls: Option<&NullBuffer>,
) {
    macro_rules! place {
        ($t:ty) => {
            place_values(
                words,
                column
                    .as_primitive::<$t>()
                    .values()
                    .iter()
                    .map(|value| value.key_bits()),
                shift,
                mask,
                nulls,
            )
        };
    }
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean().values().iter().map(u128::from);
            place_values(words, values, shift, mask, nulls);
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            let values = (0..values.len()).map(|row| little_endian(values.value(row)));
            place_values(words, values, shift, mask, nulls);
        }
        DataType::Int8 => place!(Int8Type),
        DataType::Int16 => place!(Int16Type),
        DataType::Int32 => place!(Int32Type),
        DataType::Int64 => place!(Int64Type),
        DataType::UInt8 => place!(UInt8Type),
        DataType::UInt16 => place!(UInt16Type),
        DataType::UInt32 => place!(UInt32Type),
        DataType::UInt64 => place!(UInt64Type),
        DataType::Float16 => {
            // The type of half floats has a name only in a crate of its own.
            let values = column.as_primitive::<Float16Type>().values().iter();
            let values = values.map(|value| u128::from(normal(*value).to_bits()));
            place_values(words, values, shift, mask, nulls);
        }
        DataType::Float32 => place!(Float32Type),
        DataType::Float64 => place!(Float64Type),
        DataType::Date32 => place!(Date32Type),
        DataType::Date64 => place!(Date64Type),
        DataType::Decimal32(..) => place!(Decimal32Type),
        DataType::Decimal64(..) => place!(Decimal64Type),
        DataType::Decimal128(..) => place!(Decimal128Type),
        DataType::Interval(IntervalUnit::YearMonth) => place!(IntervalYearMonthType),
        DataType::Interval(IntervalUnit::DayTime) => place!(IntervalDayTimeType),
        DataType::Interval(IntervalUnit::MonthDayNano) => place!(IntervalMonthDayNanoType),
        DataType::Time32(TimeUnit::Second) => place!(Time32SecondType),
        DataType::Time32(_) => place!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => place!(Time64MicrosecondType),
        DataType::Time64(_) => place!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => place!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => place!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => place!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => place!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => place!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => place!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => place!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => place!(DurationNanosecondType),
        // Of the other types none has a word class.
        _ => {}
    }
}

#[inline]
fn place_values<W: KeyWord>(
    words: &mut [W],
    values: impl Iterator<Item = u128>,
    shift: u32,
    mask: u128,
    nulls: Option<&NullBuffer>,
) {
    match nulls {
        None => {
            for (word, value) in words.iter_mut().zip(values) {
                word.place(value & mask, shift);
            }
        }
        Some(nulls) => {
            for ((word, value), valid) in words.iter_mut().zip(values).zip(nulls.iter()) {
                word.place(if valid { value & mask } else { 0 }, shift);
            }
        }
    }
}

fn little_endian(bytes: &[u8]) -> u128 {
    let mut word = [0; 16];
    word[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(word)
}
