//! Floats as keys: one bit pattern for zero, one for NaN.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, make_array};
use arrow_schema::DataType;

use crate::KernelError;

/// Maps every zero of a float type to `+0.0` and every NaN to one NaN; other values stay.
#[inline(always)]
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
pub(crate) fn normal<N: ArrowNativeTypeOp>(value: N) -> N {
    // `is_eq` of arrow is total order, so it tells NaNs and zeros apart; PartialEq does not.
    if value != value {
        // The greatest value in total order is a NaN, in every float type.
        N::MAX_TOTAL_ORDER
    } else if value == N::ZERO {
        N::ZERO
    } else {
        value
    }
}

/// Normalises all floats of a column, also inside lists and structs; columns without any are
/// passed through.
pub(crate) fn normalize(column: &ArrayRef) -> Result<ArrayRef, KernelError> {
    Ok(match column.data_type() {
        DataType::Float16 => floats::<Float16Type>(column),
        DataType::Float32 => floats::<Float32Type>(column),
        DataType::Float64 => floats::<Float64Type>(column),
        nested if holds_floats(nested) => {
            let data = column.to_data();
            let children = data
                .child_data()
                .iter()
                .map(|child| Ok(normalize(&make_array(child.clone()))?.to_data()))
                .collect::<Result<Vec<_>, KernelError>>()?;
            make_array(data.into_builder().child_data(children).build()?)
        }
        _ => Arc::clone(column),
    })
}

fn floats<T: ArrowPrimitiveType>(column: &ArrayRef) -> ArrayRef {
    Arc::new(column.as_primitive::<T>().unary::<_, T>(normal))
}

fn holds_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => holds_floats(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_floats(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| holds_floats(field.data_type())),
        DataType::Dictionary(_, values) => holds_floats(values),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float32Type, Float64Type};
    use arrow_array::{ArrayRef, Float64Array, Int32Array, ListArray};

    use super::{normal, normalize};

    #[test]
    fn gives_zero_and_nan_one_pattern_each() {
        assert_eq!(normal(-0.0_f64).to_bits(), 0.0_f64.to_bits());
        assert_eq!(normal(f64::NAN).to_bits(), normal(-f64::NAN).to_bits());
        assert!(normal(f32::NAN).is_nan());
        assert_eq!(normal(-1.5_f32), -1.5);
    }

    #[test]
    fn reaches_into_lists_and_leaves_other_columns_alone() {
        let floats = vec![Some(vec![Some(-0.0), None, Some(1.0)]), None];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(floats));
        let normal_list = normalize(&list).unwrap();
        let inner = normal_list.as_list::<i32>().values().clone();
        assert_eq!(inner.as_primitive::<Float32Type>().value(0).to_bits(), 0);

        let whole: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert!(Arc::ptr_eq(&whole, &normalize(&whole).unwrap()));

        let sliced: ArrayRef = Arc::new(Float64Array::from(vec![1.0, -0.0]).slice(1, 1));
        let normal_slice = normalize(&sliced).unwrap();
        assert_eq!(normal_slice.as_primitive::<Float64Type>().value(0).to_bits(), 0);
    }
}
