//! Words: tuples of key values of fixed width and short strings in one `u64` or `u128`.
//!
//! ```text
//!  one column      the value itself, sign-extended; 8- and 16-byte columns are borrowed
//!
//!  several, u64    ┌────────────┬────────┬───────┬────────────┐
//!                  │ column 0   │ col. 1 │  …    │ null bits  │   low byte ──► high byte
//!                  └────────────┴────────┴───────┴────────────┘
//! ```
//!
//! A whole number of several, or a decimal, may sit there as its distance from the least: `span.rs`.
//!
//! Null bits (one a column) are there only where NULL equals NULL and the build side has NULLs;
//! the value of a NULL is then zero. The NULL of a single column needs no word: the index keeps
//! its rows apart.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, TimeUnit};

use super::class::plain_type;
use super::hash::KeyHasher;
use super::packed::{packed_views, place_packed};
use super::span::Span;
use super::values::place_column;

/// A word that holds a whole key: `u64` or `u128`.
pub(crate) trait KeyWord: Copy + Eq + Default + Send + Sync + 'static {
    /// Its width.
    const BYTES: u32;

    /// What it is stored as among columns.
    type Stored: ArrowNativeType + Eq;

    /// Turns it into what is stored.
    fn stored(self) -> Self::Stored;

    /// Turns it back.
    fn of_stored(stored: Self::Stored) -> Self;

    /// Cuts bits to the word.
    fn cut(bits: u128) -> Self;

    /// Adds bits at a distance from the low end.
    fn place(&mut self, bits: u128, shift: u32);

    /// Adds another word at a distance from the low end.
    fn join(&mut self, other: Self, shift: u32);

    /// Loads the bytes from a position on, as far as there are any.
    fn load(bytes: &[u8], from: usize) -> Option<Self>;

    /// Keeps the first bytes, and zeros the others.
    fn first_bytes(self, bytes: usize) -> Self;

    /// Says whether the last of the first bytes is zero; never of none.
    fn ends_in_zero(self, bytes: usize) -> bool;

    /// Returns the number of bytes up to the last that is not zero.
    fn used_bytes(self) -> usize;

    /// Hashes the word.
    fn hash(self, hasher: &KeyHasher) -> u64;

    /// Returns the values of a column as words without copying, where they are stored as such.
    fn borrow(column: &ArrayRef) -> Option<&[Self]>;
}

impl KeyWord for u64 {
    const BYTES: u32 = 8;

    type Stored = u64;

    #[inline(always)]
    fn stored(self) -> u64 {
        self
    }

    #[inline(always)]
    fn of_stored(stored: u64) -> Self {
        stored
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "cuts to the word")]
    fn cut(bits: u128) -> Self {
        bits as u64
    }

    #[inline(always)]
    fn place(&mut self, bits: u128, shift: u32) {
        *self |= Self::cut(bits) << shift;
    }

    #[inline(always)]
    fn join(&mut self, other: Self, shift: u32) {
        *self |= other << shift;
    }

    #[inline(always)]
    fn load(bytes: &[u8], from: usize) -> Option<Self> {
        match bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) => Some(Self::from_le_bytes(*chunk)),
            None => load_end(bytes, from).map(Self::cut),
        }
    }

    #[inline(always)]
    fn first_bytes(self, bytes: usize) -> Self {
        if bytes < 8 {
            self & ((1 << (8 * bytes)) - 1)
        } else {
            self
        }
    }

    #[inline(always)]
    fn ends_in_zero(self, bytes: usize) -> bool {
        matches!(bytes, 1..=8) && self >> (8 * bytes - 8) & 0xFF == 0
    }

    #[inline(always)]
    fn used_bytes(self) -> usize {
        (Self::BYTES - self.leading_zeros() / 8) as usize
    }

    #[inline(always)]
    fn hash(self, hasher: &KeyHasher) -> u64 {
        hasher.word(self)
    }

    fn borrow(column: &ArrayRef) -> Option<&[Self]> {
        macro_rules! words {
            ($t:ty) => {
                Some(
                    column
                        .as_primitive::<$t>()
                        .values()
                        .inner()
                        .typed_data::<u64>(),
                )
            };
        }
        match column.data_type() {
            DataType::Int64 => words!(Int64Type),
            DataType::UInt64 => words!(UInt64Type),
            DataType::Date64 => words!(Date64Type),
            DataType::Decimal64(..) => words!(Decimal64Type),
            DataType::Time64(TimeUnit::Microsecond) => words!(Time64MicrosecondType),
            DataType::Time64(TimeUnit::Nanosecond) => words!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => words!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => words!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => words!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => words!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => words!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => words!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => words!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => words!(DurationNanosecondType),
            _ => None,
        }
    }
}

