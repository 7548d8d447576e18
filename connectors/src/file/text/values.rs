//! Turns cells of text into typed columns, exactly: a cell that is not a value of the type is
//! reported, never rounded and never NULL.

use std::sync::Arc;

use arrow::array::builder::{BinaryViewBuilder, BooleanBuilder, PrimitiveBuilder, StringViewBuilder};
use arrow::array::{Array, ArrayRef, NullArray, PrimitiveArray, StringViewArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{ArrowPrimitiveType, DataType};
use fletching::{Error, Result};

use super::reading::{Reading, Reason, boolean, read_as};
use crate::spelling::type_name;

/// A column of cells.
pub(crate) trait Cells {
    /// Returns how many there are.
    fn rows(&self) -> usize;

    /// Returns a cell's text, or `None` for NULL. Cells that need rewriting use `scratch`.
    fn text<'a>(&'a self, row: usize, scratch: &'a mut String) -> Option<&'a str>;
}

impl Cells for StringViewArray {
    fn rows(&self) -> usize {
        self.len()
    }

    fn text<'a>(&'a self, row: usize, _: &'a mut String) -> Option<&'a str> {
        self.is_valid(row).then(|| self.value(row))
    }
}

/// A cell that is not a value of its column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadCell {
    pub(crate) row: usize,
    pub(crate) found: String,
    /// Why, where that is not plain from the value.
    pub(crate) reason: &'static str,
}

/// Says whether text can be read as a type.
pub(crate) fn is_readable(data_type: &DataType) -> bool {
    !data_type.is_nested() && can_cast_types(&DataType::Utf8View, data_type)
        || data_type.is_decimal()
        || matches!(data_type, DataType::Null)
}

/// Says whether a type holds text as it is.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// Makes a column; cells that do not fit become NULL and are added to `bad`.
pub(crate) fn parse_column<C: Cells>(
    cells: &C,
    data_type: &DataType,
    bad: &mut Vec<BadCell>,
) -> Result<ArrayRef> {
    read_as(data_type, NewColumn { cells, bad })
}

/// Makes a column of all cells.
struct NewColumn<'a, C> {
    cells: &'a C,
    bad: &'a mut Vec<BadCell>,
}

impl<C: Cells> Reading for NewColumn<'_, C> {
    type Output = ArrayRef;

    fn primitives<T, F>(self, data_type: &DataType, parse: F) -> ArrayRef
    where
        T: ArrowPrimitiveType,
        F: Fn(&str) -> Result<T::Native, Reason>,
    {
        primitive::<T, C>(self.cells, data_type, self.bad, parse)
    }

    fn booleans(self) -> ArrayRef {
        booleans(self.cells, self.bad)
    }

    fn texts(self) -> ArrayRef {
        strings(self.cells)
    }

    fn others(self, data_type: &DataType) -> Result<ArrayRef> {
        match data_type {
            DataType::BinaryView => Ok(bytes(self.cells, self.bad)),
            DataType::Null => Ok(nothing(self.cells, self.bad)),
            other => by_cast(self.cells, other, self.bad),
        }
    }
}

/// Casts a text column to a decimal exactly; NULL where a value does not fit.
pub(crate) fn cast_text(text: &ArrayRef, target: &DataType) -> Option<ArrayRef> {
    let text = text.as_any().downcast_ref::<StringViewArray>()?;
    parse_column(text, target, &mut Vec::new()).ok()
}

fn primitive<T: ArrowPrimitiveType, C: Cells>(
    cells: &C,
    data_type: &DataType,
    bad: &mut Vec<BadCell>,
    parse: impl Fn(&str) -> Result<T::Native, Reason>,
) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(cells.rows());
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        let Some(text) = cells.text(row, &mut scratch) else {
            builder.append_null();
            continue;
        };
        match parse(text) {
            Ok(value) => builder.append_value(value),
            Err(reason) => {
                bad.push(BadCell {
                    row,
                    found: text.to_owned(),
                    reason,
                });
                builder.append_null();
            }
        }
    }
    let array: PrimitiveArray<T> = builder.finish();
    Arc::new(array.with_data_type(data_type.clone()))
}

fn booleans<C: Cells>(cells: &C, bad: &mut Vec<BadCell>) -> ArrayRef {
    let mut builder = BooleanBuilder::with_capacity(cells.rows());
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        let text = cells.text(row, &mut scratch);
        let value = text.and_then(boolean);
        if let (Some(text), None) = (text, value) {
            bad.push(BadCell {
                row,
                found: text.to_owned(),
                reason: "",
            });
        }
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

fn strings<C: Cells>(cells: &C) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(cells.rows());
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        builder.append_option(cells.text(row, &mut scratch));
    }
    Arc::new(builder.finish())
}

