//! The columnar kernels of Fletching: keys, index, as-of index, join pairs, gather, star join.
//!
//! A stream-table join is three steps over Arrow columns, and each step is one module here:
//!
//! ```text
//!  build columns ──► index::KeyIndex::build            key → row ids        (once per table version)
//!  probe columns ──► index::KeyIndex::locate  ──►  heads: first row id of each probe row, or NO_ROW
//!  heads         ──► join::join_pairs         ──►  (probe position, row id) pairs, a chunk at a time
//!  pairs         ──► gather::gather           ──►  output columns           (NO_ROW becomes NULL)
//! ```
//!
//! [`star`] runs the middle two steps over several tables before anything is gathered. An
//! [`AsOfIndex`] stands in a `KeyIndex`'s place where time decides which of a key's rows matches. A
//! table that changes is a [`live::LiveTable`], whose snapshots locate and gather as an index and
//! columns do.
//!
//! Nothing here does I/O, reads a clock, spawns a task or knows SQL. Results depend on the
//! input alone: hash seeds are random per index, but they never change an answer or an order.
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{ArrayRef, Int64Array, StringArray, cast::AsArray};
//! use fletching_kernels::{
//!     BuildOptions, JoinKind, JoinPairs, KernelError, KeyIndex, ProbeCursor, gather, join_pairs,
//! };
//!
//! let table_key: ArrayRef = Arc::new(Int64Array::from(vec![10, 20]));
//! let table_name: ArrayRef = Arc::new(StringArray::from(vec!["ten", "twenty"]));
//! let stream_key: ArrayRef = Arc::new(Int64Array::from(vec![20, 99, 10]));
//!
//! let index = KeyIndex::build(&[table_key], &BuildOptions::default())?;
//! let mut heads = Vec::new();
//! index.locate(&[stream_key], None, &mut heads)?;
//!
//! let (mut cursor, mut pairs) = (ProbeCursor::default(), JoinPairs::default());
//! let done = join_pairs::<KernelError>(
//!     &index, &heads, JoinKind::Left, &mut cursor, 8192, None, None, &mut pairs,
//! )?;
//! assert!(done);
//! let names = gather(&table_name, &pairs.build)?;
//! let names: Vec<Option<&str>> = names.as_string::<i32>().iter().collect();
//! assert_eq!(names, [Some("twenty"), None, Some("ten")]);
//! # Ok::<(), KernelError>(())
//! ```

pub mod asof;
mod compare;
mod concat;
pub mod error;
pub mod gather;
pub mod index;
pub mod join;
pub mod key;
pub mod live;
mod past_caches;
mod prefetch;
mod row_ids;
pub mod star;

pub use asof::{AsOfCondition, AsOfIndex, AsOfOp, AsOfTolerance};
pub use compare::{Comparison, positions_where};
pub use concat::concat_batches;
pub use error::KernelError;
pub use gather::{Interleaved, Picks, gather, gather_batch, gather_columns, gather_known, select};
pub use index::{BuildOptions, ClusteredRows, KeyIndex, KeyLayout, LookUp, LookedUp};
pub use join::{
    JoinKind, JoinPairs, ProbeCursor, RowChains, TableCursor, VisitedRows, finish_pairs, join_pairs,
};
pub use key::NullEquality;
pub use live::{LiveChange, LiveMemory, LiveOptions, LiveScan, LiveSnapshot, LiveTable};
pub use row_ids::{NO_ROW, RowId, missing_count};
pub use star::{StarArm, StarFinder, StarKind, StarProbe, StarRows, star_join, star_join_from};
