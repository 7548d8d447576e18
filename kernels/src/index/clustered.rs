//! Clustered rows: a table's rows copied to places that a perfect hash names, with their keys among them.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;

use super::chain::Chains;
use super::cluster_table::ClusterTable;
use super::filter::FilterGate;
use super::finder::Finder;
use super::locate::check_key_types;
use super::pilots::Pilots;
use super::{KeyIndex, common_length, union_nulls};
use crate::gather::Interleaved;
use crate::key::class::decode_all;
use crate::key::hash::KeyHasher;
use crate::key::words::{KeyWord, WordPlan};
use crate::{KernelError, NO_ROW, Picks, RowId};

/// A copy of a table's columns, row by row in an order that their keys' hashes name, and an index over
/// it: finding a key and fetching its row then cost one cache miss together.
///
/// Rows are named by their places in the copy; [`table_rows`](Self::table_rows) leads back to the
/// table's own row ids. The rows of one key lie side by side in their old order, so joins give the
/// same rows in the same order as with the index it was made of.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Float64Array, Int64Array, StringViewArray};
/// use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex, KeyLayout, Picks};
///
/// let key: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]));
/// let name: ArrayRef = Arc::new(StringViewArray::from(vec!["half", "three", "five"]));
/// let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
/// let rows = ClusteredRows::new(&index, &[key.clone()], &[name.clone()])?.unwrap();
///
/// let mut heads = Vec::new();
/// rows.index().locate(&[key], None, &mut heads)?;
/// assert_eq!(rows.table_rows(&heads), [0, 1, 2]);
/// assert_eq!(&rows.gather(&Picks::new(&heads))?[0], &name);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug)]
pub struct ClusteredRows {
    index: KeyIndex,
    rows: Arc<Interleaved>,
    /// The table's row at each place.
    order: Vec<RowId>,
}

impl ClusteredRows {
    /// Says whether rows can be clustered by an index: those of layouts `Fixed8` and `Fixed16` can.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex};
    ///
    /// let dense: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// let index = KeyIndex::build(&[dense], &BuildOptions::default())?;
    /// assert!(!ClusteredRows::serve(&index));
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn serve(index: &KeyIndex) -> bool {
        matches!(index.finder, Finder::Fixed8(..) | Finder::Fixed16(..))
    }

    /// Copies columns to places of the keys of an index over `keys`. Returns nothing where the index is of a
    /// layout that gains nothing, all but `Fixed8` and `Fixed16`, or where keys have equal hashes of 64 bits.
    ///
    /// 90 to 120 ns a row. Rows that the index left out, for their NULL keys, are left
    /// out here.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyCount`], [`KernelError::KeyTypeMismatch`] and
    /// [`KernelError::LengthMismatch`] for columns that do not fit the index, and
    /// [`KernelError::NotInterleavable`] for columns that [`Interleaved`] does not take.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex, KeyLayout};
    ///
    /// let key: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
    /// assert_eq!(index.layout(), KeyLayout::Dense);
    /// assert!(ClusteredRows::new(&index, &[key.clone()], &[key])?.is_none());
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn new(
        index: &KeyIndex,
        keys: &[ArrayRef],
        columns: &[ArrayRef],
    ) -> Result<Option<Self>, KernelError> {
        check_key_types(&index.types, keys)?;
        let found = common_length(keys)?;
        if found != index.row_count {
            return Err(KernelError::LengthMismatch {
                what: "a key column of an index",
                expected: index.row_count,
                found,
            });
        }
        let mut decoded = decode_all(keys)?;
        if let Some(ranks) = &index.ranks {
            decoded = ranks.replace(&decoded, &mut Vec::new())?.into();
        }
        let valid = union_nulls(&decoded).filter(|_| index.nulls_decide);
        let making = Making {
            index,
            keys: &decoded,
            columns,
            valid: valid.as_ref(),
        };
        match &index.finder {
            Finder::Fixed8(table, plan) => {
                let clustered = |table, plan| Finder::Clustered8(table, plan);
                making.make::<u64>(plan, table.hasher(), clustered)
            }
            Finder::Fixed16(table, plan) => {
                let clustered = |table, plan| Finder::Clustered16(table, plan);
                making.make::<u128>(plan, table.hasher(), clustered)
            }
            _ => Ok(None),
        }
    }

    /// Returns the index over the places of this copy.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex};
    /// let key: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.5]));
    /// let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
    /// let rows = ClusteredRows::new(&index, &[key.clone()], &[key])?.unwrap();
    /// assert_eq!(rows.index().next_row(0), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// Gathers places of all columns, in the order they were given; a missing row gives NULL.
    ///
    /// # Errors
    ///
    /// [`KernelError::RowOutOfRange`] for a place past the end.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Array, ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex, NO_ROW, Picks};
    /// # let key: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    /// # let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
    /// let rows = ClusteredRows::new(&index, &[key.clone()], &[key])?.unwrap();
    /// assert_eq!(rows.gather(&Picks::new(&[0, NO_ROW]))?[0].null_count(), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn gather(&self, picks: &Picks<'_>) -> Result<Vec<ArrayRef>, KernelError> {
        // Of a key's rows only the first was looked at when it was found.
        self.rows.gather_asking(picks, self.index.duplicate_rows() > 0)
    }

    /// Returns the table's row ids of places; a missing row, or a place past the end, stays missing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex, NO_ROW};
    /// # let key: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    /// # let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
    /// let rows = ClusteredRows::new(&index, &[key.clone()], &[key])?.unwrap();
    /// assert_eq!(rows.table_rows(&[0, NO_ROW]), [0, NO_ROW]);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn table_rows(&self, places: &[RowId]) -> Vec<RowId> {
        let row = |place: &RowId| self.order.get(*place as usize).copied().unwrap_or(NO_ROW);
        places.iter().map(row).collect()
    }

    /// Returns the bytes of the copy and its index.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Float64Array};
    /// # use fletching_kernels::{BuildOptions, ClusteredRows, KernelError, KeyIndex};
    /// let key: ArrayRef = Arc::new(Float64Array::from_iter_values((0..10_000).map(f64::from)));
    /// let index = KeyIndex::build(&[key.clone()], &BuildOptions::default())?;
    /// let rows = ClusteredRows::new(&index, &[key.clone()], &[key])?.unwrap();
    /// assert!(rows.heap_bytes() < (8 + 8 + 3 + 4) * 10_000);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes() + self.index.heap_bytes() + self.order.capacity() * size_of::<RowId>()
    }
}

