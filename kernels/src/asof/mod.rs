//! As-of joins: for each probe row the one row of its key that is nearest in time.
//!
//! ```text
//!   build:   keys ─► a group for each row (groups.rs)  ┐
//!            times ─► plain numbers       (times.rs)   ├─► rows by group, each group by time
//!                                                      ┘
//!   locate:  keys ─► group ─┐
//!            times ─────────┴─► gallop from the group's cursor (search.rs, cursor.rs) ─► row, or NO_ROW
//! ```
//!
//! A temporal join, where a table's rows are versions of its keys and each is valid until the
//! next, is the same search with [`AsOfOp::AtOrBefore`].

mod condition;
mod cursor;
mod groups;
mod order;
mod search;
mod short_texts;
mod times;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

pub use self::condition::{AsOfCondition, AsOfOp, AsOfTolerance};

use self::groups::Groups;
use self::order::sort_rows;
use self::search::{Probes, Sorted, Spans, search};
use self::times::{Time, TimeClass};
use crate::join::RowChains;
use crate::key::class::{decode, plain_type};
use crate::{BuildOptions, KernelError, KeyIndex, NO_ROW, RowId};

/// Maps the keys of a build side (a table) to its rows in the order of a time column.
///
/// Immutable once built, and shared freely between threads. Each key's rows are sorted by time;
/// rows at the same time stay in the order of their row ids, which is the order they arrived in,
/// and the last of them is the one that matches. A row with a NULL in a key (unless NULL equals
/// NULL) or in its time is not indexed. Without key columns all rows are one group.
///
/// Holds 4 bytes a row and the time's 8 (16 for wide decimals), and an index of the distinct keys.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, StringArray};
/// use fletching_kernels::{AsOfIndex, AsOfOp, BuildOptions, KernelError, NO_ROW};
///
/// let symbol: ArrayRef = Arc::new(StringArray::from(vec!["A", "B", "A", "A"]));
/// let time: ArrayRef = Arc::new(Int64Array::from(vec![10, 10, 20, 20]));
/// let quotes = AsOfIndex::build(&[symbol], &time, &BuildOptions::default())?;
///
/// let symbol: ArrayRef = Arc::new(StringArray::from(vec!["A", "A", "A", "B", "C"]));
/// let time: ArrayRef = Arc::new(Int64Array::from(vec![9, 10, 25, 11, 50]));
/// let mut rows = Vec::new();
/// quotes.locate(&[symbol], &time, &AsOfOp::AtOrBefore.into(), &mut rows)?;
/// assert_eq!(rows, [NO_ROW, 0, 3, 1, NO_ROW]);
/// # Ok::<(), KernelError>(())
/// ```
pub struct AsOfIndex {
    groups: Groups,
    spans: Spans,
    rows: Store,
    time_type: DataType,
    row_count: usize,
    was_sorted: bool,
}

/// The rows, by the number their times became.
enum Store {
    Whole(Sorted<i64>),
    Wide(Sorted<i128>),
    Float(Sorted<f64>),
}

impl AsOfIndex {
    /// Builds an index over key columns and a time column of equal length; row `i` of them is row
    /// id `i`.
    ///
    /// Keys may be as for [`KeyIndex::build`](crate::KeyIndex::build), whose options these are.
    /// Times may be integers, dates, times, timestamps, durations, decimals of up to 38 digits and
    /// floats, of which a NaN counts as NULL. Where each key's rows come in the order of time, as
    /// they do from most sources, nothing is sorted.
    ///
    /// About 30 ns a row for a thousand short texts in the order of time, half of them for the keys, and
    /// as much again where rows must be sorted; see `as_of/build` in `benches/benches/kernels.rs`.
    ///
    /// # Errors
    ///
    /// [`KernelError::UnsupportedTimeType`] for a time of another type,
    /// [`KernelError::LengthMismatch`] for columns of different lengths, and what
    /// [`KeyIndex::build`](crate::KeyIndex::build) refuses.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    ///
    /// let time: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(1)]));
    /// let index = AsOfIndex::build(&[], &time, &BuildOptions::default())?;
    /// assert_eq!((index.row_count(), index.group_count()), (3, 1));
    /// assert!(!index.was_sorted());
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn build(keys: &[ArrayRef], time: &ArrayRef, options: &BuildOptions) -> Result<Self, KernelError> {
        let row_count = time.len();
        check_lengths(keys, row_count)?;
        if row_count > NO_ROW as usize {
            return Err(KernelError::TooManyRows {
                rows: row_count,
                rows_max: NO_ROW as usize,
            });
        }
        let time = decode(time)?;
        let time_type = plain_type(time.data_type());
        let Some(class) = TimeClass::of(&time_type) else {
            return Err(KernelError::UnsupportedTimeType { data_type: time_type });
        };
        let (groups, of_rows) = Groups::of_rows(keys, row_count, options)?;
        let nulls = present_nulls(&time);
        let unsorted = Unsorted {
            groups: &of_rows,
            count: groups.count,
            nulls: nulls.as_ref(),
            parallel: options.parallel,
        };
        let (rows, starts, was_sorted) = match class {
            TimeClass::Whole => unsorted.sort(&time, Store::Whole),
            TimeClass::Wide => unsorted.sort(&time, Store::Wide),
            TimeClass::Float => unsorted.sort(&time, Store::Float),
        };
        Ok(Self {
            groups,
            spans: Spans::new(starts),
            rows,
            time_type,
            row_count,
            was_sorted,
        })
    }

