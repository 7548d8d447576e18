//! Operators: synchronous work on batches, hosted by DataFusion's plans and by prepared queries.

mod as_of;
mod bound;
mod lookup_join;
mod pinned;

pub(crate) use as_of::{ArmSource, AsOfSpec};
pub(crate) use bound::BoundExpr;
pub(crate) use lookup_join::{ArmSpec, LookupJoin, OutputColumn};
pub(crate) use pinned::{LookupTuning, PinnedTables};
