//! Column types as whole numbers: every kind of value that can be counted is a number of *ticks*.
//!
//! ```text
//!  BIGINT 7             → 7            TIMESTAMP(3) 1970-01-01 00:00:01 → 1000
//!  DECIMAL(9,2) 1.50    → 150          DATE 1970-01-02                  → 1
//! ```

use std::ops::RangeInclusive;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::datatypes::{DataType, Date32Type, TimeUnit};

use crate::decimal::parse_i128;

/// What kind of values a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Domain {
    Integer { bounds: RangeInclusive<i128> },
    Decimal { precision: u8, scale: i8 },
    Date,
    Time { unit: TimeUnit },
    Timestamp { unit: TimeUnit, zone: Option<String> },
    Float,
    Text,
    Boolean,
}

/// Returns how many nanoseconds a unit has.
fn unit_ns(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

const DAY_NS: i128 = 86_400_000_000_000;

/// The range that times are drawn from where no bounds are given.
const FIRST_DAY: &str = "2024-01-01";
const LAST_DAY: &str = "2024-12-31";

/// How large a number is at most where no bounds are given.
const NUMBER_MAX: i128 = 999_999;

impl Domain {
    /// Returns the domain of a type, or `None` where values of it cannot be made up.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        let integer = |min: i128, max: i128| Some(Self::Integer { bounds: min..=max });
        match data_type {
            DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => integer(i64::MIN.into(), i64::MAX.into()),
            DataType::UInt8 => integer(0, u8::MAX.into()),
            DataType::UInt16 => integer(0, u16::MAX.into()),
            DataType::UInt32 => integer(0, u32::MAX.into()),
            // Ticks of all but decimals are made as i64.
            DataType::UInt64 => integer(0, i64::MAX.into()),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => Some(Self::Decimal {
                precision: (*precision).min(38),
                scale: *scale,
            }),
            DataType::Date32 => Some(Self::Date),
            DataType::Time32(unit) | DataType::Time64(unit) => Some(Self::Time { unit: *unit }),
            DataType::Timestamp(unit, zone) => Some(Self::Timestamp {
                unit: *unit,
                zone: zone.as_ref().map(ToString::to_string),
            }),
            DataType::Float32 | DataType::Float64 => Some(Self::Float),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::Text),
            DataType::Boolean => Some(Self::Boolean),
            _ => None,
        }
    }

    /// Returns the ticks that the type holds.
    pub(super) fn bounds(&self) -> RangeInclusive<i128> {
        match self {
            Self::Integer { bounds } => bounds.clone(),
            Self::Decimal { precision, .. } => {
                let end = 10_i128.pow(u32::from(*precision)) - 1;
                -end..=end
            }
            Self::Date => i128::from(i32::MIN)..=i128::from(i32::MAX),
            Self::Time { unit } => 0..=(DAY_NS / unit_ns(*unit) - 1),
            Self::Timestamp { .. } | Self::Float | Self::Text => i128::from(i64::MIN)..=i128::from(i64::MAX),
            Self::Boolean => 0..=1,
        }
    }

    /// Returns the ticks to draw from where no bounds are given.
    pub(super) fn usual(&self) -> RangeInclusive<i128> {
        let (min, max) = match self {
            Self::Decimal { scale, .. } => {
                let one = u32::try_from(*scale).map_or(1, |scale| 10_i128.saturating_pow(scale));
                (0, NUMBER_MAX.saturating_add(1).saturating_mul(one) - 1)
            }
            Self::Date | Self::Timestamp { .. } => {
                let day = |text| self.parse(text).unwrap_or(0);
                (day(FIRST_DAY), day(LAST_DAY))
            }
            Self::Time { .. } => return self.bounds(),
            _ => (0, NUMBER_MAX),
        };
        let bounds = self.bounds();
        min..=max.min(*bounds.end())
    }

    /// Returns where a sequence begins where no start is given.
    pub(super) fn usual_start(&self) -> i128 {
        match self {
            Self::Date | Self::Timestamp { .. } => self.parse(FIRST_DAY).unwrap_or(0),
            Self::Time { .. } => 0,
            Self::Decimal { scale, .. } => u32::try_from(*scale)
                .map_or(1, |scale| 10_i128.saturating_pow(scale))
                .min(*self.bounds().end()),
            _ => 1,
        }
    }

    /// Returns a sequence's step where none is given: 1, a day, a second.
    pub(super) fn usual_step(&self) -> i128 {
        match self {
            Self::Time { unit } | Self::Timestamp { unit, .. } => unit_ns(TimeUnit::Second) / unit_ns(*unit),
            Self::Decimal { .. } => self.usual_start(),
            _ => 1,
        }
    }

    /// Says in words what a value's text should be.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Integer { .. } | Self::Text => "a whole number",
            Self::Decimal { .. } => "a number with no more digits than the column's type holds",
            Self::Date => "a date, as in '2024-01-31'",
            Self::Time { .. } => "a time, as in '12:30:00'",
            Self::Timestamp { .. } => "a timestamp, as in '2024-01-31 12:30:00'",
            Self::Float => "a number",
            Self::Boolean => "true or false",
        }
    }

    /// Reads a value as ticks; `None` where it is none, or out of the type's range.
    pub(super) fn parse(&self, text: &str) -> Option<i128> {
        let text = text.trim_ascii();
        let ticks = match self {
            Self::Integer { .. } | Self::Text => text.parse().ok()?,
            Self::Decimal { precision, scale } => parse_i128(text, *precision, *scale).ok()?,
            Self::Boolean => i128::from(text.to_ascii_lowercase().parse::<bool>().ok()?),
            _ if !text.is_ascii() => return None,
            Self::Date => Date32Type::parse(text)?.into(),
            Self::Time { unit } => i128::from(string_to_time_nanoseconds(text).ok()?) / unit_ns(*unit),
            Self::Timestamp { unit, zone } => {
                let zone: Tz = zone.as_deref().unwrap_or("+00:00").parse().ok()?;
                let time = string_to_datetime(&zone, text).ok()?;
                let nanos =
                    i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos());
                nanos.div_euclid(unit_ns(*unit))
            }
            Self::Float => return None,
        };
        self.bounds().contains(&ticks).then_some(ticks)
    }

    /// Reads the distance between two values of a sequence.
    pub(super) fn parse_step(&self, text: &str) -> Option<i128> {
        let text = text.trim_ascii();
        match self {
            Self::Date => match duration_ns(text) {
                Some(nanos) => (nanos % DAY_NS == 0).then_some(nanos / DAY_NS),
                None => text.parse().ok(),
            },
            Self::Time { unit } | Self::Timestamp { unit, .. } => {
                let (nanos, unit_ns) = (duration_ns(text)?, unit_ns(*unit));
                (nanos % unit_ns == 0).then_some(nanos / unit_ns)
            }
            Self::Decimal { precision, scale } => parse_i128(text, *precision, *scale).ok(),
            _ => text.parse().ok(),
        }
    }

    /// Says in words what a step's text should be.
    pub(super) fn expected_step(&self) -> &'static str {
        match self {
            Self::Date => "days, as in '1d'",
            Self::Time { .. } | Self::Timestamp { .. } => {
                "a duration that the column's type can hold, as in '10ms' or '1s'"
            }
            _ => self.expected(),
        }
    }
}