/// What clustered rows are made of.
struct Making<'a> {
    index: &'a KeyIndex,
    /// Decoded, with ranks in place.
    keys: &'a [ArrayRef],
    columns: &'a [ArrayRef],
    /// Rows whose keys the table holds, where NULLs are kept out of it.
    valid: Option<&'a NullBuffer>,
}

impl Making<'_> {
    fn make<W: KeyWord>(
        &self,
        plan: &WordPlan,
        hasher: &KeyHasher,
        finder: impl Fn(ClusterTable<W>, WordPlan) -> Finder,
    ) -> Result<Option<ClusteredRows>, KernelError> {
        let words = plan.encode::<W>(self.keys, self.index.row_count, &mut Vec::new());
        let firsts = self.first_rows();
        let hashes = firsts.iter().map(|row| words[*row as usize].hash(hasher));
        let Some((pilots, keys)) = Pilots::place(&hashes.collect::<Vec<u64>>()) else {
            return Ok(None);
        };
        let placed = self.place_rows(&firsts, &keys);
        drop(keys);

        let mut places = vec![NO_ROW; self.index.row_count];
        for (place, row) in (0..).zip(&placed.order) {
            places[*row as usize] = place;
        }
        let rows = Interleaved::clustered(self.columns, &words, &places, &placed.order)?;
        let rows = Arc::new(rows);
        let table = ClusterTable {
            pilots,
            starts: placed.starts,
            rows: Arc::clone(&rows),
            hasher: hasher.clone(),
            gate: FilterGate::new(firsts.len()),
            word: PhantomData,
        };
        let index = KeyIndex {
            types: self.index.types.clone(),
            ranks: self.index.ranks.clone(),
            finder: finder(table, plan.clone()),
            chains: placed.chains,
            row_count: placed.order.len(),
            null_head: placed.null_head,
            nulls_decide: self.index.nulls_decide,
        };
        Ok(Some(ClusteredRows {
            index,
            rows,
            order: placed.order,
        }))
    }

    /// Returns the first row of each key in the table, ascending.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row count was checked to fit row ids"
    )]
    fn first_rows(&self) -> Vec<RowId> {
        let rows = 0..self.index.row_count as RowId;
        let later = self.index.chains.later_rows();
        let is_first = |row: &RowId| {
            let row = *row as usize;
            let is_later = later.as_ref().is_some_and(|later| later.value(row));
            !is_later && self.valid.is_none_or(|valid| valid.is_valid(row))
        };
        match (&later, self.valid) {
            (None, None) => rows.collect(),
            _ => rows.filter(is_first).collect(),
        }
    }

    /// Puts the rows of each key side by side, in the order of the keys, and those of a NULL key at
    /// the end.
    fn place_rows(&self, firsts: &[RowId], keys: &[u32]) -> Placed {
        let chains = &self.index.chains;
        let first_of = |key: &u32| firsts[*key as usize];
        let has_null = self.index.null_head != NO_ROW;
        if chains.duplicates() == 0 && !has_null {
            return Placed {
                order: keys.iter().map(first_of).collect(),
                starts: None,
                chains: Chains::of_keys(keys.len()),
                null_head: NO_ROW,
            };
        }
        let rows = keys.len() + chains.duplicates() + usize::from(has_null);
        let mut run = Runs {
            order: Vec::with_capacity(rows),
            starts: Vec::with_capacity(keys.len() + 1),
            goes_on: vec![0; rows.div_ceil(64)],
        };
        keys.iter().map(first_of).for_each(|first| run.add(chains, first));
        let mut null_head = NO_ROW;
        if has_null {
            run.add(chains, self.index.null_head);
            null_head = run.starts.pop().unwrap_or(NO_ROW);
        }
        run.starts.push(if has_null { null_head } else { run.end() });
        Placed {
            order: run.order,
            starts: Some(run.starts),
            chains: Chains::of_runs(chains.keys(), chains.duplicates(), run.goes_on),
            null_head,
        }
    }
}

/// Where rows go.
struct Placed {
    order: Vec<RowId>,
    starts: Option<Vec<RowId>>,
    chains: Chains,
    null_head: RowId,
}

/// Rows of keys, run after run.
struct Runs {
    order: Vec<RowId>,
    starts: Vec<RowId>,
    /// A bit for each row that another one of its key follows.
    goes_on: Vec<u64>,
}

impl Runs {
    /// Returns the place after the last row so far.
    #[expect(clippy::cast_possible_truncation, reason = "there are as many places as rows")]
    fn end(&self) -> RowId {
        self.order.len() as RowId
    }

    /// Adds the rows of a key.
    fn add(&mut self, chains: &Chains, first: RowId) {
        self.starts.push(self.end());
        let mut row = first;
        while row != NO_ROW {
            let next = chains.next(row);
            let place = self.order.len();
            self.order.push(row);
            if let Some(word) = self.goes_on.get_mut(place / 64) {
                *word |= u64::from(next != NO_ROW) << (place % 64);
            }
            row = next;
        }
    }
}
