//! How one value of each type is read from text, exactly: the one table of types that CSV's cells,
//! JSON's scalars and the casts of text go by.

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::*;
use fletching::Result;

use super::times::{date, time, timestamp, zone_of};
use crate::decimal::{DecimalFault, parse_i128, parse_i256};

/// Why a value was refused; empty where that is plain.
pub(crate) type Reason = &'static str;

pub(crate) const TOO_FINE: Reason = ", which has more digits after the point than the type holds";
pub(crate) const TOO_LARGE: Reason = ", which is out of range";

/// Something that is done with values of a type, once it is known how they are read from text.
pub(crate) trait Reading: Sized {
    type Output;

    /// Goes on with a type of numbers or times; `parse` reads one.
    fn primitives<T, F>(self, data_type: &DataType, parse: F) -> Self::Output
    where
        T: ArrowPrimitiveType,
        F: Fn(&str) -> Result<T::Native, Reason> + Send + 'static;

    /// Goes on with truth values, which [`boolean`] reads.
    fn booleans(self) -> Self::Output;

    /// Goes on with text, kept as views.
    fn texts(self) -> Self::Output;

    /// Goes on with a rarer type, whose cells are read together.
    fn others(self, data_type: &DataType) -> Result<Self::Output>;
}

/// Finds how values of a type are read from text.
pub(crate) fn read_as<R: Reading>(data_type: &DataType, reading: R) -> Result<R::Output> {
    use DataType as D;
    let narrow = |value: i128| i32::try_from(value).map_err(|_| TOO_LARGE);
    let middle = |value: i128| i64::try_from(value).map_err(|_| TOO_LARGE);
    let of = data_type;
    Ok(match *data_type {
        D::Int8 => reading.primitives::<Int8Type, _>(of, integer::<Int8Type>),
        D::Int16 => reading.primitives::<Int16Type, _>(of, integer::<Int16Type>),
        D::Int32 => reading.primitives::<Int32Type, _>(of, integer::<Int32Type>),
        D::Int64 => reading.primitives::<Int64Type, _>(of, integer::<Int64Type>),
        D::UInt8 => reading.primitives::<UInt8Type, _>(of, integer::<UInt8Type>),
        D::UInt16 => reading.primitives::<UInt16Type, _>(of, integer::<UInt16Type>),
        D::UInt32 => reading.primitives::<UInt32Type, _>(of, integer::<UInt32Type>),
        D::UInt64 => reading.primitives::<UInt64Type, _>(of, integer::<UInt64Type>),
        D::Float32 => reading.primitives::<Float32Type, _>(of, plain::<Float32Type>),
        D::Float64 => reading.primitives::<Float64Type, _>(of, plain::<Float64Type>),
        D::Date32 => reading.primitives::<Date32Type, _>(of, date),
        D::Time32(TimeUnit::Second) => {
            reading.primitives::<Time32SecondType, _>(of, |text| time(text, 1_000_000_000))
        }
        D::Time32(_) => reading.primitives::<Time32MillisecondType, _>(of, |text| time(text, 1_000_000)),
        D::Time64(TimeUnit::Nanosecond) => {
            reading.primitives::<Time64NanosecondType, _>(of, |text| time(text, 1))
        }
        D::Time64(_) => reading.primitives::<Time64MicrosecondType, _>(of, |text| time(text, 1_000)),
        D::Timestamp(unit, ref zone) => {
            let zone = zone_of(zone.as_deref())?;
            match unit {
                TimeUnit::Second => {
                    reading.primitives::<TimestampSecondType, _>(of, move |text| timestamp(text, unit, zone))
                }
                TimeUnit::Millisecond => reading
                    .primitives::<TimestampMillisecondType, _>(of, move |text| timestamp(text, unit, zone)),
                TimeUnit::Microsecond => reading
                    .primitives::<TimestampMicrosecondType, _>(of, move |text| timestamp(text, unit, zone)),
                TimeUnit::Nanosecond => reading
                    .primitives::<TimestampNanosecondType, _>(of, move |text| timestamp(text, unit, zone)),
            }
        }
        D::Decimal32(p, s) => reading.primitives::<Decimal32Type, _>(of, move |text| {
            parse_i128(text, p, s).map_err(reason).and_then(narrow)
        }),
        D::Decimal64(p, s) => reading.primitives::<Decimal64Type, _>(of, move |text| {
            parse_i128(text, p, s).map_err(reason).and_then(middle)
        }),
        D::Decimal128(p, s) => {
            reading.primitives::<Decimal128Type, _>(of, move |text| parse_i128(text, p, s).map_err(reason))
        }
        D::Decimal256(p, s) => {
            reading.primitives::<Decimal256Type, _>(of, move |text| parse_i256(text, p, s).map_err(reason))
        }
        D::Boolean => reading.booleans(),
        D::Utf8View => reading.texts(),
        _ => reading.others(data_type)?,
    })
}

fn plain<T: Parser>(text: &str) -> Result<T::Native, Reason> {
    T::parse(text).ok_or("")
}

/// Reads a whole number, also in the forms `2E3` and `5.00`.
fn integer<T>(text: &str) -> Result<T::Native, Reason>
where
    T: Parser,
    T::Native: TryFrom<i128>,
{
    if let Some(value) = T::parse(text) {
        return Ok(value);
    }
    let value = parse_i128(text, 38, 0).map_err(reason)?;
    T::Native::try_from(value).map_err(|_| TOO_LARGE)
}

fn reason(fault: DecimalFault) -> Reason {
    match fault {
        DecimalFault::NotANumber => "",
        DecimalFault::TooFine => TOO_FINE,
        DecimalFault::TooLarge => TOO_LARGE,
    }
}

/// Reads a truth value as SQL spells it.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ if is(["true", "t", "yes", "1"]) => Some(true),
        _ if is(["false", "f", "no", "0"]) => Some(false),
        _ => None,
    }
}
