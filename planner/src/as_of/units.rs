//! Bounds on time, in the units of a time column.

use arrow_schema::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::Expr;
use fletching_kernels::AsOfTolerance;

/// Nanoseconds of a day, as intervals count them.
const DAY_NS: i128 = 86_400_000_000_000;

/// Returns the constant that an expression is, if it is one.
pub(super) fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Negative(inner) => constant(inner)?.arithmetic_negate().ok(),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

/// Says whether values of a type are times that rows can be ordered by.
pub(super) fn is_time(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Duration(_)
                | DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
                | DataType::Float16
                | DataType::Float32
                | DataType::Float64
        )
}

/// Returns the unit that the times of a type count, as people write it; empty for plain numbers.
pub(crate) fn unit_word(kind: &DataType) -> &'static str {
    match kind {
        DataType::Date32 => " d",
        DataType::Date64 => " ms",
        _ => match time_unit(kind) {
            Some(TimeUnit::Second) => " s",
            Some(TimeUnit::Millisecond) => " ms",
            Some(TimeUnit::Microsecond) => " us",
            Some(TimeUnit::Nanosecond) => " ns",
            None => "",
        },
    }
}

fn time_unit(kind: &DataType) -> Option<TimeUnit> {
    match kind {
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => Some(*unit),
        _ => None,
    }
}

/// Returns the nanoseconds of a unit of time; none for plain numbers.
fn unit_ns(kind: &DataType) -> Option<i128> {
    match kind {
        DataType::Date32 => Some(DAY_NS),
        DataType::Date64 => Some(1_000_000),
        _ => Some(match time_unit(kind)? {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1000,
            TimeUnit::Nanosecond => 1,
        }),
    }
}

/// Turns an amount into a bound on distances of times of a type: at most the amount, or, where it
/// is `strict`, less.
///
/// # Errors
/// Fails with what is wrong with the amount.
pub(super) fn tolerance(
    amount: &ScalarValue,
    kind: &DataType,
    strict: bool,
) -> Result<AsOfTolerance, String> {
    if amount.is_null() {
        return Err("is NULL".into());
    }
    if kind.is_floating() {
        return float(amount, strict);
    }
    let (amount, scale) = match unit_ns(kind) {
        Some(unit) => (interval_ns(amount)?, unit),
        None => whole(amount, kind)?,
    };
    if amount < 0 {
        return Err("is negative".into());
    }
    let units = if strict {
        // Less than 2.5 units is at most 2, less than 2 at most 1.
        if amount == 0 {
            return Err("leaves no time between".into());
        }
        (amount - 1) / scale
    } else {
        amount / scale
    };
    Ok(AsOfTolerance::whole(units.unsigned_abs()))
}

fn float(amount: &ScalarValue, strict: bool) -> Result<AsOfTolerance, String> {
    let cast = amount.cast_to(&DataType::Float64);
    let Ok(ScalarValue::Float64(Some(amount))) = cast else {
        return Err("is no number".into());
    };
    match amount {
        amount if amount.is_nan() => Err("is not a number".into()),
        amount if amount < 0.0 => Err("is negative".into()),
        amount if strict && amount == 0.0 => Err("leaves no time between".into()),
        amount if strict => Ok(AsOfTolerance::float(amount.next_down())),
        amount => Ok(AsOfTolerance::float(amount)),
    }
}

/// Returns an interval's length. A month has none.
fn interval_ns(amount: &ScalarValue) -> Result<i128, String> {
    match amount {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Ok(i128::from(interval.days) * DAY_NS + i128::from(interval.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Ok(i128::from(interval.days) * DAY_NS + i128::from(interval.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalMonthDayNano(_) | ScalarValue::IntervalYearMonth(_) => {
            Err("has months, which are not all equally long; say days".into())
        }
        ScalarValue::DurationSecond(Some(amount)) => Ok(i128::from(*amount) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(amount)) => Ok(i128::from(*amount) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(amount)) => Ok(i128::from(*amount) * 1000),
        ScalarValue::DurationNanosecond(Some(amount)) => Ok(i128::from(*amount)),
        _ => Err("is no interval, as in INTERVAL '5' SECOND".into()),
    }
}

/// Returns a number and how many of it a unit of the type is.
fn whole(amount: &ScalarValue, kind: &DataType) -> Result<(i128, i128), String> {
    let wanted = match kind {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            *scale
        }
        _ => 0,
    };
    // Two digits more than the type has: what is cut off beyond them is less than any unit.
    let cast = amount.cast_to(&DataType::Decimal128(38, wanted.saturating_add(2)));
    match cast {
        Ok(ScalarValue::Decimal128(Some(amount), ..)) => Ok((amount, 100)),
        _ => Err("is no number of the times' kind".into()),
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, TimeUnit};
    use datafusion_common::ScalarValue;
    use fletching_kernels::AsOfTolerance;

    use super::tolerance;

    #[test]
    fn an_amount_is_cut_to_whole_units() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let interval = |ns| ScalarValue::new_interval_mdn(0, 0, ns);
        let units = |amount: &ScalarValue, kind: &DataType, strict| tolerance(amount, kind, strict).unwrap();
        assert_eq!(units(&interval(2500), &micros, false), AsOfTolerance::whole(2));
        assert_eq!(units(&interval(2500), &micros, true), AsOfTolerance::whole(2));
        assert_eq!(units(&interval(2000), &micros, true), AsOfTolerance::whole(1));
        let days = ScalarValue::new_interval_mdn(0, 3, 0);
        assert_eq!(units(&days, &DataType::Date32, false), AsOfTolerance::whole(3));
        let five = ScalarValue::Int64(Some(5));
        assert_eq!(units(&five, &DataType::Int32, false), AsOfTolerance::whole(5));
        assert_eq!(units(&five, &DataType::Int32, true), AsOfTolerance::whole(4));
        assert_eq!(
            units(&five, &DataType::Decimal128(20, 2), false),
            AsOfTolerance::whole(500)
        );
        assert_eq!(units(&five, &DataType::Float64, false), AsOfTolerance::float(5.0));
    }

    #[test]
    fn what_is_no_distance_is_said() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let error = |amount: ScalarValue, kind: &DataType| tolerance(&amount, kind, false).unwrap_err();
        assert!(error(ScalarValue::new_interval_mdn(1, 0, 0), &micros).contains("months"));
        assert!(error(ScalarValue::new_interval_mdn(0, 0, -1), &micros).contains("negative"));
        assert!(error(ScalarValue::Int64(Some(5)), &micros).contains("no interval"));
        assert!(error(ScalarValue::Utf8(Some("x".into())), &DataType::Int64).contains("no number"));
        assert!(error(ScalarValue::Int64(None), &DataType::Int64).contains("NULL"));
    }
}
