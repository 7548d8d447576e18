//! Ranks: a string in a tuple stands as the row id of its first occurrence.
//!
//! ```text
//!   (account, currency)         an index of the currencies alone       a word of 12 bytes
//!   (7, "Swiss franc")   ──►    "Swiss franc" ──► row 3          ──►   7 │ 3
//! ```
//!
//! So a tuple with strings of any length fits a word, where encoding it as a row would cost
//! several times as much. A probe string that the build side has not at all is a misfit.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::ScalarBuffer;

use super::KeyIndex;
use super::layout::BuildOptions;
use crate::key::class::KeyClass;
use crate::key::words::{KeyWord, Place};
use crate::{KernelError, NO_ROW, NullEquality};

/// The bytes of a rank.
const RANK_BYTES: u32 = 4;

/// The indexes of the ranked columns of a tuple, by position.
pub(super) struct Ranks(Vec<Option<Box<KeyIndex>>>);

impl Ranks {
    /// Chooses the columns to rank, so that the tuple fits a word; nothing where it fits without,
    /// cannot, or is no tuple. `places` are the columns' in a word, where they have one.
    pub(super) fn build(
        columns: &[ArrayRef],
        classes: &[KeyClass],
        places: &[Option<Place>],
        null_bytes: u32,
        options: &BuildOptions,
    ) -> Result<Option<Self>, KernelError> {
        let mut widths: Vec<u32> = places
            .iter()
            .map(|place| place.map_or(u32::MAX, Place::bytes))
            .collect();
        let total = |widths: &[u32]| {
            widths
                .iter()
                .fold(null_bytes, |sum, width| sum.saturating_add(*width))
        };
        if columns.len() < 2 || total(&widths) <= u128::BYTES {
            return Ok(None);
        }
        let mut ranked = vec![false; columns.len()];
        while total(&widths) > u128::BYTES {
            let can_shrink = |at: &usize| widths[*at] > RANK_BYTES && classes[*at].word_bytes().is_none();
            let Some(widest) = (0..columns.len()).filter(can_shrink).max_by_key(|at| widths[*at]) else {
                return Ok(None);
            };
            widths[widest] = RANK_BYTES;
            ranked[widest] = true;
        }
        let options = BuildOptions {
            null_equality: NullEquality::NullEqualsNothing,
            layout: None,
            ..*options
        };
        let rank = |(column, ranked): (&ArrayRef, bool)| match ranked {
            true => {
                let mut index = KeyIndex::build(std::slice::from_ref(column), &options)?;
                index.forget_chains();
                Ok(Some(Box::new(index)))
            }
            false => Ok(None),
        };
        let indexes = columns.iter().zip(ranked).map(rank);
        Ok(Some(Self(indexes.collect::<Result<_, KernelError>>()?)))
    }

    /// Says whether a column is ranked.
    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(Option::is_some)
    }

    /// Puts ranks in the place of ranked columns, and notes the rows whose strings have none.
    pub(super) fn replace(
        &self,
        columns: &[ArrayRef],
        misfits: &mut Vec<u32>,
    ) -> Result<Vec<ArrayRef>, KernelError> {
        let replace = |(column, index): (&ArrayRef, &Option<Box<KeyIndex>>)| {
            let Some(index) = index else {
                return Ok(Arc::clone(column));
            };
            let mut heads = Vec::new();
            let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            index.locate(std::slice::from_ref(column), None, &mut heads)?;
            let is_null = |row: u32| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row as usize));
            let missing = (0_u32..).zip(&heads).filter(|(_, head)| **head == NO_ROW);
            misfits.extend(missing.map(|(row, _)| row).filter(|row| !is_null(*row)));
            Ok(Arc::new(UInt32Array::new(ScalarBuffer::from(heads), nulls)) as ArrayRef)
        };
        columns.iter().zip(&self.0).map(replace).collect()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.iter().flatten().map(|index| index.heap_bytes()).sum()
    }
}
