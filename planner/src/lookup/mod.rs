//! Joins with keyed tables: found in a plan, made into one node, kept apart from other joins.

mod misses;
mod node;
mod push_filter;
mod rule;
mod times;

pub(crate) use misses::Misses;
pub use node::{LookupArm, LookupJoinNode, TableColumns, arm_table, kind_word};
pub(crate) use push_filter::PushFilterBelowLookup;
pub(crate) use rule::{PlanLookupJoins, conjuncts_of, filter_by, has_subquery, match_encodings, same_values};
pub use times::AsOfTimes;
