//! Key columns of every type: each of a few key numbers has its own value in each type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DictionaryArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, Time64MicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Int32Type, i256};

/// The type of a key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    /// Values in a row, which an index may address directly.
    DenseInt64,
    Float32,
    Float64,
    Decimal128,
    Decimal256,
    Boolean,
    Date32,
    Time64,
    TimestampMillisecond,
    TimestampNanosecondUtc,
    Utf8,
    LargeUtf8,
    Utf8View,
    Binary,
    LargeBinary,
    BinaryView,
    DictionaryUtf8,
}

use KeyType::{
    Binary, BinaryView, Boolean, Date32, Decimal128, Decimal256, DenseInt64, DictionaryUtf8, Float32,
    Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, Time64, TimestampMillisecond,
    TimestampNanosecondUtc, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
};

/// The keys tested: each type alone, and tuples of two and three columns.
pub(crate) const KEYS_TESTED: &[&[KeyType]] = &[
    &[Int8],
    &[Int16],
    &[Int32],
    &[Int64],
    &[UInt8],
    &[UInt16],
    &[UInt32],
    &[UInt64],
    &[DenseInt64],
    &[Float32],
    &[Float64],
    &[Decimal128],
    &[Decimal256],
    &[Boolean],
    &[Date32],
    &[Time64],
    &[TimestampMillisecond],
    &[TimestampNanosecondUtc],
    &[Utf8],
    &[LargeUtf8],
    &[Utf8View],
    &[Binary],
    &[LargeBinary],
    &[BinaryView],
    &[DictionaryUtf8],
    &[Int32, Int16],
    &[Int64, Int64],
    &[Int64, Utf8View],
    &[Date32, Decimal128],
    &[Boolean, Int8, Float64],
    &[DictionaryUtf8, TimestampMillisecond, Binary],
];

/// Makes a column that holds, for each key number, its value in this type.
///
/// Two numbers have two values, but for booleans, of which there are two: see [`as_compared`].
pub(crate) fn column(kind: KeyType, keys: &[Option<u8>]) -> ArrayRef {
    macro_rules! of {
        ($array:ty, $value:expr) => {
            Arc::new(keys.iter().map(|key| key.map($value)).collect::<$array>())
        };
    }
    let text = |key: u8| TEXTS[usize::from(key)].to_string();
    let texts = || keys.iter().map(|key| key.map(text));
    let bytes = || {
        keys.iter()
            .map(|key| key.map(|key| [&[key, 0xff, 0], TEXTS[usize::from(key)].as_bytes()].concat()))
    };
    let wide = |key: u8| i128::from(key) * 1_000_000_007 * 1_000_000_007 - 5;
    match kind {
        Int8 => of!(Int8Array, |key| i8::MAX.wrapping_sub((key * 28).cast_signed())),
        Int16 => of!(Int16Array, |key| i16::MIN + i16::from(key) * 3000),
        Int32 => of!(Int32Array, |key| i32::MAX - i32::from(key) * 200_000_000),
        Int64 => of!(Int64Array, |key| i64::MIN
            + i64::from(key) * 1_000_000_000_000_000_000),
        DenseInt64 => of!(Int64Array, |key| i64::from(key) + 100),
        UInt8 => of!(UInt8Array, |key| u8::MAX - key * 31),
        UInt16 => of!(UInt16Array, |key| u16::MAX - u16::from(key) * 8000),
        UInt32 => of!(UInt32Array, |key| u32::MAX - u32::from(key) * 500_000_000),
        UInt64 => of!(UInt64Array, |key| u64::MAX
            - u64::from(key) * 2_000_000_000_000_000_000),
        Float32 => of!(Float32Array, |key| FLOATS[usize::from(key)]),
        Float64 => of!(Float64Array, |key| f64::from(FLOATS[usize::from(key)])),
        Decimal128 => {
            let values = keys.iter().map(|key| key.map(wide));
            Arc::new(
                values
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            )
        }
        Decimal256 => {
            let values = keys
                .iter()
                .map(|key| key.map(|key| i256::from_i128(wide(key)) * i256::from_i128(1 << 100)));
            Arc::new(
                values
                    .collect::<Decimal256Array>()
                    .with_precision_and_scale(76, 6)
                    .unwrap(),
            )
        }
        Boolean => of!(BooleanArray, |key| key % 2 == 1),
        Date32 => of!(Date32Array, |key| i32::from(key) * 5000 - 20_000),
        Time64 => of!(Time64MicrosecondArray, |key| i64::from(key) * 9_000_000_001),
        TimestampMillisecond => of!(TimestampMillisecondArray, |key| i64::from(key) * 300_000_000_001
            - 1),
        TimestampNanosecondUtc => {
            let values = keys
                .iter()
                .map(|key| key.map(|key| i64::from(key) * 1_000_000_000_000_000_001 - 1));
            Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        Utf8 => Arc::new(texts().collect::<StringArray>()),
        LargeUtf8 => Arc::new(texts().collect::<LargeStringArray>()),
        Utf8View => Arc::new(texts().collect::<StringViewArray>()),
        Binary => Arc::new(bytes().collect::<BinaryArray>()),
        LargeBinary => Arc::new(bytes().collect::<LargeBinaryArray>()),
        BinaryView => Arc::new(bytes().collect::<BinaryViewArray>()),
        DictionaryUtf8 => {
            let texts: Vec<Option<String>> = texts().collect();
            Arc::new(
                texts
                    .iter()
                    .map(Option::as_deref)
                    .collect::<DictionaryArray<Int32Type>>(),
            )
        }
    }
}

/// Returns the key numbers as the types tell them apart: booleans alone know two.
pub(crate) fn as_compared(kinds: &[KeyType], key: Option<u8>) -> Option<u8> {
    match kinds {
        [Boolean] => key.map(|key| key % 2),
        _ => key,
    }
}

/// Empty, a blank, one that starts like another, twelve bytes and thirteen, more, and not ASCII.
const TEXTS: [&str; 9] = [
    "",
    " ",
    "abc",
    "abcd",
    "twelve bytes",
    "twelve bytes!",
    "twelve bytes, and then some more of them",
    "twelve bytes, and then some more of theM",
    "żółć",
];

const FLOATS: [f32; 9] = [
    0.0,
    1.5,
    -1.5,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    1e30,
    3.0,
];
