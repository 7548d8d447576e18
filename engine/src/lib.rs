//! Fletching: an Arrow-columnar, vectorized SQL engine whose heart is the stream–table join.
//!
//! Records arriving in bulk are enriched from reference tables, with SQL, exactly:
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch};
//! use fletching::Session;
//!
//! let session = Session::new()?;
//! session.sql(
//!     "CREATE STREAM trades (user_id BIGINT, amount DECIMAL(12,2));
//!      CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id));
//!      INSERT INTO users VALUES (1, 'gold'), (2, 'silver');",
//! )?;
//! // Planned once; then a batch in, a batch out, from any thread.
//! let enrich = session.prepare("SELECT t.user_id, u.tier FROM trades t LEFT JOIN users u ON t.user_id = u.id")?;
//!
//! let batch = RecordBatch::try_from_iter([
//!     ("user_id", Arc::new(Int64Array::from(vec![2, 9])) as ArrayRef),
//!     ("amount", Arc::new(Int64Array::from(vec![100, 200])) as ArrayRef),
//! ])?;
//! assert_eq!(enrich.enrich(&batch)?.num_rows(), 2);
//! # Ok::<(), fletching::Error>(())
//! ```
//!
//! - [`Session`]: the one entry; all of SQL through [`Session::sql`].
//! - [`Prepared`]: a query planned once and called with batches.
//! - [`Pipeline`]: a query over a stream that does not end, run by epochs; its [`checkpoint`]s.
//! - [`connector`]: the contract for sources and sinks; `fletching-connectors` has files and more.

pub mod checkpoint;
mod clock;
pub mod connector;
mod error;
mod exec;
mod fit;
mod kill_points;
mod operator;
mod pipeline;
mod prepared;
mod session;
mod table;

pub use error::{Error, ErrorClass, PositionGone, RecordPlace, Result};
pub use fletching_planner::{
    Location, ParsedStatement, RelationKind, SqlError, SqlErrorKind, Warning, WarningKind, without_secrets,
};
pub use operator::LookupCounts;
pub use pipeline::{Pipeline, PipelineState, PipelineStats};
pub use prepared::Prepared;
pub use session::{
    Activity, ActivityKind, ActivityState, CancelHandle, Outcome, Rows, Session, SessionBuilder, Summary,
};
pub use table::{Table, TableMemory, TableProgress, TableSnapshot, TableState, TableWatch};
