//! Columns of every key type, written from codes.

use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeBinaryBuilder, Float64Builder, Int32Builder, ListBuilder, StringViewBuilder,
};
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{ArrowNativeType, IntervalDayTime, IntervalMonthDayNano, i256};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use proptest::prelude::*;

/// A value by number, or NULL. Codes run from 0 to 255; `Boolean` and `Null` know fewer.
pub(crate) type Code = Option<u8>;

/// All key types, each once.
pub(crate) fn key_types() -> Vec<DataType> {
    use DataType as T;
    use TimeUnit::{Microsecond as Us, Millisecond as Ms, Nanosecond as Ns, Second as S};
    let item = |t| Arc::new(Field::new_list_field(t, true));
    vec![
        T::Null,
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Decimal32(9, 2),
        T::Decimal64(18, 2),
        T::Decimal128(38, 4),
        T::Decimal256(76, 4),
        T::Date32,
        T::Date64,
        T::Time32(S),
        T::Time32(Ms),
        T::Time64(Us),
        T::Time64(Ns),
        T::Timestamp(S, None),
        T::Timestamp(Ms, Some("+02:00".into())),
        T::Timestamp(Us, Some("+00:00".into())),
        T::Timestamp(Ns, None),
        T::Duration(S),
        T::Duration(Ms),
        T::Duration(Us),
        T::Duration(Ns),
        T::Interval(IntervalUnit::YearMonth),
        T::Interval(IntervalUnit::DayTime),
        T::Interval(IntervalUnit::MonthDayNano),
        T::Utf8,
        T::Binary,
        T::FixedSizeBinary(3),
        T::FixedSizeBinary(16),
        T::FixedSizeBinary(20),
        T::List(item(T::Float64)),
        T::Struct(
            vec![
                Field::new("a", T::Int32, true),
                Field::new("b", T::Utf8View, true),
            ]
            .into(),
        ),
    ]
}

/// Another way to write the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Large,
    View,
    Dictionary8,
    Dictionary32,
    Runs,
}

/// Draws an encoding, and whether the column is a slice of a longer one.
pub(crate) fn encoding() -> impl Strategy<Value = (Encoding, bool)> {
    use Encoding::{Dictionary8, Dictionary32, Large, Plain, Runs, View};
    let encoding = prop_oneof![
        4 => Just(Plain),
        1 => Just(Large),
        2 => Just(View),
        2 => Just(Dictionary8),
        2 => Just(Dictionary32),
        1 => Just(Runs),
    ];
    (encoding, any::<bool>())
}

/// Brings a code to the values a type has.
pub(crate) fn fold(data_type: &DataType, code: Code) -> Code {
    match data_type {
        DataType::Null => None,
        DataType::Boolean => code.map(|code| code % 2),
        _ => code,
    }
}

/// Writes codes as a column.
pub(crate) fn column(data_type: &DataType, encoding: (Encoding, bool), codes: &[Code]) -> ArrayRef {
    let (encoding, is_slice) = encoding;
    if is_slice {
        let mut longer = vec![Some(9), None, Some(200)];
        longer.extend_from_slice(codes);
        longer.extend([None, Some(1)]);
        return encode(data_type, encoding, &longer).slice(3, codes.len());
    }
    encode(data_type, encoding, codes)
}

fn encode(data_type: &DataType, encoding: Encoding, codes: &[Code]) -> ArrayRef {
    let values = plain(data_type, codes);
    let cast = |to: &DataType| arrow_cast::cast(&values, to).unwrap();
    match (encoding, data_type) {
        (Encoding::Large, DataType::Utf8) => cast(&DataType::LargeUtf8),
        (Encoding::Large, DataType::Binary) => cast(&DataType::LargeBinary),
        (Encoding::View, DataType::Utf8) => cast(&DataType::Utf8View),
        (Encoding::View, DataType::Binary) => cast(&DataType::BinaryView),
        (Encoding::Dictionary8, _) => dictionary::<Int8Type>(data_type, codes),
        (Encoding::Dictionary32, _) => dictionary::<UInt32Type>(data_type, codes),
        (Encoding::Runs, _) if !data_type.is_nested() => runs(data_type, codes),
        _ => values,
    }
}

