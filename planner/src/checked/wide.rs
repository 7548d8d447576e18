//! Totals kept wider than what they add, so that only the result can overflow.

use std::fmt::Debug;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Int64Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, PrimitiveArray};
use arrow_buffer::i256;
use arrow_schema::DataType;
use datafusion_common::{Result, exec_err, internal_err};

/// A width to total in: 128 bits for integers and DECIMAL up to 38 digits, else 256.
pub(super) trait Wide: DecimalType + Debug + Send + Sync + Sized
where
    Self: ArrowPrimitiveType<Native: ArrowNativeTypeOp>,
{
    /// Takes over a value of fewer bits.
    fn widen(value: i128) -> Self::Native;
    /// Returns ten to this power, if it fits.
    fn ten_pow(exponent: u32) -> Option<Self::Native>;
    /// Takes over an array of this width's own decimals.
    fn own(array: &dyn Array) -> Option<&PrimitiveArray<Self>>;
    /// Narrows to 128 bits, if it fits.
    fn narrow(value: Self::Native) -> Option<i128>;
}

impl Wide for Decimal128Type {
    fn widen(value: i128) -> i128 {
        value
    }
    fn ten_pow(exponent: u32) -> Option<i128> {
        10_i128.checked_pow(exponent)
    }
    fn own(array: &dyn Array) -> Option<&PrimitiveArray<Self>> {
        array.as_primitive_opt()
    }
    fn narrow(value: i128) -> Option<i128> {
        Some(value)
    }
}

impl Wide for Decimal256Type {
    fn widen(value: i128) -> i256 {
        i256::from_i128(value)
    }
    fn ten_pow(exponent: u32) -> Option<i256> {
        i256::from_i128(10).checked_pow(exponent)
    }
    fn own(array: &dyn Array) -> Option<&PrimitiveArray<Self>> {
        array.as_primitive_opt()
    }
    fn narrow(value: i256) -> Option<i128> {
        value.to_i128()
    }
}

/// Calls `each` with every non-null value and its row.
pub(super) fn for_each<W: Wide>(
    array: &dyn Array,
    mut each: impl FnMut(usize, W::Native) -> Result<()>,
) -> Result<()> {
    macro_rules! over {
        ($kind:ty) => {{
            let array = array.as_primitive::<$kind>();
            if array.null_count() == 0 {
                for (row, value) in array.values().iter().enumerate() {
                    each(row, W::widen(i128::from(*value)))?;
                }
            } else {
                for (row, value) in array.iter().enumerate() {
                    if let Some(value) = value {
                        each(row, W::widen(i128::from(value)))?;
                    }
                }
            }
            Ok(())
        }};
    }
    if let Some(own) = W::own(array) {
        for (row, value) in own.iter().enumerate() {
            if let Some(value) = value {
                each(row, value)?;
            }
        }
        return Ok(());
    }
    match array.data_type() {
        DataType::Int64 => over!(Int64Type),
        DataType::UInt64 => over!(UInt64Type),
        DataType::Decimal32(..) => over!(Decimal32Type),
        DataType::Decimal64(..) => over!(Decimal64Type),
        DataType::Decimal128(..) => over!(Decimal128Type),
        other => internal_err!("no total over {other}"),
    }
}

/// Makes an array of a result type from totals, failing where one does not fit.
pub(super) fn finish<W: Wide>(
    totals: Vec<Option<W::Native>>,
    result: &DataType,
    what: &str,
) -> Result<ArrayRef> {
    use std::sync::Arc;
    macro_rules! narrowed {
        ($kind:ty) => {{
            let mut out = Vec::with_capacity(totals.len());
            for total in totals {
                out.push(match total {
                    None => None,
                    Some(total) => match W::narrow(total).and_then(|total| total.try_into().ok()) {
                        Some(value) => Some(value),
                        None => {
                            return exec_err!("{what} overflow: {total:?} does not fit in {result}");
                        }
                    },
                });
            }
            PrimitiveArray::<$kind>::from_iter(out)
        }};
    }
    macro_rules! decimal {
        ($kind:ty, $p:expr, $s:expr) => {{
            let array = narrowed!($kind).with_precision_and_scale(*$p, *$s)?;
            if array.validate_decimal_precision(*$p).is_err() {
                return exec_err!("{what} overflow: a total has more digits than {result} holds");
            }
            Ok(Arc::new(array))
        }};
    }
    match result {
        DataType::Int64 => Ok(Arc::new(narrowed!(Int64Type))),
        DataType::UInt64 => Ok(Arc::new(narrowed!(UInt64Type))),
        DataType::Decimal32(p, s) => decimal!(Decimal32Type, p, s),
        DataType::Decimal64(p, s) => decimal!(Decimal64Type, p, s),
        DataType::Decimal128(p, s) => decimal!(Decimal128Type, p, s),
        DataType::Decimal256(p, s) => {
            let array = PrimitiveArray::<W>::from_iter(totals);
            let array = array
                .as_any()
                .downcast_ref::<PrimitiveArray<Decimal256Type>>()
                .cloned();
            let Some(array) = array else {
                return internal_err!("{what}: totals of the wrong width");
            };
            let array = array.with_precision_and_scale(*p, *s)?;
            if array.validate_decimal_precision(*p).is_err() {
                return exec_err!("{what} overflow: a total has more digits than {result} holds");
            }
            Ok(Arc::new(array))
        }
        other => internal_err!("no total as {other}"),
    }
}
