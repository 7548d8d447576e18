//! The index: key → row ids, built in bulk and probed in bulk.
//!
//! ```text
//!   build:   columns ─ decode ─ choose a layout ─ encode a column at a time ─ fill the table
//!                                                          rows of one key: chain.rs
//!   locate:  columns ─ decode ─ encode ─ probe block by block ─ NULLs ─ heads
//!
//!   layout    file             a key is …
//!   Dense     dense.rs         the position in an array of row ids
//!   Fixed8    word_table.rs    a u64  │ (what of a column is in it: places.rs)
//!   Fixed16   word_table.rs    a u128 │ inline in slots of their own (perfect.rs), or in buckets of one
//!                                       cache line (bucket.rs) where they are many
//!   Bytes     byte_table.rs    a view           │ behind 32-bit tags in such buckets
//!   Rows      row_table.rs     an arrow-row row │ (tag_table.rs)
//!
//!   clustered.rs    rows copied in the order of a Fixed8 or Fixed16 index, their keys among
//!                   them (cluster_table.rs): found and fetched with one cache miss, where a
//!                   perfect hash (pilots.rs) says; in one pass, where that pays (look_up.rs)
//! ```

mod bucket;
mod byte_table;
mod chain;
mod cluster_table;
mod clustered;
mod dense;
mod fill;
mod filter;
mod finder;
mod layout;
mod locate;
mod look_up;
mod part;
mod parted;
mod perfect;
mod pilots;
mod places;
mod ranks;
mod row_table;
mod tag_table;
mod word_table;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

pub use self::clustered::ClusteredRows;
pub use self::layout::{BuildOptions, KeyLayout};
pub use self::look_up::{LookUp, LookedUp};

pub(crate) use self::bucket::{BLOCK_ROWS, home_of, low_half};
pub(crate) use self::locate::{check_key_types, locate_dictionary};
pub(crate) use self::perfect::PerfectTable;
pub(crate) use self::row_table::plain_columns;

use self::chain::Chains;
use self::fill::Rows;
use self::finder::{Finder, not_possible};
use self::layout::KeyShape;
use self::places::Placed;
use self::ranks::Ranks;
use crate::key::class::{decode_all, key_type};
use crate::{KernelError, NO_ROW, NullEquality, RowId};

/// Maps the keys of a build side (a table) to its row ids.
///
/// Immutable once built, and shared freely between threads. Rows with the same key form a chain
/// in ascending order: [`locate`](Self::locate) gives its first row, [`next_row`](Self::next_row)
/// the others. See [`KeyLayout`] for how keys are stored and what that costs.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, StringArray};
/// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, NO_ROW};
///
/// let table: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("a")]));
/// let index = KeyIndex::build(&[table], &BuildOptions::default())?;
/// assert_eq!((index.row_count(), index.key_count(), index.duplicate_rows()), (4, 2, 1));
///
/// let stream: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), None]));
/// let mut heads = Vec::new();
/// index.locate(&[stream], None, &mut heads)?;
/// assert_eq!(heads, [1, 0, NO_ROW]);
/// assert_eq!(index.next_row(0), 3);
/// assert_eq!(index.next_row(3), NO_ROW);
/// # Ok::<(), KernelError>(())
/// ```
pub struct KeyIndex {
    types: Vec<DataType>,
    /// What stands for long strings of a tuple in its words.
    ranks: Option<Arc<Ranks>>,
    finder: Finder,
    chains: Chains,
    row_count: usize,
    /// The first row whose key is NULL, where a single NULL key matches NULL.
    null_head: RowId,
    /// Whether a NULL in any probe column decides the answer before the table is asked.
    nulls_decide: bool,
}

impl KeyIndex {
    /// Builds an index over key columns of equal length; row `i` of them is row id `i`.
    ///
    /// Rows with a NULL in a key column are left out, or, under
    /// [`NullEqualsNull`](NullEquality::NullEqualsNull), indexed like others. Any scalar type can
    /// be a key, also as a dictionary or run-end encoded, and nested types as far as arrow-row
    /// encodes them.
    ///
    /// Takes the keys a column at a time; 8-byte columns are not copied. 2 ns a row for
    /// `Dense`, 20 to 100 for the others, by size.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyCount`] without columns, [`KernelError::LengthMismatch`] for columns of
    /// different lengths, [`KernelError::TooManyRows`] beyond `u32::MAX` rows,
    /// [`KernelError::UnsupportedKeyType`] for types that cannot be keys, and
    /// [`KernelError::LayoutNotPossible`] where the forced layout does not fit.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array, Int32Array};
    /// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, KeyLayout};
    ///
    /// let account: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 2]));
    /// let currency: ArrayRef = Arc::new(Int32Array::from(vec![978, 840, 978]));
    /// let index = KeyIndex::build(&[account, currency], &BuildOptions::default())?;
    /// assert_eq!(index.layout(), KeyLayout::Fixed8);
    /// assert!(index.is_unique());
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn build(keys: &[ArrayRef], options: &BuildOptions) -> Result<Self, KernelError> {
        let row_count = common_length(keys)?;
        if row_count > NO_ROW as usize {
            return Err(KernelError::TooManyRows {
                rows: row_count,
                rows_max: NO_ROW as usize,
            });
        }
        let types = keys
            .iter()
            .enumerate()
            .map(|(position, column)| key_type(position, column.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let columns = decode_all(keys)?.into_owned();

        let null_equals_null = options.null_equality == NullEquality::NullEqualsNull;
        let nulls = union_nulls(&columns);
        let is_single = columns.len() == 1;
        let null_bits = null_equals_null && !is_single && nulls.is_some();
        let is_binary = matches!(types.as_slice(), [DataType::FixedSizeBinary(_)]);
        let Placed {
            columns,
            classes,
            places,
            ranks,
        } = Placed::of(columns, &types, null_bits, options)?;
        let shape = KeyShape::of(&classes, &places, null_bits, options.layout, is_binary)
            .map_err(|reason| not_possible(options.layout, reason))?;
        let nulls_decide = is_single
            || !null_equals_null
            || matches!(&shape, KeyShape::Word(plan, _) | KeyShape::WideWord(plan) if !plan.has_null_bits());

        let rows = Rows {
            count: row_count,
            valid: nulls.as_ref().filter(|_| nulls_decide),
            same: (),
            parallel: options.parallel,
        };
        let (finder, mut chains) = Finder::build(shape, &columns, &types, &rows, options)?;
        let mut null_head = NO_ROW;
        if let (true, true, Some(nulls)) = (is_single, null_equals_null, &nulls) {
            null_head = chain_nulls(nulls, &mut chains);
        }
        Ok(Self {
            types,
            ranks: ranks.map(Arc::new),
            finder,
            chains,
            row_count,
            null_head,
            nulls_decide,
        })
    }

    /// Returns the layout the keys are stored in.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex, KeyLayout};
    /// let keys: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    /// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
    /// assert_eq!(index.layout(), KeyLayout::Fixed8);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn layout(&self) -> KeyLayout {
        self.finder.layout()
    }

    /// Returns the number of rows of the build side, indexed or not; row ids are below it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    /// assert_eq!(KeyIndex::build(&[keys], &BuildOptions::default())?.row_count(), 2);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Returns the number of distinct keys indexed. A key with NULLs counts only where NULL
    /// equals NULL.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1)]));
    /// assert_eq!(KeyIndex::build(&[keys], &BuildOptions::default())?.key_count(), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.chains.keys()
    }