/// Writes a dictionary with unused values, values that occur twice, and NULLs of both sorts.
fn dictionary<K: ArrowDictionaryKeyType>(data_type: &DataType, codes: &[Code]) -> ArrayRef {
    let mut distinct: Vec<Code> = codes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let mut values = vec![None, Some(77)];
    values.extend(distinct);
    // A small key type has no room for all; the rest becomes a column without a dictionary.
    if values.len() > 100 {
        return plain(data_type, codes);
    }
    let keys: PrimitiveArray<K> = codes
        .iter()
        .enumerate()
        .map(|(row, code)| match code {
            None if row.is_multiple_of(2) => None,
            code => {
                let place = values.iter().rposition(|value| value == code).unwrap();
                K::Native::from_usize(place)
            }
        })
        .collect();
    Arc::new(DictionaryArray::try_new(keys, plain(data_type, &values)).unwrap())
}

/// Writes runs: one for each stretch of equal codes.
fn runs(data_type: &DataType, codes: &[Code]) -> ArrayRef {
    let (mut ends, mut values) = (Vec::<i32>::new(), Vec::<Code>::new());
    for (row, code) in codes.iter().enumerate() {
        if values.last() == Some(code) {
            ends.pop();
            values.pop();
        }
        ends.push(row as i32 + 1);
        values.push(*code);
    }
    let values = plain(data_type, &values);
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(ends), &values).unwrap())
}

macro_rules! primitive {
    ($t:ty, $data_type:expr, $codes:expr, $value:expr) => {{
        let value = $value;
        let array: PrimitiveArray<$t> = $codes
            .iter()
            .enumerate()
            .map(|(row, code)| code.map(|code| value(code, row)))
            .collect();
        Arc::new(array.with_data_type($data_type.clone()))
    }};
}

/// Numbers far apart, negative ones and the extremes among them.
fn far(code: u8) -> i64 {
    match code {
        0 => 0,
        1 => i64::MIN,
        2 => i64::MAX,
        3 => -1,
        code => i64::from(code).wrapping_mul(0x0123_4567_89AB_CDEF),
    }
}

/// Floats where code 0 is a zero of either sign and code 1 a NaN of either sign.
fn float(code: u8, row: usize) -> f64 {
    let sign = if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    match code {
        0 => 0.0 * sign,
        1 => f64::NAN.copysign(sign),
        2 => f64::NEG_INFINITY,
        code => f64::from(code) - 99.5,
    }
}

/// Strings short and long; long ones share their length and a prefix.
fn text(code: u8) -> String {
    match code % 4 {
        0 if code == 0 => String::new(),
        0 => format!("k{code}"),
        1 => format!("exactly_{code:04}"),
        _ => format!("a prefix of more than twelve bytes, then {code:03}"),
    }
}

