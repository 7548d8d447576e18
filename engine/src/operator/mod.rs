//! Operators: synchronous work on batches, hosted by DataFusion's plans and by prepared queries.

mod as_of;
mod bound;
mod counters;
mod letters;
mod lookup_join;
mod miss;
mod pinned;
mod probe;
mod wait;
mod whole_table;

pub(crate) use as_of::{ArmSource, AsOfSpec};
pub(crate) use bound::BoundExpr;
pub use counters::LookupCounts;
pub(crate) use letters::{CallLetters, Letters, RunLetters, letter_schema};
pub(crate) use lookup_join::{ArmSpec, JoinOutput, LookupJoin, OutputColumn};
pub(crate) use miss::ArmMiss;
pub(crate) use pinned::{LookupTuning, PinnedTables};
pub(crate) use wait::{Parking, wait_for_change};
