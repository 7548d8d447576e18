//! What DataFusion's plans run of ours: sources, tables, lookup joins.

mod late;
mod lookup_exec;
mod physical;
mod provider;
mod source_exec;
mod table_lookup;

pub(crate) use late::LateTables;
pub(crate) use lookup_exec::{LookupJoinExec, lookups_of};
pub(crate) use physical::{physical_rules, plan_physical};
pub(crate) use provider::{InputProvider, SinkProvider, StreamProvider, TableRows};
pub(crate) use source_exec::{InputExec, StreamInput};