fn plain(data_type: &DataType, codes: &[Code]) -> ArrayRef {
    use DataType as T;
    use TimeUnit::{Microsecond as Us, Millisecond as Ms, Nanosecond as Ns, Second as S};
    macro_rules! whole {
        ($t:ty) => {
            primitive!($t, data_type, codes, |code: u8, _| code.into())
        };
    }
    match data_type {
        T::Null => Arc::new(NullArray::new(codes.len())),
        T::Boolean => Arc::new(
            codes
                .iter()
                .map(|code| code.map(|code| code % 2 == 1))
                .collect::<BooleanArray>(),
        ),
        T::Int8 => primitive!(Int8Type, data_type, codes, |code: u8, _| code.cast_signed()),
        T::Int16 => primitive!(Int16Type, data_type, codes, |code: u8, _| i16::from(code)
            .wrapping_mul(257)),
        T::Int32 => primitive!(Int32Type, data_type, codes, |code: u8, _| i32::from(code) - 128),
        T::Int64 => primitive!(Int64Type, data_type, codes, |code: u8, _| far(code)),
        T::UInt8 => whole!(UInt8Type),
        T::UInt16 => whole!(UInt16Type),
        T::UInt32 => primitive!(UInt32Type, data_type, codes, |code: u8, _| u32::MAX
            - u32::from(code)),
        T::UInt64 => primitive!(UInt64Type, data_type, codes, |code: u8, _| far(code)
            .cast_unsigned()),
        T::Float16 => float16(codes),
        T::Float32 => primitive!(Float32Type, data_type, codes, |code, row| float(code, row) as f32),
        T::Float64 => primitive!(Float64Type, data_type, codes, float),
        T::Decimal32(..) => whole!(Decimal32Type),
        T::Decimal64(..) => whole!(Decimal64Type),
        T::Decimal128(..) => {
            primitive!(Decimal128Type, data_type, codes, |code: u8, _| i128::from(far(
                code
            )) << 40)
        }
        T::Decimal256(..) => {
            primitive!(Decimal256Type, data_type, codes, |code: u8, _| {
                i256::from_i128(i128::from(far(code)) << 40)
            })
        }
        T::Date32 => whole!(Date32Type),
        T::Date64 => whole!(Date64Type),
        T::Time32(S) => whole!(Time32SecondType),
        T::Time32(_) => whole!(Time32MillisecondType),
        T::Time64(Us) => whole!(Time64MicrosecondType),
        T::Time64(_) => whole!(Time64NanosecondType),
        T::Timestamp(S, _) => whole!(TimestampSecondType),
        T::Timestamp(Ms, _) => whole!(TimestampMillisecondType),
        T::Timestamp(Us, _) => whole!(TimestampMicrosecondType),
        T::Timestamp(Ns, _) => whole!(TimestampNanosecondType),
        T::Duration(S) => whole!(DurationSecondType),
        T::Duration(Ms) => whole!(DurationMillisecondType),
        T::Duration(Us) => whole!(DurationMicrosecondType),
        T::Duration(Ns) => whole!(DurationNanosecondType),
        T::Interval(IntervalUnit::YearMonth) => whole!(IntervalYearMonthType),
        T::Interval(IntervalUnit::DayTime) => {
            primitive!(IntervalDayTimeType, data_type, codes, |code: u8, _| {
                IntervalDayTime::new(i32::from(code % 16) - 8, i32::from(code / 16) - 8)
            })
        }
        T::Interval(IntervalUnit::MonthDayNano) => {
            primitive!(IntervalMonthDayNanoType, data_type, codes, |code: u8, _| {
                let code = i32::from(code);
                IntervalMonthDayNano::new(code % 4 - 2, code / 4 % 8 - 4, i64::from(code / 32) - 4)
            })
        }
        T::Utf8 => Arc::new(codes.iter().map(|code| code.map(text)).collect::<StringArray>()),
        T::Binary => {
            let bytes = |code| text(code).into_bytes();
            Arc::new(codes.iter().map(|code| code.map(bytes)).collect::<BinaryArray>())
        }
        T::FixedSizeBinary(width) => fixed_size_binary(*width, codes),
        T::List(_) => lists(codes),
        T::Struct(_) => structs(codes),
        other => panic!("no column of type {other}"),
    }
}

fn float16(codes: &[Code]) -> ArrayRef {
    let floats = primitive!(
        Float32Type,
        DataType::Float32,
        codes,
        |code, row| float(code, row) as f32
    );
    arrow_cast::cast(&(floats as ArrayRef), &DataType::Float16).unwrap()
}

fn fixed_size_binary(width: i32, codes: &[Code]) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(width);
    for code in codes {
        match code {
            Some(code) => {
                let mut bytes = vec![0xAB; width as usize];
                bytes[width as usize - 1] = *code;
                builder.append_value(bytes).unwrap();
            }
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// Lists with NULLs within, which are values: `[1, NULL]` equals `[1, NULL]`.
fn lists(codes: &[Code]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for (row, code) in codes.iter().enumerate() {
        if let Some(code) = code {
            for _ in 0..code % 3 {
                builder.values().append_null();
            }
            builder.values().append_value(float(*code, row));
        }
        builder.append(code.is_some());
    }
    Arc::new(builder.finish())
}

fn structs(codes: &[Code]) -> ArrayRef {
    let (mut a, mut b) = (Int32Builder::new(), StringViewBuilder::new());
    for code in codes {
        match code {
            Some(code) => {
                a.append_option((code % 5 != 0).then_some(i32::from(*code)));
                b.append_value(text(*code));
            }
            None => {
                a.append_value(4);
                b.append_null();
            }
        }
    }
    let fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8View, true),
    ];
    let valid: Vec<bool> = codes.iter().map(Option::is_some).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(a.finish()), Arc::new(b.finish())];
    Arc::new(StructArray::try_new(fields.into(), columns, Some(valid.into())).unwrap())
}