/// Reads hexadecimal text, the form in which the writers put bytes.
fn bytes<C: Cells>(cells: &C, bad: &mut Vec<BadCell>) -> ArrayRef {
    let mut builder = BinaryViewBuilder::with_capacity(cells.rows());
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        let text = cells.text(row, &mut scratch);
        let value = text.and_then(from_hex);
        if let (Some(text), None) = (text, &value) {
            let reason = ", which is not hexadecimal";
            bad.push(BadCell {
                row,
                found: text.to_owned(),
                reason,
            });
        }
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn nothing<C: Cells>(cells: &C, bad: &mut Vec<BadCell>) -> ArrayRef {
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        if let Some(text) = cells.text(row, &mut scratch) {
            bad.push(BadCell {
                row,
                found: text.to_owned(),
                reason: "",
            });
        }
    }
    Arc::new(NullArray::new(cells.rows()))
}

/// Reads the rarer types by way of Arrow's casts from text, or from bytes where they hold bytes.
fn by_cast<C: Cells>(cells: &C, data_type: &DataType, bad: &mut Vec<BadCell>) -> Result<ArrayRef> {
    let holds_bytes = matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)
    );
    let from = if holds_bytes {
        bytes(cells, bad)
    } else {
        strings(cells)
    };
    // FixedSizeBinary is reached from Binary only.
    let from = match data_type {
        DataType::FixedSizeBinary(_) => arrow::compute::cast(&from, &DataType::Binary),
        _ => Ok(from),
    };
    let forgiving = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let cast = from.and_then(|from| {
        let cast = cast_with_options(&from, data_type, &forgiving)?;
        Ok((from, cast))
    });
    let (from, cast) = cast
        .map_err(|error| Error::internal(format!("cannot read text as {}: {error}", type_name(data_type))))?;
    let mut scratch = String::new();
    for row in 0..cells.rows() {
        if from.is_valid(row)
            && cast.is_null(row)
            && let Some(text) = cells.text(row, &mut scratch)
        {
            bad.push(BadCell {
                row,
                found: text.to_owned(),
                reason: "",
            });
        }
    }
    Ok(cast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int16Type, TimeUnit, TimestampMillisecondType, TimestampSecondType};

    fn read(texts: &[&str], data_type: DataType) -> (ArrayRef, Vec<usize>) {
        let mut bad = Vec::new();
        let cells = StringViewArray::from_iter_values(texts);
        let array = parse_column(&cells, &data_type, &mut bad).unwrap();
        assert_eq!(array.data_type(), &data_type);
        (array, bad.into_iter().map(|cell| cell.row).collect())
    }

    #[test]
    fn integers_are_whole_and_in_range() {
        let (array, bad) = read(
            &["1", " -2 ", "3.0", "2E3", "1.5", "32768", "x", ""],
            DataType::Int16,
        );
        assert_eq!(array.as_primitive::<Int16Type>().values()[..4], [1, -2, 3, 2000]);
        assert_eq!(bad, [4, 5, 6, 7]);
        assert_eq!(read(&["18446744073709551615", "-1"], DataType::UInt64).1, [1]);
    }

    #[test]
    fn times_are_not_cut() {
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let texts = [
            "2024-01-02T03:04:05.678Z",
            "2024-01-02 03:04:05.6789",
            "5",
            "2024-13-01",
        ];
        let (array, bad) = read(&texts, millis);
        assert_eq!(
            array.as_primitive::<TimestampMillisecondType>().value(0),
            1_704_164_645_678
        );
        assert_eq!(bad, [1, 2, 3]);
        assert_eq!(
            read(
                &["12:30:00", "12:30:00.5", "5"],
                DataType::Time32(TimeUnit::Second)
            )
            .1,
            [1, 2]
        );
        assert_eq!(
            read(&["2024-02-29", "2023-02-29", "é-é-é"], DataType::Date32).1,
            [1, 2]
        );
    }

    #[test]
    fn zoned_text_is_read_in_its_zone() {
        let zoned = DataType::Timestamp(TimeUnit::Second, Some("+02:00".into()));
        let (array, bad) = read(&["2024-01-01T02:00:00", "2024-01-01T00:00:00Z"], zoned);
        assert_eq!(
            array.as_primitive::<TimestampSecondType>().values()[..],
            [1_704_067_200; 2]
        );
        assert!(bad.is_empty());
    }

    #[test]
    fn rarer_types_go_through_casts() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert!(read(&["a", "b", "a"], dictionary).1.is_empty());
        assert!(read(&["a"], DataType::LargeUtf8).1.is_empty());
        assert_eq!(read(&["00ff", "0", "zz"], DataType::Binary).1, [1, 2]);
        assert_eq!(read(&["00ff", "00"], DataType::FixedSizeBinary(2)).1, [1]);
    }

    #[test]
    fn truth_has_a_few_spellings() {
        let (array, bad) = read(&["true", "F", "YES", "0", "maybe"], DataType::Boolean);
        assert_eq!(
            array.as_boolean().iter().take(4).flatten().collect::<Vec<_>>(),
            [true, false, true, false]
        );
        assert_eq!(bad, [4]);
    }
}