    /// Says whether every indexed key occurs once, so that a probe row has one match at most.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    /// assert!(KeyIndex::build(&[keys], &BuildOptions::default())?.is_unique());
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.chains.duplicates() == 0
    }

    /// Returns the number of indexed rows beyond the first of their key.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 2]));
    /// assert_eq!(KeyIndex::build(&[keys], &BuildOptions::default())?.duplicate_rows(), 2);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn duplicate_rows(&self) -> usize {
        self.chains.duplicates()
    }

    /// Returns the first row whose key occurs again, and the row where it does: an example for
    /// a warning.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9, 8, 7]));
    /// assert_eq!(KeyIndex::build(&[keys], &BuildOptions::default())?.first_duplicate(), Some((0, 4)));
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn first_duplicate(&self) -> Option<(RowId, RowId)> {
        self.chains.first_duplicate()
    }

    /// Returns the bytes the index holds on the heap, without buffers it shares with the key
    /// columns: at most 16 a row for keys of up to 8 bytes, and 22 in a table of up to 16,384 keys,
    /// which is kept sparse; 1 more once a filter was made for probes that mostly found nothing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex};
    /// let keys: ArrayRef = Arc::new(Float64Array::from_iter_values((0..100_000).map(f64::from)));
    /// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
    /// assert!(index.heap_bytes() <= 16 * 100_000 + 64);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let ranks = self.ranks.as_ref().map_or(0, |ranks| ranks.heap_bytes());
        self.finder.heap_bytes() + self.chains.heap_bytes() + ranks
    }

    /// Returns how many columns a key has.
    pub(crate) fn key_columns(&self) -> usize {
        self.types.len()
    }

    /// Forgets all rows but the first of each key.
    fn forget_chains(&mut self) {
        self.chains = Chains::new(0);
    }

    /// Returns the following row with the same key, or [`NO_ROW`] after the last one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex, NO_ROW};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
    /// assert_eq!((index.next_row(0), index.next_row(2)), (2, NO_ROW));
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    #[inline(always)]
    pub fn next_row(&self, row: RowId) -> RowId {
        self.chains.next(row)
    }

    /// Returns how many rows of the key of `row` are known to lie side by side from it on.
    #[inline(always)]
    pub(crate) fn run(&self, row: RowId) -> u32 {
        self.chains.run(row)
    }

    /// Has the chains of some rows brought into the caches.
    pub(crate) fn ask_chains(&self, rows: &[RowId]) {
        self.chains.ask(rows);
    }
}

impl std::fmt::Debug for KeyIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyIndex")
            .field("layout", &self.layout())
            .field("types", &self.types)
            .field("row_count", &self.row_count)
            .field("key_count", &self.key_count())
            .field("heap_bytes", &self.heap_bytes())
            .finish()
    }
}

/// Returns the one length of key columns.
pub(crate) fn common_length(keys: &[ArrayRef]) -> Result<usize, KernelError> {
    let Some(first) = keys.first() else {
        return Err(KernelError::KeyCount {
            expected: 1,
            found: 0,
        });
    };
    match keys.iter().find(|column| column.len() != first.len()) {
        None => Ok(first.len()),
        Some(other) => Err(KernelError::LengthMismatch {
            what: "a key column",
            expected: first.len(),
            found: other.len(),
        }),
    }
}

/// Returns which rows have no NULL in any column, or nothing where no row has one.
pub(crate) fn union_nulls(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns
        .iter()
        .fold(None, |nulls, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        })
        .filter(|nulls| nulls.null_count() > 0)
}

/// Chains the rows of a single NULL key and returns the first.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the row count was checked to fit row ids"
)]
fn chain_nulls(nulls: &NullBuffer, chains: &mut Chains) -> RowId {
    let mut head = NO_ROW;
    for row in (0..nulls.len()).rev().filter(|row| nulls.is_null(*row)) {
        match head {
            NO_ROW => chains.count_key(),
            head => chains.link(row as RowId, head),
        }
        head = row as RowId;
    }
    head
}
