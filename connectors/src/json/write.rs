//! Writes decimals and timestamps into JSON digit by digit, and text that has nothing to escape as it is.
//!
//! The same bytes as arrow-json's own writer gives, which goes through `core::fmt` for each number and
//! time and looks at each byte of a text by itself: that is most of what writing a row costs. Values
//! that this has no short way for, such as years of five digits, are left to Arrow's formatter.

use std::io::Write;

use arrow::array::types::{
    ArrowTimestampType, Decimal128Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::array::{Array, ArrayAccessor, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};

/// Has the JSON writer write decimals, timestamps and text by this file's encoders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellEncoders;

/// How Arrow writes what the encoders leave to it.
const SHOWN: FormatOptions<'static> = FormatOptions::new().with_display_error(true);

impl EncoderFactory for CellEncoders {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Decimal128(_, scale) => match u8::try_from(*scale) {
                Ok(scale) => Box::new(Decimals {
                    values: array.as_primitive::<Decimal128Type>(),
                    scale: usize::from(scale),
                }),
                Err(_) => return Ok(None),
            },
            DataType::Timestamp(unit, None) => match unit {
                TimeUnit::Second => Timestamps::<TimestampSecondType>::boxed(array)?,
                TimeUnit::Millisecond => Timestamps::<TimestampMillisecondType>::boxed(array)?,
                TimeUnit::Microsecond => Timestamps::<TimestampMicrosecondType>::boxed(array)?,
                TimeUnit::Nanosecond => Timestamps::<TimestampNanosecondType>::boxed(array)?,
            },
            DataType::Utf8 => Box::new(Texts(array.as_string::<i32>())),
            DataType::LargeUtf8 => Box::new(Texts(array.as_string::<i64>())),
            DataType::Utf8View => Box::new(Texts(array.as_string_view())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Texts<A>(A);

impl<'a, A: ArrayAccessor<Item = &'a str>> Encoder for Texts<A> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row);
        if has_escapes(text.as_bytes()) {
            // Writing into memory does not fail.
            let _ = serde_json::to_writer(out, text);
            return;
        }
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Says whether JSON writes some byte otherwise than it is. All are looked at, many at once.
fn has_escapes(text: &[u8]) -> bool {
    let is_escaped = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
    text.iter().fold(false, |found, byte| found | is_escaped(byte))
}

/// Digits of the largest number there is.
const DIGITS_MAX: usize = 39;

/// The digits of a number from the right on.
struct Digits {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

impl Digits {
    /// Takes a number apart, with zeros before it up to so many digits.
    fn of(number: u128, least: usize) -> Self {
        let mut found = Self {
            digits: [b'0'; DIGITS_MAX],
            start: DIGITS_MAX,
        };
        let mut rest = number;
        // Division of 128 bits is slow, and few numbers need it.
        while rest > u64::MAX.into() {
            found.put(rest % 10);
            rest /= 10;
        }
        let mut rest = u64::try_from(rest).unwrap_or(u64::MAX);
        while rest > 0 {
            found.put((rest % 10).into());
            rest /= 10;
        }
        found.start = found.start.min(DIGITS_MAX - least.min(DIGITS_MAX));
        found
    }

    fn put(&mut self, digit: u128) {
        self.start = self.start.saturating_sub(1);
        self.digits[self.start] = b'0' + u8::try_from(digit).unwrap_or(0);
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

struct Decimals<'a> {
    values: &'a Decimal128Array,
    scale: usize,
}

impl Encoder for Decimals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.value(row);
        if value < 0 {
            out.push(b'-');
        }
        // One digit before the point at least.
        let digits = Digits::of(value.unsigned_abs(), self.scale + 1);
        let text = digits.text();
        let (whole, fraction) = text.split_at(text.len() - self.scale);
        out.extend_from_slice(whole);
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

struct Timestamps<'a, T: ArrowTimestampType> {
    values: &'a PrimitiveArray<T>,
    others: ArrayFormatter<'a>,
}

impl<'a, T: ArrowTimestampType> Timestamps<'a, T> {
    fn boxed(array: &'a dyn Array) -> Result<Box<dyn Encoder + 'a>, ArrowError> {
        Ok(Box::new(Self {
            values: array.as_primitive::<T>(),
            others: ArrayFormatter::try_new(array, &SHOWN)?,
        }))
    }

    /// The units of a second, and the digits that are.
    const UNITS: (i64, usize) = match T::UNIT {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
}

const DAY_SECONDS: i64 = 86_400;

impl<T: ArrowTimestampType> Encoder for Timestamps<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (units, unit_digits) = Self::UNITS;
        let value = self.values.value(row);
        let (seconds, fraction) = (value.div_euclid(units), value.rem_euclid(units));
        let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        out.push(b'"');
        match civil(day) {
            Some((year, month, day)) => {
                let mut put = |before: &[u8], number: i64, digits: usize| {
                    out.extend_from_slice(before);
                    let digits = Digits::of(number.unsigned_abs().into(), digits);
                    out.extend_from_slice(digits.text());
                };
                put(b"", year, 4);
                put(b"-", month, 2);
                put(b"-", day, 2);
                put(b"T", second / 3600, 2);
                put(b":", second / 60 % 60, 2);
                put(b":", second % 60, 2);
                // Three, six or nine digits: as few as it takes.
                let thirds =
                    (1..=unit_digits / 3).find(|thirds| fraction % places(unit_digits - 3 * thirds) == 0);
                if let (Some(thirds), true) = (thirds, fraction > 0) {
                    put(b".", fraction / places(unit_digits - 3 * thirds), 3 * thirds);
                }
            }
            None => {
                // Writing into memory does not fail.
                let _ = write!(out, "{}", self.others.value(row));
            }
        }
        out.push(b'"');
    }
}

/// Returns the power of ten that so many digits make.
fn places(digits: usize) -> i64 {
    (0..digits).fold(1, |places, _| places * 10)
}

/// Returns year, month and day of a day counted from 1970, for years of four digits: the calendar's
/// 400-year eras are alike, and a year that begins in March has its leap day last.
fn civil(day: i64) -> Option<(i64, i64, i64)> {
    const ERA_DAYS: i64 = 146_097;
    /// From the first of March of the year 0 to the first day of 1970.
    const TO_1970: i64 = 719_468;
    let day = day.checked_add(TO_1970)?;
    let (era, day) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = 400 * era + year + i64::from(month <= 2);
    (0..=9_999)
        .contains(&year)
        .then_some((year, month, day - (153 * march_month + 2) / 5 + 1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, LargeStringArray, RecordBatch, StringArray, StringViewArray};
    use arrow_json::writer::{LineDelimited, WriterBuilder};

    use super::*;

    /// Writes a column by a writer as it is, and by one with this file's encoders.
    fn both(column: ArrayRef) -> [String; 2] {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let plain = WriterBuilder::new().with_explicit_nulls(true);
        let quick = plain.clone().with_encoder_factory(Arc::new(CellEncoders));
        [plain, quick].map(|builder| {
            let mut writer = builder.build::<_, LineDelimited>(Vec::new());
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            String::from_utf8(writer.into_inner()).unwrap()
        })
    }

    fn check(column: ArrayRef) {
        let [plain, quick] = both(column);
        assert_eq!(quick, plain);
    }

    /// Numbers of all lengths, either sign, on both sides of each power of ten.
    fn numbers() -> Vec<Option<i128>> {
        let powers = (0..38).map(|digits| 10_i128.pow(digits));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power / 3]);
        let mut numbers: Vec<_> = near
            .flat_map(|number| [Some(number), Some(-number), None])
            .collect();
        numbers.retain(|number| number.is_none_or(|number| number.unsigned_abs() < 10_u128.pow(38)));
        numbers
    }

    #[test]
    fn decimals_are_written_as_arrow_writes_them() {
        for scale in [0, 1, 2, 18, 37, 38] {
            let column = Decimal128Array::from(numbers())
                .with_precision_and_scale(38, scale)
                .unwrap();
            check(Arc::new(column));
        }
        let negative = Decimal128Array::from(vec![120])
            .with_precision_and_scale(10, -2)
            .unwrap();
        check(Arc::new(negative));
    }

    #[test]
    fn text_is_written_as_arrow_writes_it() {
        let long = "nothing to escape, over and over; ".repeat(9);
        let mut texts: Vec<Option<String>> = vec![None, Some(String::new()), Some(long.clone())];
        // Every character of one byte, and some of several, at every place of a block.
        let characters = (0..128_u8)
            .map(char::from)
            .chain(['ä', '€', '\u{7f}', '\u{2028}', '🏹']);
        for (at, character) in characters.enumerate() {
            let mut text = long.clone();
            text.insert(at % 70, character);
            texts.extend([Some(character.to_string()), Some(text)]);
        }
        check(Arc::new(StringArray::from(texts.clone())));
        check(Arc::new(LargeStringArray::from(texts.clone())));
        check(Arc::new(StringViewArray::from(texts)));
    }

    fn timestamps<T: ArrowTimestampType>() {
        let (units, _) = Timestamps::<T>::UNITS;
        // Days around ends of months, leap years, centuries and the years that have four digits.
        let days = (-719_600..=-719_400)
            .chain(-25_700..25_700)
            .chain((-719_528..2_932_897).step_by(997))
            .chain(2_932_800..2_933_000);
        let mut values: Vec<Option<i64>> = vec![None, Some(0)];
        for (at, day) in days.enumerate() {
            let at = i64::try_from(at).unwrap();
            let fraction = [0, 1, units / 2, units - 1, units / 1000 * 7][(at % 5) as usize] % units.max(1);
            let second = day * DAY_SECONDS + at * 7_919 % DAY_SECONDS;
            values.push(
                second
                    .checked_mul(units)
                    .and_then(|value| value.checked_add(fraction)),
            );
        }
        check(Arc::new(PrimitiveArray::<T>::from_iter(values)));
        // What no calendar has: the same words, or the same refusal to find any.
        check(Arc::new(PrimitiveArray::<T>::from_iter_values([
            i64::MIN,
            i64::MAX,
        ])));
    }

    #[test]
    fn timestamps_are_written_as_arrow_writes_them() {
        timestamps::<TimestampSecondType>();
        timestamps::<TimestampMillisecondType>();
        timestamps::<TimestampMicrosecondType>();
        timestamps::<TimestampNanosecondType>();
    }
}
