//! Guesses the types of CSV columns from their first records.
//!
//! A column begins as anything and loses the types that a cell is not. What is left decides, in
//! the order BOOLEAN, BIGINT, DATE, TIMESTAMP, DOUBLE, VARCHAR. A number that would not keep its
//! digits (leading zeros, beyond 64 bits) makes the column VARCHAR, never a rounded DOUBLE.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, Schema, TimeUnit};
use fletching::Result;
use fletching::connector::SourceReport;

use super::TextOptions;
use super::csv::open_csv;
use super::csv_style::CsvStyle;
use crate::file::paths::SourceFile;

/// The types that a column's cells could all be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guesses {
    seen: bool,
    boolean: bool,
    bigint: bool,
    double: bool,
    date: bool,
    naive: bool,
    zoned: bool,
    /// Whether a time has more than six digits after the point.
    nanos: bool,
}

impl Guesses {
    const ANY: Self = Self {
        seen: false,
        boolean: true,
        bigint: true,
        double: true,
        date: true,
        naive: true,
        zoned: true,
        nanos: false,
    };

    fn see(&mut self, text: &str) {
        self.seen = true;
        let text = text.trim_ascii();
        self.boolean &= text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
        let whole = is_whole(text);
        self.bigint &= whole && text.parse::<i64>().is_ok();
        self.double &= if whole {
            text.parse::<i64>().is_ok()
        } else {
            is_double(text)
        };
        let begins_as_date = text.is_ascii() && text.as_bytes().get(4) == Some(&b'-');
        self.date &= begins_as_date && text.len() <= 10 && Date32Type::parse(text).is_some();
        if self.naive || self.zoned {
            let time = begins_as_date && text.len() > 10 && is_timestamp(text);
            let zone = text.get(10..).is_some_and(|t| t.contains(['Z', 'z', '+', '-']));
            self.naive &= time && !zone;
            self.zoned &= time && zone;
            self.nanos |= time && fraction_digits(text) > 6;
        }
    }

    fn data_type(self) -> DataType {
        let unit = if self.nanos {
            TimeUnit::Nanosecond
        } else {
            TimeUnit::Microsecond
        };
        match self {
            Self { seen: false, .. } => DataType::Utf8View,
            Self { boolean: true, .. } => DataType::Boolean,
            Self { bigint: true, .. } => DataType::Int64,
            Self { date: true, .. } => DataType::Date32,
            Self { naive: true, .. } => DataType::Timestamp(unit, None),
            Self { zoned: true, .. } => DataType::Timestamp(unit, Some("+00:00".into())),
            Self { double: true, .. } => DataType::Float64,
            _ => DataType::Utf8View,
        }
    }
}

/// Says whether text is a whole number that loses nothing when it is read as one.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says whether a cell is a number with a point or an exponent, or one of the float words.
fn is_double(text: &str) -> bool {
    matches!(text, "NaN" | "nan" | "inf" | "-inf" | "Infinity" | "-Infinity")
        || text.bytes().any(|byte| byte.is_ascii_digit())
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'))
            && Float64Type::parse(text).is_some_and(f64::is_finite)
}

/// Says whether leading zeros would be lost.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_ascii();
    let digits = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    matches!(digits, [b'0', next, ..] if next.is_ascii_digit())
}

fn is_timestamp(text: &str) -> bool {
    let utc: Result<Tz, _> = "+00:00".parse();
    utc.is_ok_and(|utc| string_to_datetime(&utc, text).is_ok())
}

fn fraction_digits(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.bytes().take_while(u8::is_ascii_digit).count()
}

/// How many records are cut at a time.
const RECORDS: usize = 1024;

/// Guesses the columns of a CSV file.
pub(super) fn infer_csv(file: &SourceFile, options: &TextOptions, style: &CsvStyle) -> Result<Schema> {
    let report = Arc::<SourceReport>::default();
    let (names, mut records) = open_csv(file, options, style, &report)?;
    records.keep(style, vec![true; names.len()]);
    let mut guesses = vec![Guesses::ANY; names.len()];
    let mut left = options.infer_rows;
    let mut scratch = String::new();
    while left > 0 {
        let mut bad = Vec::new();
        records.cut(left.min(RECORDS), &mut bad)?;
        if records.records.is_empty() {
            break;
        }
        left -= records.records.len();
        records.blot_out(&mut bad);
        let text = records.text()?;
        for (row, cells) in records.cells.chunks(records.stride.max(1)).enumerate() {
            if bad.iter().any(|bad| bad.record == row) {
                continue;
            }
            for (guesses, cell) in guesses.iter_mut().zip(cells) {
                let Some(text) = records.splitter.text(text, *cell, false, &mut scratch) else {
                    continue;
                };
                guesses.see(text);
                if has_leading_zero(text) {
                    (guesses.bigint, guesses.double) = (false, false);
                }
            }
        }
        records.release();
    }
    let fields: Vec<Field> = names
        .into_iter()
        .zip(guesses)
        .map(|(name, guesses)| Field::new(name, guesses.data_type(), true))
        .collect();
    Ok(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(texts: &[&str]) -> DataType {
        let mut guesses = Guesses::ANY;
        texts.iter().for_each(|text| guesses.see(text));
        guesses.data_type()
    }

    #[test]
    fn the_narrowest_type_that_fits_all_cells_is_taken() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(guess(&["1", "-2"]), DataType::Int64);
        assert_eq!(guess(&["1", "2.5", "1e3", "NaN"]), DataType::Float64);
        assert_eq!(guess(&["true", "FALSE"]), DataType::Boolean);
        assert_eq!(guess(&["2024-01-31"]), DataType::Date32);
        assert_eq!(guess(&["2024-01-31 10:00:00", "2024-01-31T10:00:00.5"]), micros);
        assert_eq!(guess(&["2024-01-31", "x"]), DataType::Utf8View);
        assert_eq!(guess(&[]), DataType::Utf8View);
    }

    #[test]
    fn no_number_is_guessed_where_digits_would_be_lost() {
        assert_eq!(guess(&["12345678901234567890"]), DataType::Utf8View);
        assert_eq!(guess(&["1.5", "12345678901234567890"]), DataType::Utf8View);
        assert!(has_leading_zero("007") && !has_leading_zero("0.5") && !has_leading_zero("0"));
    }

    #[test]
    fn zones_and_fractions_set_the_timestamp_type() {
        let zoned = |unit| DataType::Timestamp(unit, Some("+00:00".into()));
        assert_eq!(guess(&["2024-01-31T10:00:00Z"]), zoned(TimeUnit::Microsecond));
        assert_eq!(
            guess(&["2024-01-31T10:00:00.123456789+01:00"]),
            zoned(TimeUnit::Nanosecond)
        );
        assert_eq!(
            guess(&["2024-01-31T10:00:00Z", "2024-01-31T10:00:00"]),
            DataType::Utf8View
        );
    }
}
