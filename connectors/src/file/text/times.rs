//! Reads dates, times of day and timestamps from text, refusing digits that a type cannot hold.

use arrow::array::ArrayRef;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use fletching::{Error, Result};

use super::values::{BadCell, Cells, Reason, TOO_FINE, TOO_LARGE, primitive};

pub(super) fn date(text: &str) -> Result<i32, Reason> {
    let text = text.trim_ascii();
    if !text.is_ascii() || !text.contains('-') {
        return Err("");
    }
    Date32Type::parse(text).ok_or("")
}

/// Reads times of day; `unit_ns` is the length of the type's unit in nanoseconds.
pub(super) fn times<T, C: Cells>(cells: &C, unit_ns: i64, bad: &mut Vec<BadCell>) -> ArrayRef
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    primitive::<T, C>(cells, &T::DATA_TYPE, bad, |text| {
        let text = text.trim_ascii();
        if !text.is_ascii() {
            return Err("");
        }
        let nanos = string_to_time_nanoseconds(text).map_err(|_| "")?;
        if nanos % unit_ns != 0 {
            return Err(TOO_FINE);
        }
        T::Native::try_from(nanos / unit_ns).map_err(|_| TOO_LARGE)
    })
}

pub(super) fn timestamps<C: Cells>(
    cells: &C,
    unit: TimeUnit,
    zone: Option<&str>,
    data_type: &DataType,
    bad: &mut Vec<BadCell>,
) -> Result<ArrayRef> {
    let zone: Tz = zone
        .unwrap_or("+00:00")
        .parse()
        .map_err(|_| Error::internal(format!("no such time zone: {}", zone.unwrap_or_default())))?;
    let parse = |text: &str| timestamp(text, unit, zone);
    Ok(match unit {
        TimeUnit::Second => primitive::<TimestampSecondType, C>(cells, data_type, bad, parse),
        TimeUnit::Millisecond => primitive::<TimestampMillisecondType, C>(cells, data_type, bad, parse),
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType, C>(cells, data_type, bad, parse),
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType, C>(cells, data_type, bad, parse),
    })
}

fn timestamp(text: &str, unit: TimeUnit, zone: Tz) -> Result<i64, Reason> {
    let text = text.trim_ascii();
    if !text.is_ascii() {
        return Err("");
    }
    let time = string_to_datetime(&zone, text).map_err(|_| "")?;
    let nanos = time.timestamp_subsec_nanos();
    let (value, unit_ns) = match unit {
        TimeUnit::Second => (Some(time.timestamp()), 1_000_000_000),
        TimeUnit::Millisecond => (Some(time.timestamp_millis()), 1_000_000),
        TimeUnit::Microsecond => (Some(time.timestamp_micros()), 1_000),
        TimeUnit::Nanosecond => (time.timestamp_nanos_opt(), 1),
    };
    if nanos % unit_ns != 0 {
        return Err(TOO_FINE);
    }
    value.ok_or(TOO_LARGE)
}
