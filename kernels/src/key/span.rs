//! Spans: whole numbers of a key as their distance from the least of them.
//!
//! ```text
//!   accounts 40 000 000 … 42 949 672      40 000 007  ──►  07 00 00
//!
//!   the farthest is 2 949 672 from the least, which takes 3 bytes and not 8
//! ```
//!
//! So tuples and decimals fit a narrower word than their types do, and the table is smaller. A probe
//! value out of the span is none of the build side's: a *misfit*.

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::class::KeyClass;
use super::packed::note_misfit;
use super::words::KeyWord;

/// The span of a build side's whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    least: i128,
    /// The distance of the greatest.
    farthest: u128,
}

/// The whole numbers of a column, by their width.
enum Numbers<'a> {
    Four(&'a [u32]),
    Eight(&'a [u64]),
    Sixteen(&'a [i128]),
}

impl Span {
    /// Finds the span of a decoded column; none for types that are no whole numbers, or narrow anyway.
    /// NULLs do not count.
    pub(crate) fn of(column: &ArrayRef) -> Option<Self> {
        fn fold(values: impl Iterator<Item = i128>, nulls: Option<&NullBuffer>) -> Option<(i128, i128)> {
            let wider = |range: Option<(i128, i128)>, value: i128| {
                let (least, greatest) = range.unwrap_or((value, value));
                Some((least.min(value), greatest.max(value)))
            };
            match nulls {
                None => values.fold(None, wider),
                Some(nulls) => {
                    let valid = values.zip(nulls.iter()).filter(|(_, valid)| *valid);
                    valid.fold(None, |range, (value, _)| wider(range, value))
                }
            }
        }
        let nulls = column.nulls();
        let range = with_numbers(column, |numbers, signed| match (numbers, signed) {
            (Numbers::Four(values), true) => {
                fold(values.iter().map(|value| value.cast_signed().into()), nulls)
            }
            (Numbers::Four(values), false) => fold(values.iter().map(|value| (*value).into()), nulls),
            (Numbers::Eight(values), true) => {
                fold(values.iter().map(|value| value.cast_signed().into()), nulls)
            }
            (Numbers::Eight(values), false) => fold(values.iter().map(|value| (*value).into()), nulls),
            (Numbers::Sixteen(values), _) => fold(values.iter().copied(), nulls),
        })?;
        let (least, greatest) = range.unwrap_or_default();
        Some(Self {
            least,
            farthest: greatest.wrapping_sub(least).cast_unsigned(),
        })
    }

    /// Returns the bytes of the farthest distance.
    pub(crate) fn bytes(&self) -> u32 {
        (u128::BITS - self.farthest.leading_zeros()).div_ceil(8)
    }

    /// Adds the distances of a decoded column's values to words, and notes the values that are out of the
    /// span; the value of a row in `nulls` counts as no distance.
    pub(crate) fn place<W: KeyWord>(
        &self,
        words: &mut [W],
        column: &ArrayRef,
        shift: u32,
        nulls: Option<&NullBuffer>,
        misfits: &mut Vec<u32>,
    ) {
        // Where all values are the same there may be no room to shift to.
        let shift = if self.bytes() == 0 { 0 } else { shift };
        let placed = with_numbers(column, |numbers, signed| match numbers {
            Numbers::Four(values) => {
                let extended = |value: &u32| match signed {
                    true => i64::from(value.cast_signed()).cast_unsigned(),
                    false => u64::from(*value),
                };
                self.place_short(words, values.iter().map(extended), shift, nulls, misfits);
            }
            Numbers::Eight(values) => {
                self.place_short(words, values.iter().copied(), shift, nulls, misfits);
            }
            Numbers::Sixteen(values) => {
                let distances = values
                    .iter()
                    .map(|value| value.wrapping_sub(self.least).cast_unsigned());
                let within = distances.map(|distance| (distance <= self.farthest).then_some(distance));
                place(words, within, shift, nulls, misfits);
            }
        });
        debug_assert!(placed.is_some(), "a span is of whole numbers");
    }

    /// Adds the distances of values of at most 8 bytes, sign-extended where they have a sign.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "of such values the least fits, and the farthest distance"
    )]
    fn place_short<W: KeyWord>(
        &self,
        words: &mut [W],
        values: impl Iterator<Item = u64>,
        shift: u32,
        nulls: Option<&NullBuffer>,
        misfits: &mut Vec<u32>,
    ) {
        let (least, farthest) = (self.least.cast_unsigned() as u64, self.farthest as u64);
        let distances = values.map(|value| value.wrapping_sub(least));
        let within = distances.map(|distance| (distance <= farthest).then_some(u128::from(distance)));
        place(words, within, shift, nulls, misfits);
    }
}