impl KeyWord for u128 {
    const BYTES: u32 = 16;

    type Stored = i128;

    #[inline(always)]
    fn stored(self) -> i128 {
        self.cast_signed()
    }

    #[inline(always)]
    fn of_stored(stored: i128) -> Self {
        stored.cast_unsigned()
    }

    #[inline(always)]
    fn cut(bits: u128) -> Self {
        bits
    }

    #[inline(always)]
    fn place(&mut self, bits: u128, shift: u32) {
        *self |= bits << shift;
    }

    #[inline(always)]
    fn join(&mut self, other: Self, shift: u32) {
        *self |= other << shift;
    }

    #[inline(always)]
    fn load(bytes: &[u8], from: usize) -> Option<Self> {
        match bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) => Some(Self::from_le_bytes(*chunk)),
            None => load_end(bytes, from),
        }
    }

    #[inline(always)]
    fn first_bytes(self, bytes: usize) -> Self {
        if bytes < 16 {
            self & ((1 << (8 * bytes)) - 1)
        } else {
            self
        }
    }

    #[inline(always)]
    fn ends_in_zero(self, bytes: usize) -> bool {
        matches!(bytes, 1..=16) && self >> (8 * bytes - 8) & 0xFF == 0
    }

    #[inline(always)]
    fn used_bytes(self) -> usize {
        (Self::BYTES - self.leading_zeros() / 8) as usize
    }

    #[inline(always)]
    fn hash(self, hasher: &KeyHasher) -> u64 {
        hasher.wide(self)
    }

    fn borrow(column: &ArrayRef) -> Option<&[Self]> {
        // `u128` is no Arrow native type, so its buffers cannot be borrowed as one safely.
        let _ = column;
        None
    }
}

/// Loads up to 16 bytes at the end of a buffer.
#[cold]
fn load_end(bytes: &[u8], from: usize) -> Option<u128> {
    let rest = bytes.get(from..)?;
    let mut word = [0; 16];
    let length = rest.len().min(word.len());
    word[..length].copy_from_slice(&rest[..length]);
    Some(u128::from_le_bytes(word))
}

/// What of a column's values sits in a word.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The values as they are, or strings packed, of so many bytes.
    Whole(u32),
    /// Their distances from the least.
    Distance(Span),
}

impl Place {
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Distance(span) => span.bytes(),
        }
    }
}

/// Where each column of a tuple sits in its word.
#[derive(Debug, Clone)]
pub(crate) struct WordPlan {
    places: Vec<Place>,
    null_shift: Option<u32>,
    bytes: u32,
}

impl WordPlan {
    /// Plans the word of a tuple by its columns' places, or returns nothing where one has none or
    /// the word would be wider than 16 bytes.
    pub(crate) fn new(places: &[Option<Place>], null_bits: bool) -> Option<Self> {
        let places = places.iter().copied().collect::<Option<Vec<_>>>()?;
        let mut bytes = 0_u32;
        for place in &places {
            bytes = bytes.checked_add(place.bytes())?;
        }
        let mut null_shift = None;
        if null_bits {
            null_shift = bytes.checked_mul(8);
            bytes = bytes.checked_add(u32::try_from(places.len().div_ceil(8)).ok()?)?;
        }
        (bytes <= u128::BYTES).then_some(Self {
            places,
            null_shift,
            bytes,
        })
    }

    /// Returns the width of the key.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Says whether NULLs have bits of their own in the word.
    pub(crate) fn has_null_bits(&self) -> bool {
        self.null_shift.is_some()
    }

    /// Says whether keys leave the highest byte of a word zero, wherever there may be misfits: then the word of
    /// nothing but ones is no key's.
    pub(crate) fn has_room<W: KeyWord>(&self) -> bool {
        self.bytes < W::BYTES
    }

