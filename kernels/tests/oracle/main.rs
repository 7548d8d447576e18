//! Every kernel against an oracle: a `BTreeMap`, nested loops, or values written as text.
//!
//! Keys are drawn as small *codes*; `columns.rs` writes codes as columns of any type so that two
//! values are equal exactly where their codes are. The oracles work on codes alone and know
//! nothing of Arrow.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod asof;
mod clustered;
mod columns;
mod gather;
mod join;
mod live;
mod live_bounds;
mod live_load;
mod live_readers;
mod live_star;
mod locate;
mod star;