    /// Locates for each probe row the one row that matches it, or [`NO_ROW`].
    ///
    /// `heads` is cleared and filled with one entry for each probe row. Columns have the types
    /// that the index was built from, up to their encoding. A NULL in a key or time matches
    /// nothing (a NULL key does where the index was told so). Probe rows may come in any order; the
    /// nearer to the order of time, the faster.
    ///
    /// About 8 ns a row in the order of time and beyond that what the keys cost, see
    /// [`KeyIndex::locate`](crate::KeyIndex::locate): a dictionary's values are looked up once
    /// each. In no order 20 to 100 ns, by size. The index keeps 40 bytes a key for each
    /// thread that locates at once, of up to 65,536 keys.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyTypeMismatch`] and [`KernelError::LengthMismatch`] for columns that do not
    /// fit the index or one another, and what [`KeyIndex::locate`](crate::KeyIndex::locate) refuses.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{
    ///     AsOfCondition, AsOfIndex, AsOfOp, AsOfTolerance, BuildOptions, KernelError, NO_ROW,
    /// };
    ///
    /// let table: ArrayRef = Arc::new(Int64Array::from(vec![10, 20]));
    /// let index = AsOfIndex::build(&[], &table, &BuildOptions::default())?;
    /// let stream: ArrayRef = Arc::new(Int64Array::from(vec![Some(14), Some(15), Some(26), None]));
    /// let nearest = AsOfCondition {
    ///     op: AsOfOp::Nearest,
    ///     tolerance: Some(AsOfTolerance::whole(5)),
    /// };
    /// let mut rows = Vec::new();
    /// index.locate(&[], &stream, &nearest, &mut rows)?;
    /// assert_eq!(rows, [0, 0, NO_ROW, NO_ROW]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn locate(
        &self,
        keys: &[ArrayRef],
        time: &ArrayRef,
        condition: &AsOfCondition,
        heads: &mut Vec<RowId>,
    ) -> Result<(), KernelError> {
        let mut found = self.locate_each(keys, time, std::slice::from_ref(condition))?;
        *heads = found.pop().unwrap_or_default();
        Ok(())
    }

    /// Locates the same probe rows by several conditions: for each condition what
    /// [`locate`](Self::locate) finds, in their order.
    ///
    /// Keys are looked up once, and one walk along the rows serves all conditions: each one after the
    /// first costs about 2 ns a row; see the scenario `as-of` in `benches/scenarios`.
    ///
    /// # Errors
    ///
    /// As [`locate`](Self::locate).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, AsOfOp, BuildOptions, KernelError, NO_ROW};
    /// let table: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
    /// let index = AsOfIndex::build(&[], &table, &BuildOptions::default())?;
    /// let stream: ArrayRef = Arc::new(Int64Array::from(vec![5, 20]));
    /// let found = index.locate_each(&[], &stream, &[AsOfOp::Before.into(), AsOfOp::After.into()])?;
    /// assert_eq!(found, [[NO_ROW, 0], [0, 2]]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn locate_each(
        &self,
        keys: &[ArrayRef],
        time: &ArrayRef,
        conditions: &[AsOfCondition],
    ) -> Result<Vec<Vec<RowId>>, KernelError> {
        let mut groups = Vec::new();
        self.locate_groups(keys, time.len(), &mut groups)?;
        self.locate_each_in_groups(time, conditions, &groups)
    }

    /// Finds the rows that match probe rows of known groups by several conditions: the other half of
    /// [`locate_each`](Self::locate_each).
    pub(crate) fn locate_each_in_groups(
        &self,
        time: &ArrayRef,
        conditions: &[AsOfCondition],
        groups: &[RowId],
    ) -> Result<Vec<Vec<RowId>>, KernelError> {
        self.check_time(time)?;
        let time = decode(time)?;
        Ok(match &self.rows {
            Store::Whole(sorted) => self.search_each(sorted, &time, conditions, groups),
            Store::Wide(sorted) => self.search_each(sorted, &time, conditions, groups),
            Store::Float(sorted) => self.search_each(sorted, &time, conditions, groups),
        })
    }

    fn search_each<T: Time>(
        &self,
        sorted: &Sorted<T>,
        time: &ArrayRef,
        conditions: &[AsOfCondition],
        groups: &[RowId],
    ) -> Vec<Vec<RowId>> {
        let nulls = present_nulls(time);
        let probes = Probes {
            times: &T::read(time),
            nulls: nulls.as_ref(),
            groups,
        };
        search(sorted, &self.spans, probes, conditions)
    }

    /// Says for each of `rows` probe rows whether its key has any row, of whatever time.
    ///
    /// Costs what the keys cost in [`locate`](Self::locate), and a bit a row.
    ///
    /// # Errors
    ///
    /// As [`locate`](Self::locate).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, BooleanArray, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let key: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    /// let time: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    /// let index = AsOfIndex::build(&[key], &time, &BuildOptions::default())?;
    /// let probe: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
    /// assert_eq!(index.has_rows(&[probe], 3)?, BooleanArray::from(vec![true, false, false]));
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn has_rows(&self, keys: &[ArrayRef], rows: usize) -> Result<BooleanArray, KernelError> {
        let mut groups = Vec::new();
        self.locate_groups(keys, rows, &mut groups)?;
        let starts = &self.spans.starts;
        let has_rows = |group: &RowId| {
            let group = *group as usize;
            *starts.get(group).unwrap_or(&0) < *starts.get(group + 1).unwrap_or(&0)
        };
        Ok(groups.iter().map(|group| Some(has_rows(group))).collect())
    }

    /// Locates for each probe row the group of its key, or [`NO_ROW`]: the first half of
    /// [`locate`](Self::locate), which several conditions may share.
    pub(crate) fn locate_groups(
        &self,
        keys: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<RowId>,
    ) -> Result<(), KernelError> {
        check_lengths(keys, rows)?;
        if let (Some(short), [column]) = (&self.groups.short, keys)
            && short.locate(column, groups)
        {
            return Ok(());
        }
        match &self.groups.index {
            Some(index) => index.locate(keys, None, groups),
            None if keys.is_empty() => {
                groups.clear();
                groups.resize(rows, if self.groups.count > 0 { 0 } else { NO_ROW });
                Ok(())
            }
            None => Err(KernelError::KeyCount {
                expected: 0,
                found: keys.len(),
            }),
        }
    }

    fn check_time(&self, time: &ArrayRef) -> Result<(), KernelError> {
        let found = plain_type(time.data_type());
        if found.equals_datatype(&self.time_type) {
            return Ok(());
        }
        Err(KernelError::KeyTypeMismatch {
            position: self.groups.index.as_ref().map_or(0, KeyIndex::key_columns),
            expected: self.time_type.clone(),
            found,
        })
    }

    /// Returns the number of rows of the build side, indexed or not; row ids are below it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let time: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    /// assert_eq!(AsOfIndex::build(&[], &time, &BuildOptions::default())?.row_count(), 2);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Returns the number of distinct keys.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let column: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let index = AsOfIndex::build(&[column.clone()], &column, &BuildOptions::default())?;
    /// assert_eq!(index.group_count(), 2);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.count
    }

    /// Says whether each key's rows came in the order of time, so that nothing had to be sorted.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let time: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 2]));
    /// assert!(AsOfIndex::build(&[], &time, &BuildOptions::default())?.was_sorted());
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn was_sorted(&self) -> bool {
        self.was_sorted
    }

    /// Returns the last row of each key, ascending: of a table of versions, the current ones.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let key: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let time: ArrayRef = Arc::new(Int64Array::from(vec![2, 5, 1]));
    /// let index = AsOfIndex::build(&[key], &time, &BuildOptions::default())?;
    /// assert_eq!(index.last_rows(), [0, 1]);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn last_rows(&self) -> Vec<RowId> {
        let rows = match &self.rows {
            Store::Whole(sorted) => &sorted.rows,
            Store::Wide(sorted) => &sorted.rows,
            Store::Float(sorted) => &sorted.rows,
        };
        let spans = self.spans.starts.windows(2).filter(|span| span[0] < span[1]);
        let mut last: Vec<RowId> = spans.map(|span| rows[span[1] as usize - 1]).collect();
        last.sort_unstable();
        last
    }

    /// Says which times lie further before the latest indexed row, of whatever key, than a bound.
    /// NULL is none of them.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyTypeMismatch`] for times of another type than the index's.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, BooleanArray, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, AsOfTolerance, BuildOptions, KernelError};
    /// let table: ArrayRef = Arc::new(Int64Array::from(vec![100, 20]));
    /// let index = AsOfIndex::build(&[], &table, &BuildOptions::default())?;
    /// let stream: ArrayRef = Arc::new(Int64Array::from(vec![Some(89), Some(90), Some(500), None]));
    /// let too_old = index.too_old(&stream, AsOfTolerance::whole(10))?;
    /// assert_eq!(too_old, BooleanArray::from(vec![true, false, false, false]));
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn too_old(&self, time: &ArrayRef, bound: AsOfTolerance) -> Result<BooleanArray, KernelError> {
        fn compare<T: Time>(sorted: &Sorted<T>, time: &ArrayRef, bound: AsOfTolerance) -> BooleanArray {
            let Some(latest) = sorted.latest else {
                return BooleanArray::from(vec![false; time.len()]);
            };
            let (nulls, bound) = (present_nulls(time), T::bound(bound));
            let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let times = T::read(time);
            let too_old = times
                .iter()
                .enumerate()
                .map(|(row, time)| is_valid(row) && *time < latest && time.distance(latest) > bound);
            BooleanArray::from(too_old.collect::<Vec<bool>>())
        }
        self.check_time(time)?;
        let time = decode(time)?;
        Ok(match &self.rows {
            Store::Whole(sorted) => compare(sorted, &time, bound),
            Store::Wide(sorted) => compare(sorted, &time, bound),
            Store::Float(sorted) => compare(sorted, &time, bound),
        })
    }

    /// Returns the bytes the index holds on the heap.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{AsOfIndex, BuildOptions, KernelError};
    /// let time: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    /// let index = AsOfIndex::build(&[], &time, &BuildOptions::default())?;
    /// assert!(index.heap_bytes() < 13 * 1000);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        fn bytes<T>(sorted: &Sorted<T>) -> usize {
            let rows = sorted.times.capacity() * size_of::<T>() + sorted.rows.capacity() * size_of::<RowId>();
            rows + sorted.cursors.heap_bytes()
        }
        let rows = match &self.rows {
            Store::Whole(sorted) => bytes(sorted),
            Store::Wide(sorted) => bytes(sorted),
            Store::Float(sorted) => bytes(sorted),
        };
        rows + self.spans.heap_bytes() + self.groups.heap_bytes()
    }
}

