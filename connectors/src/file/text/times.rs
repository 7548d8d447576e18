//! Reads dates, times of day and timestamps from text, refusing digits that a type cannot hold.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds};
use arrow::datatypes::{Date32Type, TimeUnit};
use fletching::{Error, Result};

use super::reading::{Reason, TOO_FINE, TOO_LARGE};

pub(super) fn date(text: &str) -> Result<i32, Reason> {
    let text = text.trim_ascii();
    if !text.is_ascii() || !text.contains('-') {
        return Err("");
    }
    Date32Type::parse(text).ok_or("")
}

/// Reads a time of day; `unit_ns` is the length of the type's unit in nanoseconds.
pub(super) fn time<N: TryFrom<i64>>(text: &str, unit_ns: i64) -> Result<N, Reason> {
    let text = text.trim_ascii();
    if !text.is_ascii() {
        return Err("");
    }
    let nanos = string_to_time_nanoseconds(text).map_err(|_| "")?;
    if nanos % unit_ns != 0 {
        return Err(TOO_FINE);
    }
    N::try_from(nanos / unit_ns).map_err(|_| TOO_LARGE)
}

/// The time zone that text without one is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zone {
    zone: Tz,
    is_utc: bool,
}

/// Finds a time zone; without a name it is UTC.
pub(super) fn zone_of(name: Option<&str>) -> Result<Zone> {
    let name = name.unwrap_or("+00:00");
    let zone = name.parse();
    Ok(Zone {
        zone: zone.map_err(|_| Error::internal(format!("no such time zone: {name}")))?,
        is_utc: name == "+00:00",
    })
}

/// Returns how many nanoseconds one of a unit has.
fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

pub(super) fn timestamp(text: &str, unit: TimeUnit, zone: Zone) -> Result<i64, Reason> {
    if zone.is_utc
        && let Some(value) = usual_timestamp(text.as_bytes(), unit)
    {
        return Ok(value);
    }
    let text = text.trim_ascii();
    if !text.is_ascii() {
        return Err("");
    }
    let time = string_to_datetime(&zone.zone, text).map_err(|_| "")?;
    let nanos = time.timestamp_subsec_nanos();
    let value = match unit {
        TimeUnit::Second => Some(time.timestamp()),
        TimeUnit::Millisecond => Some(time.timestamp_millis()),
        TimeUnit::Microsecond => Some(time.timestamp_micros()),
        TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
    };
    if i64::from(nanos) % unit_ns(unit) != 0 {
        return Err(TOO_FINE);
    }
    value.ok_or(TOO_LARGE)
}

/// Reads the usual form in one pass: `2024-01-02T03:04:05`, with a blank for the `T`, a fraction or
/// a `Z` at the end. `None` leaves everything else, also every fault, to the full parser.
fn usual_timestamp(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let [
        _,
        _,
        _,
        _,
        b'-',
        _,
        _,
        b'-',
        _,
        _,
        b'T' | b' ',
        _,
        _,
        b':',
        _,
        _,
        b':',
        _,
        _,
    ] = head
    else {
        return None;
    };
    let year = number(&head[0..4])?;
    let (month, day) = (number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (
        number(&head[11..13])?,
        number(&head[14..16])?,
        number(&head[17..19])?,
    );
    let is_valid = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let nanos = match tail.strip_suffix(b"Z").unwrap_or(tail) {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let missing = 9 - u32::try_from(digits.len()).ok()?;
            number(digits)? * 10_i64.pow(missing)
        }
        _ => return None,
    };
    let unit_ns = unit_ns(unit);
    if !is_valid || nanos % unit_ns != 0 {
        return None;
    }
    seconds
        .checked_mul(1_000_000_000 / unit_ns)?
        .checked_add(nanos / unit_ns)
}

fn number(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        value = value * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(value)
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => 31,
    }
}

/// Counts days in years that begin with March, so that a leap day comes last
/// (Howard Hinnant, `chrono`-Compatible Low-Level Date Algorithms, `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads with the full parser alone.
    fn fully(text: &str, unit: TimeUnit) -> Result<i64, Reason> {
        let zone = Zone {
            is_utc: false,
            ..zone_of(None).unwrap()
        };
        timestamp(text, unit, zone)
    }

    #[test]
    fn the_usual_form_agrees_with_the_full_parser() {
        let dates = [
            "1970-01-01",
            "1969-12-31",
            "2000-02-29",
            "1900-02-29",
            "2023-02-29",
            "2024-02-29",
            "0000-01-01",
            "9999-12-31",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "2262-04-11",
            "1677-09-21",
            "2024-1-02",
        ];
        let times = [
            "00:00:00",
            "23:59:59",
            "24:00:00",
            "12:60:00",
            "12:00:60",
            "23:47:16.854775807",
            "1:00:00",
        ];
        let ends = [
            "",
            "Z",
            ".5",
            ".123Z",
            ".123456",
            ".123456789Z",
            ".",
            ".1234567890",
            "+01:00",
            "z",
            " ",
        ];
        let units = [
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ];
        let mut usual = 0;
        for date in dates {
            for time in times {
                for end in ends {
                    for (between, unit) in ["T", " ", "t", "x"].iter().flat_map(|b| units.map(|u| (b, u))) {
                        let text = format!("{date}{between}{time}{end}");
                        if let Some(value) = usual_timestamp(text.as_bytes(), unit) {
                            assert_eq!(fully(&text, unit), Ok(value), "{text} {unit:?}");
                            usual += 1;
                        }
                    }
                }
            }
        }
        assert!(usual > 400, "{usual}");
    }

    #[test]
    fn each_day_is_one_more_than_the_day_before() {
        let mut days = days_since_1970(1600, 1, 1);
        for (year, month) in (1600..2400).flat_map(|year| (1..=12).map(move |month| (year, month))) {
            for day in 1..=days_of(year, month) {
                assert_eq!(days_since_1970(year, month, day), days);
                days += 1;
            }
        }
        assert_eq!(days_since_1970(1970, 1, 1), 0);
    }
}