/// Reads a duration, as in `10ms`, in nanoseconds.
fn duration_ns(text: &str) -> Option<i128> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: i64 = text.get(..at)?.trim_ascii().parse().ok()?;
    let unit = match text.get(at..)? {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => DAY_NS,
        _ => return None,
    };
    Some(i128::from(number) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ticks_and_back_within_bounds() {
        let decimal = Domain::of(&DataType::Decimal128(5, 2)).unwrap();
        assert_eq!(decimal.parse("1.50"), Some(150));
        assert_eq!(decimal.parse("1.555"), None);
        assert_eq!(decimal.parse("1000"), None);
        let tiny = Domain::of(&DataType::Int8).unwrap();
        assert_eq!((tiny.parse("127"), tiny.parse("128")), (Some(127), None));
        assert_eq!(tiny.usual(), 0..=127);
        let time = Domain::of(&DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        assert_eq!(time.parse("1970-01-01 00:00:01"), Some(1000));
        assert_eq!(time.parse("é"), None);
    }

    #[test]
    fn steps_are_durations_for_times() {
        let time = Domain::of(&DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        assert_eq!(time.parse_step("10ms"), Some(10));
        assert_eq!(time.parse_step("-1s"), Some(-1000));
        assert_eq!(time.parse_step("10us"), None);
        assert_eq!(time.usual_step(), 1000);
        assert_eq!(Domain::Date.parse_step("7d"), Some(7));
        assert_eq!(Domain::Date.parse_step("1h"), None);
    }
}