/// Calls with the whole numbers of a decoded column, and whether they have a sign; not for other types.
fn with_numbers<T>(column: &ArrayRef, call: impl FnOnce(Numbers<'_>, bool) -> T) -> Option<T> {
    let data = column.to_data();
    match (KeyClass::of(column.data_type()), column.data_type()) {
        (KeyClass::Integer { bytes: 4, signed }, _) => {
            Some(call(Numbers::Four(&data.buffer(0)[..column.len()]), signed))
        }
        (KeyClass::Integer { bytes: 8, signed }, _) => {
            Some(call(Numbers::Eight(&data.buffer(0)[..column.len()]), signed))
        }
        (_, DataType::Decimal128(..)) => Some(call(Numbers::Sixteen(&data.buffer(0)[..column.len()]), true)),
        _ => None,
    }
}

/// Adds distances to words; one that is out of the span is none.
#[inline(always)]
fn place<W: KeyWord>(
    words: &mut [W],
    distances: impl Iterator<Item = Option<u128>>,
    shift: u32,
    nulls: Option<&NullBuffer>,
    misfits: &mut Vec<u32>,
) {
    for (row, (word, distance)) in words.iter_mut().zip(distances).enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            continue;
        }
        match distance {
            Some(distance) => word.place(distance, shift),
            None => note_misfit(misfits, row),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, Int8Array, Int64Array, UInt64Array,
    };
    use arrow_buffer::NullBuffer;

    use super::Span;

    fn place(span: Span, column: &ArrayRef, nulls: Option<&NullBuffer>) -> (Vec<u64>, Vec<u32>) {
        let (mut words, mut misfits) = (vec![1; column.len()], Vec::new());
        span.place(&mut words, column, 8, nulls, &mut misfits);
        (words, misfits)
    }

    #[test]
    fn the_ends_of_every_type_are_within_and_what_is_beyond_is_not() {
        let table: [ArrayRef; 4] = [
            Arc::new(Date32Array::from(vec![-3, 252])),
            Arc::new(Int64Array::from(vec![i64::MIN, i64::MIN + 255])),
            Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 255])),
            Arc::new(Decimal128Array::from(vec![i128::MAX, i128::MAX - 255])),
        ];
        let stream: [ArrayRef; 4] = [
            Arc::new(Date32Array::from(vec![252, -3, -4, 253, i32::MIN])),
            Arc::new(Int64Array::from(vec![
                i64::MIN + 255,
                i64::MIN,
                i64::MAX,
                i64::MIN + 256,
                0,
            ])),
            Arc::new(UInt64Array::from(vec![
                u64::MAX,
                u64::MAX - 255,
                u64::MAX - 256,
                0,
                1,
            ])),
            Arc::new(Decimal128Array::from(vec![
                i128::MAX,
                i128::MAX - 255,
                i128::MAX - 256,
                i128::MIN,
                0,
            ])),
        ];
        for (table, stream) in table.iter().zip(&stream) {
            let span = Span::of(table).unwrap();
            assert_eq!(span.bytes(), 1);
            let (words, misfits) = place(span, stream, None);
            assert_eq!((&words[..2], misfits), (&[0xFF01, 1][..], vec![2, 3, 4]));
        }
    }

    #[test]
    fn a_type_s_whole_range_is_as_wide_as_the_type() {
        let wide: ArrayRef = Arc::new(Decimal128Array::from(vec![i128::MIN, i128::MAX]));
        assert_eq!(Span::of(&wide).unwrap().bytes(), 16);
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]));
        assert_eq!(Span::of(&wide).unwrap().bytes(), 8);
    }

    #[test]
    fn nulls_are_neither_counted_nor_misfits() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(9)]));
        let span = Span::of(&column).unwrap();
        assert_eq!(
            span,
            Span {
                least: 7,
                farthest: 2
            }
        );
        let (words, misfits) = place(span, &column, column.nulls());
        assert_eq!((words, misfits), (vec![1, 1, 0x201], vec![]));
        let none: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
        let span = Span::of(&none).unwrap();
        assert_eq!(
            (span.bytes(), place(span, &column.slice(2, 1), None).1),
            (0, vec![0])
        );
    }

    #[test]
    fn other_types_have_none() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let narrow: ArrayRef = Arc::new(Int8Array::from(vec![1]));
        assert_eq!((Span::of(&floats), Span::of(&narrow)), (None, None));
    }
}
