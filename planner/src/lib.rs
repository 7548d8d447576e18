//! The planner of Fletching: SQL text to a checked plan. No I/O.
//!
//! ```text
//!  text ──parse──▶ ParsedStatement ──Planner::plan──▶ Planned { Statement, warnings }
//!                                        │
//!              Catalog (the engine) ◀────┤  DataFusion's SQL front end: names, types
//!                                        ├▶ checked arithmetic (nothing wraps)
//!                                        └▶ DataFusion's optimizer, with lookup joins among its rules
//! ```
//!
//! DataFusion's [`LogicalPlan`](datafusion_expr::LogicalPlan) is the relational tree; what is our
//! own in it is [`LookupJoinNode`].

mod as_of;
mod catalog;
mod change;
mod checked;
mod continuous;
mod create;
mod dialect;
mod emit;
mod error;
mod functions;
mod locate;
mod lookup;
mod miss;
mod option_names;
mod parse;
mod place;
mod planner;
mod provenance;
mod refuse;
mod rewrite;
mod secrets;
mod slice;
mod statement;
mod syntax_error;
mod warnings;
mod watermark;

pub use catalog::{Catalog, Relation, Versions, ViewSource};
pub use error::{Location, SqlError, SqlErrorKind, Warning, WarningKind};
pub use functions::Functions;
pub use lookup::{AsOfTimes, LookupArm, LookupJoinNode, TableColumns, arm_table, kind_word};
pub use miss::{MissPolicy, OnMiss};
pub use parse::{ParsedStatement, parse};
pub use planner::Planner;
pub use provenance::Provenance;
pub use rewrite::plain_name;
pub use secrets::{is_secret, without_secrets};
pub use statement::{
    ChangeKind, CreateRelation, Planned, RelationKind, ShowKind, Statement, TableChange, WithOption,
};
pub use watermark::Watermark;
