//! Places: what of each key column sits in a word, so that the word is as narrow as can be.
//!
//! ```text
//!   (account BIGINT, currency CHAR(3))       8 + 3 bytes: a u128
//!   distances from the least account         3 + 3 bytes: a u64, and half the table
//! ```
//!
//! Columns are taken whole where they fit a `u64`; else whole numbers by their distances
//! (key/span.rs), if that makes the word narrower; and strings by their ranks (ranks.rs), if the word is
//! too wide still.

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::layout::{BuildOptions, KeyLayout};
use super::ranks::Ranks;
use crate::KernelError;
use crate::key::class::KeyClass;
use crate::key::packed::packed_width;
use crate::key::span::Span;
use crate::key::words::{KeyWord, Place};

/// Key columns of a build side, and their places in a word where they have one.
pub(super) struct Placed {
    /// Decoded, with ranks in place.
    pub(super) columns: Vec<ArrayRef>,
    pub(super) classes: Vec<KeyClass>,
    pub(super) places: Vec<Option<Place>>,
    pub(super) ranks: Option<Ranks>,
}

impl Placed {
    /// Finds places for decoded columns of plain types.
    pub(super) fn of(
        columns: Vec<ArrayRef>,
        types: &[DataType],
        null_bits: bool,
        options: &BuildOptions,
    ) -> Result<Self, KernelError> {
        // A row with a NULL is packed by its other columns, if NULL is a key at all.
        let whole = |(class, column): (&KeyClass, &ArrayRef)| match class {
            KeyClass::Bytes => packed_width(column, column.nulls()).map(Place::Whole),
            class => class.word_bytes().map(Place::Whole),
        };
        let classes: Vec<_> = types.iter().map(KeyClass::of).collect();
        let places: Vec<_> = classes.iter().zip(&columns).map(whole).collect();
        let null_bytes = if null_bits { columns.len().div_ceil(8) } else { 0 };
        let null_bytes = u32::try_from(null_bytes).unwrap_or(u32::MAX);
        let mut placed = Self {
            columns,
            classes,
            places,
            ranks: None,
        };
        if options.layout != Some(KeyLayout::Rows) {
            placed.narrow(null_bytes, options)?;
        }
        Ok(placed)
    }

    /// Makes the word narrower where it is wider than 8 bytes.
    fn narrow(&mut self, null_bytes: u32, options: &BuildOptions) -> Result<(), KernelError> {
        if width(&self.places, null_bytes) <= u64::BYTES {
            return Ok(());
        }
        let distance = |(place, column): (&Option<Place>, &ArrayRef)| {
            let span =
                Span::of(column).filter(|span| place.is_some_and(|place| span.bytes() < place.bytes()));
            span.map(Place::Distance).or(*place)
        };
        let mut distances: Vec<_> = self.places.iter().zip(&self.columns).map(distance).collect();
        let ranks = Ranks::build(&self.columns, &self.classes, &distances, null_bytes, options)?;
        if let Some(ranks) = ranks {
            self.columns = ranks.replace(&self.columns, &mut Vec::new())?;
            for at in (0..self.columns.len()).filter(|at| ranks.has(*at)) {
                self.classes[at] = KeyClass::of(self.columns[at].data_type());
                self.places[at] = self.classes[at].word_bytes().map(Place::Whole);
                distances[at] = self.places[at];
            }
            self.ranks = Some(ranks);
        }
        let (with_distances, whole) = (width(&distances, null_bytes), width(&self.places, null_bytes));
        // Where the width of the word stays the same, there is nothing to gain by subtracting.
        if with_distances > u64::BYTES && whole <= u128::BYTES {
            return Ok(());
        }
        self.places = distances;
        if let ([class], [Some(Place::Distance(span))]) =
            (self.classes.as_mut_slice(), self.places.as_slice())
        {
            let (bytes, signed) = (span.bytes(), false);
            *class = KeyClass::Integer { bytes, signed };
        }
        Ok(())
    }
}

/// Returns the bytes of a word of such places; as many as can be where a column has none.
fn width(places: &[Option<Place>], null_bytes: u32) -> u32 {
    places.iter().fold(null_bytes, |sum, place| {
        sum.saturating_add(place.map_or(u32::MAX, Place::bytes))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray};

    use crate::{BuildOptions, KeyIndex, KeyLayout, NO_ROW};

    fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    fn texts(text: &str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..1000).map(|row| format!("{text}{row:03}")),
        ))
    }

    fn index(keys: &[ArrayRef]) -> KeyIndex {
        KeyIndex::build(keys, &BuildOptions::default()).unwrap()
    }

    #[test]
    fn a_word_is_as_narrow_as_distances_make_it() {
        let far = |row: i64| 4_000_000_000 + row * 1_000_000;
        let near = longs((0..1000).map(|row| far(row % 7)));
        let wide = longs((0..1000).map(far));
        let widest = longs((0..1000).map(|row| if row % 2 == 0 { i64::MAX } else { i64::MIN }));
        let layout = |keys: &[&ArrayRef]| {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| Arc::clone(key)).collect();
            index(&keys).layout()
        };
        assert_eq!(layout(&[&wide, &near]), KeyLayout::Fixed8);
        assert_eq!(layout(&[&near, &texts("B")]), KeyLayout::Fixed8);
        assert_eq!(layout(&[&wide, &texts("of twelve")]), KeyLayout::Fixed16);
        assert_eq!(
            layout(&[&near, &texts("of more than sixteen")]),
            KeyLayout::Fixed8
        );
        assert_eq!(layout(&[&widest, &near]), KeyLayout::Fixed16);
        // Without distances these would be rows.
        assert_eq!(layout(&[&widest, &near, &near]), KeyLayout::Fixed16);
        assert_eq!(layout(&[&widest, &widest, &widest]), KeyLayout::Rows);
    }

    #[test]
    fn values_beyond_the_table_s_find_nothing() {
        let number: ArrayRef = Arc::new(Int32Array::from(vec![3; 4]));
        let table = index(&[longs([100, 104, 101, 102]), Arc::clone(&number)]);
        assert_eq!(table.layout(), KeyLayout::Fixed8);
        let mut heads = Vec::new();
        // One that differs by 2³² from the first would have the same word.
        let stream = [longs([104, 100 + (1 << 32), 99, i64::MIN]), number];
        table.locate(&stream, None, &mut heads).unwrap();
        assert_eq!(heads, [1, NO_ROW, NO_ROW, NO_ROW]);
    }

    #[test]
    fn decimals_are_whole_numbers() {
        let decimals = |values: Vec<i128>| -> ArrayRef { Arc::new(Decimal128Array::from(values)) };
        let dense = index(&[decimals(vec![-5, 12, 3])]);
        assert_eq!(dense.layout(), KeyLayout::Dense);
        let sparse = index(&[decimals(vec![-5, 12 << 60, 3])]);
        assert_eq!(sparse.layout(), KeyLayout::Fixed8);
        let widest = index(&[decimals(vec![i128::MIN, i128::MAX, 3])]);
        assert_eq!(widest.layout(), KeyLayout::Fixed16);
        for table in [dense, sparse, widest] {
            let mut heads = Vec::new();
            let stream = decimals(vec![3, -5 + (1 << 64), -6, i128::MIN + 1]);
            table.locate(&[stream], None, &mut heads).unwrap();
            assert_eq!(heads, [2, NO_ROW, NO_ROW, NO_ROW]);
        }
    }
}