    /// Packs decoded columns of the planned types, a column at a time.
    ///
    /// Words of rows with NULLs mean nothing unless the plan has null bits. Nor do those of the
    /// rows noted in `misfits`: their strings are none of the build side's.
    pub(crate) fn encode<'a, W: KeyWord>(
        &self,
        columns: &'a [ArrayRef],
        rows: usize,
        misfits: &mut Vec<u32>,
    ) -> Cow<'a, [W]> {
        if let ([column], None, [Place::Whole(bytes)]) = (columns, self.null_shift, self.places.as_slice()) {
            if let Some(words) = W::borrow(column) {
                return Cow::Borrowed(words);
            }
            if let Some(words) = packed_views(column, *bytes, misfits) {
                return Cow::Owned(words);
            }
        }
        let mut words = vec![W::default(); rows];
        let mut shift = 0_u32;
        let single = columns.len() == 1;
        for (position, (column, &place)) in (0_u32..).zip(columns.iter().zip(&self.places)) {
            let bytes = place.bytes();
            let nulls = match self.null_shift {
                Some(null_shift) => {
                    let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
                    place_null_bits(&mut words, nulls.as_ref(), null_shift + position);
                    nulls
                }
                None => None,
            };
            match place {
                Place::Distance(span) => span.place(&mut words, column, shift, nulls.as_ref(), misfits),
                Place::Whole(_) if is_string(column.data_type()) => {
                    // Where the build side has none but empty strings there may be no room to shift to.
                    let shift = if bytes == 0 { 0 } else { shift };
                    place_packed(&mut words, column, shift, bytes, nulls.as_ref(), misfits);
                }
                Place::Whole(0) => {}
                Place::Whole(_) => {
                    // A single value keeps its sign extension: the dense layout subtracts words.
                    let mask = if single { u128::MAX } else { width_mask(bytes) };
                    place_column(&mut words, column, shift, mask, nulls.as_ref());
                }
            }
            shift += bytes * 8;
        }
        Cow::Owned(words)
    }
}

fn is_string(data_type: &DataType) -> bool {
    matches!(plain_type(data_type), DataType::Utf8View | DataType::BinaryView)
}

fn width_mask(bytes: u32) -> u128 {
    match bytes {
        16.. => u128::MAX,
        bytes => (1_u128 << (bytes * 8)) - 1,
    }
}

fn place_null_bits<W: KeyWord>(words: &mut [W], nulls: Option<&NullBuffer>, shift: u32) {
    if let Some(nulls) = nulls {
        for (word, valid) in words.iter_mut().zip(nulls.iter()) {
            word.place(u128::from(!valid), shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int8Array, Int32Array, Int64Array};

    use super::{Place, WordPlan};
    use crate::key::class::KeyClass;

    fn plan(columns: &[ArrayRef], null_bits: bool) -> Option<WordPlan> {
        let place = |column: &ArrayRef| KeyClass::of(column.data_type()).word_bytes().map(Place::Whole);
        let places: Vec<_> = columns.iter().map(place).collect();
        WordPlan::new(&places, null_bits)
    }

    #[test]
    fn borrows_a_single_eight_byte_column() {
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![-1, 5, 7]).slice(1, 2))];
        let words = plan(&columns, false)
            .unwrap()
            .encode::<u64>(&columns, 2, &mut Vec::new());
        assert!(matches!(words, Cow::Borrowed([5, 7])));
    }

    #[test]
    fn packs_a_tuple_without_overlap_and_zeroes_nulls() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(vec![Some(-1), None])),
            Arc::new(Int32Array::from(vec![2, -2])),
        ];
        let plan = plan(&columns, true).unwrap();
        assert_eq!(plan.bytes(), 6);
        let words = plan.encode::<u64>(&columns, 2, &mut Vec::new());
        assert_eq!(words[0], 0x0000_0000_0000_02FF);
        assert_eq!(words[1], 0x0000_01FF_FFFF_FE00);
    }

    #[test]
    fn refuses_more_than_sixteen_bytes() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let columns = vec![column.clone(), column.clone()];
        assert!(plan(&columns, false).is_some());
        assert!(plan(&columns, true).is_none());
    }
}
