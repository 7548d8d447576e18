//! As-of and temporal joins: from the forms SQL writes them in to arms of a lookup join.
//!
//! ```text
//!   tokens   LEFT ASOF JOIN, ASOF LEFT JOIN, DuckDB's form ─▶ the one form sqlparser reads    tokens.rs
//!   syntax   ASOF JOIN q MATCH_CONDITION (c) ON e          ─▶ JOIN q ON e AND __as_of(c)      mark.rs
//!            JOIN r FOR SYSTEM_TIME AS OF t ON e           ─▶ JOIN r ON e AND __as_of(t)
//!   plan     Join with an __as_of mark                     ─▶ LookupJoin with an as-of arm    rule.rs
//! ```
//!
//! The mark (`marker.rs`) is a function that is never called. It is found again as soon as types
//! are settled, before any rule could move it or what it belongs to.
//!
//! What is said of a match:
//!
//! - `MATCH_CONDITION (t.ts >= q.ts)`, or with `>`, `<=`, `<`, either side first;
//! - `MATCH_CONDITION (NEAREST(t.ts, q.ts))`, and with a third argument no further away than that;
//! - `MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '5' SECOND)`: no further away;
//! - of rows at one time the last that arrived; of two equally near the earlier.
//!
//! Equalities in `ON` say among which rows the match is looked for. Any other condition there is
//! judged on the match: where it fails, there is none.

mod mark;
mod marked;
mod marker;
mod rule;
mod tokens;
mod units;

pub(crate) use mark::mark_joins;
pub(crate) use marker::{MARKER, marker};
pub(crate) use rule::PlanAsOfJoins;
pub(crate) use tokens::spell_as_of;
pub(crate) use units::unit_word;