impl std::fmt::Debug for AsOfIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsOfIndex")
            .field("time_type", &self.time_type)
            .field("row_count", &self.row_count)
            .field("group_count", &self.group_count())
            .field("was_sorted", &self.was_sorted)
            .field("heap_bytes", &self.heap_bytes())
            .finish()
    }
}

/// A probe row has one match at most, so no row follows another.
impl RowChains for AsOfIndex {
    fn row_count(&self) -> usize {
        self.row_count
    }

    fn is_unique(&self) -> bool {
        true
    }

    #[inline(always)]
    fn next_row(&self, _row: RowId) -> RowId {
        NO_ROW
    }
}

/// What the rows of a build side are sorted by.
struct Unsorted<'a> {
    groups: &'a [RowId],
    count: usize,
    nulls: Option<&'a NullBuffer>,
    parallel: bool,
}

impl Unsorted<'_> {
    fn sort<T: Time>(&self, time: &ArrayRef, store: impl Fn(Sorted<T>) -> Store) -> (Store, Vec<u32>, bool) {
        let times = T::read(time);
        let counts = |row: usize| self.nulls.is_none_or(|nulls| nulls.is_valid(row)) && times[row].is_time();
        let (sorted, starts, was_sorted) = sort_rows(self.groups, self.count, &times, counts, self.parallel);
        (store(sorted), starts, was_sorted)
    }
}

/// Returns a column's NULLs, if it has any.
fn present_nulls(column: &ArrayRef) -> Option<NullBuffer> {
    column.logical_nulls().filter(|nulls| nulls.null_count() > 0)
}

fn check_lengths(keys: &[ArrayRef], rows: usize) -> Result<(), KernelError> {
    match keys.iter().find(|column| column.len() != rows) {
        None => Ok(()),
        Some(column) => Err(KernelError::LengthMismatch {
            what: "a key column",
            expected: rows,
            found: column.len(),
        }),
    }
}
