//! The finder: one table of the five layouts, chosen when the index is built.

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::byte_table::ByteTable;
use super::chain::Chains;
use super::cluster_table::ClusterTable;
use super::dense::{DenseTable, KeyRange};
use super::fill::Rows;
use super::layout::{BuildOptions, KeyLayout, KeyShape};
use super::row_table::RowTable;
use super::word_table::WordTable;
use crate::KernelError;
use crate::key::hash::KeyHasher;
use crate::key::words::WordPlan;

/// The table of one layout.
pub(super) enum Finder {
    Dense(DenseTable, WordPlan),
    Fixed8(WordTable<u64, 5>, WordPlan),
    Fixed16(WordTable<u128, 3>, WordPlan),
    /// As `Fixed8` and `Fixed16`, over rows that carry their keys.
    Clustered8(ClusterTable<u64>, WordPlan),
    Clustered16(ClusterTable<u128>, WordPlan),
    Bytes(ByteTable),
    Rows(RowTable),
}

impl Finder {
    /// Builds the table of the layout that a shape, the keys' range and the options name.
    pub(super) fn build(
        shape: KeyShape,
        columns: &[ArrayRef],
        types: &[DataType],
        rows: &Rows<'_, ()>,
        options: &BuildOptions,
    ) -> Result<(Self, Chains), KernelError> {
        let hasher = KeyHasher::new(options.hash_mask);
        let words_are_keys = Rows {
            count: rows.count,
            valid: rows.valid,
            same: |_, _| true,
            parallel: rows.parallel,
        };
        Ok(match shape {
            KeyShape::Word(plan, sign) => {
                let words = plan.encode::<u64>(columns, rows.count, &mut Vec::new());
                let range = sign.and_then(|signed| KeyRange::of(&words, rows.valid, signed));
                if let Some(range) = dense_range(range, rows.count, options.layout)? {
                    let (table, chains) = DenseTable::build(&words, range, rows.valid);
                    return Ok((Self::Dense(table, plan), chains));
                }
                let (table, chains) = WordTable::build(&words, hasher, &words_are_keys);
                drop(words);
                (Self::Fixed8(table, plan), chains)
            }
            KeyShape::WideWord(plan) => {
                let words = plan.encode::<u128>(columns, rows.count, &mut Vec::new());
                let (table, chains) = WordTable::build(&words, hasher, &words_are_keys);
                (Self::Fixed16(table, plan), chains)
            }
            KeyShape::Bytes => {
                let (table, chains) = ByteTable::build(&columns[0], hasher, rows)?;
                (Self::Bytes(table), chains)
            }
            KeyShape::Row => {
                let (table, chains) = RowTable::build(columns, types, hasher, rows)?;
                (Self::Rows(table), chains)
            }
        })
    }

    pub(super) fn layout(&self) -> KeyLayout {
        match self {
            Finder::Dense(..) => KeyLayout::Dense,
            Finder::Fixed8(..) | Finder::Clustered8(..) => KeyLayout::Fixed8,
            Finder::Fixed16(..) | Finder::Clustered16(..) => KeyLayout::Fixed16,
            Finder::Bytes(_) => KeyLayout::Bytes,
            Finder::Rows(_) => KeyLayout::Rows,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Finder::Dense(table, _) => table.heap_bytes(),
            Finder::Fixed8(table, _) => table.heap_bytes(),
            Finder::Fixed16(table, _) => table.heap_bytes(),
            Finder::Clustered8(table, _) => table.heap_bytes(),
            Finder::Clustered16(table, _) => table.heap_bytes(),
            Finder::Bytes(table) => table.heap_bytes(),
            Finder::Rows(table) => table.heap_bytes(),
        }
    }
}

/// Returns the range where the dense layout is to be used.
fn dense_range(
    range: Option<KeyRange>,
    rows: usize,
    layout: Option<KeyLayout>,
) -> Result<Option<KeyRange>, KernelError> {
    match (layout, range) {
        (None, Some(range)) if range.is_dense(rows) => Ok(Some(range)),
        (Some(KeyLayout::Dense), Some(range)) if range.is_possible() => Ok(Some(range)),
        (Some(KeyLayout::Dense), _) => Err(not_possible(layout, "their range is too wide")),
        _ => Ok(None),
    }
}

/// Names the layout that was asked for and what stands against it.
pub(super) fn not_possible(layout: Option<KeyLayout>, reason: &'static str) -> KernelError {
    // Without a forced layout every key has one: rows hold anything.
    KernelError::LayoutNotPossible {
        layout: layout.unwrap_or(KeyLayout::Rows),
        reason,
    }
}
