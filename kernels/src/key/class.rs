//! Key types: which class a type belongs to, and the encodings that hold the same keys.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType, IntervalUnit};
use arrow_select::take::take;

use crate::KernelError;

/// What a key column is to the layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyClass {
    /// The type of NULL alone.
    Null,
    /// A whole number of at most 8 bytes: integers, booleans, dates, times, small decimals.
    Integer { bytes: u32, signed: bool },
    /// Another value of a fixed width of at most 16 bytes.
    Fixed { bytes: u32 },
    /// A string or binary of any length.
    Bytes,
    /// Anything else that arrow-row can encode.
    Row,
}

impl KeyClass {
    /// Returns the class of a type that [`plain_type`] has made plain.
    pub(crate) fn of(data_type: &DataType) -> Self {
        use DataType as T;
        let integer = |bytes, signed| Self::Integer { bytes, signed };
        match data_type {
            T::Null => Self::Null,
            T::Boolean | T::UInt8 => integer(1, false),
            T::UInt16 => integer(2, false),
            T::UInt32 => integer(4, false),
            T::UInt64 => integer(8, false),
            T::Int8 => integer(1, true),
            T::Int16 => integer(2, true),
            T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(..) => integer(4, true),
            T::Interval(IntervalUnit::YearMonth) => integer(4, true),
            T::Int64 | T::Date64 | T::Time64(_) | T::Decimal64(..) => integer(8, true),
            T::Timestamp(..) | T::Duration(_) => integer(8, true),
            T::Float16 => Self::Fixed { bytes: 2 },
            T::Float32 => Self::Fixed { bytes: 4 },
            T::Float64 | T::Interval(IntervalUnit::DayTime) => Self::Fixed { bytes: 8 },
            T::Decimal128(..) | T::Interval(IntervalUnit::MonthDayNano) => Self::Fixed { bytes: 16 },
            T::FixedSizeBinary(width) => match u32::try_from(*width) {
                Ok(bytes) if bytes <= 16 => Self::Fixed { bytes },
                _ => Self::Bytes,
            },
            T::Utf8View | T::BinaryView => Self::Bytes,
            _ => Self::Row,
        }
    }

    /// Returns the width in a key word, where the class has one.
    pub(crate) fn word_bytes(self) -> Option<u32> {
        match self {
            Self::Null => Some(0),
            Self::Integer { bytes, .. } | Self::Fixed { bytes } => Some(bytes),
            Self::Bytes | Self::Row => None,
        }
    }
}

/// Returns the type that stands for all encodings of the same values.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        plain => plain.clone(),
    }
}

/// Returns the plain type of a key column, or says that it cannot be a key.
pub(crate) fn key_type(position: usize, data_type: &DataType) -> Result<DataType, KernelError> {
    let plain = plain_type(data_type);
    if KeyClass::of(&plain) == KeyClass::Row
        && !RowConverter::supports_fields(&[SortField::new(plain.clone())])
    {
        return Err(KernelError::UnsupportedKeyType {
            position,
            data_type: data_type.clone(),
        });
    }
    Ok(plain)
}

/// Unpacks dictionaries and run-end encodings; where none are among the columns, they are lent.
pub(crate) fn decode_all(columns: &[ArrayRef]) -> Result<Cow<'_, [ArrayRef]>, KernelError> {
    let is_packed = |column: &ArrayRef| {
        let data_type = column.data_type();
        matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..))
    };
    if columns.iter().any(is_packed) {
        columns.iter().map(decode).collect()
    } else {
        Ok(Cow::Borrowed(columns))
    }
}

/// Unpacks dictionaries and run-end encodings; other columns are passed through.
pub(crate) fn decode(column: &ArrayRef) -> Result<ArrayRef, KernelError> {
    match column.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            decode(&take(dictionary.values().as_ref(), dictionary.keys(), None)?)
        }
        DataType::RunEndEncoded(_, values) => decode(&arrow_cast::cast(column.as_ref(), values.data_type())?),
        _ => Ok(Arc::clone(column)),
    }
}

/// Turns a decoded string or binary column into views; its bytes are shared where Arrow can.
///
/// A single value longer than a view can say is an error.
pub(crate) fn byte_views(column: &ArrayRef) -> Result<BinaryViewArray, KernelError> {
    match column.data_type() {
        DataType::LargeUtf8 => check_lengths(column.as_string::<i64>().value_offsets())?,
        DataType::LargeBinary => check_lengths(column.as_binary::<i64>().value_offsets())?,
        _ => {}
    }
    Ok(match column.data_type() {
        DataType::BinaryView => column.as_binary_view().clone(),
        DataType::Utf8View => column.as_string_view().clone().to_binary_view(),
        DataType::Utf8 => arrow_array::StringViewArray::from(column.as_string::<i32>()).to_binary_view(),
        DataType::LargeUtf8 => arrow_array::StringViewArray::from(column.as_string::<i64>()).to_binary_view(),
        _ => arrow_cast::cast(column.as_ref(), &DataType::BinaryView)?
            .as_binary_view()
            .clone(),
    })
}

/// Refuses values of 2 GiB and more, which only fit where the whole column has as much.
fn check_lengths(offsets: &[i64]) -> Result<(), KernelError> {
    let fits = |pair: &[i64]| pair[1] - pair[0] <= i64::from(i32::MAX);
    let is_small = offsets.last().is_none_or(|end| *end <= i64::from(i32::MAX));
    match offsets.windows(2).find(|pair| !is_small && !fits(pair)) {
        None => Ok(()),
        Some(pair) => {
            let bytes = usize::try_from(pair[1] - pair[0]).unwrap_or(usize::MAX);
            Err(KernelError::Arrow(ArrowError::OffsetOverflowError(bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_lengths;

    #[test]
    fn refuses_values_that_views_cannot_hold() {
        let giant = i64::from(i32::MAX) + 1;
        assert!(check_lengths(&[0, 5, giant]).is_ok());
        assert!(check_lengths(&[]).is_ok());
        assert!(check_lengths(&[3, giant + 3]).is_err());
    }
}
